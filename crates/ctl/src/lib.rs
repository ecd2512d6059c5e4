//! osdsctl: the command line of osds.
//!
//! Speaks the grammar of the original's osdsctl, prints its tables and ends with its exit codes,
//! so that scripts and fingers need not change: 0 when it worked, 255 with `ERROR: ...` when it did
//! not, 1 with the usage when the command line was wrong. Data goes to stdout, words go to stderr
//! (the original prints its warnings among the data).
//!
//! `cli` is the grammar, `cmd` has one file per noun, `session` the server and the output.

mod cli;
mod cmd;
pub mod environment;
mod foreign;
mod manual;
mod properties;
mod session;
mod table;
mod wait;

pub use cli::main;
