//! The OpenSDS v1beta wire: what users and controller say to each other.
//!
//! Pure values and pure functions (the client, behind its feature, is the one exception): JSON
//! read as the original reads it, bodies checked with the original's words, nouns shown with the
//! original's keys and omissions, lists filtered, sorted and cut as it does. Nothing in here knows
//! what may happen to a volume; status words are handed in.
//!
//! Must stay true: one type per noun, used by the server to write and by clients to read.

pub mod check;
#[cfg(feature = "client")]
pub mod client;
pub mod json;
#[cfg(feature = "client")]
pub mod keystone;
pub mod list;
pub mod request;
pub mod scalar;
pub mod url;
pub mod view;

pub use check::{BadBody, Checked, decode};
pub use list::{BadParameter, ListQuery, Listed};
pub use scalar::{Id, Time};
pub use view::{
    AttachmentStatsView, AttachmentView, ConnectionInfo, DockView, ErrorBody, FitView,
    GroupSnapshotView, HolderView, HostView, IoLimitsView, LatencyView, PoolView, ProfileView,
    SnapshotView, VersionView, VolumeGroupView, VolumeView, conceal_all,
};

// What users name in requests; the command line knows nothing of the model.
pub use osds_model::host::Protocol;
pub use osds_model::{AccessMode, AccessType, AttachMode, Initiator, Reason, Sharing};

/// The tenant whose requests are an administrator's while there is no authentication.
pub const ADMIN_TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";

/// The only version of the API there is, as it stands in paths.
pub const API_VERSION: &str = "v1beta";
