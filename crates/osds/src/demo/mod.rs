//! `osds demo`: the MultiAttach design, shown on real blocks over real iSCSI.
//!
//! Nothing is pretended: the daemon is this same program as a child process, the API is spoken
//! over HTTP, and the two hosts are iSCSI initiators. Each claim is checked; one that does not hold
//! makes the demo fail.

mod narrator;
mod script;
mod steps;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use osds_testkit::daemon::Daemon;

use narrator::Narrator;

/// How the demo is run.
#[derive(Args)]
pub(crate) struct Options {
    /// Keep the daemon's directory (records, volumes, log) for a look afterwards.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    let home = tempfile::Builder::new()
        .prefix("osds-demo-")
        .tempdir()
        .context("cannot make a temporary directory; set TMPDIR to a place with space")?;
    let mut home = home;
    home.disable_cleanup(options.keep);
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let daemon = Daemon::start(&program, home.path()).context("cannot start the daemon")?;

    let mut narrator = Narrator::new();
    let told = script::tell(&mut narrator, daemon, home.path());
    let kept: Option<PathBuf> = options.keep.then(|| home.path().to_owned());
    if let Some(path) = kept {
        narrator.note(&format!("the daemon's directory is kept: {}", path.display()));
    }
    told?;
    match narrator.finish() {
        0 => Ok(()),
        failed => bail!("{failed} claims do not hold"),
    }
}
