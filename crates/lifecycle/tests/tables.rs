//! The protocol's small decisions, each as a table that a human can read through: which step comes
//! next and what a failure blocks, what an answer does to each attachment, which word is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use expect_test::{Expect, expect};
use osds_lifecycle::access::{self, AttachRequest};
use osds_lifecycle::enforcer::{self, Facts, Failures, Rejected, Served, SnapshotFact, Step};
use osds_lifecycle::{Confirmed, confirm, status, volume};
use osds_model::access::AttachmentFacts;
use osds_model::volume::Terms;
use osds_model::{
    Applied, AttachMode, Attachment, AttachmentId, Authentication, Capacity, Connection,
    Credentials, Fault, FaultKind, Generation, Grant, HostId, HostOutcome, IoLimits, IoRate, Phase,
    PoolId, Presence, Sealed, Sharing, SnapshotOutcome, VolumeId, VolumeOutcome, VolumeState,
    VolumeWish,
};

use AttachMode::{ReadOnly as RO, ReadWrite as RW};

const A: HostId = HostId::from_u128(0xa);
const B: HostId = HostId::from_u128(0xb);
const C: HostId = HostId::from_u128(0xc);

fn gib(n: u64) -> Capacity {
    Capacity::from_gib(n).unwrap()
}

fn connection() -> Connection {
    Connection::Iscsi { iqn: "iqn.x".into(), portals: vec![], lun: 1 }
}

fn fault(message: &str) -> Fault {
    Fault::new(FaultKind::Temporary, message)
}

fn wish(presence: Presence, hosts: &[(HostId, AttachMode)]) -> VolumeWish {
    let grant = |mode| Grant { mode, initiators: vec![], authentication: None };
    VolumeWish {
        volume: VolumeId::from_u128(1),
        generation: Generation(7),
        pool: PoolId::from_u128(2),
        presence,
        exists: true,
        guarded: false,
        limits: IoLimits::NONE,
        source: None,
        snapshots: BTreeMap::new(),
        hosts: hosts.iter().map(|&(host, mode)| (host, grant(mode))).collect(),
    }
}

fn facts(size: Option<u64>, served: &[(HostId, AttachMode)]) -> Facts {
    let serve =
        |mode| Served { mode, initiators: vec![], authentication: None, connection: connection() };
    Facts {
        size: size.map(gib),
        unknown: None,
        limits: None,
        offered: None,
        snapshots: BTreeMap::new(),
        due: BTreeSet::new(),
        served: served.iter().map(|&(host, mode)| (host, serve(mode))).collect(),
    }
}

/// Credentials by this name.
fn proof<S: Clone>(name: &str, secret: S) -> Option<Authentication<S>> {
    Some(Authentication {
        initiator: Credentials { name: name.to_owned(), secret: secret.clone() },
        target: None,
    })
}

// ---- the dock ----

/// Works through a wish as a dock does, where `fails` never work; what it did and what it says.
fn pass(wish: &VolumeWish, mut facts: Facts, fails: &[Step]) -> String {
    let (mut did, mut failed) = (Vec::new(), Failures::new());
    while let Some(step) = enforcer::next_step(wish, &facts, &failed) {
        assert!(did.len() < 20, "it goes round in circles: {did:?}");
        if fails.contains(&step) {
            did.push(format!("{}!", step_word(step)));
            assert!(failed.insert(step, fault("no luck")).is_none(), "tried twice in one pass");
            continue;
        }
        did.push(step_word(step));
        match step {
            Step::Revoke(host) => drop(facts.served.remove(&host)),
            Step::Create(size) | Step::Extend(size) => facts.size = Some(size),
            Step::Grant(host) => {
                let Grant { mode, initiators, authentication } = wish.hosts[&host].names();
                let connection = connection();
                let served = Served { mode, initiators, authentication, connection };
                facts.served.insert(host, served);
            }
            Step::Offer(size) => facts.offered = Some(size),
            Step::Limit => facts.limits = Some(wish.limits),
            Step::Delete => facts.size = None,
            Step::Snapshot(id) => {
                facts.snapshots.insert(id, SnapshotFact::Whole(facts.size.unwrap()));
            }
            Step::DeleteSnapshot(id) => {
                facts.snapshots.remove(&id);
            }
        }
    }
    let applied = enforcer::outcome(wish, &facts, &failed);
    assert_eq!(applied.generation, wish.generation);
    let mut text = format!("{} -> {}", did.join(" "), volume_outcome(&applied.volume));
    for (host, outcome) in &applied.hosts {
        write!(text, ", {}: {}", name(*host), host_outcome(outcome)).unwrap();
    }
    for (id, outcome) in &applied.snapshots {
        let outcome = match outcome {
            SnapshotOutcome::Present(size) => size.to_string(),
            SnapshotOutcome::Absent => "gone".to_owned(),
            SnapshotOutcome::Waiting => "waiting".to_owned(),
            SnapshotOutcome::Failed(fault) => format!("failed ({})", short(fault)),
        };
        write!(text, ", {}: {outcome}", id.0.as_u128()).unwrap();
    }
    text
}

