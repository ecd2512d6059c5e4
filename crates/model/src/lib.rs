//! The nouns of osds.
//!
//! Plain values: what a volume, an attachment, a pool, a profile, a dock, a host, a snapshot and
//! a group *are*. No clock, no I/O, no rules about what may happen next (those live in `lifecycle`) and no
//! wire names (those live in `rest-api`). The same values are what the store keeps.
//!
//! Must stay true: facts are stored, words are derived. There is no status string in here.

pub mod access;
pub mod capacity;
pub mod dock;
pub mod fault;
pub mod group;
pub mod host;
pub mod id;
pub mod limits;
pub mod pool;
pub mod profile;
pub mod publication;
pub mod reason;
pub mod secret;
pub mod snapshot;
pub mod time;
pub mod usage;
pub mod validate;
pub mod volume;
pub mod wish;

pub use access::{AttachMode, Attachment, Connection, Phase, Sharing};
pub use capacity::Capacity;
pub use dock::Dock;
pub use fault::{Fault, FaultKind};
pub use group::VolumeGroup;
pub use host::{Fence, Host, Initiator};
pub use id::{
    AttachmentId, DockId, GroupId, GroupSnapshotId, HostId, PoolId, ProfileId, SnapshotId,
    TenantId, UserId, VolumeId,
};
pub use limits::{IoLimits, IoRate};
pub use pool::Pool;
pub use profile::Profile;
pub use publication::{AccessMode, AccessType, Publication};
pub use reason::Reason;
pub use secret::{Authentication, Credentials, Sealed, Secret};
pub use snapshot::{Moment, Snapshot, SnapshotState, Source};
pub use time::Timestamp;
pub use volume::{Presence, Volume, VolumeState};
pub use wish::{
    Applied, Generation, Grant, HostOutcome, SnapshotOutcome, SnapshotWish, VolumeOutcome,
    VolumeWish,
};
