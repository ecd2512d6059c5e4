//! The kernel's loop devices: who is backed by what, and how one is made, stopped and let go.
//!
//! What is there is read from sysfs, which any restart leaves alone. What changes goes through
//! util-linux, by argument vector, as the ioctls have no safe interface.
//!
//! A host that writes has two devices: the lower one on the volume's file, and on that the upper
//! one, which it uses. `BLKROSET` on a device refuses what is written through its node, and
//! nothing else: a mounted file system and the writeback of dirty pages go past it (measured). All
//! that the upper device writes goes through the lower one's node.
//!
//! Must stay true: after [`Loop::refuse_writes`] of the lower device and [`Loop::drain`] of the upper
//! one, no write can still reach the file. One that is past the check of the lower device is
//! part of a request that is in the upper one's queue, and draining waits until that is empty.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use osds_model::{Capacity, FaultKind};

use crate::DriverError;

const BLOCK_DEVICES: &str = "/sys/block";

/// A loop device that has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    /// Its name, such as `loop7`.
    pub(super) name: String,
    /// The file, as the kernel names it.
    pub(super) file: PathBuf,
    /// Whether the file's name is gone.
    pub(super) is_unlinked: bool,
    /// Whether it refuses writes.
    pub(super) is_read_only: bool,
    /// Whether it goes by itself when the last who has it open closes it.
    pub(super) is_leaving: bool,
}

impl Loop {
    /// Every loop device that has a file.
    pub(super) fn all() -> Result<Vec<Self>, DriverError> {
        let failed = |error| DriverError::from_io(format!("reading {BLOCK_DEVICES}"), error);
        let mut found = Vec::new();
        for entry in fs::read_dir(BLOCK_DEVICES).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name.starts_with("loop") {
                found.extend(Self::read(&name).map_err(failed)?);
            }
        }
        Ok(found)
    }

    /// The device of this name; `None` when it has no file (any more).
    fn read(name: &str) -> io::Result<Option<Self>> {
        let directory = Path::new(BLOCK_DEVICES).join(name);
        let Some(mut file) = read_if_there(&directory.join("loop/backing_file"))? else {
            return Ok(None);
        };
        while file.last() == Some(&b'\n') {
            file.pop();
        }
        let (file, is_unlinked) = match file.strip_suffix(b" (deleted)") {
            Some(file) => (file, true),
            None => (file.as_slice(), false),
        };
        let flag = |name| {
            let text = read_if_there(&directory.join(name))?;
            Ok::<_, io::Error>(text.is_some_and(|text| text.first() == Some(&b'1')))
        };
        let (is_read_only, is_leaving) = (flag("ro")?, flag("loop/autoclear")?);
        let (name, file) = (name.to_owned(), PathBuf::from(OsStr::from_bytes(file)));
        Ok(Some(Self { name, file, is_unlinked, is_read_only, is_leaving }))
    }

    /// Makes a device of this file. Whatever an earlier use left on its number is cleared.
    pub(super) fn make(file: &Path, is_read_only: bool) -> Result<Self, DriverError> {
        let mut arguments = vec!["--find", "--show", "--sector-size", "512", "--direct-io=on"];
        arguments.extend(is_read_only.then_some("--read-only"));
        let answer = run("losetup", &arguments, Some(file.as_os_str()))?;
        let name = answer.trim().rsplit('/').next().unwrap_or_default().to_owned();
        let made = Self { name, file: file.to_owned(), ..Self::default() };
        if !is_read_only {
            // A number that was stopped before stays read-only for whoever gets it next.
            run("blockdev", &["--setrw"], Some(made.device().as_os_str()))?;
        }
        let seen = made.again()?.filter(|seen| seen.is_read_only == is_read_only);
        seen.ok_or_else(|| {
            let device = made.device();
            let doing =
                format!("{} did not become a device of {}", device.display(), file.display());
            DriverError::new(FaultKind::Temporary, doing)
        })
    }

    /// The same device as it is now; `None` when it has another file or none.
    pub(super) fn again(&self) -> Result<Option<Self>, DriverError> {
        let seen = Self::read(&self.name).map_err(|e| self.failed("looking at", e))?;
        Ok(seen.filter(|seen| seen.file == self.file))
    }

    /// Nothing that is written through its node from now on reaches its file.
    pub(super) fn refuse_writes(&self) -> Result<(), DriverError> {
        run("blockdev", &["--setro"], Some(self.device().as_os_str()))?;
        match self.again()? {
            // Somebody else let it go: there is nothing to write through any more.
            None => Ok(()),
            Some(seen) if seen.is_read_only => Ok(()),
            Some(_) => {
                let doing = format!("{} goes on taking writes", self.device().display());
                Err(DriverError::new(FaultKind::Broken, doing))
            }
        }
    }

    /// Waits until what was begun has ended: any change of `nr_requests` freezes the queue, for which
    /// the kernel waits until it is empty.
    pub(super) fn drain(&self) -> Result<(), DriverError> {
        let setting = Path::new(BLOCK_DEVICES).join(&self.name).join("queue/nr_requests");
        let freeze = || {
            let depth = fs::read_to_string(&setting)?;
            let depth = depth.trim();
            // Another value, or the kernel has nothing to do; the least it takes is 4.
            let other = match depth.parse::<u32>() {
                Ok(depth @ 5..) => depth - 1,
                Ok(_) | Err(_) => 64,
            };
            fs::write(&setting, other.to_string())?;
            fs::write(&setting, depth)
        };
        freeze().map_err(|error| self.failed("draining", error))
    }

    /// Lets the file go, at once or as soon as nobody has the device open.
    pub(super) fn release(&self) -> Result<(), DriverError> {
        if self.again()?.is_none() {
            return Ok(());
        }
        match run("losetup", &["--detach"], Some(self.device().as_os_str())) {
            Ok(_) => Ok(()),
            Err(error) => match self.again()? {
                None => Ok(()),
                Some(_) => Err(error),
            },
        }
    }

    /// Makes a device that nobody uses fit for whoever gets it next.
    pub(super) fn clear(&self) -> Result<(), DriverError> {
        run("blockdev", &["--setrw"], Some(self.device().as_os_str())).map(drop)
    }

    /// Whether it has no file at all.
    pub(super) fn is_free(&self) -> bool {
        Self::read(&self.name).is_ok_and(|seen| seen.is_none())
    }

    /// Makes its size that of its file.
    pub(super) fn resize(&self) -> Result<(), DriverError> {
        run("losetup", &["--set-capacity"], Some(self.device().as_os_str())).map(drop)
    }

    pub(super) fn size(&self) -> Result<Capacity, DriverError> {
        let file = Path::new(BLOCK_DEVICES).join(&self.name).join("size");
        let sectors = fs::read_to_string(file).map_err(|e| self.failed("asking the size of", e))?;
        Ok(Capacity::from_bytes(sectors.trim().parse::<u64>().unwrap_or(0).saturating_mul(512)))
    }

    /// Its node.
    pub(super) fn device(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    fn failed(&self, doing: &str, error: io::Error) -> DriverError {
        DriverError::from_io(format!("{doing} {}", self.device().display()), error)
    }
}

