//! The drivers' conformance suites on the storage host's kernel: LVM's, LIO's and nvmet's.
//!
//! The tests are those of `cargo test`, which ignores them as there is no such kernel. The control
//! is in them: a driver that lies is caught on this very kernel.

use std::time::Duration;

use anyhow::Result;

use super::Stage;
use crate::lab::checks::Checks;

/// The scene's name: it wants test programs built.
pub const NAME: &str = "conformance: the drivers' suites on the kernel's LVM, LIO and nvmet";

/// How long one suite may take.
const PATIENCE: Duration = Duration::from_secs(900);

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let home = "/pool/conformance";
    stage.store.must(&format!(
        "modprobe -a loop nvmet nvmet-tcp dm-snapshot dm-thin-pool; mkdir -p {home}\n\
         truncate -s 160M {home}/disk.img; losetup --find --show {home}/disk.img >/run/conformance"
    ))?;
    let configfs = format!("OSDS_TEST_CONFIGFS={home}");
    for (suite, given, least) in [
        ("lio", &*configfs, 30),
        ("nvmet", &configfs, 28),
        ("conformance lvm_", "OSDS_TEST_LVM_DEVICE=$(cat /run/conformance)", 28),
    ] {
        let script = format!(
            "cd {home}; {given} /host/test-{suite} --include-ignored --test-threads 1 2>&1"
        );
        let ran = stage.store.run_for(&script, PATIENCE)?;
        let passed = passed(&ran.text);
        let all = ran.ok() && passed >= least && !ran.text.contains("SKIPPED");
        let name = suite.split(' ').next_back().unwrap_or_default().trim_end_matches('_');
        // The failures come last.
        let end: Vec<_> = ran.text.lines().rev().take(60).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        checks.check(all, &format!("{name}: {passed} cases hold"), &end.join("\n"));
    }
    stage.store.must(&format!("losetup -d $(cat /run/conformance); rm -rf {home}")).map(|_| ())
}

/// How many tests the harness says have passed.
fn passed(text: &str) -> usize {
    let words = text.rsplit_once("test result: ").map_or("", |(_, words)| words);
    let mut words = words.split_whitespace();
    words.find_map(|word| word.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_where_the_harness_says_so() {
        let line = "test result: ok. 28 passed; 0 failed; 3 ignored; finished in 9.99s";
        assert_eq!(passed(&format!("running 28 tests\n{line}\n")), 28);
        assert_eq!(passed("running 28 tests\nkilled"), 0);
    }
}
