//! Capabilities as CSI says them, read into the terms of the rules.
//!
//! A file system counts as one that takes itself to be alone unless it is known to be of many
//! nodes and the volume's class says that it is meant (`allowClusterFs`): two nodes that mount an
//! ext4 lose it, and nobody notices for a while.

use std::collections::HashMap;

use osds_lifecycle::publish;
use osds_model::publication::{AccessMode, AccessType, Publication};

use crate::proto::VolumeCapability;
use crate::proto::volume_capability::AccessType as Wire;
use crate::proto::volume_capability::access_mode::Mode;
use crate::status::{self, Status};

/// Key of a StorageClass, and of the context of its volumes.
pub const ALLOW_CLUSTER_FS: &str = "allowClusterFs";

/// File systems that the node service can make and mount by itself.
const LOCAL: [&str; 4] = ["", "ext4", "xfs", "btrfs"];
/// File systems of many nodes.
const CLUSTER: [&str; 2] = ["gfs2", "ocfs2"];

/// Whether a map says that file systems of many nodes are meant.
///
/// # Errors
/// When it says neither yes nor no.
pub fn allows_cluster_fs(said: &HashMap<String, String>) -> Result<bool, Status> {
    match said.get(ALLOW_CLUSTER_FS).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(status::invalid(format!("{ALLOW_CLUSTER_FS} has to be true or false, not {other}")))
        }
    }
}

/// What a capability asks for.
///
/// # Errors
/// When something is missing, or unknown.
pub fn read(capability: &VolumeCapability, cluster_fs: bool) -> Result<Publication, Status> {
    let mode = capability
        .access_mode
        .as_ref()
        .ok_or_else(|| status::missing("access_mode of the volume capability"))?
        .mode;
    let mode = match Mode::try_from(mode) {
        Ok(Mode::SingleNodeWriter) => AccessMode::SingleNodeWriter,
        Ok(Mode::SingleNodeReaderOnly) => AccessMode::SingleNodeReaderOnly,
        Ok(Mode::MultiNodeReaderOnly) => AccessMode::MultiNodeReaderOnly,
        Ok(Mode::MultiNodeSingleWriter) => AccessMode::MultiNodeSingleWriter,
        Ok(Mode::MultiNodeMultiWriter) => AccessMode::MultiNodeMultiWriter,
        Ok(Mode::SingleNodeSingleWriter) => AccessMode::SingleNodeSingleWriter,
        Ok(Mode::SingleNodeMultiWriter) => AccessMode::SingleNodeMultiWriter,
        Ok(Mode::Unknown) | Err(_) => {
            return Err(status::invalid(format!("access mode {mode} is not known")));
        }
    };
    let access = match &capability.access_type {
        None => return Err(status::missing("access_type of the volume capability")),
        Some(Wire::Block(_)) => AccessType::Block,
        Some(Wire::Mount(mount)) => {
            let name = mount.fs_type.to_ascii_lowercase();
            if LOCAL.contains(&name.as_str()) {
                AccessType::LocalFs
            } else if CLUSTER.contains(&name.as_str()) && cluster_fs {
                AccessType::ClusterFs
            } else if CLUSTER.contains(&name.as_str()) {
                return Err(status::invalid(format!(
                    "file system {name} needs {ALLOW_CLUSTER_FS}: \"true\" in the StorageClass"
                )));
            } else {
                return Err(status::invalid(format!(
                    "file system {name} is not supported; there are ext4, xfs and btrfs, and \
                     gfs2 and ocfs2 with {ALLOW_CLUSTER_FS}"
                )));
            }
        }
    };
    Ok(Publication { mode, access })
}

/// All of them.
///
/// # Errors
/// When there are none, or as [`read`].
pub fn read_all(
    capabilities: &[VolumeCapability],
    cluster_fs: bool,
) -> Result<Vec<Publication>, Status> {
    if capabilities.is_empty() {
        return Err(status::missing("volume_capabilities"));
    }
    capabilities.iter().map(|capability| read(capability, cluster_fs)).collect()
}

/// Why a volume could never be used in one of these ways; `None` when it can in all.
#[must_use]
pub fn objection(asked: &[Publication], multi_attach: bool) -> Option<String> {
    asked.iter().find_map(|one| publish::possible(*one, multi_attach).err().map(|e| e.to_string()))
}

/// Whether one of them is for more than one node.
#[must_use]
pub fn needs_multi_attach(asked: &[Publication]) -> bool {
    asked.iter().any(|one| one.mode.is_multi_node())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::volume_capability::{AccessMode as WireMode, BlockVolume, MountVolume};
    use crate::status::Code;

    fn capability(mode: Mode, access: Option<Wire>) -> VolumeCapability {
        let access_mode = Some(WireMode { mode: mode.into() });
        VolumeCapability { access_mode, access_type: access }
    }

    fn mount(fs_type: &str) -> Option<Wire> {
        Some(Wire::Mount(MountVolume { fs_type: fs_type.into(), ..MountVolume::default() }))
    }

    #[test]
    fn what_lies_on_the_blocks() {
        let access = |wire, cluster| read(&capability(Mode::SingleNodeWriter, wire), cluster);
        assert_eq!(
            access(Some(Wire::Block(BlockVolume {})), false).unwrap().access,
            AccessType::Block
        );
        assert_eq!(access(mount(""), false).unwrap().access, AccessType::LocalFs);
        assert_eq!(access(mount("XFS"), true).unwrap().access, AccessType::LocalFs);
        assert_eq!(access(mount("gfs2"), true).unwrap().access, AccessType::ClusterFs);
        for (wire, said) in [
            (mount("gfs2"), "needs allowClusterFs"),
            (mount("vfat"), "not supported"),
            (None, "required"),
        ] {
            let status = access(wire, false).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(said), "{}", status.message());
        }
        let unknown = read(&capability(Mode::Unknown, mount("")), false).unwrap_err();
        assert_eq!(unknown.code(), Code::InvalidArgument);
    }

    #[test]
    fn what_can_never_be() {
        let asked = |mode, wire| vec![read(&capability(mode, wire), false).unwrap()];
        let block = || Some(Wire::Block(BlockVolume {}));
        assert!(objection(&asked(Mode::MultiNodeMultiWriter, block()), true).is_none());
        let single = objection(&asked(Mode::MultiNodeMultiWriter, block()), false).unwrap();
        assert!(single.contains("capabilities:multiAttach"), "{single}");
        let ext4 = objection(&asked(Mode::MultiNodeMultiWriter, mount("ext4")), true).unwrap();
        assert!(ext4.contains("volumeMode Block"), "{ext4}");
        assert!(objection(&asked(Mode::MultiNodeReaderOnly, mount("ext4")), true).is_none());
    }
}
