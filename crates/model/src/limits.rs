//! How much I/O a volume's target carries out in a second.
//!
//! A limit belongs to a volume: taken from its profile when it is made, part of its wish, enforced
//! by the target that exports it. No limit is no number at all, so that records without one read as
//! they always did.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Most of anything in a second; what is `None` is not limited.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct IoRate {
    /// Commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<NonZeroU64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU64>,
}

impl IoRate {
    /// Without a limit.
    pub const NONE: Self = Self { iops: None, bytes_per_second: None };

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// The limits on one volume.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct IoLimits {
    /// For all hosts together.
    #[serde(default, skip_serializing_if = "IoRate::is_none")]
    pub volume: IoRate,
    /// For each host by itself.
    #[serde(default, skip_serializing_if = "IoRate::is_none")]
    pub each_host: IoRate,
}

impl IoLimits {
    /// Without any.
    pub const NONE: Self = Self { volume: IoRate::NONE, each_host: IoRate::NONE };

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}
