//! `osdsctl volume replication`: two volumes of which one follows the other.
//!
//! osds has none yet: its server says so, and why. The grammar, the checks and the columns are the
//! original's, so that the commands work with a server that has them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use osds_rest_api::client::Method;
use serde::Serialize;

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::foreign::Field::{Nested, Number, Text};
use crate::foreign::{Field, Foreign, Noun};
use crate::session::Session;

const PLACE: &str = "block/replications";
const LIST: &[&str] = &[
    "Id",
    "Name",
    "Description",
    "PrimaryVolumeId",
    "SecondaryVolumeId",
    "ReplicationStatus",
    "ReplicationMode",
];
const CREATE: &[&str] = &[
    "Id",
    "CreatedAt",
    "Name",
    "Description",
    "AvailabilityZone",
    "PrimaryVolumeId",
    "SecondaryVolumeId",
    "PrimaryReplicationDriverData",
    "SecondaryReplicationDriverData",
    "ReplicationStatus",
    "ReplicationMode",
    "ReplicationPeriod",
    "ProfileId",
];
const SHOW: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "Name",
    "Description",
    "AvailabilityZone",
    "PrimaryVolumeId",
    "SecondaryVolumeId",
    "PrimaryReplicationDriverData",
    "SecondaryReplicationDriverData",
    "ReplicationStatus",
    "ReplicationMode",
    "ReplicationPeriod",
    "ProfileId",
];
/// Minutes, when somebody asks for `async` and does not say.
const PERIOD: i64 = 60;

struct Replication;

impl Noun for Replication {
    const FIELDS: &'static [(&'static str, Field)] = &[
        ("Id", Text),
        ("CreatedAt", Text),
        ("UpdatedAt", Text),
        ("Name", Text),
        ("Description", Text),
        ("PrimaryVolumeId", Text),
        ("SecondaryVolumeId", Text),
        ("AvailabilityZone", Text),
        ("PrimaryReplicationDriverData", Nested),
        ("SecondaryReplicationDriverData", Nested),
        ("ReplicationStatus", Text),
        ("ReplicationMode", Text),
        ("ReplicationPeriod", Number),
        ("ProfileId", Text),
    ];
}

/// `osdsctl volume replication ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let one volume follow another.
    Create(Create),
    /// Show one replication.
    Show {
        /// Its id.
        #[arg(value_name = "replication id")]
        id: String,
    },
    /// List all replications.
    List(List<Filters>),
    /// Delete a replication.
    Delete {
        /// Its id.
        #[arg(value_name = "replication id")]
        id: String,
    },
    /// Change the name or the description of a replication.
    Update {
        /// Its id.
        #[arg(value_name = "replication id")]
        id: String,
        /// The new name.
        #[arg(short, long)]
        name: Option<String>,
        /// The new description.
        #[arg(short, long)]
        description: Option<String>,
    },
    /// Start a replication.
    Enable {
        /// Its id.
        #[arg(value_name = "replication id")]
        id: String,
    },
    /// Stop a replication.
    Disable {
        /// Its id.
        #[arg(value_name = "replication id")]
        id: String,
    },
    /// Let the other volume lead.
    Failover {
        /// Its id.
        #[arg(value_name = "replication id")]
        id: String,
        /// Though a host has the volume.
        #[arg(short, long = "allow_attached_volume")]
        allow_attached_volume: bool,
        /// The backend that shall lead; `default` leads back.
        #[arg(
            short,
            long = "secondary_backend_id",
            default_value = "default",
            value_name = "backend id"
        )]
        secondary_backend_id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The volume that leads.
    #[arg(value_name = "primary volume id")]
    primary: String,
    /// The volume that follows.
    #[arg(value_name = "secondary volume id")]
    secondary: String,
    /// Its name.
    #[arg(short, long)]
    name: Option<String>,
    /// Words for people.
    #[arg(short, long)]
    description: Option<String>,
    /// Pairs for the driver of the one that leads, as a JSON object.
    #[arg(long = "primary_driver_data", value_name = "json")]
    primary_driver_data: Option<String>,
    /// Pairs for the driver of the one that follows, as a JSON object.
    #[arg(long = "secondary_driver_data", value_name = "json")]
    secondary_driver_data: Option<String>,
    /// Whether a write waits for the other volume (sync) or not (async).
    #[arg(short = 'm', long = "replication_mode", default_value = "sync", value_name = "mode")]
    mode: String,
    /// Minutes between two copies, for async only [default there: 60].
    #[arg(
        short = 't',
        long = "replication_period",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true,
        value_name = "minutes"
    )]
    period: i64,
}

