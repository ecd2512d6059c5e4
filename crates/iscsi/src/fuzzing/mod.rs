//! What a fuzzer runs: one function for each surface that strangers can reach, any bytes in.
//!
//! A target returns for every input, and asserts on the way what must hold for every input. The
//! same functions run twice: in `fuzz/` under libFuzzer, which looks for new inputs, and in the test
//! at the foot of this file, which replays the committed corpus and mutations of it wherever
//! `cargo test` runs. Not part of the crate's interface: behind the feature `fuzzing`, for `fuzz/` alone.

mod commands;
mod login;
mod medium;
mod pdu;
mod session;

pub use commands::commands;
pub use login::login;
pub use pdu::pdu;
pub use session::session;

/// The bytes of an input, taken from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// So many, or all that are left.
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// So many; what is missing is zero.
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes(N);
        std::array::from_fn(|at| taken.get(at).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    /// Mutations of each file.
    const MUTATIONS: u64 = 16;

    /// Changes an input the way a fuzzer does, in one to four places.
    fn mutated(input: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % below.max(1)
        };
        let mut bytes = input.to_vec();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << next(8),
                1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)],
                2 => bytes.truncate(at),
                3 if !bytes.is_empty() => {
                    let end = (at + 1 + next(48)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                4 if !bytes.is_empty() => {
                    let end = (at + 1 + next(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => bytes.extend_from_slice(&other[next(other.len())..]),
            }
        }
        bytes
    }

    /// Every file of the corpus, and mutations of each.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let files: BTreeMap<_, _> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        assert!(!files.is_empty(), "no corpus in {}", folder.display());
        let mut other: &[u8] = &[];
        for (seed, (path, bytes)) in (0..).zip(&files) {
            // Shown if this test fails, so that the last line names the culprit.
            println!("{}", path.display());
            target(bytes);
            for round in 0..MUTATIONS {
                let input = mutated(bytes, other, seed * MUTATIONS + round);
                println!("  mutation {round}: {input:02x?}");
                target(&input);
            }
            other = bytes;
        }
    }

    #[test]
    fn the_corpus_of_the_pdu_parser() {
        replay("pdu", pdu);
    }

    #[test]
    fn the_corpus_of_the_login() {
        replay("login", login);
    }

    #[test]
    fn the_corpus_of_the_commands() {
        replay("commands", commands);
    }

    #[test]
    fn the_corpus_of_the_session() {
        replay("session", session);
    }
}
