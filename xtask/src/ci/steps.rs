//! The steps of `ci`, in order: one table.
//!
//! Cheapest first, so that a slip costs seconds. Clippy and the tests each need the dependencies
//! in another form (metadata, machine code), so nothing is built twice that could be shared: docs
//! reuse what clippy left, and the tests are built once and then only run.

use anyhow::Result;

use crate::deny;
use crate::layers;
use crate::tidy;
use crate::workspace::Workspace;

/// One step.
pub struct Step {
    /// Its name in the summary.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// When it runs.
    when: When,
    /// What it does.
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Left out of the inner loop.
    Full,
    /// Stands in for a slower one in the inner loop.
    Fast,
}

/// What a step does.
pub enum Kind {
    /// A check of our own.
    Own(fn(&Workspace) -> Result<()>),
    /// A call of cargo, with variables for its environment.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// A call of cargo whose tests are counted.
    Tests(&'static [&'static str]),
    /// Makes sure the packages some tests need are there.
    Packages,
    /// Lets every fuzz target run for a moment.
    Fuzz,
    /// Plays every scene on real kernels.
    Lab,
}

impl Step {
    const fn new(name: &'static str, about: &'static str, when: When, kind: Kind) -> Self {
        Self { name, about, when, kind }
    }

    /// Does it run in the inner loop (`fast`), or in the full run?
    pub fn runs(&self, fast: bool) -> bool {
        match self.when {
            When::Always => true,
            When::Full => !fast,
            When::Fast => fast,
        }
    }

    /// What cargo is asked, if it is.
    pub fn arguments(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Cargo(arguments, _) | Kind::Tests(arguments) => arguments,
            Kind::Own(_) | Kind::Packages | Kind::Fuzz | Kind::Lab => &[],
        }
    }

    /// Variables set for cargo.
    pub fn environment(&self) -> &'static [(&'static str, &'static str)] {
        match self.kind {
            Kind::Cargo(_, environment) => environment,
            Kind::Own(_) | Kind::Tests(_) | Kind::Packages | Kind::Fuzz | Kind::Lab => &[],
        }
    }

    /// What to type to run this step alone.
    pub fn repeat(&self) -> String {
        match self.kind {
            Kind::Own(_) | Kind::Packages | Kind::Fuzz => format!("cargo xtask {}", self.name),
            Kind::Lab => "cargo xtask lab test".into(),
            Kind::Cargo(..) | Kind::Tests(_) => {
                let environment = self.environment().iter();
                let mut words: Vec<String> =
                    environment.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
                words.push("cargo".into());
                words.extend(self.arguments().iter().map(|word| (*word).into()));
                words.join(" ")
            }
        }
    }
}

/// All steps.
pub const STEPS: &[Step] = &[
    Step::new(
        "fmt",
        "the code is formatted",
        When::Always,
        Kind::Cargo(&["fmt", "--all", "--check"], &[]),
    ),
    Step::new("layers", "nobody imports whom it must not", When::Always, Kind::Own(layers::run)),
    Step::new(
        "tidy",
        "the rules no compiler knows are kept",
        When::Always,
        Kind::Own(|workspace| tidy::check(workspace).settle("tidy")),
    ),
    Step::new(
        "deny",
        "licences, bans and sources of what we build on",
        When::Always,
        Kind::Own(|workspace| deny::check(&deny::packages(&workspace.metadata)).settle("deny")),
    ),
    Step::new(
        "clippy",
        "no warning anywhere",
        When::Always,
        Kind::Cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[]),
    ),
    Step::new(
        "docs",
        "every public item is documented and every link leads somewhere",
        When::Full,
        Kind::Cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")]),
    ),
    Step::new(
        "packages",
        "independent initiators are there to test against",
        When::Full,
        Kind::Packages,
    ),
    Step::new(
        "build-tests",
        "everything builds, tests included",
        When::Full,
        Kind::Cargo(&["test", "--workspace", "--no-run"], &[]),
    ),
    Step::new(
        "tests",
        "all tests: units, model check, conformance, crash, stories, REST, CLI, generated files",
        When::Full,
        Kind::Tests(&["test", "--workspace", "--no-fail-fast"]),
    ),
    Step::new(
        "fuzz",
        "no new input breaks the iSCSI target, as far as a moment tells",
        When::Full,
        Kind::Fuzz,
    ),
    Step::new(
        "lab",
        "real kernels as initiators: modes, reservations, OCFS2, a frozen host put out",
        When::Full,
        Kind::Lab,
    ),
    Step::new(
        "unit-tests",
        "the tests beside the code",
        When::Fast,
        Kind::Tests(&["test", "--workspace", "--lib", "--bins", "--no-fail-fast"]),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_be_repeated_by_hand() {
        let docs = STEPS.iter().find(|step| step.name == "docs").unwrap();
        assert_eq!(docs.repeat(), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --workspace --no-deps");
        let tidy = STEPS.iter().find(|step| step.name == "tidy").unwrap();
        assert_eq!(tidy.repeat(), "cargo xtask tidy");
    }

    #[test]
    fn the_inner_loop_is_shorter_and_still_tests() {
        let fast: Vec<&Step> = STEPS.iter().filter(|step| step.runs(true)).collect();
        assert!(fast.len() < STEPS.iter().filter(|step| step.runs(false)).count());
        assert!(fast.iter().any(|step| matches!(step.kind, Kind::Tests(_))));
    }
}
