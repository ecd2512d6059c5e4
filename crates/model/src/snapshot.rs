//! A point-in-time copy of a volume. Only its shape for now: snapshots are not made yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::id::{ProfileId, SnapshotId, TenantId, UserId, VolumeId};
use crate::time::Timestamp;

/// A point-in-time copy of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Option<Timestamp>,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who asked.
    pub user: UserId,
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// The profile it was made under.
    pub profile: ProfileId,
    /// Size of the volume at that time.
    pub size: Capacity,
    /// The volume it is a copy of.
    pub volume: VolumeId,
    /// Free text pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}
