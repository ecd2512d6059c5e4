//! Volumes: create, edit, extend, delete. The pool is chosen and its space reserved in the same
//! transaction that makes the volume's record, so a pool is never promised twice.
//!
//! Choosing reads every pool, but only the chosen one is part of the transaction: whoever loses the
//! race for its last space is decided again, on the pools as they are then. Space is given back by
//! the reconciler, when the dock has said that the volume is gone, and never here.

use std::collections::BTreeMap;
use std::sync::Arc;

use osds_lifecycle::{Refused, status, volume};
use osds_model::volume::Terms;
use osds_model::{
    Capacity, IoLimits, Pool, PoolId, Presence, Profile, Reason, Timestamp, Volume, VolumeId,
    VolumeState, validate,
};
use osds_selector::Ask;
use osds_store::{Txn, Versioned, View, VolumesWhere, decide};
use tracing::{info, warn};
use uuid::Uuid;

use crate::copies::{self, Origin};
use crate::{Caller, Controller, Error, groups, profiles, requests};

pub(crate) const DEFAULT_ZONE: &str = "default";

/// A request for a volume.
#[derive(Clone, Debug, Default)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// GiB; 0 for a copy that is as large as its source.
    pub size: i64,
    /// Where; empty means where its source is, or `default`.
    pub availability_zone: String,
    /// Profile id; empty means the default profile.
    pub profile: String,
    /// Pool id, to have it in that pool and no other; may be empty.
    pub pool: String,
    /// Whether several hosts may have it, whatever the profile says.
    pub multi_attach: bool,
    /// Free text pairs.
    pub metadata: BTreeMap<String, String>,
    /// Snapshot to make it from; may be empty.
    pub snapshot: String,
    /// Volume to make it a copy of; may be empty.
    pub source_volume: String,
}

/// An edit of a volume; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct VolumeUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Other words.
    pub description: Option<String>,
    /// Pairs to add or replace.
    pub metadata: BTreeMap<String, String>,
}

impl Controller {
    /// Asks for a volume.
    ///
    /// # Errors
    /// [`Error::Invalid`], also when no pool fits: then with each pool's reason.
    pub async fn create_volume(
        &self,
        caller: &Caller,
        new: NewVolume,
    ) -> Result<Arc<Volume>, Error> {
        let id = VolumeId(Uuid::now_v7());
        let created_at = self.clock.now();
        let made = decide(self.store.as_ref(), |view| {
            if let Some(before) = requests::made_before(view, caller, created_at)? {
                let before = view.get::<Volume>(VolumeId(before)).ok_or_else(requests::gone)?;
                return Ok((Txn::new(), Volume::clone(before)));
            }
            let profile = profiles::for_volume(view, &new.profile)?;
            let origin = copies::origin(view, caller, &new)?;
            let size = check_new(&new, origin.as_ref())?;
            let limits = osds_selector::limits_of(profile)
                .map_err(|bad| Error::Invalid(format!("create volume failed: {bad}")))?;
            let (pool, terms) = choose(view, profile, &new, origin.as_ref(), size)?;
            let source = origin.as_ref().map(Origin::source);
            let volume = Volume {
                id,
                created_at,
                updated_at: None,
                tenant: caller.tenant.clone(),
                user: caller.user.clone(),
                name: new.name.clone(),
                description: new.description.clone(),
                availability_zone: zone(&new, origin.as_ref()).to_owned(),
                profile: profile.id,
                pool: pool.id,
                snapshot: source.and_then(|source| source.snapshot),
                group: None,
                metadata: new.metadata.clone(),
                state: VolumeState { limits, source, ..volume::new(size, terms) },
            };
            let mut txn = Txn::new()
                .create(volume.clone())
                .replace(pool, with_allocated(pool, pool.allocated.plus(size)))
                // Written, though unchanged: else a profile could be deleted at this very moment.
                .replace(profile, Profile::clone(profile));
            if let Some(Origin { volume: source, .. }) = origin {
                // Likewise: else it could go at this very moment.
                txn = txn.replace(source, Volume::clone(source));
            }
            Ok((requests::remember(txn, view, caller, id, created_at), volume))
        });
        let volume = made.await?;
        if volume.id == id {
            info!(volume_id = %id, pool_id = %volume.pool, "volume wished for");
        }
        self.poke(volume.id);
        Ok(Arc::new(volume))
    }

