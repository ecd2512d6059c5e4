//! The dock over drivers in memory: what must hold whatever goes wrong around it.
//!
//! Whole lives with a controller are told in testkit; here are the turns that only a dock can take,
//! with the drivers held still at the moment that matters.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use osds_dock::{Dock, Identity, Ledger};
use osds_dock_api::DockApi;
use osds_drivers::fake::{FakeStorage, FakeTarget, Op, When};
use osds_drivers::reservations::{Port, Registration, Reservation};
use osds_drivers::{KeptReservations, ReservationShelf as _, StorageDriver, TargetDriver};
use osds_keyring::Keyring;
use osds_keyring::chap::{self, Chap};
use osds_model::host::Protocol;
use osds_model::{
    Applied, AttachMode, AttachmentId, Capacity, DockId, FaultKind, Generation, Grant, HostId,
    HostOutcome, Initiator, IoLimits, IoRate, Presence, VolumeId, VolumeOutcome, VolumeWish,
};

const V: VolumeId = VolumeId::from_u128(1);
const W: VolumeId = VolumeId::from_u128(2);
const A: HostId = HostId::from_u128(0xa);
const B: HostId = HostId::from_u128(0xb);

struct Scene {
    home: tempfile::TempDir,
    storage: FakeStorage,
    target: FakeTarget,
    keys: Arc<Keyring>,
    dock: Arc<Dock>,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let storage = FakeStorage::with_pool("pool", Capacity::from_gib(100).unwrap());
        let target = FakeTarget::default();
        let keys = Arc::new(Keyring::in_memory().unwrap());
        let dock = dock(home.path(), &storage, &target, &keys);
        Self { home, storage, target, keys, dock }
    }

    /// The dock's process ends, and a new one begins on what is left.
    fn restart(&mut self) {
        self.target.forget_all();
        self.dock = dock(self.home.path(), &self.storage, &self.target, &self.keys);
    }

    fn wish(&self, volume: VolumeId, generation: u64, hosts: &[HostId]) -> VolumeWish {
        VolumeWish {
            volume,
            generation: Generation(generation),
            pool: self.dock.pool_id("pool"),
            presence: Presence::Wanted(Capacity::from_gib(1).unwrap()),
            exists: generation > 1,
            guarded: false,
            limits: IoLimits::NONE,
            source: None,
            snapshots: BTreeMap::new(),
            hosts: hosts.iter().map(|host| (*host, grant(*host))).collect(),
        }
    }

    async fn served(&self, volume: VolumeId) -> Vec<HostId> {
        let export = self.target.export_of(volume).await.unwrap();
        export.map(|export| export.hosts.into_keys().collect()).unwrap_or_default()
    }
}

fn dock(home: &Path, storage: &FakeStorage, target: &FakeTarget, keys: &Arc<Keyring>) -> Arc<Dock> {
    let identity = Identity {
        id: DockId::from_u128(0xd0c),
        name: "dock".to_owned(),
        description: String::new(),
        endpoint: "local".to_owned(),
        node: "here".to_owned(),
    };
    let ledger = Ledger::open(home.join("ledger")).unwrap();
    let (storage, target) = (Arc::new(storage.clone()), Arc::new(target.clone()));
    let keys = Arc::clone(keys);
    Arc::new(Dock::new(identity, storage, target, ledger, keys))
}

fn grant(host: HostId) -> Grant {
    let port_name = format!("iqn.2026-11.test:{host}");
    let initiators = vec![Initiator { port_name, protocol: Protocol::Iscsi }];
    Grant { mode: AttachMode::ReadWrite, initiators, authentication: None }
}

