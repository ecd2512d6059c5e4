//! The medium below a logical unit.
//!
//! A [`Backend`] is byte-addressed, blocking and shared: positions go with each call, so that any
//! number of commands can run at once. It keeps no promise about overlapping calls (the unit's
//! block locks do that), but discarded and zeroed ranges must read as zeros as soon as the call
//! returns, and what was written before a `flush` must survive a crash after it. The two `_at_once`
//! calls are how a caller that must not wait finds out whether it would have to; a file answers
//! them from the page cache.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, FileTypeExt as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fstatfs, seek};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// A medium that a [`LogicalUnit`](super::LogicalUnit) serves.
pub trait Backend: Send + Sync + 'static {
    /// Size in bytes, now.
    fn len(&self) -> io::Result<u64>;

    /// True if it holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset`; an end of file before `buf` is full is an error.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// The same, if nothing has to be waited for. `false`: it would have to wait, or cannot tell; then
    /// what `buf` holds means nothing.
    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let _ = (buf, offset);
        Ok(false)
    }

    /// The same, if nothing has to be waited for. `false`: nothing was written.
    fn write_at_once(&self, buf: &[u8], offset: u64) -> io::Result<bool> {
        let _ = (buf, offset);
        Ok(false)
    }

    /// Makes everything written so far durable.
    fn flush(&self) -> io::Result<()>;

    /// Gives the space of a range back; afterwards it reads as zeros.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes a range read as zeros, keeping space for it where the medium can.
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Whether the byte at `offset` has space behind it, and for how many bytes the answer holds.
    /// Asked only within the medium.
    fn mapped(&self, offset: u64) -> io::Result<Run>;
}

/// A run of bytes in one provisioning state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// True: space is allocated. False: a hole that reads as zeros.
    pub mapped: bool,
    /// Bytes from the asked offset for which this holds, at least one.
    pub len: u64,
}

/// A regular file (sparse for thin provisioning) or a block device as the medium.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    /// A block device: it does not say its size as a file does, and discards may leave what was there.
    is_device: bool,
    /// Its file system keeps nothing but memory, so that reading never waits.
    in_memory: bool,
    /// Reads can be asked not to wait. Cleared when the file system turns out not to know that.
    knows_nowait: AtomicBool,
}

/// A page of the cache: writing a part of one that is not there has to read it first.
const PAGE: u64 = 4096;

impl FileBackend {
    /// Serves `file`, which must be open for reading, and for writing if anyone may write.
    pub fn new(file: File) -> Self {
        const TMPFS: u64 = 0x0102_1994;
        let is_device = file.metadata().is_ok_and(|found| found.file_type().is_block_device());
        // Of a device this would be told of the directory that its name is in.
        let in_memory =
            !is_device && fstatfs(&file).is_ok_and(|facts| facts.f_type as u64 == TMPFS);
        Self { file, is_device, in_memory, knows_nowait: AtomicBool::new(true) }
    }

    /// Fills `buf` from the page cache; `false` if not all of it is there.
    fn read_cached(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.in_memory {
            return self.file.read_exact_at(buf, offset).map(|()| true);
        }
        if !self.knows_nowait.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let length = buf.len();
        match preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) {
            // Less than asked for: the rest is not cached, or there is none. The waiting read tells.
            Ok(read) => Ok(read == length),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.knows_nowait.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the page around a byte need not be read from the medium to change a part of it.
    fn page_is_cached(&self, at: u64) -> io::Result<bool> {
        Ok(at.is_multiple_of(PAGE) || self.read_cached(&mut [0], at)?)
    }

    /// Makes a range of a device read as zeros, and writes only where it does not: what a thin volume
    /// has no space for yet takes none.
    fn clear(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let step = (end - at).min(buffer.len() as u64);
            let part = &mut buffer[..step as usize];
            self.file.read_exact_at(part, at)?;
            if part.iter().any(|&byte| byte != 0) {
                self.fill_with_zeroes(at, step)?;
            }
            at += step;
        }
        Ok(())
    }

    fn fill_with_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let step = (end - at).min(ZEROES.len() as u64);
            self.file.write_all_at(&ZEROES[..step as usize], at)?;
            at += step;
        }
        Ok(())
    }

    /// Runs `fallocate`; a file system that cannot do it gets the zeros written out instead.
    fn allocate(&self, mode: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match fallocate(&self.file, mode | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.is_device => self.clear(offset, len),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill_with_zeroes(offset, len),
            Err(Errno::INTR) => self.allocate(mode, offset, len),
            Err(error) => Err(error.into()),
        }
    }
}

