//! FusionStorage as its own target: each host has an object on the array, its initiators are ports
//! of that object, and volumes are mapped to it.
//!
//! The object is called `osds-<host id>`, so that a mapping on the array says whose it is; who is
//! let in is read back from the array and never remembered. A host's object and ports are shared by
//! all its volumes: the first mapping makes them, the end of the last removes them, one host at a
//! time. What an interrupted call left is in the journal and tidied later.
//!
//! Must stay true: a volume is mapped last and unmapped first, so no half-made host reaches it; a
//! port or a mapping that is not ours is never touched. The array cannot hold a host to reading,
//! asks for no proof of ours and has no limits of ours: each of these is refused, never accepted and
//! ignored.

mod journal;
mod portals;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use osds_model::host::Protocol;
use osds_model::usage::TargetUsage;
use osds_model::{
    AttachMode, Capacity, Connection, FaultKind, Grant, HostId, Initiator, IoLimits, Secret,
    VolumeId,
};

use self::journal::{Journal, Port};
use self::portals::Portals;
use crate::config::FusionStorageConfig;
use crate::storage::fusionstorage::{
    Array, ArrayVolume, FusionStorage, RestError, name_of, volume_of,
};
use crate::target::without_limits;
use crate::thread::lock;
use crate::{
    BlockSource, DriverError, ExportFacts, Hold, HostFacts, TargetCapabilities, TargetDriver,
};

/// Hosts whose changes wait for each other only when they share one of these.
const STRIPES: u128 = 64;

/// The array as a target. Cheap to clone.
#[derive(Clone)]
pub struct FusionStorageTarget {
    storage: FusionStorage,
    inner: Arc<Inner>,
}

struct Inner {
    portals: Portals,
    journal: Journal,
    /// What was exported since we started; mappings tell the rest.
    exported: Mutex<HashSet<VolumeId>>,
    stripes: Vec<Mutex<()>>,
    /// Hosts of which something may be left on the array that nobody uses.
    unsure: Mutex<BTreeSet<HostId>>,
}

impl FusionStorageTarget {
    /// The target of this storage; what it puts on the array is written down in `journal`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn new(
        storage: FusionStorage,
        config: &FusionStorageConfig,
        journal: PathBuf,
    ) -> Result<Self, DriverError> {
        let journal = Journal::open(journal)?;
        // An earlier life may have been cut off anywhere.
        let unsure = Mutex::new(journal.hosts().into_iter().collect());
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        let (portals, exported) = (Portals::new(config), Mutex::default());
        Ok(Self { storage, inner: Arc::new(Inner { portals, journal, exported, stripes, unsure }) })
    }

    async fn on_array<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &Array) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let inner = Arc::clone(&self.inner);
        self.storage.on_array(move |array| work(&inner, array)).await
    }
}

/// The array's name for a host.
fn object_of(host: HostId) -> String {
    format!("osds-{}", host.0.simple())
}

/// Whose object it is, if it is one of ours.
fn host_of(object: &str) -> Option<HostId> {
    let number = u128::from_str_radix(object.strip_prefix("osds-")?, 16).ok()?;
    let host = HostId::from_u128(number);
    // Only as we write it: two objects must not be one host.
    (object_of(host) == object).then_some(host)
}

