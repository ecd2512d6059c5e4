//! Pools and docks as users see them, and why a pool would or would not take a volume.
//!
//! Capacities are whole GiB, rounded down. What is free is what a new volume may take, which is
//! less than the file system has while volumes are promised and not filled, and more where the
//! operator allows over-subscription. Fields that the original never sets are there and empty.

use std::borrow::Cow;
use std::collections::BTreeMap;

use osds_model::pool::{Pool, PoolExtras};
use osds_model::{Capacity, Dock};
use serde::{Deserialize, Serialize};

use super::is_zero;
use crate::list::{Cell, Listed, Parameter};
use crate::scalar::{Id, Time};

const NAME: Parameter = Parameter::Length { name: "name", min: 1, max: 255 };
const STATUS: Parameter =
    Parameter::Word { name: "status", allowed: &["available", "unavailable"] };
const STORAGE_TYPE: Parameter =
    Parameter::Word { name: "storageType", allowed: &["block", "file", "object"] };

/// A pool as users see it. Capacities are whole GiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct PoolView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was first seen.
    pub created_at: Time,
    /// When the record last changed.
    pub updated_at: Time,
    /// Its name in the driver YAML.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Cow<'a, str>,
    /// Words for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'a, str>,
    /// `available` or `unavailable`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Cow<'a, str>,
    /// The dock that serves it.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub dock_id: Id,
    /// Where hosts must be to reach it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub availability_zone: Cow<'a, str>,
    /// What the backend has in all.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_capacity: u64,
    /// What a new volume may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub free_capacity: u64,
    /// What is promised to volumes.
    #[serde(skip_serializing_if = "is_zero")]
    pub consumed_capacity: u64,
    /// Whether its volumes may be attached to several hosts; always said.
    pub multi_attach: bool,
    /// `block`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub storage_type: Cow<'a, str>,
    /// The promises of the driver YAML.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub extras: Cow<'a, PoolExtras>,
    /// `HostBased` or `ArrayBased`, where volumes can be replicated.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub replication_type: Cow<'a, str>,
    /// What replicates them.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub replication_driver_name: Cow<'a, str>,
}

impl<'a> PoolView<'a> {
    /// How `pool` looks.
    #[must_use]
    pub fn of(pool: &'a Pool) -> Self {
        Self {
            id: Id::of(pool.id),
            created_at: pool.created_at.into(),
            updated_at: pool.updated_at.into(),
            name: pool.spec.name.as_str().into(),
            description: pool.spec.description.as_str().into(),
            status: if pool.available { "available" } else { "unavailable" }.into(),
            dock_id: Id::of(pool.dock),
            availability_zone: pool.spec.availability_zone.as_str().into(),
            total_capacity: pool.spec.total.whole_gib(),
            free_capacity: pool.free().whole_gib(),
            consumed_capacity: pool.allocated.whole_gib(),
            multi_attach: pool.spec.multi_attach,
            storage_type: pool.spec.storage_type.as_str().into(),
            extras: Cow::Borrowed(&pool.spec.extras),
            replication_type: Cow::default(),
            replication_driver_name: Cow::default(),
        }
    }
}

impl Listed for PoolView<'_> {
    const FIELDS: &'static [&'static str] = &[
        "Id",
        "CreatedAt",
        "UpdatedAt",
        "Name",
        "Description",
        "Status",
        "DockId",
        "AvailabilityZone",
        "TotalCapacity",
        "FreeCapacity",
        "ConsumedCapacity",
        "MultiAttach",
        "StorageType",
        "ReplicationType",
        "ReplicationDriverName",
    ];
    const SORT_KEYS: &'static [&'static str] =
        &["id", "name", "status", "availabilityzone", "dockid"];
    const PARAMETERS: &'static [Parameter] = &[NAME, STATUS, STORAGE_TYPE];

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.name),
            Cell::Text(&self.description),
            Cell::Text(&self.status),
            Cell::Id(&self.dock_id),
            Cell::Text(&self.availability_zone),
            Cell::Number(self.total_capacity),
            Cell::Number(self.free_capacity),
            Cell::Number(self.consumed_capacity),
            Cell::Flag(self.multi_attach),
            Cell::Text(&self.storage_type),
            Cell::Text(&self.replication_type),
            Cell::Text(&self.replication_driver_name),
        ][at]
    }
}

/// An agent on a storage host, as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DockView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was first seen.
    pub created_at: Time,
    /// When its description last changed.
    pub updated_at: Time,
    /// `provisioner`; osds has no others.
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    pub kind: Cow<'a, str>,
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Cow<'a, str>,
    /// Words for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'a, str>,
    /// Never set, as in the original.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Cow<'a, str>,
    /// Never set, as in the original.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub storage_type: Cow<'a, str>,
    /// Where it listens.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub endpoint: Cow<'a, str>,
    /// The machine it runs on.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub node_id: Cow<'a, str>,
    /// Which storage driver it runs.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub driver_name: Cow<'a, str>,
    /// Free text pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub metadata: Cow<'a, BTreeMap<String, String>>,
}

impl<'a> DockView<'a> {
    /// How `dock` looks.
    #[must_use]
    pub fn of(dock: &'a Dock) -> Self {
        Self {
            id: Id::of(dock.id),
            created_at: dock.created_at.into(),
            updated_at: dock.updated_at.into(),
            kind: "provisioner".into(),
            name: dock.name.as_str().into(),
            description: dock.description.as_str().into(),
            status: Cow::default(),
            storage_type: Cow::default(),
            endpoint: dock.endpoint.as_str().into(),
            node_id: dock.node.as_str().into(),
            driver_name: dock.driver.as_str().into(),
            metadata: Cow::Borrowed(&dock.metadata),
        }
    }
}

impl Listed for DockView<'_> {
    const FIELDS: &'static [&'static str] = &[
        "Id",
        "CreatedAt",
        "UpdatedAt",
        "Type",
        "Name",
        "Description",
        "Status",
        "StorageType",
        "Endpoint",
        "NodeId",
        "DriverName",
    ];
    const SORT_KEYS: &'static [&'static str] =
        &["id", "name", "status", "endpoint", "drivername", "description"];
    const PARAMETERS: &'static [Parameter] = &[
        NAME,
        STATUS,
        STORAGE_TYPE,
        Parameter::Word { name: "type", allowed: &["provisioner", "attacher"] },
    ];

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.kind),
            Cell::Text(&self.name),
            Cell::Text(&self.description),
            Cell::Text(&self.status),
            Cell::Text(&self.storage_type),
            Cell::Text(&self.endpoint),
            Cell::Text(&self.node_id),
            Cell::Text(&self.driver_name),
        ][at]
    }
}

/// Ours: why a pool would or would not take a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FitView<'a> {
    /// The pool.
    pub pool_id: Id,
    /// Its name.
    pub name: Cow<'a, str>,
    /// Whether it would take the volume.
    pub fits: bool,
    /// Why not; empty when it would.
    pub reason: Cow<'a, str>,
    /// What a new volume may take there, in whole GiB.
    pub free_capacity: u64,
}

impl<'a> FitView<'a> {
    /// What there is to say about `pool`; `reason` is `None` where it would take the volume.
    #[must_use]
    pub fn of(pool: &'a Pool, reason: Option<impl Into<Cow<'a, str>>>) -> Self {
        let free: Capacity = pool.free();
        Self {
            pool_id: Id::of(pool.id),
            name: pool.spec.name.as_str().into(),
            fits: reason.is_none(),
            reason: reason.map(Into::into).unwrap_or_default(),
            free_capacity: free.whole_gib(),
        }
    }
}
