//! What the sessions of one unit share about running tasks: how to clear all of them.
//!
//! A command executes under a read guard; a reset takes the write guard, so it waits until every
//! executing command of every session has ended, then starts a new epoch. A write still waiting
//! for its data carries the epoch it began in and finds itself aborted when that has passed.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// The tasks of one unit.
#[derive(Debug, Default)]
pub struct TaskSet {
    epoch: RwLock<u64>,
}

/// Held while a command executes.
#[derive(Debug)]
pub struct Executing<'a>(#[allow(dead_code, reason = "held, not read")] RwLockReadGuard<'a, u64>);

impl TaskSet {
    /// The epoch a task begins in.
    pub fn epoch(&self) -> u64 {
        *self.epoch.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Executes a task that begins now.
    pub fn execute_new(&self) -> Executing<'_> {
        Executing(self.epoch.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Executes a task that began in an earlier moment; `None` if it has been aborted since.
    pub fn execute(&self, began: u64) -> Option<Executing<'_>> {
        let guard = self.execute_new();
        (*guard.0 == began).then_some(guard)
    }

    /// Waits for what is executing and voids what is waiting.
    pub fn abort_all(&self) {
        let mut epoch = self.epoch.write().unwrap_or_else(PoisonError::into_inner);
        *epoch = epoch.wrapping_add(1);
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
        tasks.abort_all();
        assert!(tasks.execute(began).is_none());
        assert!(tasks.execute(tasks.epoch()).is_some());
    }

    #[test]
    fn abort_all_waits_for_what_is_executing() {
        let tasks = TaskSet::default();
        let began = tasks.epoch();
        let inside = tasks.execute_new();
        std::thread::scope(|scope| {
            let reset = scope.spawn(|| tasks.abort_all());
            // Seen from here the epoch cannot change before the guard goes.
            assert_eq!(*inside.0, began);
            drop(inside);
            reset.join().unwrap();
        });
        assert_ne!(tasks.epoch(), began);
    }
}
