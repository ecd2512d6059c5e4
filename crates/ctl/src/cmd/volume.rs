//! `osdsctl volume`: create, look at, grow and delete volumes; attachments hang below it.
//!
//! The grammar and each command's columns are the original's (which differ from command to
//! command); `IoLimits`, `StatusReason`, `--multi-attach` and `--wait` are ours. Without `--wait` a command
//! ends when the server has accepted the wish, and the status it prints is the one of that moment.

use clap::{Args, Subcommand};
use osds_rest_api::client::Method;
use osds_rest_api::request::{MultiAttach, NewVolume, Resize, VolumeUpdate};
use osds_rest_api::{IoLimitsView, VolumeView};

use super::list::{Filter, Filtered, List, by, unused};
use super::{attachment, group, path_of, replication, snapshot};
use crate::session::Session;
use crate::wait::{Wait, check};

const PLACE: &str = "block/volumes";
const CREATE: &[&str] = &[
    "Id",
    "CreatedAt",
    "Name",
    "Description",
    "GroupId",
    "Size",
    "AvailabilityZone",
    "Status",
    "PoolId",
    "ProfileId",
    "Metadata",
    "MultiAttach",
    "SourceVolumeId",
    "IoLimits",
    "StatusReason",
];
const SHOW: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "Name",
    "Description",
    "GroupId",
    "Size",
    "AvailabilityZone",
    "Status",
    "PoolId",
    "ProfileId",
    "Metadata",
    "SnapshotId",
    "MultiAttach",
    "SourceVolumeId",
    "IoLimits",
    "StatusReason",
];
const EXTEND: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "Name",
    "Description",
    "GroupId",
    "Size",
    "AvailabilityZone",
    "Status",
    "PoolId",
    "ProfileId",
    "Metadata",
    "MultiAttach",
    "SourceVolumeId",
    "IoLimits",
    "StatusReason",
];
const UPDATE: &[&str] = &[
    "Id",
    "UpdatedAt",
    "Name",
    "Description",
    "GroupId",
    "Size",
    "AvailabilityZone",
    "Status",
    "PoolId",
    "ProfileId",
    "Metadata",
    "MultiAttach",
    "SourceVolumeId",
    "IoLimits",
    "StatusReason",
];
const LIMITS: &[&str] = &["Id", "Name", "Status", "IoLimits", "StatusReason"];
// The order is that of an empty list.
const LIST: &[&str] =
    &["Id", "Name", "Description", "Size", "Status", "ProfileId", "AvailabilityZone"];

