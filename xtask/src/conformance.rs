//! `cargo xtask conformance`: our target beside tgt, by libiscsi's suite, as a page of the book.
//!
//! The run itself is an example of testkit, because only testkit knows the target; here its page is
//! put where it belongs. A run in which ours is not what the table says leaves the page alone.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

const FILE: &str = "docs/book/src/conformance.md";
/// What stands before the page in the example's output; the suite's own words come first.
const MARK: &str = "=== page\n";

/// Runs the suite against both and writes the page.
pub fn run() -> Result<()> {
    let arguments =
        ["run", "--quiet", "--release", "--package", "osds-testkit", "--example", "conformance"];
    let output = workspace::cargo()
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the suite")?;
    ensure!(output.status.success(), "the suite did not run to its end, or found something new");
    let text = String::from_utf8_lossy(&output.stdout);
    let page = page(&text).context("the suite printed no page")?;
    fs::write(FILE, page).with_context(|| format!("cannot write {FILE}"))?;
    println!("wrote {FILE}");
    Ok(())
}

fn page(said: &str) -> Option<&str> {
    said.rsplit_once(MARK).map(|(_, page)| page.strip_suffix('\n').unwrap_or(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_follows_the_mark() {
        assert_eq!(page("Suite: A\n=== page\n# Page\nwords\n\n"), Some("# Page\nwords\n"));
        assert_eq!(page("Suite: A\n"), None);
    }
}
