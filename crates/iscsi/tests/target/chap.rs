//! Grants that demand a proof: who has it gets in, and there is no way around it.
//!
//! The ways tried are those that a published target let through (it asked for CHAP only where the
//! initiator began with it), and what else a cheat may think of.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use osds_iscsi::pdu::request;
use osds_iscsi::scsi::Access;
use osds_iscsi::{Authentication, Credentials, Limits, Secret};

use crate::initiator::{Chap, Error, Options, Session, Wire, discover};
use crate::login::{request, round, rounds, words};
use crate::scene::{ALICE, BOB, DISK, PATIENCE, Scene, refused, unit};

const CAROL: &str = "iqn.x:carol";
const OTHER: &str = "iqn.2026-01.org.example:other";

const SECRET: &str = "carol's secret";
const DISKS_SECRET: &str = "the disk's secret";

fn demand(secret: &str, target: Option<&str>) -> Option<Authentication> {
    let credentials = |name: &str, secret: &str| Credentials {
        name: name.into(),
        secret: Secret::new(secret).unwrap(),
    };
    Some(Authentication {
        initiator: credentials("carol", secret),
        target: target.map(|secret| credentials("disk", secret)),
    })
}

/// A scene where carol has to prove herself, and the disk can.
fn scene() -> Scene {
    let scene = Scene::new();
    let authentication = demand(SECRET, Some(DISKS_SECRET));
    scene.target.grant(DISK, CAROL, Access::ReadWrite, authentication).unwrap();
    scene
}

fn by(chap: Chap) -> Options {
    Options { chap: Some(chap), ..Options::default() }
}

#[test]
fn who_knows_the_secret_gets_in_by_every_digest_both_ways() {
    let scene = scene();
    for digests in ["5", "6", "7", "8", "5,6,7,8", "8,7,6,5", "200,5"] {
        let one_way = Chap { digests: digests.into(), ..Chap::new("carol", SECRET) };
        for chap in [one_way.clone(), one_way.mutual("disk", DISKS_SECRET)] {
            let mut session = scene.login_with(CAROL, &by(chap)).unwrap();
            session.write(0, &[7; 512]).unwrap();
            session.logout().unwrap();
        }
    }
    let unknown = Chap { digests: "4,200".into(), ..Chap::new("carol", SECRET) };
    assert_eq!(refused(scene.login_with(CAROL, &by(unknown))), (2, 1));
}

#[test]
fn who_does_not_know_it_stays_out_with_one_answer_for_all() {
    let scene = scene();
    for chap in [
        Chap::new("carol", "another secret"),
        Chap::new("mallory", SECRET),
        Chap::new("", SECRET),
        // Her secret does not work for the disk's, nor the other way round.
        Chap::new("disk", DISKS_SECRET),
        Chap::new("carol", DISKS_SECRET),
    ] {
        assert_eq!(refused(scene.login_with(CAROL, &by(chap))), (2, 1));
    }
    assert_eq!(refused(scene.login(CAROL)), (2, 1));
    let late = Options { from_security: false, ..Options::default() };
    assert_eq!(refused(scene.login_with(CAROL, &late)), (2, 1));
    assert_eq!(scene.sessions(), 0);
    assert_eq!(scene.unit.nexuses(), 0);
}

#[test]
fn a_secret_opens_one_grant_only() {
    let scene = scene();
    scene.target.export(OTHER, unit(&scene.medium, 2)).unwrap();
    let others = demand("for the other disk", None);
    scene.target.grant(OTHER, CAROL, Access::ReadWrite, others).unwrap();
    let dave = Some(Authentication {
        initiator: Credentials {
            name: "dave".into(),
            secret: Secret::new("dave's secret").unwrap(),
        },
        target: None,
    });
    scene.target.grant(DISK, "iqn.x:dave", Access::ReadOnly, dave).unwrap();
    let on = |target: &str, initiator: &str, name: &str, secret: &str| {
        Session::login_with(scene.portal, initiator, target, &by(Chap::new(name, secret)))
    };
    assert!(on(DISK, CAROL, "carol", SECRET).is_ok());
    assert!(on(OTHER, CAROL, "carol", "for the other disk").is_ok());
    assert!(on(DISK, "iqn.x:dave", "dave", "dave's secret").is_ok());
    for (target, initiator, name, secret) in [
        (OTHER, CAROL, "carol", SECRET),
        (DISK, CAROL, "carol", "for the other disk"),
        (DISK, CAROL, "dave", "dave's secret"),
        (DISK, "iqn.x:dave", "carol", SECRET),
    ] {
        assert_eq!(refused(on(target, initiator, name, secret)), (2, 1));
    }
    assert_eq!(refused(on(OTHER, "iqn.x:dave", "dave", "dave's secret")), (2, 3));
    assert_eq!(refused(on("iqn.x:nowhere", CAROL, "carol", SECRET)), (2, 3));
}

