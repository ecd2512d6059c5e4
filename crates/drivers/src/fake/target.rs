//! A target in memory, with a data plane: tests read and write as a host and are denied like one.
//!
//! One lock is held across each command, so `revoke` waits for the command under way: that is the
//! whole of the drain promise here.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use osds_model::host::Protocol;
use osds_model::usage::{TargetUsage, Usage, VolumeUsage};
use osds_model::{
    AttachMode, Authentication, Capacity, Connection, FaultKind, Grant, HostId, IoLimits, Secret,
    VolumeId,
};

use super::{FaultPlan, Op};
use crate::{
    BlockSource, BlocksId, DriverError, ExportFacts, Hold, HostFacts, TargetCapabilities,
    TargetDriver,
};

/// A target in memory. Clones are handles on one target.
#[derive(Clone, Debug)]
pub struct FakeTarget {
    exports: Arc<Mutex<BTreeMap<VolumeId, FakeExport>>>,
    /// Told when writes may go on.
    resumed: Arc<Condvar>,
    read_only_per_host: bool,
    /// What goes wrong.
    pub faults: FaultPlan,
}

#[derive(Debug)]
struct FakeExport {
    file: File,
    blocks: BlocksId,
    size: Capacity,
    limits: IoLimits,
    /// Writes wait until then.
    quiet_until: Option<Instant>,
    hosts: BTreeMap<HostId, Grant<Secret>>,
    /// What each host did; its latencies are all the same.
    usage: Mutex<BTreeMap<HostId, Usage>>,
}

/// Why a command did not reach the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The host is not let in.
    #[error("the host is not let in")]
    NotGranted,
    /// The host may only read.
    #[error("the host may only read")]
    WriteProtected,
    /// The range is outside the volume.
    #[error("the range is outside the volume")]
    OutOfRange,
    /// The blocks could not be read or written.
    #[error("the blocks could not be read or written")]
    Medium,
}

impl Default for FakeTarget {
    fn default() -> Self {
        let (exports, resumed, faults) = Default::default();
        Self { exports, resumed, read_only_per_host: true, faults }
    }
}

impl FakeTarget {
    /// A target that can hold all hosts of a volume to reading, but not one beside a writer.
    #[must_use]
    pub fn without_read_only_per_host() -> Self {
        Self { read_only_per_host: false, ..Self::default() }
    }

    /// Whether a host that proves this would be let in. The commands below are those of a session:
    /// they take the login for done.
    ///
    /// # Errors
    /// [`Denied::NotGranted`].
    pub fn log_in_as(
        &self,
        host: HostId,
        volume: VolumeId,
        proof: Option<&Authentication<Secret>>,
    ) -> Result<(), Denied> {
        let exports = self.exports();
        let grant = exports.get(&volume).and_then(|export| export.hosts.get(&host));
        let asked = &grant.ok_or(Denied::NotGranted)?.authentication;
        // Where nothing is asked for, a proof that is offered is not looked at.
        if asked.is_none() || asked.as_ref() == proof { Ok(()) } else { Err(Denied::NotGranted) }
    }

