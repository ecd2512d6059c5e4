//! Pages lead where they say: every relative link of the documents resolves, to a file or folder
//! of the repository and, where it names a heading, to a heading of that page.
//!
//! What is code (fenced, indented or in backticks) holds no links. Links to elsewhere are not
//! followed: a check must not need the network. A page of the book that its contents do not list is
//! never built, so that is found here as well.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::source::SourceFile;

const BOOK: &str = "docs/book/src/";
const CONTENTS: &str = "docs/book/src/SUMMARY.md";

/// Every relative link leads somewhere. `exists` says of a path from the root whether it is there.
pub fn links(files: &[SourceFile], exists: impl Fn(&str) -> bool, findings: &mut Vec<Finding>) {
    let pages: BTreeMap<&str, &SourceFile> =
        files.iter().filter(|file| is_page(&file.path)).map(|f| (f.path.as_str(), f)).collect();
    for page in pages.values() {
        for (line, target) in links_of(&page.text) {
            if let Some(wrong) = wrong_with(&page.path, target, &pages, &exists) {
                let what = format!("links {target}: {wrong}");
                let remedy = "write the path from this page's folder, or drop the link";
                findings.push(Finding::file(&page.path, "tidy-dead-link", what, remedy).at(line));
            }
        }
    }
    listed(&pages, findings);
}

/// Every page of the book is in its contents.
fn listed(pages: &BTreeMap<&str, &SourceFile>, findings: &mut Vec<Finding>) {
    let Some(contents) = pages.get(CONTENTS) else { return };
    let linked: Vec<String> = links_of(&contents.text)
        .into_iter()
        .filter_map(|(_, target)| resolved(CONTENTS, target.split('#').next()?))
        .collect();
    for path in pages.keys().filter(|path| path.starts_with(BOOK) && **path != CONTENTS) {
        if !linked.iter().any(|link| link == path) {
            let what = format!("{CONTENTS} does not list it, so the book leaves it out");
            findings.push(Finding::file(path, "tidy-lost-page", what, "add it to the contents"));
        }
    }
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && (path.starts_with("docs/") || !path.contains('/'))
}

fn wrong_with(
    page: &str,
    target: &str,
    pages: &BTreeMap<&str, &SourceFile>,
    exists: &impl Fn(&str) -> bool,
) -> Option<&'static str> {
    let elsewhere = ["http://", "https://", "mailto:"];
    if elsewhere.iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { Some(page.to_owned()) } else { resolved(page, path) };
    let Some(path) = path else { return Some("it leads out of the repository") };
    if !exists(&path) {
        return Some("there is no such file");
    }
    let there =
        |page: &&SourceFile| page.text.lines().any(|line| slug(line) == Some(heading.into()));
    match pages.get(path.as_str()) {
        Some(page) if !heading.is_empty() && !there(page) => Some("there is no such heading"),
        Some(_) | None => None,
    }
}

/// The path from the root that `target` means on `page`; `None` when it leads out.
fn resolved(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What a heading is called in links: small letters, hyphens for blanks, no other marks.
fn slug(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect())
}

/// The targets of inline links, each with its line counted from one.
fn links_of(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        // Odd pieces between backticks are code, and so is what begins with four blanks.
        if fenced || line.starts_with("    ") {
            continue;
        }
        for piece in line.split('`').step_by(2) {
            let targets = piece.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(|target| (index + 1, target)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: [&str; 4] = ["README.md", "docs", "docs/book/src/a.md", "docs/demo.svg"];

    fn rules(texts: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = texts.iter().map(|(path, text)| SourceFile::new(path, text)).collect();
        let mut findings = Vec::new();
        links(&files, |path| THERE.contains(&path), &mut findings);
        findings.into_iter().map(|f| format!("{} {}", f.file, f.what)).collect()
    }

    fn on_page(text: &str) -> usize {
        rules(&[("docs/book/src/a.md", text), ("README.md", "# Osds\n\n## See it, then use it\n")])
            .len()
    }

    #[test]
    fn a_link_that_leads_somewhere_is_fine() {
        assert_eq!(on_page("![demo](../../demo.svg) [us](../../../README.md) [docs](../../)\n"), 0);
        assert_eq!(
            on_page("# Two words\n[up](#two-words) [x](https://example.org/nowhere.md)\n"),
            0
        );
        assert_eq!(on_page("[there](../../../README.md#see-it-then-use-it)\n"), 0);
    }

    #[test]
    fn a_dead_link_is_caught() {
        assert_eq!(on_page("[gone](b.md)\n"), 1);
        assert_eq!(on_page("fine [one](a.md), and [two](b.md) [three](c.md)\n"), 2);
        assert_eq!(on_page("[out](../../../../etc/passwd)\n"), 1);
        assert_eq!(on_page("[up](#three-words)\n"), 1);
        assert_eq!(on_page("[there](../../../README.md#nothing)\n"), 1);
        assert_eq!(
            rules(&[("README.md", "\n[x](docs/y.md)\n")]),
            ["README.md links docs/y.md: there is no such file"]
        );
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(on_page("`a[0](b)` and\n\n    c[1](d.md)\n\n```\ne[2](f.md)\n```\n"), 0);
    }

    #[test]
    fn a_page_the_contents_do_not_list_is_caught() {
        let contents = |text| rules(&[("docs/book/src/a.md", "# A\n"), (CONTENTS, text)]);
        assert_eq!(contents("- [A](a.md)\n"), Vec::<String>::new());
        assert_eq!(contents("nothing\n").len(), 1);
    }
}