#[test]
fn an_initiator_learns_whether_the_target_is_the_right_one() {
    let scene = scene();
    let chap = |name, secret| by(Chap::new("carol", SECRET).mutual(name, secret));
    for options in [chap("disk", "what it should be"), chap("another", DISKS_SECRET)] {
        assert!(matches!(scene.login_with(CAROL, &options), Err(Error::Impostor)));
    }
    // Where the target has nothing to prove itself with, it says no rather than nothing.
    scene.target.revoke(DISK, CAROL).unwrap();
    scene.target.grant(DISK, CAROL, Access::ReadWrite, demand(SECRET, None)).unwrap();
    let asked = scene.login_with(CAROL, &chap("disk", DISKS_SECRET));
    assert_eq!(refused(asked), (2, 1));
}

#[test]
fn without_a_demand_chap_alone_is_refused() {
    let scene = scene();
    assert_eq!(refused(scene.login_with(ALICE, &by(Chap::new("alice", SECRET)))), (2, 1));
    assert!(scene.login(ALICE).is_ok());
    // Offered beside None, it is not taken: there is nothing to compare with.
    let names = words(&[("InitiatorName", BOB), ("TargetName", DISK), ("AuthMethod", "CHAP,None")]);
    let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
    let (answer, said) = round(&mut wire, request(0, Some(1)), &names);
    assert!(answer.transit && said.contains("AuthMethod=None\0"), "{said}");
}

#[test]
fn every_way_around_the_proof_is_shut() {
    let scene = scene();
    let names = words(&[("InitiatorName", CAROL), ("TargetName", DISK)]);
    let with = |pairs: &[(&str, &str)]| [names.clone(), words(pairs)].concat();
    let operational = [("HeaderDigest", "None"), ("MaxBurstLength", "65536")];
    let method = || (request(0, None), with(&[("AuthMethod", "CHAP,None")]));
    let digest = || (request(0, None), words(&[("CHAP_A", "5")]));
    let none = || words(&[]);
    let noise = words(&[("CHAP_N", "carol"), ("CHAP_R", "0x00112233445566778899aabbccddeeff")]);
    let cases = [
        ("starts in the operational stage", vec![(request(1, Some(3)), names.clone())], (2, 1)),
        ("negotiates there", vec![(request(1, Some(3)), with(&operational))], (2, 1)),
        ("starts there and waits", vec![(request(1, None), with(&operational))], (2, 1)),
        ("names no method", vec![(request(0, Some(1)), names.clone())], (2, 1)),
        ("jumps over everything", vec![(request(0, Some(3)), names.clone())], (2, 1)),
        ("offers None", vec![(request(0, Some(1)), with(&[("AuthMethod", "None")]))], (2, 1)),
        ("negotiates in security", vec![(request(0, Some(1)), with(&operational))], (2, 1)),
        ("goes on after the method", vec![method(), (request(0, Some(1)), none())], (2, 1)),
        ("jumps after the method", vec![method(), (request(0, Some(3)), none())], (2, 1)),
        ("just says it is further", vec![method(), (request(1, Some(3)), none())], (2, 0)),
        (
            "goes on after the challenge",
            vec![method(), digest(), (request(0, Some(1)), none())],
            (2, 1),
        ),
        ("guesses", vec![method(), digest(), (request(0, Some(1)), noise.clone())], (2, 1)),
        ("guesses unasked", vec![method(), (request(0, Some(1)), noise)], (2, 1)),
        (
            "becomes another after the challenge",
            vec![method(), digest(), (request(0, Some(1)), words(&[("InitiatorName", ALICE)]))],
            (2, 0),
        ),
        (
            "takes another session type",
            vec![method(), (request(0, Some(1)), words(&[("SessionType", "Discovery")]))],
            (2, 0),
        ),
    ];
    for (what, way, status) in cases {
        assert_eq!(rounds(&scene, &way), status, "{what}");
    }
    assert_eq!(scene.unit.nexuses(), 0);
}

