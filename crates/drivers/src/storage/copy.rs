//! Copying the content of a file: at once where the file system can share blocks, else byte by
//! byte without its holes.
//!
//! While writes are held for a copy it must be short: one that cannot be is given up, before it is
//! begun where that can be told. What is in the page cache counts as content on either way, so a
//! write that was answered and not yet flushed is in the copy.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use osds_model::FaultKind;
use rustix::fs::{self as rfs, SeekFrom};
use rustix::io::Errno;

use super::Hold;
use crate::DriverError;

/// As much is copied before it is asked again whether the hold is over.
const CHUNK: u64 = 16 << 20;
/// The most that is copied byte by byte while writes are held: what any disk reads in the time.
const HELD_MOST: u64 = 1 << 30;

/// Fills `to`, which is empty, with the content of `from`, while `hold` lasts.
///
/// # Errors
/// As they come; `NotSupported` when it takes longer than writes can be held.
pub(crate) fn fill(doing: &str, from: &File, to: &File, hold: &Hold) -> Result<(), DriverError> {
    // Not every reason is told apart: whatever is really wrong, copying finds it again.
    if rfs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    byte_by_byte(doing, from, to, hold)
}

/// The same on a file system that does not share blocks.
pub(crate) fn byte_by_byte(
    doing: &str,
    from: &File,
    to: &File,
    hold: &Hold,
) -> Result<(), DriverError> {
    let failed = |error: io::Error| DriverError::from_io(doing, error);
    let about = from.metadata().map_err(failed)?;
    let too_much = || hold.is_needed() && about.blocks().saturating_mul(512) > HELD_MOST;
    if hold.is_over() || too_much() {
        return Err(too_slow(doing));
    }
    copy_data(from, to, about.len(), hold).map_err(|error| match error {
        Stopped::TooSlow => too_slow(doing),
        Stopped::Failed(error) => failed(error),
    })
}

/// Said when the hold ended before the copy was fixed.
pub(crate) fn too_slow(doing: &str) -> DriverError {
    let cause = "hosts have the volume, their writes cannot wait as long as this file system needs \
                 to copy it: put the pool on XFS (reflink=1) or btrfs, or detach the hosts for as \
                 long as it takes";
    DriverError::new(FaultKind::NotSupported, doing).because(cause)
}

enum Stopped {
    TooSlow,
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn copy_data(from: &File, to: &File, length: u64, hold: &Hold) -> Result<(), Stopped> {
    let mut at = 0;
    loop {
        at = match rfs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            // It does not know its holes.
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error.into()),
        };
        let end = match rfs::seek(from, SeekFrom::Hole(at)) {
            Ok(hole) => hole.min(length),
            Err(Errno::INVAL) => length,
            Err(error) => return Err(error.into()),
        };
        if at >= end {
            break;
        }
        while at < end {
            if hold.is_over() {
                return Err(Stopped::TooSlow);
            }
            at += copy_chunk(from, to, at, CHUNK.min(end - at))?;
        }
    }
    to.set_len(length).map_err(Stopped::Failed)
}

/// Copies some of these bytes; how many.
fn copy_chunk(from: &File, to: &File, at: u64, most: u64) -> io::Result<u64> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut read_at, mut write_at) = (at, at);
    let copied = rfs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), most);
    match copied {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(copied) => Ok(copied as u64),
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV) => {
            let mut bytes = vec![0; most.min(1 << 20)];
            from.read_exact_at(&mut bytes, at)?;
            to.write_all_at(&bytes, at)?;
            Ok(bytes.len() as u64)
        }
        Err(Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn file(directory: &tempfile::TempDir, name: &str) -> File {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        options.open(directory.path().join(name)).unwrap()
    }

    /// Data at both ends and in the middle, holes between; nothing flushed.
    fn sparse(directory: &tempfile::TempDir) -> File {
        let from = file(directory, "from");
        from.set_len(64 << 20).unwrap();
        for at in [0, 20 << 20, (64 << 20) - 4096] {
            from.write_all_at(&[0xA5; 4096], at).unwrap();
        }
        from
    }

    fn same(one: &File, other: &File) -> bool {
        let bytes = |file: &File| {
            let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        bytes(one) == bytes(other)
    }

    #[test]
    fn holes_stay_holes_and_what_was_not_flushed_is_there() {
        let home = tempfile::tempdir().unwrap();
        let from = sparse(&home);
        for name in ["a", "b"] {
            let (to, hold) = (file(&home, name), Hold::needless());
            match name {
                "a" => fill("copying", &from, &to, &hold).unwrap(),
                _ => byte_by_byte("copying", &from, &to, &hold).unwrap(),
            }
            assert!(same(&from, &to), "{name}");
            assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20, "{name} is not sparse");
        }
        let empty = file(&home, "empty");
        empty.set_len(4096).unwrap();
        let to = file(&home, "to");
        fill("copying", &empty, &to, &Hold::needless()).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 4096);
    }

    #[test]
    fn a_copy_for_which_writes_wait_is_given_up_in_time() {
        let home = tempfile::tempdir().unwrap();
        let from = sparse(&home);
        let over = Hold::until(Instant::now(), || false);
        let error = byte_by_byte("copying", &from, &file(&home, "to"), &over).unwrap_err();
        assert_eq!(error.kind, FaultKind::NotSupported);
        assert!(error.chain().contains("detach the hosts"), "{}", error.chain());
        let hold = Hold::until(Instant::now() + Duration::from_secs(60), || true);
        byte_by_byte("copying", &from, &file(&home, "to"), &hold).unwrap();
        let error = byte_by_byte("copying", &from, &file(&home, "to"), &Hold::impossible());
        assert_eq!(error.unwrap_err().kind, FaultKind::NotSupported);
    }
}
