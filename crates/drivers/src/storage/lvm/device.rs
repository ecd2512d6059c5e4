//! Zeroing and copying devices.
//!
//! Zeros go past the page cache, and the disk makes them itself where it can. What was done is
//! durable only after a sync, which is the caller's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// So much is zeroed by one system call.
const STEP: u64 = 256 << 20;
/// So much is copied at a time.
const PIECE: usize = 1 << 20;

/// Makes the bytes from `at` to `end` read as zeros.
pub(super) fn zero(file: &File, mut at: u64, end: u64) -> io::Result<()> {
    while at < end {
        let length = STEP.min(end - at);
        zero_step(file, at, length)?;
        at += length;
    }
    Ok(())
}

fn zero_step(file: &File, at: u64, length: u64) -> io::Result<()> {
    // The first of a block device is for disks that can do it alone; the second does it for others.
    for how in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
        match fallocate(file, how | FallocateFlags::KEEP_SIZE, at, length) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let zeros = vec![0; PIECE];
    let (mut at, end) = (at, at + length);
    while at < end {
        let piece = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
        file.write_all_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

/// Makes the first `length` bytes of `to` those of `from`.
pub(super) fn copy(from: &File, to: &File, length: u64) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    let mut at = 0;
    while at < length {
        let piece = usize::try_from(length - at).map_or(PIECE, |left| left.min(PIECE));
        let bytes = &mut bytes[..piece];
        from.read_exact_at(bytes, at)?;
        if bytes.iter().all(|byte| *byte == 0) {
            zero(to, at, at + piece as u64)?;
        } else {
            to.write_all_at(bytes, at)?;
        }
        at += piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_and_copies_are_exact() {
        let file = || {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&vec![7; 5 << 20], 0).unwrap();
            file
        };
        let (from, to) = (file(), file());
        zero(&from, 1 << 20, (3 << 20) + 512).unwrap();
        let mut seen = vec![1; 5 << 20];
        from.read_exact_at(&mut seen, 0).unwrap();
        assert!(seen[..1 << 20].iter().all(|byte| *byte == 7));
        assert!(seen[1 << 20..(3 << 20) + 512].iter().all(|byte| *byte == 0));
        assert!(seen[(3 << 20) + 512..].iter().all(|byte| *byte == 7));
        to.write_all_at(&[9; 512], 2 << 20).unwrap();
        copy(&from, &to, (4 << 20) + 512).unwrap();
        let mut copied = vec![1; 5 << 20];
        to.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == seen, "the rest was sevens before, too");
    }
}
