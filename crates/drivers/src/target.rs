//! How hosts reach blocks: the trait that every target keeps.
//!
//! An export offers one volume; a grant lets one host use it, read-only or read-write, by the
//! initiator names that were given and, where the grant has credentials, only with the proof that
//! goes with them. Nobody else gets in. The promise everything rests on: when
//! [`TargetDriver::revoke`] has returned, no command of that host reaches the blocks any more.

pub mod embedded;
pub mod fusionstorage;
pub mod lio;
pub mod local;
pub mod nvmet;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use osds_model::host::Protocol;
use osds_model::usage::{TargetUsage, VolumeUsage};
use osds_model::{Capacity, Connection, FaultKind, Grant, HostId, IoLimits, Secret, VolumeId};

use crate::{BlockSource, BlocksId, DriverError, Hold};

/// A target that exports volumes to hosts.
#[async_trait]
pub trait TargetDriver: Send + Sync + 'static {
    /// The name it is configured by, such as `embedded`.
    fn name(&self) -> &'static str;

    /// What it can enforce. Claims are tested by the conformance suite.
    fn capabilities(&self) -> TargetCapabilities;

    /// Makes sure the volume is exported from these blocks. Grants that exist stay.
    ///
    /// # Errors
    /// The target cannot export it. `InUse` where a host is still let in to other blocks under
    /// this name and the target cannot exchange them beneath it.
    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError>;

    /// Makes sure the volume's I/O is held to these limits, from now on, whoever is let in; hosts
    /// that are in go on without a break. A volume that is not exported is no error. The limits end
    /// with the export.
    ///
    /// # Errors
    /// `NotSupported` when the target cannot hold I/O to such limits.
    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError>;

    /// Makes sure the host is let in as granted, and says how it gets there.
    ///
    /// # Errors
    /// `InUse` when the host is let in by another grant: revoke that first, so that no command
    /// runs under a mode, a name or credentials that are over. `Gone` when the volume is not exported.
    /// `NotSupported` when the mode or the proof cannot be enforced, or no initiator speaks the
    /// protocol.
    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError>;

    /// Makes sure the host is not let in. Returns only when no command of it can reach the blocks
    /// any more, not even one that was under way. Other hosts do not notice.
    ///
    /// # Errors
    /// The host may still be served.
    async fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError>;

    /// Makes sure the volume is not exported and nobody's command can reach its blocks.
    ///
    /// # Errors
    /// The volume may still be exported.
    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError>;

    /// Makes sure hosts are offered this size. A volume that is not exported is no error.
    ///
    /// # Errors
    /// The target cannot be told.
    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError>;

    /// Holds back every command that would write to the volume, of every host, from the moment this
    /// returns: all that were under way have ended, and no other is begun. What was answered can be
    /// read from the blocks. Reads go on; putting a host out waits for nothing. Ends by itself after
    /// `most`. Nothing has to be held where the volume is not exported; a target that cannot hold
    /// writes says so ([`Hold::impossible`]).
    ///
    /// # Errors
    /// `Temporary` when commands under way do not end.
    async fn quiesce(&self, volume: VolumeId, most: Duration) -> Result<Hold, DriverError>;

    /// What is really exported, read back from the target itself.
    ///
    /// # Errors
    /// The target cannot be asked.
    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError>;

    /// The same for one volume; `None` when it is not exported. Worth its own code where a target
    /// has many exports.
    ///
    /// # Errors
    /// The target cannot be asked.
    async fn export_of(&self, volume: VolumeId) -> Result<Option<ExportFacts>, DriverError> {
        Ok(self.exports().await?.remove(&volume))
    }

    /// What hosts have done with what is exported, since each was let in. Cheap enough to be asked
    /// every second, and never in the way of a command.
    ///
    /// # Errors
    /// The target cannot be asked.
    async fn usage(&self) -> Result<TargetUsage, DriverError>;

    /// The same for one volume; `None` when it is not exported.
    ///
    /// # Errors
    /// The target cannot be asked.
    async fn usage_of(&self, volume: VolumeId) -> Result<Option<VolumeUsage>, DriverError> {
        Ok(self.usage().await?.volumes.remove(&volume))
    }

    /// Told once after each start, when everything that was exported before has been asked for again.
    /// Hosts come back meanwhile; a target whose hosts give up for good when they come too early
    /// lets nobody come before.
    ///
    /// # Errors
    /// Hosts may not reach all of it.
    async fn restored(&self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Whether it keeps reservations of the volume by itself, on no shelf of ours, for the next
    /// export. Cheap.
    fn keeps_reservations(&self, _volume: VolumeId) -> bool {
        false
    }

    /// Makes sure that of what it keeps so, nothing is left of initiators but these. Asked only
    /// while the volume is not exported: where it is, a revoke sees to it.
    ///
    /// # Errors
    /// They may still come into force with the next export.
    async fn drop_reservations_of_others(
        &self,
        _volume: VolumeId,
        _let_in: Vec<String>,
    ) -> Result<(), DriverError> {
        Ok(())
    }
}

/// What [`TargetDriver::limit`] answers for a target that has no limits.
async fn without_limits(
    target: &impl TargetDriver,
    volume: VolumeId,
    limits: &IoLimits,
    why: &'static str,
) -> Result<(), DriverError> {
    if limits.is_none() || target.export_of(volume).await?.is_none() {
        return Ok(());
    }
    let doing = format!("limiting the I/O of volume {volume}");
    Err(DriverError::new(FaultKind::NotSupported, doing).because(why))
}

/// What a target can enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetCapabilities {
    /// What hosts must speak.
    pub protocol: Protocol,
    /// Whether one host can be held to reading while another writes.
    pub read_only_per_host: bool,
    /// Whether each host can be made to prove itself by credentials of its own grant (CHAP).
    pub credentials_per_host: bool,
    /// Whether hosts may reserve the volume among themselves (SPC-4 persistent reservations).
    pub persistent_reservations: bool,
}

/// An export as the target knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// Which blocks hosts reach.
    pub blocks: BlocksId,
    /// How large hosts see it.
    pub size: Capacity,
    /// How much I/O is carried out.
    pub limits: IoLimits,
    /// Who is let in.
    pub hosts: BTreeMap<HostId, HostFacts>,
}

/// A host's access as the target knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// How, by which names, and proving what it is let in.
    pub grant: Grant<()>,
    /// How it gets there.
    pub connection: Connection,
}
