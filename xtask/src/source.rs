//! The tree as the checks see it: every text file, and for Rust what is code and what is not.
//!
//! A check must not stumble over a word in a string or a comment, nor hold a test to the rules of
//! shipped code. So each Rust file comes in three views of the same shape (same lines, same
//! columns): the text, the code alone, the comments alone; and each line knows whether it is test
//! code. This is a lexer and a few brackets, not a parser: enough for rules about words.

pub mod lexer;
pub mod paths;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One text file of the repository.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The text with comments, strings and character literals blanked out (Rust only).
    pub code: String,
    /// The text with everything but comments blanked out (Rust only).
    pub comments: String,
    /// For each line: is it test code?
    in_test: Vec<bool>,
    /// Is the whole file test code?
    test_file: bool,
}

impl SourceFile {
    /// Takes a file apart.
    pub fn new(path: &str, text: &str) -> Self {
        let mut file = Self {
            path: path.into(),
            text: text.into(),
            code: String::new(),
            comments: String::new(),
            in_test: Vec::new(),
            test_file: false,
        };
        if file.is_rust() {
            let views = lexer::views(text);
            file.in_test = test_lines(&views.code);
            file.code = views.code;
            file.comments = views.comments;
            if is_test_path(path) {
                file.call_test();
            }
        }
        file
    }

    fn call_test(&mut self) {
        self.test_file = true;
        self.in_test.fill(true);
    }

    /// Is this Rust?
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Is the whole file test code?
    pub fn is_test_file(&self) -> bool {
        self.test_file
    }

    /// Is this line (counted from one) test code?
    pub fn in_test(&self, line: usize) -> bool {
        line.checked_sub(1).and_then(|index| self.in_test.get(index)).copied().unwrap_or(false)
    }

    /// The lines of the code view, counted from one.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The folder under `crates/` this file lives in, or `xtask`.
    pub fn crate_folder(&self) -> Option<&str> {
        if self.path.starts_with("xtask/") {
            return Some("xtask");
        }
        self.path.strip_prefix("crates/")?.split('/').next()
    }
}

/// Reads every text file that the checks look at, in order of path.
pub fn read_tree(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    follow_test_modules(&mut files);
    Ok(files)
}

/// A file declared by `#[cfg(test)] mod fixtures;` is test code though nothing in it says so.
pub fn follow_test_modules(files: &mut [SourceFile]) {
    let places: BTreeSet<String> = files.iter().flat_map(test_modules).collect();
    for file in files.iter_mut().filter(|file| file.is_rust()) {
        let below = |place: &String| file.path.starts_with(&format!("{place}/"));
        let is_test = places.contains(file.path.trim_end_matches(".rs"));
        if is_test || places.iter().any(below) {
            file.call_test();
        }
    }
}

/// The modules a file declares for tests, as paths without their ending.
fn test_modules(file: &SourceFile) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let place = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        name => format!("{folder}/{}", name.trim_end_matches(".rs")),
    };
    let declared = file.code_lines().filter(|(number, _)| file.in_test(*number));
    let module = |line: &str| {
        let words = line.trim().strip_suffix(';')?;
        let name = words.rsplit_once("mod ").map(|(_, name)| name.trim())?;
        Some(format!("{place}/{name}"))
    };
    declared.filter_map(|(_, line)| module(line)).collect()
}

/// Also the whole of `docs/examples`, whatever the ending: each example must be tested.
fn is_wanted(path: &str) -> bool {
    const ENDINGS: [&str; 6] = [".rs", ".toml", ".md", ".yaml", ".yml", ".sh"];
    ENDINGS.iter().any(|ending| path.ends_with(ending)) || path.starts_with("docs/examples/")
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if name != "target" && name != ".git" {
                walk(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if kind.is_file() && is_wanted(&path) {
            // Something that is not text (a picture, say) is no business of ours.
            if let Ok(text) = String::from_utf8(fs::read(entry.path())?) {
                files.push(SourceFile::new(&path, &text));
            }
        }
    }
    Ok(())
}

/// Integration tests, benches, and modules split off into `tests.rs`.
fn is_test_path(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    name == "tests.rs" || parts.any(|folder| folder == "tests" || folder == "benches")
}

/// Marks the lines of every item behind `#[cfg(test)]` or a `#[test]`-like attribute.
fn test_lines(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    let line_of = |at: usize| code[..at].matches('\n').count();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[") {
        let start = from + found;
        let Some(end) = closing(code, start + 1) else { break };
        from = end;
        if !means_test(&code[start..end]) {
            continue;
        }
        // The item ends with the brace it opens, or with a semicolon if it opens none.
        let Some(body) = code[end..].find(['{', ';']).map(|offset| end + offset) else { break };
        let stop = if code.as_bytes()[body] == b'{' {
            closing(code, body).unwrap_or(code.len())
        } else {
            body + 1
        };
        for mark in &mut marks[line_of(start)..=line_of(stop - 1)] {
            *mark = true;
        }
        from = stop;
    }
    marks
}

fn means_test(attribute: &str) -> bool {
    let squeezed: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
    let behind_cfg = squeezed.starts_with("#[cfg(")
        && !squeezed.contains("not(test")
        && squeezed.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "test");
    behind_cfg || squeezed == "#[test]" || squeezed.starts_with("#[tokio::test")
}

/// Where the bracket that opens at `open` is closed (one past it).
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(open + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_code_is_told_from_shipped_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let file = SourceFile::new("crates/x/src/a.rs", text);
        let marks: Vec<bool> = (1..=6).map(|line| file.in_test(line)).collect();
        assert_eq!(marks, [false, true, true, true, true, false]);
    }

    #[test]
    fn a_module_declared_for_tests_is_one_item() {
        let text = "#[cfg(test)]\nmod tests;\nfn shipped() {}\n";
        let file = SourceFile::new("crates/x/src/a.rs", text);
        assert!(file.in_test(2) && !file.in_test(3));
    }

    #[test]
    fn what_is_compiled_without_tests_is_shipped() {
        let text = "#[cfg(not(test))]\nfn shipped() {}\n";
        assert!(!SourceFile::new("crates/x/src/a.rs", text).in_test(2));
    }

    #[test]
    fn integration_tests_are_test_code_throughout() {
        assert!(SourceFile::new("crates/x/tests/a.rs", "fn a() {}\n").in_test(1));
        assert!(SourceFile::new("crates/x/src/a/tests.rs", "fn a() {}\n").is_test_file());
        assert!(!SourceFile::new("crates/testkit/src/a.rs", "fn a() {}\n").is_test_file());
    }

    #[test]
    fn a_file_declared_for_tests_is_test_code() {
        let declares = "#[cfg(test)]\nmod fixtures;\nmod shipped;\n";
        let mut files = vec![
            SourceFile::new("crates/x/src/lib.rs", declares),
            SourceFile::new("crates/x/src/fixtures.rs", "fn a() {}\n"),
            SourceFile::new("crates/x/src/fixtures/deep.rs", "fn a() {}\n"),
            SourceFile::new("crates/x/src/shipped.rs", "fn a() {}\n"),
        ];
        follow_test_modules(&mut files);
        let marks: Vec<bool> = files.iter().map(SourceFile::is_test_file).collect();
        assert_eq!(marks, [false, true, true, false]);
    }

    #[test]
    fn the_tree_of_this_repository_can_be_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = read_tree(&root).unwrap();
        assert!(files.iter().any(|file| file.path == "xtask/src/source.rs"));
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }
}
