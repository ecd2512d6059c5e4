//! Our own iSCSI target, inside this process: one target name per volume, the volume at LUN 1.
//!
//! The iSCSI crate knows initiators; OpenSDS knows hosts. This driver keeps which initiators a
//! host was granted by, and derives everything else from the target itself: a host counts as
//! served while one of its initiators may log in *or* still has a session or something registered,
//! so a revoke that could not be finished can never look finished; and it counts as served *as
//! granted* only by the names that may log in just so, proving what was granted and nothing else,
//! so half a grant, a session that outlives one, or a name that is suddenly believed, is put right.

mod kept;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use osds_iscsi::scsi::{Access, FileBackend, Identity, LogicalUnit};
use osds_iscsi::{
    Authentication, Credentials, ExportFacts as TargetFacts, InvalidCredentials, Limit, Limits,
    Name, Rate, Target, TargetError,
};
use osds_model::host::Protocol;
use osds_model::usage::{TargetUsage, VolumeUsage};
use osds_model::{
    AttachMode, Capacity, Connection, FaultKind, Grant, HostId, IoLimits, IoRate, Secret, Volume,
    VolumeId,
};

use crate::thread::in_thread;
use crate::{
    BlockSource, BlocksId, DriverError, ExportFacts, Hold, HostFacts, ReservationShelf,
    TargetCapabilities, TargetDriver,
};

/// The volume's logical unit number. Not 0: the original's connector refuses it.
const LUN: u32 = 1;

/// How the target is reached.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// Where it listens; port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// What hosts are told to connect to, as `address:port`; where it listens when empty.
    pub advertise: Vec<String>,
    /// Target names are this, a colon and the volume's id.
    pub iqn_prefix: String,
    /// Bounds on sessions and memory.
    pub limits: Limits,
}

/// The original's prefix, so that scripts which match it go on.
pub const IQN_PREFIX: &str = "iqn.2017-10.io.opensds";

/// Our own iSCSI target. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedTarget {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    portals: Vec<String>,
    iqn_prefix: String,
    exports: Mutex<HashMap<VolumeId, Export>>,
    /// Where reservations outlive us; without it initiators hear that they do not.
    shelf: OnceLock<Arc<dyn ReservationShelf>>,
}

struct Export {
    unit: Arc<LogicalUnit>,
    blocks: BlocksId,
    size: Capacity,
    limits: IoLimits,
    /// What each host was granted; goes only when the target has put the host out.
    hosts: BTreeMap<HostId, Admitted>,
}

/// What a host was granted, its secrets in the target's own safe-keeping.
#[derive(Clone, PartialEq)]
struct Admitted {
    grant: Grant<()>,
    proof: Option<Authentication>,
}

impl Admitted {
    fn by(grant: &Grant<Secret>) -> Result<Self, InvalidCredentials> {
        let proof = |of: &osds_model::Credentials<Secret>| {
            let secret = osds_iscsi::Secret::new(of.secret.reveal())?;
            Ok::<_, InvalidCredentials>(Credentials { name: of.name.clone(), secret })
        };
        let both = |of: &osds_model::Authentication<Secret>| {
            let target = of.target.as_ref().map(proof).transpose()?;
            Ok::<_, InvalidCredentials>(Authentication { initiator: proof(&of.initiator)?, target })
        };
        let proof = grant.authentication.as_ref().map(both).transpose()?;
        Ok(Self { grant: grant.names(), proof })
    }
}

