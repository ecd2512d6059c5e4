//! Profiles: what a user asks of storage, checked when it is written and not when it is used.
//!
//! A profile's custom properties hold filters in the selector's grammar. Every write parses all of
//! them, so a malformed one is refused while its author is looking, and no volume fails over it
//! later. A volume takes what it needs from its profile when it is made; editing the profile
//! afterwards changes nothing about it. Names are unique through claims, as with hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use osds_model::profile::{
    DataProtectionProperties, ProvisioningProperties, ReplicationProperties, SnapshotProperties,
};
use osds_model::{Profile, ProfileId, Volume, VolumeGroup, validate};
use osds_store::{Claim, ClaimKind, Txn, Versioned, View, decide};
use serde_json::Value;
use uuid::Uuid;

use crate::{Caller, Controller, Error, requests};

/// The profile that volumes without one are made under.
pub(crate) const DEFAULT_PROFILE: &str = "default_block";

/// A request for a profile.
#[derive(Clone, Debug, Default)]
pub struct NewProfile {
    /// Its name, unique over all profiles.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// `block` or `file`; empty means block.
    pub storage_type: String,
    /// What volumes shall be like.
    pub provisioning: ProvisioningProperties,
    /// How they shall be replicated.
    pub replication: ReplicationProperties,
    /// When they shall be snapshotted.
    pub snapshot: SnapshotProperties,
    /// How they shall be protected.
    pub data_protection: DataProtectionProperties,
    /// Filters for the selector, and free pairs.
    pub custom: Option<BTreeMap<String, Value>>,
}

/// An edit of a profile; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ProfileUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Other words.
    pub description: Option<String>,
    /// Custom properties to add or replace.
    pub custom: BTreeMap<String, Value>,
}

impl Controller {
    /// Makes a profile.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name, a name that is taken, or a malformed filter.
    pub async fn create_profile(
        &self,
        caller: &Caller,
        new: NewProfile,
    ) -> Result<Arc<Profile>, Error> {
        let failed = |why: String| Error::Invalid(format!("create profile failed: {why}"));
        let storage_type = match new.storage_type.as_str() {
            "" | "block" => "block",
            "file" => "file",
            other => {
                let message =
                    format!("parse profile request body failed: {other} is invalid storagetype");
                return Err(Error::Invalid(message));
            }
        };
        if !validate::profile_name(&new.name) {
            return Err(failed(format!("profile name '{}' is not valid", new.name)));
        }
        let mut profile = Profile {
            id: ProfileId(Uuid::now_v7()),
            created_at: self.clock.now(),
            updated_at: None,
            name: new.name,
            description: new.description,
            storage_type: storage_type.to_owned(),
            provisioning: new.provisioning,
            replication: new.replication,
            snapshot: new.snapshot,
            data_protection: new.data_protection,
            custom: new.custom,
        };
        if storage_type == "file" {
            file_defaults(&mut profile.provisioning);
        }
        check(&profile).map_err(&failed)?;
        let now = profile.created_at;
        let made = decide(self.store.as_ref(), |view| {
            if let Some(before) = requests::made_before(view, caller, now)? {
                let before = view.get::<Profile>(ProfileId(before)).ok_or_else(requests::gone)?;
                return Ok((Txn::new(), Arc::clone(&before.value)));
            }
            if view.claim(ClaimKind::ProfileName, &profile.name).is_some() {
                return Err(failed(taken(&profile.name)));
            }
            let claim = Claim::profile_name(&profile.name, profile.id);
            let txn = Txn::new().create(claim).create(profile.clone());
            let txn = requests::remember(txn, view, caller, profile.id, now);
            Ok((txn, Arc::new(profile.clone())))
        });
        Ok(made.await?)
    }

