//! Bytes as PDUs: see crates/iscsi/src/fuzzing/pdu.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| osds_iscsi::fuzzing::pdu(input));
