//! The target over real sockets, driven by the built-in initiator.
//!
//! The initiator is compiled in from its own folder rather than depended on: this crate knows
//! nobody, and a dependency of its tests on the test kit would be a circle.

#[path = "../../../testkit/src/initiator/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the initiator offers more than these tests use")]
mod initiator;

mod chap;
mod data;
mod hostile;
mod leave;
mod lifetime;
mod limited;
mod login;
mod portals;
mod quiet;
mod races;
mod reserve;
mod revoke;
mod scene;
mod sequences;
mod shared;
mod tasks;
mod usage;
mod waiting;
