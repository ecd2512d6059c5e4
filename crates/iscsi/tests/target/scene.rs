//! A target over a medium in memory that counts writes and can hold them back.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

use osds_iscsi::scsi::{Access, Backend, Identity, LogicalUnit, Run};
use osds_iscsi::{Limits, Target};

use crate::initiator::{Error, Options, Session};

pub const DISK: &str = "iqn.2026-01.org.example:disk";
pub const ALICE: &str = "iqn.x:alice";
pub const BOB: &str = "iqn.x:bob";
pub const SIZE: usize = 4 << 20;

/// Shared by the unit (as its backend) and by the test.
#[derive(Default)]
pub struct Medium {
    bytes: RwLock<Vec<u8>>,
    writes: AtomicU64,
    held: Mutex<Held>,
    changed: Condvar,
    stuck: Mutex<Stuck>,
    unstuck: Condvar,
    ragged: AtomicBool,
}

/// One block that nobody gets past, and one that panics.
#[derive(Default)]
struct Stuck {
    block: Option<u64>,
    inside: usize,
    cursed: Option<u64>,
}

#[derive(Default)]
struct Held {
    on: bool,
    inside: usize,
}

impl Medium {
    /// An empty medium of [`SIZE`] bytes.
    pub fn sized() -> Self {
        Self { bytes: RwLock::new(vec![0; SIZE]), ..Self::default() }
    }

    /// Becomes longer, as a disk that is extended.
    pub fn extend(&self, by: usize) {
        let mut bytes = self.bytes.write().unwrap();
        let len = bytes.len() + by;
        bytes.resize(len, 0);
    }

    /// From now on it moves half a block at a time and lets others go in between.
    pub fn be_ragged(&self) {
        self.ragged.store(true, Ordering::SeqCst);
    }

    /// The pieces in which so many bytes are moved, from an offset.
    fn pieces(&self, offset: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let ragged = self.ragged.load(Ordering::SeqCst);
        let size = if ragged { 256 } else { len.max(1) };
        (0..len).step_by(size).map(move |start| {
            if start > 0 {
                std::thread::yield_now();
            }
            (offset as usize + start, start..len.min(start + size))
        })
    }

    pub fn snapshot(&self) -> Vec<u8> {
        self.bytes.read().unwrap().clone()
    }

    /// Finished writes.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// From now on writes stay inside the backend.
    pub fn hold(&self) {
        self.held.lock().unwrap().on = true;
    }

    pub fn release(&self) {
        self.held.lock().unwrap().on = false;
        self.changed.notify_all();
    }

    /// Writes that are held in the backend.
    pub fn held(&self) -> u64 {
        self.held.lock().unwrap().inside as u64
    }

    /// From now on reads and writes that touch `block` stay inside the backend.
    pub fn stick(&self, block: u64) {
        self.stuck.lock().unwrap().block = Some(block);
    }

    pub fn unstick(&self) {
        self.stuck.lock().unwrap().block = None;
        self.unstuck.notify_all();
    }

    /// Reads and writes that are stuck.
    pub fn stuck(&self) -> usize {
        self.stuck.lock().unwrap().inside
    }

    /// Waits until so many are stuck.
    pub fn wait_stuck(&self, count: usize) {
        eventually("something is stuck", || self.stuck() >= count);
    }

    /// From now on reads and writes that touch `block` panic.
    pub fn curse(&self, block: u64) {
        self.stuck.lock().unwrap().cursed = Some(block);
    }

    fn pass(&self, offset: u64, len: usize) {
        let blocks = offset / 512..(offset + len as u64).div_ceil(512);
        let mut stuck = self.stuck.lock().unwrap();
        if stuck.cursed.is_some_and(|block| blocks.contains(&block)) {
            drop(stuck);
            panic!("a cursed block, as asked for");
        }
        stuck.inside += 1;
        let touched = |stuck: &mut Stuck| stuck.block.is_some_and(|block| blocks.contains(&block));
        stuck = self.unstuck.wait_while(stuck, touched).unwrap();
        stuck.inside -= 1;
    }

    /// Waits until a write is held.
    pub fn wait_held(&self) {
        let held = self.held.lock().unwrap();
        let waited = self.changed.wait_timeout_while(held, PATIENCE, |held| held.inside == 0);
        assert!(!waited.unwrap().1.timed_out(), "no write arrived");
    }
}

struct Shared(Arc<Medium>);

impl Backend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.read().unwrap().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.pass(offset, buf.len());
        for (at, piece) in self.0.pieces(offset, buf.len()) {
            let part = &mut buf[piece];
            part.copy_from_slice(&self.0.bytes.read().unwrap()[at..at + part.len()]);
        }
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.pass(offset, buf.len());
        let mut held = self.0.held.lock().unwrap();
        held.inside += 1;
        self.0.changed.notify_all();
        held = self.0.changed.wait_while(held, |held| held.on).unwrap();
        held.inside -= 1;
        drop(held);
        for (at, piece) in self.0.pieces(offset, buf.len()) {
            let part = &buf[piece];
            self.0.bytes.write().unwrap()[at..at + part.len()].copy_from_slice(part);
        }
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_at(&vec![0; len as usize], offset)
    }

    fn mapped(&self, offset: u64) -> io::Result<Run> {
        Ok(Run { mapped: true, len: self.len()? - offset })
    }
}

pub const PATIENCE: Duration = Duration::from_secs(10);

/// Polls until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

pub struct Scene {
    pub target: Target,
    pub medium: Arc<Medium>,
    pub unit: Arc<LogicalUnit>,
    pub portal: SocketAddr,
}

impl Scene {
    /// One disk; alice may write it, bob may read it.
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let medium = Arc::new(Medium::sized());
        let unit = unit(&medium, 1);
        let target = Target::start(&["127.0.0.1:0".parse().unwrap()], limits).unwrap();
        target.export(DISK, Arc::clone(&unit)).unwrap();
        target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
        target.grant(DISK, BOB, Access::ReadOnly, None).unwrap();
        let portal = target.portals()[0];
        Self { target, medium, unit, portal }
    }

    pub fn login(&self, initiator: &str) -> Result<Session, Error> {
        Session::login(self.portal, initiator, DISK)
    }

    pub fn login_with(&self, initiator: &str, options: &Options) -> Result<Session, Error> {
        Session::login_with(self.portal, initiator, DISK, options)
    }

    pub fn sessions(&self) -> usize {
        self.target.exports().iter().map(|export| export.sessions.len()).sum()
    }
}

pub fn unit(medium: &Arc<Medium>, number: u8) -> Arc<LogicalUnit> {
    Arc::new(bare(medium, number))
}

/// A unit that can still be given more.
pub fn bare(medium: &Arc<Medium>, number: u8) -> LogicalUnit {
    let mut naa = [number; 16];
    naa[0] = 0x60;
    let identity = Identity {
        naa,
        serial: format!("{number:016}"),
        vendor: "EXAMPLE".into(),
        product: "MEMORY".into(),
        revision: "1".into(),
    };
    let unit = LogicalUnit::new(Box::new(Shared(Arc::clone(medium))), identity).unwrap();
    // Longer than any test waits: what must not wait must not, and not only not for long.
    unit.with_patience(Duration::from_secs(600))
}

/// Bytes that differ from place to place and from seed to seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&next());
    }
    out.truncate(len);
    out
}

/// The status of a refused login.
pub fn refused(result: Result<Session, Error>) -> (u8, u8) {
    match result {
        Err(Error::LoginRefused { class, detail }) => (class, detail),
        Err(other) => panic!("another failure: {other:?}"),
        Ok(_) => panic!("logged in"),
    }
}
