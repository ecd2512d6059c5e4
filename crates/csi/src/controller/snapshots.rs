//! Snapshots: take, remove, list. Known by the orchestrator's name like volumes, and asked for under
//! a key made of it, so that of two equal requests one takes the snapshot and both get it.
//!
//! Taking one of a volume in use is the control plane's affair: writes wait at the target for the
//! moment, and what was answered before is in it.

use std::collections::BTreeMap;

use osds_model::{SnapshotId, validate};
use osds_rest_api::client::{ClientError, Method};
use osds_rest_api::request::NewSnapshot;
use osds_rest_api::view::SnapshotView;
use prost_types::Timestamp;
use uuid::Uuid;

use super::publish::{WAIT, text};
use super::volumes::{self, ADDED, GIB, KEYS, LIVES, NAME};
use crate::api::Api;
use crate::proto::list_snapshots_response::Entry;
use crate::proto::{CreateSnapshotRequest, ListSnapshotsRequest, ListSnapshotsResponse, Snapshot};
use crate::status::{self, Status};

const PLACE: &str = "block/snapshots";

/// Takes a snapshot, or finds it taken.
///
/// # Errors
/// ALREADY_EXISTS when the name is that of another volume's; as the control plane.
pub async fn create(api: &Api, request: CreateSnapshotRequest) -> Result<Snapshot, Status> {
    if let Some(key) = request.parameters.keys().find(|key| !key.starts_with(ADDED)) {
        return Err(status::invalid(format!("parameter {key} is not known; there is none")));
    }
    let name = request.name;
    let found = find(api, &name).await?;
    let snapshot = match found {
        Some(found) => found,
        None => {
            let (handle, _) = volumes::known(api, &request.source_volume_id).await?;
            make(api, &name, &handle.volume.to_string()).await?
        }
    };
    let of = text(&snapshot.volume_id);
    if request.source_volume_id.split('#').next() != Some(of.as_str()) {
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

async fn find(api: &Api, name: &str) -> Result<Option<SnapshotView<'static>>, Status> {
    let (short, name) = (short_name(name), name.to_owned());
    api.call(move |client| {
        let called: Vec<SnapshotView<'static>> = client.list(PLACE, &[("Name", short.as_str())])?;
        Ok(called.into_iter().find(|snapshot| {
            snapshot.metadata.get(NAME) == Some(&name) && snapshot.status != "deleting"
        }))
    })
    .await
}

async fn make(api: &Api, name: &str, volume: &str) -> Result<SnapshotView<'static>, Status> {
    let metadata: BTreeMap<String, String> = [(NAME.to_owned(), name.to_owned())].into();
    let body = NewSnapshot {
        name: short_name(name),
        volume_id: volume.to_owned(),
        metadata,
        ..NewSnapshot::default()
    };
    for life in 0..LIVES {
        let key = Uuid::new_v5(&KEYS, format!("snapshot/{name}/{life}").as_bytes()).to_string();
        let body = body.clone();
        let outcome = api
            .ask(move |client| {
                let request = client.request(Method::POST, PLACE).body(&body);
                request.once(key).wait(WAIT).send()?.read::<SnapshotView<'static>>()
            })
            .await?;
        match outcome {
            Ok(snapshot) => return Ok(snapshot),
            // What this key made is gone: the name is free for another life.
            Err(ClientError::Refused { status: 404, .. }) => {}
            // The key was another request's: whoever made something under this name has it.
            Err(ClientError::Refused { status: 422, .. }) => {
                if let Some(found) = find(api, name).await? {
                    return Ok(found);
                }
            }
            Err(error) => return Err(status::of(&error)),
        }
    }
    Err(Status::resource_exhausted("this name was used too often today; use another"))
}

/// Its name in the control plane, whose rules are narrower.
fn short_name(name: &str) -> String {
    if validate::volume_name(name) {
        name.to_owned()
    } else {
        format!("csi-{}", Uuid::new_v5(&KEYS, name.as_bytes()))
    }
}

