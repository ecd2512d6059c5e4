//! One host's access to one volume, as users see it.
//!
//! `connectionInfo` is always there and empty until the target has let the host in. Its `data` is
//! a map on the wire; ours is written straight from the connection, keys in the order in which Go
//! sorts them. Names and passwords of CHAP are where the original's connector looks for them; those
//! by which the target proves itself (`targetAuth...`) are ours.
//!
//! Must stay true: a view shows passwords only when it was given them ([`AttachmentView::revealing`]),
//! and is given them only for the one who attached.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use osds_model::{
    AttachMode, Attachment, Authentication, Connection, Credentials, HostId, Secret, Sharing,
    VolumeId,
};
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
    /// Ours: how an orchestrator uses it, in CSI's words.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub access_mode: Cow<'a, str>,
    /// Ours: what lies on the blocks, where an orchestrator said.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub access_type: Cow<'a, str>,
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
                |connection| ConnectionInfo::Ours {
                    connection,
                    mode: attachment.mode,
                    login: attachment.authentication.as_ref().map(Login::Names),
                },
            ),
            metadata: Cow::Borrowed(&about.metadata),
            sharing: match attachment.sharing {
                Sharing::Shared => "",
                Sharing::SoleWriter | Sharing::Exclusive => attachment.sharing.as_str(),
            }
            .into(),
            access_mode: attachment.publication.map_or("", |said| said.mode.as_str()).into(),
            access_type: attachment.publication.map_or("", |said| said.access.as_str()).into(),
            status_reason: attachment.fault.as_ref().map_or("", |f| f.message.as_str()).into(),
        }
    }
}

impl AttachmentView<'_> {
    /// The same with the passwords of its connection, where it has one and they are known.
    #[must_use]
    pub fn revealing(mut self, secrets: Option<Authentication<Secret>>) -> Self {
        if let (ConnectionInfo::Ours { login, .. }, Some(secrets)) =
            (&mut self.connection_info, secrets)
        {
            *login = Some(Login::Secrets(secrets));
        }
        self
    }

    /// The same with `***` for the passwords that were read.
    #[must_use]
    pub fn concealing(mut self) -> Self {
        if let ConnectionInfo::Read(read) = &mut self.connection_info {
            read.data.iter_mut().for_each(|(key, value)| conceal(key, value));
        }
        self
    }
}

/// Keys of `connectionInfo` whose values nobody else may see.
const PASSWORDS: [&str; 2] = ["authPassword", "targetAuthPassword"];

/// Puts `***` in the place of every password in an answer.
pub fn conceal_all(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                conceal(key, value);
                conceal_all(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(conceal_all),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn conceal(key: &str, value: &mut Value) {
    if PASSWORDS.contains(&key) {
        *value = "***".into();
    }
}

impl AttachmentView<'_> {
    /// The same for a tenant, as [`super::VolumeView::for_tenant`].
    #[must_use]
    pub fn for_tenant(mut self, attachment: &Attachment) -> Self {
        let fault = attachment.fault.as_ref();
        self.status_reason = fault.map_or("", |fault| fault.kind.for_tenant()).into();
        self
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
        /// What it proves at login.
        login: Option<Login<'a>>,
    },
    /// One that was read.
    Read(ReadConnection),
}

/// What a host proves at login.
#[derive(Clone, Debug, PartialEq)]
pub enum Login<'a> {
    /// To be shown without the passwords.
    Names(&'a Authentication),
    /// To be shown whole.
    Secrets(Authentication<Secret>),
}

impl Login<'_> {
    fn initiator(&self) -> (&str, Option<&str>) {
        match self {
            Self::Names(all) => (&all.initiator.name, None),
            Self::Secrets(all) => whole(&all.initiator),
        }
    }

    fn target(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::Names(all) => all.target.as_ref().map(|one| (one.name.as_str(), None)),
            Self::Secrets(all) => all.target.as_ref().map(whole),
        }
    }
}

fn whole(credentials: &Credentials<Secret>) -> (&str, Option<&str>) {
    (&credentials.name, Some(credentials.secret.reveal()))
}

/// A connection as a client reads it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
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

impl fmt::Debug for ReadConnection {
    /// Without the values: some are passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.data.keys().chain(self.additional_properties.keys());
        write!(f, "ReadConnection({} ", self.driver_volume_type)?;
        f.debug_list().entries(keys).finish()?;
        f.write_str(")")
    }
}

