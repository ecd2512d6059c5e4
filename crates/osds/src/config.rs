//! `osds.toml`: everything the daemon needs to know, in one file.
//!
//! Unknown keys are mistakes and are refused with their line. Every value has a default, so an
//! empty file (or none) runs one machine with a file pool. Paths are relative to the file itself.

pub(crate) mod auth;
mod nvme;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::SignedDuration;
use osds_drivers::config::OriginalDriver;
use osds_keyring::chap::Chap;
use osds_model::host::Protocol;
use serde::Deserialize;

use self::auth::Auth;
pub use self::nvme::Nvme;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where records, ledgers and (by default) volumes are kept.
    pub data_dir: PathBuf,
    /// The REST API.
    pub api: Api,
    /// Who may use the REST API.
    pub auth: Auth,
    /// Metrics for Prometheus; none when absent.
    pub metrics: Option<Metrics>,
    /// Where records go.
    pub store: StoreConfig,
    /// What secrets are sealed with.
    pub secrets: Secrets,
    /// What hosts prove when they log in.
    pub iscsi: Login,
    /// The loop that makes wishes come true.
    pub controller: ControllerConfig,
    /// What the daemon says.
    pub log: Log,
    /// Storage backends, each with its dock; one file pool when there is none.
    #[serde(rename = "backend")]
    pub backends: Vec<Backend>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/osds"),
            api: Api::default(),
            auth: Auth::default(),
            metrics: None,
            store: StoreConfig::default(),
            secrets: Secrets::default(),
            iscsi: Login::default(),
            controller: ControllerConfig::default(),
            log: Log::default(),
            backends: Vec::new(),
        }
    }
}

/// `[api]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address of the REST API.
    pub listen: SocketAddr,
    /// Most connections at once.
    pub max_connections: usize,
    /// Longest time one request may take, waiting included.
    pub request_timeout: SignedDuration,
    /// Certificate chain (PEM), our own first: with it the API speaks https only.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM).
    pub tls_key: Option<PathBuf>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50040)),
            max_connections: 1024,
            request_timeout: SignedDuration::from_secs(120),
            tls_certificate: None,
            tls_key: None,
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address of `/metrics`.
    pub listen: SocketAddr,
    /// Attachments with metrics of their own.
    #[serde(default = "max_attachments")]
    pub max_attachments: usize,
}

fn max_attachments() -> usize {
    osds_rest::MetricsSettings::default().max_attachments
}

/// `[store]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Which store.
    pub kind: StoreKind,
}

/// Where records go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A database file in the data directory.
    #[default]
    Embedded,
    /// Nowhere: all is forgotten at the end. For trials only.
    Memory,
}

/// `[secrets]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// The file with the keys; `keys` in the data directory when nothing is said. It is made at the
    /// first start.
    pub key_file: Option<PathBuf>,
}

/// `[iscsi]`: what is the same for every backend.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// Who proves himself when a host logs in.
    pub chap: Chap,
}

/// `[controller]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControllerConfig {
    /// Time between looks at everything.
    pub sweep_every: SignedDuration,
    /// How many volumes of one backend are worked on at once.
    pub workers: usize,
    /// First pause after a failure; doubled each time.
    pub retry_first: SignedDuration,
    /// Longest pause.
    pub retry_most: SignedDuration,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            sweep_every: SignedDuration::from_secs(30),
            workers: 64,
            retry_first: SignedDuration::from_millis(200),
            retry_most: SignedDuration::from_secs(30),
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is said, in the syntax of `RUST_LOG`, which overrides it.
    pub level: String,
    /// How it is said.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How the daemon logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[[backend]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its name, also that of its dock.
    pub name: String,
    /// Words for people.
    #[serde(default)]
    pub description: String,
    /// Storage driver.
    pub driver: StorageKind,
    /// The driver's YAML file.
    pub config: PathBuf,
    /// How hosts reach its volumes; by its pools' `accessProtocol` when it is not said.
    #[serde(default)]
    pub target: Option<TargetKind>,
    /// The iSCSI target's settings, the built-in one's and the kernel's.
    #[serde(default)]
    pub iscsi: Iscsi,
    /// The kernel's NVMe target's settings.
    #[serde(default)]
    pub nvme: Nvme,
    /// The local target's settings.
    #[serde(default)]
    pub local: Local,
}

