//! A session that is put out is told so, and a peer that does not listen holds nothing up.

use std::io::Write as _;
use std::time::{Duration, Instant};

use osds_iscsi::Limits;
use osds_iscsi::pdu::{Request, Response, request};

use crate::initiator::{Data, Error, Options, Session};
use crate::scene::{ALICE, BOB, DISK, PATIENCE, SIZE, Scene, eventually};

/// The last PDU of a session is the message that it is dropped, with the number that is next.
fn told(session: &mut Session, stat_sn: u32) {
    let (last, _) = session.queue().wire().receive_owned().unwrap();
    let Response::AsyncMessage(message) = last else { panic!("{last:?}") };
    assert_eq!((message.event, message.parameters), (3, [0, 2, 0]));
    assert_eq!(message.counters.stat_sn, stat_sn);
    assert!(matches!(session.queue().wire().receive_owned(), Err(Error::ConnectionLost(_))));
}

/// The next status number of a session that is idle.
fn next_stat_sn(session: &mut Session) -> u32 {
    let nop = request::NopOut {
        immediate: true,
        lun: [0; 8],
        itt: 0x77,
        ttt: osds_iscsi::pdu::NO_TAG,
        cmd_sn: 0,
        exp_stat_sn: 0,
    };
    session.queue().wire().push(&Request::NopOut(nop), b"");
    let (Response::NopIn(echo), _) = session.queue().wire().receive_owned().unwrap() else {
        panic!("no echo")
    };
    echo.counters.stat_sn.wrapping_add(1)
}

#[test]
fn who_is_put_out_is_told() {
    let ways: [fn(&Scene); 3] = [
        |scene| scene.target.revoke(DISK, ALICE).unwrap(),
        |scene| scene.target.unexport(DISK).unwrap(),
        |scene| scene.target.shutdown().unwrap(),
    ];
    for way in ways {
        for header_digest in [false, true] {
            let scene = Scene::new();
            let options = Options { header_digest, ..Options::default() };
            let mut alice = scene.login_with(ALICE, &options).unwrap();
            let mut bob = scene.login(BOB).unwrap();
            let next = next_stat_sn(&mut alice);
            way(&scene);
            told(&mut alice, next);
            // Whose grant stays is not disturbed.
            assert_eq!(bob.read(0, 1).is_ok(), scene.sessions() == 1);
        }
    }
}

#[test]
fn the_message_does_not_wait_for_what_is_running() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    alice.block_size().unwrap();
    let next = next_stat_sn(&mut alice);
    scene.medium.hold();
    alice.submit_write(0, &vec![7; 4096].into()).unwrap();
    alice.queue().wire().flush().unwrap();
    scene.medium.wait_held();
    std::thread::scope(|scope| {
        let revoking = scope.spawn(|| scene.target.revoke(DISK, ALICE));
        let (last, _) = alice.queue().wire().receive_owned().unwrap();
        let Response::AsyncMessage(message) = last else { panic!("{last:?}") };
        assert_eq!(message.counters.stat_sn, next);
        assert!(!revoking.is_finished(), "the write is still inside");
        scene.medium.release();
        revoking.join().unwrap().unwrap();
    });
    assert_eq!(scene.medium.writes(), 1);
}

// With a session that waits for its last words to be taken, or that is stuck in what it was just
// sending, the revoke would end at its deadline instead.
#[test]
fn a_peer_that_does_not_listen_holds_up_no_revoke() {
    let limits = Limits { drain_timeout: Duration::from_secs(5), ..Limits::default() };
    let scene = Scene::with(limits);
    let mut deaf = scene.login(ALICE).unwrap();
    for _ in 0..100 {
        let mut cdb = [0; 10];
        (cdb[0], cdb[7]) = (0x28, u8::try_from((SIZE / 512) >> 8).unwrap());
        deaf.queue().submit(&cdb, Data::In(SIZE)).unwrap();
    }
    deaf.queue().wire().flush().unwrap();
    // Far more is to come than any socket takes: it is stuck once nothing more is read for it.
    let usage = || scene.target.usage_of(DISK).unwrap();
    let (mut seen, mut since) = (usage(), Instant::now());
    eventually("it is stuck", || {
        let now = usage();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(50)
    });
    let begin = Instant::now();
    scene.target.revoke(DISK, ALICE).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert_eq!(scene.sessions(), 0);
}

#[test]
fn a_peer_that_goes_on_talking_holds_up_no_revoke() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let stream = session.queue().wire().stream().try_clone().unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        // A PDU of which there is always a bit more to come.
        let mut header = [0; 48];
        (header[0], header[1], header[5]) = (0x40, 0x80, 3);
        let talking = scope.spawn(move || {
            let mut stream = stream;
            let _ = stream.write_all(&header);
            while stream.write_all(&[0; 16]).is_ok() {}
        });
        scene.target.revoke(DISK, ALICE).unwrap();
        assert_eq!(scene.sessions(), 0);
        talking.join().unwrap();
    });
}
