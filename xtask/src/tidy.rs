//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! Each rule is a function from the files to findings: [`rust`] holds those about one Rust file,
//! [`docs`] those about the tree (text hygiene, decisions, examples), [`links`] that pages lead
//! where they say. A rule that cannot be kept somewhere is not switched off: the place says why, in
//! the words the rule asks for.

pub mod docs;
pub mod links;
pub mod rust;

use crate::finding::Verdict;
use crate::source::SourceFile;
use crate::workspace::Workspace;

/// Runs every rule over the tree.
pub fn check(workspace: &Workspace) -> Verdict {
    let Workspace { root, files, .. } = workspace;
    let mut verdict = Verdict::default();
    for file in files.iter().filter(|file| is_ours(file)) {
        rust::check(file, &mut verdict);
    }
    for file in files {
        docs::hygiene(file, &mut verdict.findings);
    }
    docs::decisions(files, &mut verdict.findings);
    docs::examples(files, &mut verdict.findings);
    links::links(files, |path| root.join(path).exists(), &mut verdict.findings);
    verdict
}

fn is_ours(file: &SourceFile) -> bool {
    file.is_rust() && file.crate_folder().is_some()
}
