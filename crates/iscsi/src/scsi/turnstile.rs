//! Where commands and changes of reservations meet: commands pass, a change may hold them back.
//!
//! A command is counted from before it is checked against the reservations until it has ended. A
//! change that could stop commands shuts the turnstile, waits until nobody is inside, and opens it
//! when it has been made; so every command ran wholly before the change or is checked after it.
//! Waiting for commands is waiting for a medium, which may never answer; hence nobody waits here
//! beyond a deadline, or once its own session has been told to end, and whoever was held back goes
//! in before it is shut again. To pass an open turnstile takes two atomic additions.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const SHUT: u32 = 1 << 31;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    /// How many are inside, and whether it is shut.
    word: AtomicU32,
    /// How many were held back and shall go in before it is shut again. Shutting and opening
    /// happen under this lock.
    held_back: Mutex<usize>,
    moved: Condvar,
}

/// Proof of being inside; leaving is dropping it.
#[derive(Debug)]
#[must_use]
pub(super) struct Inside<'a>(&'a Turnstile);

/// Nobody is inside, and nobody comes in until this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Shut<'a>(&'a Turnstile);

impl Turnstile {
    /// Goes in, when it is open; `None` when `leaving` came first.
    pub(super) fn enter(&self, leaving: &AtomicBool) -> Option<Inside<'_>> {
        if let Some(inside) = self.try_enter() {
            return Some(inside);
        }
        let mut held_back = self.lock();
        *held_back += 1;
        while self.is_shut() && !leaving.load(Ordering::Acquire) {
            held_back = self.moved.wait(held_back).unwrap_or_else(PoisonError::into_inner);
        }
        *held_back -= 1;
        let open = !self.is_shut();
        if open {
            // Under the lock, so nobody shuts it now.
            self.word.fetch_add(1, Ordering::AcqRel);
        }
        if *held_back == 0 {
            self.moved.notify_all();
        }
        open.then(|| Inside(self))
    }

    /// Goes in, when it is open.
    pub(super) fn try_enter(&self) -> Option<Inside<'_>> {
        let open = self.word.fetch_add(1, Ordering::AcqRel) & SHUT == 0;
        // Its end takes back what was added, also where nobody gets it.
        let inside = Inside(self);
        open.then_some(inside)
    }

    /// Shuts it and waits until everybody is out; `None` when the deadline or `leaving` came first,
    /// and then it is open again.
    pub(super) fn shut(&self, deadline: Instant, leaving: &AtomicBool) -> Option<Shut<'_>> {
        let mut held_back = self.lock();
        while self.is_shut() || *held_back > 0 {
            held_back = self.wait(held_back, deadline, leaving)?;
        }
        self.word.fetch_or(SHUT, Ordering::AcqRel);
        // Opens it again on the way out, unless it is given to the caller.
        let shut = Shut(self);
        while self.inside() > 0 {
            held_back = self.wait(held_back, deadline, leaving)?;
        }
        drop(held_back);
        Some(shut)
    }

    /// Makes those who wait look at their `leaving` again.
    pub(super) fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        drop(self.lock());
        self.moved.notify_all();
    }

    fn wait<'a>(
        &self,
        held_back: MutexGuard<'a, usize>,
        deadline: Instant,
        leaving: &AtomicBool,
    ) -> Option<MutexGuard<'a, usize>> {
        let left = deadline.checked_duration_since(Instant::now())?;
        if leaving.load(Ordering::Acquire) {
            return None;
        }
        let waited = self.moved.wait_timeout(held_back, left);
        Some(waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn leave(&self) {
        if self.word.fetch_sub(1, Ordering::AcqRel) == SHUT | 1 {
            self.wake();
        }
    }

    fn is_shut(&self) -> bool {
        self.word.load(Ordering::Acquire) & SHUT != 0
    }

    fn inside(&self) -> u32 {
        self.word.load(Ordering::Acquire) & !SHUT
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        // One number, whole after every statement: poison means nothing here.
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        let _held_back = self.0.lock();
        self.0.word.fetch_and(!SHUT, Ordering::AcqRel);
        self.0.moved.notify_all();
    }
}

/// Lets one change be made at a time. A change may have to wait for a disk.
#[derive(Debug, Default)]
pub(super) struct Changes {
    under_way: Mutex<bool>,
    ended: Condvar,
}

/// A change is under way until this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Changing<'a>(&'a Changes);

impl Changes {
    /// Begins one; `None` when the deadline came first.
    pub(super) fn begin(&self, deadline: Instant) -> Option<Changing<'_>> {
        let mut under_way = self.lock();
        while *under_way {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.ended.wait_timeout(under_way, left);
            under_way = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *under_way = true;
        Some(Changing(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    static STAYING: AtomicBool = AtomicBool::new(false);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn who_has_shut_it_is_alone_and_everybody_gets_on() {
        let turnstile = Turnstile::default();
        let (inside, passed, stop) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _inside = turnstile.enter(&STAYING).unwrap();
                        inside.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        passed.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let shutters: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..300 {
                            let _shut = turnstile.shut(soon(), &STAYING).unwrap();
                            assert_eq!(inside.load(Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            assert_eq!(inside.load(Ordering::SeqCst), 0);
                        }
                    })
                })
                .collect();
            for shutter in shutters {
                shutter.join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(passed.load(Ordering::SeqCst) > 0);
        assert_eq!((turnstile.inside(), turnstile.is_shut()), (0, false));
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_leaves_it_open() {
        let turnstile = Turnstile::default();
        let stuck = turnstile.enter(&STAYING).unwrap();
        let briefly = || Instant::now() + Duration::from_millis(5);
        assert!(turnstile.shut(briefly(), &STAYING).is_none());
        drop(turnstile.enter(&STAYING).unwrap());
        drop(stuck);
        let shut = turnstile.shut(briefly(), &STAYING).unwrap();
        assert!(turnstile.shut(briefly(), &STAYING).is_none());
        drop(shut);
        let changes = Changes::default();
        let changing = changes.begin(briefly()).unwrap();
        assert!(changes.begin(briefly()).is_none());
        drop(changing);
        assert!(changes.begin(briefly()).is_some());
    }

    #[test]
    fn who_is_told_to_leave_waits_no_more() {
        let turnstile = Turnstile::default();
        let stuck = turnstile.enter(&STAYING).unwrap();
        let (one, two) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let shutting = scope.spawn(|| turnstile.shut(soon(), &one).is_none());
            while !turnstile.is_shut() {
                std::thread::yield_now();
            }
            let entering = scope.spawn(|| turnstile.enter(&two).is_none());
            while *turnstile.lock() == 0 {
                std::thread::yield_now();
            }
            two.store(true, Ordering::Release);
            turnstile.wake();
            assert!(entering.join().unwrap());
            one.store(true, Ordering::Release);
            turnstile.wake();
            assert!(shutting.join().unwrap());
        });
        drop(stuck);
        assert!(turnstile.shut(soon(), &STAYING).is_some());
    }
}
