//! What we put on the array for a host, written down before it is done.
//!
//! A host has an object on the array, and its initiators have ports. Nothing on the array says of a
//! port that nobody uses whose it was; so a crash between two calls would leave it there for ever.
//! One small file for each host says which ports are its own and which of them we made. It goes when
//! nothing of the host is left on the array.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use osds_model::HostId;
use serde::{Deserialize, Serialize};

use crate::DriverError;

/// A port of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Port {
    /// The initiator's name, as it was granted.
    pub(super) name: String,
    /// Whether it was not on the array before us.
    pub(super) made: bool,
}

pub(super) struct Journal {
    directory: PathBuf,
    hosts: Mutex<BTreeMap<HostId, Vec<Port>>>,
}

impl Journal {
    /// The journal of an earlier life, or an empty one.
    pub(super) fn open(directory: PathBuf) -> Result<Self, DriverError> {
        let doing = || format!("reading what was put on the array from {}", directory.display());
        let failed = |error: io::Error| DriverError::from_io(doing(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let mut hosts = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // What a crash left of one that was being written is not one.
            let Some(host) = name.strip_suffix(".json").and_then(|name| name.parse().ok()) else {
                continue;
            };
            let ports = fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
            let doing = || format!("reading {}", path.display());
            hosts.insert(host, ports.map_err(|error| DriverError::from_io(doing(), error))?);
        }
        Ok(Self { directory, hosts: Mutex::new(hosts) })
    }

    pub(super) fn hosts(&self) -> Vec<HostId> {
        self.kept().keys().copied().collect()
    }

    /// The ports of a host; none where we put nothing.
    pub(super) fn ports(&self, host: HostId) -> Vec<Port> {
        self.kept().get(&host).cloned().unwrap_or_default()
    }

    /// Durable when it returns.
    pub(super) fn keep(&self, host: HostId, ports: Vec<Port>) -> Result<(), DriverError> {
        let path = self.path(host);
        let write = || {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(&ports)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        let doing = || format!("writing {}", path.display());
        write().map_err(|error| DriverError::from_io(doing(), error))?;
        self.kept().insert(host, ports);
        Ok(())
    }

    pub(super) fn forget(&self, host: HostId) -> Result<(), DriverError> {
        let path = self.path(host);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DriverError::from_io(format!("removing {}", path.display()), error));
            }
            Ok(()) | Err(_) => {}
        }
        self.kept().remove(&host);
        Ok(())
    }

    fn path(&self, host: HostId) -> PathBuf {
        self.directory.join(format!("{host}.json"))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<HostId, Vec<Port>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_after_a_restart_and_half_a_file_is_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (a, b) = (HostId::from_u128(1), HostId::from_u128(2));
        let ports = vec![Port { name: "iqn.x:a".to_owned(), made: true }];
        let journal = Journal::open(home.path().join("array")).unwrap();
        journal.keep(a, ports.clone()).unwrap();
        journal.keep(b, vec![]).unwrap();
        journal.forget(b).unwrap();
        journal.forget(b).unwrap();
        fs::write(home.path().join(format!("array/{b}.new")), "[{").unwrap();
        let journal = Journal::open(home.path().join("array")).unwrap();
        assert_eq!((journal.hosts(), journal.ports(a), journal.ports(b)), (vec![a], ports, vec![]));
        fs::write(home.path().join(format!("array/{b}.json")), "[{").unwrap();
        assert!(Journal::open(home.path().join("array")).is_err());
    }
}
