//! Publishing: a staged volume at the paths of those who use it, and what a second publish means.
//!
//! A file system is bound; a device is its node, bound on a file. Reading only is the mount's for a
//! file system, and the device's for a device, where a read-only bind mount stops nobody: so a raw
//! device is read-only on a node exactly when its attachment is.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use osds_connector::journal::{Entry, Published, UsedAs};
use osds_connector::{connector, mounts};
use osds_model::AttachMode;

use super::stage::{Stage, is_of};
use super::wanted::{Wanted, failed};
use crate::proto::volume_capability::access_mode::Mode;
use crate::status::Status;

/// What a publish call means beside those before it (CSI's table for a second call).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// It is the first, or one more that goes with the others.
    Go,
    /// It was done before.
    Again,
    /// The same path, in another way.
    Otherwise,
    /// Another path, and this mode has one.
    OnlyOne,
}

/// Decides that.
#[must_use]
pub fn second(present: &[Published], asked: &Published, mode: Mode) -> Second {
    if let Some(same) = present.iter().find(|one| one.target == asked.target) {
        return if same == asked { Second::Again } else { Second::Otherwise };
    }
    match mode {
        Mode::SingleNodeSingleWriter | Mode::SingleNodeWriter | Mode::SingleNodeReaderOnly
            if !present.is_empty() =>
        {
            Second::OnlyOne
        }
        Mode::Unknown
        | Mode::SingleNodeWriter
        | Mode::SingleNodeReaderOnly
        | Mode::SingleNodeSingleWriter
        | Mode::SingleNodeMultiWriter
        | Mode::MultiNodeReaderOnly
        | Mode::MultiNodeSingleWriter
        | Mode::MultiNodeMultiWriter => Second::Go,
    }
}

impl Stage {
    /// Makes sure the staged volume is at `target`.
    pub fn publish(
        &self,
        handle: &str,
        staging: &Path,
        target: &Path,
        read_only: bool,
        wanted: &Wanted,
    ) -> Result<(), Status> {
        let mut entry = self.staged(handle, staging, wanted)?;
        let read_only = read_only || entry.mode == AttachMode::ReadOnly || wanted.only_reads();
        if read_only && entry.mode == AttachMode::ReadWrite && entry.used_as == UsedAs::Block {
            return Err(Status::failed_precondition(format!(
                "volume {handle} is attached read-write, and a raw device cannot be shown read-only \
                 beside that; use a PersistentVolume whose attachment only reads (readOnly: true, \
                 ReadOnlyMany, or the handle {}#ro)",
                handle.trim_end_matches("#ro")
            )));
        }
        let options = match &wanted.used_as {
            UsedAs::Block => Vec::new(),
            UsedAs::Mount { options, .. } => options.clone(),
        };
        let access_mode = wanted.mode.as_str_name().to_owned();
        let asked = Published { target: target.to_owned(), read_only, access_mode, options };
        // What a restart of the machine took away does not count.
        let mut present = Vec::new();
        for one in &entry.published {
            if mounts::on(&one.target).map_err(failed)?.is_some() {
                present.push(one.clone());
            }
        }
        entry.published = present;
        match second(&entry.published, &asked, wanted.mode) {
            Second::Again => return Ok(()),
            Second::Go => {}
            Second::Otherwise => {
                return Err(Status::already_exists(format!(
                    "volume {handle} is published at {} in another way; unpublish that first",
                    target.display()
                )));
            }
            Second::OnlyOne => {
                return Err(Status::failed_precondition(format!(
                    "volume {handle} is published at {} and {} has one place on a node; unpublish \
                     that first, or use SINGLE_NODE_MULTI_WRITER",
                    entry.published[0].target.display(),
                    asked.access_mode
                )));
            }
        }
        entry.published.push(asked);
        self.journal.put(&entry).map_err(failed)?;
        match entry.used_as {
            UsedAs::Block => self.show_device(&entry, target),
            UsedAs::Mount { .. } => self.show_tree(&entry, target, read_only),
        }
    }

    /// The record of a volume that is staged there, in that way, right now.
    fn staged(&self, handle: &str, staging: &Path, wanted: &Wanted) -> Result<Entry, Status> {
        let not_staged = || {
            Status::failed_precondition(format!(
                "volume {handle} is not staged at {}; stage it first",
                staging.display()
            ))
        };
        let entry = self.journal.get(handle).map_err(failed)?.ok_or_else(not_staged)?;
        if entry.staging != staging {
            return Err(not_staged());
        }
        let is_block = |used: &UsedAs| matches!(used, UsedAs::Block);
        if is_block(&entry.used_as) != is_block(&wanted.used_as) {
            let how = if is_block(&entry.used_as) { "block device" } else { "file system" };
            return Err(Status::failed_precondition(format!(
                "volume {handle} is staged as a {how}; unstage it and stage it as is asked now"
            )));
        }
        if !is_block(&entry.used_as) && mounts::on(staging).map_err(failed)?.is_none() {
            return Err(not_staged());
        }
        Ok(entry)
    }

