//! Programs from PyPI for the tests, each in a Python environment of its own: a real Keystone;
//! schemathesis, which holds the server to its OpenAPI document; kubernetes-validate, which has the
//! schemas of Kubernetes' objects.
//!
//! Pinned, so that a release of theirs does not turn our tests red; made once for each version and
//! kept in the target folder, because pip takes most of a minute.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::Outcome;
use crate::workspace;

/// One program and where it goes below the target folder.
struct Program {
    folder: &'static str,
    package: &'static str,
}

const PROGRAMS: [Program; 3] = [
    Program { folder: "keystone", package: "keystone==27.0.0" },
    Program { folder: "schemathesis", package: "schemathesis==4.32.5" },
    Program { folder: "kubernetes-validate", package: "kubernetes-validate==1.37.0" },
];

/// Whether Python can make environments with pip in them.
pub fn can_be_made() -> bool {
    PROGRAMS.iter().all(Program::is_made)
        || runs(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

/// Makes the environments that are not there.
pub fn ensure() -> Outcome {
    let missing = |program: &Program| match program.ensure() {
        Outcome::Present => None,
        Outcome::Missing(why) => Some(why),
    };
    let missing: Vec<String> = PROGRAMS.iter().filter_map(missing).collect();
    if missing.is_empty() { Outcome::Present } else { Outcome::Missing(missing.join("; ")) }
}

impl Program {
    fn ensure(&self) -> Outcome {
        if self.is_made() {
            return Outcome::Present;
        }
        let home = match self.home() {
            Ok(home) => home,
            Err(error) => return Outcome::Missing(error.to_string()),
        };
        println!("$ python3 -m venv {0} && {0}/bin/pip install {1}", home.display(), self.package);
        let made = runs(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))
            && runs(Command::new(home.join("bin/pip")).args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                self.package,
            ]));
        if made && fs::write(mark(&home), self.package).is_ok() {
            Outcome::Present
        } else {
            Outcome::Missing(format!(
                "{} could not be installed into {}",
                self.package,
                home.display()
            ))
        }
    }

    fn is_made(&self) -> bool {
        let made = self.home().and_then(|home| Ok(fs::read_to_string(mark(&home))?));
        made.is_ok_and(|made| made == self.package)
    }

    fn home(&self) -> Result<PathBuf> {
        Ok(workspace::root()?.join("target").join(self.folder))
    }
}

/// Written last, so that a half-made environment is made again.
fn mark(home: &Path) -> PathBuf {
    home.join("version")
}

fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}
