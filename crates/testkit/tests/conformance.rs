//! libiscsi's conformance suite against the target as a library.
//!
//! It comes from the package libiscsi-bin. Where that is missing the test says so and passes,
//! unless `OSDS_REQUIRE_PACKAGES` is set (`cargo xtask packages` installs it). What does not pass
//! is in the table of `testkit/src/conformance/`, and must be in the page of the book.

use std::io::Write as _;

use osds_iscsi::scsi::Access;
use osds_testkit::conformance::{self, Disk, Verdict, expectations};
use osds_testkit::served::Served;

const FIRST: &str = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test";
const SECOND: &str = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test-2";

/// Fewer real passes than this would mean that the suite tests something else than it did.
const AT_LEAST: usize = 191;

const PAGE: &str = include_str!("../../../docs/book/src/conformance.md");

#[test]
fn the_suite_finds_what_is_expected() {
    if !conformance::is_installed() {
        let words = "iscsi-test-cu is not installed; run cargo xtask packages";
        assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{words}");
        let test = "the_suite_finds_what_is_expected";
        // Past the capture of the test harness, which hides what a passing test prints.
        writeln!(std::io::stdout(), "SKIPPED: {test}: {words}").expect("stdout is open");
        return;
    }
    let found = conformance::run_all([FIRST, SECOND], |_, read_only| {
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        let served = Served::new(&[(FIRST, access), (SECOND, access)]).unwrap();
        Disk { url: served.url(), keep: Box::new(served) }
    });
    let surprises = found.surprises(&expectations());
    assert!(surprises.is_empty(), "{surprises:#?}");
    let passed = found.count(Verdict::Passed);
    assert!(passed >= AT_LEAST, "only {passed} of {} tests passed", found.total());
}

#[test]
fn the_page_of_the_book_has_every_line_of_the_table() {
    for line in expectations() {
        assert!(PAGE.contains(line.tests), "{}: cargo xtask conformance", line.tests);
        assert!(PAGE.contains(line.reason), "{}: cargo xtask conformance", line.tests);
    }
}
