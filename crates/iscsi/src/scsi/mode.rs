//! MODE SENSE and MODE SELECT.
//!
//! Pages are constants: a unit is shared, so no initiator may change a setting under the others,
//! and the changeable values are all zero. MODE SELECT accepts a list that says what is the case
//! already and refuses everything else at the byte that differs. What does depend on the session
//! is the WP bit of the header: set for a read-only nexus.

use super::BLOCK_SIZE;
use super::cdb::Cdb;
use super::dispatch::{Call, reply};
use super::nexus::Access;
use super::sense::{Sense, Status};
use crate::buffer::Buffer;

/// Caching: writes are cached until a flush (WCE).
const CACHING: &[u8] = &[0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Control: no implicit saving of log parameters (GLTSD), fixed format sense data, unrestricted
/// reordering, tasks that another initiator aborted end with TASK ABORTED (TAS), busy timeout
/// unlimited.
const CONTROL: &[u8] = &[0x0a, 0x0a, 0x02, 0x10, 0, 0x40, 0, 0, 0xff, 0xff, 0, 0];
/// Informational exceptions: none are reported (DEXCPT).
const EXCEPTIONS: &[u8] = &[0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Every page, in ascending order; none has subpages.
const PAGES: &[&[u8]] = &[CACHING, CONTROL, EXCEPTIONS];

const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;

/// MODE SENSE(6).
pub(super) fn sense6(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let pages = pages(call.cdb)?;
    let descriptor = if call.cdb.bit(1, 3) { vec![] } else { short_descriptor(call) };
    let mut out = vec![0, 0, device_specific(call), descriptor.len() as u8];
    out.extend_from_slice(&descriptor);
    out.extend_from_slice(&pages);
    out[0] = (out.len() - 1) as u8;
    Ok(reply(data_in, &out, usize::from(call.cdb.byte(4))))
}

/// MODE SENSE(10).
pub(super) fn sense10(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let pages = pages(call.cdb)?;
    let (no_descriptor, long_lba) = (call.cdb.bit(1, 3), call.cdb.bit(1, 4));
    let descriptor = match (no_descriptor, long_lba) {
        (true, _) => vec![],
        (false, false) => short_descriptor(call),
        (false, true) => long_descriptor(call),
    };
    let long = u8::from(long_lba && !no_descriptor);
    let mut out = vec![0, 0, 0, device_specific(call), long, 0, 0, descriptor.len() as u8];
    out.extend_from_slice(&descriptor);
    out.extend_from_slice(&pages);
    let following = out.len() as u16 - 2;
    out[..2].copy_from_slice(&following.to_be_bytes());
    Ok(reply(data_in, &out, usize::from(call.cdb.u16(7))))
}

/// The asked pages with the asked kind of values.
fn pages(cdb: Cdb<'_>) -> Result<Vec<u8>, Sense> {
    let (control, wanted, subpage) = (cdb.byte(2) >> 6, cdb.byte(2) & 0x3f, cdb.byte(3));
    let changeable = match control {
        // Current, and default: they never differ.
        0 | 2 => false,
        1 => true,
        _ => return Err(Sense::SAVING_NOT_SUPPORTED),
    };
    if subpage != 0 && subpage != ALL_SUBPAGES {
        return Err(Sense::invalid_cdb(3));
    }
    let mut out = vec![];
    for page in PAGES.iter().filter(|page| wanted == ALL_PAGES || page[0] == wanted) {
        let start = out.len();
        out.extend_from_slice(page);
        if changeable {
            out[start + 2..].fill(0);
        }
    }
    if out.is_empty() { Err(Sense::invalid_cdb_bit(2, 5)) } else { Ok(out) }
}

/// The device-specific parameter: WP for a nexus that may not write, DPO and FUA understood.
fn device_specific(call: &Call<'_>) -> u8 {
    const WRITE_PROTECTED: u8 = 0x80;
    const DPO_FUA: u8 = 0x10;
    match call.nexus.access() {
        Access::ReadOnly => WRITE_PROTECTED | DPO_FUA,
        Access::ReadWrite => DPO_FUA,
    }
}

fn short_descriptor(call: &Call<'_>) -> Vec<u8> {
    let blocks = u32::try_from(call.unit.blocks()).unwrap_or(u32::MAX);
    let mut out = blocks.to_be_bytes().to_vec();
    out.extend_from_slice(&(BLOCK_SIZE as u32).to_be_bytes());
    out
}

fn long_descriptor(call: &Call<'_>) -> Vec<u8> {
    let mut out = call.unit.blocks().to_be_bytes().to_vec();
    out.extend_from_slice(&(BLOCK_SIZE as u64).to_be_bytes());
    out
}

/// MODE SELECT(6).
pub(super) fn select6(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    let list = accept_list(call)?;
    if list.is_empty() {
        return Ok(Status::Good);
    }
    let header = list.get(..4).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    select(call, list, 4, usize::from(header[3]), false)
}

/// MODE SELECT(10).
pub(super) fn select10(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    let list = accept_list(call)?;
    if list.is_empty() {
        return Ok(Status::Good);
    }
    let header = Cdb::new(list.get(..8).ok_or(Sense::PARAMETER_LIST_LENGTH)?);
    select(call, list, 8, usize::from(header.u16(6)), header.bit(4, 0))
}

fn accept_list<'a>(call: &Call<'a>) -> Result<&'a [u8], Sense> {
    let (page_format, save) = (call.cdb.bit(1, 4), call.cdb.bit(1, 0));
    if save {
        return Err(Sense::invalid_cdb_bit(1, 0));
    }
    let list = call.data_out()?;
    if !page_format && !list.is_empty() {
        return Err(Sense::invalid_cdb_bit(1, 4));
    }
    Ok(list)
}

