//! Why a request was not granted. Each variant names a remedy; where scripts around the original
//! match a text, the text is the original's.
//!
//! A refusal is an answer, not a failure: nothing was changed, and asking again gives the same
//! until somebody does what the remedy says. It carries ids and not names, since rules know no
//! names; who shows it to people puts the name in (see [`Refused::host`]).

use osds_model::publication::AccessMode;
use osds_model::{AttachMode, Capacity, HostId, Reason, Sharing, SnapshotId};

/// Why a request was not granted; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another host holds the volume and it is not multi-attach.
    #[error(
        "volume is already attached to one of the host. If you want to attach to multiple host, \
         volume multiattach must be true"
    )]
    HeldByAnotherHost {
        /// Who holds it.
        holder: HostId,
    },
    /// The host has it already, in another way.
    #[error(
        "volume is already attached to this host as {mode}, {}; detach it first to attach it in \
         another way", sharing.as_str()
    )]
    OtherTerms {
        /// The mode it has.
        mode: AttachMode,
        /// What it was promised.
        sharing: Sharing,
    },
    /// The previous attachment of this host is still being taken down.
    #[error("the previous attachment of this host is still being removed; try again in a moment")]
    StillDetaching,
    /// The host is kept out.
    #[error("host {host} is fenced; unfence it before attaching volumes to it")]
    Fenced {
        /// The fenced host.
        host: HostId,
    },
    /// A holder was promised that this would not happen.
    #[error(
        "host {holder} has the volume as {}; detach it there first, or ask for shared access on \
         both", promised.as_str()
    )]
    Promised {
        /// Who holds the promise.
        holder: HostId,
        /// The promise.
        promised: Sharing,
    },
    /// The request asks for a promise that a holder already breaks.
    #[error(
        "{} access cannot be promised: host {holder} has the volume as {mode}; detach it there \
         first", wanted.as_str()
    )]
    CannotPromise {
        /// Who is in the way.
        holder: HostId,
        /// How it has the volume.
        mode: AttachMode,
        /// What was asked.
        wanted: Sharing,
    },
    /// The target could not tell the two hosts apart.
    #[error(
        "initiator {name} also belongs to host {holder}, which has the volume; give each host its \
         own initiator name"
    )]
    SameInitiator {
        /// Who has the volume under this name.
        holder: HostId,
        /// The initiator's name.
        name: String,
    },
    /// As many hosts as its profile allows have the volume.
    #[error("volume is attached to {limit} hosts already, the most its profile allows")]
    Full {
        /// The most.
        limit: u32,
    },
    /// The target cannot hold one host to reading while others write.
    #[error(
        "the target of this volume cannot enforce read-only for one host beside others; attach \
         it alone, or choose a pool whose target can"
    )]
    ReadOnlyNotEnforced,
    /// A mode of many nodes, on a volume that is for one.
    #[error(
        "access mode {mode} needs a volume that is multi-attach, and this one is not; set \
         capabilities:multiAttach in its profile, or make it with multiAttach"
    )]
    NotMultiAttach {
        /// The mode.
        mode: AccessMode,
    },
    /// Many writers on a file system that takes itself to be alone.
    #[error(
        "access mode {mode} would let many nodes write to a file system that takes itself to be \
         alone, and lose data; use volumeMode Block, a cluster file system, or one node"
    )]
    LocalFileSystem {
        /// The mode.
        mode: AccessMode,
    },
    /// A file system that takes itself to be alone, beside somebody who writes.
    #[error(
        "host {holder} has the volume as {mode}, and a file system that takes itself to be alone \
         does not bear with that; have it ro on every node, or detach it there first"
    )]
    FileSystemBesideWriter {
        /// Who has it.
        holder: HostId,
        /// How.
        mode: AttachMode,
    },
    /// The volume is not there (yet, or any more).
    #[error("volume is {status}; it can be attached when it is available or inUse")]
    NotAttachable {
        /// Its status word.
        status: &'static str,
    },
    /// Hosts still have the volume.
    #[error("volume is in use by host {holder}; detach it there first")]
    InUse {
        /// One of them.
        holder: HostId,
    },
    /// The volume cannot be extended now: it is not made yet, is to be gone, or something is wrong
    /// with it.
    #[error(
        "the status of the volume to be extended must be available! (or inUse, and nothing wrong \
         with it; it is {status})"
    )]
    NotExtendable {
        /// Its status word.
        status: &'static str,
    },
    /// The volume is to be gone.
    #[error("volume is {status}, and what it allows can no longer be changed")]
    NotChangeable {
        /// Its status word.
        status: &'static str,
    },
    /// More hosts have the volume than one.
    #[error("{hosts} hosts have the volume; detach it everywhere but on one first")]
    SeveralHosts {
        /// How many.
        hosts: usize,
    },
    /// A volume only grows.
    #[error(
        "new size for extend must be greater than current size.(current: {} GB, extended: {} GB).",
        current.whole_gib(), wanted.whole_gib()
    )]
    NotLarger {
        /// What it has.
        current: Capacity,
        /// What was asked.
        wanted: Capacity,
    },
    /// The volume has snapshots.
    #[error("volume still has snapshots, such as {snapshot}; delete them first")]
    HasSnapshots {
        /// One of them.
        snapshot: SnapshotId,
    },
    /// No snapshot can be taken of the volume now.
    #[error(
        "only the status of volume is available or in-use, the snapshot can be created; the \
         volume is {status}"
    )]
    NoSnapshot {
        /// Its status word.
        status: &'static str,
    },
    /// The volume has as many snapshots as one may have.
    #[error("the volume has {limit} snapshots already, the most there can be; delete one first")]
    TooManySnapshots {
        /// The most.
        limit: usize,
    },
    /// The volume cannot be copied now.
    #[error("the volume to copy is {status}; it can be copied when it is available or inUse")]
    NotCopied {
        /// Its status word.
        status: &'static str,
    },
    /// Nothing can be made from the snapshot now.
    #[error("only if the snapshot is available, the volume can be created")]
    SnapshotNotReady,
    /// Force is for a detach that does not end by itself.
    #[error("detach the host first; force is only for a detach that does not finish")]
    NotDetaching,
}

