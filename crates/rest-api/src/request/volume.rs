//! What users ask of volumes.
//!
//! Sizes are whole GiB and may be any number here: what makes sense is for the controller to say,
//! in the original's words. What is not sent means the default (zone, profile, pool of the
//! selector's choice) in a creation, and "as it is" in an update.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NAMES;
use crate::check::{Checked, Rule, Shape};
use crate::view::IoLimitsView;

/// POST volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NewVolume {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How large, in GiB; whether that makes sense is for the controller to say. Always said: with
    /// 0 a copy is as large as its source.
    pub size: i64,
    /// Where; empty for `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub availability_zone: String,
    /// Under which profile; empty for `default_block`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile_id: String,
    /// In which pool; empty to let the selector choose.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool_id: String,
    /// Whether several hosts may have it at once; the profile may say so too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub multi_attach: bool,
    /// Free text pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// From which snapshot; empty for an empty volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snapshot_id: String,
    /// Ours: the volume that it shall be a copy of; empty for an empty volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_volume_id: String,
    /// Whether that snapshot is in a cloud.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub snapshot_from_cloud: bool,
}

impl Checked for NewVolume {
    const SHAPE: Shape = Shape {
        required: &["name", "size"],
        members: &[
            ("name", Rule::Text),
            ("description", Rule::Text),
            ("size", Rule::Integer),
            ("availabilityZone", Rule::Text),
            ("profileId", Rule::Text),
            ("poolId", Rule::Text),
            ("multiAttach", Rule::Flag),
            ("snapshotId", Rule::Text),
            ("sourceVolumeId", Rule::Text),
            ("snapshotFromCloud", Rule::Flag),
        ],
    };
}

/// PUT volumes: what is `None` or empty stays as it is; pairs are added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeUpdate {
    /// Its new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Free text pairs to add.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Checked for VolumeUpdate {
    const SHAPE: Shape = NAMES;
}

/// POST volumes/{id}/resize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Resize {
    /// How large it shall be, in GiB.
    pub new_size: i64,
}

impl Checked for Resize {
    const SHAPE: Shape = Shape { required: &["newSize"], members: &[("newSize", Rule::Integer)] };
}

/// PUT volumes/{id}/ioLimits: all of them; what is left out, or 0, is not limited.
impl Checked for IoLimitsView {
    const SHAPE: Shape = Shape {
        required: &[],
        members: &[
            ("maxIOPS", Rule::Range(0, i64::MAX)),
            ("maxBWS", Rule::Range(0, MOST_MB)),
            ("maxIOPSPerHost", Rule::Range(0, i64::MAX)),
            ("maxBWSPerHost", Rule::Range(0, MOST_MB)),
        ],
    };
}

/// As bytes they still are a number.
const MOST_MB: i64 = i64::MAX / 1_000_000;

/// PUT volumes/{id}/multiAttach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MultiAttach {
    /// Whether several hosts may have it at once.
    pub multi_attach: bool,
}

impl Checked for MultiAttach {
    const SHAPE: Shape =
        Shape { required: &["multiAttach"], members: &[("multiAttach", Rule::Flag)] };
}
