//! The driver on a pretended lvm, which can be cut off at each command.

mod pretended;

use std::os::unix::fs::FileExt as _;

use self::pretended::{FOREIGN, MIB, Pretended};
use super::report::{Group, State};
use super::*;
use crate::EntryName;

const V: VolumeId = VolumeId::from_u128(0xA);
const W: VolumeId = VolumeId::from_u128(0xB);
const S: SnapshotId = SnapshotId::from_u128(0x51);

fn mib(count: u64) -> Capacity {
    Capacity::from_bytes(count * MIB)
}

fn driver(lvm: &Pretended, thin: bool) -> LvmStorage {
    let yaml = match thin {
        true => "pool: {p: {volumeGroup: vg, thinPool: t}}",
        false => "pool: {p: {volumeGroup: vg}}",
    };
    let config = LvmConfig::parse(Path::new("x"), yaml).unwrap().config;
    let lvm: Arc<dyn Lvm> = Arc::new(lvm.clone());
    LvmStorage::with(config, &lvm, None)
}

async fn bytes(driver: &LvmStorage, volume: VolumeId) -> Vec<u8> {
    let source = driver.open("p", volume).await.unwrap();
    let mut bytes = vec![1; usize::try_from(source.size.bytes()).unwrap()];
    source.into_file().unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// What is done to a volume that is there; the result is looked at by `ended`.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create,
    Extend,
    Delete,
    Snapshot,
    DeleteSnapshot,
    CopyVolume,
    CopySnapshot,
    DeleteWithSnapshot,
}

const ACTS: [Act; 8] = [
    Act::Create,
    Act::Extend,
    Act::Delete,
    Act::Snapshot,
    Act::DeleteSnapshot,
    Act::CopyVolume,
    Act::CopySnapshot,
    Act::DeleteWithSnapshot,
];

impl Act {
    async fn prepare(self, driver: &LvmStorage) {
        if matches!(self, Self::Create) {
            return;
        }
        driver.create("p", V, mib(2)).await.unwrap();
        let file = driver.open("p", V).await.unwrap().into_file().unwrap();
        file.write_all_at(b"mine", MIB).unwrap();
        if matches!(self, Self::DeleteSnapshot | Self::CopySnapshot | Self::DeleteWithSnapshot) {
            driver.snapshot("p", V, S, Hold::impossible()).await.unwrap();
            file.write_all_at(b"next", MIB).unwrap();
        }
    }

    async fn act(self, driver: &LvmStorage) -> Result<(), DriverError> {
        let copy = |snapshot| Source { volume: V, snapshot };
        let hold = Hold::impossible();
        match self {
            Self::Create => driver.create("p", V, mib(3)).await.map(drop),
            Self::Extend => driver.extend("p", V, mib(5)).await.map(drop),
            Self::Delete => driver.delete("p", V).await,
            Self::Snapshot => driver.snapshot("p", V, S, hold).await,
            Self::DeleteSnapshot => driver.delete_snapshot("p", V, S).await,
            Self::CopyVolume => {
                driver.create_copy("p", W, mib(4), copy(None), hold).await.map(drop)
            }
            Self::CopySnapshot => {
                driver.create_copy("p", W, mib(4), copy(Some(S)), hold).await.map(drop)
            }
            Self::DeleteWithSnapshot => {
                driver.delete("p", V).await?;
                assert_eq!(driver.find("p", V).await?, None);
                driver.delete_snapshot("p", V, S).await
            }
        }
    }

    /// What a half-done act must never show.
    async fn between(self, driver: &LvmStorage) {
        for volume in [V, W] {
            if driver.find("p", volume).await.unwrap().is_some() {
                let seen = bytes(driver, volume).await;
                assert!(!seen.contains(&FOREIGN), "{self:?}: it shows what others wrote");
                let at = usize::try_from(MIB).unwrap();
                if seen.len() > at && !matches!(self, Self::Create) {
                    assert_ne!(seen[at], 0, "{self:?}: a copy that is not whole");
                }
            }
        }
    }

