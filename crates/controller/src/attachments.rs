//! Attachments: who has which volume. Each use-case is one pure decision on one volume's record
//! (and the host's, so that neither a fence nor a deletion can slip in between), committed whole.
//!
//! An attachment has no record of its own: it is part of its volume's, so one compare-and-swap
//! decides every race between hosts. What is committed is a wish; the target acts on it later.
//!
//! Must stay true: a detach only asks. The attachment leaves the record when the dock has said that
//! the host is out, or when an operator forces it and answers for the host himself.

use std::collections::BTreeMap;
use std::sync::Arc;

use osds_keyring::chap;
use osds_lifecycle::access::{self, AttachRequest};
use osds_model::access::AttachmentFacts;
use osds_model::host::Protocol;
use osds_model::{
    AttachMode, Attachment, AttachmentId, Authentication, Host, HostId, Initiator, Phase, Pool,
    Publication, Reason, Secret, Sharing, Volume, VolumeId,
};
use osds_store::{AttachmentsWhere, HostsWhere, Txn, Versioned, View, decide};
use tracing::{error, info};
use uuid::Uuid;

use crate::hosts::NewHost;
use crate::volumes::{check_text, with_state};
use crate::{Caller, Controller, Error, hosts, requests, volumes};

/// A request to attach.
#[derive(Clone, Debug)]
pub struct NewAttachment {
    /// Volume id.
    pub volume: String,
    /// The host.
    pub host: HostRef,
    /// Read-only or read-write.
    pub mode: AttachMode,
    /// What the host wants promised.
    pub sharing: Sharing,
    /// How an orchestrator means to use the volume; mode and promise then follow from it.
    pub publication: Option<Publication>,
    /// Where the host will put it; may be empty.
    pub mountpoint: String,
    /// Free text pairs.
    pub metadata: BTreeMap<String, String>,
}

/// Which host is meant.
#[derive(Clone, Debug)]
pub enum HostRef {
    /// A registered one, by id.
    Id(String),
    /// One described in the request itself, as clients before host registration do: it is found
    /// by its initiator or its name, or registered now.
    Described(NewHost),
}

/// An edit of an attachment; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct AttachmentUpdate {
    /// Where the host put it.
    pub mountpoint: Option<String>,
}

/// An attachment with the volume it is part of.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The volume's record.
    pub volume: Arc<Volume>,
    /// Whose attachment it is.
    pub host: HostId,
}

impl Attached {
    /// The attachment itself.
    ///
    /// # Panics
    /// Never: an `Attached` is only made of a volume that has the attachment.
    #[must_use]
    pub fn attachment(&self) -> &Attachment {
        self.volume.state.attachments.get(&self.host).expect("made of a volume that has it")
    }
}

/// How hosts reach the volumes of a pool.
struct Reach {
    /// What they must speak.
    protocol: Protocol,
    /// Whether one can be held to reading while another writes.
    read_only_enforced: bool,
    /// Whether each can be made to prove itself.
    credentials_enforced: bool,
}

impl Controller {
    /// Asks for a host to have a volume. A host that has it already, in the same way, gets the
    /// attachment it has.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Refused`].
    pub async fn attach(&self, caller: &Caller, new: NewAttachment) -> Result<Attached, Error> {
        let host = match &new.host {
            HostRef::Id(id) => id.clone(),
            HostRef::Described(described) => self.host_for(caller, described).await?,
        };
        check_text("create volume attachment failed: ", &new.mountpoint, &new.metadata)?;
        let id = AttachmentId(Uuid::now_v7());
        let now = self.clock.now();
        let wished = decide(self.store.as_ref(), |view| {
            if let Some(before) = requests::made_before(view, caller, now)? {
                let (volume, host) =
                    attachment_of(view, AttachmentId(before), caller).ok_or_else(requests::gone)?;
                return Ok((Txn::new(), Attached { volume: Arc::clone(&volume.value), host }));
            }
            let (host, volume) = both(view, caller, &host, &new.volume)?;
            let pool = view.get::<Pool>(volume.pool);
            let Reach { protocol, read_only_enforced, credentials_enforced } = self.reach(pool)?;
            let initiators: Vec<Initiator> =
                host.initiators.iter().filter(|i| i.protocol == protocol).cloned().collect();
            if initiators.is_empty() {
                return Err(Error::unfit(
                    Reason::CannotReach,
                    format!(
                        "host {} has no {protocol} initiator, so the target cannot know it; add one: \
                     osdsctl host initiator add {} <port name> {protocol}",
                        host.name, host.id
                    ),
                ));
            }
            let request = AttachRequest {
                id,
                host: host.id,
                fenced: host.fence.is_some(),
                mode: new.mode,
                sharing: new.sharing,
                publication: new.publication,
                read_only_enforced,
                initiators,
                authentication: if credentials_enforced {
                    self.credentials(volume.id, host.id, id)?
                } else {
                    None
                },
                about: AttachmentFacts {
                    created_at: now,
                    updated_at: None,
                    tenant: caller.tenant.clone(),
                    user: caller.user.clone(),
                    mountpoint: new.mountpoint.clone(),
                    access_protocol: access_protocol(pool, protocol),
                    metadata: new.metadata.clone(),
                },
            };
            let state = access::attach(&volume.state, &request)
                .map_err(|refused| Error::refused_beside(view, &volume.state, refused))?;
            let host_id = host.id;
            if state == volume.state {
                let attached = Attached { volume: Arc::clone(&volume.value), host: host_id };
                let held = attached.attachment().id;
                return Ok((requests::remember(Txn::new(), view, caller, held, now), attached));
            }
            let next = with_state(volume, state, now);
            let txn = Txn::new()
                .replace(volume, next.clone())
                // Written, though unchanged: else the host could be deleted at this very moment.
                .replace(host, Host::clone(host));
            let txn = requests::remember(txn, view, caller, id, now);
            Ok((txn, Attached { volume: Arc::new(next), host: host_id }))
        });
        let attached = wished.await?;
        let attachment = attached.attachment();
        if attachment.id == id {
            info!(
                volume_id = %attached.volume.id, host_id = %attached.host, attachment_id = %id,
                mode = %attachment.mode, "attachment wished for"
            );
        }
        self.poke(attached.volume.id);
        Ok(attached)
    }

