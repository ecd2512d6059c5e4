//! Every interleaving around one volume, up to a bound, in a handful of small worlds; and every
//! way to break the protocol that we could think of, each of which must be caught in one of them.

mod world;

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Instant;

use expect_test::expect;
use osds_lifecycle::enforcer::SnapshotFact;
use osds_lifecycle::volume as rules;
use osds_model::{FaultKind, HostId, Phase, Presence};
use stateright::{Checker, Model};
use world::twins::Twin;
use world::{
    A, Action, B, C, Exclusive, Kind, RO, RW, Shared, SoleWriter, State, Trouble, Users, World,
    at_most, terms,
};

const STUBBORN: Trouble = Trouble {
    reboot: true,
    fails: &[Kind::Revoke, Kind::Grant],
    half_done: true,
    export_vanishes: true,
    file_vanishes: false,
    snapshot_vanishes: false,
};

/// That hosts cannot be told a size is the trouble of `growing`.
const ANYTHING: Trouble = Trouble {
    fails: &[Kind::Revoke, Kind::Create, Kind::Extend, Kind::Grant, Kind::Delete],
    file_vanishes: true,
    ..STUBBORN
};

fn quiet(name: &'static str, start: Vec<State>) -> World {
    World {
        name,
        start,
        asks: vec![],
        users: Users::default(),
        trouble: Trouble::default(),
        mail: 2,
        last_generation: 4,
        keep_dead_mail: false,
        shows: vec![],
        twin: None,
    }
}

/// One host at a time: handover, force, a dock that cannot put a host out, reboots.
fn exclusive() -> World {
    World {
        asks: vec![(A, RW, Shared), (B, RW, Shared), (C, RO, Shared)],
        users: Users { force: true, ..Users::default() },
        trouble: STUBBORN,
        last_generation: 9,
        shows: vec![
            ("handover from one host to the next", |_, s| {
                s.phase(B) == Some(Phase::Attached) && s.past.forced.is_empty() && !s.serves(A)
            }),
            ("one is forced and still served while the next waits", |_, s| {
                s.serves(A) && s.past.forced.contains_key(&A) && fault(s, B)
            }),
        ],
        ..quiet("exclusive", vec![State::made(terms(false), &[])])
    }
}

/// Two hosts, each read-write or read-only, side by side.
fn shared() -> World {
    World {
        asks: vec![(A, RW, Shared), (A, RO, Shared), (B, RW, Shared), (B, RO, Shared)],
        users: Users { force: true, ..Users::default() },
        trouble: STUBBORN,
        last_generation: 6,
        shows: vec![
            ("rw and ro side by side", |_, s| {
                s.phase(A) == Some(Phase::Attached)
                    && s.phase(B) == Some(Phase::Attached)
                    && s.dock.facts.served.values().map(|s| s.mode).eq([RW, RO])
            }),
            ("the second attach fails and the first is in place", |_, s| {
                s.phase(A) == Some(Phase::Attached) && !fault(s, A) && fault(s, B)
            }),
            ("a detach fails", |_, s| s.phase(A) == Some(Phase::Detaching) && fault(s, A)),
        ],
        ..quiet("shared", vec![State::made(terms(true), &[])])
    }
}

/// What CSI asks for: sole writers, and hosts that want to be alone.
fn promises() -> World {
    World {
        asks: vec![
            (A, RW, Exclusive),
            (A, RW, SoleWriter),
            (A, RW, Shared),
            (B, RW, SoleWriter),
            (B, RW, Shared),
            (B, RO, Shared),
            (C, RO, Exclusive),
            (C, RO, SoleWriter),
        ],
        users: Users { force: true, ..Users::default() },
        trouble: Trouble { reboot: true, fails: &[Kind::Revoke], ..Trouble::default() },
        last_generation: 6,
        shows: vec![("a sole writer with a reader beside it", |_, s| {
            s.phase(A) == Some(Phase::Attached)
                && s.phase(B) == Some(Phase::Attached)
                && s.record.as_ref().is_some_and(|r| r.attachments[&A].sharing == SoleWriter)
        })],
        ..quiet("promises", vec![State::made(terms(true), &[])])
    }
}

/// Hosts that were forced off the record while the dock was away, and then somebody who is
/// promised to be alone.
fn leftovers() -> World {
    World {
        asks: vec![(A, RO, Shared), (B, RW, Exclusive), (B, RW, SoleWriter)],
        users: Users { force: true, ..Users::default() },
        trouble: Trouble { fails: &[Kind::Revoke], ..Trouble::default() },
        last_generation: 8,
        shows: vec![("alone after two were forced", |_, s| {
            s.phase(B) == Some(Phase::Attached)
                && s.status() == "inUse"
                && !s.serves(A)
                && s.record.as_ref().is_some_and(|r| r.generation.0 >= 6)
        })],
        ..quiet("leftovers", vec![State::made(terms(true), &[(A, RW, Shared), (B, RW, Shared)])])
    }
}

