//! The target of this machine, on real loop devices: the suite of every target, and what is its own.
//!
//! Needs root and loop devices; elsewhere each test says that it was skipped. Devices are found
//! anew for each test, and none is left.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use osds_drivers::target::local::{DIRECTORY, LocalTarget};
use osds_drivers::{BlockSource, TargetDriver};
use osds_model::host::Protocol;
use osds_model::{
    AttachMode, Authentication, Capacity, Connection, FaultKind, Grant, HostId, Initiator, Secret,
    VolumeId,
};
use rustix::fs::OFlags;
use tempfile::TempDir;

/// What the hosts of the target suite speak.
const PROTOCOL: Protocol = Protocol::Local;

#[path = "conformance/target.rs"]
#[allow(dead_code, reason = "nobody proves anything to a device, and usage is not told")]
mod target;

use target::{A, B, Bench, Refused, SIZE};

const V: VolumeId = VolumeId::from_u128(1);

/// Whether this machine can; says why not.
fn can(test: &str) -> bool {
    let Err(error) = LocalTarget::start([], Duration::from_secs(1)) else { return true };
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{}", error.chain());
    println!("SKIPPED: {test}: {}", error.chain());
    false
}

/// A pool's directory with volumes in it. All its devices go with it.
#[derive(Clone)]
struct LocalBench {
    pool: Arc<TempDir>,
    driver: LocalTarget,
    made: Arc<AtomicU64>,
}

impl LocalBench {
    fn new() -> Self {
        let pool = Arc::new(TempDir::new().unwrap());
        let driver = start(pool.path());
        Self { pool, driver, made: Arc::default() }
    }

    fn exports(&self) -> PathBuf {
        self.pool.path().canonicalize().unwrap().join(DIRECTORY)
    }
}

fn start(pool: &Path) -> LocalTarget {
    LocalTarget::start([pool.to_owned()], Duration::from_secs(10)).unwrap()
}

impl Drop for LocalBench {
    fn drop(&mut self) {
        if Arc::strong_count(&self.pool) == 1 {
            for device in devices_in(&self.exports()) {
                let _ = Command::new("losetup").arg("--detach").arg(&device).status();
                let _ = Command::new("blockdev").arg("--setrw").arg(&device).status();
            }
        }
    }
}

/// What the kernel says each loop device is on.
fn backing_files() -> Vec<(PathBuf, String)> {
    let loops = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().file_name());
    let file = |name: std::ffi::OsString| {
        let name = name.to_string_lossy().into_owned();
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        Some((Path::new("/dev").join(name), file.trim_end().to_owned()))
    };
    loops.filter_map(file).collect()
}

/// The devices on files in there, those on top of them first.
fn devices_in(directory: &Path) -> Vec<PathBuf> {
    let all = backing_files();
    let on = |what: &Path| {
        let of = all.iter().filter(|(_, file)| Path::new(file).starts_with(what));
        of.map(|(device, _)| device.clone()).collect::<Vec<_>>()
    };
    let lower = on(directory);
    let upper: Vec<_> = lower.iter().flat_map(|device| on(device)).collect();
    [upper, lower].concat()
}

/// The device that a host of this machine would find.
fn device(way: &Connection) -> Option<PathBuf> {
    let Connection::Local { path } = way else { panic!("{way:?}") };
    let lower = on(path)?;
    Some(on(&lower.display().to_string()).unwrap_or(lower))
}

fn on(path: &str) -> Option<PathBuf> {
    backing_files().into_iter().find(|(_, file)| file == path).map(|(device, _)| device)
}

fn open(device: &Path, write: bool) -> std::io::Result<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
    OpenOptions::new().read(true).write(write).custom_flags(direct).open(device)
}

/// Direct I/O wants its memory in its place.
fn aligned(memory: &mut [u8], length: usize) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(4096);
    &mut memory[start..start + length]
}

#[async_trait]
impl Bench for LocalBench {
    fn driver(&self) -> Arc<dyn TargetDriver> {
        Arc::new(self.driver.clone())
    }

    fn carry(&self, _: &Initiator, _: Option<Authentication<Secret>>) {}

