//! Commands that every device answers: readiness, sense data, and the motor that is not there.
//!
//! The medium cannot be stopped, ejected or locked: a unit is shared, and one initiator must not
//! take it from the others. So these commands succeed where they ask for what is the case anyway
//! and are refused where they ask for a change.

use super::dispatch::{Call, reply};
use super::inquiry::TARGET_PORT_GROUP;
use super::persist::TARGET_PORT;
use super::sense::{Sense, Status};
use crate::buffer::Buffer;

/// TEST UNIT READY: always, a pending attention having been told before.
pub(super) fn test_unit_ready(_: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    Ok(Status::Good)
}

/// REQUEST SENSE: the next pending unit attention as data, which counts as told; else NO SENSE.
pub(super) fn request_sense(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let sense = call.nexus.take_attention().unwrap_or(Sense::NONE);
    let allocation = usize::from(call.cdb.byte(4));
    Ok(if call.cdb.bit(1, 0) {
        reply(data_in, &sense.to_descriptor_bytes(), allocation)
    } else {
        reply(data_in, &sense.to_bytes(), allocation)
    })
}

/// START STOP UNIT. The unit keeps running; a stop without NO_FLUSH makes writes durable first,
/// as it would before a motor stops.
pub(super) fn start_stop_unit(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    const POWER_CONDITION: u8 = 0xf0;
    let byte = call.cdb.byte(4);
    if byte & POWER_CONDITION != 0 {
        // Only START_VALID is a condition we can be in; the timers are not implemented.
        return Err(Sense::invalid_cdb_bit(4, 7));
    }
    let (start, load_eject, no_flush) = (byte & 1 != 0, byte & 2 != 0, byte & 4 != 0);
    if load_eject {
        return Err(Sense::invalid_cdb_bit(4, 1));
    }
    if !start && !no_flush {
        call.unit.backend.flush().map_err(|error| Sense::failed_write(&error, 0))?;
    }
    Ok(Status::Good)
}

/// PREVENT ALLOW MEDIUM REMOVAL: nobody can remove it anyway.
pub(super) fn prevent_allow(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    if call.cdb.byte(4) & 0x02 != 0 {
        return Err(Sense::invalid_cdb_bit(4, 1));
    }
    Ok(Status::Good)
}

/// READ DEFECT DATA(10): what lies below hides its defects, so both lists are empty, in whatever
/// format.
pub(super) fn defects10(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    Ok(reply(data_in, &[0, call.cdb.byte(2) & 0x1f, 0, 0], usize::from(call.cdb.u16(7))))
}

/// READ DEFECT DATA(12): the same with a longer header.
pub(super) fn defects12(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let header = [0, call.cdb.byte(1) & 0x1f, 0, 0, 0, 0, 0, 0];
    Ok(reply(data_in, &header, call.cdb.u32(6) as usize))
}

/// REPORT TARGET PORT GROUPS: one group with the one port, always active and optimised.
pub(super) fn target_port_groups(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const ACTIVE_OPTIMIZED: u8 = 0x00;
    const ACTIVE_OPTIMIZED_SUPPORTED: u8 = 0x01;
    let header: &[u8] = match call.cdb.byte(1) >> 5 {
        0 => &[],
        // The extended header: its format, and no transition ever takes time.
        1 => &[0x10, 0, 0, 0],
        _ => return Err(Sense::invalid_cdb_bit(1, 7)),
    };
    let [group_high, group_low] = TARGET_PORT_GROUP.to_be_bytes();
    let [port_high, port_low] = TARGET_PORT.to_be_bytes();
    let group = [
        [ACTIVE_OPTIMIZED, ACTIVE_OPTIMIZED_SUPPORTED, group_high, group_low],
        [0, 0, 0, 1],
        [0, 0, port_high, port_low],
    ];
    let body = [header, group.as_flattened()].concat();
    let out = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
    Ok(reply(data_in, &out, call.cdb.u32(6) as usize))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::testing::Rig;
    use super::*;

    #[test]
    fn one_group_is_reported_in_both_formats() {
        let rig = Rig::new(8);
        let ask =
            |format: u8| rig.run(&[0xa3, format << 5 | 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0], &[]);
        let group = [0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
        assert_eq!(ask(0).1, [&[0, 0, 0, 12][..], &group].concat());
        assert_eq!(ask(1).1, [&[0, 0, 0, 16, 0x10, 0, 0, 0][..], &group].concat());
        assert_eq!(ask(2).0.sense, Some(Sense::invalid_cdb_bit(1, 7)));
        let cut = rig.good(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0], &[]);
        assert_eq!(cut.len(), 5);
    }

    #[test]
    fn there_are_no_defects() {
        let rig = Rig::new(8);
        let ten = rig.good(&[0x37, 0, 0x1d, 0, 0, 0, 0, 1, 0, 0], &[]);
        assert_eq!(ten, [0, 0x1d, 0, 0]);
        let twelve = rig.good(&[0xb7, 0x0d, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[]);
        assert_eq!(twelve, [0, 0x0d, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_motor_cannot_be_taken_from_others() {
        let rig = Rig::new(8);
        rig.good(&[0x1b, 0, 0, 0, 1, 0], &[]);
        assert_eq!(rig.medium.flushes.load(Relaxed), 0);
        rig.good(&[0x1b, 1, 0, 0, 0, 0], &[]);
        assert_eq!(rig.medium.flushes.load(Relaxed), 1);
        rig.good(&[0x1b, 0, 0, 0, 4, 0], &[]);
        assert_eq!(rig.medium.flushes.load(Relaxed), 1);
        rig.good(&[0x00; 6], &[]);
        for eject_or_load in [2, 3] {
            let cdb = [0x1b, 0, 0, 0, eject_or_load, 0];
            assert_eq!(rig.sense(&cdb, &[]), Sense::invalid_cdb_bit(4, 1));
        }
        assert_eq!(rig.sense(&[0x1b, 0, 0, 0, 0x30, 0], &[]), Sense::invalid_cdb_bit(4, 7));
        rig.good(&[0x1e, 0, 0, 0, 1, 0], &[]);
        assert_eq!(rig.sense(&[0x1e, 0, 0, 0, 2, 0], &[]), Sense::invalid_cdb_bit(4, 1));
    }
}
