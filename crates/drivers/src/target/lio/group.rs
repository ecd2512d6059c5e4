//! A volume's target: one portal group, the backstore as its LUN 0, and the portals.
//!
//! What an ACL does not say, the group refuses: nobody is let in without an ACL, nobody is believed
//! without proof unless his ACL says so, no name is shown to strangers, and a LUN that is just mapped
//! is write-protected, so that there is no moment in which a reader may write.

use osds_model::VolumeId;

use super::Inner;
use crate::DriverError;

/// What is true of every group of ours.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("generate_node_acls", "0"),
    ("authentication", "1"),
    ("demo_mode_discovery", "0"),
    ("demo_mode_write_protect", "1"),
    ("prod_mode_write_protect", "1"),
];

impl Inner {
    /// Makes the target of a backstore that nothing is exported from yet.
    pub(super) fn make_group(&self, volume: VolumeId, backstore: &str) -> Result<(), DriverError> {
        let group = self.names.group(volume);
        self.tree.make("iscsi")?;
        self.tree.make(self.names.target(volume))?;
        self.tree.make(&group)?;
        for (attribute, value) in ATTRIBUTES {
            self.tree.ensure(format!("{group}/attrib/{attribute}"), value)?;
        }
        self.tree.make(format!("{group}/lun/lun_0"))?;
        self.tree.link(format!("{group}/lun/lun_0/volume"), backstore)?;
        self.mend_group(volume)
    }

    /// Puts right what somebody else may have changed. Who is in stays in.
    pub(super) fn mend_group(&self, volume: VolumeId) -> Result<(), DriverError> {
        let group = self.names.group(volume);
        for (attribute, value) in ATTRIBUTES {
            self.tree.ensure(format!("{group}/attrib/{attribute}"), value)?;
        }
        for portal in self.tree.list(format!("{group}/np"))? {
            if !self.listen.contains(&portal) {
                self.tree.remove(format!("{group}/np/{portal}"))?;
            }
        }
        for portal in &self.listen {
            self.tree.make(format!("{group}/np/{portal}")).map_err(|error| {
                let doing = format!(
                    "listening for iSCSI on {portal}; choose another address under \
                     [backend.iscsi] in osds.toml"
                );
                DriverError::new(error.kind, doing).because(error)
            })?;
        }
        self.tree.ensure(format!("{group}/enable"), "1").map(drop)
    }

    /// Whether the group is as it was made. If not, nobody counts as let in as granted.
    pub(super) fn is_sound(&self, volume: VolumeId) -> Result<bool, DriverError> {
        let group = self.names.group(volume);
        for (attribute, value) in ATTRIBUTES {
            if self.tree.read(format!("{group}/attrib/{attribute}"))?.as_deref() != Some(value) {
                return Ok(false);
            }
        }
        let portals = self.tree.list(format!("{group}/np"))?;
        let is_heard = self.listen.iter().all(|portal| portals.contains(portal));
        Ok(is_heard && self.tree.read(format!("{group}/enable"))?.as_deref() == Some("1"))
    }

    /// Where the LUN of the volume's group leads.
    pub(super) fn exported(&self, volume: VolumeId) -> Result<Option<String>, DriverError> {
        let lun = format!("{}/lun/lun_0", self.names.group(volume));
        let links = self.tree.links(&lun)?;
        let [link] = links.as_slice() else { return Ok(None) };
        let found = self.tree.follow(format!("{lun}/{link}"));
        Ok(found.and_then(|path| path.to_str().map(str::to_owned)))
    }

    /// Takes the target away, in the only order that the kernel accepts. Its ACLs are gone.
    pub(super) fn remove_group(&self, volume: VolumeId) -> Result<(), DriverError> {
        let group = self.names.group(volume);
        for lun in self.tree.list(format!("{group}/lun"))? {
            let lun = format!("{group}/lun/{lun}");
            for link in self.tree.links(&lun)? {
                self.tree.unlink(format!("{lun}/{link}"))?;
            }
            self.tree.remove(&lun)?;
        }
        for portal in self.tree.list(format!("{group}/np"))? {
            self.tree.remove(format!("{group}/np/{portal}"))?;
        }
        self.tree.remove(&group)?;
        self.tree.remove(self.names.target(volume))
    }

    /// Nobody logs in any more, and sessions end.
    pub(super) fn silence(&self, volume: VolumeId) -> Result<(), DriverError> {
        let enable = format!("{}/enable", self.names.group(volume));
        if self.tree.has(&enable) { self.tree.ensure(enable, "0").map(drop) } else { Ok(()) }
    }
}
