//! The login state machine: see crates/iscsi/src/fuzzing/login.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| osds_iscsi::fuzzing::login(input));
