//! Writes held back while a copy of a volume is taken.
//!
//! A hold ends when it is let go or dropped, and by itself when its time is over: whoever holds
//! writes cannot forget to let them go on. So a copy counts only if the hold was still in force
//! when it was fixed, and [`Hold::release`] says whether it was.

use std::fmt;
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
}
