//! Manual pages, made from the grammar itself, so that they cannot speak of a flag that is not there.
//!
//! One page for each command, named as git names its own (`osdsctl-volume-create.1`): a packager
//! writes them all into a directory, everybody else reads the first one.

use std::path::Path;

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;

use crate::session::to_stdout;

/// Prints the page of `root`, or writes its page and those of all its commands into `directory`.
pub(crate) fn write(root: Command, directory: Option<&Path>) -> anyhow::Result<()> {
    if let Some(directory) = directory {
        return clap_mangen::generate_to(root, directory).with_context(|| {
            format!("the manual pages could not be written into {}", directory.display())
        });
    }
    let mut page = Vec::new();
    Man::new(root).render(&mut page).context("the manual page could not be made")?;
    to_stdout(&page)
}
