//! One slow command: what it holds up, and what it must not.
//!
//! A block of the medium is stuck: who touches it stays inside the backend until the test lets go.
//! `goes_on` is the check that everything else of the session goes on; a session whose commands
//! are ordered behind the slow one must fail it (the sabotage), or it proves nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use osds_iscsi::pdu::request::{Logout, NopOut, ScsiCommand, TaskManagement};
use osds_iscsi::pdu::{NO_TAG, Request, Response};
use osds_iscsi::scsi::Access;
use osds_iscsi::{Limits, TargetError};

use crate::initiator::{Data, Error, Session, Tag};
use crate::scene::{ALICE, BOB, DISK, PATIENCE, Scene, eventually, noise};

const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
const STUCK: u64 = 100;
const ELSEWHERE: u64 = 7;

const SIMPLE: u8 = 1;
const ORDERED: u8 = 2;
const HEAD_OF_QUEUE: u8 = 3;

/// Sends a READ of one block with a task attribute, and waits for nothing.
fn send_read(session: &mut Session, lba: u64, attribute: u8) -> Tag {
    let itt = session.queue().take_tag();
    send_read_as(session, itt, lba, attribute);
    itt
}

fn send_read_as(session: &mut Session, itt: Tag, lba: u64, attribute: u8) {
    let queue = session.queue();
    let mut cdb = [0; 16];
    (cdb[0], cdb[5], cdb[8]) = (0x28, lba as u8, 1);
    let command = ScsiCommand {
        immediate: false,
        is_final: true,
        read: true,
        write: false,
        attribute,
        lun: LUN,
        itt,
        expected_len: 512,
        cmd_sn: queue.take_cmd_sn(),
        exp_stat_sn: 0,
        cdb,
    };
    queue.wire().push(&Request::ScsiCommand(command), &[]);
    queue.wire().flush().unwrap();
}

fn send_function(session: &mut Session, function: u8, referenced_task: Tag) -> Tag {
    let queue = session.queue();
    let itt = queue.take_tag();
    let request = TaskManagement {
        immediate: true,
        function,
        lun: LUN,
        itt,
        referenced_task,
        cmd_sn: 0,
        exp_stat_sn: 0,
        ref_cmd_sn: 0,
        exp_data_sn: 0,
    };
    queue.wire().push(&Request::TaskManagement(request), &[]);
    queue.wire().flush().unwrap();
    itt
}

/// Sends a ping that needs no place in the window.
fn send_nop(session: &mut Session) -> Tag {
    let queue = session.queue();
    let itt = queue.take_tag();
    let nop = NopOut { immediate: true, lun: [0; 8], itt, ttt: NO_TAG, cmd_sn: 0, exp_stat_sn: 0 };
    queue.wire().push(&Request::NopOut(nop), &[]);
    queue.wire().flush().unwrap();
    itt
}

/// The task tag and SCSI status of the next answer; a ping or a function counts as GOOD.
fn next_answer(session: &mut Session) -> (Tag, u8) {
    match session.queue().wire().receive_owned().unwrap().0 {
        Response::DataIn(pdu) => (pdu.itt, pdu.status.expect("one PDU")),
        Response::ScsiResponse(pdu) => (pdu.itt, pdu.status),
        Response::NopIn(pdu) => (pdu.itt, 0),
        Response::TaskManagement(pdu) => (pdu.itt, pdu.response),
        other => panic!("{other:?}"),
    }
}

/// A read of `session` is stuck in the medium, with nothing else under way.
fn stuck_read(scene: &Scene, session: &mut Session) -> Tag {
    session.test_unit_ready().ok();
    scene.medium.stick(STUCK);
    let stuck = send_read(session, STUCK, SIMPLE);
    scene.medium.wait_stuck(1);
    stuck
}

