//! Controller: volumes are made, given to nodes, taken back and removed, by asking the control
//! plane. Each call is one request that the control plane decides whole; nothing is kept here.
//! So any number of controllers may answer, and the order in which they do does not matter: two
//! equal calls at once wait for the same record, and of two that contradict each other the control
//! plane's transaction lets one through.

pub mod capability;
mod group_snapshots;
mod lists;
mod modify;
mod named;
pub mod publish;
mod snapshots;
pub mod volumes;
mod wanted;

use tonic::{Request, Response};

use crate::api::Api;
use crate::handle::Handle;
use crate::metrics::Metrics;
use crate::proto::controller_get_volume_response::VolumeStatus;
use crate::proto::controller_server::Controller;
use crate::proto::controller_service_capability::rpc::Type as Call;
use crate::proto::controller_service_capability::{Rpc, Type};
use crate::proto::validate_volume_capabilities_response::Confirmed;
use crate::proto::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse,
    ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse,
    ControllerGetVolumeRequest, ControllerGetVolumeResponse, ControllerModifyVolumeRequest,
    ControllerModifyVolumeResponse, ControllerPublishVolumeRequest,
    ControllerPublishVolumeResponse, ControllerServiceCapability, ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse, CreateSnapshotRequest, CreateSnapshotResponse,
    CreateVolumeRequest, CreateVolumeResponse, DeleteSnapshotRequest, DeleteSnapshotResponse,
    DeleteVolumeRequest, DeleteVolumeResponse, GetCapacityRequest, GetCapacityResponse,
    GetSnapshotRequest, GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse,
    ListVolumesRequest, ListVolumesResponse, ValidateVolumeCapabilitiesRequest,
    ValidateVolumeCapabilitiesResponse,
};
use crate::status::{self, Status};
use modify::Changes;
use publish::required;
pub use volumes::Settings;

/// What is offered.
const OFFERED: [Call; 14] = [
    Call::CreateDeleteVolume,
    Call::PublishUnpublishVolume,
    Call::ListVolumes,
    Call::ListVolumesPublishedNodes,
    Call::GetCapacity,
    // From the first day: an orchestrator that learns it later would ask for something else on
    // nodes that have a volume already.
    Call::PublishReadonly,
    Call::ExpandVolume,
    Call::SingleNodeMultiWriter,
    Call::GetVolume,
    Call::CreateDeleteSnapshot,
    Call::ListSnapshots,
    Call::GetSnapshot,
    Call::CloneVolume,
    Call::ModifyVolume,
];

/// The controller service.
pub struct ControllerService {
    api: Api,
    settings: Settings,
    metrics: Metrics,
}

impl ControllerService {
    /// For this control plane.
    #[must_use]
    pub const fn new(api: Api, settings: Settings, metrics: Metrics) -> Self {
        Self { api, settings, metrics }
    }
}

