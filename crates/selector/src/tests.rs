//! Tests of the crate as a whole: against the original's captured answers, against a second,
//! naive reading of the same rules, and the words that people read.

mod captured;
mod naive;
mod words;
