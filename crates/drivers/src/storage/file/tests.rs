//! What is true of the file driver beyond the conformance suite: its names, its links, its
//! leftovers, its account of space.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::EntryName;

const MIB: u64 = 1 << 20;
const V: VolumeId = VolumeId::from_u128(7);

fn mib(count: u64) -> Capacity {
    Capacity::from_bytes(count * MIB)
}

fn driver(base: &Path, yaml: &str) -> FileStorage {
    FileStorage::new(FileConfig::parse(&base.join("file.yaml"), yaml).unwrap().config)
}

fn pool() -> (TempDir, FileStorage) {
    let base = TempDir::new().unwrap();
    let driver = driver(base.path(), "pool: {p: {path: deep/p, capacity: 64MiB}}");
    (base, driver)
}

fn path(base: &TempDir, name: &str) -> PathBuf {
    base.path().join("deep/p").join(name)
}

fn image(base: &TempDir) -> PathBuf {
    path(base, &format!("volume-{V}.img"))
}

#[tokio::test]
async fn a_volume_is_a_sparse_private_file_named_by_its_id() {
    let (base, driver) = pool();
    driver.create("p", V, mib(8)).await.unwrap();
    let meta = fs::metadata(image(&base)).unwrap();
    assert_eq!((meta.len(), meta.mode() & 0o7777), (8 * MIB, 0o600));
    assert!(meta.blocks() * 512 < MIB, "holes take no room");
    let directory = fs::metadata(base.path().join("deep/p")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o7777, 0o700);
    assert_eq!(driver.open("p", V).await.unwrap().path, image(&base));
}

#[tokio::test]
async fn what_an_interrupted_create_left_is_finished() {
    let (base, driver) = pool();
    let begun = path(&base, &format!("volume-{V}.new"));
    fs::write(&begun, "half").unwrap();
    assert_eq!(driver.find("p", V).await.unwrap(), None);
    // A sweep can see it although nobody's answer ever named it.
    assert_eq!(driver.list("p").await.unwrap()[0].name, EntryName::Volume(V));
    driver.create("p", V, mib(1)).await.unwrap();
    assert!(!begun.exists());
    let mut bytes = [1; 4];
    driver.open("p", V).await.unwrap().into_file().unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [0; 4], "nothing of the leftover is in the new volume");

    fs::File::options().write(true).open(image(&base)).unwrap().set_len(512).unwrap();
    assert_eq!(driver.create("p", V, mib(1)).await.unwrap().size, mib(1));

    fs::write(&begun, "half").unwrap();
    assert_eq!(driver.list("p").await.unwrap().len(), 1);
    driver.delete("p", V).await.unwrap();
    assert_eq!(fs::read_dir(base.path().join("deep/p")).unwrap().count(), 0);
}

#[tokio::test]
async fn links_and_other_things_with_a_volumes_name_are_foreign_and_not_touched() {
    let plant: [fn(&Path, &Path); 4] = [
        |outside, at| symlink(outside, at).unwrap(),
        |_, at| symlink("/nowhere", at).unwrap(),
        |_, at| fs::create_dir(at).unwrap(),
        |_, at| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        },
    ];
    for plant in plant {
        let (base, driver) = pool();
        let outside = base.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        plant(&outside, &image(&base));
        let name = format!("volume-{V}.img");
        assert_eq!(driver.list("p").await.unwrap()[0].name, EntryName::Foreign(name));
        for error in [
            driver.find("p", V).await.map(|_| ()).unwrap_err(),
            driver.create("p", V, mib(1)).await.map(|_| ()).unwrap_err(),
            driver.extend("p", V, mib(1)).await.map(|_| ()).unwrap_err(),
            driver.open("p", V).await.map(|_| ()).unwrap_err(),
            driver.delete("p", V).await.unwrap_err(),
        ] {
            assert_eq!(error.kind, FaultKind::Broken, "{}", error.chain());
            assert!(error.chain().contains("is no plain file"), "{}", error.chain());
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
        assert!(image(&base).symlink_metadata().is_ok(), "it is still there");
    }
}

/// A link planted where a create would begin is cleared away, and not written through.
#[tokio::test]
async fn a_link_in_the_place_of_a_begun_volume_leads_nowhere() {
    let (base, driver) = pool();
    let outside = base.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, path(&base, &format!("volume-{V}.new"))).unwrap();
    driver.create("p", V, mib(1)).await.unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
    assert_eq!(fs::metadata(image(&base)).unwrap().len(), MIB);
}

#[tokio::test]
async fn other_names_are_foreign() {
    let (base, driver) = pool();
    let odd = VolumeId::from_u128(u128::MAX);
    for name in
        ["lost+found", "volume-.img", "volume-x.img", &format!("volume-{odd}.img").to_uppercase()]
    {
        fs::write(path(&base, name), "x").unwrap();
    }
    fs::write(path(&base, &format!("volume-{}.img", odd.to_string().to_uppercase())), "x").unwrap();
    driver.create("p", V, mib(1)).await.unwrap();
    let entries = driver.list("p").await.unwrap();
    let foreign = |entry: &&PoolEntry| matches!(entry.name, EntryName::Foreign(_));
    assert_eq!((entries.len(), entries.iter().filter(foreign).count()), (6, 5));
    assert_eq!(driver.find("p", odd).await.unwrap(), None);
}

