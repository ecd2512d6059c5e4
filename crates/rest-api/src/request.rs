//! What users ask for: the bodies of POST and PUT.
//!
//! Only what a user may decide is in these types; everything else that a body carries (an id, a
//! status, a whole volume that was read earlier) is skipped, so it cannot be smuggled in. Ids stay
//! text here: one that names nothing is "not found", not "malformed".

use std::collections::BTreeMap;

use osds_model::profile::{
    DataProtectionProperties, ProvisioningProperties, ReplicationProperties, SnapshotProperties,
};
use osds_model::{AttachMode, Initiator, Sharing, validate};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::check::{Checked, Rule, Shape, missing};
use crate::json::Node;
use crate::list::BadParameter;
use crate::url;

const NOTHING: Shape = Shape { required: &[], members: &[] };

/// A member of a body that may be missing, `null`, or there: the three mean different things in
/// updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// It was not mentioned.
    #[default]
    Absent,
    /// It was `null`.
    Null,
    /// It was this.
    Value(T),
}

impl<T> Given<T> {
    /// Whether it was not mentioned.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

impl<T: Serialize> Serialize for Given<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

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
    /// How large, in GiB; whether that makes sense is for the controller to say.
    #[serde(skip_serializing_if = "is_zero")]
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
    /// Whether that snapshot is in a cloud.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub snapshot_from_cloud: bool,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
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
            ("snapshotFromCloud", Rule::Flag),
        ],
    };
}

const NAMES: Shape =
    Shape { required: &[], members: &[("name", Rule::Text), ("description", Rule::Text)] };

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

/// POST attachments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NewAttachment {
    /// The volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_id: String,
    /// The host; empty in a body of the first generation, which has `host_info` instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_id: String,
    /// Read-only or read-write; read-write when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub attach_mode: Option<AttachMode>,
    /// Ours: what shall be promised about other hosts; nothing when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub sharing: Option<Sharing>,
    /// The host, as the first generation of clients describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_info: Option<HostInfo>,
    /// Where the host will put it; the host's own word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mountpoint: String,
    /// Free text pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A host that is described instead of named: the first generation knew no host records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct HostInfo {
    /// `x86_64` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// `linux` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_type: String,
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The name it logs in with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub initiator: String,
}

impl Checked for NewAttachment {
    const SHAPE: Shape = Shape {
        required: &["volumeId"],
        members: &[
            ("volumeId", Rule::Text),
            ("hostId", Rule::Text),
            ("attachMode", Rule::Word(&["ro", "rw"])),
            ("sharing", Rule::Word(&["shared", "soleWriter", "exclusive"])),
            ("mountpoint", Rule::Text),
        ],
    };

    fn check(body: &Node) -> Result<(), String> {
        let described = matches!(
            body.member("hostInfo"), Some(Node::Object(members)) if !members.is_empty()
        );
        if described || body.member("hostId").is_some() {
            return Ok(());
        }
        Err(missing("hostId"))
    }
}

/// PUT attachments. The original also takes a status and connection data; reality is not a user's
/// to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentUpdate {
    /// Where the host put it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mountpoint: Option<String>,
}

impl Checked for AttachmentUpdate {
    const SHAPE: Shape = Shape { required: &[], members: &[("mountpoint", Rule::Text)] };
}

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
            Rule::Word(&["iscsi", "rbd", "fibre_channel", "nvmeof", "DSWare", "NFS"]),
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

const ZONE: Rule = Rule::Length(1, 64);
const INITIATOR: Rule = Rule::Object(&Shape {
    required: &[],
    members: &[
        ("portName", Rule::Length(1, 255)),
        ("protocol", Rule::Word(&["iscsi", "fibre_channel", "nvmeof"])),
    ],
});
const HOST_MEMBERS: &[(&str, Rule)] = &[
    ("osType", Rule::Word(&["linux", "windows", "esxi"])),
    (
        "hostName",
        Rule::Pattern(
            1,
            64,
            validate::host_name,
            r"^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])$",
        ),
    ),
    (
        "ip",
        Rule::Pattern(
            0,
            usize::MAX,
            validate::ipv4,
            r"^(([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])\.){3}([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])$",
        ),
    ),
    ("port", Rule::Range(1, 65_535)),
    ("accessMode", Rule::Word(&["agent", "agentless"])),
    ("username", Rule::Length(1, 255)),
    ("password", Rule::Length(1, 1024)),
    ("availabilityZones", Rule::NullableSet(&ZONE)),
    ("initiators", Rule::NullableSet(&INITIATOR)),
];

/// POST hosts. A password is accepted and not even read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NewHost {
    /// Its name.
    pub host_name: String,
    /// `linux`, `windows` or `esxi`.
    pub os_type: String,
    /// `agent` or `agentless`.
    pub access_mode: String,
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Port of its agent, or 0.
    #[serde(skip_serializing_if = "no_port")]
    pub port: u16,
    /// User name of its agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Where it can reach volumes.
    pub availability_zones: Option<Vec<String>>,
    /// The names it logs in with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub initiators: Vec<Initiator>,
}

