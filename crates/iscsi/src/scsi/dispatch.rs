//! The path of every command: attention, write protection, reservations, then its handler.
//!
//! The order is SAM's and the same for all: a pending unit attention is told first, then the
//! table's effect column decides whether this nexus may send such a command at all (before
//! anything else of the CDB is looked at, and for commands we do not offer too), then come
//! reservations, and only then does a handler see the CDB.

use super::cdb::Cdb;
use super::nexus::{Access, Nexus};
use super::reservations::Class;
use super::sense::{Sense, Status};
use super::table::{Attentive, Effect, Found, Row, find};
use super::unit::LogicalUnit;
use super::{Command, Completion};

/// One command on its way through a handler.
pub(super) struct Call<'a> {
    pub(super) unit: &'a LogicalUnit,
    pub(super) nexus: &'a Nexus,
    pub(super) cdb: Cdb<'a>,
    row: &'static Row,
    sent: &'a [u8],
}

impl<'a> Call<'a> {
    /// The data-out that the CDB asks for, exactly; an error if less was sent. Handlers call it
    /// after all checks of the CDB and before the first effect.
    pub(super) fn data_out(&self) -> Result<&'a [u8], Sense> {
        usize::try_from(self.row.data_out.length(self.cdb))
            .ok()
            .and_then(|length| self.sent.get(..length))
            .ok_or(Sense::DATA_OUT_LENGTH)
    }

    /// Whether the initiator sent any data-out.
    pub(super) fn sends_data(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The same, where more than that is an error too.
    pub(super) fn data_out_alone(&self) -> Result<&'a [u8], Sense> {
        let data = self.data_out()?;
        if data.len() == self.sent.len() { Ok(data) } else { Err(Sense::DATA_OUT_LENGTH) }
    }
}

/// Appends `bytes`, but no more than the allocation length.
pub(super) fn reply(data_in: &mut Vec<u8>, bytes: &[u8], allocation: usize) -> Status {
    data_in.extend_from_slice(&bytes[..bytes.len().min(allocation)]);
    Status::Good
}

/// How many bytes of data-out a CDB asks for: what a transport needs to tell the residual count
/// of a write. `None` for a command that is not offered.
pub fn data_out_length(cdb: &[u8]) -> Option<u64> {
    let cdb = Cdb::new(cdb);
    match find(cdb) {
        Found::Row(row) if row.handler.is_some() => Some(row.data_out.length(cdb)),
        Found::Row(_) | Found::OtherAction | Found::Nothing => None,
    }
}

/// Runs one command to its end.
pub(super) fn execute(
    unit: &LogicalUnit,
    nexus: &Nexus,
    aborts: Option<u64>,
    command: Command<'_>,
    data_in: &mut Vec<u8>,
) -> Completion {
    let before = data_in.len();
    let outcome = run(unit, nexus, aborts, command, data_in);
    if outcome.is_err() {
        data_in.truncate(before);
    }
    outcome.into()
}

