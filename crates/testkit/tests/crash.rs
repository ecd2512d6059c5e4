//! A crash at every point: the process is cut off before or after each effect (a commit, a driver
//! call), starts again on what is left, and must end up where an undisturbed run ends.
//!
//! The cut is a budget of effects. When it is used up, every further effect fails, so the cut-off
//! process can neither act nor record; cut *after* means the last effect happened and its answer
//! was lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use osds_controller::{NewGroupSnapshot, NewVolume};
use osds_drivers::{
    BlockSource, DriverError, ExportFacts, Hold, PoolEntry, PoolReport, SnapshotFacts,
    StorageDriver, TargetCapabilities, TargetDriver, VolumeFacts,
};
use osds_lifecycle::{status, volume};
use osds_model::{
    AttachMode, Capacity, Connection, FaultKind, Grant, HostId, IoLimits, Pool, Secret, Sharing,
    Snapshot, SnapshotId, Source, Volume, VolumeId,
};
use osds_store::{Revision, Store, StoreError, Txn, View, Watch};
use osds_testkit::cluster::{Cluster, Context, Wrap, quick};

/// How many effects are left, and on which side of the last one the cut is.
struct Cut {
    left: AtomicI64,
    after: bool,
}

enum Fate {
    Go,
    ThenDie,
    Dead,
}

impl Cut {
    fn fate(&self) -> Fate {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            left if left > 1 => Fate::Go,
            1 if self.after => Fate::ThenDie,
            1 => Fate::Go,
            _ => Fate::Dead,
        }
    }

    fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    fn of(context: &Context) -> Arc<Self> {
        Arc::clone(context).downcast().expect("the context is a cut")
    }
}

fn dead() -> DriverError {
    DriverError::new(FaultKind::Temporary, "the process is dead")
}

struct CutStore(Arc<dyn Store>, Arc<Cut>);

#[async_trait]
impl Store for CutStore {
    fn view(&self) -> Arc<View> {
        self.0.view()
    }
    fn latest(&self) -> Arc<View> {
        self.0.latest()
    }
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let died = || StoreError::Unavailable { doing: "dead".to_owned(), source: None };
        if txn.is_empty() {
            return if self.1.is_dead() { Err(died()) } else { self.0.commit(txn).await };
        }
        match self.1.fate() {
            Fate::Go => self.0.commit(txn).await,
            Fate::ThenDie => self.0.commit(txn).await.and(Err(died())),
            Fate::Dead => Err(died()),
        }
    }
    fn watch(&self) -> Watch {
        self.0.watch()
    }
}

/// Runs an effect as its fate has it.
macro_rules! effect {
    ($cut:expr, $effect:expr) => {
        match $cut.fate() {
            Fate::Go => $effect.await,
            Fate::ThenDie => $effect.await.and(Err(dead())),
            Fate::Dead => Err(dead()),
        }
    };
}

struct CutStorage(Arc<dyn StorageDriver>, Arc<Cut>);

#[async_trait]
impl StorageDriver for CutStorage {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    async fn pools(&self) -> Vec<PoolReport> {
        self.0.pools().await
    }
    async fn find(&self, pool: &str, id: VolumeId) -> Result<Option<VolumeFacts>, DriverError> {
        self.0.find(pool, id).await
    }
    async fn create(&self, p: &str, id: VolumeId, s: Capacity) -> Result<VolumeFacts, DriverError> {
        effect!(self.1, self.0.create(p, id, s))
    }
    async fn create_copy(
        &self,
        p: &str,
        id: VolumeId,
        s: Capacity,
        source: Source,
        hold: Hold,
    ) -> Result<VolumeFacts, DriverError> {
        effect!(self.1, self.0.create_copy(p, id, s, source, hold))
    }
    async fn snapshot(
        &self,
        p: &str,
        id: VolumeId,
        s: SnapshotId,
        hold: Hold,
    ) -> Result<(), DriverError> {
        effect!(self.1, self.0.snapshot(p, id, s, hold))
    }
    async fn delete_snapshot(
        &self,
        p: &str,
        id: VolumeId,
        s: SnapshotId,
    ) -> Result<(), DriverError> {
        effect!(self.1, self.0.delete_snapshot(p, id, s))
    }
    async fn snapshots(
        &self,
        p: &str,
        id: VolumeId,
        of: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, SnapshotFacts>, DriverError> {
        self.0.snapshots(p, id, of).await
    }
    async fn extend(&self, p: &str, id: VolumeId, s: Capacity) -> Result<VolumeFacts, DriverError> {
        effect!(self.1, self.0.extend(p, id, s))
    }
    async fn delete(&self, pool: &str, id: VolumeId) -> Result<(), DriverError> {
        effect!(self.1, self.0.delete(pool, id))
    }
    async fn open(&self, pool: &str, id: VolumeId) -> Result<BlockSource, DriverError> {
        self.0.open(pool, id).await
    }
    async fn list(&self, pool: &str) -> Result<Vec<PoolEntry>, DriverError> {
        self.0.list(pool).await
    }
}

struct CutTarget(Arc<dyn TargetDriver>, Arc<Cut>);

#[async_trait]
impl TargetDriver for CutTarget {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn capabilities(&self) -> TargetCapabilities {
        self.0.capabilities()
    }
    async fn export(&self, id: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        effect!(self.1, self.0.export(id, source))
    }
    async fn limit(&self, id: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        effect!(self.1, self.0.limit(id, limits))
    }
    async fn grant(
        &self,
        id: VolumeId,
        h: HostId,
        g: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        effect!(self.1, self.0.grant(id, h, g))
    }
    async fn revoke(&self, id: VolumeId, host: HostId) -> Result<(), DriverError> {
        effect!(self.1, self.0.revoke(id, host))
    }
    async fn unexport(&self, id: VolumeId) -> Result<(), DriverError> {
        effect!(self.1, self.0.unexport(id))
    }
    async fn resized(&self, id: VolumeId, size: Capacity) -> Result<(), DriverError> {
        effect!(self.1, self.0.resized(id, size))
    }
    async fn quiesce(&self, id: VolumeId, most: Duration) -> Result<Hold, DriverError> {
        self.0.quiesce(id, most).await
    }
    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.0.exports().await
    }
    async fn usage(&self) -> Result<osds_model::usage::TargetUsage, DriverError> {
        self.0.usage().await
    }
}

