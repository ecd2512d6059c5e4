//! What becomes of everything the original kept: a pure decision on our latest records.
//!
//! A volume that the original made comes as one that *exists*: a dock then looks for its blocks, and
//! where they are not reports them missing. It never makes an empty volume in its place, and as the
//! wish is that it be there, never deletes anything. Ids stay, so whatever is there already is left as it
//! is: a second run changes nothing. Stuck states are resolved by facts: a volume was made when the
//! original wrote down where it is; an attachment is a matter of the original's target and ends.
//!
//! Must stay true: everything that was kept has a row in the plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::tz::Offset;
use osds_model::host::Protocol;
use osds_model::volume::Terms;
use osds_model::{
    Capacity, Generation, Host, HostId, Initiator, Pool, PoolId, Presence, Profile, ProfileId,
    Timestamp, Volume, VolumeId, VolumeState,
};
use osds_store::{Claim, ClaimKind, Txn, Versioned, View};

use super::kept::{Kept, OldHost, OldProfile, OldVolume};

/// One thing and what becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) act: Act,
    pub(crate) what: &'static str,
    pub(crate) name: String,
    pub(crate) id: String,
    /// Where it goes.
    pub(crate) to: String,
    /// What should be known about it, or why not.
    pub(crate) why: String,
}

/// What becomes of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// It is brought over.
    Import,
    /// It is there already and stays as it is.
    There,
    /// It has no place here.
    Leave,
    /// It cannot come as things are.
    Refuse,
}

impl Act {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::There => "there",
            Self::Leave => "leave",
            Self::Refuse => "REFUSE",
        }
    }
}

/// Decides. `map` is from the original's pools (name or id) to ours.
pub(crate) fn plan(kept: &Kept, map: &BTreeMap<String, String>, view: &View) -> (Txn, Vec<Row>) {
    let mut planner = Planner {
        kept,
        map,
        view,
        txn: Txn::new(),
        rows: Vec::new(),
        profiles: BTreeMap::new(),
        taken: BTreeMap::new(),
        seen: BTreeSet::new(),
    };
    planner.all();
    (planner.txn, planner.rows)
}

