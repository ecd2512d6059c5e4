//! Snapshots of two volumes at one moment: every order of telling, taking, writing, deleting and
//! being cut off, up to a bound; and each way to break it that we could think of is caught.
//!
//! What a dock does between two looks is played here as `dock::moments` does it, effect by effect, and
//! may end after any of them. A snapshot in the storage is the number of the write it was taken at.

use std::sync::Arc;

use osds_lifecycle::enforcer::{self, Facts, Failures, SnapshotFact, Step};
use osds_lifecycle::{Confirmed, confirm, moment, snapshot, volume};
use osds_model::volume::Terms;
use osds_model::{
    Capacity, GroupSnapshotId, Moment, PoolId, SnapshotId, VolumeId, VolumeState, VolumeWish,
};
use stateright::{Checker, Model, Property};

/// The older one and the leader.
const VOLUMES: [VolumeId; 2] = [VolumeId::from_u128(1), VolumeId::from_u128(2)];
const SNAPSHOTS: [SnapshotId; 2] = [SnapshotId::from_u128(10), SnapshotId::from_u128(20)];
const SIZE: Capacity = Capacity::from_bytes(1 << 30);
const LAST_WRITE: u8 = 3;

/// A way to break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twin {
    /// Whatever the storage has counts, noted or not.
    FoundCounts,
    /// All are taken as soon as the leader is told.
    NobodyIsAsked,
    /// A write goes on between two copies.
    WritesGoOn,
    /// What a cut left stays, and is not taken anew.
    LeftIsKept,
    /// The note goes as soon as one volume remembers.
    NoteGoesEarly,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// What is on record, and what was before.
    records: [VolumeState; 2],
    before: [Vec<VolumeWish>; 2],
    /// The dock's ledger: wishes, and whether the moment is noted.
    held: [Option<VolumeWish>; 2],
    noted: bool,
    /// The snapshots that are there.
    stored: [Option<u8>; 2],
    now: u8,
    /// What was confirmed of each.
    confirmed: [Option<u8>; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Write,
    Ask,
    Delete,
    Tidy,
    /// The dock is told of a volume, as it is or as it was.
    Told {
        of: usize,
        wish: VolumeWish,
        effects: u8,
        heard: bool,
    },
}

struct World(Option<Twin>);

/// The dock was cut off.
struct Cut;

impl World {
    fn breaks(&self, twin: Twin) -> bool {
        self.0 == Some(twin)
    }

    fn facts(&self, s: &State, of: usize, wish: &VolumeWish) -> Facts {
        let mut facts = Facts { size: Some(SIZE), ..Facts::default() };
        let Some(wished) = wish.snapshots.get(&SNAPSHOTS[of]) else { return facts };
        if s.stored[of].is_some() {
            let counts = wished.exists || s.noted || self.breaks(Twin::FoundCounts);
            let fact = if counts { SnapshotFact::Whole(SIZE) } else { SnapshotFact::Begun };
            facts.snapshots.insert(SNAPSHOTS[of], fact);
        }
        if let Some(at) = wished.moment.as_deref().filter(|at| self.is_due(s, wish, at)) {
            facts.due.extend(at.of.get(&VOLUMES[of]));
        }
        facts
    }

    fn is_due(&self, s: &State, wish: &VolumeWish, at: &Moment) -> bool {
        if self.breaks(Twin::NobodyIsAsked) {
            return at.leader() == Some(wish.volume);
        }
        let held = |id| s.held[VOLUMES.iter().position(|volume| *volume == id)?].clone();
        moment::is_due(wish, at, held)
    }

    /// The dock's work on one wish, cut off after so many effects.
    fn work(
        &self,
        s: &mut State,
        of: usize,
        offered: &VolumeWish,
        mut effects: u8,
    ) -> Result<Option<osds_model::Applied>, Cut> {
        let Ok(wish) = enforcer::accept(s.held[of].as_ref(), offered) else { return Ok(None) };
        s.held[of] = Some(wish.clone());
        let mut effect = || effects.checked_sub(1).map(|left| effects = left).ok_or(Cut);
        while let Some(step) =
            enforcer::next_step(&wish, &self.facts(s, of, &wish), &Failures::new())
        {
            match step {
                Step::DeleteSnapshot(_) => {
                    effect()?;
                    s.stored[of] = None;
                }
                Step::Snapshot(_) => self.take(s, &mut effect)?,
                other => panic!("nobody asked for {other:?}"),
            }
        }
        let facts = self.facts(s, of, &wish);
        s.held[of] = Some(enforcer::remember(&wish, &facts));
        Ok(Some(enforcer::outcome(&wish, &facts, &Failures::new())))
    }

    fn take(&self, s: &mut State, effect: &mut impl FnMut() -> Result<(), Cut>) -> Result<(), Cut> {
        for of in [0, 1] {
            if s.stored[of].is_some() && !self.breaks(Twin::LeftIsKept) {
                effect()?;
                s.stored[of] = None;
            }
        }
        for of in [0, 1] {
            effect()?;
            // A snapshot that is there stays as it is.
            s.stored[of] = s.stored[of].or(Some(s.now));
            if self.breaks(Twin::WritesGoOn) && s.now < LAST_WRITE {
                s.now += 1;
            }
        }
        effect()?;
        s.noted = true;
        Ok(())
    }

    fn told(&self, s: &mut State, of: usize, wish: &VolumeWish, effects: u8, heard: bool) {
        let Ok(Some(applied)) = self.work(s, of, wish, effects) else { return };
        if self.breaks(Twin::NoteGoesEarly) && s.held.iter().flatten().any(remembers) {
            s.noted = false;
        }
        if !heard {
            return;
        }
        if let Confirmed::Known(next) = confirm(&s.records[of], &applied) {
            s.records[of] = next;
        }
        if is_there(&s.records[of], of) && s.confirmed[of].is_none() {
            s.confirmed[of] = s.stored[of];
        }
    }

