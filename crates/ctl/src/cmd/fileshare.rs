//! `osdsctl fileshare`: file shares, their snapshots and who may reach them.
//!
//! osds serves blocks, and its server says so. The grammar and the columns are the original's, so
//! that the commands work with a server that has them.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::list::{Filter, Filtered, List, by};
use super::path_of;
use crate::cli::Misuse;
use crate::foreign::Field::{List as Several, Nested, Number, Text};
use crate::foreign::{Field, Foreign, Noun};
use crate::session::Session;

const SHARES: &str = "file/shares";
const SNAPSHOTS: &str = "file/snapshots";
const ACLS: &str = "file/acls";
const SHARE_LIST: &[&str] =
    &["Id", "Name", "Description", "Size", "Status", "ProfileId", "Protocols", "ExportLocations"];
const SNAPSHOT_LIST: &[&str] =
    &["Id", "Name", "Description", "Status", "FileShareId", "ProfileId", "SnapshotSize"];
const ACL_LIST: &[&str] =
    &["Id", "FileShareId", "Type", "AccessCapability", "AccessTo", "Description"];
/// What a new thing does not show.
const NEW: &str = "UpdatedAt";
/// What a changed one does not.
const CHANGED: &str = "CreatedAt";

struct Share;

impl Noun for Share {
    const FIELDS: &'static [(&'static str, Field)] = &[
        ("Id", Text),
        ("CreatedAt", Text),
        ("UpdatedAt", Text),
        ("TenantId", Text),
        ("UserId", Text),
        ("Name", Text),
        ("Protocols", Several),
        ("Description", Text),
        ("Size", Number),
        ("AvailabilityZone", Text),
        ("Status", Text),
        ("PoolId", Text),
        ("ProfileId", Text),
        ("SnapshotId", Text),
        ("ExportLocations", Several),
        ("Metadata", Nested),
    ];
}

struct Snapshot;

impl Noun for Snapshot {
    const FIELDS: &'static [(&'static str, Field)] = &[
        ("Id", Text),
        ("CreatedAt", Text),
        ("UpdatedAt", Text),
        ("TenantId", Text),
        ("UserId", Text),
        ("FileShareId", Text),
        ("Name", Text),
        ("Description", Text),
        ("ShareSize", Number),
        ("SnapshotSize", Number),
        ("Status", Text),
        ("ProfileId", Text),
        ("Metadata", Nested),
    ];
}

struct Acl;

impl Noun for Acl {
    const FIELDS: &'static [(&'static str, Field)] = &[
        ("Id", Text),
        ("CreatedAt", Text),
        ("UpdatedAt", Text),
        ("TenantId", Text),
        ("FileShareId", Text),
        ("Type", Text),
        ("AccessCapability", Several),
        ("AccessTo", Text),
        ("Description", Text),
        ("Metadata", Nested),
    ];
}

/// The names of all fields but one.
fn all_but<N: Noun>(one: &str) -> Vec<&'static str> {
    N::FIELDS.iter().map(|(name, _)| *name).filter(|name| *name != one).collect()
}

/// `osdsctl fileshare ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a file share.
    Create {
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
        #[arg(short, long = "availabilityZone", value_name = "zone")]
        availability_zone: Option<String>,
        /// Its profile.
        #[arg(short, long = "profileId", value_name = "profile id")]
        profile_id: Option<String>,
    },
    /// Delete a file share.
    Delete {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
    /// Show one file share.
    Show {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
    /// List all file shares.
    List(List<ShareFilters>),
    /// Change the name or the description of a file share.
    Update(Update),
    /// Manage snapshots of file shares.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Manage who may reach a file share.
    #[command(subcommand)]
    Acl(AclCommand),
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
}

#[derive(Debug)]
pub(crate) struct ShareFilters;

impl Filtered for ShareFilters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only those with this name"),
        by("description", "Description", "Only those with this description"),
        by("tenantId", "TenantId", "Only those of this tenant"),
        by("userId", "UserId", "Only those of this user"),
        by("availabilityZone", "AvailabilityZone", "Only those in this availability zone"),
        by("status", "Status", "Only those with this status"),
        by("poolId", "PoolId", "Only those in this pool"),
        by("profileId", "ProfileId", "Only those with this profile"),
        by("createdAt", "CreatedAt", "Only those made then"),
        by("updatedAt", "UpdatedAt", "Only those last changed then"),
        by("size", "Size", "Only those of this size"),
    ];
}

/// `osdsctl fileshare snapshot ...`
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Take a snapshot of a file share.
    Create {
        /// The file share.
        #[arg(value_name = "fileshare id")]
        share: String,
        /// The snapshot's name.
        #[arg(short, long)]
        name: Option<String>,
        /// Words for people.
        #[arg(short, long)]
        description: Option<String>,
        /// Its profile.
        #[arg(short = 'P', long = "profileId", value_name = "profile id")]
        profile_id: Option<String>,
    },
    /// Delete a snapshot.
    Delete {
        /// Its id.
        #[arg(value_name = "fileshare snapshot id")]
        id: String,
    },
    /// Show one snapshot.
    Show {
        /// Its id.
        #[arg(value_name = "fileshare snapshot id")]
        id: String,
    },
    /// List all snapshots of file shares.
    List(List<SnapshotFilters>),
    /// Change the name or the description of a snapshot.
    Update(Update),
}

#[derive(Debug)]
pub(crate) struct SnapshotFilters;

