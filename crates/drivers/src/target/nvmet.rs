//! NVMe over TCP by the kernel's own target (nvmet), driven through configfs.
//!
//! ```text
//! subsystems/<prefix>:<volume>.<host>/namespaces/1 -> the blocks      one for each volume and host
//!                                    /allowed_hosts/<host's NQN> -> hosts/<host's NQN>
//! ports/<number>/subsystems/<the same> -> subsystems/<the same>      last: from here on it is reached
//! ```
//! What the kernel offers to put a host out without a trace is a namespace's `enable`: writing 0
//! waits for the commands that are under way, while taking the host's name or the port away does
//! not. A namespace is all of a subsystem's hosts', so each host has a subsystem of its own. All of
//! a volume's have the same UUID and NGUID, so it is one volume everywhere.
//!
//! After a reboot of this machine ports lead nowhere until all that was there is back (`ports`).
//!
//! Must stay true: a subsystem's directory is made before anything that is ours in configfs, and
//! removed after it, so that whatever a crash leaves is found by it; and only subsystems of our
//! prefix, our ports, and hosts that we made are ever touched (ADR 0034).

mod names;
mod notes;
mod ports;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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

use self::names::Names;
use self::notes::{Note, Notes};
use crate::configfs::Configfs;
use crate::target::without_limits;
use crate::thread::{in_thread, lock};
use crate::{
    BlockSource, BlocksId, DriverError, ExportFacts, Hold, HostFacts, TargetCapabilities,
    TargetDriver,
};

pub use self::names::NQN_PREFIX;

/// How long ports stay shut after a reboot, though not all of what was there is back: some of it may be
/// on storage that does not answer.
const SHUT: Duration = Duration::from_secs(10);

/// How a kernel's NVMe target is set up.
#[derive(Clone, Debug)]
pub struct NvmetSettings {
    /// Addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// What hosts are told to connect to, as `address:port`; where it listens when empty.
    pub advertise: Vec<String>,
    /// Subsystems are called this, a colon, and the ids of the volume and the host.
    pub nqn_prefix: String,
    /// A detach that has waited this long for commands under way reports a fault and is tried again.
    pub drain_timeout: Duration,
    /// A directory of its own for what was granted, which configfs cannot say.
    pub notes: PathBuf,
}

/// The NVMe target of this machine's kernel. Cheap to clone.
#[derive(Clone)]
pub struct NvmetTarget {
    inner: Arc<Inner>,
}

struct Inner {
    tree: Configfs,
    names: Names,
    notes: Notes,
    listen: Vec<SocketAddr>,
    portals: Vec<String>,
    drain_timeout: Duration,
    /// What was exported since we started. Notes tell the rest.
    exported: Mutex<HashMap<VolumeId, Exported>>,
    /// Held while hosts and ports, which subsystems share, come or go.
    shared: Mutex<()>,
    /// Whether subsystems are reached as soon as they are made. Changes once, under `shared`.
    is_open: AtomicBool,
    /// Subsystems that a thread takes away.
    leaving: Mutex<HashSet<String>>,
}

#[derive(Clone, Debug)]
struct Exported {
    path: PathBuf,
    blocks: BlocksId,
    size: Capacity,
}

impl NvmetTarget {
    /// The target of this kernel.
    ///
    /// # Errors
    /// `NotSupported`, naming the module, where the kernel has no such target.
    pub fn start(settings: NvmetSettings) -> Result<Self, DriverError> {
        let tree = Configfs::of_kernel("nvmet", "nvmet")?;
        if !Path::new("/sys/module/nvmet_tcp").exists() {
            let error = DriverError::new(FaultKind::NotSupported, "using NVMe over TCP");
            let why = "the kernel module nvmet-tcp is not loaded: modprobe nvmet-tcp";
            return Err(error.because(why));
        }
        Self::on(tree, settings)
    }

