//! Sizes. GiB on the OpenSDS wire, bytes inside; this type is where one becomes the other.
//!
//! Arithmetic stops at the ends of the range instead of wrapping: a sum that is too large fits into
//! no pool, and a difference below nothing is nothing. GiB are rounded down, so that no pool ever
//! offers what it does not have.

use std::fmt;

use serde::{Deserialize, Serialize};

const GIB: u64 = 1 << 30;

/// A size in bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Capacity(u64);

impl Capacity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// From whole GiB; `None` when that many bytes do not fit.
    #[must_use]
    pub const fn from_gib(gib: u64) -> Option<Self> {
        match gib.checked_mul(GIB) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// In whole GiB, rounded down: a pool never offers what it does not have.
    #[must_use]
    pub const fn whole_gib(self) -> u64 {
        self.0 / GIB
    }

    /// The sum, capped at the largest number there is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// So many times as much, capped at the largest number there is.
    #[must_use]
    pub const fn times(self, factor: u32) -> Self {
        Self(self.0.saturating_mul(factor as u64))
    }

    /// The difference, or nothing where `other` is the larger.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(GIB) {
            write!(f, "{} GiB", self.0 / GIB)
        } else {
            write!(f, "{:.1} GiB", self.0 as f64 / GIB as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gib_and_bytes() {
        assert_eq!(Capacity::from_gib(2).unwrap().bytes(), 2 << 30);
        assert_eq!(Capacity::from_gib(u64::MAX), None);
        assert_eq!(Capacity::from_bytes((2 << 30) - 1).whole_gib(), 1);
        assert_eq!(Capacity::from_gib(3).unwrap().to_string(), "3 GiB");
        assert_eq!(Capacity::from_bytes(68_810_035_200).to_string(), "64.1 GiB");
    }
}
