//! Create, delete, grow, show: the volumes themselves.
//!
//! What a request means is read in `wanted`, and how a name is kept in `named`. Here a volume is
//! found or made, and answered only when it is what was asked for and is there.
//!
//! Must stay true: what a publish would refuse whoever has the volume is refused here.

use std::collections::HashMap;

use osds_rest_api::client::{ClientError, Method};
use osds_rest_api::request::Resize;
use osds_rest_api::{Reason, VolumeView};

use super::capability::ALLOW_CLUSTER_FS;
use super::modify::{self, Changes};
use super::named::{self, get};
use super::publish::{WAIT, text};
use super::snapshots;
use super::wanted::{SourceIds, Wanted, size_of};
use crate::api::Api;
use crate::handle::Handle;
use crate::proto::volume_content_source::Type as Source;
use crate::proto::{
    CapacityRange, ControllerModifyVolumeRequest, CreateVolumeRequest, Topology, Volume,
    VolumeContentSource,
};
use crate::status::{self, Status};
use crate::zones::zone_key;

/// Bytes in the unit in which the control plane gives out space.
pub const GIB: i64 = 1 << 30;
/// What the driver is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The driver's name, of which topology keys are made.
    pub driver_name: String,
    /// Whether to ask for a multi-attach volume where a capability needs one, though the profile
    /// does not say so.
    pub auto_multi_attach: bool,
}

