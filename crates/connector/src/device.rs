//! A block device: what it says of itself, and holding it to reading.
//!
//! A read-only bind mount of a device's node does not stop writes (measured), so reading only is
//! made a property of the device, on every path to it, and then asked back.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// A block device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its node, such as `/dev/loop3`.
    pub path: PathBuf,
    /// Its number, by which mounts know it.
    pub number: Number,
}

/// The number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// Which driver.
    pub major: u32,
    /// Which device of it.
    pub minor: u32,
}

impl Number {
    /// Reads `259:3`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    fn of(raw: u64) -> Self {
        Self { major: rustix::fs::major(raw), minor: rustix::fs::minor(raw) }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Device {
    /// The device of this name in sysfs; `None` when there is none (any more).
    ///
    /// # Errors
    /// sysfs cannot be read.
    pub fn named(machine: &Machine, name: &str) -> Result<Option<Self>, ConnectError> {
        let number = machine.read(&machine.path("sys/class/block").join(name).join("dev"))?;
        let Some(number) = number.as_deref().and_then(Number::parse) else { return Ok(None) };
        Ok(Some(Self { path: machine.path("dev").join(name), number }))
    }

    /// The device whose node this is; `None` when it is no block device's.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn at(path: &Path) -> Result<Option<Self>, ConnectError> {
        match fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() => {
                Ok(Some(Self { path: path.to_owned(), number: Number::of(found.rdev()) }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConnectError::io(format!("looking at {}", path.display()), error)),
        }
    }

    fn attribute(&self, machine: &Machine, name: &str) -> Result<String, ConnectError> {
        let file = machine.path("sys/dev/block").join(self.number.to_string()).join(name);
        let found = machine.read(&file)?;
        found.ok_or_else(|| {
            ConnectError::new(Kind::Missing, format!("{} is gone", self.path.display()))
        })
    }

    /// How many bytes it has.
    ///
    /// # Errors
    /// It is gone.
    pub fn size(&self, machine: &Machine) -> Result<u64, ConnectError> {
        let sectors = self.attribute(machine, "size")?;
        Ok(sectors.parse::<u64>().unwrap_or(0).saturating_mul(512))
    }

    /// Whether it refuses writes.
    ///
    /// # Errors
    /// It is gone.
    pub fn is_read_only(&self, machine: &Machine) -> Result<bool, ConnectError> {
        Ok(self.attribute(machine, "ro")? == "1")
    }

    /// Makes sure it refuses writes; asked back.
    ///
    /// # Errors
    /// It goes on taking them.
    pub fn hold_to_reading(&self, machine: &Machine) -> Result<(), ConnectError> {
        if self.is_read_only(machine)? {
            return Ok(());
        }
        machine.run("blockdev", &["--setro".as_ref(), self.path.as_os_str()])?;
        if self.is_read_only(machine)? {
            return Ok(());
        }
        let doing = format!("holding {} to reading: it goes on taking writes", self.path.display());
        Err(ConnectError::new(Kind::Wrong, doing))
    }

    /// Makes what was written through its cache durable, and forgets the cache.
    ///
    /// # Errors
    /// It cannot.
    pub fn flush(&self, machine: &Machine) -> Result<(), ConnectError> {
        self.flush_while(machine, || true).map(drop)
    }

    /// The same for as long as `goes_on` says so; whether it was done by then.
    ///
    /// # Errors
    /// It cannot.
    pub fn flush_while(
        &self,
        machine: &Machine,
        goes_on: impl Fn() -> bool,
    ) -> Result<bool, ConnectError> {
        let arguments = ["--flushbufs".as_ref(), self.path.as_os_str()];
        Ok(machine.run_while("blockdev", &arguments, goes_on)?.is_some())
    }

    /// Opens it for nobody else: neither a mount nor a second one who asks for this has it.
    ///
    /// # Errors
    /// `InUse` when somebody has it.
    pub fn open_alone(&self) -> Result<File, ConnectError> {
        let alone = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
        OpenOptions::new().read(true).custom_flags(alone).open(&self.path).map_err(|error| {
            ConnectError::io(format!("opening {} for us alone", self.path.display()), error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_what_sysfs_says() {
        let home = tempfile::tempdir().unwrap();
        let machine = Machine { root: home.path().to_owned(), programs: None };
        let of = home.path().join("sys/dev/block/7:3");
        fs::create_dir_all(&of).unwrap();
        let class = home.path().join("sys/class/block/loop3");
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join("dev"), "7:3\n").unwrap();
        fs::write(of.join("size"), "8\n").unwrap();
        fs::write(of.join("ro"), "0\n").unwrap();
        let device = Device::named(&machine, "loop3").unwrap().unwrap();
        assert_eq!(device.number, Number { major: 7, minor: 3 });
        assert_eq!(device.size(&machine).unwrap(), 4096);
        // A kernel that says yes and does not is found out.
        let programs = home.path().join("bin");
        fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink("/bin/true", programs.join("blockdev")).unwrap();
        let machine = Machine { programs: Some(programs), ..machine };
        assert_eq!(device.hold_to_reading(&machine).unwrap_err().kind, Kind::Wrong);
        fs::write(of.join("ro"), "1\n").unwrap();
        device.hold_to_reading(&machine).unwrap();
        assert_eq!(Device::named(&machine, "loop4").unwrap(), None);
    }
}
