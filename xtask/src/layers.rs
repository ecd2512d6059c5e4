//! `cargo xtask layers`: who may import whom.
//!
//! The tower of ARCHITECTURE.md stands only as long as nobody builds a side door, and a side door
//! always looks harmless on its own. So the whole table is data ([`table`]), each line with its
//! reason, and two readers hold the tree against it: [`crates`] looks at the dependencies cargo
//! knows, [`words`] at the paths the source names.

pub mod crates;
pub mod table;
pub mod words;

use anyhow::Result;

use crate::finding::Verdict;
use crate::workspace::Workspace;

/// Runs both readers over the workspace.
pub fn run(workspace: &Workspace) -> Result<()> {
    let packages = crates::packages(&workspace.metadata, &workspace.root);
    let mut findings = crates::check(&packages);
    findings.extend(words::check(&workspace.files));
    Verdict { findings, notes: Vec::new() }.settle("layers")
}