fn cut_wrap(cut: &Arc<Cut>) -> Wrap {
    Wrap {
        store: |store, context| Arc::new(CutStore(store, Cut::of(context))),
        storage: |storage, context| Arc::new(CutStorage(storage, Cut::of(context))),
        target: |target, context| Arc::new(CutTarget(target, Cut::of(context))),
        context: Arc::clone(cut) as Context,
    }
}

/// One life of a user: each act looks first, so that it can be done again after a crash.
const ACTS: usize = ORDER.len();
/// What comes with snapshots comes while two hosts have the volume.
const ORDER: [usize; 14] = [0, 1, 2, 3, 4, 8, 9, 10, 12, 13, 11, 5, 6, 7];

async fn act(cluster: &Cluster, number: usize) {
    let admin = Cluster::admin();
    let Some(v) = cluster.volume("V") else {
        if number == 0 {
            let _ = cluster.add_volume("V", 10, true).await;
        }
        return;
    };
    let id = v.id.to_string();
    let (a, b) = (cluster.host("A").unwrap(), cluster.host("B").unwrap());
    let attachment = |host: HostId| v.state.attachments.get(&host).map(|h| h.id.to_string());
    match ORDER[number] {
        0 => {}
        1 => drop(cluster.controller.extend_volume(&admin, &id, 20).await),
        2 => drop(cluster.attach(v.id, &a, AttachMode::ReadWrite, Sharing::Shared).await),
        3 => drop(cluster.attach(v.id, &b, AttachMode::ReadOnly, Sharing::Shared).await),
        // Both have it.
        4 => drop(cluster.controller.extend_volume(&admin, &id, 30).await),
        5 => {
            if let Some(id) = attachment(a.id) {
                let _ = cluster.controller.detach(&admin, &id, false).await;
            }
        }
        6 => drop(cluster.controller.fence_host(&admin, &b.id.to_string(), "").await),
        7 => drop(cluster.controller.delete_volume(&admin, &id).await),
        // In use and shared: its writes are held for it.
        8 => {
            if cluster.snapshot("S").is_none() {
                let _ = cluster.add_snapshot("S", v.id).await;
            }
        }
        9 => {
            if let (Some(s), None) = (cluster.snapshot("S"), cluster.volume("W")) {
                let (name, snapshot) = ("W".to_owned(), s.id.to_string());
                let copy = NewVolume { name, snapshot, size: 30, ..NewVolume::default() };
                let _ = cluster.controller.create_volume(&admin, copy).await;
            }
        }
        10 => {
            if cluster.volume("X").is_none() {
                let (name, source_volume) = ("X".to_owned(), id);
                let copy = NewVolume { name, source_volume, ..NewVolume::default() };
                let _ = cluster.controller.create_volume(&admin, copy).await;
            }
        }
        11 => {
            if let Some(s) = cluster.snapshot("S") {
                let _ = cluster.controller.delete_snapshot(&admin, &s.id.to_string()).await;
            }
        }
        // Two volumes at one moment: one in use, and its copy.
        12 => {
            if let (Some(x), None) = (cluster.volume("X"), cluster.snapshot("G")) {
                let volumes = vec![id, x.id.to_string()];
                let new = NewGroupSnapshot { name: "G".to_owned(), volumes, ..Default::default() };
                let _ = cluster.controller.create_group_snapshot(&admin, new).await;
            }
        }
        13 => {
            if let Some(group) = cluster.snapshot("G").and_then(|one| one.group) {
                let group = group.to_string();
                let _ = cluster.controller.delete_group_snapshot(&admin, &group).await;
            }
        }
        _ => unreachable!("there are {ACTS} acts"),
    }
}

