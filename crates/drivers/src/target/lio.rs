//! The iSCSI target of this machine's kernel (LIO), told what to export by configfs alone.
//!
//! One target name per volume, the volume at LUN 1, one ACL per initiator of a host. The kernel is
//! the only record: who is let in, how, and to which blocks is read back from it (`lio/names.rs`
//! says what is written where), so what somebody changes by hand is seen and put right, and after a
//! reboot, when it has nothing left, all of it is made again from the dock's ledger.
//!
//! Must stay true: only what carries our names is touched; a host counts as served as long as one of
//! its ACLs is there, and as granted only when all of them are whole; and whoever deletes an ACL may
//! have to wait for the storage, which the kernel does where nobody can interrupt it. So that runs on
//! a thread of its own, and until it has ended the volume is reported as it was before.

mod acl;
mod backstore;
mod group;
mod kept;
mod names;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use osds_model::host::Protocol;
use osds_model::usage::{TargetUsage, VolumeUsage};
use osds_model::{Capacity, Connection, FaultKind, Grant, HostId, IoLimits, Secret, VolumeId};

use self::kept::Kept;
use self::names::{Names, Tag};
use crate::configfs::Configfs;
use crate::target::without_limits;
use crate::thread::in_thread;
use crate::{BlockSource, DriverError, ExportFacts, Hold, TargetCapabilities, TargetDriver};

/// The volume's logical unit number for hosts.
const LUN: u32 = 1;

/// How the kernel's target is reached, and where we keep what is ours.
#[derive(Clone, Debug)]
pub struct LioSettings {
    /// The backend's name, which tells its volumes in the kernel from others.
    pub backend: String,
    /// Where the kernel shall listen.
    pub listen: Vec<SocketAddr>,
    /// What hosts are told to connect to, as `address:port`; where it listens when empty.
    pub advertise: Vec<String>,
    /// Target names are this, a colon and the volume's id.
    pub iqn_prefix: String,
    /// How long a host's commands are waited for before it is said that they do not end.
    pub drain_timeout: Duration,
    /// A directory of ours, for notes on reservations.
    pub home: PathBuf,
}

/// The kernel's iSCSI target. Cheap to clone.
#[derive(Clone)]
pub struct LioTarget {
    inner: Arc<Inner>,
}

struct Inner {
    tree: Configfs,
    sysfs: PathBuf,
    names: Names,
    listen: Vec<String>,
    portals: Vec<String>,
    drain_timeout: Duration,
    kept: Kept,
    /// Volumes of which a host, or all, are being put out, and how they are reported until then.
    leaving: Mutex<HashMap<VolumeId, Option<ExportFacts>>>,
}

impl LioTarget {
    /// Finds the kernel's target, and puts the portals of what it exports of ours right.
    ///
    /// # Errors
    /// `NotSupported`, with what to type, where the kernel does not have it.
    pub fn start(settings: LioSettings) -> Result<Self, DriverError> {
        let tree = Configfs::of_kernel("target", "target_core_mod")?;
        Self::on(settings, tree, PathBuf::from("/sys"))
    }

