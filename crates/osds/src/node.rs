//! Who this machine is: an id that is made once and kept in the data directory, so that docks and
//! pools keep their ids when the machine is renamed.
//!
//! A dock's id is derived from this id and its backend's name, and a pool's from its dock: whoever
//! loses the file `node-id`, or renames a backend, has other pools, and volumes on record in pools
//! that nobody serves. So an unreadable file is an error and never replaced.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use osds_model::DockId;
use uuid::Uuid;

/// A machine's identity.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    id: Uuid,
    /// Its host name, for people.
    pub(crate) name: String,
}

impl Node {
    /// The identity kept in `data_dir`; made now when there is none.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("node-id");
        let id = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().with_context(|| {
                format!("{} does not hold a UUID; restore it from a back-up", path.display())
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let records = data_dir.join("osds.redb");
                // A new id would make new, empty pools beside those that the records know.
                ensure!(
                    !records.exists(),
                    "{} is gone, and {} is there; restore it from a back-up (it is one line)",
                    path.display(),
                    records.display()
                );
                let id = Uuid::now_v7();
                write(&path, id).with_context(|| format!("cannot write {}", path.display()))?;
                id
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { id, name })
    }

    /// The id of the dock of this backend on this machine.
    pub(crate) fn dock_id(&self, backend: &str) -> DockId {
        DockId(Uuid::new_v5(&self.id, backend.as_bytes()))
    }
}

/// Whole or not at all: half an id would be another machine.
fn write(path: &Path, id: Uuid) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{id}")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let first = Node::open(home.path()).unwrap();
        let second = Node::open(home.path()).unwrap();
        assert_eq!(first.dock_id("a"), second.dock_id("a"));
        assert_ne!(first.dock_id("a"), first.dock_id("b"));
        fs::remove_file(home.path().join("node-id")).unwrap();
        fs::write(home.path().join("osds.redb"), "records").unwrap();
        assert!(format!("{:#}", Node::open(home.path()).unwrap_err()).contains("back-up"));
        fs::write(home.path().join("node-id"), "rubbish").unwrap();
        assert!(format!("{:#}", Node::open(home.path()).unwrap_err()).contains("back-up"));
    }
}
