//! What users ask of hosts, held to the patterns and lengths of the original's API document.
//!
//! An update has three values for each list: absent (as it is), null and given, because the
//! original's client says `null` in two senses; see [`HostUpdate`]. A password is accepted, since
//! old clients send one, and there is no field that could keep it.

use osds_model::{Initiator, validate};
use serde::{Deserialize, Serialize};

use super::Given;
use crate::check::{Checked, Rule, Shape};

const ZONE: Rule = Rule::Length(1, 64);
const INITIATOR: Rule = Rule::Object(&Shape {
    required: &[],
    members: &[
        ("portName", Rule::Length(1, 255)),
        ("protocol", Rule::Word(&["iscsi", "fibre_channel", "nvmeof", "local"])),
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
