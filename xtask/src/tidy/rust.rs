//! The rules about one Rust file: length, theory, names, leftovers, sleeps.
//!
//! A sleep in a test is a guess about the speed of a machine, and guesses fail on Mondays. Where a
//! test polls with a deadline, the pause between two looks is fine and says so in a comment on its
//! line or the line above: `// sleep: <why this is no guess>`. These are counted in a note.

use crate::finding::{Finding, Verdict};
use crate::source::SourceFile;
use crate::source::paths::named_paths;

/// More lines than this are worth a note.
pub const LONG: usize = 400;
/// More lines than this fail.
pub const TOO_LONG: usize = 800;
/// From this size on a file owes its reader a theory of three lines.
const GROWN_UP: usize = 60;
/// Longer theories belong on a page of the book.
const THEORY_LINES: std::ops::RangeInclusive<usize> = 3..=8;

const VAGUE: [&str; 7] = ["common", "helper", "helpers", "prelude", "util", "utils", "misc"];

/// All rules about one file.
pub fn check(file: &SourceFile, verdict: &mut Verdict) {
    length(file, verdict);
    theory(file, &mut verdict.findings);
    vague_names(file, &mut verdict.findings);
    leftovers(file, &mut verdict.findings);
    sleeps(file, verdict);
}

fn length(file: &SourceFile, verdict: &mut Verdict) {
    let lines = file.text.lines().count();
    if lines > TOO_LONG {
        let what = format!("{lines} lines; {TOO_LONG} is the most");
        let remedy = "split it where its theory has an \"and\"";
        verdict.findings.push(Finding::file(&file.path, "tidy-length", what, remedy));
    } else if lines > LONG {
        verdict.notes.push(format!("{} has {lines} lines ({LONG} is long)", file.path));
    }
}

/// Prose is counted; drawings, examples, tables and lists may be as long as they must.
fn theory(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut fenced = false;
    let mut lines = 0;
    for line in file.text.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.trim().is_empty() && !is_list_or_table(line) {
            lines += 1;
        }
    }
    let grown_up = file.text.lines().count() > GROWN_UP && !file.is_test_file();
    let what = if lines == 0 {
        "the file does not open with its theory (`//!`)".to_owned()
    } else if grown_up && !THEORY_LINES.contains(&lines) {
        format!("the theory has {lines} lines instead of three to eight")
    } else {
        return;
    };
    let remedy = "say what this is, the idea that makes it work, and what must always hold";
    findings.push(Finding::file(&file.path, "tidy-theory", what, remedy).at(1));
}

/// A row, an item, or what is indented below an item.
fn is_list_or_table(line: &str) -> bool {
    let numbered = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    numbered || ["|", "- ", "* ", "  "].iter().any(|start| line.starts_with(start))
}

fn vague_names(file: &SourceFile, findings: &mut Vec<Finding>) {
    let remedy = "name it after what it does; if it does many things, it is many modules";
    let mut parts = file.path.trim_end_matches(".rs").split('/');
    if let Some(part) = parts.find(|part| VAGUE.contains(part)) {
        let what = format!("a module called {part}");
        findings.push(Finding::file(&file.path, "tidy-vague-name", what, remedy));
    }
    for (number, line) in file.code_lines() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        let declared = words.by_ref().any(|word| word == "mod").then(|| words.next()).flatten();
        // A module in a file of its own is reported once, by its path.
        if let Some(name) = declared.filter(|name| VAGUE.contains(name) && line.contains('{')) {
            let what = format!("a module called {name}");
            findings.push(Finding::file(&file.path, "tidy-vague-name", what, remedy).at(number));
        }
    }
}

fn leftovers(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut push = |number, rule, what: &str, remedy: &str| {
        findings.push(Finding::file(&file.path, rule, what, remedy).at(number));
    };
    for (number, line) in file.code_lines() {
        let squeezed: String = line.split_whitespace().collect();
        for word in ["todo!", "unimplemented!"] {
            if squeezed.contains(word) {
                push(number, "tidy-unfinished", word, "finish it, or answer with an honest error");
            }
        }
        if squeezed.contains("#[ignore]") {
            let remedy = "mend or delete the test, or write #[ignore = \"why\"]";
            push(number, "tidy-ignored-test", "a test is ignored without a reason", remedy);
        }
        if squeezed.contains(".unwrap()") && !file.in_test(number) {
            let remedy = "pass the error on; expect(\"why it cannot fail\") for a true invariant";
            push(number, "tidy-unwrap", "unwrap() outside tests", remedy);
        }
    }
    for (index, line) in file.comments.lines().enumerate() {
        let marked = ["TODO", "FIXME", "XXX"].into_iter().find(|word| has_word(line, word));
        if let Some(word) = marked.filter(|_| !names_an_issue(line)) {
            let remedy = "do it now, or open an issue and write its number: TODO (#12)";
            push(index + 1, "tidy-todo", &format!("{word} without an issue"), remedy);
        }
    }
}

fn has_word(line: &str, wanted: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric()).any(|word| word == wanted)
}

