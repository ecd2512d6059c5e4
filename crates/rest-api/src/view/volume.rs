//! A volume as users see it.
//!
//! The status is a word that the rules derive from the record; it is handed in, never stored. The
//! size is what hosts can use: while a volume grows it is still the old one, and while it is made
//! it is the one asked for. Empty fields are left out as the original does, except those that its
//! clients look for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use osds_model::Capacity;
use osds_model::volume::{Presence, Volume};
use serde::{Deserialize, Serialize};

use super::{IoLimitsView, is_false, is_zero};
use crate::list::{Cell, Listed};
use crate::scalar::{Id, Naa, Time};

/// A volume as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeView<'a> {
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
    /// The group it is in.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub group_id: Id,
    /// How large it is, in GiB.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Where hosts must be to attach it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub availability_zone: Cow<'a, str>,
    /// `creating`, `available`, `inUse` ...
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Cow<'a, str>,
    /// The pool it lives in.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub pool_id: Id,
    /// The profile it was made under.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub profile_id: Id,
    /// Free text pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub metadata: Cow<'a, BTreeMap<String, String>>,
    /// The snapshot it was made from.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub snapshot_id: Id,
    /// Whether that snapshot came from a cloud.
    #[serde(skip_serializing_if = "is_false")]
    pub snapshot_from_cloud: bool,
    /// The replication it is in; osds has none yet.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub replication_id: Cow<'a, str>,
    /// Never says anything, and is always there: the original's clients expect it.
    #[serde(rename = "AttachStatus")]
    pub attach_status: Cow<'a, str>,
    /// Whether several hosts may have it at once.
    #[serde(skip_serializing_if = "is_false")]
    pub multi_attach: bool,
    /// The name that its blocks carry themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier>,
    /// Ours: the limits on its I/O, when it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_limits: Option<IoLimitsView>,
    /// Ours: the volume that it was made a copy of.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub source_volume_id: Id,
    /// Ours: why it is not as wished.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status_reason: Cow<'a, str>,
}

/// The name that a volume's blocks carry themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Identifier {
    /// The name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub durable_name: Naa,
    /// What sort of name: `NAA`.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub durable_name_format: Cow<'static, str>,
}

impl<'a> VolumeView<'a> {
    /// How `volume` looks; `status` is the word for its state.
    #[must_use]
    pub fn of(volume: &'a Volume, status: &'a str) -> Self {
        let wanted = match volume.state.presence {
            Presence::Wanted(size) => Some(size),
            Presence::Unwanted => None,
        };
        // While it grows, the old size is shown.
        let size = volume.state.made.or(wanted).map_or(0, Capacity::whole_gib);
        Self {
            id: Id::of(volume.id),
            created_at: volume.created_at.into(),
            updated_at: volume.updated_at.into(),
            tenant_id: volume.tenant.as_str().into(),
            user_id: volume.user.as_str().into(),
            name: volume.name.as_str().into(),
            description: volume.description.as_str().into(),
            group_id: volume.group.map(Id::of).unwrap_or_default(),
            size,
            availability_zone: volume.availability_zone.as_str().into(),
            status: status.into(),
            pool_id: Id::of(volume.pool),
            profile_id: Id::of(volume.profile),
            metadata: Cow::Borrowed(&volume.metadata),
            snapshot_id: volume.snapshot.map(Id::of).unwrap_or_default(),
            snapshot_from_cloud: false,
            replication_id: Cow::default(),
            attach_status: Cow::default(),
            multi_attach: volume.state.terms.multi_attach,
            identifier: volume.state.made.map(|_| Identifier {
                durable_name: Naa::of(volume.id),
                durable_name_format: "NAA".into(),
            }),
            io_limits: IoLimitsView::of(&volume.state.limits),
            source_volume_id: copied_from(volume),
            status_reason: volume.state.fault.as_ref().map_or("", |f| f.message.as_str()).into(),
        }
    }
}

/// The volume that it is a copy of as that was; of a snapshot's copy, the snapshot is said.
fn copied_from(volume: &Volume) -> Id {
    let source = volume.state.source.filter(|source| source.snapshot.is_none());
    source.map(|source| Id::of(source.volume)).unwrap_or_default()
}

impl VolumeView<'_> {
    /// The same for a tenant, who is told what sort of fault there is, but not its cause: that names
    /// files and machines.
    #[must_use]
    pub fn for_tenant(mut self, volume: &Volume) -> Self {
        let fault = volume.state.fault.as_ref();
        self.status_reason = fault.map_or("", |fault| fault.kind.for_tenant()).into();
        self
    }
}

impl Listed for VolumeView<'_> {
    const FIELDS: &'static [&'static str] = &[
        "Id",
        "CreatedAt",
        "UpdatedAt",
        "TenantId",
        "UserId",
        "Name",
        "Description",
        "GroupId",
        "Size",
        "AvailabilityZone",
        "Status",
        "PoolId",
        "ProfileId",
        "SnapshotId",
        "SnapshotFromCloud",
        "ReplicationId",
        "AttachStatus",
        "MultiAttach",
        "DurableName",
    ];
    const SORT_KEYS: &'static [&'static str] = &[
        "id",
        "name",
        "status",
        "availabilityzone",
        "profileid",
        "tenantid",
        "size",
        "poolid",
        "description",
        "groupid",
    ];

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.tenant_id),
            Cell::Text(&self.user_id),
            Cell::Text(&self.name),
            Cell::Text(&self.description),
            Cell::Id(&self.group_id),
            Cell::Number(self.size),
            Cell::Text(&self.availability_zone),
            Cell::Text(&self.status),
            Cell::Id(&self.pool_id),
            Cell::Id(&self.profile_id),
            Cell::Id(&self.snapshot_id),
            Cell::Flag(self.snapshot_from_cloud),
            Cell::Text(&self.replication_id),
            Cell::Text(&self.attach_status),
            Cell::Flag(self.multi_attach),
            self.identifier.as_ref().map_or(Cell::Text(""), |i| Cell::Naa(&i.durable_name)),
        ][at]
    }
}