impl EmbeddedTarget {
    /// Starts listening. Nothing is exported yet.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub fn start(settings: EmbeddedSettings) -> Result<Self, DriverError> {
        let EmbeddedSettings { listen, advertise, iqn_prefix, limits } = settings;
        let target = Target::start(&listen, limits).map_err(|error| {
            let addresses: Vec<_> = listen.iter().map(ToString::to_string).collect();
            DriverError::from_io(
                format!(
                    "listening for iSCSI on {}; choose another address under [iscsi] in osds.toml",
                    addresses.join(", ")
                ),
                error,
            )
        })?;
        let portals = if advertise.is_empty() {
            target.portals().iter().map(ToString::to_string).collect()
        } else {
            advertise
        };
        let (exports, shelf) = (Mutex::default(), OnceLock::new());
        Ok(Self { inner: Arc::new(Inner { target, portals, iqn_prefix, exports, shelf }) })
    }

    /// Keeps the reservations of every volume on this shelf, once and before the first export: a
    /// unit that is exported already goes on as it began.
    pub fn keep_reservations_on(&self, shelf: Arc<dyn ReservationShelf>) {
        // A second shelf would tear apart what belongs together.
        self.inner.shelf.get_or_init(|| shelf);
    }

    /// Where it really listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.inner.target.portals()
    }

    /// Ends every session and stops listening.
    ///
    /// # Errors
    /// A command was still running at the deadline.
    pub async fn shutdown(&self) -> Result<(), DriverError> {
        let inner = Arc::clone(&self.inner);
        in_thread(move || inner.target.shutdown().map_err(failed("shutting the target down"))).await
    }
}

impl Inner {
    fn iqn(&self, volume: VolumeId) -> String {
        format!("{}:{volume}", self.iqn_prefix)
    }

    fn connection(&self, volume: VolumeId) -> Connection {
        Connection::Iscsi { iqn: self.iqn(volume), portals: self.portals.clone(), lun: LUN }
    }

