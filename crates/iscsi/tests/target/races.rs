//! Several hosts on the same blocks at the same time, over real sockets.
//!
//! Three promises, each with a sabotage that its check must catch: no increment by COMPARE AND WRITE is
//! lost; when a PREEMPT is answered, every write of the preempted host has landed or never will; a
//! READ sees each WRITE of several blocks wholly or not at all. The medium moves half blocks and
//! lets others go in between, so that what the target does not keep apart is torn. `cargo xtask soak
//! caw` and `cargo xtask soak fence` run the first two for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use osds_iscsi::scsi::Access;

use crate::initiator::{Data, Options, Session};
use crate::reserve::{CAROL, PREEMPT_AND_ABORT, REGISTER, RESERVE, keys, order, out};
use crate::scene::{ALICE, BOB, DISK, Scene, eventually, unit};
use crate::tasks::solicited;

const BLOCK: usize = 512;
/// The same medium behind another unit, which shares no lock with the first: the sabotage.
const OTHER: &str = "iqn.2026-01.org.example:other";
const REGISTER_AND_IGNORE: u8 = 6;

/// How many rounds: few, unless somebody asks for more.
fn rounds(variable: &str, few: u64) -> (u64, bool) {
    match std::env::var(variable) {
        Ok(text) => (text.parse().expect("a number of rounds"), true),
        Err(_) => (few, false),
    }
}

/// A scene on a ragged medium, with a third host, and with the other unit.
fn ragged() -> Scene {
    let scene = Scene::new();
    scene.medium.be_ragged();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, None).unwrap();
    scene.target.export(OTHER, unit(&scene.medium, 2)).unwrap();
    scene.target.grant(OTHER, CAROL, Access::ReadWrite, None).unwrap();
    scene
}

/// Swaps block 5 if it is still `old`.
fn compare_and_write(session: &mut Session, old: &[u8], new: &[u8]) -> bool {
    let mut cdb = [0; 16];
    (cdb[0], cdb[9], cdb[13]) = (0x89, 5, 1);
    let answer = session.command(&cdb, Data::Out([old, new].concat().into())).unwrap();
    if answer.status == 0 {
        return true;
    }
    assert_eq!((answer.sense[2] & 0x0f, answer.sense[12]), (0x0e, 0x1d), "a miscompare");
    assert_eq!(answer.sense[0], 0xf0, "with its offset");
    false
}

/// Two sessions increment a counter `each` times; how many increments were lost, and how many
/// comparisons failed and were tried again.
fn race_to_count(scene: &Scene, sessions: [Session; 2], each: u64) -> (u64, u64) {
    let count = |session: &mut Session| {
        let mut held = session.read(5, 1).unwrap();
        let (mut done, mut missed) = (0, 0);
        while done < each {
            let mut next = held.clone();
            let count = u64::from_be_bytes(held[..8].try_into().unwrap()) + 1;
            next[..8].copy_from_slice(&count.to_be_bytes());
            if compare_and_write(session, &held, &next) {
                (done, held) = (done + 1, next);
            } else {
                (missed, held) = (missed + 1, session.read(5, 1).unwrap());
            }
        }
        missed
    };
    let missed = std::thread::scope(|scope| {
        let counting = sessions.map(|mut session| scope.spawn(move || count(&mut session)));
        counting.map(|thread| thread.join().unwrap()).iter().sum()
    });
    let counted = &scene.medium.snapshot()[5 * BLOCK..][..8];
    (2 * each - u64::from_be_bytes(counted.try_into().unwrap()), missed)
}

#[test]
fn two_sessions_lose_no_increment() {
    let (total, soak) = rounds("OSDS_CAW_ROUNDS", 20_000);
    let scene = Scene::new();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, None).unwrap();
    let begun = Instant::now();
    let sessions = [ALICE, CAROL].map(|host| scene.login(host).unwrap());
    let (lost, missed) = race_to_count(&scene, sessions, total / 2);
    if soak {
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{total} increments by two hosts, {lost} lost, {missed} tried again, {seconds:.1} s"
        );
    }
    assert_eq!(lost, 0);
}

