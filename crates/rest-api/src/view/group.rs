//! A volume group as users see it.
//!
//! Who is in it is not said here but by the volumes (`groupId`), as in the original, whose
//! `addVolumes` and `removeVolumes` are only ever sent. Its lists are of the original's older kind:
//! see [`Listed::OLDER`].

use std::borrow::Cow;

use osds_model::VolumeGroup;
use serde::{Deserialize, Serialize};

use crate::list::{Cell, Listed};
use crate::scalar::{Id, Time};

/// A volume group as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeGroupView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was asked for.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Cow<'a, str>,
    /// `available`, `deleting` or `errorDeleting`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Cow<'a, str>,
    /// Whose it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tenant_id: Cow<'a, str>,
    /// Who asked.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_id: Cow<'a, str>,
    /// Words for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'a, str>,
    /// What its members were made under: one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Id>,
    /// Where its pool is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub availability_zone: Cow<'a, str>,
    /// Where its members live.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub pool_id: Id,
}

impl<'a> VolumeGroupView<'a> {
    /// How `group` looks; `status` is the word for its state.
    #[must_use]
    pub fn of(group: &'a VolumeGroup, status: &'a str) -> Self {
        Self {
            id: Id::of(group.id),
            created_at: group.created_at.into(),
            updated_at: group.updated_at.into(),
            name: group.name.as_str().into(),
            status: status.into(),
            tenant_id: group.tenant.as_str().into(),
            user_id: group.user.as_str().into(),
            description: group.description.as_str().into(),
            profiles: group.profiles.iter().map(|profile| Id::of(*profile)).collect(),
            availability_zone: group.availability_zone.as_str().into(),
            pool_id: Id::of(group.pool),
        }
    }
}

impl Listed for VolumeGroupView<'_> {
    const FIELDS: &'static [&'static str] = &[
        "Id",
        "CreatedAt",
        "UpdatedAt",
        "Name",
        "Status",
        "TenantId",
        "UserId",
        "Description",
        "AvailabilityZone",
        "PoolId",
    ];
    const SORT_KEYS: &'static [&'static str] =
        &["id", "name", "status", "availabilityzone", "tenantid", "poolid"];
    const OLDER: bool = true;

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.name),
            Cell::Text(&self.status),
            Cell::Text(&self.tenant_id),
            Cell::Text(&self.user_id),
            Cell::Text(&self.description),
            Cell::Text(&self.availability_zone),
            Cell::Id(&self.pool_id),
        ][at]
    }
}
