//! Reservations between several hosts on real sockets, with a medium that does not answer.
//!
//! Whoever reserves may have to wait for the commands of others, and these for a medium. None of
//! that may keep a host in that is put out.

use osds_iscsi::scsi::Access;

use crate::initiator::{Answer, Data, Error, Session};
use crate::scene::{ALICE, BOB, DISK, Scene, eventually};

pub const CAROL: &str = "iqn.x:carol";
const ISID: &str = ",i,0x800000000001";
pub const REGISTER: u8 = 0;
pub const RESERVE: u8 = 1;
pub const PREEMPT_AND_ABORT: u8 = 5;
pub const MOVE: u8 = 7;

/// The CDB and the list of a PERSISTENT RESERVE OUT.
pub fn order(action: u8, kind: u8, keys: (u64, u64), flags: u8, rest: &[u8]) -> ([u8; 10], Data) {
    let mut list = [keys.0.to_be_bytes(), keys.1.to_be_bytes(), [0; 8]].concat();
    list[20] = flags;
    list.extend_from_slice(rest);
    ([0x5f, action, kind, 0, 0, 0, 0, 0, list.len() as u8, 0], Data::Out(list.into()))
}

/// PERSISTENT RESERVE OUT.
pub fn out(session: &mut Session, action: u8, kind: u8, keys: (u64, u64)) -> u8 {
    let (cdb, list) = order(action, kind, keys, 0, &[]);
    session.command(&cdb, list).unwrap().status
}

/// The keys that are registered.
pub fn keys(session: &mut Session) -> Vec<u64> {
    let answer = session.command(&[0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0], Data::In(256)).unwrap();
    let keys = answer.good().unwrap();
    keys[8..].chunks(8).map(|key| u64::from_be_bytes(key.try_into().unwrap())).collect()
}

fn scene() -> (Scene, Session, Session) {
    let scene = Scene::new();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, None).unwrap();
    let (alice, carol) = (scene.login(ALICE).unwrap(), scene.login(CAROL).unwrap());
    (scene, alice, carol)
}

#[test]
fn a_stuck_medium_keeps_nobody_in_who_waits_to_reserve() {
    let (scene, mut alice, mut carol) = scene();
    let mut bob = scene.login(BOB).unwrap();
    for session in [&mut alice, &mut carol, &mut bob] {
        session.block_size().unwrap();
    }
    assert_eq!(out(&mut alice, REGISTER, 0, (0, 0xa)), 0);
    assert_eq!(out(&mut carol, REGISTER, 0, (0, 0xc)), 0);
    scene.medium.hold();
    let write = alice.submit_write(0, &vec![1; 512].into()).unwrap();
    alice.queue().wire().flush().unwrap();
    scene.medium.wait_held();
    // Carol preempts alice, whose write is in the medium; bob is held back by it.
    let (cdb, list) = order(PREEMPT_AND_ABORT, 5, (0xc, 0xa), 0, &[]);
    carol.queue().submit(&cdb, list).unwrap();
    carol.queue().wire().flush().unwrap();
    let reading = std::thread::spawn(move || bob.read(8, 1).unwrap());
    scene.target.revoke(DISK, CAROL).unwrap();
    assert!(matches!(carol.queue().complete(), Err(Error::ConnectionLost(_))));
    assert_eq!(reading.join().unwrap(), [0; 512]);
    scene.medium.release();
    assert_eq!(alice.queue().wait(write).unwrap().status, 0);
    assert_eq!(keys(&mut alice), [0xa], "the preempt was not carried out, and carol is forgotten");
}