#[tokio::test]
async fn a_new_volume_never_shows_old_blocks() {
    let (_base, driver) = pool();
    let pattern = vec![0xA5; 1 << 16];
    for round in 0..4 {
        let volume = VolumeId::from_u128(round % 2);
        driver.create("p", volume, mib(8)).await.unwrap();
        let file = driver.open("p", volume).await.unwrap().into_file().unwrap();
        let mut bytes = vec![1; pattern.len()];
        for at in (0..8 * MIB).step_by(1 << 16) {
            file.read_exact_at(&mut bytes, at).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0), "round {round}, byte {at}");
            file.write_all_at(&pattern, at).unwrap();
        }
        file.sync_all().unwrap();
        driver.delete("p", volume).await.unwrap();
    }
}

#[tokio::test]
async fn space_is_what_the_file_system_really_has() {
    let base = TempDir::new().unwrap();
    let yaml = "pool: {small: {path: s, capacity: 64MiB}, whole: {path: w}}";
    let driver = driver(base.path(), yaml);
    let spec = |reports: Vec<PoolReport>, at: usize| reports.into_iter().nth(at).unwrap().spec;
    let small = spec(driver.pools().await, 0).unwrap();
    assert_eq!((small.total, small.usable), (mib(64), mib(64)));
    let whole = spec(driver.pools().await, 1).unwrap();
    let stat = rustix::fs::statvfs(base.path()).unwrap();
    assert_eq!(whole.total.bytes(), stat.f_blocks * stat.f_frsize);
    assert!(whole.usable <= whole.total);

    // Its own blocks are still the pool's to give: a written volume does not make it smaller.
    driver.create("small", V, mib(64)).await.unwrap();
    let file = driver.open("small", V).await.unwrap().into_file().unwrap();
    file.write_all_at(&vec![1; 4 << 20], 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(spec(driver.pools().await, 0).unwrap().usable, mib(64));
    let directory = Directory::open(&base.path().join("s")).unwrap();
    let used = directory.used_by_volumes().unwrap();
    assert!(used >= mib(4) && used < mib(8), "{used}");

    let error = driver.create("small", VolumeId::from_u128(8), mib(65)).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::NoSpace);
    assert_eq!(driver.extend("small", V, mib(65)).await.unwrap_err().kind, FaultKind::NoSpace);
    let huge = Capacity::from_bytes(u64::MAX);
    let error = driver.create("whole", V, huge).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::NoSpace, "{}", error.chain());
}

