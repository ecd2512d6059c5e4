//! `osdsctl volume attachment`: which host has which volume, and how.
//!
//! The grammar and the columns are the original's; the mode, the promise (`--sharing`), `--force`
//! and `--wait` are ours. An absent mode is not sent at all, so that the server's default decides.
//! Passwords of the connection are `***` unless `--show-secrets` asks for them, however it is
//! printed: what is on a screen or in a pipe's log is soon elsewhere. With `--wait`, an attachment that settles in an error is a failure of the command, with its
//! reason.

use clap::{Subcommand, ValueEnum};
use osds_rest_api::client::Method;
use osds_rest_api::request::{AttachmentUpdate, NewAttachment};
use osds_rest_api::{AttachMode, AttachmentStatsView, AttachmentView, Sharing, json};

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::cli::Misuse;
use crate::session::Session;
use crate::wait::Wait;

const PLACE: &str = "block/attachments";
const LIST: &[&str] = &["Id", "HostId", "VolumeId", "Status", "AccessProtocol"];
const CREATE: &[&str] = &[
    "Id",
    "CreatedAt",
    "HostId",
    "VolumeId",
    "Status",
    "Mountpoint",
    "AttachMode",
    "ConnectionInfo",
    "Sharing",
    "StatusReason",
];
const SHOW: &[&str] = &[
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
    "ConnectionInfo",
    "Sharing",
    "StatusReason",
];
const STATS: &[&str] = &[
    "HostId",
    "Mode",
    "Sessions",
    "Reads",
    "ReadBytes",
    "ReadP50/P99",
    "Writes",
    "WrittenBytes",
    "WriteP50/P99",
    "Refused",
    "Conflicts",
    "Errors",
];
const UPDATE: &[&str] = &[
    "Id",
    "UpdatedAt",
    "HostId",
    "VolumeId",
    "Status",
    "Mountpoint",
    "AttachMode",
    "ConnectionInfo",
    "Sharing",
    "StatusReason",
];

/// `osdsctl volume attachment ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Attach a volume to a host.
    #[command(after_help = "\
Examples:
  osdsctl volume attachment create <volume id> <host a> --wait
  osdsctl volume attachment create <volume id> <host b> --attach-mode ro

Several hosts can have a volume at once when its multiAttach is true. The target enforces the mode:
writes of a host that has the volume read-only are refused, whatever the host does.")]
    Create {
        /// The volume.
        #[arg(value_name = "volume id")]
        volume: String,
        /// The host.
        #[arg(value_name = "host id")]
        host: String,
        /// Whether the host may write; it may when nothing is said.
        #[arg(long, value_enum, value_name = "mode")]
        attach_mode: Option<ModeArg>,
        /// What to promise about other hosts.
        #[arg(long, value_enum, value_name = "promise")]
        sharing: Option<SharingArg>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show one attachment.
    Show {
        /// Its id.
        #[arg(value_name = "attachment id")]
        id: String,
    },
    /// List all attachments.
    List(List<Filters>),
    /// Show what hosts did with their volumes.
    #[command(after_help = "\
Examples:
  osdsctl volume attachment stats <attachment id>
  osdsctl volume attachment stats --volume <volume id>

Totals since the host was let in or the target was started, whichever is later. Refused are writes
of a host that may only read; conflicts are commands that another host's reservation forbade. All
there is to know: -o json.")]
    Stats {
        /// Its id.
        #[arg(value_name = "attachment id", required_unless_present = "volume")]
        id: Option<String>,
        /// Of every host that has this volume.
        #[arg(long, value_name = "volume id", conflicts_with = "id")]
        volume: Option<String>,
    },
    /// Detach a volume from a host.
    Delete {
        /// Its id.
        #[arg(value_name = "attachment id")]
        id: String,
        /// Forget the attachment though its end cannot be confirmed. The host may still reach the
        /// volume: be sure that it is off.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Note where the host put a volume.
    #[command(
        after_help = "Example: osdsctl volume attachment update <attachment id> '{\"mountpoint\":\"/dev/sdb\"}'"
    )]
    Update {
        /// Its id.
        #[arg(value_name = "attachment id")]
        id: String,
        /// What to note, as JSON.
        #[arg(value_name = "attachment info")]
        info: String,
    },
}

