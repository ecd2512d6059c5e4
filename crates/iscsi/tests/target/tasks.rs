//! Task management over the wire.

use std::sync::Arc;

use osds_iscsi::pdu::{Request, Response, request};

use crate::initiator::{Data, Error, Options, Session, Tag};
use crate::scene::{ALICE, BOB, Scene, noise};

const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

pub fn solicited() -> Options {
    Options { initial_r2t: true, immediate_data: false, ..Options::default() }
}

/// Sends a write command and swallows its R2T, so that the task stays open.
pub fn open_write(session: &mut Session) -> (Tag, request::DataOut) {
    let queue = session.queue();
    let (itt, cmd_sn) = (queue.take_tag(), queue.take_cmd_sn());
    let mut cdb = [0; 16];
    (cdb[0], cdb[8]) = (0x2a, 1);
    let command = request::ScsiCommand {
        immediate: false,
        is_final: true,
        read: false,
        write: true,
        attribute: 1,
        lun: LUN,
        itt,
        expected_len: 512,
        cmd_sn,
        exp_stat_sn: 0,
        cdb,
    };
    queue.wire().push(&Request::ScsiCommand(command), &[]);
    let (Response::ReadyToTransfer(r2t), _) = queue.wire().receive_owned().unwrap() else {
        panic!("no R2T")
    };
    let data = request::DataOut {
        is_final: true,
        lun: LUN,
        itt,
        ttt: r2t.ttt,
        exp_stat_sn: 0,
        data_sn: 0,
        offset: 0,
    };
    (itt, data)
}

#[test]
fn abort_task_ends_a_waiting_write_and_drops_its_late_data() {
    let scene = Scene::new();
    let mut session = scene.login_with(ALICE, &solicited()).unwrap();
    let (itt, data) = open_write(&mut session);
    assert_eq!(session.queue().task_management(1, [0; 8], itt).unwrap(), 1, "another unit");
    assert_eq!(session.queue().task_management(1, LUN, itt + 100).unwrap(), 1, "no such task");
    assert_eq!(session.queue().task_management(1, LUN, itt).unwrap(), 0);
    session.queue().wire().push(&Request::DataOut(data), &[9; 512]);
    assert_eq!(session.read(0, 1).unwrap(), vec![0; 512]);
    assert_eq!(scene.medium.writes(), 0);
}

#[test]
fn every_function_has_its_response() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let mut ask = |function, lun| session.queue().task_management(function, lun, 1).unwrap();
    let nowhere = [0, 9, 0, 0, 0, 0, 0, 0];
    for (function, lun, response) in [
        (2, LUN, 0),
        (2, nowhere, 2),
        (3, LUN, 5),
        (4, LUN, 0),
        (5, LUN, 0),
        (5, nowhere, 2),
        (6, [0; 8], 0),
        (7, [0; 8], 6),
        (8, LUN, 4),
        (9, LUN, 255),
    ] {
        assert_eq!(ask(function, lun), response, "function {function}");
    }
}

#[test]
fn clear_task_set_aborts_the_waiting_writes_of_others() {
    let scene = Scene::new();
    let mut alice = scene.login_with(ALICE, &solicited()).unwrap();
    let mut bob = scene.login(BOB).unwrap();
    let (_, data) = open_write(&mut alice);
    assert_eq!(bob.queue().task_management(4, LUN, 0).unwrap(), 0);
    let wire = alice.queue().wire();
    wire.push(&Request::DataOut(data), &[9; 512]);
    let (Response::ScsiResponse(status), _) = wire.receive_owned().unwrap() else { panic!() };
    assert_eq!(status.status, 0x40, "TASK ABORTED");
    assert_eq!(scene.medium.writes(), 0);
    assert!(alice.read(0, 1).is_ok());
}

#[test]
fn a_reset_is_told_to_the_others() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let mut bob = scene.login(BOB).unwrap();
    assert_eq!(bob.queue().task_management(5, LUN, 0).unwrap(), 0);
    let first = alice.command(&[0; 6], Data::None).unwrap().good();
    assert!(matches!(first, Err(Error::CheckCondition { key: 6, asc: 0x29, .. })), "{first:?}");
    assert_eq!(alice.command(&[0; 6], Data::None).unwrap().status, 0);
}

#[test]
fn a_reset_waits_for_what_is_executing() {
    let scene = Arc::new(Scene::new());
    let mut alice = scene.login(ALICE).unwrap();
    scene.medium.hold();
    alice.block_size().unwrap();
    alice.submit_write(0, &noise(1, 512).into()).unwrap();
    alice.queue().wire().flush().unwrap();
    scene.medium.wait_held();
    let reset = std::thread::spawn({
        let scene = Arc::clone(&scene);
        move || {
            // The login's own commands share the task set, so it comes first.
            let mut bob = scene.login(BOB).unwrap();
            let response = bob.queue().task_management(5, LUN, 0).unwrap();
            (response, scene.medium.writes())
        }
    });
    crate::scene::eventually("bob is in", || scene.sessions() == 2);
    scene.medium.release();
    assert_eq!(reset.join().unwrap(), (0, 1), "the write ended before the reset was answered");
}
