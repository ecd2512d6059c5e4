//! The whole protocol around one volume as a state machine: users, operator, controller, network
//! and dock, each free to act whenever it can.
//!
//! The transitions call the real functions of `osds_lifecycle`; nothing is modelled twice. Mail is
//! never used up: a message on its way can be delivered again, in any order, or pushed out by a
//! later one without ever arriving. That is loss, doubling and delay. [`Past`] is what the rules
//! (`rules.rs`) remember; the protocol never looks at it. A [`Twin`] breaks one thing on purpose.

// Each test binary compiles this module and uses its own part of it.
#![allow(dead_code)]

pub mod rules;
pub mod twins;

use std::collections::{BTreeMap, BTreeSet};

use osds_lifecycle::access::{self, AttachRequest};
use osds_lifecycle::enforcer::{self, Facts, Failures, Served, Step};
use osds_lifecycle::{Confirmed, volume};
use osds_model::access::AttachmentFacts;
use osds_model::volume::Terms;
use osds_model::{
    Applied, AttachMode, AttachmentId, Capacity, Connection, Fault, FaultKind, Generation, HostId,
    HostOutcome, Phase, PoolId, Presence, Sharing, VolumeId, VolumeOutcome, VolumeState,
    VolumeWish,
};
use rules::Rule;
use stateright::{Model, Property};
use twins::Twin;

pub use osds_model::AttachMode::{ReadOnly as RO, ReadWrite as RW};
pub use osds_model::Sharing::{Exclusive, Shared, SoleWriter};

pub const A: HostId = HostId::from_u128(0xa);
pub const B: HostId = HostId::from_u128(0xb);
pub const C: HostId = HostId::from_u128(0xc);

/// What a host may ask for.
pub type Ask = (HostId, AttachMode, Sharing);

/// What can happen here, and how far it is followed.
#[derive(Clone)]
pub struct World {
    pub name: &'static str,
    pub start: Vec<State>,
    pub asks: Vec<Ask>,
    pub users: Users,
    pub trouble: Trouble,
    /// Messages on their way at once, in each direction.
    pub mail: usize,
    /// No edit raises the generation above this.
    pub last_generation: u64,
    /// Whether messages that everybody will refuse for ever are kept; they only cost states.
    pub keep_dead_mail: bool,
    /// What must be possible, or the rules hold for want of anything happening.
    pub shows: Vec<(&'static str, Condition)>,
    pub twin: Option<Twin>,
}

pub type Condition = fn(&World, &State) -> bool;

/// What users and operators do besides attaching and detaching.
#[derive(Clone, Copy, Default)]
pub struct Users {
    pub force: bool,
    pub fence: bool,
    pub extend: bool,
    pub delete: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Default)]
pub struct Trouble {
    pub reboot: bool,
    pub file_vanishes: bool,
    pub export_vanishes: bool,
    /// Which steps can fail.
    pub fails: &'static [Kind],
    /// Whether a failed step may have taken effect all the same.
    pub half_done: bool,
}

/// The kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Revoke,
    Create,
    Extend,
    Grant,
    Delete,
}

impl Kind {
    pub const ALL: &'static [Self] =
        &[Self::Revoke, Self::Create, Self::Extend, Self::Grant, Self::Delete];

