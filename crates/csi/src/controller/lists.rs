//! Lists and figures: which volumes there are and who has them, and how much room is left.
//!
//! Kubernetes holds the list of published nodes against its own records every minute and attaches
//! again what it misses, so a list is whole or there is none: volumes and attachments are read at
//! one go, and a failure of either is the failure of the call.

use std::collections::{BTreeMap, BTreeSet};

use osds_model::VolumeId;
use osds_rest_api::{AttachmentView, FitView, HostView, PoolView, VolumeView, url};

use super::publish::{is_of, is_published, text};
use super::volumes::{GIB, known, shown};
use super::{Settings, capability, named, wanted};
use crate::api::Api;
use crate::handle::Handle;
use crate::proto::list_volumes_response::{Entry, VolumeStatus};
use crate::proto::{GetCapacityRequest, GetCapacityResponse, ListVolumesResponse, VolumeCondition};
use crate::status::Status;
use crate::zones::zone_key;

/// What there is of one volume.
struct Seen {
    volume: VolumeView<'static>,
    attachments: Vec<AttachmentView<'static>>,
}

impl Seen {
    /// Who has it under this handle.
    fn nodes(&self, handle: Handle) -> Vec<String> {
        let mine = self.attachments.iter().filter(|view| is_of(handle, view) && is_published(view));
        mine.map(|view| text(&view.host_id)).collect()
    }

    fn condition(&self, fenced: &BTreeSet<String>) -> VolumeCondition {
        let volume = &self.volume;
        let mut odd = Vec::new();
        if volume.status.starts_with("error") || !volume.status_reason.is_empty() {
            odd.push(format!("volume is {}: {}", volume.status, volume.status_reason));
        }
        for view in &self.attachments {
            let host = text(&view.host_id);
            if view.status.starts_with("error") || !view.status_reason.is_empty() {
                odd.push(format!("node {host} is {}: {}", view.status, view.status_reason));
            }
            if fenced.contains(&host) {
                odd.push(format!("node {host} is fenced"));
            }
        }
        VolumeCondition {
            abnormal: !odd.is_empty(),
            message: if odd.is_empty() { "as wished".to_owned() } else { odd.join("; ") },
        }
    }
}

/// A page of the volumes, each under both its handles where it is used under both.
///
/// # Errors
/// ABORTED for a token that is none of ours; never a part of a list.
pub async fn list(api: &Api, most: i32, token: &str) -> Result<ListVolumesResponse, Status> {
    let (volumes, attachments, fenced) = api
        .call(|client| {
            let volumes: Vec<VolumeView<'static>> = client.list("block/volumes", &[])?;
            let attachments: Vec<AttachmentView<'static>> =
                client.list("block/attachments", &[])?;
            Ok((volumes, attachments, fenced(client)?))
        })
        .await?;
    let mut seen: BTreeMap<VolumeId, Seen> = volumes
        .into_iter()
        .filter_map(|volume| {
            let id = text(&volume.id).parse().ok()?;
            Some((id, Seen { volume, attachments: Vec::new() }))
        })
        .collect();
    for view in attachments {
        if let Ok(id) = text(&view.volume_id).parse::<VolumeId>()
            && let Some(seen) = seen.get_mut(&id)
        {
            seen.attachments.push(view);
        }
    }
    let handles = seen.iter().flat_map(|(id, seen)| {
        let alias = Handle::reading(*id);
        let has_alias = seen.attachments.iter().any(|view| is_of(alias, view));
        [Some((Handle::from(*id), seen)), has_alias.then_some((alias, seen))].into_iter().flatten()
    });
    let (page, next_token) = named::page(handles, most, token)?;
    let entries = page
        .into_iter()
        .map(|(handle, seen)| {
            let mut volume = shown(&seen.volume);
            volume.volume_id = handle.to_string();
            let status = VolumeStatus {
                published_node_ids: seen.nodes(handle),
                volume_condition: Some(seen.condition(&fenced)),
            };
            Entry { volume: Some(volume), status: Some(status) }
        })
        .collect();
    Ok(ListVolumesResponse { entries, next_token })
}

