//! Which directory is a pool's: a file in it with an id, and a note of that id where the driver keeps
//! its own things.
//!
//! A directory that is not mounted looks like an empty one. So the first use of a pool marks its
//! directory, and from then on a directory without that mark is not the pool: nothing is found in
//! it, nothing is made in it, and nothing is taken for lost. The note is written last, so a crash
//! in between is a first use again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, Mode, OFlags};
use rustix::io::Errno;

/// The file in a pool's directory.
pub(super) const MARK: &str = ".osds-pool";
const BEGUN: &str = ".osds-pool.new";
/// An id and a line end; whatever is longer is not ours.
const LONGEST: u64 = 64;

/// The notes of pools that were used, by name, in one file.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    file: PathBuf,
    ids: BTreeMap<String, String>,
}

impl Notes {
    /// The notes in this file; none when there is no such file.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        let ids = match fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from)?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file: file.to_owned(), ids })
    }

    /// The id of a pool that was used before.
    pub(super) fn of(&self, pool: &str) -> Option<&str> {
        self.ids.get(pool).map(String::as_str)
    }

    /// Notes a first use; durable when this returns.
    pub(super) fn add(&mut self, pool: &str, id: &str) -> io::Result<()> {
        self.ids.insert(pool.to_owned(), id.to_owned());
        let directory = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let begun = self.file.with_extension("new");
        let mut file = File::create(&begun)?;
        file.write_all(&serde_json::to_vec_pretty(&self.ids)?)?;
        file.sync_all()?;
        fs::rename(&begun, &self.file)?;
        File::open(directory)?.sync_all()
    }
}

/// The id in a directory; `None` when it has no mark.
pub(super) fn find(directory: impl std::os::fd::AsFd) -> Result<Option<String>, Errno> {
    // Non-blocking only matters for a pipe that somebody planted.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rfs::openat(directory, MARK, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    match file.take(LONGEST).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text.trim().to_owned())),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// Marks a directory that has no mark; says the id that it has now.
pub(super) fn make(path: &Path) -> Result<String, Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let directory = File::open(path).map_err(errno)?;
    if let Some(id) = find(&directory)? {
        // Of an earlier life whose note is gone, or that was cut off before it was written.
        return Ok(id);
    }
    // Two hashes with keys of this process: not secret, and never the same twice.
    let half = || RandomState::new().build_hasher().finish();
    let id = format!("{:016x}{:016x}", half(), half());
    let begun = path.join(BEGUN);
    let mark = || {
        let mut file = File::create(&begun)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
        fs::rename(&begun, path.join(MARK))?;
        directory.sync_all()
    };
    mark().map_err(errno)?;
    Ok(id)
}
