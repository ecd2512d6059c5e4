//! A volume and everybody who has it: one record, so that one compare-and-swap decides each race.
//!
//! [`VolumeState`] is the part that rules look at and that `lifecycle` is model-checked on; the
//! rest of [`Volume`] is what users call it and where it lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::Attachment;
use crate::capacity::Capacity;
use crate::fault::Fault;
use crate::id::{GroupId, HostId, PoolId, ProfileId, SnapshotId, TenantId, UserId, VolumeId};
use crate::limits::IoLimits;
use crate::snapshot::{SnapshotState, Source};
use crate::time::Timestamp;
use crate::wish::Generation;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Option<Timestamp>,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who asked.
    pub user: UserId,
    /// Its name; not unique.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Where hosts must be to attach it.
    pub availability_zone: String,
    /// The profile it was made under.
    pub profile: ProfileId,
    /// The pool it lives in; chosen once, when it is asked for.
    pub pool: PoolId,
    /// The snapshot it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// The group it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// Free text pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Wish, reality and holders.
    pub state: VolumeState,
}

impl Volume {
    /// The name that its blocks carry, the same on every path and of no other volume: NAA format 6
    /// (SPC-4, 7.8.6.6.4), the volume's id with its first digit made a 6. That digit says nothing:
    /// ids begin with the time, which begins with a 0 for eight thousand years.
    #[must_use]
    pub fn naa(id: VolumeId) -> [u8; 16] {
        let mut naa = id.0.into_bytes();
        naa[0] = 0x60 | (naa[0] & 0x0f);
        naa
    }
}

/// What is wished of a volume, what is known of it, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VolumeState {
    /// Raised by every edit of the wish; a dock refuses older ones.
    pub generation: Generation,
    /// What the volume allows.
    pub terms: Terms,
    /// Whether it shall be there, and how large.
    pub presence: Presence,
    /// How much I/O its target shall carry out in a second.
    #[serde(default, skip_serializing_if = "IoLimits::is_none")]
    pub limits: IoLimits,
    /// To how much of it the target was held when the dock last confirmed.
    #[serde(default, skip_serializing_if = "IoLimits::is_none")]
    pub limited: IoLimits,
    /// How large it is, and every host was told, as the dock last confirmed; `None` until it is
    /// first made.
    pub made: Option<Capacity>,
    /// The largest size that was asked for and taken back since: the dock may have made it so, and
    /// until it says, the pool is charged for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<Capacity>,
    /// Why the volume itself is not as wished, when something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What it is made a copy of; `None` for one that begins empty. Kept for ever, though it
    /// matters to nobody once the volume was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Its snapshots: those that shall be there, and those that are not confirmed gone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<SnapshotId, SnapshotState>,
    /// Who has it, or is about to, or is about to lose it. Shared, as every edit of a volume
    /// copies this map, and a map's node has room for eleven.
    #[serde(default)]
    pub attachments: BTreeMap<HostId, Arc<Attachment>>,
}

/// What a volume allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// Whether several hosts may have it at once.
    pub multi_attach: bool,
    /// How many at most, where the profile says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attachments: Option<u32>,
}

/// Whether a volume shall be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// It shall be there, of this size.
    Wanted(Capacity),
    /// It shall be gone.
    Unwanted,
}
