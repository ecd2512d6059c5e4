//! What hosts that share a disk need of it: reservations and news, over the wire.
//!
//! The rules themselves are tested inside the crate; here several sessions meet on real sockets,
//! each on its own thread of the target, as cluster software would use them. Nothing may be lost
//! between two sessions, and what one host does must reach the other as the standard says.

use osds_iscsi::pdu::{Request, Response};
use osds_iscsi::scsi::Access;

use crate::initiator::{Data, Error, Options, Session};
use crate::scene::{ALICE, BOB, DISK, SIZE, Scene};
use crate::tasks::{open_write, solicited};

const CAROL: &str = "iqn.x:carol";
const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const PREEMPT_AND_ABORT: u8 = 5;
const TASK_ABORTED: u8 = 0x40;
const CONFLICT: u8 = 0x18;

/// A session of alice from one of her ports.
fn port(scene: &Scene, number: u8) -> Session {
    let options = Options { isid: [0x80, 0, 0, 0, 0, number], ..Options::default() };
    scene.login_with(ALICE, &options).unwrap()
}

/// PERSISTENT RESERVE OUT: its status.
fn reserve_out(session: &mut Session, action: u8, kind: u8, key: u64, new_key: u64) -> u8 {
    let list = [key.to_be_bytes(), new_key.to_be_bytes(), [0; 8]].concat();
    let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    session.command(&cdb, Data::Out(list.into())).unwrap().status
}

fn keys(session: &mut Session) -> Vec<u8> {
    let cdb = [0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    session.command(&cdb, Data::In(256)).unwrap().good().unwrap()[8..].to_vec()
}

fn write(session: &mut Session) -> u8 {
    let mut cdb = [0; 10];
    (cdb[0], cdb[8]) = (0x2a, 1);
    session.command(&cdb, Data::Out(vec![7; 512].into())).unwrap().status
}

#[test]
fn a_write_that_was_preempted_while_it_waited_never_lands() {
    let scene = Scene::new();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, None).unwrap();
    let mut alice = scene.login_with(ALICE, &solicited()).unwrap();
    let mut carol = scene.login(CAROL).unwrap();
    assert_eq!(reserve_out(&mut alice, REGISTER, 0, 0, 0xa), 0);
    assert_eq!(reserve_out(&mut carol, REGISTER, 0, 0, 0xc), 0);
    let (itt, data) = open_write(&mut alice);
    assert_eq!(reserve_out(&mut carol, PREEMPT_AND_ABORT, 0, 0xc, 0xa), 0);
    alice.queue().wire().push(&Request::DataOut(data), &[9; 512]);
    let (Response::ScsiResponse(answer), _) = alice.queue().wire().receive_owned().unwrap() else {
        panic!("no response")
    };
    assert_eq!((answer.itt, answer.status), (itt, TASK_ABORTED));
    assert_eq!(scene.medium.writes(), 0);
    // Nobody holds a reservation: what begins now is not stopped, once the news has been told.
    alice.test_unit_ready().unwrap();
    assert_eq!((write(&mut alice), scene.medium.writes()), (0, 1));
}

#[test]
fn a_host_that_is_detached_leaves_no_reservation_behind() {
    let scene = Scene::new();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, None).unwrap();
    let (mut alice, mut carol) = (scene.login(ALICE).unwrap(), scene.login(CAROL).unwrap());
    assert_eq!(reserve_out(&mut alice, REGISTER, 0, 0, 0xa), 0);
    assert_eq!(reserve_out(&mut carol, REGISTER, 0, 0, 0xc), 0);
    assert_eq!(reserve_out(&mut carol, RESERVE, 1, 0xc, 0), 0);
    assert_eq!(write(&mut alice), CONFLICT);
    carol.logout().unwrap();
    assert_eq!(write(&mut alice), CONFLICT, "a logout changes nothing");
    scene.target.revoke(DISK, CAROL).unwrap();
    assert_eq!(write(&mut alice), 0);
    assert_eq!(keys(&mut alice), 0xau64.to_be_bytes());
}

// Several hosts, one of them with two paths: each session hears of it once, whatever it asked first,
// and one that is not yet there has nothing to hear.
#[test]
fn every_session_of_every_host_is_told_of_a_new_size() {
    let scene = Scene::new();
    scene.target.grant(DISK, CAROL, Access::ReadOnly, None).unwrap();
    let mut hosts = vec![port(&scene, 1), port(&scene, 2)];
    hosts.extend([BOB, CAROL].map(|host| scene.login(host).unwrap()));
    let blocks = |session: &mut Session| {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        let answer = session.command(&cdb, Data::In(32)).unwrap();
        answer.good().map(|data| u64::from_be_bytes(data[..8].try_into().unwrap()) + 1)
    };
    let before = (SIZE / 512) as u64;
    for session in &mut hosts {
        assert_eq!(blocks(session).unwrap(), before);
    }
    scene.medium.extend(1 << 20);
    scene.unit.capacity_changed().unwrap();
    for session in &mut hosts {
        let told = blocks(session).unwrap_err();
        let changed = Error::CheckCondition { key: 6, asc: 0x2a, ascq: 0x09 };
        assert_eq!(format!("{told:?}"), format!("{changed:?}"));
        assert_eq!(blocks(session).unwrap(), before + 2048);
        assert!(session.read(before + 2047, 1).is_ok());
    }
    let options = Options { clear_attentions: false, ..Options::default() };
    let mut late = scene.login_with(BOB, &options).unwrap();
    let told = blocks(&mut late).unwrap_err();
    assert!(matches!(told, Error::CheckCondition { key: 6, asc: 0x29, .. }), "{told}");
    assert_eq!(blocks(&mut late).unwrap(), before + 2048);
}