#[tonic::async_trait]
impl Controller for ControllerService {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        required(&request.get_ref().name, "name")?;
        let volume = self
            .metrics
            .observed(
                "CreateVolume",
                volumes::create(&self.api, &self.settings, request.into_inner()),
            )
            .await?;
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let handle = request.into_inner().volume_id;
        self.metrics
            .observed("DeleteVolume", volumes::delete(&self.api, required(&handle, "volume_id")?))
            .await?;
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn controller_publish_volume(
        &self,
        request: Request<ControllerPublishVolumeRequest>,
    ) -> Result<Response<ControllerPublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let handle = required(&request.volume_id, "volume_id")?;
        let node = required(&request.node_id, "node_id")?;
        let capability = request
            .volume_capability
            .as_ref()
            .ok_or_else(|| status::missing("volume_capability"))?;
        let cluster_fs = capability::allows_cluster_fs(&request.volume_context)?;
        let asked = capability::read(capability, cluster_fs)?;
        let handle: Handle = handle
            .parse()
            .map_err(|_| Status::not_found(format!("there is no volume {handle}")))?;
        let context = self
            .metrics
            .observed(
                "ControllerPublishVolume",
                publish::publish(&self.api, handle, node, asked, request.readonly),
            )
            .await?;
        Ok(Response::new(ControllerPublishVolumeResponse { publish_context: context.to_map() }))
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<ControllerUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let handle = required(&request.volume_id, "volume_id")?;
        // No volume of ours has such a name, so nobody has it.
        if let Ok(handle) = handle.parse::<Handle>() {
            self.metrics
                .observed(
                    "ControllerUnpublishVolume",
                    publish::unpublish(&self.api, handle, &request.node_id),
                )
                .await?;
        }
        Ok(Response::new(ControllerUnpublishVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        let handle = required(&request.volume_id, "volume_id")?;
        if request.volume_capabilities.is_empty() {
            return Err(status::missing("volume_capabilities"));
        }
        let (_, volume) = volumes::known(&self.api, handle).await?;
        let cluster_fs = capability::allows_cluster_fs(&request.volume_context)?
            || capability::allows_cluster_fs(&request.parameters)?;
        let message = match capability::read_all(&request.volume_capabilities, cluster_fs) {
            Ok(asked) => capability::objection(&asked, volume.multi_attach),
            Err(status) => Some(status.message().to_owned()),
        };
        let message = message.or_else(|| match Changes::of(&request.mutable_parameters) {
            Ok(wanted) => wanted.missing_on(&volume),
            Err(status) => Some(status.message().to_owned()),
        });
        let confirmed = message.is_none().then_some(Confirmed {
            volume_context: request.volume_context,
            volume_capabilities: request.volume_capabilities,
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
        });
        let message = message.unwrap_or_default();
        Ok(Response::new(ValidateVolumeCapabilitiesResponse { confirmed, message }))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let request = request.into_inner();
        let page = self
            .metrics
            .observed(
                "ListVolumes",
                lists::list(&self.api, request.max_entries, &request.starting_token),
            )
            .await?;
        Ok(Response::new(page))
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let answer = self
            .metrics
            .observed(
                "GetCapacity",
                lists::capacity(&self.api, &self.settings, request.into_inner()),
            )
            .await?;
        Ok(Response::new(answer))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let offered = |call: Call| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: call.into() })),
        };
        let capabilities = OFFERED.into_iter().map(offered).collect();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let request = request.into_inner();
        required(&request.name, "name")?;
        required(&request.source_volume_id, "source_volume_id")?;
        let taken = snapshots::create(&self.api, request);
        let snapshot = Some(self.metrics.observed("CreateSnapshot", taken).await?);
        Ok(Response::new(CreateSnapshotResponse { snapshot }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        let removed = snapshots::delete(&self.api, required(&id, "snapshot_id")?);
        self.metrics.observed("DeleteSnapshot", removed).await?;
        Ok(Response::new(DeleteSnapshotResponse {}))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let page = snapshots::list(&self.api, request.into_inner());
        Ok(Response::new(self.metrics.observed("ListSnapshots", page).await?))
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        let snapshot = Some(snapshots::show(&self.api, required(&id, "snapshot_id")?).await?);
        Ok(Response::new(GetSnapshotResponse { snapshot }))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let handle = required(&request.volume_id, "volume_id")?;
        let capacity_bytes = self
            .metrics
            .observed(
                "ControllerExpandVolume",
                volumes::expand(&self.api, handle, request.capacity_range.as_ref()),
            )
            .await?;
        // Every node looks again, for raw blocks too: a size is read once by most who use them.
        Ok(Response::new(ControllerExpandVolumeResponse {
            capacity_bytes,
            node_expansion_required: true,
        }))
    }

    async fn controller_get_volume(
        &self,
        request: Request<ControllerGetVolumeRequest>,
    ) -> Result<Response<ControllerGetVolumeResponse>, Status> {
        let handle = request.into_inner().volume_id;
        let (volume, published_node_ids, condition) =
            lists::show(&self.api, required(&handle, "volume_id")?).await?;
        let status = VolumeStatus { published_node_ids, volume_condition: Some(condition) };
        Ok(Response::new(ControllerGetVolumeResponse {
            volume: Some(volume),
            status: Some(status),
        }))
    }

    async fn controller_modify_volume(
        &self,
        request: Request<ControllerModifyVolumeRequest>,
    ) -> Result<Response<ControllerModifyVolumeResponse>, Status> {
        required(&request.get_ref().volume_id, "volume_id")?;
        let modified = volumes::modify(&self.api, request.into_inner());
        self.metrics.observed("ControllerModifyVolume", modified).await?;
        Ok(Response::new(ControllerModifyVolumeResponse {}))
    }
}