    fn exports(&self) -> MutexGuard<'_, HashMap<VolumeId, Export>> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        let iqn = self.iqn(volume);
        let (blocks, size, path) = (source.id()?, source.size, source.path.clone());
        let doing = || format!("exporting {} as {iqn}", path.display());
        let mut exports = self.exports();
        if let Some(export) = exports.get(&volume).filter(|export| export.blocks != blocks) {
            if !export.hosts.is_empty() {
                let error = DriverError::new(FaultKind::InUse, doing());
                return Err(error.because("a host is still let in to the blocks that were there"));
            }
            self.target.unexport(&iqn).map_err(failed(doing()))?;
            exports.remove(&volume);
        }
        let unit = match exports.get(&volume) {
            Some(export) => Arc::clone(&export.unit),
            None => {
                let backend = Box::new(FileBackend::new(source.into_file()?));
                let unit = LogicalUnit::new(backend, identity(volume))
                    .and_then(|unit| kept::restore(unit, volume, self.shelf.get()))
                    .map_err(|error| DriverError::from_io(doing(), error))?;
                Arc::new(unit)
            }
        };
        // Also when it is exported already: somebody may have taken it away from the target.
        self.target.export(&iqn, Arc::clone(&unit)).map_err(failed(doing()))?;
        let (limits, hosts) = (IoLimits::NONE, BTreeMap::new());
        exports.entry(volume).or_insert(Export { unit, blocks, size, limits, hosts });
        Ok(())
    }

    fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<(), DriverError> {
        let doing = || format!("letting host {host} in to volume {volume} as {}", grant.mode);
        let mut exports = self.exports();
        let export = exports
            .get_mut(&volume)
            .ok_or_else(|| DriverError::new(FaultKind::Gone, doing()).because("not exported"))?;
        let names = names(grant);
        if names.is_empty() {
            let kind = FaultKind::NotSupported;
            return Err(DriverError::new(kind, doing()).because("the host has no iSCSI initiator"));
        }
        // Before anything is done: what was let in by a good name could not be taken back by a bad.
        for name in &names {
            Name::new(name).map_err(|error| failed(doing())(error.into()))?;
        }
        let admitted = Admitted::by(grant).map_err(|error| failed(doing())(error.into()))?;
        let other = export.hosts.get(&host).filter(|held| **held != admitted);
        if other.is_some() && self.serves(volume, export, host) {
            let error = DriverError::new(FaultKind::InUse, doing());
            return Err(error.because("it is let in by another grant; revoke that first"));
        }
        let shared = export.hosts.iter().find(|(other, held)| {
            let is_ours = |theirs: &&str| names.iter().any(|ours| is_same(ours, theirs));
            **other != host && self::names(&held.grant).iter().any(is_ours)
        });
        if let Some((other, _)) = shared {
            let error = DriverError::new(FaultKind::InUse, doing());
            return Err(error.because(format!("host {other} has the same initiator")));
        }
        // On record before the first name is let in: a half-made grant must be taken back whole.
        export.hosts.insert(host, admitted.clone());
        self.set_limits(volume, export)?;
        for name in names {
            self.target
                .grant(&self.iqn(volume), name, access(grant.mode), admitted.proof.clone())
                .map_err(failed(doing()))?;
        }
        Ok(())
    }

    fn limit(&self, volume: VolumeId, limits: IoLimits) -> Result<(), DriverError> {
        let mut exports = self.exports();
        let Some(export) = exports.get_mut(&volume) else { return Ok(()) };
        export.limits = limits;
        self.set_limits(volume, export)
    }

    /// Tells the target the limits, and which names are one host: that has one share.
    fn set_limits(&self, volume: VolumeId, export: &Export) -> Result<(), DriverError> {
        let of_host =
            |held: &Admitted| names(&held.grant).into_iter().flat_map(Name::new).collect();
        let limit = Limit {
            unit: rate(export.limits.volume),
            each: rate(export.limits.each_host),
            parties: export.hosts.values().map(of_host).collect(),
        };
        let doing = || format!("limiting the I/O of volume {volume}");
        self.target.limit(&self.iqn(volume), &limit).map_err(failed(doing()))
    }

    fn serves(&self, volume: VolumeId, export: &Export, host: HostId) -> bool {
        let seen = self.target.export_of(&self.iqn(volume));
        seen.is_some_and(|seen| self.facts(volume, export, &seen).hosts.contains_key(&host))
    }

    fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        // Not under the lock: this waits for the host's commands.
        let grant = self.exports().get(&volume).and_then(|e| e.hosts.get(&host).cloned());
        let Some(Admitted { grant, .. }) = grant else { return Ok(()) };
        let mut outcome = Ok(());
        // Every name, though one may not be done: no path stays open for the sake of another.
        for name in names(&grant) {
            let doing = format!("putting host {host} ({name}) out of volume {volume}");
            let revoked = self.target.revoke(&self.iqn(volume), name).map_err(failed(doing));
            outcome = outcome.and(revoked);
        }
        outcome?;
        if let Some(export) = self.exports().get_mut(&volume) {
            export.hosts.remove(&host);
        }
        Ok(())
    }

    fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        let doing = format!("taking the export of volume {volume} away");
        self.target.unexport(&self.iqn(volume)).map_err(failed(doing))?;
        self.exports().remove(&volume);
        Ok(())
    }

    fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        if let Some(export) = self.exports().get_mut(&volume) {
            let doing = || format!("telling the hosts of volume {volume} its new size {size}");
            export.unit.capacity_changed().map_err(|e| DriverError::from_io(doing(), e))?;
            export.size = size;
        }
        Ok(())
    }

    fn facts(&self, volume: VolumeId, export: &Export, seen: &TargetFacts) -> ExportFacts {
        let connection = self.connection(volume);
        let served = |(host, admitted): (&HostId, &Admitted)| {
            let Admitted { grant, proof } = admitted;
            let (mut initiators, mut is_served) = (Vec::new(), false);
            for initiator in &grant.initiators {
                let Ok(name) = Name::new(&initiator.port_name) else { continue };
                let granted = seen.grants.get(&name);
                is_served |= granted.is_some()
                    || seen.leaving.contains(&name)
                    || seen.sessions.iter().any(|s| s.initiator == name);
                // Only the names that are let in like this: all else is seen to differ.
                if granted.is_some_and(|granted| granted.is(access(grant.mode), proof.as_ref())) {
                    initiators.push(initiator.clone());
                }
            }
            let grant = Grant { initiators, ..grant.clone() };
            is_served.then(|| (*host, HostFacts { grant, connection: connection.clone() }))
        };
        let hosts = export.hosts.iter().filter_map(served).collect();
        let limits =
            IoLimits { volume: io_rate(seen.limit.unit), each_host: io_rate(seen.limit.each) };
        ExportFacts { blocks: export.blocks, size: export.size, limits, hosts }
    }
}

