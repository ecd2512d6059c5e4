//! Drivers in memory, for tests of everything above them.
//!
//! They keep the promises of the traits with real files ([`FakeStorage`] hands out memory files),
//! so the conformance suite runs on them as on any other driver. A clone is another handle on the
//! same backend: drop everything above, keep a clone, and that was a crash. A [`FaultPlan`] makes
//! chosen calls fail, wait or stand still, before or after their effect.

mod faults;
mod storage;
mod target;

pub use faults::{FaultPlan, Gate, Op, When};
pub use storage::FakeStorage;
pub use target::{Denied, FakeTarget};
