//! How fast: a limit on commands and on bytes a second, and the two buckets that keep it.
//!
//! A bucket is one number, the moment at which it will be full again (GCRA): carrying something
//! out moves that moment on by its price, the time that the limit takes to earn it. What moves the
//! moment no further than [`BURST`] ahead may go now; so in any window of time there is never more
//! than the limit times the window, plus one burst. Something dearer than a whole burst goes
//! when the bucket is full, and is paid off afterwards. Prices are rounded up: never above the limit.

use std::num::NonZeroU64;
use std::time::Duration;

/// Nanoseconds since a moment that the owner of the clock has chosen.
pub type Nanos = u64;

/// What may be spent at once after a pause: a tenth of a second's worth.
pub const BURST: Nanos = 100_000_000;

const SECOND: u128 = 1_000_000_000;

/// Most that is carried out in a second; `None` means without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Commands.
    pub iops: Option<NonZeroU64>,
    /// Bytes.
    pub bytes_per_second: Option<NonZeroU64>,
}

impl Rate {
    /// No limit at all.
    pub const NONE: Self = Self { iops: None, bytes_per_second: None };

    /// A limit of so many commands and bytes a second; 0 means without.
    #[must_use]
    pub const fn new(iops: u64, bytes_per_second: u64) -> Self {
        Self { iops: NonZeroU64::new(iops), bytes_per_second: NonZeroU64::new(bytes_per_second) }
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// How much may go at once after a pause.
    #[must_use]
    pub const fn burst() -> Duration {
        Duration::from_nanos(BURST)
    }
}

/// One limit and what of it is spent.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: NonZeroU64,
    full_at: Nanos,
}

impl Bucket {
    fn price(&self, units: u64) -> Nanos {
        let price = (u128::from(units) * SECOND).div_ceil(u128::from(self.rate.get()));
        u64::try_from(price).unwrap_or(u64::MAX)
    }

    fn ready(&self, now: Nanos, price: Nanos) -> Nanos {
        let full_after = self.full_at.saturating_add(price);
        now.max(full_after.saturating_sub(price.max(BURST)))
    }

    fn spend(&mut self, now: Nanos, price: Nanos) {
        self.full_at = self.full_at.max(now).saturating_add(price);
    }

    /// The same debt under another limit. It takes no longer to pay off than it would have: a limit
    /// that is lowered does not punish what was spent under the old one.
    fn changed(old: Option<Self>, rate: Option<NonZeroU64>, now: Nanos) -> Option<Self> {
        let rate = rate?;
        let debt = old.map_or(0, |old| {
            let debt = old.full_at.saturating_sub(now);
            let scaled = u128::from(debt) * u128::from(old.rate.get()) / u128::from(rate.get());
            u64::try_from(scaled).map_or(debt, |scaled| scaled.min(debt))
        });
        Some(Self { rate, full_at: now.saturating_add(debt) })
    }
}

/// A limit on both, and what of it is spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    iops: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    /// The earliest moment from `now` on at which a command that moves so many bytes may go.
    pub fn ready(&self, now: Nanos, bytes: u64) -> Nanos {
        let of = |bucket: &Option<Bucket>, units| {
            bucket.as_ref().map_or(now, |bucket| bucket.ready(now, bucket.price(units)))
        };
        of(&self.iops, 1).max(of(&self.bytes, bytes))
    }

    /// Writes down that one goes.
    pub fn spend(&mut self, now: Nanos, bytes: u64) {
        for (bucket, units) in [(&mut self.iops, 1), (&mut self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                bucket.spend(now, bucket.price(units));
            }
        }
    }

    /// What one takes of the limit that it takes most of, as time.
    pub fn weight(&self, bytes: u64) -> Nanos {
        let of = |bucket: &Option<Bucket>, units| bucket.as_ref().map_or(0, |b| b.price(units));
        of(&self.iops, 1).max(of(&self.bytes, bytes))
    }

    /// Whether nothing is owed any more.
    pub fn is_paid(&self, now: Nanos) -> bool {
        [&self.iops, &self.bytes].into_iter().flatten().all(|bucket| bucket.full_at <= now)
    }

    /// Changes the limit; what is spent stays spent.
    pub fn change(&mut self, rate: Rate, now: Nanos) {
        self.iops = Bucket::changed(self.iops, rate.iops, now);
        self.bytes = Bucket::changed(self.bytes, rate.bytes_per_second, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(iops: u64, bytes: u64) -> Meter {
        let mut meter = Meter::default();
        meter.change(Rate::new(iops, bytes), 0);
        meter
    }

    /// Takes as much as may go until `end`; the moments at which it went.
    fn greedy(meter: &mut Meter, bytes: u64, from: Nanos, end: Nanos) -> Vec<Nanos> {
        let mut went = vec![];
        let mut now = from;
        loop {
            now = meter.ready(now, bytes);
            if now >= end {
                return went;
            }
            meter.spend(now, bytes);
            went.push(now);
        }
    }

    #[test]
    fn without_a_limit_everything_goes_at_once() {
        let mut meter = meter(0, 0);
        for _ in 0..1000 {
            assert_eq!(meter.ready(5, u64::MAX), 5);
            meter.spend(5, u64::MAX);
        }
        assert_eq!(meter.weight(1 << 40), 0);
    }

    #[test]
    fn a_burst_and_then_one_after_the_other() {
        let mut meter = meter(1000, 0);
        let went = greedy(&mut meter, 0, 0, 200_000_000);
        assert!(went[..100].iter().all(|&at| at == 0), "a tenth of a second's worth at once");
        assert_eq!(went[100..103], [1_000_000, 2_000_000, 3_000_000]);
        assert_eq!(went.len(), 299);
    }

    #[test]
    fn what_is_dearer_than_a_burst_goes_when_all_is_paid_and_is_paid_off() {
        let mut meter = meter(0, 1_000_000);
        assert_eq!(meter.ready(0, 4_000_000), 0);
        meter.spend(0, 4_000_000);
        assert_eq!(meter.ready(0, 4_000_000), 4_000_000_000);
        // A small one has to leave only the burst uncovered.
        assert_eq!(meter.ready(0, 0), 3_900_000_000);
    }

    #[test]
    fn a_limit_that_changes_holds_from_then_on() {
        let mut meter = meter(10, 0);
        greedy(&mut meter, 0, 0, 1);
        meter.change(Rate::new(1000, 0), 0);
        assert!(meter.ready(0, 0) <= 1_000_000, "an old debt is paid at the new rate");
        greedy(&mut meter, 0, 0, 1);
        meter.change(Rate::new(10, 0), 0);
        assert!(meter.ready(0, 0) <= BURST, "a debt of the past does not grow");
        meter.change(Rate::NONE, 0);
        assert_eq!(meter.ready(7, 0), 7);
    }

    #[test]
    fn limits_without_sense_do_no_harm() {
        let mut meter = meter(u64::MAX, 1);
        meter.spend(u64::MAX - 1, u64::MAX);
        assert_eq!(meter.ready(u64::MAX - 1, u64::MAX), u64::MAX - 1);
    }
}
