//! The demo is the first thing a newcomer runs: it must not lie, and must not fail.
//!
//! It checks its own claims, so here its word is taken for them; what is checked is that it gives
//! its word, makes as many claims as it should, and fails when it cannot play.

use std::process::Command;

use crate::scene::OSDS;

#[test]
fn every_claim_of_the_demo_holds() {
    let output = Command::new(OSDS).arg("demo").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("FAIL"), "{said}");
    let score = said.lines().last().unwrap();
    let held: u32 = score.split(' ').next().unwrap().parse().unwrap();
    assert!(held >= 20 && score.contains("claims hold, 0 do not"), "{score}");
}

/// A demo that cannot run must not look like one that ran well.
#[test]
fn a_demo_that_cannot_start_fails() {
    let output = Command::new(OSDS).arg("demo").env("TMPDIR", "/proc/nowhere").output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("set TMPDIR"), "{said}");
}