fn run(
    unit: &LogicalUnit,
    nexus: &Nexus,
    aborts: Option<u64>,
    command: Command<'_>,
    data_in: &mut Vec<u8>,
) -> Result<Status, Sense> {
    let cdb = Cdb::new(command.cdb);
    let found = if cdb.len() == 0 { Found::Nothing } else { find(cdb) };
    let class = match &found {
        Found::Row(row) => class_of(row, cdb),
        Found::OtherAction | Found::Nothing => Class::Free,
    };
    // Held until the command has ended, so that a change of reservations finds nothing running.
    let reserved = match class {
        Class::Free | Class::Own => None,
        Class::Asks | Class::Reads | Class::Writes => Some(unit.reservations()),
    };
    if aborts.is_some_and(|known| known != nexus.aborts()) {
        return Ok(Status::TaskAborted);
    }
    let passes = matches!(&found, Found::Row(row) if row.attentive == Attentive::Passes);
    if !passes && let Some(attention) = nexus.take_attention() {
        return Err(attention);
    }
    let row = match found {
        Found::Row(row) => row,
        Found::OtherAction => return Err(Sense::invalid_cdb_bit(1, 4)),
        Found::Nothing => return Err(Sense::INVALID_OPCODE),
    };
    if row.effect == Effect::Writes && nexus.access() == Access::ReadOnly {
        return Err(Sense::WRITE_PROTECTED);
    }
    if reserved.as_ref().is_some_and(|state| !state.permits(nexus.port(), class)) {
        return Ok(Status::ReservationConflict);
    }
    let handler = row.handler.ok_or(Sense::INVALID_OPCODE)?;
    if cdb.len() < row.usage.len() {
        return Err(Sense::invalid_cdb(cdb.len() as u16));
    }
    if cdb.asks_for_aca() {
        return Err(Sense::invalid_cdb_bit(row.usage.len() as u16 - 1, 2));
    }
    handler(&Call { unit, nexus, cdb, row, sent: command.data_out }, data_in)
}

