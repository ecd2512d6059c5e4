//! `osds config import`: the original's `opensds.conf` as an `osds.toml`.
//!
//! Every key is either carried over, or named on standard error with its line, why it has no
//! equivalent and what to do. What decides who gets in is carried over as it is, or the new file
//! does not pass the check: nothing becomes weaker because something was not understood.
//!
//! Must stay true: a password goes to a file for its owner only and nowhere else.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use osds_keyring::original;
use zeroize::Zeroizing;

use super::ini::{Entry, Ini, Section};
use super::known::{self, API, DATABASE, DOCK, Fate, KEYSTONE};
use crate::config::StorageKind;

const PASSWORD_FILE: &str = "keystone-password";

/// Reads `source`; writes `output`, or standard output without one. Findings go to standard error.
pub(crate) fn import(source: &Path, output: Option<&Path>) -> Result<()> {
    let text = Zeroizing::new(
        fs::read_to_string(source)
            .with_context(|| format!("cannot read configuration {}", source.display()))?,
    );
    let imported = convert(&text, &source.display().to_string())
        .with_context(|| format!("in configuration {}", source.display()))?;
    let mut findings = imported.findings;
    match output {
        Some(output) => {
            if let Some(password) = &imported.password {
                let file = output.with_file_name(PASSWORD_FILE);
                keep(&file, password)?;
            }
            write_new(output, &imported.toml, 0o644)?;
        }
        None => {
            if imported.password.is_some() {
                findings.push(Finding {
                    line: imported.password_line,
                    what: format!(
                        "the password is not printed: write it to the file {PASSWORD_FILE} beside \
                         osds.toml (chmod 600), or use --output, which does"
                    ),
                });
            }
            print!("{}", imported.toml);
        }
    }
    findings.sort_by_key(|finding| finding.line);
    for Finding { line, what } in &findings {
        eprintln!("{}:{line}: {what}", source.display());
    }
    if let Some(output) = output {
        eprintln!("wrote {}; now: osds config check {}", output.display(), output.display());
    }
    Ok(())
}

/// Writes the password, unless the very same is there already.
fn keep(file: &Path, password: &str) -> Result<()> {
    match fs::read_to_string(file).map(Zeroizing::new) {
        Ok(there) if there.trim() == password => return Ok(()),
        Ok(_) => bail!("{} is there with another password; move it away", file.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", file.display()));
        }
    }
    write_new(file, password, 0o600)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    match open(path).and_then(write) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already; move it away or choose another --output", path.display())
        }
        outcome => outcome.with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Something its owner should know.
#[derive(Debug)]
struct Finding {
    line: usize,
    what: String,
}

struct Imported {
    toml: String,
    findings: Vec<Finding>,
    password: Option<Zeroizing<String>>,
    password_line: usize,
}

fn convert(text: &str, name: &str) -> Result<Imported> {
    let ini = Ini::parse(text)?;
    let mut conversion = Conversion {
        ini: &ini,
        toml: String::new(),
        findings: Vec::new(),
        password: None,
        password_line: 0,
    };
    conversion.whole(&quoted(name))?;
    let Conversion { toml, findings, password, password_line, .. } = conversion;
    Ok(Imported { toml, findings, password, password_line })
}

struct Conversion<'i> {
    ini: &'i Ini,
    toml: String,
    findings: Vec<Finding>,
    password: Option<Zeroizing<String>>,
    password_line: usize,
}

impl<'i> Conversion<'i> {
    fn whole(&mut self, name: &str) -> Result<()> {
        self.judge_keys();
        self.say(&format!(
            "# Made by `osds config import` from {name}.\n\
             # Every key, with its default, is in the book (Configuration). Check this file with\n\
             # `osds config check` before a start.\n\n\
             # Records, ledgers and the identity of this machine. Volumes are kept by the backends.\n\
             data_dir = \"/var/lib/osds\"\n"
        ));
        self.api()?;
        self.auth()?;
        self.database();
        self.say(
            "\n[log]\n# In the syntax of RUST_LOG. Lines go to standard error.\nlevel = \"info\"\n",
        );
        self.backends()
    }