impl Refused {
    /// The host that the refusal is about, so that a message can call it by its name.
    #[must_use]
    pub fn host(&self) -> Option<HostId> {
        match self {
            Self::HeldByAnotherHost { holder }
            | Self::Promised { holder, .. }
            | Self::CannotPromise { holder, .. }
            | Self::SameInitiator { holder, .. }
            | Self::FileSystemBesideWriter { holder, .. }
            | Self::InUse { holder } => Some(*holder),
            Self::Fenced { host } => Some(*host),
            Self::OtherTerms { .. }
            | Self::StillDetaching
            | Self::Full { .. }
            | Self::ReadOnlyNotEnforced
            | Self::NotMultiAttach { .. }
            | Self::LocalFileSystem { .. }
            | Self::NotAttachable { .. }
            | Self::NotExtendable { .. }
            | Self::NotChangeable { .. }
            | Self::SeveralHosts { .. }
            | Self::NotLarger { .. }
            | Self::HasSnapshots { .. }
            | Self::NoSnapshot { .. }
            | Self::TooManySnapshots { .. }
            | Self::NotCopied { .. }
            | Self::SnapshotNotReady
            | Self::NotDetaching => None,
        }
    }

    /// The word for programs.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::HeldByAnotherHost { .. } => Reason::HeldByAnotherHost,
            Self::OtherTerms { .. } => Reason::OtherTerms,
            Self::StillDetaching => Reason::StillDetaching,
            Self::Fenced { .. } => Reason::Fenced,
            Self::Promised { .. } => Reason::Promised,
            Self::CannotPromise { .. } => Reason::CannotPromise,
            Self::SameInitiator { .. } => Reason::SameInitiator,
            Self::Full { .. } => Reason::TooManyAttachments,
            Self::ReadOnlyNotEnforced => Reason::ReadOnlyNotEnforced,
            Self::NotMultiAttach { .. } => Reason::NotMultiAttach,
            Self::LocalFileSystem { .. } => Reason::LocalFileSystem,
            Self::FileSystemBesideWriter { .. } => Reason::FileSystemBesideWriter,
            Self::NotAttachable { .. } => Reason::NotAttachable,
            Self::InUse { .. } | Self::SeveralHosts { .. } => Reason::InUse,
            Self::NotExtendable { .. } | Self::NotChangeable { .. } => Reason::NotExtendable,
            Self::NotLarger { .. } => Reason::NotLarger,
            Self::HasSnapshots { .. } => Reason::HasSnapshots,
            Self::NoSnapshot { .. } => Reason::NoSnapshot,
            Self::TooManySnapshots { .. } => Reason::TooManySnapshots,
            Self::NotCopied { .. } => Reason::NotCopied,
            Self::SnapshotNotReady => Reason::SnapshotNotReady,
            Self::NotDetaching => Reason::NotDetaching,
        }
    }
}