/// While a read is stuck, a ping and a read elsewhere are answered. `attribute` is that of the read
/// elsewhere. Ends with everything answered.
fn goes_on(attribute: u8) -> bool {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let stuck = stuck_read(&scene, &mut session);
    let ping = send_nop(&mut session);
    assert_eq!(next_answer(&mut session), (ping, 0));
    let elsewhere = send_read(&mut session, ELSEWHERE, attribute);
    // A second ping behind it, so that "not answered" needs no waiting.
    let went_on = if attribute == ORDERED {
        let ping = send_nop(&mut session);
        let answered = next_answer(&mut session).0 != ping;
        assert_eq!(scene.medium.stuck(), 1);
        answered
    } else {
        next_answer(&mut session) == (elsewhere, 0)
    };
    scene.medium.unstick();
    let mut rest = vec![next_answer(&mut session)];
    if !went_on {
        rest.push(next_answer(&mut session));
    }
    assert!(rest.contains(&(stuck, 0)), "{rest:?}");
    went_on
}

#[test]
fn a_slow_command_does_not_hold_up_its_session() {
    assert!(goes_on(SIMPLE));
    assert!(goes_on(HEAD_OF_QUEUE));
}

#[test]
fn sabotage_a_session_that_runs_one_after_the_other_is_caught() {
    assert!(!goes_on(ORDERED));
}

#[test]
fn an_ordered_task_waits_for_the_earlier_and_the_later_wait_for_it() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let first = stuck_read(&scene, &mut session);
    let ordered = send_read(&mut session, 1, ORDERED);
    let later = send_read(&mut session, 2, SIMPLE);
    // It passes both.
    let urgent = send_read(&mut session, 3, HEAD_OF_QUEUE);
    assert_eq!(next_answer(&mut session), (urgent, 0));
    scene.medium.unstick();
    for expected in [first, ordered, later] {
        assert_eq!(next_answer(&mut session), (expected, 0));
    }
}

#[test]
fn a_slow_command_does_not_hold_up_another_host_or_its_revoke() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let mut bob = scene.login(BOB).unwrap();
    let stuck = stuck_read(&scene, &mut alice);
    bob.read(ELSEWHERE, 1).unwrap();
    let begun = Instant::now();
    scene.target.revoke(DISK, BOB).unwrap();
    assert!(begun.elapsed() < PATIENCE / 2);
    scene.medium.unstick();
    assert_eq!(next_answer(&mut alice), (stuck, 0));
}

#[test]
fn a_revoke_of_the_slow_one_tells_that_it_drains_and_drops_what_waits() {
    let limits = Limits { drain_timeout: Duration::from_millis(30), ..Limits::default() };
    let scene = Scene::with(limits);
    let mut alice = scene.login(ALICE).unwrap();
    stuck_read(&scene, &mut alice);
    // Parked behind the stuck one; it would get stuck as well.
    send_read(&mut alice, STUCK, ORDERED);
    let ping = send_nop(&mut alice);
    assert_eq!(next_answer(&mut alice), (ping, 0));
    let draining = scene.target.revoke(DISK, ALICE);
    assert!(matches!(draining, Err(TargetError::StillDraining { sessions: 1 })), "{draining:?}");
    assert_eq!(scene.medium.stuck(), 1);
    scene.medium.unstick();
    eventually("drained", || scene.target.revoke(DISK, ALICE).is_ok());
    assert_eq!((scene.sessions(), scene.unit.nexuses()), (0, 0));
}

#[test]
fn an_abort_of_a_running_task_is_answered_when_it_has_ended_and_the_task_is_not() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let stuck = stuck_read(&scene, &mut session);
    let parked = send_read(&mut session, 1, ORDERED);
    let no_such = send_function(&mut session, 1, 4711);
    assert_eq!(next_answer(&mut session), (no_such, 1));
    let of_parked = send_function(&mut session, 1, parked);
    assert_eq!(next_answer(&mut session), (of_parked, 0));
    let of_stuck = send_function(&mut session, 1, stuck);
    let ping = send_nop(&mut session);
    assert_eq!(next_answer(&mut session), (ping, 0));
    scene.medium.unstick();
    assert_eq!(next_answer(&mut session), (of_stuck, 0));
    let ping = send_nop(&mut session);
    assert_eq!(next_answer(&mut session), (ping, 0), "neither of them is answered");
}

