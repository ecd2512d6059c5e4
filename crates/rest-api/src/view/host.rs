//! A host as users see it.
//!
//! Zones and initiators are always said, as `null` when there are none, because the original's
//! clients look for them. A password is never said, nor is there a field for one. That a host is
//! fenced and why are ours, and only said when it is.

use std::borrow::Cow;

use osds_model::{Host, Initiator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{is_false, is_zero};
use crate::list::{Cell, Listed};
use crate::scalar::{Id, Time};

/// A host as users see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct HostView<'a> {
    /// Its id.
    pub id: Id,
    /// When it was registered.
    pub created_at: Time,
    /// When the record last changed.
    pub updated_at: Time,
    /// Whose it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tenant_id: Cow<'a, str>,
    /// Who registered it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_id: Cow<'a, str>,
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub host_name: Cow<'a, str>,
    /// `linux`, `windows` or `esxi`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub os_type: Cow<'a, str>,
    /// `agent` or `agentless`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub access_mode: Cow<'a, str>,
    /// Its address; information only.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub ip: Cow<'a, str>,
    /// Port of its agent.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u16,
    /// User name of its agent.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub username: Cow<'a, str>,
    /// Where it can reach volumes; `null` when it was never said.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub availability_zones: Option<Cow<'a, [String]>>,
    /// The names it logs in with; `null` when there are none.
    #[serde(serialize_with = "null_for_none", deserialize_with = "initiators")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<Object>>))]
    pub initiators: Cow<'a, [Initiator]>,
    /// Ours: whether it is kept out of every volume.
    #[serde(skip_serializing_if = "is_false")]
    pub fenced: bool,
    /// Ours: why it is kept out.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub fence_reason: Cow<'a, str>,
}

fn null_for_none<S: Serializer>(
    initiators: &[Initiator],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if initiators.is_empty() {
        serializer.serialize_none()
    } else {
        initiators.serialize(serializer)
    }
}

fn initiators<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'static, [Initiator]>, D::Error> {
    let given = Option::<Vec<Initiator>>::deserialize(deserializer)?;
    Ok(Cow::Owned(given.unwrap_or_default()))
}

impl<'a> HostView<'a> {
    /// How `host` looks.
    #[must_use]
    pub fn of(host: &'a Host) -> Self {
        Self {
            id: Id::of(host.id),
            created_at: host.created_at.into(),
            updated_at: host.updated_at.into(),
            tenant_id: host.tenant.as_str().into(),
            user_id: host.user.as_str().into(),
            host_name: host.name.as_str().into(),
            os_type: host.os_type.as_str().into(),
            access_mode: host.access_mode.as_str().into(),
            ip: host.ip.as_str().into(),
            port: host.port,
            username: host.username.as_str().into(),
            availability_zones: host.availability_zones.as_deref().map(Cow::Borrowed),
            initiators: Cow::Borrowed(&host.initiators),
            fenced: host.fence.is_some(),
            fence_reason: host.fence.as_ref().map_or("", |f| f.reason.as_str()).into(),
        }
    }
}

impl Listed for HostView<'_> {
    const FIELDS: &'static [&'static str] = &[
        "Id",
        "CreatedAt",
        "UpdatedAt",
        "TenantId",
        "UserId",
        "HostName",
        "OsType",
        "AccessMode",
        "IP",
        "Port",
        "Username",
        "Fenced",
    ];
    const SORT_KEYS: &'static [&'static str] = &[];

    /// Hosts know two sort keys, spelt exactly so.
    fn sort_field(key: &str) -> Option<usize> {
        match key {
            "hostName" => Self::field("HostName"),
            "createdAt" => Self::field("CreatedAt"),
            _ => None,
        }
    }

    fn cell(&self, at: usize) -> Cell<'_> {
        [
            Cell::Id(&self.id),
            Cell::Time(&self.created_at),
            Cell::Time(&self.updated_at),
            Cell::Text(&self.tenant_id),
            Cell::Text(&self.user_id),
            Cell::Text(&self.host_name),
            Cell::Text(&self.os_type),
            Cell::Text(&self.access_mode),
            Cell::Text(&self.ip),
            Cell::Number(u64::from(self.port)),
            Cell::Text(&self.username),
            Cell::Flag(self.fenced),
        ][at]
    }
}
