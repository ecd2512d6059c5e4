//! What the demo's people do: an administrator over HTTP, hosts over iSCSI.
//!
//! The administrator only uses what any client could: the REST client that osdsctl uses, waiting by
//! `Prefer: wait` instead of polling. The writing host keeps several commands in flight, since a
//! detach that only works on an idle session would prove nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use osds_rest_api::client::{Client, ClientError, Method, Settings};
use osds_testkit::initiator::{Chap, Error as ScsiError, Options, Session};
use serde_json::{Value, json};

/// The original's administrator.
const ADMIN_TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
/// How long the demo waits for a wish to come true.
const WAIT: Duration = Duration::from_secs(20);
/// Blocks of one write: 64 KiB.
pub(super) const CHUNK: usize = 128;

/// The administrator.
pub(super) struct Admin {
    client: Client,
}

impl Admin {
    pub(super) fn new(api: &str) -> Result<Self> {
        let settings = Settings {
            endpoint: api.to_owned(),
            tenant: ADMIN_TENANT.to_owned(),
            login: None,
            ca_file: None,
            timeout: Duration::from_secs(30),
            user_agent: "osds-demo".to_owned(),
        };
        Ok(Self { client: Client::new(settings)? })
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.client.get(path)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.client.post(path, body)
    }

    /// Asks, and waits until it has come true.
    pub(super) fn post_and_wait(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.client.request(Method::POST, path).body(body).wait(WAIT).send()?.read()
    }

    /// Asks for something to be gone, and waits until it is.
    pub(super) fn delete_and_wait(&self, path: &str) -> Result<(), ClientError> {
        self.client.request(Method::DELETE, path).wait(WAIT).send().map(drop)
    }

    /// Reads, when nothing is under way any more.
    pub(super) fn settled(&self, path: &str) -> Result<Value, ClientError> {
        self.client.request(Method::GET, path).wait(WAIT).send()?.read()
    }

    /// Registers a host with one iSCSI initiator; its id.
    pub(super) fn add_host(&self, name: &str, iqn: &str) -> Result<String> {
        let host = json!({
            "hostName": name, "osType": "linux", "accessMode": "agentless", "ip": "127.0.0.1",
            "availabilityZones": ["default"],
            "initiators": [{"portName": iqn, "protocol": "iscsi"}],
        });
        Ok(text(&self.post("host/hosts", &host)?, "id"))
    }

    pub(super) fn attach(
        &self,
        volume: &str,
        host: &str,
        mode: &str,
    ) -> Result<Value, ClientError> {
        let body = json!({"volumeId": volume, "hostId": host, "attachMode": mode});
        self.post_and_wait("block/attachments", &body)
    }
}

/// A text of an answer; empty when it is not there.
pub(super) fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// How the host of an attachment gets to its volume.
pub(super) struct Way {
    pub(super) target: String,
    pub(super) portal: SocketAddr,
    /// What it proves; nobody else has it.
    pub(super) chap: Option<Chap>,
}

impl Way {
    /// As the attachment's connectionInfo says.
    pub(super) fn of(attachment: &Value) -> Result<Self> {
        let data = &attachment["connectionInfo"]["data"];
        let first = |key: &str| data[key][0].as_str().unwrap_or_default().to_owned();
        let portal = first("targetPortal")
            .parse()
            .with_context(|| format!("no portal for attachment {}", text(attachment, "id")))?;
        let (name, password) = (text(data, "authUserName"), text(data, "authPassword"));
        let chap = (data["authMethod"] == "chap").then(|| Chap::new(&name, &password));
        Ok(Self { target: first("targetIQN"), portal, chap })
    }

    /// Logs in under this initiator name.
    pub(super) fn log_in(&self, initiator: &str) -> Result<Session, ScsiError> {
        let options = Options { chap: self.chap.clone(), ..Options::default() };
        Session::login_with(self.portal, initiator, &self.target, &options)
    }

    /// The same way with what another host proves, or with no proof.
    pub(super) fn proving(&self, chap: Option<&Chap>) -> Self {
        Self { target: self.target.clone(), portal: self.portal, chap: chap.cloned() }
    }
}

/// The sense of a refused command, as people write it.
pub(super) fn sense(error: &ScsiError) -> String {
    match error {
        ScsiError::CheckCondition { key: 7, asc: 0x27, ascq: 0 } => {
            "DATA PROTECT, WRITE PROTECTED (7/27/00)".to_owned()
        }
        other => other.to_string(),
    }
}

/// A host that keeps writing until it cannot any more.
pub(super) struct Writer {
    written: Arc<AtomicU64>,
    thread: JoinHandle<String>,
}

impl Writer {
    /// Writes numbered chunks over and over, several in flight, as a busy cluster node does.
    pub(super) fn start(mut session: Session) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        let thread = std::thread::spawn(move || {
            for round in 1_u64.. {
                let stamp: Vec<u8> = round.to_le_bytes().repeat(CHUNK * 512 / 8);
                let data: Arc<[u8]> = stamp.into();
                for chunk in 0..8 {
                    if let Err(error) = session.submit_write(chunk * CHUNK as u64, &data) {
                        return error.to_string();
                    }
                }
                for _ in 0..8 {
                    match session.queue().complete() {
                        Ok((_, answer)) => match answer.good() {
                            Ok(_) => drop(counter.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => return error.to_string(),
                        },
                        Err(error) => return error.to_string(),
                    }
                }
            }
            String::new()
        });
        Self { written, thread }
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until it has stopped; how many writes were acknowledged, and what ended it.
    pub(super) fn join(self) -> (u64, String) {
        let ended = self.thread.join().unwrap_or_else(|_| "the writer panicked".to_owned());
        (self.written.load(Ordering::Relaxed), ended)
    }
}

/// Everything that the writer can have touched.
pub(super) fn read_region(session: &mut Session) -> Result<Vec<u8>, ScsiError> {
    let mut bytes = Vec::new();
    for chunk in 0..8 {
        bytes.extend(session.read(chunk * CHUNK as u64, CHUNK as u32)?);
    }
    Ok(bytes)
}
