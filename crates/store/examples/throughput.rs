//! How many commits a second the embedded store makes, beside the disk it makes them on.
//!
//! `cargo run --release -p osds-store --example throughput [directory]`: one file with 10,000
//! volumes; a bare loop of write and fdatasync on the same disk; 1 and 32 writers that change
//! volumes; then the times to open the file, as closed and as left by a crash, and to read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use osds_model::access::AttachmentFacts;
use osds_model::host::{Initiator, Protocol};
use osds_model::id::{AttachmentId, HostId, PoolId, ProfileId, TenantId, UserId, VolumeId};
use osds_model::volume::Terms;
use osds_model::{
    AttachMode, Attachment, Capacity, Connection, Generation, Phase, Presence, Sharing, Timestamp,
    Volume, VolumeState,
};
use osds_store::{EmbeddedStore, Store, Txn, decide};

const VOLUMES: u128 = 10_000;
const SPAN: Duration = Duration::from_secs(3);

fn main() {
    let given = std::env::args().nth(1);
    let directory = tempfile::tempdir_in(given.unwrap_or_else(|| ".".to_owned())).expect("a place");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio");
    let path = directory.path().join("store.redb");

    let start = Instant::now();
    let store = Arc::new(EmbeddedStore::open(&path).expect("opens"));
    println!("new file         {:>9.1} ms", millis(start));
    let rss = resident();
    runtime.block_on(async {
        let ids: Vec<u128> = (0..VOLUMES).collect();
        for chunk in ids.chunks(500) {
            let txn = chunk.iter().fold(Txn::new(), |txn, id| txn.create(volume(*id)));
            store.commit(txn).await.expect("fills");
        }
    });
    println!("10,000 volumes   {:>9.1} KiB each in memory", (resident() - rss) as f64 / 10_000.0);
    let rss = resident();
    runtime.block_on(async {
        let volumes: Vec<_> = store.view().iter::<Volume>().cloned().collect();
        for chunk in volumes.chunks(500) {
            let txn = chunk.iter().fold(Txn::new(), |txn, old| {
                let mut new = Volume::clone(old);
                new.state.attachments.insert(HostId::from_u128(1), attachment(&new).into());
                txn.replace(old, new)
            });
            store.commit(txn).await.expect("attaches");
        }
    });
    println!("attached         {:>9.1} KiB more each", (resident() - rss) as f64 / 10_000.0);

    println!("bare fdatasync   {:>9.0} /s", bare(directory.path()));
    for writers in [1, 32] {
        let cpu = cpu();
        let commits = runtime.block_on(write(&store, writers));
        let seconds = SPAN.as_secs_f64();
        println!(
            "{writers:>2} writers       {:>9.0} commits/s, {:.0} us CPU each",
            commits as f64 / seconds,
            (self::cpu() - cpu) * 1e6 / commits as f64
        );
    }
    println!("bare fdatasync   {:>9.0} /s", bare(directory.path()));

    let view = store.view();
    let start = Instant::now();
    for round in 0..100_000_u128 {
        let id = round * 7919 % VOLUMES;
        std::hint::black_box(view.get::<Volume>(VolumeId::from_u128(spread(id))).is_some());
    }
    println!("get              {:>9.0} ns", millis(start) * 10.0);
    let tenant = TenantId::from("t1");
    let mut times: Vec<f64> = (0..99)
        .map(|_| {
            let start = Instant::now();
            let page = view.volumes_of_tenant(&tenant).skip(9_000).take(50);
            std::hint::black_box(page.filter_map(|id| view.get::<Volume>(id)).count());
            millis(start) * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("page 50 at 9,000 {:>9.1} us, median of 99", times[49]);

    println!("resident         {:>9.1} MiB", resident() as f64 / 1024.0);
    println!(
        "file             {:>9.1} MiB",
        fs::metadata(&path).map_or(0, |m| m.len()) as f64 / 1048576.0
    );
    let crashed = directory.path().join("crashed.redb");
    fs::copy(&path, &crashed).expect("copies the file as it is while open");
    drop((view, store));
    for (name, path) in [("open", &path), ("open crashed", &crashed)] {
        let start = Instant::now();
        drop(EmbeddedStore::open(path).expect("opens"));
        println!("{name:<16} {:>9.1} ms with closing", millis(start));
    }
}

/// Changes volumes from `writers` tasks at once, each its own, and says how often.
async fn write(store: &Arc<EmbeddedStore>, writers: u128) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let commits = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (store, stop, commits) = (store.clone(), stop.clone(), commits.clone());
            tokio::spawn(async move {
                let mut number = writer;
                while !stop.load(Ordering::Relaxed) {
                    number = (number + writers * 31) % VOLUMES;
                    let id = VolumeId::from_u128(spread(number));
                    decide(&*store, |view| {
                        let old = view.get::<Volume>(id).ok_or(std::fmt::Error)?;
                        let mut new = Volume::clone(old);
                        new.state.generation = new.state.generation.next();
                        Ok::<_, std::fmt::Error>((Txn::new().replace(old, new), ()))
                    })
                    .await
                    .expect("commits");
                    commits.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(SPAN).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("ends");
    }
    commits.load(Ordering::Relaxed)
}

/// What the disk can do: one page and one sync at a time.
fn bare(directory: &Path) -> f64 {
    let mut file = File::create(directory.join("bare")).expect("creates");
    file.write_all(&[0; 1 << 20]).expect("writes");
    file.sync_all().expect("syncs");
    let (start, mut rounds) = (Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(1) {
        file.seek(SeekFrom::Start(rounds % 256 * 4096)).expect("seeks");
        file.write_all(&[rounds as u8; 4096]).expect("writes");
        file.sync_data().expect("syncs");
        rounds += 1;
    }
    rounds as f64 / start.elapsed().as_secs_f64()
}

/// An id like a random one: neighbours are far apart.
fn spread(number: u128) -> u128 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

fn attachment(volume: &Volume) -> Attachment {
    Attachment {
        id: AttachmentId(volume.id.0),
        mode: AttachMode::ReadWrite,
        sharing: Sharing::Shared,
        publication: None,
        phase: Phase::Attached,
        fault: None,
        initiators: vec![Initiator {
            port_name: "iqn.1993-08.org.debian:01:0123456789ab".to_owned(),
            protocol: Protocol::Iscsi,
        }],
        authentication: None,
        connection: Some(Connection::Iscsi {
            iqn: format!("iqn.2026-01.io.osds:volume-{}", volume.id),
            portals: vec!["127.0.0.1:3260".to_owned()],
            lun: 1,
        }),
        about: AttachmentFacts::default(),
    }
}

fn volume(number: u128) -> Volume {
    Volume {
        id: VolumeId::from_u128(spread(number)),
        created_at: Timestamp(1),
        updated_at: None,
        tenant: TenantId::from("t1"),
        user: UserId::from("u1"),
        name: format!("volume-{number}"),
        description: "a volume of the bench".to_owned(),
        availability_zone: "default".to_owned(),
        profile: ProfileId::from_u128(1),
        pool: PoolId::from_u128(number % 4),
        snapshot: None,
        group: None,
        metadata: BTreeMap::new(),
        state: VolumeState {
            generation: Generation(1),
            terms: Terms { multi_attach: true, max_attachments: None },
            presence: Presence::Wanted(Capacity::from_bytes(1 << 30)),
            limits: osds_model::IoLimits::NONE,
            limited: osds_model::IoLimits::NONE,
            taken_back: None,
            source: None,
            snapshots: BTreeMap::new(),
            made: Some(Capacity::from_bytes(1 << 30)),
            fault: None,
            attachments: BTreeMap::new(),
        },
    }
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// KiB of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

/// Seconds of CPU that this process has used; the kernel counts in hundredths.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split(' ').skip(12).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