struct Planner<'a> {
    kept: &'a Kept,
    map: &'a BTreeMap<String, String>,
    view: &'a View,
    txn: Txn,
    rows: Vec<Row>,
    /// Profiles that volumes can refer to afterwards.
    profiles: BTreeMap<ProfileId, Profile>,
    /// What this plan takes of pools.
    taken: BTreeMap<PoolId, Capacity>,
    /// Ids and unique names of this plan.
    seen: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    fn all(&mut self) {
        for (key, why) in &self.kept.unreadable {
            self.row(Act::Refuse, "key", "", key, "", why);
        }
        for profile in self.view.iter::<Profile>() {
            self.profiles.insert(profile.id, Profile::clone(profile));
        }
        for profile in &self.kept.profiles {
            let (act, why) = split(self.profile(profile));
            self.row(act, "profile", &profile.name, &profile.id, "", &why);
        }
        for host in &self.kept.hosts {
            let (act, why) = split(self.host(host));
            self.row(act, "host", &host.host_name, &host.id, "", &why);
        }
        for volume in &self.kept.volumes {
            let to = self.target_of(volume);
            let (act, why) = split(self.volume(volume, to.as_ref().ok().copied()));
            let to = to.map_or_else(|_| String::new(), |pool| pool.spec.name.clone());
            self.row(act, "volume", &volume.name, &volume.id, &to, &why);
        }
        for attachment in &self.kept.attachments {
            let why = match attachment.status.as_str() {
                "available" => {
                    "the host has it through the original's target: log it out there, \
                                then attach it here"
                }
                "deleting" | "errorDeleting" => {
                    "was being detached: make sure that the host is logged out"
                }
                _ => "was never finished",
            };
            let of = format!("{} to {}", attachment.volume_id, attachment.host_id);
            self.row(Act::Leave, "attachment", &of, &attachment.id, "", why);
        }
        for (noun, id) in &self.kept.others {
            self.row(Act::Leave, noun, "", id, "", "osds has no place for it yet");
        }
        for (id, more) in std::mem::take(&mut self.taken) {
            if let Some(pool) = self.view.get::<Pool>(id) {
                let allocated = pool.allocated.plus(more);
                let pool = (pool, Pool { allocated, ..Pool::clone(pool) });
                self.edit(|txn| txn.replace(pool.0, pool.1));
            }
        }
    }

    fn profile(&mut self, old: &OldProfile) -> Outcome {
        let id: ProfileId = id_of(&old.id)?;
        if self.view.get::<Profile>(id).is_some() {
            return Ok((Act::There, String::new()));
        }
        self.once("profile", &old.id)?;
        self.once("profile name", &old.name)?;
        let profile = Profile {
            id,
            created_at: time(&old.created_at).unwrap_or_default(),
            updated_at: time(&old.updated_at),
            name: old.name.clone(),
            description: old.description.clone(),
            storage_type: old.storage_type.clone(),
            provisioning: old.provisioning_properties.clone(),
            replication: old.replication_properties.clone(),
            snapshot: old.snapshot_properties.clone(),
            data_protection: old.data_protection_properties.clone(),
            custom: old.custom_properties.clone(),
        };
        let note = match osds_selector::check_profile(&profile) {
            Ok(()) => String::new(),
            Err(malformed) => format!("no volume can be made under it: {malformed}"),
        };
        let claim = Claim::profile_name(&profile.name, id);
        match (self.view.profile_named(&old.name), self.view.claim(claim.what, &claim.value)) {
            (Some(ours), Some(held)) => {
                // Typically the default profile that a first start makes.
                if self.view.volumes_of_profile(ours.id).next().is_some() {
                    return Err(format!("volumes here use another one of this name ({})", ours.id));
                }
                self.profiles.remove(&ours.id);
                let new = profile.clone();
                self.edit(|txn| txn.remove(ours).replace(held, claim).create(new));
                self.profiles.insert(id, profile);
                let took = format!("takes the place of {}, which nothing uses", ours.id);
                return Ok((Act::Import, joined(&took, &note)));
            }
            (_, Some(_)) | (Some(_), None) => return Err("its name is taken".to_owned()),
            (None, None) => {}
        }
        let new = profile.clone();
        self.edit(|txn| txn.create(claim).create(new));
        self.profiles.insert(id, profile);
        Ok((Act::Import, note))
    }

    fn host(&mut self, old: &OldHost) -> Outcome {
        let id: HostId = id_of(&old.id)?;
        if self.view.get::<Host>(id).is_some() {
            return Ok((Act::There, String::new()));
        }
        self.once("host", &old.id)?;
        let tenant = old.tenant_id.as_str().into();
        let claim = Claim::host_name(&tenant, &old.host_name, id);
        self.once("host name", &claim.value)?;
        if self.view.claim(ClaimKind::HostName, &claim.value).is_some() {
            return Err("its tenant has another host of this name".to_owned());
        }
        let (mut initiators, mut dropped) = (Vec::new(), Vec::new());
        for initiator in old.initiators.iter().flatten() {
            match Protocol::parse(&initiator.protocol) {
                Some(protocol) => {
                    initiators.push(Initiator { port_name: initiator.port_name.clone(), protocol });
                }
                None => dropped.push(format!("without its {} port", initiator.protocol)),
            }
        }
        let host = Host {
            id,
            created_at: time(&old.created_at).unwrap_or_default(),
            updated_at: time(&old.updated_at),
            tenant,
            user: old.user_id.as_str().into(),
            name: old.host_name.clone(),
            os_type: old.os_type.clone(),
            access_mode: old.access_mode.clone(),
            ip: old.ip.clone(),
            port: u16::try_from(old.port).unwrap_or_default(),
            username: old.username.clone(),
            availability_zones: old.availability_zones.clone(),
            initiators,
            fence: None,
        };
        self.edit(|txn| txn.create(claim).create(host));
        Ok((Act::Import, dropped.join("; ")))
    }

    /// The pool of ours that a volume's pool is mapped to.
    fn target_of(&self, old: &OldVolume) -> Result<&'a Versioned<Pool>, String> {
        let (kept, view) = (self.kept, self.view);
        if old.pool_id.is_empty() {
            return Err("it was never made: the original chose no pool".to_owned());
        }
        let name = kept.pools.iter().find(|pool| pool.id == old.pool_id).map(|pool| &pool.name);
        let wanted = self.map.get(&old.pool_id).or_else(|| self.map.get(name?));
        let named = name.map_or(old.pool_id.as_str(), String::as_str);
        let names = || {
            let names: Vec<_> = view.iter::<Pool>().map(|pool| pool.spec.name.as_str()).collect();
            names.join(", ")
        };
        let Some(wanted) = wanted else {
            return Err(format!("say --map-pool {named}=POOL; pools here: {}", names()));
        };
        let is =
            |pool: &&Versioned<Pool>| pool.spec.name == *wanted || pool.id.to_string() == *wanted;
        let mut found = view.iter::<Pool>().filter(is);
        match (found.next(), found.next()) {
            (Some(pool), None) => Ok(pool),
            (None, _) => Err(format!("there is no pool {wanted}; pools here: {}", names())),
            (Some(_), Some(_)) => Err(format!("two pools are called {wanted}; map to an id")),
        }
    }

    fn volume(&mut self, old: &OldVolume, pool: Option<&Versioned<Pool>>) -> Outcome {
        let id: VolumeId = id_of(&old.id)?;
        if self.view.get::<Volume>(id).is_some() {
            return Ok((Act::There, String::new()));
        }
        let note = match stands(old) {
            Stands::Made(note) => note,
            Stands::NeverMade => return Ok((Act::Leave, "it was never made".to_owned())),
        };
        let pool = match pool {
            Some(pool) => self.view.get::<Pool>(pool.id).ok_or("its pool is gone")?,
            None => return Err(self.target_of(old).err().unwrap_or_default()),
        };
        let size = u64::try_from(old.size).ok().filter(|gib| *gib > 0);
        let size = size.and_then(Capacity::from_gib).ok_or("it has no size")?;
        let profile: ProfileId =
            old.profile_id.parse().map_err(|_| "it has no profile".to_owned())?;
        let profile = self.profiles.get(&profile);
        let profile = profile.ok_or_else(|| format!("profile {} is not here", old.profile_id))?;
        let max_attachments = osds_selector::max_attachments_of(profile).unwrap_or_default();
        let limits = osds_selector::limits_of(profile).map_err(|bad| bad.to_string())?;
        let profile = profile.id;
        let taken = self.taken.get(&pool.id).copied().unwrap_or_default();
        let free = pool.free().minus(taken);
        if free < size {
            let free = free.whole_gib();
            return Err(format!(
                "it has {} GiB, and pool {} {free} free",
                old.size, pool.spec.name
            ));
        }
        self.once("volume", &old.id)?;
        let multi_attach = old.multi_attach && pool.spec.multi_attach;
        let no_longer = if old.multi_attach && !multi_attach {
            "without multiAttach, which the pool does not offer"
        } else {
            ""
        };
        let volume = Volume {
            id,
            created_at: time(&old.created_at).unwrap_or_default(),
            updated_at: time(&old.updated_at),
            tenant: old.tenant_id.as_str().into(),
            user: old.user_id.as_str().into(),
            name: old.name.clone(),
            description: old.description.clone(),
            availability_zone: old.availability_zone.clone(),
            profile,
            pool: pool.id,
            snapshot: old.snapshot_id.parse().ok(),
            // Groups stay behind, and the plan names them.
            group: None,
            metadata: old.metadata.clone().unwrap_or_default(),
            state: VolumeState {
                generation: Generation(1),
                terms: Terms { multi_attach, max_attachments },
                limits,
                presence: Presence::Wanted(size),
                // It exists: its dock looks for it and never makes it.
                limited: limits,
                taken_back: None,
                source: None,
                snapshots: BTreeMap::new(),
                made: Some(size),
                fault: None,
                attachments: BTreeMap::new(),
            },
        };
        self.taken.insert(pool.id, taken.plus(size));
        self.edit(|txn| txn.create(volume));
        Ok((Act::Import, joined(&note, no_longer)))
    }

    /// Two things of one id or name in the same plan: records that overwrote each other.
    fn once(&mut self, what: &str, word: &str) -> Result<(), String> {
        if self.seen.insert(format!("{what}/{word}")) {
            return Ok(());
        }
        Err(format!("the same {what} is there twice"))
    }

    fn edit(&mut self, edit: impl FnOnce(Txn) -> Txn) {
        self.txn = edit(std::mem::take(&mut self.txn));
    }

    fn row(&mut self, act: Act, what: &'static str, name: &str, id: &str, to: &str, why: &str) {
        let [name, id, to, why] = [name, id, to, why].map(plain);
        self.rows.push(Row { act, what, name, id, to, why });
    }
}

