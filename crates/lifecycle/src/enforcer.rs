//! The dock's half: which driver step comes next, and what to answer when there is none left.
//!
//! The order is the safety: hosts are put out before anybody is let in, and a volume is deleted
//! only when nobody is served. A step that failed is not tried again in the same pass, and blocks
//! what depends on it. A snapshot needs nobody to be out: writes are held while it is taken. It
//! comes before the volume grows and before anybody is let in, so it is of the moment that was
//! asked for as nearly as can be, and a volume goes after its snapshots. A wish that is older than the one on the ledger is refused. Putting a host
//! out waits for nothing: not for the storage, which may be what is broken.

use std::collections::{BTreeMap, BTreeSet};

use osds_model::{
    Applied, AttachMode, Authentication, Capacity, Connection, Fault, FaultKind, Grant, HostId,
    HostOutcome, Initiator, IoLimits, Presence, SnapshotId, SnapshotOutcome, SnapshotWish,
    VolumeOutcome, VolumeWish,
};

/// What is really there, read back from the drivers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// How large the volume is; `None` when it is not there, or nobody knows.
    pub size: Option<Capacity>,
    /// Why the storage could not say whether the volume is there.
    pub unknown: Option<Fault>,
    /// Whom the target serves.
    pub served: BTreeMap<HostId, Served>,
    /// Which of the snapshots in the wish are there.
    pub snapshots: BTreeMap<SnapshotId, SnapshotFact>,
    /// Those of one moment with others that can be taken now, and with them the others
    /// ([`crate::moment::is_due`]).
    pub due: BTreeSet<SnapshotId>,
    /// How much I/O the target carries out; `None` while it does not export the volume.
    pub limits: Option<IoLimits>,
    /// How large the target tells hosts that it is; `None` while it does not export the volume.
    pub offered: Option<Capacity>,
}

/// How much of a snapshot is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotFact {
    /// All of it, of this size.
    Whole(Capacity),
    /// Only what was left when something cut off the making of it.
    Begun,
}

/// How a host is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Served {
    /// In this mode.
    pub mode: AttachMode,
    /// By these names: the target knows hosts by nothing else.
    pub initiators: Vec<Initiator>,
    /// Proving these; `None` when the names are believed.
    pub authentication: Option<Authentication<()>>,
    /// Over this.
    pub connection: Connection,
}

impl Served {
    /// Whether this is what `grant` says. A host under an old name, or under some of its names
    /// only, or with other credentials or none, is not served as granted: it is put out and let in
    /// anew.
    fn is(&self, grant: &Grant) -> bool {
        self.mode == grant.mode
            && self.initiators == grant.initiators
            && self.authentication == grant.authentication.as_ref().map(Authentication::names)
    }
}

/// One driver call. Each is idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Put this host out; done only when none of its commands can land any more.
    Revoke(HostId),
    /// Take this snapshot away.
    DeleteSnapshot(SnapshotId),
    /// Make the volume, of this size, as a copy of what the wish names.
    Create(Capacity),
    /// Take this snapshot, and all that are of its moment.
    Snapshot(SnapshotId),
    /// Make it this large.
    Extend(Capacity),
    /// Tell the hosts of an exported volume that it is this large.
    Offer(Capacity),
    /// Hold the I/O of an exported volume to the limits of the wish.
    Limit,
    /// Let this host in, as the wish says.
    Grant(HostId),
    /// Take the volume away.
    Delete,
}

/// The steps of this pass that failed.
pub type Failures = BTreeMap<Step, Fault>;

/// Why a wish was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A newer one is on the ledger.
    #[error("generation {offered} is older than {held}, which is being enforced")]
    Stale {
        /// What was offered.
        offered: u64,
        /// What is on the ledger.
        held: u64,
    },
    /// Another wish of the same generation is on the ledger; one of the two is a lie.
    #[error("generation {0} was offered before with another content")]
    Changed(u64),
}

/// What the ledger shall hold once `offered` has taken the place of `held`.
///
/// That the volume was there is never unlearnt: a wish that left before the controller heard of
/// it must not bring an empty volume back in place of a lost one.
///
/// # Errors
/// [`Rejected`] when it may not.
pub fn accept(held: Option<&VolumeWish>, offered: &VolumeWish) -> Result<VolumeWish, Rejected> {
    let Some(held) = held else { return Ok(offered.clone()) };
    if offered.generation < held.generation {
        return Err(Rejected::Stale { offered: offered.generation.0, held: held.generation.0 });
    }
    if offered.generation == held.generation && asked(offered) != asked(held) {
        return Err(Rejected::Changed(offered.generation.0));
    }
    let mut kept = VolumeWish { exists: held.exists || offered.exists, ..offered.clone() };
    for (id, snapshot) in &mut kept.snapshots {
        snapshot.exists |= held.snapshots.get(id).is_some_and(|held| held.exists);
    }
    Ok(kept)
}