fn name(host: HostId) -> char {
    [(A, 'A'), (B, 'B'), (C, 'C')].into_iter().find(|(h, _)| *h == host).map_or('?', |(_, n)| n)
}

fn step_word(step: Step) -> String {
    match step {
        Step::Revoke(host) => format!("revoke({})", name(host)),
        Step::Create(size) => format!("create({size})"),
        Step::Extend(size) => format!("extend({size})"),
        Step::Grant(host) => format!("grant({})", name(host)),
        Step::Offer(size) => format!("offer({size})"),
        Step::Limit => "limit".into(),
        Step::Delete => "delete".into(),
        Step::Snapshot(id) => format!("snapshot({})", id.0.as_u128()),
        Step::DeleteSnapshot(id) => format!("delete snapshot({})", id.0.as_u128()),
    }
}

fn short(fault: &Fault) -> String {
    [A, B, C].into_iter().fold(fault.to_string(), |text, host| {
        text.replace(&host.to_string(), &name(host).to_string())
    })
}

fn volume_outcome(outcome: &VolumeOutcome) -> String {
    match outcome {
        VolumeOutcome::Present(size) => size.to_string(),
        VolumeOutcome::Absent => "absent".into(),
        VolumeOutcome::Failed(fault) => format!("failed [{}]", short(fault)),
    }
}

fn host_outcome(outcome: &HostOutcome) -> String {
    match outcome {
        HostOutcome::Granted(_) => "granted".into(),
        HostOutcome::GrantFailed(fault) => format!("not let in [{}]", short(fault)),
        HostOutcome::RevokeFailed(fault) => format!("not put out [{}]", short(fault)),
    }
}

fn passes(rows: &[(&str, VolumeWish, Facts, &[Step])], expected: &Expect) {
    let text: Vec<_> = rows
        .iter()
        .map(|(what, wish, facts, fails)| {
            format!("{what}:\n    {}\n", pass(wish, facts.clone(), fails))
        })
        .collect();
    expected.assert_eq(&text.concat());
}

const WANTED: Presence = Presence::Wanted(Capacity::from_bytes(2 << 30));