    /// Names each key that is not carried over, and everything odd about the others.
    fn judge_keys(&mut self) {
        for section in &self.ini.sections {
            let name = &section.name;
            let in_it = if name.is_empty() { String::new() } else { format!("[{name}] ") };
            if !known::is_fixed(name) && known::driver_file(name).is_none() {
                let what = if name.is_empty() {
                    "stands above every section and is not read; nor was it by the original"
                } else {
                    "is no section of the original, and is left out"
                };
                let shown = if name.is_empty() { "what is here" } else { in_it.trim_end() };
                self.find(section.line, &format!("{shown} {what}"));
                continue;
            }
            for (index, entry) in section.entries.iter().enumerate() {
                let key = format!("{in_it}{}", entry.key);
                if section.entries[index + 1..].iter().any(|later| later.key == entry.key) {
                    self.find(entry.line, &format!("{key} is said again below, and that counts"));
                    continue;
                }
                if entry.cut {
                    let what = "ends at a '#' or ';', as it did for the original; if that is part \
                                of it, put the value in backticks and import again";
                    self.find(entry.line, &format!("{key} {what}"));
                }
                match known::fate(name, &entry.key) {
                    Some(Fate::Carried | Fate::Moot) => {}
                    Some(Fate::Without(why)) => {
                        self.find(entry.line, &format!("{key} has no equivalent: {why}"));
                    }
                    None => self.find(
                        entry.line,
                        &format!("{key} is no key of the original, and is left out; a slip?"),
                    ),
                }
            }
        }
    }

