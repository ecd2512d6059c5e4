//! Thin provisioning: giving blocks back, filling them, and asking which have space.
//!
//! The unit promises LBPRZ: an unmapped block reads as zeros. So a WRITE SAME of zeros may unmap
//! when the initiator allows it, and everything else is a write. A parameter list is checked to
//! its end before the first block of it is touched.

use super::BLOCK_SIZE;
use super::cdb::{Cdb, Extent};
use super::dispatch::{Call, reply};
use super::sense::{Sense, Status};
use super::unit::LogicalUnit;
use crate::buffer::Buffer;

/// Most blocks that one UNMAP may name.
pub(super) const MAX_UNMAP_BLOCKS: u32 = 1 << 20;
/// Most descriptors in one UNMAP.
pub(super) const MAX_UNMAP_DESCRIPTORS: u32 = 256;
/// Most blocks of one WRITE SAME: 16 MiB. It bounds how long a command can run, hence how long a
/// session that is being closed has to be waited for.
pub(super) const MAX_WRITE_SAME_BLOCKS: u32 = 1 << 15;

/// Most descriptors in one answer to GET LBA STATUS.
const MAX_STATUS_DESCRIPTORS: usize = 256;
/// How much of a pattern is written at a time.
const PATTERN_STEP: u64 = 512 * BLOCK_SIZE as u64;