    fn of(step: Step) -> Self {
        match step {
            Step::Revoke(_) => Self::Revoke,
            Step::Create(_) => Self::Create,
            Step::Extend(_) => Self::Extend,
            Step::Grant(_) => Self::Grant,
            Step::Delete => Self::Delete,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The controller's record; `None` once the volume is confirmed gone.
    pub record: Option<VolumeState>,
    pub fenced: BTreeSet<HostId>,
    pub dock: Dock,
    pub wishes: BTreeSet<VolumeWish>,
    pub replies: BTreeSet<Applied>,
    pub past: Past,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dock {
    /// Survives everything; kept as a tombstone when the volume is gone.
    pub ledger: Option<VolumeWish>,
    pub facts: Facts,
    /// The failed steps of this pass.
    pub failed: Failures,
}

/// What the rules remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// Hosts that were forced and not put out since, with the generation of the force: from that
    /// one on the dock knows that they shall go.
    pub forced: BTreeMap<HostId, Generation>,
    /// The controller was told that the volume is there.
    pub confirmed: bool,
    /// The first step that broke a rule about steps.
    pub broken: Option<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    UserAttaches(Ask),
    UserDetaches(HostId),
    OperatorForces(HostId),
    OperatorFences(HostId),
    OperatorUnfences(HostId),
    UserExtends,
    UserDeletes,
    /// The wish of this moment goes out; another one that was on its way may be lost.
    ControllerSends {
        lost: Option<VolumeWish>,
    },
    ControllerHears(Applied),
    DockReceives(VolumeWish),
    /// A new pass over the same wish: what failed is tried again.
    DockSweeps,
    DockTakesAStep,
    DockStepFails {
        half_done: bool,
    },
    DockReplies {
        lost: Option<Applied>,
    },
    DockReboots,
    ExportVanishes(HostId),
    FileVanishes,
    OperatorRestoresTheFile,
}

pub fn gib(n: u64) -> Capacity {
    Capacity::from_gib(n).expect("a small number")
}

pub fn connection() -> Connection {
    Connection::Iscsi { iqn: String::new(), portals: Vec::new(), lun: 1 }
}

pub fn terms(multi_attach: bool) -> Terms {
    Terms { multi_attach, max_attachments: None }
}

pub fn at_most(limit: u32) -> Terms {
    Terms { multi_attach: true, max_attachments: Some(limit) }
}

impl State {
    /// Asked for; nobody but the controller knows.
    pub fn new(terms: Terms) -> Self {
        Self {
            record: Some(volume::new(gib(1), terms)),
            fenced: BTreeSet::new(),
            dock: Dock::default(),
            wishes: BTreeSet::new(),
            replies: BTreeSet::new(),
            past: Past::default(),
        }
    }

    /// Made, confirmed, and these have it: as after a fault-free run, but still at generation 1.
    pub fn made(terms: Terms, held_by: &[Ask]) -> Self {
        let mut s = Self::new(terms);
        let mut record = volume::new(gib(1), terms);
        record.made = Some(gib(1));
        for ask in held_by {
            record = access::attach(&record, &request(*ask, false)).expect("hosts get along");
        }
        for held in record.attachments.values_mut() {
            held.phase = Phase::Attached;
            held.connection = Some(connection());
        }
        record.generation = Generation(1);
        s.dock.ledger = Some(volume::wish(VOLUME, POOL, &record));
        s.dock.facts.size = record.made;
        s.dock.facts.served = held_by
            .iter()
            .map(|&(host, mode, _)| (host, Served { mode, connection: connection() }))
            .collect();
        s.record = Some(record);
        s.past.confirmed = true;
        s
    }

    /// The phase of a host's attachment.
    pub fn phase(&self, host: HostId) -> Option<Phase> {
        self.record.as_ref()?.attachments.get(&host).map(|held| held.phase)
    }

    pub fn serves(&self, host: HostId) -> bool {
        self.dock.facts.served.contains_key(&host)
    }

    pub fn status(&self) -> &'static str {
        self.record.as_ref().map_or("gone", osds_lifecycle::status::volume)
    }
}

const VOLUME: VolumeId = VolumeId::from_u128(1);
const POOL: PoolId = PoolId::from_u128(2);

pub fn request((host, mode, sharing): Ask, fenced: bool) -> AttachRequest {
    AttachRequest {
        id: AttachmentId::from_u128(0),
        host,
        fenced,
        mode,
        sharing,
        read_only_enforced: true,
        initiators: Vec::new(),
        about: AttachmentFacts::default(),
    }
}

impl World {
    fn hosts(&self) -> BTreeSet<HostId> {
        self.asks.iter().map(|(host, _, _)| *host).collect()
    }

    /// Whether this is the twin that breaks just that.
    pub fn breaks(&self, twin: Twin) -> bool {
        self.twin == Some(twin)
    }

