//! A group of volumes: of one pool, each under one of the group's profiles.
//!
//! Who is in it is a fact of the volumes ([`Volume::group`](crate::Volume::group)), and of nothing
//! else: so no list of members can be wrong, and a volume is never in two groups. The group's own
//! record is written by every change of who is in it, so that two changes never pass each other.

use serde::{Deserialize, Serialize};

use crate::id::{GroupId, PoolId, ProfileId, TenantId, UserId};
use crate::time::Timestamp;

/// A group of volumes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VolumeGroup {
    /// Its id.
    pub id: GroupId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Option<Timestamp>,
    /// Whose it is; its members are the same tenant's.
    pub tenant: TenantId,
    /// Who asked.
    pub user: UserId,
    /// Its name; not unique.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Where its pool is.
    pub availability_zone: String,
    /// What its members were made under: one of these.
    pub profiles: Vec<ProfileId>,
    /// Where its members live; chosen once, when it is asked for, to fit every profile.
    pub pool: PoolId,
    /// Whether it shall be gone, with all who are in it: then nobody joins or leaves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwanted: bool,
}