#[test]
fn a_reset_waits_for_slow_commands_of_all_and_holds_up_no_ping() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let mut bob = scene.login(BOB).unwrap();
    let stuck = stuck_read(&scene, &mut alice);
    let parked = send_read(&mut alice, 1, ORDERED);
    let ping = send_nop(&mut alice);
    assert_eq!(next_answer(&mut alice), (ping, 0));
    let reset = send_function(&mut bob, 5, 0);
    let ping = send_nop(&mut bob);
    assert_eq!(next_answer(&mut bob), (ping, 0), "the reset is still waiting");
    scene.medium.unstick();
    assert_eq!(next_answer(&mut bob), (reset, 0));
    assert_eq!(next_answer(&mut alice), (stuck, 0));
    assert_eq!(next_answer(&mut alice), (parked, 0x40), "TASK ABORTED");
}

/// A write of alice is stuck in the medium, for as long as the scene holds it.
fn stuck_write(scene: &Scene, alice: &mut Session) -> Tag {
    alice.block_size().unwrap();
    scene.medium.hold();
    let write = alice.submit_write(STUCK, &noise(1, 512).into()).unwrap();
    alice.queue().wire().flush().unwrap();
    scene.medium.wait_held();
    write
}

#[test]
fn who_waits_for_the_blocks_of_another_hosts_stuck_write_can_be_put_out() {
    let scene = Scene::new();
    let (mut alice, mut bob) = (scene.login(ALICE).unwrap(), scene.login(BOB).unwrap());
    let write = stuck_write(&scene, &mut alice);
    send_read(&mut bob, STUCK, SIMPLE);
    // A worker has this one only after that one.
    let elsewhere = send_read(&mut bob, ELSEWHERE, SIMPLE);
    assert_eq!(next_answer(&mut bob), (elsewhere, 0));
    scene.target.revoke(DISK, BOB).unwrap();
    assert_eq!((scene.sessions(), scene.medium.held()), (1, 1));
    scene.medium.release();
    assert_eq!(alice.queue().wait(write).unwrap().status, 0);
}

#[test]
fn a_reset_behind_a_stuck_write_keeps_nobody_in_and_holds_nobody_up() {
    let scene = Scene::new();
    let (mut alice, mut bob) = (scene.login(ALICE).unwrap(), scene.login(BOB).unwrap());
    let write = stuck_write(&scene, &mut alice);
    send_function(&mut bob, 5, 0);
    let ping = send_nop(&mut bob);
    assert_eq!(next_answer(&mut bob), (ping, 0), "the reset waits");
    // Several, so that the worker with the reset has got to where it waits.
    for _ in 0..50 {
        let read = send_read(&mut bob, ELSEWHERE, SIMPLE);
        assert_eq!(next_answer(&mut bob), (read, 0), "and other commands do not");
    }
    let begun = Instant::now();
    scene.target.revoke(DISK, BOB).unwrap();
    assert!(begun.elapsed() < PATIENCE / 2, "the reset waits as long as a revoke would");
    assert_eq!((scene.sessions(), scene.medium.held()), (1, 1));
    scene.medium.release();
    assert_eq!(alice.queue().wait(write).unwrap().status, 0);
    // The reset was not made: nobody is told of one.
    assert_eq!(alice.command(&[0; 6], Data::None).unwrap().status, 0);
}

