//! The protocol with one thing broken at a time. Each twin does in one function of the protocol
//! what a careless change there would do; the rules must notice every one of them.

use std::sync::Arc;

use osds_lifecycle::access::{self, AttachRequest};
use osds_lifecycle::enforcer::{self, Facts, Rejected, SnapshotFact, Step};
use osds_lifecycle::{Confirmed, confirm, snapshot, volume};
use osds_model::{
    Applied, AttachMode, Attachment, HostId, HostOutcome, Phase, Presence, Sharing, SnapshotId,
    SnapshotOutcome, VolumeOutcome, VolumeState, VolumeWish,
};

use super::{Ask, Dock, POOL, VOLUME, World, connection, request};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    // Edits.
    AttachIgnoresMultiAttach,
    AttachIgnoresPromises,
    AttachIgnoresHostsOnTheirWayOut,
    AttachIgnoresTheLimit,
    AttachIgnoresTheFence,
    AttachKeepsTheGeneration,
    AttachChangesTheModeInPlace,
    DetachForgetsAtOnce,
    DetachKeepsTheGeneration,
    ForceKeepsTheGeneration,
    DeleteIgnoresHosts,
    DeleteFreesAtOnce,
    TakingBackFreesAtOnce,
    SharingEndsDespiteHosts,
    SharingKeepsTheGeneration,
    GuardEndsWithinAGeneration,
    // The dock.
    DockIgnoresGenerations,
    RebootLosesTheLedger,
    DeleteForgetsTheTombstone,
    LateWishUnlearnsTheVolume,
    DockForgetsItMadeTheVolume,
    LostVolumeIsMadeAnew,
    GrantBeforeRevoke,
    GrantDespiteAFailedRevoke,
    GrantWithoutTheVolume,
    ReadOnlyGrantedAsReadWrite,
    DeleteUnderAHost,
    HostsAreNotTold,
    // The answer and its reading.
    FailedRevokeIsLeftOut,
    AnswerFromTheWish,
    AbsentWhileServed,
    AnyReplyConfirms,
    PromiseConfirmedBesideALeftover,
    AnotherModeIsNoLeftover,
    FailedGrantHarmsAll,
    StatusIsTheLatestFailure,
    // Snapshots.
    SnapshotKeepsTheGeneration,
    SnapshotIsForgottenAtOnce,
    LateWishUnlearnsTheSnapshot,
    DockForgetsItTookTheSnapshot,
    LostSnapshotIsTakenAnew,
    WhatWasBegunIsForgotten,
}

impl World {
    pub(super) fn attach(
        &self,
        record: &VolumeState,
        ask: Ask,
        fenced: bool,
    ) -> Option<VolumeState> {
        let mut asked: AttachRequest = request(ask, fenced);
        let mut seen = record.clone();
        match self.twin {
            Some(Twin::AttachIgnoresMultiAttach) => seen.terms.multi_attach = true,
            Some(Twin::AttachIgnoresTheLimit) => seen.terms.max_attachments = None,
            Some(Twin::AttachIgnoresTheFence) => asked.fenced = false,
            Some(Twin::AttachIgnoresHostsOnTheirWayOut) => {
                seen.attachments.retain(|h, a| *h == ask.0 || a.phase != Phase::Detaching);
            }
            Some(Twin::AttachIgnoresPromises) => {
                asked.sharing = Sharing::Shared;
                let all = seen.attachments.values_mut();
                all.for_each(|held| Arc::make_mut(held).sharing = Sharing::Shared);
            }
            Some(Twin::AttachChangesTheModeInPlace) => {
                if let Some(held) = seen.attachments.get_mut(&ask.0)
                    && held.phase != Phase::Detaching
                    && held.mode != ask.1
                {
                    Arc::make_mut(held).mode = ask.1;
                    seen.generation = seen.generation.next();
                    return Some(seen);
                }
            }
            Some(_) | None => {}
        }
        let joined = access::attach(&seen, &asked).ok()?;
        if self.twin.is_none() {
            return Some(joined);
        }
        // What the twin did not look at is still on record.
        let mut next = record.clone();
        if let (None, Some(held)) = (record.attachments.get(&ask.0), joined.attachments.get(&ask.0))
        {
            let mut held = held.clone();
            Arc::make_mut(&mut held).sharing = ask.2;
            next.attachments.insert(ask.0, held);
        }
        if !self.breaks(Twin::AttachKeepsTheGeneration) {
            next.generation = joined.generation;
        }
        Some(next)
    }

    pub(super) fn detach(&self, record: &VolumeState, host: HostId) -> VolumeState {
        let mut next = access::detach(record, host);
        if self.breaks(Twin::DetachForgetsAtOnce) {
            next.attachments.remove(&host);
        }
        if self.breaks(Twin::DetachKeepsTheGeneration) {
            next.generation = record.generation;
        }
        next
    }

