//! What the kernel counts: commands, and whole mebibytes read and written, by ACL.
//!
//! It does not say which commands they were, how long they took or how they ended, so all of them
//! are `others`, and the rest stays at nothing. Its counts go with the ACL, as ours do.

use std::collections::BTreeMap;

use osds_model::VolumeId;
use osds_model::usage::{LoginRefusals, TargetUsage, Usage, VolumeUsage};

use super::names::NOBODY;
use super::{Inner, LUN};
use crate::DriverError;

impl Inner {
    pub(super) fn usage(&self) -> Result<TargetUsage, DriverError> {
        let mut volumes = BTreeMap::new();
        for volume in self.with_backstore()? {
            volumes.extend(self.usage_of(volume)?.map(|usage| (volume, usage)));
        }
        let sessions = volumes.values().flat_map(|volume: &VolumeUsage| volume.hosts.values());
        let connections = sessions.map(|host| host.sessions).sum();
        Ok(TargetUsage { volumes, connections, ..TargetUsage::default() })
    }

    pub(super) fn usage_of(&self, volume: VolumeId) -> Result<Option<VolumeUsage>, DriverError> {
        // One whose host is just put out is not asked: the kernel would have us wait for that.
        if self.is_leaving(volume) || self.facts(volume)?.is_none() {
            return Ok(None);
        }
        let group = self.names.group(volume);
        let mut hosts = BTreeMap::new();
        for (host, let_in) in self.hosts(volume)?.into_iter().filter(|(host, _)| *host != NOBODY) {
            let mut sum = Usage::default();
            for name in let_in.names {
                let acl = format!("{group}/acls/{name}");
                let counters = format!("{acl}/lun_{LUN}/statistics/scsi_auth_intr");
                let count = |counter: &str| self.count(&format!("{counters}/{counter}"));
                sum.others += count("num_cmds")?;
                sum.read_bytes += count("read_mbytes")? << 20;
                sum.written_bytes += count("write_mbytes")? << 20;
                let session = self.tree.read(format!("{acl}/info"))?.unwrap_or_default();
                sum.sessions += u64::from(session.contains("LIO Session ID"));
            }
            hosts.insert(host, sum);
        }
        let statistics =
            format!("{}/fabric_statistics/iscsi_login_stats", self.names.target(volume));
        let count = |counter: &str| self.count(&format!("{statistics}/{counter}"));
        let refusals = LoginRefusals {
            not_granted: count("authorize_fails")?,
            authentication: count("authenticate_fails")?,
            no_room: 0,
            other: count("negotiate_fails")? + count("other_fails")?,
        };
        Ok(Some(VolumeUsage { hosts, refusals }))
    }

    /// A counter; nothing where the kernel has none.
    fn count(&self, path: &str) -> Result<u64, DriverError> {
        Ok(self.tree.read(path)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }
}
