//! What a CreateVolume means: size, profile, zones, capabilities and source, read and checked.
//!
//! Everything that can be refused without the control plane's transaction is refused here, with
//! INVALID_ARGUMENT or OUT_OF_RANGE; and here is decided whether a volume that is there already is
//! what the request asks for.

use std::collections::BTreeMap;

use osds_model::publication::Publication;
use osds_rest_api::request::NewVolume;
use osds_rest_api::{ProfileView, VolumeView};
use serde_json::Value;

use super::capability::{self, ALLOW_CLUSTER_FS};
use super::modify::Changes;
use super::named::{self, ADDED, NAME};
use super::publish::text;
use super::volumes::{GIB, Settings};
use crate::api::Api;
use crate::proto::volume_content_source::Type as Source;
use crate::proto::{CapacityRange, CreateVolumeRequest, TopologyRequirement, VolumeContentSource};
use crate::status::{self, Status};
use crate::zones::zone_key;

/// The size of a volume of which nobody says one.
const USUAL: i64 = 1;
/// Key of a volume's metadata: what it was made from, as the orchestrator said.
const FROM: &str = "csi.source";
/// What the orchestrator may say of a volume to be made.
const PROFILE: &str = "profile";
/// The key of a profile that makes its volumes multi-attach.
const MULTI_ATTACH: &str = "capabilities:multiAttach";

/// What a volume is made from, as the control plane names it; both empty for an empty volume.
#[derive(Default)]
pub(super) struct SourceIds {
    pub(super) snapshot: String,
    pub(super) volume: String,
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
pub(super) struct Wanted {
    pub(super) name: String,
    publications: Vec<Publication>,
    range: CapacityRange,
    gib: i64,
    profile: Option<ProfileView<'static>>,
    pub(super) cluster_fs: bool,
    multi_attach: bool,
    /// Best first; empty where any will do.
    pub(super) zones: Vec<String>,
    pub(super) source: Option<Source>,
    /// What the volume shall have beyond what it is made with.
    pub(super) changes: Changes,
}

impl Wanted {
    pub(super) async fn of(
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
        let changes = Changes::of(&request.mutable_parameters)?;
        let gib = size_of(request.capacity_range.as_ref())?;
        let profile = match request.parameters.get(PROFILE).filter(|said| !said.is_empty()) {
            Some(said) => Some(profile(api, said).await?),
            None => default_profile(api).await?,
        };
        let shared = profile.as_ref().is_some_and(is_shared);
        let needed = capability::needs_multi_attach(&publications);
        let asked = shared || needed && settings.auto_multi_attach;
        let multi_attach = changes.multi_attach.unwrap_or(asked);
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
            changes,
        })
    }

    fn from(&self) -> String {
        match &self.source {
            None => String::new(),
            Some(Source::Snapshot(source)) => format!("snapshot/{}", source.snapshot_id),
            Some(Source::Volume(source)) => format!("volume/{}", source.volume_id),
        }
    }

    pub(super) fn body(&self, zone: &str, source: &SourceIds) -> NewVolume {
        let mut metadata: BTreeMap<String, String> = [(NAME.to_owned(), self.name.clone())].into();
        if self.source.is_some() {
            metadata.insert(FROM.to_owned(), self.from());
        }
        NewVolume {
            name: named::short_name(&self.name),
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
    pub(super) fn differs(&self, found: &VolumeView<'_>) -> Option<String> {
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
    use crate::proto::Topology;
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