    async fn ended(self, driver: &LvmStorage, lvm: &Pretended) {
        let at = usize::try_from(MIB).unwrap();
        let mut names = lvm.names();
        names.retain(|name| name != "t");
        let (v, w, s) = (format!("volume-{V}"), format!("volume-{W}"), format!("_snapshot-{S}"));
        let expected = match self {
            Self::Create | Self::Extend | Self::DeleteSnapshot => vec![v],
            Self::Snapshot => vec![v, s],
            Self::CopyVolume => vec![v, w],
            Self::CopySnapshot => vec![v, s, w],
            Self::Delete | Self::DeleteWithSnapshot => Vec::new(),
        };
        assert_eq!(names, expected, "{self:?}");
        match self {
            Self::Create => assert!(is_zero(&bytes(driver, V).await)),
            Self::Extend => {
                let seen = bytes(driver, V).await;
                assert_eq!((&seen[at..at + 4], seen.len() as u64), (&b"mine"[..], 5 * MIB));
                assert!(is_zero(&seen[at + 4..]));
            }
            Self::CopyVolume | Self::CopySnapshot => {
                let seen = bytes(driver, W).await;
                assert_eq!((&seen[at..at + 4], seen.len() as u64), (&b"mine"[..], 4 * MIB));
                assert!(is_zero(&seen[at + 4..]));
            }
            Self::Snapshot => {
                let whole = SnapshotFacts { whole: Some(mib(2)) };
                let found = driver.snapshots("p", V, &[S]).await.unwrap();
                assert_eq!(found, [(S, whole)].into());
            }
            Self::Delete | Self::DeleteSnapshot | Self::DeleteWithSnapshot => {}
        }
    }
}

