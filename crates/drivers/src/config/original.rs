//! The driver YAML of every backend of the original that osds does not drive: read, checked for
//! slips, and no more.
//!
//! One table knows each driver's own keys; the pools are the same for all. So a file can be judged
//! today, by the words that its own driver would use, whatever osds makes of the backend later. Of
//! a few drivers the keys are not known: their pools are read and the rest is left alone.
//!
//! Must stay true: whatever is a secret by its name is in [`Secret`].

use std::collections::BTreeMap;
use std::path::Path;

use super::document::{Document, Section};
use super::pool::{PoolConfig, read_pools};
use super::{ConfigError, FusionStorageConfig, Loaded, LvmConfig, Secret, Warning, read};

/// A driver of the original, by the name that its configuration has for it.
#[derive(Debug, PartialEq, Eq)]
pub struct OriginalDriver {
    /// Its name, as in `driver_name` of an `opensds.conf`.
    pub name: &'static str,
    keys: &'static [(&'static str, Key)],
    /// Whether those are all: then another one is a slip.
    complete: bool,
}

/// What stands under a key.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Text,
    Flag,
    Secret,
    /// Further keys, which are all of them.
    Section(&'static [(&'static str, Key)]),
    /// Further keys that are not known here.
    Anything,
}

use Key::{Anything, Flag, Section as Keys, Text};

const OCEANSTOR_LOGIN: &[(&str, Key)] = &[
    ("username", Text),
    ("password", Key::Secret),
    ("vstoreName", Text),
    ("PwdEncrypter", Text),
    ("EnableEncrypted", Flag),
    ("endpoints", Text),
    ("insecure", Flag),
];

const TARGET: &[(&str, Key)] =
    &[("tgtBindIp", Text), ("tgtConfDir", Text), ("enableChapAuth", Flag)];

const fn complete(name: &'static str, keys: &'static [(&'static str, Key)]) -> OriginalDriver {
    OriginalDriver { name, keys, complete: true }
}

/// Every one of them.
static DRIVERS: &[OriginalDriver] = &[
    complete("lvm", TARGET),
    complete("nfs", TARGET),
    complete("ceph", &[("configFile", Text)]),
    // Has a reader of its own.
    complete("huawei_fusionstorage", &[]),
    complete(
        "huawei_oceanstor_block",
        &[
            ("authOptions", Keys(OCEANSTOR_LOGIN)),
            ("replication", Keys(&[("remoteAuthOptions", Keys(OCEANSTOR_LOGIN))])),
            ("targetIp", Text),
        ],
    ),
    OriginalDriver {
        name: "huawei_oceanstor_file",
        keys: &[("authOptions", Keys(OCEANSTOR_LOGIN))],
        complete: false,
    },
    complete(
        "fujitsu_eternus",
        &[
            (
                "authOptions",
                Keys(&[
                    ("username", Text),
                    ("password", Key::Secret),
                    ("adminUsername", Text),
                    ("adminPassword", Key::Secret),
                    ("PwdEncrypter", Text),
                    ("EnableEncrypted", Flag),
                    ("endpoint", Text),
                    ("insecure", Flag),
                ]),
            ),
            ("replication", Anything),
            ("targetIp", Text),
            ("ceSupport", Flag),
        ],
    ),
    complete(
        "hpe_nimble",
        &[(
            "authOptions",
            Keys(&[
                ("username", Text),
                ("password", Key::Secret),
                ("endpoints", Text),
                ("insecure", Flag),
            ]),
        )],
    ),
    complete(
        "netapp_ontap_san",
        &[(
            "backendOptions",
            Keys(&[
                ("version", Text),
                ("storageDriverName", Text),
                ("managementLIF", Text),
                ("dataLIF", Text),
                ("svm", Text),
                ("igroupName", Text),
                ("username", Text),
                ("password", Key::Secret),
            ]),
        )],
    ),
    complete(
        "cinder",
        &[(
            "authOptions",
            Keys(&[
                ("noAuth", Flag),
                ("cinderEndpoint", Text),
                ("endpoint", Text),
                ("domainId", Text),
                ("domainName", Text),
                ("username", Text),
                ("password", Key::Secret),
                ("PwdEncrypter", Text),
                ("EnableEncrypted", Flag),
                ("tenantId", Text),
                ("tenantName", Text),
            ]),
        )],
    ),
    complete(
        "spectrumscale",
        &[
            ("tgtBindIp", Text),
            ("tgtConfDir", Text),
            ("username", Text),
            ("password", Key::Secret),
            ("port", Text),
            ("enableChapAuth", Flag),
        ],
    ),
    OriginalDriver { name: "manila", keys: &[], complete: false },
    OriginalDriver { name: "chubaofs", keys: &[], complete: false },
    OriginalDriver { name: "sample", keys: &[], complete: false },
];

/// What was read of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OriginalConfig {
    /// Its pools, in the order of the file.
    pub pools: Vec<PoolConfig>,
    /// The driver's own settings, by their dotted names.
    pub settings: BTreeMap<String, String>,
    /// Those that must not be seen.
    pub secrets: BTreeMap<String, Secret>,
}

impl OriginalDriver {
    /// The driver of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        DRIVERS.iter().find(|driver| driver.name == name)
    }

    /// Every one of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        DRIVERS
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn load(&self, file: &Path) -> Result<Loaded<OriginalConfig>, ConfigError> {
        self.parse(file, &read(file)?)
    }

    /// Reads `text`, which came from `file`.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn parse(&self, file: &Path, text: &str) -> Result<Loaded<OriginalConfig>, ConfigError> {
        // Those that will be driven are read by their own types, which know more.
        match self.name {
            "lvm" => LvmConfig::parse(file, text).map(|loaded| {
                only_pools(loaded, |c| c.pools.into_iter().map(|p| p.pool).collect())
            }),
            "huawei_fusionstorage" => FusionStorageConfig::parse(file, text)
                .map(|loaded| only_pools(loaded, |config| config.pools)),
            _ => self.parse_by_table(file, text),
        }
    }

    fn parse_by_table(
        &self,
        file: &Path,
        text: &str,
    ) -> Result<Loaded<OriginalConfig>, ConfigError> {
        let document = Document::parse(file, text)?;
        let (mut top, mut warnings) = (document.top()?, Vec::new());
        let pools = read_pools(&mut top, &mut warnings, |_, _| Ok(()))?;
        let mut config = OriginalConfig {
            pools: pools.into_iter().map(|(pool, ())| pool).collect(),
            ..OriginalConfig::default()
        };
        take(&mut top, "", self.keys, &mut config, &mut warnings)?;
        if self.complete {
            top.finish(&mut warnings);
        }
        Ok(Loaded { config, warnings })
    }
}

