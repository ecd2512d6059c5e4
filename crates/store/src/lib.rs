//! Versioned records with compare-and-swap, in memory and on disk.
//!
//! The idea: a commit names the records its decision rests on and the revision each had. It is
//! applied whole if none has changed and refused whole if one has, so no lock is held while
//! deciding and two processes may decide at once. Readers take a [`View`]: one immutable, cheap
//! picture with its indexes in step.
//!
//! Must stay true: `commit` answers `Ok` only when the records survive a power cut; `view` shows
//! only such records; nothing in [`Store`] asks for more than etcd's transactions can give.

mod claim;
mod decide;
mod embedded;
mod engine;
mod error;
mod indexes;
#[cfg(test)]
#[path = "../tests/make/mod.rs"]
mod make;
mod memory;
mod migrate;
mod record;
mod select;
mod txn;
mod view;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;

pub use claim::{Asked, Claim, ClaimKind};
pub use decide::{DecideError, decide};
pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use migrate::{Upgrade, decode, encode};
pub use record::{Kind, Record, Revision, Versioned};
pub use select::{AttachmentsWhere, HostsWhere, OneOf, Selected, SnapshotsWhere, VolumesWhere};
pub use txn::Txn;
pub use view::View;
pub use watch::{Changes, Hint, Watch};

/// Where records are kept.
///
/// Correctness rests on the revisions named in each [`Txn`] and on nothing else; an implementation
/// may have any number of processes committing beside this one.
#[async_trait]
pub trait Store: Send + Sync {
    /// What readers see: only what is durable. Never blocks.
    fn view(&self) -> Arc<View>;

    /// What deciders see: also commits that are on their way to the disk. A commit decided on it
    /// becomes durable after those, or fails with them. Never tell a user what it shows: use
    /// [`view`](Self::view), or [`decide`], which waits.
    fn latest(&self) -> Arc<View>;

    /// Commits all of `txn` or nothing. It is durable, and visible in [`view`](Self::view), when
    /// this returns `Ok` with the revision that its records now have.
    ///
    /// An empty transaction changes nothing and returns when everything in
    /// [`latest`](Self::latest) at the time of the call is durable.
    ///
    /// Once polled, dropping the future does not take the commit back.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: a precondition did not hold, nothing was written, and
    /// [`latest`](Self::latest) shows by now what it lost against.
    /// [`StoreError::Unavailable`]: it may or may not have been written.
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// Hints about changes from now on.
    fn watch(&self) -> Watch;
}