fn no_port(port: &u16) -> bool {
    *port == 0
}

impl Checked for NewHost {
    const SHAPE: Shape =
        Shape { required: &["accessMode", "osType", "ip", "hostName"], members: HOST_MEMBERS };
}

/// PUT hosts: what is `None` or absent stays as it is.
///
/// The original's client says `null` for a list both when it means "as it is" and when it means
/// "none left"; this type keeps the difference that there is, the controller decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct HostUpdate {
    /// Its new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// `linux`, `windows` or `esxi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    /// `agent` or `agentless`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Port of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// User name of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Where it can reach volumes.
    #[serde(skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub availability_zones: Given<Vec<String>>,
    /// The names it logs in with.
    #[serde(skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<Object>>))]
    pub initiators: Given<Vec<Initiator>>,
}

impl Checked for HostUpdate {
    const SHAPE: Shape = Shape { required: &[], members: HOST_MEMBERS };
}

/// Ours: POST hosts/{id}/fence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct NewFence {
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Checked for NewFence {
    const SHAPE: Shape = Shape { required: &[], members: &[("reason", Rule::Text)] };

    fn without_body() -> Option<Self> {
        Some(Self::default())
    }
}

/// Ours: the query of GET pools/explain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explain {
    /// How large, in GiB.
    pub size: i64,
    /// Under which profile; empty for `default_block`.
    pub profile_id: String,
    /// Where; empty for `default`.
    pub availability_zone: String,
}

impl Explain {
    /// Reads the query string.
    ///
    /// # Errors
    /// When there is no size, or it is not a whole number.
    pub fn parse(query: &str) -> Result<Self, BadParameter> {
        let mut asked = Self::default();
        let mut size = None;
        for (key, value) in url::query_pairs(query) {
            if key.eq_ignore_ascii_case("size") {
                size = value.parse().ok();
            } else if key.eq_ignore_ascii_case("profileId") {
                asked.profile_id = value.into_owned();
            } else if key.eq_ignore_ascii_case("availabilityZone") {
                asked.availability_zone = value.into_owned();
            }
        }
        asked.size = size.ok_or_else(|| BadParameter::new("size", "must be a whole number"))?;
        Ok(asked)
    }

