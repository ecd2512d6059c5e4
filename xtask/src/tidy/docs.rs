//! The rules about the tree: clean text, decisions that can be found, examples that are true.
//!
//! A page nobody links to is a page nobody reads, and an example no test reads is wrong by next
//! month. Recorded bytes (folders called golden, fixtures or transcripts) are left as they are.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::source::{SourceFile, lexer};

const DECISIONS: &str = "docs/adr/";
const INDEX: &str = "docs/adr/README.md";
const EXAMPLES: &str = "docs/examples/";

/// No tabs, no blanks at line ends, one line end at the end of the file.
pub fn hygiene(file: &SourceFile, findings: &mut Vec<Finding>) {
    const RECORDED: [&str; 3] = ["golden", "fixtures", "transcripts"];
    if file.path.split('/').any(|folder| RECORDED.contains(&folder)) {
        return;
    }
    let in_literal =
        if file.is_rust() { lexer::lines_ending_in_literals(&file.text) } else { Vec::new() };
    for (index, line) in file.text.lines().enumerate() {
        // Inside a string the blanks are data: an expected table, say.
        if in_literal.get(index) == Some(&true) {
            continue;
        }
        let (what, remedy) = if line.ends_with([' ', '\t', '\r']) {
            ("blanks at the end of the line", "remove them")
        } else if line.contains('\t') {
            ("a tab", "use spaces (in a string: \\t)")
        } else {
            continue;
        };
        findings.push(Finding::file(&file.path, "tidy-blanks", what, remedy).at(index + 1));
    }
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        let what = "the file does not end with exactly one line end";
        findings.push(Finding::file(&file.path, "tidy-blanks", what, "end it with one"));
    }
}

/// Every decision is linked from the index, and every link of the index leads somewhere.
pub fn decisions(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let pages: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix(DECISIONS))
        .filter(|name| name.ends_with(".md") && *name != "README.md")
        .collect();
    let index = files.iter().find(|file| file.path == INDEX);
    let linked: BTreeSet<&str> = index.map(|file| links(&file.text).collect()).unwrap_or_default();
    for page in pages.difference(&linked) {
        let what = format!("{INDEX} does not link it");
        let remedy = format!("add it to the table of contents: [title]({page})");
        let path = format!("{DECISIONS}{page}");
        findings.push(Finding::file(&path, "tidy-lost-decision", what, remedy));
    }
    for link in linked.difference(&pages) {
        let what = format!("links {link}, which is not there");
        findings.push(Finding::file(
            INDEX,
            "tidy-lost-decision",
            what,
            "write it or drop the link",
        ));
    }
}

/// Targets of links to pages beside this one.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| target.ends_with(".md") && !target.contains('/'))
}

/// Every example is named, and so read, by some Rust file: a test, as a rule.
pub fn examples(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for example in files.iter().filter(|file| file.path.starts_with(EXAMPLES)) {
        let name = example.path.rsplit('/').next().unwrap_or_default();
        let tested = |file: &&SourceFile| file.path.starts_with("crates/") && file.is_rust();
        if files.iter().filter(tested).any(|file| file.text.contains(name)) {
            continue;
        }
        let what = "no Rust file names this example";
        let remedy = "parse it in a test of the crate that owns its format";
        findings.push(Finding::file(&example.path, "tidy-untested-example", what, remedy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::new(path, text)
    }

    fn blanks(path: &str, text: &str) -> Vec<Option<usize>> {
        let mut findings = Vec::new();
        hygiene(&file(path, text), &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn blanks_and_tabs_are_caught() {
        assert_eq!(blanks("a.md", "fine\nnot fine \n"), [Some(2)]);
        assert_eq!(blanks("a.toml", "a\tb\n"), [Some(1)]);
        assert_eq!(blanks("a.rs", "fn a() {}  \n"), [Some(1)]);
        assert_eq!(blanks("a.rs", "fn a() {}"), [None]);
        assert_eq!(blanks("a.md", "a\n\n"), [None]);
    }

    #[test]
    fn blanks_that_are_data_stay() {
        assert_eq!(blanks("a.rs", "let a = r#\"\n| x | \n\"#;\n"), []);
        assert_eq!(blanks("crates/ctl/tests/golden/list.md", "| x | \n"), []);
    }

    fn lost(index: &str) -> Vec<String> {
        let files = [file(INDEX, index), file("docs/adr/0001-tower.md", "# Tower\n")];
        let mut findings = Vec::new();
        decisions(&files, &mut findings);
        findings.into_iter().map(|finding| finding.file).collect()
    }

    #[test]
    fn a_decision_that_is_not_linked_is_caught() {
        assert_eq!(lost("[Tower](0001-tower.md)\n"), Vec::<String>::new());
        assert_eq!(lost("nothing\n"), ["docs/adr/0001-tower.md"]);
        assert_eq!(lost("[Tower](0001-tower.md) [Moat](0002-moat.md)\n"), [INDEX]);
    }

    #[test]
    fn an_example_no_test_reads_is_caught() {
        let example = file("docs/examples/lvm.yaml", "pool: {}\n");
        let check = |test: &str| {
            let mut findings = Vec::new();
            examples(&[example.clone(), file("crates/drivers/src/config.rs", test)], &mut findings);
            findings.len()
        };
        assert_eq!(check("//! Theory.\n"), 1);
        assert_eq!(check("include_str!(\"../../../docs/examples/lvm.yaml\")"), 0);
    }
}