#[test]
fn sabotage_a_comparison_without_a_lock_loses_increments() {
    let lost = (0..50).any(|_| {
        let scene = ragged();
        let other = Session::login(scene.portal, CAROL, OTHER).unwrap();
        race_to_count(&scene, [scene.login(ALICE).unwrap(), other], 100).0 > 0
    });
    assert!(lost, "two units over one medium keep nothing apart");
}

const SLOTS: u64 = 16;
const SLOT: usize = 8;

/// A write of one slot: its stamp in every eight bytes.
fn stamped(stamp: u64) -> Arc<[u8]> {
    stamp.to_be_bytes().repeat(SLOT * BLOCK / 8).into()
}

/// Alice writes all slots at once, again and again, until a write is refused. The stamp that each
/// slot must have: the last that was answered GOOD.
fn write_until_fenced(session: &mut Session, mut stamp: u64) -> [u64; SLOTS as usize] {
    let mut expected = [0; SLOTS as usize];
    session.block_size().unwrap();
    let mut fenced = false;
    while !fenced {
        let mut tags = vec![];
        for slot in 0..SLOTS {
            stamp += 1;
            let tag = session.submit_write(slot * SLOT as u64, &stamped(stamp)).unwrap();
            tags.push((tag, stamp));
        }
        for (slot, (tag, stamp)) in tags.into_iter().enumerate() {
            let answer = session.queue().wait(tag).unwrap();
            match answer.status {
                0x00 => expected[slot] = stamp,
                // RESERVATION CONFLICT, TASK ABORTED, or the news of the preemption.
                0x18 | 0x40 => fenced = true,
                0x02 => {
                    assert_eq!((answer.sense[2], answer.sense[12]), (6, 0x2a));
                    fenced = true;
                }
                other => panic!("status {other:x}"),
            }
        }
    }
    expected
}

#[test]
fn a_preempted_sessions_writes_complete_before_the_answer_or_never() {
    let (rounds, soak) = rounds("OSDS_FENCE_ROUNDS", 30);
    let scene = ragged();
    let mut carol = scene.login(CAROL).unwrap();
    assert_eq!(out(&mut carol, REGISTER, 0, (0, 0xc)), 0);
    assert_eq!(out(&mut carol, RESERVE, 5, (0xc, 0)), 0);
    let (begun, first) = (Instant::now(), scene.medium.writes());
    for round in 0..rounds {
        // Every other round with data that the target has to ask for.
        let options = if round % 2 == 0 { Options::default() } else { solicited() };
        let mut alice = scene.login_with(ALICE, &options).unwrap();
        assert_eq!(out(&mut alice, REGISTER_AND_IGNORE, 0, (0, 0xa)), 0);
        let before = scene.medium.writes();
        let writing = std::thread::spawn(move || write_until_fenced(&mut alice, (round + 1) << 32));
        eventually("she writes", || scene.medium.writes() > before + SLOTS + round % 37);
        assert_eq!(out(&mut carol, PREEMPT_AND_ABORT, 5, (0xc, 0xa)), 0);
        let (writes, seen) = (scene.medium.writes(), scene.medium.snapshot());
        let expected = writing.join().unwrap();
        assert_eq!(scene.medium.writes(), writes, "round {round}: a write landed afterwards");
        assert!(scene.medium.snapshot() == seen, "round {round}: a block changed afterwards");
        for (slot, stamp) in expected.into_iter().enumerate() {
            let at = slot * SLOT * BLOCK;
            assert!(seen[at..][..SLOT * BLOCK] == *stamped(stamp), "round {round}, slot {slot}");
        }
        assert_eq!(keys(&mut carol), [0xc]);
    }
    if soak {
        let (writes, seconds) = (scene.medium.writes() - first, begun.elapsed().as_secs_f64());
        println!("{rounds} preemptions among {writes} writes: none landed late, {seconds:.1} s");
    }
}

