//! The login machine, request by request: what leads in, what is refused and with which status.

use std::sync::Arc;

use super::*;
use crate::credentials::{Authentication, Credentials, Secret};
use proptest::prelude::*;

fn request(current: u8, next: Option<u8>) -> request::Login {
    request::Login {
        transit: next.is_some(),
        continues: false,
        current,
        next: next.unwrap_or(0),
        version_max: 0,
        version_min: 0,
        isid: [1, 2, 3, 4, 5, 6],
        tsih: 0,
        itt: 7,
        cid: 0,
        cmd_sn: 100,
        exp_stat_sn: 0,
    }
}

fn words(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        text::push(&mut out, key, value);
    }
    out
}

const NAMES: [(&str, &str); 2] = [("InitiatorName", "iqn.x:a"), ("TargetName", "iqn.x:disk")];

fn login() -> Login {
    Login::new(&Limits::default(), |bytes| {
        bytes.fill(7);
        Ok(())
    })
}

fn refused(step: Step) -> (u8, u8) {
    match step {
        Step::Refuse(r) => (r.class, r.detail),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn security_then_operational_then_full_feature() {
    let mut l = login();
    let mut first = NAMES.to_vec();
    first.push(("AuthMethod", "CHAP,None"));
    let Step::Answer(r, t) = l.step(&request(0, Some(1)), &words(&first), |_| Ok(None)) else {
        panic!()
    };
    assert!(r.transit && r.next == 1);
    assert_eq!(t, b"AuthMethod=None\0TargetPortalGroupTag=1\0");
    let step = l.step(&request(1, Some(3)), &words(&[("ImmediateData", "No")]), |_| Ok(None));
    let Step::Ready(ready) = step else { panic!("{step:?}") };
    assert_eq!(ready.text, b"ImmediateData=No\0MaxRecvDataSegmentLength=262144\0");
    assert_eq!(ready.response.counters.stat_sn, 1);
    assert_eq!(ready.first_cmd_sn, 100);
    assert_eq!(ready.claim.target, Some(Name::new("iqn.x:disk").unwrap()));
}

// The hole this guards against: a login that starts late and is never asked who it is.
#[test]
fn every_way_into_the_full_feature_phase_asks_for_access() {
    for (current, next) in [(0, None), (0, Some(1)), (0, Some(3)), (1, None), (1, Some(3))] {
        let mut l = login();
        let step = l.step(&request(current, next), &words(&NAMES), |_| Err(Status::NOT_FOUND));
        assert_eq!(refused(step), (2, 3), "{current} {next:?}");
    }
}

#[test]
fn no_names_no_entry() {
    for (current, next) in [(0, Some(1)), (0, Some(3)), (1, Some(3))] {
        let step = login().step(&request(current, next), b"", |_| Ok(None));
        assert_eq!(refused(step), (2, 7));
        let only = words(&NAMES[..1]);
        let step = login().step(&request(current, next), &only, |_| Ok(None));
        assert_eq!(refused(step), (2, 7));
    }
}

#[test]
fn names_may_be_repeated_but_not_changed() {
    for (key, value, good) in [
        ("InitiatorName", "IQN.X:A", true),
        ("InitiatorName", "iqn.x:b", false),
        ("TargetName", "iqn.x:other", false),
        ("SessionType", "Discovery", false),
        ("SessionType", "Normal", true),
    ] {
        let mut l = login();
        l.step(&request(0, Some(1)), &words(&NAMES), |_| Ok(None));
        let step = l.step(&request(1, Some(3)), &words(&[(key, value)]), |_| Ok(None));
        assert_eq!(matches!(step, Step::Ready(_)), good, "{key}={value}");
    }
}

#[test]
fn header_rules() {
    let cases: [(request::Login, (u8, u8)); 7] = [
        (request::Login { version_min: 1, ..request(0, Some(1)) }, (2, 5)),
        (request(2, None), (2, 0)),
        (request(3, None), (2, 0)),
        (request(0, Some(2)), (2, 0)),
        (request(1, Some(1)), (2, 0)),
        (request(1, Some(0)), (2, 0)),
        (request::Login { continues: true, ..request(0, Some(1)) }, (2, 0)),
    ];
    for (header, status) in cases {
        assert_eq!(refused(login().step(&header, &words(&NAMES), |_| Ok(None))), status);
    }
    for change in [
        request::Login { isid: [0; 6], ..request(1, Some(3)) },
        request::Login { itt: 8, ..request(1, Some(3)) },
        request::Login { cid: 1, ..request(1, Some(3)) },
        request::Login { tsih: 1, ..request(1, Some(3)) },
        request(0, Some(3)),
    ] {
        let mut l = login();
        l.step(&request(0, Some(1)), &words(&NAMES), |_| Ok(None));
        assert_eq!(refused(l.step(&change, b"", |_| Ok(None))), (2, 0), "{change:?}");
    }
}

#[test]
fn a_text_in_pieces_is_joined() {
    let mut l = login();
    let whole = words(&NAMES);
    let piece = request::Login { continues: true, ..request(1, None) };
    let step = l.step(&piece, &whole[..9], |_| panic!("too early"));
    assert!(matches!(step, Step::Answer(r, t) if !r.transit && t.is_empty()));
    assert!(matches!(l.step(&request(1, Some(3)), &whole[9..], |_| Ok(None)), Step::Ready(_)));
}

#[test]
fn a_text_without_end_is_refused() {
    let mut l = login();
    let piece = request::Login { continues: true, ..request(1, None) };
    l.step(&piece, &[b'a'; 8192], |_| Ok(None));
    l.step(&piece, &[b'a'; 8192], |_| Ok(None));
    assert_eq!(refused(l.step(&piece, b"a", |_| Ok(None))), (2, 0));
}

#[test]
fn a_method_we_cannot_do_is_an_authentication_failure() {
    let mut first = NAMES.to_vec();
    first.push(("AuthMethod", "CHAP"));
    assert_eq!(refused(login().step(&request(0, Some(1)), &words(&first), |_| Ok(None))), (2, 1));
}

#[test]
fn session_types() {
    let text = words(&[("InitiatorName", "iqn.x:a"), ("SessionType", "Other")]);
    assert_eq!(refused(login().step(&request(0, Some(1)), &text, |_| Ok(None))), (2, 9));
    let text = words(&[("InitiatorName", "iqn.x:a"), ("SessionType", "Discovery")]);
    let step = login().step(&request(0, Some(3)), &text, |_| Ok(None));
    assert!(matches!(step, Step::Ready(r) if r.claim.target.is_none()));
}

proptest! {
    #[test]
    fn arbitrary_requests_never_panic_and_never_pass_unchecked(
        rounds in proptest::collection::vec(
            (any::<[u8; 24]>(), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..6),
    ) {
        let mut l = login();
        for (bytes, noise, named) in rounds {
            let mut header = crate::pdu::Header([0; 48]);
            header.0[..24].copy_from_slice(&bytes);
            header.0[0] = 0x43;
            header.0[3] = 0;
            let Ok(crate::pdu::Request::Login(r)) = crate::pdu::Request::decode(&header) else { panic!() };
            let data = if named { words(&NAMES) } else { noise };
            let step = l.step(&r, &data, |_| Err(Status::NOT_FOUND));
            prop_assert!(!matches!(step, Step::Ready(_)));
        }
    }
}

// What follows is of grants that demand a proof.

/// A check that demands CHAP of everybody.
fn demands(_: &Claim) -> Result<Demand, Status> {
    let initiator =
        Credentials { name: "alice".into(), secret: Secret::new("open sesame!").unwrap() };
    Ok(Some(Arc::new(Authentication { initiator, target: None })))
}

/// The digest of identifier 7, "open sesame!" and a challenge of sixteen sevens (the randomness of
/// these tests), by Python's hashlib.
const RESPONSE: &str = "0xd12be235b2917a3d60be0e7e0d4a7fe7";

type Round<'a> = (u8, Option<u8>, &'a [(&'a str, &'a str)]);

/// Steps through rounds; the texts and stages of the answers, and how the last one ended.
fn rounds(rounds: &[Round<'_>]) -> (Vec<(bool, String)>, Step) {
    let mut l = login();
    let mut said = Vec::new();
    for (at, (current, next, pairs)) in rounds.iter().enumerate() {
        let names = if at == 0 { &NAMES[..] } else { &[] };
        let step = l.step(&request(*current, *next), &words(&[names, pairs].concat()), demands);
        match step {
            Step::Answer(r, text) if at + 1 < rounds.len() => {
                said.push((r.transit, String::from_utf8(text).unwrap()));
            }
            last => {
                if let Step::Refuse(_) = last {
                    // Dead for good, whatever comes.
                    let again = l.step(&request(0, Some(1)), &words(&NAMES), |_| Ok(None));
                    assert!(matches!(again, Step::Refuse(_)));
                }
                return (said, last);
            }
        }
    }
    panic!("no rounds");
}

const METHOD: &[(&str, &str)] = &[("AuthMethod", "CHAP,None")];
const DIGEST: &[(&str, &str)] = &[("CHAP_A", "5")];
const PROOF: &[(&str, &str)] = &[("CHAP_N", "alice"), ("CHAP_R", RESPONSE)];

#[test]
fn chap_then_operational_then_full_feature() {
    // The wish to go on is set from the start, or not before the end: both are right.
    for early in [None, Some(1)] {
        let (said, last) = rounds(&[
            (0, early, METHOD),
            (0, early, DIGEST),
            (0, Some(1), PROOF),
            (1, Some(3), &[("ImmediateData", "No")]),
        ]);
        let challenge = format!("CHAP_A=5\0CHAP_I=7\0CHAP_C=0x{}\0", "07".repeat(16));
        let expected = [
            (false, "AuthMethod=CHAP\0TargetPortalGroupTag=1\0".to_owned()),
            (false, challenge),
            (true, String::new()),
        ];
        assert_eq!(said, expected);
        let Step::Ready(ready) = last else { panic!("{last:?}") };
        assert!(ready.proven.unwrap().satisfies(&demands(&ready.claim).unwrap().unwrap()));
    }
}

#[test]
fn chap_may_lead_straight_to_full_feature() {
    let (_, last) = rounds(&[(0, None, METHOD), (0, None, DIGEST), (0, Some(3), PROOF)]);
    assert!(matches!(last, Step::Ready(ready) if ready.proven.is_some()));
    let after: Round<'_> = (0, Some(3), &[]);
    let (_, last) = rounds(&[(0, None, METHOD), (0, None, DIGEST), (0, None, PROOF), after]);
    assert!(matches!(last, Step::Ready(ready) if ready.proven.is_some()));
}

#[test]
fn no_way_leads_around_a_demanded_proof() {
    let wrong: &[(&str, &str)] = &[("CHAP_N", "alice"), ("CHAP_R", "0x00")];
    let operational: &[(&str, &str)] = &[("HeaderDigest", "None"), ("ImmediateData", "Yes")];
    let cases: &[(&str, &[Round<'_>])] = &[
        ("starts in the operational stage", &[(1, Some(3), operational)]),
        ("starts there and stays", &[(1, None, operational)]),
        ("says nothing of a method", &[(0, Some(1), &[])]),
        ("says nothing and jumps", &[(0, Some(3), &[])]),
        ("operational keys in the security stage", &[(0, Some(1), operational)]),
        ("offers only None", &[(0, Some(1), &[("AuthMethod", "None")])]),
        ("offers only None, and does not ask to go on", &[(0, None, &[("AuthMethod", "None")])]),
        ("offers what we cannot do", &[(0, Some(1), &[("AuthMethod", "SRP,KRB5")])]),
        ("a digest before the method", &[(0, None, DIGEST)]),
        ("method and digest at once", &[(0, None, &[METHOD, DIGEST].concat())]),
        ("a proof before the method", &[(0, Some(1), PROOF)]),
        ("goes on after the method", &[(0, None, METHOD), (0, Some(1), &[])]),
        ("jumps after the method", &[(0, Some(3), METHOD), (0, Some(3), &[])]),
        ("a proof nobody asked for", &[(0, None, METHOD), (0, Some(1), PROOF)]),
        ("goes on after the challenge", &[(0, None, METHOD), (0, None, DIGEST), (0, Some(1), &[])]),
        (
            "operational keys instead of a proof",
            &[(0, None, METHOD), (0, None, DIGEST), (0, Some(1), operational)],
        ),
        ("a wrong proof", &[(0, None, METHOD), (0, None, DIGEST), (0, Some(1), wrong)]),
        ("a wrong proof, staying", &[(0, None, METHOD), (0, None, DIGEST), (0, None, wrong)]),
        ("asks for a second challenge", &[(0, None, METHOD), (0, None, DIGEST), (0, None, DIGEST)]),
        (
            "proves itself twice",
            &[(0, None, METHOD), (0, None, DIGEST), (0, None, PROOF), (0, Some(1), PROOF)],
        ),
        (
            "asks us to prove ourselves, which we cannot",
            &[
                (0, None, METHOD),
                (0, None, DIGEST),
                (0, Some(1), &[PROOF, &[("CHAP_I", "1"), ("CHAP_C", "0x0102")]].concat()),
            ],
        ),
    ];
    for (what, way) in cases {
        assert_eq!(refused(rounds(way).1), (2, 1), "{what}");
    }
    // Against the protocol, whoever does it.
    let cases: &[(&str, &[Round<'_>])] = &[
        ("claims another stage", &[(0, None, METHOD), (1, Some(3), operational)]),
        ("claims to be through", &[(0, None, METHOD), (3, None, &[])]),
        ("chooses the method again", &[(0, None, METHOD), (0, None, &[("AuthMethod", "None")])]),
        (
            "goes back to None after the proof",
            &[(0, None, METHOD), (0, None, DIGEST), (0, None, PROOF), (0, Some(1), METHOD)],
        ),
    ];
    for (what, way) in cases {
        assert_eq!(refused(rounds(way).1), (2, 0), "{what}");
    }
}

#[test]
fn what_was_proved_for_one_name_serves_no_other() {
    let other: &[(&str, &str)] = &[("InitiatorName", "iqn.x:b")];
    let disk: &[(&str, &str)] = &[("TargetName", "iqn.x:other")];
    let kind: &[(&str, &str)] = &[("SessionType", "Discovery")];
    for change in [other, disk, kind] {
        // Together with the proof, after it, and in the operational stage.
        for way in [
            &[(0, None, METHOD), (0, None, DIGEST), (0, Some(1), &[PROOF, change].concat()[..])][..],
            &[(0, None, METHOD), (0, None, DIGEST), (0, None, PROOF), (0, Some(1), change)],
            &[(0, None, METHOD), (0, None, DIGEST), (0, Some(1), PROOF), (1, Some(3), change)],
        ] {
            assert_eq!(refused(rounds(way).1), (2, 0), "{change:?}");
        }
    }
    let mut l = login();
    for (current, next, pairs) in [
        (0, None, [&NAMES, METHOD].concat()),
        (0, None, DIGEST.to_vec()),
        (0, Some(1), PROOF.to_vec()),
    ] {
        assert!(matches!(
            l.step(&request(current, next), &words(&pairs), demands),
            Step::Answer(..)
        ));
    }
    let moved = request::Login { isid: [9; 6], ..request(1, Some(3)) };
    assert_eq!(refused(l.step(&moved, b"", demands)), (2, 0));
}

proptest! {
    #[test]
    fn without_the_secret_no_sequence_of_requests_passes(
        choices in proptest::collection::vec((0usize..9, 0u8..2, 0u8..4, any::<bool>()), 1..12),
    ) {
        let texts: [&[(&str, &str)]; 9] = [
            &[],
            METHOD,
            &[("AuthMethod", "None")],
            DIGEST,
            &[("CHAP_N", "alice"), ("CHAP_R", "0x00000000000000000000000000000000")],
            &[("CHAP_N", "alice"), ("CHAP_R", "0x07070707070707070707070707070707"), ("CHAP_I", "7"),
                ("CHAP_C", "0x07070707070707070707070707070707")],
            &[("ImmediateData", "Yes")],
            &[("InitiatorName", "iqn.x:a"), ("SessionType", "Discovery")],
            &NAMES,
        ];
        let mut l = login();
        for (at, (text, current, next, transit)) in choices.into_iter().enumerate() {
            let pairs = if at == 0 { [&NAMES, texts[text]].concat() } else { texts[text].to_vec() };
            let step = l.step(&request(current, transit.then_some(next)), &words(&pairs), demands);
            prop_assert!(!matches!(step, Step::Ready(_)));
        }
    }
}
