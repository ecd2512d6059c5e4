//! Topology: the key under which nodes and volumes say in which zones they are.
//!
//! One key for each zone: a host may be in several, and a segment of a topology has one value.

/// The topology key of a zone; its value is `true`.
#[must_use]
pub fn zone_key(driver: &str, zone: &str) -> String {
    format!("az.topology.{driver}/{zone}")
}
