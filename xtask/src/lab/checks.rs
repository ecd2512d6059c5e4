//! What a scene has found so far, said as it goes.
//!
//! A check that fails is said and counted, and the scene goes on, so that one run tells all that is
//! wrong; a step that cannot be done ends the scene.

use std::time::Instant;

use anyhow::Result;

/// The checks of a run.
pub struct Checks {
    began: Instant,
    held: usize,
    failed: Vec<String>,
}

impl Checks {
    /// None yet.
    pub fn new() -> Self {
        Self { began: Instant::now(), held: 0, failed: Vec::new() }
    }

    /// Says what is being done.
    pub fn say(&self, what: &str) {
        println!("{:6.1} s      {what}", self.began.elapsed().as_secs_f32());
    }

    /// One check. `found` is said when it does not hold.
    pub fn check(&mut self, holds: bool, what: &str, found: &str) {
        let word = if holds { "ok  " } else { "FAIL" };
        println!("{:6.1} s {word} {what}", self.began.elapsed().as_secs_f32());
        if holds {
            self.held += 1;
        } else {
            println!("         found: {}", found.trim());
            self.failed.push(what.to_owned());
        }
    }

    /// The end of a scene.
    pub fn end(&mut self, scene: &str, result: Result<()>) {
        if let Err(error) = result {
            self.check(false, &format!("{scene} was played to its end"), &format!("{error:#}"));
        }
    }

    /// The end of the run: whether all was well.
    pub fn sum_up(&self) -> bool {
        if self.failed.is_empty() {
            let took = self.began.elapsed().as_secs_f32();
            println!("lab: all {} checks held, {took:.0} s", self.held);
        } else {
            println!("lab: {} checks held, {} did not:", self.held, self.failed.len());
            self.failed.iter().for_each(|what| println!("  FAIL {what}"));
        }
        self.failed.is_empty() && self.held > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_good_when_something_was_checked_and_all_of_it_held() {
        let mut checks = Checks::new();
        assert!(!checks.sum_up(), "nothing was looked at");
        checks.check(true, "one", "");
        assert!(checks.sum_up());
        checks.end("a scene", Err(anyhow::anyhow!("it broke")));
        assert!(!checks.sum_up());
    }
}
