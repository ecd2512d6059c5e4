//! The workshop: `cargo xtask <command>`, everything the project checks by program.
//!
//! One command, `ci`, runs it all in the order in which mistakes are cheapest to find; the others
//! are its steps one by one. Checks are pure functions over what [`workspace`] has read, so each of
//! their rules is tested on a sabotaged fixture beside it.

mod ci;
mod conformance;
mod deny;
mod finding;
mod fuzz;
mod lab;
mod layers;
mod packages;
mod picture;
mod soak;
mod source;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check and every test, as the gate does.
    Ci(ci::Options),
    /// Check who imports whom.
    Layers,
    /// Check the rules of the house that no compiler knows.
    Tidy,
    /// Check licences, banned crates and sources of what we build on.
    Deny,
    /// Install the Debian packages that some tests need, or say how.
    Packages,
    /// Measure the control plane or the data path beside their baselines; a few minutes.
    Bench {
        /// What to measure.
        #[arg(value_enum, default_value_t = Bench::ControlPlane)]
        which: Bench,
        /// A smaller run, for a first look.
        #[arg(long)]
        quick: bool,
    },
    /// Look for inputs that break the iSCSI target.
    Fuzz(fuzz::Options),
    /// Run a test that is about chance for many rounds.
    Soak {
        /// Which.
        #[arg(value_enum)]
        which: soak::Soak,
        /// How many rounds; without it 1000, or 100,000 increments.
        #[arg(long)]
        rounds: Option<u32>,
    },
    /// Run libiscsi's suite against our target and tgt, and write the page that compares them.
    Conformance,
    /// Play on real kernels: a storage host and two clients under QEMU.
    Lab {
        #[command(subcommand)]
        what: lab::Lab,
    },
    /// Run the demo and draw what it printed, for the README.
    Picture,
}

/// What can be measured.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Bench {
    /// The daemon's requests.
    ControlPlane,
    /// The built-in iSCSI target, beside tgt where that is installed.
    DataPath,
    /// The CSI driver: from publish to a device. Takes root.
    Publish,
    /// One after the other.
    All,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Ci(options) => return ci::run(options),
        Command::Layers => layers::run(&Workspace::read()?)?,
        Command::Tidy => tidy::check(&Workspace::read()?).settle("tidy")?,
        Command::Deny => {
            deny::check(&deny::packages(&Workspace::read()?.metadata)).settle("deny")?;
        }
        Command::Packages => packages::run()?,
        Command::Bench { which, quick } => return bench(*which, *quick),
        Command::Fuzz(options) => return fuzz::run(options),
        Command::Soak { which, rounds } => return soak::run(*which, *rounds),
        Command::Conformance => conformance::run()?,
        Command::Lab { what } => return lab::run(what),
        Command::Picture => picture::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn bench(which: Bench, quick: bool) -> Result<ExitCode> {
    const CONTROL_PLANE: (&str, &str) = ("osds", "control_plane");
    const DATA_PATH: (&str, &str) = ("osds-testkit", "data_path");
    const PUBLISH: (&str, &str) = ("osds", "publish");
    let benches: &[_] = match which {
        Bench::ControlPlane => &[CONTROL_PLANE],
        Bench::DataPath => &[DATA_PATH],
        Bench::Publish => &[PUBLISH],
        Bench::All => &[CONTROL_PLANE, DATA_PATH, PUBLISH],
    };
    for (package, name) in benches {
        let mut command = workspace::cargo();
        command.args(["bench", "--package", package, "--bench", name, "--"]);
        if !command.args(quick.then_some("--quick")).status()?.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
