//! A door that commands pass one by one, and that can be shut for good.
//!
//! A thread holds a [`Pass`] for as long as it is inside a command. [`Gate::close`] and
//! [`Gate::enter`] take the same lock, so each command either entered before the close, and is then
//! waited for by [`Gate::wait_empty`], or finds the gate shut and never begins. There is no moment
//! in between. That is all a revoke needs, however many threads execute commands.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    inside: usize,
}

/// Proof of being inside; leaving is dropping it.
#[derive(Debug)]
pub struct Pass<'a>(&'a Gate);

impl Gate {
    /// Enters, unless the gate is shut.
    pub fn enter(&self) -> Option<Pass<'_>> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.inside += 1;
        Some(Pass(self))
    }

    /// Shuts the gate; returns at once.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// The gate has been shut.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until nobody is inside; `false` when the deadline came first.
    pub fn wait_empty(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.inside > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is two plain values, whole after every statement: poison means nothing here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inside -= 1;
        if state.inside == 0 && state.closed {
            self.0.changed.notify_all();
        }
    }
}

/// Set once, waited for by many: "this thread has let go of everything".
#[derive(Debug, Default)]
pub struct Latch {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    /// Sets it.
    pub fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for it; `false` when the deadline came first.
    pub fn wait(&self, deadline: Instant) -> bool {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            set = self.changed.wait_timeout(set, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn after_close_and_wait_nobody_is_inside_or_enters() {
        for _ in 0..200 {
            let gate = Gate::default();
            let writes = AtomicUsize::new(0);
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            let Some(_pass) = gate.enter() else { return };
                            std::thread::yield_now();
                            writes.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                while writes.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                gate.close();
                assert!(gate.wait_empty(soon()));
                let seen = writes.load(Ordering::SeqCst);
                for _ in 0..20 {
                    std::thread::yield_now();
                    assert_eq!(writes.load(Ordering::SeqCst), seen);
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let gate = Gate::default();
        let _pass = gate.enter();
        gate.close();
        assert!(!gate.wait_empty(Instant::now() + Duration::from_millis(5)));
        assert!(gate.enter().is_none());
        assert!(!Latch::default().wait(Instant::now()));
    }
}