    /// All profiles, in the order of their ids.
    pub fn profiles<T>(
        &self,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = &Profile>) -> T,
    ) -> T {
        let view = self.store.view();
        look(&mut view.iter::<Profile>().map(|profile| &**profile))
    }

    /// One profile.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn profile(&self, id: &str) -> Result<Arc<Profile>, Error> {
        let view = self.store.view();
        Ok(Arc::clone(&find(&view, id)?.value))
    }

    /// Edits a profile.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a name that is taken or a malformed filter.
    pub async fn update_profile(
        &self,
        id: &str,
        update: ProfileUpdate,
    ) -> Result<Arc<Profile>, Error> {
        self.edit_profile(id, "update profiles failed: ", move |profile| {
            if let Some(name) = &update.name {
                profile.name.clone_from(name);
            }
            if let Some(description) = &update.description {
                profile.description.clone_from(description);
            }
            if !update.custom.is_empty() {
                profile.custom.get_or_insert_default().extend(update.custom.clone());
            }
        })
        .await
    }

    /// Adds or replaces custom properties.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a malformed filter.
    pub async fn add_custom_properties(
        &self,
        id: &str,
        properties: BTreeMap<String, Value>,
    ) -> Result<Arc<Profile>, Error> {
        self.edit_profile(id, "add custom property failed: ", move |profile| {
            profile.custom.get_or_insert_default().extend(properties.clone());
        })
        .await
    }

    /// Takes a custom property away; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_custom_property(&self, id: &str, key: &str) -> Result<(), Error> {
        let removed = self.edit_profile(id, "remove custom property failed: ", |profile| {
            if let Some(custom) = &mut profile.custom {
                custom.remove(key);
            }
        });
        removed.await.map(drop)
    }

    /// Takes a profile away that no volume was made under, and no group names.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] naming the volumes or groups.
    pub async fn delete_profile(&self, id: &str) -> Result<(), Error> {
        let deleted = decide(self.store.as_ref(), |view| {
            let profile = find(view, id)?;
            let volumes = view.volumes_of_profile(profile.id);
            let names: Vec<_> =
                volumes.filter_map(|id| Some(view.get::<Volume>(id)?.name.clone())).collect();
            if !names.is_empty() {
                return Err(Error::Invalid(format!(
                    "There are dependent volumes : [{}] for the specified profile {id}",
                    names.join(" ")
                )));
            }
            let groups = view.iter::<VolumeGroup>();
            let groups = groups.filter(|group| group.profiles.contains(&profile.id));
            let names: Vec<_> = groups.map(|group| group.name.clone()).collect();
            if !names.is_empty() {
                return Err(Error::Invalid(format!(
                    "There are dependent volume groups : [{}] for the specified profile {id}",
                    names.join(" ")
                )));
            }
            let claim = view.claim(ClaimKind::ProfileName, &profile.name);
            let txn = Txn::new().remove(profile);
            Ok((claim.map_or(txn.clone(), |claim| txn.remove(claim)), ()))
        });
        Ok(deleted.await?)
    }

    async fn edit_profile(
        &self,
        id: &str,
        doing: &'static str,
        edit: impl Fn(&mut Profile),
    ) -> Result<Arc<Profile>, Error> {
        let failed = |why: String| Error::Invalid(format!("{doing}{why}"));
        let now = self.clock.now();
        let edited = decide(self.store.as_ref(), |view| {
            let old = find(view, id)
                .map_err(|_| Error::NotFound(format!("{doing}Wrong resource uuid provided!")))?;
            let mut new = Profile::clone(old);
            edit(&mut new);
            if new == **old {
                return Ok((Txn::new(), Arc::clone(&old.value)));
            }
            if !validate::profile_name(&new.name) {
                return Err(failed(format!("profile name '{}' is not valid", new.name)));
            }
            check(&new).map_err(failed)?;
            new.updated_at = Some(now);
            let mut txn = Txn::new();
            if new.name != old.name {
                if view.claim(ClaimKind::ProfileName, &new.name).is_some() {
                    return Err(failed(taken(&new.name)));
                }
                txn = txn.create(Claim::profile_name(&new.name, new.id));
                if let Some(claim) = view.claim(ClaimKind::ProfileName, &old.name) {
                    txn = txn.remove(claim);
                }
            }
            Ok((txn.replace(old, new.clone()), Arc::new(new)))
        });
        Ok(edited.await?)
    }
}

/// The profile with this id, or the one for volumes without any.
pub(crate) fn for_volume<'a>(view: &'a View, id: &str) -> Result<&'a Versioned<Profile>, Error> {
    if id.is_empty() {
        return view.profile_named(DEFAULT_PROFILE).ok_or_else(|| {
            Error::invalid(format!(
                "get default profile failed: can't find profile(name: {DEFAULT_PROFILE}, \
                 storageType:block)"
            ))
        });
    }
    let found = id.parse().ok().and_then(|id: ProfileId| view.get::<Profile>(id));
    found.ok_or_else(|| Error::invalid("get profile failed: Wrong resource uuid provided!"))
}

fn find<'a>(view: &'a View, id: &str) -> Result<&'a Versioned<Profile>, Error> {
    let found = id.parse().ok().and_then(|id: ProfileId| view.get::<Profile>(id));
    found.ok_or_else(|| {
        Error::NotFound(format!("profile {id} not found: Wrong resource uuid provided!"))
    })
}

fn check(profile: &Profile) -> Result<(), String> {
    osds_selector::check_profile(profile).map_err(|malformed| malformed.to_string())?;
    osds_selector::limits_of(profile).map_err(|bad| bad.to_string())?;
    validate::words("description", &profile.description)?;
    let custom = profile.custom.iter().flatten();
    let custom: Vec<_> =
        custom.map(|(key, value)| (&**key, value.to_string().chars().count())).collect();
    validate::pairs("customProperties", custom.into_iter())
}

fn taken(name: &str) -> String {
    format!("the profile name '{name}' already exists")
}

fn file_defaults(provisioning: &mut ProvisioningProperties) {
    if provisioning.data_storage.storage_access_capability.is_empty() {
        let all = ["Read", "Write", "Execute"].map(str::to_owned);
        provisioning.data_storage.storage_access_capability = all.to_vec();
    }
    if provisioning.io_connectivity.access_protocol.is_empty() {
        provisioning.io_connectivity.access_protocol = "nfs".to_owned();
    }
}
