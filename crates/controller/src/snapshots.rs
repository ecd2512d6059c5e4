//! Snapshots: take, show, edit, delete. What a snapshot is called is a record of its own; whether it
//! is there is part of its volume's, and the two are written in one transaction.
//!
//! The space of a snapshot is reserved with its record and given back by the reconciler, as for a
//! volume. A snapshot belongs to who took it, which may be an admin who took it of another
//! tenant's volume.

use std::collections::BTreeMap;
use std::sync::Arc;

use osds_lifecycle::{snapshot, status, volume};
use osds_model::{
    Capacity, Moment, Pool, PoolId, Reason, Snapshot, SnapshotId, SnapshotState, Timestamp, Volume,
    VolumeState,
};
use osds_store::{SnapshotsWhere, Txn, Versioned, View, decide};
use tracing::info;
use uuid::Uuid;

use crate::volumes::{lost_pool, with_allocated, with_state};
use crate::{Caller, Controller, Error, copies, profiles, requests, volumes};

const CREATING: &str = "create volume snapshot failed: ";
const DELETING: &str = "delete volume snapshot failed: ";

/// A request for a snapshot.
#[derive(Clone, Debug, Default)]
pub struct NewSnapshot {
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// The volume, by id.
    pub volume: String,
    /// Profile id; empty means the volume's.
    pub profile: String,
    /// Free text pairs; the volume's come to them.
    pub metadata: BTreeMap<String, String>,
}

/// An edit of a snapshot; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct SnapshotUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Other words.
    pub description: Option<String>,
    /// Pairs to add or replace.
    pub metadata: BTreeMap<String, String>,
}

/// A snapshot with what is wished and known of it.
#[derive(Clone, Debug)]
pub struct Snapshotted {
    /// What it is called.
    pub snapshot: Arc<Snapshot>,
    /// Whether it is there.
    pub state: SnapshotState,
}

impl Snapshotted {
    /// The status word of the snapshot.
    #[must_use]
    pub fn status(&self) -> &'static str {
        status::snapshot(&self.state)
    }
}

impl Controller {
    /// Asks for a snapshot of what the volume holds from now on, soon.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Refused`].
    pub async fn create_snapshot(
        &self,
        caller: &Caller,
        new: NewSnapshot,
    ) -> Result<Snapshotted, Error> {
        let id = SnapshotId(Uuid::now_v7());
        let now = self.clock.now();
        let made = decide(self.store.as_ref(), |view| {
            if let Some(before) = requests::made_before(view, caller, now)? {
                let before = SnapshotId(before);
                return Ok((Txn::new(), joined(view, before).ok_or_else(requests::gone)?));
            }
            let missing = |_| Error::Invalid(caller.cannot_find("volume", &new.volume));
            let volume = volumes::find(view, caller, &new.volume).map_err(missing)?;
            let draft = draft(view, caller, volume, &new, (id, None), now)?;
            let made = draft.made()?;
            let txn = wish_for(view, vec![draft], now)?;
            Ok((requests::remember(txn, view, caller, id, now), made))
        });
        let made = made.await?;
        let volume = made.snapshot.volume;
        if made.snapshot.id == id {
            info!(volume_id = %volume, snapshot_id = %id, "snapshot wished for");
        }
        self.poke(volume);
        Ok(made)
    }

