//! What the target counts, against what was really sent over the wire: every number is exact.
//!
//! An answer is counted before it is sent, so whoever has the answer sees the number. Numbers belong
//! to the grant: they outlive its sessions and go with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use osds_iscsi::scsi::Access;
use osds_iscsi::{Errors, LoginRefusals, Name, Usage};

use crate::initiator::{Data, Io, Options, Session};
use crate::scene::{ALICE, BOB, DISK, SIZE, Scene, eventually, refused};

fn of(scene: &Scene, initiator: &str) -> Option<Usage> {
    let mut export = scene.target.usage_of(DISK).unwrap();
    export.initiators.remove(&Name::new(initiator).unwrap())
}

/// Numbers of a session's own start (POWER ON, the block size) taken away.
fn since(before: &Usage, now: &Usage) -> (u64, u64, u64, u64, u64, Errors) {
    let errors = Errors {
        unit_attention: now.errors.unit_attention - before.errors.unit_attention,
        ..now.errors
    };
    (
        now.reads.count() - before.reads.count(),
        now.writes.count() - before.writes.count(),
        now.flushes.count() - before.flushes.count(),
        now.read_bytes - before.read_bytes,
        now.written_bytes - before.written_bytes,
        errors,
    )
}

fn compare_and_write(session: &mut Session, old: u8, new: u8) -> u8 {
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x89, 1);
    let data = [[old; 512], [new; 512]].concat();
    session.command(&cdb, Data::Out(data.into())).unwrap().status
}

fn reserve_out(session: &mut Session, action: u8, kind: u8, key: u64, new_key: u64) -> u8 {
    let list = [key.to_be_bytes(), new_key.to_be_bytes(), [0; 8]].concat();
    let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    session.command(&cdb, Data::Out(list.into())).unwrap().status
}

#[test]
fn counts_are_exact() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    alice.block_size().unwrap();
    let before = of(&scene, ALICE).unwrap();
    assert_eq!((before.sessions, before.logins, before.errors.unit_attention), (1, 1, 1));
    assert_eq!(before.others, 2, "TEST UNIT READY and READ CAPACITY");
    for lba in 0..7 {
        alice.write(lba, &[1; 512]).unwrap();
    }
    alice.write(100, &vec![2; 300 << 10]).unwrap();
    for lba in 0..5 {
        alice.read(lba, 2).unwrap();
    }
    alice.read(100, 600).unwrap();
    alice.flush().unwrap();
    alice.unmap(2000, 8).unwrap();
    assert_eq!(compare_and_write(&mut alice, 1, 3), 0);
    assert_eq!(compare_and_write(&mut alice, 1, 3), 2);
    // Beyond the end: wrong, not a failure of the medium.
    assert!(alice.read(SIZE as u64 / 512, 1).is_err());
    let after = of(&scene, ALICE).unwrap();
    let errors = Errors { miscompare: 1, illegal_request: 1, ..Errors::default() };
    let read = 5 * 1024 + 600 * 512;
    let written = 7 * 512 + (300 << 10) + 512;
    assert_eq!(since(&before, &after), (6, 8, 1, read, written, errors));
    assert_eq!((after.discards, after.compare_and_writes, after.others), (1, 1, 2));
    let idle = of(&scene, BOB).unwrap();
    assert_eq!(idle, Usage::default());
}

#[test]
fn what_a_reader_or_a_stranger_to_the_reservation_may_not_is_counted() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let mut bob = scene.login(BOB).unwrap();
    alice.test_unit_ready().unwrap();
    bob.block_size().unwrap();
    for _ in 0..3 {
        assert!(bob.write(0, &[9; 512]).is_err());
    }
    assert_eq!(reserve_out(&mut alice, 0, 0, 0, 0xa), 0);
    // Exclusive access: nobody else even reads.
    assert_eq!(reserve_out(&mut alice, 1, 3, 0xa, 0), 0);
    for _ in 0..2 {
        assert!(bob.read(0, 1).is_err());
    }
    let usage = of(&scene, BOB).unwrap();
    let errors = Errors {
        write_protected: 3,
        reservation_conflict: 2,
        unit_attention: 1,
        ..Errors::default()
    };
    assert_eq!((usage.errors, usage.reads.count(), usage.read_bytes), (errors, 0, 0));
    assert_eq!((usage.writes.count(), usage.written_bytes), (0, 0));
    assert_eq!(of(&scene, ALICE).unwrap().errors.reservation_conflict, 0);
}

#[test]
fn counts_outlive_sessions_and_go_with_the_grant() {
    let scene = Scene::new();
    for round in 1..=3 {
        let options = Options { isid: [0x80, 0, 0, 0, 0, round], ..Options::default() };
        let mut session = scene.login_with(ALICE, &options).unwrap();
        session.write(0, &[1; 512]).unwrap();
        let usage = of(&scene, ALICE).unwrap();
        assert_eq!((usage.sessions, usage.logins), (1, u64::from(round)));
        session.logout().unwrap();
        eventually("the session is gone", || scene.sessions() == 0);
    }
    let usage = of(&scene, ALICE).unwrap();
    assert_eq!((usage.writes.count(), usage.written_bytes, usage.sessions), (3, 3 * 512, 0));
    // Granting again changes nothing; taking it away does.
    scene.target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
    assert_eq!(of(&scene, ALICE).unwrap().writes.count(), 3);
    scene.target.revoke(DISK, ALICE).unwrap();
    assert_eq!(of(&scene, ALICE), None);
    scene.target.grant(DISK, ALICE, Access::ReadOnly, None).unwrap();
    assert_eq!(of(&scene, ALICE), Some(Usage::default()));
}

#[test]
fn strangers_are_counted_and_not_remembered() {
    let scene = Scene::new();
    for number in 0..20 {
        assert_eq!(refused(scene.login(&format!("iqn.x:stranger-{number}"))), (2, 3));
        let elsewhere = format!("iqn.x:nothing-{number}");
        assert_eq!(refused(Session::login(scene.portal, ALICE, &elsewhere)), (2, 3));
    }
    let usage = scene.target.usage();
    let turned_away = LoginRefusals { not_granted: 20, ..LoginRefusals::default() };
    assert_eq!(usage.refusals, turned_away);
    let (names, exports): (Vec<_>, Vec<_>) = usage.exports.into_iter().unzip();
    assert_eq!(names.iter().map(Name::as_str).collect::<Vec<_>>(), [DISK]);
    assert_eq!(exports[0].refusals, turned_away);
    assert_eq!(exports[0].initiators.len(), 2, "alice and bob, and nobody who only knocked");
}

#[test]
fn reading_them_all_the_time_disturbs_nobody() {
    const COMMANDS: u64 = 20_000;
    let scene = Scene::new();
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let usage = of(&scene, ALICE).unwrap();
                assert!(usage.reads.count() >= last, "a counter went back");
                last = usage.reads.count();
            }
        });
        let mut alice = scene.login(ALICE).unwrap();
        alice.block_size().unwrap();
        let mut left = COMMANDS;
        let next = || {
            left = left.checked_sub(1)?;
            Some(Io::Read { lba: left % 64, blocks: 8 })
        };
        alice.pipeline(32, next, |_, answer| assert_eq!(answer.status, 0)).unwrap();
        done.store(true, Ordering::Relaxed);
    });
    let usage = of(&scene, ALICE).unwrap();
    assert_eq!((usage.reads.count(), usage.read_bytes), (COMMANDS, COMMANDS * 4096));
}
