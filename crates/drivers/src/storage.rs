//! Where volumes live: the trait that every storage backend keeps.
//!
//! A pool goes by its name in the driver YAML, a volume by its id. A driver holds no list of its
//! own: what is true is what the backend says, so that a lost answer or a hand that moved things
//! cannot make it lie.

pub(crate) mod copy;
pub mod file;
pub mod fusionstorage;
mod hold;
pub mod lvm;
mod notes;
mod turns;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use async_trait::async_trait;
use osds_model::pool::PoolSpec;
use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};

pub use hold::{Hold, Together};

use crate::DriverError;

/// A backend that keeps volumes in pools.
#[async_trait]
pub trait StorageDriver: Send + Sync + 'static {
    /// The name it is configured by, such as `file`.
    fn name(&self) -> &'static str;

    /// Every configured pool, in the order of the configuration. A broken pool is reported with
    /// its error and never hides the others.
    async fn pools(&self) -> Vec<PoolReport>;

    /// The volume, if it is there. `None` only when the backend said so; a backend that cannot be
    /// asked is an error.
    ///
    /// # Errors
    /// The backend cannot be asked.
    async fn find(&self, pool: &str, volume: VolumeId) -> Result<Option<VolumeFacts>, DriverError>;

    /// Makes sure the volume is there, reads as zeros where nobody wrote, and is at least this
    /// large. What an interrupted create left is finished. A volume that is there keeps its
    /// blocks, and its size when that is larger: the answer says the real size.
    ///
    /// # Errors
    /// `NoSpace` when it cannot fit; others as they come.
    async fn create(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError>;

    /// Makes sure the volume is at least this large. Never shrinks.
    ///
    /// # Errors
    /// `Gone` when there is no such volume; `NoSpace` when it cannot grow that far.
    async fn extend(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError>;

    /// Makes sure the volume and whatever was begun of it are gone, and its blocks can never be
    /// read from a later volume.
    ///
    /// # Errors
    /// The backend cannot do it now; the volume may or may not be there.
    async fn delete(&self, pool: &str, volume: VolumeId) -> Result<(), DriverError>;

    /// The blocks, opened read-write, for a target to export.
    ///
    /// # Errors
    /// `Gone` when there is no such volume.
    async fn open(&self, pool: &str, volume: VolumeId) -> Result<BlockSource, DriverError>;

    /// Makes sure the volume is there as a copy of the source as it was at one moment of this call,
    /// with zeros behind it up to this size. What an interrupted call left is begun anew; a volume
    /// that is there keeps its blocks. The source is in the same pool, nobody's writes reach it
    /// while `hold` lasts, and `hold` is let go as soon as the copy is fixed.
    ///
    /// # Errors
    /// `Gone` when there is no such source; `NotSupported` when the copy takes longer than writes
    /// can be held; others as for `create`. Never a volume that is not that copy.
    async fn create_copy(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
        source: Source,
        hold: Hold,
    ) -> Result<VolumeFacts, DriverError>;

    /// Makes sure there is this snapshot of the volume as it was at one moment of this call. What
    /// an interrupted call left is begun anew; a snapshot that is there stays as it is. Nobody's
    /// writes reach the volume while `hold` lasts, and `hold` is let go as soon as the snapshot is
    /// fixed. It does not change when the volume does, and outlives its loss.
    ///
    /// # Errors
    /// `Gone` when there is no such volume; `NotSupported` when it takes longer than writes can be
    /// held; `NoSpace`; others as they come.
    async fn snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
        hold: Hold,
    ) -> Result<(), DriverError>;

    /// Makes sure the snapshot and whatever was begun of it are gone.
    ///
    /// # Errors
    /// The backend cannot do it now; the snapshot may or may not be there.
    async fn delete_snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), DriverError>;

    /// Which of these snapshots of the volume are there, in part at least.
    ///
    /// # Errors
    /// The backend cannot be asked.
    async fn snapshots(
        &self,
        pool: &str,
        volume: VolumeId,
        of: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, SnapshotFacts>, DriverError>;

    /// Everything in the pool, sorted by name; what is not ours is listed as foreign.
    ///
    /// # Errors
    /// The pool cannot be read.
    async fn list(&self, pool: &str) -> Result<Vec<PoolEntry>, DriverError>;
}

