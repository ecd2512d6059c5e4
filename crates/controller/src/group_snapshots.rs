//! Group snapshots: snapshots of several volumes that are of one moment, made and removed together.
//!
//! There is no record of one: it is the snapshots that carry its id, and its status is theirs. They
//! are wished for in one transaction, taken by one dock while the writes of all the volumes are held,
//! and wished away in one transaction; so a part of one is never seen but on its way out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use osds_lifecycle::snapshot::MOST_AT_ONCE;
use osds_lifecycle::status;
use osds_model::{
    DockId, GroupId, GroupSnapshotId, Moment, Pool, Reason, SnapshotId, TenantId, Volume,
    VolumeGroup, VolumeId,
};
use osds_store::{SnapshotsWhere, Txn, Versioned, View, decide};
use tracing::info;
use uuid::Uuid;

use crate::snapshots::{Draft, Snapshotted, draft, joined, wish_away, wish_for};
use crate::volumes::lost_pool;
use crate::{Caller, Controller, Error, NewSnapshot, requests, volumes};

const CREATING: &str = "create group snapshot failed: ";

/// A request for a group snapshot.
#[derive(Clone, Debug, Default)]
pub struct NewGroupSnapshot {
    /// The name of each snapshot.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// The volumes, by id; none when a volume group is named.
    pub volumes: Vec<String>,
    /// Every volume of this volume group, by id; empty when volumes are named.
    pub group: String,
    /// Free text pairs; each volume's come to them.
    pub metadata: BTreeMap<String, String>,
}

/// A group snapshot: what it is made of.
#[derive(Clone, Debug)]
pub struct GroupSnapshotted {
    /// Its id.
    pub id: GroupSnapshotId,
    /// Its snapshots, at least one, in the order of their ids.
    pub members: Vec<Snapshotted>,
}

impl GroupSnapshotted {
    /// The status word of the group snapshot.
    #[must_use]
    pub fn status(&self) -> &'static str {
        status::group_snapshot(self.members.iter().map(|member| &member.state))
    }

    /// With an `owner`, only if it is that tenant's.
    fn of(view: &View, id: GroupSnapshotId, owner: Option<&TenantId>) -> Option<Self> {
        let has = SnapshotsWhere { groups: Some(vec![id]), ..SnapshotsWhere::default() };
        let members: Vec<_> =
            view.snapshots_where(&has, owner).filter_map(|id| joined(view, id)).collect();
        (!members.is_empty()).then_some(Self { id, members })
    }
}

/// Whether this one is of the volume for which the dock takes all of them.
fn leads(member: &Snapshotted) -> bool {
    let moment = member.state.moment.as_ref();
    moment.is_some_and(|moment| moment.leader() == Some(member.snapshot.volume))
}

impl Controller {
    /// Asks for snapshots of several volumes at one moment, soon.
    ///
    /// # Errors
    /// [`Error::Invalid`], also for volumes of several backends; [`Error::Refused`].
    pub async fn create_group_snapshot(
        &self,
        caller: &Caller,
        new: NewGroupSnapshot,
    ) -> Result<GroupSnapshotted, Error> {
        let group = GroupSnapshotId(Uuid::now_v7());
        let now = self.clock.now();
        let made = decide(self.store.as_ref(), |view| {
            if let Some(before) = requests::made_before(view, caller, now)? {
                let before = GroupSnapshotted::of(view, GroupSnapshotId(before), None);
                return Ok((Txn::new(), before.ok_or_else(requests::gone)?));
            }
            let volumes = volumes_of(view, caller, &new)?;
            let of = volumes.keys().map(|volume| (*volume, SnapshotId(Uuid::now_v7())));
            let moment = Arc::new(Moment { group, of: of.collect() });
            let each = NewSnapshot {
                name: new.name.clone(),
                description: new.description.clone(),
                metadata: new.metadata.clone(),
                ..NewSnapshot::default()
            };
            let drafts: Vec<_> = volumes
                .into_values()
                .zip(moment.of.values())
                .map(|(volume, id)| draft(view, caller, volume, &each, (*id, Some(&moment)), now))
                .collect::<Result<_, _>>()?;
            let mut members = drafts.iter().map(Draft::made).collect::<Result<Vec<_>, _>>()?;
            members.sort_by_key(|member| member.snapshot.id);
            let txn = wish_for(view, drafts, now)?;
            let txn = requests::remember(txn, view, caller, group, now);
            Ok((txn, GroupSnapshotted { id: group, members }))
        });
        let made = made.await?;
        if made.id == group {
            info!(group_snapshot_id = %group, volumes = made.members.len(), "group snapshot wished for");
        }
        made.members.iter().for_each(|member| self.poke(member.snapshot.volume));
        Ok(made)
    }

    /// The group snapshots that the caller sees, in the order of their ids.
    #[must_use]
    pub fn group_snapshots(&self, caller: &Caller) -> Vec<GroupSnapshotted> {
        let view = self.store.view();
        let all = view.group_snapshots().into_iter();
        all.filter_map(|id| GroupSnapshotted::of(&view, id, caller.owner())).collect()
    }