/// Each act is cut off at each of its commands, before it and after it, and done again by a driver
/// that knows nothing of the first.
#[tokio::test(flavor = "multi_thread")]
async fn every_act_is_cut_off_everywhere_and_healed() {
    for (act, thin) in ACTS.into_iter().flat_map(|act| [(act, false), (act, true)]) {
        let mut cuts = 0;
        for commands in 1.. {
            let mut is_over = false;
            for done in [false, true] {
                let lvm = Pretended::new(thin);
                act.prepare(&driver(&lvm, thin)).await;
                lvm.disk().cut = Some((commands, done));
                let result = act.act(&driver(&lvm, thin)).await;
                is_over = lvm.disk().cut.is_some_and(|(left, _)| left > 0);
                lvm.disk().cut = None;
                act.between(&driver(&lvm, thin)).await;
                assert_eq!(result.is_ok(), is_over, "{act:?}");
                act.act(&driver(&lvm, thin)).await.unwrap();
                act.ended(&driver(&lvm, thin), &lvm).await;
            }
            if is_over {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 0, "{act:?} was never cut");
    }
}

/// The control: without the driver's zeros, what others wrote is seen.
#[tokio::test]
async fn a_new_logical_volume_shows_what_others_wrote() {
    let lvm = Pretended::new(false);
    lvm.run(&["lvcreate", "-n", "x", "-l", "2", "vg"]).unwrap();
    assert!(lvm.bytes("x").contains(&FOREIGN));
    let driver = driver(&lvm, false);
    driver.create("p", V, mib(2)).await.unwrap();
    let path = driver.open("p", V).await.unwrap();
    path.into_file().unwrap().write_all_at(&[9; 4096], 0).unwrap();
    driver.delete("p", V).await.unwrap();
    lvm.run(&["lvcreate", "-n", "y", "-l", "2", "vg"]).unwrap();
    assert_eq!(lvm.bytes("y")[0], 9, "the disk keeps what was deleted; a volume never shows it");
    lvm.run(&["lvremove", "vg/y"]).unwrap();
    driver.create("p", W, mib(2)).await.unwrap();
    assert!(is_zero(&bytes(&driver, W).await));
}

/// The original's volumes are found by their names, get their tag and keep their bytes.
#[tokio::test]
async fn volumes_of_the_original_are_taken_over() {
    let lvm = Pretended::new(false);
    let name = format!("volume-{V}");
    lvm.run(&["lvcreate", "-n", &name, "-l", "2", "vg"]).unwrap();
    let snapshot = format!("_snapshot-{S}");
    let origin = format!("vg/{name}");
    lvm.run(&["lvcreate", "-s", "-n", &snapshot, "-l", "2", &origin]).unwrap();
    lvm.run(&["lvcreate", "-n", "volume-of-somebody", "-l", "1", "vg"]).unwrap();
    let driver = driver(&lvm, false);
    let names: Vec<_> = driver.list("p").await.unwrap().into_iter().map(|e| e.name).collect();
    let foreign = EntryName::Foreign("volume-of-somebody".to_owned());
    assert_eq!(names, [EntryName::Volume(V), EntryName::Snapshot(V, S), foreign]);
    assert_eq!(driver.create("p", V, mib(1)).await.unwrap().size, mib(2));
    assert!(bytes(&driver, V).await.iter().all(|byte| *byte == FOREIGN), "it was wiped");
    assert_eq!(lvm.disk().volumes[0].tags, [format!("osds.volume={V}")]);
    driver.delete_snapshot("p", V, S).await.unwrap();
    driver.delete("p", V).await.unwrap();
    assert_eq!(lvm.names(), ["volume-of-somebody"]);
}

#[tokio::test]
async fn blocks_are_told_by_the_uuid_and_two_of_one_tag_are_refused() {
    let lvm = Pretended::new(false);
    let driver = driver(&lvm, false);
    let id = || async { driver.open("p", V).await.unwrap().id().unwrap() };
    driver.create("p", V, mib(1)).await.unwrap();
    let first = id().await;
    assert_eq!(id().await, first);
    driver.delete("p", V).await.unwrap();
    driver.create("p", V, mib(1)).await.unwrap();
    assert_ne!(id().await, first);
    let tag = format!("osds.volume={V}");
    lvm.run(&["lvcreate", "-n", "x", "-l", "1", "--addtag", &tag, "vg"]).unwrap();
    let error = driver.find("p", V).await.unwrap_err();
    assert!(error.kind == FaultKind::Broken && error.chain().contains("--deltag"));
}

#[tokio::test]
async fn a_thick_volume_with_snapshots_grows_while_nobody_has_it() {
    let lvm = Pretended::new(false);
    let driver = driver(&lvm, false);
    driver.create("p", V, mib(2)).await.unwrap();
    driver.snapshot("p", V, S, Hold::needless()).await.unwrap();
    lvm.with(&format!("volume-{V}"), |volume| volume.open = true);
    let error = driver.extend("p", V, mib(3)).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::InUse);
    assert!(error.chain().contains("thin pool"), "{}", error.chain());
    assert_eq!(driver.delete("p", V).await.map_err(|e| e.kind), Ok(()), "it is only marked");
    assert_eq!(driver.create("p", V, mib(2)).await.unwrap_err().kind, FaultKind::InUse);
    driver.delete_snapshot("p", V, S).await.unwrap_err();
    lvm.with(&format!("volume-{V}"), |volume| volume.open = false);
    driver.delete_snapshot("p", V, S).await.unwrap();
    assert!(lvm.names().is_empty());
    driver.create("p", W, mib(2)).await.unwrap();
    driver.snapshot("p", W, S, Hold::needless()).await.unwrap();
    assert_eq!(driver.extend("p", W, mib(3)).await.unwrap().size, mib(3));
    assert!(is_zero(&bytes(&driver, W).await));
    let kept = driver.snapshots("p", W, &[S]).await.unwrap();
    assert_eq!(kept[&S].whole, Some(mib(2)), "of the size that the volume had");
}