/// Makes a volume, or finds it made.
///
/// # Errors
/// As CSI says.
pub async fn create(
    api: &Api,
    settings: &Settings,
    request: CreateVolumeRequest,
) -> Result<Volume, Status> {
    let wanted = Wanted::of(api, settings, request).await?;
    let made = match named::find(api, &wanted.name).await? {
        Some(found) => found,
        None => make(api, &wanted).await?,
    };
    if let Some(why) = wanted.differs(&made) {
        return Err(Status::already_exists(format!(
            "volume {} ({}) exists and is not what is asked for: {why}",
            wanted.name,
            text(&made.id)
        )));
    }
    let made = settled(api, made).await?;
    modify::apply(api, &made, &wanted.changes).await?;
    let mut volume = shown(&made);
    if wanted.cluster_fs {
        volume.volume_context.insert(ALLOW_CLUSTER_FS.to_owned(), "true".to_owned());
    }
    volume.content_source =
        wanted.source.map(|source| VolumeContentSource { r#type: Some(source) });
    if !wanted.zones.is_empty() {
        let key = zone_key(&settings.driver_name, &made.availability_zone);
        volume.accessible_topology = vec![Topology { segments: [(key, "true".to_owned())].into() }];
    }
    Ok(volume)
}

/// What the volume is made from. NOT_FOUND when it is not there.
async fn source_of(api: &Api, source: Option<&Source>) -> Result<SourceIds, Status> {
    match source {
        None => Ok(SourceIds::default()),
        Some(Source::Snapshot(source)) => {
            let found = snapshots::show(api, &source.snapshot_id).await?;
            Ok(SourceIds { snapshot: found.snapshot_id, ..SourceIds::default() })
        }
        Some(Source::Volume(source)) => {
            let (handle, _) = known(api, &source.volume_id).await?;
            Ok(SourceIds { volume: handle.volume.to_string(), ..SourceIds::default() })
        }
    }
}

async fn make(api: &Api, wanted: &Wanted) -> Result<VolumeView<'static>, Status> {
    let source = source_of(api, wanted.source.as_ref()).await?;
    let zones = if wanted.zones.is_empty() { vec![String::new()] } else { wanted.zones.clone() };
    let mut nowhere = None;
    for zone in &zones {
        let space = format!("{}/{zone}", wanted.name);
        match named::make(api, &wanted.name, &space, wanted.body(zone, &source)).await? {
            Ok(volume) => return Ok(volume),
            Err(error @ ClientError::Refused { reason: Some(Reason::NoPool), .. }) => {
                nowhere = Some(status::of(&error));
            }
            Err(error) => return Err(status::of(&error)),
        }
    }
    Err(nowhere.unwrap_or_else(|| Status::internal("there is no zone to ask for")))
}

/// The volume once it is made.
async fn settled(api: &Api, volume: VolumeView<'static>) -> Result<VolumeView<'static>, Status> {
    let volume = if volume.status == "creating" {
        let id = text(&volume.id);
        get(api, &id, Some(WAIT)).await?.unwrap_or(volume)
    } else {
        volume
    };
    match volume.status.as_ref() {
        "available" | "inUse" | "attaching" | "extending" | "errorExtending" => Ok(volume),
        // Not final, so that the volume is not forgotten: the control plane goes on trying.
        "error" => Err(Status::aborted(format!(
            "volume {} could not be made yet: {}",
            text(&volume.id),
            volume.status_reason
        ))),
        other => Err(Status::aborted(format!("volume {} is {other}", text(&volume.id)))),
    }
}

/// The volume of a handle.
///
/// # Errors
/// NOT_FOUND, or as the control plane.
pub async fn known(api: &Api, handle: &str) -> Result<(Handle, VolumeView<'static>), Status> {
    let gone = || Status::not_found(format!("there is no volume {handle}"));
    let parsed: Handle = handle.parse().map_err(|_| gone())?;
    let view = get(api, &parsed.volume.to_string(), None).await?.ok_or_else(gone)?;
    Ok((parsed, view))
}

/// As CSI shows it.
#[must_use]
pub fn shown(view: &VolumeView<'_>) -> Volume {
    Volume {
        capacity_bytes: i64::try_from(view.size).unwrap_or(i64::MAX).saturating_mul(GIB),
        volume_id: text(&view.id),
        volume_context: HashMap::new(),
        content_source: None,
        accessible_topology: Vec::new(),
    }
}

/// Removes a volume. What is not there is removed; the alias of a volume has nothing of its own.
///
/// # Errors
/// FAILED_PRECONDITION while it is used.
pub async fn delete(api: &Api, handle: &str) -> Result<(), Status> {
    let Ok(parsed) = handle.parse::<Handle>() else { return Ok(()) };
    if parsed.reads {
        return Ok(());
    }
    match named::delete::<VolumeView<'static>>(api, &parsed.volume.to_string()).await? {
        Ok(None) => Ok(()),
        Ok(Some(left)) => Err(Status::aborted(format!(
            "volume {handle} is {} still: {}",
            left.status, left.status_reason
        ))),
        Err(error) => Err(status::of(&error)),
    }
}

/// Changes what can be changed of a volume that is there.
///
/// # Errors
/// INVALID_ARGUMENT, with nothing changed, for what is not known.
pub async fn modify(api: &Api, request: ControllerModifyVolumeRequest) -> Result<(), Status> {
    let (_, volume) = known(api, &request.volume_id).await?;
    let changes = Changes::of(&request.mutable_parameters)?;
    modify::apply(api, &volume, &changes).await
}

/// Makes a volume larger; the size it has then.
///
/// # Errors
/// As CSI says.
pub async fn expand(api: &Api, handle: &str, range: Option<&CapacityRange>) -> Result<i64, Status> {
    let range = range.ok_or_else(|| status::missing("capacity_range"))?;
    if range.required_bytes == 0 && range.limit_bytes == 0 {
        return Err(status::missing("required_bytes or limit_bytes of capacity_range"));
    }
    let wanted = size_of(Some(range))?;
    let (parsed, volume) = known(api, handle).await?;
    let has = i64::try_from(volume.size).unwrap_or(i64::MAX);
    if has >= wanted {
        let bytes = has.saturating_mul(GIB);
        if range.limit_bytes != 0 && bytes > range.limit_bytes {
            return Err(Status::out_of_range(format!(
                "volume {handle} has {bytes} bytes already, and volumes do not shrink"
            )));
        }
        return Ok(bytes);
    }
    let path = format!("block/volumes/{}/resize", parsed.volume);
    // One that grows to this size already is asked to do what it does.
    if volume.status != "extending" {
        let outcome = api
            .ask(move |client| {
                let request = client.request(Method::POST, &path);
                request.body(&Resize { new_size: wanted }).wait(WAIT).send().map(drop)
            })
            .await?;
        outcome.map_err(|error| refused_to_grow(&error))?;
    }
    let now: Option<VolumeView<'static>> = get(api, &parsed.volume.to_string(), Some(WAIT)).await?;
    match now {
        Some(now) if i64::try_from(now.size).is_ok_and(|size| size >= wanted) => {
            Ok(i64::try_from(now.size).unwrap_or(i64::MAX).saturating_mul(GIB))
        }
        Some(now) => Err(Status::aborted(format!(
            "volume {handle} is {} still: {}",
            now.status, now.status_reason
        ))),
        None => Err(Status::not_found(format!("there is no volume {handle}"))),
    }
}

fn refused_to_grow(error: &ClientError) -> Status {
    let is_full = matches!(error, ClientError::Refused { status: 400, reason: None, .. });
    if is_full { Status::out_of_range(status::chain(error)) } else { status::of(error) }
}
