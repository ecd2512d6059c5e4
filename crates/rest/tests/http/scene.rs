//! A whole server in one process, and the sentences that the tests are written in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use osds_controller::{Controller, Docks, Settings, SystemClock};
use osds_dock::{Dock, Identity, Ledger};
use osds_drivers::fake::{FakeStorage, FakeTarget};
use osds_keyring::Keyring;
use osds_keyring::chap::Chap;
use osds_model::pool::PoolSpec;
use osds_model::{Capacity, DockId};
use osds_rest::{Authority, Limits, Tls};
use osds_store::MemoryStore;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Answer, Client};

/// The administrator's part of the path.
pub const T: &str = "/v1beta/e93b4c0934da416eb9c8d120c5d04d96";
/// Long enough for everything that ends.
pub const WAIT: (&str, &str) = ("Prefer", "wait=30");

pub const DOCK: DockId = DockId::from_u128(0xd0c);
pub const FAR_DOCK: DockId = DockId::from_u128(0xfa5);

/// A running server and what is behind it.
pub struct Scene {
    runtime: Option<Runtime>,
    pub address: SocketAddr,
    pub storage: FakeStorage,
    pub far: FakeStorage,
    pub target: FakeTarget,
    pub far_target: FakeTarget,
    pub store: Arc<MemoryStore>,
    pub controller: Controller,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
    _ledger: TempDir,
}

pub fn gib(gib: u64) -> Capacity {
    Capacity::from_gib(gib).unwrap()
}

/// The pool that volumes of several hosts may be in.
pub fn shared_pool(size: u64) -> PoolSpec {
    PoolSpec {
        name: "shared".to_owned(),
        description: String::new(),
        storage_type: "block".to_owned(),
        availability_zone: "default".to_owned(),
        multi_attach: true,
        total: gib(size),
        usable: gib(size),
        extras: osds_model::pool::PoolExtras::default(),
    }
}

/// The pool that they may not be in.
pub fn plain_pool(size: u64) -> PoolSpec {
    PoolSpec { name: "plain".to_owned(), multi_attach: false, ..shared_pool(size) }
}

/// What a server is made of.
pub struct Setup {
    pub pools: Vec<PoolSpec>,
    /// Pools of a second dock, if there is to be one.
    pub far_pools: Vec<PoolSpec>,
    pub target: FakeTarget,
    pub limits: Limits,
    pub chap: Chap,
    pub sweep_every: Duration,
    pub authority: Authority,
    pub tls: Option<Tls>,
    /// Where requests are counted.
    pub requests: osds_rest::Requests,
    /// What else the port serves.
    pub more: Router,
}

impl Default for Setup {
    /// One pool of 100 000 GiB.
    fn default() -> Self {
        Self {
            pools: vec![shared_pool(100_000)],
            far_pools: vec![],
            target: FakeTarget::default(),
            limits: Limits::default(),
            chap: Chap::default(),
            sweep_every: Duration::from_secs(30),
            authority: Authority::noauth(),
            tls: None,
            requests: osds_rest::Requests::default(),
            more: Router::new(),
        }
    }
}

fn dock(
    id: DockId,
    storage: &FakeStorage,
    target: &FakeTarget,
    ledger: &Path,
    keys: &Arc<Keyring>,
) -> Arc<Dock> {
    let identity = Identity {
        id,
        name: "dock".to_owned(),
        description: String::new(),
        endpoint: "local".to_owned(),
        node: "here".to_owned(),
    };
    let ledger = Ledger::open(ledger.join(id.to_string())).unwrap();
    let (storage, target) = (Arc::new(storage.clone()), Arc::new(target.clone()));
    Arc::new(Dock::new(identity, storage, target, ledger, Arc::clone(keys)))
}

fn storage(pools: &[PoolSpec]) -> FakeStorage {
    let storage = FakeStorage::default();
    pools.iter().for_each(|pool| storage.add_pool(pool.clone()));
    storage
}

impl Scene {
    pub fn new() -> Self {
        Self::of(Setup::default())
    }

    pub fn with_pools(pools: Vec<PoolSpec>) -> Self {
        Self::of(Setup { pools, ..Setup::default() })
    }

