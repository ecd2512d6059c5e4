//! Load and what came of it: operations a second, latencies, processor time.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::http::Client;

/// What a load gave.
pub struct Figures {
    took: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
    cpu: Option<Duration>,
}

impl Figures {
    fn new(took: Duration, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self { took, latencies, cpu: None }
    }

    /// With the processor time that the server took for it.
    pub fn with_cpu(mut self, cpu: Duration) -> Self {
        self.cpu = Some(cpu);
        self
    }

    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    fn quantile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        let one = self.latencies.get(at).or(self.latencies.last());
        one.map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    pub fn header() -> String {
        format!(
            "{:<34} {:>9} {:>9} {:>9} {:>12} {:>11}",
            "operation", "per s", "p50 ms", "p99 ms", "CPU us/op", "of baseline"
        )
    }

    pub fn row(&self, name: &str, baseline: Option<&Self>) -> String {
        let cpu = self.cpu.map_or_else(String::new, |cpu| {
            format!("{:.0}", cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64)
        });
        let ratio = baseline
            .map_or_else(String::new, |b| format!("{:.2}", self.per_second() / b.per_second()));
        format!(
            "{name:<34} {:>9.0} {:>9.3} {:>9.3} {cpu:>12} {ratio:>11}",
            self.per_second(),
            self.quantile(0.5),
            self.quantile(0.99)
        )
    }
}

/// `clients` at once, over and over, for some time.
pub fn run(clients: usize, time: Duration, act: impl Fn(&mut Client, u64) + Sync) -> Figures {
    let count = AtomicU64::new(0);
    let began = Instant::now();
    let latencies = at_once(clients, |client, mine| {
        while began.elapsed() < time {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let start = Instant::now();
            act(client, number);
            mine.push(start.elapsed());
        }
    });
    Figures::new(began.elapsed(), latencies)
}

/// `clients` at once, each of `count` things once; what each gave, in order.
pub fn each(
    clients: usize,
    count: usize,
    act: impl Fn(&mut Client, usize) -> String + Sync,
) -> (Figures, Vec<String>) {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(vec![String::new(); count]);
    let began = Instant::now();
    let latencies = at_once(clients, |client, mine| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let start = Instant::now();
            let answer = act(client, number);
            mine.push(start.elapsed());
            answers.lock().expect("no client panicked")[number] = answer;
        }
    });
    let figures = Figures::new(began.elapsed(), latencies);
    (figures, answers.into_inner().expect("no client panicked"))
}

fn at_once(clients: usize, work: impl Fn(&mut Client, &mut Vec<Duration>) + Sync) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut mine) = (Client::default(), Vec::new());
                    work(&mut client, &mut mine);
                    mine
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().expect("no client panicked")).collect()
    })
}

/// What the disk does by itself: 512 bytes appended and synced, over and over.
pub fn fdatasync_loop(home: &Path, time: Duration) -> Figures {
    let file = File::create(home.join("sync")).expect("a file");
    let (mut latencies, began) = (Vec::new(), Instant::now());
    while began.elapsed() < time {
        let start = Instant::now();
        file.write_all_at(&[7; 512], latencies.len() as u64 * 512).expect("a write");
        file.sync_data().expect("a sync");
        latencies.push(start.elapsed());
    }
    Figures::new(began.elapsed(), latencies)
}
