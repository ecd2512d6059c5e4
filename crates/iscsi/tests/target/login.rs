//! Who gets in, and what discovery shows.

use std::sync::Arc;

use osds_iscsi::pdu::response::LoginResponse;
use osds_iscsi::pdu::{NO_TAG, Request, Response, request, text};
use osds_iscsi::scsi::Access;

use crate::initiator::{Error, Options, Session, Wire, discover};
use crate::scene::{ALICE, BOB, DISK, Medium, PATIENCE, Scene, refused, unit};

const OTHER: &str = "iqn.2026-01.org.example:other";

pub fn request(current: u8, next: Option<u8>) -> request::Login {
    request::Login {
        transit: next.is_some(),
        continues: false,
        current,
        next: next.unwrap_or(0),
        version_max: 0,
        version_min: 0,
        isid: [0; 6],
        tsih: 0,
        itt: 1,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 0,
    }
}

pub fn words(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        text::push(&mut out, key, value);
    }
    out
}

/// Sends one login request; the answer and its text.
pub fn round(wire: &mut Wire, request: request::Login, data: &[u8]) -> (LoginResponse, String) {
    wire.push(&Request::Login(request), data);
    let (answer, text) = wire.receive_owned().unwrap();
    let Response::Login(answer) = answer else { panic!("{answer:?}") };
    (answer, String::from_utf8(text).unwrap())
}

/// Sends login requests and returns the status of the last answer.
pub fn rounds(scene: &Scene, requests: &[(request::Login, Vec<u8>)]) -> (u8, u8) {
    let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
    let mut status = (0, 0);
    for (request, data) in requests {
        let (answer, _) = round(&mut wire, *request, data);
        status = (answer.class, answer.detail);
    }
    status
}

#[test]
fn an_ungranted_initiator_is_refused_however_it_starts() {
    let scene = Scene::new();
    for from_security in [true, false] {
        let options = Options { from_security, ..Options::default() };
        assert_eq!(refused(scene.login_with("iqn.x:evil", &options)), (2, 3));
        assert!(scene.login_with(ALICE, &options).is_ok());
    }
    let names = words(&[("InitiatorName", "iqn.x:evil"), ("TargetName", DISK)]);
    for (current, next) in [(0, None), (0, Some(1)), (0, Some(3)), (1, None), (1, Some(3))] {
        assert_eq!(rounds(&scene, &[(request(current, next), names.clone())]), (2, 3));
    }
    assert_eq!(scene.unit.nexuses(), 0);
}

#[test]
fn a_name_cannot_be_changed_on_the_way() {
    let scene = Scene::new();
    let first = words(&[("InitiatorName", ALICE), ("TargetName", DISK), ("AuthMethod", "None")]);
    let changed = words(&[("InitiatorName", "iqn.x:evil")]);
    let status = rounds(&scene, &[(request(0, Some(1)), first), (request(1, Some(3)), changed)]);
    assert_eq!(status, (2, 0));
}

#[test]
fn every_bad_login_has_its_status() {
    let scene = Scene::new();
    let names = words(&[("InitiatorName", ALICE), ("TargetName", DISK)]);
    let cases = [
        (request(1, Some(3)), words(&[("InitiatorName", ALICE)]), (2, 7)),
        (request(1, Some(3)), words(&[("TargetName", DISK)]), (2, 7)),
        (request(1, Some(3)), words(&[("InitiatorName", ALICE), ("TargetName", OTHER)]), (2, 3)),
        (request(1, Some(3)), words(&[("InitiatorName", "me"), ("TargetName", DISK)]), (2, 0)),
        (request(1, Some(3)), words(&[("InitiatorName", ALICE), ("SessionType", "X")]), (2, 9)),
        (request(0, Some(1)), [names.clone(), words(&[("AuthMethod", "CHAP")])].concat(), (2, 1)),
        (request::Login { version_min: 1, ..request(1, Some(3)) }, names.clone(), (2, 5)),
        (request::Login { tsih: 9, ..request(1, Some(3)) }, names.clone(), (2, 0x0a)),
        (request(2, None), names.clone(), (2, 0)),
        (request(1, Some(3)), b"no pairs\0".to_vec(), (2, 0)),
    ];
    for (request, data, status) in cases {
        assert_eq!(rounds(&scene, &[(request, data.clone())]), status, "{request:?}");
    }
    // Text in pieces is fine, and leads in.
    let piece = request::Login { continues: true, ..request(1, None) };
    let requests = [(piece, names[..20].to_vec()), (request(1, Some(3)), names[20..].to_vec())];
    assert_eq!(rounds(&scene, &requests), (0, 0));
}