#[derive(Debug)]
pub(crate) struct Filters;

impl Filtered for Filters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only those with this name"),
        by("description", "Description", "Only those with this description"),
        by("primaryVolumeId", "PrimaryVolumeId", "Only those that this volume leads"),
        by("secondaryVolumeId", "SecondaryVolumeId", "Only those that this volume follows"),
    ];
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewReplication {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    primary_volume_id: String,
    secondary_volume_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    primary_replication_driver_data: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secondary_replication_driver_data: BTreeMap<String, String>,
    replication_mode: String,
    #[serde(skip_serializing_if = "is_zero")]
    replication_period: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct Names {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewFailover {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_attached_volume: bool,
    secondary_backend_id: String,
}

type View = Foreign<Replication>;

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        let act = |id: &str, verb: &str| {
            let path = format!("{}/{verb}", path_of(PLACE, id));
            client.request(Method::POST, &path)
        };
        match self {
            Self::Create(new) => {
                session.show(&client.post::<View>(PLACE, &new.into_body()?)?, CREATE)
            }
            Self::Show { id } => session.show(&client.get::<View>(&path_of(PLACE, &id))?, SHOW),
            Self::List(list) => {
                let query = list.query();
                let place = format!("{PLACE}/detail");
                session.list(&client.list::<View>(&place, &query)?, LIST)
            }
            Self::Delete { id } => Ok(client.delete(&path_of(PLACE, &id))?),
            Self::Update { id, name, description } => {
                let names = Names { name, description };
                let path = path_of(PLACE, &id);
                // Without the time it was made.
                let keys: Vec<_> = SHOW.iter().copied().filter(|key| *key != "CreatedAt").collect();
                session.show(&client.put::<View>(&path, &names)?, &keys)
            }
            Self::Enable { id } => Ok(act(&id, "enable").send().map(drop)?),
            Self::Disable { id } => Ok(act(&id, "disable").send().map(drop)?),
            Self::Failover { id, allow_attached_volume, secondary_backend_id } => {
                let body = NewFailover { allow_attached_volume, secondary_backend_id };
                Ok(act(&id, "failover").body(&body).send().map(drop)?)
            }
        }
    }
}

impl Create {
    /// The body, after the checks that the original makes before it asks.
    fn into_body(self) -> anyhow::Result<NewReplication> {
        let mode = self.mode.to_lowercase();
        if !["sync", "async"].contains(&mode.as_str()) {
            anyhow::bail!("invalid replication mode '{}'", self.mode);
        }
        let period = match (self.period, mode.as_str()) {
            (..0, _) => anyhow::bail!("invalid replication period '{}'", self.period),
            (1.., "sync") => anyhow::bail!(
                "no need to set replication_period when the replication mode is 'sync'"
            ),
            (0, "async") => PERIOD,
            (period, _) => period,
        };
        let pairs = |text: Option<String>, whose: &str| match text.as_deref() {
            None | Some("") => Ok(BTreeMap::new()),
            Some(text) => serde_json::from_str(text)
                .map_err(|_| anyhow::anyhow!("invalid replication {whose} driver data")),
        };
        Ok(NewReplication {
            name: self.name,
            description: self.description,
            primary_volume_id: self.primary,
            secondary_volume_id: self.secondary,
            primary_replication_driver_data: pairs(self.primary_driver_data, "primary")?,
            secondary_replication_driver_data: pairs(self.secondary_driver_data, "secondary")?,
            replication_mode: mode,
            replication_period: period,
        })
    }
}
