//! One host's access to one volume.
//!
//! An attachment is keyed by its host inside its volume: a host has a volume once or not at all.
//! It keeps the initiators that were let in, so that a later edit of the host record cannot make
//! the detach remove somebody else's access.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::host::Initiator;
use crate::id::{AttachmentId, TenantId, UserId};
use crate::publication::Publication;
use crate::secret::Authentication;
use crate::time::Timestamp;

/// What a host may do with the blocks. The target enforces it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum AttachMode {
    /// Reads only; every write is refused by the target.
    #[serde(rename = "ro")]
    ReadOnly,
    /// Reads and writes.
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
}

impl AttachMode {
    /// The OpenSDS word: `ro` or `rw`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        }
    }
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text was neither `ro` nor `rw`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attach mode must be ro or rw")]
pub struct UnknownAttachMode;

impl FromStr for AttachMode {
    type Err = UnknownAttachMode;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ro" => Ok(Self::ReadOnly),
            "rw" => Ok(Self::ReadWrite),
            _ => Err(UnknownAttachMode),
        }
    }
}

/// What an attachment was promised about the others (CSI's SINGLE_NODE_* and
/// MULTI_NODE_SINGLE_WRITER access modes ask for more than plain sharing).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Sharing {
    /// No promise: others may read and write.
    #[default]
    Shared,
    /// While it writes, nobody else does.
    SoleWriter,
    /// Nobody else has the volume at all.
    Exclusive,
}

impl Sharing {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::SoleWriter => "soleWriter",
            Self::Exclusive => "exclusive",
        }
    }
}

/// How far an attachment is. `Attaching` and `Detaching` mean: the target may or may not serve
/// the host at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Wished for; not confirmed yet.
    Attaching,
    /// Wished for and confirmed.
    Attached,
    /// No longer wished for; not confirmed gone yet.
    Detaching,
}

/// How a host reaches the volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "protocol")]
pub enum Connection {
    /// An iSCSI target with the volume at one LUN (RFC 7143).
    Iscsi {
        /// Target name.
        iqn: String,
        /// Portals as `address:port`; every one leads to the same volume.
        portals: Vec<String>,
        /// Logical unit number; never 0, which the original's connector refuses.
        lun: u32,
    },
    /// An NVMe over TCP subsystem with the volume as its one namespace, for this host alone.
    #[serde(rename = "nvmeof")]
    NvmeOf {
        /// The subsystem's NVMe qualified name.
        nqn: String,
        /// Ports as `address:port`; every one leads to the same namespace.
        portals: Vec<String>,
        /// The host's own name, by which alone it is let in.
        host_nqn: String,
    },
    /// A loop device of the machine that holds the volume. Its number is nobody's promise (a
    /// restart may change it); it is found by what it is backed by.
    Local {
        /// The file that the kernel names as this host's loop device's backing file.
        path: String,
    },
}

impl Connection {
    /// OpenSDS `driverVolumeType`.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::Iscsi { .. } => "iscsi",
            Self::NvmeOf { .. } => "nvmeof",
            Self::Local { .. } => "local",
        }
    }
}

/// A host's access to a volume, from the request until its end is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// Its own name.
    pub id: AttachmentId,
    /// Read-only or read-write.
    pub mode: AttachMode,
    /// What was promised about other hosts.
    #[serde(default)]
    pub sharing: Sharing,
    /// How an orchestrator means to use it, when one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<Publication>,
    /// How far it is.
    pub phase: Phase,
    /// Why it is not further, when something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The host's initiators as they were when it asked: these are let in, and only these.
    pub initiators: Vec<Initiator>,
    /// What is proved at login, made with the attachment and gone with it; `None` when names are
    /// believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// How to reach the volume, once the target has let the host in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// What the request said besides.
    #[serde(default)]
    pub about: AttachmentFacts,
}

/// Facts about an attachment that no rule looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttachmentFacts {
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who asked.
    pub user: UserId,
    /// Where the host put it; the host's own word.
    #[serde(default)]
    pub mountpoint: String,
    /// OpenSDS `accessProtocol`: what the pool speaks.
    #[serde(default)]
    pub access_protocol: String,
    /// Free text pairs from the request.
    #[serde(default)]
    pub metadata: std::collections::BTreeMap<String, String>,
}
