//! What is measured: kinds of I/O, and how one round of them went.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::process::Usage;

/// One kind of I/O at one depth over so many sessions.
#[derive(Clone, Copy)]
pub struct Cell {
    pub write: bool,
    pub random: bool,
    /// Bytes of one I/O.
    pub bytes: usize,
    pub depth: usize,
    pub sessions: usize,
    pub medium: Medium,
}

/// What the medium has to do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Nothing: all of it is in the page cache.
    Cached,
    /// A read finds nothing in the page cache, at least the first time.
    Cold,
    /// A write is answered when it is durable (FUA).
    Durable,
}

const fn small(write: bool, depth: usize, sessions: usize) -> Cell {
    Cell { write, random: true, bytes: 4096, depth, sessions, medium: Medium::Cached }
}

const fn large(write: bool, sessions: usize) -> Cell {
    let medium = Medium::Cached;
    Cell { write, random: false, bytes: 1 << 20, depth: 4, sessions, medium }
}

const fn cold(sessions: usize) -> Cell {
    Cell { medium: Medium::Cold, ..small(false, 32, sessions) }
}

const fn durable(sessions: usize) -> Cell {
    Cell { medium: Medium::Durable, ..small(true, 32, sessions) }
}

/// The table's rows.
pub const CELLS: [Cell; 24] = [
    small(false, 1, 1),
    small(false, 1, 2),
    small(false, 1, 8),
    small(false, 32, 1),
    small(false, 32, 2),
    small(false, 32, 8),
    small(true, 1, 1),
    small(true, 1, 2),
    small(true, 1, 8),
    small(true, 32, 1),
    small(true, 32, 2),
    small(true, 32, 8),
    large(false, 1),
    large(false, 2),
    large(false, 8),
    large(true, 1),
    large(true, 2),
    large(true, 8),
    cold(1),
    cold(2),
    cold(8),
    durable(1),
    durable(2),
    durable(8),
];

impl Cell {
    pub fn name(&self) -> String {
        let size = if self.bytes == 4096 { "4 KiB random" } else { "1 MiB sequential" };
        let kind = match (self.write, self.medium) {
            (false, Medium::Cold) => "cold read",
            (false, Medium::Cached | Medium::Durable) => "read",
            (true, Medium::Durable) => "FUA write",
            (true, Medium::Cached | Medium::Cold) => "write",
        };
        format!("{size} {kind}, {}x{}", self.depth, self.sessions)
    }

    /// Where the I/Os of one session go, for ever.
    pub fn offsets(&self, session: usize, medium: u64) -> impl FnMut() -> u64 + use<> {
        let places = medium / self.bytes as u64;
        let random = self.random;
        let bytes = self.bytes as u64;
        let mut at = places / self.sessions as u64 * session as u64;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(session as u64 + 1);
        move || {
            let place = if random {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % places
            } else {
                at += 1;
                at % places
            };
            place * bytes
        }
    }
}

/// One round.
pub struct Figures {
    pub operations: u64,
    pub elapsed: Duration,
    /// Processor time of the target's process.
    pub cpu: Duration,
    /// Processor time of this process, which drives it.
    pub driver: Duration,
    /// Median and 99th percentile, at depth 1.
    pub latency: Option<(Duration, Duration)>,
}

impl Figures {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    pub fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.operations as f64
    }

    pub fn driver_micros(&self) -> f64 {
        self.driver.as_secs_f64() * 1e6 / self.operations as f64
    }

    /// The round in the middle, by its rate; its latency is the middle one of all rounds.
    pub fn median(mut rounds: Vec<Self>) -> Option<Self> {
        rounds.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        let mut latencies: Vec<_> = rounds.iter().filter_map(|round| round.latency).collect();
        latencies.sort_unstable();
        let latency = latencies.get(latencies.len() / 2).copied();
        let sum = |of: fn(&Self) -> Duration| rounds.iter().map(of).sum::<Duration>().as_secs_f64();
        let (cpu, driver) = (sum(|round| round.cpu), sum(|round| round.driver));
        let operations = rounds.iter().map(|round| round.operations).sum::<u64>();
        let middle = rounds.len() / 2;
        let mut round = rounds.into_iter().nth(middle)?;
        // Processor time is counted in hundredths of a second: too coarse for one round.
        let share = round.operations as f64 / operations as f64;
        round.cpu = Duration::from_secs_f64(cpu * share);
        round.driver = Duration::from_secs_f64(driver * share);
        Some(Self { latency, ..round })
    }

    /// Sorts latencies out.
    pub fn percentiles(mut latencies: Vec<Duration>) -> Option<(Duration, Duration)> {
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1)?;
        Some((latencies[last / 2], latencies[last * 99 / 100]))
    }
}

/// Runs `work` on one thread per session and sums up. `work` makes itself ready, calls its second
/// argument, which returns the moment to stop at, and returns operations and latencies.
pub fn on_threads(
    sessions: usize,
    time: Duration,
    work: impl Fn(usize, &dyn Fn() -> Instant) -> (u64, Vec<Duration>) + Sync,
    usage: impl Fn() -> Duration,
) -> Figures {
    std::thread::scope(|scope| {
        // A thread that dies drops its ends, so the others and we are never left waiting.
        let (is_ready, ready) = mpsc::channel();
        let (threads, starts): (Vec<_>, Vec<_>) = (0..sessions)
            .map(|n| {
                let (start, started) = mpsc::channel();
                let (work, is_ready) = (&work, is_ready.clone());
                let begin = move || {
                    is_ready.send(()).expect("somebody waits");
                    started.recv().expect("all sessions are ready")
                };
                (scope.spawn(move || work(n, &begin)), start)
            })
            .unzip();
        drop(is_ready);
        for _ in 0..sessions {
            ready.recv().expect("every session gets ready");
        }
        let own = Usage::of(std::process::id());
        let (before, began) = (usage(), Instant::now());
        for start in starts {
            start.send(began + time).expect("a session waits");
        }
        let (mut operations, mut latencies) = (0, Vec::new());
        for thread in threads {
            let (done, of_it) = thread.join().expect("a session's thread");
            operations += done;
            latencies.extend(of_it);
        }
        let elapsed = began.elapsed();
        let cpu = usage().saturating_sub(before);
        let driver = own.until(&Usage::of(std::process::id()));
        Figures { operations, elapsed, cpu, driver, latency: Figures::percentiles(latencies) }
    })
}
