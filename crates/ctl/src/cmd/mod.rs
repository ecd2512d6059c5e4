//! One file per noun: its part of the grammar and what it does.

pub(crate) mod attachment;
pub(crate) mod csi;
pub(crate) mod dock;
pub(crate) mod fileshare;
pub(crate) mod group;
pub(crate) mod group_snapshot;
pub(crate) mod host;
mod list;
pub(crate) mod pool;
pub(crate) mod profile;
pub(crate) mod replication;
pub(crate) mod snapshot;
pub(crate) mod version;
pub(crate) mod volume;

use osds_rest_api::url;

/// The path of one thing.
pub(crate) fn path_of(place: &str, id: &str) -> String {
    format!("{place}/{}", url::encode(id))
}