/// How one configured pool is.
#[derive(Debug)]
pub struct PoolReport {
    /// Its name in the driver YAML.
    pub name: String,
    /// What it offers, or why it offers nothing.
    pub spec: Result<PoolSpec, DriverError>,
}

/// A volume as the backend knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// How large it is.
    pub size: Capacity,
}

/// A snapshot as the backend knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// How large it is; `None` for what an interrupted call left.
    pub whole: Option<Capacity>,
}

/// The blocks of a volume.
#[derive(Debug)]
pub struct BlockSource {
    /// What they are.
    pub blocks: Blocks,
    /// Where it is, for kernel targets and for messages; an array's name for it.
    pub path: PathBuf,
    /// How large it was when it was opened.
    pub size: Capacity,
}

/// What blocks are, for a target of ours or of theirs.
#[derive(Debug)]
pub enum Blocks {
    /// Opened read-write. Use positioned I/O only: clones share one file position.
    File(File),
    /// A block device of this machine, opened read-write, and by what it is told from another of
    /// its name.
    Device(File, BlocksId),
    /// A logical unit of an array, which only the array itself can export.
    Unit(BlocksId),
}

impl BlockSource {
    /// Blocks of this machine.
    #[must_use]
    pub fn of_file(file: File, path: PathBuf, size: Capacity) -> Self {
        Self { blocks: Blocks::File(file), path, size }
    }

    /// A block device of this machine.
    #[must_use]
    pub fn of_device(file: File, id: BlocksId, path: PathBuf, size: Capacity) -> Self {
        Self { blocks: Blocks::Device(file, id), path, size }
    }

    /// The file, for a target of this machine.
    ///
    /// # Errors
    /// `NotSupported`: they are an array's.
    pub fn into_file(self) -> Result<File, DriverError> {
        match self.blocks {
            Blocks::File(file) | Blocks::Device(file, _) => Ok(file),
            Blocks::Unit(_) => {
                let name = self.path.display();
                let doing = format!("{name} is an array's, which has to export it itself");
                Err(DriverError::new(FaultKind::NotSupported, doing))
            }
        }
    }

    /// Which blocks these are.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn id(&self) -> Result<BlocksId, DriverError> {
        let file = match &self.blocks {
            Blocks::File(file) => file,
            Blocks::Device(_, id) | Blocks::Unit(id) => return Ok(*id),
        };
        let found = file.metadata().map_err(|error| {
            DriverError::from_io(format!("looking at {}", self.path.display()), error)
        })?;
        Ok(BlocksId { device: found.dev(), file: found.ino() })
    }
}

/// Tells blocks from others of the same name: a volume that was lost and put back is not the one
/// that was exported before, and what is written to that one is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlocksId {
    pub(crate) device: u64,
    pub(crate) file: u64,
}

impl BlocksId {
    /// No blocks of anybody: there is no file of this number.
    pub(crate) const NOTHING: Self = Self { device: 0, file: 0 };

    /// Those of an array's unit, by a number that the array gives no other.
    #[must_use]
    pub const fn of_unit(number: u128) -> Self {
        // Its halves: together they are the whole.
        Self { device: (number >> 64) as u64, file: number as u64 }
    }
}

/// One thing in a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolEntry {
    /// What it is called.
    pub name: EntryName,
    /// How large it is.
    pub size: Capacity,
}

/// Whose a thing in a pool is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryName {
    /// A volume of ours.
    Volume(VolumeId),
    /// A snapshot of a volume of ours.
    Snapshot(VolumeId, SnapshotId),
    /// Something else, by the backend's name for it; never touched.
    Foreign(String),
}