impl Default for Loop {
    fn default() -> Self {
        Self {
            name: String::new(),
            file: PathBuf::new(),
            is_unlinked: false,
            is_read_only: false,
            is_leaving: false,
        }
    }
}

/// What keeps loop devices from working here, and what to do about it.
pub(super) fn probe() -> Result<(), DriverError> {
    let wrong = |what: &str| {
        let doing = format!("the local target {what}");
        Err(DriverError::new(FaultKind::NotSupported, doing))
    };
    if !rustix::process::geteuid().is_root() {
        return wrong("makes loop devices, which only root may: run osds as root");
    }
    if !Path::new("/dev/loop-control").exists() {
        return wrong("needs loop devices, and there is no /dev/loop-control: modprobe loop");
    }
    for program in ["losetup", "blockdev"] {
        if run(program, &["--version"], None).is_err() {
            return wrong(&format!("needs {program}: install util-linux"));
        }
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str], last: Option<&OsStr>) -> Result<String, DriverError> {
    let mut command = Command::new(program);
    command.args(arguments).args(last).env("LC_ALL", "C");
    // Where a service manager has no PATH to the administrator's programs.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin"));
    let last = last.unwrap_or_default().to_string_lossy();
    let doing = || format!("running {program} {} {last}", arguments.join(" "));
    let output = command.output().map_err(|error| DriverError::from_io(doing(), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DriverError::new(FaultKind::Temporary, doing()).because(said))
}

fn read_if_there(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        // Both while a device is on its way: the directory goes before the reader is done.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
