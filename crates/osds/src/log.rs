//! What the daemon says, on standard error. `RUST_LOG` overrides the configuration.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::{Log, LogFormat};

/// Starts logging; once in a process.
pub(crate) fn start(log: &Log) -> Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) => EnvFilter::try_new(filter).context("RUST_LOG is not a log filter")?,
        Err(_) => configured(log)?,
    };
    let output = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(SystemTime)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => output.init(),
        LogFormat::Json => output.json().init(),
    }
    Ok(())
}

/// The filter of the configuration.
pub(crate) fn configured(log: &Log) -> Result<EnvFilter> {
    EnvFilter::try_new(&log.level).with_context(|| {
        format!("log.level '{}' is not a log filter; write for example info", log.level)
    })
}
