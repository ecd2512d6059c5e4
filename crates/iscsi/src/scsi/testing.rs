//! What the tests of this module share: a medium in memory and a unit over it.
//!
//! The medium counts what is done to it, can be told to fail, and moves bytes in halves of a block
//! with a pause between them, so that a missing block lock shows.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::yield_now;

use super::*;

const HALF: usize = BLOCK_SIZE / 2;

#[derive(Debug)]
pub(super) struct Memory {
    bytes: Mutex<Vec<u8>>,
    pub(super) fault: Mutex<Option<io::ErrorKind>>,
    pub(super) flushes: AtomicU32,
    pub(super) mutations: AtomicU32,
    pub(super) discards: AtomicU32,
    pub(super) zeroings: AtomicU32,
    /// It says that reads and writes need not wait.
    pub(super) at_once: AtomicBool,
}

impl Memory {
    pub(super) fn new(blocks: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(vec![0; blocks * BLOCK_SIZE]),
            fault: Mutex::default(),
            flushes: AtomicU32::default(),
            mutations: AtomicU32::default(),
            discards: AtomicU32::default(),
            zeroings: AtomicU32::default(),
            at_once: AtomicBool::new(false),
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub(super) fn resize(&self, blocks: usize) {
        self.bytes.lock().unwrap().resize(blocks * BLOCK_SIZE, 0);
    }

    fn fault(&self) -> io::Result<()> {
        self.fault.lock().unwrap().map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn mutate(&self, counter: &AtomicU32, offset: u64, data: &[u8]) -> io::Result<()> {
        counter.fetch_add(1, Ordering::Relaxed);
        self.fault()?;
        for (index, half) in data.chunks(HALF).enumerate() {
            let at = offset as usize + index * HALF;
            self.bytes.lock().unwrap()[at..at + half.len()].copy_from_slice(half);
            yield_now();
        }
        Ok(())
    }
}

impl Backend for Arc<Memory> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.fault()?;
        for (index, half) in buf.chunks_mut(HALF).enumerate() {
            let at = offset as usize + index * HALF;
            half.copy_from_slice(&self.bytes.lock().unwrap()[at..at + half.len()]);
            yield_now();
        }
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.mutate(&self.mutations, offset, buf)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let at_once = self.at_once.load(Ordering::Relaxed);
        if at_once { self.read_at(buf, offset).map(|()| true) } else { Ok(false) }
    }

    fn write_at_once(&self, buf: &[u8], offset: u64) -> io::Result<bool> {
        let at_once = self.at_once.load(Ordering::Relaxed);
        if at_once { self.write_at(buf, offset).map(|()| true) } else { Ok(false) }
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.fault()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.discards.fetch_add(1, Ordering::Relaxed);
        self.mutate(&self.mutations, offset, &vec![0; len as usize])
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zeroings.fetch_add(1, Ordering::Relaxed);
        self.mutate(&self.mutations, offset, &vec![0; len as usize])
    }

    /// A block of zeros counts as a hole.
    fn mapped(&self, offset: u64) -> io::Result<Run> {
        let bytes = self.bytes();
        let mut states = bytes[offset as usize..]
            .chunks(BLOCK_SIZE)
            .map(|block| block.iter().any(|&byte| byte != 0));
        let mapped = states.next().unwrap();
        let more = states.take_while(|&state| state == mapped).count() as u64;
        Ok(Run { mapped, len: (1 + more) * BLOCK_SIZE as u64 })
    }
}

