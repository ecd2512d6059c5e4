//! Node: brings volumes to paths on this machine, and takes them away again.
//!
//! ```text
//! attachment --stage--> device [-> file system, mounted once] --publish--> path of a pod, ...
//! ```
//! What was done is on the node's own journal, so that taking a volume down needs nobody else. Each
//! call may be repeated, cut short and repeated; one volume is worked on by one call at a time.
//! A read-only volume is a read-only device here, whatever the target does besides.

pub mod host;
mod publish;
mod stage;
mod turns;
mod wanted;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use osds_connector::journal::{Entry, Journal, UsedAs};
use osds_connector::{Access, Machine, connector, mounts};
use osds_model::AttachMode;
use prost::Message as _;
use serde_json::Value;
use tonic::{Request, Response};

use self::stage::Stage;
use self::turns::Turns;
use self::wanted::{Wanted, failed, path};
use crate::api::Api;
use crate::context::PublishContext;
use crate::handle::Handle;
use crate::proto::node_server::Node;
use crate::proto::node_service_capability::{Rpc, Type, rpc};
use crate::proto::volume_usage::Unit;
use crate::proto::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, Topology, VolumeCondition, VolumeUsage,
};
use crate::status::{Status, missing};
use crate::zones::zone_key;

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
    api: Api,
    settings: Settings,
    machine: Machine,
    turns: Turns,
}

impl NodeService {
    /// For this machine.
    #[must_use]
    pub fn new(api: Api, settings: Settings) -> Self {
        Self { api, settings, machine: Machine::default(), turns: Turns::default() }
    }

    fn stage(&self) -> Result<Stage, Status> {
        let journal = Journal::open(&self.settings.state_dir.join("volumes")).map_err(failed)?;
        Ok(Stage { machine: self.machine.clone(), journal })
    }

    /// Does `work` on a thread that may block, when it is this volume's turn.
    async fn in_turn(
        &self,
        volume: &str,
        request: (&str, Vec<u8>),
        work: impl FnOnce(&Stage) -> Result<i64, Status> + Send + 'static,
    ) -> Result<i64, Status> {
        let stage = self.stage()?;
        let work = async move { blocking(move || work(&stage)).await };
        self.turns.take(name_of(volume), what(request), work).await
    }
}

/// What tells one call from another: its name and all that it asks for.
fn what((call, request): (&str, Vec<u8>)) -> String {
    let digits: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{call} {digits}")
}