    fn on(tree: Configfs, settings: NvmetSettings) -> Result<Self, DriverError> {
        let NvmetSettings { listen, advertise, nqn_prefix, drain_timeout, notes } = settings;
        let names = Names::new(nqn_prefix);
        let notes = Notes::open(notes)?;
        // After a reboot nothing of what they tell of is there.
        let there = tree.list("subsystems")?;
        let some_lost =
            notes.keep_only(|volume, host| there.contains(&names.subsystem(volume, host)))?;
        let after_reboot = some_lost && !there.iter().any(|name| names.whose(name).is_some());
        let portals = if advertise.is_empty() {
            listen.iter().map(ToString::to_string).collect()
        } else {
            advertise
        };
        let inner = Arc::new(Inner {
            tree,
            names,
            notes,
            listen,
            portals,
            drain_timeout,
            exported: Mutex::default(),
            shared: Mutex::default(),
            is_open: AtomicBool::new(!after_reboot),
            leaving: Mutex::default(),
        });
        if after_reboot {
            let later = Arc::downgrade(&inner);
            thread::spawn(move || {
                thread::sleep(SHUT);
                // What it cannot do is drift, and found as such.
                let _ = later.upgrade().map(|inner| inner.open());
            });
        }
        Ok(Self { inner })
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
    /// Our subsystems of this volume, or of all.
    fn subsystems(&self, of: Option<VolumeId>) -> Result<Vec<(VolumeId, HostId)>, DriverError> {
        let all = self.tree.list("subsystems")?.into_iter();
        let ours = all.filter_map(|name| self.names.whose(&name));
        Ok(ours.filter(|(volume, _)| of.is_none_or(|of| of == *volume)).collect())
    }

    fn export(&self, volume: VolumeId, source: &BlockSource) -> Result<(), DriverError> {
        let doing = || format!("exporting {}", source.path.display());
        let blocks = source.id()?;
        let path = source.path.canonicalize().map_err(|e| DriverError::from_io(doing(), e))?;
        check_is_there(&path, source)
            .map_err(|why| DriverError::new(FaultKind::NotSupported, doing()).because(why))?;
        for (_, host) in self.subsystems(Some(volume))? {
            // The kernel holds what it was given: it is not exchanged beneath a host.
            if self.notes.of(volume, host).is_none_or(|note| note.blocks() != blocks) {
                let error = DriverError::new(FaultKind::InUse, doing());
                return Err(error.because("a host is still let in to the blocks that were there"));
            }
        }
        lock(&self.exported).insert(volume, Exported { path, blocks, size: source.size });
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
        let in_use = |why: String| DriverError::new(FaultKind::InUse, doing()).because(why);
        let hosts = names::hosts_of(&grant.initiators).map_err(|why| not_supported(&why))?;
        let Some(first) = hosts.first() else {
            return Err(not_supported("the host has no initiator of protocol nvmeof"));
        };
        if grant.mode == AttachMode::ReadOnly {
            return Err(not_supported(
                "the kernel's NVMe target cannot hold one host to reading: attach it rw, or choose \
                 a pool that hosts reach by iscsi",
            ));
        }
        if grant.authentication.is_some() {
            return Err(not_supported("nobody proves anything to this target but its name"));
        }
        let Some(exported) = lock(&self.exported).get(&volume).cloned() else {
            return Err(DriverError::new(FaultKind::Gone, doing()).because("not exported"));
        };
        let nqn = self.names.subsystem(volume, host);
        let connection = self.connection(&nqn, first);
        let facts = self.facts(Some(volume))?.remove(&volume);
        let served = facts.map(|facts| facts.hosts).unwrap_or_default();
        if let Some(held) = served.get(&host) {
            if held.grant == grant.names() {
                return Ok(connection);
            }
            return Err(in_use("it is let in by another grant; revoke that first".to_owned()));
        }
        let shared = served.iter().find(|(_, held)| {
            let is_ours = |theirs| grant.initiators.iter().any(|ours| ours.is_same_as(theirs));
            held.grant.initiators.iter().any(is_ours)
        });
        if let Some((other, _)) = shared {
            return Err(in_use(format!("host {other} has the same initiator")));
        }
        let _shared = lock(&self.shared);
        // On record before anything is there: what is there without is nobody's.
        let is_new = |name: &&String| !self.tree.has(format!("hosts/{name}"));
        let made_before = self.notes.hosts_made();
        let made = hosts.iter().filter(|name| made_before.contains(*name) || is_new(name));
        let made = made.cloned().collect();
        self.notes.write(volume, host, Note::new(grant.names(), &exported, made))?;
        self.make(volume, &nqn, &exported, &hosts)?;
        Ok(connection)
    }

    /// Everything of a subsystem, in an order in which nobody is let in before all is as granted.
    fn make(
        &self,
        volume: VolumeId,
        nqn: &str,
        exported: &Exported,
        hosts: &[String],
    ) -> Result<(), DriverError> {
        let tree = &self.tree;
        let subsystem = format!("subsystems/{nqn}");
        let of = |name: &str| format!("{subsystem}/{name}");
        tree.make(&subsystem)?;
        tree.ensure(of("attr_allow_any_host"), "0")?;
        tree.ensure(of("attr_serial"), &names::serial(volume))?;
        tree.ensure(of("attr_model"), "osds")?;
        let namespace = of("namespaces/1");
        let of = |name: &str| format!("{namespace}/{name}");
        tree.make(&namespace)?;
        tree.write(of("device_path"), &exported.path.to_string_lossy())?;
        tree.write(of("device_uuid"), &volume.to_string())?;
        tree.write(of("device_nguid"), &volume.to_string())?;
        tree.write(of("enable"), "1")?;
        for name in hosts {
            tree.make(format!("hosts/{name}"))?;
            let link = format!("{subsystem}/allowed_hosts/{name}");
            tree.link(link, format!("hosts/{name}"))?;
        }
        if self.is_open.load(Ordering::Acquire) {
            self.let_reach(&[nqn.to_owned()])
        } else {
            Ok(())
        }
    }

    /// In a thread of its own: the kernel waits for commands under way, and storage that hangs has
    /// to be reported.
    fn revoke(self: &Arc<Self>, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        let nqn = self.names.subsystem(volume, host);
        let still = || {
            let doing = format!("waiting for the commands of host {host} that are under way");
            DriverError::new(FaultKind::Temporary, doing).because("the storage does not answer")
        };
        if !lock(&self.leaving).insert(nqn.clone()) {
            return Err(still());
        }
        let (tell, told) = sync_channel(1);
        let inner = Arc::clone(self);
        thread::spawn(move || {
            let outcome = inner.put_out(volume, host, &nqn);
            lock(&inner.leaving).remove(&nqn);
            // Nobody listens once the time is over.
            let _ = tell.send(outcome);
        });
        match told.recv_timeout(self.drain_timeout) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(still()),
        }
    }