    /// The next state, or `None` where the action is refused.
    fn act(&self, s: &mut State, action: &Action) -> Option<()> {
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
            Action::UserDeletes => {
                let next = self.delete(s.record.as_ref()?)?;
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
                if *half_done {
                    self.take(s, step);
                }
                let fault = Fault::new(FaultKind::Temporary, "x");
                s.dock.failed.insert(step, fault);
            }
            Action::DockReplies { lost } => self.reply(s, lost.as_ref())?,
            Action::DockReboots => {
                s.dock.facts.served.clear();
                s.dock.failed.clear();
                if self.breaks(Twin::RebootLosesTheLedger) {
                    s.dock.ledger = None;
                }
            }
            Action::ExportVanishes(host) => drop(s.dock.facts.served.remove(host)),
            Action::FileVanishes => s.dock.facts.size = None,
            Action::OperatorRestoresTheFile => {
                let record = s.record.as_ref().filter(|_| s.past.confirmed)?;
                if s.dock.facts.size.is_none() {
                    s.dock.facts.size = record.made;
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
        let facts = &mut s.dock.facts;
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
            Step::Create(_) | Step::Extend(_) | Step::Grant(_) | Step::Delete | Step::Revoke(_) => {
                None
            }
        };
        s.past.broken = s.past.broken.or(breach);
        match step {
            Step::Revoke(host) => drop(facts.served.remove(&host)),
            Step::Create(size) | Step::Extend(size) => facts.size = Some(size),
            Step::Grant(host) => {
                let wished = s.dock.ledger.as_ref().and_then(|wish| wish.hosts.get(&host));
                if let Some(grant) = wished {
                    let mode = self.granted_mode(grant.mode);
                    facts.served.insert(host, Served { mode, connection: connection() });
                }
            }
            Step::Delete => facts.size = None,
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
    fn check_neighbours(before: &State, action: &Action, after: &mut State) {
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
    fn tidy(&self, s: &mut State) {
        let ledger = s.dock.ledger.as_ref();
        let served = &s.dock.facts.served;
        s.past.forced.retain(|host, since| match ledger {
            Some(ledger) if ledger.generation >= *since => served.get(host).is_some_and(|served| {
                ledger.hosts.get(host).is_none_or(|grant| grant.mode != served.mode)
            }),
            Some(_) | None => true,
        });
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
        let mut end = State { dock, ..s.clone() };
        for _ in 0..32 {
            match self.next_step(&end.dock) {
                Some(step) => self.take(&mut end, step),
                None => break,
            }
        }
        if self.reply(&mut State { replies: BTreeSet::new(), ..end.clone() }, None).is_none() {
            return false;
        }
        let Some(ledger) = &end.dock.ledger else { return false };
        let facts = &end.dock.facts;
        let ledger = self.remember(ledger, facts);
        match self.confirm(record, &self.outcome(&ledger, &end.dock)) {
            Confirmed::Gone { .. } => facts.size.is_none() && facts.served.is_empty(),
            Confirmed::Known(known) if facts.size.is_none() => {
                ledger.exists && known.fault.is_some_and(|fault| fault.kind == FaultKind::Gone)
            }
            Confirmed::Known(known) => {
                let served = facts.served.iter().map(|(host, served)| (*host, served.mode));
                let wished = ledger.hosts.iter().map(|(host, grant)| (*host, grant.mode));
                volume::is_settled(&known) && facts.size == known.made && served.eq(wished)
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

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.start.clone()
    }

    fn actions(&self, s: &State, out: &mut Vec<Action>) {
        if s.record.is_some() {
            out.extend(self.asks.iter().copied().map(Action::UserAttaches));
            for host in self.hosts() {
                out.push(Action::UserDetaches(host));
                if self.users.force && s.phase(host) == Some(Phase::Detaching) {
                    out.push(Action::OperatorForces(host));
                }
                if self.users.fence {
                    out.push(Action::OperatorFences(host));
                    out.push(Action::OperatorUnfences(host));
                }
            }
            if self.users.extend {
                out.push(Action::UserExtends);
            }
            if self.users.delete {
                out.push(Action::UserDeletes);
            }
            let lost: Vec<_> = places(&s.wishes, self.mail);
            out.extend(lost.into_iter().map(|lost| Action::ControllerSends { lost }));
            out.extend(s.replies.iter().cloned().map(Action::ControllerHears));
        }
        out.extend(s.wishes.iter().cloned().map(Action::DockReceives));
        if s.dock.ledger.is_some() {
            let lost: Vec<_> = places(&s.replies, self.mail);
            out.extend(lost.into_iter().map(|lost| Action::DockReplies { lost }));
            out.push(Action::DockTakesAStep);
            if !self.trouble.fails.is_empty() {
                out.push(Action::DockStepFails { half_done: false });
                if self.trouble.half_done {
                    out.push(Action::DockStepFails { half_done: true });
                }
            }
        }
        if !s.dock.failed.is_empty() {
            out.push(Action::DockSweeps);
        }
        if self.trouble.reboot {
            out.push(Action::DockReboots);
        }
        if self.trouble.export_vanishes {
            out.extend(s.dock.facts.served.keys().copied().map(Action::ExportVanishes));
        }
        if self.trouble.file_vanishes {
            out.push(Action::FileVanishes);
            out.push(Action::OperatorRestoresTheFile);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut after = before.clone();
        self.act(&mut after, &action)?;
        Self::check_neighbours(before, &action, &mut after);
        self.tidy(&mut after);
        (after != *before).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = rules::always().into_iter();
        let shows = self.shows.iter().map(|(name, shown)| Property::sometimes(name, *shown));
        always.chain(shows).collect()
    }
}

/// What may be lost when one more message is sent: nothing while there is room, else any one.
fn places<T: Clone>(mail: &BTreeSet<T>, room: usize) -> Vec<Option<T>> {
    if mail.len() < room { vec![None] } else { mail.iter().cloned().map(Some).collect() }
}
