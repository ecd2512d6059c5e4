//! A dock on strings: it answers well, hangs, fails or panics, as the test says, call by call.

// Not every test pulls every string.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use osds_controller::{Caller, Controller, Docks, NewVolume, Settings, SystemClock};
use osds_dock_api::{
    DockApi, DockDescription, DockError, Inventory, PoolDescription, TargetDescription,
};
use osds_model::host::Protocol;
use osds_model::pool::{PoolExtras, PoolSpec};
use osds_model::usage::TargetUsage;
use osds_model::{
    Applied, Capacity, Connection, DockId, HostOutcome, PoolId, Presence, SnapshotOutcome,
    TenantId, UserId, Volume, VolumeId, VolumeOutcome, VolumeWish,
};
use osds_store::{MemoryStore, Store};
use tokio::sync::{mpsc, oneshot};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A wish that waits for the test's answer.
pub(crate) struct Asked {
    pub(crate) wish: VolumeWish,
    pub(crate) reply: oneshot::Sender<Result<Applied, DockError>>,
}

pub(crate) struct Puppet {
    number: u128,
    /// Calls of `describe` and `inventory` do not return.
    pub(crate) mute: AtomicBool,
    /// So many more calls of `enforce` panic.
    pub(crate) panics: AtomicU32,
    /// Calls of `enforce` are answered by whoever holds the other end.
    pub(crate) asks: Option<mpsc::Sender<Asked>>,
}

impl Puppet {
    pub(crate) fn new(number: u128) -> Self {
        Self { number, mute: false.into(), panics: 0.into(), asks: None }
    }

    pub(crate) fn asking(number: u128) -> (Self, mpsc::Receiver<Asked>) {
        let (asks, asked) = mpsc::channel(16);
        (Self { asks: Some(asks), ..Self::new(number) }, asked)
    }

    pub(crate) fn pool(&self) -> PoolId {
        PoolId::from_u128(self.number)
    }

    async fn speak(&self) {
        if self.mute.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

/// The answer of a dock that could do all of it.
pub(crate) fn done(wish: &VolumeWish) -> Applied {
    let volume = match wish.presence {
        Presence::Wanted(size) => VolumeOutcome::Present(size),
        Presence::Unwanted => VolumeOutcome::Absent,
    };
    let connection = Connection::Iscsi { iqn: String::new(), portals: vec![], lun: 1 };
    let granted = |host| (host, HostOutcome::Granted(connection.clone()));
    let hosts = wish.hosts.keys().copied().map(granted).collect();
    let snapshots = wish.snapshots.iter().map(|(id, snapshot)| {
        let size = match wish.presence {
            Presence::Wanted(size) if snapshot.wanted => SnapshotOutcome::Present(size),
            Presence::Wanted(_) | Presence::Unwanted => SnapshotOutcome::Absent,
        };
        (*id, size)
    });
    Applied { generation: wish.generation, volume, hosts, snapshots: snapshots.collect() }
}

#[async_trait]
impl DockApi for Puppet {
    async fn describe(&self) -> Result<DockDescription, DockError> {
        self.speak().await;
        let size = Capacity::from_gib(1000).unwrap();
        let spec = PoolSpec {
            name: format!("pool{}", self.number),
            description: String::new(),
            storage_type: "block".to_owned(),
            availability_zone: "default".to_owned(),
            multi_attach: true,
            total: size,
            usable: size,
            extras: PoolExtras::default(),
        };
        Ok(DockDescription {
            id: DockId::from_u128(self.number),
            name: format!("dock{}", self.number),
            description: String::new(),
            endpoint: "local".to_owned(),
            node: "here".to_owned(),
            driver: "puppet".to_owned(),
            target: TargetDescription {
                name: "puppet".to_owned(),
                protocol: Protocol::Iscsi,
                enforces_read_only: true,
                enforces_credentials: true,
            },
            pools: vec![PoolDescription {
                id: self.pool(),
                name: spec.name.clone(),
                spec: Ok(spec),
            }],
        })
    }

    async fn enforce(&self, wish: &VolumeWish) -> Result<Applied, DockError> {
        let left = self.panics.load(Ordering::SeqCst);
        if left > 0 {
            self.panics.store(left - 1, Ordering::SeqCst);
            panic!("as planned");
        }
        let Some(asks) = &self.asks else { return Ok(done(wish)) };
        let (reply, answer) = oneshot::channel();
        let _ = asks.send(Asked { wish: wish.clone(), reply }).await;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    async fn inventory(&self) -> Result<Inventory, DockError> {
        self.speak().await;
        Ok(Inventory::default())
    }

    async fn usage(&self) -> Result<TargetUsage, DockError> {
        self.speak().await;
        Ok(TargetUsage::default())
    }
}

pub(crate) struct Scene {
    pub(crate) controller: Controller,
    pub(crate) store: Arc<dyn Store>,
}

impl Scene {
    pub(crate) fn new(puppets: Vec<Arc<Puppet>>, workers: usize) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let docks: Docks = puppets
            .into_iter()
            .map(|puppet| (DockId::from_u128(puppet.number), puppet as Arc<dyn DockApi>))
            .collect();
        let settings = Settings {
            sweep_every: Duration::from_millis(20),
            workers,
            retry_first: Duration::from_millis(1),
            retry_most: Duration::from_millis(5),
        };
        let controller =
            Controller::new(Arc::clone(&store), docks, Arc::new(SystemClock), settings);
        Self { controller, store }
    }

    pub(crate) fn admin() -> Caller {
        Caller {
            tenant: TenantId::from("tenant"),
            user: UserId::default(),
            admin: true,
            once: None,
        }
    }

    pub(crate) async fn create(&self, name: &str, pool: PoolId) -> VolumeId {
        let new = NewVolume {
            name: name.to_owned(),
            size: 1,
            pool: pool.to_string(),
            multi_attach: true,
            ..NewVolume::default()
        };
        self.controller.create_volume(&Self::admin(), new).await.unwrap().id
    }

    pub(crate) fn volume(&self, id: VolumeId) -> Option<Arc<Volume>> {
        self.store.view().get::<Volume>(id).map(|volume| Arc::clone(&volume.value))
    }

    pub(crate) async fn until_made(&self, id: VolumeId) {
        self.controller.wait_for_volume(id, PATIENCE).await;
        let made = self.volume(id).is_some_and(|volume| volume.state.made.is_some());
        assert!(made, "the volume is made");
    }
}
