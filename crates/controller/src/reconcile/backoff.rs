//! Pauses between tries: doubled each time up to a limit, and a little unequal, so that many
//! volumes that failed together do not all come back at the same moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pauses of one volume.
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    salt: RandomState,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first, salt: RandomState::new() }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause: between three quarters of its nominal length and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let nominal = self.next;
        self.next = nominal.saturating_mul(2).min(self.most);
        let share = self.salt.hash_one(nominal) % 256;
        nominal.mul_f64(0.75 + share as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_over() {
        let (first, most) = (Duration::from_millis(100), Duration::from_millis(300));
        let mut backoff = Backoff::new(first, most);
        for nominal in [100, 200, 300, 300] {
            let pause = backoff.next().as_millis();
            assert!((nominal * 3 / 4..=nominal).contains(&pause), "{pause} of {nominal}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