    fn api(&mut self) -> Result<()> {
        let listen = match self.get(API, "api_endpoint") {
            Some(entry) => self.listen(entry),
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, 50040)),
        };
        self.say(&format!("\n[api]\nlisten = {}\n", quoted(&listen.to_string())));
        if let Some(entry) = self.get(API, "beego_server_time_out") {
            match entry.value.parse::<u32>() {
                Ok(seconds @ 1..) => self.say(&format!(
                    "# Longest time of one request, waiting included.\nrequest_timeout = \
                     \"{seconds}s\"\n"
                )),
                Ok(_) | Err(_) => self.find(
                    entry.line,
                    "beego_server_time_out is not a number of seconds; the default, 120s, is taken",
                ),
            }
        }
        let https = self.flag(API, "https_enabled")?;
        let hash = if https { "" } else { "#" };
        let certificate = self.text(API, "beego_https_cert_file", "opensds-cert.pem");
        let key = self.text(API, "beego_https_key_file", "opensds-key.pem");
        self.say(&format!(
            "# With these two (PEM files) the API speaks https, and nothing else.\n\
             {hash}tls_certificate = {}\n{hash}tls_key = {}\n",
            quoted(&certificate),
            quoted(&key)
        ));
        if https {
            let line = self.get(API, "https_enabled").map_or(0, |entry| entry.line);
            for file in [&certificate, &key] {
                self.must_be_there(line, file);
            }
        }
        Ok(())
    }

    /// The address in `api_endpoint`, which the original allows to be a name.
    fn listen(&mut self, entry: &Entry) -> SocketAddr {
        let fallback = SocketAddr::from((Ipv4Addr::LOCALHOST, 50040));
        let (host, port) = entry.value.rsplit_once(':').unwrap_or((&entry.value, "50040"));
        let Ok(port) = port.parse::<u16>() else {
            let what = format!("api_endpoint is no host:port; {fallback} is taken");
            self.find(entry.line, &what);
            return fallback;
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return SocketAddr::new(ip, port);
        }
        match bare {
            // As Go has it.
            "" => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            "localhost" => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            name => {
                let found = (name, port).to_socket_addrs().ok();
                let found = found.and_then(|found| found.min_by_key(SocketAddr::is_ipv6));
                let listen = found.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                let what = match found {
                    Some(_) => format!("api_endpoint is a name; its address, {listen}, is written"),
                    None => format!("api_endpoint is a name without an address; {listen} is taken"),
                };
                self.find(entry.line, &what);
                listen
            }
        }
    }

    fn auth(&mut self) -> Result<()> {
        let strategy = self.get(API, "auth_strategy");
        let word = match strategy.map(|entry| entry.value.as_str()) {
            None | Some("noauth") => "noauth",
            Some("keystone") => "keystone",
            // The original takes noauth for whatever it does not know; that lets everybody in.
            Some(_) => bail!(
                "line {}: auth_strategy is neither noauth nor keystone",
                strategy.map_or(0, |entry| entry.line)
            ),
        };
        self.say(&format!(
            "\n[auth]\n# noauth: the tenant in the path is believed. keystone: tokens are checked.\n\
             strategy = \"{word}\"\n"
        ));
        match self.get(API, "policy_path") {
            Some(entry) => {
                self.say(&format!("policy_file = {}\n", quoted(&entry.value)));
                if word == "keystone" {
                    self.must_be_there(entry.line, &entry.value);
                }
            }
            None => self.say("# The original's own rules; policy_file = \"...\" names others.\n"),
        }
        let Some(section) = self.ini.section(KEYSTONE) else {
            if word == "keystone" {
                bail!("auth_strategy is keystone, and there is no [{KEYSTONE}]");
            }
            return Ok(());
        };
        self.keystone(section, word == "keystone")
    }

    fn keystone(&mut self, section: &'i Section, used: bool) -> Result<()> {
        let url = section.get("auth_url").or(section.get("auth_uri"));
        if let (Some(entry), Some(_)) = (section.get("auth_uri"), section.get("auth_url")) {
            let what = "[keystone_authtoken] auth_uri is for users, and left out: auth_url counts";
            self.find(entry.line, what);
        }
        if let Some(entry) = section.get("auth_type").filter(|entry| entry.value != "password") {
            let what = "[keystone_authtoken] auth_type has no equivalent: osds logs in by password";
            self.find(entry.line, what);
        }
        let missing = match (url, section.get("username"), section.get("password")) {
            (None, _, _) => Some("auth_url"),
            (_, None, _) => Some("username"),
            (_, _, None) => Some("password"),
            (Some(_), Some(_), Some(_)) => None,
        };
        match missing {
            Some(key) if used => bail!("line {}: [{KEYSTONE}] has no {key}", section.line),
            Some(key) => {
                let what = format!("[{KEYSTONE}] has no {key} and is left out; noauth needs none");
                self.find(section.line, &what);
                return Ok(());
            }
            None => {}
        }
        let mut lines = String::from("\n[auth.keystone]\n");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(lines, "{key} = {}", quoted(value));
        };
        line("auth_url", url.map_or("", |entry| &entry.value));
        for key in ["username", "user_domain_name", "project_name", "project_domain_name"] {
            if let Some(entry) = section.get(key) {
                line(key, &entry.value);
            }
        }
        line("password_file", PASSWORD_FILE);
        if let Some(entry) = section.get("cafile") {
            line("ca_file", &entry.value);
            if used {
                self.must_be_there(entry.line, &entry.value);
            }
        }
        self.say(&lines);
        if let Some(entry) = section.get("password") {
            self.password_line = entry.line;
            let plain = if self.flag(KEYSTONE, "enable_encrypted")? {
                let opened = original::decrypt(&entry.value)
                    .with_context(|| format!("line {}: [{KEYSTONE}] password", entry.line))?;
                opened.reveal().to_owned()
            } else {
                entry.value.clone()
            };
            self.password = Some(Zeroizing::new(plain));
        }
        Ok(())
    }

    fn database(&mut self) {
        self.say(
            "\n[store]\n# A database file in data_dir; the original's etcd is not used.\n\
             kind = \"embedded\"\n",
        );
        let Some(section) = self.ini.section(DATABASE) else { return };
        let what = match section.get("driver").map(|entry| entry.value.as_str()) {
            Some("fake") => "the original kept nothing (driver fake), so there is nothing to move",
            Some(_) | None => {
                "osds keeps its records itself, in data_dir; bring the old ones over with osds import --etcd URL"
            }
        };
        self.find(section.line, &format!("[{DATABASE}] has no equivalent: {what}"));
    }

    fn backends(&mut self) -> Result<()> {
        if let Some(entry) = self.get(DOCK, "dock_type").filter(|e| e.value != "provisioner") {
            let what = "[osdsdock] dock_type: there are no attacher docks; hosts log in themselves";
            self.find(entry.line, what);
        }
        let enabled = self.get(DOCK, "enabled_backends");
        let names = enabled.map_or("lvm", |entry| &entry.value);
        let line = enabled.map_or(0, |entry| entry.line);
        let names: Vec<&str> =
            names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        for section in &self.ini.sections {
            let idle = known::driver_file(&section.name).is_some()
                && !names.contains(&section.name.as_str());
            if idle {
                let what =
                    format!("[{}] is not in enabled_backends, and is left out", section.name);
                self.find(section.line, &what);
            }
        }
        let mut taken: Vec<String> = Vec::new();
        let mut live = 0;
        for name in names {
            let Some(section) = self.ini.section(name) else {
                if enabled.is_some() {
                    let what = format!("enabled_backends names {name}, which has no section");
                    self.find(line, &what);
                }
                continue;
            };
            // As in the original.
            let Some(called) = section.get("name") else {
                self.find(section.line, &format!("[{name}] has no name, and is passed over"));
                continue;
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let fits = called.value.chars().all(plain) && !called.value.starts_with('.');
            let own = if fits { called.value.clone() } else { name.to_owned() };
            if taken.contains(&own) {
                bail!("line {}: two backends are called {own}", called.line);
            }
            if !fits {
                let what = format!("[{name}] name has other characters than letters; now {name}");
                self.find(called.line, &what);
            }
            live += usize::from(self.backend(section, &own)?);
            taken.push(own);
        }
        if live == 0 {
            self.say(
                "\n# Without any [[backend]], osds makes two small file pools in data_dir, for a \
                 first look.\n",
            );
        }
        Ok(())
    }

    /// One `[[backend]]`, in comments when there is no such driver. Says whether it is live.
    fn backend(&mut self, section: &Section, name: &str) -> Result<bool> {
        let of = &section.name;
        let driver = section.get("driver_name").map_or(of.as_str(), |entry| &entry.value);
        let yaml = section.get("config_path").map_or_else(
            || known::driver_file(of).unwrap_or_default().to_owned(),
            |entry| entry.value.clone(),
        );
        let live = is_ours(driver);
        let hash = if live { "" } else { "#" };
        let description = section.get("description").map_or("", |entry| &entry.value);
        let mut block = String::from("\n");
        if !live {
            let _ = writeln!(block, "# osds has no driver {} yet.", quoted(driver));
        }
        for (key, value) in
            [("name", name), ("description", description), ("driver", driver), ("config", &yaml)]
        {
            if key == "name" {
                let _ = writeln!(block, "{hash}[[backend]]");
            }
            let _ = writeln!(block, "{hash}{key} = {}", quoted(value));
        }
        self.say(&block);
        let line = section.line;
        if live {
            self.must_be_there(line, &yaml);
        } else {
            let what = format!(
                "[{of}] needs driver {driver}, which osds does not have yet: its block is in \
                 comments, and its volumes stay with the original until then"
            );
            self.find(line, &what);
        }
        if self.flag(of, "support_replication")? {
            let entry = section.get("support_replication").map_or(line, |entry| entry.line);
            let what = format!("[{of}] support_replication has no equivalent yet");
            self.find(entry, &what);
        }
        Ok(live)
    }

    fn must_be_there(&mut self, line: usize, file: &str) {
        let path = PathBuf::from(file);
        if path.is_relative() {
            let what = format!("{file} is relative to osds.toml now; an absolute path is safer");
            self.find(line, &what);
        } else if !path.exists() {
            let what = format!("{file} is not there: osds will not start until it is");
            self.find(line, &what);
        }
    }

    fn get(&self, section: &str, key: &str) -> Option<&'i Entry> {
        self.ini.section(section)?.get(key)
    }

    fn text(&self, section: &str, key: &str, default: &str) -> String {
        self.get(section, key).map_or_else(
            || format!("/opt/opensds-security/opensds/{default}"),
            |entry| entry.value.clone(),
        )
    }

    /// A word that Go takes for a boolean; false when nothing is said.
    fn flag(&self, section: &str, key: &str) -> Result<bool> {
        let Some(entry) = self.get(section, key) else { return Ok(false) };
        match entry.value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => bail!("line {}: [{section}] {key} is neither true nor false", entry.line),
        }
    }

    fn say(&mut self, text: &str) {
        self.toml.push_str(text);
    }

    fn find(&mut self, line: usize, what: &str) {
        self.findings.push(Finding { line: line.max(1), what: what.to_owned() });
    }
}

