//! `osdsctl volume snapshot`: a volume as it was at one moment.
//!
//! The grammar and the columns are the original's; `--wait` and `--groupSnapshotId` are ours. The profile of `-p` is sent
//! along as the original does, though a snapshot is kept where its volume is.

use clap::Subcommand;
use osds_rest_api::SnapshotView;
use osds_rest_api::request::{NewSnapshot, SnapshotUpdate};

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::session::Session;
use crate::wait::Wait;

const PLACE: &str = "block/snapshots";
// The order is that of an empty list and of the objects.
const LIST: &[&str] = &["Id", "Name", "Description", "ProfileId", "Size", "Status", "VolumeId"];
const CREATE: &[&str] = &[
    "Id",
    "CreatedAt",
    "Name",
    "Description",
    "Size",
    "Status",
    "ProfileId",
    "VolumeId",
    "Metadata",
    "GroupSnapshotId",
    "StatusReason",
];
const SHOW: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "Name",
    "Description",
    "Size",
    "Status",
    "ProfileId",
    "VolumeId",
    "Metadata",
    "GroupSnapshotId",
    "StatusReason",
];
const UPDATE: &[&str] = &[
    "Id",
    "UpdatedAt",
    "Name",
    "Description",
    "Size",
    "Status",
    "ProfileId",
    "VolumeId",
    "Metadata",
    "GroupSnapshotId",
    "StatusReason",
];

/// `osdsctl volume snapshot ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a snapshot of a volume, whoever has it.
    #[command(after_help = "\
Example:
  osdsctl volume snapshot create <volume id> -n before-upgrade --wait
  osdsctl volume create 10 -n copy --snapshot <snapshot id>")]
    Create {
        /// The volume.
        #[arg(value_name = "volume id")]
        volume: String,
        /// The snapshot's name.
        #[arg(short, long)]
        name: Option<String>,
        /// Words for people.
        #[arg(short, long)]
        description: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show one snapshot.
    Show {
        /// Its id.
        #[arg(value_name = "snapshot id")]
        id: String,
    },
    /// List all snapshots.
    List(List<Filters>),
    /// Delete a snapshot.
    Delete {
        /// Its id.
        #[arg(value_name = "snapshot id")]
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Change the name or the description of a snapshot.
    Update {
        /// Its id.
        #[arg(value_name = "snapshot id")]
        id: String,
        /// The new name.
        #[arg(short, long)]
        name: Option<String>,
        /// The new description.
        #[arg(short, long)]
        description: Option<String>,
    },
}

#[derive(Debug)]
pub(crate) struct Filters;

impl Filtered for Filters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only those with this name"),
        by("description", "Description", "Only those with this description"),
        by("userId", "UserId", "Only those of this user"),
        by("status", "Status", "Only those with this status, like available"),
        by("volumeId", "VolumeId", "Only those of this volume"),
        by("groupSnapshotId", "GroupSnapshotId", "Only those of this group snapshot"),
    ];
}

impl Command {
    pub(crate) fn run(self, profile: Option<String>, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create { volume, name, description, wait } => {
                let body = NewSnapshot {
                    name: name.unwrap_or_default(),
                    description: description.unwrap_or_default(),
                    volume_id: volume,
                    profile_id: profile.unwrap_or_default(),
                    ..NewSnapshot::default()
                };
                let show = |snapshot: &SnapshotView<'static>| session.show(snapshot, CREATE);
                wait.make(session, PLACE, &body, show)
            }
            Self::Show { id } => {
                session.show(&client.get::<SnapshotView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Self::List(list) => {
                let query = list.query();
                session.list(&client.list::<SnapshotView<'_>>(PLACE, &query)?, LIST)
            }
            Self::Delete { id, wait } => wait.delete::<SnapshotView<'_>>(session, PLACE, &id),
            Self::Update { id, name, description } => {
                let update = SnapshotUpdate { name, description, ..SnapshotUpdate::default() };
                let path = path_of(PLACE, &id);
                session.show(&client.put::<SnapshotView<'_>>(&path, &update)?, UPDATE)
            }
        }
    }
}