/// And the other way round: who is held back by somebody else's order can be put out.
#[test]
fn a_stuck_medium_keeps_nobody_in_who_is_held_back() {
    let (scene, mut alice, mut carol) = scene();
    let mut bob = scene.login(BOB).unwrap();
    alice.block_size().unwrap();
    bob.block_size().unwrap();
    assert_eq!(out(&mut carol, REGISTER, 0, (0, 0xc)), 0);
    scene.medium.hold();
    let write = alice.submit_write(0, &vec![1; 512].into()).unwrap();
    alice.queue().wire().flush().unwrap();
    scene.medium.wait_held();
    let (cdb, list) = order(RESERVE, 1, (0xc, 0), 0, &[]);
    let reserve = carol.queue().submit(&cdb, list).unwrap();
    carol.queue().wire().flush().unwrap();
    let reading = std::thread::spawn(move || while bob.read(8, 1).is_ok() {});
    scene.target.revoke(DISK, BOB).unwrap();
    reading.join().unwrap();
    scene.medium.release();
    assert_eq!(alice.queue().wait(write).unwrap().status, 0);
    assert_eq!(carol.queue().wait(reserve).unwrap().status, 0);
}

/// The revoke of a host that has reserved something waits for nobody else's commands.
#[test]
fn a_revoke_forgets_while_another_hosts_write_is_stuck() {
    let (scene, mut alice, mut carol) = scene();
    alice.block_size().unwrap();
    assert_eq!(out(&mut carol, REGISTER, 0, (0, 0xc)), 0);
    assert_eq!(out(&mut carol, RESERVE, 5, (0xc, 0)), 0);
    assert_eq!(out(&mut alice, REGISTER, 0, (0, 0xa)), 0);
    scene.medium.hold();
    let write = alice.submit_write(0, &vec![1; 512].into()).unwrap();
    alice.queue().wire().flush().unwrap();
    scene.medium.wait_held();
    scene.target.revoke(DISK, CAROL).unwrap();
    assert!(scene.target.export_of(DISK).unwrap().leaving.is_empty());
    scene.medium.release();
    assert_eq!(alice.queue().wait(write).unwrap().status, 0);
    alice.test_unit_ready().unwrap();
    assert_eq!(keys(&mut alice), [0xa]);
}

/// A TransportID.
fn id(name: &str) -> Vec<u8> {
    let mut text = format!("{name}{ISID}").into_bytes();
    text.push(0);
    text.resize(text.len().next_multiple_of(4), 0);
    [&[0x45, 0, 0, text.len() as u8][..], &text].concat()
}

fn is_wrong_parameter(answer: &Answer) -> bool {
    answer.status == 2 && (answer.sense[2], answer.sense[12]) == (5, 0x26)
}

#[test]
fn only_who_is_let_in_can_be_registered_or_given_the_reservation() {
    let (scene, mut alice, mut carol) = scene();
    assert_eq!(out(&mut carol, REGISTER, 0, (0, 0xc)), 0);
    assert_eq!(out(&mut carol, RESERVE, 1, (0xc, 0)), 0);
    let mut give = |name: &str| {
        let to = id(name);
        let (cdb, list) = order(MOVE, 0, (0xc, 0xd), 0, &to);
        let Data::Out(list) = list else { unreachable!() };
        let mut list = list.to_vec();
        (list[19], list[20], list[23]) = (1, 0, to.len() as u8);
        carol.command(&cdb, Data::Out(list.into())).unwrap()
    };
    for name in ["iqn.x:mallory", BOB] {
        assert!(is_wrong_parameter(&give(name)), "{name}: a stranger, or one that only reads");
    }
    assert_eq!(give(ALICE).status, 0);
    assert_eq!(out(&mut alice, 2, 1, (0xd, 0)), 0, "it can give it back");
    assert_eq!(keys(&mut alice), [0xc, 0xd]);
    assert_eq!(out(&mut alice, REGISTER, 0, (0xd, 0)), 0);

    let mut with = |name: &str| {
        let port = id(name);
        let rest = [&(port.len() as u32).to_be_bytes()[..], &port].concat();
        let (cdb, list) = order(REGISTER, 0, (0, 0xa), 0x08, &rest);
        alice.command(&cdb, list).unwrap()
    };
    assert!(is_wrong_parameter(&with("iqn.x:mallory")));
    assert_eq!(with(BOB).status, 0, "one that only reads may be let through, by somebody else");
    assert_eq!(keys(&mut alice), [0xc, 0xa, 0xa]);
    scene.target.revoke(DISK, BOB).unwrap();
    eventually("bob is forgotten", || keys(&mut alice) == [0xc, 0xa]);
}
