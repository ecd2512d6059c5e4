//! Snapshots and copies through a real controller and a real dock: what is in them, what is
//! refused, what a failure leaves, and what their pool is charged.

use std::sync::Arc;

use osds_controller::{Caller, Error, NewSnapshot, NewVolume, SnapshotUpdate, SnapshotsWhere};
use osds_drivers::StorageDriver;
use osds_drivers::fake::{Op, When};
use osds_lifecycle::status;
use osds_model::{
    AttachMode, Capacity, FaultKind, Pool, Sharing, SnapshotId, TenantId, Volume, VolumeId,
};
use osds_testkit::cluster::{Cluster, SHARED_POOL, SINGLE_POOL, quick};

fn gib(n: u64) -> Capacity {
    Capacity::from_gib(n).unwrap()
}

fn allocated(cluster: &Cluster, name: &str) -> Capacity {
    let view = cluster.store.view();
    let pool = view.iter::<Pool>().find(|pool| pool.spec.name == name).unwrap();
    pool.allocated
}

fn word(cluster: &Cluster, id: SnapshotId) -> &'static str {
    cluster.controller.snapshot(&Cluster::admin(), &id.to_string()).unwrap().status()
}

async fn copy(
    cluster: &Cluster,
    name: &str,
    size: i64,
    of: Result<VolumeId, SnapshotId>,
) -> Result<Arc<Volume>, Error> {
    let mut new = NewVolume { name: name.to_owned(), size, ..NewVolume::default() };
    match of {
        Ok(volume) => new.source_volume = volume.to_string(),
        Err(snapshot) => new.snapshot = snapshot.to_string(),
    }
    cluster.controller.create_volume(&Cluster::admin(), new).await
}

/// A volume of 2 GiB that hosts A and B have, with a line of A's in it.
async fn shared() -> (Cluster, VolumeId) {
    let cluster = Cluster::start(quick()).await;
    let volume = cluster.add_volume("V", 2, true).await.unwrap().id;
    cluster.heal().await;
    for name in ["A", "B"] {
        let host = cluster.add_host(name).await.unwrap();
        cluster.attach(volume, &host, AttachMode::ReadWrite, Sharing::Shared).await.unwrap();
    }
    cluster.heal().await;
    let a = cluster.host("A").unwrap().id;
    cluster.target.write_as(a, volume, 4096, b"before").unwrap();
    (cluster, volume)
}

async fn content(cluster: &Cluster, volume: VolumeId) -> [u8; 6] {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = [0; 6];
    let source = cluster.storage.open(SHARED_POOL, volume).await.unwrap();
    source.into_file().unwrap().read_exact_at(&mut bytes, 4096).unwrap();
    bytes
}

#[tokio::test]
async fn a_volume_in_use_is_snapshotted_copied_and_left_as_it_was() {
    let (cluster, volume) = shared().await;
    let a = cluster.host("A").unwrap().id;
    let taken = cluster.add_snapshot("S", volume).await.unwrap();
    let id = taken.snapshot.id;
    assert_eq!((taken.status(), taken.snapshot.size), ("creating", gib(2)));
    assert_eq!(allocated(&cluster, SHARED_POOL), gib(4));
    cluster.heal().await;
    assert_eq!((word(&cluster, id), cluster.target.faults.calls(Op::Quiesce)), ("available", 1));
    cluster.target.write_as(a, volume, 4096, b"after!").unwrap();

    let restored = copy(&cluster, "R", 3, Err(id)).await.unwrap();
    assert_eq!(restored.snapshot, Some(id));
    let cloned = copy(&cluster, "C", 0, Ok(volume)).await.unwrap();
    cluster.heal().await;
    assert_eq!(content(&cluster, restored.id).await, *b"before");
    assert_eq!(content(&cluster, cloned.id).await, *b"after!");
    let sizes = ["R", "C"].map(|name| cluster.volume(name).unwrap().state.made.unwrap());
    assert_eq!(sizes, [gib(3), gib(2)]);
    assert_eq!(allocated(&cluster, SHARED_POOL), gib(2 + 2 + 3 + 2));
    assert_eq!(status::volume(&cluster.volume("V").unwrap().state), "inUse");
    // A snapshot of a snapshot's copy, and so on.
    cluster.add_snapshot("T", restored.id).await.unwrap();
    cluster.heal().await;

    let admin = Cluster::admin();
    cluster.controller.delete_snapshot(&admin, &id.to_string()).await.unwrap();
    cluster.controller.delete_snapshot(&admin, &id.to_string()).await.ok();
    cluster.until("the snapshot is gone", |c| c.snapshot("S").is_none()).await;
    assert_eq!(allocated(&cluster, SHARED_POOL), gib(2 + 3 + 2 + 3));
    assert!(matches!(
        cluster.controller.snapshot(&admin, &id.to_string()),
        Err(Error::NotFound(text)) if text.contains("can't find")
    ));
}