#[test]
fn a_reset_that_takes_too_long_is_rejected_and_may_be_asked_for_again() {
    let limits = Limits { drain_timeout: Duration::from_millis(30), ..Limits::default() };
    let scene = Scene::with(limits);
    let (mut alice, mut bob) = (scene.login(ALICE).unwrap(), scene.login(BOB).unwrap());
    let write = stuck_write(&scene, &mut alice);
    for _ in 0..2 {
        let reset = send_function(&mut bob, 5, 0);
        assert_eq!(next_answer(&mut bob), (reset, 255));
    }
    scene.medium.release();
    assert_eq!(alice.queue().wait(write).unwrap().status, 0);
    let reset = send_function(&mut bob, 5, 0);
    assert_eq!(next_answer(&mut bob), (reset, 0));
    let told = alice.command(&[0; 6], Data::None).unwrap().good();
    assert!(matches!(told, Err(Error::CheckCondition { key: 6, asc: 0x29, .. })), "{told:?}");
}

#[test]
fn what_waits_for_the_blocks_of_another_host_ends_with_its_session() {
    let scene = Scene::new();
    let (mut alice, mut bob) = (scene.login(ALICE).unwrap(), scene.login(BOB).unwrap());
    let write = stuck_write(&scene, &mut alice);
    send_read(&mut bob, STUCK, SIMPLE);
    let elsewhere = send_read(&mut bob, ELSEWHERE, SIMPLE);
    assert_eq!(next_answer(&mut bob), (elsewhere, 0));
    drop(bob);
    eventually("the host that is gone", || scene.sessions() == 1);
    assert_eq!(scene.medium.held(), 1);
    scene.medium.release();
    assert_eq!(alice.queue().wait(write).unwrap().status, 0);
}

#[test]
fn a_reset_behind_a_stuck_command_of_its_own_is_rejected_in_time() {
    let limits = Limits { drain_timeout: Duration::from_millis(30), ..Limits::default() };
    let scene = Scene::with(limits);
    let mut alice = scene.login(ALICE).unwrap();
    stuck_write(&scene, &mut alice);
    let reset = send_function(&mut alice, 5, 0);
    assert_eq!(next_answer(&mut alice), (reset, 255));
    scene.medium.release();
    let ping = send_nop(&mut alice);
    assert_eq!(next_answer(&mut alice), (ping, 0), "the write is not answered");
}

#[test]
fn after_a_reset_the_tags_of_what_ran_are_free() {
    for function in [4, 5] {
        let scene = Scene::new();
        let mut session = scene.login(ALICE).unwrap();
        for _ in 0..100 {
            // Whatever the function before has left to tell.
            while session.test_unit_ready().is_err() {}
            scene.medium.stick(STUCK);
            let tag = send_read(&mut session, STUCK, SIMPLE);
            scene.medium.wait_stuck(1);
            let reset = send_function(&mut session, function, 0);
            let ping = send_nop(&mut session);
            assert_eq!(next_answer(&mut session), (ping, 0));
            scene.medium.unstick();
            assert_eq!(next_answer(&mut session), (reset, 0));
            send_read_as(&mut session, tag, ELSEWHERE, SIMPLE);
            assert_eq!(next_answer(&mut session).0, tag);
        }
    }
}

#[test]
fn who_logs_out_and_is_put_out_is_told_once() {
    let limits = Limits { drain_timeout: Duration::from_millis(20), ..Limits::default() };
    let scene = Scene::with(limits);
    let told = || {
        scene.target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
        let mut session = scene.login(ALICE).unwrap();
        stuck_read(&scene, &mut session);
        let ping = send_nop(&mut session);
        assert_eq!(next_answer(&mut session), (ping, 0));
        let wire = session.queue().wire();
        let logout =
            Logout { immediate: true, reason: 0, itt: 7, cid: 0, cmd_sn: 0, exp_stat_sn: 0 };
        wire.push(&Request::Logout(logout), &[]);
        wire.flush().unwrap();
        // Mostly it is read by then, and waits for what is stuck.
        (0..100).for_each(|_| std::thread::yield_now());
        assert!(scene.target.revoke(DISK, ALICE).is_err());
        scene.medium.unstick();
        let mut numbers = vec![];
        while let Ok((response, _)) = session.queue().wire().receive_owned() {
            numbers.push(match response {
                Response::Logout(pdu) => pdu.counters.stat_sn,
                Response::AsyncMessage(pdu) => pdu.counters.stat_sn,
                other => panic!("{other:?}"),
            });
        }
        eventually("drained", || scene.target.revoke(DISK, ALICE).is_ok());
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        numbers.len() == 2
    };
    eventually("the logout came first", told);
}

