//! The whole protocol around one volume as a state machine: users, operator, controller, network
//! and dock, each free to act whenever it can.
//!
//! The transitions call the real functions of `osds_lifecycle`; nothing is modelled twice. Mail is
//! never used up: a message on its way can be delivered again, in any order, or pushed out by a
//! later one without ever arriving. That is loss, doubling and delay. [`Past`] is what the rules
//! (`rules.rs`) remember; the protocol never looks at it. A [`Twin`] breaks one thing on purpose.

// Each test binary compiles this module and uses its own part of it.
#![allow(dead_code)]

mod acts;
pub mod rules;
pub mod twins;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use osds_lifecycle::access::{self, AttachRequest};
use osds_lifecycle::enforcer::{Facts, Failures, Served, Step};
use osds_lifecycle::volume;
use osds_model::access::AttachmentFacts;
use osds_model::volume::Terms;
use osds_model::{
    Applied, AttachMode, AttachmentId, Capacity, Connection, Generation, HostId, Phase, PoolId,
    Sharing, SnapshotId, VolumeId, VolumeState, VolumeWish,
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
    /// Take back a wish for more that fails.
    pub take_back: bool,
    /// Turn multi-attach on and off.
    pub share: bool,
    pub delete: bool,
    pub snapshot: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Default)]
pub struct Trouble {
    pub reboot: bool,
    pub file_vanishes: bool,
    pub snapshot_vanishes: bool,
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
    Offer,
    Grant,
    Delete,
    Snapshot,
    DeleteSnapshot,
}

impl Kind {
    pub const ALL: &'static [Self] = &[
        Self::Revoke,
        Self::Create,
        Self::Extend,
        Self::Offer,
        Self::Grant,
        Self::Delete,
        Self::Snapshot,
        Self::DeleteSnapshot,
    ];

    fn of(step: Step) -> Self {
        match step {
            Step::Revoke(_) => Self::Revoke,
            Step::Create(_) => Self::Create,
            Step::Extend(_) => Self::Extend,
            Step::Offer(_) => Self::Offer,
            Step::Grant(_) => Self::Grant,
            Step::Snapshot(_) => Self::Snapshot,
            Step::DeleteSnapshot(_) => Self::DeleteSnapshot,
            // No world has limits: the tables have them.
            Step::Limit | Step::Delete => Self::Delete,
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
    /// How large the file was that vanished.
    pub lost: Option<Capacity>,
    /// The snapshots that the controller was told are there.
    pub taken: BTreeSet<SnapshotId>,
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
    UserTakesBack,
    UserShares(bool),
    UserDeletes,
    UserSnapshots,
    UserDeletesSnapshot(SnapshotId),
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
    SnapshotVanishes(SnapshotId),
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
            let held = Arc::make_mut(held);
            held.phase = Phase::Attached;
            held.connection = Some(connection());
        }
        record.generation = Generation(1);
        s.dock.ledger = Some(volume::wish(VOLUME, POOL, &record));
        s.dock.facts.size = record.made;
        s.dock.facts.offered = record.made.filter(|_| !held_by.is_empty());
        s.dock.facts.served = held_by
            .iter()
            .map(|&(host, mode, _)| {
                (
                    host,
                    Served {
                        mode,
                        initiators: vec![],
                        authentication: None,
                        connection: connection(),
                    },
                )
            })
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
        publication: None,
        read_only_enforced: true,
        initiators: Vec::new(),
        authentication: None,
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
            if self.users.take_back {
                out.push(Action::UserTakesBack);
            }
            if self.users.share {
                out.extend([true, false].map(Action::UserShares));
            }
            if self.users.delete {
                out.push(Action::UserDeletes);
            }
            if self.users.snapshot {
                out.push(Action::UserSnapshots);
                let known = s.record.iter().flat_map(|record| record.snapshots.keys());
                out.extend(known.copied().map(Action::UserDeletesSnapshot));
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
        if self.trouble.snapshot_vanishes {
            out.extend(s.dock.facts.snapshots.keys().copied().map(Action::SnapshotVanishes));
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
