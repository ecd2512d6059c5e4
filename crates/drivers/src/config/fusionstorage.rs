//! The YAML of Huawei FusionStorage, as the original has it and as the multi-attach design prints
//! it. Keys of ours beside them: `insecure`, `caFile`, `fscCli`.
//!
//! Must stay true: the example that the design prints is read without a warning.

use std::path::{Path, PathBuf};

use super::document::Document;
use super::pool::{PoolConfig, read_pools};
use super::{ConfigError, Loaded, Secret, read};

/// The configuration of a FusionStorage array.
#[derive(Clone, Debug, PartialEq)]
pub struct FusionStorageConfig {
    /// Who logs in.
    pub username: String,
    /// The password, or its ciphertext.
    pub password: Secret,
    /// Whether `password` is ciphertext.
    pub encrypted: bool,
    /// The tool that decrypts it.
    pub encrypter: String,
    /// Where the array's REST service is.
    pub url: String,
    /// `6.3` or `8.0`; the design's example does not say, and `8.0` is meant.
    pub version: String,
    /// The manager's address.
    pub fm_ip: String,
    /// The agents' addresses.
    pub fsa_ips: Vec<String>,
    /// Whether any certificate is believed.
    pub insecure: bool,
    /// Certificates (PEM) to believe for `https://`; the usual ones when absent.
    pub ca_file: Option<PathBuf>,
    /// The array's own command, which knows the portals of 6.3.
    pub fsc_cli: PathBuf,
    /// Its pools, in the order of the file; their names are the array's pool numbers.
    pub pools: Vec<PoolConfig>,
}

impl FusionStorageConfig {
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
        let Some(mut login) = top.section("authOptions")? else {
            let remedy = "write authOptions: and below it, indented, username, password and url";
            return Err(top.wrong("authOptions", "must say how to log in", remedy));
        };
        let pools = read_pools(&mut top, &mut warnings, |_, _| Ok(()))?;
        let config = Self {
            username: login.needed_text("username")?,
            password: Secret::new(login.needed_text("password")?),
            encrypted: login.flag("EnableEncrypted")?.unwrap_or(false),
            encrypter: login.text("PwdEncrypter")?.unwrap_or_else(|| "aes".to_owned()),
            url: login.needed_text("url")?,
            version: login.text("version")?.unwrap_or_else(|| "8.0".to_owned()),
            fm_ip: login.text("fmIp")?.unwrap_or_default(),
            fsa_ips: login.texts("fsaIp")?,
            insecure: login.flag("insecure")?.unwrap_or(false),
            ca_file: login.text("caFile")?.map(|path| beside(file, &path)),
            fsc_cli: login.text("fscCli")?.unwrap_or_else(|| "fsc_cli".to_owned()).into(),
            pools: pools.into_iter().map(|(pool, ())| pool).collect(),
        };
        if !["6.3", "8.0"].contains(&config.version.as_str()) {
            let remedy = "write version: \"8.0\"";
            return Err(login.wrong("version", "must be 6.3 or 8.0", remedy));
        }
        login.finish(&mut warnings);
        top.finish(&mut warnings);
        Ok(Loaded { config, warnings })
    }
}

/// A path in the file is relative to the file.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(path)
}
