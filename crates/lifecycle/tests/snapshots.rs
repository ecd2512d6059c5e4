//! What a dock does about snapshots, and what its answer does to the record, as one table that a
//! human can read through.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use expect_test::expect;
use osds_lifecycle::enforcer::{self, Facts, Failures, Rejected, SnapshotFact, Step};
use osds_lifecycle::{Confirmed, confirm, snapshot, status, volume};
use osds_model::volume::Terms;
use osds_model::{
    Applied, Capacity, Connection, Fault, FaultKind, GroupSnapshotId, HostId, Moment, PoolId,
    Presence, SnapshotId, SnapshotOutcome, VolumeId, VolumeOutcome, VolumeState, VolumeWish,
};

const S: SnapshotId = SnapshotId::from_u128(1);
const T: SnapshotId = SnapshotId::from_u128(2);

fn gib(n: u64) -> Capacity {
    Capacity::from_gib(n).unwrap()
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "no luck")
}

/// A volume of 2 GiB that is there.
fn made() -> VolumeState {
    let terms = Terms { multi_attach: false, max_attachments: None };
    VolumeState { made: Some(gib(2)), ..volume::new(gib(2), terms) }
}

fn told(state: &VolumeState) -> VolumeWish {
    volume::wish(VolumeId::from_u128(1), PoolId::from_u128(2), state)
}

fn facts(snapshots: &[(SnapshotId, SnapshotFact)]) -> Facts {
    Facts { size: Some(gib(2)), snapshots: snapshots.iter().copied().collect(), ..Facts::default() }
}

/// Works through the wish as a dock does, where `fails` never work, and hears the answer.
fn pass(state: &VolumeState, mut facts: Facts, fails: &[Step]) -> String {
    let (wish, mut failed, mut text) = (told(state), Failures::new(), String::new());
    while let Some(step) = enforcer::next_step(&wish, &facts, &failed) {
        let word = match step {
            Step::Snapshot(id) => format!("take {} ", id.0.as_u128()),
            Step::DeleteSnapshot(id) => format!("delete {} ", id.0.as_u128()),
            Step::Extend(size) => format!("extend({size}) "),
            Step::Delete => "delete ".to_owned(),
            Step::Revoke(_) | Step::Create(_) | Step::Offer(_) | Step::Limit | Step::Grant(_) => {
                format!("{step:?} ")
            }
        };
        text += &word;
        if fails.contains(&step) {
            text += "! ";
            assert!(failed.insert(step, fault(FaultKind::Temporary)).is_none(), "tried twice");
            continue;
        }
        match step {
            Step::Snapshot(id) => {
                facts.snapshots.insert(id, SnapshotFact::Whole(facts.size.unwrap()));
            }
            Step::DeleteSnapshot(id) => {
                facts.snapshots.remove(&id);
            }
            Step::Extend(size) => facts.size = Some(size),
            Step::Delete => facts.size = None,
            Step::Revoke(_) | Step::Create(_) | Step::Offer(_) | Step::Limit | Step::Grant(_) => {}
        }
    }
    let answer = enforcer::outcome(&wish, &facts, &failed);
    text += "->";
    match confirm(state, &answer) {
        Confirmed::Gone { freed } => write!(text, " gone, {freed} free").unwrap(),
        Confirmed::Known(next) => {
            let footprint = volume::footprint(&next);
            write!(text, " {}, {footprint}", status::volume(&next)).unwrap();
            for (id, snapshot) in &next.snapshots {
                let (id, word) = (id.0.as_u128(), status::snapshot(snapshot));
                write!(text, "; {id} {word}").unwrap();
                if let Some(fault) = &snapshot.fault {
                    write!(text, " ({})", fault.kind).unwrap();
                }
            }
        }
    }
    text
}