    pub(super) fn force(&self, record: &VolumeState, host: HostId) -> Option<VolumeState> {
        let mut next = access::force(record, host).ok()?;
        if self.breaks(Twin::ForceKeepsTheGeneration) {
            next.generation = record.generation;
        }
        Some(next)
    }

    pub(super) fn delete(&self, record: &VolumeState) -> Option<VolumeState> {
        let mut seen = record.clone();
        if self.breaks(Twin::DeleteIgnoresHosts) {
            seen.attachments.clear();
        }
        let mut next = volume::delete(&seen).ok()?;
        if self.breaks(Twin::DeleteFreesAtOnce) {
            next.made = record.made;
        }
        next.attachments.clone_from(&record.attachments);
        next.snapshots.clone_from(&record.snapshots);
        Some(next)
    }

    pub(super) fn take_back(&self, record: &VolumeState) -> Option<VolumeState> {
        let mut next = volume::extend(record, record.made?).ok()?;
        if self.breaks(Twin::TakingBackFreesAtOnce) {
            next.taken_back = None;
        }
        Some(next)
    }

    pub(super) fn snapshot(&self, record: &VolumeState, id: SnapshotId) -> Option<VolumeState> {
        let mut next = snapshot::create(record, id, None).ok()?;
        if self.breaks(Twin::SnapshotKeepsTheGeneration) {
            next.generation = record.generation;
        }
        Some(next)
    }

    pub(super) fn delete_snapshot(&self, record: &VolumeState, id: SnapshotId) -> VolumeState {
        let mut next = snapshot::delete(record, id);
        if self.breaks(Twin::SnapshotIsForgottenAtOnce) {
            next.snapshots.remove(&id);
        }
        next
    }

    /// A dock looks for the snapshots of its wish, and for no others.
    fn seen(wish: &VolumeWish, facts: &Facts) -> Facts {
        let mut seen = facts.clone();
        seen.snapshots.retain(|id, _| wish.snapshots.contains_key(id));
        seen
    }

    pub(super) fn share(&self, record: &VolumeState, several: bool) -> Option<VolumeState> {
        let mut seen = record.clone();
        if self.breaks(Twin::SharingEndsDespiteHosts) {
            seen.attachments.clear();
        }
        let mut next = volume::share(&seen, several).ok()?;
        if self.breaks(Twin::SharingKeepsTheGeneration) {
            next.generation = record.generation;
        }
        next.attachments.clone_from(&record.attachments);
        Some(next)
    }

    pub(super) fn wish(&self, record: &VolumeState) -> VolumeWish {
        let mut wish = volume::wish(VOLUME, POOL, record);
        if self.breaks(Twin::GuardEndsWithinAGeneration) {
            let promised = |held: &Arc<Attachment>| held.sharing != Sharing::Shared;
            wish.guarded = !record.terms.multi_attach || record.attachments.values().any(promised);
        }
        wish
    }

    pub(super) fn accept(
        &self,
        held: Option<&VolumeWish>,
        offered: &VolumeWish,
    ) -> Result<VolumeWish, Rejected> {
        if self.breaks(Twin::DockIgnoresGenerations) {
            return Ok(offered.clone());
        }
        let kept = enforcer::accept(held, offered)?;
        let unlearns = self.breaks(Twin::LateWishUnlearnsTheVolume);
        if self.breaks(Twin::LateWishUnlearnsTheSnapshot) {
            return Ok(VolumeWish { snapshots: offered.snapshots.clone(), ..kept });
        }
        Ok(if unlearns { offered.clone() } else { kept })
    }

    pub(super) fn remember(&self, held: &VolumeWish, facts: &Facts) -> VolumeWish {
        if self.breaks(Twin::DockForgetsItMadeTheVolume) {
            return held.clone();
        }
        let learnt = enforcer::remember(held, &Self::seen(held, facts));
        if self.breaks(Twin::DockForgetsItTookTheSnapshot) {
            return VolumeWish { snapshots: held.snapshots.clone(), ..learnt };
        }
        learnt
    }

