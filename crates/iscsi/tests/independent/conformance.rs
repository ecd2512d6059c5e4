//! libiscsi's conformance suite, every suite of it in a process and on a disk of its own.
//!
//! One process for each, because a test of COMPARE AND WRITE leaves its fault injection behind when
//! that command is not there and then damages the CDBs of all suites after it. What fails and what
//! is skipped must be in the tables below with its reason, and enough must pass for the result to
//! mean anything. The tool counts what it skips as passed, and says what it skips only when it is
//! told to say everything, so its own summary is of no use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use osds_iscsi::scsi::Access;

use crate::{Served, run, tools};

/// Fewer real passes than this would mean that the suite tests something else than it did.
const AT_LEAST: usize = 183;

/// Tests that fail, and why that is right.
const FAILING: &[(&str, &str)] = &[
    ("GetLBAStatus.UnmapSingle", WRONG_ITSELF),
    ("iSCSIResiduals.Write10Residuals", SHORT),
    ("iSCSIResiduals.Write12Residuals", SHORT),
    ("iSCSIResiduals.Write16Residuals", SHORT),
    ("iSCSIResiduals.WriteVerify10Residuals", SHORT),
    ("iSCSIResiduals.WriteVerify12Residuals", SHORT),
    ("iSCSIResiduals.WriteVerify16Residuals", SHORT),
];

const WRONG_ITSELF: &str = "asks for the status of LBA 9 and compares the answer's LBA with 8; the \
                            first descriptor starts at the LBA asked for (SBC-3 5.4)";
const SHORT: &str = "wants a write with an expected length below its CDB's to write a part; ours is \
                     refused whole and tells the residual, as LIO does (RFC 7143 11.4.5 leaves it \
                     open, and half a write that says GOOD is none)";

/// Suites, or single tests, that the tool skips, and why.
const SKIPPED: &[(&str, &str)] = &[
    ("ExtendedCopy.", NO_COPY),
    ("ReceiveCopyResults.", NO_COPY),
    ("NoMedia.", FIXED),
    ("PreventAllow.", FIXED),
    ("StartStopUnit.", FIXED),
    ("Sanitize.", "SANITIZE is not offered (SBC-3 leaves it optional), nor does the tool dare"),
    (
        "WriteAtomic16.",
        "a file cannot promise all or nothing through a power cut (SBC-4, atomic writes)",
    ),
    ("Reserve6.TargetColdReset", "one host may not end the sessions of all (RFC 7143 11.5.1)"),
    ("WriteSame10.ZeroBlocks", WSNZ),
    ("WriteSame16.ZeroBlocks", WSNZ),
];

const NO_COPY: &str = "EXTENDED COPY is not offered: 3PC is 0, the command is an invalid opcode";
const FIXED: &str = "the medium cannot be removed: RMB is 0 (SPC-4, standard INQUIRY data)";
const WSNZ: &str = "zero blocks are refused, as WSNZ says (SBC-3, Block Limits VPD page)";

const FIRST: &str = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test";
const SECOND: &str = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test-2";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Skipped,
    Failed,
}

/// Reads the output of one run. Text between `Test:` and `passed` belongs to the test; what comes
/// after belongs to the cleaning up of the suite.
fn verdicts(said: &str) -> BTreeMap<String, Verdict> {
    let mut found = BTreeMap::new();
    let mut suite = String::new();
    let mut current: Option<(String, bool)> = None;
    for line in said.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("Suite: ") {
            suite = name.to_owned();
            continue;
        }
        let mut rest = line;
        if let Some((name, tail)) = line.strip_prefix("Test: ").and_then(|l| l.split_once(" ...")) {
            current = Some((format!("{suite}.{name}"), false));
            rest = tail;
        }
        let Some((name, skipped)) = &mut current else { continue };
        let own = rest.split("passed").next().unwrap_or_default();
        *skipped |= own.contains("[SKIPPED]");
        let verdict = if rest.ends_with("FAILED") {
            Verdict::Failed
        } else if !rest.contains("passed") {
            continue;
        } else if *skipped {
            Verdict::Skipped
        } else {
            Verdict::Passed
        };
        found.insert(name.clone(), verdict);
        current = None;
    }
    found
}

#[test]
fn the_conformance_suite_finds_nothing_new() {
    if !tools(&["iscsi-test-cu"]) {
        return;
    }
    let (_, list) = run("iscsi-test-cu", &["--list"]);
    let suites: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ALL."))
        .filter(|name| !name.contains('.'))
        .collect();
    let waiting = Mutex::new(suites.into_iter());
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        // Some suites wait for silence by the clock, so more at once than there are processors.
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(suite) = waiting.lock().unwrap().next() else { return };
                    // One suite wants to be refused.
                    let access =
                        if suite == "ReadOnly" { Access::ReadOnly } else { Access::ReadWrite };
                    let grants = [(FIRST, access), (SECOND, access)];
                    let served = Served::new(&grants);
                    let (url, which) = (served.url(), format!("ALL.{suite}"));
                    let arguments =
                        ["-i", FIRST, "-I", SECOND, "-d", "-V", "-t", &which, &url, &url];
                    let (_, said) = run("iscsi-test-cu", &arguments);
                    results.lock().unwrap().extend(verdicts(&said));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let of = |verdict| results.values().filter(|found| **found == verdict).count();
    let (passed, skipped, failed) =
        (of(Verdict::Passed), of(Verdict::Skipped), of(Verdict::Failed));
    eprintln!("{} tests: {passed} passed, {skipped} skipped, {failed} failed", results.len());
    let surprises: Vec<_> = results
        .iter()
        .filter(|(name, verdict)| match verdict {
            Verdict::Passed => false,
            Verdict::Skipped => !SKIPPED.iter().any(|(known, _)| name.starts_with(known)),
            Verdict::Failed => !FAILING.iter().any(|(known, _)| known == name),
        })
        .collect();
    assert!(surprises.is_empty(), "{surprises:?}");
    assert!(passed >= AT_LEAST, "only {passed} of {} tests passed", results.len());
}

#[test]
fn skipped_is_not_passed_and_cleaning_up_is_not_the_test() {
    let said = "Suite: A\n  Test: One ...passed    [SKIPPED] later\n    [SKIPPED] later\n\
                \n  Test: Two ...    [SKIPPED] not there\npassed\n  Test: Three ...    words\nFAILED\n";
    let found = verdicts(said);
    assert_eq!(found["A.One"], Verdict::Passed);
    assert_eq!(found["A.Two"], Verdict::Skipped);
    assert_eq!(found["A.Three"], Verdict::Failed);
}
