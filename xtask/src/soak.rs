//! Long runs of tests that are about chance: `cargo xtask soak <which> [--rounds N]`.
//!
//! Each is an ordinary test that takes its number of rounds from the environment and does few of
//! them in `ci`; here it does many, alone, and says how it gets on.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace;

/// What can be run for long.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Soak {
    /// A stopped host is put out and resumed: no write of it lands.
    Freeze,
    /// kill -9 of the store in the middle of its commits.
    Crash,
    /// Two hosts count together by COMPARE AND WRITE: no increment is lost.
    Caw,
    /// A host is preempted in the middle of its writes: none lands after the answer.
    Fence,
}

impl Soak {
    /// How many rounds, if nobody says.
    fn rounds(self) -> u32 {
        match self {
            Self::Freeze | Self::Crash | Self::Fence => 1000,
            Self::Caw => 100_000,
        }
    }

    /// The variable with the rounds, and the test.
    fn test(self) -> (&'static str, [&'static str; 5]) {
        match self {
            Self::Freeze => (
                "OSDS_FREEZE_ROUNDS",
                ["--package", "osds", "--test", "daemon", "no_write_of_a_stopped_host"],
            ),
            Self::Crash => {
                ("OSDS_CRASH_ROUNDS", ["--package", "osds-store", "--test", "crash", ""])
            }
            Self::Caw => {
                ("OSDS_CAW_ROUNDS", ["--package", "osds-iscsi", "--test", "target", "no_increment"])
            }
            Self::Fence => (
                "OSDS_FENCE_ROUNDS",
                ["--package", "osds-iscsi", "--test", "target", "complete_before_the_answer"],
            ),
        }
    }
}

/// Runs it.
pub fn run(which: Soak, rounds: Option<u32>) -> Result<ExitCode> {
    let (variable, test) = which.test();
    let rounds = rounds.unwrap_or_else(|| which.rounds()).max(1);
    let status = workspace::cargo()
        .current_dir(workspace::root()?)
        .arg("test")
        .args(test)
        .args(["--", "--nocapture"])
        .env(variable, rounds.to_string())
        .status()
        .context("could not run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
