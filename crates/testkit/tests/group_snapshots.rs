//! Snapshots of several volumes through a real controller and a real dock: that they are of one
//! moment, whatever is cut off in the middle, and that they come and go together.
//!
//! A host counts: it writes a number to the first volume, and when that is done to the second. So in
//! whatever is of one moment the second never has a number that the first has not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use osds_controller::{Error, GroupSnapshotted, NewGroupSnapshot, NewVolume};
use osds_drivers::fake::{Denied, Op, When};
use osds_drivers::{EntryName, StorageDriver};
use osds_model::{
    AttachMode, Capacity, FaultKind, GroupSnapshotId, HostId, Pool, Sharing, SnapshotId, VolumeId,
};
use osds_testkit::cluster::{Cluster, SHARED_POOL, quick};

fn allocated(cluster: &Cluster) -> Capacity {
    let view = cluster.store.view();
    view.iter::<Pool>().find(|pool| pool.spec.name == SHARED_POOL).unwrap().allocated
}

/// Two volumes that host A has.
async fn pair() -> (Cluster, [VolumeId; 2]) {
    let cluster = Cluster::start(quick()).await;
    let a = cluster.add_host("A").await.unwrap();
    let mut volumes = Vec::new();
    for name in ["V", "W"] {
        let volume = cluster.add_volume(name, 1, true).await.unwrap().id;
        cluster.heal().await;
        cluster.attach(volume, &a, AttachMode::ReadWrite, Sharing::Shared).await.unwrap();
        volumes.push(volume);
    }
    cluster.heal().await;
    (cluster, volumes.try_into().unwrap())
}

async fn take(cluster: &Cluster, name: &str, of: &[VolumeId]) -> Result<GroupSnapshotted, Error> {
    let volumes = of.iter().map(ToString::to_string).collect();
    let new = NewGroupSnapshot { name: name.to_owned(), volumes, ..NewGroupSnapshot::default() };
    cluster.controller.create_group_snapshot(&Cluster::admin(), new).await
}

fn word(cluster: &Cluster, id: GroupSnapshotId) -> &'static str {
    cluster.controller.group_snapshot(&Cluster::admin(), &id.to_string()).unwrap().status()
}