impl Backend {
    /// Its target: the one it names, or else the one that speaks what all its pools say.
    #[must_use]
    pub fn target_for<'a>(&self, spoken: impl IntoIterator<Item = &'a str>) -> TargetKind {
        let mut spoken = spoken.into_iter().peekable();
        let is_nvme = |word: &str| word.eq_ignore_ascii_case(Protocol::NvmeOf.as_str());
        let is_all_nvme = spoken.peek().is_some() && spoken.all(is_nvme);
        let by_pools = if is_all_nvme { TargetKind::Nvmet } else { TargetKind::Embedded };
        self.target.unwrap_or(by_pools)
    }
}

/// A target: how hosts reach volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// The built-in iSCSI target.
    Embedded,
    /// The iSCSI target of this machine's kernel.
    Lio,
    /// The NVMe over TCP target of this machine's kernel.
    Nvmet,
    /// Loop devices, for hosts that are this machine.
    Local,
}

impl TargetKind {
    /// Every one there is.
    pub const ALL: [Self; 4] = [Self::Embedded, Self::Lio, Self::Nvmet, Self::Local];

    /// What its hosts speak; the word that pools have for it in their driver YAML.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Embedded | Self::Lio => Protocol::Iscsi,
            Self::Nvmet => Protocol::NvmeOf,
            Self::Local => Protocol::Local,
        }
    }
}

/// `[backend.local]`: the target for hosts that are this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    /// How long a detach waits for writes under way before it reports a fault.
    pub drain_timeout: SignedDuration,
}

impl Default for Local {
    fn default() -> Self {
        Self { drain_timeout: SignedDuration::from_secs(10) }
    }
}

/// A storage driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StorageKind {
    /// Sparse files in a directory.
    File,
    /// Logical volumes in a volume group.
    Lvm,
    /// Huawei FusionStorage, which is its own target.
    FusionStorage,
    /// One of the original's that osds does not have: its file can be checked, and no more.
    NotYet(&'static OriginalDriver),
}

impl TryFrom<String> for StorageKind {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        match (name.as_str(), OriginalDriver::named(&name)) {
            ("file", _) => Ok(Self::File),
            ("lvm", _) => Ok(Self::Lvm),
            ("huawei_fusionstorage", _) => Ok(Self::FusionStorage),
            (_, Some(driver)) => Ok(Self::NotYet(driver)),
            (_, None) => Err(format!(
                "there is no driver {name:?}; osds has: file, lvm, huawei_fusionstorage"
            )),
        }
    }
}

/// `[backend.iscsi]`: the built-in target, and the kernel's (`lio`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Iscsi {
    /// Addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// What hosts are told to connect to, as `address:port`; where it listens when empty.
    pub advertise: Vec<String>,
    /// Target names are this, a colon and the volume's id.
    pub iqn_prefix: String,
    /// Most connections at once.
    pub max_connections: usize,
    /// How long a detach waits for commands that are running before it reports a fault.
    pub drain_timeout: SignedDuration,
}

impl Iscsi {
    /// What hosts are told must be something that they can use.
    fn check(&self) -> Result<()> {
        let prefix = &self.iqn_prefix;
        let dated = prefix.strip_prefix("iqn.").is_some_and(|rest| !rest.is_empty());
        let name =
            osds_iscsi::Name::new(&format!("{prefix}:{}", osds_model::VolumeId::from_u128(0)));
        if let (false, _) | (_, Err(_)) = (dated, &name) {
            let why = name.err().map_or_else(
                || "it must begin with iqn. and a date, such as iqn.2017-10.io.opensds".to_owned(),
                |error| error.to_string(),
            );
            bail!("iscsi.iqn_prefix '{prefix}' makes no target name: {why}");
        }
        check_advertised("iscsi.advertise", 3260, &self.advertise)
    }
}