impl Inner {
    /// Held while a host's object or its ports change.
    fn turn(&self, host: HostId) -> MutexGuard<'_, ()> {
        let stripe = usize::try_from(host.0.as_u128() % STRIPES).expect("less than 64");
        lock(&self.stripes[stripe])
    }

    fn export(&self, array: &Array, volume: VolumeId) -> Result<(), DriverError> {
        find(array, volume)?
            .ok_or_else(|| gone(volume, format!("exporting {}", name_of(volume))))?;
        lock(&self.exported).insert(volume);
        Ok(())
    }

    fn grant(
        &self,
        array: &Array,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let doing = format!("letting host {host} in to volume {volume} as {}", grant.mode);
        let error = |kind, why: String| DriverError::new(kind, doing.clone()).because(why);
        let failed = |error: RestError| error.while_doing(doing.clone());
        let wished = self.check(grant, &doing)?;
        let (name, object) = (name_of(volume), object_of(host));
        let _turn = self.turn(host);
        find(array, volume)?.ok_or_else(|| gone(volume, doing.clone()))?;
        // Nothing is changed before it is known that nothing is in the way.
        let mut free = Vec::new();
        for port in &wished {
            match array.host_of(port).map_err(failed)? {
                None => free.push(port),
                Some(other) if other != object => {
                    let why = format!(
                        "initiator {port} is the array's host {other} already; take it away there \
                         if nobody needs it"
                    );
                    return Err(error(FaultKind::InUse, why));
                }
                Some(_) => {}
            }
        }
        let volumes = self.volumes_of(array, host).map_err(failed)?;
        let is_in = volumes.contains(&name);
        let surplus: Vec<_> = self.ports_of(array, host).map_err(failed)?;
        let surplus: Vec<_> = surplus.into_iter().filter(|port| !contains(&wished, port)).collect();
        if is_in && !(surplus.is_empty() && free.is_empty()) {
            let why = "it is let in by another grant; revoke that first".to_owned();
            return Err(error(FaultKind::InUse, why));
        }
        if !surplus.is_empty() && !volumes.is_empty() {
            let why = format!(
                "on the array it has the initiator {} too, for another volume; detach the host \
                 there first",
                surplus[0]
            );
            return Err(error(FaultKind::InUse, why));
        }
        if !is_in {
            lock(&self.unsure).insert(host);
            let (mut kept, mut ports) = (self.journal.ports(host), Vec::new());
            for name in wished.iter().cloned() {
                let known = kept.iter().position(|port| port.name.eq_ignore_ascii_case(&name));
                let made = match known.map(|known| kept.remove(known)) {
                    Some(port) => port.made,
                    None => !array.has_port(&name).map_err(failed)?,
                };
                ports.push(Port { name, made });
            }
            ports.extend(kept);
            self.journal.keep(host, ports)?;
            array.create_host(&object).map_err(failed)?;
            for port in &surplus {
                array.remove_port(&object, port).map_err(failed)?;
            }
            for port in free {
                array.create_port(port).map_err(failed)?;
                let added = array.add_port(&object, port);
                // Said or not, it is where it is.
                if array.host_of(port).map_err(failed)?.as_ref() != Some(&object) {
                    added.map_err(failed)?;
                    let why = format!("the array did not make {port} a port of {object}");
                    return Err(error(FaultKind::Temporary, why));
                }
            }
            array.map(&object, &name).map_err(failed)?;
        }
        let hosts = array.hosts_of(&name).map_err(failed)?;
        let lun = hosts.into_iter().find_map(|(other, lun)| (other == object).then_some(lun));
        let lun = lun.ok_or_else(|| {
            error(FaultKind::Temporary, "the array says it did, and it did not".to_owned())
        })?;
        if lun == 0 {
            let why = "the array gave it LUN 0, which OpenSDS connectors refuse".to_owned();
            return Err(error(FaultKind::Broken, why));
        }
        lock(&self.unsure).remove(&host);
        self.connection(array, &wished[0], lun, true)
    }

    /// What of a grant the array can keep; the initiators' names.
    fn check(&self, grant: &Grant<Secret>, doing: &str) -> Result<Vec<String>, DriverError> {
        let refuse = |why: &str| {
            Err(DriverError::new(FaultKind::NotSupported, doing).because(why.to_owned()))
        };
        if grant.mode != AttachMode::ReadWrite {
            return refuse(
                "FusionStorage cannot hold one host to reading; attach it rw, or use a pool whose \
                 target can",
            );
        }
        if grant.authentication.is_some() {
            return refuse(
                "osds cannot give FusionStorage credentials for one attachment, and has not asked \
                 for any since it knows that; detach the host and attach it anew",
            );
        }
        let iscsi = grant.initiators.iter().filter(|one| one.protocol == Protocol::Iscsi);
        let names: Vec<_> = iscsi.map(|one| one.port_name.clone()).collect();
        if names.is_empty() {
            return refuse("the host has no iSCSI initiator");
        }
        Ok(names)
    }

    fn connection(
        &self,
        array: &Array,
        initiator: &str,
        lun: u32,
        anew: bool,
    ) -> Result<Connection, DriverError> {
        let portals = self.portals.of(array, initiator, anew)?;
        // Hosts log in to one name; portals of other names are other ways, which they may add.
        let iqn = portals[0].iqn.clone();
        let same = portals.into_iter().filter(|portal| portal.iqn == iqn);
        let portals = same.map(|portal| portal.address).collect();
        Ok(Connection::Iscsi { iqn: iqn.unwrap_or_default(), portals, lun })
    }

    /// Names of volumes that a host reaches; none where the array does not know it.
    fn volumes_of(&self, array: &Array, host: HostId) -> Result<Vec<String>, RestError> {
        let object = object_of(host);
        if array.hosts()?.contains(&object) { array.volumes_of(&object) } else { Ok(Vec::new()) }
    }

    /// The ports that a host really has.
    fn ports_of(&self, array: &Array, host: HostId) -> Result<Vec<String>, RestError> {
        let object = object_of(host);
        let kept: Vec<_> = self.journal.ports(host).into_iter().map(|port| port.name).collect();
        // Without a journal there is only one way to know.
        let ask = if kept.is_empty() { array.ports()? } else { kept };
        let mut ports = Vec::new();
        for port in ask {
            if array.host_of(&port)?.as_ref() == Some(&object) {
                ports.push(port);
            }
        }
        Ok(ports)
    }

    fn revoke(&self, array: &Array, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        let doing = format!("putting host {host} out of volume {volume}");
        let failed = |error: RestError| error.while_doing(doing.clone());
        let (name, object) = (name_of(volume), object_of(host));
        let _turn = self.turn(host);
        let is_in = || {
            let hosts = array.hosts_of(&name).map_err(failed)?;
            Ok::<_, DriverError>(hosts.iter().any(|(other, _)| *other == object))
        };
        if !is_in()? {
            return Ok(());
        }
        lock(&self.unsure).insert(host);
        let unmapped = array.unmap(&object, &name);
        // What counts is what the array has.
        if is_in()? {
            unmapped.map_err(failed)?;
            let error = DriverError::new(FaultKind::Temporary, doing.clone());
            return Err(error.because("the array says it did, and it did not"));
        }
        // The host is out. What is left of it is nobody's way in, and is tried again later.
        if self.clear(array, host).is_ok() {
            lock(&self.unsure).remove(&host);
        }
        Ok(())
    }

    /// Takes away what is left of a host that reaches nothing any more. In its turn.
    fn clear(&self, array: &Array, host: HostId) -> Result<(), RestError> {
        let object = object_of(host);
        let is_there = array.hosts()?.contains(&object);
        if is_there && !array.volumes_of(&object)?.is_empty() {
            return Ok(());
        }
        let journal = self.journal.ports(host);
        for port in self.ports_of(array, host)? {
            array.remove_port(&object, &port)?;
        }
        for port in journal.iter().filter(|port| port.made) {
            // Somebody else may have taken it for a host of theirs.
            if array.host_of(&port.name)?.is_none() {
                array.delete_port(&port.name)?;
            }
        }
        if is_there {
            array.delete_host(&object)?;
        }
        self.journal.forget(host).map_err(|error| RestError::NoAnswer(error.chain()))
    }

    /// Clears what may have been left by calls that were interrupted. Whoever calls has something
    /// else to do: a host that cannot be cleared now is looked at the next time.
    fn tidy(&self, array: &Array) {
        let unsure = lock(&self.unsure).clone();
        for host in unsure {
            let _turn = self.turn(host);
            if self.clear(array, host).is_ok() {
                lock(&self.unsure).remove(&host);
            }
        }
    }

    fn unexport(&self, array: &Array, volume: VolumeId) -> Result<(), DriverError> {
        let doing = format!("taking the export of volume {volume} away");
        let hosts = array.hosts_of(&name_of(volume)).map_err(|error| error.while_doing(doing))?;
        for host in hosts.iter().filter_map(|(object, _)| host_of(object)) {
            self.revoke(array, volume, host)?;
        }
        lock(&self.exported).remove(&volume);
        self.tidy(array);
        Ok(())
    }

    fn facts(
        &self,
        array: &Array,
        volume: VolumeId,
        found: &ArrayVolume,
    ) -> Result<ExportFacts, DriverError> {
        let doing = format!("asking the array who reaches volume {volume}");
        let failed = |error: RestError| error.while_doing(doing.clone());
        let mut hosts = BTreeMap::new();
        for (object, lun) in array.hosts_of(&found.name).map_err(failed)? {
            let Some(host) = host_of(&object) else { continue };
            let ports = self.ports_of(array, host).map_err(failed)?;
            let initiator = |port_name: &String| Initiator {
                port_name: port_name.clone(),
                protocol: Protocol::Iscsi,
            };
            let initiators = ports.iter().map(initiator).collect();
            let grant = Grant { mode: AttachMode::ReadWrite, initiators, authentication: None };
            let first = ports.first().map_or("", String::as_str);
            let connection = self.connection(array, first, lun, false)?;
            hosts.insert(host, HostFacts { grant, connection });
        }
        Ok(ExportFacts { blocks: found.blocks, size: found.size, limits: IoLimits::NONE, hosts })
    }

    fn export_of(
        &self,
        array: &Array,
        volume: VolumeId,
    ) -> Result<Option<ExportFacts>, DriverError> {
        let Some(found) = find(array, volume)? else { return Ok(None) };
        let facts = self.facts(array, volume, &found)?;
        let is_exported = !facts.hosts.is_empty() || lock(&self.exported).contains(&volume);
        Ok(is_exported.then_some(facts))
    }

    fn exports(&self, array: &Array) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.tidy(array);
        let failed = |error: RestError| error.while_doing("asking the array what it exports");
        let mut volumes: BTreeSet<_> = lock(&self.exported).iter().copied().collect();
        for object in array.hosts().map_err(failed)? {
            if host_of(&object).is_some() {
                let names = array.volumes_of(&object).map_err(failed)?;
                volumes.extend(names.iter().filter_map(|name| volume_of(name)));
            }
        }
        let mut exports = BTreeMap::new();
        for volume in volumes {
            exports.extend(self.export_of(array, volume)?.map(|facts| (volume, facts)));
        }
        Ok(exports)
    }
}

