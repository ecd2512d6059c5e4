//! What was promised to be durable is there after the power went.
//!
//! [`Cache`] is a medium that loses everything that was not flushed, which is the worst a page cache
//! may do. Any sequence of commands runs over it, and beside it goes what the standard allows each
//! block to hold after a cut at that moment: what was durable, or anything acknowledged since. FUA,
//! WRITE AND VERIFY and SYNCHRONIZE CACHE leave one answer. A medium that says flushed and is not
//! is caught by the same check.

use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::testing::*;
use super::*;

const BLOCKS: u16 = 16;

/// See the head of this file.
#[derive(Debug)]
struct Cache {
    now: Arc<Memory>,
    kept: Mutex<Vec<u8>>,
    /// A flush does nothing.
    lies: bool,
}

impl Cache {
    fn new(lies: bool) -> Arc<Self> {
        let now = Memory::new(BLOCKS.into());
        let kept = Mutex::new(now.bytes());
        Arc::new(Self { now, kept, lies })
    }
}

impl Backend for Arc<Cache> {
    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.now.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.now.write_at(buf, offset)
    }

    fn flush(&self) -> io::Result<()> {
        if !self.lies {
            *self.kept.lock().unwrap() = self.now.bytes();
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.now.discard(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.now.write_zeroes(offset, len)
    }

    fn mapped(&self, offset: u64) -> io::Result<Run> {
        self.now.mapped(offset)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        lba: u16,
        value: u8,
        opcode: u8,
        fua: bool,
    },
    CompareAndWrite {
        lba: u16,
        value: u8,
        fua: bool,
    },
    Or {
        lba: u16,
        value: u8,
        fua: bool,
    },
    Unmap {
        lba: u16,
    },
    Copy {
        from: u16,
        to: u16,
    },
    /// The whole medium, or one block, which is as good.
    Synchronize {
        opcode: u8,
        lba: u16,
        blocks: u16,
    },
    /// A read that wants what it reads to be durable.
    Read {
        lba: u16,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let lba = || 0..BLOCKS;
    let opcode = proptest::sample::select(vec![0x2a, 0x8a, 0xaa, 0x2e]);
    let sync = proptest::sample::select(vec![0x35, 0x91]);
    prop_oneof![
        4 => (lba(), any::<u8>(), opcode, any::<bool>())
            .prop_map(|(lba, value, opcode, fua)| Step::Write { lba, value, opcode, fua }),
        2 => (lba(), any::<u8>(), any::<bool>())
            .prop_map(|(lba, value, fua)| Step::CompareAndWrite { lba, value, fua }),
        1 => (lba(), any::<u8>(), any::<bool>())
            .prop_map(|(lba, value, fua)| Step::Or { lba, value, fua }),
        1 => lba().prop_map(|lba| Step::Unmap { lba }),
        1 => (lba(), lba()).prop_map(|(from, to)| Step::Copy { from, to }),
        1 => (sync, lba(), 0..2u16)
            .prop_map(|(opcode, lba, blocks)| Step::Synchronize { opcode, lba, blocks }),
        1 => lba().prop_map(|lba| Step::Read { lba }),
    ]
}

/// What each block may hold after a cut: the last is what it holds now.
type Allowed = Vec<Vec<u8>>;

fn flagged(fua: bool) -> u8 {
    u8::from(fua) << 3
}

/// Sends one command, and keeps the account of what it promised.
fn step(unit: &LogicalUnit, nexus: &Nexus, allowed: &mut Allowed, step: &Step) {
    let now = |allowed: &Allowed, lba: u16| *allowed[usize::from(lba)].last().unwrap();
    let send = |cdb: &[u8], data: &[u8]| {
        let (done, _) = run(unit, nexus, cdb, data);
        assert_eq!(done.status, Status::Good, "{}", command_name(cdb));
    };
    let (changed, durable) = match *step {
        Step::Write { lba, value, opcode, fua } => {
            let verified = opcode == 0x2e;
            let flags = if verified { 2 } else { flagged(fua) };
            let data = [value; BLOCK_SIZE];
            match opcode {
                0x8a => send(&cdb16(opcode, flags, lba.into(), 1), &data),
                0xaa => send(&cdb12(opcode, flags, lba.into(), 1), &data),
                _ => send(&cdb10(opcode, flags, lba.into(), 1), &data),
            }
            (Some((lba, value)), (fua || verified).then_some(lba..lba + 1))
        }
        Step::CompareAndWrite { lba, value, fua } => {
            let data = [[now(allowed, lba); BLOCK_SIZE], [value; BLOCK_SIZE]].concat();
            send(&cdb16(0x89, flagged(fua), lba.into(), 1), &data);
            (Some((lba, value)), fua.then_some(lba..lba + 1))
        }
        Step::Or { lba, value, fua } => {
            send(&cdb16(0x8b, flagged(fua), lba.into(), 1), &[value; BLOCK_SIZE]);
            (Some((lba, now(allowed, lba) | value)), fua.then_some(lba..lba + 1))
        }
        Step::Unmap { lba } => {
            let list = unmap_list(&[(lba.into(), 1)]);
            send(&unmap_cdb(list.len()), &list);
            (Some((lba, 0)), None)
        }
        Step::Copy { from, to } => {
            let segment = copy_segment(from.into(), to.into(), 1);
            let list = copy_list(0, 0x18, &copy_party(), &segment);
            send(&copy_cdb(list.len()), &list);
            (Some((to, now(allowed, from))), None)
        }
        Step::Synchronize { opcode, lba, blocks } => {
            if opcode == 0x35 {
                send(&cdb10(opcode, 0, lba.into(), blocks), &[]);
            } else {
                send(&cdb16(opcode, 2, lba.into(), blocks.into()), &[]);
            }
            // No blocks: all from there to the end.
            (None, Some(lba..if blocks == 0 { BLOCKS } else { lba + blocks }))
        }
        Step::Read { lba } => {
            send(&cdb10(0x28, 0x08, lba.into(), 1), &[]);
            (None, Some(lba..lba + 1))
        }
    };
    if let Some((lba, value)) = changed {
        allowed[usize::from(lba)].push(value);
    }
    for lba in durable.into_iter().flatten() {
        let values = &mut allowed[usize::from(lba)];
        values.drain(..values.len() - 1);
    }
}

/// The first block that a cut would leave with something that was never allowed.
fn broken(kept: &[u8], allowed: &Allowed) -> Option<usize> {
    kept.chunks(BLOCK_SIZE).zip(allowed).position(|(block, allowed)| {
        block.iter().any(|byte| byte != &block[0]) || !allowed.contains(&block[0])
    })
}

fn walk(lies: bool, steps: &[Step]) -> Option<(usize, usize)> {
    let cache = Cache::new(lies);
    let unit = LogicalUnit::new(Box::new(Arc::clone(&cache)), identity()).unwrap();
    let nexus = quiet(&unit, Access::ReadWrite);
    let mut allowed = vec![vec![0]; BLOCKS.into()];
    steps.iter().enumerate().find_map(|(index, it)| {
        step(&unit, &nexus, &mut allowed, it);
        let found = broken(&cache.kept.lock().unwrap(), &allowed);
        found.map(|lba| (index, lba))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_takes_nothing_that_was_promised(
        steps in proptest::collection::vec(any_step(), 1..40),
    ) {
        prop_assert_eq!(walk(false, &steps), None, "(step, block)");
    }
}

/// The check can fail: each way to ask for durability finds out a medium that does not give it.
#[test]
fn a_flush_that_does_nothing_is_found_out() {
    let write = |opcode, fua| Step::Write { lba: 3, value: 7, opcode, fua };
    let sync = |opcode, blocks| Step::Synchronize { opcode, lba: 3, blocks };
    for promise in [
        vec![write(0x2a, true)],
        vec![write(0x8a, true)],
        vec![write(0x2e, false)],
        vec![Step::CompareAndWrite { lba: 3, value: 7, fua: true }],
        vec![Step::Or { lba: 3, value: 7, fua: true }],
        vec![write(0x2a, false), sync(0x35, 1)],
        vec![write(0x2a, false), sync(0x91, 0)],
        vec![write(0x2a, false), Step::Read { lba: 3 }],
    ] {
        assert_eq!(walk(false, &promise), None, "{promise:?}");
        assert_eq!(walk(true, &promise), Some((promise.len() - 1, 3)), "{promise:?}");
    }
}
