//! Writes held back while the blocks are copied, over real sockets.
//!
//! The promise: what is copied meanwhile is one moment. Two hosts write numbered blocks, each in
//! order, and say in each block how much of the other's they had seen answered; a third reads all
//! of it block by block. A copy is of one moment if neither has a gap nor points at something that
//! is missing. Without holding the writes the same copy must be caught (the sabotage).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use osds_iscsi::TargetError;
use osds_iscsi::scsi::Access;

use crate::initiator::Session;
use crate::reserve::CAROL;
use crate::scene::{ALICE, BOB, DISK, Scene, eventually};

const BLOCK: usize = 512;
const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
const LONG: Duration = Duration::from_secs(60);
/// As many blocks has each writer.
const MOST: u64 = 3000;

fn number(block: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(block[at..at + 8].try_into().unwrap())
}

/// Writes numbered blocks from `base` until told to stop, and tells how many were answered.
fn write_on(
    session: &mut Session,
    base: u64,
    own: &AtomicU64,
    other: &AtomicU64,
    stop: &AtomicBool,
) {
    for n in 1..=MOST {
        if stop.load(SeqCst) {
            return;
        }
        let mut block = vec![0; BLOCK];
        block[..8].copy_from_slice(&n.to_be_bytes());
        block[8..16].copy_from_slice(&other.load(SeqCst).to_be_bytes());
        // Its end: a torn block has none.
        block[BLOCK - 8..].copy_from_slice(&n.to_be_bytes());
        session.write(base + n, &block).unwrap();
        own.store(n, SeqCst);
    }
}

/// How many blocks of a writer are in the copy, and how many of the other's the last one saw; none
/// when there is a gap or a torn block.
fn prefix(blocks: &[Vec<u8>]) -> Option<(u64, u64)> {
    let (mut last, mut seen, mut ended) = (0, 0, false);
    for (n, block) in (1..).zip(blocks) {
        let (head, tail) = (number(block, 0), number(block, BLOCK - 8));
        ended |= head == 0 && tail == 0;
        if ended && (head, tail) != (0, 0) || !ended && (head, tail) != (n, n) {
            return None;
        }
        if !ended {
            (last, seen) = (n, number(block, 8));
        }
    }
    Some((last, seen))
}

/// Whether a copy that is made while two write is of one moment, and has all that was answered
/// before.
fn is_of_one_moment(held: bool) -> bool {
    let scene = Scene::new();
    scene.medium.be_ragged();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, None).unwrap();
    let (mut alice, mut carol) = (scene.login(ALICE).unwrap(), scene.login(CAROL).unwrap());
    let mut bob = scene.login(BOB).unwrap();
    let (a, c, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| write_on(&mut alice, 0, &a, &c, &stop));
        scope.spawn(|| write_on(&mut carol, 4000, &c, &a, &stop));
        eventually("both have begun", || a.load(SeqCst) > 20 && c.load(SeqCst) > 20);
        let hold = held.then(|| scene.target.hold_writes(DISK, LONG).unwrap());
        let before = (a.load(SeqCst), c.load(SeqCst));
        // Reads go on. As far as there can be something: what comes after is empty.
        let mut copy = |base: u64, most: u64| -> Vec<Vec<u8>> {
            (1..=most).map(|n| bob.read(base + n, 1).unwrap()).collect()
        };
        let of_alice = copy(0, before.0 + 200);
        let of_carol = copy(4000, before.1 + 200);
        let in_force = hold.is_none_or(osds_iscsi::Held::end);
        stop.store(true, SeqCst);
        let (Some((alices, saw_c)), Some((carols, saw_a))) = (prefix(&of_alice), prefix(&of_carol))
        else {
            return false;
        };
        in_force && alices >= before.0 && carols >= before.1 && saw_a <= alices && saw_c <= carols
    })
}