/// A volume and its alias have one turn.
fn name_of(handle: &str) -> &str {
    handle.split('#').next().unwrap_or(handle)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let stopped = |_| Status::internal("the call ended in a panic; this is a fault of osds");
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

/// The access of a publish context, with its passwords from the control plane if it wants any.
async fn access_of(
    api: &Api,
    handle: Handle,
    context: &PublishContext,
    wanted: &Wanted,
) -> Result<Access, Status> {
    let mut info = context.info.clone();
    if Access::wants_proof(&info) {
        let path = format!("block/attachments/{}", context.attachment);
        let seen: Value = api.call(move |client| client.get::<Value>(&path)).await?;
        info = seen["connectionInfo"].clone();
    }
    let mut access = Access::from_info(handle.volume, &info).map_err(failed)?;
    let only_reads = handle.reads || wanted.only_reads() || context.mode == AttachMode::ReadOnly;
    if only_reads {
        access.mode = AttachMode::ReadOnly;
    }
    Ok(access)
}

fn handle_of(text: &str) -> Result<Handle, Status> {
    if text.is_empty() {
        return Err(missing("volume_id"));
    }
    text.parse().map_err(|error| Status::not_found(format!("volume {text}: {error}")))
}

fn needed(text: &str) -> Result<String, Status> {
    if text.is_empty() { Err(missing("volume_id")) } else { Ok(text.to_owned()) }
}

/// Where a volume is looked for. Any text is a place where it may not be.
fn looked_at(text: &str) -> Result<PathBuf, Status> {
    if text.is_empty() { Err(missing("volume_path")) } else { Ok(PathBuf::from(text)) }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let asked = request.into_inner();
        needed(&asked.volume_id)?;
        let staging = path("staging_target_path", &asked.staging_target_path)?;
        let wanted = Wanted::of(asked.volume_capability.as_ref())?;
        let handle = handle_of(&asked.volume_id)?;
        let context = PublishContext::from_map(&asked.publish_context)?;
        let (stage, api) = (self.stage()?, self.api.clone());
        let work = async move {
            let access = access_of(&api, handle, &context, &wanted).await?;
            let staged = move || {
                stage.stage(handle, &context.attachment, &access, &staging, &wanted).map(|()| 0)
            };
            blocking(staged).await
        };
        let what = what(("NodeStageVolume", asked.encode_to_vec()));
        self.turns.take(name_of(&asked.volume_id), what, work).await?;
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let asked = request.into_inner();
        let volume = needed(&asked.volume_id)?;
        let staging = path("staging_target_path", &asked.staging_target_path)?;
        let call = ("NodeUnstageVolume", asked.encode_to_vec());
        let work = move |stage: &Stage| stage.unstage(&volume, &staging).map(|()| 0);
        self.in_turn(&asked.volume_id, call, work).await?;
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let asked = request.into_inner();
        let volume = needed(&asked.volume_id)?;
        let target = path("target_path", &asked.target_path)?;
        let wanted = Wanted::of(asked.volume_capability.as_ref())?;
        handle_of(&volume)?;
        if asked.staging_target_path.is_empty() {
            let why = "staging_target_path is not said, and this driver stages volumes first";
            return Err(Status::failed_precondition(why));
        }
        let staging = path("staging_target_path", &asked.staging_target_path)?;
        let call = ("NodePublishVolume", asked.encode_to_vec());
        let read_only = asked.readonly;
        let work = move |stage: &Stage| {
            stage.publish(&volume, &staging, &target, read_only, &wanted).map(|()| 0)
        };
        self.in_turn(&asked.volume_id, call, work).await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let asked = request.into_inner();
        let volume = needed(&asked.volume_id)?;
        let target = path("target_path", &asked.target_path)?;
        let call = ("NodeUnpublishVolume", asked.encode_to_vec());
        let work = move |stage: &Stage| stage.unpublish(&volume, &target).map(|()| 0);
        self.in_turn(&asked.volume_id, call, work).await?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let asked = request.into_inner();
        let volume = needed(&asked.volume_id)?;
        let at = looked_at(&asked.volume_path)?;
        let stage = self.stage()?;
        // Not in the volume's turn: it changes nothing, and is asked every minute.
        let seen = blocking(move || {
            let entry = stage.at(&volume, &at)?;
            let complaint = stage.complaint(&entry, &at)?;
            let usage = match entry.used_as {
                UsedAs::Mount { .. } => usage_of(&at)?,
                UsedAs::Block => size_of(&stage, &entry)
                    .map(|total| VolumeUsage {
                        total,
                        unit: Unit::Bytes.into(),
                        ..Default::default()
                    })
                    .into_iter()
                    .collect(),
            };
            let condition = VolumeCondition {
                abnormal: complaint.is_some(),
                message: complaint.unwrap_or_else(|| "the volume is as it should be".to_owned()),
            };
            Ok(NodeGetVolumeStatsResponse { usage, volume_condition: Some(condition) })
        })
        .await?;
        Ok(Response::new(seen))
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let asked = request.into_inner();
        let volume = needed(&asked.volume_id)?;
        let at = looked_at(&asked.volume_path)?;
        let call = ("NodeExpandVolume", asked.encode_to_vec());
        let least = asked.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
        let work = move |stage: &Stage| expand(stage, &volume, &at, least);
        let capacity_bytes = self.in_turn(&asked.volume_id, call, work).await?;
        Ok(Response::new(NodeExpandVolumeResponse { capacity_bytes }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let offered = |of: rpc::Type| NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: of.into() })),
        };
        let capabilities = vec![
            offered(rpc::Type::StageUnstageVolume),
            offered(rpc::Type::GetVolumeStats),
            offered(rpc::Type::ExpandVolume),
            offered(rpc::Type::VolumeCondition),
            offered(rpc::Type::SingleNodeMultiWriter),
        ];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        let (machine, node) = (self.machine.clone(), self.settings.node_id.clone());
        let ours = blocking(move || host::initiators(&machine, &node).map_err(failed)).await?;
        let node = self.settings.node_id.clone();
        let record = self.api.call(move |client| host::register(client, &node, &ours)).await?;
        let zones = host::zones(&record);
        let driver = &self.settings.driver_name;
        let segments: HashMap<String, String> =
            zones.iter().map(|zone| (zone_key(driver, zone), "true".to_owned())).collect();
        let accessible_topology = (!segments.is_empty()).then_some(Topology { segments });
        Ok(Response::new(NodeGetInfoResponse {
            // What the controller attaches to.
            node_id: record.id.to_string(),
            max_volumes_per_node: 0,
            accessible_topology,
        }))
    }
}

/// Makes a volume and what is on it as large as it was made; its size.
fn expand(stage: &Stage, volume: &str, at: &Path, least: i64) -> Result<i64, Status> {
    let entry = stage.at(volume, at)?;
    let connector = connector(&stage.machine, &entry.connection);
    connector.resize(&entry.connection).map_err(failed)?;
    let device = connector.find(&entry.connection).map_err(failed)?;
    let size = size_of(stage, &entry).unwrap_or_default();
    if size < least {
        return Err(Status::unavailable(format!(
            "the device of volume {volume} has {size} bytes by now and shall have {least}; the \
             target has not told this node yet, try again"
        )));
    }
    if let (UsedAs::Mount { filesystem, .. }, Some(device)) = (&entry.used_as, device)
        && entry.mode == AttachMode::ReadWrite
    {
        filesystem.grow(&stage.machine, &device, &entry.staging).map_err(failed)?;
    }
    Ok(size)
}

fn size_of(stage: &Stage, entry: &Entry) -> Option<i64> {
    let device = connector(&stage.machine, &entry.connection).find(&entry.connection).ok()??;
    i64::try_from(device.size(&stage.machine).ok()?).ok()
}

fn usage_of(at: &Path) -> Result<Vec<VolumeUsage>, Status> {
    let seen = mounts::usage(at).map_err(failed)?;
    let whole = |of: u64| i64::try_from(of).unwrap_or(i64::MAX);
    let row = |[total, used, available]: [u64; 3], unit: Unit| VolumeUsage {
        total: whole(total),
        used: whole(used),
        available: whole(available),
        unit: unit.into(),
    };
    Ok(vec![row(seen.bytes, Unit::Bytes), row(seen.inodes, Unit::Inodes)])
}
