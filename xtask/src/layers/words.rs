//! Holds the paths that the source names against the table of words.
//!
//! Only shipped code is looked at: a test may do what it must to set a scene. The pattern `redb::`
//! (with the colons) means the crate, imported or used by path; `std::fs` and `StatusCode` mean
//! these words in a row anywhere in a path, so a `use` in braces or a re-export hides nothing.

use super::table::{WORDS, WordRule};
use crate::finding::Finding;
use crate::source::SourceFile;
use crate::source::paths::{NamedPath, named_paths};

/// Every forbidden word in shipped code under `crates/`.
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let shipped = |file: &&SourceFile| {
        file.is_rust() && file.path.starts_with("crates/") && !file.is_test_file()
    };
    files.iter().filter(shipped).flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let rules: Vec<&WordRule> = WORDS.iter().filter(|rule| holds_for(rule, file)).collect();
    let mut findings = Vec::new();
    for path in named_paths(&file.code).iter().filter(|path| !file.in_test(path.line)) {
        for rule in &rules {
            let Some(word) = rule.words.iter().find(|word| names(path, word)) else { continue };
            let what = format!("`{}` in `{}`: {}", word, path.words.join("::"), rule.why);
            findings.push(Finding::file(&file.path, rule.name, what, rule.remedy).at(path.line));
        }
    }
    findings
}

fn holds_for(rule: &WordRule, file: &SourceFile) -> bool {
    let within = rule.within.is_empty()
        || file.crate_folder().is_some_and(|folder| rule.within.contains(&folder));
    let at_home = |home: &str| {
        if home.ends_with('/') { file.path.starts_with(home) } else { file.path == home }
    };
    within && !rule.home.iter().any(|home| at_home(home))
}

/// Does this path name this pattern?
pub fn names(path: &NamedPath, pattern: &str) -> bool {
    if let Some(name) = pattern.strip_suffix("::") {
        let first = path.words.first().is_some_and(|word| word == name);
        return first && (path.words.len() > 1 || path.imported);
    }
    let wanted: Vec<&str> = pattern.split("::").collect();
    path.words.windows(wanted.len()).any(|window| window == wanted.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<Finding> {
        check(&[SourceFile::new(path, text)])
    }

    /// For each rule: a place it holds for.
    fn guarded_place(rule: &WordRule) -> String {
        format!("crates/{}/src/sabotage.rs", rule.within.first().unwrap_or(&"controller"))
    }

    #[test]
    fn every_word_of_every_rule_is_caught() {
        for rule in WORDS {
            for word in rule.words {
                let path = word.trim_end_matches("::");
                let text = format!("//! Theory.\nfn shipped() {{}}\nuse {path}::x;\n");
                let findings = found(&guarded_place(rule), &text);
                let hit = findings.iter().find(|finding| finding.rule == rule.name);
                let hit = hit.unwrap_or_else(|| panic!("{word} of {} not caught", rule.name));
                assert_eq!((hit.line, hit.remedy.as_str()), (Some(3), rule.remedy));
            }
        }
    }

    #[test]
    fn a_word_is_fine_at_home_in_tests_comments_and_strings() {
        let text = "use redb::Database;\n";
        assert_eq!(found("crates/store/src/embedded.rs", text), []);
        assert_eq!(found("crates/store/tests/old_bytes.rs", text), []);
        assert_eq!(found("crates/store/src/memory.rs", text).len(), 1);
        let text = "// like redb::Database\nfn a() { b(\"redb::Database\") }\n#[cfg(test)]\nmod tests {\n    use redb::Database;\n}\n";
        assert_eq!(found("crates/store/src/memory.rs", text), []);
    }

    #[test]
    fn braces_and_renames_hide_nothing() {
        let text = "use std::{collections::BTreeMap, time::{Duration, Instant as Now}};\n";
        let findings = found("crates/lifecycle/src/access.rs", text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].rule, "pure-no-clock");
        assert_eq!(found("crates/drivers/src/storage/file.rs", "use osds_iscsi as t;\n").len(), 1);
    }

    #[test]
    fn like_sounding_words_are_no_findings() {
        let text = "use crate::time::Time;\nfn f(log: Entry, rand: u8) { log.awaits(rand); }\nuse std::time::Duration;\n";
        assert_eq!(found("crates/model/src/time.rs", text), []);
    }
}