impl Filtered for SnapshotFilters {
    const FILTERS: &'static [Filter] = &[
        by("id", "Id", "Only the one with this id"),
        by("name", "Name", "Only those with this name"),
        by("description", "Description", "Only those with this description"),
        by("userId", "UserId", "Only those of this user"),
        by("status", "Status", "Only those with this status"),
        by("createdAt", "CreatedAt", "Only those made then"),
        by("updatedAt", "UpdatedAt", "Only those last changed then"),
        by("snapshotSize", "SnapshotSize", "Only those of this size"),
        by("tenantId", "TenantId", "Only those of this tenant"),
        by("fileshareId", "FileShareId", "Only those of this file share"),
        by("profileId", "ProfileId", "Only those with this profile"),
    ];
}

/// `osdsctl fileshare acl ...`
#[derive(Debug, Subcommand)]
pub(crate) enum AclCommand {
    /// Let somebody reach a file share.
    #[command(after_help = "\
Example: osdsctl fileshare acl create <fileshare id> -t ip -c '[\"Read\",\"Write\"]' -a 10.0.0.5")]
    Create {
        /// The file share.
        #[arg(value_name = "fileshare id")]
        share: String,
        /// What names who may: ip.
        #[arg(short = 't', long = "type", value_name = "type")]
        kind: Option<String>,
        /// What they may, as a JSON list: Read, Write, Execute.
        #[arg(short, long, value_name = "json")]
        capability: Option<String>,
        /// Who may: an address or a network.
        #[arg(short, long = "accessTo", value_name = "address")]
        access_to: Option<String>,
        /// Words for people.
        #[arg(short, long)]
        description: Option<String>,
    },
    /// Delete one.
    Delete {
        /// Its id.
        #[arg(value_name = "fileshare acl id")]
        id: String,
    },
    /// Show one.
    Show {
        /// Its id.
        #[arg(value_name = "fileshare acl id")]
        id: String,
    },
    /// List all of them.
    List,
}

/// What is sent; what is `None` is left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    fileshare_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access_capability: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_to: Option<String>,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create { size, name, description, availability_zone, profile_id } => {
                let size = Some(super::volume::size_of(&size)?);
                let body = Body {
                    size,
                    name,
                    description,
                    availability_zone,
                    profile_id,
                    ..Body::default()
                };
                let share = client.post::<Foreign<Share>>(SHARES, &body)?;
                session.show(&share, &all_but::<Share>(NEW))
            }
            Self::Delete { id } => Ok(client.delete(&path_of(SHARES, &id))?),
            Self::Show { id } => {
                let share = client.get::<Foreign<Share>>(&path_of(SHARES, &id))?;
                session.show(&share, &all_but::<Share>(""))
            }
            Self::List(list) => {
                let query = list.query();
                session.list(&client.list::<Foreign<Share>>(SHARES, &query)?, SHARE_LIST)
            }
            Self::Update(update) => update.run::<Share>(SHARES, session),
            Self::Snapshot(command) => command.run(session),
            Self::Acl(command) => command.run(session),
        }
    }
}

impl Update {
    fn run<N: Noun>(self, place: &str, session: &Session) -> anyhow::Result<()> {
        let body = Body { name: self.name, description: self.description, ..Body::default() };
        let path = path_of(place, &self.id);
        session.show(&session.client.put::<Foreign<N>>(&path, &body)?, &all_but::<N>(CHANGED))
    }
}

impl SnapshotCommand {
    fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create { share, name, description, profile_id } => {
                let fileshare_id = Some(share);
                let body = Body { fileshare_id, name, description, profile_id, ..Body::default() };
                let snapshot = client.post::<Foreign<Snapshot>>(SNAPSHOTS, &body)?;
                session.show(&snapshot, &all_but::<Snapshot>(NEW))
            }
            Self::Delete { id } => Ok(client.delete(&path_of(SNAPSHOTS, &id))?),
            Self::Show { id } => {
                let snapshot = client.get::<Foreign<Snapshot>>(&path_of(SNAPSHOTS, &id))?;
                session.show(&snapshot, &all_but::<Snapshot>(""))
            }
            Self::List(list) => {
                let query = list.query();
                session.list(&client.list::<Foreign<Snapshot>>(SNAPSHOTS, &query)?, SNAPSHOT_LIST)
            }
            Self::Update(update) => update.run::<Snapshot>(SNAPSHOTS, session),
        }
    }
}

impl AclCommand {
    fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create { share, kind, capability, access_to, description } => {
                let access_capability = match capability.as_deref() {
                    None | Some("") => Vec::new(),
                    Some(text) => serde_json::from_str(text).map_err(|error| {
                        Misuse(format!("error parsing accessCapability {text}: {error}"))
                    })?,
                };
                let body = Body {
                    fileshare_id: Some(share),
                    kind,
                    access_capability,
                    access_to,
                    description,
                    ..Body::default()
                };
                let acl = client.post::<Foreign<Acl>>(ACLS, &body)?;
                session.show(&acl, &all_but::<Acl>(NEW))
            }
            Self::Delete { id } => Ok(client.delete(&path_of(ACLS, &id))?),
            Self::Show { id } => {
                let acl = client.get::<Foreign<Acl>>(&path_of(ACLS, &id))?;
                session.show(&acl, &all_but::<Acl>(""))
            }
            Self::List => session.list(&client.list::<Foreign<Acl>>(ACLS, &[])?, ACL_LIST),
        }
    }
}