/// What is wished, without what the controller has learnt in the meantime: that something exists,
/// and that a snapshot which shall go is gone.
fn asked(wish: &VolumeWish) -> VolumeWish {
    let mut asked = VolumeWish { exists: false, ..wish.clone() };
    asked.snapshots.retain(|_, snapshot| snapshot.wanted);
    asked.snapshots.values_mut().for_each(|snapshot| snapshot.exists = false);
    asked
}

/// What the ledger shall hold before an answer leaves: once the controller may know that the
/// volume is there, the dock must not make it again.
#[must_use]
pub fn remember(held: &VolumeWish, facts: &Facts) -> VolumeWish {
    let mut learnt = VolumeWish { exists: held.exists || facts.size.is_some(), ..held.clone() };
    for (id, snapshot) in &mut learnt.snapshots {
        snapshot.exists |= matches!(facts.snapshots.get(id), Some(SnapshotFact::Whole(_)));
    }
    learnt
}

/// The next driver call, or `None` when everything is as wished or cannot be made so now.
#[must_use]
pub fn next_step(wish: &VolumeWish, facts: &Facts, failed: &Failures) -> Option<Step> {
    let open = |step: &Step| !failed.contains_key(step);
    if let Some(step) = unwanted(wish, facts).map(Step::Revoke).find(open) {
        return Some(step);
    }
    if facts.unknown.is_some() {
        return None;
    }
    let leaving = wish
        .snapshots
        .iter()
        .filter(|(id, snapshot)| !snapshot.wanted && facts.snapshots.contains_key(id));
    if let Some(step) = leaving.map(|(id, _)| Step::DeleteSnapshot(*id)).find(open) {
        return Some(step);
    }
    match (wish.presence, facts.size) {
        (Presence::Unwanted, None) => None,
        (Presence::Unwanted, Some(_)) => {
            let free = facts.served.is_empty() && facts.snapshots.is_empty();
            Some(Step::Delete).filter(open).filter(|_| free)
        }
        // It was there and is lost: a new, empty volume in its place would hide that.
        (Presence::Wanted(_), None) if wish.exists => None,
        (Presence::Wanted(size), None) => Some(Step::Create(size)).filter(open),
        (Presence::Wanted(size), Some(made)) => {
            let extend = (made < size).then_some(Step::Extend(size)).filter(open);
            // Looked at, not joined to the step before: that one may have been in an earlier life.
            let offer = facts.offered.is_some_and(|offered| offered != made);
            let offer = offer.then_some(Step::Offer(made)).filter(open);
            let limit = facts.limits.is_some_and(|limits| limits != wish.limits);
            let limit = limit.then_some(Step::Limit).filter(open);
            let snapshot = missing_snapshots(wish, facts).map(Step::Snapshot).find(open);
            let volume = snapshot.or(extend).or(offer).or(limit);
            volume.or_else(|| next_grant(wish, facts, failed))
        }
    }
}

/// The dock's answer, once [`next_step`] has nothing left.
#[must_use]
pub fn outcome(wish: &VolumeWish, facts: &Facts, failed: &Failures) -> Applied {
    let volume = volume_outcome(wish, facts, failed);
    let mut hosts = BTreeMap::new();
    for (host, grant) in &wish.hosts {
        let outcome = match facts.served.get(host) {
            Some(served) if served.is(grant) => HostOutcome::Granted(served.connection.clone()),
            // Served, but not like this: first it has to be put out.
            Some(_) => HostOutcome::RevokeFailed(why_not_revoked(*host, failed)),
            None => HostOutcome::GrantFailed(why_not_granted(*host, &volume, failed)),
        };
        hosts.insert(*host, outcome);
    }
    for host in facts.served.keys().filter(|host| !wish.hosts.contains_key(host)) {
        hosts.insert(*host, HostOutcome::RevokeFailed(why_not_revoked(*host, failed)));
    }
    let snapshots = wish.snapshots.iter();
    let snapshots = snapshots
        .map(|(id, wished)| (*id, snapshot_outcome(*id, wished, facts, failed, &volume)))
        .collect();
    Applied { generation: wish.generation, volume, hosts, snapshots }
}

/// Snapshots that have to be taken. One that was taken before and is not there is lost; one that is
/// of a moment with others is taken with them or not at all.
fn missing_snapshots<'a>(
    wish: &'a VolumeWish,
    facts: &'a Facts,
) -> impl Iterator<Item = SnapshotId> + 'a {
    let whole = |id| matches!(facts.snapshots.get(id), Some(SnapshotFact::Whole(_)));
    let missing = wish.snapshots.iter().filter(move |(id, s)| s.wanted && !s.exists && !whole(*id));
    let now = missing.filter(|(id, s)| s.moment.is_none() || facts.due.contains(*id));
    now.map(|(id, _)| *id)
}