impl Default for ConnectionInfo<'_> {
    fn default() -> Self {
        Self::Read(ReadConnection::default())
    }
}

impl Serialize for ConnectionInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ours { connection, mode, login } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("driverVolumeType", connection.protocol())?;
                map.serialize_entry(
                    "data",
                    &ConnectionData { connection, mode: *mode, login: login.as_ref() },
                )?;
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
    login: Option<&'a Login<'a>>,
}

impl Serialize for ConnectionData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.connection {
            Connection::Iscsi { iqn, portals, lun } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Iscsi<'a> {
                    access_mode: &'a str,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    auth_method: Option<&'a str>,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    auth_password: Option<&'a str>,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    auth_user_name: Option<&'a str>,
                    discard: bool,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    target_auth_password: Option<&'a str>,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    target_auth_user_name: Option<&'a str>,
                    target_discovered: bool,
                    #[serde(rename = "targetIQN")]
                    target_iqn: Repeated<'a>,
                    target_lun: u32,
                    target_portal: &'a [String],
                }
                let initiator = self.login.map(Login::initiator);
                let target = self.login.and_then(Login::target);
                // An array that does not name its targets: none, and hosts discover them.
                let times = if iqn.is_empty() { 0 } else { portals.len() };
                Iscsi {
                    access_mode: self.mode.as_str(),
                    auth_method: self.login.map(|_| "chap"),
                    auth_password: initiator.and_then(|(_, password)| password),
                    auth_user_name: initiator.map(|(name, _)| name),
                    discard: self.mode == AttachMode::ReadWrite,
                    target_auth_password: target.and_then(|(_, password)| password),
                    target_auth_user_name: target.map(|(name, _)| name),
                    target_discovered: true,
                    target_iqn: Repeated { text: iqn, times },
                    target_lun: *lun,
                    target_portal: portals,
                }
                .serialize(serializer)
            }
            Connection::NvmeOf { nqn, portals, host_nqn } => {
                /// The keys of the original, its spelling of one included; it knows one port.
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct NvmeOf<'a> {
                    access_mode: &'a str,
                    discard: bool,
                    host_nqn: &'a str,
                    target_discovered: bool,
                    #[serde(rename = "targetIP")]
                    target_ip: &'a str,
                    #[serde(rename = "targetNQN")]
                    target_nqn: &'a str,
                    target_port: &'a str,
                    target_portal: &'a [String],
                    transpor_type: &'a str,
                }
                let first = portals.first().and_then(|portal| portal.rsplit_once(':'));
                let (ip, port) = first.unwrap_or_default();
                NvmeOf {
                    access_mode: self.mode.as_str(),
                    discard: self.mode == AttachMode::ReadWrite,
                    host_nqn,
                    target_discovered: true,
                    target_ip: ip.trim_start_matches('[').trim_end_matches(']'),
                    target_nqn: nqn,
                    target_port: port,
                    target_portal: portals,
                    transpor_type: "tcp",
                }
                .serialize(serializer)
            }
            Connection::Local { path } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Local<'a> {
                    access_mode: &'a str,
                    backing_file: &'a str,
                }
                Local { access_mode: self.mode.as_str(), backing_file: path }.serialize(serializer)
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
    use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
    use utoipa::openapi::{Object, RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    /// What is fixed whatever the protocol; the rest of `data` is the protocol's.
    impl PartialSchema for super::ConnectionInfo<'_> {
        fn schema() -> RefOr<Schema> {
            let text = || ObjectBuilder::new().schema_type(Type::String);
            let mut data = ObjectBuilder::new().schema_type(Type::Object).description(Some(
                "What the protocol needs. Passwords are in the answer to the attach and to a GET of \
                 the one attachment, never in a list.",
            ));
            for name in ["authMethod", "authUserName", "targetAuthUserName"] {
                data = data.property(name, text());
            }
            for name in super::PASSWORDS {
                let format = Some(SchemaFormat::KnownFormat(KnownFormat::Password));
                data = data.property(name, text().format(format));
            }
            let whole = ObjectBuilder::new().schema_type(Type::Object);
            let whole = whole.property("driverVolumeType", text()).property("data", data);
            RefOr::T(Schema::Object(Object::from(whole)))
        }
    }
    impl ToSchema for super::ConnectionInfo<'_> {}
}
