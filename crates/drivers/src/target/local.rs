//! Volumes for the machine that holds them: a loop device for each host that is let in.
//!
//! The dock makes the device, and not whoever uses it: so the dock alone can say that no write of a
//! host lands any more, without asking anybody who may be frozen or dead. For each host it makes a
//! hard link to the volume's file, `<pool>/.exports/<volume>.<host>.img`, and a device on that
//! name. The kernel tells a device's file by name, so who is served is read back from sysfs, and a
//! restart of ours is nothing.
//!
//! A host that writes uses a second device on top of the first, as only that can be stopped whoever
//! writes through it (`local/device.rs`).
//!
//! Must stay true: a host is out only when every device of its link refuses writes, has none under
//! way, and goes by itself. Until then it counts as served, though not as granted.

mod device;
mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use osds_model::host::Protocol;
use osds_model::usage::TargetUsage;
use osds_model::{
    AttachMode, Capacity, Connection, FaultKind, Grant, HostId, IoLimits, Secret, VolumeId,
};

use self::device::Loop;
use self::names::Exports;
use crate::target::without_limits;
use crate::thread::{in_thread, lock};
use crate::{
    BlockSource, BlocksId, DriverError, ExportFacts, Hold, HostFacts, TargetCapabilities,
    TargetDriver,
};

/// How a pool's directory calls the place of the links.
pub use self::names::DIRECTORY;

/// Loop devices on this machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalTarget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    drain_timeout: Duration,
    /// Where links are: only devices on files in these are ours.
    directories: Mutex<BTreeSet<PathBuf>>,
    /// What was exported since we started. Devices tell the rest.
    exported: Mutex<HashMap<VolumeId, Exported>>,
    /// Held while a number gets a file, or is made fit for the next who gets it.
    numbers: Mutex<()>,
    /// Devices that were let go and were still open.
    leaving: Mutex<Vec<Loop>>,
    /// Devices that a thread waits for.
    draining: Arc<Mutex<HashSet<String>>>,
    /// Tests only: what a target would be that forgets to stop the writers.
    forgets_to_stop: bool,
}

#[derive(Clone, Debug)]
struct Exported {
    path: PathBuf,
    blocks: BlocksId,
    size: Capacity,
}

impl LocalTarget {
    /// A target for the volumes in these pool directories. A detach that has waited this long for
    /// writes under way reports a fault and is tried again.
    ///
    /// # Errors
    /// `NotSupported`, with what to do, where loop devices cannot be made.
    pub fn start(
        pools: impl IntoIterator<Item = PathBuf>,
        drain_timeout: Duration,
    ) -> Result<Self, DriverError> {
        device::probe()?;
        let directory = |pool: PathBuf| pool.canonicalize().unwrap_or(pool).join(DIRECTORY);
        let directories = Mutex::new(pools.into_iter().map(directory).collect());
        Ok(Self {
            inner: Arc::new(Inner {
                drain_timeout,
                directories,
                exported: Mutex::default(),
                numbers: Mutex::default(),
                leaving: Mutex::default(),
                draining: Arc::default(),
                forgets_to_stop: false,
            }),
        })
    }

    /// One that says "out" without stopping anything: a test that it passes proves nothing.
    #[doc(hidden)]
    #[must_use]
    pub fn that_forgets_to_stop(self) -> Self {
        let inner = Arc::into_inner(self.inner).expect("nobody else has it yet");
        Self { inner: Arc::new(Inner { forgets_to_stop: true, ..inner }) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let inner = Arc::clone(&self.inner);
        in_thread(move || work(&inner)).await
    }
}

/// One of our devices, and whose it is.
struct Served {
    volume: VolumeId,
    host: HostId,
    /// On the link.
    device: Loop,
    /// On that device.
    uppers: Vec<Loop>,
}

impl Served {
    /// What the host uses.
    fn used(&self) -> &Loop {
        self.uppers.first().unwrap_or(&self.device)
    }

    /// Whether it is as it was made, for a host that may write or may not.
    fn is_as_made(&self, mode: AttachMode) -> bool {
        let lower = &self.device;
        let is_whole = !lower.is_unlinked && !lower.is_leaving;
        match (mode, self.uppers.as_slice()) {
            (AttachMode::ReadOnly, []) => is_whole && lower.is_read_only,
            (AttachMode::ReadWrite, [upper]) => {
                is_whole && !lower.is_read_only && !upper.is_read_only && !upper.is_leaving
            }
            (AttachMode::ReadOnly | AttachMode::ReadWrite, _) => false,
        }
    }
}

impl Inner {
    /// Every device of ours through which somebody may still write.
    fn served(&self) -> Result<Vec<Served>, DriverError> {
        let directories = lock(&self.directories).clone();
        let mut served = Vec::new();
        let all = Loop::all()?;
        for device in &all {
            let Some(parent) = device.file.parent() else { continue };
            if !directories.contains(parent) {
                continue;
            }
            let Some((volume, host)) = names::whose(&device.file) else { continue };
            if !(device.is_read_only && device.is_leaving) {
                let node = device.device();
                let uppers = all.iter().filter(|upper| upper.file == node).cloned().collect();
                served.push(Served { volume, host, device: device.clone(), uppers });
            }
        }
        Ok(served)
    }

