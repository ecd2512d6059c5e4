//! Volume groups: who is in one is written on the volumes, and every change of it also writes the
//! group's own record, so of two changes at once one is decided again.
//!
//! A group's pool is chosen when it is made, to fit each of its profiles; members live in it. To
//! delete a group is to wish every member away in one transaction, or none of them. The record of the
//! group goes in the transaction that removes its last member: see [`leave`].
//!
//! Must stay true: a volume that was taken out of a group has nothing to do with it any more (the
//! original's fault B18: it was deleted with the group); and a group holds volumes of its own tenant
//! only, for whoever may delete the group deletes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use osds_lifecycle::{Refused, status, volume};
use osds_model::{
    Capacity, GroupId, Pool, PoolId, Profile, ProfileId, Timestamp, Volume, VolumeGroup, VolumeId,
};
use osds_selector::Ask;
use osds_store::{Store, Txn, Versioned, View, decide};
use tracing::info;
use uuid::Uuid;

use crate::volumes::{DEFAULT_ZONE, with_state};
use crate::{Caller, Controller, Error, copies, requests};

/// Longest name.
const MOST_LETTERS: usize = 255;

/// A request for a group.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Where; empty means `default`.
    pub availability_zone: String,
    /// Profile ids, at least one.
    pub profiles: Vec<String>,
}

/// An edit of a group; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct GroupUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Other words.
    pub description: Option<String>,
    /// Ids of volumes that shall be in it.
    pub add: Vec<String>,
    /// Ids of volumes that shall not be in it any more.
    pub remove: Vec<String>,
}

/// A group and the word for its state.
#[derive(Clone, Debug)]
pub struct Grouped {
    /// The group.
    pub group: Arc<VolumeGroup>,
    /// Its status.
    pub status: &'static str,
}

impl Grouped {
    fn of(view: &View, group: &Versioned<VolumeGroup>) -> Self {
        Self { group: Arc::clone(&group.value), status: status_of(view, group) }
    }
}

impl Controller {
    /// Makes a group, with nothing in it yet.
    ///
    /// # Errors
    /// [`Error::Invalid`], also when no pool fits all the profiles.
    pub async fn create_group(&self, caller: &Caller, new: NewGroup) -> Result<Grouped, Error> {
        const DOING: &str = "create volume group failed: ";
        let id = GroupId(Uuid::now_v7());
        let now = self.clock.now();
        let made = decide(self.store.as_ref(), |view| {
            if let Some(before) = requests::made_before(view, caller, now)? {
                let before = view.get::<VolumeGroup>(GroupId(before));
                return Ok((Txn::new(), Grouped::of(view, before.ok_or_else(requests::gone)?)));
            }
            check_name(&new.name, DOING)?;
            let profiles = profiles_of(view, &new.profiles)?;
            let zone = match new.availability_zone.as_str() {
                "" => DEFAULT_ZONE,
                zone => zone,
            };
            let group = VolumeGroup {
                id,
                created_at: now,
                updated_at: None,
                tenant: caller.tenant.clone(),
                user: caller.user.clone(),
                name: new.name.clone(),
                description: new.description.clone(),
                availability_zone: zone.to_owned(),
                profiles: profiles.iter().map(|profile| profile.id).collect(),
                pool: choose(view, zone, &profiles)?,
                unwanted: false,
            };
            let mut txn = Txn::new().create(group.clone());
            for profile in profiles {
                // Written, though unchanged: else it could be deleted at this very moment.
                txn = txn.replace(profile, Profile::clone(profile));
            }
            let status = status::group(&group, []);
            let made = Grouped { group: Arc::new(group), status };
            Ok((requests::remember(txn, view, caller, id, now), made))
        });
        Ok(made.await?)
    }

    /// The groups that the caller sees with their statuses, in the order of their ids.
    pub fn groups<T>(
        &self,
        caller: &Caller,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = (&VolumeGroup, &'static str)>) -> T,
    ) -> T {
        let view = self.store.view();
        if caller.admin {
            return look(
                &mut view.iter::<VolumeGroup>().map(|one| (&**one, status_of(&view, one))),
            );
        }
        let mine = view.groups_of_tenant(&caller.tenant);
        let mine = mine.filter_map(|id| view.get::<VolumeGroup>(id));
        look(&mut mine.map(|one| (&**one, status_of(&view, one))))
    }

    /// One group.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn group(&self, caller: &Caller, id: &str) -> Result<Grouped, Error> {
        let view = self.store.view();
        Ok(Grouped::of(&view, find(&view, caller, id)?))
    }

