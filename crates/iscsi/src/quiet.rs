//! Writes held back for a moment, so that the unit's blocks can be copied as they are at one time.
//!
//! Every command that changes blocks has a [`Pass`] from before it begins until it has ended. Who
//! wants quiet lets nobody begin, waits until all passes are given back, and then has the blocks as
//! they are between two commands: all that was answered is in them, and nothing that was sent after
//! an answer is in them without what was answered. Sessions park what has no pass and ask again;
//! nobody is blocked, reads and whoever leaves least of all. Quiet ends with its holder, and by
//! itself when its time is over: whoever asks next for a pass after that opens the way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A session with a write held back asks again after this.
pub const ASK_AGAIN: Duration = Duration::from_millis(5);

const QUIET: u32 = 1 << 31;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Quiet {
    /// How many passes are out, and whether it is quiet.
    word: AtomicU32,
    state: Mutex<State>,
    /// The last pass was given back while it is quiet.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Until when, while it is quiet.
    until: Option<Instant>,
    /// Which quiet it is.
    count: u64,
}

/// Leave to change blocks, until dropped.
#[derive(Debug)]
#[must_use]
pub struct Pass(Arc<Quiet>);

/// No write is under way and none is begun, until this is dropped or its time is over.
#[derive(Debug)]
#[must_use]
pub struct Held {
    quiet: Arc<Quiet>,
    count: u64,
}

impl Quiet {
    /// A pass, unless it is quiet.
    pub fn pass(self: &Arc<Self>) -> Option<Pass> {
        loop {
            let was = self.word.fetch_add(1, Ordering::AcqRel);
            // Its end takes back what was added, also where nobody gets it.
            let pass = Pass(Arc::clone(self));
            if was & QUIET == 0 {
                return Some(pass);
            }
            drop(pass);
            if self.is_quiet() {
                return None;
            }
        }
    }

    /// Whether writes have to wait. Ends what lasts too long.
    pub fn is_quiet(&self) -> bool {
        if self.word.load(Ordering::Acquire) & QUIET == 0 {
            return false;
        }
        let mut state = self.lock();
        if state.until.is_some_and(|until| Instant::now() >= until) {
            self.open(&mut state);
        }
        state.until.is_some()
    }

    /// Makes it quiet for `most` at most. `None` when it is already, or when the writes that were
    /// under way took more than half of that; then they were disturbed for nothing.
    pub fn hold(self: &Arc<Self>, most: Duration) -> Option<Held> {
        if self.is_quiet() {
            return None;
        }
        let now = Instant::now();
        let mut state = self.lock();
        if state.until.is_some() {
            return None;
        }
        state.until = Some(now + most);
        state.count += 1;
        let held = Held { quiet: Arc::clone(self), count: state.count };
        self.word.fetch_or(QUIET, Ordering::AcqRel);
        let deadline = now + most / 2;
        while self.word.load(Ordering::Acquire) != QUIET {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                drop(state);
                drop(held);
                return None;
            };
            let waited = self.left.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        Some(held)
    }

    fn open(&self, state: &mut State) {
        state.until = None;
        self.word.fetch_and(!QUIET, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Ends it. Whether it was quiet all the time up to here.
    pub fn end(self) -> bool {
        self.stop()
    }

    fn stop(&self) -> bool {
        let mut state = self.quiet.lock();
        let in_force =
            state.count == self.count && state.until.is_some_and(|until| Instant::now() < until);
        if state.count == self.count {
            self.quiet.open(&mut state);
        }
        in_force
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0.word.fetch_sub(1, Ordering::AcqRel) == QUIET | 1 {
            // With the lock, so that nobody is between looking and waiting.
            drop(self.0.lock());
            self.0.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn nobody_writes_while_it_is_quiet() {
        let quiet = Arc::new(Quiet::default());
        let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let Some(_pass) = quiet.pass() else { continue };
                        // Odd while one is half done.
                        writes.fetch_add(1 << 32, Ordering::SeqCst);
                        std::thread::yield_now();
                        writes.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for _ in 0..200 {
                let held = quiet.hold(LONG).unwrap();
                let seen = writes.load(Ordering::SeqCst);
                assert_eq!(seen >> 32, seen & 0xffff_ffff, "a write is half done");
                std::thread::yield_now();
                assert_eq!(writes.load(Ordering::SeqCst), seen, "a write was begun");
                assert!(held.end());
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(writes.load(Ordering::SeqCst) > 0);
        assert_eq!(quiet.word.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn it_ends_with_its_holder_and_by_itself() {
        let quiet = Arc::new(Quiet::default());
        let held = quiet.hold(LONG).unwrap();
        assert!(quiet.pass().is_none() && quiet.hold(LONG).is_none());
        drop(held);
        drop(quiet.pass().unwrap());
        let late = quiet.hold(Duration::ZERO).unwrap();
        drop(quiet.pass().expect("its time is over"));
        let next = quiet.hold(LONG).unwrap();
        assert!(!late.end(), "it was not quiet all the time");
        assert!(quiet.is_quiet(), "and another's quiet is not ended");
        assert!(next.end());
    }

    #[test]
    fn a_write_that_does_not_end_is_not_waited_for_for_ever() {
        let quiet = Arc::new(Quiet::default());
        let stuck = quiet.pass().unwrap();
        assert!(quiet.hold(Duration::from_millis(10)).is_none());
        drop(quiet.pass().expect("others go on"));
        drop(stuck);
        assert!(quiet.hold(LONG).is_some());
    }
}
