//! Writes held back while a copy of a volume is taken.
//!
//! A hold ends when it is let go or dropped, and by itself when its time is over: whoever holds
//! writes cannot forget to let them go on. So a copy counts only if the hold was still in force
//! when it was fixed, and [`Hold::release`] says whether it was. Copies of several volumes that shall
//! be of one moment share their holds ([`Together`]): no volume's writes go on before every copy is
//! fixed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Writes held back, where somebody can write and they can be held.
pub struct Hold {
    writes: Writes,
    /// Let go with it, after the writes.
    beside: Option<Box<dyn Send>>,
}

enum Writes {
    /// There are none.
    None,
    /// They go on.
    Free,
    Held(Held),
}

struct Held {
    until: Instant,
    /// Lets writes go on; whether they were held until then.
    resume: Box<dyn FnOnce() -> bool + Send>,
}

impl Hold {
    /// Nobody can write, for as long as this lives.
    #[must_use]
    pub const fn needless() -> Self {
        Self::of(Writes::None)
    }

    /// Writes go on, for they cannot be held: only a copy made in one step is of one moment.
    #[must_use]
    pub const fn impossible() -> Self {
        Self::of(Writes::Free)
    }

    /// Writes are held back until `until` at most; `resume` lets them go on and says whether they
    /// were held up to that moment.
    pub fn until(until: Instant, resume: impl FnOnce() -> bool + Send + 'static) -> Self {
        Self::of(Writes::Held(Held { until, resume: Box::new(resume) }))
    }

    const fn of(writes: Writes) -> Self {
        Self { writes, beside: None }
    }

    /// The same, and this is kept until the hold is let go: what must not happen before the copy is
    /// fixed, and may as soon as it is.
    #[must_use]
    pub fn beside(mut self, kept: impl Send + 'static) -> Self {
        let before = self.beside.take();
        self.beside = Some(Box::new((before, kept)));
        self
    }

    /// Whether somebody can write.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        match self.writes {
            Writes::None => false,
            Writes::Free | Writes::Held(_) => true,
        }
    }

    /// Whether its time is over: what is copied piece by piece from now on is of no use.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.writes {
            Writes::None => false,
            Writes::Free => true,
            Writes::Held(held) => Instant::now() >= held.until,
        }
    }

    /// Lets writes go on. Whether none can have landed since they were held, if they were.
    #[must_use]
    pub fn release(&mut self) -> bool {
        let held = match std::mem::replace(&mut self.writes, Writes::None) {
            Writes::None | Writes::Free => true,
            Writes::Held(held) => (held.resume)(),
        };
        self.beside = None;
        held
    }
}

/// The holds of several volumes, let go at once: when the last copy is fixed or given up.
pub struct Together(Arc<Mutex<Shared>>);

struct Shared {
    /// How many copies are not fixed yet.
    left: usize,
    holds: Vec<Hold>,
    /// Whether no write can have landed since all were held.
    held: bool,
}

impl Together {
    /// Shares the holds, all in force: what comes back is one for the copy of each volume, in the
    /// same order. `None` when writes to one volume go on, for they cannot be held, and somebody
    /// can write to another: then there is no one moment.
    #[must_use]
    pub fn share(holds: Vec<Hold>) -> Option<(Self, Vec<Hold>)> {
        let needed = holds.iter().filter(|hold| hold.is_needed()).count();
        let is_free = |hold: &Hold| matches!(hold.writes, Writes::Free);
        if needed > 1 && holds.iter().any(is_free) {
            return None;
        }
        let until = holds.iter().filter_map(|hold| match &hold.writes {
            Writes::Held(held) => Some(held.until),
            Writes::None | Writes::Free => None,
        });
        let until = until.min();
        let frees: Vec<bool> = holds.iter().map(is_free).collect();
        let shared = Arc::new(Mutex::new(Shared { left: holds.len(), holds, held: true }));
        let share = |free: bool| {
            let kept = LetGo(Arc::clone(&shared));
            match until {
                // A volume that nobody writes waits too: its copy is late when the others' is.
                Some(until) => Hold::until(until, move || kept.let_go()),
                None if free => Hold::impossible().beside(kept),
                None => Hold::needless().beside(kept),
            }
        };
        let shares = frees.into_iter().map(share).collect();
        Some((Self(shared), shares))
    }

