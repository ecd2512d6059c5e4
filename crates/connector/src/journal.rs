//! What was done on this machine for each volume, one small file each.
//!
//! A volume is on record before anything is done for it and until nothing is left of it, so it can
//! be taken down with the control plane away and after a restart. No secret is in it. A file is
//! replaced as a whole and synced: a power cut leaves the old or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use osds_model::{AttachMode, Connection};
use serde::{Deserialize, Serialize};

use crate::error::{ConnectError, Kind};
use crate::filesystem::FileSystem;

/// The journal of one driver.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
}

/// What was done for one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What it is called by who asked.
    pub handle: String,
    /// Which attachment this is of; another one begins anew.
    #[serde(default)]
    pub attachment: String,
    /// How it was reached.
    pub connection: Connection,
    /// In which mode.
    pub mode: AttachMode,
    /// What it is used as.
    pub used_as: UsedAs,
    /// Where it was staged.
    pub staging: PathBuf,
    /// A file system was begun and may be half-made: nobody has had the device since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub formatting: bool,
    /// Where it is published.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// What a volume is used as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UsedAs {
    /// A device.
    Block,
    /// A file system, mounted with these options.
    Mount {
        /// Which.
        filesystem: FileSystem,
        /// The options asked for.
        options: Vec<String>,
    },
}

/// One place where a volume is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The path.
    pub target: PathBuf,
    /// Whether writes through it are refused.
    pub read_only: bool,
    /// What the asker calls the way it is shared.
    pub access_mode: String,
    /// The options asked for.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Journal {
    /// The one in this directory, which is made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(directory: &Path) -> Result<Self, ConnectError> {
        fs::create_dir_all(directory).map_err(|error| {
            ConnectError::io(format!("making the directory {}", directory.display()), error)
        })?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// What was done for this handle.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, handle: &str) -> Result<Option<Entry>, ConnectError> {
        let file = self.file(handle);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(ConnectError::io(format!("reading {}", file.display()), error));
            }
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let doing = format!(
                "{} cannot be read; unmount what is there of the volume and remove the file",
                file.display()
            );
            ConnectError::new(Kind::Wrong, doing).because(error)
        })
    }

    /// Every handle that something was done for.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn all(&self) -> Result<Vec<Entry>, ConnectError> {
        let failed =
            |error| ConnectError::io(format!("reading {}", self.directory.display()), error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|kind| kind == "json")
                && let Ok(bytes) = fs::read(&path)
                && let Ok(entry) = serde_json::from_slice(&bytes)
            {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Puts this on record; `Ok` means that a power cut cannot undo it.
    ///
    /// # Errors
    /// It is not on record.
    pub fn put(&self, entry: &Entry) -> Result<(), ConnectError> {
        let file = self.file(&entry.handle);
        let begun = file.with_extension("new");
        let write = || {
            let mut new = File::create(&begun)?;
            new.write_all(&serde_json::to_vec(entry)?)?;
            new.sync_all()?;
            fs::rename(&begun, &file)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| ConnectError::io(format!("writing {}", file.display()), error))
    }

    /// Makes sure nothing is on record for this handle.
    ///
    /// # Errors
    /// It is still.
    pub fn remove(&self, handle: &str) -> Result<(), ConnectError> {
        let file = self.file(handle);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ConnectError::io(format!("removing {}", file.display()), error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Handles are ids and `#ro`; anything else gets a name that is no other's.
    fn file(&self, handle: &str) -> PathBuf {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let name: String =
            handle
                .bytes()
                .map(|byte| {
                    if plain(byte) { char::from(byte).to_string() } else { format!("_{byte:02x}") }
                })
                .collect();
        self.directory.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_remembered_until_it_is_undone() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(&home.path().join("volumes")).unwrap();
        let entry = |handle: &str| Entry {
            handle: handle.to_owned(),
            attachment: "a".to_owned(),
            connection: Connection::Local { path: "/p".to_owned() },
            mode: AttachMode::ReadOnly,
            used_as: UsedAs::Mount { filesystem: FileSystem::Xfs, options: vec!["noatime".into()] },
            staging: PathBuf::from("/s"),
            formatting: false,
            published: Vec::new(),
        };
        for handle in ["v", "v#ro", "../v"] {
            journal.put(&entry(handle)).unwrap();
        }
        assert_eq!(journal.all().unwrap().len(), 3);
        assert_eq!(journal.get("v#ro").unwrap(), Some(entry("v#ro")));
        for handle in ["v#ro", "v#ro", "../v"] {
            journal.remove(handle).unwrap();
            assert_eq!(journal.get(handle).unwrap(), None);
        }
        assert_eq!(journal.all().unwrap(), [entry("v")]);
        fs::write(home.path().join("volumes/v.json"), "{").unwrap();
        assert_eq!(journal.get("v").unwrap_err().kind, Kind::Wrong);
    }
}
