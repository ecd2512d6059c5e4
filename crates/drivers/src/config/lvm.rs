//! The YAML of the original's LVM driver. The driver itself is still to come; that its files can be
//! read is settled here. A pool's name is that of its volume group; every key has the original's
//! default.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::pool::{PoolConfig, read_pools};
use super::{ConfigError, Loaded, read};

/// The configuration of the LVM driver.
#[derive(Clone, Debug, PartialEq)]
pub struct LvmConfig {
    /// Where the target listens.
    pub bind_ip: IpAddr,
    /// Where the original has tgt's configuration.
    pub tgt_conf_dir: PathBuf,
    /// Whether hosts prove themselves by CHAP.
    pub chap: bool,
    /// Its pools, in the order of the file; their names are volume groups.
    pub pools: Vec<PoolConfig>,
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
        let pools = read_pools(&mut top, &mut warnings, |_, _| Ok(()))?;
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
            pools: pools.into_iter().map(|(pool, ())| pool).collect(),
        };
        top.finish(&mut warnings);
        Ok(Loaded { config, warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_and_the_defaults() {
        let text = include_str!("../../../../docs/examples/drivers/lvm.yaml");
        let Loaded { config, warnings } = LvmConfig::parse(Path::new("lvm.yaml"), text).unwrap();
        assert_eq!(warnings, []);
        assert!(config.chap && config.pools[0].name == "opensds-volumes");
        let config = LvmConfig::parse(Path::new("x"), "pool: {vg: {}}").unwrap().config;
        assert_eq!((config.bind_ip.to_string().as_str(), config.chap), ("127.0.0.1", false));
        let error = LvmConfig::parse(Path::new("x"), "tgtBindIp: here\npool: {vg: {}}");
        assert!(error.unwrap_err().to_string().contains("must be an IP address"));
    }
}
