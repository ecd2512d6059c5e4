//! What a process took: processor time and memory, from `/proc`.

use std::time::Duration;

/// A process's account at one moment.
#[derive(Clone, Copy)]
pub struct Usage {
    cpu: Duration,
    rss_kib: u64,
}

impl Usage {
    pub fn of(process: u32) -> Self {
        let stat = read(process, "stat");
        // The command's name may hold anything, so count from the end of its brackets.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |at: usize| rest.split_whitespace().nth(at).and_then(|f| f.parse::<u64>().ok());
        let ticks = field(11).unwrap_or(0) + field(12).unwrap_or(0);
        let status = read(process, "status");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss_kib = rss.and_then(|text| text.split_whitespace().next()?.parse().ok());
        // USER_HZ is 100 on every Linux that Rust runs on.
        Self { cpu: Duration::from_millis(ticks * 10), rss_kib: rss_kib.unwrap_or(0) }
    }

    /// The processor time from then to `later`.
    pub fn until(&self, later: &Self) -> Duration {
        later.cpu.saturating_sub(self.cpu)
    }

    pub fn rss_mib(&self) -> f64 {
        self.rss_kib as f64 / 1024.0
    }
}

fn read(process: u32, what: &str) -> String {
    std::fs::read_to_string(format!("/proc/{process}/{what}")).unwrap_or_default()
}
