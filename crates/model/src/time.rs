//! When something happened, as a value: the clock itself is read at the edge and passed in.

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z. OpenSDS shows whole seconds, so no finer is kept.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);
