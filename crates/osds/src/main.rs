//! The osds daemon.
fn main() {}
