//! Orders to the target: idempotence, limits, shutdown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use osds_iscsi::pdu::{Digests, Request, frame, request};
use osds_iscsi::scsi::Access;
use osds_iscsi::{
    Authentication, Credentials, InvalidCredentials, Limits, Name, Proof, Secret, Target,
    TargetError,
};

use crate::initiator::{Error, Options, Session};
use crate::scene::{ALICE, BOB, DISK, PATIENCE, Scene, eventually, refused, unit};

fn isid(n: u8) -> Options {
    Options { isid: [0x80, 0, 0, 0, 0, n], ..Options::default() }
}

#[test]
fn orders_may_be_repeated() {
    let scene = Scene::new();
    scene.target.export(DISK, Arc::clone(&scene.unit)).unwrap();
    scene.target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
    let other = scene.target.grant(DISK, ALICE, Access::ReadOnly, None);
    assert!(matches!(other, Err(TargetError::OtherAccess { present: Access::ReadWrite, .. })));
    let another_unit = scene.target.export(DISK, unit(&scene.medium, 2));
    assert!(matches!(another_unit, Err(TargetError::OtherUnit(_))));
    let nowhere = scene.target.grant("iqn.x:nowhere", ALICE, Access::ReadOnly, None);
    assert!(matches!(nowhere, Err(TargetError::NoSuchExport(_))));
    assert!(matches!(scene.target.revoke("nonsense", ALICE), Err(TargetError::Name(_))));
    for _ in 0..2 {
        scene.target.revoke(DISK, ALICE).unwrap();
        scene.target.revoke("iqn.x:nowhere", ALICE).unwrap();
    }
    scene.target.grant(DISK, ALICE, Access::ReadOnly, None).unwrap();
    assert!(scene.login(ALICE).unwrap().is_write_protected().unwrap());
    for _ in 0..2 {
        scene.target.unexport(DISK).unwrap();
    }
    assert_eq!(refused(scene.login(ALICE)), (2, 3));
    assert_eq!(scene.unit.nexuses(), 0);
}

#[test]
fn a_grant_is_its_access_and_its_credentials() {
    let scene = Scene::new();
    let credentials = |name: &str, secret: &str| Credentials {
        name: name.into(),
        secret: Secret::new(secret).unwrap(),
    };
    let demand = |secret: &str, target: Option<&str>| {
        let initiator = credentials("alice", secret);
        let target = target.map(|secret| credentials("disk", secret));
        Some(Authentication { initiator, target })
    };
    let grant = |wish| scene.target.grant(DISK, ALICE, Access::ReadWrite, wish);
    let fact = || scene.target.exports()[0].grants[&Name::new(ALICE).unwrap()].clone();
    let other = |result| matches!(result, Err(TargetError::OtherCredentials { .. }));
    assert_eq!(fact().proof(), Proof::None);
    assert!(other(grant(demand("open sesame!", None))));
    scene.target.revoke(DISK, ALICE).unwrap();
    for _ in 0..2 {
        grant(demand("open sesame!", None)).unwrap();
    }
    assert_eq!(fact().proof(), Proof::OneWay);
    for wish in [None, demand("open sesame?", None), demand("open sesame!", Some("shut sesame!"))] {
        assert!(!fact().is(Access::ReadWrite, wish.as_ref()));
        assert!(other(grant(wish)));
    }
    assert!(fact().is(Access::ReadWrite, demand("open sesame!", None).as_ref()));
    assert!(!fact().is(Access::ReadOnly, demand("open sesame!", None).as_ref()));
    assert!(!format!("{:?}", scene.target).contains("sesame"));
    scene.target.revoke(DISK, ALICE).unwrap();
    let unsound = grant(demand("open sesame!", Some("open sesame!")));
    assert!(matches!(unsound, Err(TargetError::Credentials(InvalidCredentials::SameSecret))));
    grant(demand("open sesame!", Some("shut sesame!"))).unwrap();
    assert_eq!(fact().proof(), Proof::Mutual);
}

#[test]
fn facts_say_who_may_and_who_is() {
    let scene = Scene::new();
    let session = scene.login(BOB).unwrap();
    let facts = scene.target.exports();
    assert_eq!(facts.len(), 1);
    assert_eq!(facts[0].iqn.as_str(), DISK);
    let grants: Vec<_> = facts[0].grants.iter().map(|(n, g)| (n.as_str(), g.access())).collect();
    assert_eq!(grants, [(ALICE, Access::ReadWrite), (BOB, Access::ReadOnly)]);
    let fact = &facts[0].sessions[0];
    assert_eq!((fact.initiator.as_str(), fact.access), (BOB, Access::ReadOnly));
    assert!(!fact.draining && fact.peer.ip().is_loopback());
    session.logout().unwrap();
    eventually("the session is gone", || scene.sessions() == 0);
    assert_eq!(scene.unit.nexuses(), 0);
}

