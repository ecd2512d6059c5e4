//! What the sessions of one unit share about running tasks: how to clear all of them.
//!
//! A command executes under a read guard; a reset starts a new epoch and then takes the write
//! guard, so it waits until every executing command of every session has ended. Whatever had to
//! wait before it could execute (for its data, for its turn, for a worker) carries the epoch it
//! began in and finds itself aborted when that has passed. A command either has its guard before
//! the reset asks for the lock, and is waited for, or looks at the epoch after it changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use crate::workers::Share;

/// The tasks of one unit.
#[derive(Debug, Default)]
pub struct TaskSet {
    epoch: AtomicU64,
    executing: RwLock<()>,
    /// The unit's part of the worker threads.
    pub share: Arc<Share>,
}

/// Held while a command executes.
#[derive(Debug)]
pub struct Executing<'a>(#[allow(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>);

/// When a task began that has to wait. Another reset or abort since then, and it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Began {
    /// Epoch of the unit's task set.
    pub epoch: u64,
    /// [`crate::scsi::Nexus::aborts`] of its nexus.
    pub aborts: u64,
}

impl TaskSet {
    /// The epoch a task begins in.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Executes a task that began in an earlier moment; `None` if it has been aborted since. Waits
    /// for a reset that is under way.
    pub fn execute(&self, began: u64) -> Option<Executing<'_>> {
        let guard = self.executing.read().unwrap_or_else(PoisonError::into_inner);
        (self.epoch() == began).then_some(Executing(guard))
    }

    /// Executes a task that begins now, unless a reset is under way.
    pub fn try_execute(&self) -> Option<Executing<'_>> {
        match self.executing.try_read() {
            Ok(guard) => Some(Executing(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Executing(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Voids what is waiting to execute. What executes goes on: see
    /// [`TaskSet::wait_for_executing`].
    pub fn void_waiting(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until everything that executes now has ended.
    pub fn wait_for_executing(&self) {
        drop(self.executing.write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_an_earlier_epoch_does_not_execute() {
        let tasks = TaskSet::default();
        let began = tasks.epoch();
        assert!(tasks.execute(began).is_some());
        tasks.void_waiting();
        assert!(tasks.execute(began).is_none());
        assert!(tasks.execute(tasks.epoch()).is_some());
    }

    #[test]
    fn a_reset_waits_for_what_is_executing() {
        let tasks = TaskSet::default();
        let began = tasks.epoch();
        let inside = tasks.execute(began).unwrap();
        std::thread::scope(|scope| {
            let reset = scope.spawn(|| {
                tasks.void_waiting();
                tasks.wait_for_executing();
            });
            while tasks.try_execute().is_some() {
                std::thread::yield_now();
            }
            // Nothing begins beside a reset that waits, and it waits.
            for _ in 0..100 {
                assert!(!reset.is_finished());
                std::thread::yield_now();
            }
            drop(inside);
            reset.join().unwrap();
        });
        assert!(tasks.execute(began).is_none());
        assert!(tasks.try_execute().is_some());
    }
}