#[tokio::test]
async fn what_is_refused_and_with_which_words() {
    let (cluster, volume) = shared().await;
    let admin = Cluster::admin();
    let said = |error: Error| error.to_string();
    let none = NewSnapshot { name: "s".into(), volume: "nope".into(), ..NewSnapshot::default() };
    let error = said(cluster.controller.create_snapshot(&admin, none).await.unwrap_err());
    assert_eq!(error, "specified volume(nope) can't find");
    assert!(cluster.add_snapshot("a/b", volume).await.is_err());

    let taken = cluster.add_snapshot("S", volume).await.unwrap().snapshot.id;
    let early = said(copy(&cluster, "R", 2, Err(taken)).await.unwrap_err());
    assert!(early.ends_with("only if the snapshot is available, the volume can be created"));
    cluster.heal().await;
    let small = said(copy(&cluster, "R", 1, Err(taken)).await.unwrap_err());
    let expected = "create volume failed: size of volume must be equal to or bigger than size of \
                    the snapshot";
    assert_eq!(small, expected);
    let view = cluster.store.view();
    let other = view.iter::<Pool>().find(|pool| pool.spec.name == SINGLE_POOL).unwrap().id;
    let elsewhere = NewVolume {
        name: "R".into(),
        snapshot: taken.to_string(),
        pool: other.to_string(),
        ..NewVolume::default()
    };
    let error = cluster.controller.create_volume(&admin, elsewhere).await.unwrap_err();
    assert!(said(error).contains("in the pool of its source"));
    let huge = said(copy(&cluster, "R", 99, Err(taken)).await.unwrap_err());
    assert!(huge.contains("in the pool of its source"), "{huge}");

    let all = SnapshotsWhere::default();
    // Nobody else's: neither shown nor copied.
    let stranger = Caller { tenant: TenantId::from("other"), admin: false, ..admin.clone() };
    assert!(cluster.controller.snapshot(&stranger, &taken.to_string()).is_err());
    assert_eq!(cluster.controller.snapshots(&stranger, &all, |all| all.count()), 0);
    assert_eq!(cluster.controller.snapshots(&admin, &all, |all| all.count()), 1);
    let theirs =
        NewVolume { name: "R".into(), snapshot: taken.to_string(), ..NewVolume::default() };
    assert!(cluster.controller.create_volume(&stranger, theirs).await.is_err());

    for host in ["A", "B"] {
        let host = cluster.host(host).unwrap();
        let held = cluster.volume("V").unwrap().state.attachments[&host.id].id.to_string();
        cluster.controller.detach(&admin, &held, false).await.unwrap();
    }
    cluster.heal().await;
    let error = cluster.controller.delete_volume(&admin, &volume.to_string()).await.unwrap_err();
    assert!(said(error).ends_with("because it still has snapshots"));

    // Nothing goes from under a copy that is not made yet.
    let gate = cluster.storage.faults.pause(Op::CreateCopy, When::Before);
    let copied = copy(&cluster, "R", 2, Err(taken)).await.unwrap();
    gate.arrived().await;
    let error = cluster.controller.delete_snapshot(&admin, &taken.to_string()).await.unwrap_err();
    assert!(said(error).contains(&format!("{} (R) is still being made from it", copied.id)));
    gate.open();
    cluster.heal().await;
    cluster.controller.delete_snapshot(&admin, &taken.to_string()).await.unwrap();
    cluster.until("the snapshot is gone", |c| c.snapshot("S").is_none()).await;
    let gate = cluster.storage.faults.pause(Op::CreateCopy, When::Before);
    copy(&cluster, "C", 2, Ok(volume)).await.unwrap();
    gate.arrived().await;
    assert!(cluster.controller.delete_volume(&admin, &volume.to_string()).await.is_err());
    gate.open();
    cluster.heal().await;
    cluster.controller.delete_volume(&admin, &volume.to_string()).await.unwrap();
    cluster.until("the source is gone", |c| c.volume("V").is_none()).await;
}