/// Security done in good order; what is left is the operational stage.
fn proven(scene: &Scene) -> Wire {
    let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
    let names = words(&[("InitiatorName", CAROL), ("TargetName", DISK), ("AuthMethod", "CHAP")]);
    round(&mut wire, request(0, None), &names);
    let (_, said) = round(&mut wire, request(0, None), &words(&[("CHAP_A", "5")]));
    let proof = answer(&said, SECRET);
    let pairs = [("CHAP_N", "carol"), ("CHAP_R", proof.as_str())];
    let (answer, _) = round(&mut wire, request(0, Some(1)), &words(&pairs));
    assert!(answer.transit && answer.class == 0);
    wire
}

/// The value of a key in an answer.
fn find<'a>(said: &'a str, key: &str) -> &'a str {
    let mut values = said.split('\0').filter_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    values.next_back().unwrap_or_else(|| panic!("no {key} in {said:?}"))
}

/// The response to a challenge.
fn answer(said: &str, secret: &str) -> String {
    let identifier: u8 = find(said, "CHAP_I").parse().unwrap();
    let challenge = find(said, "CHAP_C").strip_prefix("0x").unwrap();
    let challenge: Vec<u8> = (0..challenge.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&challenge[at..at + 2], 16).unwrap())
        .collect();
    assert!(challenge.len() >= 16);
    let digest = Md5::digest([&[identifier], secret.as_bytes(), &challenge].concat());
    digest.iter().fold("0x".to_owned(), |out, byte| format!("{out}{byte:02x}"))
}

#[test]
fn a_proof_does_not_outlive_the_grant_it_was_for() {
    let scene = scene();
    let finish = |wire: &mut Wire| {
        let (answer, _) = round(wire, request(1, Some(3)), b"");
        (answer.class, answer.detail)
    };
    assert_eq!(finish(&mut proven(&scene)), (0, 0));
    let again = |demand: Option<Authentication>| {
        let mut wire = proven(&scene);
        scene.target.revoke(DISK, CAROL).unwrap();
        if demand.is_some() {
            scene.target.grant(DISK, CAROL, Access::ReadWrite, demand).unwrap();
        }
        finish(&mut wire)
    };
    // The same once more: what was proved is what is demanded.
    assert_eq!(again(demand(SECRET, Some(DISKS_SECRET))), (0, 0));
    assert_eq!(again(None), (2, 3));
    scene.target.grant(DISK, CAROL, Access::ReadWrite, demand(SECRET, Some(DISKS_SECRET))).unwrap();
    assert_eq!(again(demand("a fresh secret", None)), (2, 1));
    // One that began when there was nothing to prove.
    let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
    let names = words(&[("InitiatorName", ALICE), ("TargetName", DISK)]);
    round(&mut wire, request(0, Some(1)), &names);
    scene.target.revoke(DISK, ALICE).unwrap();
    scene.target.grant(DISK, ALICE, Access::ReadWrite, demand(SECRET, None)).unwrap();
    assert_eq!(finish(&mut wire), (2, 1));
}

#[test]
fn a_proven_login_cannot_become_another() {
    let scene = scene();
    let moved = |change: fn(&mut request::Login), pairs: &[(&str, &str)]| {
        let mut wire = proven(&scene);
        let mut last = request(1, Some(3));
        change(&mut last);
        let (answer, _) = round(&mut wire, last, &words(pairs));
        (answer.class, answer.detail)
    };
    assert_eq!(moved(|_| {}, &[("InitiatorName", ALICE)]), (2, 0));
    assert_eq!(moved(|_| {}, &[("TargetName", OTHER)]), (2, 0));
    assert_eq!(moved(|_| {}, &[("SessionType", "Discovery")]), (2, 0));
    assert_eq!(moved(|last| last.isid = [9; 6], &[]), (2, 0));
    assert_eq!(moved(|last| last.tsih = 1, &[]), (2, 0));
    assert_eq!(moved(|last| last.cid = 1, &[]), (2, 0));
    assert_eq!(moved(|last| last.current = 0, &[]), (2, 0));
    assert_eq!(moved(|_| {}, &[]), (0, 0));
}