    /// Whether every copy is fixed or given up, and no write can have landed from the moment when
    /// all were held until then.
    #[must_use]
    pub fn was_held(&self) -> bool {
        let shared = lock(&self.0);
        shared.left == 0 && shared.held
    }
}

/// One copy's part in the holds, given up when dropped.
struct LetGo(Arc<Mutex<Shared>>);

impl LetGo {
    fn let_go(self) -> bool {
        let shared = Arc::clone(&self.0);
        drop(self);
        lock(&shared).held
    }
}

impl Drop for LetGo {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.left -= 1;
        if shared.left == 0 {
            let mut holds = std::mem::take(&mut shared.holds);
            // Each of them, also after one that was over.
            let over = holds.iter_mut().filter_map(|hold| (!hold.release()).then_some(())).count();
            shared.held = over == 0;
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Whole after every statement.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Whoever drops it has no use for the copy.
        let _ = self.release();
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.writes {
            Writes::None => f.write_str("nobody writes"),
            Writes::Free => f.write_str("writes go on"),
            Writes::Held(held) => write!(f, "writes held until {:?}", held.until),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_hold_lets_go_once_however_it_ends() {
        let let_go = Arc::new(AtomicU32::new(0));
        let hold = |left| {
            let count = Arc::clone(&let_go);
            Hold::until(Instant::now() + left, move || {
                count.fetch_add(1, SeqCst);
                true
            })
        };
        let mut released = hold(Duration::from_secs(60));
        assert!(released.is_needed() && !released.is_over());
        assert!(released.release());
        drop(released);
        assert_eq!(let_go.load(SeqCst), 1);
        let late = hold(Duration::ZERO);
        assert!(late.is_over());
        drop(late);
        assert_eq!(let_go.load(SeqCst), 2);
        let kept = Arc::new(());
        let mut beside = Hold::needless().beside(Arc::clone(&kept)).beside(Arc::clone(&kept));
        assert_eq!(Arc::strong_count(&kept), 3);
        assert!(beside.release());
        assert_eq!(Arc::strong_count(&kept), 1, "let go with the hold");
        let mut needless = Hold::needless();
        let mut free = Hold::impossible();
        assert!(free.is_needed() && free.is_over() && free.release());
        assert!(needless.release() && !needless.is_needed() && !needless.is_over());
    }

    #[test]
    fn holds_that_are_shared_end_with_the_last_copy() {
        let let_go = Arc::new(AtomicU32::new(0));
        let hold = |held: bool| {
            let count = Arc::clone(&let_go);
            Hold::until(Instant::now() + Duration::from_secs(60), move || {
                count.fetch_add(1, SeqCst);
                held
            })
        };
        let (together, mut shares) =
            Together::share(vec![hold(true), Hold::needless(), hold(true)]).unwrap();
        assert!(shares.iter().all(|share| share.is_needed() && !share.is_over()));
        assert!(shares[0].release());
        drop(shares.remove(1));
        assert_eq!(let_go.load(SeqCst), 0, "one is not fixed yet");
        assert!(!together.was_held());
        assert!(shares[1].release());
        assert_eq!(let_go.load(SeqCst), 2);
        assert!(together.was_held());
        // One that was over makes all of them worthless.
        let (together, shares) = Together::share(vec![hold(false), hold(true)]).unwrap();
        drop(shares);
        assert_eq!(let_go.load(SeqCst), 4);
        assert!(!together.was_held());
    }

    #[test]
    fn writes_that_go_on_have_no_moment_in_common() {
        assert!(Together::share(vec![Hold::impossible(), Hold::impossible()]).is_none());
        let (together, shares) =
            Together::share(vec![Hold::impossible(), Hold::needless()]).unwrap();
        let needed: Vec<_> = shares.iter().map(Hold::is_needed).collect();
        assert_eq!(needed, [true, false]);
        drop(shares);
        assert!(together.was_held(), "one volume alone has a moment of its own");
    }
}