#[test]
fn what_is_copied_while_writes_are_held_is_one_moment() {
    for _ in 0..5 {
        assert!(is_of_one_moment(true));
    }
}

#[test]
fn sabotage_a_copy_beside_the_writers_is_caught() {
    assert!((0..20).any(|_| !is_of_one_moment(false)));
}

#[test]
fn a_write_waits_and_is_answered_when_it_ends() {
    let scene = Scene::new();
    let (mut alice, mut bob) = (scene.login(ALICE).unwrap(), scene.login(BOB).unwrap());
    alice.write(7, &[1; BLOCK]).unwrap();
    let held = scene.target.hold_writes(DISK, LONG).unwrap();
    assert!(matches!(scene.target.hold_writes(DISK, LONG), Err(TargetError::StillWriting(_))));
    let answered = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            alice.write(7, &[2; BLOCK]).unwrap();
            answered.store(true, SeqCst);
        });
        for _ in 0..100 {
            assert_eq!(bob.read(7, 1).unwrap(), [1; BLOCK]);
        }
        assert!(!answered.load(SeqCst));
        assert!(held.end());
    });
    assert!(answered.load(SeqCst));
    assert_eq!(bob.read(7, 1).unwrap(), [2; BLOCK]);
}

#[test]
fn a_host_whose_write_waits_is_put_out_at_once() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let held = scene.target.hold_writes(DISK, LONG).unwrap();
    std::thread::scope(|scope_| {
        let writing = scope_.spawn(|| alice.write(7, &[2; BLOCK]).is_err());
        let begun = Instant::now();
        scene.target.revoke(DISK, ALICE).unwrap();
        assert!(begun.elapsed() < LONG / 2);
        assert!(writing.join().unwrap());
    });
    assert!(held.end());
    assert_eq!(scene.medium.writes(), 0);
}

#[test]
fn a_write_that_waits_is_found_by_task_management_and_never_runs() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    alice.block_size().unwrap();
    let held = scene.target.hold_writes(DISK, LONG).unwrap();
    let tags = [7, 8].map(|at| alice.submit_write(at, &vec![2; BLOCK].into()).unwrap());
    // Answered in its turn: both are there, and wait.
    assert_eq!(alice.queue().echo(b"there?").unwrap(), b"there?");
    assert_eq!(alice.queue().task_management(1, LUN, tags[0]).unwrap(), 0, "ABORT TASK");
    alice.queue().forget(tags[0]);
    assert_eq!(alice.queue().task_management(1, LUN, tags[0]).unwrap(), 1, "it is gone");
    assert!(held.end());
    let (answered, answer) = alice.queue().complete().unwrap();
    answer.good().unwrap();
    assert_eq!((answered, scene.medium.writes()), (tags[1], 1));
    assert_eq!(alice.read(7, 2).unwrap(), [[0; BLOCK], [2; BLOCK]].concat());
}

#[test]
fn it_ends_by_itself_and_says_so() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let held = scene.target.hold_writes(DISK, Duration::from_millis(20)).unwrap();
    alice.write(7, &[1; BLOCK]).unwrap();
    assert!(!held.end());
}

#[test]
fn a_write_that_is_stuck_in_the_medium_is_not_waited_for_for_ever() {
    let scene = Scene::new();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, None).unwrap();
    let (mut alice, mut carol) = (scene.login(ALICE).unwrap(), scene.login(CAROL).unwrap());
    scene.medium.stick(100);
    std::thread::scope(|scope_| {
        scope_.spawn(|| alice.write(100, &[1; BLOCK]).unwrap());
        scene.medium.wait_stuck(1);
        let held = scene.target.hold_writes(DISK, Duration::from_millis(50));
        assert!(matches!(held, Err(TargetError::StillWriting(_))));
        carol.write(7, &[1; BLOCK]).unwrap();
        scene.medium.unstick();
    });
    assert!(scene.target.hold_writes(DISK, LONG).unwrap().end());
}
