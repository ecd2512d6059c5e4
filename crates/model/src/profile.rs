//! What a user asks of storage, under a name.
//!
//! The property blocks are OpenSDS's own; they are the same on the wire, in the store and (for the
//! first two) in a pool's `extras`, so they carry their wire names here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::ProfileId;
use crate::time::Timestamp;

/// What a user asks of storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its id.
    pub id: ProfileId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// Its name, unique over all profiles.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// `block` or `file`.
    pub storage_type: String,
    /// What volumes shall be like.
    pub provisioning: ProvisioningProperties,
    /// How they shall be replicated.
    pub replication: ReplicationProperties,
    /// When they shall be snapshotted.
    pub snapshot: SnapshotProperties,
    /// How they shall be protected.
    pub data_protection: DataProtectionProperties,
    /// `capabilities:<pool key>` filters for the selector, and free pairs. `None` and empty read
    /// differently on the wire.
    pub custom: Option<BTreeMap<String, Value>>,
}

/// OpenSDS `provisioningProperties`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProvisioningProperties {
    /// How data is kept.
    pub data_storage: DataStorage,
    /// How it is reached, and how fast.
    pub io_connectivity: IoConnectivity,
}

/// OpenSDS `dataStorage`, of a profile or a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataStorage {
    /// Longest time to get data back, in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub recovery_time_objective: i64,
    /// `Thin` or `Thick`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provisioning_policy: String,
    /// Character code set of file systems.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub character_code_set: String,
    /// Longest file name, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_file_name_length_bytes: i64,
    /// Any of `Read`, `Write`, `Execute`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage_access_capability: Vec<String>,
    /// Whether data is compressed.
    pub compression: bool,
    /// Whether equal data is kept once.
    pub deduplication: bool,
    /// The seed's older word for compression and deduplication together; read, and shown only when
    /// it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_space_efficient: Option<bool>,
}

/// OpenSDS `ioConnectivity`, of a profile or a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IoConnectivity {
    /// `iscsi`, `nvmeof`, `rbd`, `fibre_channel` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_protocol: String,
    /// Most I/O operations a second.
    #[serde(rename = "maxIOPS", skip_serializing_if = "is_zero")]
    pub max_iops: i64,
    /// Fewest I/O operations a second.
    #[serde(rename = "minIOPS", skip_serializing_if = "is_zero")]
    pub min_iops: i64,
    /// Most bandwidth, MB/s.
    #[serde(rename = "maxBWS", skip_serializing_if = "is_zero")]
    pub max_bws: i64,
    /// Least bandwidth, MB/s.
    #[serde(rename = "minBWS", skip_serializing_if = "is_zero")]
    pub min_bws: i64,
    /// Latency, in microseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub latency: i64,
}

/// OpenSDS `dataProtection`, of a profile or a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataProtection {
    /// Whether copies are kept apart.
    pub is_isolated: bool,
    /// Shortest time copies are kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_lifetime: String,
    /// How far away copies are: `Datacenter`, `Rack` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recovery_geographic_objective: String,
    /// Most data that may be lost, as a time.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recovery_point_objective_time: String,
    /// Longest time to get data back: `Immediate`, `Online` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recovery_time_objective: String,
    /// `Mirror`, `Snapshot`, `Clone` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replica_type: String,
}

/// OpenSDS `replicationProperties`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicationProperties {
    /// How copies are protected.
    pub data_protection: DataProtection,
    /// How they are kept in step.
    pub replica_infos: ReplicaInfos,
}

/// OpenSDS `replicaInfos`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaInfos {
    /// `Active`, `Adaptive`, `Asynchronous` or `Synchronous`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replica_update_mode: String,
    /// Whether several copies are consistent with each other.
    #[serde(skip_serializing_if = "is_false")]
    pub consistency_enabled: bool,
    /// Time between updates.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replication_period: String,
    /// Most bandwidth, MB/s.
    #[serde(skip_serializing_if = "is_zero")]
    pub replication_bandwidth: i64,
}

/// OpenSDS `snapshotProperties`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotProperties {
    /// When.
    pub schedule: Schedule,
    /// How many, how long.
    pub retention: Retention,
    /// Where to.
    pub topology: Topology,
}

/// OpenSDS `schedule`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Schedule {
    /// First time.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datetime: String,
    /// `Daily`, `Weekly` or `Monthly`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub occurrence: String,
}

/// OpenSDS `retention`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// How many are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub number: i64,
    /// How many days they are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub duration: i64,
}

/// OpenSDS `topology`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Topology {
    /// Bucket that snapshots are uploaded to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
}

/// OpenSDS `dataProtectionProperties`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataProtectionProperties {
    /// How data is protected.
    pub data_protection: DataProtection,
    /// Whether several volumes are consistent with each other.
    #[serde(skip_serializing_if = "is_false")]
    pub consistency_enabled: bool,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}