#[test]
fn one_initiator_cannot_take_every_place() {
    let limits = Limits { connections_per_initiator: 3, ..Limits::default() };
    let scene = Scene::with(limits);
    let sessions: Vec<_> = (0..3).map(|n| scene.login_with(ALICE, &isid(n)).unwrap()).collect();
    assert_eq!(refused(scene.login_with(ALICE, &isid(9))), (3, 2));
    assert!(scene.login(BOB).is_ok());
    // Replacing a session of its own is still possible.
    assert!(scene.login_with(ALICE, &isid(0)).is_ok());
    drop(sessions);
}

#[test]
fn connections_beyond_the_total_are_closed() {
    let scene = Scene::with(Limits { connections_total: 2, ..Limits::default() });
    let mut first = scene.login(ALICE).unwrap();
    let _second = scene.login(BOB).unwrap();
    let mut third = TcpStream::connect(scene.portal).unwrap();
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(third.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(first.read(0, 1).is_ok());
    first.logout().unwrap();
    eventually("there is room again", || scene.login(ALICE).is_ok());
}

/// Connects and says nothing, or logs in for discovery, which needs no grant, and stays.
fn crowd(scene: &Scene, discovery: bool) -> Vec<TcpStream> {
    let connect = |n: u8| {
        let mut stream = TcpStream::connect(scene.portal).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if discovery {
            stream.write_all(&discovery_login(n)).unwrap();
            stream.read_exact(&mut [0; 48]).unwrap();
        }
        stream
    };
    (0..32).map(connect).collect()
}

fn discovery_login(n: u8) -> Vec<u8> {
    let login = request::Login {
        transit: true,
        continues: false,
        current: 0,
        next: 3,
        version_max: 0,
        version_min: 0,
        isid: [0x80, 0, 0, 0, 0, n],
        tsih: 0,
        itt: 1,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 0,
    };
    let text = format!("InitiatorName=iqn.x:stranger-{n}\0SessionType=Discovery\0");
    let mut bytes = Vec::new();
    let header = Request::Login(login).encode();
    frame::append(&mut bytes, header, text.as_bytes(), Digests::default());
    bytes
}

#[test]
fn who_has_no_grant_cannot_keep_out_who_has() {
    for discovery in [false, true] {
        let scene = Scene::with(Limits { connections_total: 8, ..Limits::default() });
        let mut alice = scene.login(ALICE).unwrap();
        let crowd = crowd(&scene, discovery);
        let mut bob = scene.login(BOB).unwrap();
        // Nobody in the full feature phase made room for it.
        assert!(alice.read(0, 1).is_ok() && bob.read(0, 1).is_ok());
        // The oldest of the crowd did.
        let mut first = &crowd[0];
        let mut said = Vec::new();
        assert!(matches!(first.read_to_end(&mut said), Ok(_) | Err(_)));
    }
}

#[test]
fn strangers_have_few_places_however_many_there_are() {
    let limits = Limits { connections_strangers: 4, ..Limits::default() };
    let scene = Scene::with(limits);
    let crowd = crowd(&scene, false);
    assert!(scene.login(ALICE).is_ok());
    let open = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        matches!(stream.read(&mut [0; 1]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    };
    eventually("all but the youngest are closed", || crowd.iter().filter(|s| open(s)).count() <= 4);
}

#[test]
fn shutdown_ends_everything_and_frees_the_port() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let waiting = TcpStream::connect(scene.portal).unwrap();
    for _ in 0..2 {
        scene.target.shutdown().unwrap();
    }
    assert!(matches!(session.read(0, 1), Err(Error::ConnectionLost(_))));
    assert!(matches!(scene.login(ALICE), Err(Error::ConnectionLost(_))));
    assert_eq!(scene.unit.nexuses(), 0);
    let again = Target::start(&[scene.portal], Limits::default()).unwrap();
    again.export(DISK, Arc::clone(&scene.unit)).unwrap();
    again.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
    assert!(Session::login(scene.portal, ALICE, DISK).is_ok());
    let refused = scene.target.grant(DISK, ALICE, Access::ReadWrite, None);
    assert!(matches!(refused, Err(TargetError::ShutDown)));
    drop(waiting);
}