/// What hosts are told to connect to must be an address and a port.
fn check_advertised(key: &str, example: u16, advertise: &[String]) -> Result<()> {
    for portal in advertise {
        let parts = portal.rsplit_once(':');
        let port = parts.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
        let host = parts.map_or("", |(host, _)| host);
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let address = bare.parse::<std::net::IpAddr>();
        let bracketed = bare.len() != host.len();
        if port.is_none() || bare.is_empty() || bracketed != bare.contains(':') {
            bail!(
                "{key} '{portal}' must be address:port, such as 192.0.2.7:{example} or \
                 [2001:db8::7]:{example}"
            );
        }
        if address.is_ok_and(|address| address.is_unspecified()) {
            bail!("{key} '{portal}' is an address that hosts cannot connect to");
        }
    }
    Ok(())
}

impl Iscsi {
    /// The kernel says nobody where it listens: that must be known from here.
    fn check_for_kernel(&self) -> Result<()> {
        for address in &self.listen {
            if address.port() == 0 {
                bail!("iscsi.listen '{address}': the kernel's target picks no port; give one");
            }
            if address.ip().is_unspecified() && self.advertise.is_empty() {
                bail!(
                    "iscsi.listen '{address}' is no address that hosts can connect to: say in \
                     iscsi.advertise which they shall use"
                );
            }
        }
        Ok(())
    }
}

impl Default for Iscsi {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 3260))],
            advertise: Vec::new(),
            iqn_prefix: osds_drivers::target::embedded::IQN_PREFIX.to_owned(),
            max_connections: 1024,
            drain_timeout: SignedDuration::from_secs(10),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read configuration {}", path.display()))?;
        let mut config =
            Self::parse(&text).with_context(|| format!("in configuration {}", path.display()))?;
        let home = path.parent().unwrap_or(Path::new("."));
        config.data_dir = home.join(&config.data_dir);
        if let Some(file) = &mut config.secrets.key_file {
            *file = home.join(&*file);
        }
        config.auth.at_home(home);
        for path in [&mut config.api.tls_certificate, &mut config.api.tls_key] {
            *path = path.take().map(|path| home.join(path));
        }
        for backend in &mut config.backends {
            backend.config = home.join(&backend.config);
        }
        Ok(config)
    }

    /// Reads and checks the text of a file; paths stay as they are.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| shown(error, text))?;
        config.check()?;
        Ok(config)
    }

    /// Where the keys are.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.secrets.key_file.clone().unwrap_or_else(|| self.data_dir.join("keys"))
    }

    fn check(&self) -> Result<()> {
        let positive = [
            ("api.request_timeout", self.api.request_timeout),
            ("controller.sweep_every", self.controller.sweep_every),
            ("controller.retry_first", self.controller.retry_first),
            ("controller.retry_most", self.controller.retry_most),
        ];
        for (key, value) in positive {
            duration(value).with_context(|| format!("{key} must be longer than nothing"))?;
        }
        self.auth.check()?;
        for (index, backend) in self.backends.iter().enumerate() {
            duration(backend.iscsi.drain_timeout)
                .context("iscsi.drain_timeout must be longer than nothing")?;
            duration(backend.local.drain_timeout)
                .context("local.drain_timeout must be longer than nothing")?;
            let name = &backend.name;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                bail!("backend name '{name}' must be letters, digits, '-', '_' and '.'");
            }
            if self.backends[..index].iter().any(|other| other.name == *name) {
                bail!("backend name '{name}' is used twice; give each backend its own");
            }
            if backend.iscsi.listen.is_empty() {
                bail!("backend '{name}' has an empty iscsi.listen; give at least one address");
            }
            backend.iscsi.check().with_context(|| format!("backend '{name}'"))?;
            backend.nvme.check().with_context(|| format!("backend '{name}'"))?;
            if backend.target == Some(TargetKind::Lio) {
                backend.iscsi.check_for_kernel().with_context(|| format!("backend '{name}'"))?;
            }
        }
        Ok(())
    }
}

