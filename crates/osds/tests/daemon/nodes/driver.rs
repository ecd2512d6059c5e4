//! Any CSI driver, by its sockets: what an orchestrator does with a controller and its nodes.
//!
//! Only what CSI says is used, and only what the driver says it offers, so that other drivers can be
//! put in place of ours: `OSDS_CSI_CONTROLLER` names a socket, `OSDS_CSI_NODES` those of the nodes,
//! each with `@` and the root of its mount namespace where that is not ours.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use osds_csi::proto::controller_client::ControllerClient;
use osds_csi::proto::node_client::NodeClient;
use osds_csi::proto::node_service_capability::Type as Capability;
use osds_csi::proto::node_service_capability::rpc::Type as Call;
use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::proto::volume_capability::{AccessMode, AccessType, BlockVolume};
use osds_csi::proto::{
    CapacityRange, ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest,
    CreateVolumeRequest, DeleteVolumeRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest,
    NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest, Volume, VolumeCapability,
};
use osds_csi::status::Status;
use rustix::fs::OFlags;
use tonic::transport::{Channel, Endpoint};

/// A node plugin, and where we see what it sees.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its socket.
    pub socket: PathBuf,
    /// The root of its mount namespace.
    pub root: PathBuf,
    /// A directory there for staging and targets.
    pub home: PathBuf,
}

/// A driver. Clones share its connections.
#[derive(Clone)]
pub struct Driver {
    controller: ControllerClient<Channel>,
    pub nodes: Vec<Node>,
}

/// One of its nodes. Clones share a connection.
#[derive(Clone)]
pub struct Node {
    pub id: String,
    client: NodeClient<Channel>,
    stages: bool,
    place: Place,
}

/// How blocks are used.
pub fn block(mode: Mode) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Block(BlockVolume {})),
    }
}

async fn channel(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    endpoint.connect().await.unwrap_or_else(|error| panic!("{}: {error}", socket.display()))
}

impl Driver {
    /// The one that the environment names, if it does.
    pub async fn of_environment(home: &Path) -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let socket = |text: &str| PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
        let (controller, nodes) = (variable("OSDS_CSI_CONTROLLER")?, variable("OSDS_CSI_NODES")?);
        let place = |(number, text): (usize, &str)| {
            let (at, root) = text.split_once('@').unwrap_or((text, "/"));
            let home = home.join(number.to_string());
            Place { socket: socket(at), root: root.into(), home }
        };
        let nodes: Vec<_> = nodes.split(',').enumerate().map(place).collect();
        Some(Self::connect(&socket(&controller), &nodes).await)
    }

    pub async fn connect(controller: &Path, nodes: &[Place]) -> Self {
        let controller = ControllerClient::new(channel(controller).await);
        let mut all = Vec::new();
        for place in nodes {
            let mut client = NodeClient::new(channel(&place.socket).await);
            let info = client.node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
            let offered = client.node_get_capabilities(NodeGetCapabilitiesRequest {}).await;
            let stages = offered.unwrap().into_inner().capabilities.iter().any(|one| {
                matches!(&one.r#type, Some(Capability::Rpc(rpc)) if rpc.r#type() == Call::StageUnstageVolume)
            });
            all.push(Node { id: info.node_id, client, stages, place: place.clone() });
        }
        Self { controller, nodes: all }
    }

    /// A volume of raw blocks that can be used so.
    pub async fn create(&self, name: &str, modes: &[Mode]) -> Result<Volume, Status> {
        let request = CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
            volume_capabilities: modes.iter().map(|mode| block(*mode)).collect(),
            ..Default::default()
        };
        let made = self.controller.clone().create_volume(request).await?;
        Ok(made.into_inner().volume.expect("the volume"))
    }

    pub async fn delete(&self, volume: &Volume) -> Result<(), Status> {
        let request =
            DeleteVolumeRequest { volume_id: volume.volume_id.clone(), ..Default::default() };
        self.controller.clone().delete_volume(request).await.map(drop)
    }

    /// What the node is to be told.
    pub async fn publish(
        &self,
        volume: &Volume,
        node: &Node,
        mode: Mode,
    ) -> Result<HashMap<String, String>, Status> {
        let request = ControllerPublishVolumeRequest {
            volume_id: volume.volume_id.clone(),
            node_id: node.id.clone(),
            volume_capability: Some(block(mode)),
            volume_context: volume.volume_context.clone(),
            ..Default::default()
        };
        let answer = self.controller.clone().controller_publish_volume(request).await?;
        Ok(answer.into_inner().publish_context)
    }

    /// From one node, or from all where none is named.
    pub async fn unpublish(&self, volume: &Volume, node: &str) -> Result<(), Status> {
        let request = ControllerUnpublishVolumeRequest {
            volume_id: volume.volume_id.clone(),
            node_id: node.to_owned(),
            ..Default::default()
        };
        self.controller.clone().controller_unpublish_volume(request).await.map(drop)
    }

    /// Publishes it and brings it to a device of the node.
    pub async fn bring(&self, volume: &Volume, node: &Node, mode: Mode) -> Result<(), Status> {
        let context = self.publish(volume, node, mode).await?;
        node.take_in(volume, context, mode).await
    }

    /// The way back.
    pub async fn take(&self, volume: &Volume, node: &Node) -> Result<(), Status> {
        node.put_out(volume).await?;
        self.unpublish(volume, &node.id).await
    }
}