/// The table's column of reservations, with the two commands whose class depends on what they ask
/// for: starting a unit and allowing removal disturb nobody.
fn class_of(row: &Row, cdb: Cdb<'_>) -> Class {
    const POWER_CONDITION: u8 = 0xf0;
    let harmless = match row.opcode {
        0x1b => cdb.bit(4, 0) && cdb.byte(4) & POWER_CONDITION == 0,
        0x1e => cdb.byte(4) & 0x03 == 0,
        _ => false,
    };
    if harmless { Class::Asks } else { row.class }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::backend::Backend;
    use super::super::nexus::Attention;
    use super::super::table::TABLE;
    use super::super::testing::{Rig, cdb10, cdb16, quiet, run, unmap_list};
    use super::{Access, Cdb, Class, Completion, Effect, Found, Sense, data_out_length, find};

    /// Every opcode with every value of byte 1 (service action, flags), for variable length ones
    /// every low service action, and with a length of 24 (blocks or bytes of a list).
    fn every_cdb() -> impl Iterator<Item = [u8; 32]> {
        (0..=255u8).flat_map(|opcode| {
            (0..=255u8).map(move |variant| {
                let mut cdb = [0; 32];
                cdb[0] = opcode;
                let (variant_at, length_at) = match opcode >> 5 {
                    0 => (1, 4),
                    1 | 2 => (1, 8),
                    4 => (1, 13),
                    5 => (1, 9),
                    _ => (9, 31),
                };
                (cdb[variant_at], cdb[length_at]) = (variant, 24);
                cdb
            })
        })
    }

    /// As much data-out as the CDB asks for: an unmap list first, then something that is no zero.
    fn wanted_data(cdb: &[u8]) -> Vec<u8> {
        let mut data = unmap_list(&[(0, 64)]);
        data.resize(data_out_length(cdb).unwrap_or(16_384) as usize, 0xaa);
        data
    }

    #[test]
    fn a_read_only_nexus_changes_nothing_by_any_command() {
        let rig = Rig::new(64);
        let reader = quiet(&rig.unit, Access::ReadOnly);
        for cdb in every_cdb() {
            let (done, _) = run(&rig.unit, &reader, &cdb, &wanted_data(&cdb));
            assert_eq!(rig.medium.mutations.load(Relaxed), 0, "{cdb:02x?} changed the medium");
            let writes = matches!(find(Cdb::new(&cdb)),
                Found::Row(row) if row.effect == Effect::Writes);
            let protected = done.sense == Some(Sense::WRITE_PROTECTED);
            assert_eq!(writes, protected, "{cdb:02x?}: {done:?}");
        }
    }

    /// The walk above would notice: over a nexus that may write, the same CDBs do change things,
    /// and by every command that the table says can.
    #[test]
    fn the_same_walk_changes_things_when_it_may() {
        let rig = Rig::new(64);
        let mut mutators = vec![];
        for cdb in every_cdb() {
            let data = wanted_data(&cdb);
            if cdb[0] == 0x89 {
                // What it compares with must be there.
                rig.medium.write_at(&data[..data.len() / 2], 0).unwrap();
            }
            let before = rig.medium.mutations.load(Relaxed);
            let _ = rig.run(&cdb, &data);
            if rig.medium.mutations.load(Relaxed) > before {
                mutators.push(cdb[0]);
            }
        }
        mutators.dedup();
        let expected: Vec<u8> = TABLE
            .iter()
            .filter(|row| row.effect == Effect::Writes && row.handler.is_some())
            .filter(|row| row.class != Class::Own)
            .map(|row| row.opcode)
            .collect();
        assert_eq!(mutators, expected);
    }

    #[test]
    fn write_protection_also_covers_what_is_not_offered() {
        let rig = Rig::new(64);
        let reader = quiet(&rig.unit, Access::ReadOnly);
        for opcode in [0x04, 0x48, 0x50, 0x56, 0x9c, 0x83, 0x3f, 0x9f] {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            let sense = |nexus| run(&rig.unit, nexus, &cdb, &[]).0.sense;
            assert_eq!(sense(&reader), Some(Sense::WRITE_PROTECTED), "{opcode:#x}");
            assert_eq!(sense(&rig.nexus), Some(Sense::INVALID_OPCODE), "{opcode:#x}");
        }
    }

    #[test]
    fn an_attention_comes_before_everything_but_the_three() {
        let rig = Rig::new(64);
        let tell = || rig.unit.announce(Attention::CapacityChanged, None);
        let is_told = |cdb: &[u8]| rig.run(cdb, &[]).0.sense.is_some_and(|s| s.asc == 0x2a);
        tell();
        for passing in [&[0x12, 0, 0, 0, 36, 0][..], &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]] {
            assert!(!is_told(passing));
        }
        assert!(is_told(&[0x00; 6]));
        assert!(!is_told(&[0x00; 6]));
        tell();
        assert!(is_told(&[0xff; 16]), "even before an unknown opcode");
        tell();
        let data = rig.good(&[0x03, 0, 0, 0, 252, 0], &[]);
        assert_eq!((data[2], data[12], data[13]), (6, 0x2a, 0x09));
        tell();
        let data = rig.good(&[0x03, 1, 0, 0, 252, 0], &[]);
        assert_eq!(data, [0x72, 6, 0x2a, 0x09, 0, 0, 0, 0]);
        assert_eq!(rig.good(&[0x03, 0, 0, 0, 252, 0], &[])[2], 0);
    }

    #[test]
    fn a_new_session_learns_of_power_on_once() {
        let rig = Rig::new(64);
        let fresh = rig.unit.attach("new", [2; 6], Access::ReadWrite);
        let (done, _) = run(&rig.unit, &fresh, &[0x00; 6], &[]);
        assert_eq!(done.sense.map(|s| (s.asc, s.ascq)), Some((0x29, 0x00)));
        assert_eq!(run(&rig.unit, &fresh, &[0x00; 6], &[]).0, Completion::GOOD);
        assert_eq!(rig.run(&[0x00; 6], &[]).0, Completion::GOOD);
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        let rig = Rig::new(64);
        assert_eq!(rig.sense(&[], &[]), Sense::INVALID_OPCODE);
        assert_eq!(rig.sense(&[0xff; 16], &[]), Sense::INVALID_OPCODE);
        assert_eq!(rig.sense(&cdb16(0x9e, 0x1f, 0, 0), &[]), Sense::invalid_cdb_bit(1, 4));
        assert_eq!(rig.sense(&[0x28, 0, 0], &[]), Sense::invalid_cdb(3));
        let mut aca = cdb10(0x28, 0, 0, 1);
        aca[9] = 4;
        assert_eq!(rig.sense(&aca, &[]), Sense::invalid_cdb_bit(9, 2));
    }
}
