//! Ids and times as they stand in the wire's objects.
//!
//! The server writes what it has (a uuid, a second) without making a string of it first; a client
//! takes whatever text it is given, because other servers' ids need not be uuids.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use osds_model::{Timestamp, Volume, VolumeId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The id of a thing.
#[derive(Clone, PartialEq, Eq)]
pub enum Id {
    /// One of ours.
    Uuid(Uuid),
    /// One that was read; empty when there is none.
    Text(String),
}

impl Id {
    /// The id of one of our nouns.
    pub fn of(id: impl Into<Uuid>) -> Self {
        Self::Uuid(id.into())
    }

    /// Whether there is no id; it is left out of most objects then.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::Uuid(_) => false,
            Self::Text(text) => text.is_empty(),
        }
    }

    /// Hands its text to `f`, without a string of its own.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Uuid(id) => f(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Self::Text(text) => f(text),
        }
    }
}

/// The name that a volume's blocks carry (NAA), as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Naa(Uuid);

impl Naa {
    /// The name of this volume's blocks.
    #[must_use]
    pub fn of(volume: VolumeId) -> Self {
        Self(Uuid::from_bytes(Volume::naa(volume)))
    }

    /// Hands its text to `f`, without a string of its own.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        f(self.0.simple().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl Serialize for Naa {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Naa {
    /// Other servers may say anything here; what is no NAA of 16 bytes is none.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(Uuid::try_parse(&text).unwrap_or_default()))
    }
}

impl Default for Id {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|text| f.write_str(text))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Text)
    }
}

/// When something happened: `YYYY-MM-DDTHH:MM:SS` in UTC, without a zone (clients parse exactly
/// that), or empty for never.
#[derive(Clone, PartialEq, Eq)]
pub enum Time {
    /// Then.
    At(Timestamp),
    /// As it was read; empty for never.
    Text(String),
}

impl Time {
    /// Hands its text to `f`, without a string of its own.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::At(at) => f(text_of(*at, &mut [0; LEN])),
            Self::Text(text) => f(text),
        }
    }
}

const LEN: usize = "2006-01-02T15:04:05".len();

fn text_of(at: Timestamp, buffer: &mut [u8; LEN]) -> &str {
    // A second that no calendar has can only come from a broken record: show the epoch.
    let when = jiff::Timestamp::from_second(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let when: DateTime = Offset::UTC.to_datetime(when);
    *buffer = *b"0000-00-00T00:00:00";
    put(&mut buffer[0..4], i32::from(when.year()));
    put(&mut buffer[5..7], i32::from(when.month()));
    put(&mut buffer[8..10], i32::from(when.day()));
    put(&mut buffer[11..13], i32::from(when.hour()));
    put(&mut buffer[14..16], i32::from(when.minute()));
    put(&mut buffer[17..19], i32::from(when.second()));
    std::str::from_utf8(buffer).unwrap_or_default()
}

fn put(digits: &mut [u8], number: i32) {
    let mut left = number.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self::At(at)
    }
}

impl From<Option<Timestamp>> for Time {
    fn from(at: Option<Timestamp>) -> Self {
        at.map_or_else(Self::default, Self::At)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|text| f.write_str(text))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Text)
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use utoipa::openapi::{RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    impl PartialSchema for super::Id {
        fn schema() -> RefOr<Schema> {
            String::schema()
        }
    }
    impl ToSchema for super::Id {}

    impl PartialSchema for super::Time {
        fn schema() -> RefOr<Schema> {
            String::schema()
        }
    }
    impl ToSchema for super::Time {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_no_zone_and_never_is_empty() {
        let shown = |seconds| Time::from(Timestamp(seconds)).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00");
        assert_eq!(shown(1_795_348_446), "2026-11-22T11:54:06");
        assert_eq!(shown(951_782_399), "2000-02-28T23:59:59");
        assert_eq!(shown(i64::MAX), "1970-01-01T00:00:00");
        assert_eq!(Time::from(None).to_string(), "");
    }

    #[test]
    fn ids_read_as_text_and_write_as_they_were() {
        let id = Id::of(Uuid::from_u128(7));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"00000000-0000-0000-0000-000000000007\"");
        let odd: Id = serde_json::from_str("\"not-a-uuid\"").unwrap();
        assert_eq!(odd.to_string(), "not-a-uuid");
        assert!(Id::default().is_empty() && !id.is_empty());
    }
}
