//! The drivers under test, and what a test must be able to do beside them.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use osds_drivers::config::{FileConfig, LvmConfig};
use osds_drivers::fake::{Denied, FakeStorage, FakeTarget};
use osds_drivers::storage::file::FileStorage;
use osds_drivers::storage::lvm::LvmStorage;
use osds_drivers::{
    BlockSource, DriverError, ExportFacts, Hold, StorageDriver, TargetCapabilities, TargetDriver,
};
use osds_model::usage::TargetUsage;
use osds_model::{
    AttachMode, Authentication, Capacity, Connection, Grant, HostId, Initiator, IoLimits, Secret,
    VolumeId,
};
use tempfile::TempDir;

use crate::target::Refused;
use crate::{storage, target};

/// Storage in memory.
pub struct FakeStorageBench(FakeStorage);

impl FakeStorageBench {
    pub fn new() -> Self {
        Self(FakeStorage::with_pool("p", Capacity::from_bytes(64 << 20)))
    }
}

impl storage::Bench for FakeStorageBench {
    fn driver(&self) -> Arc<dyn StorageDriver> {
        Arc::new(self.0.clone())
    }

    fn pool(&self) -> &str {
        "p"
    }

    fn plant(&self, name: &str) {
        self.0.add_foreign("p", name, Capacity::from_bytes(1));
    }

    fn cut_short(&self, _: VolumeId) -> bool {
        false
    }
}

/// Sparse files.
pub struct FileStorageBench(TempDir);

impl FileStorageBench {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("p").join(name)
    }
}

impl storage::Bench for FileStorageBench {
    fn driver(&self) -> Arc<dyn StorageDriver> {
        let yaml = "{baseDir: ., pool: {p: {capacity: 64MiB}}}";
        let file = self.0.path().join("file.yaml");
        Arc::new(FileStorage::new(FileConfig::parse(&file, yaml).unwrap().config))
    }

    fn pool(&self) -> &str {
        "p"
    }

    fn plant(&self, name: &str) {
        std::fs::write(self.path(name), "x").unwrap();
    }

    fn cut_short(&self, volume: VolumeId) -> bool {
        let path = self.path(&format!("volume-{volume}.img"));
        std::fs::File::options().write(true).open(path).unwrap().set_len(512).unwrap();
        true
    }
}

/// There is one device for all cases.
pub static LVM: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Logical volumes on a device that is given up to it.
pub struct LvmBench {
    device: String,
    yaml: &'static str,
}

impl LvmBench {
    const DEVICE: &str = "OSDS_TEST_LVM_DEVICE";

    /// `None` where no device is given: it needs root, device-mapper and 81 MiB that hold nothing.
    pub fn new(thin: bool) -> Option<Self> {
        let Ok(device) = std::env::var(Self::DEVICE) else {
            println!("SKIPPED: lvm: no {}; cargo xtask lab test conformance runs it", Self::DEVICE);
            return None;
        };
        // What must never be seen.
        let disk = std::fs::File::options().write(true).open(&device).unwrap();
        let _ = Self::try_run(&["vgremove", "-ff", "-y", "osds-test"]);
        let mib = if thin { 81 } else { 65 };
        for at in 0..mib {
            disk.write_all_at(&vec![0xA5; 1 << 20], at << 20).unwrap();
        }
        disk.sync_all().unwrap();
        drop(disk);
        let size = format!("{mib}m");
        Self::run(&["pvcreate", "-ff", "-y", "--setphysicalvolumesize", &size, &device]);
        Self::run(&["vgcreate", "-s", "1m", "osds-test", &device]);
        if thin {
            Self::run(&[
                "lvcreate",
                "-y",
                "--type",
                "thin-pool",
                "-L",
                "64m",
                "--poolmetadatasize",
                "4m",
                "-n",
                "t",
                "osds-test",
            ]);
        }
        let yaml = match thin {
            true => "pool: {p: {volumeGroup: osds-test, thinPool: t}}",
            false => "pool: {p: {volumeGroup: osds-test}}",
        };
        Some(Self { device, yaml })
    }

    fn try_run(words: &[&str]) -> Result<(), String> {
        let done = std::process::Command::new("lvm").args(words).output().unwrap();
        let said = || String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(()) } else { Err(format!("{words:?}: {}", said())) }
    }

    fn run(words: &[&str]) {
        Self::try_run(words).unwrap();
    }
}

impl Drop for LvmBench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            Self::run(&["vgremove", "-ff", "-y", "osds-test"]);
            Self::run(&["pvremove", "-ff", "-y", &self.device]);
        }
    }
}

impl storage::Bench for LvmBench {
    fn driver(&self) -> Arc<dyn StorageDriver> {
        let config = LvmConfig::parse(std::path::Path::new("lvm.yaml"), self.yaml).unwrap();
        Arc::new(LvmStorage::new(config.config))
    }

    fn pool(&self) -> &str {
        "p"
    }

    fn plant(&self, name: &str) {
        // Thin where the pool is thin.
        let foreign = ["lvcreate", "-y", "-Wn", "-n", name];
        let size: &[&str] = match self.yaml.contains("thinPool") {
            true => &["-V", "1m", "--thinpool", "t", "osds-test"],
            false => &["-Zn", "-L", "1m", "osds-test"],
        };
        Self::run(&[&foreign, size].concat());
    }

