//! The workspace as read once: the root, what cargo knows, and the tree of files.
//!
//! Every check works on these values, so `ci` reads them one time only. Dependencies are resolved
//! for the machine we run on: what is never built here (Windows, say) is not ours to judge.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::source::{self, SourceFile};

/// Everything the checks look at.
pub struct Workspace {
    /// Root of the repository.
    pub root: PathBuf,
    /// What cargo knows.
    pub metadata: Metadata,
    /// The tree.
    pub files: Vec<SourceFile>,
}

impl Workspace {
    /// Reads the workspace this program belongs to.
    pub fn read() -> Result<Self> {
        let root = root()?;
        let host = host_triple()?;
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(["--filter-platform".to_owned(), host])
            .exec()
            .context("could not ask cargo about the workspace")?;
        let files = source::read_tree(&root)?;
        Ok(Self { root, metadata, files })
    }
}

/// The root of the repository: the folder above this crate.
pub fn root() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest.parent().context("xtask has no folder above it")?;
    root.canonicalize().with_context(|| format!("could not find {}", root.display()))
}

/// The cargo that runs us, so that nested calls use the same toolchain, without what it told us of our
/// own package: build scripts look at it (ring's does), and half of everything would be built anew
/// whenever a call of ours and one by hand take turns.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(ours) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The machine we run on, as the compiler names it.
pub fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("could not run rustc -vV")?;
    let words = String::from_utf8(output.stdout).context("rustc -vV does not speak UTF-8")?;
    let host = words.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
