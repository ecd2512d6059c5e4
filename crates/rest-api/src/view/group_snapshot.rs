//! A group snapshot as users see it: the snapshots of several volumes that are of one moment.
//!
//! Nothing is kept of it but its snapshots: what they have in common (whose they are, what they were
//! called when they were taken) is read from the first of them. The status is handed in, as it is
//! for each of them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{SnapshotView, is_zero};
use crate::list::{Cell, Listed};
use crate::scalar::{Id, Time};

/// A group snapshot as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct GroupSnapshotView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was asked for.
    pub created_at: Time,
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
    /// Size of all its volumes at that time, in GiB.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// `creating`, `available` ... of all of them.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Cow<'a, str>,
    /// Why one of them is not as wished.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status_reason: Cow<'a, str>,
    /// The snapshots, one of each volume, in the order of their ids.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<SnapshotView<'static>>))]
    pub snapshots: Vec<SnapshotView<'a>>,
}

impl<'a> GroupSnapshotView<'a> {
    /// How the group snapshot of these snapshots looks; `status` is the word for all of them.
    #[must_use]
    pub fn of(id: Id, status: &'a str, snapshots: Vec<SnapshotView<'a>>) -> Self {
        let reason = snapshots.iter().map(|one| &one.status_reason).find(|text| !text.is_empty());
        let mut view = Self {
            id,
            size: snapshots.iter().map(|one| one.size).sum(),
            status: status.into(),
            status_reason: reason.cloned().unwrap_or_default(),
            ..Self::default()
        };
        if let Some(first) = snapshots.first() {
            view.created_at = first.created_at.clone();
            view.tenant_id = first.tenant_id.clone();
            view.user_id = first.user_id.clone();
            view.name = first.name.clone();
            view.description = first.description.clone();
        }
        Self { snapshots, ..view }
    }
}

impl Listed for GroupSnapshotView<'_> {
    const FIELDS: &'static [&'static str] =
        &["Id", "CreatedAt", "TenantId", "UserId", "Name", "Description", "Size", "Status"];
    const SORT_KEYS: &'static [&'static str] =
        &["id", "name", "status", "userid", "tenantid", "size"];

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Text(&self.tenant_id),
            Cell::Text(&self.user_id),
            Cell::Text(&self.name),
            Cell::Text(&self.description),
            Cell::Number(self.size),
            Cell::Text(&self.status),
        ][at]
    }
}
