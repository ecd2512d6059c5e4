//! Group controller: snapshots of several volumes at one moment: take, show, remove.
//!
//! Write order across the volumes is promised, and kept by the control plane, which has the writes of
//! all of them held for the moment. So OK is said only when all are taken; what is still under way
//! is ABORTED, which makes an orchestrator ask again, never forget.

use std::collections::BTreeSet;

use osds_model::{GroupSnapshotId, VolumeId};
use osds_rest_api::GroupSnapshotView;
use osds_rest_api::client::ClientError;
use osds_rest_api::request::NewGroupSnapshot;
use tonic::{Request, Response};

use super::named::{self, ADDED, GROUP_NAME};
use super::publish::{WAIT, required, text};
use super::snapshots::{self, created};
use super::{ControllerService, volumes};
use crate::api::Api;
use crate::handle::Handle;
use crate::proto::group_controller_server::GroupController;
use crate::proto::group_controller_service_capability::rpc::Type as Call;
use crate::proto::group_controller_service_capability::{Rpc, Type};
use crate::proto::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeGroupSnapshotResponse,
    DeleteVolumeGroupSnapshotRequest, DeleteVolumeGroupSnapshotResponse,
    GetVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest, GroupControllerGetCapabilitiesResponse,
    GroupControllerServiceCapability, VolumeGroupSnapshot,
};
use crate::status::{self, Status};

type View = GroupSnapshotView<'static>;

#[tonic::async_trait]
impl GroupController for ControllerService {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<GroupControllerGetCapabilitiesResponse>, Status> {
        let call = Call::CreateDeleteGetVolumeGroupSnapshot.into();
        let offered =
            GroupControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: call })) };
        Ok(Response::new(GroupControllerGetCapabilitiesResponse { capabilities: vec![offered] }))
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<CreateVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        required(&request.name, "name")?;
        if request.source_volume_ids.is_empty() {
            return Err(status::missing("source_volume_ids"));
        }
        let taken = create(&self.api, request);
        let taken = self.metrics.observed("CreateVolumeGroupSnapshot", taken).await?;
        Ok(Response::new(CreateVolumeGroupSnapshotResponse { group_snapshot: Some(taken) }))
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let id = required(&request.group_snapshot_id, "group_snapshot_id")?;
        let removed = delete(&self.api, id, &request.snapshot_ids);
        self.metrics.observed("DeleteVolumeGroupSnapshot", removed).await?;
        Ok(Response::new(DeleteVolumeGroupSnapshotResponse {}))
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<GetVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let id = required(&request.group_snapshot_id, "group_snapshot_id")?;
        let found = get(&self.api, id, false).await?;
        let found = found.ok_or_else(|| Status::not_found(format!("no group snapshot {id}")))?;
        check_ids(&found, &request.snapshot_ids)?;
        let group_snapshot = Some(shown(&found));
        Ok(Response::new(GetVolumeGroupSnapshotResponse { group_snapshot }))
    }
}

/// Takes a group snapshot, or finds it taken.
async fn create(
    api: &Api,
    request: CreateVolumeGroupSnapshotRequest,
) -> Result<VolumeGroupSnapshot, Status> {
    if let Some(key) = request.parameters.keys().find(|key| !key.starts_with(ADDED)) {
        return Err(status::invalid(format!("parameter {key} is not known; there is none")));
    }
    let (name, handles) = (request.name, request.source_volume_ids);
    let found: View = match named::find(api, &name).await? {
        Some(found) => found,
        None => make(api, &name, volumes_of(api, &handles).await?).await?,
    };
    let of: BTreeSet<_> = found.snapshots.iter().map(|one| text(&one.volume_id)).collect();
    let asked = handles.iter().filter_map(|handle| handle.parse::<Handle>().ok());
    let asked: BTreeSet<_> = asked.map(|handle| handle.volume.to_string()).collect();
    // Each is named once, as they all are where the request made it.
    if of != asked || asked.len() != handles.len() {
        return Err(Status::already_exists(format!(
            "group snapshot {name} ({}) exists and is of volumes {}",
            text(&found.id),
            of.into_iter().collect::<Vec<_>>().join(", ")
        )));
    }
    let id = text(&found.id);
    let found = match found.status.as_ref() {
        "creating" => get(api, &id, true).await?.unwrap_or(found),
        _ => found,
    };
    match found.status.as_ref() {
        "available" => Ok(shown(&found)),
        // Not final: the control plane goes on trying, and the name stays taken.
        other => Err(Status::aborted(format!(
            "group snapshot {id} is {other}: {}",
            match found.status_reason.as_ref() {
                "" => "ask again",
                reason => reason,
            }
        ))),
    }
}