/// A restart takes its time with many volumes. A host whose detach is confirmed meanwhile must not
/// be let in again by it.
#[tokio::test]
async fn a_restore_does_not_undo_a_detach_that_was_confirmed_meanwhile() {
    let mut scene = Scene::new();
    for volume in [V, W] {
        scene.dock.enforce(&scene.wish(volume, 1, &[])).await.unwrap();
        scene.dock.enforce(&scene.wish(volume, 2, &[A])).await.unwrap();
    }
    scene.restart();
    let gate = scene.target.faults.pause(Op::Grant, When::Before);
    let restoring = tokio::spawn({
        let dock = Arc::clone(&scene.dock);
        async move { dock.restore().await }
    });
    gate.arrived().await; // busy with V; W comes next
    let applied = scene.dock.enforce(&scene.wish(W, 3, &[])).await.unwrap();
    assert_eq!(applied.hosts, BTreeMap::new(), "the detach is confirmed");
    gate.open();
    restoring.await.unwrap();
    assert_eq!(scene.served(V).await, [A]);
    assert_eq!(scene.served(W).await, [], "and stays so");
}

/// Limits are in force before the first command, after a restart too, and change without a break.
#[tokio::test]
async fn limits_are_enforced_and_change_beneath_a_host_that_goes_on() {
    let mut scene = Scene::new();
    let limits = |iops| {
        let volume = IoRate { iops: NonZeroU64::new(iops), ..IoRate::NONE };
        IoLimits { volume, each_host: IoRate::NONE }
    };
    let wish = |scene: &Scene, generation, iops| VolumeWish {
        limits: limits(iops),
        ..scene.wish(V, generation, &[A])
    };
    let enforced =
        async |scene: &Scene| scene.target.export_of(V).await.unwrap().map(|export| export.limits);
    scene
        .dock
        .enforce(&VolumeWish { hosts: BTreeMap::new(), ..wish(&scene, 1, 500) })
        .await
        .unwrap();
    assert_eq!(enforced(&scene).await, None, "not exported");
    scene.target.faults.fail_all(Op::Limit, When::Before, FaultKind::Broken);
    let applied = scene.dock.enforce(&wish(&scene, 2, 500)).await.unwrap();
    assert!(matches!(applied.hosts[&A], HostOutcome::GrantFailed(_)), "not without the limits");
    scene.target.faults.heal();
    scene.dock.enforce(&wish(&scene, 2, 500)).await.unwrap();
    assert_eq!(enforced(&scene).await, Some(limits(500)));
    scene.restart();
    scene.dock.restore().await;
    assert_eq!(enforced(&scene).await, Some(limits(500)));
    let (grants, revokes) = (Op::Grant, Op::Revoke);
    let calls = |scene: &Scene| [grants, revokes].map(|op| scene.target.faults.calls(op));
    let before = calls(&scene);
    let applied = scene.dock.enforce(&wish(&scene, 3, 100)).await.unwrap();
    assert!(matches!(applied.volume, VolumeOutcome::Present(_)), "{applied:?}");
    assert_eq!((enforced(&scene).await, calls(&scene)), (Some(limits(100)), before));
    // Somebody changed them behind the dock's back: drift like any other.
    scene.target.limit(V, &IoLimits::NONE).await.unwrap();
    assert!(!scene.dock.inventory().await.unwrap().volumes[&V].as_wished);
    scene.dock.enforce(&wish(&scene, 3, 100)).await.unwrap();
    assert!(scene.dock.inventory().await.unwrap().volumes[&V].as_wished);
}

/// Whoever puts a host out needs it out now, whatever the storage is up to.
#[tokio::test]
async fn a_host_is_put_out_while_the_storage_cannot_be_asked() {
    let scene = Scene::new();
    scene.dock.enforce(&scene.wish(V, 1, &[])).await.unwrap();
    scene.dock.enforce(&scene.wish(V, 2, &[A, B])).await.unwrap();
    scene.storage.faults.fail_all(Op::Find, When::Before, FaultKind::Broken);
    let applied = scene.dock.enforce(&scene.wish(V, 3, &[B])).await.unwrap();
    assert_eq!(applied.hosts.keys().collect::<Vec<_>>(), [&B]);
    assert_eq!(scene.served(V).await, [B]);
    assert!(matches!(applied.volume, VolumeOutcome::Failed(_)), "nobody knows: {applied:?}");
    let gone = VolumeWish { presence: Presence::Unwanted, ..scene.wish(V, 4, &[]) };
    let applied = scene.dock.enforce(&gone).await.unwrap();
    assert!(matches!(applied.volume, VolumeOutcome::Failed(_)), "not absent: {applied:?}");
    assert_eq!(scene.served(V).await, []);
}

