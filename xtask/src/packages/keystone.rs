//! A real Keystone for the tests of the REST server, in a Python environment of its own.
//!
//! Pinned, so that a release of theirs does not turn our tests red; made once for each version and
//! kept in the target folder, because pip takes most of a minute.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::Outcome;
use crate::workspace;

/// The version that is installed.
const KEYSTONE: &str = "keystone==27.0.0";

/// Whether Python can make environments with pip in them.
pub fn can_be_made() -> bool {
    is_made() || runs(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

/// Makes the environment, if it is not there.
pub fn ensure() -> Outcome {
    if is_made() {
        return Outcome::Present;
    }
    let home = match home() {
        Ok(home) => home,
        Err(error) => return Outcome::Missing(error.to_string()),
    };
    println!("$ python3 -m venv {0} && {0}/bin/pip install {KEYSTONE}", home.display());
    let made = runs(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))
        && runs(Command::new(home.join("bin/pip")).args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            KEYSTONE,
        ]));
    if made && fs::write(mark(&home), KEYSTONE).is_ok() {
        Outcome::Present
    } else {
        Outcome::Missing(format!("{KEYSTONE} could not be installed into {}", home.display()))
    }
}

/// Written last, so that a half-made environment is made again.
fn mark(home: &Path) -> PathBuf {
    home.join("version")
}

fn is_made() -> bool {
    home().is_ok_and(|home| fs::read_to_string(mark(&home)).is_ok_and(|made| made == KEYSTONE))
}

fn home() -> Result<PathBuf> {
    Ok(workspace::root()?.join("target/keystone"))
}

fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}
