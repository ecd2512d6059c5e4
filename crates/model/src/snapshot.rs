//! A point-in-time copy of a volume.
//!
//! Two halves: [`SnapshotState`] is the wish and what is known, and lives in the record of its
//! volume, so that one compare-and-swap decides what happens to both; [`Snapshot`] is what users
//! call it. The two are made and removed in one transaction. Snapshots of several volumes that are
//! of one [`Moment`] are made and removed together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::fault::Fault;
use crate::id::{GroupSnapshotId, ProfileId, SnapshotId, TenantId, UserId, VolumeId};
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
    /// The group snapshot it is one of; for the index, [`SnapshotState::moment`] says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupSnapshotId>,
    /// Free text pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// What is wished of a snapshot and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotState {
    /// Whether it shall be there.
    pub wanted: bool,
    /// How large it is, as the dock last confirmed; `None` until it is first made.
    pub made: Option<Capacity>,
    /// Why it is not as wished, when something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// With which others it is taken; `None` for one that is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Arc<Moment>>,
}

/// The one moment that snapshots of several volumes are of: a write is in its volume's snapshot only
/// if every write that was answered before it was sent is in the snapshot of that one's volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment {
    /// What the snapshots are called together.
    pub group: GroupSnapshotId,
    /// All of them, one of each volume.
    pub of: BTreeMap<VolumeId, SnapshotId>,
}

impl Moment {
    /// The volume that the dock takes all the snapshots for: the youngest, because whoever works on
    /// one volume and has to wait for another waits for an older one (as a copy does for its source).
    #[must_use]
    pub fn leader(&self) -> Option<VolumeId> {
        self.of.last_key_value().map(|(volume, _)| *volume)
    }
}

/// What a volume is made a copy of. It is in the same pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// This volume as it is at the moment of copying, or the one that `snapshot` is of.
    pub volume: VolumeId,
    /// This snapshot of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
}