/// A pool that was taken out of the configuration: nobody is let in, everybody can be put out, and
/// nobody looks through all other pools for each of its volumes.
#[tokio::test]
async fn hosts_are_put_out_of_a_pool_that_nobody_knows() {
    let scene = Scene::new();
    scene.dock.enforce(&scene.wish(V, 1, &[])).await.unwrap();
    let asked = scene.storage.faults.calls(Op::Pools);
    for generation in 2..10 {
        let pool = scene.dock.pool_id("another");
        let wish = VolumeWish { pool, ..scene.wish(W, generation, &[]) };
        let applied = scene.dock.enforce(&wish).await.unwrap();
        let VolumeOutcome::Failed(fault) = &applied.volume else { panic!("{applied:?}") };
        assert!(fault.message.contains("put it back"), "{fault}");
    }
    assert_eq!(scene.storage.faults.calls(Op::Pools), asked);
}

/// What a host writes after its lost volume was put back must be in the volume that was put back,
/// not in the one that nobody can reach any more.
#[tokio::test]
async fn a_volume_that_was_put_back_is_the_one_that_is_written_to() {
    let scene = Scene::new();
    scene.dock.enforce(&scene.wish(V, 1, &[])).await.unwrap();
    scene.dock.enforce(&scene.wish(V, 2, &[A, B])).await.unwrap();
    assert!(scene.storage.lose("pool", V));
    let applied = scene.dock.enforce(&scene.wish(V, 2, &[A, B])).await.unwrap();
    assert!(matches!(applied.volume, VolumeOutcome::Failed(_)), "{applied:?}");
    scene.storage.create("pool", V, Capacity::from_gib(1).unwrap()).await.unwrap();
    let applied = scene.dock.enforce(&scene.wish(V, 2, &[A, B])).await.unwrap();
    assert!(applied.hosts.values().all(|host| matches!(host, HostOutcome::Granted(_))));
    scene.target.write_as(A, V, 0, b"after").unwrap();
    let mut bytes = [0; 5];
    let blocks = scene.storage.open("pool", V).await.unwrap();
    blocks.into_file().unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"after");
}

/// An entry that somebody took away is written back, but never beside the wish that is being worked
/// on: the older of the two could be what stays on the disk.
#[tokio::test]
async fn a_missing_entry_is_written_back_in_the_turn_of_its_volume() {
    let scene = Scene::new();
    let gate = scene.storage.faults.pause(Op::Create, When::Before);
    let wish = scene.wish(V, 1, &[]);
    let working = tokio::spawn({
        let dock = Arc::clone(&scene.dock);
        async move { dock.enforce(&wish).await }
    });
    gate.arrived().await;
    let entry = scene.home.path().join("ledger").join(format!("{V}.json"));
    std::fs::remove_file(&entry).unwrap();
    scene.dock.inventory().await.unwrap();
    assert!(!entry.exists(), "it is not this one's turn");
    gate.open();
    working.await.unwrap().unwrap();
    std::fs::remove_file(&entry).unwrap();
    scene.dock.inventory().await.unwrap();
    assert!(entry.exists());
}