    /// The volumes that the caller sees, in the order of their ids.
    pub fn volumes<T>(
        &self,
        caller: &Caller,
        has: &VolumesWhere,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = &Volume>) -> T,
    ) -> T {
        let view = self.store.view();
        if caller.admin && *has == VolumesWhere::default() {
            // What a page skips need not be looked up.
            return look(&mut view.iter::<Volume>().map(|volume| &**volume));
        }
        let shown = |id: VolumeId| -> Option<&Volume> {
            view.get::<Volume>(id).map(|volume| &**volume).filter(|v| caller.sees(&v.tenant))
        };
        look(&mut view.volumes_where(has, caller.owner()).filter_map(shown))
    }

    /// The volumes that the caller sees, in the order of their names. Costs what is looked at, where
    /// the caller sees them all.
    pub fn volumes_by_name<T>(
        &self,
        caller: &Caller,
        ascending: bool,
        look: impl FnOnce(&mut dyn Iterator<Item = &Volume>) -> T,
    ) -> T {
        let view = self.store.view();
        let volumes = view.volumes_by_name(ascending).filter_map(|id| view.get::<Volume>(id));
        look(&mut volumes.map(|volume| &**volume).filter(|volume| caller.sees(&volume.tenant)))
    }

    /// One volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn volume(&self, caller: &Caller, id: &str) -> Result<Arc<Volume>, Error> {
        let view = self.store.view();
        Ok(Arc::clone(&find(&view, caller, id)?.value))
    }

    /// Edits what a volume is called and its metadata.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a bad name.
    pub async fn update_volume(
        &self,
        caller: &Caller,
        id: &str,
        update: VolumeUpdate,
    ) -> Result<Arc<Volume>, Error> {
        let now = self.clock.now();
        let edited = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id).map_err(|_| {
                Error::NotFound(format!(
                    "update volume failed: {}",
                    caller.cannot_find("volume", id)
                ))
            })?;
            let mut new = Volume::clone(old);
            if let Some(name) = &update.name {
                check_name(name, "update volume failed: ")?;
                new.name.clone_from(name);
            }
            if let Some(description) = &update.description {
                new.description.clone_from(description);
            }
            new.metadata.extend(update.metadata.clone());
            if new == **old {
                return Ok((Txn::new(), Arc::clone(&old.value)));
            }
            check_text("update volume failed: ", &new.description, &new.metadata)?;
            new.updated_at = Some(now);
            Ok((Txn::new().replace(old, new.clone()), Arc::new(new)))
        });
        Ok(edited.await?)
    }

    /// Asks for a larger volume, whoever has it; the space is reserved when this returns. One that
    /// fails to grow can be asked for less again, down to the size it has.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`]; [`Error::Invalid`] when the pool is too full.
    pub async fn extend_volume(
        &self,
        caller: &Caller,
        id: &str,
        gib: i64,
    ) -> Result<Arc<Volume>, Error> {
        const DOING: &str = "extend volume failed: ";
        let now = self.clock.now();
        let size = positive(gib)
            .ok_or_else(|| Error::Invalid(format!("{DOING}{gib} is not a size in GiB")))?;
        let wished = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)?;
            let state = volume::extend(&old.state, size).map_err(Error::refused(DOING, view))?;
            if state == old.state {
                return Ok((Txn::new(), Arc::clone(&old.value)));
            }
            let pool = view.get::<Pool>(old.pool).ok_or_else(|| lost_pool(old.pool))?;
            // Never less: what was taken back may be there, until the dock has said.
            let more = volume::footprint(&state).minus(volume::footprint(&old.state));
            if pool.free() < more {
                return Err(Error::Invalid(format!(
                    "{DOING}pool {} has {} GiB free, and {} GiB more is asked for",
                    pool.spec.name,
                    pool.free().whole_gib(),
                    more.whole_gib()
                )));
            }
            let new = with_state(old, state, now);
            let txn = Txn::new()
                .replace(old, new.clone())
                .replace(pool, with_allocated(pool, pool.allocated.plus(more)));
            Ok((txn, Arc::new(new)))
        });
        let volume = wished.await?;
        info!(volume_id = %volume.id, size = %size, "another size wished for");
        self.poke(volume.id);
        Ok(volume)
    }

    /// Asks for other limits on the I/O of a volume; all of them, also those that are none.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`].
    pub async fn limit_volume(
        &self,
        caller: &Caller,
        id: &str,
        limits: IoLimits,
    ) -> Result<Arc<Volume>, Error> {
        const DOING: &str = "limit volume failed: ";
        let edit = |view: &View, volume: &Volume| {
            volume::limit(&volume.state, limits).map_err(Error::refused(DOING, view))
        };
        let volume = self.change(caller, id, edit).await?;
        info!(volume_id = %volume.id, "other limits wished for");
        Ok(volume)
    }

    /// Says whether several hosts may have a volume at once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] while several have it; [`Error::Invalid`] when its
    /// pool is for volumes of one host.
    pub async fn share_volume(
        &self,
        caller: &Caller,
        id: &str,
        multi_attach: bool,
    ) -> Result<Arc<Volume>, Error> {
        const DOING: &str = "change of multiAttach failed: ";
        let edit = |view: &View, volume: &Volume| {
            let pool = view.get::<Pool>(volume.pool).ok_or_else(|| lost_pool(volume.pool))?;
            if multi_attach && !pool.spec.multi_attach {
                let name = &pool.spec.name;
                let why = format!("{DOING}pool {name} is for volumes of one host each");
                return Err(Error::Invalid(why));
            }
            volume::share(&volume.state, multi_attach).map_err(Error::refused(DOING, view))
        };
        let volume = self.change(caller, id, edit).await?;
        info!(volume_id = %volume.id, multi_attach, "other terms of sharing wished for");
        Ok(volume)
    }

    /// Puts an edited state in place of a volume's, and has it looked at.
    async fn change(
        &self,
        caller: &Caller,
        id: &str,
        edit: impl Fn(&View, &Volume) -> Result<VolumeState, Error>,
    ) -> Result<Arc<Volume>, Error> {
        let now = self.clock.now();
        let wished = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)?;
            let state = edit(view, old)?;
            if state == old.state {
                return Ok((Txn::new(), Arc::clone(&old.value)));
            }
            let new = with_state(old, state, now);
            Ok((Txn::new().replace(old, new.clone()), Arc::new(new)))
        });
        let volume = wished.await?;
        self.poke(volume.id);
        Ok(volume)
    }

    /// Asks for a volume to be gone. Asking again is no error until it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] while hosts have it or it has snapshots.
    pub async fn delete_volume(&self, caller: &Caller, id: &str) -> Result<VolumeId, Error> {
        let now = self.clock.now();
        let wished = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)?;
            let state = volume::delete(&old.state).map_err(|refused| in_use(old, &refused))?;
            copies::none_under_way(view, old.id, None).map_err(|why| {
                Error::unfit(Reason::HasSnapshots, format!("delete volume failed: {why}"))
            })?;
            if state == old.state {
                return Ok((Txn::new(), old.id));
            }
            let new = with_state(old, state, now);
            Ok((Txn::new().replace(old, new), old.id))
        });
        let id = wished.await?;
        info!(volume_id = %id, "volume wished away");
        self.poke(id);
        Ok(id)
    }
}