fn names_an_issue(line: &str) -> bool {
    line.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn sleeps(file: &SourceFile, verdict: &mut Verdict) {
    let comments: Vec<&str> = file.comments.lines().collect();
    let code: Vec<&str> = file.code.lines().collect();
    let calls =
        |line: usize| code[line - 1].split_whitespace().collect::<String>().contains("sleep(");
    let explained = |line: usize| {
        // The line itself, and the comment right above it.
        [Some(line - 1), line.checked_sub(2)].into_iter().flatten().any(|index| {
            comments[index].split_once("sleep:").is_some_and(|(_, why)| !why.trim().is_empty())
        })
    };
    for path in named_paths(&file.code) {
        let is_sleep = path.words.last().is_some_and(|word| word == "sleep");
        if !is_sleep || path.imported || !file.in_test(path.line) || !calls(path.line) {
            continue;
        }
        if explained(path.line) {
            let place = format!("{}:{}", file.path, path.line);
            verdict.notes.push(format!("{place} sleeps in a test and says why"));
            continue;
        }
        let remedy = "wait for the event (channel, watch) or poll with a deadline; the pause of a \
                      poll is marked `// sleep: <why this is no guess>`";
        let finding = Finding::file(&file.path, "tidy-sleep", "a test sleeps", remedy);
        verdict.findings.push(finding.at(path.line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, Option<usize>)> {
        let mut verdict = Verdict::default();
        check(&SourceFile::new(path, text), &mut verdict);
        verdict.findings.iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    const SHIPPED: &str = "crates/x/src/a.rs";

    fn file_of(lines: usize, theory: usize) -> String {
        let mut text = "//! Line.\n".repeat(theory);
        text.push_str(&"// x\n".repeat(lines - theory));
        text
    }

    #[test]
    fn a_sound_file_passes() {
        assert_eq!(rules(SHIPPED, &file_of(100, 3)), []);
        assert_eq!(rules(SHIPPED, "//! Short.\nfn a() {}\n"), []);
    }

    #[test]
    fn length_is_noted_then_refused() {
        let mut verdict = Verdict::default();
        check(&SourceFile::new(SHIPPED, &file_of(401, 3)), &mut verdict);
        assert_eq!((verdict.findings.len(), verdict.notes.len()), (0, 1));
        assert_eq!(rules(SHIPPED, &file_of(800, 3)), []);
        assert_eq!(rules(SHIPPED, &file_of(801, 3)), [("tidy-length", None)]);
    }

    #[test]
    fn a_missing_thin_or_endless_theory_is_caught() {
        for theory in [0, 1, 2, 9] {
            assert_eq!(rules(SHIPPED, &file_of(61, theory)), [("tidy-theory", Some(1))]);
        }
        assert_eq!(rules(SHIPPED, "fn a() {}\n"), [("tidy-theory", Some(1))]);
        assert_eq!(rules("crates/x/tests/a.rs", &file_of(61, 1)), []);
        let drawn =
            format!("//! A\n//! b\n//! c.\n//!\n//! ```text\n{}//! ```\n", "//! x\n".repeat(9));
        assert_eq!(rules(SHIPPED, &format!("{drawn}{}", "// x\n".repeat(61))), []);
        let argued = format!("//! A\n//! b\n//! c.\n{}", "//! 1. x\n//!    y\n".repeat(9));
        assert_eq!(rules(SHIPPED, &format!("{argued}{}", "// x\n".repeat(61))), []);
    }

    #[test]
    fn vague_names_are_caught() {
        for path in
            ["crates/x/src/utils.rs", "crates/x/tests/common/mod.rs", "crates/prelude/src/lib.rs"]
        {
            assert_eq!(rules(path, "//! Theory.\n"), [("tidy-vague-name", None)]);
        }
        let inline = "//! Theory.\npub mod helpers {}\nmod common_ground {}\n";
        assert_eq!(rules(SHIPPED, inline), [("tidy-vague-name", Some(2))]);
    }

    #[test]
    fn leftovers_are_caught() {
        let cases = [
            ("todo!()", "tidy-unfinished"),
            ("unimplemented ! (\"later\")", "tidy-unfinished"),
            ("#[ignore]", "tidy-ignored-test"),
            ("a.unwrap()", "tidy-unwrap"),
            ("// TODO: later", "tidy-todo"),
            ("/* FIXME */", "tidy-todo"),
        ];
        for (line, rule) in cases {
            let text = format!("//! Theory.\n{line}\n");
            assert_eq!(rules(SHIPPED, &text), [(rule, Some(2))], "{line}");
        }
        let fine =
            "//! Theory.\n// TODO (#12): later\n#[ignore = \"needs a kernel\"]\n\"todo!()\"\n";
        assert_eq!(rules(SHIPPED, fine), []);
        let tested = "//! Theory.\n#[test]\nfn a() {\n    b.unwrap();\n}\n";
        assert_eq!(rules(SHIPPED, tested), []);
    }

    #[test]
    fn a_sleep_in_a_test_is_caught_unless_it_says_why() {
        let test = |line: &str| format!("//! Theory.\nfn a() {{\n{line}\n}}\n");
        let guess = test("    std::thread::sleep(SECOND);");
        assert_eq!(rules("crates/x/tests/a.rs", &guess), [("tidy-sleep", Some(3))]);
        assert_eq!(rules(SHIPPED, &guess), []);
        let inline =
            format!("//! Theory.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "sleep(x).await;\n");
        assert_eq!(rules(SHIPPED, &inline), [("tidy-sleep", Some(4))]);
        let explained = test("    // sleep: pause of a poll with a deadline\n    sleep(TICK);");
        assert_eq!(rules("crates/x/tests/a.rs", &explained), []);
        let unexplained = test("    sleep(TICK); // sleep:");
        assert_eq!(rules("crates/x/tests/a.rs", &unexplained).len(), 1);
    }
}
