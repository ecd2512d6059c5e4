//! What users ask of group snapshots: ours, the original has none.
//!
//! The volumes are named one by one, or by a volume group that they are in; which of the two is for
//! the controller to look at, as it is what the volumes have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, Rule, Shape};

/// POST groupSnapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NewGroupSnapshot {
    /// The name of each snapshot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The volumes that are taken at one moment; none when a volume group is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_ids: Vec<String>,
    /// All volumes of this volume group; empty when volumes are named.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group_id: String,
    /// Free text pairs of each snapshot.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Checked for NewGroupSnapshot {
    const SHAPE: Shape = Shape {
        required: &["name"],
        members: &[
            ("name", Rule::Text),
            ("description", Rule::Text),
            ("volumeIds", Rule::List(&Rule::Text)),
            ("groupId", Rule::Text),
        ],
    };
}