#[test]
fn every_login_is_asked_something_else_and_old_answers_are_worthless() {
    let scene = scene();
    let names = words(&[("InitiatorName", CAROL), ("TargetName", DISK), ("AuthMethod", "CHAP")]);
    let ask = || {
        let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
        round(&mut wire, request(0, None), &names);
        let (_, said) = round(&mut wire, request(0, None), &words(&[("CHAP_A", "5")]));
        (wire, said)
    };
    let (_, overheard) = ask();
    let replayed = answer(&overheard, SECRET);
    let mut seen = vec![find(&overheard, "CHAP_C").to_owned()];
    for _ in 0..16 {
        let (mut wire, said) = ask();
        seen.push(find(&said, "CHAP_C").to_owned());
        let pairs = [("CHAP_N", "carol"), ("CHAP_R", replayed.as_str())];
        let (answer, _) = round(&mut wire, request(0, Some(1)), &words(&pairs));
        assert_eq!((answer.class, answer.detail), (2, 1));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 17);
}

// Mallory has no secret, but a target that proves itself: it must not answer its own question.
#[test]
fn the_target_does_not_answer_its_own_question() {
    let scene = scene();
    let names = words(&[("InitiatorName", CAROL), ("TargetName", DISK), ("AuthMethod", "CHAP")]);
    for secret in [SECRET, "not the secret"] {
        let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
        round(&mut wire, request(0, None), &names);
        let (_, said) = round(&mut wire, request(0, None), &words(&[("CHAP_A", "5")]));
        let proof = answer(&said, secret);
        let (identifier, challenge) = (find(&said, "CHAP_I"), find(&said, "CHAP_C"));
        let pairs = [
            ("CHAP_N", "carol"),
            ("CHAP_R", proof.as_str()),
            ("CHAP_I", identifier),
            ("CHAP_C", challenge),
        ];
        let (answer, said) = round(&mut wire, request(0, Some(1)), &words(&pairs));
        assert_eq!((answer.class, answer.detail), (2, 1));
        assert_eq!(said, "");
    }
}

#[test]
fn nobody_takes_the_place_of_a_session_unproven() {
    let scene = scene();
    let chap = by(Chap::new("carol", SECRET));
    let mut session = scene.login_with(CAROL, &chap).unwrap();
    // The same name, the same ISID: reinstatement, if it were her.
    assert_eq!(refused(scene.login(CAROL)), (2, 1));
    let wrong = by(Chap::new("carol", "another secret"));
    assert_eq!(refused(scene.login_with(CAROL, &wrong)), (2, 1));
    assert!(session.read(0, 1).is_ok());
    let mut anew = scene.login_with(CAROL, &chap).unwrap();
    assert!(anew.read(0, 1).is_ok());
    assert!(session.read(0, 1).is_err());
}

#[test]
fn discovery_asks_for_no_proof_and_shows_names_only() {
    let scene = scene();
    scene.target.export(OTHER, Arc::clone(&scene.unit)).unwrap();
    let found = discover(scene.portal, CAROL).unwrap();
    assert_eq!(found, [(DISK.to_owned(), format!("{},1", scene.portal))]);
    // Discovery is no session on a unit.
    let names =
        words(&[("InitiatorName", CAROL), ("SessionType", "Discovery"), ("TargetName", DISK)]);
    assert_eq!(rounds(&scene, &[(request(1, Some(3)), names)]), (0, 0));
    assert_eq!(scene.sessions(), 0);
    assert_eq!(scene.unit.nexuses(), 0);
}

// Discovery is open to everybody who knows a name; that must not shut out who has proved to own it.
#[test]
fn discovery_under_a_name_uses_up_no_place_of_its_owner() {
    let limits = Limits { connections_per_initiator: 2, ..Limits::default() };
    let scene = Scene::with(limits);
    scene.target.grant(DISK, CAROL, Access::ReadWrite, demand(SECRET, None)).unwrap();
    let names = words(&[("InitiatorName", CAROL), ("SessionType", "Discovery")]);
    let discover = || {
        let mut wire = Wire::connect(scene.portal, PATIENCE).unwrap();
        let (answer, _) = round(&mut wire, request(1, Some(3)), &names);
        (wire, (answer.class, answer.detail))
    };
    let (held, also) = (discover(), discover());
    assert_eq!((held.1, also.1), ((0, 0), (0, 0)));
    assert_eq!(discover().1, (3, 2));
    let options =
        |number| Options { isid: [0x80, 0, 0, 0, 0, number], ..by(Chap::new("carol", SECRET)) };
    let _one = scene.login_with(CAROL, &options(1)).unwrap();
    let _two = scene.login_with(CAROL, &options(2)).unwrap();
    assert_eq!(refused(scene.login_with(CAROL, &options(3))), (3, 2));
}
