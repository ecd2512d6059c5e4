//! Running lvm: by argument vector, never through a shell, in the C locale, with a deadline.
//!
//! A command that is late is not killed: in the middle of a change it may hold a device suspended,
//! and every host's I/O with it. We stop waiting, it goes on, and until it has ended no other is
//! begun. Behind a trait, so that tests can answer in lvm's place.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use osds_model::FaultKind;
use rustix::fs::{OFlags, major, minor};
use rustix::io::Errno;

use super::report::LogicalVolume;
use crate::DriverError;

/// How long a command may take. Even a snapshot of a busy volume takes a second or two.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often what is in use for a moment (udev looks at every new device) is tried again.
const BUSY_TRIES: u32 = 8;
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// lvm, and the devices that it makes.
pub(super) trait Lvm: Send + Sync + std::fmt::Debug + 'static {
    /// Runs a command to its end; what it printed.
    fn run(&self, words: &[&str]) -> Result<String, DriverError>;

    /// Opens an active volume's device read-write. `alone`: fails when anybody else claims it.
    fn open(&self, volume: &LogicalVolume, alone: bool) -> Result<File, DriverError>;
}

/// The programs of this machine.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// Commands that did not end in time and may still do something.
    late: Arc<Mutex<BTreeMap<u64, String>>>,
    next: AtomicU64,
}

impl Lvm for Programs {
    fn run(&self, words: &[&str]) -> Result<String, DriverError> {
        let mut tries = BUSY_TRIES;
        loop {
            let failed = match self.once(words)? {
                Ok(printed) => return Ok(printed),
                Err(failed) => failed,
            };
            tries -= 1;
            if failed.kind != FaultKind::InUse || tries == 0 {
                return Err(failed);
            }
            // sleep: whoever looks at the device for a moment gives no sign when he is done.
            std::thread::sleep(BUSY_PAUSE);
        }
    }

    fn open(&self, volume: &LogicalVolume, alone: bool) -> Result<File, DriverError> {
        let doing = || format!("opening {}", volume.path.display());
        let mut flags = OFlags::NONBLOCK;
        if alone {
            flags |= OFlags::EXCL;
        }
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let mut options = File::options();
        let file = options.read(true).write(true).custom_flags(flags).open(&volume.path);
        let file =
            file.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
                // udev may be late; the volume itself is there, as lvm has just said.
                Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
                    DriverError::new(FaultKind::Temporary, doing()).because(error)
                }
                _ => DriverError::from_io(doing(), error),
            })?;
        let found = file.metadata().map_err(|error| DriverError::from_io(doing(), error))?;
        let device = (major(found.rdev()), minor(found.rdev()));
        if !found.file_type().is_block_device() || volume.device != Some(device) {
            let error = DriverError::new(FaultKind::Temporary, doing());
            return Err(error.because("its name in /dev leads to another device"));
        }
        Ok(file)
    }
}

impl Programs {
    /// The outer error: it could not be run, or did not end in time.
    fn once(&self, words: &[&str]) -> Result<Result<String, DriverError>, DriverError> {
        let line = format!("lvm {}", words.join(" "));
        if let Some(late) = self.late().values().next() {
            let doing = format!("running {line}: an earlier command has not ended yet: {late}");
            return Err(DriverError::new(FaultKind::Temporary, doing));
        }
        let doing = || format!("running {line}");
        let Some(program) = find_program() else {
            let error = DriverError::new(FaultKind::Broken, doing());
            return Err(error.because("there is no program lvm here; install the package lvm2"));
        };
        let mut command = Command::new(program);
        command.args(words).env("LC_ALL", "C").env("LVM_SUPPRESS_FD_WARNINGS", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if !Path::new("/run/udev/control").exists() {
            // Nobody would make the devices' names, or say that they are made.
            command.args(["--config", "activation{udev_sync=0 udev_rules=0}"]);
        }
        let child = command.spawn().map_err(|error| DriverError::from_io(doing(), error))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = mpsc::channel();
        let late = Arc::clone(&self.late);
        std::thread::spawn(move || {
            let output = child.wait_with_output();
            let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
            late.remove(&number);
            // Whoever stopped waiting does not hear it.
            tell.send(output).ok();
        });
        let in_time = told.recv_timeout(PATIENCE);
        let output = in_time.or_else(|_| {
            // Under the lock it has either ended and said so, or will find what is put in here.
            let mut late = self.late();
            told.try_recv().map_err(|_| {
                late.insert(number, line.clone());
                let seconds = PATIENCE.as_secs();
                let doing = format!("{}: it has not ended after {seconds} s, and goes on", doing());
                DriverError::new(FaultKind::Temporary, doing)
            })
        })?;
        let output = output.map_err(|error| DriverError::from_io(doing(), error))?;
        Ok(outcome(&line, &output))
    }

    fn late(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find_program() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    let mut files = places.filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join("lvm"));
    files.find(|file| file.is_file())
}

fn outcome(line: &str, output: &Output) -> Result<String, DriverError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(complaint(line, &String::from_utf8_lossy(&output.stderr)))
}

