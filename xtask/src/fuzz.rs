//! `cargo xtask fuzz [target] [--seconds N]`: libFuzzer on the targets of `fuzz/`, all at once.
//!
//! The coverage that libFuzzer follows is put in by passes of LLVM that the stable compiler has, so no
//! nightly is needed; libFuzzer itself is C++ and needs a compiler for that, and where there is none
//! the run is skipped, aloud (the corpus is replayed by `cargo test` in any case). What is found goes to
//! `fuzz/found`, crashes to `fuzz/artifacts`; `--merge` takes what is worth keeping into the committed corpus.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace;

/// All targets.
const TARGETS: &[&str] = &["pdu", "login", "commands", "session"];

/// Counters for every edge, and the operands of comparisons: what cargo-fuzz asks for too, but for the
/// sanitizers, which need a nightly compiler and find nothing where there is no `unsafe`.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// How long a run in `ci` takes, after the build.
const BRIEF: u32 = 10;

/// What to run.
#[derive(Args)]
pub struct Options {
    /// One of pdu, login, commands, session; without it, all of them side by side.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Afterwards, take what covers something new into the committed corpus.
    #[arg(long)]
    merge: bool,
}

/// What came of it.
pub enum Outcome {
    /// Every target ran, and none failed.
    Passed,
    /// It cannot be built here: why.
    Skipped(String),
}

/// The short run of `ci`.
pub fn brief() -> Result<Outcome> {
    run_targets(TARGETS, BRIEF, false)
}

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    let one = options.target.as_deref();
    let targets: Vec<&str> =
        TARGETS.iter().copied().filter(|name| one.is_none_or(|one| one == *name)).collect();
    match run_targets(&targets, options.seconds, options.merge)? {
        Outcome::Passed => Ok(ExitCode::SUCCESS),
        Outcome::Skipped(why) => bail!("{why}"),
    }
}

fn run_targets(targets: &[&str], seconds: u32, merge: bool) -> Result<Outcome> {
    let folder = workspace::root()?.join("fuzz");
    if !has_compiler() {
        return Ok(Outcome::Skipped("libFuzzer needs a C++ compiler (apt-get install g++)".into()));
    }
    let programs = build(&folder)?;
    fs::create_dir_all(folder.join("artifacts")).context("could not make fuzz/artifacts")?;
    let seconds = format!("-max_total_time={seconds}");
    let mut running = Vec::new();
    for target in targets {
        let found = folder.join("found").join(target);
        fs::create_dir_all(&found)
            .with_context(|| format!("could not make {}", found.display()))?;
        let log = folder.join("artifacts").join(format!("{target}.log"));
        let said =
            File::create(&log).with_context(|| format!("could not write {}", log.display()))?;
        let child = Command::new(programs.join(target))
            .current_dir(&folder)
            .args([&found, &folder.join("corpus").join(target)])
            .args(["-dict=iscsi.dict", "-timeout=10", "-rss_limit_mb=1024", &seconds])
            .arg(format!("-artifact_prefix=artifacts/{target}-"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .with_context(|| format!("could not run {target}"))?;
        running.push((*target, child, log));
    }
    let mut failed = Vec::new();
    for (target, child, log) in running {
        if !report(target, child, &log)? {
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!("{} failed; the inputs are in fuzz/artifacts", failed.join(", "));
    }
    if merge {
        targets.iter().try_for_each(|target| keep(&folder, &programs, target))?;
    }
    Ok(Outcome::Passed)
}

fn has_compiler() -> bool {
    let named = std::env::var("CXX").ok();
    let mut compilers = [named.as_deref(), Some("c++"), Some("g++"), Some("clang++")].into_iter();
    compilers.any(|compiler| {
        compiler.is_some_and(|compiler| {
            let mut asked = Command::new(compiler);
            let asked = asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            asked.status().is_ok_and(|status| status.success())
        })
    })
}

/// Builds all targets; the folder they are in.
fn build(folder: &Path) -> Result<PathBuf> {
    // With a target named, the flags stay away from build scripts.
    let host = workspace::host_triple()?;
    let target = folder.join("target");
    let status = workspace::cargo()
        .current_dir(folder)
        .args(["build", "--release", "--target", &host])
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .context("could not run cargo")?;
    if !status.success() {
        bail!("the fuzz targets do not build");
    }
    Ok(target.join(host).join("release"))
}

/// Waits for a target; says in one line how it did, or all it said if it failed.
fn report(target: &str, mut child: Child, log: &Path) -> Result<bool> {
    let status = child.wait().context("could not wait")?;
    let said = fs::read(log).with_context(|| format!("could not read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if !status.success() {
        println!("{said}\nfuzz: {target} ended with {status}");
        return Ok(false);
    }
    let covered = said.lines().rfind(|line| line.contains(" cov: ")).unwrap_or_default();
    println!("fuzz: {target}: {}", summary(covered));
    Ok(true)
}

/// What a person wants to know of libFuzzer's last line.
fn summary(line: &str) -> String {
    let mut words = line.split_whitespace();
    let runs = words.next().unwrap_or_default().trim_start_matches('#');
    let mut value = |name| words.find(|word| *word == name).and_then(|_| words.next());
    let [edges, kept] = ["cov:", "corp:"].map(|name| value(name).unwrap_or("?"));
    format!("{runs} inputs, {edges} edges, corpus {kept}, nothing wrong")
}

/// Adds what covers more to the committed corpus.
fn keep(folder: &Path, programs: &Path, target: &str) -> Result<()> {
    let [corpus, found] = ["corpus", "found"].map(|name| folder.join(name).join(target));
    let status = Command::new(programs.join(target))
        .args(["-merge=1", "-max_len=2048"])
        .args([corpus, found])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("could not merge the corpus of {target}"))?;
    if status.success() { Ok(()) } else { bail!("merging the corpus of {target}: {status}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read() {
        let line =
            "#19348210\tDONE   cov: 12 ft: 12 corp: 5/21b lim: 4096 exec/s: 921343 rss: 27Mb";
        assert_eq!(summary(line), "19348210 inputs, 12 edges, corpus 5/21b, nothing wrong");
    }

    #[test]
    fn every_target_is_built_and_has_a_corpus() {
        let folder = workspace::root().unwrap().join("fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let built: Vec<_> =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/")).collect();
        let expected: Vec<_> = TARGETS.iter().map(|target| format!("{target}.rs\"")).collect();
        assert_eq!(built, expected);
        for target in TARGETS {
            assert!(fs::read_dir(folder.join("corpus").join(target)).unwrap().next().is_some());
        }
    }
}
