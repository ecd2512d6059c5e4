//! What the loop did and does, counted for operators.
//!
//! One count for each wish that was sent, by what came of it. Nothing is decided on these numbers,
//! and a restart starts them at 0.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Inner, Reconciler};

/// What the loop did since it was made, and what it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Wishes sent after which everything was as wished.
    pub settled: u64,
    /// Wishes sent after which something was not, so that they are sent again later.
    pub failing: u64,
    /// Wishes that were edited while they were worked on.
    pub outdated: u64,
    /// Wishes whose answer could not be put on record.
    pub unrecorded: u64,
    /// Time for all of them together.
    pub took: Duration,
    /// Volumes that are worked on, or wait for a slot or for their next try.
    pub tended: u64,
    /// Slots in use, of all docks.
    pub busy: u64,
}

/// What came of a wish that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Settled,
    Failing,
    Outdated,
    Unrecorded,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    settled: AtomicU64,
    failing: AtomicU64,
    outdated: AtomicU64,
    unrecorded: AtomicU64,
    nanos: AtomicU64,
}

impl Tally {
    pub(super) fn count(&self, outcome: Outcome, took: Duration) {
        let counter = match outcome {
            Outcome::Settled => &self.settled,
            Outcome::Failing => &self.failing,
            Outcome::Outdated => &self.outdated,
            Outcome::Unrecorded => &self.unrecorded,
        };
        counter.fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Inner {
    fn figures(&self) -> Figures {
        let tally = &self.tally;
        let workers = self.settings.workers();
        let busy = self.rooms.values().map(|room| workers.saturating_sub(room.available_permits()));
        Figures {
            settled: tally.settled.load(Relaxed),
            failing: tally.failing.load(Relaxed),
            outdated: tally.outdated.load(Relaxed),
            unrecorded: tally.unrecorded.load(Relaxed),
            took: Duration::from_nanos(tally.nanos.load(Relaxed)),
            tended: self.tended().len() as u64,
            busy: busy.sum::<usize>() as u64,
        }
    }
}

impl Reconciler {
    pub(crate) fn figures(&self) -> Figures {
        self.inner.figures()
    }
}
