//! `osdsctl dock`: the agents on storage hosts, read only.
//!
//! Nobody creates a dock: it registers itself when its daemon starts. Filters are sent to the
//! server under the names of the fields, as the original does, and columns are the original's too.
//! `drift` is ours.

use clap::{Args, Subcommand};
use osds_rest_api::DockView;

use super::{Page, path_of};
use crate::session::Session;

const PLACE: &str = "docks";
const LIST: &[&str] = &["Id", "Name", "Description", "Endpoint", "DriverName"];
const SHOW: &[&str] =
    &["Id", "CreatedAt", "UpdatedAt", "Name", "Description", "Endpoint", "DriverName", "Metadata"];

/// `osdsctl dock ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all docks.
    List(Box<List>),
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

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    page: Page,
    /// Only the one with this id.
    #[arg(long)]
    id: Option<String>,
    /// Only those with this name.
    #[arg(long)]
    name: Option<String>,
    /// Only those with this description.
    #[arg(long)]
    description: Option<String>,
    /// Only those with this status.
    #[arg(long)]
    status: Option<String>,
    /// Only those with this storage type.
    #[arg(long = "storageType")]
    storage_type: Option<String>,
    /// Only those at this endpoint.
    #[arg(long)]
    endpoint: Option<String>,
    /// Only those with this driver.
    #[arg(long = "driverName")]
    driver_name: Option<String>,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::List(list) => {
                let query = list.page.query(&[
                    ("Id", &list.id),
                    ("Name", &list.name),
                    ("Description", &list.description),
                    ("Status", &list.status),
                    ("StorageType", &list.storage_type),
                    ("Endpoint", &list.endpoint),
                    ("DriverName", &list.driver_name),
                ]);
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
