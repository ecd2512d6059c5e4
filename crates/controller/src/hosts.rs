//! Hosts, and keeping one out: a fence is a fact on the host's record, and every attach commits
//! against that record, so none can slip past a fence that is being set.
//!
//! A fence has two halves: the fact, set when the call returns, and a detach of each volume that
//! the host has, one transaction each. A crash between the two is mended by the sweep, which puts
//! out every fenced host it finds still attached. Names are unique through a claim, a record whose
//! key is the name, so that two creations cannot both succeed.

use std::sync::Arc;

use osds_lifecycle::access;
use osds_model::{Fence, Host, HostId, Initiator, Phase, Volume, VolumeId, validate};
use osds_store::{Claim, ClaimKind, HostsWhere, Txn, Versioned, View, decide};
use tracing::{info, warn};
use uuid::Uuid;

use crate::volumes::with_state;
use crate::{Caller, Controller, Error, requests};

/// Most names that one host logs in with.
const MOST_INITIATORS: usize = 64;

/// A request for a host.
#[derive(Clone, Debug, Default)]
pub struct NewHost {
    /// DNS-like name, unique in its tenant.
    pub name: String,
    /// `linux`, `windows` or `esxi`.
    pub os_type: String,
    /// `agent` or `agentless`.
    pub access_mode: String,
    /// Dotted IPv4 address.
    pub ip: String,
    /// Port of its agent, or 0.
    pub port: u16,
    /// User name of its agent.
    pub username: String,
    /// Where it can reach volumes; `None` means the default zone.
    pub availability_zones: Option<Vec<String>>,
    /// The names it logs in with.
    pub initiators: Vec<Initiator>,
}

/// An edit of a host; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct HostUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Another OS type.
    pub os_type: Option<String>,
    /// Another access mode.
    pub access_mode: Option<String>,
    /// Another address.
    pub ip: Option<String>,
    /// Another port.
    pub port: Option<u16>,
    /// Another user.
    pub username: Option<String>,
    /// Other zones.
    pub availability_zones: Option<Vec<String>>,
    /// Other initiators, all of them; attachments keep those they were made with.
    pub initiators: Option<Vec<Initiator>>,
}

impl Controller {
    /// Registers a host.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad or taken name.
    pub async fn create_host(&self, caller: &Caller, new: NewHost) -> Result<Arc<Host>, Error> {
        let host = Host {
            id: HostId(Uuid::now_v7()),
            created_at: self.clock.now(),
            updated_at: None,
            tenant: caller.tenant.clone(),
            user: caller.user.clone(),
            name: new.name,
            os_type: new.os_type,
            access_mode: new.access_mode,
            ip: new.ip,
            port: new.port,
            username: new.username,
            availability_zones: new.availability_zones,
            initiators: new.initiators,
            fence: None,
        };
        check(&host)?;
        let now = host.created_at;
        let made = decide(self.store.as_ref(), |view| {
            if let Some(before) = requests::made_before(view, caller, now)? {
                let before = view.get::<Host>(HostId(before)).ok_or_else(requests::gone)?;
                return Ok((Txn::new(), Arc::clone(&before.value)));
            }
            if view.host_named(&host.tenant, &host.name).is_some() {
                return Err(taken(&host.name));
            }
            let claim = Claim::host_name(&host.tenant, &host.name, host.id);
            let txn = Txn::new().create(claim).create(host.clone());
            let txn = claim_initiators(txn, view, caller, &[], &host)?;
            Ok((requests::remember(txn, view, caller, host.id, now), Arc::new(host.clone())))
        });
        Ok(made.await?)
    }