    /// The snapshots that the caller sees, in the order of their ids.
    pub fn snapshots<T>(
        &self,
        caller: &Caller,
        has: &SnapshotsWhere,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = (&Snapshot, &SnapshotState)>) -> T,
    ) -> T {
        let view = self.store.view();
        let shown = |id: SnapshotId| {
            let snapshot: &Snapshot = view.get::<Snapshot>(id)?;
            let volume =
                view.get::<Volume>(snapshot.volume).filter(|_| caller.sees(&snapshot.tenant))?;
            Some((snapshot, volume.state.snapshots.get(&id)?))
        };
        if caller.admin && *has == SnapshotsWhere::default() {
            return look(&mut view.iter::<Snapshot>().filter_map(|snapshot| shown(snapshot.id)));
        }
        look(&mut view.snapshots_where(has, caller.owner()).filter_map(shown))
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn snapshot(&self, caller: &Caller, id: &str) -> Result<Snapshotted, Error> {
        let view = self.store.view();
        let (snapshot, _) = find(&view, caller, id)?;
        joined(&view, snapshot.id).ok_or_else(|| not_found(caller, id))
    }

    /// Edits what a snapshot is called and its metadata.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a bad name.
    pub async fn update_snapshot(
        &self,
        caller: &Caller,
        id: &str,
        update: SnapshotUpdate,
    ) -> Result<Snapshotted, Error> {
        const DOING: &str = "update volume snapshot failed: ";
        let now = self.clock.now();
        let edited = decide(self.store.as_ref(), |view| {
            let cannot_find = caller.cannot_find("volume snapshot", id);
            let missing = |_| Error::NotFound(format!("{DOING}{cannot_find}"));
            let (old, volume) = find(view, caller, id).map_err(missing)?;
            let mut new = Snapshot::clone(old);
            if let Some(name) = &update.name {
                volumes::check_name(name, DOING)?;
                new.name.clone_from(name);
            }
            if let Some(description) = &update.description {
                new.description.clone_from(description);
            }
            new.metadata.extend(update.metadata.clone());
            let state = volume.state.snapshots.get(&old.id).cloned();
            let state = state.ok_or_else(|| not_found(caller, id))?;
            if new == **old {
                let snapshot = Arc::clone(&old.value);
                return Ok((Txn::new(), Snapshotted { snapshot, state }));
            }
            new.updated_at = Some(now);
            let txn = Txn::new().replace(old, new.clone());
            Ok((txn, Snapshotted { snapshot: Arc::new(new), state }))
        });
        Ok(edited.await?)
    }

    /// Asks for a snapshot to be gone. Asking again is no error until it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] while a volume is still made from it.
    pub async fn delete_snapshot(&self, caller: &Caller, id: &str) -> Result<SnapshotId, Error> {
        let now = self.clock.now();
        let wished = decide(self.store.as_ref(), |view| {
            let (found, volume) = find(view, caller, id)?;
            if let Some(group) = found.group {
                let words = format!(
                    "{DELETING}snapshot {id} is one of group snapshot {group}, whose snapshots stay \
                     and go together; delete that"
                );
                return Err(Error::unfit(Reason::InGroupSnapshot, words));
            }
            let txn = wish_away(Txn::new(), view, (found, volume), now)?;
            Ok((txn, (volume.id, found.id)))
        });
        let (volume, snapshot) = wished.await?;
        info!(volume_id = %volume, snapshot_id = %snapshot, "snapshot wished away");
        self.poke(volume);
        Ok(snapshot)
    }
}

/// A snapshot that is to be wished for.
pub(crate) struct Draft<'a> {
    snapshot: Snapshot,
    volume: &'a Versioned<Volume>,
    /// What becomes of the volume's.
    state: VolumeState,
}

impl Draft<'_> {
    /// What is shown of it once it is wished for.
    pub(crate) fn made(&self) -> Result<Snapshotted, Error> {
        let state = self.state.snapshots.get(&self.snapshot.id).cloned();
        let state = state.ok_or_else(|| Error::invalid("the snapshot was not added"))?;
        Ok(Snapshotted { snapshot: Arc::new(self.snapshot.clone()), state })
    }
}

/// The snapshot of `volume` that `new` asks for: under which id, and at which moment if not alone.
pub(crate) fn draft<'a>(
    view: &View,
    caller: &Caller,
    volume: &'a Versioned<Volume>,
    new: &NewSnapshot,
    (id, moment): (SnapshotId, Option<&Arc<Moment>>),
    now: Timestamp,
) -> Result<Draft<'a>, Error> {
    volumes::check_name(&new.name, CREATING)?;
    volumes::check_text(CREATING, &new.description, &new.metadata)?;
    let profile = match new.profile.as_str() {
        "" => volume.profile,
        profile => profiles::for_volume(view, profile)?.id,
    };
    let state = snapshot::create(&volume.state, id, moment.cloned());
    let state = state.map_err(Error::refused(CREATING, view))?;
    let mut metadata = volume.metadata.clone();
    metadata.extend(new.metadata.clone());
    let snapshot = Snapshot {
        id,
        created_at: now,
        updated_at: None,
        tenant: caller.tenant.clone(),
        user: caller.user.clone(),
        name: new.name.clone(),
        description: new.description.clone(),
        profile,
        size: volume.state.made.unwrap_or_default(),
        volume: volume.id,
        group: moment.map(|moment| moment.group),
        metadata,
    };
    Ok(Draft { snapshot, volume, state })
}