/// At most two of three.
fn limited() -> World {
    World {
        asks: vec![(A, RW, Shared), (B, RW, Shared), (C, RO, Shared)],
        users: Users { force: true, ..Users::default() },
        trouble: Trouble { fails: &[Kind::Revoke, Kind::Grant], ..Trouble::default() },
        last_generation: 6,
        shows: vec![("full", |_, s| s.dock.facts.served.len() == 2)],
        ..quiet("limited", vec![State::made(at_most(2), &[])])
    }
}

/// The volume itself, from the request to the tombstone, with everything that can go wrong.
fn volume() -> World {
    World {
        users: Users { extend: true, take_back: true, delete: true, ..Users::default() },
        trouble: ANYTHING,
        last_generation: 5,
        keep_dead_mail: true,
        shows: vec![
            ("gone", |_, s| s.record.is_none()),
            ("lost", lost),
            ("extended", |_, s| {
                s.status() == "available" && s.dock.facts.size > Some(world::gib(1))
            }),
            ("error", |_, s| s.status() == "error"),
            ("errorDeleting", |_, s| s.status() == "errorDeleting"),
            ("errorExtending", |_, s| s.status() == "errorExtending"),
        ],
        ..quiet("volume", vec![State::new(terms(false))])
    }
}

/// A volume that hosts come to and that goes, or is lost, under them.
fn volume_with_a_host() -> World {
    World {
        asks: vec![(A, RW, Shared)],
        users: Users { force: true, extend: true, delete: true, ..Users::default() },
        trouble: ANYTHING,
        last_generation: 6,
        shows: vec![
            ("gone after it was attached", |_, s| {
                s.record.is_none() && s.dock.ledger.as_ref().is_some_and(|w| w.generation.0 == 4)
            }),
            ("gone after a force", |_, s| {
                s.record.is_none() && s.dock.ledger.as_ref().is_some_and(|w| w.generation.0 == 5)
            }),
            ("lost under a host", |w, s| s.phase(A) == Some(Phase::Attached) && lost(w, s)),
            ("in use though it could not be extended", |_, s| {
                let larger = s.record.as_ref().is_some_and(|r| {
                    r.presence > Presence::Wanted(world::gib(1)) && r.made < Some(world::gib(2))
                });
                larger && s.status() == "inUse"
            }),
        ],
        ..quiet("volume with a host", vec![State::made(terms(false), &[])])
    }
}

/// Two hosts have it while it grows, or does not and is asked for less.
fn growing() -> World {
    World {
        asks: vec![(A, RW, Shared), (B, RO, Shared)],
        users: Users { extend: true, take_back: true, ..Users::default() },
        trouble: Trouble {
            fails: &[Kind::Extend, Kind::Offer, Kind::Revoke],
            half_done: true,
            reboot: true,
            ..Trouble::default()
        },
        last_generation: 4,
        shows: vec![
            ("two hosts see it grow", |_, s| {
                s.dock.facts.served.len() == 2
                    && s.status() == "inUse"
                    && s.record.as_ref().is_some_and(|r| r.made > Some(world::gib(1)))
            }),
            ("extending under two hosts", |_, s| {
                s.dock.facts.served.len() == 2 && s.status() == "extending"
            }),
            ("grown, and hosts not told yet", |_, s| {
                s.dock.facts.offered.is_some() && s.dock.facts.offered < s.dock.facts.size
            }),
            ("taken back before the dock could do it", |_, s| {
                s.record.as_ref().is_some_and(|r| r.generation.0 == 3 && rules::is_settled(r))
                    && s.dock.facts.size == Some(world::gib(1))
            }),
            ("taken back too late", |_, s| {
                let record = s.record.as_ref();
                record.is_some_and(|r| {
                    r.presence == Presence::Wanted(world::gib(1))
                        && r.made == Some(world::gib(2))
                        && rules::is_settled(r)
                })
            }),
        ],
        ..quiet("growing", vec![State::made(terms(true), &[(A, RW, Shared), (B, RO, Shared)])])
    }
}

