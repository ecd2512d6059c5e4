//! `osdsctl dock`: the agents on storage hosts, read only.
//!
//! Nobody creates a dock: it registers itself when its daemon starts. Filters are sent to the
//! server under the names of the fields, as the original does, and columns are the original's too.
//! `drift` is ours.

use clap::Subcommand;
use osds_rest_api::DockView;

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::session::Session;

const PLACE: &str = "docks";
const LIST: &[&str] = &["Id", "Name", "Description", "Endpoint", "DriverName"];
const SHOW: &[&str] =
    &["Id", "CreatedAt", "UpdatedAt", "Name", "Description", "Endpoint", "DriverName", "Metadata"];

/// `osdsctl dock ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all docks.
    List(List<Filters>),
    /// Show one dock.
    Show {
        /// Its id.
        #[arg(value_name = "dock id")]
        id: String,
    },
    /// Show what a dock holds that no record accounts for, a line each.
    ///
    /// It may be somebody's data, so osds reports it and never touches it. Nothing is printed when
    /// all is accounted for.
    Drift {
        /// Its id.
        #[arg(value_name = "dock id")]
        id: String,
    },
}

#[derive(Debug)]
pub(crate) struct Filters;

impl Filtered for Filters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only those with this name"),
        by("description", "Description", "Only those with this description"),
        by("status", "Status", "Only those with this status"),
        by("storageType", "StorageType", "Only those with this storage type"),
        by("endpoint", "Endpoint", "Only those at this endpoint"),
        by("driverName", "DriverName", "Only those with this driver"),
    ];
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::List(list) => {
                let query = list.query();
                session.list(&session.client.list::<DockView<'_>>(PLACE, &query)?, LIST)
            }
            Self::Show { id } => {
                session.show(&session.client.get::<DockView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Self::Drift { id } => {
                let path = format!("{}/drift", path_of(PLACE, &id));
                session.lines(&session.client.get::<Vec<String>>(&path)?)
            }
        }
    }
}
