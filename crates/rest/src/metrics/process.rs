//! This process, as every Prometheus client reports its own: the names are those of its exporters,
//! so that dashboards for any process work for this one.
//!
//! Read from `/proc`; what cannot be read has no row.

use std::fmt;
use std::fs;

use rustix::process::{Resource, getrlimit};

use super::page::{Labels, Page, bytes, family, seconds};

pub(super) fn write(page: &mut Page<'_>) -> fmt::Result {
    let stat = Stat::read();
    let stat = stat.as_ref();
    page.counter(
        &seconds("process_cpu", "Processor time, of user and system"),
        row(stat.map(|stat| stat.cpu)),
    )?;
    page.gauge(
        &seconds("process_start_time", "When the process began, since 1970"),
        row(stat.and_then(Stat::started)),
    )?;
    page.gauge(
        &bytes("process_resident_memory", "Memory in use"),
        row(stat.map(|stat| stat.resident)),
    )?;
    page.gauge(
        &family("process_open_fds", "Open files and connections"),
        row(fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64)),
    )?;
    page.gauge(
        &family("process_max_fds", "How many may be open"),
        row(getrlimit(Resource::Nofile).current),
    )
}

fn row<V>(value: Option<V>) -> impl Iterator<Item = (Labels<'static>, V)> {
    value.into_iter().map(|value| (Labels::new(), value))
}

struct Stat {
    cpu: f64,
    resident: u64,
    since_boot: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// See proc_pid_stat(5). The name, in parentheses, may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        // The first field after the name is number 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) as f64 / ticks,
            since_boot: field(22)? as f64 / ticks,
            resident: field(24)? * rustix::param::page_size() as u64,
        })
    }

    fn started(&self) -> Option<f64> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let boot = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(boot.trim().parse::<f64>().ok()? + self.since_boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_shifts_nothing() {
        let rest = (4..=40).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let stat = Stat::parse(&format!("1 (a) b (c) S {rest}")).unwrap();
        assert_eq!(stat.resident, 24 * rustix::param::page_size() as u64);
        assert!(Stat::parse("1 (a) S 4").is_none() && Stat::parse("").is_none());
    }
}
