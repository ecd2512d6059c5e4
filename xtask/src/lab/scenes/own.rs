//! A daemon of a scene's own on the storage host, beside the one that all scenes share.
//!
//! Scenes that need another target or other portals start one on a port of its own, with a
//! directory of its own; it goes with the scene.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::channel::Output;
use super::super::guest::Guest;
use super::id;

/// How long the daemon may take to serve.
const START: Duration = Duration::from_secs(120);

/// One that runs.
pub struct Own<'a> {
    store: &'a Guest,
    home: String,
    port: u16,
}

impl<'a> Own<'a> {
    /// Writes its files, so that a crash does not lose them: `backend` is the text of one `[[backend]]`, `pool` what its pool says.
    pub fn set(
        store: &'a Guest,
        name: &str,
        port: u16,
        backend: &str,
        speaks: &str,
    ) -> Result<Self> {
        let own = Self { store, home: format!("/pool/{name}"), port };
        let home = &own.home;
        store.must(&format!(
            "mkdir -p {home}\n\
             cat >{home}/osds.toml <<'TOML'\n\
             data_dir = \"{home}/osds\"\n[api]\nlisten = \"10.9.0.1:{port}\"\n\
             [controller]\nsweep_every = \"2s\"\n\
             [[backend]]\nname = \"{name}\"\ndriver = \"file\"\nconfig = \"pools.yaml\"\n{backend}\n\
             TOML\n\
             cat >{home}/pools.yaml <<'YAML'\n\
             baseDir: {home}/volumes\npool:\n  shared:\n    storageType: block\n    \
             availabilityZone: default\n    multiAttach: true\n    extras:\n      \
             dataStorage: {{provisioningPolicy: Thin}}\n      \
             ioConnectivity: {{accessProtocol: {speaks}}}\nYAML\n\
             sync"
        ))?;
        Ok(own)
    }

    /// Starts it; what it said when it does not serve.
    pub fn try_start(&self) -> Result<Output> {
        let home = &self.home;
        let script = format!(
            "rm -f {home}/out\n\
             setsid /host/osds all --config {home}/osds.toml >{home}/out 2>>{home}/log </dev/null &\n\
             echo $! >{home}/pid\n\
             for try in $(seq 600); do\n  grep -q ^ready {home}/out && exit 0\n  \
             kill -0 $(cat {home}/pid) 2>/dev/null || break\n  sleep 0.1\ndone\n\
             cat {home}/out {home}/log; exit 1"
        );
        self.store.run_for(&script, START)
    }

    /// Starts it.
    pub fn start(&self) -> Result<()> {
        let said = self.try_start()?;
        anyhow::ensure!(said.ok(), "the daemon in {} does not serve: {}", self.home, said.text);
        Ok(())
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&self) -> Result<()> {
        let home = &self.home;
        self.store.must(&format!("kill -9 $(cat {home}/pid); rm -f {home}/out")).map(|_| ())
    }

    /// Where its API is.
    pub fn endpoint(&self) -> String {
        format!("http://10.9.0.1:{}", self.port)
    }

    /// `osdsctl` of this daemon; what it printed, be it well or ill.
    pub fn try_ctl(&self, words: &str) -> Result<Output> {
        self.store.run(&format!(
            "OPENSDS_ENDPOINT={} OPENSDS_AUTH_STRATEGY=noauth /host/osdsctl -o json {words} 2>&1",
            self.endpoint()
        ))
    }

    /// The same, which has to go well.
    pub fn ctl(&self, words: &str) -> Result<Value> {
        let said = self.try_ctl(words)?;
        anyhow::ensure!(said.ok(), "osdsctl {words}: {}", said.text);
        if said.text.trim().is_empty() {
            return Ok(Value::Null);
        }
        let parsed = serde_json::from_str(&said.text);
        parsed.with_context(|| format!("osdsctl {words} did not print JSON: {}", said.text))
    }

    /// A new volume of 1 GiB for several hosts; its id.
    pub fn volume(&self, name: &str) -> Result<String> {
        let multi = format!(
            r#"'{{"name":"multi-{name}","customProperties":{{"capabilities:multiAttach":"<is> true"}}}}'"#
        );
        let profile = id(&self.ctl(&format!("profile create {multi}"))?)?;
        id(&self.ctl(&format!("volume create 1 --name {name} --profile {profile} --wait"))?)
    }

    /// The attachment of this host to this volume, if it has one.
    pub fn attachment(&self, volume: &str, host: &str) -> Result<Option<Value>> {
        let all = self.ctl("volume attachment list")?;
        let host = self.host(host)?;
        let of = |one: &&Value| one["volumeId"] == volume && one["hostId"] == *host;
        Ok(super::rows(&all).iter().find(of).cloned())
    }

    /// The id of the host with this name.
    pub fn host(&self, name: &str) -> Result<String> {
        let all = self.ctl("host list")?;
        let found = super::rows(&all).iter().find(|one| one["hostName"] == name);
        id(found.with_context(|| format!("no host {name} in {all}"))?)
    }

    /// `osds attach` or `detach` for a client of this daemon.
    pub fn attach(&self, words: &str) -> String {
        let endpoint = self.endpoint();
        format!("OPENSDS_AUTH_STRATEGY=noauth /host/osds {words} --osds-endpoint {endpoint}")
    }

    /// Ends it, and takes its directory away.
    pub fn clear(self) -> Result<()> {
        let home = &self.home;
        self.store.must(&format!(
            "pid=$(cat {home}/pid); kill $pid; for try in $(seq 100); do kill -0 $pid 2>/dev/null || break; \
             sleep 0.1; done; rm -rf {home}"
        ))
        .map(|_| ())
    }
}
