//! What the controller tells a dock about one volume, and what the dock answers.
//!
//! Always the whole truth, never an order: a wish may be lost, doubled or late and nothing breaks,
//! because a dock keeps the wish with the highest generation and works until reality matches it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::{AttachMode, Connection};
use crate::capacity::Capacity;
use crate::fault::Fault;
use crate::host::Initiator;
use crate::id::{HostId, PoolId, SnapshotId, VolumeId};
use crate::limits::IoLimits;
use crate::secret::{Authentication, Sealed};
use crate::snapshot::{Moment, Source};
use crate::volume::Presence;

/// Counts the edits of a volume's wish. Never reused, never lowered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    ///
    /// # Panics
    /// After 2^64 edits of one volume.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(next) => Self(next),
            None => panic!("generation overflow"),
        }
    }
}

/// All that shall be true of one volume on its dock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VolumeWish {
    /// Which volume.
    pub volume: VolumeId,
    /// Which edit of the wish this is.
    pub generation: Generation,
    /// The pool it lives in.
    pub pool: PoolId,
    /// Whether it shall be there, and how large.
    pub presence: Presence,
    /// Whether it was there before. Then a dock that cannot find it must say so, and must not
    /// make a new, empty one in its place.
    pub exists: bool,
    /// Whether somebody was promised to be alone (or the volume is not multi-attach): then nobody
    /// is let in while a host that shall go could not be put out.
    pub guarded: bool,
    /// How much I/O the target shall carry out in a second.
    #[serde(default, skip_serializing_if = "IoLimits::is_none")]
    pub limits: IoLimits,
    /// What it is made a copy of, if it has to be made; nothing else is ever made in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Its snapshots, those that shall go among them. One that is not listed is nobody's business.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<SnapshotId, SnapshotWish>,
    /// Who shall have it; nobody else.
    pub hosts: BTreeMap<HostId, Grant>,
}

impl VolumeWish {
    /// The names under which hosts shall be let in.
    pub fn initiator_names(&self) -> impl Iterator<Item = &str> {
        let initiators = self.hosts.values().flat_map(|grant| &grant.initiators);
        initiators.map(|initiator| initiator.port_name.as_str())
    }
}

/// What shall be true of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotWish {
    /// Whether it shall be there.
    pub wanted: bool,
    /// Whether it was there before. Then one that cannot be found is lost, and is not taken anew:
    /// that would be a copy of another moment.
    pub exists: bool,
    /// With which others it is taken; `None` for one that is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Arc<Moment>>,
}

/// What one host shall have. Its secrets are sealed in a wish, in clear for a target, and not there
/// at all (`()`) in what a target says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant<S = Sealed> {
    /// Read-only or read-write.
    pub mode: AttachMode,
    /// The names it logs in with.
    pub initiators: Vec<Initiator>,
    /// What it has to prove besides; `None` when the names are believed.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication<S>>,
}

/// `Option::default` without asking that a secret has a default.
fn none<S>() -> Option<Authentication<S>> {
    None
}

impl<S> Grant<S> {
    /// The same without its secrets.
    #[must_use]
    pub fn names(&self) -> Grant<()> {
        let authentication = self.authentication.as_ref().map(Authentication::names);
        Grant { mode: self.mode, initiators: self.initiators.clone(), authentication }
    }
}

/// A dock's answer to a [`VolumeWish`]: how far it got with this very generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Applied {
    /// The generation that was worked on.
    pub generation: Generation,
    /// How the volume itself came out.
    pub volume: VolumeOutcome,
    /// How each host came out. A host that is neither wished for nor listed here is not served:
    /// no command of it will reach the blocks any more.
    pub hosts: BTreeMap<HostId, HostOutcome>,
    /// How each snapshot of the wish came out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<SnapshotId, SnapshotOutcome>,
}

/// How one snapshot came out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SnapshotOutcome {
    /// It is there, of this size.
    Present(Capacity),
    /// It is gone, and so is what may have been begun of it.
    Absent,
    /// It is taken as soon as the dock has heard of all that are of its moment.
    Waiting,
    /// It is not as wished, and this is why.
    Failed(Fault),
}

/// How the volume itself came out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeOutcome {
    /// It is there, of this size.
    Present(Capacity),
    /// It is gone.
    Absent,
    /// It is not as wished, and this is why.
    Failed(Fault),
}

/// How one host came out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HostOutcome {
    /// It is let in, this way.
    Granted(Connection),
    /// It could not be let in.
    GrantFailed(Fault),
    /// It could not be put out: it may still be served.
    RevokeFailed(Fault),
}
