//! `osdsctl host`.
//!
//! Unlike the original, an update sends only what was asked for: there, changing a host's address
//! resets its zones, its kind and its mode as well, and the last initiator cannot be removed.

use anyhow::Context;
use clap::{Args, Subcommand};
use osds_rest_api::client::Method;
use osds_rest_api::request::{Given, HostUpdate, NewFence, NewHost};
use osds_rest_api::{HostView, Initiator, Protocol};

use super::path_of;
use crate::session::Session;

const PLACE: &str = "host/hosts";
// The order is that of an empty list.
const LIST: &[&str] = &["Id", "HostName", "OsType", "IP", "AccessMode", "AvailabilityZones"];
const SHOW: &[&str] = &[
    "Id",
    "CreatedAt",
    "UpdatedAt",
    "HostName",
    "OsType",
    "AccessMode",
    "IP",
    "Port",
    "Username",
    "AvailabilityZones",
    "Initiators",
    "Fenced",
    "FenceReason",
];

/// `osdsctl host ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a host.
    #[command(after_help = "\
Example:
  osdsctl host create node1 --ip 10.0.0.1
  osdsctl host initiator add <host id> iqn.1993-08.org.debian:01:a iscsi")]
    Create(Create),
    /// Show one host.
    Show {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
    /// List all hosts.
    List {
        /// Only the one with this name.
        #[arg(long = "hostName")]
        host_name: Option<String>,
    },
    /// Forget a host that has no volumes.
    Delete {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
    /// Change a host.
    Update(Update),
    /// Manage the names that a host logs in with.
    #[command(subcommand)]
    Initiator(InitiatorCommand),
    /// Keep a host out of every volume, now and until it is unfenced.
    #[command(after_help = "\
Its sessions are dropped and what it still sends is refused, so that its volumes can safely be
given to others. What it had is detached.

Example: osdsctl host fence <id> --reason 'does not answer since 10:42'")]
    Fence {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
        /// Why, for those who will ask.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a fenced host have volumes again.
    Unfence {
        /// Its id.
        #[arg(value_name = "id")]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name, like a DNS name.
    #[arg(value_name = "name")]
    name: String,
    /// How it is managed: agentless or agent.
    #[arg(long = "accessMode", default_value = "agentless", value_name = "mode")]
    access_mode: String,
    /// What it runs: linux, windows or esxi.
    #[arg(long = "osType", default_value = "linux", value_name = "system")]
    os_type: String,
    /// Its IPv4 address.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "address")]
    ip: String,
    /// Where it can reach volumes.
    #[arg(
        long = "availabilityZones",
        value_delimiter = ',',
        default_value = "default",
        value_name = "zone,..."
    )]
    availability_zones: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Its id.
    #[arg(value_name = "id")]
    id: String,
    /// Its new name.
    #[arg(long = "hostName", value_name = "name")]
    host_name: Option<String>,
    /// How it is managed: agentless or agent.
    #[arg(long = "accessMode", value_name = "mode")]
    access_mode: Option<String>,
    /// What it runs: linux, windows or esxi.
    #[arg(long = "osType", value_name = "system")]
    os_type: Option<String>,
    /// Its IPv4 address.
    #[arg(long, value_name = "address")]
    ip: Option<String>,
    /// Where it can reach volumes.
    #[arg(long = "availabilityZones", value_delimiter = ',', value_name = "zone,...")]
    availability_zones: Option<Vec<String>>,
}

/// `osdsctl host initiator ...`
#[derive(Debug, Subcommand)]
pub(crate) enum InitiatorCommand {
    /// Add one, or change its protocol.
    Add {
        /// The host.
        #[arg(value_name = "host id")]
        host: String,
        /// The name it logs in with: an IQN, a WWPN, a host NQN.
        #[arg(value_name = "port name")]
        port_name: String,
        /// What it speaks: iscsi, fibre_channel, nvmeof or local.
        #[arg(value_name = "port protocol")]
        protocol: String,
    },
    /// Remove one.
    Remove {
        /// The host.
        #[arg(value_name = "host id")]
        host: String,
        /// The name it logs in with.
        #[arg(value_name = "port name")]
        port_name: String,
    },
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self {
            Self::Create(host) => {
                let body = NewHost {
                    host_name: host.name,
                    os_type: host.os_type,
                    access_mode: host.access_mode,
                    ip: host.ip,
                    availability_zones: Some(host.availability_zones),
                    ..NewHost::default()
                };
                session.show(&client.post::<HostView<'_>>(PLACE, &body)?, SHOW)
            }
            Self::Show { id } => {
                session.show(&client.get::<HostView<'_>>(&path_of(PLACE, &id))?, SHOW)
            }
            Self::List { host_name } => {
                let name = host_name.unwrap_or_default();
                let hosts: Vec<HostView<'_>> = client.list(PLACE, &[("hostName", &name)])?;
                session.list(&hosts, LIST)
            }
            Self::Delete { id } => Ok(client.delete(&path_of(PLACE, &id))?),
            Self::Update(update) => {
                let body = HostUpdate {
                    host_name: update.host_name,
                    os_type: update.os_type,
                    access_mode: update.access_mode,
                    ip: update.ip,
                    availability_zones: update
                        .availability_zones
                        .map_or(Given::Absent, Given::Value),
                    ..HostUpdate::default()
                };
                let path = path_of(PLACE, &update.id);
                session.show(&client.put::<HostView<'_>>(&path, &body)?, SHOW)
            }
            Self::Initiator(command) => command.run(session),
            Self::Fence { id, reason } => {
                let body = NewFence { reason: reason.unwrap_or_default() };
                act(session, &format!("{}/fence", path_of(PLACE, &id)), &body)
            }
            Self::Unfence { id } => {
                let path = format!("{}/unfence", path_of(PLACE, &id));
                act(session, &path, &NewFence::default())
            }
        }
    }
}

/// Does something to a host and shows what became of it, when the server says so.
fn act(session: &Session, path: &str, body: &NewFence) -> anyhow::Result<()> {
    let answer = session.client.request(Method::POST, path).body(body).send()?;
    if answer.is_empty() {
        return Ok(());
    }
    session.show(&answer.read::<HostView<'_>>()?, SHOW)
}

impl InitiatorCommand {
    fn run(self, session: &Session) -> anyhow::Result<()> {
        let (host, port_name, added) = match self {
            Self::Add { host, port_name, protocol } => {
                let protocol = Protocol::parse(&protocol).with_context(|| {
                    format!("{protocol} is no protocol: use iscsi, fibre_channel, nvmeof or local")
                })?;
                (host, port_name.clone(), Some(Initiator { port_name, protocol }))
            }
            Self::Remove { host, port_name } => (host, port_name, None),
        };
        let path = path_of(PLACE, &host);
        let now: HostView<'_> = session.client.get(&path)?;
        let mut initiators = now.initiators.into_owned();
        initiators.retain(|initiator| initiator.port_name != port_name);
        initiators.extend(added);
        let body = HostUpdate { initiators: Given::Value(initiators), ..HostUpdate::default() };
        session.show(&session.client.put::<HostView<'_>>(&path, &body)?, SHOW)
    }
}
