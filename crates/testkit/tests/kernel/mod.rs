//! What tests of a real kernel's targets share: whether there is one, the volumes, and a lie.
//!
//! They need root, the targets' modules and a directory on a disk, named by OSDS_TEST_CONFIGFS, whose
//! machine is given up to them: `cargo xtask lab test conformance` plays them in a guest, and nothing
//! else does. There is one kernel, so they run one after the other, each under names of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use osds_drivers::{
    BlockSource, BlocksId, DriverError, ExportFacts, Hold, TargetCapabilities, TargetDriver,
};
use osds_model::usage::TargetUsage;
use osds_model::{Capacity, Connection, Grant, HostId, IoLimits, Secret, VolumeId};
use tempfile::TempDir;

use crate::target::SIZE;

/// Where volumes may lie; that it is said gives this machine's kernel up to the tests.
const HOME: &str = "OSDS_TEST_CONFIGFS";

/// There is one kernel for all cases.
pub static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The directory for volumes.
pub fn home() -> PathBuf {
    let home = std::env::var_os(HOME).map(PathBuf::from);
    home.expect("OSDS_TEST_CONFIGFS names a directory; cargo xtask lab test conformance gives one")
}

/// A number that no test of this process had before.
pub fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An address on which nobody listens: the kernel picks none by itself.
pub fn address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

/// Names in a directory of configfs that begin with this.
pub fn left(directory: &str, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(Path::new("/sys/kernel/config").join(directory));
    let names = entries.into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// What volumes are made of.
#[derive(Clone, Copy)]
pub enum Medium {
    /// Files.
    Files,
    /// Loop devices.
    Devices,
}

/// The volumes of one test; they go with it.
pub struct Volumes {
    home: TempDir,
    medium: Medium,
    devices: Mutex<Vec<String>>,
}

impl Volumes {
    pub fn new(home: &Path, medium: Medium) -> Self {
        let home = TempDir::new_in(home).unwrap();
        Self { home, medium, devices: Mutex::default() }
    }

    /// Where notes may lie.
    pub fn notes(&self) -> PathBuf {
        self.home.path().join("notes")
    }

    /// One of [`SIZE`] zeros, and its file, to look behind the target's back.
    pub fn make(&self) -> (BlockSource, File) {
        let number = number();
        let path = self.home.path().join(format!("v{number}.img"));
        let options = || File::options().read(true).write(true).clone();
        let behind = options().create_new(true).open(&path).unwrap();
        behind.set_len(SIZE).unwrap();
        let size = Capacity::from_bytes(SIZE);
        let source = match self.medium {
            Medium::Files => BlockSource::of_file(options().open(&path).unwrap(), path, size),
            Medium::Devices => {
                let device = run("losetup", &["--find", "--show", path.to_str().unwrap()]);
                self.devices.lock().unwrap().push(device.clone());
                let (id, file) = (BlocksId::of_unit(number.into()), options().open(&device));
                BlockSource::of_device(file.unwrap(), id, device.into(), size)
            }
        };
        (source, behind)
    }

    /// Makes one larger; the devices are asked to look again.
    pub fn grow(&self, behind: &File, size: u64) {
        behind.set_len(size).unwrap();
        for device in &*self.devices.lock().unwrap() {
            run("losetup", &["--set-capacity", device]);
        }
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for device in &*self.devices.lock().unwrap() {
            // Goes with its last user, where a test has failed and left it to the kernel.
            let _ = Command::new("losetup").args(["--detach", device]).status();
        }
    }
}

fn run(program: &str, words: &[&str]) -> String {
    let done = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{program} {words:?}: {said}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// A driver that says revoked and revokes nobody.
pub struct NeverRevokes<T>(pub T);

#[async_trait]
impl<T: TargetDriver> TargetDriver for NeverRevokes<T> {
    fn name(&self) -> &'static str {
        "lying"
    }

    fn capabilities(&self) -> TargetCapabilities {
        self.0.capabilities()
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        self.0.export(volume, source).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        self.0.limit(volume, limits).await
    }

    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        self.0.grant(volume, host, grant).await
    }

    async fn revoke(&self, _: VolumeId, _: HostId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        self.0.unexport(volume).await
    }

    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        self.0.resized(volume, size).await
    }

    async fn quiesce(&self, volume: VolumeId, most: Duration) -> Result<Hold, DriverError> {
        self.0.quiesce(volume, most).await
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.0.exports().await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        self.0.usage().await
    }
}

/// The cases of the suite that a target keeps, on files and on devices, and a lie on each.
macro_rules! suites {
    ($($case:ident),+ $(,)?) => {
        suites!(files, Files: $($case),+);
        suites!(devices, Devices: $($case),+);
    };
    ($name:ident, $medium:ident: $($case:ident),+) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "takes a kernel for itself: cargo xtask lab test conformance"]
                async fn $case() {
                    let _alone = crate::kernel::ALONE.lock().await;
                    let home = crate::kernel::home();
                    let bench = crate::Bench::new(&home, crate::kernel::Medium::$medium);
                    crate::target::$case(&bench).await;
                    bench.end().await;
                }
            )+

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "takes a kernel for itself: cargo xtask lab test conformance"]
            async fn a_driver_that_revokes_nobody_is_caught() {
                let _alone = crate::kernel::ALONE.lock().await;
                let home = crate::kernel::home();
                for is_first in [true, false] {
                    let bench = crate::Bench::new(&home, crate::kernel::Medium::$medium);
                    let lying = crate::Bench { lies: true, ..bench.clone() };
                    let case = tokio::spawn(async move {
                        if is_first {
                            crate::target::a_revoked_host_is_out_and_the_others_are_not(&lying).await;
                        } else {
                            crate::target::no_write_lands_after_revoke(&lying).await;
                        }
                    });
                    assert!(case.await.is_err(), "the suite did not catch this lie");
                    bench.end().await;
                }
            }
        }
    };
}