/// `--attach-mode`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeArg {
    /// Reads only.
    Ro,
    /// Reads and writes.
    Rw,
}

impl From<ModeArg> for AttachMode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Ro => Self::ReadOnly,
            ModeArg::Rw => Self::ReadWrite,
        }
    }
}

/// `--sharing`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SharingArg {
    /// Nothing: others may read and write.
    Shared,
    /// While this host writes, no other does.
    #[value(name = "soleWriter", alias = "sole-writer")]
    SoleWriter,
    /// No other host has the volume at all.
    Exclusive,
}

impl From<SharingArg> for Sharing {
    fn from(sharing: SharingArg) -> Self {
        match sharing {
            SharingArg::Shared => Self::Shared,
            SharingArg::SoleWriter => Self::SoleWriter,
            SharingArg::Exclusive => Self::Exclusive,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Filters;

impl Filtered for Filters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("userId", "UserId", "Only those of this user"),
        by("volumeId", "VolumeId", "Only those of this volume"),
        by("status", "Status", "Only those with this status"),
        by("mountpoint", "Mountpoint", "Only those put there by their host"),
        by("hostId", "HostId", "Only those of this host"),
    ];
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create { volume, host, attach_mode, sharing, wait } => {
                let body = NewAttachment {
                    volume_id: volume,
                    host_id: host,
                    attach_mode: attach_mode.map(Into::into),
                    sharing: sharing.map(Into::into),
                    ..NewAttachment::default()
                };
                let show = |attachment: &AttachmentView<'static>| {
                    session.show(&session.discreet(attachment.clone()), CREATE)
                };
                wait.make(session, PLACE, &body, show)
            }
            Self::Show { id } => {
                let attachment = client.get(&path_of(PLACE, &id))?;
                session.show(&session.discreet(attachment), SHOW)
            }
            Self::List(list) => {
                let query = list.query();
                let list: Vec<AttachmentView<'_>> = client.list(PLACE, &query)?;
                let list: Vec<_> = list.into_iter().map(|one| session.discreet(one)).collect();
                session.list(&list, LIST)
            }
            Self::Stats { id, volume } => {
                let ids = match (id, &volume) {
                    (Some(id), _) => vec![id],
                    (None, None) => vec![],
                    (None, Some(volume)) => {
                        let query = [("VolumeId", volume.as_str())];
                        let held = client.list::<AttachmentView<'_>>(PLACE, &query)?;
                        held.iter().map(|attachment| attachment.id.to_string()).collect()
                    }
                };
                let mut stats: Vec<AttachmentStatsView<'_>> = Vec::with_capacity(ids.len());
                for id in ids {
                    match client.get(&format!("{}/stats", path_of(PLACE, &id))) {
                        Ok(one) => stats.push(one),
                        // It went while we asked for the others.
                        Err(error) if volume.is_some() && error.is_not_found() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                session.list(&stats, STATS)
            }
            Self::Delete { id, force, wait } => {
                let waiting = wait.begin(session);
                let path = path_of(PLACE, &id);
                let delete = if force { format!("{path}?force=true") } else { path.clone() };
                waiting.send(Method::DELETE, &delete, None::<&()>)?;
                waiting.until_gone::<AttachmentView<'_>>(&id, &path)
            }
            Self::Update { id, info } => {
                let update: AttachmentUpdate =
                    json::read(info.as_bytes()).map_err(|e| Misuse(e.to_string()))?;
                let path = path_of(PLACE, &id);
                session.show(&session.discreet(client.put(&path, &update)?), UPDATE)
            }
        }
    }
}