type Outcome = Result<(Act, String), String>;

fn split(outcome: Outcome) -> (Act, String) {
    outcome.unwrap_or_else(|why| (Act::Refuse, why))
}

/// Whether the original ever made a volume, and what to know of one that it made.
enum Stands {
    Made(String),
    NeverMade,
}

fn stands(old: &OldVolume) -> Stands {
    // Written by the driver that made it.
    let has_a_place = old.metadata.as_ref().is_some_and(|pairs| !pairs.is_empty());
    let note = match old.status.as_str() {
        "available" => "",
        "inUse" => "comes detached",
        "attaching" => "an attach never ended; comes detached",
        "deleting" | "errorDeleting" => {
            "was being deleted: comes as it is; delete it here if that is still meant"
        }
        "extending" | "errorExtending" => "was being extended: comes with its old size",
        "error" | "creating" if has_a_place && !old.pool_id.is_empty() => {
            "was in error; look at it"
        }
        _ => return Stands::NeverMade,
    };
    if old.pool_id.is_empty() { Stands::NeverMade } else { Stands::Made(note.to_owned()) }
}

fn id_of<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "its id is no UUID".to_owned())
}

fn joined(one: &str, other: &str) -> String {
    let parts: Vec<_> = [one, other].into_iter().filter(|text| !text.is_empty()).collect();
    parts.join("; ")
}

/// A time as the original writes it: without a zone, and taken for UTC, so that it reads the same.
fn time(text: &str) -> Option<Timestamp> {
    let civil: DateTime = text.parse().ok()?;
    Offset::UTC.to_timestamp(civil).ok().map(|at| Timestamp(at.as_second()))
}

/// Words of another's records on our terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