    /// The hosts that have all of this and the caller sees, in the order of their ids.
    pub fn hosts<T>(
        &self,
        caller: &Caller,
        has: &HostsWhere,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = &Host>) -> T,
    ) -> T {
        let view = self.store.view();
        let shown = |id: HostId| -> Option<&Host> {
            view.get::<Host>(id).map(|host| &**host).filter(|host| caller.sees(&host.tenant))
        };
        look(&mut view.hosts_where(has, caller.owner()).filter_map(shown))
    }

    /// One host.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn host(&self, caller: &Caller, id: &str) -> Result<Arc<Host>, Error> {
        let view = self.store.view();
        Ok(Arc::clone(&find(&view, caller, id)?.value))
    }

    /// Edits a host.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a bad or taken name.
    pub async fn update_host(
        &self,
        caller: &Caller,
        id: &str,
        update: HostUpdate,
    ) -> Result<Arc<Host>, Error> {
        let now = self.clock.now();
        let edited = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)?;
            let mut new = apply(&update, old);
            if new == **old {
                return Ok((Txn::new(), Arc::clone(&old.value)));
            }
            check(&new)?;
            new.updated_at = Some(now);
            let mut txn = Txn::new();
            if new.name != old.name {
                if view.host_named(&new.tenant, &new.name).is_some() {
                    return Err(taken(&new.name));
                }
                txn = txn.create(Claim::host_name(&new.tenant, &new.name, new.id));
                if let Some(claim) = claim_of(view, old) {
                    txn = txn.remove(claim);
                }
            }
            txn = claim_initiators(txn, view, caller, &old.initiators, &new)?;
            Ok((txn.replace(old, new.clone()), Arc::new(new)))
        });
        Ok(edited.await?)
    }

    /// Takes a host away that has no volume.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] while it has one.
    pub async fn delete_host(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let deleted = decide(self.store.as_ref(), |view| {
            let host = find(view, caller, id)?;
            if view.volumes_of_host(host.id).next().is_some() {
                return Err(Error::Invalid(format!(
                    "some volumes are attached to host: {}, please detach them first",
                    host.name
                )));
            }
            let none = Host { initiators: vec![], ..Host::clone(host) };
            let txn = Txn::new().remove(host);
            let txn = claim_initiators(txn, view, caller, &host.initiators, &none)?;
            Ok((claim_of(view, host).map_or(txn.clone(), |claim| txn.remove(claim)), ()))
        });
        Ok(deleted.await?)
    }

    /// Keeps a host out of every volume from now on, and takes those away that it has. The fence
    /// is set when this returns; the detaching goes on, and its end shows on the attachments.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn fence_host(
        &self,
        caller: &Caller,
        id: &str,
        reason: &str,
    ) -> Result<Arc<Host>, Error> {
        let since = self.clock.now();
        let fence = Fence { since, reason: reason.to_owned() };
        let host = self.set_fence(caller, id, Some(fence)).await?;
        info!(host_id = %host.id, reason, "host fenced");
        self.put_out(host.id).await?;
        Ok(host)
    }

    /// Lets a host attach volumes again.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn unfence_host(&self, caller: &Caller, id: &str) -> Result<Arc<Host>, Error> {
        let host = self.set_fence(caller, id, None).await?;
        info!(host_id = %host.id, "host unfenced");
        Ok(host)
    }

    async fn put_out(&self, host: HostId) -> Result<(), Error> {
        for volume in put_out(self.store.as_ref(), host, self.clock.now()).await? {
            self.poke(volume);
        }
        Ok(())
    }

    async fn set_fence(
        &self,
        caller: &Caller,
        id: &str,
        fence: Option<Fence>,
    ) -> Result<Arc<Host>, Error> {
        let now = self.clock.now();
        let set = decide(self.store.as_ref(), |view| {
            let old = find(view, caller, id)?;
            if old.fence.is_some() == fence.is_some() {
                return Ok((Txn::new(), Arc::clone(&old.value)));
            }
            let mut new = Host::clone(old);
            new.fence.clone_from(&fence);
            new.updated_at = Some(now);
            Ok((Txn::new().replace(old, new.clone()), Arc::new(new)))
        });
        Ok(set.await?)
    }
}

/// Takes a fenced host off every volume it still has, one transaction each; names those volumes.
/// The sweep does this too, for a fence whose controller crashed in the middle.
pub(crate) async fn put_out(
    store: &dyn osds_store::Store,
    host: HostId,
    now: osds_model::Timestamp,
) -> Result<Vec<VolumeId>, Error> {
    let mut changed = Vec::new();
    let volumes: Vec<_> = store.latest().volumes_of_host(host).collect();
    for id in volumes {
        let detached = decide::<_, Error>(store, |view| {
            let still = view.get::<Host>(host).is_some_and(|host| host.fence.is_some());
            let Some(volume) = view.get::<Volume>(id).filter(|_| still) else {
                return Ok((Txn::new(), false));
            };
            let held = volume.state.attachments.get(&host);
            if held.is_none_or(|held| held.phase == Phase::Detaching) {
                return Ok((Txn::new(), false));
            }
            let next = with_state(volume, access::detach(&volume.state, host), now);
            Ok((Txn::new().replace(volume, next), true))
        });
        if detached.await? {
            changed.push(id);
        }
    }
    Ok(changed)
}

pub(crate) fn find<'a>(
    view: &'a View,
    caller: &Caller,
    id: &str,
) -> Result<&'a Versioned<Host>, Error> {
    let found = id.parse().ok().and_then(|id: HostId| view.get::<Host>(id));
    found.filter(|host| caller.sees(&host.tenant)).ok_or_else(|| {
        Error::NotFound(format!("host {id} not found: {}", caller.cannot_find("host", id)))
    })
}

fn claim_of<'a>(view: &'a View, host: &Host) -> Option<&'a Versioned<Claim>> {
    view.claim(ClaimKind::HostName, &Claim::host_name_value(&host.tenant, &host.name))
}

