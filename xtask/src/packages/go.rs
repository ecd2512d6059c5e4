//! Programs from the Go module proxy for the tests: helm, which renders the chart, and
//! csi-sanity, the suite of the CSI community.
//!
//! Pinned and built once into the target folder, like those from PyPI. Without Go at hand one that is on the
//! path will do: what is tested is ours and not they.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::Outcome;
use crate::workspace;

/// One program: its folder below the target folder, its package and its version.
struct Program {
    name: &'static str,
    package: &'static str,
    version: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program { name: "helm", package: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0" },
    Program {
        name: "csi-sanity",
        package: "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
        version: "v5.5.0",
    },
];

/// Builds the programs that are not there.
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
        let home = match self.home() {
            Ok(home) => home,
            Err(error) => return Outcome::Missing(error.to_string()),
        };
        // Written last, so that a half-built program is built again.
        let mark = home.join("version");
        let is_built = fs::read_to_string(&mark).is_ok_and(|built| built == self.version);
        if is_built || super::on_path(self.name) {
            return Outcome::Present;
        }
        let what = format!("{}@{}", self.package, self.version);
        println!("$ GOBIN={} go install {what}", home.display());
        let built = Command::new("go")
            .args(["install", &what])
            .env("GOBIN", &home)
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if built && fs::write(mark, self.version).is_ok() {
            Outcome::Present
        } else {
            Outcome::Missing(format!("{what} could not be built: is there a Go to build it with?"))
        }
    }

    fn home(&self) -> Result<PathBuf> {
        Ok(workspace::root()?.join("target").join(self.name))
    }
}