/// One volume, who has it, and how it is.
///
/// # Errors
/// NOT_FOUND.
pub async fn show(
    api: &Api,
    handle: &str,
) -> Result<(crate::proto::Volume, Vec<String>, VolumeCondition), Status> {
    let (parsed, volume) = known(api, handle).await?;
    let (attachments, fenced) = api
        .call(move |client| {
            let id = parsed.volume.to_string();
            let attachments: Vec<AttachmentView<'static>> =
                client.list("block/attachments", &[("VolumeId", id.as_str())])?;
            Ok((attachments, fenced(client)?))
        })
        .await?;
    let seen = Seen { volume, attachments };
    let mut volume = shown(&seen.volume);
    volume.volume_id = parsed.to_string();
    Ok((volume, seen.nodes(parsed), seen.condition(&fenced)))
}

fn fenced(
    client: &osds_rest_api::client::Client,
) -> Result<BTreeSet<String>, osds_rest_api::client::ClientError> {
    let hosts: Vec<HostView<'static>> = client.list("host/hosts", &[])?;
    Ok(hosts.iter().filter(|host| host.fenced).map(|host| text(&host.id)).collect())
}

/// How much room there is for volumes that can be used so.
///
/// # Errors
/// As the control plane.
pub async fn capacity(
    api: &Api,
    settings: &Settings,
    request: GetCapacityRequest,
) -> Result<GetCapacityResponse, Status> {
    let cluster_fs = capability::allows_cluster_fs(&request.parameters)?;
    let asked = if request.volume_capabilities.is_empty() {
        Vec::new()
    } else {
        capability::read_all(&request.volume_capabilities, cluster_fs)?
    };
    let needs = capability::needs_multi_attach(&asked);
    let profile = match request.parameters.get("profile").filter(|said| !said.is_empty()) {
        Some(said) => Some(wanted::profile(api, said).await?),
        None => None,
    };
    let shared = profile.as_ref().is_some_and(wanted::is_shared);
    if capability::objection(&asked, shared || settings.auto_multi_attach).is_some() {
        return Ok(GetCapacityResponse {
            available_capacity: 0,
            maximum_volume_size: Some(0),
            minimum_volume_size: Some(GIB),
        });
    }
    let mut path = "pools/explain?size=1".to_owned();
    if let Some(profile) = &profile {
        path.push_str("&profileId=");
        path.push_str(&profile.id.with(url::encode));
    }
    // Asked for each zone by itself: a pool of another zone does not fit.
    let prefix = zone_key(&settings.driver_name, "");
    let zones: Vec<String> = request
        .accessible_topology
        .iter()
        .flat_map(|topology| topology.segments.keys())
        .filter_map(|key| key.strip_prefix(&prefix).map(str::to_owned))
        .collect();
    let (fits, pools) = api
        .call(move |client| {
            let pools: Vec<PoolView<'static>> = client.list("pools", &[])?;
            let zones = if zones.is_empty() {
                let all: BTreeSet<_> =
                    pools.iter().map(|pool| pool.availability_zone.to_string()).collect();
                all.into_iter().collect()
            } else {
                zones
            };
            let mut fits: Vec<FitView<'static>> = Vec::new();
            for zone in zones {
                let path = format!("{path}&availabilityZone={}", url::encode(&zone));
                fits.extend(client.get::<Vec<FitView<'static>>>(&path)?);
            }
            Ok((fits, pools))
        })
        .await?;
    let multi: BTreeSet<String> =
        pools.iter().filter(|pool| pool.multi_attach).map(|pool| text(&pool.id)).collect();
    let free: BTreeMap<String, i64> = fits
        .iter()
        .filter(|fit| fit.fits && (!needs || multi.contains(&text(&fit.pool_id))))
        .map(|fit| {
            let gib = i64::try_from(fit.free_capacity).unwrap_or(i64::MAX);
            (text(&fit.pool_id), gib.saturating_mul(GIB))
        })
        .collect();
    Ok(GetCapacityResponse {
        available_capacity: free.values().fold(0, |sum, free| sum.saturating_add(*free)),
        maximum_volume_size: Some(free.values().copied().max().unwrap_or(0)),
        minimum_volume_size: Some(GIB),
    })
}
