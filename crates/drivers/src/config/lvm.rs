//! The YAML of the original's LVM driver, and what is ours beside it.
//!
//! A pool's name is that of its volume group, unless `volumeGroup` says another; `thinPool` names the
//! thin pool of the group in which its volumes are made, and without it they are thick. Every key of
//! the original has the original's default. Must stay true: no two pools are the same.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::document::{Document, Section};
use super::file::over_subscription;
use super::pool::{PoolConfig, read_pools};
use super::{ConfigError, Loaded, Warning, read};

/// The configuration of the LVM driver.
#[derive(Clone, Debug, PartialEq)]
pub struct LvmConfig {
    /// Where the original's target listens.
    pub bind_ip: IpAddr,
    /// Where the original has tgt's configuration.
    pub tgt_conf_dir: PathBuf,
    /// Whether the original has hosts prove themselves by CHAP.
    pub chap: bool,
    /// Its pools, in the order of the file.
    pub pools: Vec<LvmPoolConfig>,
}

/// One pool of the LVM driver.
#[derive(Clone, Debug, PartialEq)]
pub struct LvmPoolConfig {
    /// What every backend's pools have.
    pub pool: PoolConfig,
    /// The volume group that holds its volumes.
    pub volume_group: String,
    /// The thin pool in it that does; volumes are thick when there is none.
    pub thin_pool: Option<String>,
    /// How many times over a thin pool's space may be promised; 1 promises only what is there.
    pub over_subscription: u32,
}

impl LvmConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn load(file: &Path) -> Result<Loaded<Self>, ConfigError> {
        Self::parse(file, &read(file)?)
    }

    /// Reads `text`, which came from `file`.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Loaded<Self>, ConfigError> {
        let document = Document::parse(file, text)?;
        let (mut top, mut warnings) = (document.top()?, Vec::new());
        let pools = read_pools(&mut top, &mut warnings, own_keys)?;
        let pools: Vec<_> = pools.into_iter().map(|(_, own)| own).collect();
        for (index, pool) in pools.iter().enumerate() {
            warnings.extend(unlike_what_is_said(&top, pool));
            let same = |other: &&LvmPoolConfig| {
                other.volume_group == pool.volume_group && other.thin_pool == pool.thin_pool
            };
            if let Some(other) = pools[..index].iter().find(same) {
                let map = top.section("pool")?.expect("it was read above");
                let (group, name) = (&pool.volume_group, &other.pool.name);
                let must = format!("must have space of its own: pool {name} is in {group}, too");
                let remedy = "write another volumeGroup: or thinPool: for one of them";
                return Err(map.wrong(&pool.pool.name, &must, remedy));
            }
        }
        let bind_ip = top.text("tgtBindIp")?.unwrap_or_else(|| "127.0.0.1".to_owned());
        let Ok(bind_ip) = bind_ip.parse() else {
            let remedy = "write for example tgtBindIp: 192.0.2.1";
            return Err(top.wrong("tgtBindIp", "must be an IP address", remedy));
        };
        let config = Self {
            bind_ip,
            tgt_conf_dir: top
                .text("tgtConfDir")?
                .unwrap_or_else(|| "/etc/tgt/conf.d".to_owned())
                .into(),
            chap: top.flag("enableChapAuth")?.unwrap_or(false),
            pools,
        };
        top.finish(&mut warnings);
        Ok(Loaded { config, warnings })
    }
}

fn own_keys(pool: &PoolConfig, section: &mut Section<'_>) -> Result<LvmPoolConfig, ConfigError> {
    let volume_group = section.text("volumeGroup")?;
    let thin_pool = section.text("thinPool")?;
    for (key, name) in [("volumeGroup", &volume_group), ("thinPool", &thin_pool)] {
        if name.as_ref().is_some_and(|name| !is_a_name(name)) {
            let must = "must be a name that LVM takes: letters, digits, '+', '_', '.', '-'";
            return Err(section.wrong(key, must, &format!("write for example {key}: vg0")));
        }
    }
    if volume_group.is_none() && !is_a_name(&pool.name) {
        let must = "must say which volume group it is, as no group can have the pool's name";
        return Err(section.wrong("volumeGroup", must, "write for example volumeGroup: vg0"));
    }
    Ok(LvmPoolConfig {
        volume_group: volume_group.unwrap_or_else(|| pool.name.clone()),
        thin_pool,
        over_subscription: over_subscription(section)?,
        pool: pool.clone(),
    })
}

/// What becomes an argument of lvm's: never an option, a path or a tag.
fn is_a_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '.' | '-');
    !name.is_empty() && !name.starts_with(['-', '.']) && name.len() < 128 && name.chars().all(plain)
}

/// The original makes thick volumes whatever its file says; profiles choose by what it says.
fn unlike_what_is_said(top: &Section<'_>, own: &LvmPoolConfig) -> Option<Warning> {
    let said = &own.pool.extras.data_storage.provisioning_policy;
    let really = if own.thin_pool.is_some() { "Thin" } else { "Thick" };
    if said.is_empty() || said.eq_ignore_ascii_case(really) {
        return None;
    }
    let name = &own.pool.name;
    let what = format!(
        "pool {name} says provisioningPolicy: {said}, and its volumes are {}; a thinPool: makes them \
         thin",
        really.to_lowercase()
    );
    Some(Warning { place: top.place_of("pool"), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_and_the_defaults() {
        let text = include_str!("../../../../docs/examples/drivers/lvm.yaml");
        let Loaded { config, warnings } = LvmConfig::parse(Path::new("lvm.yaml"), text).unwrap();
        assert_eq!(warnings, []);
        assert!(config.chap && config.pools[0].pool.name == "opensds-volumes");
        assert_eq!(config.pools[0].volume_group, "opensds-volumes");
        assert_eq!(config.pools[1].thin_pool.as_deref(), Some("thin"));
        let config = LvmConfig::parse(Path::new("x"), "pool: {vg: {}}").unwrap().config;
        assert_eq!((config.bind_ip.to_string().as_str(), config.chap), ("127.0.0.1", false));
        let error = LvmConfig::parse(Path::new("x"), "tgtBindIp: here\npool: {vg: {}}");
        assert!(error.unwrap_err().to_string().contains("must be an IP address"));
    }

    #[test]
    fn pools_are_groups_and_thin_pools_in_them() {
        let parse = |yaml: &str| LvmConfig::parse(Path::new("x"), yaml);
        let said = |yaml: &str| parse(yaml).unwrap_err().to_string();
        let two = "pool: {a: {volumeGroup: vg}, b: {volumeGroup: vg, thinPool: t}}";
        let pools = parse(two).unwrap().config.pools;
        assert_eq!((&*pools[0].volume_group, pools[1].thin_pool.as_deref()), ("vg", Some("t")));
        let twice = said("pool: {a: {volumeGroup: vg}, vg: {}}");
        assert!(twice.contains("pool a is in vg"), "{twice}");
        for bad in ["-y", "a/b", "a b", "@tag", "''"] {
            let error = said(&format!("pool: {{a: {{volumeGroup: {bad:?}}}}}"));
            assert!(error.contains("a name that LVM takes"), "{error}");
        }
        assert!(said("pool: {'x y': {}}").contains("which volume group"));
        let thin = "pool: {vg: {extras: {dataStorage: {provisioningPolicy: Thin}}}}";
        let warnings = parse(thin).unwrap().warnings;
        assert!(warnings[0].what.contains("volumes are thick"), "{warnings:?}");
    }
}