impl Node {
    fn staging(&self, volume: &Volume) -> PathBuf {
        self.place.home.join("staging").join(name(volume))
    }

    fn target(&self, volume: &Volume) -> PathBuf {
        self.place.home.join("pods").join(name(volume))
    }

    fn seen(&self, path: &Path) -> PathBuf {
        self.place.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    async fn take_in(
        &self,
        volume: &Volume,
        publish_context: HashMap<String, String>,
        mode: Mode,
    ) -> Result<(), Status> {
        let (staging, target) = (self.staging(volume), self.target(volume));
        std::fs::create_dir_all(self.seen(&staging)).unwrap();
        std::fs::create_dir_all(self.seen(target.parent().expect("it is in a directory"))).unwrap();
        let staging_target_path = staging.display().to_string();
        let mut client = self.client.clone();
        if self.stages {
            let request = NodeStageVolumeRequest {
                volume_id: volume.volume_id.clone(),
                publish_context: publish_context.clone(),
                staging_target_path: staging_target_path.clone(),
                volume_capability: Some(block(mode)),
                volume_context: volume.volume_context.clone(),
                ..Default::default()
            };
            client.node_stage_volume(request).await?;
        }
        let request = NodePublishVolumeRequest {
            volume_id: volume.volume_id.clone(),
            publish_context,
            staging_target_path: if self.stages { staging_target_path } else { String::new() },
            target_path: target.display().to_string(),
            volume_capability: Some(block(mode)),
            volume_context: volume.volume_context.clone(),
            ..Default::default()
        };
        client.node_publish_volume(request).await.map(drop)
    }

    pub async fn put_out(&self, volume: &Volume) -> Result<(), Status> {
        let (volume_id, mut client) = (volume.volume_id.clone(), self.client.clone());
        let target_path = self.target(volume).display().to_string();
        let request = NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path };
        client.node_unpublish_volume(request).await?;
        if self.stages {
            let staging_target_path = self.staging(volume).display().to_string();
            let request = NodeUnstageVolumeRequest { volume_id, staging_target_path };
            client.node_unstage_volume(request).await?;
        }
        Ok(())
    }

    /// The node's device of the volume, past every cache.
    pub fn open(&self, volume: &Volume, write: bool) -> std::io::Result<File> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a flag");
        let path = self.seen(&self.target(volume));
        OpenOptions::new().read(true).write(write).custom_flags(direct).open(path)
    }
}

/// A volume in a path.
fn name(volume: &Volume) -> String {
    volume.volume_id.replace(['/', '#'], "-")
}

/// 4 KiB of a letter, in memory that direct I/O takes.
pub fn write(device: &File, at: u64, letter: u8) -> std::io::Result<()> {
    let mut memory = vec![0; 8192];
    let start = memory.as_ptr().align_offset(4096);
    let block = &mut memory[start..start + 4096];
    block.fill(letter);
    device.write_all_at(block, at * 4096)
}

/// The letter that is there.
pub fn read(device: &File, at: u64) -> u8 {
    let mut memory = vec![0; 8192];
    let start = memory.as_ptr().align_offset(4096);
    let block = &mut memory[start..start + 4096];
    device.read_exact_at(block, at * 4096).unwrap();
    assert!(block.iter().all(|byte| *byte == block[0]), "a torn block");
    block[0]
}