/// Fences while a write is with the medium. The PREEMPT is on its way; `wait` returns when it takes
/// the other for fenced. Whether a write lands after that.
fn lands_afterwards(wait: impl FnOnce(&mut Session, &Scene)) -> bool {
    let scene = ragged();
    let (mut alice, mut carol) = (scene.login(ALICE).unwrap(), scene.login(CAROL).unwrap());
    assert_eq!(out(&mut carol, REGISTER, 0, (0, 0xc)), 0);
    assert_eq!(out(&mut carol, RESERVE, 5, (0xc, 0)), 0);
    assert_eq!(out(&mut alice, REGISTER, 0, (0, 0xa)), 0);
    scene.medium.hold();
    let writing = std::thread::spawn(move || write_until_fenced(&mut alice, 0));
    scene.medium.wait_held();
    let (cdb, list) = order(PREEMPT_AND_ABORT, 5, (0xc, 0xa), 0, &[]);
    carol.queue().submit(&cdb, list).unwrap();
    carol.queue().wire().flush().unwrap();
    wait(&mut carol, &scene);
    let seen = scene.medium.snapshot();
    scene.medium.release();
    while carol.queue().in_flight() > 0 {
        assert_eq!(carol.queue().complete().unwrap().1.status, 0);
    }
    writing.join().unwrap();
    scene.medium.snapshot() != seen
}

#[test]
fn sabotage_who_does_not_wait_for_the_answer_has_fenced_nobody() {
    assert!(lands_afterwards(|_, _| {}));
    assert!(!lands_afterwards(|carol, scene| {
        scene.medium.release();
        assert_eq!(carol.queue().complete().unwrap().1.status, 0);
    }));
}

/// Two hosts write overlapping pieces, a third reads both at once; how many reads were torn.
fn torn_reads(writers: [Session; 2], mut reader: Session, each: u64) -> u64 {
    const PIECE: usize = 16;
    const LAP: usize = 8;
    let running = AtomicBool::new(true);
    let write = |session: &mut Session, at: u64, first: u64| {
        for step in 0..each {
            let data = (first + step).to_be_bytes().repeat(PIECE * BLOCK / 8);
            session.write(at, &data).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let write = &write;
        let [mut low, mut high] = writers;
        low.write(0, &[0; (PIECE + LAP) * BLOCK]).unwrap();
        let low = scope.spawn(move || write(&mut low, 0, 1));
        let high = scope.spawn(move || write(&mut high, LAP as u64, 1 << 40));
        let reading = scope.spawn(|| {
            let mut torn = 0;
            while running.load(Ordering::SeqCst) {
                let data = reader.read(0, (PIECE + LAP) as u32).unwrap();
                let stamp = |at: usize| &data[at * BLOCK..][..8];
                let whole = [0, LAP, PIECE].iter().all(|&at| {
                    data[at * BLOCK..][..LAP * BLOCK].chunks(8).all(|it| it == stamp(at))
                });
                // Who wrote the middle last has written one of the ends with it.
                let fits = stamp(LAP) == stamp(0) || stamp(LAP) == stamp(PIECE);
                torn += u64::from(!(whole && fits));
            }
            torn
        });
        low.join().unwrap();
        high.join().unwrap();
        running.store(false, Ordering::SeqCst);
        reading.join().unwrap()
    })
}

#[test]
fn a_read_sees_each_write_of_several_blocks_wholly_or_not() {
    let scene = ragged();
    let writers = [ALICE, CAROL].map(|host| scene.login(host).unwrap());
    assert_eq!(torn_reads(writers, scene.login(BOB).unwrap(), 300), 0);
}

#[test]
fn sabotage_units_that_do_not_share_their_locks_tear() {
    let torn = (0..50).any(|_| {
        let scene = ragged();
        let other = Session::login(scene.portal, CAROL, OTHER).unwrap();
        let writers = [scene.login(ALICE).unwrap(), other];
        torn_reads(writers, scene.login(BOB).unwrap(), 20) > 0
    });
    assert!(torn, "two units over one medium keep nothing apart");
}