/// Whether osds has this driver.
fn is_ours(driver: &str) -> bool {
    match StorageKind::try_from(driver.to_owned()) {
        Ok(StorageKind::File | StorageKind::Lvm | StorageKind::FusionStorage) => true,
        Ok(StorageKind::NotYet(_)) | Err(_) => false,
    }
}

/// A text as TOML writes it, always in one line, so that it can stand in a comment as well. JSON's
/// escapes are TOML's, which also wants DEL escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn toml_of(text: &str) -> String {
        let imported = convert(text, "opensds.conf").unwrap();
        Config::parse(&imported.toml).unwrap_or_else(|e| panic!("{e:#}\n{}", imported.toml));
        imported.toml
    }

    #[test]
    fn an_empty_file_is_one_of_defaults() {
        let imported = convert("", "opensds.conf").unwrap();
        assert!(imported.findings.is_empty(), "{:?}", imported.findings);
        let (config, defaults) = (Config::parse(&imported.toml).unwrap(), Config::default());
        assert_eq!(format!("{:?}", config.api), format!("{:?}", defaults.api));
        assert_eq!((config.data_dir, config.backends.len()), (defaults.data_dir, 0));
    }

    #[test]
    fn addresses_as_go_takes_them() {
        for (endpoint, listen) in [
            ("localhost:1", "127.0.0.1:1"),
            (":50040", "0.0.0.0:50040"),
            ("10.1.2.3:4", "10.1.2.3:4"),
            ("[::1]:5", "[::1]:5"),
            ("10.1.2.3", "10.1.2.3:50040"),
            ("nowhere.invalid:7", "127.0.0.1:7"),
            ("localhost:http", "127.0.0.1:50040"),
        ] {
            let toml = toml_of(&format!("[osdsapiserver]\napi_endpoint = {endpoint}\n"));
            assert!(toml.contains(&format!("listen = \"{listen}\"\n")), "{endpoint}: {toml}");
        }
    }

    /// What would let more people in than before is an error, and no guess.
    #[test]
    fn nothing_becomes_weaker() {
        for text in [
            "[osdsapiserver]\nauth_strategy = keystoen\n",
            "[osdsapiserver]\nauth_strategy = keystone\n",
            "[osdsapiserver]\nhttps_enabled = yes\n",
            "[osdsapiserver]\nauth_strategy = keystone\n[keystone_authtoken]\nusername = a\n",
        ] {
            assert!(convert(text, "x").is_err(), "{text}");
        }
        let https = toml_of("[osdsapiserver]\nhttps_enabled = T\n");
        assert!(https.contains("\ntls_certificate = \"/opt/opensds-security/"), "{https}");
    }

    fn line() -> impl Strategy<Value = String> {
        let section = "(osdsapiserver|osdslet|osdsdock|lvm|ceph|database|keystone_authtoken|x)";
        let key = "(api_endpoint|auth_strategy|policy_path|https_enabled|enabled_backends|name|\
                   beego_server_time_out|driver_name|config_path|description|auth_url|username|x)";
        prop_oneof![
            section.prop_map(|name| format!("[{name}]")),
            (key, "\\PC{0,12}").prop_map(|(key, value)| format!("{key} = {value}")),
            (key, "(True|0|keystone|noauth|lvm,file|file|a.b|[\"'`;#\\\\=]{0,4})")
                .prop_map(|(key, value)| format!("{key}={value}")),
            "password *= *(`?)hunter2[#; a]{0,3}",
        ]
    }

    proptest! {
        /// Whatever stands in it: no panic, a file that can be read, and no password anywhere.
        #[test]
        fn any_file_becomes_one_that_can_be_read(lines in prop::collection::vec(line(), 0..30)) {
            let text = lines.join("\n");
            let shown = match convert(&text, "x\ny") {
                Ok(imported) => {
                    prop_assert!(Config::parse(&imported.toml).is_ok(), "{}", imported.toml);
                    format!("{}{:?}", imported.toml, imported.findings)
                }
                Err(error) => format!("{error:#}"),
            };
            prop_assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
