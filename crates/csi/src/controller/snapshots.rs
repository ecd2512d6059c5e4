//! Snapshots: take, remove, list. Known by the orchestrator's name like volumes, and asked for under
//! a key made of it, so that of two equal requests one takes the snapshot and both get it.
//!
//! Taking one of a volume in use is the control plane's affair: writes wait at the target for the
//! moment, and what was answered before is in it.

use std::collections::BTreeMap;

use osds_model::SnapshotId;
use osds_rest_api::client::ClientError;
use osds_rest_api::request::NewSnapshot;
use osds_rest_api::view::SnapshotView;
use prost_types::Timestamp;
use uuid::Uuid;

use super::named::{self, ADDED, NAME, Named};
use super::publish::{WAIT, text};
use super::volumes::{self, GIB};
use crate::api::Api;
use crate::handle::Handle;
use crate::proto::list_snapshots_response::Entry;
use crate::proto::{CreateSnapshotRequest, ListSnapshotsRequest, ListSnapshotsResponse, Snapshot};
use crate::status::{self, Status};

/// Takes a snapshot, or finds it taken.
///
/// # Errors
/// ALREADY_EXISTS when the name is that of another volume's; as the control plane.
pub async fn create(api: &Api, request: CreateSnapshotRequest) -> Result<Snapshot, Status> {
    if let Some(key) = request.parameters.keys().find(|key| !key.starts_with(ADDED)) {
        return Err(status::invalid(format!("parameter {key} is not known; there is none")));
    }
    let name = request.name;
    let snapshot: SnapshotView<'static> = match named::find(api, &name).await? {
        Some(found) => found,
        None => {
            let (handle, _) = volumes::known(api, &request.source_volume_id).await?;
            make(api, &name, &handle.volume.to_string()).await?
        }
    };
    let of = text(&snapshot.volume_id);
    let asked = request.source_volume_id.parse::<Handle>();
    if asked.map(|handle| handle.volume.to_string()).as_ref() != Ok(&of) {
        return Err(Status::already_exists(format!(
            "snapshot {name} ({}) exists and is of volume {of}",
            text(&snapshot.id)
        )));
    }
    let id = text(&snapshot.id);
    let snapshot = match snapshot.status.as_ref() {
        "creating" => get(api, &id, true).await?.unwrap_or(snapshot),
        _ => snapshot,
    };
    match snapshot.status.as_ref() {
        "available" | "creating" => Ok(shown(&snapshot)),
        // Not final: the control plane goes on trying, and the name stays taken.
        other => {
            Err(Status::aborted(format!("snapshot {id} is {other}: {}", snapshot.status_reason)))
        }
    }
}

async fn make(api: &Api, name: &str, volume: &str) -> Result<SnapshotView<'static>, Status> {
    let body = NewSnapshot {
        name: named::short_name(name),
        volume_id: volume.to_owned(),
        metadata: [(NAME.to_owned(), name.to_owned())].into(),
        ..NewSnapshot::default()
    };
    let made = named::make(api, name, &format!("snapshot/{name}"), body).await?;
    made.map_err(|error| status::of(&error))
}

/// A snapshot, if it is there; `settled`: once nothing is under way for it.
async fn get(api: &Api, id: &str, settled: bool) -> Result<Option<SnapshotView<'static>>, Status> {
    let Ok(id) = id.parse::<SnapshotId>() else { return Ok(None) };
    named::get(api, &id.to_string(), settled.then_some(WAIT)).await
}

/// One snapshot.
///
/// # Errors
/// NOT_FOUND.
pub async fn show(api: &Api, id: &str) -> Result<Snapshot, Status> {
    let found = get(api, id, false).await?;
    let found = found.ok_or_else(|| Status::not_found(format!("there is no snapshot {id}")))?;
    Ok(shown(&found))
}

/// Removes a snapshot. What is not there is removed.
///
/// # Errors
/// FAILED_PRECONDITION while a volume is still made from it, INVALID_ARGUMENT for one of a group
/// snapshot.
pub async fn delete(api: &Api, id: &str) -> Result<(), Status> {
    let Ok(parsed) = id.parse::<SnapshotId>() else { return Ok(()) };
    match named::delete::<SnapshotView<'static>>(api, &parsed.to_string()).await? {
        Ok(None) => Ok(()),
        Ok(Some(left)) => Err(Status::aborted(format!(
            "snapshot {id} is {} still: {}",
            left.status, left.status_reason
        ))),
        Err(error @ ClientError::Refused { status: 400, reason: None, .. }) => {
            Err(Status::failed_precondition(status::chain(&error)))
        }
        Err(error) => Err(status::of(&error)),
    }
}

/// A page of the snapshots; of one, or of one volume's, where the request says so. One that is not
/// there makes the list empty and is no error.
///
/// # Errors
/// ABORTED for a token that is none of ours.
pub async fn list(
    api: &Api,
    request: ListSnapshotsRequest,
) -> Result<ListSnapshotsResponse, Status> {
    let of = match request.source_volume_id.as_str() {
        "" => None,
        handle => Some(handle.parse::<Handle>().ok().map(|handle| handle.volume.to_string())),
    };
    let found: Vec<SnapshotView<'static>> = match (&of, request.snapshot_id.as_str()) {
        // No volume of ours has such a name.
        (Some(None), _) => Vec::new(),
        (of, "") => {
            let of = of.clone().flatten().unwrap_or_default();
            let place = <SnapshotView<'_> as Named>::PLACE;
            api.call(move |client| client.list(place, &[("VolumeId", of.as_str())])).await?
        }
        (of, id) => {
            let one = get(api, id, false).await?.into_iter();
            let of = of.clone().flatten();
            one.filter(|one| of.as_ref().is_none_or(|of| text(&one.volume_id) == *of)).collect()
        }
    };
    let id = |view: SnapshotView<'static>| Some((text(&view.id).parse().ok()?, view));
    let sorted: BTreeMap<SnapshotId, _> = found.into_iter().filter_map(id).collect();
    let (page, next_token) = named::page(sorted, request.max_entries, &request.starting_token)?;
    let entries = page.iter().map(|(_, one)| Entry { snapshot: Some(shown(one)) }).collect();
    Ok(ListSnapshotsResponse { entries, next_token })
}

pub(super) fn shown(view: &SnapshotView<'_>) -> Snapshot {
    let (id, group) = (text(&view.id), text(&view.group_snapshot_id));
    Snapshot {
        size_bytes: i64::try_from(view.size).unwrap_or(i64::MAX).saturating_mul(GIB),
        source_volume_id: text(&view.volume_id),
        // Those of one group snapshot are of one moment.
        creation_time: created(if group.is_empty() { &id } else { &group }),
        ready_to_use: view.status == "available",
        group_snapshot_id: group,
        snapshot_id: id,
    }
}

/// When it was asked for: ids begin with the time (UUIDv7).
pub(super) fn created(id: &str) -> Option<Timestamp> {
    let (seconds, nanos) = Uuid::parse_str(id).ok()?.get_timestamp()?.to_unix();
    Some(Timestamp { seconds: i64::try_from(seconds).ok()?, nanos: i32::try_from(nanos).ok()? })
}