#[test]
fn order_of_steps() {
    let sealed = |name| proof(name, Sealed("sealed".to_owned()));
    let mut proving = wish(WANTED, &[(A, RW)]);
    proving.hosts.get_mut(&A).unwrap().authentication = sealed("a2");
    let served = |authentication| {
        let mut facts = facts(Some(2), &[(A, RW)]);
        facts.served.get_mut(&A).unwrap().authentication = authentication;
        facts
    };
    let young = VolumeWish { exists: false, ..wish(WANTED, &[(A, RW), (B, RO)]) };
    passes(
        &[
            ("from nothing", young, facts(None, &[]), &[]),
            (
                "out, then the volume, then in",
                wish(WANTED, &[(A, RW), (B, RO)]),
                facts(Some(1), &[(C, RW)]),
                &[],
            ),
            (
                "another mode is out and in again",
                wish(WANTED, &[(A, RO), (B, RW)]),
                facts(Some(2), &[(A, RW), (B, RW)]),
                &[],
            ),
            (
                "other credentials are out and in again",
                proving.clone(),
                served(proof("a1", ())),
                &[],
            ),
            ("so is a name that is believed", proving.clone(), served(None), &[]),
            (
                "and a proof that nobody asks for any more",
                wish(WANTED, &[(A, RW)]),
                served(proof("a1", ())),
                &[],
            ),
            ("the same credentials are as wished", proving, served(proof("a2", ())), &[]),
            ("all as wished", wish(WANTED, &[(A, RW)]), facts(Some(2), &[(A, RW)]), &[]),
            ("larger than wished is left alone", wish(WANTED, &[]), facts(Some(3), &[]), &[]),
            (
                "gone only when nobody is served",
                wish(Presence::Unwanted, &[]),
                facts(Some(2), &[(A, RW), (B, RO)]),
                &[],
            ),
            ("gone already", wish(Presence::Unwanted, &[]), facts(None, &[]), &[]),
            (
                "a lost volume is not made anew, nobody is let in",
                wish(WANTED, &[(A, RW)]),
                facts(None, &[(B, RW)]),
                &[],
            ),
        ],
        &expect![[r#"
            from nothing:
                create(2 GiB) grant(A) grant(B) -> 2 GiB, A: granted, B: granted
            out, then the volume, then in:
                revoke(C) extend(2 GiB) grant(A) grant(B) -> 2 GiB, A: granted, B: granted
            another mode is out and in again:
                revoke(A) grant(A) -> 2 GiB, A: granted, B: granted
            other credentials are out and in again:
                revoke(A) grant(A) -> 2 GiB, A: granted
            so is a name that is believed:
                revoke(A) grant(A) -> 2 GiB, A: granted
            and a proof that nobody asks for any more:
                revoke(A) grant(A) -> 2 GiB, A: granted
            the same credentials are as wished:
                 -> 2 GiB, A: granted
            all as wished:
                 -> 2 GiB, A: granted
            larger than wished is left alone:
                 -> 3 GiB
            gone only when nobody is served:
                revoke(A) revoke(B) delete -> absent
            gone already:
                 -> absent
            a lost volume is not made anew, nobody is let in:
                revoke(B) -> failed [the volume was made here and is not there any more; restore it, or delete it (gone)], A: not let in [the volume was made here and is not there any more; restore it, or delete it (gone)]
        "#]],
    );
}

/// Limits are put right before anybody is let in; a host that has the volume does not notice.
#[test]
fn limits() {
    let rate = |iops| IoRate { iops: std::num::NonZeroU64::new(iops), ..IoRate::NONE };
    let limits = |iops| IoLimits { volume: rate(iops), each_host: IoRate::NONE };
    let limited = VolumeWish { limits: limits(500), ..wish(WANTED, &[(A, RW), (B, RO)]) };
    let exported = |iops, served| Facts { limits: Some(limits(iops)), ..facts(Some(2), served) };
    let one = [(A, RW)];
    passes(
        &[
            ("not exported", limited.clone(), facts(Some(2), &[]), &[]),
            ("other limits", limited.clone(), exported(100, &one), &[]),
            ("the same limits", limited.clone(), exported(500, &one), &[]),
            ("no limits any more", wish(WANTED, &one), exported(500, &one), &[]),
            ("they cannot be set", limited.clone(), exported(0, &one), &[Step::Limit]),
            (
                "deleted",
                VolumeWish { limits: limits(5), ..wish(Presence::Unwanted, &[]) },
                exported(0, &one),
                &[],
            ),
        ],
        &expect![[r#"
            not exported:
                grant(A) grant(B) -> 2 GiB, A: granted, B: granted
            other limits:
                limit grant(B) -> 2 GiB, A: granted, B: granted
            the same limits:
                grant(B) -> 2 GiB, A: granted, B: granted
            no limits any more:
                limit -> 2 GiB, A: granted
            they cannot be set:
                limit! grant(B) -> failed [no luck (temporary)], A: granted, B: granted
            deleted:
                revoke(A) delete -> absent
        "#]],
    );
}

/// What each failure blocks, and what it does not.
#[test]
fn what_a_failure_blocks() {
    let busy = wish(WANTED, &[(A, RW), (B, RO)]);
    let guarded = VolumeWish { guarded: true, ..busy.clone() };
    let young = VolumeWish { exists: false, ..busy.clone() };
    let small = facts(Some(1), &[(C, RW)]);
    let unwanted = wish(Presence::Unwanted, &[]);
    let other_mode = wish(WANTED, &[(A, RO), (B, RW)]);
    passes(
        &[
            ("create: everything", young, facts(None, &[]), &[Step::Create(gib(2))]),
            ("extend: nothing else", busy.clone(), small.clone(), &[Step::Extend(gib(2))]),
            ("grant: that host only", busy.clone(), small.clone(), &[Step::Grant(A)]),
            ("revoke: that host only", busy.clone(), small.clone(), &[Step::Revoke(C)]),
            (
                "revoke beside a promise: everybody who is not in yet",
                guarded.clone(),
                small.clone(),
                &[Step::Revoke(C)],
            ),
            (
                "revoke beside a promise: nobody who is in already",
                guarded,
                facts(Some(2), &[(A, RW), (C, RW)]),
                &[Step::Revoke(C)],
            ),
            (
                "revoke for another mode: that host only",
                other_mode,
                facts(Some(2), &[(A, RW)]),
                &[Step::Revoke(A)],
            ),
            (
                "revoke: delete",
                unwanted.clone(),
                facts(Some(2), &[(A, RW), (B, RW)]),
                &[Step::Revoke(A)],
            ),
            ("delete: nothing else", unwanted.clone(), facts(Some(2), &[(A, RW)]), &[Step::Delete]),
            (
                "revoke, and the volume is lost besides: it is not absent while served",
                unwanted,
                facts(None, &[(A, RW)]),
                &[Step::Revoke(A)],
            ),
        ],
        &expect![[r#"
            create: everything:
                create(2 GiB)! -> failed [no luck (temporary)], A: not let in [no luck (temporary)], B: not let in [no luck (temporary)]
            extend: nothing else:
                revoke(C) extend(2 GiB)! grant(A) grant(B) -> failed [no luck (temporary)], A: granted, B: granted
            grant: that host only:
                revoke(C) extend(2 GiB) grant(A)! grant(B) -> 2 GiB, A: not let in [no luck (temporary)], B: granted
            revoke: that host only:
                revoke(C)! extend(2 GiB) grant(A) grant(B) -> 2 GiB, A: granted, B: granted, C: not put out [no luck (temporary)]
            revoke beside a promise: everybody who is not in yet:
                revoke(C)! extend(2 GiB) -> 2 GiB, A: not let in [host C could not be put out yet: no luck (temporary)], B: not let in [host C could not be put out yet: no luck (temporary)], C: not put out [no luck (temporary)]
            revoke beside a promise: nobody who is in already:
                revoke(C)! -> 2 GiB, A: granted, B: not let in [host C could not be put out yet: no luck (temporary)], C: not put out [no luck (temporary)]
            revoke for another mode: that host only:
                revoke(A)! grant(B) -> 2 GiB, A: not put out [no luck (temporary)], B: granted
            revoke: delete:
                revoke(A)! revoke(B) -> failed [no luck (temporary)], A: not put out [no luck (temporary)]
            delete: nothing else:
                revoke(A) delete! -> failed [no luck (temporary)]
            revoke, and the volume is lost besides: it is not absent while served:
                revoke(A)! -> failed [no luck (temporary)], A: not put out [no luck (temporary)]
        "#]],
    );
}

#[test]
fn an_answer_asked_for_too_early_claims_nothing() {
    let wish = wish(WANTED, &[(A, RW), (B, RO)]);
    let early = enforcer::outcome(&wish, &facts(Some(1), &[(B, RW), (C, RW)]), &Failures::new());
    let hosts: Vec<_> = early.hosts.values().map(host_outcome).collect();
    let say = |what: &str| format!("{what} [still being worked on (temporary)]");
    assert_eq!(volume_outcome(&early.volume), say("failed"));
    assert_eq!(hosts, [say("not let in"), say("not put out"), say("not put out")]);
}

#[test]
fn which_wish_goes_on_the_ledger() {
    let held = wish(WANTED, &[(A, RW)]);
    assert_eq!(enforcer::accept(None, &held), Ok(held.clone()));
    assert_eq!(enforcer::accept(Some(&held), &held), Ok(held.clone()), "again is fine");
    let newer = VolumeWish { generation: Generation(8), ..wish(WANTED, &[]) };
    assert_eq!(enforcer::accept(Some(&held), &newer), Ok(newer.clone()));
    let stale = enforcer::accept(Some(&newer), &held);
    assert_eq!(stale, Err(Rejected::Stale { offered: 7, held: 8 }));
    let lie = wish(WANTED, &[(A, RO)]);
    assert_eq!(enforcer::accept(Some(&held), &lie), Err(Rejected::Changed(7)));
}

#[test]
fn that_a_volume_was_there_is_learnt_and_kept() {
    let young = VolumeWish { exists: false, ..wish(WANTED, &[]) };
    let learnt = VolumeWish { exists: true, ..young.clone() };
    assert_eq!(enforcer::accept(Some(&young), &learnt), Ok(learnt.clone()), "no lie: news");
    assert_eq!(enforcer::accept(Some(&learnt), &young), Ok(learnt.clone()), "not unlearnt");
    assert_eq!(enforcer::remember(&young, &facts(None, &[])), young);
    assert_eq!(enforcer::remember(&young, &facts(Some(2), &[])), learnt);
    assert_eq!(enforcer::remember(&learnt, &facts(None, &[])), learnt);
}

// ---- the record ----

fn attachment(phase: Phase, fault: Option<Fault>, sharing: Sharing) -> Attachment {
    Attachment {
        id: AttachmentId::from_u128(1),
        mode: RW,
        sharing,
        publication: None,
        phase,
        fault,
        initiators: vec![],
        authentication: None,
        connection: None,
        about: AttachmentFacts::default(),
    }
}

fn record(presence: Presence, made: Option<u64>, held: &[(HostId, Attachment)]) -> VolumeState {
    let terms = Terms { multi_attach: true, max_attachments: None };
    VolumeState {
        generation: Generation(7),
        presence,
        made: made.map(gib),
        attachments: held.iter().cloned().map(|(host, held)| (host, held.into())).collect(),
        ..volume::new(gib(2), terms)
    }
}

fn answer(volume: VolumeOutcome, hosts: &[(HostId, HostOutcome)]) -> Applied {
    let (hosts, snapshots) = (hosts.iter().cloned().collect(), BTreeMap::new());
    Applied { generation: Generation(7), volume, hosts, snapshots }
}

fn known(state: &VolumeState, applied: &Applied) -> VolumeState {
    match confirm(state, applied) {
        Confirmed::Known(next) => next,
        Confirmed::Gone { .. } => panic!("gone"),
    }
}

/// Each phase, with and without an earlier fault, against each outcome.
#[test]
fn what_an_answer_does_to_an_attachment() {
    let outcomes = [
        ("granted", Some(HostOutcome::Granted(connection()))),
        ("grant failed", Some(HostOutcome::GrantFailed(fault("new")))),
        ("revoke failed", Some(HostOutcome::RevokeFailed(fault("new")))),
        ("not listed", None),
    ];
    let mut table = String::new();
    for phase in [Phase::Attaching, Phase::Attached, Phase::Detaching] {
        for before in [None, Some(fault("old"))] {
            for (word, outcome) in &outcomes {
                let held = attachment(phase, before.clone(), Sharing::Shared);
                let state = record(WANTED, Some(2), &[(A, held)]);
                let hosts: Vec<_> = outcome.iter().map(|o| (A, o.clone())).collect();
                let after = known(&state, &answer(VolumeOutcome::Present(gib(2)), &hosts));
                let line = |held: Option<&Attachment>| {
                    held.map_or("forgotten".to_owned(), |held| {
                        let fault = held.fault.as_ref().map_or("-", |f| f.message.as_str());
                        let there = if held.connection.is_some() { ", connection" } else { "" };
                        format!("{:?} {fault}{there}", held.phase)
                    })
                };
                let of = |s: &VolumeState| line(s.attachments.get(&A).map(|held| &**held));
                let (before, after) = (of(&state), of(&after));
                writeln!(table, "{before:14} + {word:13} = {after}").unwrap();
            }
        }
    }
    expect![[r#"
        Attaching -    + granted       = Attached -, connection
        Attaching -    + grant failed  = Attaching new
        Attaching -    + revoke failed = Attaching new
        Attaching -    + not listed    = Attaching -
        Attaching old  + granted       = Attached -, connection
        Attaching old  + grant failed  = Attaching new
        Attaching old  + revoke failed = Attaching new
        Attaching old  + not listed    = Attaching old
        Attached -     + granted       = Attached -, connection
        Attached -     + grant failed  = Attached new
        Attached -     + revoke failed = Attached new
        Attached -     + not listed    = Attached -
        Attached old   + granted       = Attached -, connection
        Attached old   + grant failed  = Attached new
        Attached old   + revoke failed = Attached new
        Attached old   + not listed    = Attached old
        Detaching -    + granted       = Detaching -
        Detaching -    + grant failed  = Detaching new
        Detaching -    + revoke failed = Detaching new
        Detaching -    + not listed    = forgotten
        Detaching old  + granted       = Detaching old
        Detaching old  + grant failed  = Detaching new
        Detaching old  + revoke failed = Detaching new
        Detaching old  + not listed    = forgotten
    "#]]
    .assert_eq(&table);
}

#[test]
fn hosts_come_out_each_on_its_own() {
    let state = record(
        WANTED,
        Some(2),
        &[
            (A, attachment(Phase::Attached, None, Sharing::Shared)),
            (B, attachment(Phase::Attaching, None, Sharing::Shared)),
            (C, attachment(Phase::Detaching, None, Sharing::Shared)),
        ],
    );
    let after = known(
        &state,
        &answer(
            VolumeOutcome::Present(gib(2)),
            &[
                (A, HostOutcome::Granted(connection())),
                (B, HostOutcome::GrantFailed(fault("no luck"))),
                (C, HostOutcome::RevokeFailed(fault("hangs"))),
            ],
        ),
    );
    let words = |s: &VolumeState| {
        s.attachments.values().map(|held| status::attachment(held)).collect::<Vec<_>>()
    };
    assert_eq!(words(&state), ["available", "creating", "deleting"]);
    assert_eq!(words(&after), ["available", "error", "errorDeleting"]);
    assert_eq!(status::volume(&after), "inUse");
    assert!(!volume::is_settled(&after));
}

/// A host that was forced off the record is still served: nobody is told yet that it is alone.
#[test]
fn a_promise_is_confirmed_only_when_nobody_lingers() {
    let applied = answer(
        VolumeOutcome::Present(gib(2)),
        &[(A, HostOutcome::Granted(connection())), (B, HostOutcome::RevokeFailed(fault("hangs")))],
    );
    for (sharing, phase, after) in [
        (Sharing::Shared, Phase::Attaching, Phase::Attached),
        (Sharing::SoleWriter, Phase::Attaching, Phase::Attaching),
        (Sharing::Exclusive, Phase::Attaching, Phase::Attaching),
        (Sharing::Exclusive, Phase::Attached, Phase::Attached),
    ] {
        let state = record(WANTED, Some(2), &[(A, attachment(phase, None, sharing))]);
        let held = &known(&state, &applied).attachments[&A];
        assert_eq!(held.phase, after, "{sharing:?} {phase:?}");
        let said = held.fault.as_ref().map(short);
        let waits = "host B could not be put out yet: hangs (temporary)".to_owned();
        assert_eq!(said, (after == Phase::Attaching).then_some(waits));
    }
}

#[test]
fn what_an_answer_does_to_the_volume() {
    let with =
        |presence, made, fault: Option<Fault>| VolumeState { fault, ..record(presence, made, &[]) };
    let say =
        |state: &VolumeState, volume: VolumeOutcome| match confirm(state, &answer(volume, &[])) {
            Confirmed::Known(next) => {
                let size = next.made.map_or("not made".into(), |size| size.to_string());
                let fault = next.fault.as_ref().map_or("-".into(), short);
                format!("{size}, fault {fault}: {}", status::volume(&next))
            }
            Confirmed::Gone { freed } => format!("gone, {freed} free again"),
        };
    let mut table = String::new();
    for (word, state) in [
        ("new", with(WANTED, None, None)),
        ("failed", with(WANTED, None, Some(fault("old")))),
        ("there", with(WANTED, Some(2), None)),
        ("small", with(WANTED, Some(1), None)),
        ("unwanted", with(Presence::Unwanted, Some(2), None)),
    ] {
        for outcome in [
            VolumeOutcome::Present(gib(2)),
            VolumeOutcome::Absent,
            VolumeOutcome::Failed(fault("no luck")),
        ] {
            let said = volume_outcome(&outcome);
            writeln!(table, "{word:8} + {said:28} = {}", say(&state, outcome)).unwrap();
        }
    }
    expect![[r#"
        new      + 2 GiB                        = 2 GiB, fault -: available
        new      + absent                       = not made, fault the dock says the volume is not there (gone): error
        new      + failed [no luck (temporary)] = not made, fault no luck (temporary): error
        failed   + 2 GiB                        = 2 GiB, fault -: available
        failed   + absent                       = not made, fault the dock says the volume is not there (gone): error
        failed   + failed [no luck (temporary)] = not made, fault no luck (temporary): error
        there    + 2 GiB                        = 2 GiB, fault -: available
        there    + absent                       = 2 GiB, fault the dock says the volume is not there (gone): error
        there    + failed [no luck (temporary)] = 2 GiB, fault no luck (temporary): error
        small    + 2 GiB                        = 2 GiB, fault -: available
        small    + absent                       = 1 GiB, fault the dock says the volume is not there (gone): errorExtending
        small    + failed [no luck (temporary)] = 1 GiB, fault no luck (temporary): errorExtending
        unwanted + 2 GiB                        = 2 GiB, fault -: deleting
        unwanted + absent                       = gone, 2 GiB free again
        unwanted + failed [no luck (temporary)] = 2 GiB, fault no luck (temporary): errorDeleting
    "#]].assert_eq(&table);
}

#[test]
fn only_the_answer_to_the_current_generation_counts() {
    let state = record(Presence::Unwanted, Some(2), &[]);
    for generation in [6, 8] {
        let late =
            Applied { generation: Generation(generation), ..answer(VolumeOutcome::Absent, &[]) };
        assert_eq!(confirm(&state, &late), Confirmed::Known(state.clone()));
    }
}

// ---- wishes and words ----

/// A wish must not change while its generation lasts: the dock would take one for a lie.
#[test]
fn a_wish_reads_the_same_after_its_answer() {
    let ask = |host, mode, sharing| AttachRequest {
        id: AttachmentId::from_u128(1),
        host,
        fenced: false,
        mode,
        sharing,
        publication: None,
        read_only_enforced: true,
        initiators: vec![],
        authentication: None,
        about: AttachmentFacts::default(),
    };
    let state = record(WANTED, Some(2), &[]);
    let both = access::attach(&state, &ask(A, RW, Sharing::SoleWriter))
        .and_then(|one| access::attach(&one, &ask(B, RO, Sharing::Shared)))
        .unwrap();
    let leaving = access::detach(&both, A);
    let told =
        |state: &VolumeState| volume::wish(VolumeId::from_u128(1), PoolId::from_u128(2), state);
    assert!(told(&both).guarded);
    let applied = Applied {
        generation: leaving.generation,
        ..answer(VolumeOutcome::Present(gib(2)), &[(B, HostOutcome::Granted(connection()))])
    };
    let left = known(&leaving, &applied);
    assert!(!left.attachments.contains_key(&A));
    assert_eq!(told(&left), told(&leaving));
}

/// The dock may have made or extended it and only the answer was lost.
#[test]
fn a_deleted_volume_is_charged_in_full_until_it_is_gone() {
    let never_heard_of = volume::delete(&record(WANTED, None, &[])).unwrap();
    assert_eq!(volume::footprint(&never_heard_of), gib(2));
    let half_extended = volume::delete(&record(WANTED, Some(1), &[])).unwrap();
    assert_eq!(volume::footprint(&half_extended), gib(2));
    let applied = Applied { generation: Generation(8), ..answer(VolumeOutcome::Absent, &[]) };
    assert_eq!(confirm(&half_extended, &applied), Confirmed::Gone { freed: gib(2) });
}

/// Every combination that the words are derived from.
#[test]
fn status_words() {
    let mut table = String::from("attachment\n");
    let phases = [Phase::Attaching, Phase::Attached, Phase::Detaching];
    let faults = [None, Some(fault("x"))];
    for phase in phases {
        for fault in &faults {
            let held = attachment(phase, fault.clone(), Sharing::Shared);
            let rest = if status::attachment_at_rest(&held) { "at rest" } else { "under way" };
            let mark = if fault.is_some() { "fault" } else { "-" };
            let word = status::attachment(&held);
            writeln!(table, "    {:10} {mark:6} {word:14} {rest}", format!("{phase:?}")).unwrap();
        }
    }
    let mut holders: BTreeMap<String, Vec<(HostId, Attachment)>> = BTreeMap::new();
    holders.insert(" nobody".into(), vec![]);
    for phase in phases {
        for fault in &faults {
            let mark = if fault.is_some() { "!" } else { "" };
            let held = attachment(phase, fault.clone(), Sharing::Shared);
            holders.insert(format!("{phase:?}{mark}"), vec![(A, held.clone())]);
            let beside = attachment(
                Phase::Attaching,
                Some(Fault::clone(&faults[1].clone().unwrap())),
                Sharing::Shared,
            );
            holders.insert(format!("{phase:?}{mark} + Attaching!"), vec![(A, held), (B, beside)]);
        }
    }
    let sizes = [
        ("wanted, not made", WANTED, None),
        ("wanted, smaller", WANTED, Some(1)),
        ("wanted, there", WANTED, Some(2)),
        ("unwanted", Presence::Unwanted, Some(2)),
    ];
    for (what, presence, made) in sizes {
        for fault in &faults {
            let mark = if fault.is_some() { ", fault" } else { "" };
            writeln!(table, "{what}{mark}").unwrap();
            let mut words: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
            for (who, held) in &holders {
                let state = VolumeState { fault: fault.clone(), ..record(presence, made, held) };
                let word = (status::volume(&state), status::volume_at_rest(&state));
                words.entry(word).or_default().push(who.trim());
            }
            for ((word, rest), who) in words {
                let rest = if rest { "at rest" } else { "under way" };
                let who =
                    if who.len() == holders.len() { "whoever".into() } else { who.join(", ") };
                writeln!(table, "    {word:14} {rest:9} {who}").unwrap();
            }
        }
    }
    expect![[r#"
        attachment
            Attaching  -      creating       under way
            Attaching  fault  error          at rest
            Attached   -      available      at rest
            Attached   fault  error          at rest
            Detaching  -      deleting       under way
            Detaching  fault  errorDeleting  at rest
        wanted, not made
            creating       under way whoever
        wanted, not made, fault
            error          at rest   whoever
        wanted, smaller
            extending      under way whoever
        wanted, smaller, fault
            errorExtending at rest   nobody, Attaching, Attaching + Attaching!, Attaching!, Attaching! + Attaching!
            inUse          at rest   Attached, Attached + Attaching!, Attached!, Attached! + Attaching!, Detaching, Detaching + Attaching!, Detaching!, Detaching! + Attaching!
        wanted, there
            attaching      under way Attaching, Attaching + Attaching!
            available      at rest   nobody, Attaching!, Attaching! + Attaching!
            inUse          at rest   Attached, Attached + Attaching!, Attached!, Attached! + Attaching!, Detaching, Detaching + Attaching!, Detaching!, Detaching! + Attaching!
        wanted, there, fault
            error          at rest   nobody, Attaching, Attaching + Attaching!, Attaching!, Attaching! + Attaching!
            inUse          at rest   Attached, Attached + Attaching!, Attached!, Attached! + Attaching!, Detaching, Detaching + Attaching!, Detaching!, Detaching! + Attaching!
        unwanted
            deleting       under way whoever
        unwanted, fault
            errorDeleting  at rest   whoever
    "#]].assert_eq(&table);
}
