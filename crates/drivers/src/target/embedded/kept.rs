//! What is kept of reservations, in the target's terms and in the shelf's.
//!
//! Two forms of the same thing, so that the one which lies on a disk does not change with the one
//! that the target works with.

use std::io;
use std::sync::Arc;

use osds_iscsi::scsi::{
    Held, InitiatorPort, KeptReservations as InUse, LogicalUnit, Registrant, ReservationStore,
    ReservationType,
};
use osds_model::VolumeId;

use crate::ReservationShelf;
use crate::reservations::{KeptReservations, Port, Registration, Reservation};

/// The unit with what was kept of its volume, and kept from now on. A volume without a shelf is as
/// it was.
pub(super) fn restore(
    unit: LogicalUnit,
    volume: VolumeId,
    shelf: Option<&Arc<dyn ReservationShelf>>,
) -> io::Result<LogicalUnit> {
    let Some(shelf) = shelf else { return Ok(unit) };
    let kept = in_use(shelf.kept(volume)?)?;
    unit.with_reservations(Box::new(Place { shelf: Arc::clone(shelf), volume }), kept)
}

/// A volume's place on the shelf.
struct Place {
    shelf: Arc<dyn ReservationShelf>,
    volume: VolumeId,
}

impl ReservationStore for Place {
    fn keep(&self, reservations: &InUse) -> io::Result<()> {
        self.shelf.keep(self.volume, &to_keep(reservations))
    }
}

fn to_keep(in_use: &InUse) -> KeptReservations {
    let port = |port: &InitiatorPort| {
        let isid = port.isid.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        Port { initiator: port.initiator.clone(), isid }
    };
    let registration = |one: &Registrant| Registration {
        port: port(&one.port),
        key: one.key,
        all_target_ports: one.all_target_ports,
    };
    KeptReservations {
        registrations: in_use.registrants.iter().map(registration).collect(),
        reservation: in_use
            .held
            .as_ref()
            .map(|held| Reservation { kind: held.kind as u8, holder: held.by.as_ref().map(port) }),
    }
}

/// Refuses what the target cannot have put there.
fn in_use(kept: KeptReservations) -> io::Result<InUse> {
    let nonsense = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let port = |port: Port| -> io::Result<InitiatorPort> {
        let Port { initiator, isid } = port;
        let [0, 0, isid @ ..] = isid.to_be_bytes() else {
            return Err(nonsense(format!("{isid:#x} is no ISID: it has six bytes")));
        };
        Ok(InitiatorPort { initiator, isid })
    };
    let registrant = |one: Registration| -> io::Result<Registrant> {
        let Registration { port: by, key, all_target_ports } = one;
        Ok(Registrant { port: port(by)?, key, all_target_ports })
    };
    let held = |held: Reservation| -> io::Result<Held> {
        let kind = ReservationType::from_code(held.kind)
            .ok_or_else(|| nonsense(format!("no reservation is of type {}", held.kind)))?;
        Ok(Held { kind, by: held.holder.map(port).transpose()? })
    };
    Ok(InUse {
        registrants: kept.registrations.into_iter().map(registrant).collect::<io::Result<_>>()?,
        held: kept.reservation.map(held).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_in_use() {
        let port = InitiatorPort { initiator: "iqn.x:a".to_owned(), isid: [0x80, 1, 2, 3, 4, 5] };
        for kind in ReservationType::ALL {
            let one = Registrant { port: port.clone(), key: 0xfeed, all_target_ports: true };
            let held = Some(Held { kind, by: Some(port.clone()) });
            let before = InUse { registrants: vec![one], held };
            let kept = to_keep(&before);
            assert_eq!(
                (kept.registrations[0].port.isid, kept.is_empty()),
                (0x8001_0203_0405, false)
            );
            assert_eq!(in_use(kept).unwrap(), before);
        }
        assert_eq!(in_use(KeptReservations::default()).unwrap(), InUse::default());
    }

    #[test]
    fn what_cannot_have_been_in_use_is_refused() {
        let reservation = |kind, holder| KeptReservations {
            registrations: vec![],
            reservation: Some(Reservation { kind, holder }),
        };
        let long = Port { initiator: "iqn.x:a".to_owned(), isid: 1 << 48 };
        for kept in [reservation(2, None), reservation(1, Some(long))] {
            assert_eq!(in_use(kept).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