/// Compares a list with what is the case: a block descriptor, then pages.
fn select(
    call: &Call<'_>,
    list: &[u8],
    header: usize,
    descriptor: usize,
    long_lba: bool,
) -> Result<Status, Sense> {
    let start = header + descriptor;
    let fields = Cdb::new(list.get(header..start).ok_or(Sense::PARAMETER_LIST_LENGTH)?);
    let capacity = call.unit.blocks();
    let (count, all, length) = match (descriptor, long_lba) {
        (0, _) => (0, 0, BLOCK_SIZE as u32),
        (8, false) => (u64::from(fields.u32(0)), u64::from(u32::MAX), fields.u32(4) & 0xff_ffff),
        (16, true) => (fields.u64(0), u64::MAX, fields.u32(12)),
        _ => return Err(Sense::invalid_parameter(header as u16 - 1)),
    };
    // Zero leaves the number of blocks as it is, all ones asks for all of them.
    if count != 0 && count != all && count != capacity {
        return Err(Sense::invalid_parameter(header as u16));
    }
    if length as usize != BLOCK_SIZE {
        return Err(Sense::invalid_parameter((start - 4) as u16));
    }
    let mut at = start;
    while at < list.len() {
        let rest = &list[at..];
        // The parameters-saveable bit is reserved here.
        let code = rest[0] & 0x7f;
        let page =
            PAGES.iter().find(|page| page[0] == code).ok_or(Sense::invalid_parameter(at as u16))?;
        if rest.get(1).is_some_and(|&length| length != page[1]) {
            return Err(Sense::invalid_parameter(at as u16 + 1));
        }
        let sent = rest.get(..page.len()).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
        if let Some(index) = (2..page.len()).find(|&index| sent[index] != page[index]) {
            return Err(Sense::invalid_parameter((at + index) as u16));
        }
        at += page.len();
    }
    Ok(Status::Good)
}

#[cfg(test)]
mod tests {
    use super::super::Completion;
    use super::super::testing::{Rig, quiet, run};
    use super::*;

    #[test]
    fn pages_come_with_header_and_descriptor() {
        let rig = Rig::new(1000);
        let all = rig.good(&[0x1a, 0, 0x3f, 0, 255, 0], &[]);
        assert_eq!(all[..4], [all.len() as u8 - 1, 0, 0x10, 8]);
        assert_eq!(all[4..12], [0, 0, 3, 232, 0, 0, 2, 0]);
        assert_eq!(all[12..], [CACHING, CONTROL, EXCEPTIONS].concat());
        let one = rig.good(&[0x1a, 8, 0x0a, 0, 255, 0], &[]);
        assert_eq!(one, [&[15, 0, 0x10, 0], CONTROL].concat());
        assert_eq!(rig.good(&[0x1a, 0, 0x3f, 0xff, 255, 0], &[]), all);
        assert_eq!(rig.good(&[0x1a, 0, 0x3f, 0, 4, 0], &[]), all[..4]);
    }

