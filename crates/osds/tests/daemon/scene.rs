//! A running daemon in a directory of its own, its administrator, and what hosts need to know.
//!
//! Waiting has two forms only: until something is so, with a deadline, and throughout a while in
//! which something must stay so. Nothing else may take time.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use osds_rest_api::client::{Client, ClientError, Method, Settings};
use osds_testkit::daemon::Daemon;
use osds_testkit::initiator::{Chap, Error as ScsiError, Options, Session};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The daemon under test.
pub const OSDS: &str = env!("CARGO_BIN_EXE_osds");
/// The original's administrator.
pub const ADMIN_TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
/// Long enough for anything that ends; short enough for a person who waits for a failing test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A small pool whose accounts do not depend on what else is on this disk, looked at often.
const QUICK: &str = r#"
[controller]
sweep_every = "200ms"
retry_first = "20ms"
retry_most = "200ms"

[[backend]]
name = "file"
driver = "file"
config = "pools.yaml"

[backend.iscsi]
listen = ["127.0.0.1:0"]
"#;

const POOLS: &str = "
baseDir: pools
pool:
  default:
    storageType: block
    availabilityZone: default
    multiAttach: true
    capacity: 4GiB
    maxOverSubscriptionRatio: 100
";

/// A daemon, its directory and its administrator.
pub struct Scene {
    pub daemon: Daemon,
    pub admin: Client,
    home: TempDir,
}