impl Controller {
    /// Takes a volume off the records that cannot be deleted where it is: its pool is lost, or the
    /// backend that served it. Its space is free again on record. Nobody looks after its blocks any
    /// more; when they turn up again they are drift.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for who is no administrator; [`Error::Invalid`] unless deleting it
    /// was asked for and has failed.
    pub async fn forget_volume(&self, caller: &Caller, id: &str) -> Result<VolumeId, Error> {
        let forgotten = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)?;
            if !caller.admin {
                return Err(Error::NotFound(
                    "only an administrator can forget a volume".to_owned(),
                ));
            }
            let word = status::volume(&old.state);
            if old.state.presence != Presence::Unwanted || old.state.fault.is_none() {
                return Err(Error::Invalid(format!(
                    "forget volume failed: only a volume that could not be deleted can be \
                     forgotten; delete it first, and see why that fails; the volume status is {word}"
                )));
            }
            let mut txn = Txn::new().remove(old);
            if let Some(pool) = view.get::<Pool>(old.pool) {
                let left = pool.allocated.minus(volume::footprint(&old.state));
                txn = txn.replace(pool, with_allocated(pool, left));
            }
            Ok((groups::leave(txn, view, old), (old.id, old.pool)))
        });
        let (id, pool) = forgotten.await?;
        warn!(volume_id = %id, pool_id = %pool, "volume forgotten; its blocks may still be there");
        Ok(id)
    }
}

pub(crate) fn find<'a>(
    view: &'a View,
    caller: &Caller,
    id: &str,
) -> Result<&'a Versioned<Volume>, Error> {
    let found = id.parse().ok().and_then(|id: VolumeId| view.get::<Volume>(id));
    found.filter(|volume| caller.sees(&volume.tenant)).ok_or_else(|| {
        Error::NotFound(format!("volume {id} not found: {}", caller.cannot_find("volume", id)))
    })
}

/// The volume with another state, and the time written down for all of it that changed.
pub(crate) fn with_state(old: &Volume, state: VolumeState, now: Timestamp) -> Volume {
    let mut new = Volume { state, updated_at: Some(now), ..old.clone() };
    for (host, held) in &mut new.state.attachments {
        // One that was not there before has its time of creation.
        if old.state.attachments.get(host).is_some_and(|before| before != held) {
            Arc::make_mut(held).about.updated_at = Some(now);
        }
    }
    new
}

/// The pool with more or less of it promised.
pub(crate) fn with_allocated(pool: &Pool, allocated: Capacity) -> Pool {
    Pool { allocated, ..pool.clone() }
}

