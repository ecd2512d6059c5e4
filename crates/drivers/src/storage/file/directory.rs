//! One pool's directory, in system calls.
//!
//! Every name is a single path component made here from a volume's id, and every call takes the
//! opened directory and such a name with "do not follow links". So nothing outside the directory
//! is ever reached, whatever somebody plants in it.

use std::ffi::CStr;
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};
use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::alone;
use crate::storage::copy;
use crate::{BlockSource, DriverError, EntryName, Hold, PoolEntry, SnapshotFacts};

const PREFIX: &str = "volume-";
const FINISHED: &str = ".img";
const BEGUN: &str = ".new";
const SNAPSHOT: &str = ".snap-";

/// An opened pool directory.
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// What the file system has.
pub(super) struct Space {
    pub(super) size: Capacity,
    pub(super) free: Capacity,
}

impl Directory {
    /// Makes sure there is a directory, readable to nobody else if it is new.
    pub(super) fn make(path: &Path) -> Result<(), Errno> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        // The operator may have configured a link; only what is inside is not followed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rfs::open(path, flags, Mode::empty()).map(|fd| Self { fd, path: path.to_owned() })
    }

    /// The id that it is marked with.
    pub(super) fn mark(&self) -> Result<Option<String>, Errno> {
        super::marker::find(&self.fd)
    }

    pub(super) fn space(&self) -> Result<Space, DriverError> {
        let doing = || format!("asking for the free space of {}", self.path.display());
        let stat = rfs::fstatvfs(&self.fd).map_err(|error| DriverError::from_io(doing(), error))?;
        let bytes = |blocks: u64| Capacity::from_bytes(blocks.saturating_mul(stat.f_frsize));
        Ok(Space { size: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    /// What the volumes occupy by now; holes do not count.
    pub(super) fn used_by_volumes(&self) -> Result<Capacity, DriverError> {
        let mut used = Capacity::ZERO;
        self.visit(|name, stat| {
            if ours(name, stat).is_some() {
                let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
                used = used.plus(Capacity::from_bytes(blocks.saturating_mul(512)));
            }
        })?;
        Ok(used)
    }

    /// The size of a finished volume.
    pub(super) fn find(&self, volume: VolumeId) -> Result<Option<Capacity>, DriverError> {
        self.size_of(&finished(alone(volume)))
    }

    /// How much of a snapshot is there.
    pub(super) fn snapshot(
        &self,
        volume: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<Option<SnapshotFacts>, DriverError> {
        let of = Source { volume, snapshot: Some(snapshot) };
        let whole = self.size_of(&finished(of))?;
        if whole.is_none() && self.size_of(&begun(of))?.is_none() {
            return Ok(None);
        }
        Ok(Some(SnapshotFacts { whole }))
    }

    /// The size of a plain file.
    fn size_of(&self, name: &str) -> Result<Option<Capacity>, DriverError> {
        match rfs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_plain_file(&stat) => Ok(Some(length(&stat))),
            Ok(_) => Err(self.foreign(name)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("looking for", name, error)),
        }
    }

    /// Makes a volume that is not there.
    pub(super) fn create(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        let (begun, finished) = (begun(alone(volume)), finished(alone(volume)));
        let file = self.begin(&begun)?;
        let done = rfs::ftruncate(&file, size.bytes())
            .map_err(|error| self.failed("giving its length to", &begun, error))
            .and_then(|()| self.rename(&begun, &finished));
        if let Err(error) = done {
            // What stays is found and removed by the next create or delete.
            let _ = rfs::unlinkat(&self.fd, &begun, AtFlags::empty());
            return Err(error);
        }
        // After a power cut before this the file may be missing or shorter, never wrong: the next
        // create finishes it.
        self.sync(&file, &finished)
    }

    /// Makes `to` a copy of `from`, of at least this size, unless it is there. It gets its name
    /// when all of it is durable, so a cut leaves no half of it under that name.
    pub(super) fn copy(
        &self,
        from: Source,
        to: Source,
        size: Capacity,
        hold: Hold,
    ) -> Result<Capacity, DriverError> {
        let (begun, finished) = (begun(to), finished(to));
        if let Some(present) = self.size_of(&finished)? {
            // An earlier call may have been cut off just before this.
            rfs::fsync(&self.fd).map_err(|error| self.failed("making durable", "", error))?;
            return Ok(present);
        }
        let (source, length) = self.open_plain(&self::finished(from))?;
        let file = File::from(self.begin(&begun)?);
        let done = self.fill(&source.into(), &file, &finished, hold).and_then(|()| {
            let size = length.max(size);
            rfs::ftruncate(&file, size.bytes())
                .and_then(|()| rfs::fsync(&file))
                .map_err(|error| self.failed("making durable", &begun, error))?;
            self.rename(&begun, &finished)?;
            rfs::fsync(&self.fd)
                .map_err(|error| self.failed("making durable", &finished, error))?;
            Ok(size)
        });
        if done.is_err() {
            // It may be large; what stays all the same is found and removed later.
            let _ = rfs::unlinkat(&self.fd, &begun, AtFlags::empty());
        }
        done
    }

    fn fill(&self, from: &File, to: &File, name: &str, mut hold: Hold) -> Result<(), DriverError> {
        let doing = format!("copying to {}", self.path.join(name).display());
        copy::fill(&doing, from, to, &hold)?;
        // From here on the copy does not change any more: writes go on while it is made durable.
        if hold.release() { Ok(()) } else { Err(copy::too_slow(&doing)) }
    }

    /// Makes a finished volume at least this large, and what it is by now durable.
    pub(super) fn grow(&self, volume: VolumeId, size: Capacity) -> Result<Capacity, DriverError> {
        let name = finished(alone(volume));
        let (file, present) = self.open_plain(&name)?;
        if present < size {
            rfs::ftruncate(&file, size.bytes())
                .map_err(|error| self.failed("giving its length to", &name, error))?;
        }
        self.sync(&file, &name)?;
        Ok(present.max(size))
    }

    /// Makes sure neither it nor what was begun of it is there.
    pub(super) fn delete(&self, which: Source) -> Result<(), DriverError> {
        for name in [finished(which), begun(which)] {
            match rfs::statat(&self.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                Ok(stat) if !is_plain_file(&stat) => return Err(self.foreign(&name)),
                Ok(_) | Err(_) => {}
            }
            match rfs::unlinkat(&self.fd, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed("deleting", &name, error)),
            }
        }
        // Also when nothing was there: an earlier call may have been cut off before this.
        rfs::fsync(&self.fd).map_err(|error| self.failed("making durable", "", error))
    }

    pub(super) fn blocks(&self, volume: VolumeId) -> Result<BlockSource, DriverError> {
        let name = finished(alone(volume));
        let (file, size) = self.open_plain(&name)?;
        Ok(BlockSource::of_file(File::from(file), self.path.join(&name), size))
    }

    pub(super) fn list(&self) -> Result<Vec<PoolEntry>, DriverError> {
        let mut entries = Vec::new();
        self.visit(|name, stat| {
            let name = match ours(name, stat) {
                Some(Source { volume, snapshot: None }) => EntryName::Volume(volume),
                Some(Source { volume, snapshot: Some(id) }) => EntryName::Snapshot(volume, id),
                None => EntryName::Foreign(name.to_owned()),
            };
            entries.push(PoolEntry { name, size: length(stat) });
        })?;
        // A begun volume counts as one, unless it is there twice.
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name).then(b.size.cmp(&a.size)));
        entries.dedup_by(|a, b| a.name == b.name);
        Ok(entries)
    }

    fn begin(&self, name: &str) -> Result<OwnedFd, DriverError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let make = || rfs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        let made = match make() {
            // Left by a create that was cut off; calls for one volume come one after the other.
            Err(Errno::EXIST) => {
                rfs::unlinkat(&self.fd, name, AtFlags::empty())
                    .map_err(|error| self.failed("clearing away", name, error))?;
                make()
            }
            made => made,
        };
        made.map_err(|error| self.failed("creating", name, error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DriverError> {
        let renamed = match rfs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE)
        {
            // Some network file systems cannot promise not to replace. We looked before.
            Err(Errno::INVAL) => rfs::renameat(&self.fd, from, &self.fd, to),
            renamed => renamed,
        };
        renamed.map_err(|error| self.failed("finishing", to, error))
    }

    fn open_plain(&self, name: &str) -> Result<(OwnedFd, Capacity), DriverError> {
        // Non-blocking only matters for a pipe or a device somebody planted, until the next line.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rfs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV) => {
                return Err(self.foreign(name));
            }
            Err(error) => return Err(self.failed("opening", name, error)),
        };
        let stat = rfs::fstat(&file).map_err(|error| self.failed("looking at", name, error))?;
        if is_plain_file(&stat) { Ok((file, length(&stat))) } else { Err(self.foreign(name)) }
    }

    fn sync(&self, file: &OwnedFd, name: &str) -> Result<(), DriverError> {
        rfs::fsync(file)
            .and_then(|()| rfs::fsync(&self.fd))
            .map_err(|error| self.failed("making durable", name, error))
    }

    fn visit(&self, mut see: impl FnMut(&str, &Stat)) -> Result<(), DriverError> {
        let failed = |error| self.failed("reading", "", error);
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let raw: &CStr = entry.file_name();
            let name = raw.to_string_lossy();
            if matches!(&*name, "." | ".." | super::marker::MARK) {
                continue;
            }
            // Names that the local target gives to volumes that are listed here by their own.
            if name == crate::target::local::DIRECTORY {
                continue;
            }
            match rfs::statat(&self.fd, raw, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => see(&name, &stat),
                // Deleted or renamed since the directory was read.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed("looking at", &name, error)),
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &str, name: &str, error: Errno) -> DriverError {
        let path = self.path.join(name);
        let remedy = match error {
            Errno::ACCESS | Errno::PERM => ": let the user that osds runs as write to it",
            Errno::ROFS => ": mount it for writing",
            _ => "",
        };
        DriverError::from_io(format!("{doing} {}{remedy}", path.display()), error)
    }

    fn foreign(&self, name: &str) -> DriverError {
        let path = self.path.join(name);
        let doing = format!(
            "{} has a volume's name and is no plain file: it is not touched, remove it by hand",
            path.display()
        );
        DriverError::new(FaultKind::Broken, doing)
    }
}