pub(super) fn identity() -> Identity {
    Identity {
        naa: [0x6f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        serial: "serial-1".into(),
        vendor: "VENDOR".into(),
        product: "Product".into(),
        revision: "1".into(),
    }
}

/// A unit over memory and one read-write nexus whose attention has been told.
pub(super) struct Rig {
    pub(super) unit: LogicalUnit,
    pub(super) nexus: Nexus,
    pub(super) medium: Arc<Memory>,
}

impl Rig {
    pub(super) fn new(blocks: usize) -> Self {
        let medium = Memory::new(blocks);
        let unit = LogicalUnit::new(Box::new(Arc::clone(&medium)), identity()).unwrap();
        let nexus = quiet(&unit, Access::ReadWrite);
        Self { unit, nexus, medium }
    }

    pub(super) fn run(&self, cdb: &[u8], data_out: &[u8]) -> (Completion, Vec<u8>) {
        run(&self.unit, &self.nexus, cdb, data_out)
    }

    #[track_caller]
    pub(super) fn good(&self, cdb: &[u8], data_out: &[u8]) -> Vec<u8> {
        let (done, data_in) = self.run(cdb, data_out);
        assert_eq!(done, Completion::GOOD, "{}", command_name(cdb));
        data_in
    }

    #[track_caller]
    pub(super) fn sense(&self, cdb: &[u8], data_out: &[u8]) -> Sense {
        let (done, data_in) = self.run(cdb, data_out);
        assert_eq!(data_in, [], "a failed command returns no data");
        done.sense.expect("the command should have failed")
    }
}

/// A nexus whose power on attention has been told.
pub(super) fn quiet(unit: &LogicalUnit, access: Access) -> Nexus {
    let nexus = unit.attach("initiator", [1; 6], access);
    while nexus.take_attention().is_some() {}
    nexus
}

pub(super) fn run(
    unit: &LogicalUnit,
    nexus: &Nexus,
    cdb: &[u8],
    data_out: &[u8],
) -> (Completion, Vec<u8>) {
    let mut data_in = crate::Buffer::default();
    let done = unit.execute(nexus, Command { cdb, data_out }, &mut data_in);
    assert_eq!(done.status == Status::CheckCondition, done.sense.is_some());
    (done, data_in.to_vec())
}

pub(super) fn cdb10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

pub(super) fn cdb12(opcode: u8, flags: u8, lba: u32, blocks: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[6..10].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

pub(super) fn cdb16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// An UNMAP parameter list.
pub(super) fn unmap_list(extents: &[(u64, u32)]) -> Vec<u8> {
    let mut list = vec![0; 8];
    list[..2].copy_from_slice(&(extents.len() as u16 * 16 + 6).to_be_bytes());
    list[2..4].copy_from_slice(&(extents.len() as u16 * 16).to_be_bytes());
    for (lba, blocks) in extents {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}

/// An UNMAP CDB for a parameter list of this length.
pub(super) fn unmap_cdb(length: usize) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = 0x42;
    cdb[7..9].copy_from_slice(&(length as u16).to_be_bytes());
    cdb
}

/// An EXTENDED COPY CDB for a parameter list of this length.
pub(super) fn copy_cdb(length: usize) -> [u8; 16] {
    cdb16(0x83, 0, 0, length as u32)
}

/// The descriptor of the unit that has [`identity`].
pub(super) fn copy_party() -> Vec<u8> {
    let naa = identity().naa;
    let mut out = vec![0xe4, 0, 0, 0, 1, 3, 0, naa.len() as u8];
    out.extend_from_slice(&naa);
    out.resize(30, 0);
    out.extend_from_slice(&(BLOCK_SIZE as u16).to_be_bytes());
    out
}

/// A segment from party 0 to party 0.
pub(super) fn copy_segment(from: u64, to: u64, blocks: u16) -> Vec<u8> {
    let mut out = vec![0x02, 0, 0, 24, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&blocks.to_be_bytes());
    out.extend_from_slice(&from.to_be_bytes());
    out.extend_from_slice(&to.to_be_bytes());
    out
}

/// An EXTENDED COPY parameter list.
pub(super) fn copy_list(list_id: u8, flags: u8, parties: &[u8], segments: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 16];
    (out[0], out[1]) = (list_id, flags);
    out[2..4].copy_from_slice(&(parties.len() as u16).to_be_bytes());
    out[8..12].copy_from_slice(&(segments.len() as u32).to_be_bytes());
    [&out, parties, segments].concat()
}
