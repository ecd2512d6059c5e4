//! A cached read or write of a session at work allocates nothing.
//!
//! The whole path is real: a socket, a session, a file. Every thread but the test's own (which is the
//! initiator) is counted while the counter is armed, so what is counted is the target. The first
//! commands may allocate, as buffers grow to what the load needs; and so may a command that finds its
//! page dropped from the cache, because it goes to a worker. Hence the best of a few rounds counts:
//! an allocation for each command would show in every one of them.

#![allow(unsafe_code, reason = "a counting allocator cannot be had without")]

#[path = "../../testkit/src/initiator/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the initiator offers more than this test uses")]
mod initiator;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use initiator::{Io, Session};
use osds_iscsi::scsi::{Access, FileBackend, Identity, LogicalUnit};
use osds_iscsi::{Limits, Target};

struct Counting;

static ARMED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread is not the target. Without a destructor, so that the allocator may look at it.
    static IS_DRIVER: Cell<bool> = const { Cell::new(false) };
}

fn note() {
    if ARMED.load(SeqCst) && !IS_DRIVER.get() {
        COUNT.fetch_add(1, SeqCst);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of its
// own making.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: our caller keeps the promises that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often the target allocates while `work` runs.
fn allocations(work: impl FnOnce()) -> usize {
    COUNT.store(0, SeqCst);
    ARMED.store(true, SeqCst);
    work();
    ARMED.store(false, SeqCst);
    COUNT.load(SeqCst)
}

const DISK: &str = "iqn.2026-01.org.example:disk";
const ALICE: &str = "iqn.x:alice";
const SIZE: u64 = 1 << 20;
const COMMANDS: u64 = 500;

fn identity() -> Identity {
    Identity {
        naa: [0x60; 16],
        serial: "1".into(),
        vendor: "OSDS".into(),
        product: "TEST".into(),
        revision: "1".into(),
    }
}

#[test]
fn a_cached_read_or_write_allocates_nothing() {
    IS_DRIVER.set(true);
    let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; SIZE as usize], 0).unwrap();
    let unit = LogicalUnit::new(Box::new(FileBackend::new(file)), identity()).unwrap();
    let anywhere = [SocketAddr::from(([127, 0, 0, 1], 0))];
    let target = Target::start(&anywhere, Limits::default()).unwrap();
    target.export(DISK, Arc::new(unit)).unwrap();
    target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
    let mut session = None;
    let of_login = allocations(|| {
        session = Some(Session::login(target.portals()[0], ALICE, DISK).unwrap());
    });
    assert!(of_login > 0, "the counter sees what the target's threads allocate");
    let mut session = session.unwrap();
    session.block_size().unwrap();
    let data: Arc<[u8]> = vec![8; 4096].into();
    for depth in [1, 32] {
        for write in [false, true] {
            let mut load = || {
                let mut at = 0;
                let next = || {
                    at += 1;
                    let (lba, blocks) = (at * 8 % (SIZE / 512), 8);
                    let data = Arc::clone(&data);
                    let io = if write { Io::Write { lba, data } } else { Io::Read { lba, blocks } };
                    (at <= COMMANDS).then_some(io)
                };
                session.pipeline(depth, next, |_, answer| assert_eq!(answer.status, 0)).unwrap();
            };
            load();
            let fewest = (0..5).map(|_| allocations(&mut load)).min();
            assert_eq!(fewest, Some(0), "{COMMANDS} commands, write: {write}, depth {depth}");
        }
    }
    session.logout().unwrap();
    target.shutdown().unwrap();
}
