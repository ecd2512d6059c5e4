//! `osdsctl profile`: what users ask of storage, by name.
//!
//! A profile is given as JSON, as in the original, and its misspellings are caught here or by the
//! server before anything is stored. A property's value is taken as JSON where it is JSON and as
//! text where it is not, so that both `true` and `<is> true` mean what they look like.

use std::collections::BTreeMap;

use clap::Subcommand;
use osds_rest_api::request::{CustomProperties, NewProfile};
use osds_rest_api::{ProfileView, json, url};
use serde_json::Value;

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::cli::Misuse;
use crate::session::Session;

const PLACE: &str = "profiles";
const LIST: &[&str] = &["Id", "Name", "Description", "StorageType"];
const CREATE: &[&str] = &[
    "Id",
    "CreatedAt",
    "Name",
    "Description",
    "StorageType",
    "ProvisioningProperties",
    "ReplicationProperties",
    "SnapshotProperties",
    "DataProtectionProperties",
    "CustomProperties",
];
const SHOW: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "Name",
    "Description",
    "StorageType",
    "ProvisioningProperties",
    "ReplicationProperties",
    "SnapshotProperties",
    "DataProtectionProperties",
    "CustomProperties",
];

const CREATE_EXAMPLES: &str = "\
Examples:
  What volumes are made under when no profile is named:
    osdsctl profile create '{\"name\":\"default_block\",\"description\":\"default policy\"}'
  Volumes that several hosts may have at once:
    osdsctl profile create \\
      '{\"name\":\"multi-attach\",\"customProperties\":{\"capabilities:multiAttach\":\"<is> true\"}}'
  Thin volumes on SSDs:
    osdsctl profile create \\
      '{\"name\":\"fast\",\"provisioningProperties\":{\"dataStorage\":{\"provisioningPolicy\":\"Thin\"}},
        \"customProperties\":{\"capabilities:extras.advanced.diskType\":\"SSD\"}}'

storageType is block when it is not given.";

/// `osdsctl profile ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a profile.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// The profile as JSON.
        #[arg(value_name = "profile info")]
        info: String,
    },
    /// Show one profile.
    Show {
        /// Its id.
        #[arg(value_name = "profile id")]
        id: String,
    },
    /// List all profiles.
    List(List<Filters>),
    /// Delete a profile that no volume uses.
    Delete {
        /// Its id.
        #[arg(value_name = "profile id")]
        id: String,
    },
    /// Manage the custom properties of a profile.
    #[command(subcommand)]
    Property(Property),
}

/// `osdsctl profile property ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Property {
    /// List the custom properties of a profile.
    List {
        /// The profile.
        #[arg(value_name = "profile id")]
        profile: String,
    },
    /// Add or change one.
    #[command(
        after_help = "Example: osdsctl profile property set <profile id> capabilities:multiAttach '<is> true'"
    )]
    Set {
        /// The profile.
        #[arg(value_name = "profile id")]
        profile: String,
        /// Its name; capabilities:<pool key> chooses pools by it.
        #[arg(value_name = "key")]
        key: String,
        /// What it shall be: JSON where it is JSON, else text.
        #[arg(value_name = "value")]
        value: String,
    },
    /// Remove one.
    Remove {
        /// The profile.
        #[arg(value_name = "profile id")]
        profile: String,
        /// Its name.
        #[arg(value_name = "key")]
        key: String,
    },
}

#[derive(Debug)]
pub(crate) struct Filters;

impl Filtered for Filters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only the one with this name"),
        by("description", "Description", "Only those with this description"),
        by("storageType", "StorageType", "Only those with this storage type: block or file"),
    ];
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create { info } => {
                let profile: NewProfile =
                    json::read(info.as_bytes()).map_err(|e| Misuse(e.to_string()))?;
                session.show(&client.post::<ProfileView<'_>>(PLACE, &profile)?, CREATE)
            }
            Self::Show { id } => {
                session.show(&client.get::<ProfileView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Self::List(list) => {
                let query = list.query();
                session.list(&client.list::<ProfileView<'_>>(PLACE, &query)?, LIST)
            }
            Self::Delete { id } => Ok(client.delete(&path_of(PLACE, &id))?),
            Self::Property(property) => property.run(session),
        }
    }
}

impl Property {
    fn run(self, session: &Session) -> anyhow::Result<()> {
        let place = |profile: &str| format!("{}/customProperties", path_of(PLACE, profile));
        match self {
            Self::List { profile } => {
                let all: CustomProperties = session.client.get(&place(&profile))?;
                session.show_pairs(&all.0)
            }
            Self::Set { profile, key, value } => {
                let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
                let one = CustomProperties(BTreeMap::from([(key, value)]));
                let all: CustomProperties = session.client.post(&place(&profile), &one)?;
                session.show_pairs(&all.0)
            }
            Self::Remove { profile, key } => {
                let path = format!("{}/{}", place(&profile), url::encode(&key));
                Ok(session.client.delete(&path)?)
            }
        }
    }
}
