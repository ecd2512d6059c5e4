//! CDBs on a unit with three hosts: see crates/iscsi/src/fuzzing/commands.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| osds_iscsi::fuzzing::commands(input));
