//! What things of ours are called in the kernel, and whose they are.
//!
//! A backstore is `osds.<backend>.<volume>`, a target the IQN prefix with the volume's id behind it.
//! The tag of an ACL says which host it is of, and which of how many, so that half a grant is seen.
//! Hosts know the volume by the same NAA name as on the built-in target: the kernel makes one of the
//! company number and the first 25 hexadecimal digits of the serial, so the first is digits two to
//! seven of the id, and the serial begins with the other 25, and then says the id.

use std::fmt;
use std::str::FromStr as _;

use osds_model::{FaultKind, HostId, VolumeId};

use crate::DriverError;

/// Whoever an ACL is of that nobody of ours has made, or that was not finished.
pub(super) const NOBODY: HostId = HostId::from_u128(0);

/// Names of one backend's things.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// How backstores begin.
    backstores: String,
    iqn_prefix: String,
}

impl Names {
    pub(super) fn of(backend: &str, iqn_prefix: &str) -> Self {
        Self { backstores: format!("osds.{backend}."), iqn_prefix: iqn_prefix.to_owned() }
    }

    pub(super) fn backstore(&self, volume: VolumeId) -> String {
        format!("{}{volume}", self.backstores)
    }

    /// The volume of a backstore, if it is ours.
    pub(super) fn volume(&self, backstore: &str) -> Option<VolumeId> {
        let id = VolumeId::from_str(backstore.strip_prefix(&self.backstores)?).ok()?;
        // An id may be spelt in several ways, and only one of them is ours.
        (self.backstore(id) == backstore).then_some(id)
    }

    pub(super) fn iqn(&self, volume: VolumeId) -> String {
        format!("{}:{volume}", self.iqn_prefix)
    }

    pub(super) fn target(&self, volume: VolumeId) -> String {
        format!("iscsi/{}", self.iqn(volume))
    }

    /// The target's one portal group.
    pub(super) fn group(&self, volume: VolumeId) -> String {
        format!("{}/tpgt_1", self.target(volume))
    }
}

/// What hosts read as the unit's serial number.
pub(super) fn serial(volume: VolumeId) -> String {
    let digits = volume.0.simple().to_string();
    format!("{}-{volume}", &digits[7..])
}

/// The number in the place of a company's.
pub(super) fn company(volume: VolumeId) -> String {
    format!("0x{}", &volume.0.simple().to_string()[1..7])
}

/// What is written on an ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) host: HostId,
    /// Which of the host's initiators, from one.
    pub(super) number: usize,
    /// How many it has.
    pub(super) of: usize,
}

impl Tag {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, place) = text.strip_prefix("osds ")?.split_once(' ')?;
        let (number, of) = place.split_once('/')?;
        let tag = Self {
            host: HostId::from_u128(u128::from_str_radix(host, 16).ok()?),
            number: number.parse().ok()?,
            of: of.parse().ok()?,
        };
        (tag.host != NOBODY && tag.to_string() == text).then_some(tag)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The kernel takes 63 characters.
        write!(f, "osds {} {}/{}", self.host.0.simple(), self.number, self.of)
    }
}

/// An initiator's name becomes the name of a directory: only what is an iSCSI name may.
pub(super) fn check_initiator(name: &str) -> Result<(), DriverError> {
    let is_typed = ["iqn.", "eui.", "naa."].iter().any(|kind| {
        name.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(kind)) && name.len() > 4
    });
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
    if is_typed && name.len() <= 223 && name.chars().all(is_plain) {
        return Ok(());
    }
    let doing = format!("letting in {name:?}");
    Err(DriverError::new(FaultKind::Broken, doing).because("that is no name of an iSCSI initiator"))
}

#[cfg(test)]
mod tests {
    use osds_model::Volume;

    use super::*;

    const V: VolumeId = VolumeId::from_u128(0x01a2_03f1_15d9_7260_837a_4ac2_746f_9cb3);

    #[test]
    fn the_name_that_the_kernel_makes_is_the_built_in_targets() {
        // As the kernel does: NAA 6, 24 bits of company, then the hexadecimal digits of the serial.
        let digits: String = serial(V).chars().filter(char::is_ascii_hexdigit).take(25).collect();
        let company = company(V);
        let made = format!("6{}{digits}", company.trim_start_matches("0x"));
        let ours: String = Volume::naa(V).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(made, ours);
        assert!(serial(V).ends_with(&V.to_string()));
    }

    #[test]
    fn what_is_not_ours_has_no_volume() {
        let names = Names::of("fast", "iqn.x");
        assert_eq!(names.volume(&names.backstore(V)), Some(V));
        let other = Names::of("fast.er", "iqn.x").backstore(V);
        let upper = names.backstore(V).to_uppercase();
        for name in ["vol1", "osds.fast.", "osds.fast.vol1", &other, &upper] {
            assert_eq!(names.volume(name), None, "{name}");
        }
    }

    #[test]
    fn a_tag_is_read_as_it_was_written_and_fits() {
        let tag = Tag { host: HostId::from_u128(u128::MAX), number: 64, of: 64 };
        assert!(tag.to_string().len() < 64);
        assert_eq!(Tag::parse(&tag.to_string()), Some(tag));
        for text in ["", "web server", "osds x 1/1", "osds 00000000000000000000000000000000 1/1"] {
            assert_eq!(Tag::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_iscsi_names_become_directories() {
        for good in ["iqn.2026-11.lab:a", "IQN.X:a_b", "naa.52004567ba64678d"] {
            check_initiator(good).unwrap();
        }
        for bad in ["", "iqn.", "nqn.2014-08.org:x", "iqn.x/../../core", "iqn.x y", "iqn.x\n"] {
            assert!(check_initiator(bad).is_err(), "{bad}");
        }
    }
}
