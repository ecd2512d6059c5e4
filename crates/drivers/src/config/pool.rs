//! The `pool` map, the same for every backend.
//!
//! A pool's key is its name. Every word means what it means in OpenSDS and has its default: zone
//! `default`, no multi-attach. What `extras.advanced` holds is the operator's own and is kept as
//! it is, for profiles to choose by.

use osds_model::Capacity;
use osds_model::pool::{PoolExtras, PoolSpec};
use osds_model::profile::{DataProtection, DataStorage, IoConnectivity};

use super::document::Section;
use super::{ConfigError, Warning};

/// One pool, as the operator describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// Its key in the `pool` map.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// `block`, `file` or `object`.
    pub storage_type: String,
    /// Where hosts must be to reach it; `default` when not said.
    pub availability_zone: String,
    /// Whether its volumes may be attached to several hosts; false when not said.
    pub multi_attach: bool,
    /// What it promises.
    pub extras: PoolExtras,
}

impl PoolConfig {
    /// The pool as it is reported, with what the backend really has.
    #[must_use]
    pub fn spec(&self, total: Capacity, usable: Capacity) -> PoolSpec {
        PoolSpec {
            name: self.name.clone(),
            description: self.description.clone(),
            storage_type: self.storage_type.clone(),
            availability_zone: self.availability_zone.clone(),
            multi_attach: self.multi_attach,
            total,
            usable,
            extras: self.extras.clone(),
        }
    }
}

/// Reads the `pool` map; `own` reads the backend's own keys of each pool.
pub(super) fn read_pools<T>(
    top: &mut Section<'_>,
    warnings: &mut Vec<Warning>,
    mut own: impl FnMut(&PoolConfig, &mut Section<'_>) -> Result<T, ConfigError>,
) -> Result<Vec<(PoolConfig, T)>, ConfigError> {
    let none = |top: &Section<'_>| {
        let remedy = "write pool: and below it, indented, one name: for each pool";
        top.wrong("pool", "must describe at least one pool", remedy)
    };
    let Some(map) = top.section("pool")? else { return Err(none(top)) };
    let mut pools = Vec::new();
    for name in map.names() {
        let Some(mut section) = map.inner(name)? else {
            let remedy = format!("write {name}: and, indented below it, storageType: block");
            return Err(map.wrong(name, "must describe the pool", &remedy));
        };
        let config = read_pool(name, &mut section, warnings)?;
        let own = own(&config, &mut section)?;
        section.finish(warnings);
        pools.push((config, own));
    }
    if pools.is_empty() { Err(none(top)) } else { Ok(pools) }
}

fn read_pool(
    name: &str,
    section: &mut Section<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<PoolConfig, ConfigError> {
    let storage_type = one_of(section, "storageType", &["block", "file", "object"])?;
    let mut config = PoolConfig {
        name: name.to_owned(),
        description: section.text("description")?.unwrap_or_default(),
        storage_type: storage_type.unwrap_or_else(|| "block".to_owned()),
        availability_zone: section
            .text("availabilityZone")?
            .unwrap_or_else(|| "default".to_owned()),
        multi_attach: section.flag("multiAttach")?.unwrap_or(false),
        extras: PoolExtras::default(),
    };
    if let Some(mut extras) = section.section("extras")? {
        if let Some(block) = extras.section("dataStorage")? {
            config.extras.data_storage = read_data_storage(block, warnings)?;
        }
        if let Some(block) = extras.section("ioConnectivity")? {
            config.extras.io_connectivity = read_io_connectivity(block, warnings)?;
        }
        if let Some(block) = extras.section("dataProtection")? {
            config.extras.data_protection = read_data_protection(block, warnings)?;
        }
        if let Some(block) = extras.section("advanced")? {
            config.extras.advanced =
                block.names().map(|name| (name.to_owned(), block.free(name))).collect();
        }
        extras.finish(warnings);
    }
    Ok(config)
}

fn read_data_storage(
    mut block: Section<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<DataStorage, ConfigError> {
    let data = DataStorage {
        recovery_time_objective: block.whole("recoveryTimeObjective")?.unwrap_or_default(),
        provisioning_policy: one_of(&mut block, "provisioningPolicy", &["Thin", "Thick"])?
            .unwrap_or_default(),
        character_code_set: block.text("characterCodeSet")?.unwrap_or_default(),
        max_file_name_length_bytes: block.whole("maxFileNameLengthBytes")?.unwrap_or_default(),
        storage_access_capability: block.texts("storageAccessCapability")?,
        compression: block.flag("compression")?.unwrap_or_default(),
        deduplication: block.flag("deduplication")?.unwrap_or_default(),
        is_space_efficient: block.flag("isSpaceEfficient")?,
    };
    block.finish(warnings);
    Ok(data)
}

fn read_io_connectivity(
    mut block: Section<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<IoConnectivity, ConfigError> {
    let io = IoConnectivity {
        access_protocol: block.text("accessProtocol")?.unwrap_or_default(),
        max_iops: block.whole("maxIOPS")?.unwrap_or_default(),
        min_iops: block.whole("minIOPS")?.unwrap_or_default(),
        max_bws: block.whole("maxBWS")?.unwrap_or_default(),
        min_bws: block.whole("minBWS")?.unwrap_or_default(),
        latency: block.whole("latency")?.unwrap_or_default(),
    };
    block.finish(warnings);
    Ok(io)
}

fn read_data_protection(
    mut block: Section<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<DataProtection, ConfigError> {
    let mut text = |name| block.text(name).map(Option::unwrap_or_default);
    let protection = DataProtection {
        min_lifetime: text("minLifetime")?,
        recovery_geographic_objective: text("recoveryGeographicObjective")?,
        recovery_point_objective_time: text("recoveryPointObjectiveTime")?,
        recovery_time_objective: text("recoveryTimeObjective")?,
        replica_type: text("replicaType")?,
        is_isolated: block.flag("isIsolated")?.unwrap_or_default(),
    };
    block.finish(warnings);
    Ok(protection)
}

/// One of these words, in any case; it becomes the word as it is spelled here.
fn one_of(
    section: &mut Section<'_>,
    name: &'static str,
    words: &[&str],
) -> Result<Option<String>, ConfigError> {
    let Some(text) = section.text(name)? else { return Ok(None) };
    match words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
        Some(word) => Ok(Some((*word).to_owned())),
        None => {
            let must = format!("must be one of {}", words.join(", "));
            Err(section.wrong(name, &must, &format!("write for example {name}: {}", words[0])))
        }
    }
}
