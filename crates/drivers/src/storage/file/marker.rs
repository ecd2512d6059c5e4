//! Which directory is a pool's: a file in it with an id, and a note of that id where the driver keeps
//! its own things.
//!
//! A directory that is not mounted looks like an empty one. So the first use of a pool marks its
//! directory, and from then on a directory without that mark is not the pool: nothing is found in
//! it, nothing is made in it, and nothing is taken for lost. The note is written last, so a crash
//! in between is a first use again.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{self as rfs, Mode, OFlags};
use rustix::io::Errno;

/// The file in a pool's directory.
pub(super) const MARK: &str = ".osds-pool";
const BEGUN: &str = ".osds-pool.new";
/// An id and a line end; whatever is longer is not ours.
const LONGEST: u64 = 64;

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