/// `txn`, which also moves the claims from the initiators that `host` had to those it shall have. An
/// initiator is one host's: else who is fenced under one name could attach under the other.
fn claim_initiators(
    mut txn: Txn,
    view: &View,
    caller: &Caller,
    had: &[Initiator],
    host: &Host,
) -> Result<Txn, Error> {
    let is_in = |one: &Initiator, all: &[Initiator]| {
        all.iter().any(|other| other.protocol == one.protocol && other.is_same_as(one))
    };
    let claim = |initiator: &Initiator| {
        view.claim(ClaimKind::HostInitiator, &Claim::initiator_value(initiator))
    };
    for initiator in host.initiators.iter().filter(|one| !is_in(one, had)) {
        if let Some(claim) = claim(initiator).filter(|claim| claim.owner != Uuid::from(host.id)) {
            let owner = view.get::<Host>(HostId(claim.owner));
            let whose = match owner.filter(|owner| caller.sees(&owner.tenant)) {
                Some(owner) => format!("host {} ({})", owner.name, owner.id),
                None => "another tenant's host".to_owned(),
            };
            return Err(Error::Invalid(format!(
                "initiator {} is {whose} already; each host needs initiator names of its own",
                initiator.port_name
            )));
        }
        txn = txn.create(Claim::initiator(initiator, host.id));
    }
    for initiator in had.iter().filter(|one| !is_in(one, &host.initiators)) {
        if let Some(claim) = claim(initiator).filter(|claim| claim.owner == Uuid::from(host.id)) {
            txn = txn.remove(claim);
        }
    }
    Ok(txn)
}

/// Claims the initiators of hosts that were registered before initiators were claimed. One that two
/// of them have stays with the first.
pub(crate) async fn claim_missing(store: &dyn osds_store::Store) -> Result<(), Error> {
    let unclaimed = |view: &View, initiator: &Initiator| {
        view.claim(ClaimKind::HostInitiator, &Claim::initiator_value(initiator)).is_none()
    };
    let view = store.latest();
    for host in view.iter::<Host>() {
        if !host.initiators.iter().any(|initiator| unclaimed(&view, initiator)) {
            continue;
        }
        let claimed = decide::<_, Error>(store, |view| {
            let Some(host) = view.get::<Host>(host.id) else { return Ok((Txn::new(), ())) };
            let missing = host.initiators.iter().filter(|initiator| unclaimed(view, initiator));
            let claims = missing.map(|initiator| Claim::initiator(initiator, host.id));
            Ok((claims.fold(Txn::new(), Txn::create), ()))
        });
        claimed.await?;
    }
    let view = store.latest();
    for host in view.iter::<Host>() {
        for initiator in &host.initiators {
            let value = Claim::initiator_value(initiator);
            let owner = view.claim_owner(ClaimKind::HostInitiator, &value);
            if let Some(owner) = owner.filter(|owner| *owner != Uuid::from(host.id)) {
                warn!(
                    host_id = %host.id, initiator = initiator.port_name, %owner,
                    "an initiator of this host belongs to another host record as well: a fence of \
                     one does not hold the other; give each its own"
                );
            }
        }
    }
    Ok(())
}

fn apply(update: &HostUpdate, old: &Host) -> Host {
    let or = |new: &Option<String>, old: &String| new.clone().unwrap_or_else(|| old.clone());
    Host {
        name: or(&update.name, &old.name),
        os_type: or(&update.os_type, &old.os_type),
        access_mode: or(&update.access_mode, &old.access_mode),
        ip: or(&update.ip, &old.ip),
        port: update.port.unwrap_or(old.port),
        username: or(&update.username, &old.username),
        availability_zones: update
            .availability_zones
            .clone()
            .or_else(|| old.availability_zones.clone()),
        initiators: update.initiators.clone().unwrap_or_else(|| old.initiators.clone()),
        ..old.clone()
    }
}

fn check(host: &Host) -> Result<(), Error> {
    if !validate::host_name(&host.name) {
        return Err(Error::Invalid(format!(
            "host name '{}' is not valid: it must be letters, digits, dots and inner hyphens, at \
             most 64 in all",
            host.name
        )));
    }
    let mut names: Vec<_> =
        host.initiators.iter().map(|i| (i.port_name.to_ascii_lowercase(), i.protocol)).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Invalid(format!("initiator {} is given twice", twice[0].0)));
    }
    let texts = [&host.os_type, &host.access_mode, &host.ip, &host.username];
    let zones = host.availability_zones.iter().flatten();
    let long = texts.into_iter().chain(zones).find(|text| text.chars().count() > 255);
    if let Some(long) = long {
        let many = long.chars().count();
        return Err(Error::Invalid(format!("a text of {many} characters; it may have 255")));
    }
    if host.initiators.len() > MOST_INITIATORS {
        let many = host.initiators.len();
        return Err(Error::Invalid(format!("{many} initiators; there may be {MOST_INITIATORS}")));
    }
    match host.initiators.iter().find(|i| i.port_name.is_empty() || i.port_name.len() > 255) {
        Some(_) => Err(Error::invalid("an initiator's portName must have 1 to 255 characters")),
        None => Ok(()),
    }
}

fn taken(name: &str) -> Error {
    Error::Invalid(format!("the host with name {name} already exists in the system"))
}
