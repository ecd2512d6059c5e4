//! osdsctl.
fn main() {}
