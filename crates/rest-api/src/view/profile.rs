//! A profile as users see it, in the shape that the original's clients expect.
//!
//! The property blocks are always there, empty or not; the custom ones only when there are any. The
//! view borrows from the record, so a list of profiles copies nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use osds_model::profile::{
    DataProtectionProperties, Profile, ProvisioningProperties, ReplicationProperties,
    SnapshotProperties,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::list::{Cell, Listed, Parameter};
use crate::scalar::{Id, Time};

/// A profile as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Cow<'a, str>,
    /// Words for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'a, str>,
    /// `block` or `file`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub storage_type: Cow<'a, str>,
    /// What volumes shall be like.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub provisioning_properties: Cow<'a, ProvisioningProperties>,
    /// How they shall be replicated.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub replication_properties: Cow<'a, ReplicationProperties>,
    /// When they shall be snapshotted.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub snapshot_properties: Cow<'a, SnapshotProperties>,
    /// How they shall be protected.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub data_protection_properties: Cow<'a, DataProtectionProperties>,
    /// `capabilities:<pool key>` filters for the selector, and free pairs.
    #[serde(skip_serializing_if = "no_pairs")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub custom_properties: Option<Cow<'a, BTreeMap<String, Value>>>,
}

fn no_pairs(custom: &Option<Cow<'_, BTreeMap<String, Value>>>) -> bool {
    custom.as_ref().is_none_or(|pairs| pairs.is_empty())
}

impl<'a> ProfileView<'a> {
    /// How `profile` looks.
    #[must_use]
    pub fn of(profile: &'a Profile) -> Self {
        Self {
            id: Id::of(profile.id),
            created_at: profile.created_at.into(),
            updated_at: profile.updated_at.into(),
            name: profile.name.as_str().into(),
            description: profile.description.as_str().into(),
            storage_type: profile.storage_type.as_str().into(),
            provisioning_properties: Cow::Borrowed(&profile.provisioning),
            replication_properties: Cow::Borrowed(&profile.replication),
            snapshot_properties: Cow::Borrowed(&profile.snapshot),
            data_protection_properties: Cow::Borrowed(&profile.data_protection),
            custom_properties: profile.custom.as_ref().map(Cow::Borrowed),
        }
    }
}

impl Listed for ProfileView<'_> {
    const FIELDS: &'static [&'static str] =
        &["Id", "CreatedAt", "UpdatedAt", "Name", "Description", "StorageType"];
    const SORT_KEYS: &'static [&'static str] = &["id", "name", "description"];
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::Length { name: "name", min: 1, max: 255 },
        Parameter::Word { name: "storageType", allowed: &["block", "file", "object"] },
    ];

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.name),
            Cell::Text(&self.description),
            Cell::Text(&self.storage_type),
        ][at]
    }
}
