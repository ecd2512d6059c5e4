//! A whole cluster in one process: a real controller and a real dock over drivers in memory, whose
//! failures are planned. `restart` is the crash: records, ledger and blocks stay, everything that
//! a process holds is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use osds_controller::{
    Attached, Caller, Clock, Controller, Docks, Error, HostRef, NewAttachment, NewHost,
    NewSnapshot, NewVolume, Settings, Snapshotted,
};
use osds_dock::{Dock, Identity, Ledger};
use osds_dock_api::DockApi;
use osds_drivers::fake::{FakeStorage, FakeTarget};
use osds_drivers::{StorageDriver, TargetDriver};
use osds_keyring::Keyring;
use osds_keyring::chap::Chap;
use osds_lifecycle::volume;
use osds_model::host::Protocol;
use osds_model::pool::{PoolExtras, PoolSpec};
use osds_model::{
    AttachMode, Capacity, DockId, Host, Initiator, Sharing, Snapshot, TenantId, Timestamp, UserId,
    Volume, VolumeId,
};
use osds_store::{MemoryStore, Store};

/// The pool whose volumes may be shared.
pub const SHARED_POOL: &str = "shared";
/// The pool whose volumes may not.
pub const SINGLE_POOL: &str = "single";
/// How large each pool is.
pub const POOL_GIB: u64 = 100;
/// Long enough for anything that ends; short enough for a person who waits for a failing test.
const PATIENCE: Duration = Duration::from_secs(10);

/// A controller, a dock, and drivers in memory.
pub struct Cluster {
    /// The control plane.
    pub controller: Controller,
    /// The dock's storage.
    pub storage: FakeStorage,
    /// The dock's target.
    pub target: FakeTarget,
    /// The dock itself.
    pub dock: Arc<dyn DockApi>,
    /// The records.
    pub store: Arc<dyn Store>,
    /// What opens the credentials in records and on the ledger.
    pub keys: Arc<Keyring>,
    home: Arc<tempfile::TempDir>,
    settings: Settings,
    wrap: Wrap,
}

/// Puts something between the parts, such as a cut.
#[derive(Clone)]
pub struct Wrap {
    /// Around the store.
    pub store: fn(Arc<dyn Store>, &Context) -> Arc<dyn Store>,
    /// Around the storage driver.
    pub storage: fn(Arc<dyn StorageDriver>, &Context) -> Arc<dyn StorageDriver>,
    /// Around the target driver.
    pub target: fn(Arc<dyn TargetDriver>, &Context) -> Arc<dyn TargetDriver>,
    /// What they are given.
    pub context: Context,
}

/// Something that a test hands to its wrappers.
pub type Context = Arc<dyn std::any::Any + Send + Sync>;

impl Default for Wrap {
    fn default() -> Self {
        Self {
            store: |store, _| store,
            storage: |storage, _| storage,
            target: |target, _| target,
            context: Arc::new(()),
        }
    }
}

struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000)
    }
}

/// Quick retries, and no sweep but those a test asks for by a restart.
#[must_use]
pub fn quick() -> Settings {
    Settings {
        sweep_every: Duration::from_secs(3600),
        workers: 16,
        retry_first: Duration::from_millis(1),
        retry_most: Duration::from_millis(5),
    }
}

