//! `cargo xtask ci`: the one command that says whether the tree is sound.
//!
//! Runs the steps of [`steps`] in order, cheapest first, and stops at the first that fails with
//! the command that repeats it. The closing line sums up what `cargo test` counted; it never says
//! "0 failed" unless every step passed, and a test that skipped itself is not called passed.

mod count;
mod steps;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use self::count::Count;
use self::steps::{Kind, STEPS, Step};
use crate::fuzz;
use crate::lab;
use crate::packages::{self, Outcome};
use crate::workspace::{self, Workspace};

/// Which steps to run.
#[derive(Args)]
pub struct Options {
    /// Only the steps of the inner loop: static checks, clippy, unit tests.
    #[arg(long)]
    fast: bool,
    /// Say what would run, and run nothing.
    #[arg(long)]
    list: bool,
}

/// What the run knows so far.
#[derive(Default)]
struct Run {
    count: Count,
    /// The packages are there: no test has an excuse.
    require_packages: bool,
    /// Said again under the table, so that it is not lost in the noise.
    warnings: Vec<String>,
    /// Read when the first step asks for it.
    workspace: Option<Workspace>,
}

struct Row {
    name: &'static str,
    took: Duration,
    passed: bool,
}

/// Runs the steps. The closing line is the last thing said, also when a step failed.
pub fn run(options: &Options) -> Result<ExitCode> {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| step.runs(options.fast)).collect();
    if options.list {
        for step in steps {
            println!("{:<12} {}\n{:<12}   {}", step.name, step.about, "", step.repeat());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut run = Run::default();
    let mut rows = Vec::new();
    let begun = Instant::now();
    let mut failure = None;
    for (index, step) in steps.iter().enumerate() {
        println!("\n=== {}/{} {}: {}", index + 1, steps.len(), step.name, step.about);
        let started = Instant::now();
        let result = run.step(step);
        let took = started.elapsed();
        println!("--- {} took {}", step.name, seconds(took));
        rows.push(Row { name: step.name, took, passed: result.is_ok() });
        if let Err(error) = result {
            println!("error: {error:#}");
            failure = Some(format!("{}: {error:#}\n  repeat: {}", step.name, run.repeat(step)));
            break;
        }
    }
    summary(&rows, steps.len(), begun.elapsed());
    run.warnings.iter().for_each(|warning| println!("WARNING: {warning}"));
    if let Some(failure) = &failure {
        println!("FAILED {failure}");
    }
    println!("{}", run.count.closing_line(failure.is_some()));
    Ok(if failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Run {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step.kind {
            Kind::Own(check) => {
                if self.workspace.is_none() {
                    self.workspace = Some(Workspace::read()?);
                }
                check(self.workspace.as_ref().context("the workspace was read just now")?)
            }
            Kind::Cargo(_, _) => {
                let status = self.cargo(step)?.status().context("could not run cargo")?;
                if status.success() { Ok(()) } else { Err(anyhow!("cargo ended with {status}")) }
            }
            Kind::Tests(_) => self.tests(step),
            Kind::Fuzz => {
                if let fuzz::Outcome::Skipped(why) = fuzz::brief()? {
                    println!("{why}");
                    self.warnings.push(format!("nothing was fuzzed: {why}"));
                }
                Ok(())
            }
            Kind::Lab => match lab::whole()? {
                lab::Outcome::Held => Ok(()),
                lab::Outcome::Failed => bail!("a check of the lab did not hold"),
                lab::Outcome::Skipped(why) => {
                    println!("{why}");
                    self.warnings.push(format!("nothing was shown on real kernels: {why}"));
                    Ok(())
                }
            },
            Kind::Packages => {
                match packages::ensure() {
                    Outcome::Present => self.require_packages = true,
                    Outcome::Missing(what) => {
                        let how = packages::how();
                        println!("{what}");
                        self.warnings.push(format!(
                            "tests that need Debian packages were skipped ({what}); {how}"
                        ));
                    }
                }
                Ok(())
            }
        }
    }

    /// What to type to see the same result again.
    fn repeat(&self, step: &Step) -> String {
        match step.kind {
            Kind::Tests(_) if self.require_packages => {
                format!("{}=1 {}", packages::REQUIRE, step.repeat())
            }
            Kind::Tests(_)
            | Kind::Own(_)
            | Kind::Cargo(_, _)
            | Kind::Packages
            | Kind::Fuzz
            | Kind::Lab => step.repeat(),
        }
    }

    fn cargo(&self, step: &Step) -> Result<Command> {
        let mut command = workspace::cargo();
        command.current_dir(workspace::root()?).args(step.arguments());
        command.envs(step.environment().iter().copied());
        if self.require_packages {
            command.env(packages::REQUIRE, "1");
        }
        Ok(command)
    }

    /// Passes on what the tests say, and counts along.
    fn tests(&mut self, step: &Step) -> Result<()> {
        let mut child =
            self.cargo(step)?.stdout(Stdio::piped()).spawn().context("could not run cargo")?;
        let stdout = child.stdout.take().context("the pipe was asked for")?;
        let mut skipped = Vec::new();
        let mut failed = Vec::new();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("could not read what the tests say")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            self.count.read(&line);
            skipped.extend(count::skipped(&line).map(str::to_owned));
            failed.extend(count::failed(&line).map(str::to_owned));
        }
        let status = child.wait().context("could not wait for the tests")?;
        self.warnings.extend(skipped.iter().map(|test| format!("skipped: {test}")));
        if !status.success() {
            bail!("cargo ended with {status}; failed tests: {}", failed.join(", "));
        }
        if self.require_packages && !skipped.is_empty() {
            bail!("a test skipped itself though {} is set", packages::REQUIRE);
        }
        Ok(())
    }
}

fn summary(rows: &[Row], planned: usize, took: Duration) {
    println!("\n{:<12} {:>9}  result", "step", "time");
    for row in rows {
        let result = if row.passed { "ok" } else { "FAILED" };
        println!("{:<12} {:>9}  {result}", row.name, seconds(row.took));
    }
    let rest = match planned - rows.len() {
        0 => String::new(),
        left => format!("  {left} steps not run"),
    };
    println!("{:<12} {:>9}{rest}", "total", seconds(took));
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
