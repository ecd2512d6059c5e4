//! What must hold in every state, whatever anybody did. Rules about steps rather than states are
//! noticed when the step is taken, kept in `Past::broken`, and reported here.

use osds_lifecycle::enforcer::SnapshotFact;
use osds_lifecycle::{status, volume};
use osds_model::{AttachMode, Attachment, Capacity, HostId, Phase, Presence, Sharing};
use stateright::Property;

use super::twins::Twin;
use super::{State, World};

/// The rules about steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    EveryEditRaisesTheGeneration,
    OneGenerationOneWish,
    ALostVolumeIsNotReplaced,
    TheDeletedStayDeleted,
    VolumesOnlyGrow,
    NobodyIsLetInToNothing,
    NothingIsDeletedUnderAHost,
    NothingIsDeletedUnasked,
    AFailureHarmsNobodyElse,
    ALostSnapshotIsNotReplaced,
    NothingIsTakenOfNothing,
    NothingIsDeletedUnderItsSnapshots,
}

/// All of them.
pub fn always() -> Vec<Property<World>> {
    let mut all = safety();
    all.push(Property::always("a fault-free round settles from anywhere", World::settles));
    all
}

/// Those that say what must never be; the first that fails is the one a twin is reported with.
pub fn safety() -> Vec<Property<World>> {
    macro_rules! steps {
        ($($name:literal: $rule:ident),+ $(,)?) => {
            vec![$(Property::always($name, |_: &World, s: &State| {
                s.past.broken != Some(Rule::$rule)
            })),+]
        };
    }
    let mut all = vec![
        Property::always("one host at a time unless multi-attach", exclusive),
        Property::always("who is served is on record, in its mode, or was forced", on_record),
        Property::always("read-only is never served read-write", read_only),
        Property::always("promises hold", promises),
        Property::always("no more hosts than the profile allows", limit),
        Property::always("a fenced host is not wished for", fenced_is_not_wished_for),
        Property::always("a fenced host that is out is not served", fenced_is_out),
        Property::always("a deleted volume is not there and not served", gone),
        Property::always("the pool is charged for what is there", charged),
        Property::always("a size is confirmed when every host was told", told),
        Property::always("a snapshot that is there is on record", snapshots_on_record),
        Property::always("inUse while an attachment is live", in_use),
    ];
    all.extend(steps! {
        "every edit raises the generation": EveryEditRaisesTheGeneration,
        "one generation, one wish": OneGenerationOneWish,
        "a volume that was confirmed is never made again": ALostVolumeIsNotReplaced,
        "a deleted volume is never made again": TheDeletedStayDeleted,
        "volumes only grow": VolumesOnlyGrow,
        "nobody is let in to a volume that is not there": NobodyIsLetInToNothing,
        "nothing is deleted under a host": NothingIsDeletedUnderAHost,
        "nothing is deleted unasked": NothingIsDeletedUnasked,
        "a failure harms nobody else": AFailureHarmsNobodyElse,
        "a snapshot that was confirmed is never taken again": ALostSnapshotIsNotReplaced,
        "nothing is taken of a volume that is not there": NothingIsTakenOfNothing,
        "a volume goes after its snapshots": NothingIsDeletedUnderItsSnapshots,
    });
    all
}

fn attachments(s: &State) -> impl Iterator<Item = (HostId, &Attachment)> {
    s.record.iter().flat_map(|record| &record.attachments).map(|(host, held)| (*host, &**held))
}

/// Also under force.
fn exclusive(_: &World, s: &State) -> bool {
    s.record.as_ref().is_none_or(|r| r.terms.multi_attach || s.dock.facts.served.len() <= 1)
}

/// So also: nobody is served after its detach was confirmed.
fn on_record(_: &World, s: &State) -> bool {
    s.dock.facts.served.iter().all(|(host, served)| {
        let held = s.record.as_ref().and_then(|record| record.attachments.get(host));
        held.is_some_and(|held| held.mode == served.mode) || s.past.forced.contains_key(host)
    })
}