/// A snapshot, if it is there; `settled`: once nothing is under way for it.
async fn get(api: &Api, id: &str, settled: bool) -> Result<Option<SnapshotView<'static>>, Status> {
    let Ok(id) = id.parse::<SnapshotId>() else { return Ok(None) };
    let path = format!("{PLACE}/{id}");
    api.call(move |client| {
        let request = client.request(Method::GET, &path);
        let request = if settled { request.wait(WAIT) } else { request };
        match request.send() {
            Ok(answer) => answer.read().map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
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
/// FAILED_PRECONDITION while a volume is still made from it.
pub async fn delete(api: &Api, id: &str) -> Result<(), Status> {
    let Ok(parsed) = id.parse::<SnapshotId>() else { return Ok(()) };
    let path = format!("{PLACE}/{parsed}");
    let outcome = api
        .ask(move |client| client.request(Method::DELETE, &path).wait(WAIT).send().map(drop))
        .await?;
    match outcome {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error @ ClientError::Refused { status: 400, .. }) => {
            return Err(Status::failed_precondition(status::chain(&error)));
        }
        Err(error) => return Err(status::of(&error)),
    }
    match get(api, id, true).await? {
        None => Ok(()),
        Some(left) => Err(Status::aborted(format!(
            "snapshot {id} is {} still: {}",
            left.status, left.status_reason
        ))),
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
    let most = usize::try_from(request.max_entries)
        .map_err(|_| status::invalid("max_entries must not be negative"))?;
    let after = match request.starting_token.as_str() {
        "" => None,
        token => Some(token.parse::<SnapshotId>().map_err(|_| {
            Status::aborted("starting_token is none of ours; start again without one")
        })?),
    };
    let of = request.source_volume_id.split('#').next().unwrap_or_default().to_owned();
    let mut found: Vec<SnapshotView<'static>> = if request.snapshot_id.is_empty() {
        api.call(move |client| {
            let filter = [("VolumeId", of.as_str())];
            client.list(PLACE, if of.is_empty() { &[] } else { &filter })
        })
        .await?
    } else {
        let one = get(api, &request.snapshot_id, false).await?;
        one.into_iter().filter(|one| of.is_empty() || text(&one.volume_id) == of).collect()
    };
    // Ids sort by age: what is taken between two pages is on the next.
    let id = |snapshot: &SnapshotView<'_>| text(&snapshot.id).parse::<SnapshotId>().ok();
    found.sort_by_key(&id);
    let mut left = found.iter().filter(|snapshot| after.is_none() || id(snapshot) > after);
    let page: Vec<_> = left.by_ref().take(if most == 0 { usize::MAX } else { most }).collect();
    let next_token = match (left.next(), page.last()) {
        (Some(_), Some(last)) => text(&last.id),
        (Some(_) | None, _) => String::new(),
    };
    let entries = page.into_iter().map(|one| Entry { snapshot: Some(shown(one)) }).collect();
    Ok(ListSnapshotsResponse { entries, next_token })
}

fn shown(view: &SnapshotView<'_>) -> Snapshot {
    let id = text(&view.id);
    Snapshot {
        size_bytes: i64::try_from(view.size).unwrap_or(i64::MAX).saturating_mul(GIB),
        source_volume_id: text(&view.volume_id),
        creation_time: created(&id),
        ready_to_use: view.status == "available",
        group_snapshot_id: String::new(),
        snapshot_id: id,
    }
}

/// When it was asked for: ids begin with the time (UUIDv7).
fn created(id: &str) -> Option<Timestamp> {
    let (seconds, nanos) = Uuid::parse_str(id).ok()?.get_timestamp()?.to_unix();
    Some(Timestamp { seconds: i64::try_from(seconds).ok()?, nanos: i32::try_from(nanos).ok()? })
}
