//! `[auth]`: who may use the API, and `[api]`'s certificate.
//!
//! The names are those of the original's `[keystone_authtoken]`, so that a file can be carried over
//! key by key. A password stands in the file or, better, in a file of its own.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::SignedDuration;
use osds_keyring::password::Written;
use osds_policy::Policy;
use osds_rest::{Authority, Tls};
use osds_rest_api::keystone::{Domain, Login};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// `[auth]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// How callers are known.
    pub strategy: Strategy,
    /// Rules in the language of `policy.json`, for keystone; the original's own when absent.
    pub policy_file: Option<PathBuf>,
    /// The identity service.
    pub keystone: Option<KeystoneConfig>,
}

/// How callers are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The tenant in the path is believed.
    #[default]
    Noauth,
    /// Tokens are checked by a Keystone.
    Keystone,
}

/// `[auth.keystone]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeystoneConfig {
    /// Its address, with or without `/v3`.
    pub auth_url: String,
    /// Our own user, which may validate tokens.
    pub username: String,
    /// Its password, as it is or sealed by `osds password encrypt`.
    #[serde(default)]
    pub password: Option<Password>,
    /// A file with the password, read at start; blanks around it are cut off.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Whether the password is ciphertext of the original's `pwdEncrypter`.
    #[serde(default)]
    pub enable_encrypted: bool,
    /// The domain of our user.
    #[serde(default = "default_domain")]
    pub user_domain_name: String,
    /// Our own project.
    #[serde(default = "service")]
    pub project_name: String,
    /// The domain of our project.
    #[serde(default = "default_domain")]
    pub project_domain_name: String,
    /// Certificates (PEM) to trust for https; the usual ones when absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long a proven token is believed without asking again.
    #[serde(default = "five_seconds")]
    pub token_cache: SignedDuration,
}

fn default_domain() -> String {
    "Default".to_owned()
}

fn service() -> String {
    "service".to_owned()
}

fn five_seconds() -> SignedDuration {
    SignedDuration::from_secs(5)
}

/// A text that is not printed.
#[derive(Clone)]
pub struct Password(String);

/// What is not one is not repeated.
impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from);
        text.map(Self).map_err(|_| D::Error::custom("a password is a text in quotes"))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl Auth {
    /// Makes paths relative to the configuration's own folder.
    pub(super) fn at_home(&mut self, home: &Path) {
        let keystone = self.keystone.as_mut();
        let (password, ca) = keystone.map_or((None, None), |keystone| {
            (keystone.password_file.as_mut(), keystone.ca_file.as_mut())
        });
        for path in [self.policy_file.as_mut(), password, ca].into_iter().flatten() {
            *path = home.join(&*path);
        }
    }

    /// What can be said without reading anything else.
    pub(super) fn check(&self) -> Result<()> {
        if self.strategy == Strategy::Noauth {
            return Ok(());
        }
        let Some(keystone) = &self.keystone else {
            bail!("auth.strategy is keystone: say in [auth.keystone] where it is and who we are");
        };
        if keystone.password.is_some() == keystone.password_file.is_some() {
            bail!("[auth.keystone] needs either password or password_file");
        }
        if keystone.token_cache.is_negative() {
            bail!("auth.keystone.token_cache must not be negative; 0s asks for every request");
        }
        Ok(())
    }

    /// Reads what the section names. What is odd and no mistake is added to `odd`.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(crate) fn authority(&self, key_file: &Path, odd: &mut Vec<String>) -> Result<Authority> {
        let keystone = match (self.strategy, &self.keystone) {
            (Strategy::Keystone, Some(keystone)) => keystone,
            (Strategy::Keystone | Strategy::Noauth, _) => return Ok(Authority::noauth()),
        };
        let policy = self.policy()?;
        odd.extend(policy.warnings().iter().map(|warning| format!("policy: {warning}")));
        let password = match (&keystone.password, &keystone.password_file) {
            (Some(password), _) => password.0.clone(),
            (None, Some(path)) => {
                odd.extend(open_to_others(path));
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read password_file {}", path.display()))?
                    .trim()
                    .to_owned()
            }
            (None, None) => String::new(),
        };
        let how = Written { encrypted: keystone.enable_encrypted, key_file };
        let password = how.open(&password).context("in [auth.keystone], the password")?;
        let login = Login {
            auth_url: keystone.auth_url.clone(),
            username: keystone.username.clone(),
            password: password.reveal().to_owned(),
            user_domain: Domain::Name(keystone.user_domain_name.clone()),
            project_name: keystone.project_name.clone(),
            project_domain: Domain::Name(keystone.project_domain_name.clone()),
            ca_file: keystone.ca_file.clone(),
        };
        let token_cache = Duration::try_from(keystone.token_cache).unwrap_or_default();
        Authority::keystone(login, token_cache, policy).context("in [auth.keystone]")
    }

    fn policy(&self) -> Result<Policy> {
        let Some(path) = &self.policy_file else { return Ok(Policy::built_in()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read policy {}", path.display()))?;
        Policy::parse(&text).with_context(|| format!("in policy {}", path.display()))
    }
}

/// Said of a secret file that others may read. Certificate tools and habits make such files, so it
/// is not refused.
fn open_to_others(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let why = format!("others may read {} (mode {mode:o}); chmod 600 it", path.display());
    (mode & 0o007 != 0).then_some(why)
}

/// The port's certificate, when the API is to speak TLS.
///
/// # Errors
/// Only one of the two is given, or they cannot be used.
pub(crate) fn tls(
    certificate: Option<&Path>,
    key: Option<&Path>,
    odd: &mut Vec<String>,
) -> Result<Option<Tls>> {
    odd.extend(key.and_then(open_to_others));
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(Tls::load(certificate, key)?)),
        (Some(_), None) | (None, Some(_)) => {
            bail!("api.tls_certificate and api.tls_key go together: give both or neither")
        }
    }
}
