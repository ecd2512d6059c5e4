//! What users ask of volume groups.
//!
//! Members are named by id and joined or left by an update of the group; nothing else in a group's
//! body is a user's to say. A member that is not there is for the controller to find out.

use serde::{Deserialize, Serialize};

use crate::check::{Checked, Rule, Shape};

/// POST volumeGroups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NewVolumeGroup {
    /// Its name.
    pub name: String,
    /// Words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where; empty for `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub availability_zone: String,
    /// Ids of the profiles that its members may have been made under; at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
}

impl Checked for NewVolumeGroup {
    const SHAPE: Shape = Shape {
        required: &["profiles", "name"],
        members: &[
            ("name", Rule::Text),
            ("description", Rule::Text),
            ("availabilityZone", Rule::Text),
            ("profiles", Rule::List(&Rule::Text)),
        ],
    };
}

/// PUT volumeGroups: what is `None` or empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeGroupUpdate {
    /// Its new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Ids of volumes that join it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_volumes: Vec<String>,
    /// Ids of volumes that leave it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_volumes: Vec<String>,
}

impl Checked for VolumeGroupUpdate {
    const SHAPE: Shape = Shape {
        required: &[],
        members: &[
            ("name", Rule::Text),
            ("description", Rule::Text),
            ("addVolumes", Rule::List(&Rule::Text)),
            ("removeVolumes", Rule::List(&Rule::Text)),
        ],
    };
}
