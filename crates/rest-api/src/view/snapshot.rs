//! A snapshot as users see it.
//!
//! The status is a word that the rules derive from the record of its volume; it is handed in, never
//! stored, and so is what went wrong. Empty fields are left out as the original does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use osds_model::{Fault, Snapshot};
use serde::{Deserialize, Serialize};

use super::is_zero;
use crate::list::{Cell, Listed};
use crate::scalar::{Id, Time};

/// A snapshot as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was asked for.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Whose it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tenant_id: Cow<'a, str>,
    /// Who asked.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_id: Cow<'a, str>,
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Cow<'a, str>,
    /// Words for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'a, str>,
    /// The profile it was made under.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub profile_id: Id,
    /// Size of the volume at that time, in GiB.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// `creating`, `available` ...
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Cow<'a, str>,
    /// The volume it is a copy of.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub volume_id: Id,
    /// Free text pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub metadata: Cow<'a, BTreeMap<String, String>>,
    /// Ours: the group snapshot that it is one of.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub group_snapshot_id: Id,
    /// Ours: why it is not as wished.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status_reason: Cow<'a, str>,
}

impl<'a> SnapshotView<'a> {
    /// How `snapshot` looks; `status` is the word for its state, `fault` what went wrong.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot, status: &'a str, fault: Option<&'a Fault>) -> Self {
        Self {
            id: Id::of(snapshot.id),
            created_at: snapshot.created_at.into(),
            updated_at: snapshot.updated_at.into(),
            tenant_id: snapshot.tenant.as_str().into(),
            user_id: snapshot.user.as_str().into(),
            name: snapshot.name.as_str().into(),
            description: snapshot.description.as_str().into(),
            profile_id: Id::of(snapshot.profile),
            size: snapshot.size.whole_gib(),
            status: status.into(),
            volume_id: Id::of(snapshot.volume),
            metadata: Cow::Borrowed(&snapshot.metadata),
            group_snapshot_id: snapshot.group.map(Id::of).unwrap_or_default(),
            status_reason: fault.map_or("", |fault| fault.message.as_str()).into(),
        }
    }
}

impl SnapshotView<'_> {
    /// The same for a tenant, as [`super::VolumeView::for_tenant`].
    #[must_use]
    pub fn for_tenant(mut self, fault: Option<&Fault>) -> Self {
        self.status_reason = fault.map_or("", |fault| fault.kind.for_tenant()).into();
        self
    }
}

impl Listed for SnapshotView<'_> {
    const FIELDS: &'static [&'static str] = &[
        "Id",
        "CreatedAt",
        "UpdatedAt",
        "TenantId",
        "UserId",
        "Name",
        "Description",
        "ProfileId",
        "Size",
        "Status",
        "VolumeId",
        "GroupSnapshotId",
    ];
    const SORT_KEYS: &'static [&'static str] =
        &["id", "name", "volumeid", "status", "userid", "tenantid", "size"];

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.tenant_id),
            Cell::Text(&self.user_id),
            Cell::Text(&self.name),
            Cell::Text(&self.description),
            Cell::Id(&self.profile_id),
            Cell::Number(self.size),
            Cell::Text(&self.status),
            Cell::Id(&self.volume_id),
            Cell::Id(&self.group_snapshot_id),
        ][at]
    }
}
