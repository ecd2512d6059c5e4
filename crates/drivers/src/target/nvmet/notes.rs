//! What was granted to whom, beside configfs, which knows neither a grant nor a size.
//!
//! One small file for each subsystem, written before it is made and removed after it is gone. It
//! also says which of the kernel's host objects were made by us, so that somebody else's stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Mutex;

use osds_model::{Capacity, Grant, HostId, VolumeId};
use serde::{Deserialize, Serialize};

use super::{Exported, lock};
use crate::{BlocksId, DriverError};

/// What one host was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// How it was let in.
    pub(super) grant: Grant<()>,
    /// What the kernel was told to open.
    pub(super) path: PathBuf,
    blocks: (u64, u64),
    /// How large hosts see it.
    pub(super) size: Capacity,
    /// Hosts that were not in configfs before us.
    pub(super) made: Vec<String>,
}

impl Note {
    pub(super) fn new(grant: Grant<()>, exported: &Exported, made: Vec<String>) -> Self {
        let BlocksId { device, file } = exported.blocks;
        let (path, size) = (exported.path.clone(), exported.size);
        Self { grant, path, blocks: (device, file), size, made }
    }

    pub(super) const fn blocks(&self) -> BlocksId {
        BlocksId { device: self.blocks.0, file: self.blocks.1 }
    }

    pub(super) fn of_size(self, size: Capacity) -> Self {
        Self { size, ..self }
    }
}

/// All of them.
pub(super) struct Notes {
    directory: PathBuf,
    all: Mutex<BTreeMap<(VolumeId, HostId), Note>>,
}

impl Notes {
    /// Those of an earlier life, or none.
    pub(super) fn open(directory: PathBuf) -> Result<Self, DriverError> {
        let doing = || format!("reading what was granted from {}", directory.display());
        let failed = |error: io::Error| DriverError::from_io(doing(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ids = name.strip_suffix(".json").and_then(|name| name.split_once('.'));
            let ids = ids.map(|(volume, host)| (volume.parse(), host.parse()));
            let Some((Ok(volume), Ok(host))) = ids else { continue };
            let text = fs::read(&path).map_err(failed)?;
            // One that cannot be read is as none: the host is put out and let in anew.
            if let Ok(note) = serde_json::from_slice(&text) {
                all.insert((volume, host), note);
            }
        }
        Ok(Self { directory, all: Mutex::new(all) })
    }

    /// Removes the others; whether there were any.
    pub(super) fn keep_only(
        &self,
        is_there: impl Fn(VolumeId, HostId) -> bool,
    ) -> Result<bool, DriverError> {
        let mut others: Vec<_> = lock(&self.all).keys().copied().collect();
        others.retain(|(volume, host)| !is_there(*volume, *host));
        for (volume, host) in &others {
            self.remove(*volume, *host)?;
        }
        Ok(!others.is_empty())
    }

    pub(super) fn of(&self, volume: VolumeId, host: HostId) -> Option<Note> {
        lock(&self.all).get(&(volume, host)).cloned()
    }

    /// Every host object that we have made.
    pub(super) fn hosts_made(&self) -> BTreeSet<String> {
        lock(&self.all).values().flat_map(|note| note.made.iter().cloned()).collect()
    }

    /// Durable when it returns.
    pub(super) fn write(
        &self,
        volume: VolumeId,
        host: HostId,
        note: Note,
    ) -> Result<(), DriverError> {
        let path = self.path(volume, host);
        let write = || {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(&note)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        let doing = || format!("writing {}", path.display());
        write().map_err(|error: io::Error| DriverError::from_io(doing(), error))?;
        lock(&self.all).insert((volume, host), note);
        Ok(())
    }

    pub(super) fn remove(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        let path = self.path(volume, host);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DriverError::from_io(format!("removing {}", path.display()), error));
            }
            Ok(()) | Err(_) => {}
        }
        lock(&self.all).remove(&(volume, host));
        Ok(())
    }

    fn path(&self, volume: VolumeId, host: HostId) -> PathBuf {
        self.directory.join(format!("{volume}.{host}.json"))
    }
}