    /// The attachments that the caller sees, in the order of their ids.
    pub fn attachments<T>(
        &self,
        caller: &Caller,
        has: &AttachmentsWhere,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = (&Volume, HostId, &Attachment)>) -> T,
    ) -> T {
        let view = self.store.view();
        let shown = |id: AttachmentId| {
            let (volume, host) = view.attachment(id)?;
            let volume: &Volume = view.get::<Volume>(volume)?;
            let held: &Attachment = volume.state.attachments.get(&host)?;
            caller.sees(&held.about.tenant).then_some((volume, host, held))
        };
        look(&mut view.attachments_where(has, caller.owner()).filter_map(shown))
    }

    /// One attachment.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn attachment(&self, caller: &Caller, id: &str) -> Result<Attached, Error> {
        let view = self.store.view();
        let (volume, host) = find(&view, caller, id)?;
        Ok(Attached { volume: Arc::clone(&volume.value), host })
    }

    /// Edits what no rule looks at.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_attachment(
        &self,
        caller: &Caller,
        id: &str,
        update: AttachmentUpdate,
    ) -> Result<Attached, Error> {
        let now = self.clock.now();
        let edited = decide(self.store.as_ref(), |view| {
            let (volume, host) = find(view, caller, id).map_err(|_| {
                Error::NotFound(format!(
                    "update volume attachment failed: {}",
                    caller.cannot_find("volume attachment", id)
                ))
            })?;
            let mut next = Volume::clone(volume);
            if let Some(held) = next.state.attachments.get_mut(&host)
                && let Some(mountpoint) = &update.mountpoint
                && held.about.mountpoint != *mountpoint
            {
                check_text("update volume attachment failed: ", mountpoint, &BTreeMap::new())?;
                let held = Arc::make_mut(held);
                held.about.mountpoint.clone_from(mountpoint);
                held.about.updated_at = Some(now);
            }
            if next == **volume {
                return Ok((Txn::new(), Attached { volume: Arc::clone(&volume.value), host }));
            }
            let txn = Txn::new().replace(volume, next.clone());
            Ok((txn, Attached { volume: Arc::new(next), host }))
        });
        Ok(edited.await?)
    }

    /// What the host of this attachment proves at login, in clear: for the one who attached and
    /// nobody else. `None` when names are believed, when the host is on its way out, and when the
    /// secrets do not open (which the log says).
    #[must_use]
    pub fn reveal(&self, attached: &Attached) -> Option<Authentication<Secret>> {
        let attachment = attached.attachment();
        let kept = attachment.authentication.as_ref()?;
        if attachment.phase == Phase::Detaching {
            return None;
        }
        let opened = match &self.login.keys {
            Some(keys) => chap::open(keys, attached.volume.id, attached.host, kept),
            None => return None,
        };
        opened
            .inspect_err(|error| {
                error!(
                    volume_id = %attached.volume.id, host_id = %attached.host,
                    attachment_id = %attachment.id, %error,
                    "the CHAP credentials of an attachment do not open; put the key back into the \
                     key file and restart, or detach the host and attach it again"
                );
            })
            .ok()
    }

    /// Asks for a host to lose a volume. The record goes when the target has put the host out.
    /// With `force`, a detach that is under way already is given up on at once: the operator says
    /// that the host cannot write any more.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn detach(
        &self,
        caller: &Caller,
        id: &str,
        force: bool,
    ) -> Result<AttachmentId, Error> {
        let now = self.clock.now();
        let wished = decide(self.store.as_ref(), |view| {
            let (volume, host) = find(view, caller, id)?;
            let held = volume.state.attachments.get(&host);
            let leaving = held.is_some_and(|held| held.phase == Phase::Detaching);
            let state = if force && leaving {
                access::force(&volume.state, host).map_err(Error::refused("", view))?
            } else {
                access::detach(&volume.state, host)
            };
            if state == volume.state {
                return Ok((Txn::new(), (volume.id, host)));
            }
            let next = with_state(volume, state, now);
            Ok((Txn::new().replace(volume, next), (volume.id, host)))
        });
        let (volume, host) = wished.await?;
        info!(volume_id = %volume, host_id = %host, attachment_id = id, force, "detach wished for");
        self.poke(volume);
        id.parse().map_err(|_| not_found(caller, id))
    }

    /// New credentials, should the attachment with this id become one.
    fn credentials(
        &self,
        volume: VolumeId,
        host: HostId,
        attachment: AttachmentId,
    ) -> Result<Option<Authentication>, Error> {
        let Some(keys) = &self.login.keys else { return Ok(None) };
        chap::make(keys, self.login.chap, volume, host, attachment)
            .map_err(|error| Error::Secrets(Arc::new(error)))
    }

    /// How the pool's target is reached.
    fn reach(&self, pool: Option<&Versioned<Pool>>) -> Result<Reach, Error> {
        let pool = pool.ok_or_else(|| Error::invalid("the pool of the volume is not on record"))?;
        let protocol = self.reconciler.protocol_of(pool.dock).unwrap_or(Protocol::Iscsi);
        let credentials_enforced = match protocol {
            Protocol::Iscsi => pool.enforces_credentials,
            // CHAP is of iSCSI only.
            Protocol::FibreChannel | Protocol::NvmeOf | Protocol::Local => false,
        };
        let read_only_enforced = pool.enforces_read_only;
        Ok(Reach { protocol, read_only_enforced, credentials_enforced })
    }

    /// The id of the host that a request describes; registers it when nobody knows it. An initiator
    /// says which host it is: under another name it is still the one that will log in. A name does
    /// so only where no initiator is given.
    async fn host_for(&self, caller: &Caller, described: &NewHost) -> Result<String, Error> {
        let named = described.initiators.is_empty().then(|| vec![described.name.clone()]);
        let has = HostsWhere { names: named, ..HostsWhere::default() };
        let known = self.hosts(caller, &has, |mut hosts| {
            let same = |host: &&Host| {
                host.tenant == caller.tenant
                    && if described.initiators.is_empty() {
                        host.name == described.name
                    } else {
                        described.initiators.iter().any(|i| host.has(i))
                    }
            };
            Iterator::find(&mut hosts, same).map(|host| host.id.to_string())
        });
        match known {
            Some(id) => Ok(id),
            // The request's key is for the attachment.
            None => {
                let caller = Caller { once: None, ..caller.clone() };
                Ok(self.create_host(&caller, described.clone()).await?.id.to_string())
            }
        }
    }
}

