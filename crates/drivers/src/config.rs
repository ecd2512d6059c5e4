//! Driver YAML, as OpenSDS has it: a `pool` map that is the same for every backend, and keys of
//! the backend's own beside it.
//!
//! Operators move here with files they have. So what is not known is tolerated with a warning, and
//! what is wrong is an error that says where (file, line, column), what, and how it would be
//! right. Numbers may name pools (`0:`), booleans may be any that YAML 1.1 or Go took. Secrets are
//! in [`Secret`] from the moment they are read and never in a message.

mod document;
mod file;
mod fusionstorage;
mod lvm;
mod original;
mod pool;
mod secret;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use file::{FileConfig, FilePoolConfig};
pub use fusionstorage::FusionStorageConfig;
pub use lvm::{LvmConfig, LvmPoolConfig};
pub use original::{OriginalConfig, OriginalDriver};
pub use pool::PoolConfig;
pub use secret::Secret;

/// A place in a file, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Something in a file that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A driver configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the driver configuration {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in the file is wrong.
    #[error("{place}: {what}; {remedy}")]
    Wrong {
        /// Where.
        place: Place,
        /// What.
        what: String,
        /// How it would be right.
        remedy: String,
    },
}

/// A configuration, and what was passed over when it was read.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// What was passed over.
    pub warnings: Vec<Warning>,
}

fn read(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Read { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests;