    /// Writes as a host would.
    ///
    /// # Errors
    /// The command was denied; nothing was written.
    pub fn write_as(
        &self,
        host: HostId,
        volume: VolumeId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Denied> {
        let exports = self.when_not_quiet(volume);
        let (export, mode) = admit(&exports, host, volume, offset, bytes.len())?;
        if mode != AttachMode::ReadWrite {
            export.count(host, |usage| usage.errors.write_protected += 1);
            return Err(Denied::WriteProtected);
        }
        let done = export.file.write_all_at(bytes, offset).map_err(|_| Denied::Medium);
        export.count(host, |usage| match done {
            Ok(()) => {
                usage.writes.beyond += 1;
                usage.written_bytes += bytes.len() as u64;
            }
            Err(_) => usage.errors.medium += 1,
        });
        done
    }

    /// Reads as a host would.
    ///
    /// # Errors
    /// The command was denied.
    pub fn read_as(
        &self,
        host: HostId,
        volume: VolumeId,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Denied> {
        let exports = self.exports();
        let (export, _) = admit(&exports, host, volume, offset, bytes.len())?;
        let done = export.file.read_exact_at(bytes, offset).map_err(|_| Denied::Medium);
        export.count(host, |usage| match done {
            Ok(()) => {
                usage.reads.beyond += 1;
                usage.read_bytes += bytes.len() as u64;
            }
            Err(_) => usage.errors.medium += 1,
        });
        done
    }

    /// Forgets everything, as a target process does that was killed.
    pub fn forget_all(&self) {
        self.exports().clear();
    }

    /// Removes an export behind the driver's back; whether it was there.
    pub fn lose(&self, volume: VolumeId) -> bool {
        self.exports().remove(&volume).is_some()
    }

    /// Lets a host in behind the driver's back; whether the volume is exported.
    pub fn intrude(&self, volume: VolumeId, host: HostId, grant: Grant<Secret>) -> bool {
        let mut exports = self.exports();
        exports.get_mut(&volume).map(|export| export.hosts.insert(host, grant)).is_some()
    }

    fn exports(&self) -> MutexGuard<'_, BTreeMap<VolumeId, FakeExport>> {
        self.exports.lock().expect("no fake export panics while it is held")
    }

    /// The exports, at a moment when writes to this one may go on.
    fn when_not_quiet(&self, volume: VolumeId) -> MutexGuard<'_, BTreeMap<VolumeId, FakeExport>> {
        let mut exports = self.exports();
        loop {
            let quiet = exports.get(&volume).and_then(|export| export.quiet_until);
            let left = quiet.map(|until| until.saturating_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else { return exports };
            let waited = self.resumed.wait_timeout(exports, left);
            (exports, _) = waited.expect("no fake export panics while it is held");
        }
    }

    fn resume(&self, volume: VolumeId) -> bool {
        let mut exports = self.exports();
        let quiet = exports.get_mut(&volume).and_then(|export| export.quiet_until.take());
        self.resumed.notify_all();
        quiet.is_some_and(|until| Instant::now() < until)
    }

    /// Whether `mode` beside these modes is more than this target can hold apart.
    fn cannot_hold_apart(&self, export: &FakeExport, mode: AttachMode) -> bool {
        !self.read_only_per_host && export.hosts.values().any(|other| other.mode != mode)
    }
}

impl FakeExport {
    fn count(&self, host: HostId, count: impl FnOnce(&mut Usage)) {
        let mut usage = self.usage.lock().expect("nobody panics while counting");
        count(usage.entry(host).or_default());
    }

    fn used(&self) -> VolumeUsage {
        let usage = self.usage.lock().expect("nobody panics while counting");
        let of = |host: &HostId| (*host, usage.get(host).cloned().unwrap_or_default());
        VolumeUsage { hosts: self.hosts.keys().map(of).collect(), ..VolumeUsage::default() }
    }