    fn on(settings: LioSettings, tree: Configfs, sysfs: PathBuf) -> Result<Self, DriverError> {
        let LioSettings { backend, listen, advertise, iqn_prefix, drain_timeout, home } = settings;
        tree.make("iscsi").map_err(|error| {
            let doing = "using the kernel's iSCSI target, for which the kernel module \
                         iscsi_target_mod is needed: modprobe iscsi_target_mod";
            DriverError::new(FaultKind::NotSupported, doing).because(error)
        })?;
        let dbroot = tree.read("dbroot")?.unwrap_or_else(|| "/var/target".to_owned());
        let kept = Kept::open(dbroot.trim().as_ref(), home)?;
        let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
        let portals = if advertise.is_empty() { listen.clone() } else { advertise };
        let names = Names::of(&backend, &iqn_prefix);
        let leaving = Mutex::default();
        let inner = Inner { tree, sysfs, names, listen, portals, drain_timeout, kept, leaving };
        for volume in inner.with_backstore()? {
            if inner.facts(volume)?.is_some() {
                inner.mend_group(volume)?;
            }
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let inner = Arc::clone(&self.inner);
        in_thread(move || work(&inner)).await
    }
}

impl Inner {
    fn connection(&self, volume: VolumeId) -> Connection {
        let (iqn, portals) = (self.names.iqn(volume), self.portals.clone());
        Connection::Iscsi { iqn, portals, lun: LUN }
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<VolumeId, Option<ExportFacts>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_leaving(&self, volume: VolumeId) -> bool {
        self.leaving().contains_key(&volume)
    }

    fn still_leaving(&self, volume: VolumeId) -> DriverError {
        let doing = format!("waiting for the commands of hosts put out of volume {volume}");
        DriverError::new(FaultKind::Temporary, doing).because("the storage does not answer")
    }

    /// What the kernel exports; `None` also for what is only half there.
    fn facts(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        if let Some(facts) = self.leaving().get(&volume) {
            return Ok(facts.clone());
        }
        let Some(backstore) = self.backstore(volume)? else { return Ok(None) };
        if self.exported(volume)?.as_deref() != Some(&*backstore.path) {
            return Ok(None);
        }
        let size = self.size(&backstore.path)?;
        let hosts = self.hosts(volume)?.into_iter().map(|(host, let_in)| (host, let_in.facts));
        let (limits, hosts) = (IoLimits::NONE, hosts.collect());
        Ok(Some(ExportFacts { blocks: backstore.blocks, size, limits, hosts }))
    }

    fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        let mut exports = BTreeMap::new();
        for volume in self.with_backstore()? {
            exports.extend(self.facts(volume)?.map(|facts| (volume, facts)));
        }
        Ok(exports)
    }

    fn export(self: &Arc<Self>, volume: VolumeId, source: &BlockSource) -> Result<(), DriverError> {
        let doing = || format!("exporting {} as {}", source.path.display(), self.names.iqn(volume));
        if self.is_leaving(volume) {
            return Err(self.still_leaving(volume));
        }
        let blocks = source.id()?;
        match self.facts(volume)? {
            Some(facts) if facts.blocks == blocks => return self.mend_group(volume),
            Some(facts) if !facts.hosts.is_empty() => {
                let error = DriverError::new(FaultKind::InUse, doing());
                return Err(error.because("a host is still let in to the blocks that were there"));
            }
            // Other blocks, or a half of what somebody began: from the beginning.
            Some(_) | None => self.take_down(volume, false)?,
        }
        let backstore = self.make_backstore(volume, source)?;
        // Now or never: the kernel takes it only while nothing is exported.
        self.kept.feed(&self.tree, volume, &backstore)?;
        self.make_group(volume, &backstore).map_err(|error| {
            let kind = error.kind;
            DriverError::new(kind, doing()).because(error)
        })
    }

    fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let doing = || format!("letting host {host} in to volume {volume} as {}", grant.mode);
        let refused = |kind, why: &str| {
            Err::<Connection, _>(DriverError::new(kind, doing()).because(why.to_owned()))
        };
        if self.is_leaving(volume) {
            return Err(self.still_leaving(volume));
        }
        if self.facts(volume)?.is_none() {
            return refused(FaultKind::Gone, "not exported");
        }
        let is_spoken = |one: &&osds_model::Initiator| one.protocol == Protocol::Iscsi;
        let names: Vec<_> =
            grant.initiators.iter().filter(is_spoken).map(|i| &i.port_name).collect();
        if names.is_empty() {
            return refused(FaultKind::NotSupported, "the host has no iSCSI initiator");
        }
        names.iter().try_for_each(|name| names::check_initiator(name))?;
        Self::check_proof(grant)?;
        let hosts = self.hosts(volume)?;
        if let Some(held) = hosts.get(&host) {
            if held.facts.grant == grant.names() && held.proof == grant.authentication {
                return Ok(held.facts.connection.clone());
            }
            return refused(FaultKind::InUse, "it is let in by another grant; revoke that first");
        }
        let is_ours = |theirs: &String| names.iter().any(|ours| ours.eq_ignore_ascii_case(theirs));
        if let Some((other, _)) = hosts.iter().find(|(_, held)| held.names.iter().any(is_ours)) {
            let why = format!("host {other} has the same initiator");
            return refused(FaultKind::InUse, &why);
        }
        for (at, name) in names.iter().enumerate() {
            let tag = Tag { host, number: at + 1, of: names.len() };
            self.make_acl(volume, name, tag, grant)?;
        }
        Ok(self.connection(volume))
    }

