//! `osds csi`: the CSI driver as a process, beside the sidecars on a unix socket.
//!
//! `controller` runs once or a few times, `node` on every machine that uses volumes, `all` is both
//! for one machine and for tests. How to reach the control plane and as whom is said as osdsctl is
//! told, by the environment; only the address has a flag.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use osds_csi::controller::{self, ControllerService};
use osds_csi::identity::IdentityService;
use osds_csi::node::{self, NodeService};
use osds_csi::server::{self, Socket};
use osds_csi::{Api, DRIVER_NAME, Metrics, Services, metrics};
use osds_ctl::environment::{self, variable};
use osds_rest_api::ADMIN_TENANT;
use osds_rest_api::client::{DEFAULT_ENDPOINT, Settings};
use tracing::info;

use crate::config::Log;
use crate::log;
use crate::run::Signals;

/// Which services.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make, publish, take back and remove volumes: beside the provisioner, attacher and resizer.
    Controller(Control),
    /// Bring volumes to paths of this machine: beside the registrar, on every node.
    Node(Machine),
    /// Both in one process.
    All {
        #[command(flatten)]
        machine: Machine,
        #[command(flatten)]
        choices: Choices,
    },
}

/// What a controller is told.
#[derive(Args)]
pub(crate) struct Control {
    #[command(flatten)]
    driver: Driver,
    #[command(flatten)]
    choices: Choices,
}

/// What a controller may choose.
#[derive(Args)]
pub(crate) struct Choices {
    /// Make a volume multi-attach when its claim is for many nodes, though its profile does not
    /// say so.
    #[arg(long)]
    auto_multiattach: bool,
}

/// What every driver is told.
#[derive(Args)]
pub(crate) struct Driver {
    /// The socket to listen on.
    #[arg(long, value_name = "unix:///PATH", env = "CSI_ENDPOINT")]
    #[arg(default_value = "unix:///csi/csi.sock")]
    endpoint: String,
    /// Where the REST API of osds is; who to be is said by osdsctl's variables
    /// (OPENSDS_AUTH_STRATEGY, OPENSDS_TENANT_ID, OS_...).
    #[arg(long, value_name = "URL", env = "OPENSDS_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    osds_endpoint: String,
    /// What the driver calls itself; the same on every node.
    #[arg(long, value_name = "NAME", default_value = DRIVER_NAME)]
    driver_name: String,
    /// Where Prometheus finds this driver's figures, under /metrics; nowhere when absent.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<std::net::SocketAddr>,
}

/// What a driver on a node is told besides.
#[derive(Args)]
pub(crate) struct Machine {
    #[command(flatten)]
    driver: Driver,
    /// The name of this machine's host record; the machine's name when absent.
    #[arg(long, value_name = "NAME", env = "NODE_ID")]
    node_id: Option<String>,
    /// Where the node service remembers what it has staged.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/osds/csi")]
    node_state_dir: PathBuf,
}

impl Driver {
    /// The control plane, as flags and environment say.
    fn api(&self) -> Result<Api> {
        let user_agent = concat!("osds-csi/", env!("CARGO_PKG_VERSION"));
        Ok(Api::new(settings(&self.osds_endpoint, user_agent)?))
    }

    fn check(&self) -> Result<()> {
        let name = &self.driver_name;
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inside = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        ensure!(
            inside && edge(name.chars().next()) && edge(name.chars().last()) && name.len() <= 63,
            "--driver-name {name} cannot be used: letters, digits, dashes and dots, 63 at most"
        );
        Ok(())
    }
}

impl Machine {
    fn node(&self, api: Api) -> NodeService {
        let node_id = self
            .node_id
            .clone()
            .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let settings = node::Settings {
            node_id,
            driver_name: self.driver.driver_name.clone(),
            state_dir: self.node_state_dir.clone(),
        };
        NodeService::new(api, settings)
    }
}

/// How to reach the control plane there, and who to be: as osdsctl's variables say.
pub(crate) fn settings(endpoint: &str, user_agent: &str) -> Result<Settings> {
    let strategy = variable("OPENSDS_AUTH_STRATEGY");
    let login = match strategy.as_deref() {
        Some("keystone") => Some(environment::login()?),
        // As osdsctl has it: any other word means that nobody has to prove anything.
        Some(_) | None => None,
    };
    Ok(Settings {
        endpoint: endpoint.to_owned(),
        tenant: variable("OPENSDS_TENANT_ID").unwrap_or_else(|| ADMIN_TENANT.to_owned()),
        login,
        ca_file: environment::ca_file(),
        timeout: osds_csi::api::PATIENCE,
        user_agent: user_agent.to_owned(),
    })
}

/// Runs the driver until a signal says to end.
pub(crate) fn run(command: &Command) -> Result<()> {
    log::start(&Log::default())?;
    let (driver, machine, choices) = match command {
        Command::Controller(control) => (&control.driver, None, Some(&control.choices)),
        Command::Node(machine) => (&machine.driver, Some(machine), None),
        Command::All { machine, choices } => (&machine.driver, Some(machine), Some(choices)),
    };
    driver.check()?;
    let path = server::path_of(&driver.endpoint)?;
    let api = driver.api()?;
    let figures = Metrics::default();
    let hosts = choices.map(|_| api.clone());
    let services = Services {
        identity: IdentityService::new(&driver.driver_name, choices.map(|_| api.clone())),
        controller: choices.map(|choices| {
            let settings = controller::Settings {
                driver_name: driver.driver_name.clone(),
                auto_multi_attach: choices.auto_multiattach,
            };
            ControllerService::new(api.clone(), settings, figures.clone())
        }),
        node: machine.map(|machine| machine.node(api)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let socket = Socket::listen(&path).await?;
        let mut scraped = String::new();
        if let Some(address) = driver.metrics_listen {
            let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address}; choose another --metrics-listen")
            })?;
            scraped = format!(" metrics=http://{}/metrics", listener.local_addr()?);
            tokio::spawn(metrics::serve(listener, figures, hosts));
        }
        println!("ready csi={}{scraped}", path.display());
        info!(driver = driver.driver_name, socket = %path.display(), "ready");
        let until = async move {
            let signal = signals.next().await;
            info!(signal, "ending");
        };
        server::serve(socket, services, until).await?;
        Ok(())
    });
    runtime.shutdown_background();
    outcome
}