    fn put_out(&self, volume: VolumeId, host: HostId, nqn: &str) -> Result<(), DriverError> {
        let tree = &self.tree;
        let subsystem = format!("subsystems/{nqn}");
        let namespaces = format!("{subsystem}/namespaces");
        for namespace in tree.list(&namespaces)? {
            let enable = format!("{namespaces}/{namespace}/enable");
            // Returns when the commands under way have ended.
            tree.ensure(enable, "0")?;
        }
        for port in tree.list("ports")? {
            tree.unlink(format!("ports/{port}/subsystems/{nqn}"))?;
        }
        let allowed = format!("{subsystem}/allowed_hosts");
        for name in tree.links(&allowed)? {
            tree.unlink(format!("{allowed}/{name}"))?;
        }
        for namespace in tree.list(&namespaces)? {
            // Also waits for a write to `enable` of a process that was killed meanwhile, which
            // reads 0 before it has ended: configfs removes nothing that is being written.
            tree.remove(format!("{namespaces}/{namespace}"))?;
        }
        let _shared = lock(&self.shared);
        for name in self.notes.of(volume, host).map(|note| note.made).unwrap_or_default() {
            remove_unused(tree, &format!("hosts/{name}"))?;
        }
        ports::remove_unused(tree)?;
        tree.remove(&subsystem)?;
        self.notes.remove(volume, host)
    }

    fn unexport(self: &Arc<Self>, volume: VolumeId) -> Result<(), DriverError> {
        let mut outcome = Ok(());
        for (_, host) in self.subsystems(Some(volume))? {
            outcome = outcome.and(self.revoke(volume, host));
        }
        outcome?;
        lock(&self.exported).remove(&volume);
        Ok(())
    }

    fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        for (_, host) in self.subsystems(Some(volume))? {
            let nqn = self.names.subsystem(volume, host);
            let attribute = format!("subsystems/{nqn}/namespaces/1/revalidate_size");
            if self.tree.has(&attribute) {
                // Hosts are told by it, too.
                self.tree.write(attribute, "1")?;
            } else if self.tree.has(format!("subsystems/{nqn}/namespaces/1")) {
                let doing = format!("telling hosts the size of volume {volume}");
                let error = DriverError::new(FaultKind::NotSupported, doing);
                return Err(error.because(
                    "this kernel's NVMe target cannot (it has no revalidate_size): detach the \
                     volume from its hosts and attach it again",
                ));
            }
            if let Some(note) = self.notes.of(volume, host) {
                self.notes.write(volume, host, note.of_size(size))?;
            }
        }
        if let Some(exported) = lock(&self.exported).get_mut(&volume) {
            exported.size = size;
        }
        Ok(())
    }

    fn facts(&self, of: Option<VolumeId>) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        let new = |blocks, size| {
            let (limits, hosts) = (IoLimits::NONE, BTreeMap::new());
            ExportFacts { blocks, size, limits, hosts }
        };
        let mut all = BTreeMap::new();
        for (volume, exported) in &*lock(&self.exported) {
            if of.is_none_or(|of| of == *volume) {
                all.insert(*volume, new(exported.blocks, exported.size));
            }
        }
        for (volume, host) in self.subsystems(of)? {
            let nqn = self.names.subsystem(volume, host);
            let note = self.notes.of(volume, host);
            let (blocks, size) = note
                .as_ref()
                .map_or((BlocksId::NOTHING, Capacity::ZERO), |note| (note.blocks(), note.size));
            let export = all.entry(volume).or_insert_with(|| new(blocks, size));
            export.blocks = blocks;
            // What the least of the hosts sees.
            export.size = export.size.min(size);
            let grant = match note {
                Some(note) if self.is_as_made(volume, &nqn, &note)? => note.grant,
                // Half-made, changed by somebody, or on its way out: put out and let in anew.
                Some(_) | None => Grant {
                    mode: AttachMode::ReadWrite,
                    initiators: Vec::new(),
                    authentication: None,
                },
            };
            let hosts = names::hosts_of(&grant.initiators).unwrap_or_default();
            let first = hosts.first().map_or("", String::as_str);
            let connection = self.connection(&nqn, first);
            export.hosts.insert(host, HostFacts { grant, connection });
        }
        Ok(all)
    }

    /// Whether all of it is as [`Inner::make`] makes it.
    fn is_as_made(&self, volume: VolumeId, nqn: &str, note: &Note) -> Result<bool, DriverError> {
        let tree = &self.tree;
        let subsystem = format!("subsystems/{nqn}");
        let path = note.path.to_string_lossy();
        for (name, expected) in [
            ("attr_allow_any_host", "0"),
            ("namespaces/1/enable", "1"),
            ("namespaces/1/device_path", &path),
            ("namespaces/1/device_uuid", &volume.to_string()),
        ] {
            if tree.read(format!("{subsystem}/{name}"))?.as_deref() != Some(expected) {
                return Ok(false);
            }
        }
        let allowed: BTreeSet<_> =
            tree.links(format!("{subsystem}/allowed_hosts"))?.into_iter().collect();
        let hosts = names::hosts_of(&note.grant.initiators).unwrap_or_default();
        if allowed != hosts.into_iter().collect()
            || tree.list(format!("{subsystem}/namespaces"))? != ["1"]
            || lock(&self.leaving).contains(nqn)
        {
            return Ok(false);
        }
        if !self.is_open.load(Ordering::Acquire) {
            return Ok(true);
        }
        for address in &self.listen {
            let Some(port) = ports::find(tree, *address)? else { return Ok(false) };
            if !tree.has(format!("ports/{port}/subsystems/{nqn}")) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn connection(&self, nqn: &str, host_nqn: &str) -> Connection {
        Connection::NvmeOf {
            nqn: nqn.to_owned(),
            portals: self.portals.clone(),
            host_nqn: host_nqn.to_owned(),
        }
    }
}

/// Makes sure it is gone, unless somebody uses it.
fn remove_unused(tree: &Configfs, path: &str) -> Result<(), DriverError> {
    match tree.remove(path) {
        Err(error) if error.kind == FaultKind::InUse => Ok(()),
        outcome => outcome,
    }
}

/// Whether the path leads the kernel to the blocks that were opened: it opens them once more, and
/// writes past every cache of ours.
fn check_is_there(path: &Path, source: &BlockSource) -> Result<(), String> {
    let opened = match &source.blocks {
        crate::Blocks::File(file) | crate::Blocks::Device(file, _) => file.metadata(),
        crate::Blocks::Unit(_) => return Err("an array exports its volumes itself".to_owned()),
    };
    let (opened, found) = match (opened, fs::metadata(path)) {
        (Ok(opened), Ok(found)) => (opened, found),
        (Err(error), _) | (_, Err(error)) => return Err(error.to_string()),
    };
    let kind = found.file_type();
    let same = if kind.is_block_device() {
        opened.rdev() == found.rdev()
    } else if kind.is_file() {
        (opened.dev(), opened.ino()) == (found.dev(), found.ino())
    } else {
        return Err("the kernel's NVMe target wants a block device or a file".to_owned());
    };
    if same { Ok(()) } else { Err("another volume is there by now".to_owned()) }
}

#[async_trait]
impl TargetDriver for NvmetTarget {
    fn name(&self) -> &'static str {
        "nvmet"
    }

    fn capabilities(&self) -> TargetCapabilities {
        TargetCapabilities {
            protocol: Protocol::NvmeOf,
            credentials_per_host: false,
            read_only_per_host: false,
            persistent_reservations: false,
        }
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        self.blocking(move |inner| inner.export(volume, &source)).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        let why =
            "the kernel's NVMe target has no limits; choose a pool with the embedded iSCSI target";
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
        // The kernel writes as it likes.
        let export = self.export_of(volume).await?;
        let is_used = export.is_some_and(|export| !export.hosts.is_empty());
        Ok(if is_used { Hold::impossible() } else { Hold::needless() })
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.blocking(|inner| inner.facts(None)).await
    }

    async fn export_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        self.blocking(move |inner| Ok(inner.facts(Some(volume))?.remove(&volume))).await
    }

    async fn restored(&self) -> Result<(), DriverError> {
        self.blocking(|inner| inner.open()).await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        // The kernel does not count by host; what cannot be told is not told.
        Ok(TargetUsage::default())
    }
}

#[cfg(test)]
mod tests;