/// The volumes of these handles, each once.
async fn volumes_of(api: &Api, handles: &[String]) -> Result<BTreeSet<VolumeId>, Status> {
    let mut volumes = BTreeSet::new();
    for handle in handles {
        let (known, _) = volumes::known(api, handle).await?;
        if !volumes.insert(known.volume) {
            return Err(status::invalid(format!("volume {} is named twice", known.volume)));
        }
    }
    Ok(volumes)
}

async fn make(api: &Api, name: &str, volumes: BTreeSet<VolumeId>) -> Result<View, Status> {
    let body = NewGroupSnapshot {
        name: named::short_name(name),
        volume_ids: volumes.iter().map(ToString::to_string).collect(),
        metadata: [(GROUP_NAME.to_owned(), name.to_owned())].into(),
        ..NewGroupSnapshot::default()
    };
    let made = named::make(api, name, &format!("group-snapshot/{name}"), body).await?;
    made.map_err(|error| status::of(&error))
}

/// A group snapshot, if it is there; `settled`: once nothing is under way for it.
async fn get(api: &Api, id: &str, settled: bool) -> Result<Option<View>, Status> {
    let Ok(id) = id.parse::<GroupSnapshotId>() else { return Ok(None) };
    named::get(api, &id.to_string(), settled.then_some(WAIT)).await
}

/// Removes a group snapshot with all its snapshots. What is not there is removed.
async fn delete(api: &Api, id: &str, snapshots: &[String]) -> Result<(), Status> {
    let Some(found) = get(api, id, false).await? else { return Ok(()) };
    check_ids(&found, snapshots)?;
    match named::delete::<View>(api, &text(&found.id)).await? {
        Ok(None) => Ok(()),
        Ok(Some(left)) => Err(Status::aborted(format!(
            "group snapshot {id} is {} still: {}",
            left.status, left.status_reason
        ))),
        Err(error @ ClientError::Refused { status: 400, reason: None, .. }) => {
            Err(Status::failed_precondition(status::chain(&error)))
        }
        Err(error) => Err(status::of(&error)),
    }
}

/// What the orchestrator takes for its snapshots has to be all of them; nothing said is nothing
/// wrong, as an orchestrator that never learned them must be able to remove it.
fn check_ids(view: &View, said: &[String]) -> Result<(), Status> {
    let ids: BTreeSet<_> = view.snapshots.iter().map(|one| text(&one.id)).collect();
    let said: BTreeSet<_> = said.iter().cloned().collect();
    if said.is_empty() || said == ids {
        return Ok(());
    }
    Err(status::invalid(format!(
        "snapshot_ids are not those of group snapshot {}, which are {}",
        text(&view.id),
        ids.into_iter().collect::<Vec<_>>().join(", ")
    )))
}

fn shown(view: &View) -> VolumeGroupSnapshot {
    let id = text(&view.id);
    VolumeGroupSnapshot {
        snapshots: view.snapshots.iter().map(snapshots::shown).collect(),
        creation_time: created(&id),
        ready_to_use: view.status == "available",
        group_snapshot_id: id,
    }
}