    fn show_tree(&self, entry: &Entry, target: &Path, read_only: bool) -> Result<(), Status> {
        if mounts::on(target).map_err(failed)?.is_some() {
            // Of a call that was cut off before it was on record, or somebody else's: never on top.
            mounts::unmount(&self.machine, target).map_err(failed)?;
        }
        fs::create_dir_all(target).map_err(|error| cannot_make(target, &error))?;
        let options = if read_only { vec!["ro".to_owned()] } else { Vec::new() };
        mounts::bind(&self.machine, &entry.staging, target, &options).map_err(failed)
    }

    fn show_device(&self, entry: &Entry, target: &Path) -> Result<(), Status> {
        let found = connector(&self.machine, &entry.connection).find(&entry.connection);
        let gone = || {
            Status::failed_precondition(format!(
                "the device of volume {} is gone from this node: it was detached; publish it from \
                 the control plane and stage it again",
                entry.handle
            ))
        };
        let device = found.map_err(failed)?.ok_or_else(gone)?;
        let is_read_only = device.is_read_only(&self.machine).map_err(failed)?;
        if entry.mode == AttachMode::ReadOnly && !is_read_only {
            device.hold_to_reading(&self.machine).map_err(failed)?;
        }
        if mounts::on(target).map_err(failed)?.is_some() {
            mounts::unmount(&self.machine, target).map_err(failed)?;
        }
        let parent = target.parent().map_or_else(PathBuf::new, Path::to_owned);
        fs::create_dir_all(&parent).map_err(|error| cannot_make(&parent, &error))?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(target)
            .map_err(|error| cannot_make(target, &error))?;
        mounts::bind(&self.machine, &device.path, target, &[]).map_err(failed)
    }

    /// Makes sure nothing of the volume is at `target`, nor `target` itself.
    pub fn unpublish(&self, handle: &str, target: &Path) -> Result<(), Status> {
        mounts::unmount(&self.machine, target).map_err(failed)?;
        mounts::remove_target(target).map_err(failed)?;
        let Some(mut entry) = self.journal.get(handle).map_err(failed)? else { return Ok(()) };
        let before = entry.published.len();
        entry.published.retain(|one| one.target != target);
        if entry.published.len() == before {
            return Ok(());
        }
        self.journal.put(&entry).map_err(failed)
    }

    /// The record of the volume that is at `path`.
    pub fn at(&self, handle: &str, path: &Path) -> Result<Entry, Status> {
        let none = || {
            Status::not_found(format!("volume {handle} is not at {} on this node", path.display()))
        };
        let entry = self.journal.get(handle).map_err(failed)?.ok_or_else(none)?;
        let is_ours = entry.staging == path || entry.published.iter().any(|p| p.target == path);
        let mounted = mounts::on(path).map_err(failed)?;
        let is_there = match &entry.used_as {
            UsedAs::Block => entry.staging == path || mounted.is_some(),
            UsedAs::Mount { .. } => mounted.is_some(),
        };
        if is_ours && is_there { Ok(entry) } else { Err(none()) }
    }

    /// What is wrong with a volume that is here, for people; `None` when nothing is.
    pub fn complaint(&self, entry: &Entry, path: &Path) -> Result<Option<String>, Status> {
        let found = connector(&self.machine, &entry.connection).find(&entry.connection);
        let Some(device) = found.map_err(failed)? else {
            return Ok(Some("the device is gone: this node was put out of the volume".to_owned()));
        };
        if let (UsedAs::Mount { .. }, Some(mount)) =
            (&entry.used_as, mounts::on(path).map_err(failed)?)
            && !is_of(&mount, &device)
        {
            return Ok(Some("what is mounted is of an earlier attachment".to_owned()));
        }
        let is_read_only = device.is_read_only(&self.machine).map_err(failed)?;
        Ok(match (entry.mode, is_read_only) {
            (AttachMode::ReadOnly, false) => {
                Some("the device takes writes and must not".to_owned())
            }
            (AttachMode::ReadWrite, true) => {
                Some("the device takes no writes: this node was put out of the volume".to_owned())
            }
            (AttachMode::ReadOnly, true) | (AttachMode::ReadWrite, false) => None,
        })
    }
}

fn cannot_make(path: &Path, error: &std::io::Error) -> Status {
    Status::internal(format!("making {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(target: &str, read_only: bool) -> Published {
        Published { target: target.into(), read_only, access_mode: String::new(), options: vec![] }
    }

    /// The rows of CSI's table: same path same way, same path otherwise, other path.
    #[test]
    fn the_second_publish() {
        let present = [at("/a", false)];
        for (mode, other_path) in [
            (Mode::SingleNodeSingleWriter, Second::OnlyOne),
            (Mode::SingleNodeWriter, Second::OnlyOne),
            (Mode::SingleNodeReaderOnly, Second::OnlyOne),
            (Mode::SingleNodeMultiWriter, Second::Go),
            (Mode::MultiNodeReaderOnly, Second::Go),
            (Mode::MultiNodeSingleWriter, Second::Go),
            (Mode::MultiNodeMultiWriter, Second::Go),
        ] {
            assert_eq!(second(&[], &at("/a", false), mode), Second::Go);
            assert_eq!(second(&present, &at("/a", false), mode), Second::Again);
            assert_eq!(second(&present, &at("/a", true), mode), Second::Otherwise);
            assert_eq!(second(&present, &at("/b", false), mode), other_path, "{mode:?}");
            assert_eq!(second(&present, &at("/b", true), mode), other_path, "{mode:?}");
        }
    }
}
