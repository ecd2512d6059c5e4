//! File systems: which there are, and how each is made, mounted and grown.
//!
//! Reading only means a read-only device and a mount that replays no journal: a plain `ro` mount of
//! a file system that was not unmounted writes to the disk (measured on ext4).

use std::fmt;
use std::path::Path;

use crate::device::Device;
use crate::error::ConnectError;
use crate::tools::Machine;

/// A file system of one host at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext4.
    #[default]
    Ext4,
    /// ext3, as the ext4 driver has it.
    Ext3,
    /// xfs.
    Xfs,
    /// btrfs.
    Btrfs,
}

impl FileSystem {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Ext4, Self::Ext3, Self::Xfs, Self::Btrfs];

    /// Its name, for mount and for blkid.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Ext3 => "ext3",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// Makes one. Only on what is provably blank ([`crate::blank`]).
    ///
    /// # Errors
    /// It could not; a half-made one may be there.
    pub fn make(self, machine: &Machine, device: &Device) -> Result<(), ConnectError> {
        let options: &[&str] = match self {
            // No question is asked of us, and nothing is kept back for root.
            Self::Ext4 | Self::Ext3 => &["-q", "-F", "-m", "0"],
            // Forced, as a half-made one may be there; who calls has looked.
            Self::Xfs | Self::Btrfs => &["-q", "-f"],
        };
        let mut arguments: Vec<&std::ffi::OsStr> = options.iter().map(AsRef::as_ref).collect();
        arguments.push(device.path.as_os_str());
        machine.run(&format!("mkfs.{self}"), &arguments).map(drop)
    }

    /// What a mount needs besides the user's own options.
    #[must_use]
    pub const fn options(self, is_read_only: bool) -> &'static [&'static str] {
        match (self, is_read_only) {
            (Self::Ext4 | Self::Ext3, true) => &["ro", "noload"],
            // A clone has the id of its origin, and both may be here.
            (Self::Xfs, true) => &["ro", "norecovery", "nouuid"],
            (Self::Xfs, false) => &["nouuid"],
            (Self::Btrfs, true) => &["ro", "rescue=nologreplay"],
            (Self::Ext4 | Self::Ext3 | Self::Btrfs, false) => &[],
        }
    }

    /// Makes it as large as its device. Only where it is mounted for writing.
    ///
    /// # Errors
    /// It could not.
    pub fn grow(
        self,
        machine: &Machine,
        device: &Device,
        mounted: &Path,
    ) -> Result<(), ConnectError> {
        match self {
            Self::Ext4 | Self::Ext3 => machine.run("resize2fs", &[device.path.as_os_str()]),
            Self::Xfs => machine.run("xfs_growfs", &["-d".as_ref(), mounted.as_os_str()]),
            Self::Btrfs => {
                let arguments = ["filesystem", "resize", "max"].map(AsRef::as_ref);
                machine.run("btrfs", &[&arguments[..], &[mounted.as_os_str()]].concat())
            }
        }
        .map(drop)
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