#[test]
fn something_else_than_a_login_is_told_so() {
    let scene = Scene::new();
    let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
    let nop = request::NopOut {
        immediate: true,
        lun: [0; 8],
        itt: 5,
        ttt: NO_TAG,
        cmd_sn: 0,
        exp_stat_sn: 0,
    };
    wire.push(&Request::NopOut(nop), &[]);
    let (Response::Login(answer), _) = wire.receive_owned().unwrap() else { panic!() };
    assert_eq!((answer.class, answer.detail), (2, 0x0b));
    assert!(matches!(wire.receive_owned(), Err(Error::ConnectionLost(_))));
}

#[test]
fn names_do_not_depend_on_case() {
    let scene = Scene::new();
    assert!(Session::login(scene.portal, "IQN.X:Alice", &DISK.to_uppercase()).is_ok());
}

#[test]
fn the_same_session_again_replaces_the_old_one() {
    let scene = Scene::new();
    let mut old = scene.login(ALICE).unwrap();
    let mut new = scene.login(ALICE).unwrap();
    assert_eq!(scene.sessions(), 1);
    assert!(new.read(0, 1).is_ok());
    assert!(matches!(old.read(0, 1), Err(Error::ConnectionLost(_))));
    // Another ISID is another session.
    let options = Options { isid: [0x80, 0, 0, 0, 0, 2], ..Options::default() };
    let mut second = scene.login_with(ALICE, &options).unwrap();
    assert!(second.read(0, 1).is_ok() && new.read(0, 1).is_ok());
    assert_eq!(scene.sessions(), 2);
}

#[test]
fn a_session_takes_no_second_connection() {
    let scene = Scene::new();
    let _session = scene.login(ALICE).unwrap();
    let tsih = scene.target.exports()[0].sessions[0].tsih;
    let isid = Options::default().isid;
    let join = request::Login { tsih, isid, cid: 1, ..request(1, Some(3)) };
    let names = words(&[("InitiatorName", ALICE), ("TargetName", DISK)]);
    assert_eq!(rounds(&scene, &[(join, names)]), (2, 6));
    assert_eq!(scene.sessions(), 1);
}

#[test]
fn discovery_shows_what_is_granted_and_nothing_else() {
    let scene = Scene::new();
    let other = unit(&Arc::clone(&scene.medium), 2);
    scene.target.export(OTHER, other).unwrap();
    scene.target.grant(OTHER, ALICE, Access::ReadWrite, None).unwrap();
    let address = format!("{},1", scene.portal);
    let entry = |name: &str| (name.to_owned(), address.clone());
    assert_eq!(discover(scene.portal, ALICE).unwrap(), [entry(DISK), entry(OTHER)]);
    assert_eq!(discover(scene.portal, BOB).unwrap(), [entry(DISK)]);
    assert_eq!(discover(scene.portal, "iqn.x:evil").unwrap(), []);
    scene.target.revoke(DISK, BOB).unwrap();
    assert_eq!(discover(scene.portal, BOB).unwrap(), []);
}

#[test]
fn a_long_list_of_targets_comes_in_pieces() {
    let scene = Scene::new();
    let medium = Arc::new(Medium::default());
    drop(medium);
    for n in 0..200 {
        let iqn = format!("iqn.2026-01.org.example:{}{n:03}", "x".repeat(100));
        scene.target.export(&iqn, Arc::clone(&scene.unit)).unwrap();
        scene.target.grant(&iqn, BOB, Access::ReadOnly, None).unwrap();
    }
    assert_eq!(discover(scene.portal, BOB).unwrap().len(), 201);
    // With the smallest segments the list needs many rounds.
    let mut session =
        scene.login_with(BOB, &Options { max_recv_segment: 512, ..Options::default() }).unwrap();
    let mut ask = |key: &str, value: &str| {
        let queue = session.queue();
        let request = request::Text {
            immediate: true,
            is_final: true,
            continues: false,
            lun: [0; 8],
            itt: 77,
            ttt: NO_TAG,
            cmd_sn: 0,
            exp_stat_sn: 0,
        };
        queue.wire().push(&Request::Text(request), &words(&[(key, value)]));
        let (Response::Text(_), data) = queue.wire().receive_owned().unwrap() else { panic!() };
        text::parse(&data).unwrap()
    };
    // A normal session learns its own target only.
    assert_eq!(ask("SendTargets", "")[0], ("TargetName".into(), DISK.into()));
    assert_eq!(ask("SendTargets", "All")[0], ("SendTargets".into(), "Reject".into()));
    assert_eq!(ask("SendTargets", OTHER), []);
    assert_eq!(ask("X-nonsense", "1")[0], ("X-nonsense".into(), "NotUnderstood".into()));
}
