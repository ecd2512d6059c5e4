//! How long commands take: a histogram with fixed bounds.
//!
//! Recording is two relaxed additions, whatever the number of sessions. The bounds grow in steps of
//! 1, 2, 5 from 20 µs to 10 s: fine enough to tell a cache from a disk from a stall, and few enough
//! to keep for every grant. A snapshot is not taken in one moment: a command that ends meanwhile
//! may be in the buckets and not yet in the sum. Nothing is ever lost by that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper ends of the buckets, inclusive, in nanoseconds. One more bucket takes what is slower.
pub const BOUNDS: [u64; 18] = [
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram that many threads record in.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Histogram {
    /// Records one command.
    pub fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[at].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// What has been recorded so far.
    pub fn read(&self) -> Latency {
        let mut latency = Latency::default();
        for (count, bucket) in latency.counts.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Relaxed);
        }
        latency.nanos = self.nanos.load(Relaxed);
        latency
    }
}

/// What a histogram held at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Commands by the bucket of [`BOUNDS`] they fell in; the last is what was slower than all.
    pub counts: [u64; BUCKETS],
    /// Time of all of them together, in nanoseconds.
    pub nanos: u64,
}

impl Latency {
    /// How many commands.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_it_ends() {
        let histogram = Histogram::default();
        for nanos in [0, 20_000, 20_001, 10_000_000_000, 10_000_000_001, u64::MAX / 2] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let latency = histogram.read();
        let used: Vec<_> = latency.counts.iter().enumerate().filter(|(_, n)| **n > 0).collect();
        assert_eq!(used, [(0, &2), (1, &1), (17, &1), (18, &2)]);
        assert_eq!(latency.count(), 6);
    }

    #[test]
    fn the_bounds_grow() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn sums_are_exact() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(30));
        other.record(Duration::from_millis(3));
        let mut both = one.read();
        both.add(&other.read());
        assert_eq!((both.count(), both.nanos), (2, 3_030_000));
    }
}