#[async_trait]
impl TargetDriver for EmbeddedTarget {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn capabilities(&self) -> TargetCapabilities {
        TargetCapabilities {
            protocol: Protocol::Iscsi,
            read_only_per_host: true,
            credentials_per_host: true,
            persistent_reservations: true,
        }
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        // Reads what is kept of the volume, and may have to wait for its hosts.
        let inner = Arc::clone(&self.inner);
        in_thread(move || inner.export(volume, source)).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        self.inner.limit(volume, *limits)
    }

    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        self.inner.grant(volume, host, grant)?;
        Ok(self.inner.connection(volume))
    }

    async fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        let inner = Arc::clone(&self.inner);
        in_thread(move || inner.revoke(volume, host)).await
    }

    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        if !self.inner.exports().contains_key(&volume) {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        in_thread(move || inner.unexport(volume)).await
    }

    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        self.inner.resized(volume, size)
    }

    async fn quiesce(&self, volume: VolumeId, most: Duration) -> Result<Hold, DriverError> {
        if !self.inner.exports().contains_key(&volume) {
            return Ok(Hold::needless());
        }
        let inner = Arc::clone(&self.inner);
        // Waits for the writes that are under way.
        in_thread(move || {
            let until = Instant::now() + most;
            let held = inner.target.hold_writes(&inner.iqn(volume), most);
            let doing = format!("holding back writes to volume {volume}");
            let held = held.map_err(failed(doing))?;
            Ok(Hold::until(until, move || held.end()))
        })
        .await
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        let seen: HashMap<String, TargetFacts> = self
            .inner
            .target
            .exports()
            .into_iter()
            .map(|facts| (facts.iqn.as_str().to_owned(), facts))
            .collect();
        let exports = self.inner.exports();
        let known = exports.iter().filter_map(|(volume, export)| {
            let seen = seen.get(&self.inner.iqn(*volume))?;
            Some((*volume, self.inner.facts(*volume, export, seen)))
        });
        Ok(known.collect())
    }

    async fn export_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        let exports = self.inner.exports();
        let Some(export) = exports.get(&volume) else { return Ok(None) };
        let seen = self.inner.target.export_of(&self.inner.iqn(volume));
        Ok(seen.map(|seen| self.inner.facts(volume, export, &seen)))
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        Ok(self.inner.usage())
    }

    async fn usage_of(&self, volume: VolumeId) -> Result<Option<VolumeUsage>, DriverError> {
        Ok(self.inner.usage_of(volume))
    }
}

/// What hosts see of the volume.
fn identity(volume: VolumeId) -> Identity {
    Identity {
        naa: Volume::naa(volume),
        serial: volume.to_string(),
        vendor: "OSDS".to_owned(),
        product: "Volume".to_owned(),
        revision: "1".to_owned(),
    }
}

fn names<S>(grant: &Grant<S>) -> Vec<&str> {
    let iscsi = grant.initiators.iter().filter(|i| i.protocol == Protocol::Iscsi);
    iscsi.map(|i| i.port_name.as_str()).collect()
}

/// Whether the target takes them for one name: it compares without case.
fn is_same(one: &str, other: &str) -> bool {
    Name::new(one).is_ok_and(|one| Name::new(other).is_ok_and(|other| one == other))
}

fn access(mode: AttachMode) -> Access {
    match mode {
        AttachMode::ReadOnly => Access::ReadOnly,
        AttachMode::ReadWrite => Access::ReadWrite,
    }
}

fn rate(rate: IoRate) -> Rate {
    Rate { iops: rate.iops, bytes_per_second: rate.bytes_per_second }
}

fn io_rate(rate: Rate) -> IoRate {
    IoRate { iops: rate.iops, bytes_per_second: rate.bytes_per_second }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(TargetError) -> DriverError {
    move |error| {
        let kind = match &error {
            TargetError::StillDraining { .. }
            | TargetError::StillRegistered { .. }
            | TargetError::StillWriting(_)
            | TargetError::ShutDown => FaultKind::Temporary,
            TargetError::OtherAccess { .. } | TargetError::OtherCredentials { .. } => {
                FaultKind::InUse
            }
            TargetError::NoSuchExport(_) => FaultKind::Gone,
            TargetError::Name(_) | TargetError::Credentials(_) | TargetError::OtherUnit(_) => {
                FaultKind::Broken
            }
        };
        DriverError::new(kind, doing).because(error)
    }
}

mod usage;

#[cfg(test)]
mod tests;
