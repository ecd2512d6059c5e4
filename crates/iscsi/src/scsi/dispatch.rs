//! The path of every command: attention, write protection, reservations, then its handler.
//!
//! The order is SAM's and the same for all: a pending unit attention is told first, then the
//! table's effect column decides whether this nexus may send such a command at all (before
//! anything else of the CDB is looked at, and for commands we do not offer too), then come
//! reservations, and only then does a handler see the CDB.

use super::cdb::{Cdb, Extent};
use super::nexus::{Access, Nexus};
use super::ranges::RangeGuard;
use super::reservation_terms::Class;
use super::sense::{Sense, Status};
use super::table::{Attentive, Effect, Found, Handler, Pace, Row, find, rows_of};
use super::unit::LogicalUnit;
use super::{Command, Completion, MAX_TRANSFER_BYTES};
use crate::buffer::Buffer;

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

    /// Holds blocks against everybody. An error once its session is over: nobody reads it.
    pub(super) fn hold(&self, extent: Extent) -> Result<RangeGuard<'a>, Sense> {
        let ranges = &self.unit.roster.ranges;
        let held = ranges.exclusive(extent.lba, extent.blocks, self.nexus.leaving());
        held.ok_or(Sense::ABORTED)
    }

    /// The same against writers.
    pub(super) fn hold_shared(&self, extent: Extent) -> Result<RangeGuard<'a>, Sense> {
        let ranges = &self.unit.roster.ranges;
        let held = ranges.shared(extent.lba, extent.blocks, self.nexus.leaving());
        held.ok_or(Sense::ABORTED)
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
pub(super) fn reply(data_in: &mut Buffer, bytes: &[u8], allocation: usize) -> Status {
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

/// How much of the medium a CDB asks for: what a transport needs to bound the memory of commands
/// that run at the same time. Other answers are small.
pub fn data_in_length(cdb: &[u8]) -> usize {
    let cdb = Cdb::new(cdb);
    match find(cdb) {
        Found::Row(Row { effect: Effect::Reads, pace: Pace::Tries(_), .. }) => {
            cdb.extent().bytes().min(MAX_TRANSFER_BYTES as u64) as usize
        }
        Found::Row(_) | Found::OtherAction | Found::Nothing => 0,
    }
}

/// Runs one command to its end.
pub(super) fn execute(
    unit: &LogicalUnit,
    nexus: &Nexus,
    aborts: Option<u64>,
    command: Command<'_>,
    data_in: &mut Buffer,
) -> Completion {
    let before = data_in.len();
    let (found, class) = look_up(command.cdb);
    // Until the command has ended, so that a reservation finds nothing running that it stops.
    let inside = if is_bound(class) {
        let Some(inside) = unit.enter(nexus) else {
            // Its session is over, and nobody reads the answer.
            return Ok(Status::Busy).into();
        };
        Some(inside)
    } else {
        None
    };
    let checked = check(unit, nexus, aborts, command, &found, class, inside.is_some());
    let outcome = match checked {
        Ok((handler, call)) => handler(&call, data_in),
        Err(ended) => ended,
    };
    if outcome.is_err() {
        data_in.truncate(before);
    }
    outcome.into()
}

/// The same, if nothing has to be waited for: no lock, no medium. `None`: something would have to,
/// and the command has not begun; no attention has been told either.
pub(super) fn execute_at_once(
    unit: &LogicalUnit,
    nexus: &Nexus,
    aborts: Option<u64>,
    command: Command<'_>,
    data_in: &mut Buffer,
) -> Option<Completion> {
    let before = data_in.len();
    let (found, class) = look_up(command.cdb);
    let pace = match &found {
        Found::Row(row) => row.pace,
        Found::OtherAction | Found::Nothing => Pace::Quick,
    };
    if matches!(pace, Pace::Slow) {
        return None;
    }
    let inside = if is_bound(class) { Some(unit.try_enter()?) } else { None };
    let checked = check(unit, nexus, aborts, command, &found, class, inside.is_some());
    let outcome = match (checked, pace) {
        (Err(ended), _) => Some(ended),
        (Ok((handler, call)), Pace::Quick) => Some(handler(&call, data_in)),
        (Ok((_, call)), Pace::Tries(try_handler)) => try_handler(&call, data_in),
        (Ok(_), Pace::Slow) => None,
    };
    if !matches!(outcome, Some(Ok(_))) {
        data_in.truncate(before);
    }
    outcome.map(Completion::from)
}

fn look_up(cdb: &[u8]) -> (Found, Class) {
    let cdb = Cdb::new(cdb);
    let found = if cdb.len() == 0 { Found::Nothing } else { find(cdb) };
    let class = match &found {
        Found::Row(row) => class_of(row, cdb),
        Found::OtherAction | Found::Nothing => Class::Free,
    };
    (found, class)
}

/// Whether no reservation may be made while a command of this class runs.
fn is_bound(class: Class) -> bool {
    match class {
        Class::Free | Class::Own => false,
        Class::Asks | Class::Reads | Class::Writes => true,
    }
}

/// Everything up to the handler, in SAM's order. `Err`: the command has ended here.
fn check<'a>(
    unit: &'a LogicalUnit,
    nexus: &'a Nexus,
    aborts: Option<u64>,
    command: Command<'a>,
    found: &Found,
    class: Class,
    is_inside: bool,
) -> Result<(Handler, Call<'a>), Result<Status, Sense>> {
    let cdb = Cdb::new(command.cdb);
    if aborts.is_some_and(|known| known != nexus.aborts()) {
        return Err(Ok(Status::TaskAborted));
    }
    let passes = matches!(found, Found::Row(row) if row.attentive == Attentive::Passes);
    if !passes && let Some(attention) = nexus.take_attention() {
        return Err(Err(attention));
    }
    let row = match found {
        Found::Row(row) => *row,
        Found::OtherAction => return Err(Err(Sense::invalid_cdb_bit(1, 4))),
        Found::Nothing => return Err(Err(Sense::INVALID_OPCODE)),
    };
    if row.effect == Effect::Writes && nexus.access() == Access::ReadOnly {
        return Err(Err(Sense::WRITE_PROTECTED));
    }
    if is_inside && !unit.permits(nexus, class) {
        return Err(Ok(Status::ReservationConflict));
    }
    let handler = match row.handler {
        Some(handler) => handler,
        None if rows_of(row.opcode).iter().any(|row| row.handler.is_some()) => {
            return Err(Err(Sense::invalid_cdb_bit(1, 4)));
        }
        None => return Err(Err(Sense::INVALID_OPCODE)),
    };
    if cdb.len() < row.usage.len() {
        return Err(Err(Sense::invalid_cdb(cdb.len() as u16)));
    }
    if cdb.asks_for_aca() {
        return Err(Err(Sense::invalid_cdb_bit(row.usage.len() as u16 - 1, 2)));
    }
    Ok((handler, Call { unit, nexus, cdb, row, sent: command.data_out }))
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
    use super::super::testing::{Rig, cdb10, cdb16, copy_list, copy_party, copy_segment};
    use super::super::testing::{quiet, run, unmap_list};
    use super::{
        Access, Cdb, Class, Command, Completion, Effect, Found, Sense, data_out_length, find,
    };

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
                if opcode == 0x83 {
                    cdb[length_at] = 76;
                }
                cdb
            })
        })
    }

    /// As much data-out as the CDB asks for: an unmap list first, then something that is no zero;
    /// for EXTENDED COPY a list of that length.
    fn wanted_data(cdb: &[u8]) -> Vec<u8> {
        if cdb[0] == 0x83 {
            return copy_list(0, 0, &copy_party(), &copy_segment(0, 1, 1));
        }
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
        for opcode in [0x04, 0x48, 0x50, 0x56, 0x9c, 0x3f, 0x9f] {
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

    /// The lock of the reservations is held by this very thread: whoever waited for it would hang.
    #[test]
    fn at_once_never_waits_for_a_lock() {
        let rig = Rig::new(64);
        let at_once = |cdb: &[u8], data_out: &[u8]| {
            let command = Command { cdb, data_out };
            rig.unit.execute_at_once(&rig.nexus, None, command, &mut crate::Buffer::default())
        };
        let (read, write) = (cdb10(0x28, 0, 0, 1), cdb10(0x2a, 0, 0, 1));
        rig.unit.announce(Attention::CapacityChanged, None);
        {
            let soon = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let _held = rig.unit.roster.turnstile.shut(soon, rig.nexus.leaving()).unwrap();
            for cdb in every_cdb() {
                let _ = at_once(&cdb, &wanted_data(&cdb));
            }
            for cdb in [&read, &write] {
                rig.unit.announce(Attention::CapacityChanged, None);
                assert_eq!(at_once(cdb, &[0; 512]), None);
                assert!(rig.nexus.take_attention().is_some(), "not told");
            }
        }
        // This medium is never at once; with the blocks held it is not even asked.
        rig.medium.at_once.store(true, Relaxed);
        assert_eq!(at_once(&read, &[]), Some(Completion::GOOD));
        assert_eq!(at_once(&write, &[1; 512]), Some(Completion::GOOD));
        {
            let _held = rig.unit.roster.ranges.try_shared(0, 1);
            assert_eq!(at_once(&read, &[]), Some(Completion::GOOD));
            assert_eq!(at_once(&write, &[2; 512]), None);
        }
        {
            let _held = rig.unit.roster.ranges.try_exclusive(0, 1);
            assert_eq!((at_once(&read, &[]), at_once(&write, &[2; 512])), (None, None));
        }
        assert_eq!(rig.medium.bytes()[..512], [1; 512]);
        assert_eq!(at_once(&cdb10(0x28, 8, 0, 1), &[]), None, "FUA flushes");
        assert_eq!(at_once(&cdb10(0x35, 0, 0, 0), &[]), None);
        let beyond = at_once(&cdb10(0x28, 0, 64, 1), &[]);
        assert_eq!(beyond.and_then(|done| done.sense), Some(Sense::out_of_range(64)));
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