fn only_pools<C>(
    loaded: Loaded<C>,
    pools: impl FnOnce(C) -> Vec<PoolConfig>,
) -> Loaded<OriginalConfig> {
    let config = OriginalConfig { pools: pools(loaded.config), ..OriginalConfig::default() };
    Loaded { config, warnings: loaded.warnings }
}

fn take(
    section: &mut Section<'_>,
    path: &str,
    keys: &'static [(&'static str, Key)],
    config: &mut OriginalConfig,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    for (name, key) in keys {
        let full = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        match key {
            Text => {
                // A list is as good as the commas that some drivers take.
                let texts = section.texts(name)?;
                if !texts.is_empty() {
                    config.settings.insert(full, texts.join(","));
                }
            }
            Flag => {
                if let Some(flag) = section.flag(name)? {
                    config.settings.insert(full, flag.to_string());
                }
            }
            Key::Secret => {
                if let Some(text) = section.text(name)? {
                    config.secrets.insert(full, Secret::new(text));
                }
            }
            Keys(inner) => {
                if let Some(mut below) = section.section(name)? {
                    take(&mut below, &full, inner, config, warnings)?;
                    below.finish(warnings);
                }
            }
            Anything => drop(section.section(name)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, text: &str) -> Loaded<OriginalConfig> {
        let driver = OriginalDriver::named(driver).unwrap();
        driver.parse(Path::new("driver.yaml"), text).unwrap()
    }

    macro_rules! example {
        ($name:literal) => {
            ($name, include_str!(concat!("../../../../docs/examples/drivers/", $name)))
        };
    }

    #[test]
    fn every_example_is_read_without_a_warning() {
        let examples = [
            ("lvm", example!("lvm.yaml")),
            ("ceph", example!("ceph.yaml")),
            ("huawei_oceanstor_block", example!("huawei_oceanstor_block.yaml")),
            ("huawei_oceanstor_file", example!("huawei_oceanstor_file.yaml")),
            ("fujitsu_eternus", example!("fujitsu_eternus.yaml")),
            ("hpe_nimble", example!("hpe_nimble.yaml")),
            ("netapp_ontap_san", example!("netapp_ontap_san.yaml")),
            ("cinder", example!("cinder.yaml")),
            ("spectrumscale", example!("spectrumscale.yaml")),
            ("nfs", example!("nfs.yaml")),
            ("chubaofs", example!("chubaofs.yaml")),
            ("manila", example!("manila.yaml")),
        ];
        for (driver, (file, text)) in examples {
            let Loaded { config, warnings } = parse(driver, text);
            assert_eq!(warnings, [], "{file}");
            assert!(!config.pools.is_empty(), "{file}");
            assert!(!format!("{config:?}").contains("not-a-real"), "{file}");
        }
        let without = ["huawei_fusionstorage", "sample"];
        for driver in OriginalDriver::all().iter().filter(|d| !without.contains(&d.name)) {
            assert!(examples.iter().any(|(name, _)| *name == driver.name), "{}", driver.name);
        }
    }

    #[test]
    fn what_was_said_is_kept_and_secrets_apart() {
        let text = "
authOptions: {username: a, password: not-a-real-one, endpoints: \"https://h1,https://h2\"}
pool: {0: {multiAttach: yes}}
";
        let Loaded { config, warnings } = parse("hpe_nimble", text);
        assert_eq!(warnings, []);
        assert_eq!(config.settings["authOptions.endpoints"], "https://h1,https://h2");
        assert_eq!(config.secrets["authOptions.password"].expose(), "not-a-real-one");
        assert!(config.pools[0].multi_attach && config.pools[0].name == "0");
    }

    #[test]
    fn a_slip_is_named() {
        let text = "
authOptions: {username: a, enableEncrypted: true}
targetIP: 10.0.0.1
pool: {a: {}}
";
        let lines: Vec<String> =
            parse("fujitsu_eternus", text).warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "driver.yaml:2:28: authOptions.enableEncrypted is not known and is ignored: did you \
                 mean EnableEncrypted?",
                "driver.yaml:3:1: targetIP is not known and is ignored: did you mean targetIp?",
            ]
        );
        // Of these not all keys are known.
        assert_eq!(parse("chubaofs", "volPath: /x\npool: {a: {}}\n").warnings, []);
    }

    #[test]
    fn a_wrong_secret_is_not_shown() {
        let driver = OriginalDriver::named("cinder").unwrap();
        let text = "authOptions: {password: [not-a-real-one]}\npool: {a: {}}\n";
        let error = driver.parse(Path::new("x"), text).unwrap_err().to_string();
        assert!(error.contains("authOptions.password") && !error.contains("not-a"), "{error}");
    }
}