    /// Everything is told again and again and nothing is cut off.
    fn healed(&self, mut s: State) -> State {
        for _ in 0..4 {
            for of in [0, 1] {
                let wish = wish_of(&s, of);
                self.told(&mut s, of, &wish, u8::MAX, true);
            }
        }
        s
    }
}

fn remembers(wish: &VolumeWish) -> bool {
    wish.snapshots.values().any(|snapshot| snapshot.exists)
}

fn wish_of(s: &State, of: usize) -> VolumeWish {
    volume::wish(VOLUMES[of], PoolId::from_u128(1), &s.records[of])
}

/// Whether the record says that the snapshot can be used.
fn is_there(record: &VolumeState, of: usize) -> bool {
    record.snapshots.get(&SNAPSHOTS[of]).is_some_and(|s| s.wanted && s.made.is_some())
}

fn is_wanted(s: &State) -> bool {
    s.records[0].snapshots.values().any(|snapshot| snapshot.wanted)
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let new = volume::new(SIZE, Terms { multi_attach: true, max_attachments: None });
        let record = VolumeState { made: Some(SIZE), ..new };
        vec![State {
            records: [record.clone(), record],
            before: [vec![], vec![]],
            held: [None, None],
            noted: false,
            stored: [None, None],
            now: 0,
            confirmed: [None, None],
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        if s.now < LAST_WRITE {
            actions.push(Action::Write);
        }
        let generation = s.records[0].generation.0;
        actions.extend((generation == 1).then_some(Action::Ask));
        actions.extend((generation == 2).then_some(Action::Delete));
        actions.extend(s.noted.then_some(Action::Tidy));
        for of in [0, 1] {
            for wish in s.before[of].iter().cloned().chain([wish_of(s, of)]) {
                for (effects, heard) in
                    (0..6).map(|effects| (effects, true)).chain([(u8::MAX, true), (u8::MAX, false)])
                {
                    actions.push(Action::Told { of, wish: wish.clone(), effects, heard });
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        match action {
            Action::Write => s.now += 1,
            Action::Ask | Action::Delete => {
                let of = VOLUMES.into_iter().zip(SNAPSHOTS).collect();
                let at = Arc::new(Moment { group: GroupSnapshotId::from_u128(1), of });
                for of in [0, 1] {
                    s.before[of].push(wish_of(last, of));
                    let (record, id) = (&last.records[of], SNAPSHOTS[of]);
                    s.records[of] = match action {
                        Action::Ask => snapshot::create(record, id, Some(Arc::clone(&at))).ok()?,
                        _ => snapshot::delete(record, id),
                    };
                }
            }
            Action::Tidy => {
                let wanted = |wish: &VolumeWish| wish.snapshots.values().any(|s| s.wanted);
                if !s.held.iter().flatten().any(wanted) {
                    s.noted = false;
                }
            }
            Action::Told { of, wish, effects, heard } => {
                self.told(&mut s, of, &wish, effects, heard);
            }
        }
        (s != *last).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what can be used is there, and of one moment", |_, s: &State| {
                let used: Vec<_> = [0, 1]
                    .into_iter()
                    .filter(|of| is_there(&s.records[*of], *of))
                    .map(|of| s.stored[of])
                    .collect();
                used.iter().all(|stamp| stamp.is_some() && *stamp == used[0])
            }),
            Property::always("what was confirmed is never taken anew", |_, s: &State| {
                !is_wanted(s)
                    || [0, 1]
                        .iter()
                        .all(|of| s.confirmed[*of].is_none() || s.confirmed[*of] == s.stored[*of])
            }),
            Property::always("it heals by itself", |world: &World, s: &State| {
                let healed = world.healed(s.clone());
                if is_wanted(s) {
                    return [0, 1].iter().all(|of| is_there(&healed.records[*of], *of));
                }
                let forgotten = healed.records.iter().all(|record| record.snapshots.is_empty());
                forgotten && healed.stored == [None, None]
            }),
            Property::sometimes("both can be used", |_, s: &State| {
                [0, 1].iter().all(|of| is_there(&s.records[*of], *of))
            }),
            Property::sometimes("half of a moment is left", |_, s: &State| {
                !s.noted && s.stored[0].is_some() && s.stored[1].is_none() && is_wanted(s)
            }),
            Property::sometimes("a later try is of another moment", |_, s: &State| {
                s.noted && s.stored == [Some(LAST_WRITE); 2]
            }),
        ]
    }
}

#[test]
fn two_volumes_have_one_moment_or_none() {
    let checked = World(None).checker().threads(1).spawn_bfs().join();
    println!("{} states", checked.unique_state_count());
    checked.assert_properties();
    assert!(checked.unique_state_count() > 1000);
}

#[test]
fn each_way_to_break_it_is_caught() {
    for twin in [
        Twin::FoundCounts,
        Twin::NobodyIsAsked,
        Twin::WritesGoOn,
        Twin::LeftIsKept,
        Twin::NoteGoesEarly,
    ] {
        let checked = World(Some(twin)).checker().threads(1).spawn_bfs().join();
        let broken: Vec<_> = [
            "what can be used is there, and of one moment",
            "what was confirmed is never taken anew",
            "it heals by itself",
        ]
        .into_iter()
        .filter(|rule| checked.discovery(rule).is_some())
        .collect();
        println!("{twin:?}: {broken:?}");
        assert!(!broken.is_empty(), "{twin:?} is not caught");
    }
}