#[test]
fn functions_that_wait_are_limited() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let stuck = stuck_read(&scene, &mut session);
    let waiting: Vec<_> = (0..16).map(|_| send_function(&mut session, 1, stuck)).collect();
    let refused = send_function(&mut session, 1, stuck);
    assert_eq!(next_answer(&mut session), (refused, 255));
    scene.medium.unstick();
    for itt in waiting {
        assert_eq!(next_answer(&mut session), (itt, 0));
    }
}

#[test]
fn a_panic_in_the_backend_ends_only_its_session() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let mut bob = scene.login(BOB).unwrap();
    scene.medium.curse(STUCK);
    let lost = alice.read(STUCK, 1);
    assert!(matches!(lost, Err(Error::ConnectionLost(_))), "{lost:?}");
    bob.read(ELSEWHERE, 1).unwrap();
    eventually("the session is gone", || scene.sessions() == 1 && scene.unit.nexuses() == 1);
    scene.login(ALICE).unwrap().read(ELSEWHERE, 1).unwrap();
    scene.target.shutdown().unwrap();
}

#[test]
fn a_logout_is_answered_when_nothing_of_the_session_runs() {
    let scene = Arc::new(Scene::new());
    let mut session = scene.login(ALICE).unwrap();
    session.block_size().unwrap();
    scene.medium.stick(STUCK);
    session.submit_write(STUCK, &noise(1, 512).into()).unwrap();
    session.queue().wire().flush().unwrap();
    scene.medium.wait_stuck(1);
    let leaving = std::thread::spawn({
        let scene = Arc::clone(&scene);
        move || (session.logout(), scene.medium.writes())
    });
    for _ in 0..100 {
        assert!(!leaving.is_finished());
        std::thread::yield_now();
    }
    scene.medium.unstick();
    let (left, writes) = leaving.join().unwrap();
    assert!(left.is_ok(), "{left:?}");
    assert_eq!(writes, 1);
}

#[test]
fn slow_commands_keep_their_place_in_the_window() {
    let scene = Scene::with(Limits { queue_depth: 4, ..Limits::default() });
    let mut session = scene.login(ALICE).unwrap();
    session.test_unit_ready().ok();
    scene.medium.stick(STUCK);
    for _ in 0..6 {
        send_read(&mut session, STUCK, SIMPLE);
    }
    let ping = send_nop(&mut session);
    assert_eq!(next_answer(&mut session), (ping, 0));
    scene.medium.unstick();
    for _ in 0..4 {
        assert_eq!(next_answer(&mut session).1, 0);
    }
    let ping = send_nop(&mut session);
    assert_eq!(next_answer(&mut session), (ping, 0), "two were outside the window");
}

#[test]
fn many_slow_reads_share_the_memory_of_a_few() {
    const MIB: usize = 1 << 20;
    let limits = Limits { buffered_bytes_per_session: 3 * MIB, ..Limits::default() };
    let scene = Scene::with(limits);
    let mut session = scene.login(ALICE).unwrap();
    session.block_size().unwrap();
    // In each of the reads.
    scene.medium.stick(0);
    for _ in 0..16 {
        session.submit_read(0, (MIB / 512) as u32).unwrap();
    }
    session.queue().wire().flush().unwrap();
    scene.medium.wait_stuck(3);
    assert_eq!(session.queue().echo(b"x").unwrap(), b"x");
    assert_eq!(scene.medium.stuck(), 3, "a fourth would not fit");
    scene.medium.unstick();
    for _ in 0..16 {
        assert_eq!(session.queue().complete().unwrap().1.data.len(), MIB);
    }
    assert_eq!(session.command(&[0; 6], Data::None).unwrap().status, 0);
}
