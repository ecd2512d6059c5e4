//! What the sessions of one unit share about running tasks: how to clear all of them.
//!
//! A reset starts a new epoch and then waits until every command of every session that executed then
//! has ended. Whatever had to wait before it could execute (for its data, for its turn, for a
//! worker) carries the epoch it began in and finds itself aborted when that has passed. A command
//! is counted before it looks at the epoch: so either the reset waits for it, or it sees the new
//! epoch. Nothing is held up meanwhile: new commands are counted apart, in the other of two counters,
//! which take turns. A command may be stuck in the medium for ever; so nobody waits here beyond a
//! deadline, or once his own session has been told to end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::workers::Share;

/// The tasks of one unit.
#[derive(Debug, Default)]
pub struct TaskSet {
    epoch: AtomicU64,
    /// Even or odd: which counter a command enters now.
    turn: AtomicU64,
    executing: [AtomicUsize; 2],
    /// A wait is under way. There is one at a time.
    waiting: Mutex<bool>,
    /// The same, for those who leave.
    is_awaited: AtomicBool,
    moved: Condvar,
    /// The unit's part of the worker threads.
    pub share: Arc<Share>,
}

/// Held while a command executes.
#[derive(Debug)]
pub struct Executing<'a> {
    tasks: &'a TaskSet,
    turn: u64,
}

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

    /// Executes a task that began in an earlier moment; `None` if it has been aborted since.
    pub fn execute(&self, began: u64) -> Option<Executing<'_>> {
        let executing = self.execute_now();
        (self.epoch() == began).then_some(executing)
    }

    /// Executes a task that begins now.
    pub fn execute_now(&self) -> Executing<'_> {
        loop {
            let turn = self.turn.load(Ordering::SeqCst);
            self.counter(turn).fetch_add(1, Ordering::SeqCst);
            let executing = Executing { tasks: self, turn };
            // Else somebody may have found the counter empty already.
            if self.turn.load(Ordering::SeqCst) == turn {
                return executing;
            }
        }
    }

    /// Voids what is waiting to execute. What executes goes on: see
    /// [`TaskSet::wait_for_executing`].
    pub fn void_waiting(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until everything that executes now has ended. False: the deadline came first, or the end
    /// of the session that asks.
    pub fn wait_for_executing(&self, deadline: Instant, is_over: impl Fn() -> bool) -> bool {
        let until = |mut waiting: MutexGuard<'_, bool>, holds: &dyn Fn(bool) -> bool| {
            while !holds(*waiting) {
                let left = deadline.checked_duration_since(Instant::now());
                let Some(left) = left.filter(|_| !is_over()) else { return false };
                let waited = self.moved.wait_timeout(waiting, left);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            *waiting = true;
            true
        };
        if !until(self.lock(), &|waiting| !waiting) {
            return false;
        }
        self.is_awaited.store(true, Ordering::SeqCst);
        let turn = self.turn.load(Ordering::SeqCst);
        let is_empty = |turn| self.counter(turn).load(Ordering::SeqCst) == 0;
        // First those that an earlier wait has given up: their counter is needed.
        let ended = until(self.lock(), &|_| is_empty(turn + 1)) && {
            self.turn.store(turn + 1, Ordering::SeqCst);
            until(self.lock(), &|_| is_empty(turn))
        };
        self.is_awaited.store(false, Ordering::SeqCst);
        *self.lock() = false;
        self.moved.notify_all();
        ended
    }

    /// Makes those who wait look again whether their session is over.
    pub fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        drop(self.lock());
        self.moved.notify_all();
    }

    fn counter(&self, turn: u64) -> &AtomicUsize {
        &self.executing[usize::from(turn % 2 == 1)]
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // One plain value: poison means nothing here.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Executing<'_> {
    fn drop(&mut self) {
        let before = self.tasks.counter(self.turn).fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.tasks.is_awaited.load(Ordering::SeqCst) {
            self.tasks.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_task_of_an_earlier_epoch_does_not_execute() {
        let tasks = TaskSet::default();
        let began = tasks.epoch();
        assert!(tasks.execute(began).is_some());
        tasks.void_waiting();
        assert!(tasks.execute(began).is_none());
        assert!(tasks.execute(tasks.epoch()).is_some());
        assert!(tasks.wait_for_executing(Instant::now(), || false), "none of them is left");
    }

    #[test]
    fn a_reset_waits_for_what_is_executing_and_holds_nothing_up() {
        let tasks = TaskSet::default();
        let began = tasks.epoch();
        let inside = tasks.execute(began).unwrap();
        std::thread::scope(|scope| {
            let reset = scope.spawn(|| {
                tasks.void_waiting();
                assert!(tasks.wait_for_executing(soon(), || false));
            });
            while tasks.turn.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            // New commands come and go, and one of them stays.
            let newcomer = tasks.execute_now();
            for _ in 0..100 {
                drop(tasks.execute_now());
                assert!(!reset.is_finished());
            }
            drop(inside);
            reset.join().unwrap();
            drop(newcomer);
        });
        assert!(tasks.execute(began).is_none());
    }

    #[test]
    fn a_wait_ends_with_its_deadline_or_its_session_and_the_next_one_waits_for_the_same() {
        let tasks = TaskSet::default();
        let (stuck, over) = (tasks.execute_now(), AtomicBool::new(false));
        assert!(!tasks.wait_for_executing(Instant::now(), || false));
        let newcomer = tasks.execute_now();
        assert!(
            !tasks.wait_for_executing(Instant::now(), || false),
            "the stuck one is not forgotten"
        );
        drop(newcomer);
        assert!(!tasks.wait_for_executing(Instant::now(), || false));
        std::thread::scope(|scope| {
            let waits = || tasks.wait_for_executing(soon(), || over.load(Ordering::SeqCst));
            let both = [scope.spawn(waits), scope.spawn(waits)];
            over.store(true, Ordering::SeqCst);
            tasks.wake();
            for waiting in both {
                assert!(!waiting.join().unwrap());
            }
        });
        drop(stuck);
        assert!(tasks.wait_for_executing(Instant::now(), || false));
        assert!(tasks.wait_for_executing(Instant::now(), || false));
    }

    /// Whoever is found executing is waited for: a command that saw the old epoch has ended when
    /// the wait has.
    #[test]
    fn no_command_of_the_old_epoch_executes_after_the_wait() {
        let tasks = TaskSet::default();
        let (done, late) = (AtomicBool::new(false), AtomicUsize::new(0));
        // The epoch that nothing may execute in any more.
        let over = AtomicU64::new(u64::MAX);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        let began = tasks.epoch();
                        if let Some(_inside) = tasks.execute(began) {
                            std::thread::yield_now();
                            let over = over.load(Ordering::SeqCst);
                            late.fetch_add(usize::from(over == began), Ordering::SeqCst);
                        }
                    }
                });
            }
            for _ in 0..2000 {
                let old = tasks.epoch();
                tasks.void_waiting();
                assert!(tasks.wait_for_executing(soon(), || false));
                over.store(old, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        assert_eq!(late.into_inner(), 0);
    }
}
