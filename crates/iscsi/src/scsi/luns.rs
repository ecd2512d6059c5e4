//! LUNs: their eight-byte form, the inventory, and addresses behind which there is no unit.
//!
//! SAM wants something to answer at LUN 0 even if no unit is there, because initiators ask it for
//! the inventory. Ours says "no device is connected here" and reports the list; it is not in the
//! list itself, so hosts make no device of it. Any other absent LUN only says that it is absent.

use super::Completion;
use super::cdb::Cdb;
use super::dispatch::{Call, reply};
use super::inquiry;
use super::sense::{Sense, Status};
use crate::buffer::Buffer;

/// Peripheral qualifier 001b (nothing connected), unknown device type.
const NOT_CONNECTED: u8 = 0x3f;
/// Peripheral qualifier 011b (no unit possible here), unknown device type.
const NOT_SUPPORTED: u8 = 0x7f;

/// The eight-byte form of a LUN: peripheral addressing below 256, flat addressing below 16384;
/// a larger value is taken to be encoded already.
pub fn encode_lun(lun: u64) -> [u8; 8] {
    match lun {
        0..=0xff => [0, lun as u8, 0, 0, 0, 0, 0, 0],
        0x100..=0x3fff => [0x40 | (lun >> 8) as u8, lun as u8, 0, 0, 0, 0, 0, 0],
        encoded => encoded.to_be_bytes(),
    }
}

/// Reverse of [`encode_lun`]: both single-level forms give the number.
pub fn decode_lun(lun: [u8; 8]) -> u64 {
    let single_level = lun[2..].iter().all(|&byte| byte == 0);
    match lun[0] >> 6 {
        0 if single_level && lun[0] == 0 => u64::from(lun[1]),
        1 if single_level => u64::from(lun[0] & 0x3f) << 8 | u64::from(lun[1]),
        _ => u64::from_be_bytes(lun),
    }
}

/// Runs one command addressed to LUN 0 of a target that has no unit there; `luns` is the
/// inventory.
pub fn execute_well_known(cdb: &[u8], luns: &[u64], data_in: &mut Buffer) -> Completion {
    let cdb = Cdb::new(cdb);
    match (cdb.len(), cdb.opcode()) {
        (0, _) => Err(Sense::INVALID_OPCODE),
        (_, 0x00) => Ok(Status::Good),
        (_, 0x03) => request_sense(cdb, Sense::NONE, data_in),
        (_, 0x12) => inquire(cdb, NOT_CONNECTED, data_in),
        (_, 0xa0) => report(cdb, luns, data_in),
        _ => Err(Sense::INVALID_OPCODE),
    }
    .into()
}

/// Runs one command addressed to any other LUN without a unit.
pub fn execute_absent(cdb: &[u8], data_in: &mut Buffer) -> Completion {
    let cdb = Cdb::new(cdb);
    match (cdb.len(), cdb.opcode()) {
        (0, _) => Err(Sense::NO_SUCH_UNIT),
        (_, 0x03) => request_sense(cdb, Sense::NO_SUCH_UNIT, data_in),
        (_, 0x12) => inquire(cdb, NOT_SUPPORTED, data_in),
        _ => Err(Sense::NO_SUCH_UNIT),
    }
    .into()
}

/// REPORT LUNS to a unit.
pub(super) fn report_luns(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    report(call.cdb, &call.unit.inventory, data_in)
}

fn report(cdb: Cdb<'_>, luns: &[u64], data_in: &mut Buffer) -> Result<Status, Sense> {
    let listed = match cdb.byte(2) {
        // The default selection, and all units with the well-known ones, of which we have none.
        0x00 | 0x02 => luns,
        // Well-known units only; administrative and subsidiary units of conglomerates only.
        0x01 | 0x10 | 0x11 | 0x12 => &[],
        _ => return Err(Sense::invalid_cdb(2)),
    };
    let mut out = vec![0; 8];
    out[..4].copy_from_slice(&(listed.len() as u32 * 8).to_be_bytes());
    out.extend(listed.iter().flat_map(|&lun| encode_lun(lun)));
    Ok(reply(data_in, &out, cdb.u32(6) as usize))
}

