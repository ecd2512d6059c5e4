//! What hosts that share a disk need of it: compare and write, and reservations, over the wire.
//!
//! The rules themselves are tested inside the crate; here several sessions meet on real sockets,
//! each on its own thread of the target, as cluster software would use them. Nothing may be lost
//! between two sessions, and what one host does must reach the other as the standard says.

use crate::initiator::{Data, Options, Session};
use crate::scene::{ALICE, Scene};

/// A session of alice from one of her ports.
fn port(scene: &Scene, number: u8) -> Session {
    let options = Options { isid: [0x80, 0, 0, 0, 0, number], ..Options::default() };
    scene.login_with(ALICE, &options).unwrap()
}

fn compare_and_write(session: &mut Session, lba: u8, old: &[u8], new: &[u8]) -> bool {
    let mut cdb = [0; 16];
    (cdb[0], cdb[9], cdb[13]) = (0x89, lba, 1);
    let answer = session.command(&cdb, Data::Out([old, new].concat().into())).unwrap();
    if answer.status == 0 {
        return true;
    }
    assert_eq!((answer.sense[2] & 0x0f, answer.sense[12]), (0x0e, 0x1d), "a miscompare");
    assert_eq!(answer.sense[0], 0xf0, "with its offset");
    false
}

#[test]
fn two_sessions_count_to_twenty_thousand() {
    const EACH: u64 = 10_000;
    let scene = Scene::new();
    std::thread::scope(|scope| {
        for number in 1..=2 {
            let scene = &scene;
            scope.spawn(move || {
                let mut session = port(scene, number);
                let mut held = session.read(5, 1).unwrap();
                let mut done = 0;
                while done < EACH {
                    let mut next = held.clone();
                    let count = u64::from_be_bytes(held[..8].try_into().unwrap()) + 1;
                    next[..8].copy_from_slice(&count.to_be_bytes());
                    if compare_and_write(&mut session, 5, &held, &next) {
                        (done, held) = (done + 1, next);
                    } else {
                        held = session.read(5, 1).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(scene.medium.snapshot()[5 * 512..][..8], (2 * EACH).to_be_bytes());
}