/// What the host counts to, and when it has to stop.
struct Counting {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Counting {
    fn start(cluster: &Cluster, host: HostId, [first, second]: [VolumeId; 2]) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, told, target) =
            (Arc::clone(&stop), Arc::clone(&done), cluster.target.clone());
        let thread = std::thread::spawn(move || {
            let mut number = 0_u64;
            while !stopped.load(Ordering::SeqCst) {
                number += 1;
                for volume in [first, second] {
                    // While the dock is down it is not let in, and tries again.
                    while target.write_as(host, volume, 0, &number.to_le_bytes())
                        == Err(Denied::NotGranted)
                    {
                        if stopped.load(Ordering::SeqCst) {
                            return;
                        }
                        std::thread::yield_now();
                    }
                }
                told.store(number, Ordering::SeqCst);
            }
        });
        Self { stop, done, thread }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

/// The number in a volume made from a snapshot.
async fn number_in(cluster: &Cluster, snapshot: SnapshotId) -> u64 {
    use std::os::unix::fs::FileExt as _;
    let name = format!("copy-{snapshot}");
    let new =
        NewVolume { name: name.clone(), snapshot: snapshot.to_string(), ..NewVolume::default() };
    let copy = cluster.controller.create_volume(&Cluster::admin(), new).await.unwrap().id;
    cluster.heal().await;
    let mut bytes = [0; 8];
    let source = cluster.storage.open(SHARED_POOL, copy).await.unwrap();
    source.into_file().unwrap().read_exact_at(&mut bytes, 0).unwrap();
    cluster.controller.delete_volume(&Cluster::admin(), &copy.to_string()).await.unwrap();
    cluster.until("the copy is gone", |c| c.volume(&name).is_none()).await;
    u64::from_le_bytes(bytes)
}

/// Asserts that the snapshots are of one moment, at which `least` was counted to.
async fn assert_one_moment(
    cluster: &Cluster,
    taken: &GroupSnapshotted,
    [v, w]: [VolumeId; 2],
    least: u64,
) {
    let of = |volume| {
        let member = taken.members.iter().find(|member| member.snapshot.volume == volume);
        member.unwrap().snapshot.id
    };
    let (first, second) = (number_in(cluster, of(v)).await, number_in(cluster, of(w)).await);
    assert!(first == second || first == second + 1, "{first} and {second}");
    assert!(second >= least, "{second}, and {least} was written before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_of_one_moment_under_a_host_that_writes() {
    let (cluster, volumes) = pair().await;
    let a = cluster.host("A").unwrap().id;
    let counting = Counting::start(&cluster, a, volumes);
    // Long enough for a host that is not held.
    cluster.storage.faults.delay(Op::Snapshot, Duration::from_millis(5));
    for (round, order) in [volumes, [volumes[1], volumes[0]]].into_iter().enumerate() {
        let before = counting.done();
        let taken = take(&cluster, &format!("G{round}"), &order).await.unwrap();
        assert_eq!(taken.status(), "creating");
        cluster.controller.wait_for_group_snapshot(taken.id, Duration::from_secs(20)).await;
        assert_eq!(word(&cluster, taken.id), "available");
        let more = counting.done() + 10;
        cluster.until("writes go on", |_| counting.done() > more).await;
        assert_one_moment(&cluster, &taken, volumes, before).await;
    }
    counting.end();
}

/// One copy fails, before or after it was made, and then the dock is cut off between the two: what
/// was there of the moment is taken anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_a_moment_is_taken_anew() {
    let (mut cluster, volumes) = pair().await;
    let a = cluster.host("A").unwrap().id;
    let counting = Counting::start(&cluster, a, volumes);
    for (nth, when) in [(1, When::After), (2, When::Before), (2, When::After)] {
        cluster.storage.faults.fail(Op::Snapshot, nth, when, FaultKind::Temporary);
        let before = counting.done();
        let taken = take(&cluster, "F", &volumes).await.unwrap();
        cluster.until("taken", |c| word(c, taken.id) == "available").await;
        assert_one_moment(&cluster, &taken, volumes, before).await;
    }
    for when in [When::Before, When::After] {
        // Nor can it clear up: as if it were cut off with one copy made, or both.
        cluster.storage.faults.fail(Op::Snapshot, 2, when, FaultKind::Temporary);
        cluster.storage.faults.fail_all(Op::DeleteSnapshot, When::Before, FaultKind::Temporary);
        let before = counting.done();
        let taken = take(&cluster, "C", &volumes).await.unwrap();
        cluster.until("cut off", |c| word(c, taken.id) == "error").await;
        let left = cluster.storage.list(SHARED_POOL).await.unwrap();
        let left = left.iter().filter(|entry| matches!(entry.name, EntryName::Snapshot(..)));
        assert!(left.count() > 0, "nothing was left to be taken for whole");
        cluster = cluster.restart().await;
        let more = counting.done() + 10;
        cluster.until("writes go on", |_| counting.done() > more).await;
        cluster.storage.faults.heal();
        cluster.until("taken", |c| word(c, taken.id) == "available").await;
        assert_one_moment(&cluster, &taken, volumes, before).await;
    }
    counting.end();
    let cluster = cluster.restart().await;
    cluster.heal().await;
    let all = cluster.controller.group_snapshots(&Cluster::admin());
    assert_eq!(all.iter().map(GroupSnapshotted::status).collect::<Vec<_>>(), ["available"; 5]);
}

#[tokio::test]
async fn they_come_and_go_together() {
    let (cluster, volumes) = pair().await;
    let admin = Cluster::admin();
    let free = allocated(&cluster);
    let taken = take(&cluster, "G", &volumes).await.unwrap();
    assert!(allocated(&cluster) > free);
    cluster.heal().await;
    let id = taken.id.to_string();
    assert_eq!(cluster.controller.group_snapshot(&admin, &id).unwrap().members.len(), 2);
    let one = taken.members[0].snapshot.id.to_string();
    let refused = cluster.controller.delete_snapshot(&admin, &one).await.unwrap_err();
    assert!(refused.to_string().contains(&id), "{refused}");
    // While something is made from one of them, none goes.
    let gate = cluster.storage.faults.pause(Op::CreateCopy, When::Before);
    let new = NewVolume { name: "R".into(), snapshot: one, ..NewVolume::default() };
    cluster.controller.create_volume(&admin, new).await.unwrap();
    gate.arrived().await;
    cluster.controller.delete_group_snapshot(&admin, &id).await.unwrap_err();
    assert_eq!(word(&cluster, taken.id), "available");
    gate.open();
    cluster.heal().await;
    let copied = cluster.volume("R").unwrap().id.to_string();
    cluster.controller.delete_volume(&admin, &copied).await.unwrap();
    cluster.controller.delete_group_snapshot(&admin, &id).await.unwrap();
    cluster.controller.wait_for_group_snapshot(taken.id, Duration::from_secs(20)).await;
    let gone = cluster.controller.group_snapshot(&admin, &id);
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    cluster.until("the copy is gone", |c| c.volume("R").is_none()).await;
    assert_eq!(allocated(&cluster), free);
    // The note of its moment goes with a sweep's look at the ledger.
    cluster.dock.inventory().await.unwrap();
    let notes = std::fs::read_dir(cluster.ledger()).unwrap();
    let notes = notes.filter(|n| n.as_ref().unwrap().path().extension().unwrap() == "moment");
    assert_eq!(notes.count(), 0);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let (cluster, [v, w]) = pair().await;
    let before = allocated(&cluster);
    let nobody = VolumeId::from_u128(1);
    for (of, why) in [
        (vec![], "name the volumes"),
        (vec![v, v], "named twice"),
        (vec![v, nobody], "can't find"),
        (vec![v; 65], "twice"),
    ] {
        let refused = take(&cluster, "G", &of).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let young = cluster.add_volume("Y", 1, true).await.unwrap().id;
    cluster.heal().await;
    let gate = cluster.storage.faults.pause(Op::Extend, When::Before);
    cluster.controller.extend_volume(&Cluster::admin(), &young.to_string(), 2).await.unwrap();
    gate.arrived().await;
    let before = Capacity::from_gib(before.whole_gib() + 2).unwrap();
    let refused = take(&cluster, "G", &[v, w, young]).await.unwrap_err().to_string();
    assert!(refused.contains("extending"), "{refused}");
    assert_eq!(allocated(&cluster), before);
    assert!(cluster.controller.group_snapshots(&Cluster::admin()).is_empty());
    gate.open();
}

/// A volume that fails holds its moment up, and nothing else.
#[tokio::test]
async fn one_that_fails_fails_for_all_until_it_does_not() {
    let (cluster, volumes) = pair().await;
    cluster.storage.faults.fail_all(Op::Snapshot, When::Before, FaultKind::NoSpace);
    let taken = take(&cluster, "G", &volumes).await.unwrap();
    cluster.controller.wait_for_group_snapshot(taken.id, Duration::from_secs(20)).await;
    assert_eq!(word(&cluster, taken.id), "error");
    // Both are served all the same.
    let a = cluster.host("A").unwrap().id;
    for volume in volumes {
        cluster.target.write_as(a, volume, 0, b"x").unwrap();
    }
    cluster.storage.faults.heal();
    cluster.until("taken", |c| word(c, taken.id) == "available").await;
}
