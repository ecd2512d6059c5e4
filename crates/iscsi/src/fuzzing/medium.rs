//! A small medium in memory that others may look at, and fail.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::scsi::{BLOCK_SIZE, Backend, Identity, LogicalUnit, Run};

/// Blocks of every medium.
pub const BLOCKS: usize = 64;

/// Shared by a unit (as its backend) and by who looks on.
#[derive(Debug)]
pub struct Medium {
    bytes: Mutex<Vec<u8>>,
    /// The next call that reads or writes fails.
    pub fails: AtomicBool,
}

impl Medium {
    /// Of blocks that say where they are.
    pub fn new() -> Arc<Self> {
        let bytes = (0..BLOCKS * BLOCK_SIZE).map(|at| (at / BLOCK_SIZE) as u8).collect();
        Arc::new(Self { bytes: Mutex::new(bytes), fails: AtomicBool::default() })
    }

    /// Its bytes.
    pub fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A unit over it.
    pub fn unit(self: &Arc<Self>) -> LogicalUnit {
        let identity = Identity {
            naa: [0x60; 16],
            serial: "0001".into(),
            vendor: "EXAMPLE".into(),
            product: "MEMORY".into(),
            revision: "1".into(),
        };
        LogicalUnit::new(Box::new(Shared(Arc::clone(self))), identity).expect("a sound identity")
    }
}

struct Shared(Arc<Medium>);

impl Shared {
    fn bytes(&self) -> io::Result<MutexGuard<'_, Vec<u8>>> {
        if self.0.fails.swap(false, Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(self.0.bytes())
    }
}

impl Backend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes().len() as u64)
    }

    // Out of range is a panic here: the unit must not ask for it.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let at = offset as usize;
        buf.copy_from_slice(&self.bytes()?[at..at + buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let at = offset as usize;
        self.bytes()?[at..at + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.bytes().map(drop)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let at = offset as usize;
        self.bytes()?[at..at + len as usize].fill(0);
        Ok(())
    }

    fn mapped(&self, offset: u64) -> io::Result<Run> {
        let bytes = self.bytes()?;
        let mut blocks = bytes[offset as usize..].chunks(BLOCK_SIZE);
        let is_mapped = |block: &[u8]| block.iter().any(|byte| *byte != 0);
        let mapped = blocks.next().is_some_and(is_mapped);
        let more = blocks.take_while(|block| is_mapped(block) == mapped).count();
        Ok(Run { mapped, len: ((1 + more) * BLOCK_SIZE) as u64 })
    }
}
