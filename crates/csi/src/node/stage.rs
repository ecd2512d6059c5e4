//! Staging: from an attachment to a device, and to a file system that is mounted once on this node.
//!
//! On record before anything is done, off it after everything is undone; so unstaging needs neither
//! the control plane nor the call that staged. A file system is made only where it can cost nothing:
//! this attachment writes, was promised to be alone, and the device is provably blank. A half-made
//! one is known by the journal, and may be made again as nobody has had the device since.

use std::path::Path;

use osds_connector::blank::{self, Content};
use osds_connector::filesystem::FileSystem;
use osds_connector::journal::{Entry, Journal, UsedAs};
use osds_connector::mounts::{self, Mount};
use osds_connector::{Access, Device, Machine, connector};
use osds_model::AttachMode;

use super::wanted::{Wanted, failed};
use crate::handle::Handle;
use crate::status::Status;

/// What it needs to do its work.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The machine.
    pub machine: Machine,
    /// What was done on it.
    pub journal: Journal,
}

/// Whether the mount is of this device.
pub fn is_of(mount: &Mount, device: &Device) -> bool {
    // btrfs mounts have numbers of their own, and name their device.
    mount.number == Some(device.number) || mount.source == device.path
}

impl Stage {
    /// Makes sure the volume is here, and mounted at `staging` if it is used so.
    pub fn stage(
        &self,
        handle: Handle,
        attachment: &str,
        access: &Access,
        staging: &Path,
        wanted: &Wanted,
    ) -> Result<(), Status> {
        let mut entry = self.begin(handle, attachment, access, staging, wanted)?;
        let device =
            connector(&self.machine, &access.connection).connect(access).map_err(failed)?;
        let (filesystem, options) = match entry.used_as.clone() {
            UsedAs::Block => return Ok(()),
            UsedAs::Mount { filesystem, options } => (filesystem, options),
        };
        if let Some(mount) = mounts::on(staging).map_err(failed)? {
            if is_of(&mount, &device) {
                return Ok(());
            }
            // Of an attachment that is over: what is written there goes nowhere.
            mounts::unmount(&self.machine, staging).map_err(failed)?;
        }
        let filesystem = self.format(&mut entry, &device, filesystem, wanted)?;
        // What is there, and not what was asked for, is what is grown later.
        entry.used_as = UsedAs::Mount { filesystem, options: options.clone() };
        self.journal.put(&entry).map_err(failed)?;
        let is_read_only = access.mode == AttachMode::ReadOnly;
        let mut all: Vec<String> =
            filesystem.options(is_read_only).iter().map(|one| (*one).to_owned()).collect();
        // A reader's "rw" would be taken for the last word.
        all.extend(options.into_iter().filter(|one| !(is_read_only && one == "rw")));
        std::fs::create_dir_all(staging).map_err(|error| {
            Status::internal(format!("making the directory {}: {error}", staging.display()))
        })?;
        mounts::mount(&self.machine, filesystem.as_str(), &all, &device.path, staging)
            .map_err(failed)?;
        if !is_read_only && wanted.is_alone() {
            // A clone or a restored snapshot may be larger than what it is of.
            if let Err(error) = filesystem.grow(&self.machine, &device, staging) {
                tracing::warn!(error = %error.chain(), "the file system was not grown");
            }
        }
        Ok(())
    }

