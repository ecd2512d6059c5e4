//! Notes of which pool is which, where the driver keeps its own things.
//!
//! What goes by a pool's name may be another thing today: a directory that is not mounted, a volume
//! group made anew. So the first use of a pool notes an id of what was there, and nothing else is
//! taken for the pool from then on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// The notes of pools that were used, by name, in one file.
#[derive(Clone, Debug)]
pub(in crate::storage) struct Notes {
    file: PathBuf,
    ids: BTreeMap<String, String>,
}

impl Notes {
    /// The notes in this file; none when there is no such file.
    pub(in crate::storage) fn read(file: &Path) -> io::Result<Self> {
        let ids = match fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from)?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file: file.to_owned(), ids })
    }

    /// Where they are.
    pub(in crate::storage) fn file(&self) -> &Path {
        &self.file
    }

    /// The id of a pool that was used before.
    pub(in crate::storage) fn of(&self, pool: &str) -> Option<&str> {
        self.ids.get(pool).map(String::as_str)
    }

    /// Notes a first use; durable when this returns.
    pub(in crate::storage) fn add(&mut self, pool: &str, id: &str) -> io::Result<()> {
        self.ids.insert(pool.to_owned(), id.to_owned());
        let directory = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let begun = self.file.with_extension("new");
        let mut file = File::create(&begun)?;
        file.write_all(&serde_json::to_vec_pretty(&self.ids)?)?;
        file.sync_all()?;
        fs::rename(&begun, &self.file)?;
        File::open(directory)?.sync_all()
    }
}