fn finished(which: Source) -> String {
    named(which, FINISHED)
}

fn begun(which: Source) -> String {
    named(which, BEGUN)
}

fn named(Source { volume, snapshot }: Source, suffix: &str) -> String {
    match snapshot {
        None => format!("{PREFIX}{volume}{suffix}"),
        Some(id) => format!("{PREFIX}{volume}{SNAPSHOT}{id}{suffix}"),
    }
}

/// What this entry is, finished or begun.
fn ours(name: &str, stat: &Stat) -> Option<Source> {
    let rest = name.strip_prefix(PREFIX)?;
    let rest = rest.strip_suffix(FINISHED).or_else(|| rest.strip_suffix(BEGUN))?;
    let which = match rest.split_once(SNAPSHOT) {
        None => alone(rest.parse().ok()?),
        Some((volume, id)) => {
            Source { volume: volume.parse().ok()?, snapshot: Some(id.parse().ok()?) }
        }
    };
    // Only the very text we would write names it, not, say, upper case.
    (is_plain_file(stat) && named(which, "") == name[..PREFIX.len() + rest.len()]).then_some(which)
}

fn is_plain_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn length(stat: &Stat) -> Capacity {
    Capacity::from_bytes(u64::try_from(stat.st_size).unwrap_or(0))
}