#[tokio::test]
async fn a_failed_snapshot_harms_nobody_and_heals() {
    let (cluster, volume) = shared().await;
    cluster.storage.faults.fail_all(Op::Snapshot, When::After, FaultKind::Temporary);
    // Its effect happened: the facts say so, whatever the call said.
    let taken = cluster.add_snapshot("S", volume).await.unwrap().snapshot.id;
    cluster.heal().await;
    assert_eq!(word(&cluster, taken), "available");
    cluster.storage.faults.heal();
    cluster.storage.faults.fail_all(Op::Snapshot, When::Before, FaultKind::NoSpace);
    let failing = cluster.add_snapshot("T", volume).await.unwrap().snapshot.id;
    cluster.until("it failed", |c| word(c, failing) == "error").await;
    let state = cluster.volume("V").unwrap().state.clone();
    assert_eq!((status::volume(&state), state.attachments.len()), ("inUse", 2));
    cluster.storage.faults.heal();
    cluster.heal().await;
    assert_eq!(word(&cluster, failing), "available");

    // One that is lost is said to be, and never taken anew.
    assert!(cluster.storage.lose_snapshot(SHARED_POOL, volume, taken));
    let calls = cluster.storage.faults.calls(Op::Snapshot);
    let cluster = cluster.restart().await;
    cluster.until("the loss is noticed", |c| word(c, taken) == "error").await;
    assert_eq!(cluster.storage.faults.calls(Op::Snapshot), calls);
    assert!(copy(&cluster, "R", 2, Err(taken)).await.is_err());
    cluster.controller.delete_snapshot(&Cluster::admin(), &taken.to_string()).await.unwrap();
    cluster.until("it can go", |c| c.snapshot("S").is_none()).await;
}

/// Writes wait for a copy once; where that was in vain they are left in peace until hosts are out.
#[tokio::test]
async fn writes_do_not_wait_for_ever_for_a_copy_that_takes_too_long() {
    let (cluster, volume) = shared().await;
    cluster.storage.faults.fail_all(Op::Snapshot, When::Before, FaultKind::NotSupported);
    let taken = cluster.add_snapshot("S", volume).await.unwrap().snapshot.id;
    cluster.until("it failed", |c| word(c, taken) == "error").await;
    let tries = cluster.target.faults.calls(Op::Quiesce);
    cluster.until("it is tried again", |c| c.target.faults.calls(Op::Quiesce) > tries + 3).await;
    assert_eq!(cluster.storage.faults.calls(Op::Snapshot), 1);
    cluster.storage.faults.heal();
    for host in ["A", "B"] {
        let host = cluster.host(host).unwrap();
        let held = cluster.volume("V").unwrap().state.attachments[&host.id].id.to_string();
        cluster.controller.detach(&Cluster::admin(), &held, false).await.unwrap();
    }
    cluster.heal().await;
    assert_eq!(word(&cluster, taken), "available");
}

#[tokio::test]
async fn a_snapshot_is_renamed_and_keeps_the_rest() {
    let (cluster, volume) = shared().await;
    let admin = Cluster::admin();
    let taken = cluster.add_snapshot("S", volume).await.unwrap().snapshot;
    cluster.heal().await;
    let update = SnapshotUpdate {
        name: Some("S2".into()),
        description: None,
        metadata: [("k".to_owned(), "v".to_owned())].into(),
    };
    let id = taken.id.to_string();
    let edited = cluster.controller.update_snapshot(&admin, &id, update).await.unwrap();
    assert_eq!((edited.snapshot.name.as_str(), edited.status()), ("S2", "available"));
    assert_eq!(edited.snapshot.metadata["k"], "v");
    let bad = SnapshotUpdate { name: Some("a/b".into()), ..SnapshotUpdate::default() };
    assert!(cluster.controller.update_snapshot(&admin, &id, bad).await.is_err());
    let missing = cluster.controller.update_snapshot(&admin, "x", SnapshotUpdate::default()).await;
    assert!(missing.unwrap_err().to_string().contains("specified volume snapshot(x) can't find"));
}