/// Snapshots that come and go, are cut off half-way, or are lost.
fn snapshots() -> World {
    World {
        users: Users { snapshot: true, delete: true, ..Users::default() },
        trouble: Trouble {
            snapshot_vanishes: true,
            fails: &[Kind::Snapshot, Kind::DeleteSnapshot],
            half_done: true,
            ..Trouble::default()
        },
        last_generation: 4,
        shows: vec![
            ("two are there", |_, s| words(s).eq(["available", "available"])),
            ("one could not be taken", |_, s| words(s).any(|word| word == "error")),
            ("one could not be deleted", |_, s| words(s).any(|word| word == "errorDeleting")),
            ("what was begun of one is left", |_, s| {
                s.dock.facts.snapshots.values().any(|fact| *fact == SnapshotFact::Begun)
            }),
            ("the volume is gone after a snapshot", |_, s| {
                s.record.is_none() && s.dock.ledger.as_ref().is_some_and(|w| w.generation.0 == 4)
            }),
        ],
        ..quiet("snapshots", vec![State::made(terms(false), &[])])
    }
}

/// A snapshot of a volume that a host has and that grows.
fn snapshots_under_a_host() -> World {
    World {
        asks: vec![(A, RW, Shared)],
        users: Users { snapshot: true, extend: true, ..Users::default() },
        trouble: Trouble {
            fails: &[Kind::Snapshot, Kind::Extend, Kind::Grant],
            half_done: true,
            ..Trouble::default()
        },
        last_generation: 4,
        shows: vec![
            ("taken while a host has the volume", |_, s| {
                s.status() == "inUse" && s.serves(A) && words(s).eq(["available"])
            }),
            ("a failed snapshot keeps nobody out", |_, s| {
                s.phase(A) == Some(Phase::Attached) && words(s).eq(["error"])
            }),
        ],
        ..quiet("snapshots under a host", vec![State::made(terms(false), &[])])
    }
}

fn words(s: &State) -> impl Iterator<Item = &'static str> {
    let snapshots = s.record.iter().flat_map(|record| record.snapshots.values());
    snapshots.map(osds_lifecycle::status::snapshot)
}

/// Multi-attach is turned on and off while hosts come and go.
fn turned() -> World {
    World {
        asks: vec![(A, RW, Shared), (B, RO, Shared)],
        users: Users { share: true, ..Users::default() },
        trouble: Trouble { fails: &[Kind::Revoke], reboot: true, ..Trouble::default() },
        last_generation: 7,
        shows: vec![
            ("two have it, and then one alone", |_, s| {
                let single = s.record.as_ref().is_some_and(|r| !r.terms.multi_attach);
                single && s.phase(A) == Some(Phase::Attached) && s.phase(B).is_none()
            }),
            ("one has it alone, and then two", |_, s| s.dock.facts.served.len() == 2),
        ],
        ..quiet("turned", vec![State::made(terms(false), &[(A, RW, Shared)])])
    }
}

fn lost(_: &World, s: &State) -> bool {
    let fault = s.record.as_ref().and_then(|record| record.fault.as_ref());
    fault.is_some_and(|fault| fault.kind == FaultKind::Gone)
}

/// An operator keeps hosts out, and lets them in again.
fn fence() -> World {
    World {
        asks: vec![(A, RW, Shared), (B, RO, Shared)],
        users: Users { force: true, fence: true, ..Users::default() },
        trouble: Trouble { reboot: true, fails: &[Kind::Revoke], ..Trouble::default() },
        last_generation: 7,
        shows: vec![
            ("fenced and out", |_, s| s.fenced.contains(&A) && s.phase(A).is_none() && s.serves(B)),
            ("fenced and not out yet", |_, s| {
                s.fenced.contains(&A) && s.phase(A) == Some(Phase::Detaching) && fault(s, A)
            }),
        ],
        ..quiet("fence", vec![State::made(terms(true), &[])])
    }
}

fn fault(s: &State, host: HostId) -> bool {
    let held = s.record.as_ref().and_then(|record| record.attachments.get(&host));
    held.is_some_and(|held| held.fault.is_some())
}

/// Explores all of it, prints how much that was, and holds it to every rule.
fn explore(world: World) {
    let start = Instant::now();
    let name = world.name;
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} unique states, at most {} steps deep, {:.1?}",
        checker.unique_state_count(),
        checker.max_depth(),
        start.elapsed()
    );
    checker.assert_properties();
}

macro_rules! sound {
    ($($world:ident),+) => {$(
        mod $world {
            #[test]
            fn is_sound() {
                super::explore(super::$world());
            }
        }
    )+};
}

sound!(
    exclusive,
    shared,
    promises,
    leftovers,
    limited,
    volume,
    volume_with_a_host,
    growing,
    turned,
    fence,
    snapshots,
    snapshots_under_a_host
);

