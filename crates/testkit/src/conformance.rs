//! libiscsi's conformance suite (`iscsi-test-cu`), and what we expect of it.
//!
//! The tool counts what it skips as passed, and says what it skips only when it is told to say
//! everything, so its own summary is of no use: what it says is read here. Each suite runs in a
//! process and on a disk of its own, because some take a fresh one for granted and some damage the
//! commands of all suites after them. What does not pass is in one table, `expected.tsv`, with its
//! reason; the tests of the library and of the daemon and `cargo xtask conformance` all read it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

const TOOL: &str = "iscsi-test-cu";

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did all it wanted and found no fault.
    Passed,
    /// It did not do what it is for.
    Skipped,
    /// It found a fault, rightly or not.
    Failed,
}

/// A line of the table: tests that do not pass, and why that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// How they end.
    pub verdict: Verdict,
    /// The test, as `Suite.Test`; a `*` stands for anything.
    pub tests: &'static str,
    /// Why.
    pub reason: &'static str,
}

impl Expectation {
    /// Whether the line is about this test.
    pub fn is_about(&self, test: &str) -> bool {
        match self.tests.split_once('*') {
            None => test == self.tests,
            Some((start, end)) => test.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
        }
    }
}

/// The table.
///
/// # Panics
/// If a line of it is not of its form.
pub fn expectations() -> Vec<Expectation> {
    include_str!("conformance/expected.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split('\t');
            let verdict = match fields.next() {
                Some("skip") => Verdict::Skipped,
                Some("fail") => Verdict::Failed,
                _ => panic!("neither skip nor fail: {line}"),
            };
            let (Some(tests), Some(reason), None) = (fields.next(), fields.next(), fields.next())
            else {
                panic!("not three fields: {line}");
            };
            Expectation { verdict, tests, reason }
        })
        .collect()
}

/// Whether the tool is installed.
pub fn is_installed() -> bool {
    let mut probe = Command::new(TOOL);
    probe.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What every test came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results(BTreeMap<String, Verdict>);

impl Results {
    /// Every test with how it ended, by name.
    pub fn tests(&self) -> impl Iterator<Item = (&str, Verdict)> {
        self.0.iter().map(|(test, verdict)| (test.as_str(), *verdict))
    }

    /// How many there were.
    pub fn total(&self) -> usize {
        self.0.len()
    }

    /// How many ended like this.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.0.values().filter(|found| **found == verdict).count()
    }

    /// How one test ended.
    pub fn of(&self, test: &str) -> Option<Verdict> {
        self.0.get(test).copied()
    }

    /// Every difference between what was found and the table, in both directions.
    pub fn surprises(&self, table: &[Expectation]) -> Vec<String> {
        let mut surprises = Vec::new();
        for (test, verdict) in self.tests() {
            match table.iter().find(|line| line.is_about(test)) {
                Some(line) if line.verdict == verdict => {}
                Some(line) => surprises.push(format!(
                    "{test} {verdict:?}, though \"{}\": mend expected.tsv",
                    line.reason
                )),
                None if verdict == Verdict::Passed => {}
                None => surprises.push(format!("{test} {verdict:?}")),
            }
        }
        let idle = |line: &&Expectation| !self.0.keys().any(|test| line.is_about(test));
        surprises
            .extend(table.iter().filter(idle).map(|line| format!("no test is {}", line.tests)));
        surprises
    }
}

/// A fresh disk for one suite, for as long as this value lives.
pub struct Disk<'a> {
    /// Where it is, as the tool wants it.
    pub url: String,
    /// What gives the disk back when it is dropped.
    pub keep: Box<dyn Send + 'a>,
}