/// Waits until the act has come to rest or the process is dead.
async fn rest(cluster: &Cluster, cut: &Cut) {
    cluster
        .until("at rest or dead", |c| {
            cut.is_dead() || c.store.view().iter::<Volume>().all(|v| volume::is_settled(&v.state))
        })
        .await;
}

/// What anybody can see from outside, by names.
async fn picture(cluster: &Cluster) -> String {
    let view = cluster.store.view();
    let mut lines = Vec::new();
    for v in view.iter::<Volume>() {
        lines.push(format!("{} {} {:?}", v.name, status::volume(&v.state), v.state.made));
        for held in v.state.attachments.values() {
            lines.push(format!("  {} {}", held.mode, status::attachment(held)));
        }
        let export = cluster.target.export_of(v.id).await.unwrap();
        let offered = export.as_ref().map(|export| export.size);
        let served = export.map(|e| e.hosts.values().map(|h| h.grant.mode).collect::<Vec<_>>());
        lines.push(format!("  served {:?} of {offered:?}", served.unwrap_or_default()));
    }
    for s in view.iter::<Snapshot>() {
        let state = &view.get::<Volume>(s.volume).unwrap().state.snapshots[&s.id];
        lines.push(format!("{} {} {}", s.name, status::snapshot(state), s.size));
    }
    for pool in view.iter::<Pool>() {
        let stored = cluster.storage.list(&pool.spec.name).await.unwrap();
        lines.push(format!("{} {} holds {}", pool.spec.name, pool.allocated, stored.len()));
    }
    lines.push(format!("{} exports", cluster.target.exports().await.unwrap().len()));
    lines.join("\n")
}

/// Lives the life up to and including `last`, cut off after `effects`; then starts again, finishes
/// the act, and says what is seen and whether the cut was ever reached.
async fn live(last: usize, effects: i64, after: bool) -> (String, bool) {
    let cluster = Cluster::start(quick()).await;
    cluster.add_host("A").await.unwrap();
    cluster.add_host("B").await.unwrap();
    for number in 0..last {
        act(&cluster, number).await;
        cluster.heal().await;
    }
    let cut = Arc::new(Cut { left: AtomicI64::new(i64::MAX), after });
    let cluster = cluster.restart_with(quick(), cut_wrap(&cut)).await;
    cluster.heal().await;
    cut.left.store(effects, Ordering::SeqCst);
    act(&cluster, last).await;
    rest(&cluster, &cut).await;
    let reached = cut.is_dead();
    let cluster = cluster.restart().await;
    act(&cluster, last).await;
    cluster.heal().await;
    let picture = picture(&cluster).await;
    cluster.controller.stop().await;
    (picture, reached)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_heals() {
    let mut cuts = 0;
    for last in 0..ACTS {
        let (undisturbed, _) = live(last, i64::MAX, false).await;
        for effects in 0.. {
            let mut reached = false;
            for after in [false, true] {
                let (healed, cut) = live(last, effects, after).await;
                assert_eq!(healed, undisturbed, "act {last}, cut after {effects} ({after})");
                reached |= cut;
            }
            if !reached {
                break;
            }
            cuts += 2;
        }
    }
    println!("{cuts} crashes healed");
    assert!(cuts >= 40, "only {cuts} cuts: the life is too short to prove anything");
}

/// The proof that this test can fail: a dock that forgets its ledger and a record that is lost in
/// the crash do not end up the same.
#[tokio::test]
async fn a_crash_that_loses_a_record_is_noticed() {
    let (undisturbed, _) = live(3, i64::MAX, false).await;
    let cluster = Cluster::start(quick()).await;
    cluster.add_host("A").await.unwrap();
    cluster.add_host("B").await.unwrap();
    for number in 0..=2 {
        act(&cluster, number).await;
        cluster.heal().await;
    }
    // The attach of B was acknowledged, and is not there after the restart.
    let cluster = cluster.restart().await;
    cluster.heal().await;
    assert_ne!(picture(&cluster).await, undisturbed);
}