    #[test]
    fn the_long_header_may_carry_a_long_descriptor() {
        let rig = Rig::new(1000);
        let sense10 = |flags, page| rig.good(&[0x5a, flags, page, 0, 0, 0, 0, 1, 0, 0], &[]);
        let long = sense10(0x10, 0x08);
        assert_eq!(long[..8], [0, 42, 0, 0x10, 1, 0, 0, 16]);
        assert_eq!(long[8..24], [0, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(long[24..], *CACHING);
        assert_eq!(sense10(0, 0x08)[..8], [0, 34, 0, 0x10, 0, 0, 0, 8]);
        assert_eq!(sense10(0x18, 0x08)[..8], [0, 26, 0, 0x10, 0, 0, 0, 0]);
    }

    #[test]
    fn a_read_only_nexus_sees_the_write_protect_bit() {
        let rig = Rig::new(8);
        let reader = quiet(&rig.unit, Access::ReadOnly);
        for (cdb, at) in
            [(&[0x1a, 8, 0x3f, 0, 255, 0][..], 2), (&[0x5a, 8, 0x3f, 0, 0, 0, 0, 0, 255, 0], 3)]
        {
            assert_eq!(run(&rig.unit, &reader, cdb, &[]).1[at], 0x90);
            assert_eq!(rig.good(cdb, &[])[at], 0x10);
        }
    }

    #[test]
    fn page_control_chooses_the_values() {
        let rig = Rig::new(8);
        let page = |byte| rig.run(&[0x1a, 8, byte, 0, 255, 0], &[]);
        assert_eq!(page(0x80 | 0x08), page(0x08));
        let (_, changeable) = page(0x40 | 0x08);
        assert_eq!(changeable[4..6], CACHING[..2]);
        assert!(changeable[6..].iter().all(|&byte| byte == 0));
        assert_eq!(page(0xc0 | 0x08).0, Completion::check(Sense::SAVING_NOT_SUPPORTED));
        assert_eq!(page(0x02).0, Completion::check(Sense::invalid_cdb_bit(2, 5)));
        assert_eq!(rig.sense(&[0x1a, 8, 0x0a, 1, 255, 0], &[]), Sense::invalid_cdb(3));
    }

    fn select6(rig: &Rig, list: &[u8]) -> Option<Sense> {
        rig.run(&[0x15, 0x10, 0, 0, list.len() as u8, 0], list).0.sense
    }

    #[test]
    fn what_was_read_may_be_written_back() {
        let rig = Rig::new(1000);
        let mut all = rig.good(&[0x1a, 0, 0x3f, 0, 255, 0], &[]);
        all[0] = 0;
        assert_eq!(select6(&rig, &all), None);
        assert_eq!(select6(&rig, &[]), None);
        assert_eq!(select6(&rig, &[0; 4]), None);
        for long_lba in [0, 0x10] {
            let cdb = [0x5a, long_lba, 0x3f, 0, 0, 0, 0, 1, 0, 0];
            let all = rig.good(&cdb, &[]);
            rig.good(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, all.len() as u8, 0], &all);
        }
    }

    #[test]
    fn a_change_is_refused_where_it_stands() {
        let rig = Rig::new(1000);
        let all = rig.good(&[0x1a, 0, 0x3f, 0, 255, 0], &[]);
        for at in (4..all.len()).filter(|at| *at != 8) {
            let mut list = all.clone();
            list[at] ^= 0x01;
            assert!(select6(&rig, &list).is_some(), "byte {at}");
        }
        let mut cache_off = all.clone();
        cache_off[14] = 0;
        assert_eq!(select6(&rig, &cache_off), Some(Sense::invalid_parameter(14)));
        for cut in (1..all.len()).filter(|cut| ![4, 12, 32, 44].contains(cut)) {
            assert!(select6(&rig, &all[..cut]).is_some(), "cut at {cut}");
        }
        assert_eq!(rig.sense(&[0x15, 0x11, 0, 0, 0, 0], &[]), Sense::invalid_cdb_bit(1, 0));
        assert_eq!(rig.sense(&[0x15, 0, 0, 0, 4, 0], &[0; 4]), Sense::invalid_cdb_bit(1, 4));
        assert_eq!(rig.sense(&[0x15, 0x10, 0, 0, 4, 0], &[0; 3]), Sense::DATA_OUT_LENGTH);
    }
}