    /// Edits what a group is called and who is in it: all that was asked for, or nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when a volume cannot join or leave, or when nothing
    /// is asked for.
    pub async fn update_group(
        &self,
        caller: &Caller,
        id: &str,
        update: GroupUpdate,
    ) -> Result<Grouped, Error> {
        const DOING: &str = "update volume group failed: ";
        let failed = |why: String| Error::Invalid(format!("{DOING}{why}"));
        let now = self.clock.now();
        let edited = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)
                .map_err(|_| Error::NotFound(format!("{DOING}Wrong resource uuid provided!")))?;
            if old.unwanted {
                return Err(failed(format!("group {id} is being deleted")));
            }
            let mut new = VolumeGroup::clone(old);
            if let Some(name) = &update.name {
                check_name(name, DOING)?;
                new.name.clone_from(name);
            }
            if let Some(description) = &update.description {
                new.description.clone_from(description);
            }
            let volumes = members_after(view, caller, old, &update, now).map_err(failed)?;
            if new == **old && volumes.is_empty() {
                return Err(failed(format!(
                    "update group {id} faild, because no valid name, description, addvolumes or \
                     removevolumes were provided"
                )));
            }
            new.updated_at = Some(now);
            let status = status_of(view, old);
            let told = Grouped { group: Arc::new(new.clone()), status };
            let mut txn = Txn::new().replace(old, new);
            for (old, new) in volumes {
                txn = txn.replace(old, new);
            }
            Ok((txn, told))
        });
        Ok(edited.await?)
    }

    /// Asks for a group to be gone with every volume that is in it. Asking again is no error until
    /// it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] while a host has one of the volumes or one has
    /// snapshots: then nothing is deleted.
    pub async fn delete_group(&self, caller: &Caller, id: &str) -> Result<GroupId, Error> {
        let failed = |why: String| Error::Invalid(format!("delete volume group failed: {why}"));
        let now = self.clock.now();
        let wished = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)?;
            let members: Vec<VolumeId> = view.volumes_of_group(old.id).collect();
            if old.unwanted {
                return Ok((Txn::new(), (old.id, members)));
            }
            let mut txn = Txn::new();
            for member in members.iter().filter_map(|id| view.get::<Volume>(*id)) {
                let state = volume::delete(&member.state).map_err(|refused| {
                    let id = member.id;
                    let group = old.id;
                    failed(if matches!(refused, Refused::HasSnapshots { .. }) {
                        format!("volume {id} in group still has snapshots")
                    } else {
                        format!("volume {id} in group {group} is attached. Need to detach first.")
                    })
                })?;
                copies::none_under_way(view, member.id, None)
                    .map_err(|why| failed(format!("volume {} in group: {why}", member.id)))?;
                txn = if state == member.state {
                    // Named all the same: else it could go, and with it the last one to take the
                    // group's record along.
                    txn.require(member)
                } else {
                    txn.replace(member, with_state(member, state, now))
                };
            }
            let txn = if members.is_empty() {
                txn.remove(old)
            } else {
                let mut new = VolumeGroup::clone(old);
                (new.unwanted, new.updated_at) = (true, Some(now));
                txn.replace(old, new)
            };
            Ok((txn, (old.id, members)))
        });
        let (id, members) = wished.await?;
        info!(group_id = %id, volumes = members.len(), "group wished away");
        members.into_iter().for_each(|volume| self.poke(volume));
        Ok(id)
    }

    /// Waits until nothing is under way for the group, it is gone, or `limit` is over.
    pub async fn wait_for_group(&self, group: GroupId, limit: Duration) {
        let until = Instant::now() + limit;
        let members: Vec<_> = self.store.view().volumes_of_group(group).collect();
        // The record goes with the last of them.
        for member in members {
            self.wait_for_volume(member, until.saturating_duration_since(Instant::now())).await;
        }
    }
}

/// `txn`, which removes `volume`, and with it the record of its group when that shall be gone and
/// this is its last member.
pub(crate) fn leave(txn: Txn, view: &View, volume: &Volume) -> Txn {
    let Some(group) = volume.group.and_then(|id| view.get::<VolumeGroup>(id)) else { return txn };
    if !group.unwanted {
        // If it is wished away at this very moment, somebody has to look again.
        return txn.require(group);
    }
    if view.volumes_of_group(group.id).all(|member| member == volume.id) {
        return txn.remove(group);
    }
    // Written, though unchanged: of two that think the other one is last, one must look again.
    txn.replace(group, VolumeGroup::clone(group))
}

/// Takes away the records of groups that shall be gone and have nobody in them. There are none,
/// unless records were edited by hand or there is a bug.
pub(crate) async fn remove_empty(store: &dyn Store) -> Result<(), Error> {
    let removed = decide(store, |view| {
        let empty = |group: &&Versioned<VolumeGroup>| {
            group.unwanted && view.volumes_of_group(group.id).next().is_none()
        };
        let all = view.iter::<VolumeGroup>().filter(empty);
        Ok((all.fold(Txn::new(), Txn::remove), ()))
    });
    Ok(removed.await?)
}

fn status_of(view: &View, group: &VolumeGroup) -> &'static str {
    let members = view.volumes_of_group(group.id).filter_map(|id| view.get::<Volume>(id));
    status::group(group, members.map(|member| &member.state))
}

fn find<'a>(
    view: &'a View,
    caller: &Caller,
    id: &str,
) -> Result<&'a Versioned<VolumeGroup>, Error> {
    let found = id.parse().ok().and_then(|id: GroupId| view.get::<VolumeGroup>(id));
    found.filter(|group| caller.sees(&group.tenant)).ok_or_else(|| {
        Error::NotFound(format!("volume group {id} not found: Wrong resource uuid provided!"))
    })
}

