//! `osdsctl volume group`: volumes that belong together, and go together.
//!
//! The grammar and the columns are the original's, and so is the sentence that a deletion ends with;
//! `--wait` and `snapshot` are ours. Who is in a group is asked of the volumes: `volume list --groupId`.

use clap::{Args, Subcommand};
use osds_rest_api::VolumeGroupView;
use osds_rest_api::request::{NewVolumeGroup, VolumeGroupUpdate};

use super::list::{Filter, Filtered, List, by, unused};
use super::{group_snapshot, path_of};
use crate::session::Session;
use crate::wait::Wait;

const PLACE: &str = "block/volumeGroups";
// The order is that of an empty list.
const LIST: &[&str] = &["Id", "Name", "Description", "Status", "Profiles"];
const SHOW: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "Name",
    "Description",
    "Status",
    "AvailabilityZone",
    "PoolId",
    "Profiles",
];

/// `osdsctl volume group ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a group, with nothing in it yet.
    #[command(after_help = "\
Example:
  osdsctl volume group create -n db --profiles <profile id>,<profile id>
  osdsctl volume group update <group id> --addVolumes <volume id>,<volume id>

Its pool is one that fits all the profiles; its volumes have to be in that pool, each under one of
the profiles.")]
    Create(Create),
    /// Show one group.
    Show {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
    /// List all groups.
    List(List<Filters>),
    /// Delete a group and every volume in it, if no host has one of them.
    Delete {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Change what a group is called and who is in it.
    Update(Update),
    /// Manage group snapshots: several volumes as they were at one moment.
    #[command(subcommand)]
    Snapshot(group_snapshot::Command),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name.
    #[arg(short, long)]
    name: Option<String>,
    /// Words for people.
    #[arg(short, long)]
    description: Option<String>,
    /// Its availability zone.
    #[arg(short, long = "availabilityZone", value_name = "zone")]
    availability_zone: Option<String>,
    /// The profiles that its volumes may have.
    #[arg(long, value_delimiter = ',', value_name = "profile id,...")]
    profiles: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Its id.
    #[arg(value_name = "id")]
    id: String,
    /// The new name.
    #[arg(short, long)]
    name: Option<String>,
    /// The new description.
    #[arg(short, long)]
    description: Option<String>,
    /// Volumes that join it.
    #[arg(short, long = "addVolumes", value_delimiter = ',', value_name = "volume id,...")]
    add_volumes: Vec<String>,
    /// Volumes that leave it.
    #[arg(short, long = "removeVolumes", value_delimiter = ',', value_name = "volume id,...")]
    remove_volumes: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Filters;

impl Filtered for Filters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only those with this name"),
        by("description", "Description", "Only those with this description"),
        by("userId", "UserId", "Only those of this user"),
        by("availabilityZone", "AvailabilityZone", "Only those in this availability zone"),
        by("status", "Status", "Only those with this status, like available"),
        by("poolId", "PoolId", "Only those in this pool"),
        unused("tenantId"),
    ];
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create(new) => {
                let body = NewVolumeGroup {
                    name: new.name.unwrap_or_default(),
                    description: new.description.unwrap_or_default(),
                    availability_zone: new.availability_zone.unwrap_or_default(),
                    profiles: new.profiles,
                };
                session.show(&client.post::<VolumeGroupView<'_>>(PLACE, &body)?, SHOW)
            }
            Self::Show { id } => {
                session.show(&client.get::<VolumeGroupView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Self::List(list) => {
                let query = list.query();
                session.list(&client.list::<VolumeGroupView<'_>>(PLACE, &query)?, LIST)
            }
            Self::Delete { id, wait } => {
                wait.delete::<VolumeGroupView<'_>>(session, PLACE, &id)?;
                session.told(&format!("Delete group({id}) success."))
            }
            Self::Update(update) => {
                let body = VolumeGroupUpdate {
                    name: update.name,
                    description: update.description,
                    add_volumes: update.add_volumes,
                    remove_volumes: update.remove_volumes,
                };
                let path = path_of(PLACE, &update.id);
                session.show(&client.put::<VolumeGroupView<'_>>(&path, &body)?, SHOW)
            }
            Self::Snapshot(command) => command.run(session),
        }
    }
}
