//! Create, delete, grow, show: the volumes themselves.
//!
//! A volume is known by the name that its orchestrator gave it, for ever; the control plane knows a
//! request by its key, for a day. So a name is looked for among the volumes first, and whoever
//! finds none asks under a key made of the name: of two who ask at once, one makes it and both get
//! it. When what a key made is gone again, the next key of the name is taken.
//!
//! Must stay true: what a publish would refuse whoever has the volume is refused here.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use osds_model::publication::Publication;
use osds_model::validate;
use osds_rest_api::client::{ClientError, Method};
use osds_rest_api::request::{NewVolume, Resize};
use osds_rest_api::{ProfileView, Reason, VolumeView, url};
use serde_json::Value;
use uuid::{Uuid, uuid};

use super::capability::{self, ALLOW_CLUSTER_FS};
use super::publish::{WAIT, text};
use super::snapshots;
use crate::api::Api;
use crate::handle::Handle;
use crate::proto::volume_content_source::Type as Source;
use crate::proto::{
    CapacityRange, CreateVolumeRequest, Topology, TopologyRequirement, Volume, VolumeContentSource,
};
use crate::status::{self, Status};
use crate::zones::zone_key;

/// Bytes in the unit in which the control plane gives out space.
pub const GIB: i64 = 1 << 30;
/// The size of a volume of which nobody says one.
const USUAL: i64 = 1;
/// Names the space of keys that are made of names.
pub(super) const KEYS: Uuid = uuid!("5f0a3b1e-93b1-4d5c-8a2e-6a1d1b0f7c44");
/// How often the volume of one name may have been made and deleted within a day.
pub(super) const LIVES: u32 = 1000;

/// Keys of a volume's metadata: its name, and what it was made from, as the orchestrator said.
pub(super) const NAME: &str = "csi.name";
const FROM: &str = "csi.source";

/// What the orchestrator may say of a volume to be made.
const PROFILE: &str = "profile";
/// Pairs that sidecars add by themselves.
pub(super) const ADDED: &str = "csi.storage.k8s.io/";
/// The key of a profile that makes its volumes multi-attach.
const MULTI_ATTACH: &str = "capabilities:multiAttach";

/// What the driver is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The driver's name, of which topology keys are made.
    pub driver_name: String,
    /// Whether to ask for a multi-attach volume where a capability needs one, though the profile
    /// does not say so.
    pub auto_multi_attach: bool,
}

/// How large, in GiB.
///
/// # Errors
/// INVALID_ARGUMENT for negative numbers and ranges upside down; OUT_OF_RANGE when no whole GiB
/// lies in the range.
pub fn size_of(range: Option<&CapacityRange>) -> Result<i64, Status> {
    let Some(range) = range else { return Ok(USUAL) };
    let (least, most) = (range.required_bytes, range.limit_bytes);
    if least < 0 || most < 0 {
        return Err(status::invalid("capacity_range has a negative number"));
    }
    if most != 0 && least > most {
        return Err(status::invalid("capacity_range requires more than its limit"));
    }
    let gib = if least == 0 { USUAL } else { least / GIB + i64::from(least % GIB != 0) };
    if most != 0 && gib.saturating_mul(GIB) > most {
        return Err(Status::out_of_range(format!(
            "volumes are of whole GiB, and none lies between {least} and {most} bytes; raise \
             limit_bytes to {}",
            gib.saturating_mul(GIB)
        )));
    }
    Ok(gib)
}

/// The zones that a requirement names, best first.
fn zones(driver: &str, required: &TopologyRequirement) -> Vec<String> {
    let prefix = zone_key(driver, "");
    let mut zones: Vec<String> = Vec::new();
    for topology in required.preferred.iter().chain(&required.requisite) {
        for (key, value) in &topology.segments {
            if let Some(zone) = key.strip_prefix(&prefix)
                && value == "true"
                && !zones.iter().any(|known| known == zone)
            {
                zones.push(zone.to_owned());
            }
        }
    }
    zones
}