    pub(super) fn next_step(&self, dock: &Dock) -> Option<Step> {
        let wish = dock.ledger.as_ref()?;
        let (facts, failed) = (&Self::seen(wish, &dock.facts), &dock.failed);
        match self.twin {
            Some(Twin::HostsAreNotTold) => {
                enforcer::next_step(wish, &Facts { offered: None, ..facts.clone() }, failed)
            }
            Some(Twin::GrantDespiteAFailedRevoke) => {
                enforcer::next_step(&VolumeWish { guarded: false, ..wish.clone() }, facts, failed)
            }
            Some(Twin::LostVolumeIsMadeAnew) => {
                enforcer::next_step(&VolumeWish { exists: false, ..wish.clone() }, facts, failed)
            }
            Some(Twin::LostSnapshotIsTakenAnew) => {
                let mut forgetful = wish.clone();
                forgetful.snapshots.values_mut().for_each(|s| s.exists = false);
                enforcer::next_step(&forgetful, facts, failed)
            }
            Some(Twin::WhatWasBegunIsForgotten) => {
                let mut whole = facts.clone();
                whole.snapshots.retain(|_, fact| *fact != SnapshotFact::Begun);
                enforcer::next_step(wish, &whole, failed)
            }
            Some(Twin::GrantBeforeRevoke) => {
                let steps = wish.hosts.keys().filter(|host| !facts.served.contains_key(host));
                let first = steps.map(|host| Step::Grant(*host)).find(|s| !failed.contains_key(s));
                first
                    .filter(|_| facts.size.is_some())
                    .or_else(|| enforcer::next_step(wish, facts, failed))
            }
            Some(Twin::GrantWithoutTheVolume) => {
                let size = facts.size.or(match wish.presence {
                    Presence::Wanted(size) => Some(size),
                    Presence::Unwanted => None,
                });
                enforcer::next_step(wish, &Facts { size, ..facts.clone() }, failed)
            }
            Some(Twin::DeleteUnderAHost) => {
                let delete = wish.presence == Presence::Unwanted && facts.size.is_some();
                let first = delete.then_some(Step::Delete).filter(|s| !failed.contains_key(s));
                first.or_else(|| enforcer::next_step(wish, facts, failed))
            }
            Some(_) | None => enforcer::next_step(wish, facts, failed),
        }
    }

    pub(super) fn granted_mode(&self, asked: AttachMode) -> AttachMode {
        if self.breaks(Twin::ReadOnlyGrantedAsReadWrite) { AttachMode::ReadWrite } else { asked }
    }

    pub(super) fn outcome(&self, wish: &VolumeWish, dock: &Dock) -> Applied {
        let facts = Self::seen(wish, &dock.facts);
        let mut applied = enforcer::outcome(wish, &facts, &dock.failed);
        match self.twin {
            Some(Twin::WhatWasBegunIsForgotten) => {
                for (id, outcome) in &mut applied.snapshots {
                    if !wish.snapshots[id].wanted
                        && facts.snapshots.get(id) == Some(&SnapshotFact::Begun)
                    {
                        *outcome = SnapshotOutcome::Absent;
                    }
                }
            }
            Some(Twin::FailedRevokeIsLeftOut) => {
                applied.hosts.retain(|_, o| !matches!(o, HostOutcome::RevokeFailed(_)));
            }
            Some(Twin::AnswerFromTheWish) => {
                let granted = HostOutcome::Granted(connection());
                applied.hosts = wish.hosts.keys().map(|h| (*h, granted.clone())).collect();
                applied.volume = match wish.presence {
                    Presence::Wanted(size) => VolumeOutcome::Present(size),
                    Presence::Unwanted => VolumeOutcome::Absent,
                };
            }
            Some(Twin::AbsentWhileServed)
                if wish.presence == Presence::Unwanted && dock.facts.size.is_none() =>
            {
                applied.volume = VolumeOutcome::Absent;
            }
            Some(Twin::AnotherModeIsNoLeftover) => {
                for (_, outcome) in
                    applied.hosts.iter_mut().filter(|(host, _)| wish.hosts.contains_key(host))
                {
                    if let HostOutcome::RevokeFailed(fault) = outcome {
                        *outcome = HostOutcome::GrantFailed(fault.clone());
                    }
                }
            }
            Some(_) | None => {}
        }
        applied
    }

    pub(super) fn confirm(&self, record: &VolumeState, applied: &Applied) -> Confirmed {
        let mut heard = applied.clone();
        match self.twin {
            Some(Twin::AnyReplyConfirms) => heard.generation = record.generation,
            Some(Twin::PromiseConfirmedBesideALeftover) => {
                heard.hosts.retain(|host, _| record.attachments.contains_key(host));
            }
            Some(_) | None => {}
        }
        let mut confirmed = confirm(record, &heard);
        let failed = heard.hosts.values().any(|o| matches!(o, HostOutcome::GrantFailed(_)));
        if let (Confirmed::Known(next), Some(Twin::FailedGrantHarmsAll), true) =
            (&mut confirmed, self.twin, failed && heard.generation == record.generation)
        {
            let all = next.attachments.values_mut();
            all.for_each(|held| Arc::make_mut(held).phase = Phase::Attaching);
        }
        confirmed
    }
}
