//! Counts what `cargo test` reports.
//!
//! Each test binary ends with a line `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; we add
//! these up. A test that lacks something it needs writes `SKIPPED: <test>: <why>` straight to
//! stdout (not through `println!`, which the harness captures) and passes as far as the harness
//! knows; it is counted as skipped here.

/// Tests so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Counted as passed by the harness.
    skipped_themselves: usize,
}

impl Count {
    /// Takes in one line of output.
    pub fn read(&mut self, line: &str) {
        if skipped(line).is_some() {
            self.skipped_themselves += 1;
        }
        let Some((_, result)) = line.split_once("test result: ") else { return };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what), None) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(number) = number.parse::<usize>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// The last line of a run. A step that failed without a failed test counts as one failure.
    pub fn closing_line(&self, step_failed: bool) -> String {
        let failed = if step_failed { self.failed.max(1) } else { self.failed };
        // A test that skipped itself and then failed all the same must not make this negative.
        let passed = self.passed.saturating_sub(self.skipped_themselves);
        let skipped = self.ignored + self.skipped_themselves;
        let mut line = format!("ci: {passed} passed, {failed} failed");
        if skipped > 0 {
            line.push_str(&format!(", {skipped} skipped"));
        }
        line
    }
}

/// The test that skipped itself on this line, and why.
pub fn skipped(line: &str) -> Option<&str> {
    line.split_once("SKIPPED: ").map(|(_, what)| what.trim())
}

/// The test that failed on this line.
pub fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lines: &[&str]) -> Count {
        let mut count = Count::default();
        lines.iter().for_each(|line| count.read(line));
        count
    }

    const OK: &str = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.06s";
    const BAD: &str = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";

    #[test]
    fn results_of_all_binaries_are_added_up() {
        assert_eq!(
            counted(&[OK, "test a ... ok", BAD]).closing_line(true),
            "ci: 14 passed, 1 failed, 1 skipped"
        );
        assert_eq!(counted(&[]).closing_line(false), "ci: 0 passed, 0 failed");
    }

    #[test]
    fn a_failed_test_is_named() {
        assert_eq!(failed("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(failed("test a::b ... ok"), None);
    }

    #[test]
    fn a_failed_step_is_never_zero_failures() {
        assert_eq!(counted(&[]).closing_line(true), "ci: 0 passed, 1 failed");
    }

    #[test]
    fn a_test_that_skipped_itself_is_not_called_passed() {
        let lines = [
            "test a ... SKIPPED: a: no iscsi-ls",
            "test result: ok. 3 passed; 0 failed; 0 ignored",
        ];
        let mut reversed = lines;
        reversed.reverse();
        assert_eq!(counted(&reversed).closing_line(false), "ci: 2 passed, 0 failed, 1 skipped");
        assert_eq!(counted(&lines).closing_line(false), "ci: 2 passed, 0 failed, 1 skipped");
        assert_eq!(skipped(lines[0]), Some("a: no iscsi-ls"));
    }
}
