//! What users ask of attachments, in both generations of the original's clients.
//!
//! The first generation describes the host in the request (`hostInfo`), the second names a host
//! record (`hostId`); one of the two must be there. Mode and promise are words that are checked
//! here, so a misspelt one is refused and never taken for the default: a typing error must not let
//! a host write.

use std::collections::BTreeMap;

use osds_model::{AccessMode, AccessType, AttachMode, Sharing};
use serde::{Deserialize, Serialize};

use crate::check::{Checked, Rule, Shape, missing};
use crate::json::Node;

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
    /// Ours: how an orchestrator means to use the volume, in CSI's words. Mode and promise follow
    /// from it, but that `attachMode` may still ask to read only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub access_mode: Option<AccessMode>,
    /// Ours: what will lie on the blocks; `block` when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub access_type: Option<AccessType>,
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
            (
                "accessMode",
                Rule::Word(&[
                    "SINGLE_NODE_WRITER",
                    "SINGLE_NODE_READER_ONLY",
                    "MULTI_NODE_READER_ONLY",
                    "MULTI_NODE_SINGLE_WRITER",
                    "MULTI_NODE_MULTI_WRITER",
                    "SINGLE_NODE_SINGLE_WRITER",
                    "SINGLE_NODE_MULTI_WRITER",
                ]),
            ),
            ("accessType", Rule::Word(&["block", "localFs", "clusterFs"])),
            ("mountpoint", Rule::Text),
        ],
    };

    fn check(body: &Node) -> Result<(), String> {
        let said = |name| body.member(name).is_some();
        if said("accessMode") && said("sharing") {
            return Err("sharing follows from accessMode; say one of them".to_owned());
        }
        if said("accessType") && !said("accessMode") {
            return Err("accessType goes with accessMode; say both".to_owned());
        }
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
