//! What the unit says it can do: REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS.
//!
//! The answer about opcodes is read from the dispatch table and from nothing else, so the two
//! cannot disagree: a command is listed exactly when it has a handler, and its usage bits are those
//! the table's row keeps beside that handler. Task management belongs to the transport; its answer
//! is a constant that must stay what `session::control` carries out.

use super::dispatch::{Call, reply};
use super::sense::{Sense, Status};
use super::table::{Row, TABLE, rows_of};
use crate::buffer::Buffer;

/// The twelve bytes of a command timeouts descriptor: no timeout is recommended.
const NO_TIMEOUTS: [u8; 12] = [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// REPORT SUPPORTED OPERATION CODES.
pub(super) fn operation_codes(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let with_timeouts = call.cdb.bit(2, 7);
    let (opcode, action) = (call.cdb.byte(3), call.cdb.u16(4));
    let offered = || rows_of(opcode).iter().filter(|row| row.handler.is_some());
    let has_actions = offered().any(|row| row.service_action.is_some());
    let with_action = || offered().find(|row| row.service_action == Some(action));
    let out = match call.cdb.byte(2) & 7 {
        0 => all(with_timeouts),
        1 if has_actions => return Err(Sense::invalid_cdb_bit(2, 2)),
        1 => one(offered().next(), with_timeouts),
        2 if !has_actions && offered().next().is_some() => {
            return Err(Sense::invalid_cdb_bit(2, 2));
        }
        2 => one(with_action(), with_timeouts),
        3 if has_actions => one(with_action(), with_timeouts),
        3 if action == 0 => one(offered().next(), with_timeouts),
        3 => one(None, with_timeouts),
        _ => return Err(Sense::invalid_cdb_bit(2, 2)),
    };
    Ok(reply(data_in, &out, call.cdb.u32(6) as usize))
}

/// All commands, each as a descriptor.
fn all(with_timeouts: bool) -> Vec<u8> {
    let mut out = vec![0; 4];
    for row in TABLE.iter().filter(|row| row.handler.is_some()) {
        let [action_high, action_low] = row.service_action.unwrap_or(0).to_be_bytes();
        let flags = u8::from(with_timeouts) << 1 | u8::from(row.service_action.is_some());
        let length = row.usage.len() as u8;
        out.extend_from_slice(&[row.opcode, 0, action_high, action_low, 0, flags, 0, length]);
        if with_timeouts {
            out.extend_from_slice(&NO_TIMEOUTS);
        }
    }
    let following = out.len() as u32 - 4;
    out[..4].copy_from_slice(&following.to_be_bytes());
    out
}

/// One command: its CDB usage data, or that it is not supported.
fn one(row: Option<&Row>, with_timeouts: bool) -> Vec<u8> {
    const NOT_SUPPORTED: u8 = 1;
    const SUPPORTED: u8 = 3;
    let Some(row) = row else { return vec![0, NOT_SUPPORTED, 0, 0] };
    let mut out = vec![0, u8::from(with_timeouts) << 7 | SUPPORTED, 0, row.usage.len() as u8];
    out.extend_from_slice(row.usage);
    if with_timeouts {
        out.extend_from_slice(&NO_TIMEOUTS);
    }
    out
}

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: abort task, abort task set, clear task set and
/// logical unit reset, which every iSCSI target offers.
pub(super) fn task_management(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const ATS_ATSS_CTSS_LURS: u8 = 0xd8;
    let mut out = [0; 16];
    out[0] = ATS_ATSS_CTSS_LURS;
    let extended = call.cdb.bit(2, 7);
    let length = if extended {
        out[3] = 12;
        16
    } else {
        4
    };
    Ok(reply(data_in, &out[..length], call.cdb.u32(6) as usize))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    fn ask(rig: &Rig, options: u8, opcode: u8, action: u8) -> Result<Vec<u8>, Sense> {
        let cdb = [0xa3, 0x0c, options, opcode, 0, action, 0, 0, 0xff, 0xff, 0, 0];
        let (done, data) = rig.run(&cdb, &[]);
        done.sense.map_or(Ok(data), Err)
    }

    #[test]
    fn what_is_listed_is_what_runs() {
        let rig = Rig::new(8);
        let list = ask(&rig, 0, 0, 0).unwrap();
        assert_eq!(u32::from_be_bytes(list[..4].try_into().unwrap()) as usize, list.len() - 4);
        let listed: Vec<(u8, u8)> = list[4..].chunks(8).map(|d| (d[0], d[3])).collect();
        let with_actions: Vec<u8> =
            list[4..].chunks(8).filter(|d| d[5] & 1 == 1).map(|d| d[0]).collect();
        for opcode in 0..=255u8 {
            for action in 0..32u8 {
                let mut cdb = [0; 16];
                (cdb[0], cdb[1]) = (opcode, action);
                let has_actions = with_actions.contains(&opcode);
                let is_listed = listed.contains(&(opcode, if has_actions { action } else { 0 }));
                let (done, _) = rig.run(&cdb, &[]);
                let refused = done.sense.is_some_and(|sense| {
                    sense == Sense::INVALID_OPCODE
                        || has_actions && sense == Sense::invalid_cdb_bit(1, 4)
                });
                assert_eq!(is_listed, !refused, "{opcode:#x}/{action:#x}: {done:?}");
            }
        }
    }

    #[test]
    fn one_command_is_described() {
        let rig = Rig::new(8);
        let read = ask(&rig, 1, 0x28, 0).unwrap();
        assert_eq!(read[..4], [0, 3, 0, 10]);
        assert_eq!(read[4..], [0x28, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4]);
        let capacity = ask(&rig, 2, 0x9e, 0x10).unwrap();
        assert_eq!((capacity[1], capacity[5]), (3, 0x10));
        assert_eq!(ask(&rig, 0x81, 0x28, 0).unwrap().len(), 4 + 10 + 12);
        assert_eq!(ask(&rig, 1, 0x9c, 0).unwrap(), [0, 1, 0, 0]);
        assert_eq!(ask(&rig, 2, 0x9e, 0x1f).unwrap(), [0, 1, 0, 0]);
        assert_eq!(ask(&rig, 3, 0x28, 0).unwrap()[1], 3);
        assert_eq!(ask(&rig, 3, 0x28, 1).unwrap()[1], 1);
        assert_eq!(ask(&rig, 3, 0x9e, 0x12).unwrap()[1], 3);
        for (options, opcode) in [(1, 0x9e), (2, 0x28), (4, 0x28), (7, 0x28)] {
            assert_eq!(ask(&rig, options, opcode, 0x10), Err(Sense::invalid_cdb_bit(2, 2)));
        }
    }

    #[test]
    fn timeouts_make_the_descriptors_longer() {
        let rig = Rig::new(8);
        let (plain, timed) = (ask(&rig, 0, 0, 0).unwrap(), ask(&rig, 0x80, 0, 0).unwrap());
        let commands = (plain.len() - 4) / 8;
        assert_eq!(timed.len() - 4, commands * 20);
        assert_eq!((timed[4 + 5], timed[4 + 9]), (2, 0x0a));
    }

    #[test]
    fn task_management_is_told() {
        let rig = Rig::new(8);
        let ask = |repd| rig.good(&[0xa3, 0x0d, repd, 0, 0, 0, 0, 0, 0, 255, 0, 0], &[]);
        assert_eq!(ask(0), [0xd8, 0, 0, 0]);
        assert_eq!((ask(0x80).len(), ask(0x80)[3]), (16, 12));
    }
}