/// What lvm complained of, with the remedy where there is one.
pub(super) fn complaint(line: &str, said: &str) -> DriverError {
    let telling = |line: &&str| !line.is_empty() && !line.starts_with("WARNING:");
    let mut said: Vec<&str> = said.lines().map(str::trim).filter(telling).collect();
    said.truncate(6);
    let said = said.join("; ");
    let (kind, remedy) = meaning(&said);
    let said = if said.is_empty() { "it failed and said nothing".to_owned() } else { said };
    let remedy = remedy.map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    DriverError::new(kind, format!("running {line}{remedy}")).because(said)
}

/// lvm has one exit code for nearly everything: its words must tell. They are those of lvm2 2.03.
fn meaning(said: &str) -> (FaultKind, Option<&'static str>) {
    const KNOWN: &[(&str, FaultKind, Option<&str>)] = &[
        ("nsufficient free space", FaultKind::NoSpace, None),
        ("nsufficient suitable", FaultKind::NoSpace, None),
        ("reached threshold", FaultKind::NoSpace, None),
        ("Not enough free", FaultKind::NoSpace, None),
        ("only while inactive", FaultKind::InUse, None),
        (" in use", FaultKind::InUse, None),
        (" is used by another device", FaultKind::InUse, None),
        ("evice or resource busy", FaultKind::InUse, None),
        ("Failed to find logical volume", FaultKind::Gone, None),
        ("Permission denied", FaultKind::Broken, Some("osds must run as root to use LVM")),
        (
            "communicate with kernel device-mapper",
            FaultKind::Broken,
            Some("load the kernel's module: modprobe dm-mod"),
        ),
        (
            "hin-pool: Required device-mapper target",
            FaultKind::Broken,
            Some("load the kernel's module: modprobe dm-thin-pool"),
        ),
        (
            "napshot: Required device-mapper target",
            FaultKind::Broken,
            Some("load the kernel's module: modprobe dm-snapshot"),
        ),
        (
            "thin_check: execvp failed",
            FaultKind::Broken,
            Some("install the package thin-provisioning-tools"),
        ),
        (
            "Volume group \"",
            FaultKind::Broken,
            Some("make the volume group with vgcreate, or attach its disks to this machine"),
        ),
        ("ouldn't find device", FaultKind::Broken, Some("a disk of the volume group is missing")),
        ("issing device", FaultKind::Broken, Some("a disk of the volume group is missing")),
    ];
    let known = KNOWN.iter().find(|(words, ..)| {
        // Of a group it is only said that it is not there.
        said.contains(words) && (!words.starts_with("Volume group") || said.contains("not found"))
    });
    known.map_or((FaultKind::Temporary, None), |(_, kind, remedy)| (*kind, *remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As lvm2 2.03.16 of Debian 12 said it.
    #[test]
    fn what_lvm_says_decides_the_kind() {
        for (said, kind) in [
            (
                "  WARNING: x\n  Volume group \"vgt\" has insufficient free space (56 extents): 500 required.",
                FaultKind::NoSpace,
            ),
            (
                "  Volume group \"nosuch\" not found\n  Cannot process volume group nosuch",
                FaultKind::Broken,
            ),
            (
                "  Insufficient free space: 2 extents needed, but only 0 available",
                FaultKind::NoSpace,
            ),
            ("  Failed to find logical volume \"vgt/none\"", FaultKind::Gone),
            ("  Logical volume vg/volume-1 in use.", FaultKind::InUse),
            ("  Logical volume vg/pool contains a filesystem in use.", FaultKind::InUse),
            (
                "  Snapshot origin volumes can be resized only while inactive: try lvchange -an.",
                FaultKind::InUse,
            ),
            (
                "/dev/mapper/control: open failed: No such device\nFailure to communicate with kernel device-mapper driver.",
                FaultKind::Broken,
            ),
            ("  Logical Volume \"x\" already exists in volume group \"vgt\"", FaultKind::Temporary),
            ("", FaultKind::Temporary),
        ] {
            let error = complaint("lvs", said);
            assert_eq!(error.kind, kind, "{said}");
            assert!(!error.chain().contains("WARNING"), "{}", error.chain());
        }
        let missing = complaint("vgs vg0", "  Volume group \"vg0\" not found").chain();
        assert!(missing.contains("vgcreate") && missing.contains("vg0"), "{missing}");
    }
}
