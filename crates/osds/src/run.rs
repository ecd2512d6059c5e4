//! `osds all`: from configuration to a clean end.
//!
//! The order is what makes a restart invisible: the ports are open before anything else can fail,
//! the docks let hosts in again while the API already answers, and at the end the API and the loop
//! stop first and the targets last, so that nothing is told a half-truth.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use osds_rest::{Limits, MetricsSettings, Requests, Settings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, auth, duration};
use crate::log;
use crate::wiring::{self, Parts};

/// How long steps that are under way may still take at the end. A crash at any point is a restart,
/// so nothing is lost with one that hangs.
const LAST_STEPS: Duration = Duration::from_secs(30);

/// Runs everything until a signal says to end.
pub(crate) fn run(config: &Config, default_iscsi: Option<SocketAddr>) -> Result<()> {
    log::start(&config.log)?;
    open_many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(config, default_iscsi));
    // Not waiting for system calls that hang; whatever ends by itself has ended by now.
    runtime.shutdown_background();
    outcome
}

/// Every connection and every exported volume is a file descriptor, and the usual soft limit of
/// 1024 is for programs that use `select`.
fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, soft = ?limit.current, "the limit of open files could not be raised");
    }
}

async fn serve(config: &Config, default_iscsi: Option<SocketAddr>) -> Result<()> {
    // Before "ready": whoever reads that may send one at once.
    let mut signals = Signals::listen()?;
    let listener = TcpListener::bind(config.api.listen).await.with_context(|| {
        format!("cannot listen on {}; choose another api.listen", config.api.listen)
    })?;
    let mut odd = Vec::new();
    let authority = config.auth.authority(&config.key_file(), &mut odd)?;
    let (certificate, key) = (config.api.tls_certificate.as_deref(), config.api.tls_key.as_deref());
    let tls = auth::tls(certificate, key, &mut odd)?;
    odd.iter().for_each(|warning| warn!("{warning}"));
    let scheme = if tls.is_some() { "https" } else { "http" };
    let metrics = match &config.metrics {
        None => None,
        Some(metrics) => Some(TcpListener::bind(metrics.listen).await.with_context(|| {
            format!("cannot listen on {}; choose another metrics.listen", metrics.listen)
        })?),
    };
    let parts = wiring::build(config, default_iscsi)?;
    let (api, portals) = (listener.local_addr()?, parts.portals());
    parts.controller.start().await.context("cannot start the controller")?;
    for dock in &parts.docks {
        let dock = Arc::clone(dock);
        tokio::spawn(async move { dock.restore().await });
    }
    let stop = CancellationToken::new();
    let limits = Limits {
        connections: config.api.max_connections,
        request: duration(config.api.request_timeout)?,
        ..Limits::default()
    };
    let settings = Settings::default();
    let requests = settings.requests.clone();
    let router = osds_rest::router(parts.controller.clone(), authority, settings);
    let until = stop.clone().cancelled_owned();
    let server = tokio::spawn(osds_rest::serve(listener, tls, router, limits, until));
    let portals: Vec<String> = portals.iter().map(ToString::to_string).collect();
    let scraped = scraped(config, &parts, metrics, requests, &stop)?;
    // An array and a target of this machine have no portal of ours: then there is none to name.
    let listens =
        if portals.is_empty() { String::new() } else { format!(" iscsi={}", portals.join(",")) };
    println!("ready api={scheme}://{api}{listens}{scraped}");
    info!(%api, iscsi = portals.join(","), data_dir = %config.data_dir.display(), "ready");
    let name = signals.next().await;
    info!(signal = name, "ending");
    stop.cancel();
    // Together: a request that waits for a wish waits no longer once the loop ends.
    let ending = async { tokio::join!(server, parts.controller.stop()) };
    match tokio::time::timeout(LAST_STEPS, ending).await {
        Ok((Ok(()), ())) => {}
        Ok((Err(error), ())) => warn!(%error, "the API did not end cleanly"),
        Err(_) => warn!("storage does not answer; ending without it, the next start goes on"),
    }
    end(&parts).await;
    info!("ended");
    Ok(())
}

/// Serves the metrics, if there are to be any; says where. Nobody waits for their end.
fn scraped(
    config: &Config,
    parts: &Parts,
    listener: Option<TcpListener>,
    requests: Requests,
    stop: &CancellationToken,
) -> Result<String> {
    let (Some(listener), Some(metrics)) = (listener, &config.metrics) else {
        return Ok(String::new());
    };
    let address = listener.local_addr()?;
    let settings = MetricsSettings {
        requests,
        max_attachments: metrics.max_attachments,
        ..MetricsSettings::default()
    };
    let router = osds_rest::metrics_router(parts.controller.clone(), settings);
    let limits = MetricsSettings::limits();
    let until = stop.clone().cancelled_owned();
    tokio::spawn(osds_rest::serve(listener, None, router, limits, until));
    Ok(format!(" metrics=http://{address}/metrics"))
}

/// Last of all: while a target serves, hosts do.
async fn end(parts: &Parts) {
    for target in &parts.targets {
        if let Err(error) = target.shutdown().await {
            warn!(error = %error.chain(), "a target did not end cleanly");
        }
    }
}

/// What ends the daemon.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