#[tokio::test]
async fn a_broken_pool_says_why_and_hides_nothing_else() {
    let base = TempDir::new().unwrap();
    fs::write(base.path().join("plain"), "").unwrap();
    let yaml = "pool: {a: {path: plain/a}, b: {path: b}, c: {path: c}}";
    let driver = driver(base.path(), yaml);
    fs::remove_dir(base.path().join("c")).unwrap();
    let reports = driver.pools().await;
    let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(reports[1].spec.is_ok());
    for (at, name) in [(0, "a"), (2, "c")] {
        let error = reports[at].spec.as_ref().unwrap_err();
        assert_eq!(error.kind, FaultKind::Broken);
        let told = error.chain();
        assert!(told.contains(base.path().to_str().unwrap()) && told.contains(name), "{told}");
    }
    // Neither "not there" nor made anew: nobody knows what was in it.
    assert_eq!(driver.find("c", V).await.unwrap_err().kind, FaultKind::Broken);
    assert_eq!(driver.create("c", V, mib(1)).await.unwrap_err().kind, FaultKind::Broken);
    assert_eq!(driver.find("nosuch", V).await.unwrap_err().kind, FaultKind::Broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_for_one_volume() {
    let (base, driver) = pool();
    let calls = (1..=32).map(|number| {
        let driver = driver.clone();
        tokio::spawn(async move {
            match number % 4 {
                0 => driver.delete("p", V).await.map(|()| None),
                _ => driver.create("p", V, mib(number)).await.map(Some),
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    driver.create("p", V, mib(40)).await.unwrap();
    assert_eq!(driver.list("p").await.unwrap().len(), 1);
    assert_eq!(fs::metadata(image(&base)).unwrap().len(), 40 * MIB);
}

const S: SnapshotId = SnapshotId::from_u128(8);

#[tokio::test]
async fn what_an_interrupted_snapshot_left_is_seen_begun_anew_and_removed() {
    let (base, driver) = pool();
    let snapshot = path(&base, &format!("volume-{V}.snap-{S}.img"));
    let begun = path(&base, &format!("volume-{V}.snap-{S}.new"));
    let facts = || driver.snapshots("p", V, &[S]);
    driver.create("p", V, mib(4)).await.unwrap();
    fs::write(&begun, "half").unwrap();
    assert_eq!(facts().await.unwrap()[&S], SnapshotFacts { whole: None });
    driver.snapshot("p", V, S, Hold::needless()).await.unwrap();
    assert_eq!(facts().await.unwrap()[&S], SnapshotFacts { whole: Some(mib(4)) });
    assert!(!begun.exists());
    let meta = fs::metadata(&snapshot).unwrap();
    assert_eq!((meta.len(), meta.mode() & 0o7777), (4 * MIB, 0o600));
    assert!(meta.blocks() * 512 < MIB, "holes take no room");
    fs::write(&begun, "half").unwrap();
    driver.delete_snapshot("p", V, S).await.unwrap();
    assert!(facts().await.unwrap().is_empty() && !begun.exists() && !snapshot.exists());
    assert_eq!(driver.find("p", V).await.unwrap().unwrap().size, mib(4));
    // The name of a snapshot is no volume's.
    fs::write(path(&base, &format!("volume-{V}.snap-.img")), "x").unwrap();
    fs::write(path(&base, &format!("volume-{V}.snap-{S}.snap-{S}.img")), "x").unwrap();
    let entries = driver.list("p").await.unwrap();
    let foreign = |entry: &&PoolEntry| matches!(entry.name, EntryName::Foreign(_));
    assert_eq!((entries.len(), entries.iter().filter(foreign).count()), (3, 2));
}

/// A copy of a volume takes its time, and other volumes do not wait for it; two calls for one copy
/// come one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_for_one_snapshot() {
    let (base, driver) = pool();
    driver.create("p", V, mib(8)).await.unwrap();
    let file = driver.open("p", V).await.unwrap().into_file().unwrap();
    file.write_all_at(&vec![7; 1 << 20], 0).unwrap();
    let calls = (0..16).map(|number| {
        let driver = driver.clone();
        tokio::spawn(async move {
            match number % 4 {
                0 => driver.delete_snapshot("p", V, S).await,
                _ => driver.snapshot("p", V, S, Hold::needless()).await,
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    driver.snapshot("p", V, S, Hold::needless()).await.unwrap();
    let taken = fs::read(path(&base, &format!("volume-{V}.snap-{S}.img"))).unwrap();
    assert!(taken.len() == 8 << 20 && taken[..1 << 20].iter().all(|byte| *byte == 7));
}

/// A pool that was used before is looked for where it was, and nowhere else.
#[tokio::test]
async fn a_directory_that_is_not_mounted_is_not_the_pool() {
    let base = TempDir::new().unwrap();
    let notes = base.path().join("own/pools.json");
    let start = || {
        let yaml = "pool: {p: {path: deep/p, capacity: 64MiB}, q: {path: q}}";
        let config = FileConfig::parse(&base.path().join("file.yaml"), yaml).unwrap().config;
        FileStorage::with_notes(config, &notes).unwrap()
    };
    let why = |found: Result<Option<VolumeFacts>, DriverError>| found.unwrap_err().chain();
    start().create("p", V, mib(8)).await.unwrap();
    let there = start();
    assert_eq!(there.list("p").await.unwrap().len(), 1, "the mark is nothing foreign");
    assert_eq!(there.find("p", V).await.unwrap().unwrap().size, mib(8));

    // Not mounted: an empty directory. Nothing is made in it, at a start or later.
    let (mounted, aside) = (base.path().join("deep/p"), base.path().join("aside"));
    fs::rename(&mounted, &aside).unwrap();
    fs::create_dir(&mounted).unwrap();
    for driver in [start(), there] {
        assert!(why(driver.find("p", V).await).contains("mount what belongs there"));
        assert!(driver.create("p", V, mib(8)).await.is_err());
        assert!(driver.pools().await[0].spec.is_err());
        assert!(driver.pools().await[1].spec.is_ok(), "the other one is not hindered");
    }
    // Not even that: it is not made either.
    fs::remove_dir(&mounted).unwrap();
    assert!(why(start().find("p", V).await).contains("is not there"));
    assert!(!mounted.exists());
    // Another pool's: somebody mounted the wrong one.
    fs::rename(base.path().join("q"), &mounted).unwrap();
    assert!(why(start().find("p", V).await).contains("another pool's"));
    fs::rename(&mounted, base.path().join("q")).unwrap();
    // Back again: found without a restart.
    let driver = start();
    fs::rename(&aside, &mounted).unwrap();
    assert_eq!(driver.find("p", V).await.unwrap().unwrap().size, mib(8));

    // Given up: the pool begins anew where its note is gone.
    fs::remove_dir_all(&mounted).unwrap();
    fs::remove_file(&notes).unwrap();
    assert_eq!(start().find("p", V).await.unwrap(), None);
}