/// What a request means.
struct Wanted {
    name: String,
    publications: Vec<Publication>,
    range: CapacityRange,
    gib: i64,
    profile: Option<ProfileView<'static>>,
    cluster_fs: bool,
    multi_attach: bool,
    zones: Vec<String>,
    source: Option<Source>,
}

impl Wanted {
    async fn of(
        api: &Api,
        settings: &Settings,
        request: CreateVolumeRequest,
    ) -> Result<Self, Status> {
        if request.name.is_empty() {
            return Err(status::missing("name"));
        }
        let cluster_fs = capability::allows_cluster_fs(&request.parameters)?;
        let publications = capability::read_all(&request.volume_capabilities, cluster_fs)?;
        for key in request.parameters.keys() {
            if !(key == PROFILE || key == ALLOW_CLUSTER_FS || key.starts_with(ADDED)) {
                return Err(status::invalid(format!(
                    "parameter {key} is not known; there are {PROFILE} and {ALLOW_CLUSTER_FS}"
                )));
            }
        }
        if let Some(key) = request.mutable_parameters.keys().next() {
            return Err(status::invalid(format!("mutable parameter {key} is not known")));
        }
        let gib = size_of(request.capacity_range.as_ref())?;
        let profile = match request.parameters.get(PROFILE).filter(|said| !said.is_empty()) {
            Some(said) => Some(profile(api, said).await?),
            None => default_profile(api).await?,
        };
        let shared = profile.as_ref().is_some_and(is_shared);
        let needed = capability::needs_multi_attach(&publications);
        let multi_attach = shared || needed && settings.auto_multi_attach;
        if let Some(why) = capability::objection(&publications, multi_attach) {
            return Err(status::invalid(why));
        }
        let zones = match &request.accessibility_requirements {
            Some(required) => zones(&settings.driver_name, required),
            None => Vec::new(),
        };
        let source = match request.volume_content_source {
            None => None,
            Some(VolumeContentSource { r#type: Some(source) }) => Some(source),
            Some(VolumeContentSource { r#type: None }) => {
                return Err(status::missing("type of volume_content_source"));
            }
        };
        Ok(Self {
            name: request.name,
            publications,
            range: request.capacity_range.unwrap_or_default(),
            gib,
            profile,
            cluster_fs,
            multi_attach,
            zones,
            source,
        })
    }

    /// Its name in the control plane, whose rules are narrower.
    fn short_name(&self) -> String {
        if validate::volume_name(&self.name) {
            self.name.clone()
        } else {
            format!("csi-{}", Uuid::new_v5(&KEYS, self.name.as_bytes()))
        }
    }

    fn from(&self) -> String {
        match &self.source {
            None => String::new(),
            Some(Source::Snapshot(source)) => format!("snapshot/{}", source.snapshot_id),
            Some(Source::Volume(source)) => format!("volume/{}", source.volume_id),
        }
    }

    fn body(&self, zone: &str, source: &SourceIds) -> NewVolume {
        let mut metadata: BTreeMap<String, String> = [(NAME.to_owned(), self.name.clone())].into();
        if self.source.is_some() {
            metadata.insert(FROM.to_owned(), self.from());
        }
        NewVolume {
            name: self.short_name(),
            // Of a copy of which nobody says how large: as large as its source.
            size: if self.source.is_some() && self.range.required_bytes == 0 {
                0
            } else {
                self.gib
            },
            snapshot_id: source.snapshot.clone(),
            source_volume_id: source.volume.clone(),
            availability_zone: zone.to_owned(),
            profile_id: self.profile.as_ref().map_or_else(String::new, |p| text(&p.id)),
            multi_attach: self.multi_attach,
            metadata,
            ..NewVolume::default()
        }
    }

    /// Why a volume of this name is not what is wanted.
    fn differs(&self, found: &VolumeView<'_>) -> Option<String> {
        let bytes = i64::try_from(found.size).unwrap_or(i64::MAX).saturating_mul(GIB);
        let (least, most) = (self.range.required_bytes, self.range.limit_bytes);
        if bytes < least || most != 0 && bytes > most {
            return Some(format!("it has {bytes} bytes"));
        }
        if let Some(why) = capability::objection(&self.publications, found.multi_attach) {
            return Some(why);
        }
        let profile = self.profile.as_ref().map(|profile| text(&profile.id));
        if profile.is_some_and(|id| id != text(&found.profile_id)) {
            return Some("it has another profile".to_owned());
        }
        let from = found.metadata.get(FROM).map_or("", String::as_str);
        if from != self.from() {
            return Some("it was made from something else".to_owned());
        }
        let zone = found.availability_zone.as_ref();
        if !self.zones.is_empty() && !self.zones.iter().any(|one| one == zone) {
            return Some(format!("it is in zone {zone}"));
        }
        None
    }
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
    let made = match find(api, &wanted).await? {
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

/// The volume with this name.
async fn find(api: &Api, wanted: &Wanted) -> Result<Option<VolumeView<'static>>, Status> {
    let (short, name) = (wanted.short_name(), wanted.name.clone());
    api.call(move |client| {
        let called: Vec<VolumeView<'static>> =
            client.list("block/volumes", &[("Name", short.as_str())])?;
        // Others may be called so, too; a name of the control plane is nobody's own.
        Ok(called
            .into_iter()
            .find(|volume| volume.metadata.get(NAME) == Some(&name) && volume.status != "deleting"))
    })
    .await
}

/// What a volume is made from, as the control plane names it; both empty for an empty volume.
#[derive(Default)]
struct SourceIds {
    snapshot: String,
    volume: String,
}

impl SourceIds {
    /// NOT_FOUND when it is not there.
    async fn of(api: &Api, source: Option<&Source>) -> Result<Self, Status> {
        match source {
            None => Ok(Self::default()),
            Some(Source::Snapshot(source)) => {
                let found = snapshots::show(api, &source.snapshot_id).await?;
                Ok(Self { snapshot: found.snapshot_id, ..Self::default() })
            }
            Some(Source::Volume(source)) => {
                let (handle, _) = known(api, &source.volume_id).await?;
                Ok(Self { volume: handle.volume.to_string(), ..Self::default() })
            }
        }
    }
}

async fn make(api: &Api, wanted: &Wanted) -> Result<VolumeView<'static>, Status> {
    let source = SourceIds::of(api, wanted.source.as_ref()).await?;
    let zones = if wanted.zones.is_empty() { vec![String::new()] } else { wanted.zones.clone() };
    let mut nowhere = None;
    for zone in &zones {
        for life in 0..LIVES {
            let key = format!("{}/{zone}/{life}", wanted.name);
            let key = Uuid::new_v5(&KEYS, key.as_bytes()).to_string();
            let body = wanted.body(zone, &source);
            let outcome = api
                .ask(move |client| {
                    let request = client.request(Method::POST, "block/volumes").body(&body);
                    request.once(key).wait(WAIT).send()?.read::<VolumeView<'static>>()
                })
                .await?;
            match outcome {
                Ok(volume) => return Ok(volume),
                // What this key made is gone: the name is free for another life.
                Err(ClientError::Refused { status: 404, .. }) => {}
                // The key was of another request: one that has made the volume, or one whose
                // volume is gone.
                Err(ClientError::Refused { status: 422, .. }) => {
                    if let Some(found) = find(api, wanted).await? {
                        return Ok(found);
                    }
                }
                Err(error @ ClientError::Refused { reason: Some(Reason::NoPool), .. }) => {
                    nowhere = Some(status::of(&error));
                    break;
                }
                Err(error) => return Err(status::of(&error)),
            }
        }
    }
    Err(nowhere.unwrap_or_else(|| {
        Status::resource_exhausted("this name was used too often today; use another")
    }))
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

/// A volume, if it is there; `wait`: once nothing is under way for it.
///
/// # Errors
/// As the control plane.
pub async fn get(
    api: &Api,
    id: &str,
    wait: Option<Duration>,
) -> Result<Option<VolumeView<'static>>, Status> {
    let path = format!("block/volumes/{}", url::encode(id));
    api.call(move |client| {
        let request = client.request(Method::GET, &path);
        let request = match wait {
            Some(wait) => request.wait(wait),
            None => request,
        };
        match request.send() {
            Ok(answer) => answer.read().map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
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
    let path = format!("block/volumes/{}", parsed.volume);
    let outcome = api
        .ask(move |client| client.request(Method::DELETE, &path).wait(WAIT).send().map(drop))
        .await?;
    match outcome {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(status::of(&error)),
    }
    match get(api, &parsed.volume.to_string(), Some(WAIT)).await? {
        None => Ok(()),
        Some(left) => Err(Status::aborted(format!(
            "volume {handle} is {} still: {}",
            left.status, left.status_reason
        ))),
    }
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
    let now = get(api, &parsed.volume.to_string(), Some(WAIT)).await?;
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

/// The profile with this name or id.
///
/// # Errors
/// INVALID_ARGUMENT when there is none.
pub async fn profile(api: &Api, said: &str) -> Result<ProfileView<'static>, Status> {
    let profiles = profiles(api).await?;
    let found =
        profiles.into_iter().find(|profile| profile.name == said || text(&profile.id) == said);
    found.ok_or_else(|| status::invalid(format!("there is no profile {said}")))
}

async fn default_profile(api: &Api) -> Result<Option<ProfileView<'static>>, Status> {
    Ok(profiles(api).await?.into_iter().find(|profile| profile.name == "default_block"))
}

async fn profiles(api: &Api) -> Result<Vec<ProfileView<'static>>, Status> {
    api.call(|client| client.list("profiles", &[])).await
}

/// Whether the volumes of a profile are multi-attach.
#[must_use]
pub fn is_shared(profile: &ProfileView<'_>) -> bool {
    let said = profile.custom_properties.as_ref().and_then(|all| all.get(MULTI_ATTACH));
    match said {
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(text)) => {
            let text = text.trim();
            text.strip_prefix("<is>").unwrap_or(text).trim().eq_ignore_ascii_case("true")
        }
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;

    #[test]
    fn sizes() {
        let size = |required_bytes, limit_bytes| {
            size_of(Some(&CapacityRange { required_bytes, limit_bytes })).map_err(|s| s.code())
        };
        assert_eq!(size_of(None).unwrap(), 1);
        assert_eq!(size(0, 0), Ok(1));
        assert_eq!(size(1, 0), Ok(1));
        assert_eq!(size(GIB, GIB), Ok(1));
        assert_eq!(size(GIB + 1, 0), Ok(2));
        assert_eq!(size(GIB + 1, 2 * GIB), Ok(2));
        assert_eq!(size(GIB + 1, 2 * GIB - 1), Err(Code::OutOfRange));
        assert_eq!(size(0, GIB - 1), Err(Code::OutOfRange));
        assert_eq!(size(-1, 0), Err(Code::InvalidArgument));
        assert_eq!(size(2, 1), Err(Code::InvalidArgument));
        assert_eq!(size(i64::MAX, 0), Ok(i64::MAX / GIB + 1));
    }

    #[test]
    fn zones_best_first() {
        let topology =
            |zone: &str| Topology { segments: [(zone_key("d", zone), "true".to_owned())].into() };
        let required = TopologyRequirement {
            requisite: vec![topology("a"), topology("b")],
            preferred: vec![topology("b")],
        };
        assert_eq!(zones("d", &required), ["b", "a"]);
        assert!(zones("other", &required).is_empty());
    }
}
