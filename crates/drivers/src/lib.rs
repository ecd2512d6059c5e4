//! Storage and target drivers behind two traits, and their YAML configuration.
//!
//! A [`StorageDriver`] keeps volumes in pools; a [`TargetDriver`] lets hosts reach their blocks.
//! Every method that changes something is an *ensure*: it looks at what is there, does what is
//! missing, and a second call is boring. So a caller that lost an answer just asks again.
//!
//! Must stay true: names given to a backend are made of volume ids only; things in a pool that are
//! not ours are listed and never touched; nobody is let in with more than was granted.

pub mod config;
mod configfs;
pub mod error;
pub mod fake;
pub mod reservations;
pub mod storage;
pub mod target;
mod thread;

pub use error::DriverError;
pub use reservations::{KeptReservations, ReservationShelf};
pub use storage::{
    BlockSource, Blocks, BlocksId, EntryName, Hold, PoolEntry, PoolReport, SnapshotFacts,
    StorageDriver, Together, VolumeFacts,
};
pub use target::{ExportFacts, HostFacts, TargetCapabilities, TargetDriver};