/// What the parser says, with the line that it is about, unless a password may stand there: what is
/// said of a mistake ends up in logs.
fn shown(mut error: toml::de::Error, text: &str) -> anyhow::Error {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let table = before.lines().rfind(|line| line.trim_start().starts_with('['));
    let is_private = |text: &str| {
        let text = text.to_lowercase();
        ["pas", "pwd", "keystone"].iter().any(|word| text.contains(word))
    };
    if !is_private(line) && !table.is_some_and(is_private) {
        return error.into();
    }
    let (row, column) = (before.matches('\n').count() + 1, at - start + 1);
    // Else it is printed with the line.
    error.set_input(None);
    anyhow::anyhow!("TOML parse error at line {row}, column {column}\n{}", error.message())
}

/// A configured duration, which must be positive.
pub fn duration(value: SignedDuration) -> Result<Duration> {
    match Duration::try_from(value) {
        Ok(value) if !value.is_zero() => Ok(value),
        Ok(_) | Err(_) => bail!("{value:#} is not a usable duration; write for example 30s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let text = include_str!("../../../docs/examples/osds.toml");
        let example = Config::parse(text).unwrap();
        let defaults = Config::default();
        assert_eq!(format!("{:?}", example.api), format!("{:?}", defaults.api));
        assert_eq!(format!("{:?}", example.controller), format!("{:?}", defaults.controller));
        assert_eq!(format!("{:?}", example.log), format!("{:?}", defaults.log));
        assert_eq!(example.iscsi.chap, defaults.iscsi.chap);
        let iscsi = &example.backends[0].iscsi;
        assert_eq!(format!("{iscsi:?}"), format!("{:?}", Iscsi::default()));
    }

    #[test]
    fn metrics_are_off_until_their_lines_are_uncommented() {
        let text = include_str!("../../../docs/examples/osds.toml");
        assert!(Config::parse(text).unwrap().metrics.is_none());
        let lines = ["[metrics]", "listen = \"127.0.0.1:9", "max_attachments ="];
        let text = lines.iter().fold(text.to_owned(), |text, line| {
            assert!(text.contains(&format!("\n# {line}")), "no '# {line}' in the example");
            text.replace(&format!("\n# {line}"), &format!("\n{line}"))
        });
        let metrics = Config::parse(&text).unwrap().metrics.unwrap();
        assert_eq!(metrics.max_attachments, max_attachments());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let error = |text: &str| format!("{:#}", Config::parse(text).unwrap_err());
        let unknown = error("[api]\nlisten = \"127.0.0.1:1\"\nlisten_adress = 1\n");
        assert!(unknown.contains("line 3") && unknown.contains("listen_adress"), "{unknown}");
        let zero = error("[controller]\nsweep_every = \"0s\"\n");
        assert!(zero.contains("controller.sweep_every"), "{zero}");
        let listen = error("[api]\nlisten = \"nonsense\"\n");
        assert!(listen.contains("nonsense"), "{listen}");
        for slip in [
            "pasword = \"hunter2\"\n",
            "password = hunter2\n",
            "password = \"hunter2\n",
            "password = [\"hunter2\"]\n",
            "password = \"hunter2\"\npassword = \"hunter2\"\n",
            "username = \"hunter2\" x\n",
        ] {
            let said = error(&format!("[auth.keystone]\nauth_url = \"http://k\"\n{slip}"));
            assert!(said.contains("line ") && !said.contains("hunter2"), "{said}");
        }
        let said = error("[auth]\nkeystone = { password = 12345 }\n");
        assert!(said.contains("a text in quotes") && !said.contains("12345"), "{said}");
        let backend = "[[backend]]\nname = \"a\"\ndriver = \"file\"\nconfig = \"a.yaml\"\n";
        let twice = error(&format!("{backend}{backend}"));
        assert!(twice.contains("'a' is used twice"), "{twice}");
        let lio = |listen| {
            format!("{backend}target = \"lio\"\n[backend.iscsi]\nlisten = [\"{listen}\"]\n")
        };
        assert!(error(&lio("192.0.2.1:0")).contains("picks no port"));
        assert!(error(&lio("[::]:3260")).contains("iscsi.advertise"));
        Config::parse(&lio("192.0.2.1:3260")).unwrap();
        let path = error(&backend.replace("\"a\"", "\"../a\""));
        assert!(path.contains("must be letters"), "{path}");
    }
}
