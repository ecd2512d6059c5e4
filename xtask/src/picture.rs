//! `cargo xtask picture`: the demo's output as an image for the README.
//!
//! The text is what the demo really printed, drawn as SVG by a dozen lines of our own: an image
//! that a person can diff, and that cannot show what the program no longer says.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

const FILE: &str = "docs/demo.svg";
/// Pixels from one character to the next, and from one line to the next.
const ADVANCE: f64 = 7.3;
const LINE: usize = 17;

/// Runs the demo and draws what it printed.
pub fn run() -> Result<()> {
    let output = workspace::cargo()
        .args(["run", "--quiet", "--release", "--package", "osds", "--", "demo"])
        .output()
        .context("cannot run the demo")?;
    ensure!(
        output.status.success(),
        "the demo failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("the demo did not print text")?;
    fs::write(FILE, draw(&text)).with_context(|| format!("cannot write {FILE}"))?;
    println!("drew {FILE}");
    Ok(())
}

fn draw(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let columns = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (width, height) = ((columns as f64 * ADVANCE) as usize + 40, (lines.len() + 2) * LINE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"12\" xml:space=\"preserve\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#14181f\"/>\n"
    );
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let y = (number + 2) * LINE - 5;
        let escaped = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<text x=\"20\" y=\"{y}\" fill=\"{}\">{escaped}</text>", ink(line));
    }
    svg.push_str("</svg>\n");
    svg
}

fn ink(line: &str) -> &'static str {
    let words = line.trim_start();
    if words.starts_with("ok ") || words.ends_with(" s)") {
        "#7ddb8a"
    } else if words.starts_with("FAIL") {
        "#ff7b72"
    } else if words.starts_with('>') {
        "#e6edf3"
    } else if line.starts_with(|c: char| c.is_ascii_digit()) {
        "#79c0ff"
    } else {
        "#9aa7b5"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn_line_by_line_and_escaped() {
        let svg = draw("1. A chapter\n\n   ok   a < b & c\n");
        assert!(svg.contains(">1. A chapter</text>") && svg.contains("a &lt; b &amp; c"));
        assert_eq!(svg.matches("<text").count(), 2);
        assert!(svg.contains("#7ddb8a") && svg.contains("#79c0ff"));
    }
}
