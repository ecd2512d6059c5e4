//! What an orchestrator and a kubelet say to the driver, for the lab: one volume, as raw block, on the
//! machine of the socket.
//!
//! ```text
//! csi-client SOCKET use VOLUME TARGET     publish, stage, publish on the node
//! csi-client SOCKET leave VOLUME TARGET   the same backwards; each step twice, as may happen
//! ```
//! A volume called `<id>#ro` is used for reading only.

#[path = "../tests/driver/connect.rs"]
mod connect;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use osds_csi::proto::controller_client::ControllerClient;
use osds_csi::proto::node_client::NodeClient;
use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::proto::volume_capability::{AccessMode, AccessType, BlockVolume};
use osds_csi::proto::{
    ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, NodeGetInfoRequest,
    NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest, VolumeCapability,
};
use tonic::transport::Channel;

/// Emulated machines take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// One volume on one machine.
struct Used {
    volume: String,
    target: String,
    staging: String,
    node: String,
    channel: Channel,
}

impl Used {
    fn capability(&self) -> Option<VolumeCapability> {
        let reads = self.volume.ends_with("#ro");
        let mode = if reads { Mode::MultiNodeReaderOnly } else { Mode::MultiNodeMultiWriter };
        Some(VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type: Some(AccessType::Block(BlockVolume {})),
        })
    }

    async fn begin(&self) -> Result<(), Box<dyn Error>> {
        let volume_id = self.volume.clone();
        let publish = ControllerPublishVolumeRequest {
            volume_id: volume_id.clone(),
            node_id: self.node.clone(),
            volume_capability: self.capability(),
            readonly: volume_id.ends_with("#ro"),
            ..Default::default()
        };
        let mut controller = ControllerClient::new(self.channel.clone());
        let answer = controller.controller_publish_volume(publish).await?.into_inner();
        let mut node = NodeClient::new(self.channel.clone());
        let stage = NodeStageVolumeRequest {
            volume_id: volume_id.clone(),
            publish_context: answer.publish_context.clone(),
            staging_target_path: self.staging.clone(),
            volume_capability: self.capability(),
            ..Default::default()
        };
        let publish = NodePublishVolumeRequest {
            volume_id: volume_id.clone(),
            publish_context: answer.publish_context,
            staging_target_path: self.staging.clone(),
            target_path: self.target.clone(),
            volume_capability: self.capability(),
            readonly: volume_id.ends_with("#ro"),
            ..Default::default()
        };
        for _ in 0..2 {
            node.node_stage_volume(stage.clone()).await?;
            node.node_publish_volume(publish.clone()).await?;
        }
        Ok(())
    }

    async fn end(&self) -> Result<(), Box<dyn Error>> {
        let volume_id = self.volume.clone();
        let mut node = NodeClient::new(self.channel.clone());
        let unpublish = NodeUnpublishVolumeRequest {
            volume_id: volume_id.clone(),
            target_path: self.target.clone(),
        };
        let unstage = NodeUnstageVolumeRequest {
            volume_id: volume_id.clone(),
            staging_target_path: self.staging.clone(),
        };
        let back = ControllerUnpublishVolumeRequest {
            volume_id,
            node_id: self.node.clone(),
            ..Default::default()
        };
        let mut controller = ControllerClient::new(self.channel.clone());
        for _ in 0..2 {
            node.node_unpublish_volume(unpublish.clone()).await?;
            node.node_unstage_volume(unstage.clone()).await?;
        }
        for _ in 0..2 {
            controller.controller_unpublish_volume(back.clone()).await?;
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, verb, volume, target] = &arguments[..] else {
        return Err("csi-client SOCKET use|leave VOLUME TARGET".into());
    };
    let channel = connect::channel(Path::new(socket), "http://localhost", PATIENCE).await?;
    let mut node = NodeClient::new(channel.clone());
    let info = node.node_get_info(NodeGetInfoRequest {}).await?.into_inner();
    let used = Used {
        volume: volume.clone(),
        target: target.clone(),
        staging: format!("/var/lib/kubelet/staging/{volume}"),
        node: info.node_id,
        channel,
    };
    match verb.as_str() {
        "use" => used.begin().await?,
        "leave" => used.end().await?,
        other => return Err(format!("{other} is neither use nor leave").into()),
    }
    Ok(())
}
