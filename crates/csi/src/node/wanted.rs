//! What a call asks for, read out of its message, and what of it may not be.
//!
//! Everything that a message may leave out or get wrong is found here, before anything is done; and
//! here what this machine could not do becomes a code of CSI.

use std::path::PathBuf;

use osds_connector::filesystem::FileSystem;
use osds_connector::journal::UsedAs;
use osds_connector::{ConnectError, Kind};

use crate::proto::VolumeCapability;
use crate::proto::volume_capability::access_mode::Mode;
use crate::proto::volume_capability::{AccessMode, AccessType};
use crate::status::{Status, invalid, missing};

/// How a volume is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As a device or as a file system.
    pub used_as: UsedAs,
    /// Whether a file system was named, or is ours to choose.
    pub is_named: bool,
    /// How it is shared.
    pub mode: Mode,
}

impl Wanted {
    /// Reads a capability.
    ///
    /// # Errors
    /// It is missing, or not one of ours.
    pub fn of(capability: Option<&VolumeCapability>) -> Result<Self, Status> {
        let capability = capability.ok_or_else(|| missing("volume_capability"))?;
        let mode = capability.access_mode.as_ref().map_or(Mode::Unknown, AccessMode::mode);
        if mode == Mode::Unknown {
            return Err(missing("volume_capability.access_mode"));
        }
        let (used_as, is_named) = match &capability.access_type {
            None => return Err(missing("volume_capability.access_type")),
            Some(AccessType::Block(_)) => (UsedAs::Block, false),
            Some(AccessType::Mount(mount)) => {
                let named = Some(mount.fs_type.as_str()).filter(|named| !named.is_empty());
                let filesystem = match named {
                    None => FileSystem::default(),
                    Some(named) => FileSystem::parse(named).ok_or_else(|| {
                        let known = FileSystem::ALL.map(FileSystem::as_str).join(", ");
                        invalid(format!("fsType {named} is not one of {known}"))
                    })?,
                };
                let options = mount.mount_flags.clone();
                (UsedAs::Mount { filesystem, options }, named.is_some())
            }
        };
        Ok(Self { used_as, is_named, mode })
    }

    /// Whether it was promised that no other node has the volume.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        match self.mode {
            Mode::SingleNodeWriter
            | Mode::SingleNodeReaderOnly
            | Mode::SingleNodeSingleWriter
            | Mode::SingleNodeMultiWriter => true,
            Mode::Unknown
            | Mode::MultiNodeReaderOnly
            | Mode::MultiNodeSingleWriter
            | Mode::MultiNodeMultiWriter => false,
        }
    }

    /// Whether nobody writes.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        matches!(self.mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly)
    }
}

/// A path that has to be there and to be absolute.
///
/// # Errors
/// It is not.
pub fn path(field: &str, text: &str) -> Result<PathBuf, Status> {
    match text {
        "" => Err(missing(field)),
        text if text.starts_with('/') => Ok(PathBuf::from(text)),
        text => Err(invalid(format!("{field} {text} is no absolute path"))),
    }
}

/// What it means that this machine did not do it.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
pub fn failed(error: ConnectError) -> Status {
    let said = error.chain();
    match error.kind {
        Kind::Temporary | Kind::Missing => Status::unavailable(said),
        Kind::InUse | Kind::Wrong | Kind::NotSupported => Status::failed_precondition(said),
    }
}