fn find(array: &Array, volume: VolumeId) -> Result<Option<ArrayVolume>, DriverError> {
    let name = name_of(volume);
    array.volume(&name).map_err(|error| error.while_doing(format!("looking for {name}")))
}

fn gone(volume: VolumeId, doing: String) -> DriverError {
    let why = format!("the array has no volume {}", name_of(volume));
    DriverError::new(FaultKind::Gone, doing).because(why)
}

fn contains(names: &[String], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[async_trait]
impl TargetDriver for FusionStorageTarget {
    fn name(&self) -> &'static str {
        "huawei_fusionstorage"
    }

    fn capabilities(&self) -> TargetCapabilities {
        TargetCapabilities {
            protocol: Protocol::Iscsi,
            read_only_per_host: false,
            credentials_per_host: false,
            // The array may; nobody told us how far.
            persistent_reservations: false,
        }
    }

    async fn export(&self, volume: VolumeId, _: BlockSource) -> Result<(), DriverError> {
        self.on_array(move |inner, array| inner.export(array, volume)).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        let why = "osds sets no limits on FusionStorage; use a profile without them";
        without_limits(self, volume, limits, why).await
    }

    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let grant = grant.clone();
        self.on_array(move |inner, array| inner.grant(array, volume, host, &grant)).await
    }

    async fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        self.on_array(move |inner, array| inner.revoke(array, volume, host)).await
    }

    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        self.on_array(move |inner, array| inner.unexport(array, volume)).await
    }

    async fn resized(&self, _: VolumeId, _: Capacity) -> Result<(), DriverError> {
        // The array extends what it exports, and tells its hosts itself.
        Ok(())
    }

    async fn quiesce(&self, _: VolumeId, _: Duration) -> Result<Hold, DriverError> {
        // Hosts write to the array, which nobody told to wait.
        Ok(Hold::impossible())
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.on_array(Inner::exports).await
    }

    async fn export_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        self.on_array(move |inner, array| inner.export_of(array, volume)).await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        // The array counts for itself; what cannot be told by host is not told.
        Ok(TargetUsage::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_name_their_host_and_no_others_is_taken_for_one() {
        let host = HostId::from_u128(0xAB);
        let object = object_of(host);
        assert_eq!(object, "osds-000000000000000000000000000000ab");
        assert_eq!(host_of(&object), Some(host));
        for other in ["osds-", "esx1", "osds-00000000-0000-0000-0000-0000000000ab"] {
            assert_eq!(host_of(other), None, "{other}");
        }
    }
}