/// Messages that everybody will refuse for ever are left out above, except in `volume`. Here they
/// are kept, in smaller worlds, to see that they are indeed refused.
#[test]
fn dead_mail_is_harmless() {
    let kept = |world: World, last_generation| World {
        keep_dead_mail: true,
        last_generation,
        shows: vec![],
        ..world
    };
    explore(kept(exclusive(), 4));
    explore(kept(shared(), 3));
    explore(kept(volume_with_a_host(), 3));
}

/// Each twin, and the world it is let loose in.
fn twins() -> Vec<(Twin, World)> {
    // A smaller cast: the traces are as short, the search is quicker.
    let two =
        |world: World, mode| World { asks: vec![(A, RW, Shared), (B, mode, Shared)], ..world };
    let (handover, pair) = (two(exclusive(), RW), two(shared(), RO));
    let writers = World { asks: vec![(A, RW, SoleWriter), (B, RW, Shared)], ..promises() };
    // For twins that fall for messages which everybody else refuses.
    let late = |world: World| World { keep_dead_mail: true, ..world };
    use Twin::*;
    let table = vec![
        (AttachIgnoresMultiAttach, handover.clone()),
        (AttachIgnoresPromises, writers.clone()),
        (AttachIgnoresHostsOnTheirWayOut, writers),
        (AttachIgnoresTheLimit, limited()),
        (AttachIgnoresTheFence, fence()),
        (AttachKeepsTheGeneration, handover.clone()),
        (AttachChangesTheModeInPlace, shared()),
        (DetachForgetsAtOnce, pair.clone()),
        (DetachKeepsTheGeneration, pair.clone()),
        (ForceKeepsTheGeneration, handover.clone()),
        (DeleteIgnoresHosts, volume_with_a_host()),
        (DeleteFreesAtOnce, volume()),
        (TakingBackFreesAtOnce, growing()),
        (SharingEndsDespiteHosts, turned()),
        (SharingKeepsTheGeneration, turned()),
        (GuardEndsWithinAGeneration, promises()),
        (DockIgnoresGenerations, late(handover.clone())),
        (RebootLosesTheLedger, late(handover.clone())),
        (DeleteForgetsTheTombstone, volume()),
        (LateWishUnlearnsTheVolume, volume()),
        (DockForgetsItMadeTheVolume, volume()),
        (LostVolumeIsMadeAnew, volume()),
        (GrantBeforeRevoke, handover.clone()),
        (GrantDespiteAFailedRevoke, handover),
        (GrantWithoutTheVolume, volume_with_a_host()),
        (ReadOnlyGrantedAsReadWrite, pair.clone()),
        (DeleteUnderAHost, volume_with_a_host()),
        (HostsAreNotTold, growing()),
        (FailedRevokeIsLeftOut, pair.clone()),
        (AnswerFromTheWish, pair.clone()),
        (AbsentWhileServed, volume_with_a_host()),
        (AnyReplyConfirms, late(pair.clone())),
        (PromiseConfirmedBesideALeftover, leftovers()),
        (AnotherModeIsNoLeftover, leftovers()),
        (FailedGrantHarmsAll, pair.clone()),
        (StatusIsTheLatestFailure, pair),
    ];
    let loose = |(twin, world)| (twin, World { twin: Some(twin), ..world });
    table.into_iter().map(loose).collect()
}

/// The shortest way to break a rule of safety, breadth first. (Stateright's own checker reports the
/// last counterexample of a batch, which is neither the shortest nor always the same.)
fn shortest_breach(world: &World) -> Option<(Vec<Action>, &'static str)> {
    let rules = world::rules::safety();
    let mut reached: Vec<(State, Option<(usize, Action)>)> =
        world.init_states().into_iter().map(|start| (start, None)).collect();
    let mut known: HashSet<State> = world.start.iter().cloned().collect();
    let mut next = 0;
    while let Some((state, _)) = reached.get(next) {
        if let Some(rule) = rules.iter().find(|rule| !(rule.condition)(world, state)) {
            let mut trace = Vec::new();
            let mut at = next;
            while let Some((before, action)) = &reached[at].1 {
                trace.push(action.clone());
                at = *before;
            }
            trace.reverse();
            return Some((trace, rule.name));
        }
        let mut actions = Vec::new();
        world.actions(state, &mut actions);
        let state = state.clone();
        for action in actions {
            if let Some(after) = world.next_state(&state, action.clone())
                && known.insert(after.clone())
            {
                reached.push((after, Some((next, action))));
            }
        }
        next += 1;
    }
    None
}

