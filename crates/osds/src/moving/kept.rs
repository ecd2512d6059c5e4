//! What the original keeps in etcd, as far as osds has a place for it.
//!
//! A key is a path that ends in the thing's id; a value is the JSON of its wire. Zeros and empty
//! texts are left out by Go, so everything has a default. What cannot be read is listed with its key
//! and never stops the rest.

use std::collections::BTreeMap;

use osds_model::profile::{
    DataProtectionProperties, ProvisioningProperties, ReplicationProperties, SnapshotProperties,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::etcd::Pair;

/// All keys of the original begin with this.
pub(crate) const PREFIX: &str = "/opensds/v1beta/";

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) profiles: Vec<OldProfile>,
    pub(crate) hosts: Vec<OldHost>,
    pub(crate) volumes: Vec<OldVolume>,
    pub(crate) attachments: Vec<OldAttachment>,
    pub(crate) pools: Vec<OldPool>,
    /// Noun and id of what osds has no place for.
    pub(crate) others: Vec<(&'static str, String)>,
    /// Key and reason.
    pub(crate) unreadable: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OldProfile {
    pub(crate) id: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) storage_type: String,
    pub(crate) provisioning_properties: ProvisioningProperties,
    pub(crate) replication_properties: ReplicationProperties,
    pub(crate) snapshot_properties: SnapshotProperties,
    pub(crate) data_protection_properties: DataProtectionProperties,
    pub(crate) custom_properties: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OldHost {
    pub(crate) id: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    pub(crate) host_name: String,
    pub(crate) os_type: String,
    pub(crate) access_mode: String,
    pub(crate) ip: String,
    pub(crate) port: i64,
    pub(crate) username: String,
    pub(crate) availability_zones: Option<Vec<String>>,
    pub(crate) initiators: Option<Vec<OldInitiator>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OldInitiator {
    pub(crate) port_name: String,
    pub(crate) protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OldVolume {
    pub(crate) id: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) size: i64,
    pub(crate) availability_zone: String,
    pub(crate) status: String,
    pub(crate) pool_id: String,
    pub(crate) profile_id: String,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    pub(crate) multi_attach: bool,
    pub(crate) snapshot_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OldAttachment {
    pub(crate) id: String,
    pub(crate) host_id: String,
    pub(crate) volume_id: String,
    pub(crate) status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OldPool {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Kept {
    /// Sorts out what was read.
    pub(crate) fn new(pairs: &[Pair]) -> Self {
        let mut kept = Self::default();
        for (key, value) in pairs {
            let Some(path) = key.strip_prefix(PREFIX) else { continue };
            let id = path.rsplit('/').next().unwrap_or_default().to_owned();
            let kind =
                |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
            let read = if kind("profiles") {
                push(&mut kept.profiles, value, &id, |one| &one.id)
            } else if kind("host/hosts") {
                push(&mut kept.hosts, value, &id, |one| &one.id)
            } else if kind("block/volumes") {
                push(&mut kept.volumes, value, &id, |one| &one.id)
            } else if kind("block/attachments") {
                push(&mut kept.attachments, value, &id, |one| &one.id)
            } else if kind("pools") {
                push(&mut kept.pools, value, &id, |one| &one.id)
            } else {
                let noun = NOUNS.iter().find(|(folder, _)| kind(folder)).map(|(_, noun)| *noun);
                // Docks make themselves known.
                if !kind("docks") {
                    kept.others.push((noun.unwrap_or("unknown"), id));
                }
                Ok(())
            };
            if let Err(why) = read {
                kept.unreadable.push((key.clone(), why));
            }
        }
        kept
    }
}

/// What osds has no place for yet.
const NOUNS: [(&str, &str); 6] = [
    ("block/snapshots", "snapshot"),
    ("block/replications", "replication"),
    ("block/volumeGroups", "volume group"),
    ("file/shares", "file share"),
    ("file/acls", "file share acl"),
    ("file/snapshots", "file share snapshot"),
];

fn push<T: DeserializeOwned>(
    all: &mut Vec<T>,
    value: &[u8],
    id: &str,
    id_of: impl Fn(&T) -> &String,
) -> Result<(), String> {
    // Without a line of it: a host's record may have a password.
    let one: T = serde_json::from_slice(value).map_err(|error| {
        format!(
            "its value is not the JSON of one (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    if id_of(&one) != id {
        return Err("its value has another id".to_owned());
    }
    all.push(one);
    Ok(())
}
