//! The promise: after a revoke has returned, no write of that initiator reaches the medium.
//!
//! `lands_afterwards` is the check, given any way of revoking. A way that does not wait for what is
//! executing must be caught by it (the sabotage at the end), or the check proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use osds_iscsi::scsi::Access;
use osds_iscsi::{Limits, Target, TargetError};

use crate::initiator::{Error, Session};
use crate::scene::{ALICE, BOB, DISK, Scene, eventually, noise, refused};

/// Writes at queue depth 32 until the connection is lost; returns how many were acknowledged.
fn writer(mut session: Session) -> JoinHandle<u64> {
    session.block_size().unwrap();
    std::thread::spawn(move || {
        let pieces: Vec<Arc<[u8]>> = (0..32).map(|n| noise(n, 4096).into()).collect();
        let mut acknowledged = 0;
        let mut step = 0;
        loop {
            while session.queue().in_flight() < 32 {
                let lba = step % 1024 * 8;
                if session.submit_write(lba, &pieces[(step % 32) as usize]).is_err() {
                    return acknowledged;
                }
                step += 1;
            }
            match session.queue().complete() {
                Ok((_, answer)) => {
                    acknowledged += u64::from(answer.status == 0);
                    session.queue().recycle(answer);
                }
                Err(Error::ConnectionLost(_)) => return acknowledged,
                Err(other) => panic!("{other:?}"),
            }
        }
    })
}

#[test]
fn no_write_lands_after_a_revoke_at_queue_depth_32() {
    let scene = Scene::new();
    let mut bob = scene.login(BOB).unwrap();
    for round in 0..40 {
        let before = scene.medium.writes();
        let writing = writer(scene.login(ALICE).unwrap());
        eventually("writes arrive", || scene.medium.writes() > before + 20 + round * 7);
        scene.target.revoke(DISK, ALICE).unwrap();
        let (count, bytes) = (scene.medium.writes(), scene.medium.snapshot());
        assert_eq!(refused(scene.login(ALICE)), (2, 3));
        assert_eq!(scene.unit.nexuses(), 1);
        let acknowledged = writing.join().unwrap();
        // The other host works on, and time passes.
        for lba in 0..50 {
            bob.read(lba, 8).unwrap();
        }
        assert_eq!(scene.medium.writes(), count);
        assert!(scene.medium.snapshot() == bytes);
        assert!(acknowledged <= count - before, "acknowledged but not written");
        scene.target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
    }
}

/// Revokes while a write is inside the backend, lets the write go, and says whether one landed after
/// `revoke` had reported success. `revoke` is tried until it does.
fn lands_afterwards(revoke: impl Fn(&Target) -> Result<(), TargetError>) -> bool {
    let scene =
        Scene::with(Limits { drain_timeout: Duration::from_millis(30), ..Limits::default() });
    scene.medium.hold();
    let writing = writer(scene.login(ALICE).unwrap());
    scene.medium.wait_held();
    let mut released = false;
    while let Err(error) = revoke(&scene.target) {
        assert!(error.is_temporary(), "{error}");
        assert!(!released, "it drains once the backend lets go");
        // New logins are refused from the first call on, and other facts are honest.
        assert_eq!(refused(scene.login(ALICE)), (2, 3));
        let facts = scene.target.exports();
        assert!(facts.iter().flat_map(|facts| &facts.sessions).all(|session| session.draining));
        assert!(scene.target.grant(DISK, ALICE, Access::ReadOnly, None).is_err());
        scene.medium.release();
        released = true;
        eventually("drained", || scene.sessions() == 0);
    }
    let count = scene.medium.writes();
    scene.medium.release();
    writing.join().unwrap();
    // Shutdown waits for every thread: whatever was going to land has landed.
    while scene.target.shutdown().is_err() {}
    scene.medium.writes() > count
}

#[test]
fn a_revoke_waits_for_the_write_inside_the_backend() {
    assert!(!lands_afterwards(|target| target.revoke(DISK, ALICE)));
    assert!(!lands_afterwards(|target| target.unexport(DISK)));
}

#[test]
fn sabotage_a_revoke_that_does_not_drain_is_caught() {
    assert!(lands_afterwards(|target| {
        // Refuses logins and cuts the sockets, but takes "still draining" for done.
        let _ = target.revoke(DISK, ALICE);
        Ok(())
    }));
}

#[test]
fn what_has_not_begun_never_begins() {
    // The sessions of one unit may have four of eight threads.
    let scene = Arc::new(Scene::with(Limits { workers: 8, ..Limits::default() }));
    scene.medium.hold();
    let writing = writer(scene.login(ALICE).unwrap());
    eventually("all of them are inside", || scene.medium.held() == 4);
    let returned = Arc::new(AtomicBool::new(false));
    let revoking = std::thread::spawn({
        let (scene, returned) = (Arc::clone(&scene), Arc::clone(&returned));
        move || {
            scene.target.revoke(DISK, ALICE).unwrap();
            returned.store(true, Ordering::SeqCst);
            scene.medium.writes()
        }
    });
    eventually("the session drains", || {
        scene.target.exports()[0].sessions.iter().all(|session| session.draining)
    });
    assert!(!returned.load(Ordering::SeqCst), "writes are still inside");
    scene.medium.release();
    // 32 writes were on their way; only those that were executing landed.
    assert_eq!(revoking.join().unwrap(), 4);
    writing.join().unwrap();
    assert_eq!(scene.medium.writes(), 4);
}

#[test]
fn revoking_one_host_leaves_the_other_alone() {
    let scene = Scene::new();
    let mut bob = scene.login(BOB).unwrap();
    let _alice = scene.login(ALICE).unwrap();
    scene.target.revoke(DISK, ALICE).unwrap();
    assert!(bob.read(0, 8).is_ok());
    assert_eq!(scene.sessions(), 1);
}

#[test]
fn logins_race_with_revokes_and_none_survives() {
    let scene = Arc::new(Scene::new());
    for _ in 0..50 {
        scene.target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
        let racers: Vec<_> = (0..2)
            .map(|_| {
                let scene = Arc::clone(&scene);
                std::thread::spawn(move || drop(scene.login(ALICE)))
            })
            .collect();
        scene.target.revoke(DISK, ALICE).unwrap();
        assert_eq!(scene.sessions(), 0);
        assert_eq!(scene.unit.nexuses(), 0);
        for racer in racers {
            racer.join().unwrap();
        }
        assert_eq!(scene.sessions(), 0);
    }
}
