//! A whole connection: see crates/iscsi/src/fuzzing/session.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| osds_iscsi::fuzzing::session(input));