/// Writes down the drafts, each of another volume, and reserves what they may take of their pools.
pub(crate) fn wish_for(view: &View, drafts: Vec<Draft<'_>>, now: Timestamp) -> Result<Txn, Error> {
    let mut txn = Txn::new();
    let mut charges = BTreeMap::<PoolId, Capacity>::new();
    for Draft { snapshot, volume, state } in drafts {
        let more = volume::footprint(&state).minus(volume::footprint(&volume.state));
        let charge = charges.entry(volume.pool).or_default();
        *charge = charge.plus(more);
        txn = txn.create(snapshot).replace(volume, with_state(volume, state, now));
    }
    for (id, more) in charges {
        let pool = view.get::<Pool>(id).ok_or_else(|| lost_pool(id))?;
        if pool.free() < more {
            let words = format!(
                "{CREATING}pool {} has {} GiB free, and a snapshot may take {} GiB",
                pool.spec.name,
                pool.free().whole_gib(),
                more.whole_gib()
            );
            return Err(Error::unfit(Reason::NoRoom, words));
        }
        txn = txn.replace(pool, with_allocated(pool, pool.allocated.plus(more)));
    }
    Ok(txn)
}

/// `txn`, which also asks for the snapshot to be gone.
pub(crate) fn wish_away(
    txn: Txn,
    view: &View,
    (snapshot, volume): (&Snapshot, &Versioned<Volume>),
    now: Timestamp,
) -> Result<Txn, Error> {
    let state = snapshot::delete(&volume.state, snapshot.id);
    if state == volume.state {
        return Ok(txn);
    }
    copies::none_under_way(view, volume.id, Some(snapshot.id))
        .map_err(|why| Error::Invalid(format!("{DELETING}{why}")))?;
    Ok(txn.replace(volume, with_state(volume, state, now)))
}

/// A snapshot that the caller may know of, and its volume.
pub(crate) fn find<'a>(
    view: &'a View,
    caller: &Caller,
    id: &str,
) -> Result<(&'a Versioned<Snapshot>, &'a Versioned<Volume>), Error> {
    let found = id.parse().ok().and_then(|id: SnapshotId| view.get::<Snapshot>(id));
    let found = found.filter(|snapshot| caller.sees(&snapshot.tenant));
    let both = found.and_then(|snapshot| Some((snapshot, view.get::<Volume>(snapshot.volume)?)));
    both.ok_or_else(|| not_found(caller, id))
}

pub(crate) fn joined(view: &View, id: SnapshotId) -> Option<Snapshotted> {
    let snapshot = view.get::<Snapshot>(id)?;
    let state = view.get::<Volume>(snapshot.volume)?.state.snapshots.get(&id)?.clone();
    Some(Snapshotted { snapshot: Arc::clone(&snapshot.value), state })
}

fn not_found(caller: &Caller, id: &str) -> Error {
    Error::NotFound(format!(
        "volume snapshot {id} not found: {}",
        caller.cannot_find("volume snapshot", id)
    ))
}

/// `txn`, in which the records of snapshots follow what became of them: the size and the time of
/// the change are written down, and what is confirmed gone is removed.
pub(crate) fn follow(
    mut txn: Txn,
    view: &View,
    old: &VolumeState,
    new: &VolumeState,
    now: Timestamp,
) -> Txn {
    for (id, before) in &old.snapshots {
        let Some(record) = view.get::<Snapshot>(*id) else { continue };
        match new.snapshots.get(id) {
            None => txn = txn.remove(record),
            Some(after) if after != before => {
                let size = after.made.filter(|_| after.wanted).unwrap_or(record.size);
                let updated_at = Some(now);
                txn = txn.replace(record, Snapshot { size, updated_at, ..Snapshot::clone(record) });
            }
            Some(_) => {}
        }
    }
    txn
}