    fn revoke(self: &Arc<Self>, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        let is_of_host = move |tag: Option<Tag>| tag.map_or(names::NOBODY, |tag| tag.host) == host;
        self.apart(volume, Some(host), move |inner| inner.delete_acls(volume, is_of_host))
    }

    /// Takes away all there is of the volume, `also_kept` with what is kept of reservations.
    fn take_down(self: &Arc<Self>, volume: VolumeId, also_kept: bool) -> Result<(), DriverError> {
        self.apart(volume, None, move |inner| {
            inner.silence(volume)?;
            inner.delete_acls(volume, |_| true)?;
            inner.remove_group(volume)?;
            inner.remove_backstores(volume)?;
            if also_kept { inner.kept.forget(volume) } else { Ok(()) }
        })
    }

    /// Does what may have to wait for the storage, on a thread of its own, and waits for it, though
    /// not for ever. `host` is put out by it, or everybody.
    fn apart(
        self: &Arc<Self>,
        volume: VolumeId,
        host: Option<HostId>,
        work: impl FnOnce(&Self) -> Result<(), DriverError> + Send + 'static,
    ) -> Result<(), DriverError> {
        if self.is_leaving(volume) {
            return Err(self.still_leaving(volume));
        }
        let mut facts = self.facts(volume)?;
        for (leaving, facts) in facts.iter_mut().flat_map(|facts| &mut facts.hosts) {
            if host.is_none_or(|host| host == *leaving) {
                // Still served, though not as granted.
                facts.grant.initiators.clear();
            }
        }
        self.leaving().insert(volume, facts);
        let ended = Ended { inner: Arc::clone(self), volume };
        let (tell, told) = sync_channel(1);
        std::thread::spawn(move || {
            let outcome = work(&ended.inner);
            drop(ended);
            // Nobody listens once the time is over.
            let _ = tell.send(outcome);
        });
        told.recv_timeout(self.drain_timeout).unwrap_or_else(|_| Err(self.still_leaving(volume)))
    }

    fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        match self.backstore(volume)? {
            Some(backstore) if self.facts(volume)?.is_some() => self.resize(&backstore.path, size),
            Some(_) | None => Ok(()),
        }
    }
}

/// When this goes, the volume is looked at again.
struct Ended {
    inner: Arc<Inner>,
    volume: VolumeId,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.inner.leaving().remove(&self.volume);
    }
}

#[async_trait]
impl TargetDriver for LioTarget {
    fn name(&self) -> &'static str {
        "lio"
    }

    fn capabilities(&self) -> TargetCapabilities {
        TargetCapabilities {
            protocol: Protocol::Iscsi,
            read_only_per_host: true,
            persistent_reservations: true,
            credentials_per_host: true,
        }
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.export(volume, &source)).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        let why =
            "the kernel's target has no limits: use target embedded, or a profile without any";
        without_limits(self, volume, limits, why).await
    }

    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let grant = grant.clone();
        self.blocking(move |inner| inner.grant(volume, host, &grant)).await
    }

    async fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.revoke(volume, host)).await
    }

    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.take_down(volume, true)).await
    }

    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.resized(volume, size)).await
    }

    async fn quiesce(&self, volume: VolumeId, _: Duration) -> Result<Hold, DriverError> {
        let is_there = self.blocking(move |inner| Ok(!inner.backstores(volume).is_empty())).await?;
        Ok(if is_there { Hold::impossible() } else { Hold::needless() })
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.blocking(|inner| inner.exports()).await
    }

    async fn export_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        self.blocking(move |inner| inner.facts(volume)).await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        self.blocking(|inner| inner.usage()).await
    }

    async fn usage_of(&self, volume: VolumeId) -> Result<Option<VolumeUsage>, DriverError> {
        self.blocking(move |inner| inner.usage_of(volume)).await
    }

    fn keeps_reservations(&self, volume: VolumeId) -> bool {
        self.inner.kept.has(volume)
    }

    async fn drop_reservations_of_others(
        &self,
        volume: VolumeId,
        let_in: Vec<String>,
    ) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.kept.drop_others(volume, &let_in)).await
    }
}