    /// As a cut in the middle of its zeroing leaves it; a thin volume is made in one step.
    fn cut_short(&self, volume: VolumeId) -> bool {
        if self.yaml.contains("thinPool") {
            return false;
        }
        let path = format!("osds-test/volume-{volume}");
        let disk = std::fs::File::options().write(true).open(format!("/dev/{path}")).unwrap();
        disk.write_all_at(&[0xA5; 4096], 1 << 20).unwrap();
        Self::run(&["lvchange", "--addtag", "osds.state=making", &path]);
        true
    }
}

/// The target in memory: its data plane goes by host, so names are looked up.
#[derive(Clone)]
pub struct FakeTargetBench(FakeTarget, Arc<Mutex<HashMap<HostId, Authentication<Secret>>>>);

impl FakeTargetBench {
    pub fn new() -> Self {
        Self(FakeTarget::default(), Arc::default())
    }

    pub fn plain() -> Self {
        Self(FakeTarget::without_read_only_per_host(), Arc::default())
    }

    /// A session of its own for each command: what the host proves is looked at each time.
    fn log_in(&self, host: HostId, volume: VolumeId) -> Result<(), Refused> {
        let carried = self.1.lock().unwrap().get(&host).cloned();
        self.0.log_in_as(host, volume, carried.as_ref()).map_err(refused)
    }
}

fn who(initiator: &Initiator) -> HostId {
    let hosts = [target::A, target::B, target::C];
    hosts.into_iter().find(|host| target::initiator(*host) == *initiator).unwrap()
}

fn which(way: &Connection) -> VolumeId {
    let Connection::Iscsi { iqn, .. } = way else { panic!("{way:?}") };
    iqn.rsplit(':').next().unwrap().parse().unwrap()
}

fn refused(denied: Denied) -> Refused {
    match denied {
        Denied::NotGranted => Refused::Out,
        Denied::WriteProtected | Denied::OutOfRange | Denied::Medium => Refused::Command,
    }
}

#[async_trait]
impl target::Bench for FakeTargetBench {
    fn driver(&self) -> Arc<dyn TargetDriver> {
        Arc::new(self.0.clone())
    }

    fn carry(&self, host: &Initiator, proof: Option<Authentication<Secret>>) {
        let mut carried = self.1.lock().unwrap();
        carried.remove(&who(host));
        carried.extend(proof.map(|proof| (who(host), proof)));
    }

    async fn write(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        self.log_in(who(host), which(way))?;
        self.0.write_as(who(host), which(way), at, bytes).map_err(refused)
    }

    async fn read(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), Refused> {
        self.log_in(who(host), which(way))?;
        self.0.read_as(who(host), which(way), at, bytes).map_err(refused)
    }
}

/// What a lying target does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It says read-only and lets everybody write.
    WritesForAll,
    /// It says revoked and revokes nobody.
    NeverRevokes,
    /// It says that hosts have to prove something and believes them.
    BelievesNames,
}

/// A target that lies.
#[derive(Clone)]
pub struct LyingTargetBench {
    honest: FakeTargetBench,
    lie: Lie,
}

impl LyingTargetBench {
    pub fn new(lie: Lie) -> Self {
        Self { honest: FakeTargetBench::new(), lie }
    }
}

#[async_trait]
impl target::Bench for LyingTargetBench {
    fn driver(&self) -> Arc<dyn TargetDriver> {
        Arc::new(LyingTarget { honest: self.honest.0.clone(), lie: self.lie })
    }

    fn carry(&self, host: &Initiator, proof: Option<Authentication<Secret>>) {
        self.honest.carry(host, proof);
    }

    async fn write(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        self.honest.write(host, way, at, bytes).await
    }

    async fn read(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), Refused> {
        self.honest.read(host, way, at, bytes).await
    }
}

struct LyingTarget {
    honest: FakeTarget,
    lie: Lie,
}

#[async_trait]
impl TargetDriver for LyingTarget {
    fn name(&self) -> &'static str {
        "lying"
    }

    fn capabilities(&self) -> TargetCapabilities {
        self.honest.capabilities()
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        self.honest.export(volume, source).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        self.honest.limit(volume, limits).await
    }

    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let mut grant = grant.clone();
        match self.lie {
            Lie::WritesForAll => grant.mode = AttachMode::ReadWrite,
            Lie::BelievesNames => grant.authentication = None,
            Lie::NeverRevokes => {}
        }
        self.honest.grant(volume, host, &grant).await
    }

    async fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        match self.lie {
            Lie::NeverRevokes => Ok(()),
            Lie::WritesForAll | Lie::BelievesNames => self.honest.revoke(volume, host).await,
        }
    }

    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        self.honest.unexport(volume).await
    }

    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        self.honest.resized(volume, size).await
    }

    async fn quiesce(&self, volume: VolumeId, most: Duration) -> Result<Hold, DriverError> {
        self.honest.quiesce(volume, most).await
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.honest.exports().await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        self.honest.usage().await
    }
}