/// An attachment that is in place is served as asked even if the host was forced before.
fn read_only(_: &World, s: &State) -> bool {
    attachments(s).all(|(host, held)| {
        let writes =
            s.dock.facts.served.get(&host).map(|served| served.mode) == Some(AttachMode::ReadWrite);
        held.mode == AttachMode::ReadWrite
            || !writes
            || (held.phase == Phase::Attaching || held.phase == Phase::Detaching)
                && s.past.forced.contains_key(&host)
    })
}

/// Among those on record in any phase; once confirmed, also against hosts that were forced.
fn promises(_: &World, s: &State) -> bool {
    let served = &s.dock.facts.served;
    attachments(s).filter(|(host, _)| served.contains_key(host)).all(|(host, held)| {
        let others = served.iter().filter(|(other, _)| {
            **other != host && (held.phase == Phase::Attached || !s.past.forced.contains_key(other))
        });
        let forced_itself = held.phase != Phase::Attached && s.past.forced.contains_key(&host);
        let mut modes = others.map(|(_, served)| served.mode);
        forced_itself
            || match (held.sharing, held.mode) {
                (Sharing::Shared, _) | (Sharing::SoleWriter, AttachMode::ReadOnly) => true,
                (Sharing::SoleWriter, AttachMode::ReadWrite) => {
                    modes.all(|mode| mode == AttachMode::ReadOnly)
                }
                (Sharing::Exclusive, _) => modes.next().is_none(),
            }
    })
}

/// A host that was forced does not count: an operator vouched that it is dead.
fn limit(_: &World, s: &State) -> bool {
    let Some(record) = &s.record else { return true };
    let alive = s.dock.facts.served.keys().filter(|host| !s.past.forced.contains_key(host)).count();
    record
        .terms
        .max_attachments
        .is_none_or(|most| alive <= most as usize && record.attachments.len() <= most as usize)
}

fn fenced_is_not_wished_for(_: &World, s: &State) -> bool {
    s.fenced.iter().all(|host| matches!(s.phase(*host), None | Some(Phase::Detaching)))
}

fn fenced_is_out(_: &World, s: &State) -> bool {
    s.fenced.iter().all(|host| {
        s.phase(*host).is_some() || s.past.forced.contains_key(host) || !s.serves(*host)
    })
}

fn gone(_: &World, s: &State) -> bool {
    s.record.is_some() || (s.dock.facts.size.is_none() && s.dock.facts.served.is_empty())
}

/// Also what was only begun: nobody knows how much of it there is.
fn charged(_: &World, s: &State) -> bool {
    let Some(record) = &s.record else { return true };
    let facts = &s.dock.facts;
    let snapshots = facts.snapshots.iter().map(|(id, fact)| match fact {
        SnapshotFact::Whole(size) => *size,
        SnapshotFact::Begun => record.snapshots.get(id).and_then(|s| s.made).unwrap_or_default(),
    });
    let there = snapshots.fold(facts.size.unwrap_or_default(), Capacity::plus);
    there <= volume::footprint(record)
}

/// So also: one whose end was confirmed is not there, not even in part.
fn snapshots_on_record(_: &World, s: &State) -> bool {
    let known = |id| s.record.as_ref().is_some_and(|record| record.snapshots.contains_key(id));
    s.dock.facts.snapshots.keys().all(known)
}

fn in_use(w: &World, s: &State) -> bool {
    let live = attachments(s).any(|(_, held)| held.phase == Phase::Attached);
    let word = match &s.record {
        Some(record) if w.breaks(Twin::StatusIsTheLatestFailure) => {
            let failed = record.attachments.values().any(|held| held.fault.is_some());
            if failed { "error" } else { status::volume(record) }
        }
        Some(record) => status::volume(record),
        None => return true,
    };
    // The one exception lasts for as long as nothing has failed.
    let grows = s.record.as_ref().is_some_and(|record| record.fault.is_none());
    !live || word == "inUse" || word == "extending" && grows
}

fn told(_: &World, s: &State) -> bool {
    let Some(record) = &s.record else { return true };
    let offered = s.dock.facts.offered;
    record.presence == Presence::Unwanted || offered.is_none() || record.made <= offered
}
