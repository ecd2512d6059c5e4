//! What Kubernetes calls a volume: its id, or its id and `#ro`.
//!
//! One PersistentVolume has one way of access for all its nodes. The alias `<id>#ro` is the same
//! volume under a second name whose every attachment only reads; so a volume can be read-write on
//! one node and read-only on others, as two PersistentVolumes.

use std::fmt;
use std::str::FromStr;

use osds_model::VolumeId;

/// The end of an alias.
const READS: &str = "#ro";

/// A volume as CSI names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    /// The volume.
    pub volume: VolumeId,
    /// Whether it is the alias that only reads.
    pub reads: bool,
}

impl Handle {
    /// The alias that only reads.
    #[must_use]
    pub const fn reading(volume: VolumeId) -> Self {
        Self { volume, reads: true }
    }
}

impl From<VolumeId> for Handle {
    fn from(volume: VolumeId) -> Self {
        Self { volume, reads: false }
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.volume, if self.reads { READS } else { "" })
    }
}

/// The text names no volume of ours; there is none of that name, so it is gone or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the handle of a volume: it is a volume's id, or its id and #ro")]
pub struct NotAHandle;

impl FromStr for Handle {
    type Err = NotAHandle;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, reads) = match text.strip_suffix(READS) {
            Some(id) => (id, true),
            None => (text, false),
        };
        let volume: VolumeId = id.parse().map_err(|_| NotAHandle)?;
        // One volume has one spelling, or two records of one node could mean the same device.
        if volume.to_string() == id { Ok(Self { volume, reads }) } else { Err(NotAHandle) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_volume() {
        let id = "0198f0a0-0000-7000-8000-000000000001";
        let plain: Handle = id.parse().unwrap();
        assert!(!plain.reads);
        assert_eq!(plain.to_string(), id);
        let alias: Handle = format!("{id}#ro").parse().unwrap();
        assert_eq!(alias, Handle::reading(plain.volume));
        assert_eq!(alias.to_string(), format!("{id}#ro"));
        for bad in ["", "#ro", "x", &format!("{id}#rw"), &id.replace('a', "A"), &format!("{id} ")] {
            assert!(bad.parse::<Handle>().is_err(), "{bad}");
        }
    }
}