    fn served_of(&self, volume: VolumeId) -> Result<Vec<Served>, DriverError> {
        Ok(self.served()?.into_iter().filter(|served| served.volume == volume).collect())
    }

    fn export(&self, volume: VolumeId, source: &BlockSource) -> Result<(), DriverError> {
        let (blocks, size) = (source.id()?, source.size);
        let doing = || format!("exporting {}", source.path.display());
        let others = self.facts_of(volume)?.filter(|facts| facts.blocks != blocks);
        if others.is_some_and(|facts| !facts.hosts.is_empty()) {
            let error = DriverError::new(FaultKind::InUse, doing());
            return Err(error.because("a host is still let in to the blocks that were there"));
        }
        let path = source.path.canonicalize().map_err(|e| DriverError::from_io(doing(), e))?;
        let exports = Exports::beside(&path)?;
        lock(&self.directories).insert(exports.directory().to_owned());
        lock(&self.exported).insert(volume, Exported { path, blocks, size });
        Ok(())
    }

    fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let doing = || format!("letting host {host} in to volume {volume} as {}", grant.mode);
        let not_supported =
            |why: &str| DriverError::new(FaultKind::NotSupported, doing()).because(why.to_owned());
        if !grant.initiators.iter().any(|one| one.protocol == Protocol::Local) {
            return Err(not_supported("the host has no initiator of protocol local"));
        }
        if grant.authentication.is_some() {
            return Err(not_supported("nobody proves anything to a device of his own machine"));
        }
        let Some(exported) = lock(&self.exported).get(&volume).cloned() else {
            return Err(DriverError::new(FaultKind::Gone, doing()).because("not exported"));
        };
        let facts = self.facts_of(volume)?;
        let exports = Exports::beside(&exported.path)?;
        let link = exports.link(volume, host);
        let connection = connection(&link);
        let hosts = facts.map(|facts| facts.hosts).unwrap_or_default();
        if let Some(held) = hosts.get(&host) {
            if held.grant == grant.names() {
                return Ok(connection);
            }
            let error = DriverError::new(FaultKind::InUse, doing());
            return Err(error.because("it is let in by another grant; revoke that first"));
        }
        let shared = hosts.iter().find(|(_, held)| {
            let is_ours = |theirs| grant.initiators.iter().any(|ours| ours.is_same_as(theirs));
            held.grant.initiators.iter().any(is_ours)
        });
        if let Some((other, _)) = shared {
            let error = DriverError::new(FaultKind::InUse, doing());
            return Err(error.because(format!("host {other} has the same initiator")));
        }
        // What was granted is on record before the device is there: one without is nobody's.
        exports.write_grant(volume, host, &grant.names())?;
        exports.make_link(&exported.path, &link)?;
        let _numbers = lock(&self.numbers);
        self.clear_those_that_left();
        let is_read_only = grant.mode == AttachMode::ReadOnly;
        let lower = Loop::make(&link, is_read_only)?;
        if !is_read_only {
            Loop::make(&lower.device(), false)?;
        }
        Ok(connection)
    }

    fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        // Again after the link is gone: a device may have been made on it in the meantime.
        for _ in 0..2 {
            let of_host = |served: &Served| served.host == host;
            for served in self.served_of(volume)?.into_iter().filter(of_host) {
                self.put_out(&served)?;
            }
            let directories = lock(&self.directories).clone();
            for directory in directories {
                Exports::at(directory).remove(volume, host)?;
            }
        }
        Ok(())
    }

    fn put_out(&self, served: &Served) -> Result<(), DriverError> {
        let Served { device, uppers, .. } = served;
        if !self.forgets_to_stop {
            device.refuse_writes()?;
            for one in uppers.iter().chain([device]) {
                self.drain(one)?;
            }
        }
        // The lower one last: by that it is known to be out.
        for one in uppers.iter().chain([device]) {
            one.release()?;
        }
        lock(&self.leaving).push(device.clone());
        let _numbers = lock(&self.numbers);
        self.clear_those_that_left();
        Ok(())
    }

    /// Waits for the writes under way, but not for ever: storage that hangs is said to hang.
    fn drain(&self, device: &Loop) -> Result<(), DriverError> {
        let still = || {
            let doing = format!("waiting for the writes of {} that are under way", device.name);
            DriverError::new(FaultKind::Temporary, doing).because("the storage does not answer")
        };
        if !lock(&self.draining).insert(device.name.clone()) {
            return Err(still());
        }
        let (tell, told) = sync_channel(1);
        let (waited, draining) = (device.clone(), Arc::clone(&self.draining));
        thread::spawn(move || {
            let outcome = waited.drain();
            lock(&draining).remove(&waited.name);
            // Nobody listens once the time is over.
            let _ = tell.send(outcome);
        });
        match told.recv_timeout(self.drain_timeout) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(still()),
        }
    }

    /// Under the lock of the numbers, so that no device of ours is among those that are cleared.
    fn clear_those_that_left(&self) {
        lock(&self.leaving).retain(|device| {
            if device.is_free() {
                return device.clear().is_err();
            }
            // Either it is still open, or the number has another file by now.
            !matches!(device.again(), Ok(None))
        });
    }

    fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        let hosts: BTreeSet<HostId> =
            self.served_of(volume)?.into_iter().map(|served| served.host).collect();
        let mut outcome = Ok(());
        for host in hosts {
            outcome = outcome.and(self.revoke(volume, host));
        }
        outcome?;
        let directories = lock(&self.directories).clone();
        for directory in directories {
            Exports::at(directory).remove_all_of(volume)?;
        }
        lock(&self.exported).remove(&volume);
        Ok(())
    }

    fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        for Served { device, uppers, .. } in self.served_of(volume)? {
            for one in [&device].into_iter().chain(&uppers) {
                one.resize()?;
            }
        }
        if let Some(exported) = lock(&self.exported).get_mut(&volume) {
            exported.size = size;
        }
        Ok(())
    }

    fn facts(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        let mut all = BTreeMap::new();
        for (volume, exported) in &*lock(&self.exported) {
            let (blocks, size) = (exported.blocks, exported.size);
            let (limits, hosts) = (IoLimits::NONE, BTreeMap::new());
            all.insert(*volume, ExportFacts { blocks, size, limits, hosts });
        }
        for served in self.served()? {
            let Served { volume, host, device, .. } = &served;
            let blocks = names::blocks_of(&device.file);
            let size = match served.used().size() {
                Ok(size) => size,
                Err(_) if device.again()?.is_none() => continue,
                Err(error) => return Err(error),
            };
            let (limits, hosts) = (IoLimits::NONE, BTreeMap::new());
            // Blocks that nobody can name any more are no volume's: the host is let in anew.
            let unknown = || ExportFacts { blocks: BlocksId::NOTHING, size, limits, hosts };
            let export = all.entry(*volume).or_insert_with(unknown);
            export.blocks = blocks.unwrap_or(BlocksId::NOTHING);
            // What the least of the hosts sees.
            export.size = export.size.min(size);
            let grant = names::grant_of(&device.file)
                .filter(|grant| served.is_as_made(grant.mode))
                .filter(|_| blocks.is_some() && !export.hosts.contains_key(host));
            // Two devices, or one that is not as granted: put out and let in anew.
            let grant = grant.unwrap_or(Grant {
                mode: mode_of(device.is_read_only),
                initiators: Vec::new(),
                authentication: None,
            });
            let connection = connection(&device.file);
            export.hosts.insert(*host, HostFacts { grant, connection });
        }
        Ok(all)
    }

    fn facts_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        Ok(self.facts()?.remove(&volume))
    }
}

#[async_trait]
impl TargetDriver for LocalTarget {
    fn name(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> TargetCapabilities {
        TargetCapabilities {
            protocol: Protocol::Local,
            read_only_per_host: true,
            credentials_per_host: false,
            persistent_reservations: false,
        }
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.export(volume, &source)).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        let why = "a loop device has no limits; choose a pool with an iSCSI target";
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
        self.blocking(move |inner| inner.unexport(volume)).await
    }

    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.resized(volume, size)).await
    }

    async fn quiesce(&self, volume: VolumeId, _most: Duration) -> Result<Hold, DriverError> {
        // The kernel writes to the file as it likes. It clones one between two writes, though.
        let export = self.export_of(volume).await?;
        let writes = |export: ExportFacts| {
            export.hosts.values().any(|host| host.grant.mode == AttachMode::ReadWrite)
        };
        Ok(if export.is_some_and(writes) { Hold::impossible() } else { Hold::needless() })
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.blocking(Inner::facts).await
    }

    async fn export_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        self.blocking(move |inner| inner.facts_of(volume)).await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        // The kernel counts by device and not by grant; what cannot be told is not told.
        Ok(TargetUsage::default())
    }
}

fn connection(link: &std::path::Path) -> Connection {
    Connection::Local { path: link.to_string_lossy().into_owned() }
}

fn mode_of(is_read_only: bool) -> AttachMode {
    if is_read_only { AttachMode::ReadOnly } else { AttachMode::ReadWrite }
}