    async fn blocks(&self, _: VolumeId) -> (BlockSource, File) {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.pool.path().join(format!("v{number}.img"));
        let file = File::create_new(&path).unwrap();
        file.set_len(SIZE).unwrap();
        let behind = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        (BlockSource::of_file(file, path, Capacity::from_bytes(SIZE)), behind)
    }

    async fn write(
        &self,
        _: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let device = open(&device(way).ok_or(Refused::Out)?, true).map_err(|_| Refused::Command)?;
        let mut memory = vec![0; bytes.len() + 4096];
        let memory = aligned(&mut memory, bytes.len());
        memory.copy_from_slice(bytes);
        device.write_all_at(memory, at).map_err(|_| Refused::Command)
    }

    async fn read(
        &self,
        _: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), Refused> {
        let device = open(&device(way).ok_or(Refused::Out)?, false).map_err(|_| Refused::Out)?;
        let mut memory = vec![0; bytes.len() + 4096];
        let memory = aligned(&mut memory, bytes.len());
        device.read_exact_at(memory, at).map_err(|_| Refused::Command)?;
        bytes.copy_from_slice(memory);
        Ok(())
    }
}

macro_rules! suite {
    ($($case:ident),+ $(,)?) => {
        mod suite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    if crate::can(stringify!($case)) {
                        crate::target::$case(&crate::LocalBench::new()).await;
                    }
                }
            )+
        }
    };
}

suite!(
    export_is_boring_and_keeps_grants,
    a_write_through_a_read_only_grant_fails,
    the_second_grant_is_boring_and_another_mode_is_refused,
    nothing_is_granted_without_an_export,
    a_host_without_the_protocol_is_refused,
    a_revoked_host_is_out_and_the_others_are_not,
    no_write_lands_after_revoke,
    unexport_puts_everybody_out,
    a_resized_volume_is_larger_for_hosts,
    exports_are_read_back,
    limits_are_read_back_and_disturb_nobody,
);

fn grant(host: HostId, mode: AttachMode) -> Grant<Secret> {
    Grant { mode, initiators: vec![target::initiator(host)], authentication: None }
}

async fn let_in(driver: &LocalTarget, host: HostId, mode: AttachMode) -> PathBuf {
    let way = driver.grant(V, host, &grant(host, mode)).await.unwrap();
    device(&way).expect("the host has a device")
}

/// Writers that hold the device open and write numbers as fast as they can, for ever.
struct Writers {
    threads: Vec<thread::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writers {
    fn start(device: &Path, count: u64) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = |number: u64| {
            let device = open(device, true).unwrap();
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            thread::spawn(move || {
                let mut memory = vec![0; 8192];
                let memory = aligned(&mut memory, 4096);
                while !stop.load(Ordering::Relaxed) {
                    let mark = written.fetch_add(1, Ordering::Relaxed) + 1;
                    memory[..8].copy_from_slice(&mark.to_be_bytes());
                    // Refused writes are tried again and again: that is the point.
                    let _ = device.write_all_at(memory, number * 4096);
                }
            })
        };
        let threads = (0..count).map(thread).collect();
        Self { threads, stop, written }
    }

    fn wait_for_more(&self, more: u64) {
        let (from, deadline) = (self.count(), Instant::now() + Duration::from_secs(20));
        while self.count() < from + more {
            assert!(Instant::now() < deadline, "the writers do not write");
            thread::yield_now();
        }
    }

