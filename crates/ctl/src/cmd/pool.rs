//! `osdsctl pool`: the places volumes come from, read only, and why one would take a volume.
//!
//! Pools come from the configuration of their dock, so there is nothing to create or edit here.
//! `explain` is ours: it shows, pool by pool, the answer that creating a volume would get.

use clap::Subcommand;
use osds_rest_api::request::Explain;
use osds_rest_api::{FitView, PoolView};

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::cmd::volume::size_of;
use crate::session::Session;

const PLACE: &str = "pools";
const LIST: &[&str] = &["Id", "Name", "Description", "Status", "TotalCapacity", "FreeCapacity"];
const SHOW: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "Name",
    "Description",
    "Status",
    "DockId",
    "AvailabilityZone",
    "TotalCapacity",
    "FreeCapacity",
    "MultiAttach",
    "StorageType",
    "Extras",
];
const EXPLAIN: &[&str] = &["PoolId", "Name", "Fits", "FreeCapacity", "Reason"];

/// `osdsctl pool ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all pools.
    List(List<Filters>),
    /// Show one pool.
    Show {
        /// Its id.
        #[arg(value_name = "pool id")]
        id: String,
    },
    /// Say which pools would take a volume, and why the others would not.
    #[command(after_help = "Example: osdsctl pool explain 100 --profile <profile id> --az az1")]
    Explain {
        /// How large the volume would be, in GiB.
        #[arg(value_name = "size")]
        size: String,
        /// Under which profile it would be made; default_block if none is given.
        #[arg(short, long, value_name = "profile id")]
        profile: Option<String>,
        /// Where it would be.
        #[arg(short, long, value_name = "zone")]
        az: Option<String>,
    },
}

#[derive(Debug)]
pub(crate) struct Filters;

impl Filtered for Filters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only those with this name"),
        by("description", "Description", "Only those with this description"),
        by("status", "Status", "Only those with this status: available or unavailable"),
        by("storageType", "StorageType", "Only those with this storage type"),
        by("dockId", "DockId", "Only those of this dock"),
        by("availabilityZone", "AvailabilityZone", "Only those in this availability zone"),
    ];
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::List(list) => {
                let query = list.query();
                session.list(&session.client.list::<PoolView<'_>>(PLACE, &query)?, LIST)
            }
            Self::Show { id } => {
                session.show(&session.client.get::<PoolView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Self::Explain { size, profile, az } => {
                let asked = Explain {
                    size: size_of(&size)?,
                    profile_id: profile.unwrap_or_default(),
                    availability_zone: az.unwrap_or_default(),
                };
                let path = format!("{PLACE}/explain?{}", asked.to_query());
                session.list(&session.client.get::<Vec<FitView<'_>>>(&path)?, EXPLAIN)
            }
        }
    }
}
