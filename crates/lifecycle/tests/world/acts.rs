//! What each action does: the protocol's own functions, joined by nothing but mail.

use std::collections::{BTreeMap, BTreeSet};

use osds_lifecycle::enforcer::{self, Failures, Served, SnapshotFact, Step};
use osds_lifecycle::{Confirmed, volume};
use osds_model::{
    Applied, Fault, FaultKind, HostOutcome, Phase, Presence, SnapshotId, SnapshotState,
    VolumeOutcome, VolumeState, VolumeWish,
};

use super::rules::Rule;
use super::twins::Twin;
use super::{Action, Dock, Kind, State, World, connection, gib};

impl World {
    /// The next state, or `None` where the action is refused.
    pub(super) fn act(&self, s: &mut State, action: &Action) -> Option<()> {
        match action {
            Action::UserAttaches(ask) => {
                let fenced = s.fenced.contains(&ask.0);
                let next = self.attach(s.record.as_ref()?, *ask, fenced)?;
                self.edit(s, next)?;
            }
            Action::UserDetaches(host) => {
                let next = self.detach(s.record.as_ref()?, *host);
                self.edit(s, next)?;
            }
            Action::OperatorForces(host) => {
                let next = self.force(s.record.as_ref()?, *host)?;
                let generation = next.generation;
                self.edit(s, next)?;
                s.past.forced.insert(*host, generation);
            }
            Action::OperatorFences(host) => {
                s.fenced.insert(*host);
                let next = self.detach(s.record.as_ref()?, *host);
                if s.record.as_ref() != Some(&next) {
                    self.edit(s, next)?;
                }
            }
            Action::OperatorUnfences(host) => drop(s.fenced.remove(host)),
            Action::UserExtends => {
                let record = s.record.as_ref()?;
                let size = record.made?.plus(gib(1));
                let next = volume::extend(record, size).ok()?;
                self.edit(s, next)?;
            }
            Action::UserTakesBack => {
                let next = self.take_back(s.record.as_ref()?)?;
                self.edit(s, next)?;
            }
            Action::UserShares(several) => {
                let next = self.share(s.record.as_ref()?, *several)?;
                self.edit(s, next)?;
            }
            Action::UserDeletes => {
                let next = self.delete(s.record.as_ref()?)?;
                self.edit(s, next)?;
            }
            Action::UserSnapshots => {
                let record = s.record.as_ref()?;
                // Ids are never used twice, and edits are counted.
                let id = SnapshotId::from_u128(u128::from(record.generation.0) + 1);
                let next = self.snapshot(record, id)?;
                self.edit(s, next)?;
            }
            Action::UserDeletesSnapshot(id) => {
                let next = self.delete_snapshot(s.record.as_ref()?, *id);
                self.edit(s, next)?;
            }
            Action::ControllerSends { lost } => {
                let wish = self.wish(s.record.as_ref()?);
                post(&mut s.wishes, wish, lost.as_ref(), self.mail)?;
            }
            Action::ControllerHears(applied) => self.hear(s, applied)?,
            Action::DockReceives(wish) => self.receive(s, wish)?,
            Action::DockSweeps => s.dock.failed.clear(),
            Action::DockTakesAStep => {
                let step = self.next_step(&s.dock)?;
                self.take(s, step);
            }
            Action::DockStepFails { half_done } => {
                let step = self.next_step(&s.dock)?;
                self.trouble.fails.contains(&Kind::of(step)).then_some(())?;
                match step {
                    // Cut off: what was begun of it stays, until it is begun anew.
                    Step::Snapshot(id) if *half_done => {
                        s.dock.facts.snapshots.insert(id, SnapshotFact::Begun);
                    }
                    step if *half_done => self.take(s, step),
                    _ => {}
                }
                let fault = Fault::new(FaultKind::Temporary, "x");
                s.dock.failed.insert(step, fault);
            }
            Action::DockReplies { lost } => self.reply(s, lost.as_ref())?,
            Action::DockReboots => {
                s.dock.facts.served.clear();
                s.dock.facts.offered = None;
                s.dock.failed.clear();
                if self.breaks(Twin::RebootLosesTheLedger) {
                    s.dock.ledger = None;
                }
            }
            Action::ExportVanishes(host) => self.call(&mut s.dock, Step::Revoke(*host)),
            Action::FileVanishes => s.past.lost = s.dock.facts.size.take().or(s.past.lost),
            Action::SnapshotVanishes(id) => {
                s.dock.facts.snapshots.remove(id);
            }
            Action::OperatorRestoresTheFile => {
                let record = s.record.as_ref().filter(|_| s.past.confirmed)?;
                if s.dock.facts.size.is_none() && record.presence != Presence::Unwanted {
                    s.dock.facts.size = s.past.lost.take();
                }
            }
        }
        Some(())
    }

