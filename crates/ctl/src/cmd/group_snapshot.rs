//! `osdsctl volume group snapshot`: several volumes as they were at one moment.
//!
//! All of it is ours. A group snapshot is made of ordinary snapshots, which `volume snapshot list`
//! shows as well; here they are taken and deleted together. The volumes need not be in a volume
//! group: who names one asks for all that are in it now.

use clap::{ArgGroup, Args, Subcommand};
use osds_rest_api::GroupSnapshotView;
use osds_rest_api::request::NewGroupSnapshot;

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::session::Session;
use crate::wait::Wait;

const PLACE: &str = "block/groupSnapshots";
const LIST: &[&str] = &["Id", "Name", "Description", "Size", "Status", "Volumes"];
const SHOW: &[&str] =
    &["Id", "CreatedAt", "Name", "Description", "Size", "Status", "Snapshots", "StatusReason"];

/// `osdsctl volume group snapshot ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take snapshots of several volumes at one moment, whoever has them.
    #[command(after_help = "\
Examples:
  A data base with its data on one volume and its log on another:
    osdsctl volume group snapshot create <data volume> <log volume> -n nightly --wait
  All volumes that are in a volume group now:
    osdsctl volume group snapshot create --group <group id> -n nightly --wait
  Back to that moment, on new volumes:
    osdsctl volume create 10 -n data-again --snapshot <snapshot id>
    osdsctl volume create 10 -n log-again --snapshot <snapshot id>

The writes of all the volumes are held until every snapshot is taken, as a rule for milliseconds.
So a write is in its snapshot only if every write that was answered before it was sent is there,
on whichever volume: the data never has what the log has not. Snapshots that are taken one after
the other have no such order.

All volumes have to be of one backend. Their snapshots are deleted together: `volume group snapshot
delete`.")]
    Create(Create),
    /// Show one group snapshot and its snapshots.
    Show {
        /// Its id.
        #[arg(value_name = "group snapshot id")]
        id: String,
    },
    /// List all group snapshots.
    List(List<Filters>),
    /// Delete a group snapshot with all its snapshots, if no volume is still made from one of them.
    Delete {
        /// Its id.
        #[arg(value_name = "group snapshot id")]
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("of").required(true).args(["volumes", "group"])))]
pub(crate) struct Create {
    /// The volumes.
    #[arg(value_name = "volume id")]
    volumes: Vec<String>,
    /// Instead: all volumes of this volume group.
    #[arg(long, value_name = "group id")]
    group: Option<String>,
    /// The name of the group snapshot, and of each snapshot.
    #[arg(short, long)]
    name: Option<String>,
    /// Words for people.
    #[arg(short, long)]
    description: Option<String>,
    #[command(flatten)]
    wait: Wait,
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
    ];
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create(new) => {
                let body = NewGroupSnapshot {
                    name: new.name.unwrap_or_default(),
                    description: new.description.unwrap_or_default(),
                    volume_ids: new.volumes,
                    group_id: new.group.unwrap_or_default(),
                    ..NewGroupSnapshot::default()
                };
                let show = |taken: &GroupSnapshotView<'static>| session.show(taken, SHOW);
                new.wait.make(session, PLACE, &body, show)
            }
            Self::Show { id } => {
                session.show(&client.get::<GroupSnapshotView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Self::List(list) => {
                let query = list.query();
                session.list(&client.list::<GroupSnapshotView<'_>>(PLACE, &query)?, LIST)
            }
            Self::Delete { id, wait } => wait.delete::<GroupSnapshotView<'_>>(session, PLACE, &id),
        }
    }
}