impl Scene {
    /// A daemon as it is without a configuration.
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(Path::new(OSDS), home.path()).unwrap();
        let admin = client(&daemon.api);
        Self { daemon, admin, home }
    }

    /// A daemon that looks at everything five times a second, with one small pool.
    pub fn quick() -> Self {
        Self::quick_with("")
    }

    /// The same with more in its configuration.
    pub fn quick_with(more: &str) -> Self {
        Self::with(&format!("{more}{QUICK}"), &[("pools.yaml", POOLS)])
    }

    /// A daemon with this configuration and the files that it names.
    pub fn with(toml: &str, files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("osds.toml");
        fs::write(&config, toml).unwrap();
        for (name, text) in files {
            fs::write(home.path().join(name), text).unwrap();
        }
        let more = ["--config", config.to_str().unwrap()];
        let daemon = Daemon::start_with(Path::new(OSDS), home.path(), &more).unwrap();
        let admin = client(&daemon.api);
        Self { daemon, admin, home }
    }

    /// The same for hosts that are this machine: its target makes loop devices.
    pub fn local() -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("osds.toml");
        let iscsi = "[backend.iscsi]\nlisten = [\"127.0.0.1:0\"]\n";
        fs::write(&config, QUICK.replace(iscsi, "target = \"local\"\n")).unwrap();
        fs::write(home.path().join("pools.yaml"), POOLS).unwrap();
        let more = ["--config", config.to_str().unwrap()];
        let daemon = Daemon::start_with(Path::new(OSDS), home.path(), &more).unwrap();
        let admin = client(&daemon.api);
        Self { daemon, admin, home }
    }

    /// SIGKILL, and nothing else yet.
    pub fn kill(&mut self) {
        self.daemon.kill().unwrap();
    }

    /// Starts a killed daemon again.
    pub fn restart(&mut self) {
        self.daemon.restart().unwrap();
        self.admin = client(&self.daemon.api);
    }

    /// Something in the daemon's directory.
    pub fn path(&self, within: &str) -> PathBuf {
        self.home.path().join(within)
    }

    /// The file that holds a volume's blocks.
    pub fn blocks(&self, volume: &str) -> PathBuf {
        self.path(&format!("pools/default/volume-{volume}.img"))
    }

    /// The dock's note about a volume.
    pub fn ledger(&self, volume: &str) -> PathBuf {
        self.path(&format!("docks/file/ledger/{volume}.json"))
    }

    /// What the daemon said so far, in all of its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("osds.log")).unwrap()
    }

    /// Registers a host with these initiators; its id.
    pub fn host(&self, name: &str, initiators: &[&str]) -> String {
        let initiators: Vec<Value> =
            initiators.iter().map(|name| json!({"portName": name, "protocol": "iscsi"})).collect();
        let host = json!({
            "hostName": name, "osType": "linux", "accessMode": "agentless", "ip": "127.0.0.1",
            "availabilityZones": ["default"], "initiators": initiators,
        });
        let host: Value = self.admin.post("host/hosts", &host).unwrap();
        text(&host, "id")
    }

    /// Makes a volume of 1 GiB; its id.
    pub fn volume(&self, name: &str, multi_attach: bool) -> String {
        let body = json!({"name": name, "size": 1, "multiAttach": multi_attach});
        let volume = self.make("block/volumes", &body).unwrap();
        assert_eq!(text(&volume, "status"), "available", "{volume}");
        text(&volume, "id")
    }

    /// Attaches, which must go well; the attachment.
    pub fn attach(&self, volume: &str, host: &str, mode: &str) -> Value {
        let body = json!({"volumeId": volume, "hostId": host, "attachMode": mode});
        let attachment = self.make("block/attachments", &body).unwrap();
        assert_eq!(text(&attachment, "status"), "available", "{attachment}");
        attachment
    }

    /// Asks for something and waits until it has come true, or has failed.
    pub fn make(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.admin.request(Method::POST, path).body(body).wait(PATIENCE).send()?.read()
    }

    /// Asks for something to be gone and waits until it is.
    pub fn remove(&self, path: &str) {
        let answer = self.admin.request(Method::DELETE, path).wait(PATIENCE).send().unwrap();
        assert!(answer.is_empty(), "{path} is not gone: {:?}", answer.read::<Value>());
    }

    pub fn get(&self, path: &str) -> Value {
        self.admin.get(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Reads when nothing is under way any more.
    pub fn settled(&self, path: &str) -> Result<Value, ClientError> {
        self.admin.request(Method::GET, path).wait(PATIENCE).send()?.read()
    }

    /// Waits until the volume reads so.
    pub fn until_volume(&self, volume: &str, status: &str) -> Value {
        let path = format!("block/volumes/{volume}");
        until(&format!("volume {volume} is {status}"), || {
            let volume = self.get(&path);
            (text(&volume, "status") == status).then_some(volume)
        })
    }

    /// The attachment once its host can log in.
    pub fn until_reachable(&self, attachment: &str, initiator: &str) -> Value {
        self.log_in(attachment, initiator).logout().unwrap();
        self.get(&format!("block/attachments/{attachment}"))
    }

    /// Logs in as the host that has this attachment, trying again as a real initiator does.
    pub fn log_in(&self, attachment: &str, initiator: &str) -> Session {
        until(&format!("{initiator} can log in"), || {
            let attachment = self.get(&format!("block/attachments/{attachment}"));
            connection(&attachment)?;
            match log_in(&attachment, initiator) {
                Ok(session) => Some(session),
                Err(ScsiError::LoginRefused { .. } | ScsiError::ConnectionLost(_)) => None,
                Err(other) => panic!("{other}"),
            }
        })
    }
}

/// A client of the daemon at this address.
pub fn client(api: &str) -> Client {
    let settings = Settings {
        endpoint: api.to_owned(),
        tenant: ADMIN_TENANT.to_owned(),
        login: None,
        ca_file: None,
        timeout: PATIENCE,
        user_agent: "osds-tests".to_owned(),
    };
    Client::new(settings).unwrap()
}

/// A text of an answer; empty when it is not there.
pub fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The target name and portal of an attachment, once it has them.
pub fn connection(attachment: &Value) -> Option<(String, SocketAddr)> {
    let data = &attachment["connectionInfo"]["data"];
    let target = data["targetIQN"][0].as_str()?.to_owned();
    Some((target, data["targetPortal"][0].as_str()?.parse().unwrap()))
}

/// What the host of an attachment proves at login.
pub fn chap(attachment: &Value) -> Option<Chap> {
    let data = &attachment["connectionInfo"]["data"];
    let (name, password) = (text(data, "authUserName"), text(data, "authPassword"));
    let chap = (data["authMethod"] == "chap").then(|| Chap::new(&name, &password))?;
    let (name, password) = (text(data, "targetAuthUserName"), text(data, "targetAuthPassword"));
    Some(if name.is_empty() { chap } else { chap.mutual(&name, &password) })
}

/// Logs in as the attachment's connectionInfo says.
pub fn log_in(attachment: &Value, initiator: &str) -> Result<Session, ScsiError> {
    log_in_proving(attachment, initiator, chap(attachment))
}

/// Logs in there with this proof.
pub fn log_in_proving(
    attachment: &Value,
    initiator: &str,
    chap: Option<Chap>,
) -> Result<Session, ScsiError> {
    let (target, portal) = connection(attachment).unwrap();
    let options = Options { chap, ..Options::default() };
    Session::login_with(portal, initiator, &target, &options)
}

/// Waits until there is something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "waited in vain until {what}");
        // sleep: the pause of a poll with a deadline.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Looks again and again for a while: something must stay as it is.
pub fn throughout(time: Duration, mut look: impl FnMut()) {
    let limit = Instant::now() + time;
    while Instant::now() < limit {
        look();
        // sleep: the pause between two looks; a change is seen in whichever comes after it.
        std::thread::sleep(Duration::from_millis(5));
    }
}
