//! A simulated FusionStorage: REST over HTTPS in front, real iSCSI behind.
//!
//! Written from the same facts as the driver (the calls, their fields, their numbers), as a state
//! machine that refuses what the array would refuse. Its volumes are files that our own iSCSI target
//! offers, and a mapping lets a host's ports in there: so what hosts can do is really so. One thing
//! is simpler than on an array: each volume is a target of its own, and [`SimulatedArray::way`] says
//! which one an initiator means by a LUN.
//!
//! Tests can make tokens run out, calls fail or take long, and cut everything off after any call.

mod serve;
mod state;

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use osds_drivers::config::{FusionStorageConfig, PoolConfig};
use osds_iscsi::{Limits, Target};
use osds_model::Connection;
use tempfile::TempDir;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use self::state::State;

/// The user that the array knows.
pub const USER: &str = "admin";
/// Their password: the one of the published example.
pub const PASSWORD: &str = "IaaS@PORTAL-CLOUD9!";

/// What the array is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 8.0.
    V8,
    /// 6.3: other numbers for errors, and portals only by command.
    V6,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is not carried out, and answered with this HTTP status.
    Status(u16),
    /// It is not carried out, and refused with this number.
    Refuse(u64),
    /// It is not carried out and not answered.
    Lost,
    /// It is carried out and not answered.
    Unanswered,
    /// It is carried out, and the answer is not JSON.
    Garbled,
}

/// Everything that is on the array; what a test compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Names of hosts, their ports, and their volumes.
    pub hosts: Vec<(String, Vec<String>, Vec<String>)>,
    /// Names of ports.
    pub ports: Vec<String>,
    /// Names of snapshots.
    pub snapshots: Vec<String>,
}

/// A simulated array. Everything goes when it is dropped.
pub struct SimulatedArray {
    inner: Arc<Inner>,
    address: SocketAddr,
    home: TempDir,
    listener: Option<JoinHandle<()>>,
}

struct Inner {
    state: Mutex<State>,
    tls: Arc<ServerConfig>,
    stopped: AtomicBool,
    trouble: Mutex<Plan>,
}

/// What goes wrong.
#[derive(Default)]
struct Plan {
    /// Calls whose path ends like this, how, and how often still.
    planned: Vec<(String, Trouble, u32)>,
    /// Calls until nothing is answered any more.
    cut: Option<u32>,
    /// Before each answer.
    latency: Duration,
    /// Paths of all calls that were carried out.
    calls: Vec<String>,
}

impl SimulatedArray {
    /// An array with these pools (number, MiB).
    ///
    /// # Errors
    /// There is no port, or no room for its files.
    pub fn start(release: Release, pools: &[(u32, u64)]) -> io::Result<Self> {
        let home = tempfile::tempdir()?;
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
            .map_err(io::Error::other)?;
        std::fs::write(home.path().join("ca.pem"), made.cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|tls| tls.with_no_client_auth().with_single_cert(vec![made.cert.into()], key))
            .map_err(io::Error::other)?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let target = Target::start(&[loopback], Limits::default())?;
        let state = State::new(release, pools, target, home.path().to_owned());
        let listener = TcpListener::bind(loopback)?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            state: Mutex::new(state),
            tls: Arc::new(tls),
            stopped: AtomicBool::new(false),
            trouble: Mutex::default(),
        });
        let serving = Arc::clone(&inner);
        let listener = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let inner = Arc::clone(&serving);
                // Ends with its connection, which ends with the client or by its time limit.
                std::thread::spawn(move || inner.serve(stream));
            }
        });
        Ok(Self { inner, address, home, listener: Some(listener) })
    }

    /// Where its REST service is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate to believe.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }

    /// Where its volumes are served.
    #[must_use]
    pub fn portal(&self) -> String {
        self.state().portal()
    }

    /// The name of its target.
    #[must_use]
    pub fn iqn(&self) -> &'static str {
        state::IQN
    }

    /// The configuration of a driver for it.
    #[must_use]
    pub fn config(&self, pools: Vec<PoolConfig>) -> FusionStorageConfig {
        FusionStorageConfig {
            username: USER.to_owned(),
            password: osds_drivers::config::Secret::new(PASSWORD),
            encrypted: false,
            encrypter: "aes".to_owned(),
            url: self.url(),
            version: match self.state().release {
                Release::V8 => "8.0".to_owned(),
                Release::V6 => "6.3".to_owned(),
            },
            fm_ip: "127.0.0.1".to_owned(),
            fsa_ips: vec!["127.0.0.2".to_owned()],
            insecure: false,
            ca_file: Some(self.ca_file()),
            fsc_cli: "fsc_cli".into(),
            pools,
        }
    }

    /// The volume that this initiator reaches under the LUN of `way`, as testkit's initiator has to
    /// be told; `None` where it reaches none.
    #[must_use]
    pub fn way(&self, initiator: &str, way: &Connection) -> Option<Connection> {
        let Connection::Iscsi { portals, lun, .. } = way else { return None };
        let iqn = self.state().reached(initiator, *lun)?;
        Some(Connection::Iscsi { iqn, portals: portals.clone(), lun: 1 })
    }

    /// A volume's blocks, behind everybody's back.
    #[must_use]
    pub fn blocks(&self, volume: &str) -> Option<File> {
        self.state().blocks(volume)
    }

    /// What is on it.
    #[must_use]
    pub fn contents(&self) -> Contents {
        self.state().contents()
    }

    /// Makes a volume that nobody asked the driver for.
    pub fn plant(&self, name: &str, pool: u32, mib: u64) {
        self.state().create(name, pool, mib).expect("a name of its own, and room");
    }

    /// Makes a volume larger, as the array's administrator.
    pub fn grow(&self, name: &str, mib: u64) {
        self.state().expand(name, mib).expect("there is such a volume");
    }

    /// Makes a host with a port, as the array's administrator.
    pub fn plant_host(&self, name: &str, port: &str) {
        self.state().plant_host(name, port);
    }

    /// Takes a host away, as the administrator; its port stays.
    pub fn forget_host(&self, name: &str) {
        self.state().forget_host(name);
    }

    /// From now on a token is good for so many calls.
    pub fn tokens_last(&self, calls: u32) {
        self.state().token_calls = calls;
    }

    /// The next `times` calls whose path ends in `path` have this trouble.
    pub fn trouble(&self, path: &str, trouble: Trouble, times: u32) {
        self.plan().planned.push((path.to_owned(), trouble, times));
    }

    /// Every answer comes so late.
    pub fn latency(&self, latency: Duration) {
        self.plan().latency = latency;
    }

    /// After so many more calls have been carried out nothing is answered or done any more, the last
    /// of them included, until [`SimulatedArray::heal`].
    pub fn cut_after(&self, calls: u32) {
        self.plan().cut = Some(calls);
    }

    /// Whether a cut was reached, and nothing is answered any more.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.plan().cut == Some(0)
    }

    /// Ends all troubles.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.planned.clear();
        plan.latency = Duration::ZERO;
        plan.cut = None;
    }

    /// Paths of the calls since the last time this was asked.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.plan().calls)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.inner.plan()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SimulatedArray {
    fn drop(&mut self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
        drop(self.inner.state().target.shutdown());
    }
}