    /// As a query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = format!("size={}", self.size);
        for (key, value) in
            [("profileId", &self.profile_id), ("availabilityZone", &self.availability_zone)]
        {
            if !value.is_empty() {
                query = format!("{query}&{key}={}", url::encode(value));
            }
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use osds_model::host::Protocol;

    use super::*;
    use crate::check::decode;

    fn refusal<T: Checked + std::fmt::Debug>(body: &str) -> String {
        decode::<T>(body.as_bytes()).unwrap_err().to_string()
    }

    const UNFIT: &str = "Request body has an error: doesn't match the schema: ";

    #[test]
    fn refusals_in_the_originals_words() {
        let volume = refusal::<NewVolume>;
        assert_eq!(volume(r#"{"name":"v0"}"#), format!("{UNFIT}Property 'size' is missing"));
        assert_eq!(volume(r#"{"size":1}"#), format!("{UNFIT}Property 'name' is missing"));
        assert_eq!(
            volume("garbage"),
            "Request body has an error: failed to decode request body: \
             invalid character 'g' looking for beginning of value"
        );
        assert_eq!(
            volume(r#"{"name":"x","size":"1"}"#),
            format!("{UNFIT}Error at \"/size\":Field must be set to string or not be present")
        );
        assert_eq!(
            volume(r#"{"name":7,"size":1}"#),
            format!(
                "{UNFIT}Error at \"/name\":Field must be set to number, integer or not be present"
            )
        );
        assert_eq!(
            volume(r#"{"name":"x","size":1.5}"#),
            format!("{UNFIT}Error at \"/size\":Value must be an integer")
        );
        assert_eq!(
            volume(r#"{"name":null,"size":1}"#),
            format!("{UNFIT}Error at \"/name\":Value is not nullable")
        );
        assert_eq!(volume(""), "Request body has an error: must have a value");
        assert_eq!(refusal::<Resize>("{}"), format!("{UNFIT}Property 'newSize' is missing"));
        assert_eq!(
            refusal::<NewAttachment>(r#"{"volumeId":"v"}"#),
            format!("{UNFIT}Property 'hostId' is missing")
        );
        let words = "JSON value is not one of the allowed values";
        assert_eq!(
            refusal::<NewAttachment>(r#"{"volumeId":"v","hostId":"h","attachMode":"xx"}"#),
            format!("{UNFIT}Error at \"/attachMode\":{words}")
        );
        assert_eq!(
            refusal::<NewProfile>(r#"{"name":"p","storageType":"Block"}"#),
            format!("{UNFIT}Error at \"/storageType\":{words}")
        );
        assert_eq!(
            refusal::<NewHost>(
                r#"{"hostName":"node_4","osType":"linux","ip":"10.0.0.4","accessMode":"agentless"}"#
            ),
            format!(
                "{UNFIT}Error at \"/hostName\":JSON string doesn't match the regular expression '{}'",
                r"^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])$"
            )
        );
    }

    #[test]
    fn refusals_deeper_down() {
        let profile = refusal::<NewProfile>;
        assert!(
            profile(
                r#"{"name":"p","provisioningProperties":{"dataStorage":{"storageAccessCapability":["Read","read"]}}}"#
            )
            .ends_with(
                "Error at \"/provisioningProperties/dataStorage/storageAccessCapability/1\":JSON value is not one of the allowed values"
            )
        );
        assert!(profile(r#"{"name":"ää"}"#).contains("regular expression '[A-Za-z0-9_-]'"));
        assert!(profile(r#"{"name":""}"#).ends_with("Minimum string length is 1"));
        let far = r#"{"name":"p","replicationProperties":{"dataProtection":{"#;
        assert!(
            profile(&format!("{far}\"RecoveryTimeObjective\":\"offline\"}}}}}}"))
                .contains("allowed")
        );
        // Only the document's own spelling is checked.
        assert!(
            decode::<NewProfile>(
                format!("{far}\"recoveryTimeObjective\":\"offline\"}}}}}}").as_bytes()
            )
            .is_ok()
        );
        let host = refusal::<HostUpdate>;
        assert!(host(r#"{"port":0}"#).ends_with("Number must be at least 1"));
        assert!(host(r#"{"port":65536}"#).ends_with("Number must be most 65535"));
        assert!(host(r#"{"availabilityZones":["a","a"]}"#).ends_with("Duplicate items found"));
        assert!(
            host(r#"{"initiators":[{"portName":"x","protocol":"scsi"}]}"#)
                .contains("/initiators/0/protocol")
        );
        assert!(refusal::<CustomProperties>("[]").ends_with("set to array or not be present"));
    }

    #[test]
    fn a_volume_in_any_case_with_everything_else_skipped() {
        let volume: NewVolume = decode(
            br#"{"id":"mine","Name":"v","SIZE":2,"multiAttach":true,"status":"inUse","metadata":{"A":"b"}}"#,
        )
        .unwrap();
        let expected = NewVolume {
            name: "v".into(),
            size: 2,
            multi_attach: true,
            metadata: BTreeMap::from([("A".into(), "b".into())]),
            ..NewVolume::default()
        };
        assert_eq!(volume, expected);
    }

    #[test]
    fn both_generations_of_attachments() {
        let second: NewAttachment =
            decode(br#"{"hostId":"h","volumeId":"v","attachMode":"ro","connectionInfo":{}}"#)
                .unwrap();
        assert_eq!(second.attach_mode, Some(AttachMode::ReadOnly));
        let first: NewAttachment = decode(
            br#"{"volumeId":"v","hostInfo":{"host":"node1","ip":"10.0.0.1","osType":"linux","initiator":"iqn.x"}}"#,
        )
        .unwrap();
        assert_eq!(first.host_info.unwrap().initiator, "iqn.x");
        assert!(refusal::<NewAttachment>(r#"{"volumeId":"v","hostInfo":{}}"#).contains("hostId"));
        let sole: NewAttachment =
            decode(br#"{"volumeId":"v","hostId":"h","sharing":"soleWriter"}"#).unwrap();
        assert_eq!(sole.sharing, Some(Sharing::SoleWriter));
    }

    #[test]
    fn the_seeds_own_profile_is_a_block_profile() {
        let profile: NewProfile = decode(
            br#"{"name": "multi-attach", "description": "multi attach profile","customProperties":{"capabilities:multiAttach":"<is> true"}}"#,
        )
        .unwrap();
        assert_eq!(profile.storage_type, "block");
        assert_eq!(profile.custom_properties.unwrap()["capabilities:multiAttach"], "<is> true");
    }

    #[test]
    fn updates_tell_absent_from_null_from_given() {
        let update: HostUpdate = decode(
            br#"{"availabilityZones":null,"initiators":[{"portName":"iqn.x","protocol":"iscsi"}]}"#,
        )
        .unwrap();
        assert_eq!(update.availability_zones, Given::Null);
        let initiator = Initiator { port_name: "iqn.x".into(), protocol: Protocol::Iscsi };
        assert_eq!(update.initiators, Given::Value(vec![initiator]));
        let update: HostUpdate = decode(br#"{"initiators":[]}"#).unwrap();
        assert_eq!(update.initiators, Given::Value(vec![]));
        assert!(update.availability_zones.is_absent());
    }

    #[test]
    fn a_fence_needs_no_body_and_an_explanation_needs_a_size() {
        assert_eq!(decode::<NewFence>(b"").unwrap(), NewFence::default());
        let asked = Explain { size: 3, profile_id: "p q".into(), ..Explain::default() };
        assert_eq!(asked.to_query(), "size=3&profileId=p%20q");
        assert_eq!(Explain::parse(&asked.to_query()).unwrap(), asked);
        assert!(Explain::parse("size=x").unwrap_err().to_string().contains("whole number"));
    }
}