    /// One group snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn group_snapshot(&self, caller: &Caller, id: &str) -> Result<GroupSnapshotted, Error> {
        find(&self.store.view(), caller, id)
    }

    /// Asks for all snapshots of a group snapshot to be gone, or for none. Asking again is no error
    /// until they are.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] while a volume is still made from one of them.
    pub async fn delete_group_snapshot(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<GroupSnapshotId, Error> {
        let now = self.clock.now();
        let wished = decide(self.store.as_ref(), |view| {
            let found = find(view, caller, id)?;
            let mut txn = Txn::new();
            for Snapshotted { snapshot, .. } in &found.members {
                let volume = view.get::<Volume>(snapshot.volume);
                let volume = volume.ok_or_else(|| not_found(caller, id))?;
                txn = wish_away(txn, view, (snapshot, volume), now)?;
            }
            Ok((txn, found))
        });
        let wished = wished.await?;
        info!(group_snapshot_id = %wished.id, "group snapshot wished away");
        wished.members.iter().for_each(|member| self.poke(member.snapshot.volume));
        Ok(wished.id)
    }

    /// Waits until nothing is under way for the group snapshot, it is gone, or `limit` is over.
    pub async fn wait_for_group_snapshot(&self, id: GroupSnapshotId, limit: Duration) {
        let until = Instant::now() + limit;
        let Some(found) = GroupSnapshotted::of(&self.store.view(), id, None) else { return };
        // When that one fails, nothing becomes of the others.
        let (leader, others): (Vec<_>, _) = found.members.into_iter().partition(leads);
        for member in leader.iter().chain(&others) {
            let now = GroupSnapshotted::of(&self.store.view(), id, None);
            if now.is_none_or(|now| !matches!(now.status(), "creating" | "deleting")) {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            self.wait_for_snapshot(member.snapshot.id, left).await;
        }
    }
}

/// The volumes that are asked for, each once, all of one dock.
fn volumes_of<'a>(
    view: &'a View,
    caller: &Caller,
    new: &NewGroupSnapshot,
) -> Result<BTreeMap<VolumeId, &'a Versioned<Volume>>, Error> {
    let failed = |why: String| Error::Invalid(format!("{CREATING}{why}"));
    let apart = |why: String| Error::unfit(Reason::NotTogether, format!("{CREATING}{why}"));
    let mut volumes = Vec::new();
    match (new.group.as_str(), new.volumes.as_slice()) {
        ("", []) => return Err(failed("name the volumes, or a volume group".to_owned())),
        ("", ids) => {
            for id in ids {
                let missing = |_| failed(caller.cannot_find("volume", id));
                volumes.push(volumes::find(view, caller, id).map_err(missing)?);
            }
        }
        (id, []) => {
            let group = id.parse().ok().and_then(|id: GroupId| view.get::<VolumeGroup>(id));
            let group = group.filter(|group| caller.sees(&group.tenant));
            let group = group.ok_or_else(|| failed(caller.cannot_find("volume group", id)))?;
            let members = view.volumes_of_group(group.id).filter_map(|id| view.get::<Volume>(id));
            volumes.extend(members);
            if volumes.is_empty() {
                return Err(failed(format!("volume group {id} has no volumes")));
            }
        }
        (_, _) => {
            return Err(failed("name the volumes or a volume group, not both".to_owned()));
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = volumes.iter().find(|volume| !seen.insert(volume.id)) {
        return Err(failed(format!("volume {} is named twice", twice.id)));
    }
    if volumes.len() > MOST_AT_ONCE {
        return Err(apart(format!(
            "{} volumes are too many: {MOST_AT_ONCE} can be held at one moment",
            volumes.len()
        )));
    }
    let mut docks = BTreeMap::<DockId, &Volume>::new();
    for volume in &volumes {
        let pool = view.get::<Pool>(volume.pool).ok_or_else(|| lost_pool(volume.pool))?;
        docks.entry(pool.dock).or_insert(volume);
    }
    let mut docks = docks.into_values();
    if let (Some(one), Some(other)) = (docks.next(), docks.next()) {
        return Err(apart(format!(
            "volumes {} and {} are on different backends, and only one can hold the writes of all: \
             take a group snapshot for each backend",
            one.id, other.id
        )));
    }
    Ok(volumes.into_iter().map(|volume| (volume.id, volume)).collect())
}

fn find(view: &View, caller: &Caller, id: &str) -> Result<GroupSnapshotted, Error> {
    let found = id.parse().ok().and_then(|id| GroupSnapshotted::of(view, id, caller.owner()));
    found.ok_or_else(|| not_found(caller, id))
}

fn not_found(caller: &Caller, id: &str) -> Error {
    let why = caller.cannot_find("group snapshot", id);
    Error::NotFound(format!("group snapshot {id} not found: {why}"))
}