#[test]
fn what_becomes_of_snapshots() {
    use SnapshotFact::{Begun, Whole};
    let whole = |id| (id, Whole(gib(2)));
    let asked = snapshot::create(&made(), S, None).unwrap();
    let there = confirmed(&asked, &[(S, SnapshotOutcome::Present(gib(2)))]);
    let grown = VolumeState { presence: Presence::Wanted(gib(3)), ..asked.clone() };
    let two = snapshot::create(&there, T, None).unwrap();
    let leaving = snapshot::delete(&there, S);
    let leaving_young = snapshot::delete(&asked, S);
    let both = snapshot::create(&leaving, T, None).unwrap();
    let lost = Facts { size: None, ..facts(&[whole(S)]) };
    let unknown = Facts { unknown: Some(fault(FaultKind::Broken)), ..facts(&[]) };
    let of = [(VolumeId::from_u128(1), S), (VolumeId::from_u128(2), T)].into();
    let moment = Arc::new(Moment { group: GroupSnapshotId::from_u128(3), of });
    let together = snapshot::create(&made(), S, Some(moment)).unwrap();
    let due = |snapshots| Facts { due: [S].into(), ..facts(snapshots) };
    let odd = VolumeState { presence: Presence::Unwanted, ..there.clone() };
    let rows = [
        ("taken", &asked, facts(&[]), &[][..]),
        ("taken before the volume grows", &grown, facts(&[]), &[]),
        ("it fails", &asked, facts(&[]), &[Step::Snapshot(S)]),
        ("it fails, and the volume grows", &grown, facts(&[]), &[Step::Snapshot(S)]),
        ("what was begun is begun anew", &asked, facts(&[(S, Begun)]), &[]),
        ("taken already", &asked, facts(&[whole(S)]), &[]),
        ("lost", &there, facts(&[]), &[]),
        ("of what was lost a part is left", &there, facts(&[(S, Begun)]), &[]),
        ("a second one", &two, facts(&[whole(S)]), &[]),
        ("a second one fails", &two, facts(&[whole(S)]), &[Step::Snapshot(T)]),
        ("deleted", &leaving, facts(&[whole(S)]), &[]),
        ("deleted before it was taken", &leaving_young, facts(&[]), &[]),
        ("so is what was begun", &leaving_young, facts(&[(S, Begun)]), &[]),
        ("it cannot be deleted", &leaving, facts(&[whole(S)]), &[Step::DeleteSnapshot(S)]),
        ("room is made first", &both, facts(&[whole(S)]), &[]),
        ("the volume is lost", &two, lost.clone(), &[]),
        ("the volume is lost and a snapshot goes", &leaving, lost, &[]),
        ("nobody knows", &two, unknown, &[]),
        ("never under its snapshots", &odd, facts(&[whole(S)]), &[]),
        ("with others, not told of all", &together, facts(&[]), &[]),
        ("with others, left from a cut", &together, facts(&[(S, Begun)]), &[]),
        ("with others, now", &together, due(&[]), &[]),
        ("with others, now, and one fails", &together, due(&[]), &[Step::Snapshot(S)]),
    ];
    let mut text = String::new();
    for (what, state, facts, fails) in rows {
        writeln!(text, "{what}: {}", pass(state, facts, fails)).unwrap();
    }
    expect![[r#"
        taken: take 1 -> available, 4 GiB; 1 available
        taken before the volume grows: take 1 extend(3 GiB) -> available, 5 GiB; 1 available
        it fails: take 1 ! -> available, 4 GiB; 1 error (temporary)
        it fails, and the volume grows: take 1 ! extend(3 GiB) -> available, 6 GiB; 1 error (temporary)
        what was begun is begun anew: take 1 -> available, 4 GiB; 1 available
        taken already: -> available, 4 GiB; 1 available
        lost: -> available, 4 GiB; 1 error (gone)
        of what was lost a part is left: -> available, 4 GiB; 1 error (gone)
        a second one: take 2 -> available, 6 GiB; 1 available; 2 available
        a second one fails: take 2 ! -> available, 6 GiB; 1 available; 2 error (temporary)
        deleted: delete 1 -> available, 2 GiB
        deleted before it was taken: -> available, 2 GiB
        so is what was begun: delete 1 -> available, 2 GiB
        it cannot be deleted: delete 1 ! -> available, 4 GiB; 1 errorDeleting (temporary)
        room is made first: delete 1 take 2 -> available, 4 GiB; 2 available
        the volume is lost: -> error, 6 GiB; 1 available; 2 error (gone)
        the volume is lost and a snapshot goes: delete 1 -> error, 2 GiB
        nobody knows: -> error, 6 GiB; 1 error (broken); 2 error (broken)
        never under its snapshots: -> errorDeleting, 4 GiB; 1 available
        with others, not told of all: -> available, 4 GiB; 1 creating
        with others, left from a cut: -> available, 4 GiB; 1 creating
        with others, now: take 1 -> available, 4 GiB; 1 available
        with others, now, and one fails: take 1 ! -> available, 4 GiB; 1 error (temporary)
    "#]]
    .assert_eq(&text);
}

/// The record after an answer that is about snapshots.
fn confirmed(state: &VolumeState, snapshots: &[(SnapshotId, SnapshotOutcome)]) -> VolumeState {
    let applied = Applied {
        generation: state.generation,
        volume: VolumeOutcome::Present(gib(2)),
        hosts: BTreeMap::new(),
        snapshots: snapshots.iter().cloned().collect(),
    };
    match confirm(state, &applied) {
        Confirmed::Known(next) => next,
        Confirmed::Gone { .. } => panic!("gone"),
    }
}

/// What the controller learns in the meantime is no other wish, and nothing is unlearnt.
#[test]
fn a_wish_stays_the_same_wish_while_its_generation_lasts() {
    let asked = snapshot::create(&made(), S, None).unwrap();
    let there = confirmed(&asked, &[(S, SnapshotOutcome::Present(gib(2)))]);
    assert!(told(&there).snapshots[&S].exists && !told(&asked).snapshots[&S].exists);
    let kept = enforcer::accept(Some(&told(&asked)), &told(&there)).unwrap();
    assert!(kept.snapshots[&S].exists);
    let late = enforcer::accept(Some(&kept), &told(&asked)).unwrap();
    assert!(late.snapshots[&S].exists, "a late wish unlearns nothing");
    let learnt = enforcer::remember(&told(&asked), &facts(&[(S, SnapshotFact::Whole(gib(2)))]));
    assert!(learnt.snapshots[&S].exists);
    let begun = enforcer::remember(&told(&asked), &facts(&[(S, SnapshotFact::Begun)]));
    assert!(!begun.snapshots[&S].exists);

    let leaving = snapshot::delete(&there, S);
    let left = confirmed(&leaving, &[(S, SnapshotOutcome::Absent)]);
    assert!(left.snapshots.is_empty() && left.generation == leaving.generation);
    assert_eq!(enforcer::accept(Some(&told(&leaving)), &told(&left)), Ok(told(&left)));
    // Another wish of the same generation is still a lie.
    let mut lie = told(&leaving);
    lie.snapshots.get_mut(&S).unwrap().wanted = true;
    let told_before = told(&leaving);
    let refused = enforcer::accept(Some(&told_before), &lie);
    assert_eq!(refused, Err(Rejected::Changed(leaving.generation.0)));
}

#[test]
fn an_answer_without_the_snapshot_says_nothing_of_it() {
    let leaving = snapshot::delete(&snapshot::create(&made(), S, None).unwrap(), S);
    assert_eq!(confirmed(&leaving, &[]), leaving);
}

#[test]
fn a_dock_that_gives_no_answer_is_blamed_for_what_is_not_as_wished() {
    let asked = snapshot::create(&made(), S, None).unwrap();
    let there = confirmed(&asked, &[(S, SnapshotOutcome::Present(gib(2)))]);
    let two = snapshot::create(&there, T, None).unwrap();
    let blamed = confirm::blame(&two, &fault(FaultKind::Temporary));
    let words: Vec<_> = blamed.snapshots.values().map(status::snapshot).collect();
    assert_eq!(words, ["available", "error"]);
    assert!(!volume::is_settled(&two) && volume::is_settled(&there));
    let leaving = confirm::blame(&snapshot::delete(&two, S), &fault(FaultKind::Temporary));
    assert_eq!(status::snapshot(&leaving.snapshots[&S]), "errorDeleting");
    assert!(!status::snapshot_at_rest(&two.snapshots[&T]));
}

/// Hosts have no part in it: `Step::Snapshot` comes while they are served.
#[test]
fn nobody_is_put_out_for_a_snapshot() {
    let state = snapshot::create(&made(), S, None).unwrap();
    let host = HostId::from_u128(0xa);
    let mut wish = told(&state);
    let mode = osds_model::AttachMode::ReadWrite;
    let grant = osds_model::Grant { mode, initiators: vec![], authentication: None };
    wish.hosts.insert(host, grant);
    let connection = Connection::Iscsi { iqn: String::new(), portals: vec![], lun: 1 };
    let served = enforcer::Served { mode, initiators: vec![], authentication: None, connection };
    let facts = Facts { served: BTreeMap::from([(host, served)]), ..facts(&[]) };
    let next = enforcer::next_step(&wish, &facts, &Failures::new());
    assert_eq!(next, Some(Step::Snapshot(S)));
}