    pub fn of(setup: Setup) -> Self {
        // The ledger syncs; memory does that quickly.
        let shared = Path::new("/dev/shm");
        let ledger = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() };
        let ledger = ledger.unwrap();
        let (near, far) = (storage(&setup.pools), storage(&setup.far_pools));
        let (target, far_target) = (setup.target, FakeTarget::default());
        let keys = Arc::new(Keyring::in_memory().unwrap());
        let mut docks: Docks =
            [(DOCK, dock(DOCK, &near, &target, ledger.path(), &keys) as _)].into();
        if !setup.far_pools.is_empty() {
            docks.insert(FAR_DOCK, dock(FAR_DOCK, &far, &far_target, ledger.path(), &keys) as _);
        }
        let store = Arc::new(MemoryStore::new());
        let settings = Settings {
            retry_first: Duration::from_millis(5),
            retry_most: Duration::from_millis(50),
            sweep_every: setup.sweep_every,
            ..Settings::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let controller =
            Controller::new(Arc::clone(&store) as _, docks, Arc::new(SystemClock), settings)
                .with_chap(setup.chap, keys);
        let (stop, stopped) = oneshot::channel();
        let listener = runtime.block_on(async {
            controller.start().await.unwrap();
            TcpListener::bind("127.0.0.1:0").await.unwrap()
        });
        let address = listener.local_addr().unwrap();
        let settings =
            osds_rest::Settings { requests: setup.requests, ..osds_rest::Settings::default() };
        let router = osds_rest::router(controller.clone(), setup.authority, settings);
        let router = router.merge(setup.more);
        let served =
            runtime.spawn(osds_rest::serve(listener, setup.tls, router, setup.limits, async {
                let _ = stopped.await;
            }));
        Self {
            runtime: Some(runtime),
            address,
            storage: near,
            far,
            target,
            far_target,
            store,
            controller,
            stop: Some(stop),
            served: Some(served),
            _ledger: ledger,
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// Orders the server to stop.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until the server has stopped.
    pub fn stopped(&mut self) {
        let served = self.served.take().unwrap();
        self.runtime().block_on(served).unwrap();
    }

    pub fn get(&self, path: &str) -> Answer {
        self.client().request("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.client().request("POST", path, &[], Some(body.as_bytes()))
    }

    pub fn post_wait(&self, path: &str, body: &str) -> Answer {
        self.client().request("POST", path, &[WAIT], Some(body.as_bytes()))
    }

    pub fn put(&self, path: &str, body: &str) -> Answer {
        self.client().request("PUT", path, &[], Some(body.as_bytes()))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.client().request("DELETE", path, &[], Some(b"null"))
    }

    pub fn delete_wait(&self, path: &str) -> Answer {
        self.client().request("DELETE", path, &[WAIT], None)
    }

    /// A host with one initiator of its name; its id.
    pub fn host(&self, name: &str) -> String {
        let body = format!(
            r#"{{"hostName":"{name}","osType":"linux","ip":"10.0.0.1","accessMode":"agentless",
            "availabilityZones":["default"],
            "initiators":[{{"portName":"iqn.1993-08.org.debian:01:{name}","protocol":"iscsi"}}]}}"#
        );
        self.post(&format!("{T}/host/hosts"), &body).expect(200).id()
    }

    /// A profile with the seed's property; its id.
    pub fn shared_profile(&self, name: &str, multi_attach: &str) -> String {
        let body = format!(
            r#"{{"name":"{name}","customProperties":{{"capabilities:multiAttach":{multi_attach}}}}}"#
        );
        self.post(&format!("{T}/profiles"), &body).expect(200).id()
    }

    /// A volume of 1 GiB that is made already; its id.
    pub fn volume(&self, multi_attach: bool) -> String {
        let body = format!(r#"{{"name":"v","size":1,"multiAttach":{multi_attach}}}"#);
        let made = self.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
        assert_eq!(made.text("status"), "available");
        made.id()
    }

    pub fn volume_path(&self, id: &str) -> String {
        format!("{T}/block/volumes/{id}")
    }

    pub fn status_of_volume(&self, id: &str) -> String {
        self.get(&self.volume_path(id)).expect(200).text("status")
    }

    /// Asks for an attachment and waits for what comes of it.
    pub fn attach(&self, volume: &str, host: &str, mode: &str) -> Answer {
        self.post_wait(&format!("{T}/block/attachments"), &attach_body(volume, host, mode))
    }

    pub fn attachment_path(&self, id: &str) -> String {
        format!("{T}/block/attachments/{id}")
    }

    /// Detaches, and waits until the target has put the host out.
    pub fn detach(&self, id: &str) {
        let gone = self.delete_wait(&self.attachment_path(id)).expect(202);
        assert_eq!(gone.body, "", "still there");
    }

    pub fn attachments_of(&self, volume: &str) -> Vec<serde_json::Value> {
        let list = self.get(&format!("{T}/block/attachments?volumeId={volume}")).expect(200);
        list.json().as_array().unwrap().clone()
    }
}

/// Asks again and again until `done`.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::yield_now();
    }
}

pub fn attach_body(volume: &str, host: &str, mode: &str) -> String {
    format!(r#"{{"volumeId":"{volume}","hostId":"{host}","attachMode":"{mode}"}}"#)
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(self.controller.stop());
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}