/// UNMAP.
pub(super) fn unmap(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    const HEADER: usize = 8;
    const DESCRIPTOR: usize = 16;
    let anchor = call.cdb.bit(1, 0);
    if anchor {
        return Err(Sense::invalid_cdb_bit(1, 0));
    }
    let list = call.data_out()?;
    if list.is_empty() {
        return Ok(Status::Good);
    }
    if list.len() < HEADER {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    let list_cdb = Cdb::new(list);
    // A descriptor that the length cuts through is ignored, one that was not sent is an error.
    let described = usize::from(list_cdb.u16(2)) / DESCRIPTOR * DESCRIPTOR;
    let descriptors = list.get(HEADER..HEADER + described).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let extents = descriptors.chunks_exact(DESCRIPTOR).map(|descriptor| {
        let fields = Cdb::new(descriptor);
        Extent { lba: fields.u64(0), blocks: u64::from(fields.u32(8)) }
    });
    if extents.len() > MAX_UNMAP_DESCRIPTORS as usize {
        return Err(Sense::invalid_parameter(2));
    }
    let mut blocks = 0;
    for (index, extent) in extents.clone().enumerate() {
        extent.check(call.unit.blocks())?;
        blocks += extent.blocks;
        if blocks > u64::from(MAX_UNMAP_BLOCKS) {
            return Err(Sense::invalid_parameter((HEADER + index * DESCRIPTOR + 8) as u16));
        }
    }
    for extent in extents.filter(|extent| extent.blocks > 0) {
        let _held = call.hold(extent)?;
        discard(call.unit, extent)?;
    }
    Ok(Status::Good)
}

/// WRITE SAME(10), (16). Zero blocks, which would mean "to the end", are refused (WSNZ).
pub(super) fn write_same(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    call.cdb.refuse_protection()?;
    let (anchor, may_unmap) = (call.cdb.bit(1, 4), call.cdb.bit(1, 3));
    if anchor {
        return Err(Sense::invalid_cdb_bit(1, 4));
    }
    let (physical_data, logical_data) = (call.cdb.bit(1, 2), call.cdb.bit(1, 1));
    if physical_data || logical_data {
        return Err(Sense::invalid_cdb_bit(1, 2));
    }
    let extent = call.cdb.extent_within(call.unit.blocks())?;
    if extent.blocks == 0 || extent.blocks > u64::from(MAX_WRITE_SAME_BLOCKS) {
        return Err(Sense::invalid_cdb(call.cdb.length_field()));
    }
    // More than one block shows that the initiator takes blocks to be larger: filling with the
    // first part of what it meant would be wrong.
    let block = if no_data_out(call.cdb) { &[] } else { call.data_out_alone()? };
    let zeros = block.iter().all(|&byte| byte == 0);
    let _held = call.hold(extent)?;
    if zeros && may_unmap {
        discard(call.unit, extent)?;
    } else if zeros {
        call.unit
            .backend
            .write_zeroes(extent.offset(), extent.bytes())
            .map_err(|error| Sense::failed_write(&error, extent.lba))?;
    } else {
        fill(call.unit, extent, block)?;
    }
    Ok(Status::Good)
}

/// The NDOB bit, which only WRITE SAME(16) has: there is no data-out, zeros are meant.
pub(super) fn no_data_out(cdb: Cdb<'_>) -> bool {
    cdb.opcode() == 0x93 && cdb.bit(1, 0)
}

/// GET LBA STATUS.
pub(super) fn get_lba_status(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const BLOCK: u64 = BLOCK_SIZE as u64;
    let (mut lba, capacity) = (call.cdb.u64(2), call.unit.blocks());
    if lba >= capacity {
        return Err(Sense::out_of_range(lba));
    }
    let allocation = call.cdb.u32(10) as usize;
    let descriptors = (allocation.saturating_sub(8) / 16).clamp(1, MAX_STATUS_DESCRIPTORS);
    let mut out = vec![0; 8];
    for _ in 0..descriptors {
        if lba >= capacity {
            break;
        }
        let run = call.unit.backend.mapped(lba * BLOCK).map_err(|_| Sense::read_error(lba))?;
        // A block that is a hole only in part counts as mapped.
        let (mapped, blocks) = match run.len / BLOCK {
            0 => (true, 1),
            whole if run.mapped => (true, whole + u64::from(!run.len.is_multiple_of(BLOCK))),
            whole => (false, whole),
        };
        let blocks = blocks.min(capacity - lba).min(u64::from(u32::MAX));
        out.extend_from_slice(&lba.to_be_bytes());
        out.extend_from_slice(&(blocks as u32).to_be_bytes());
        out.extend_from_slice(&[u8::from(!mapped), 0, 0, 0]);
        lba += blocks;
    }
    let following = out.len() as u32 - 4;
    out[..4].copy_from_slice(&following.to_be_bytes());
    Ok(reply(data_in, &out, allocation))
}

fn discard(unit: &LogicalUnit, extent: Extent) -> Result<(), Sense> {
    unit.backend
        .discard(extent.offset(), extent.bytes())
        .map_err(|error| Sense::failed_write(&error, extent.lba))
}

/// Writes one block over and over.
fn fill(unit: &LogicalUnit, extent: Extent, block: &[u8]) -> Result<(), Sense> {
    let pattern = block.repeat((extent.bytes().min(PATTERN_STEP) as usize) / BLOCK_SIZE);
    let (mut at, end) = (extent.offset(), extent.offset() + extent.bytes());
    while at < end {
        let step = (end - at).min(PATTERN_STEP);
        unit.backend
            .write_at(&pattern[..step as usize], at)
            .map_err(|error| Sense::failed_write(&error, at / BLOCK_SIZE as u64))?;
        at += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::data_out_length;
    use super::super::testing::*;
    use super::*;

    fn filled(blocks: usize) -> Rig {
        let rig = Rig::new(blocks);
        rig.good(&cdb12(0xaa, 0, 0, blocks as u32), &vec![7; blocks * BLOCK_SIZE]);
        rig.medium.mutations.store(0, Relaxed);
        rig
    }

    /// The blocks that read as zeros.
    fn zeros(rig: &Rig) -> Vec<usize> {
        let bytes = rig.medium.bytes();
        let blocks = bytes.chunks(BLOCK_SIZE).enumerate();
        blocks.filter(|(_, b)| b.iter().all(|&b| b == 0)).map(|(i, _)| i).collect()
    }

    #[test]
    fn unmap_zeroes_every_listed_range() {
        let rig = filled(100);
        let list = unmap_list(&[(3, 2), (50, 0), (99, 1)]);
        rig.good(&unmap_cdb(list.len()), &list);
        assert_eq!(zeros(&rig), [3, 4, 99]);
        assert_eq!(rig.medium.discards.load(Relaxed), 2);
        rig.good(&unmap_cdb(0), &[]);
        rig.good(&unmap_cdb(8), &unmap_list(&[]));
        assert_eq!(zeros(&rig), [3, 4, 99]);
    }

    #[test]
    fn a_bad_unmap_list_touches_nothing() {
        let rig = filled(100);
        let out_of_range = unmap_list(&[(3, 2), (99, 2)]);
        assert_eq!(rig.sense(&unmap_cdb(40), &out_of_range), Sense::out_of_range(100));
        assert_eq!(rig.sense(&unmap_cdb(7), &out_of_range), Sense::PARAMETER_LIST_LENGTH);
        assert_eq!(rig.sense(&unmap_cdb(24), &out_of_range), Sense::PARAMETER_LIST_LENGTH);
        assert_eq!(rig.sense(&unmap_cdb(41), &out_of_range), Sense::DATA_OUT_LENGTH);
        let many = unmap_list(&[(0, 0); MAX_UNMAP_DESCRIPTORS as usize + 1]);
        assert_eq!(rig.sense(&unmap_cdb(many.len()), &many), Sense::invalid_parameter(2));
        let mut anchored = unmap_cdb(40);
        anchored[1] = 1;
        assert_eq!(rig.sense(&anchored, &out_of_range), Sense::invalid_cdb_bit(1, 0));
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
    }

    #[test]
    fn unmap_is_limited_in_blocks() {
        let rig = Rig::new(MAX_UNMAP_BLOCKS as usize + 1);
        let list = unmap_list(&[(0, MAX_UNMAP_BLOCKS - 1), (0, 2)]);
        assert_eq!(rig.sense(&unmap_cdb(list.len()), &list), Sense::invalid_parameter(32));
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
    }

    #[test]
    fn a_descriptor_that_is_cut_is_ignored() {
        let rig = filled(100);
        let mut list = unmap_list(&[(3, 2), (99, 1)]);
        list[3] = 31;
        rig.good(&unmap_cdb(list.len()), &list);
        assert_eq!(zeros(&rig), [3, 4]);
    }

    #[test]
    fn write_same_repeats_its_block() {
        let rig = Rig::new(1200);
        let block: Vec<u8> = (0..512).map(|i| i as u8).collect();
        rig.good(&cdb16(0x93, 0x08, 10, 1100), &block);
        assert_eq!(rig.medium.bytes()[10 * 512..1110 * 512], block.repeat(1100));
        assert_eq!(zeros(&rig).len(), 100);
        assert_eq!(rig.medium.discards.load(Relaxed), 0);
    }

    #[test]
    fn zeros_unmap_only_where_allowed() {
        let rig = filled(100);
        rig.good(&cdb10(0x41, 0x08, 0, 1), &[0; 512]);
        rig.good(&cdb16(0x93, 0x08, 1, 1), &[0; 512]);
        rig.good(&cdb16(0x93, 0x09, 2, 1), &[]);
        assert_eq!((rig.medium.discards.load(Relaxed), rig.medium.zeroings.load(Relaxed)), (3, 0));
        rig.good(&cdb10(0x41, 0, 3, 1), &[0; 512]);
        rig.good(&cdb16(0x93, 0x01, 4, 1), &[]);
        assert_eq!((rig.medium.discards.load(Relaxed), rig.medium.zeroings.load(Relaxed)), (3, 2));
        assert_eq!(zeros(&rig), [0, 1, 2, 3, 4]);
        assert_eq!(data_out_length(&cdb16(0x93, 0x01, 4, 1)), Some(0));
        assert_eq!(data_out_length(&cdb10(0x41, 0x01, 4, 1)), Some(512));
    }

    #[test]
    fn write_same_checks_its_cdb() {
        let rig = filled(100);
        let block = [0; 512];
        assert_eq!(rig.sense(&cdb10(0x41, 0, 0, 0), &block), Sense::invalid_cdb(7));
        assert_eq!(rig.sense(&cdb16(0x93, 0, 0, 0), &block), Sense::invalid_cdb(10));
        assert_eq!(rig.sense(&cdb16(0x93, 0, 101, 0), &block), Sense::out_of_range(101));
        assert_eq!(rig.sense(&cdb10(0x41, 0x10, 0, 1), &block), Sense::invalid_cdb_bit(1, 4));
        assert_eq!(rig.sense(&cdb10(0x41, 0x04, 0, 1), &block), Sense::invalid_cdb_bit(1, 2));
        assert_eq!(rig.sense(&cdb10(0x41, 0x20, 0, 1), &block), Sense::invalid_cdb_bit(1, 7));
        for length in [0, 256, 511, 513, 1024] {
            let sense = rig.sense(&cdb10(0x41, 0, 0, 1), &[0; 1024][..length]);
            assert_eq!(sense, Sense::DATA_OUT_LENGTH, "{length} bytes");
        }
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
        let large = Rig::new(MAX_WRITE_SAME_BLOCKS as usize + 1);
        let cdb = cdb16(0x93, 0, 0, MAX_WRITE_SAME_BLOCKS + 1);
        assert_eq!(large.sense(&cdb, &block), Sense::invalid_cdb(10));
    }

    #[test]
    fn lba_status_lists_runs() {
        let rig = Rig::new(100);
        rig.good(&cdb10(0x2a, 0, 10, 5), &[7; 5 * 512]);
        let status = |lba, allocation| rig.good(&cdb16(0x9e, 0x12, lba, allocation), &[]);
        let out = status(2, 1000);
        assert_eq!(out.len(), 8 + 3 * 16);
        assert_eq!(out[..8], [0, 0, 0, 52, 0, 0, 0, 0]);
        let run = |index: usize| {
            let fields = Cdb::new(&out[8 + index * 16..]);
            (fields.u64(0), fields.u32(8), fields.byte(12))
        };
        assert_eq!((run(0), run(1), run(2)), ((2, 8, 1), (10, 5, 0), (15, 85, 1)));
        assert_eq!(status(12, 24)[8..24], [0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(status(12, 24)[..4], [0, 0, 0, 20]);
        assert_eq!(status(0, 10).len(), 10);
        assert_eq!(rig.sense(&cdb16(0x9e, 0x12, 100, 24), &[]), Sense::out_of_range(100));
    }

    #[test]
    fn a_full_pool_is_told() {
        let rig = Rig::new(100);
        *rig.medium.fault.lock().unwrap() = Some(ErrorKind::StorageFull);
        for flags in [0, 1, 9] {
            assert_eq!(rig.sense(&cdb16(0x93, flags, 0, 4), &[1; 512]), Sense::NO_SPACE);
        }
        let list = unmap_list(&[(0, 1)]);
        assert_eq!(rig.sense(&unmap_cdb(list.len()), &list), Sense::NO_SPACE);
    }
}