fn request_sense(cdb: Cdb<'_>, sense: Sense, data_in: &mut Buffer) -> Result<Status, Sense> {
    let allocation = usize::from(cdb.byte(4));
    Ok(if cdb.bit(1, 0) {
        reply(data_in, &sense.to_descriptor_bytes(), allocation)
    } else {
        reply(data_in, &sense.to_bytes(), allocation)
    })
}

fn inquire(cdb: Cdb<'_>, peripheral: u8, data_in: &mut Buffer) -> Result<Status, Sense> {
    let allocation = usize::from(cdb.u16(3));
    let vital_product_data = cdb.bit(1, 0);
    match (vital_product_data, cdb.byte(2)) {
        (false, 0) => {
            Ok(reply(data_in, &inquiry::standard(peripheral, "iSCSI", "Target", ""), allocation))
        }
        (true, 0) => Ok(reply(data_in, &[peripheral, 0, 0, 1, 0], allocation)),
        _ => Err(Sense::invalid_cdb(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luns_have_an_eight_byte_form() {
        for lun in [0, 1, 255, 256, 16383, 1 << 63, u64::MAX] {
            assert_eq!(decode_lun(encode_lun(lun)), lun, "{lun}");
        }
        assert_eq!(encode_lun(1), [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode_lun(300), [0x41, 44, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode_lun([0x40, 1, 0, 0, 0, 0, 0, 0]), 1);
        assert_ne!(decode_lun([0, 1, 0, 1, 0, 0, 0, 0]), 1);
    }

    fn well_known(cdb: &[u8]) -> (Completion, Vec<u8>) {
        let mut data_in = Buffer::default();
        let done = execute_well_known(cdb, &[1, 300], &mut data_in);
        (done, data_in.to_vec())
    }

    #[test]
    fn lun_0_answers_what_a_scan_asks() {
        let (done, data) = well_known(&[0x12, 0, 0, 0, 96, 0]);
        assert_eq!((done, data.len(), data[0]), (Completion::GOOD, 96, NOT_CONNECTED));
        assert_eq!(well_known(&[0x00; 6]).0, Completion::GOOD);
        assert_eq!(well_known(&[0x03, 0, 0, 0, 18, 0]).1[2], 0);
        let (_, data) = well_known(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(data[..8], [0, 0, 0, 16, 0, 0, 0, 0]);
        assert_eq!(data[8..], [0, 1, 0, 0, 0, 0, 0, 0, 0x41, 44, 0, 0, 0, 0, 0, 0]);
        assert_eq!(well_known(&[0x28; 10]).0, Completion::check(Sense::INVALID_OPCODE));
        assert_eq!(well_known(&[]).0, Completion::check(Sense::INVALID_OPCODE));
    }

    #[test]
    fn select_report_chooses() {
        let select = |code| well_known(&[0xa0, 0, code, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        for (code, length) in [(0, 24), (2, 24), (1, 8), (0x10, 8), (0x11, 8), (0x12, 8)] {
            assert_eq!(select(code).1.len(), length, "{code:#x}");
        }
        assert_eq!(select(3).0, Completion::check(Sense::invalid_cdb(2)));
        let (_, cut) = well_known(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0]);
        assert_eq!(cut.len(), 10);
    }

    #[test]
    fn an_absent_lun_only_says_so() {
        let mut data_in = Buffer::default();
        assert_eq!(execute_absent(&[0x12, 0, 0, 0, 36, 0], &mut data_in), Completion::GOOD);
        assert_eq!((data_in.len(), data_in[0]), (36, NOT_SUPPORTED));
        for cdb in [&[0x00; 6][..], &[0x28; 10], &[0xa0; 12], &[]] {
            let done = execute_absent(cdb, &mut data_in);
            assert_eq!(done, Completion::check(Sense::NO_SUCH_UNIT));
        }
    }
}