/// Runs every suite, a few at once, as the two `initiators`. `disk` makes a fresh one for a suite;
/// the suite that wants to be refused gets one that it may only read, when the flag is set.
///
/// # Panics
/// If the tool cannot be run, or says nothing of a suite.
pub fn run_all<'a>(initiators: [&str; 2], disk: impl Fn(&str, bool) -> Disk<'a> + Sync) -> Results {
    const AT_ONCE: usize = 4;
    const WANTS_TO_BE_REFUSED: &str = "ReadOnly";
    let suites = suites();
    let (waiting, results) = (Mutex::new(suites.into_iter()), Mutex::new(Results::default()));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        // Some suites wait for silence by the clock, so more at once than there are processors.
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(suite) = next() {
                    let disk = disk(&suite, suite == WANTS_TO_BE_REFUSED);
                    let found = run(&suite, initiators, &disk.url);
                    let mut all = results.lock().unwrap_or_else(PoisonError::into_inner);
                    all.0.extend(found.0);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one suite; what the tool said goes to standard output, where a failing test shows it.
///
/// # Panics
/// If the tool cannot be run, or says nothing of the suite.
pub fn run(suite: &str, [first, second]: [&str; 2], url: &str) -> Results {
    let which = format!("ALL.{suite}");
    let said = say(&["-i", first, "-I", second, "-d", "-V", "-t", &which, url, url]);
    let found = verdicts(&said);
    println!("{said}");
    assert!(found.total() > 0, "no verdict of {suite}");
    found
}

/// The names of all suites, those first that take long.
fn suites() -> Vec<String> {
    const WAITS_BY_THE_CLOCK: &str = "iSCSIcmdsn";
    let list = say(&["--list"]);
    let suites: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ALL."))
        .filter(|name| !name.contains('.'))
        .collect();
    let mut suites: Vec<String> = suites.into_iter().map(str::to_owned).collect();
    suites.sort_by_key(|suite| suite != WAITS_BY_THE_CLOCK);
    suites
}

fn say(arguments: &[&str]) -> String {
    let done = Command::new(TOOL).args(arguments).stdin(Stdio::null()).output();
    let done = done.expect("the tool is installed");
    let mut said = String::from_utf8_lossy(&done.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&done.stderr));
    said
}

/// Reads the output of one run. Text between a test's name and its verdict is the test's; what
/// comes after that belongs to the cleaning up of the suite.
fn verdicts(said: &str) -> Results {
    let mut found = BTreeMap::new();
    let (mut suite, mut test, mut skipped) = (String::new(), None, false);
    for line in said.lines().map(str::trim) {
        let mut rest = line;
        if let Some(name) = line.strip_prefix("Suite: ") {
            name.clone_into(&mut suite);
        } else if let Some((name, tail)) =
            line.strip_prefix("Test: ").and_then(|line| line.split_once(" ..."))
        {
            (test, skipped, rest) = (Some(format!("{suite}.{name}")), false, tail);
        }
        let (own, passed) = match rest.split_once("passed") {
            Some((own, _)) => (own, true),
            None => (rest, false),
        };
        skipped |= own.contains("[SKIPPED]");
        let verdict = match (passed, rest.ends_with("FAILED")) {
            (true, _) if skipped => Verdict::Skipped,
            (true, _) => Verdict::Passed,
            (false, true) => Verdict::Failed,
            (false, false) => continue,
        };
        found.extend(test.take().map(|test| (test, verdict)));
    }
    Results(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_is_not_passed_and_cleaning_up_is_not_the_test() {
        let said = "Suite: A\n  Test: One ...passed    [SKIPPED] later\n    [SKIPPED] later\n\
                    \n  Test: Two ...    [SKIPPED] not there\npassed\n  Test: Three ...  words\nFAILED\n";
        let found = verdicts(said);
        let wanted =
            [("A.One", Verdict::Passed), ("A.Three", Verdict::Failed), ("A.Two", Verdict::Skipped)];
        assert!(found.tests().eq(wanted));
        assert_eq!((found.total(), found.count(Verdict::Failed)), (3, 1));
    }

    #[test]
    fn a_star_stands_for_anything() {
        let line = |tests| Expectation { verdict: Verdict::Skipped, tests, reason: "" };
        assert!(line("A.*").is_about("A.One"));
        assert!(line("A*.One").is_about("A16.One"));
        assert!(!line("A*.One").is_about("A16.Two"));
        assert!(line("A.One").is_about("A.One"));
        assert!(!line("A.One").is_about("A.OneMore"));
        assert!(!line("AB*B").is_about("AB"), "the ends do not overlap");
    }

    #[test]
    fn every_difference_is_a_surprise() {
        let found = |said: &str| verdicts(&format!("Suite: A\n{said}"));
        let table = [Expectation { verdict: Verdict::Skipped, tests: "A.Two", reason: "so" }];
        let surprises = |said: &str| found(said).surprises(&table).len();
        let two = "Test: Two ...[SKIPPED] x\npassed\n";
        assert_eq!(surprises(two), 0);
        assert_eq!(surprises("Test: Two ...passed\n"), 1, "it passes now");
        assert_eq!(surprises("Test: One ...passed\n"), 1, "a line about nothing");
        assert_eq!(surprises(&format!("{two}Test: One ...FAILED\n")), 1);
        assert_eq!(surprises(&format!("{two}Test: One ...[SKIPPED]\npassed\n")), 1);
    }

    #[test]
    fn the_table_has_its_form_and_no_test_two_lines() {
        let table = expectations();
        assert!(table.iter().any(|line| line.is_about("iSCSIResiduals.Write10Residuals")));
        assert!(!table.iter().any(|line| line.is_about("iSCSIResiduals.Read10Residuals")));
        for line in &table {
            assert!(line.reason.len() > 20, "{}", line.tests);
            let example = line.tests.replace('*', "x");
            assert_eq!(table.iter().filter(|other| other.is_about(&example)).count(), 1);
        }
    }
}
