//! `osds attach` and `osds detach`: a volume as a block device of this machine, without an
//! orchestrator.
//!
//! The same parts as the CSI node's: the host record, the connector, the journal. The journal is
//! written before anything is done, so a detach also clears away what an attach did not finish; the
//! device goes before the attachment does, so that nothing is written into the void.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use osds_connector::journal::{Entry, Journal, UsedAs};
use osds_connector::{Access, ConnectError, Machine, connector, mounts};
use osds_csi::node::host;
use osds_model::{AttachMode, VolumeId};
use osds_rest_api::client::{Client, DEFAULT_ENDPOINT, Method};
use serde_json::{Value, json};

use crate::csi;

/// How long the control plane may take.
const PATIENCE: Duration = Duration::from_secs(60);

const ATTACHMENTS: &str = "block/attachments";

/// What both need to know.
#[derive(Args)]
struct Common {
    /// The volume's id.
    volume: VolumeId,
    /// Where the REST API of osds is; who to be is said by osdsctl's variables.
    #[arg(long, value_name = "URL", env = "OPENSDS_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    osds_endpoint: String,
    /// The name of this machine's host record; the machine's name when absent.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Where what was attached is remembered.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/osds/client")]
    state_dir: PathBuf,
}

/// `osds attach`
#[derive(Args)]
pub(crate) struct Attach {
    #[command(flatten)]
    common: Common,
    /// Read-only; the target refuses every write.
    #[arg(long)]
    read_only: bool,
}

/// `osds detach`
#[derive(Args)]
pub(crate) struct Detach {
    #[command(flatten)]
    common: Common,
}

impl Common {
    fn client(&self) -> Result<Client> {
        let user_agent = concat!("osds/", env!("CARGO_PKG_VERSION"));
        Ok(Client::new(csi::settings(&self.osds_endpoint, user_agent)?)?)
    }

    fn journal(&self) -> Result<Journal> {
        if !rustix::process::geteuid().is_root() {
            bail!("only root may make and remove devices; try again with sudo");
        }
        Journal::open(&self.state_dir.join("volumes")).map_err(said)
    }

    /// The record of this machine.
    fn host(&self, client: &Client) -> Result<String> {
        let name = self
            .host
            .clone()
            .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let ours = host::initiators(&Machine::default(), &name).map_err(said)?;
        Ok(host::register(client, &name, &ours)?.id.to_string())
    }
}

impl Attach {
    /// Attaches and prints the device.
    pub(crate) fn run(&self) -> Result<()> {
        let Self { common, read_only } = self;
        let (journal, client) = (common.journal()?, common.client()?);
        let host = common.host(&client)?;
        let mode = if *read_only { AttachMode::ReadOnly } else { AttachMode::ReadWrite };
        let asked = json!({
            "volumeId": common.volume, "hostId": host, "attachMode": mode.as_str(),
        });
        let request = client.request(Method::POST, ATTACHMENTS).body(&asked).wait(PATIENCE);
        let attachment: Value = request.send()?.read()?;
        let text = |key: &str| attachment[key].as_str().unwrap_or_default().to_owned();
        if text("status") != "available" {
            bail!(
                "the attachment {} is {} {}; it is not used: ask again, or `osds detach` it",
                text("id"),
                text("status"),
                text("statusReason")
            );
        }
        let access =
            Access::from_info(common.volume, &attachment["connectionInfo"]).map_err(said)?;
        let entry = Entry {
            handle: common.volume.to_string(),
            attachment: text("id"),
            connection: access.connection.clone(),
            mode: access.mode,
            used_as: UsedAs::Block,
            staging: PathBuf::new(),
            formatting: false,
            published: Vec::new(),
        };
        journal.put(&entry).map_err(said)?;
        let machine = Machine::default();
        let device = connector(&machine, &access.connection).connect(&access).map_err(said)?;
        println!("{}", device.path.display());
        Ok(())
    }
}

impl Detach {
    /// Takes the device away, then the attachment.
    pub(crate) fn run(&self) -> Result<()> {
        let common = &self.common;
        let (journal, machine) = (common.journal()?, Machine::default());
        let handle = common.volume.to_string();
        let entry = journal.get(&handle).map_err(said)?.with_context(|| {
            format!(
                "volume {handle} was not attached by `osds attach` on this machine (nothing is in \
                 {}); to detach it for another: osdsctl volume attachment delete",
                common.state_dir.display()
            )
        })?;
        let connector = connector(&machine, &entry.connection);
        if let Some(device) = connector.find(&entry.connection).map_err(said)?
            && let Some(mount) = mounted(&device.path)?
        {
            bail!("{} is mounted on {}; unmount it first", device.path.display(), mount.display());
        }
        connector.disconnect(&entry.connection).map_err(said)?;
        let path = format!("{ATTACHMENTS}/{}", entry.attachment);
        let client = common.client()?;
        match client.request(Method::DELETE, &path).wait(PATIENCE).send() {
            Ok(answer) if answer.is_empty() => {}
            Ok(answer) => {
                let left: Value = answer.read()?;
                bail!("the attachment is {} {}; ask again", left["status"], left["statusReason"]);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        journal.remove(&handle).map_err(said)
    }
}

/// Where the device is mounted.
fn mounted(device: &Path) -> Result<Option<PathBuf>> {
    let all = mounts::all().map_err(said)?;
    Ok(all.into_iter().find(|mount| mount.source == device).map(|mount| mount.target))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn said(error: ConnectError) -> anyhow::Error {
    anyhow!(error.chain())
}