fn snapshot_outcome(
    id: SnapshotId,
    wish: &SnapshotWish,
    facts: &Facts,
    failed: &Failures,
    volume: &VolumeOutcome,
) -> SnapshotOutcome {
    if let Some(fault) = &facts.unknown {
        return SnapshotOutcome::Failed(fault.clone());
    }
    let of = |step: Step| failed.get(&step).cloned();
    let fault = match (wish.wanted, facts.snapshots.get(&id)) {
        (false, None) => return SnapshotOutcome::Absent,
        (false, Some(_)) => of(Step::DeleteSnapshot(id)),
        (true, Some(SnapshotFact::Whole(size))) => return SnapshotOutcome::Present(*size),
        (true, Some(SnapshotFact::Begun) | None) if wish.exists => Some(Fault::new(
            FaultKind::Gone,
            "the snapshot was taken and is not there any more; restore it, or delete it",
        )),
        (true, Some(SnapshotFact::Begun) | None) => of(Step::Snapshot(id)).or(match volume {
            VolumeOutcome::Failed(fault) => Some(fault.clone()),
            VolumeOutcome::Present(_) | VolumeOutcome::Absent => None,
        }),
    };
    match fault {
        // The dock has yet to hear of the others, or takes it for one of them.
        None if wish.wanted && wish.moment.is_some() => SnapshotOutcome::Waiting,
        fault => SnapshotOutcome::Failed(fault.unwrap_or_else(not_yet)),
    }
}

/// Hosts that are served and shall not be, or not like this.
fn unwanted<'a>(wish: &'a VolumeWish, facts: &'a Facts) -> impl Iterator<Item = HostId> + 'a {
    facts.served.iter().filter_map(|(host, served)| {
        let wanted = wish.hosts.get(host).is_some_and(|grant| served.is(grant));
        (!wanted).then_some(*host)
    })
}

fn next_grant(wish: &VolumeWish, facts: &Facts, failed: &Failures) -> Option<Step> {
    if wish.guarded && unwanted(wish, facts).next().is_some() {
        return None;
    }
    let missing = wish.hosts.keys().filter(|host| !facts.served.contains_key(host));
    missing.map(|host| Step::Grant(*host)).find(|step| !failed.contains_key(step))
}

fn volume_outcome(wish: &VolumeWish, facts: &Facts, failed: &Failures) -> VolumeOutcome {
    if let Some(fault) = &facts.unknown {
        return VolumeOutcome::Failed(fault.clone());
    }
    let of = |step: Step| failed.get(&step).cloned();
    let fault = match (wish.presence, facts.size) {
        (Presence::Unwanted, None) if facts.served.is_empty() && facts.snapshots.is_empty() => {
            return VolumeOutcome::Absent;
        }
        (Presence::Unwanted, _) => {
            let revoke = facts.served.keys().find_map(|host| of(Step::Revoke(*host)));
            let snapshots = facts.snapshots.keys();
            let snapshot = snapshots.into_iter().find_map(|id| of(Step::DeleteSnapshot(*id)));
            of(Step::Delete).or(revoke).or(snapshot)
        }
        (Presence::Wanted(_), None) if wish.exists => Some(Fault::new(
            FaultKind::Gone,
            "the volume was made here and is not there any more; restore it, or delete it",
        )),
        (Presence::Wanted(size), None) => of(Step::Create(size)),
        (Presence::Wanted(size), Some(made)) if made < size => of(Step::Extend(size)),
        // It has grown when every host was told.
        (Presence::Wanted(_), Some(made)) => match of(Step::Offer(made)).or(of(Step::Limit)) {
            Some(fault) => Some(fault),
            None => return VolumeOutcome::Present(made),
        },
    };
    VolumeOutcome::Failed(fault.unwrap_or_else(not_yet))
}

fn why_not_revoked(host: HostId, failed: &Failures) -> Fault {
    failed.get(&Step::Revoke(host)).cloned().unwrap_or_else(not_yet)
}

fn why_not_granted(host: HostId, volume: &VolumeOutcome, failed: &Failures) -> Fault {
    if let Some(fault) = failed.get(&Step::Grant(host)) {
        return fault.clone();
    }
    if let VolumeOutcome::Failed(fault) = volume {
        return fault.clone();
    }
    let stuck = failed.iter().find_map(|(step, fault)| match step {
        Step::Revoke(other) => Some((other, fault)),
        Step::DeleteSnapshot(_)
        | Step::Create(_)
        | Step::Snapshot(_)
        | Step::Extend(_)
        | Step::Offer(_)
        | Step::Limit
        | Step::Grant(_)
        | Step::Delete => None,
    });
    match stuck {
        Some((other, fault)) => waits_for(*other, fault),
        None => not_yet(),
    }
}

/// Said to a host that cannot have the volume before `other` is out.
pub(crate) fn waits_for(other: HostId, fault: &Fault) -> Fault {
    Fault::new(fault.kind, format!("host {other} could not be put out yet: {}", fault.message))
}

/// Said when an answer is asked for before the work is done.
fn not_yet() -> Fault {
    Fault::new(FaultKind::Temporary, "still being worked on")
}
