//! The same world as in `worlds.rs`, walked at random: five hosts, every kind of request and of
//! trouble, and runs far longer than an exhaustive search can follow.

mod world;

use std::fmt::Write;
use std::mem::discriminant;

use osds_model::{HostId, Phase};
use proptest::prelude::*;
use proptest::sample::Index;
use stateright::Model;
use world::twins::Twin;
use world::{
    Action, Exclusive, Kind, RO, RW, Shared, SoleWriter, State, Trouble, Users, World, at_most,
    terms,
};

const STEPS: usize = 300;

fn everything() -> World {
    let ways = [
        (RW, Shared),
        (RW, Shared),
        (RO, Shared),
        (RW, SoleWriter),
        (RO, SoleWriter),
        (RW, Exclusive),
    ];
    let asks = (1..=5).flat_map(|host| ways.map(|(m, s)| (HostId::from_u128(host), m, s)));
    World {
        name: "everything",
        start: vec![State::new(terms(false)), State::new(terms(true)), State::new(at_most(3))],
        asks: asks.collect(),
        users: Users {
            force: true,
            fence: true,
            extend: true,
            take_back: true,
            // Beside force it is the operator's word that only one is left.
            share: false,
            delete: true,
            snapshot: true,
        },
        trouble: Trouble {
            reboot: true,
            file_vanishes: true,
            snapshot_vanishes: true,
            export_vanishes: true,
            fails: Kind::ALL,
            half_done: true,
        },
        mail: 4,
        last_generation: u64::MAX,
        keep_dead_mail: true,
        shows: vec![],
        twin: None,
    }
}

/// How likely a kind of action is, beside the others that are possible. Work gets done more often
/// than not, and the rare things are rare.
fn weight(action: &Action) -> usize {
    match action {
        Action::DockTakesAStep => 400,
        Action::DockReplies { .. } | Action::ControllerHears(_) => 200,
        Action::ControllerSends { .. } | Action::DockReceives(_) => 150,
        Action::UserAttaches(_) => 100,
        Action::UserDetaches(_) | Action::DockStepFails { .. } | Action::DockSweeps => 50,
        Action::OperatorForces(_) | Action::OperatorUnfences(_) => 20,
        Action::UserExtends | Action::UserTakesBack | Action::UserShares(_) => 20,
        Action::ExportVanishes(_) | Action::OperatorRestoresTheFile => 20,
        Action::DockReboots | Action::OperatorFences(_) => 10,
        Action::FileVanishes | Action::UserDeletes | Action::SnapshotVanishes(_) => 3,
        Action::UserSnapshots | Action::UserDeletesSnapshot(_) => 20,
    }
}

/// Picks one of the actions that change something: first a kind, then one of that kind.
fn pick(world: &World, state: &State, choice: Index) -> Option<(Action, State)> {
    let mut actions = Vec::new();
    world.actions(state, &mut actions);
    while !actions.is_empty() {
        let mut kinds: Vec<Vec<usize>> = Vec::new();
        for (i, action) in actions.iter().enumerate() {
            let alike =
                |kind: &&mut Vec<usize>| discriminant(&actions[kind[0]]) == discriminant(action);
            match kinds.iter_mut().find(alike) {
                Some(kind) => kind.push(i),
                None => kinds.push(vec![i]),
            }
        }
        let total = kinds.iter().map(|kind| weight(&actions[kind[0]])).sum();
        let mut left = choice.index(total);
        let kind = kinds.iter().find(|kind| {
            let weight = weight(&actions[kind[0]]);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        })?;
        let action = actions.swap_remove(*choice.get(kind));
        if let Some(next) = world.next_state(state, action.clone()) {
            return Some((action, next));
        }
    }
    None
}

/// Walks; at the first broken rule, says which and how it came to that.
fn walk(world: &World, start: usize, choices: &[Index]) -> Result<Vec<State>, String> {
    let rules = world::rules::always();
    let mut visited = vec![world.start[start].clone()];
    let mut trace = String::new();
    for choice in choices {
        let state = visited.last().expect("the start at least");
        let Some((action, next)) = pick(world, state, *choice) else { break };
        writeln!(trace, "{action:?}").expect("writing to a string");
        if let Some(rule) = rules.iter().find(|rule| !(rule.condition)(world, &next)) {
            return Err(format!("{}: broken after\n{trace}{next:#?}", rule.name));
        }
        visited.push(next);
    }
    Ok(visited)
}

fn choices() -> impl Strategy<Value = Vec<Index>> {
    proptest::collection::vec(any::<Index>(), STEPS)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_breaks_a_rule(start in 0..3_usize, choices in choices()) {
        if let Err(broken) = walk(&everything(), start, &choices) {
            return Err(TestCaseError::fail(broken));
        }
    }
}

/// A fixed set of walks: with the dice of one seed, so that what they must meet they do meet.
fn fixed_walks(world: &World, count: usize) -> Vec<Result<Vec<State>, String>> {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut dice = TestRunner::deterministic();
    (0..count)
        .map(|i| {
            let tree = choices().new_tree(&mut dice).expect("choices are never refused");
            walk(world, i % world.start.len(), &tree.current())
        })
        .collect()
}

#[test]
fn the_walks_get_about() {
    let world = everything();
    let states: Vec<State> =
        fixed_walks(&world, 200).into_iter().flat_map(Result::unwrap).collect();
    let seen = |what: &str, shown: fn(&State) -> bool| {
        let share = states.iter().filter(|s| shown(s)).count();
        println!("{what}: {share} of {}", states.len());
        assert!(share > 0, "no walk meets: {what}");
    };
    seen("three hosts served", |s| s.dock.facts.served.len() >= 3);
    seen("a host that was forced is still served", |s| {
        s.past.forced.keys().any(|host| s.serves(*host))
    });
    seen("a volume that is gone", |s| s.record.is_none());
    seen("two snapshots", |s| s.dock.facts.snapshots.len() >= 2);
    seen("a snapshot under a host", |s| {
        !s.dock.facts.snapshots.is_empty() && !s.dock.facts.served.is_empty()
    });
    seen("a fenced host on its way out", |s| {
        s.fenced.iter().any(|host| s.phase(*host) == Some(Phase::Detaching))
    });
    for word in [
        "creating",
        "available",
        "attaching",
        "inUse",
        "extending",
        "deleting",
        "error",
        "errorExtending",
        "errorDeleting",
    ] {
        let met = states.iter().any(|s| s.status() == word);
        assert!(met, "no walk meets a volume that is {word}");
    }
}

#[test]
fn the_walks_notice_a_broken_twin() {
    for twin in [Twin::DetachForgetsAtOnce, Twin::AnyReplyConfirms, Twin::DockIgnoresGenerations] {
        let world = World { twin: Some(twin), ..everything() };
        assert!(fixed_walks(&world, 50).iter().any(Result::is_err), "{twin:?}");
    }
}