impl Backend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        if self.is_device {
            // All else is positioned: nobody minds where this leaves the file.
            return Ok(seek(&self.file, SeekFrom::End(0))?);
        }
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_cached(buf, offset)
    }

    /// A write goes into the page cache, which the kernel makes room in; that can wait for the
    /// medium in the end, but no call tells beforehand on every file system.
    fn write_at_once(&self, buf: &[u8], offset: u64) -> io::Result<bool> {
        let end = offset + buf.len() as u64;
        if !self.page_is_cached(offset)? || !self.page_is_cached(end)? {
            return Ok(false);
        }
        self.file.write_all_at(buf, offset).map(|()| true)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.allocate(FallocateFlags::PUNCH_HOLE, offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.allocate(FallocateFlags::ZERO_RANGE, offset, len)
    }

    fn mapped(&self, offset: u64) -> io::Result<Run> {
        let size = self.len()?;
        let data = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            // No data up to the end of the file.
            Err(Errno::NXIO) => size.max(offset + 1),
            // Holes cannot be seen here: everything counts as mapped.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                return Ok(Run { mapped: true, len: size.saturating_sub(offset).max(1) });
            }
            Err(error) => return Err(error.into()),
        };
        if data > offset {
            return Ok(Run { mapped: false, len: data - offset });
        }
        let hole = seek(&self.file, SeekFrom::Hole(offset)).map_err(io::Error::from)?;
        Ok(Run { mapped: true, len: hole.saturating_sub(offset).max(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Advice, fadvise};

    fn sparse(size: u64) -> FileBackend {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        FileBackend::new(file)
    }

    #[test]
    fn discard_reads_as_zeros_and_keeps_the_size() {
        let medium = sparse(1 << 20);
        medium.write_at(&[7; 65536], 0).unwrap();
        medium.discard(512, 40_000).unwrap();
        let mut buf = [1; 65536];
        medium.read_at(&mut buf, 0).unwrap();
        assert!(buf[..512].iter().all(|&b| b == 7));
        assert!(buf[512..40_512].iter().all(|&b| b == 0));
        assert!(buf[40_512..].iter().all(|&b| b == 7));
        medium.discard((1 << 20) - 512, 512).unwrap();
        assert_eq!(medium.len().unwrap(), 1 << 20);
    }

    #[test]
    fn zeroes_replace_what_was_there() {
        let medium = sparse(1 << 20);
        medium.write_at(&[7; 8192], 0).unwrap();
        medium.write_zeroes(512, 4096).unwrap();
        medium.fill_with_zeroes(7680, 70_000).unwrap();
        let mut buf = [1; 8192];
        medium.read_at(&mut buf, 0).unwrap();
        let sevens = buf.iter().filter(|&&b| b == 7).count();
        assert_eq!(sevens, 8192 - 4096 - 512);
        assert_eq!((buf[511], buf[512], buf[4607], buf[4608]), (7, 0, 0, 7));
    }

    #[test]
    fn what_is_cached_is_read_and_written_at_once() {
        // Beside the sources, not in a temporary directory: that may be in memory.
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(1 << 20).unwrap();
        let medium = FileBackend::new(file);
        medium.write_at(&[7; 65536], 0).unwrap();
        let mut buf = [0; 4096];
        assert!(medium.read_at_once(&mut buf, 8192).unwrap());
        assert_eq!(buf, [7; 4096]);
        assert!(medium.write_at_once(&[8; 512], 512).unwrap(), "a part of a page that is there");
        medium.read_at(&mut buf, 0).unwrap();
        assert_eq!((buf[511], buf[512], buf[1023], buf[1024]), (7, 8, 8, 7));
        // What has been dropped from the cache is said to need waiting, at least now and then: a
        // fast medium may have it back before the call looks.
        let cold = |at: u64| {
            medium.flush().unwrap();
            fadvise(&medium.file, 0, None, Advice::DontNeed).unwrap();
            medium.read_at_once(&mut [0; 512], at).unwrap()
        };
        let waited = (0..50).any(|round| !cold(round % 16 * 4096));
        assert!(waited || medium.in_memory, "the page cache cannot be told from the medium");
        // Across the end, and beyond: whoever may wait finds out.
        assert!(!medium.read_at_once(&mut buf, (1 << 20) - 512).unwrap());
        assert!(medium.read_at(&mut buf, (1 << 20) - 512).is_err());
    }

    #[test]
    fn holes_are_seen() {
        let medium = sparse(1 << 20);
        assert_eq!(medium.mapped(0).unwrap(), Run { mapped: false, len: 1 << 20 });
        medium.write_at(&[7; 65536], 131_072).unwrap();
        assert_eq!(medium.mapped(0).unwrap(), Run { mapped: false, len: 131_072 });
        assert_eq!(medium.mapped(131_072).unwrap(), Run { mapped: true, len: 65536 });
        medium.discard(131_072, 65536).unwrap();
        assert!(!medium.mapped(131_072).unwrap().mapped);
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        assert!(sparse(512).read_at(&mut [0; 512], 512).is_err());
    }
}
