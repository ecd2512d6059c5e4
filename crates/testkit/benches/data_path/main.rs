//! The data path's figures: our target beside tgt, the bare file and a bare socket, in one run.
//!
//! Targets are child processes (this program again, and Debian's tgtd, whose segment sizes are set
//! to ours so that it is compared at its best); the same initiator drives both, from this process
//! and on the same cores. A cell is one kind of I/O at one depth over so many sessions. Rounds of the
//! rivals and of the limits take turns and the median counts, so that a busy machine hurts all
//! alike. The medium is a file in the page cache, but for cold reads and durable writes.
//!
//! `cargo xtask bench data-path [--quick]`

mod cell;
mod limits;
#[path = "../../../osds/benches/control_plane/process.rs"]
mod process;
mod rivals;

use std::path::Path;
use std::time::Duration;

use cell::{CELLS, Cell, Figures};
use rivals::{MEDIUM, Rival};

/// Rounds of each rival and limit in one cell.
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", file] => return rivals::serve(Path::new(file)),
        ["answer"] => return limits::answer(),
        _ => {}
    }
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let round = Duration::from_millis(if has("--quick") { 100 } else { 500 });
    // For profiling: only cells whose name contains this, for longer.
    let only = arguments.iter().find_map(|argument| argument.strip_prefix("--only="));
    let ours_alone = has("--ours");
    let home = tempfile::tempdir().expect("a temporary directory");
    for name in ["ours", "tgt", "bare"] {
        rivals::write_medium(&home.path().join(name));
    }
    let ours = Rival::ours(&home.path().join("ours"));
    let tgt =
        if ours_alone { Err("not asked for".into()) } else { Rival::tgt(&home.path().join("tgt")) };
    if let Err(why) = &tgt {
        println!("SKIPPED: tgt: {why}\n");
    }
    let socket = limits::Socket::start();
    println!(
        "medium {} MiB in {}, rounds of {round:?}; cpu is of the target's process alone, driver of \
         this one, for each operation\n",
        MEDIUM >> 20,
        home.path().display()
    );
    println!("{}", header());
    for cell in CELLS.iter().filter(|cell| only.is_none_or(|part| cell.name().contains(part))) {
        let tgt = tgt.as_ref().ok();
        let [mut of_ours, mut of_tgt, mut of_file, mut of_socket] = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            of_ours.push(ours.measure(cell, round));
            of_tgt.extend(tgt.map(|tgt| tgt.measure(cell, round)));
            of_file.push(limits::file(&home.path().join("bare"), cell, round));
            of_socket.push(socket.measure(cell, round));
        }
        let middle = |rounds| Figures::median(rounds).expect("there were rounds");
        let (tgt, file, socket) = (Figures::median(of_tgt), middle(of_file), middle(of_socket));
        println!("{}", row(cell, &middle(of_ours), tgt.as_ref(), &file, &socket));
    }
    println!("\nRSS after all of it: ours {:.1} MiB", ours.usage().rss_mib());
    if let Ok(tgt) = &tgt {
        println!("RSS after all of it: tgt {:.1} MiB", tgt.usage().rss_mib());
    }
}

fn header() -> String {
    format!(
        "{:<30} {:>9} {:>9} {:>6} | {:>8} {:>8} | {:>8} {:>8} | {:>14} {:>14} | {:>6} {:>6} {:>6}",
        "", "ours", "tgt", "", "ours", "tgt", "ours", "tgt", "ours", "tgt", "of", "of", "MB/s"
    ) + &format!(
        "\n{:<30} {:>9} {:>9} {:>6} | {:>8} {:>8} | {:>8} {:>8} | {:>14} {:>14} | {:>6} {:>6} {:>6}",
        "kind, depth x sessions",
        "op/s",
        "op/s",
        "ratio",
        "cpu us",
        "cpu us",
        "driver",
        "driver",
        "p50/p99 us",
        "p50/p99 us",
        "file",
        "socket",
        "ours"
    )
}

fn row(
    cell: &Cell,
    ours: &Figures,
    tgt: Option<&Figures>,
    file: &Figures,
    socket: &Figures,
) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
    };
    let percentiles = |figures: Option<&Figures>| match figures.and_then(|f| f.latency) {
        Some((p50, p99)) => {
            format!("{:.0}/{:.0}", p50.as_secs_f64() * 1e6, p99.as_secs_f64() * 1e6)
        }
        None => "-".into(),
    };
    format!(
        "{:<30} {:>9.0} {:>9} {:>6} | {:>8.1} {:>8} | {:>8.1} {:>8} | {:>14} {:>14} | {:>6.2} {:>6.2} {:>6.0}",
        cell.name(),
        ours.rate(),
        number(tgt.map(Figures::rate), 0),
        number(tgt.map(|tgt| ours.rate() / tgt.rate()), 2),
        ours.cpu_micros(),
        number(tgt.map(Figures::cpu_micros), 1),
        ours.driver_micros(),
        number(tgt.map(Figures::driver_micros), 1),
        percentiles(Some(ours)),
        percentiles(tgt),
        ours.rate() / file.rate(),
        ours.rate() / socket.rate(),
        ours.rate() * cell.bytes as f64 / 1e6,
    )
}