    /// Puts an edit of a user or an operator in place of the record.
    fn edit(&self, s: &mut State, next: VolumeState) -> Option<()> {
        let record = s.record.as_ref()?;
        if next == *record || next.generation.0 > self.last_generation {
            return None;
        }
        if next.generation <= record.generation {
            s.past.broken.get_or_insert(Rule::EveryEditRaisesTheGeneration);
        }
        s.record = Some(next);
        Some(())
    }

    fn receive(&self, s: &mut State, wish: &VolumeWish) -> Option<()> {
        match self.accept(s.dock.ledger.as_ref(), wish) {
            Ok(kept) => {
                s.dock.ledger = Some(kept);
                s.dock.failed.clear();
                Some(())
            }
            Err(enforcer::Rejected::Stale { .. }) => None,
            Err(enforcer::Rejected::Changed(_)) => {
                s.past.broken.get_or_insert(Rule::OneGenerationOneWish);
                Some(())
            }
        }
    }

    /// A driver call that works, and what the rules say about it.
    fn take(&self, s: &mut State, step: Step) {
        let facts = &s.dock.facts;
        let breach = match step {
            Step::Create(_) if s.record.is_none() => Some(Rule::TheDeletedStayDeleted),
            Step::Create(_) if s.past.confirmed => Some(Rule::ALostVolumeIsNotReplaced),
            Step::Extend(size) if facts.size.is_none_or(|made| made >= size) => {
                Some(Rule::VolumesOnlyGrow)
            }
            Step::Grant(_) if facts.size.is_none() => Some(Rule::NobodyIsLetInToNothing),
            Step::Delete if !facts.served.is_empty() => Some(Rule::NothingIsDeletedUnderAHost),
            Step::Delete if s.record.as_ref().is_some_and(|r| r.presence != Presence::Unwanted) => {
                Some(Rule::NothingIsDeletedUnasked)
            }
            Step::Delete if !facts.snapshots.is_empty() => {
                Some(Rule::NothingIsDeletedUnderItsSnapshots)
            }
            Step::Snapshot(id) if s.past.taken.contains(&id) => {
                Some(Rule::ALostSnapshotIsNotReplaced)
            }
            Step::Snapshot(_) if facts.size.is_none() => Some(Rule::NothingIsTakenOfNothing),
            Step::DeleteSnapshot(id)
                if s.record
                    .as_ref()
                    .is_some_and(|r| r.snapshots.get(&id).is_some_and(|s| s.wanted)) =>
            {
                Some(Rule::NothingIsDeletedUnasked)
            }
            Step::Create(_)
            | Step::Extend(_)
            | Step::Offer(_)
            | Step::Limit
            | Step::Grant(_)
            | Step::Delete
            | Step::Snapshot(_)
            | Step::DeleteSnapshot(_)
            | Step::Revoke(_) => None,
        };
        s.past.broken = s.past.broken.or(breach);
        self.call(&mut s.dock, step);
    }

    /// What a driver call does.
    fn call(&self, dock: &mut Dock, step: Step) {
        let facts = &mut dock.facts;
        match step {
            Step::Revoke(host) => {
                facts.served.remove(&host);
                facts.offered = facts.offered.filter(|_| !facts.served.is_empty());
            }
            Step::Offer(size) => facts.offered = Some(size),
            Step::Create(size) | Step::Extend(size) => facts.size = Some(size),
            Step::Grant(host) => {
                let wished = dock.ledger.as_ref().and_then(|wish| wish.hosts.get(&host));
                if let Some(grant) = wished {
                    facts.offered = facts.offered.or(facts.size);
                    let mode = self.granted_mode(grant.mode);
                    facts.served.insert(
                        host,
                        Served {
                            mode,
                            initiators: vec![],
                            authentication: None,
                            connection: connection(),
                        },
                    );
                }
            }
            // No world has limits: the tables have them.
            Step::Limit => {}
            Step::Delete => facts.size = None,
            Step::Snapshot(id) => {
                let size = facts.size.unwrap_or_default();
                facts.snapshots.insert(id, SnapshotFact::Whole(size));
            }
            Step::DeleteSnapshot(id) => {
                facts.snapshots.remove(&id);
            }
        }
    }

    fn reply(&self, s: &mut State, lost: Option<&Applied>) -> Option<()> {
        let ledger = s.dock.ledger.as_ref()?;
        if self.next_step(&s.dock).is_some() {
            return None;
        }
        let ledger = self.remember(ledger, &s.dock.facts);
        let applied = self.outcome(&ledger, &s.dock);
        let gone = applied.volume == VolumeOutcome::Absent;
        s.dock.ledger =
            Some(ledger).filter(|_| !(gone && self.breaks(Twin::DeleteForgetsTheTombstone)));
        post(&mut s.replies, applied, lost, self.mail)
    }

