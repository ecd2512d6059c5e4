//! A place volumes come from.
//!
//! What is free for new volumes is `usable - allocated`. `allocated` is part of this record and
//! changes in the same transaction as the volume it is reserved for: that is why a pool is never
//! promised twice, however many ask at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capacity::Capacity;
use crate::id::{DockId, PoolId};
use crate::profile::{DataProtection, DataStorage, IoConnectivity};
use crate::time::Timestamp;

/// A place volumes come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Its id; stable over restarts of its dock.
    pub id: PoolId,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Option<Timestamp>,
    /// The dock that serves it.
    pub dock: DockId,
    /// Whether its dock reported it the last time; a pool that is not is never chosen.
    pub available: bool,
    /// Whether its target can let one host read only while another writes. Where it cannot, a
    /// read-only attachment beside another is refused rather than accepted and ignored.
    pub enforces_read_only: bool,
    /// Whether its target can make each host prove itself by credentials of its own. Where it
    /// cannot, none are made: the host's name is believed, whatever the configuration asks for.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enforces_credentials: bool,
    /// What the dock says it is.
    pub spec: PoolSpec,
    /// Promised to volumes, whether written or not.
    pub allocated: Capacity,
}

/// Every target of the first records asked for credentials.
fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it in so")]
fn is_yes(this: &bool) -> bool {
    *this
}

impl Pool {
    /// What a new volume may take.
    #[must_use]
    pub fn free(&self) -> Capacity {
        self.spec.usable.minus(self.allocated)
    }
}

/// A pool as its dock reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Its name in the driver YAML.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// `block`.
    pub storage_type: String,
    /// Where hosts must be to reach it.
    pub availability_zone: String,
    /// Whether its volumes may be attached to several hosts.
    pub multi_attach: bool,
    /// What the backend has in all.
    pub total: Capacity,
    /// What all its volumes together may take: less than `total` where others use the backend too.
    pub usable: Capacity,
    /// The promises of the driver YAML.
    pub extras: PoolExtras,
}

/// OpenSDS `extras` of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolExtras {
    /// How data is kept.
    pub data_storage: DataStorage,
    /// How it is reached, and how fast.
    pub io_connectivity: IoConnectivity,
    /// How it is protected.
    pub data_protection: DataProtection,
    /// Anything else an operator wants profiles to choose by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub advanced: BTreeMap<String, Value>,
}
