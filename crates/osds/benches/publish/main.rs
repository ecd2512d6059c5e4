//! From publish to a device that answers: 100 volumes through the real driver, the real daemon and
//! the target of this machine, beside what the same takes by hand with losetup and mount.
//!
//! Ours by default; another driver with `OSDS_CSI_CONTROLLER` and `OSDS_CSI_NODES`, as for the suite
//! of many nodes, so that two can be measured on one machine. Needs root and loop devices.
//!
//! `cargo xtask bench publish`

#[path = "../../tests/daemon/nodes/driver.rs"]
#[allow(dead_code, reason = "the suite of many nodes uses the rest")]
mod driver;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::{Driver, Place, read};
use osds_csi::proto::Volume;
use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_testkit::daemon::Daemon;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What Kubernetes' attacher does at once.
const AT_ONCE: usize = 10;

const CONFIG: &str = r#"
[[backend]]
name = "file"
driver = "file"
config = "pools.yaml"
target = "local"
"#;

const POOLS: &str = "
baseDir: pools
pool: {default: {multiAttach: true, capacity: 4GiB, maxOverSubscriptionRatio: 100}}
";

/// The daemon and the driver; the driver in a mount namespace of its own.
struct Ours {
    _daemon: Daemon,
    process: Child,
    place: Place,
}

impl Ours {
    fn start(home: &Path) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_osds"));
        fs::write(home.join("osds.toml"), CONFIG).expect("room for a file");
        fs::write(home.join("pools.yaml"), POOLS).expect("room for a file");
        let config = home.join("osds.toml").display().to_string();
        let daemon = Daemon::start_with(program, home, &["--config", &config]).expect("a daemon");
        let socket = home.join("csi.sock");
        let mut process = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(program)
            .args(["csi", "all", "--node-id", "bench", "--osds-endpoint", &daemon.api])
            .arg("--endpoint")
            .arg(format!("unix://{}", socket.display()))
            .arg("--node-state-dir")
            .arg(home.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(home.join("csi.log")).expect("room for a file"))
            .spawn()
            .expect("unshare is there");
        let mut line = String::new();
        let out = process.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert!(line.starts_with("ready "), "{line}");
        let root = format!("/proc/{}/root", process.id()).into();
        let place = Place { socket, root, home: home.join("node") };
        Self { _daemon: daemon, process, place }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let root = rustix::process::geteuid().is_root();
    if !(root && Path::new("/dev/loop-control").exists()) {
        println!("SKIPPED: publish: it takes root and loop devices");
        return;
    }
    let volumes = if quick { 10 } else { 100 };
    let home = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        println!("{:<44} {:>9} {:>9} {:>9}", "operation", "per s", "p50 ms", "p99 ms");
        by_hand(home.path(), volumes);
        match Driver::of_environment(home.path()).await {
            Some(driver) => measure(driver, volumes).await,
            None => {
                let ours = Ours::start(home.path());
                let place = std::slice::from_ref(&ours.place);
                measure(Driver::connect(&ours.place.socket, place).await, volumes).await;
            }
        }
    });
}

async fn measure(driver: Driver, volumes: usize) {
    let driver = Arc::new(driver);
    let mut made = Vec::new();
    let create = each(AT_ONCE, 0..volumes, {
        let driver = Arc::clone(&driver);
        move |number| {
            let driver = Arc::clone(&driver);
            let name = format!("bench-{}-{number}", std::process::id());
            async move { driver.create(&name, &[Mode::SingleNodeWriter]).await.expect("a volume") }
        }
    })
    .await;
    create.row("create, 10 at once");
    made.extend(create.results);
    for at_once in [1, AT_ONCE] {
        let brought = each(at_once, made.iter().cloned(), {
            let driver = Arc::clone(&driver);
            move |volume: Volume| {
                let driver = Arc::clone(&driver);
                async move {
                    let node = &driver.nodes[0];
                    driver.bring(&volume, node, Mode::SingleNodeWriter).await.expect("a device");
                    assert_eq!(read(&node.open(&volume, true).expect("a device"), 0), 0);
                }
            }
        });
        brought.await.row(&format!("publish to device ready, {at_once} at once"));
        let taken = each(at_once, made.iter().cloned(), {
            let driver = Arc::clone(&driver);
            move |volume: Volume| {
                let driver = Arc::clone(&driver);
                async move { driver.take(&volume, &driver.nodes[0]).await.expect("it is taken") }
            }
        });
        taken.await.row(&format!("unpublish to detached, {at_once} at once"));
    }
    let deleted = each(AT_ONCE, made.into_iter(), move |volume: Volume| {
        let driver = Arc::clone(&driver);
        async move { driver.delete(&volume).await.expect("it is gone") }
    });
    deleted.await.row("delete, 10 at once");
}

/// The same device without anybody deciding anything: a loop device and a bind mount, and back.
fn by_hand(home: &Path, volumes: usize) {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("it is installed");
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let (image, target) = (home.join("by-hand.img"), home.join("by-hand"));
    File::create(&image).and_then(|file| file.set_len(1 << 30)).expect("room for a sparse file");
    File::create(&target).expect("room for a file");
    let (image, target) = (image.display().to_string(), target.display().to_string());
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..volumes {
        let began = Instant::now();
        let device = run("losetup", &["--find", "--show", "--direct-io=on", &image]);
        run("mount", &["--bind", &device, &target]);
        assert_eq!(read(&File::open(&target).expect("a device"), 0), 0);
        figures[0].push(began.elapsed());
        let began = Instant::now();
        run("umount", &[&target]);
        run("losetup", &["--detach", &device]);
        figures[1].push(began.elapsed());
    }
    for (name, latencies) in
        ["losetup and bind by hand", "the way back by hand"].iter().zip(figures)
    {
        let took = latencies.iter().sum();
        Figures { took, latencies, results: Vec::<()>::new() }.row(name);
    }
}

struct Figures<T> {
    took: Duration,
    latencies: Vec<Duration>,
    results: Vec<T>,
}

/// Does this for each, so many at once.
async fn each<I, T, F>(
    at_once: usize,
    all: impl Iterator<Item = I>,
    work: impl Fn(I) -> F,
) -> Figures<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (began, turns) = (Instant::now(), Arc::new(Semaphore::new(at_once)));
    let mut set = JoinSet::new();
    for one in all {
        let (turns, work) = (Arc::clone(&turns), work(one));
        set.spawn(async move {
            let _turn = turns.acquire().await.expect("never closed");
            let began = Instant::now();
            let result = work.await;
            (began.elapsed(), result)
        });
    }
    let (latencies, results) = set.join_all().await.into_iter().unzip();
    Figures { took: began.elapsed(), latencies, results }
}

impl<T> Figures<T> {
    fn row(&self, name: &str) {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let quantile = |hundredth: usize| {
            let at = sorted.len() * hundredth / 100;
            sorted.get(at).or(sorted.last()).map_or(0.0, |one| one.as_secs_f64() * 1e3)
        };
        println!(
            "{name:<44} {:>9.1} {:>9.1} {:>9.1}",
            sorted.len() as f64 / self.took.as_secs_f64(),
            quantile(50),
            quantile(99)
        );
    }
}
