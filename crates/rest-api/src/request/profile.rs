//! What users ask of profiles, with the many words that the original checks.
//!
//! Only shapes and words are checked here, in tables that read like the original's document.
//! Whether a filter among the custom properties makes sense is for the selector, when the profile
//! is written.

use std::collections::BTreeMap;

use osds_model::profile::{
    DataProtectionProperties, ProvisioningProperties, ReplicationProperties, SnapshotProperties,
};
use osds_model::validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NAMES, NOTHING};
use crate::check::{Checked, Rule, Shape};

/// POST profiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NewProfile {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `block` (which it is when nothing is said), `file` or `object`.
    pub storage_type: String,
    /// What volumes shall be like.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub provisioning_properties: ProvisioningProperties,
    /// How they shall be replicated.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub replication_properties: ReplicationProperties,
    /// When they shall be snapshotted.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub snapshot_properties: SnapshotProperties,
    /// How they shall be protected.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub data_protection_properties: DataProtectionProperties,
    /// `capabilities:<pool key>` filters for the selector, and free pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub custom_properties: Option<BTreeMap<String, Value>>,
}

impl Default for NewProfile {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            storage_type: "block".to_owned(),
            provisioning_properties: ProvisioningProperties::default(),
            replication_properties: ReplicationProperties::default(),
            snapshot_properties: SnapshotProperties::default(),
            data_protection_properties: DataProtectionProperties::default(),
            custom_properties: None,
        }
    }
}

const DATA_STORAGE: Rule = Rule::Object(&Shape {
    required: &[],
    members: &[
        ("recoveryTimeObjective", Rule::Integer),
        ("provisioningPolicy", Rule::Word(&["Thin", "Thick"])),
        ("compression", Rule::Flag),
        ("deduplication", Rule::Flag),
        ("characterCodeSet", Rule::Text),
        ("maxFileNameLengthBytes", Rule::Integer),
        ("storageAccessCapability", Rule::List(&Rule::Word(&["Read", "Write", "Execute"]))),
    ],
});

const IO_CONNECTIVITY: Rule = Rule::Object(&Shape {
    required: &[],
    members: &[
        (
            "accessProtocol",
            Rule::Word(&["iscsi", "rbd", "fibre_channel", "nvmeof", "DSWare", "NFS", "local"]),
        ),
        ("maxIOPS", Rule::Integer),
        ("minIOPS", Rule::Integer),
        ("maxBWS", Rule::Integer),
        ("minBWS", Rule::Integer),
        ("latency", Rule::Integer),
    ],
});

// The original's document has these four with a capital letter, so only that spelling is checked.
const DATA_PROTECTION: Rule = Rule::Object(&Shape {
    required: &[],
    members: &[
        ("isIsolated", Rule::Flag),
        ("minLifetime", Rule::Text),
        (
            "RecoveryGeographicObjective",
            Rule::Word(&["Datacenter", "Rack", "RackGroup", "Region", "Row", "Server"]),
        ),
        ("RecoveryPointObjectiveTime", Rule::Text),
        (
            "RecoveryTimeObjective",
            Rule::Word(&["OnlineActive", "OnlinePassive", "Nearline", "Offline"]),
        ),
        ("ReplicaType", Rule::Word(&["Clone", "Mirror", "Snapshot", "TokenizedClone"])),
    ],
});

impl Checked for NewProfile {
    const SHAPE: Shape = Shape {
        // The original wants storageType as well; the seed's own example does not give it.
        required: &["name"],
        members: &[
            ("name", Rule::Pattern(1, 255, validate::profile_name, "[A-Za-z0-9_-]")),
            ("storageType", Rule::Word(&["block", "file", "object"])),
            ("description", Rule::Text),
            (
                "provisioningProperties",
                Rule::Object(&Shape {
                    required: &[],
                    members: &[("dataStorage", DATA_STORAGE), ("ioConnectivity", IO_CONNECTIVITY)],
                }),
            ),
            (
                "replicationProperties",
                Rule::Object(&Shape {
                    required: &[],
                    members: &[
                        ("dataProtection", DATA_PROTECTION),
                        (
                            "replicaInfos",
                            Rule::Object(&Shape {
                                required: &[],
                                members: &[(
                                    "replicaUpdateMode",
                                    Rule::Word(&[
                                        "Active",
                                        "Adaptive",
                                        "Asynchronous",
                                        "Synchronous",
                                    ]),
                                )],
                            }),
                        ),
                    ],
                }),
            ),
            (
                "snapshotProperties",
                Rule::Object(&Shape {
                    required: &[],
                    members: &[(
                        "schedule",
                        Rule::Object(&Shape {
                            required: &[],
                            members: &[("occurrence", Rule::Word(&["Daily", "Weekly", "Monthly"]))],
                        }),
                    )],
                }),
            ),
            (
                "dataProtectionProperties",
                Rule::Object(&Shape {
                    required: &[],
                    members: &[("dataProtection", DATA_PROTECTION)],
                }),
            ),
            ("customProperties", Rule::Object(&NOTHING)),
        ],
    };
}

/// PUT profiles: what is `None` or empty stays as it is; pairs are added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileUpdate {
    /// Its new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Pairs to add.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub custom_properties: BTreeMap<String, Value>,
}

impl Checked for ProfileUpdate {
    const SHAPE: Shape = NAMES;
}

/// POST profiles/{id}/customProperties: pairs to add.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomProperties(pub BTreeMap<String, Value>);

impl Checked for CustomProperties {
    const SHAPE: Shape = NOTHING;
}