    fn facts(&self, volume: VolumeId) -> ExportFacts {
        let host = |(host, grant): (&HostId, &Grant<Secret>)| {
            let grant = grant.names();
            (*host, HostFacts { grant, connection: connection(volume) })
        };
        let hosts = self.hosts.iter().map(host).collect();
        ExportFacts { blocks: self.blocks, size: self.size, limits: self.limits, hosts }
    }
}

fn admit(
    exports: &BTreeMap<VolumeId, FakeExport>,
    host: HostId,
    volume: VolumeId,
    offset: u64,
    length: usize,
) -> Result<(&FakeExport, AttachMode), Denied> {
    let export = exports.get(&volume).ok_or(Denied::NotGranted)?;
    let grant = export.hosts.get(&host).ok_or(Denied::NotGranted)?;
    match offset.checked_add(length as u64) {
        Some(end) if end <= export.size.bytes() => Ok((export, grant.mode)),
        Some(_) | None => Err(Denied::OutOfRange),
    }
}

fn connection(volume: VolumeId) -> Connection {
    Connection::Iscsi {
        iqn: format!("iqn.2017-10.io.opensds:{volume}"),
        portals: vec!["127.0.0.1:3260".to_owned()],
        lun: 1,
    }
}

#[async_trait]
impl TargetDriver for FakeTarget {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> TargetCapabilities {
        TargetCapabilities {
            protocol: Protocol::Iscsi,
            read_only_per_host: self.read_only_per_host,
            credentials_per_host: true,
            persistent_reservations: false,
        }
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        let export = || {
            let mut exports = self.exports();
            let (blocks, size) = (source.id()?, source.size);
            let old = exports.remove(&volume).map(|old| (old.limits, old.hosts));
            let (limits, hosts) = old.unwrap_or_default();
            let (file, usage) = (source.into_file()?, Mutex::default());
            let quiet_until = None;
            let export = FakeExport { file, blocks, size, limits, quiet_until, hosts, usage };
            exports.insert(volume, export);
            Ok(())
        };
        self.faults.call(Op::Export, export).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        let limit = || {
            if let Some(export) = self.exports().get_mut(&volume) {
                export.limits = *limits;
            }
            Ok(())
        };
        self.faults.call(Op::Limit, limit).await
    }

    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let doing = format!("letting host {host} into volume {volume} {}", grant.mode);
        let let_in = || {
            let mut exports = self.exports();
            let Some(export) = exports.get_mut(&volume) else {
                let why = format!("{doing}: the volume is not exported");
                return Err(DriverError::new(FaultKind::Gone, why));
            };
            match export.hosts.get(&host) {
                Some(present) if present == grant => return Ok(connection(volume)),
                Some(present) => {
                    let why = format!("{doing}: it has it {} already, revoke first", present.mode);
                    return Err(DriverError::new(FaultKind::InUse, why));
                }
                None => {}
            }
            if !grant.initiators.iter().any(|one| one.protocol == Protocol::Iscsi) {
                let why = format!("{doing}: none of its initiators speaks iscsi");
                return Err(DriverError::new(FaultKind::NotSupported, why));
            }
            if self.cannot_hold_apart(export, grant.mode) {
                let why = format!("{doing}: this target has one mode for all hosts of a volume");
                return Err(DriverError::new(FaultKind::NotSupported, why));
            }
            export.hosts.insert(host, grant.clone());
            Ok(connection(volume))
        };
        self.faults.call(Op::Grant, let_in).await
    }

    async fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        let put_out = || {
            if let Some(export) = self.exports().get_mut(&volume) {
                export.hosts.remove(&host);
                export.count(host, |usage| *usage = Usage::default());
            }
            Ok(())
        };
        self.faults.call(Op::Revoke, put_out).await
    }

    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        let unexport = || {
            self.exports().remove(&volume);
            Ok(())
        };
        self.faults.call(Op::Unexport, unexport).await
    }

    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        let resize = || {
            if let Some(export) = self.exports().get_mut(&volume) {
                export.size = size;
            }
            Ok(())
        };
        self.faults.call(Op::Resized, resize).await
    }

    async fn quiesce(&self, volume: VolumeId, most: Duration) -> Result<Hold, DriverError> {
        let quiesce = || {
            let mut exports = self.exports();
            let Some(export) = exports.get_mut(&volume) else { return Ok(Hold::needless()) };
            let until = Instant::now() + most;
            export.quiet_until = Some(until);
            let this = self.clone();
            Ok(Hold::until(until, move || this.resume(volume)))
        };
        self.faults.call(Op::Quiesce, quiesce).await
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        let read_back =
            || Ok(self.exports().iter().map(|(id, export)| (*id, export.facts(*id))).collect());
        self.faults.call(Op::Exports, read_back).await
    }

    async fn export_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        let read_back = || Ok(self.exports().get(&volume).map(|export| export.facts(volume)));
        self.faults.call(Op::Exports, read_back).await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        let read = || {
            let volumes = self.exports().iter().map(|(id, export)| (*id, export.used())).collect();
            Ok(TargetUsage { volumes, ..TargetUsage::default() })
        };
        self.faults.call(Op::Usage, read).await
    }
}
