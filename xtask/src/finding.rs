//! What a check has to say about one place in the tree.
//!
//! Every check is a pure function from what was read to a list of findings, so that each rule can
//! be tested on a sabotaged fixture. A finding always carries a remedy: whoever reads it should
//! not have to look for the rule in order to know what to do.

use std::fmt;

use anyhow::{Result, bail};

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File, counted from the root of the repository.
    pub file: String,
    /// Line, counted from one; absent when the whole file is meant.
    pub line: Option<usize>,
    /// Short name of the rule, the same for every finding of its kind.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// A finding about a whole file.
    pub fn file(
        file: &str,
        rule: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), line: None, rule, what: what.into(), remedy: remedy.into() }
    }

    /// The same finding, at a line.
    pub fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        write!(out, ": [{}] {}\n    remedy: {}", self.rule, self.what, self.remedy)
    }
}

/// What one check found: broken rules fail it, notes are only said.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Broken rules.
    pub findings: Vec<Finding>,
    /// Worth a line, not a failure.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Prints everything and fails when a rule is broken.
    pub fn settle(mut self, check: &str) -> Result<()> {
        for note in &self.notes {
            println!("note: {note}");
        }
        self.findings.sort();
        for finding in &self.findings {
            println!("{finding}");
        }
        match self.findings.len() {
            0 => {
                println!("{check}: nothing to complain about");
                Ok(())
            }
            1 => bail!("{check}: 1 finding"),
            many => bail!("{check}: {many} findings"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_file_line_rule_and_remedy() {
        let finding = Finding::file("a.rs", "tabs", "a tab", "use spaces").at(7);
        assert_eq!(finding.to_string(), "a.rs:7: [tabs] a tab\n    remedy: use spaces");
    }

    #[test]
    fn a_verdict_with_a_finding_fails_and_notes_alone_do_not() {
        let noted = Verdict { notes: vec!["long".into()], ..Verdict::default() };
        assert!(noted.settle("tidy").is_ok());
        let findings = vec![Finding::file("a.rs", "tabs", "a tab", "use spaces")];
        assert!(Verdict { findings, ..Verdict::default() }.settle("tidy").is_err());
    }
}
