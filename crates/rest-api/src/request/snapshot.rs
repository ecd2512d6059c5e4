//! What users ask of snapshots.
//!
//! The size is the volume's and the status a fact; both are skipped, as everything that is not a
//! user's to say. The profile is taken for the original's sake: it goes with the volume.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NAMES;
use crate::check::{Checked, Rule, Shape};

/// POST snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NewSnapshot {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The volume it is taken of.
    pub volume_id: String,
    /// Under which profile; empty for the volume's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile_id: String,
    /// Free text pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Checked for NewSnapshot {
    const SHAPE: Shape = Shape {
        required: &["name", "volumeId"],
        members: &[
            ("name", Rule::Text),
            ("description", Rule::Text),
            ("volumeId", Rule::Text),
            ("profileId", Rule::Text),
        ],
    };
}

/// PUT snapshots: what is `None` or empty stays as it is; pairs are added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotUpdate {
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

impl Checked for SnapshotUpdate {
    const SHAPE: Shape = NAMES;
}