#[test]
fn every_broken_twin_is_caught() {
    let mut table = String::new();
    for (twin, world) in twins() {
        let (steps, rule) = match shortest_breach(&world) {
            Some((trace, rule)) => {
                println!("{twin:?}: {rule}");
                trace.iter().for_each(|action| println!("    {action:?}"));
                (trace.len(), rule)
            }
            None => (0, "NOT CAUGHT"),
        };
        let twin = format!("{twin:?}");
        writeln!(table, "{twin:32} {:18} {steps:2} steps: {rule}", world.name).unwrap();
    }
    expect![[r#"
        AttachIgnoresMultiAttach         exclusive           6 steps: one host at a time unless multi-attach
        AttachIgnoresPromises            promises            6 steps: promises hold
        AttachIgnoresHostsOnTheirWayOut  promises           10 steps: promises hold
        AttachIgnoresTheLimit            limited             3 steps: no more hosts than the profile allows
        AttachIgnoresTheFence            fence               2 steps: a fenced host is not wished for
        AttachKeepsTheGeneration         exclusive           1 steps: every edit raises the generation
        AttachChangesTheModeInPlace      shared              5 steps: who is served is on record, in its mode, or was forced
        DetachForgetsAtOnce              shared              5 steps: who is served is on record, in its mode, or was forced
        DetachKeepsTheGeneration         shared              2 steps: every edit raises the generation
        ForceKeepsTheGeneration          exclusive           3 steps: every edit raises the generation
        DeleteIgnoresHosts               volume with a host  7 steps: inUse while an attachment is live
        DeleteFreesAtOnce                volume              4 steps: the pool is charged for what is there
        TakingBackFreesAtOnce            growing             8 steps: the pool is charged for what is there
        SharingEndsDespiteHosts          turned              6 steps: one host at a time unless multi-attach
        SharingKeepsTheGeneration        turned              1 steps: every edit raises the generation
        GuardEndsWithinAGeneration       promises            8 steps: one generation, one wish
        DockIgnoresGenerations           exclusive           8 steps: who is served is on record, in its mode, or was forced
        RebootLosesTheLedger             exclusive           9 steps: who is served is on record, in its mode, or was forced
        DeleteForgetsTheTombstone        volume              8 steps: a deleted volume is not there and not served
        LateWishUnlearnsTheVolume        volume              8 steps: a volume that was confirmed is never made again
        DockForgetsItMadeTheVolume       volume              7 steps: a volume that was confirmed is never made again
        LostVolumeIsMadeAnew             volume              7 steps: a volume that was confirmed is never made again
        GrantBeforeRevoke                exclusive          10 steps: one host at a time unless multi-attach
        GrantDespiteAFailedRevoke        exclusive          11 steps: one host at a time unless multi-attach
        GrantWithoutTheVolume            volume with a host  5 steps: nobody is let in to a volume that is not there
        ReadOnlyGrantedAsReadWrite       shared              4 steps: who is served is on record, in its mode, or was forced
        DeleteUnderAHost                 volume with a host 10 steps: nothing is deleted under a host
        HostsAreNotTold                  growing             6 steps: a size is confirmed when every host was told
        FailedRevokeIsLeftOut            shared             10 steps: who is served is on record, in its mode, or was forced
        AnswerFromTheWish                shared             10 steps: who is served is on record, in its mode, or was forced
        AbsentWhileServed                volume with a host 13 steps: who is served is on record, in its mode, or was forced
        AnyReplyConfirms                 shared              7 steps: who is served is on record, in its mode, or was forced
        PromiseConfirmedBesideALeftover  leftovers          10 steps: promises hold
        AnotherModeIsNoLeftover          leftovers          11 steps: promises hold
        FailedGrantHarmsAll              shared              9 steps: a failure harms nobody else
        StatusIsTheLatestFailure         shared              8 steps: inUse while an attachment is live
    "#]].assert_eq(&table);
}

#[test]
fn every_broken_twin_of_snapshots_is_caught() {
    use Twin::*;
    for twin in [
        SnapshotKeepsTheGeneration,
        SnapshotIsForgottenAtOnce,
        LateWishUnlearnsTheSnapshot,
        DockForgetsItTookTheSnapshot,
        LostSnapshotIsTakenAnew,
        WhatWasBegunIsForgotten,
    ] {
        let world = World { twin: Some(twin), keep_dead_mail: true, ..snapshots() };
        let breach = shortest_breach(&world);
        let (trace, rule) = breach.unwrap_or_else(|| panic!("{twin:?} is not caught"));
        println!("{twin:?}: {} steps: {rule}", trace.len());
    }
}
