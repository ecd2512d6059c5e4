//! One host's access to one volume, as users see it.
//!
//! `connectionInfo` is always there and empty until the target has let the host in. Its `data` is
//! a map on the wire; ours is written straight from the connection, keys in the order in which Go
//! sorts them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use osds_model::{AttachMode, Attachment, Connection, HostId, Sharing, VolumeId};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::list::{Cell, Listed};
use crate::scalar::{Id, Time};

/// One host's access to one volume, as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was asked for.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Whose it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tenant_id: Cow<'a, str>,
    /// Who asked.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_id: Cow<'a, str>,
    /// The host.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub host_id: Id,
    /// The volume.
    #[serde(skip_serializing_if = "Id::is_empty")]
    pub volume_id: Id,
    /// `creating`, `available`, `deleting` ...
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Cow<'a, str>,
    /// Where the host put it; the host's own word.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub mountpoint: Cow<'a, str>,
    /// `ro` or `rw`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub attach_mode: Cow<'a, str>,
    /// What the pool speaks.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub access_protocol: Cow<'a, str>,
    /// How the host reaches the volume.
    pub connection_info: ConnectionInfo<'a>,
    /// The first generation's free text pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub metadata: Cow<'a, BTreeMap<String, String>>,
    /// Ours: `soleWriter` or `exclusive`, when more than plain sharing was promised.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sharing: Cow<'a, str>,
    /// Ours: why it is not further.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status_reason: Cow<'a, str>,
}

impl<'a> AttachmentView<'a> {
    /// How the access of `host` to `volume` looks; `status` is the word for its state.
    #[must_use]
    pub fn of(volume: VolumeId, host: HostId, attachment: &'a Attachment, status: &'a str) -> Self {
        let about = &attachment.about;
        Self {
            id: Id::of(attachment.id),
            created_at: about.created_at.into(),
            updated_at: about.updated_at.into(),
            tenant_id: about.tenant.as_str().into(),
            user_id: about.user.as_str().into(),
            host_id: Id::of(host),
            volume_id: Id::of(volume),
            status: status.into(),
            mountpoint: about.mountpoint.as_str().into(),
            attach_mode: attachment.mode.as_str().into(),
            access_protocol: about.access_protocol.as_str().into(),
            connection_info: attachment.connection.as_ref().map_or_else(
                ConnectionInfo::default,
                |connection| ConnectionInfo::Ours { connection, mode: attachment.mode },
            ),
            metadata: Cow::Borrowed(&about.metadata),
            sharing: match attachment.sharing {
                Sharing::Shared => "",
                Sharing::SoleWriter | Sharing::Exclusive => attachment.sharing.as_str(),
            }
            .into(),
            status_reason: attachment.fault.as_ref().map_or("", |f| f.message.as_str()).into(),
        }
    }
}

impl Listed for AttachmentView<'_> {
    const FIELDS: &'static [&'static str] = &[
        "Id",
        "CreatedAt",
        "UpdatedAt",
        "TenantId",
        "UserId",
        "HostId",
        "VolumeId",
        "Status",
        "Mountpoint",
        "AttachMode",
        "AccessProtocol",
        "Sharing",
    ];
    // `size` is in the original's list too; there is no such field, so it sorts nothing.
    const SORT_KEYS: &'static [&'static str] =
        &["id", "volumeid", "status", "userid", "tenantid", "size"];

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.tenant_id),
            Cell::Text(&self.user_id),
            Cell::Id(&self.host_id),
            Cell::Id(&self.volume_id),
            Cell::Text(&self.status),
            Cell::Text(&self.mountpoint),
            Cell::Text(&self.attach_mode),
            Cell::Text(&self.access_protocol),
            Cell::Text(&self.sharing),
        ][at]
    }
}

/// How a host reaches a volume: `{}` or `{"driverVolumeType":"iscsi","data":{...}}`.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionInfo<'a> {
    /// A connection that our target offers.
    Ours {
        /// The connection.
        connection: &'a Connection,
        /// What the host may do over it.
        mode: AttachMode,
    },
    /// One that was read.
    Read(ReadConnection),
}

/// A connection as a client reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadConnection {
    /// `iscsi`, `rbd` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver_volume_type: String,
    /// Whatever the protocol needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, Value>,
    /// Whatever else there is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub additional_properties: BTreeMap<String, Value>,
}

impl Default for ConnectionInfo<'_> {
    fn default() -> Self {
        Self::Read(ReadConnection::default())
    }
}

impl Serialize for ConnectionInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ours { connection, mode } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("driverVolumeType", connection.protocol())?;
                map.serialize_entry("data", &ConnectionData { connection, mode: *mode })?;
                map.end()
            }
            Self::Read(read) => read.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ConnectionInfo<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ReadConnection::deserialize(deserializer).map(Self::Read)
    }
}

struct ConnectionData<'a> {
    connection: &'a Connection,
    mode: AttachMode,
}

impl Serialize for ConnectionData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.connection {
            Connection::Iscsi { iqn, portals, lun } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Iscsi<'a> {
                    access_mode: &'a str,
                    discard: bool,
                    target_discovered: bool,
                    #[serde(rename = "targetIQN")]
                    target_iqn: Repeated<'a>,
                    target_lun: u32,
                    target_portal: &'a [String],
                }
                Iscsi {
                    access_mode: self.mode.as_str(),
                    discard: self.mode == AttachMode::ReadWrite,
                    target_discovered: true,
                    target_iqn: Repeated { text: iqn, times: portals.len() },
                    target_lun: *lun,
                    target_portal: portals,
                }
                .serialize(serializer)
            }
        }
    }
}

/// The target's name once for each portal: clients read the two lists side by side.
struct Repeated<'a> {
    text: &'a str,
    times: usize,
}

impl Serialize for Repeated<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(std::iter::repeat_n(self.text, self.times))
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use utoipa::openapi::{Object, RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    impl PartialSchema for super::ConnectionInfo<'_> {
        fn schema() -> RefOr<Schema> {
            RefOr::T(Schema::Object(Object::new()))
        }
    }
    impl ToSchema for super::ConnectionInfo<'_> {}
}