fn check_new(new: &NewVolume, origin: Option<&Origin<'_>>) -> Result<Capacity, Error> {
    const DOING: &str = "create volume failed: ";
    check_name(&new.name, DOING)?;
    check_text(DOING, &new.description, &new.metadata)?;
    if let Some(origin) = origin
        && new.size == 0
    {
        return Ok(origin.size);
    }
    let size = positive(new.size)
        .ok_or_else(|| Error::Invalid(format!("{DOING}invalid volume size: {}", new.size)))?;
    match origin.filter(|origin| size < origin.size) {
        None => Ok(size),
        Some(origin) => Err(Error::Invalid(format!(
            "{DOING}size of volume must be equal to or bigger than size of the {}",
            if origin.snapshot.is_some() { "snapshot" } else { "volume it is copied from" }
        ))),
    }
}

pub(crate) fn check_name(name: &str, doing: &str) -> Result<(), Error> {
    if validate::volume_name(name) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{doing}invalid volume name, it should only contain english char and number  : {name}"
    )))
}

/// Bounds on what is free text.
pub(crate) fn check_text(
    doing: &str,
    description: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let pairs = metadata.iter().map(|(key, value)| (&**key, value.chars().count()));
    validate::words("description", description)
        .and_then(|()| validate::pairs("metadata", pairs))
        .map_err(|why| Error::Invalid(format!("{doing}{why}")))
}

fn choose<'a>(
    view: &'a View,
    profile: &Profile,
    new: &NewVolume,
    origin: Option<&Origin<'_>>,
    size: Capacity,
) -> Result<(&'a Versioned<Pool>, Terms), Error> {
    let doing =
        |why: &dyn std::fmt::Display| Error::Invalid(format!("create volume failed: {why}"));
    let asked = osds_selector::multi_attach_of(profile).map_err(|malformed| doing(&malformed))?;
    let max_attachments =
        osds_selector::max_attachments_of(profile).map_err(|malformed| doing(&malformed))?;
    let multi_attach = new.multi_attach || asked.unwrap_or(false);
    let pool = match new.pool.as_str() {
        "" => None,
        id => Some(id.parse::<PoolId>().map_err(|_| {
            doing(&format_args!("pool {id} not found: Wrong resource uuid provided!"))
        })?),
    };
    let pool = match (pool, origin) {
        (Some(asked), Some(origin)) if asked != origin.volume.pool => {
            return Err(doing(&format_args!(
                "a copy is made in the pool of its source, {}; leave poolId out",
                origin.volume.pool
            )));
        }
        (pool, origin) => pool.or(origin.map(|origin| origin.volume.pool)),
    };
    let availability_zone = zone(new, origin);
    let ask = Ask { size, availability_zone, multi_attach, pool, profile };
    let chosen = osds_selector::choose(view.iter::<Pool>().map(|pool| &**pool), &ask);
    let chosen = chosen.map_err(|no_pool| match origin {
        None => Error::unfit(Reason::NoPool, format!("create volume failed: {no_pool}")),
        Some(_) => Error::unfit(
            Reason::NoPool,
            format!("create volume failed: a copy is made in the pool of its source: {no_pool}"),
        ),
    })?;
    let pool = view.get::<Pool>(chosen.id).ok_or_else(|| lost_pool(chosen.id))?;
    Ok((pool, Terms { multi_attach, max_attachments }))
}

fn zone<'a>(new: &'a NewVolume, origin: Option<&Origin<'a>>) -> &'a str {
    match (new.availability_zone.as_str(), origin) {
        ("", Some(origin)) => &origin.volume.availability_zone,
        ("", None) => DEFAULT_ZONE,
        (asked, _) => asked,
    }
}

fn positive(gib: i64) -> Option<Capacity> {
    u64::try_from(gib).ok().filter(|gib| *gib > 0).and_then(Capacity::from_gib)
}

pub(crate) fn lost_pool(id: PoolId) -> Error {
    Error::NotFound(format!("pool {id} not found: Wrong resource uuid provided!"))
}

fn in_use(volume: &Volume, refused: &Refused) -> Error {
    if let Refused::HasSnapshots { .. } = refused {
        return Error::unfit(
            Reason::HasSnapshots,
            format!(
                "delete volume failed: volume {} can not be deleted, because it still has snapshots",
                volume.id
            ),
        );
    }
    let word = status::volume(&volume.state);
    debug_assert!(matches!(refused, Refused::InUse { .. }), "{refused}");
    let at_rest = volume.state.presence == Presence::Unwanted
        || !matches!(word, "inUse" | "attaching" | "extending" | "creating");
    let why = if at_rest {
        format!("volume {} can not be deleted, because it's in use", volume.id)
    } else {
        format!(
            "only the volume with the status available, error, error_deleting, error_extending \
             can be deleted, the volume status is {word}"
        )
    };
    Error::unfit(Reason::InUse, format!("delete volume failed: {why}"))
}