    fn hear(&self, s: &mut State, applied: &Applied) -> Option<()> {
        let record = s.record.as_ref()?;
        match self.confirm(record, applied) {
            Confirmed::Known(next) => {
                s.past.confirmed |=
                    matches!(applied.volume, VolumeOutcome::Present(_)) && next != *record;
                let taken = |(id, s): (&SnapshotId, &SnapshotState)| {
                    (s.wanted && s.made.is_some()).then_some(*id)
                };
                s.past.taken = next.snapshots.iter().filter_map(taken).collect();
                s.record = Some(next);
            }
            Confirmed::Gone { .. } => {
                if s.dock.facts.size.is_some() {
                    s.past.broken.get_or_insert(Rule::TheDeletedStayDeleted);
                }
                s.record = None;
                s.past.forced.clear();
            }
        }
        Some(())
    }

    /// An attachment that is in place stays in place, whatever happens to others.
    pub(super) fn check_neighbours(before: &State, action: &Action, after: &mut State) {
        let Some(record) = &before.record else { return };
        for (host, held) in &record.attachments {
            let own_doing = match action {
                Action::UserDetaches(other) | Action::OperatorFences(other) => host == other,
                _ => false,
            };
            if own_doing || held.phase != Phase::Attached {
                continue;
            }
            let own_failure = match action {
                Action::ControllerHears(applied) => match applied.hosts.get(host) {
                    Some(HostOutcome::GrantFailed(_) | HostOutcome::RevokeFailed(_)) => true,
                    Some(HostOutcome::Granted(_)) | None => false,
                },
                _ => false,
            };
            let now = after.record.as_ref().and_then(|record| record.attachments.get(host));
            let unharmed = now.is_some_and(|now| {
                now.phase == Phase::Attached
                    && (now.fault == held.fault || now.fault.is_none() || own_failure)
            });
            if !unharmed {
                after.past.broken.get_or_insert(Rule::AFailureHarmsNobodyElse);
            }
        }
    }

    /// Brings states that cannot differ any more to one form.
    pub(super) fn tidy(&self, s: &mut State) {
        let ledger = s.dock.ledger.as_ref();
        let served = &s.dock.facts.served;
        s.past.forced.retain(|host, since| match ledger {
            Some(ledger) if ledger.generation >= *since => served.get(host).is_some_and(|served| {
                ledger.hosts.get(host).is_none_or(|grant| grant.mode != served.mode)
            }),
            Some(_) | None => true,
        });
        if s.record.is_none() || s.dock.facts.size.is_some() {
            s.past.lost = None;
        }
        if self.keep_dead_mail {
            return;
        }
        if let Some(ledger) = ledger {
            s.wishes.retain(|wish| wish.generation >= ledger.generation);
        }
        match &s.record {
            Some(record) => s.replies.retain(|reply| reply.generation == record.generation),
            None => s.replies.clear(),
        }
    }

    /// Everything works from now on, and the controller asks once: does that end well?
    pub fn settles(&self, s: &State) -> bool {
        let Some(record) = &s.record else { return true };
        let mut dock = Dock { failed: Failures::new(), ..s.dock.clone() };
        let Ok(ledger) = self.accept(dock.ledger.as_ref(), &self.wish(record)) else {
            return false;
        };
        dock.ledger = Some(ledger);
        let mut steps = 0;
        while let Some(step) = self.next_step(&dock) {
            self.call(&mut dock, step);
            steps += 1;
            if steps > 32 {
                return false;
            }
        }
        let Some(ledger) = &dock.ledger else { return false };
        let facts = &dock.facts;
        let ledger = self.remember(ledger, facts);
        match self.confirm(record, &self.outcome(&ledger, &dock)) {
            Confirmed::Gone { .. } => facts.size.is_none() && facts.served.is_empty(),
            Confirmed::Known(known) if facts.size.is_none() => {
                ledger.exists && known.fault.is_some_and(|fault| fault.kind == FaultKind::Gone)
            }
            Confirmed::Known(known) => {
                let served = facts.served.iter().map(|(host, served)| (*host, served.mode));
                let wished = ledger.hosts.iter().map(|(host, grant)| (*host, grant.mode));
                let alone = VolumeState { snapshots: BTreeMap::new(), ..known.clone() };
                volume::is_settled(&alone)
                    && facts.size == known.made
                    && served.eq(wished)
                    && facts.snapshots.keys().all(|id| known.snapshots.contains_key(id))
                    && known.snapshots.iter().all(|(id, s)| match facts.snapshots.get(id) {
                        Some(SnapshotFact::Whole(size)) => {
                            s.wanted && s.made == Some(*size) && s.fault.is_none()
                        }
                        // Lost after it was taken.
                        Some(SnapshotFact::Begun) | None => {
                            s.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::Gone)
                        }
                    })
            }
        }
    }
}

/// Puts a message on its way. Where there is no room, `lost` must name one that never arrives.
fn post<T: Ord + Clone>(
    mail: &mut BTreeSet<T>,
    message: T,
    lost: Option<&T>,
    room: usize,
) -> Option<()> {
    if mail.contains(&message) || (mail.len() >= room) != lost.is_some() {
        return None;
    }
    if let Some(lost) = lost {
        mail.remove(lost);
    }
    mail.insert(message);
    Some(())
}