impl Cluster {
    /// A fresh cluster with a pool for shared volumes and one for others.
    pub async fn start(settings: Settings) -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        let storage = FakeStorage::default();
        for (name, multi_attach) in [(SHARED_POOL, true), (SINGLE_POOL, false)] {
            storage.add_pool(pool(name, multi_attach));
        }
        let store = Arc::new(MemoryStore::new());
        let keys = Arc::new(Keyring::in_memory().expect("the system has random bytes"));
        let parts = Parts { home, storage, target: FakeTarget::default(), store, keys };
        parts.boot(settings, Wrap::default()).await
    }

    /// Ends the processes without a word and starts new ones on what they left.
    pub async fn restart(self) -> Self {
        let settings = self.settings;
        self.restart_with(settings, Wrap::default()).await
    }

    /// The same, with other settings and with something between the parts.
    pub async fn restart_with(self, settings: Settings, wrap: Wrap) -> Self {
        self.controller.stop().await;
        self.target.forget_all();
        let Self { storage, target, store, keys, home, .. } = self;
        Parts { home, storage, target, store, keys }.boot(settings, wrap).await
    }

    /// Who asks, everywhere.
    #[must_use]
    pub fn admin() -> Caller {
        Caller {
            tenant: TenantId::from("tenant"),
            user: UserId::default(),
            admin: true,
            once: None,
        }
    }

    /// Registers a host with one iSCSI initiator.
    ///
    /// # Errors
    /// As the controller.
    pub async fn add_host(&self, name: &str) -> Result<Arc<Host>, Error> {
        let initiator = Initiator {
            port_name: format!("iqn.2026-11.test:{}", name.to_ascii_lowercase()),
            protocol: Protocol::Iscsi,
        };
        let host = NewHost {
            name: name.to_owned(),
            os_type: "linux".to_owned(),
            access_mode: "agentless".to_owned(),
            ip: "127.0.0.1".to_owned(),
            initiators: vec![initiator],
            ..NewHost::default()
        };
        self.controller.create_host(&Self::admin(), host).await
    }

    /// Asks for a volume under the default profile.
    ///
    /// # Errors
    /// As the controller.
    pub async fn add_volume(
        &self,
        name: &str,
        gib: i64,
        multi_attach: bool,
    ) -> Result<Arc<Volume>, Error> {
        let volume =
            NewVolume { name: name.to_owned(), size: gib, multi_attach, ..NewVolume::default() };
        self.controller.create_volume(&Self::admin(), volume).await
    }

    /// Asks for a snapshot of a volume.
    ///
    /// # Errors
    /// As the controller.
    pub async fn add_snapshot(&self, name: &str, volume: VolumeId) -> Result<Snapshotted, Error> {
        let (name, volume) = (name.to_owned(), volume.to_string());
        let new = NewSnapshot { name, volume, ..NewSnapshot::default() };
        self.controller.create_snapshot(&Self::admin(), new).await
    }

    /// The snapshot with this name, as it is on record.
    #[must_use]
    pub fn snapshot(&self, name: &str) -> Option<Arc<Snapshot>> {
        let view = self.store.view();
        view.iter::<Snapshot>().find(|s| s.name == name).map(|s| Arc::clone(&s.value))
    }

    /// Asks for a host to have a volume.
    ///
    /// # Errors
    /// As the controller.
    pub async fn attach(
        &self,
        volume: VolumeId,
        host: &Host,
        mode: AttachMode,
        sharing: Sharing,
    ) -> Result<Attached, Error> {
        let request = NewAttachment {
            volume: volume.to_string(),
            host: HostRef::Id(host.id.to_string()),
            mode,
            sharing,
            publication: None,
            mountpoint: String::new(),
            metadata: std::collections::BTreeMap::new(),
        };
        self.controller.attach(&Self::admin(), request).await
    }

    /// The volume with this name, as it is on record.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<Arc<Volume>> {
        let view = self.store.view();
        view.iter::<Volume>().find(|v| v.name == name).map(|v| Arc::clone(&v.value))
    }

    /// The host with this name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<Arc<Host>> {
        let view = self.store.view();
        view.iter::<Host>().find(|h| h.name == name).map(|h| Arc::clone(&h.value))
    }

    /// Waits until every volume is settled, or has come to rest with a fault.
    pub async fn settle(&self) {
        let ids: Vec<_> = self.store.view().iter::<Volume>().map(|v| v.id).collect();
        for id in ids {
            self.controller.wait_for_volume(id, PATIENCE).await;
            let held: Vec<_> = self
                .store
                .view()
                .get::<Volume>(id)
                .map(|v| v.state.attachments.values().map(|a| a.id).collect())
                .unwrap_or_default();
            for attachment in held {
                self.controller.wait_for_attachment(attachment, PATIENCE).await;
            }
        }
    }

    /// Waits until every volume is as wished: for what heals by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn heal(&self) {
        self.until("everything is as wished", |cluster| {
            cluster.store.view().iter::<Volume>().all(|v| volume::is_settled(&v.state))
        })
        .await;
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it never is.
    pub async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let limit = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            assert!(tokio::time::Instant::now() < limit, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What outlives a process.
struct Parts {
    home: Arc<tempfile::TempDir>,
    storage: FakeStorage,
    target: FakeTarget,
    store: Arc<dyn Store>,
    keys: Arc<Keyring>,
}

impl Parts {
    async fn boot(self, settings: Settings, wrap: Wrap) -> Cluster {
        let Self { home, storage, target, store, keys } = self;
        let identity = Identity {
            id: DockId::from_u128(0xd0c),
            name: "dock".to_owned(),
            description: String::new(),
            endpoint: "local".to_owned(),
            node: "here".to_owned(),
        };
        let ledger = Ledger::open(home.path().join("ledger")).expect("the ledger can be opened");
        let dock = Arc::new(Dock::new(
            identity.clone(),
            (wrap.storage)(Arc::new(storage.clone()), &wrap.context),
            (wrap.target)(Arc::new(target.clone()), &wrap.context),
            ledger,
            Arc::clone(&keys),
        ));
        dock.restore().await;
        let dock: Arc<dyn DockApi> = dock;
        let controller = Controller::new(
            (wrap.store)(Arc::clone(&store), &wrap.context),
            Docks::from([(identity.id, Arc::clone(&dock))]),
            Arc::new(StandingClock),
            settings,
        )
        .with_chap(Chap::Mutual, Arc::clone(&keys));
        // A cut can fall into the start, too; the next restart heals that.
        let _ = controller.start().await;
        Cluster { controller, storage, target, dock, store, keys, home, settings, wrap }
    }
}

impl Cluster {
    /// Where the dock keeps its ledger.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.home.path().join("ledger")
    }

    /// What the wrappers were given.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.wrap.context
    }
}

fn pool(name: &str, multi_attach: bool) -> PoolSpec {
    let size = Capacity::from_gib(POOL_GIB).expect("a small number");
    PoolSpec {
        name: name.to_owned(),
        description: String::new(),
        storage_type: "block".to_owned(),
        availability_zone: "default".to_owned(),
        multi_attach,
        total: size,
        usable: size,
        extras: PoolExtras::default(),
    }
}