    fn count(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Revokes a host in the middle of its writes; whether any of them landed afterwards.
async fn lands_after_revoke(bench: &LocalBench, driver: &LocalTarget) -> bool {
    let (source, behind) = bench.blocks(V).await;
    driver.export(V, source).await.unwrap();
    let device = let_in(driver, A, AttachMode::ReadWrite).await;
    let writers = Writers::start(&device, 8);
    writers.wait_for_more(200);
    driver.revoke(V, A).await.unwrap();
    let mut confirmed = vec![0; SIZE as usize];
    behind.read_exact_at(&mut confirmed, 0).unwrap();
    writers.wait_for_more(2000);
    let mut later = vec![0; SIZE as usize];
    behind.read_exact_at(&mut later, 0).unwrap();
    writers.end();
    driver.unexport(V).await.unwrap();
    confirmed != later
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_lands_after_a_revoke_through_a_device_that_stays_open() {
    if !can("nothing_lands_after_a_revoke_through_a_device_that_stays_open") {
        return;
    }
    let bench = LocalBench::new();
    for _ in 0..20 {
        assert!(!lands_after_revoke(&bench, &bench.driver).await);
    }
    assert_eq!(devices_in(&bench.exports()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_only_lets_the_device_go_is_caught() {
    if !can("a_target_that_only_lets_the_device_go_is_caught") {
        return;
    }
    let bench = LocalBench::new();
    let forgetful = start(bench.pool.path()).that_forgets_to_stop();
    assert!(lands_after_revoke(&bench, &forgetful).await);
}

/// A file system of its own that can be frozen, so that writes are under way for as long as we like.
struct Frozen(PathBuf);

impl Frozen {
    fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
        let done = Command::new(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn make(home: &Path) -> Self {
        let (image, place) = (home.join("outer"), home.join("mounted"));
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&place).unwrap();
        Self::run("mkfs.ext4", &["-q".as_ref(), image.as_ref()]);
        Self::run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), place.as_ref()]);
        Self(place)
    }

    fn freeze(&self) {
        Self::run("fsfreeze", &["-f".as_ref(), self.0.as_ref()]);
    }

    fn thaw(&self) {
        Self::run("fsfreeze", &["-u".as_ref(), self.0.as_ref()]);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).output();
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_is_waited_for() {
    if !can("a_write_under_way_is_waited_for") {
        return;
    }
    let home = TempDir::new().unwrap();
    let frozen = Frozen::make(home.path());
    let driver = LocalTarget::start([frozen.0.clone()], Duration::from_millis(300)).unwrap();
    let path = frozen.0.join("v.img");
    let file = File::create_new(&path).unwrap();
    file.write_all_at(&vec![b'-'; SIZE as usize], 0).unwrap();
    file.sync_all().unwrap();
    let source = BlockSource::of_file(file, path.clone(), Capacity::from_bytes(SIZE));
    driver.export(V, source).await.unwrap();
    let device = let_in(&driver, A, AttachMode::ReadWrite).await;
    frozen.freeze();
    let writer = {
        let device = open(&device, true).unwrap();
        thread::spawn(move || {
            let mut memory = vec![0; 8192];
            let memory = aligned(&mut memory, 4096);
            memory.fill(b'w');
            device.write_all_at(memory, 0)
        })
    };
    let inflight = Path::new("/sys/block").join(device.file_name().unwrap()).join("inflight");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&inflight).unwrap().trim().ends_with('0') {
        assert!(Instant::now() < deadline, "the write is not under way");
        thread::yield_now();
    }
    let error = driver.revoke(V, A).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Temporary, "{}", error.chain());
    // Not out while the write is under way, and not as granted either: the dock tries again.
    let facts = driver.export_of(V).await.unwrap().unwrap();
    assert!(facts.hosts[&A].grant.initiators.is_empty());
    let error = driver.revoke(V, A).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Temporary, "{}", error.chain());
    frozen.thaw();
    while let Err(error) = driver.revoke(V, A).await {
        assert_eq!(error.kind, FaultKind::Temporary, "{}", error.chain());
        assert!(Instant::now() < deadline, "it never ends");
    }
    let mut seen = [0; 8];
    File::open(&path).unwrap().read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(&seen, b"wwwwwwww", "the write was confirmed away before it landed");
    writer.join().unwrap().unwrap();
    driver.unexport(V).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_knows_who_is_served() {
    if !can("a_restart_knows_who_is_served") {
        return;
    }
    let bench = LocalBench::new();
    let (source, _behind) = bench.blocks(V).await;
    bench.driver.export(V, source).await.unwrap();
    let_in(&bench.driver, A, AttachMode::ReadWrite).await;
    let_in(&bench.driver, B, AttachMode::ReadOnly).await;
    let before = bench.driver.export_of(V).await.unwrap().unwrap();
    let again = start(bench.pool.path());
    assert_eq!(again.export_of(V).await.unwrap().unwrap(), before);
    // Somebody takes the name of A's device away, and makes B's a second time.
    let link = bench.exports().join(format!("{V}.{A}.img"));
    fs::remove_file(&link).unwrap();
    let of_b = bench.exports().join(format!("{V}.{B}.img"));
    let second = Command::new("losetup").args(["--find", "--show"]).arg(&of_b).output().unwrap();
    assert!(second.status.success());
    let facts = again.export_of(V).await.unwrap().unwrap();
    for host in [A, B] {
        assert!(facts.hosts[&host].grant.initiators.is_empty(), "{host} is not served as granted");
        again.revoke(V, host).await.unwrap();
    }
    assert!(again.export_of(V).await.unwrap().is_none_or(|facts| facts.hosts.is_empty()));
    assert_eq!(devices_in(&bench.exports()), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(bench.exports()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_stopped_is_good_for_the_next() {
    if !can("a_number_that_was_stopped_is_good_for_the_next") {
        return;
    }
    let bench = LocalBench::new();
    let (source, _behind) = bench.blocks(V).await;
    bench.driver.export(V, source).await.unwrap();
    let device = let_in(&bench.driver, A, AttachMode::ReadWrite).await;
    let lower = on(&bench.exports().join(format!("{V}.{A}.img")).display().to_string()).unwrap();
    let held = open(&device, true).unwrap();
    bench.driver.revoke(V, A).await.unwrap();
    assert_eq!(fs::metadata(bench.pool.path().join("v0.img")).unwrap().nlink(), 1);
    // Let in again while the old device is still open: another device, and the old one is no way in.
    let other = let_in(&bench.driver, A, AttachMode::ReadWrite).await;
    assert_ne!(other, device);
    let mut memory = vec![0; 8192];
    assert!(held.write_all_at(aligned(&mut memory, 4096), 0).is_err());
    let facts = bench.driver.export_of(V).await.unwrap().unwrap();
    assert_eq!(facts.hosts[&A].grant, grant(A, AttachMode::ReadWrite).names());
    drop(held);
    bench.driver.revoke(V, A).await.unwrap();
    // The next device of anybody, on the same number, takes writes.
    let read_only = Path::new("/sys/block").join(lower.file_name().unwrap()).join("ro");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&read_only).unwrap() != "0\n" {
        assert!(Instant::now() < deadline, "the number is read-only for ever");
        // The kernel lets a device go when the one on top of it is gone; then the next call clears it.
        let_in(&bench.driver, A, AttachMode::ReadWrite).await;
        bench.driver.revoke(V, A).await.unwrap();
    }
}

/// A file system in use is not stopped by a read-only node: it does not write through one.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_lands_of_a_file_system_that_stays_mounted() {
    if !can("nothing_lands_of_a_file_system_that_stays_mounted") {
        return;
    }
    for (forgets, lands) in [(false, false), (true, true)] {
        let bench = LocalBench::new();
        let driver = if forgets {
            start(bench.pool.path()).that_forgets_to_stop()
        } else {
            bench.driver.clone()
        };
        let path = bench.pool.path().join("fs.img");
        let file = File::create_new(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let source = BlockSource::of_file(file, path.clone(), Capacity::from_bytes(64 << 20));
        driver.export(V, source).await.unwrap();
        let device = let_in(&driver, A, AttachMode::ReadWrite).await;
        let place = bench.pool.path().join("mounted");
        fs::create_dir(&place).unwrap();
        Frozen::run("mkfs.ext4", &["-q".as_ref(), device.as_ref()]);
        Frozen::run("mount", &[device.as_ref(), place.as_ref()]);
        let mounted = Frozen(place.clone());
        let write = |number: u32| {
            let mut file = OpenOptions::new().create(true).append(true).open(place.join("f"))?;
            file.write_all(&number.to_be_bytes().repeat(1024)).and_then(|()| file.sync_all())
        };
        (0..20).for_each(|number| write(number).unwrap());
        driver.revoke(V, A).await.unwrap();
        let confirmed = fs::read(&path).unwrap();
        let written = (20..60).filter(|number| write(*number).is_ok()).count();
        let _ = Command::new("sync").arg("-f").arg(&place).output();
        assert_eq!(fs::read(&path).unwrap() != confirmed, lands, "{written} writes went well");
        drop(mounted);
        driver.unexport(V).await.unwrap();
    }
}