fn check_name(name: &str, doing: &str) -> Result<(), Error> {
    if name.chars().count() <= MOST_LETTERS {
        return Ok(());
    }
    Err(Error::Invalid(format!("{doing}a group's name has at most {MOST_LETTERS} letters")))
}

/// The profiles with these ids, each once.
fn profiles_of<'a>(view: &'a View, ids: &[String]) -> Result<Vec<&'a Versioned<Profile>>, Error> {
    let failed = |why: &str| Error::Invalid(format!("create volume group failed: {why}"));
    if ids.is_empty() {
        return Err(failed("profiles must be provided to create volume group."));
    }
    let mut seen = BTreeSet::new();
    let mut profiles = Vec::new();
    for id in ids {
        let found = id.parse().ok().and_then(|id: ProfileId| view.get::<Profile>(id));
        let profile = found.ok_or_else(|| {
            failed(&format!("profile {id} not found: Wrong resource uuid provided!"))
        })?;
        if seen.insert(profile.id) {
            profiles.push(profile);
        }
    }
    Ok(profiles)
}

/// The best pool that fits every profile.
fn choose(view: &View, zone: &str, profiles: &[&Versioned<Profile>]) -> Result<PoolId, Error> {
    let failed =
        |why: &dyn std::fmt::Display| Error::Invalid(format!("create volume group failed: {why}"));
    let mut fitting: Vec<&Pool> = view.iter::<Pool>().map(|pool| &**pool).collect();
    let mut best = None;
    for profile in profiles {
        let multi_attach = osds_selector::multi_attach_of(profile).map_err(|bad| failed(&bad))?;
        let ask = Ask {
            // Each member will ask for its own.
            size: Capacity::ZERO,
            availability_zone: zone,
            multi_attach: multi_attach.unwrap_or(false),
            pool: None,
            profile,
        };
        // Of those that fit the profiles before; so the reasons are about the right ones.
        best =
            Some(osds_selector::choose(fitting.iter().copied(), &ask).map_err(|no| failed(&no))?);
        let fits = osds_selector::explain(fitting.iter().copied(), &ask);
        let fits: BTreeSet<_> = fits.iter().filter(|v| v.fits()).map(|v| v.pool).collect();
        fitting.retain(|pool| fits.contains(&pool.id));
    }
    best.map(|pool| pool.id).ok_or_else(|| failed(&"there is no profile"))
}

type Edits<'a> = Vec<(&'a Versioned<Volume>, Volume)>;

/// The volumes that change because they join or leave.
fn members_after<'a>(
    view: &'a View,
    caller: &Caller,
    group: &VolumeGroup,
    update: &GroupUpdate,
    now: Timestamp,
) -> Result<Edits<'a>, String> {
    let leaving: BTreeSet<&String> = update.remove.iter().collect();
    if let Some(first) = update.add.iter().find(|id| leaving.contains(id)) {
        return Err(format!("uuid {first} is in both add and remove volume list"));
    }
    let mut edits = BTreeMap::new();
    for id in &update.remove {
        let found = look_up(view, id).filter(|volume| volume.group == Some(group.id));
        let volume = found.ok_or_else(|| {
            format!("cannot remove volume {id} from group {}, volume is not in group", group.id)
        })?;
        let new = Volume { group: None, updated_at: Some(now), ..Volume::clone(volume) };
        edits.insert(volume.id, (volume, new));
    }
    for id in &update.add {
        let volume = look_up(view, id)
            .filter(|volume| caller.sees(&volume.tenant))
            .ok_or_else(|| caller.cannot_find("volume", id))?;
        if volume.group == Some(group.id) {
            continue;
        }
        may_join(volume, group)
            .map_err(|why| format!("cannot add volume {id} to group {}{why}", group.id))?;
        let new = Volume { group: Some(group.id), updated_at: Some(now), ..Volume::clone(volume) };
        edits.insert(volume.id, (volume, new));
    }
    Ok(edits.into_values().collect())
}

fn may_join(volume: &Volume, group: &VolumeGroup) -> Result<(), String> {
    let word = status::volume(&volume.state);
    if let Some(other) = volume.group {
        Err(format!(" because it is already in group {other}"))
    } else if volume.tenant != group.tenant {
        Err(", they are of different tenants.".to_owned())
    } else if !group.profiles.contains(&volume.profile) {
        Err(" , volume profile is not supported by the group.".to_owned())
    } else if !matches!(word, "available" | "inUse") {
        Err(format!(" because volume is in invalid status {word}"))
    } else if volume.pool != group.pool {
        Err(" , volume is not local to the pool of group.".to_owned())
    } else {
        Ok(())
    }
}

fn look_up<'a>(view: &'a View, id: &str) -> Option<&'a Versioned<Volume>> {
    id.parse().ok().and_then(|id: VolumeId| view.get::<Volume>(id))
}