fn both<'a>(
    view: &'a View,
    caller: &Caller,
    host: &str,
    volume: &str,
) -> Result<(&'a Versioned<Host>, &'a Versioned<Volume>), Error> {
    const IN: &str = "failed in create volume attachment method";
    let host = hosts::find(view, caller, host).map_err(|_| {
        let words = format!("get host {IN}: {}", caller.cannot_find("host", host));
        Error::unfit(Reason::NoSuchHost, words)
    })?;
    let volume = volumes::find(view, caller, volume).map_err(|_| {
        let words = format!("get volume {IN}: {}", caller.cannot_find("volume", volume));
        Error::unfit(Reason::NoSuchVolume, words)
    })?;
    // A host that names no zone can reach all of them.
    if let Some(zones) = &host.availability_zones
        && !zones.is_empty()
        && !zones.contains(&volume.availability_zone)
    {
        return Err(Error::unfit(
            Reason::CannotReach,
            format!(
                "availability zone of volume: {} is not in the host availability zones: [{}]",
                volume.availability_zone,
                zones.join(" ")
            ),
        ));
    }
    Ok((host, volume))
}

fn find<'a>(
    view: &'a View,
    caller: &Caller,
    id: &str,
) -> Result<(&'a Versioned<Volume>, HostId), Error> {
    let found = id.parse().ok().and_then(|id| attachment_of(view, id, caller));
    found.ok_or_else(|| not_found(caller, id))
}

fn attachment_of<'a>(
    view: &'a View,
    id: AttachmentId,
    caller: &Caller,
) -> Option<(&'a Versioned<Volume>, HostId)> {
    let (volume, host) = view.attachment(id)?;
    let volume = view.get::<Volume>(volume)?;
    let held = volume.state.attachments.get(&host)?;
    caller.sees(&held.about.tenant).then_some((volume, host))
}

fn not_found(caller: &Caller, id: &str) -> Error {
    Error::NotFound(format!(
        "volume attachment {id} not found: {}",
        caller.cannot_find("volume attachment", id)
    ))
}

fn access_protocol(pool: Option<&Versioned<Pool>>, protocol: Protocol) -> String {
    let configured = pool.map(|pool| pool.spec.extras.io_connectivity.access_protocol.clone());
    configured.filter(|text| !text.is_empty()).unwrap_or_else(|| protocol.as_str().to_owned())
}