/// `osdsctl volume ...`
#[derive(Debug, Args)]
pub(crate) struct Volume {
    /// The id of a profile configured by the admin.
    #[arg(short, long, global = true, help_heading = "Global options", value_name = "profile id")]
    profile: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a volume.
    #[command(after_help = "\
Examples:
  osdsctl volume create 1 --name vol-name
  osdsctl volume create 10 -n shared --profile <profile id> --wait
  osdsctl volume create 10 -n copy --source-volume <volume id>")]
    Create(Create),
    /// Show one volume.
    Show {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
    /// List all volumes.
    List(List<Filters>),
    /// Delete a volume that no host has.
    Delete {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
        /// Take it off the records though it could not be deleted where it is: its pool is lost for
        /// good. For administrators; its blocks, should they turn up again, are nobody's.
        #[arg(long, conflicts_with = "wait")]
        forget: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Change the name or the description of a volume.
    Update {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
        /// The new name.
        #[arg(short, long)]
        name: Option<String>,
        /// The new description.
        #[arg(short, long)]
        description: Option<String>,
    },
    /// Make a volume larger.
    Extend {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
        /// How large it shall be, in GiB.
        #[arg(value_name = "new size")]
        new_size: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Limit the I/O of a volume, whoever has it.
    #[command(subcommand)]
    Limits(Limits),
    /// Say whether several hosts may have a volume at once.
    MultiAttach {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
        /// Whether they may; off only while one host has it at most.
        #[arg(value_name = "on|off", value_parser = ["on", "off"])]
        multi_attach: String,
    },
    /// Manage attachments: which host has which volume.
    #[command(subcommand)]
    Attachment(attachment::Command),
    /// Manage snapshots: volumes as they were.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Manage groups: volumes that belong together.
    #[command(subcommand)]
    Group(group::Command),
    /// Manage replications: volumes that follow others.
    #[command(subcommand)]
    Replication(replication::Command),
}

#[derive(Debug, Subcommand)]
enum Limits {
    /// Set them, all of them: what is left out is not limited.
    #[command(after_help = "\
Examples:
  osdsctl volume limits set <id> --max-iops 500 --max-bws-per-host 20
  osdsctl volume limits set <id>     # no limits any more")]
    Set {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
        /// Commands a second, all hosts together.
        #[arg(long, value_name = "n", default_value_t = 0)]
        max_iops: u64,
        /// MB a second, all hosts together.
        #[arg(long, value_name = "n", default_value_t = 0)]
        max_bws: u64,
        /// Commands a second, each host by itself.
        #[arg(long, value_name = "n", default_value_t = 0)]
        max_iops_per_host: u64,
        /// MB a second, each host by itself.
        #[arg(long, value_name = "n", default_value_t = 0)]
        max_bws_per_host: u64,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show them.
    Show {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// How large it shall be, in GiB.
    #[arg(value_name = "size")]
    size: String,
    /// Its name.
    #[arg(short, long)]
    name: Option<String>,
    /// Words for people.
    #[arg(short, long)]
    description: Option<String>,
    /// Its availability zone.
    #[arg(short, long, value_name = "zone")]
    az: Option<String>,
    /// The snapshot to make it from.
    #[arg(short, long, value_name = "snapshot id")]
    snapshot: Option<String>,
    /// The volume to make it a copy of.
    #[arg(long, value_name = "volume id", conflicts_with = "snapshot")]
    source_volume: Option<String>,
    /// The pool to make it in; else one is chosen.
    #[arg(short = 'l', long, value_name = "pool id")]
    pool: Option<String>,
    /// The snapshot is in a cloud.
    #[arg(short = 'c', long = "snapshotFromCloud")]
    snapshot_from_cloud: bool,
    /// Let several hosts have it at once, though its profile does not say so.
    #[arg(long)]
    multi_attach: bool,
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
        by("availabilityZone", "AvailabilityZone", "Only those in this availability zone"),
        by("status", "Status", "Only those with this status, like available or inUse"),
        by("poolId", "PoolId", "Only those in this pool"),
        by("profileId", "ProfileId", "Only those with this profile"),
        by("groupId", "GroupId", "Only those in this group"),
        unused("tenantId"),
    ];
}

/// A size in GiB, in the original's words when it is none.
pub(crate) fn size_of(text: &str) -> anyhow::Result<i64> {
    text.parse().map_err(|_| anyhow::anyhow!("input size is not valid. It only support integer."))
}

impl Volume {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self.command {
            Command::Create(create) => create.run(self.profile, session),
            Command::Show { id } => {
                session.show(&client.get::<VolumeView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Command::List(list) => {
                let query = list.query();
                session.list(&client.list::<VolumeView<'_>>(PLACE, &query)?, LIST)
            }
            Command::Delete { id, forget: true, .. } => {
                let path = format!("{}?forget=true", path_of(PLACE, &id));
                client.request(Method::DELETE, &path).send()?;
                Ok(())
            }
            Command::Delete { id, wait, .. } => wait.delete::<VolumeView<'_>>(session, PLACE, &id),
            Command::Update { id, name, description } => {
                let update = VolumeUpdate { name, description, ..VolumeUpdate::default() };
                let path = path_of(PLACE, &id);
                session.show(&client.put::<VolumeView<'_>>(&path, &update)?, UPDATE)
            }
            Command::Extend { id, new_size, wait } => extend(&id, &new_size, wait, session),
            Command::Limits(command) => command.run(session),
            Command::MultiAttach { id, multi_attach } => {
                let body = MultiAttach { multi_attach: multi_attach == "on" };
                let path = format!("{}/multiAttach", path_of(PLACE, &id));
                session.show(&client.put::<VolumeView<'_>>(&path, &body)?, UPDATE)
            }
            Command::Attachment(command) => command.run(session),
            Command::Snapshot(command) => command.run(self.profile, session),
            Command::Group(command) => command.run(session),
            Command::Replication(command) => command.run(session),
        }
    }
}

impl Limits {
    fn run(self, session: &Session) -> anyhow::Result<()> {
        let (id, limits, wait) = match self {
            Self::Show { id } => {
                let volume = session.client.get::<VolumeView<'_>>(&path_of(PLACE, &id))?;
                return session.show(&volume, LIMITS);
            }
            Self::Set { id, max_iops, max_bws, max_iops_per_host, max_bws_per_host, wait } => {
                let limits =
                    IoLimitsView { max_iops, max_bws, max_iops_per_host, max_bws_per_host };
                (id, limits, wait)
            }
        };
        let waiting = wait.begin(session);
        let path = format!("{}/ioLimits", path_of(PLACE, &id));
        let volume: VolumeView<'_> = waiting.send(Method::PUT, &path, Some(&limits))?.read()?;
        session.show(&volume, LIMITS)?;
        // The status is about the volume; a reason, with any status, says that they are not in force.
        match (&*volume.status_reason, waiting.is_asked_for()) {
            ("", _) | (_, false) => Ok(()),
            (reason, true) => anyhow::bail!("volume {id} is not limited like this yet: {reason}"),
        }
    }
}

impl Create {
    fn run(self, profile: Option<String>, session: &Session) -> anyhow::Result<()> {
        let body = NewVolume {
            size: size_of(&self.size)?,
            name: self.name.unwrap_or_default(),
            description: self.description.unwrap_or_default(),
            availability_zone: self.az.unwrap_or_default(),
            profile_id: profile.unwrap_or_default(),
            pool_id: self.pool.unwrap_or_default(),
            multi_attach: self.multi_attach,
            snapshot_id: self.snapshot.unwrap_or_default(),
            source_volume_id: self.source_volume.unwrap_or_default(),
            snapshot_from_cloud: self.snapshot_from_cloud,
            ..NewVolume::default()
        };
        let show = |volume: &VolumeView<'static>| session.show(volume, CREATE);
        self.wait.make(session, PLACE, &body, show)
    }
}

fn extend(id: &str, new_size: &str, wait: Wait, session: &Session) -> anyhow::Result<()> {
    let body = Resize { new_size: size_of(new_size)? };
    let path = path_of(PLACE, id);
    let waiting = wait.begin(session);
    let resize = format!("{path}/resize");
    let first: VolumeView<'_> = waiting.send(Method::POST, &resize, Some(&body))?.read()?;
    let volume = waiting.until_settled(id, &path, first)?;
    session.show(&volume, EXTEND)?;
    if !waiting.is_asked_for() {
        return Ok(());
    }
    check(id, &volume)?;
    // A volume that could not grow goes back to what it was.
    if i64::try_from(volume.size) != Ok(body.new_size) {
        let reason = match &*volume.status_reason {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        anyhow::bail!("volume {id} still has {} GiB{reason}", volume.size);
    }
    Ok(())
}
