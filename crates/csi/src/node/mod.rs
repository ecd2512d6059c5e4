//! Node: brings volumes to paths on this machine, and takes them away again.
//! Every step may be cut short and asked for again.
//!
//! What takes a volume away needs nobody but this machine: the control plane may be down then.

use std::path::PathBuf;

use tonic::{Request, Response};

use crate::api::Api;
use crate::proto::node_server::Node;
use crate::proto::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeStageVolumeRequest, NodeStageVolumeResponse,
    NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse,
};
use crate::status::{Status, not_offered};

/// What the node service needs to know of its machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of its host record; the machine's name as a rule.
    pub node_id: String,
    /// The driver's name, of which topology keys are made.
    pub driver_name: String,
    /// Where it keeps what it must remember.
    pub state_dir: PathBuf,
}

/// The node service.
pub struct NodeService {
    #[expect(dead_code, reason = "the node service is being built")]
    api: Api,
    #[expect(dead_code, reason = "the node service is being built")]
    settings: Settings,
}

impl NodeService {
    /// For this machine.
    #[must_use]
    pub const fn new(api: Api, settings: Settings) -> Self {
        Self { api, settings }
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(not_offered("NodeStageVolume"))
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(not_offered("NodeUnstageVolume"))
    }

    async fn node_publish_volume(
        &self,
        _: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        Err(not_offered("NodePublishVolume"))
    }

    async fn node_unpublish_volume(
        &self,
        _: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        Err(not_offered("NodeUnpublishVolume"))
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(not_offered("NodeGetVolumeStats"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(not_offered("NodeExpandVolume"))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Err(not_offered("NodeGetCapabilities"))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Err(not_offered("NodeGetInfo"))
    }
}