/// A host that was detached while the dock was down, or while nothing was exported, has nothing left
/// of what it reserved when the others are let in; what is exported is the target's business.
#[tokio::test]
async fn reservations_of_a_host_that_was_detached_meanwhile_are_dropped_first() {
    let mut scene = Scene::new();
    scene.dock.enforce(&scene.wish(V, 1, &[])).await.unwrap();
    scene.dock.enforce(&scene.wish(V, 2, &[A, B])).await.unwrap();
    let ledger = Ledger::open(scene.home.path().join("ledger")).unwrap();
    ledger.loaded().await.unwrap();
    let files = ledger.reservations();
    let port =
        |host: HostId| Port { initiator: grant(host).initiators[0].port_name.clone(), isid: 1 };
    let registration = |host| Registration { port: port(host), key: 7, all_target_ports: false };
    let kept = KeptReservations {
        registrations: vec![registration(A), registration(B)],
        reservation: Some(Reservation { kind: 1, holder: Some(port(B)) }),
    };
    files.keep(V, &kept).unwrap();
    scene.dock.enforce(&scene.wish(V, 3, &[A, B])).await.unwrap();
    assert_eq!(files.kept(V).unwrap(), kept);
    scene.restart();
    scene.dock.restore().await;
    assert_eq!(files.kept(V).unwrap(), kept, "everybody is still wished for");

    scene.restart();
    let gate = scene.target.faults.pause(Op::Export, When::Before);
    let enforcing = tokio::spawn({
        let (dock, wish) = (Arc::clone(&scene.dock), scene.wish(V, 4, &[A]));
        async move { dock.enforce(&wish).await }
    });
    gate.arrived().await;
    let left = KeptReservations { registrations: vec![registration(A)], reservation: None };
    assert_eq!(files.kept(V).unwrap(), left, "before anybody is let in");
    gate.open();
    enforcing.await.unwrap().unwrap();
    scene.restart();
    scene.dock.enforce(&scene.wish(V, 5, &[])).await.unwrap();
    assert!(files.kept(V).unwrap().is_empty());
    // Rubbish is in nobody's way once nobody is wished for, and in everybody's before.
    std::fs::write(scene.home.path().join(format!("ledger/{V}.reservations")), b"?").unwrap();
    let refused = scene.dock.enforce(&scene.wish(V, 6, &[A])).await.unwrap_err().to_string();
    assert!(refused.contains("remove the file"), "{refused}");
    scene.dock.enforce(&scene.wish(V, 7, &[])).await.unwrap();
    scene.dock.enforce(&scene.wish(V, 8, &[A])).await.unwrap();
}

/// A ledger whose key is lost lets nobody in: not by the password, which nobody knows, and never by
/// the name alone. When the key is back, so is the host.
#[tokio::test]
async fn a_host_whose_credentials_do_not_open_stays_out_and_is_told_why() {
    let mut scene = Scene::new();
    scene.dock.enforce(&scene.wish(V, 1, &[])).await.unwrap();
    let id = AttachmentId::from_u128(0xa11);
    let mut wish = scene.wish(V, 2, &[A, B]);
    let sealed = chap::make(&scene.keys, Chap::Mutual, V, A, id).unwrap();
    wish.hosts.get_mut(&A).unwrap().authentication.clone_from(&sealed);
    // As if somebody had copied it to another host's entry.
    wish.hosts.get_mut(&B).unwrap().authentication = sealed;
    let said = |applied: &Applied, host| match &applied.hosts[&host] {
        HostOutcome::Granted(_) => "granted".to_owned(),
        HostOutcome::GrantFailed(fault) | HostOutcome::RevokeFailed(fault) => fault.to_string(),
    };
    let applied = scene.dock.enforce(&wish).await.unwrap();
    assert_eq!(said(&applied, A), "granted");
    assert!(said(&applied, B).contains("sealed for another place"), "{}", said(&applied, B));
    assert_eq!(scene.served(V).await, [A]);
    let proof = chap::open(&scene.keys, V, A, wish.hosts[&A].authentication.as_ref().unwrap());
    let proof = proof.unwrap();
    assert_eq!(scene.target.log_in_as(A, V, Some(&proof)), Ok(()));
    assert!(scene.target.log_in_as(A, V, None).is_err());

    let keys = std::mem::replace(&mut scene.keys, Arc::new(Keyring::in_memory().unwrap()));
    scene.restart();
    scene.dock.restore().await;
    assert_eq!(scene.served(V).await, []);
    let applied = scene.dock.enforce(&wish).await.unwrap();
    let words = said(&applied, A);
    let key = keys.ids().next().unwrap();
    for part in ["put the key back", "attach it again", key, "(broken)"] {
        assert!(words.contains(part), "{part:?} is not in {words}");
    }
    let inventory = scene.dock.inventory().await.unwrap();
    assert!(!inventory.volumes[&V].as_wished, "a sweep sees it");

    scene.keys = keys;
    scene.restart();
    scene.dock.restore().await;
    assert_eq!(scene.served(V).await, [A]);
    assert_eq!(scene.target.log_in_as(A, V, Some(&proof)), Ok(()));
}
