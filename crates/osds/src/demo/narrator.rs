//! What the demo says, and the count of claims that hold.
//!
//! A claim is a sentence and whether it is so, seen on the wire or on the blocks; nothing is
//! claimed that was not looked at. The demo ends with an error as soon as one does not hold, so it
//! is a test that people like to read.

use std::io::IsTerminal as _;
use std::time::Instant;

/// Tells the story and keeps the score.
pub(super) struct Narrator {
    began: Instant,
    chapter: u32,
    held: u32,
    failed: u32,
    coloured: bool,
}

impl Narrator {
    pub(super) fn new() -> Self {
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { began: Instant::now(), chapter: 0, held: 0, failed: 0, coloured }
    }

    /// A new chapter: what is about to happen, and why it matters.
    pub(super) fn chapter(&mut self, title: &str, why: &str) {
        self.chapter += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.chapter)));
        for line in why.lines() {
            println!("   {line}");
        }
    }

    /// Something that was done.
    pub(super) fn did(&self, what: &str) {
        println!("   > {what}");
    }

    /// Something worth seeing.
    pub(super) fn note(&self, what: &str) {
        println!("     {what}");
    }

    /// Something that must be so, and how it is.
    pub(super) fn claim(&mut self, holds: bool, claim: &str, seen: &str) {
        if holds {
            self.held += 1;
            println!("   {} {claim}{}", self.paint("32", "ok  "), in_brackets(seen));
        } else {
            self.failed += 1;
            println!("   {} {claim}{}", self.paint("31", "FAIL"), in_brackets(seen));
        }
    }

    /// Says how it went; the number of claims that do not hold.
    pub(super) fn finish(&self) -> u32 {
        let seconds = self.began.elapsed().as_secs_f64();
        let score = format!("{} claims hold, {} do not", self.held, self.failed);
        let colour = if self.failed == 0 { "32" } else { "31" };
        println!("\n{} ({seconds:.1} s)", self.paint(colour, &score));
        self.failed
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn in_brackets(seen: &str) -> String {
    if seen.is_empty() { String::new() } else { format!("  [{seen}]") }
}
