//! What hosts do with volumes, as a target counts it.
//!
//! Counters begin at 0 when a host is let in and when its target starts; whoever reads them must
//! expect that, and nothing is ever decided on them. They are never stored. A command is counted
//! once: by what it did when it ended well, else by why it did not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{HostId, VolumeId};

/// What one host did with one volume since it was let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Reads that ended well, and how long they took.
    pub reads: Latency,
    /// Writes that ended well, COMPARE AND WRITE left out.
    pub writes: Latency,
    /// Flushes of caches.
    pub flushes: Latency,
    /// COMPARE AND WRITEs that wrote; those that did not are miscompares.
    pub compare_and_writes: u64,
    /// Commands that gave blocks back.
    pub discards: u64,
    /// All other commands that ended well.
    pub others: u64,
    /// Bytes the reads gave.
    pub read_bytes: u64,
    /// Bytes the writes came with, and COMPARE AND WRITE wrote.
    pub written_bytes: u64,
    /// What did not end well.
    pub errors: Errors,
    /// Sessions at this moment.
    pub sessions: u64,
    /// Sessions that were let in.
    pub logins: u64,
    /// Commands that a limit held back.
    pub throttled: u64,
    /// For how long altogether.
    pub throttled_for: Duration,
}

/// Why commands did not end well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// The medium or the device failed.
    pub medium: u64,
    /// A reservation of another host forbade it.
    pub reservation_conflict: u64,
    /// It would have written and the host may only read.
    pub write_protected: u64,
    /// There was no space for what was to be written.
    pub no_space: u64,
    /// The medium held something else than was expected.
    pub miscompare: u64,
    /// It was given up: by the host, by another one, or by a reset.
    pub aborted: u64,
    /// It was turned away to be sent again later.
    pub busy: u64,
    /// The command was wrong, or is not offered.
    pub illegal_request: u64,
    /// Not an error of the command: the session was told of something instead.
    pub unit_attention: u64,
    /// Anything else.
    pub other: u64,
}

impl Errors {
    /// Every reason by its name, in the order they are shown.
    #[must_use]
    pub const fn by_kind(&self) -> [(&'static str, u64); 10] {
        [
            ("medium", self.medium),
            ("reservation_conflict", self.reservation_conflict),
            ("write_protected", self.write_protected),
            ("no_space", self.no_space),
            ("miscompare", self.miscompare),
            ("aborted", self.aborted),
            ("busy", self.busy),
            ("illegal_request", self.illegal_request),
            ("unit_attention", self.unit_attention),
            ("other", self.other),
        ]
    }
}

/// How long something took, in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Upper end (inclusive) and number of each bucket, from fast to slow.
    pub buckets: Vec<(Duration, u64)>,
    /// What was slower than all of them.
    pub beyond: u64,
    /// All of them together.
    pub total: Duration,
}

impl Latency {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.beyond
    }

    /// The time within which this many of a thousand were done, as far as the buckets tell: evenly
    /// spread inside one. `None` when nothing was done.
    #[must_use]
    pub fn within(&self, per_mille: u32) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = f64::from(per_mille) / 1000.0 * count as f64;
        let (mut below, mut from) = (0.0, Duration::ZERO);
        for (to, in_it) in &self.buckets {
            let in_it = *in_it as f64;
            if in_it > 0.0 && below + in_it >= rank {
                let share = ((rank - below) / in_it).clamp(0.0, 1.0);
                return Some(from + to.saturating_sub(from).mul_f64(share));
            }
            (below, from) = (below + in_it, *to);
        }
        Some(from)
    }
}

/// Logins that were refused, by reason. Who came is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRefusals {
    /// The initiator is not let in, or there is nothing there.
    pub not_granted: u64,
    /// The initiator could not prove its name.
    pub authentication: u64,
    /// No room for another session.
    pub no_room: u64,
    /// Anything else.
    pub other: u64,
}

impl LoginRefusals {
    /// Every reason by its name, in the order they are shown.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("not_granted", self.not_granted),
            ("authentication", self.authentication),
            ("no_room", self.no_room),
            ("other", self.other),
        ]
    }
}

/// What was done with one volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUsage {
    /// By host, those that are let in.
    pub hosts: BTreeMap<HostId, Usage>,
    /// Logins that were refused.
    pub refusals: LoginRefusals,
}

/// What was done with everything that a target exports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetUsage {
    /// By volume.
    pub volumes: BTreeMap<VolumeId, VolumeUsage>,
    /// Logins refused for anything that is not exported.
    pub refusals: LoginRefusals,
    /// Connections at this moment.
    pub connections: u64,
    /// Those of them that have not been let in to a volume.
    pub strangers: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_inside_their_bucket() {
        let ms = Duration::from_millis;
        let mut latency = Latency {
            buckets: vec![(ms(1), 0), (ms(2), 50), (ms(5), 40), (ms(10), 9)],
            beyond: 1,
            total: ms(300),
        };
        assert_eq!(latency.within(500), Some(ms(2)));
        assert_eq!(latency.within(250), Some(Duration::from_micros(1500)));
        assert_eq!(latency.within(990), Some(ms(10)));
        assert_eq!(latency.within(1000), Some(ms(10)), "slower than the slowest bound");
        latency = Latency { buckets: vec![(ms(1), 0)], beyond: 0, total: ms(0) };
        assert_eq!(latency.within(500), None);
    }
}