    /// Puts on record what is about to be done; refuses what does not go with what was done.
    fn begin(
        &self,
        handle: Handle,
        attachment: &str,
        access: &Access,
        staging: &Path,
        wanted: &Wanted,
    ) -> Result<Entry, Status> {
        let alias = Handle { reads: !handle.reads, ..handle };
        if self.journal.get(&alias.to_string()).map_err(failed)?.is_some() {
            return Err(Status::already_exists(format!(
                "volume {} is on this node as {alias}; a node has a volume either read-only or \
                 read-write: unstage that first",
                handle.volume
            )));
        }
        let mut entry = Entry {
            handle: handle.to_string(),
            attachment: attachment.to_owned(),
            connection: access.connection.clone(),
            mode: access.mode,
            used_as: wanted.used_as.clone(),
            staging: staging.to_owned(),
            formatting: false,
            published: Vec::new(),
        };
        if let Some(before) = self.journal.get(&handle.to_string()).map_err(failed)? {
            let is_mounted = mounts::on(&before.staging).map_err(failed)?.is_some();
            let same = before.used_as == entry.used_as
                && before.staging == entry.staging
                && before.mode == entry.mode;
            if is_mounted && !same {
                return Err(Status::already_exists(format!(
                    "volume {handle} is staged at {} in another way; unstage that first",
                    before.staging.display()
                )));
            }
            if before.connection != entry.connection {
                connector(&self.machine, &before.connection)
                    .disconnect(&before.connection)
                    .map_err(failed)?;
            }
            if before.attachment == entry.attachment {
                entry.formatting = before.formatting;
            }
            entry.published = before.published;
            if let (UsedAs::Mount { filesystem, .. }, UsedAs::Mount { filesystem: other, .. }) =
                (&mut entry.used_as, &before.used_as)
                && !wanted.is_named
            {
                *filesystem = *other;
            }
        }
        self.journal.put(&entry).map_err(failed)?;
        Ok(entry)
    }

    /// The file system on the device; made if that can cost nothing.
    fn format(
        &self,
        entry: &mut Entry,
        device: &Device,
        asked: FileSystem,
        wanted: &Wanted,
    ) -> Result<FileSystem, Status> {
        let name = &device.path.display();
        let refused = |why: String| Err(Status::failed_precondition(why));
        let found = blank::content(&self.machine, device).map_err(failed)?;
        let may = entry.mode == AttachMode::ReadWrite && wanted.is_alone();
        let is_half_made = entry.formatting && may;
        match found {
            Content::FileSystem(kind) if !is_half_made => match FileSystem::parse(&kind) {
                Some(found) if found == asked || !wanted.is_named => return Ok(found),
                Some(_) | None => {
                    return refused(format!(
                        "{name} holds a file system of type {kind}, and {asked} is asked for; it is \
                         not formatted over: ask for {kind}, or use another volume"
                    ));
                }
            },
            Content::Other(what) if !is_half_made => {
                return refused(format!(
                    "{name} holds {what}, and no file system; it is not formatted over: use it as a \
                     block volume, or wipe it by hand if what is there is not needed"
                ));
            }
            Content::Blank if !may => {
                return refused(format!(
                    "{name} is blank, and this attachment may not format it: {}; use it once \
                     read-write on one node (ReadWriteOnce) first",
                    if entry.mode == AttachMode::ReadOnly {
                        "it only reads"
                    } else {
                        "it is shared"
                    }
                ));
            }
            Content::FileSystem(_) | Content::Other(_) | Content::Blank => {}
        }
        entry.formatting = true;
        self.journal.put(entry).map_err(failed)?;
        // Also a mkfs of an earlier life that still runs has it alone.
        drop(device.open_alone().map_err(failed)?);
        tracing::info!(device = %name, filesystem = %asked, "making a file system");
        asked.make(&self.machine, device).map_err(failed)?;
        entry.formatting = false;
        self.journal.put(entry).map_err(failed)?;
        Ok(asked)
    }

    /// Makes sure nothing of the volume is here.
    pub fn unstage(&self, handle: &str, staging: &Path) -> Result<(), Status> {
        let entry = self.journal.get(handle).map_err(failed)?;
        if let Some(entry) = &entry {
            for published in &entry.published {
                if mounts::on(&published.target).map_err(failed)?.is_some() {
                    return Err(Status::failed_precondition(format!(
                        "volume {handle} is still published at {}; unpublish that first",
                        published.target.display()
                    )));
                }
            }
            mounts::unmount(&self.machine, &entry.staging).map_err(failed)?;
        }
        mounts::unmount(&self.machine, staging).map_err(failed)?;
        let Some(entry) = entry else { return Ok(()) };
        connector(&self.machine, &entry.connection)
            .disconnect(&entry.connection)
            .map_err(failed)?;
        self.journal.remove(handle).map_err(failed)
    }
}
