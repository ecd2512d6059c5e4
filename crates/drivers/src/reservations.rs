//! What initiators ask a target to keep of their reservations through a loss of power (APTPL).
//!
//! A target that offers persistent reservations is given a [`ReservationShelf`] and puts there what
//! is to outlive it, before it answers the initiator. The shelf belongs to whoever keeps the wish of
//! the volume, so that both live, move and end together. What is kept is plain data in SCSI's terms;
//! what it means is the target's to know.

use std::io;

use osds_model::VolumeId;
use serde::{Deserialize, Serialize};

/// Keeps the reservations of every volume of one target.
pub trait ReservationShelf: Send + Sync + 'static {
    /// What was kept last; nothing, if nothing was.
    ///
    /// # Errors
    /// It cannot be read. Whoever asked must not go on as if nothing were kept: a host that was
    /// fenced would write again.
    fn kept(&self, volume: VolumeId) -> io::Result<KeptReservations>;

    /// Replaces what is kept; durable when it returns. Called on the threads of sessions, and only
    /// by one at a time for each volume.
    ///
    /// # Errors
    /// What was kept before still is.
    fn keep(&self, volume: VolumeId, reservations: &KeptReservations) -> io::Result<()>;
}

/// What is kept of one volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptReservations {
    /// Every registration, in the order it was made.
    pub registrations: Vec<Registration>,
    /// The reservation.
    pub reservation: Option<Reservation>,
}

/// One registered I_T nexus. The unit has one target port, so the initiator port names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The initiator port.
    #[serde(flatten)]
    pub port: Port,
    /// Its reservation key, never zero. Written in hexadecimal, as the tools of initiators show it.
    #[serde(with = "hex")]
    pub key: u64,
    /// It registered with all target ports.
    pub all_target_ports: bool,
}

/// An iSCSI initiator port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name, in the target's normal form.
    pub initiator: String,
    /// The initiator part of its session identifier.
    #[serde(with = "hex")]
    pub isid: u64,
}

/// The persistent reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// The code of its type (SPC-4).
    pub kind: u8,
    /// Who holds it; nobody by name where all registrants do.
    pub holder: Option<Port>,
}

impl KeptReservations {
    /// Nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registrations.is_empty() && self.reservation.is_none()
    }

    /// Drops the registrations of everybody who is not let in under one of these names, as if each
    /// of them had unregistered; whether there were any.
    pub fn drop_others<'a>(&mut self, let_in: impl IntoIterator<Item = &'a str>) -> bool {
        let names: Vec<_> = let_in.into_iter().map(str::to_lowercase).collect();
        let before = self.registrations.len();
        self.registrations.retain(|one| names.contains(&one.port.initiator));
        let is_registered = |port: &Port| self.registrations.iter().any(|one| one.port == *port);
        let stays = |held: &Reservation| match &held.holder {
            Some(holder) => is_registered(holder),
            None => !self.registrations.is_empty(),
        };
        if !self.reservation.as_ref().is_none_or(stays) {
            self.reservation = None;
        }
        self.registrations.len() < before
    }
}

/// 64 bits as a text, which no tool rounds.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:#x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("no 0x in front"))?;
        u64::from_str_radix(digits, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str) -> Port {
        Port { initiator: name.to_owned(), isid: 0x8001_0203_0405 }
    }

    fn kept(kind: u8, holder: Option<&str>) -> KeptReservations {
        let registration =
            |name: &str| Registration { port: port(name), key: u64::MAX, all_target_ports: false };
        KeptReservations {
            registrations: ["iqn.x:a", "iqn.x:b"].map(registration).into(),
            reservation: Some(Reservation { kind, holder: holder.map(port) }),
        }
    }

    #[test]
    fn it_is_written_so_that_people_and_tools_read_it() {
        let kept = kept(5, Some("iqn.x:b"));
        let text = serde_json::to_string(&kept).unwrap();
        assert!(text.contains(r#""initiator":"iqn.x:a","isid":"0x800102030405","key":"0xffff"#));
        assert_eq!(serde_json::from_str::<KeptReservations>(&text).unwrap(), kept);
    }

    #[test]
    fn who_is_not_let_in_leaves_nothing_behind() {
        let mut both = kept(5, Some("iqn.x:b"));
        assert!(!both.drop_others(["IQN.X:A", "iqn.x:b", "iqn.x:c"]));
        assert_eq!(both, kept(5, Some("iqn.x:b")));
        assert!(both.drop_others(["IQN.x:a"]));
        assert_eq!((both.registrations.len(), both.reservation), (1, None));
        let mut all_hold = kept(7, None);
        assert!(all_hold.drop_others(["iqn.x:a"]));
        assert!(all_hold.reservation.is_some());
        assert!(all_hold.drop_others([]));
        assert!(all_hold.is_empty());
    }
}