/// A group of the same name that is another is not the pool, nor is a thin pool that shows old blocks.
#[tokio::test]
async fn another_group_of_the_name_is_not_the_pool() {
    let home = tempfile::tempdir().unwrap();
    let notes = home.path().join("own/pools.json");
    let lvm = Pretended::new(true);
    let start = || {
        let yaml = "pool: {p: {volumeGroup: vg}, q: {volumeGroup: vg, thinPool: t}}";
        let config = LvmConfig::parse(Path::new("x"), yaml).unwrap().config;
        let lvm: Arc<dyn Lvm> = Arc::new(lvm.clone());
        LvmStorage::with(config, &lvm, Some(&pool::notes(&notes).unwrap()))
    };
    let driver = start();
    driver.create("p", V, mib(2)).await.unwrap();
    driver.create("q", W, mib(2)).await.unwrap();
    // Each lists its own, and the thin pool is nothing foreign.
    for (pool, volume) in [("p", V), ("q", W)] {
        let entries = driver.list(pool).await.unwrap();
        assert_eq!(entries, [PoolEntry { name: EntryName::Volume(volume), size: mib(2) }]);
    }
    lvm.disk().zeroes = false;
    let error = driver.create("q", VolumeId::from_u128(7), mib(1)).await.unwrap_err().chain();
    assert!(error.contains("--zero y"), "{error}");
    assert!(driver.pools().await[1].spec.is_err() && driver.pools().await[0].spec.is_ok());
    lvm.disk().uuid = "other".to_owned();
    for driver in [driver, start()] {
        let error = driver.find("p", V).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::Broken);
        assert!(error.chain().contains("attach the disks"), "{}", error.chain());
    }
    lvm.disk().volumes.retain(|volume| volume.name != "t");
    let error = start().find("q", W).await.unwrap_err().chain();
    assert!(error.contains("lvcreate --type thin-pool"), "{error}");
}

/// Those who ask while one report runs are answered by the next one, all of them.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::await_holding_lock, reason = "it is let go before the first await")]
async fn many_questions_are_answered_by_few_reports() {
    let lvm = Pretended::new(false);
    let driver = driver(&lvm, false);
    driver.create("p", V, mib(1)).await.unwrap();
    lvm.disk().log.clear();
    let group = Arc::clone(&driver.pools[0].group);
    let asked = group.asked();
    let held = lvm.disk();
    let calls = (0..64).map(|_| {
        let driver = driver.clone();
        tokio::spawn(async move { driver.find("p", V).await.unwrap().unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    while group.asked() < asked + 64 {
        std::thread::yield_now();
    }
    drop(held);
    for call in calls {
        assert_eq!(call.await.unwrap().size, mib(1));
    }
    assert!(lvm.disk().log.len() <= 2, "{:?}", lvm.disk().log);
}

/// As lvm2 2.03.16 of Debian 12 printed it: a thick volume that is being made and a thin one, with a
/// snapshot each.
#[test]
fn a_recorded_report_is_read() {
    let group = Group::parse(include_str!("tests/report.json")).unwrap();
    let id = |last: u32| format!("0193f1f4-0000-7000-8000-00000000000{last}");
    let volume = |last| id(last).parse::<VolumeId>().unwrap();
    assert_eq!((group.size, group.extent, group.missing), (mib(100), MIB, 0));
    let (thick, state) = group.volume(volume(1)).unwrap().unwrap();
    assert_eq!((state, thick.size, thick.device), (State::Making, mib(2), Some((253, 3))));
    assert_eq!(thick.ranges, ["/dev/vdc:40-41"]);
    let snapshots: Vec<_> = group.dependants(thick).collect();
    assert_eq!(snapshots.len(), 1);
    let role = Role::Snapshot(volume(1), id(3).parse().unwrap());
    assert_eq!((snapshots[0].role(), snapshots[0].content()), (role, mib(2)), "by its name");
    assert!(!thick.is_open() && !thick.is_thin() && !snapshots[0].is_lost());
    let (thin, state) = group.volume(volume(2)).unwrap().unwrap();
    assert_eq!((state, &*thin.pool, thin.size), (State::Whole, "t", mib(3)));
    let role = Role::Snapshot(volume(2), id(4).parse().unwrap());
    let snapshot = group.of_role(role).next().unwrap();
    assert_eq!((snapshot.device, snapshot.content()), (None, mib(3)), "it is not active");
    assert_eq!(group.dependants(thin).count(), 0, "a thin one needs no origin");
    let pool = group.named("t").unwrap();
    assert!(pool.is_thin_pool() && pool.zeroes() && pool.role() == Role::Foreign);
}

#[test]
fn what_is_no_report_is_refused() {
    for text in ["", "{}", "{\"report\":[{\"vg\":[]}]}", "{\"report\":[{\"vg\":[{}]}]}"] {
        assert_eq!(Group::parse(text).unwrap_err().kind, FaultKind::Broken, "{text}");
    }
}
