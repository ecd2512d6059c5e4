//! Moving and checking blocks: READ, WRITE, VERIFY and what belongs to them.
//!
//! Each command first checks its CDB, its range and its data-out, then holds its blocks (shared
//! to read, exclusive to write) while it touches the medium, so that it never sees or leaves a
//! mixture within a block. FUA and SYNCHRONIZE CACHE flush the whole medium: it has one cache.

use super::cdb::{Cdb, Extent};
use super::dispatch::{Call, reply};
use super::sense::{Sense, Status};
use super::unit::LogicalUnit;
use super::{BLOCK_SIZE, inquiry};
use crate::buffer::Buffer;

/// How much of the medium is compared at a time, on the stack.
const STEP: usize = 64 * BLOCK_SIZE;

/// Most blocks of one COMPARE AND WRITE. The block limits page states it.
pub(super) const MAX_COMPARE_AND_WRITE_BLOCKS: u8 = 128;

/// READ(6), (10), (12), (16). With FUA, what comes back is durable.
pub(super) fn read(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let extent = checked(call)?;
    if extent.blocks == 0 {
        return Ok(Status::Good);
    }
    let _held = call.hold_shared(extent)?;
    if call.cdb.fua() {
        flush(call.unit, extent)?;
    }
    // What is not read fully is taken back by the dispatcher.
    read_at(call.unit, data_in.room(extent.bytes() as usize), extent.lba)?;
    Ok(Status::Good)
}

/// READ without waiting: all of it is cached, and nobody writes there.
pub(super) fn read_at_once(call: &Call<'_>, data_in: &mut Buffer) -> Option<Result<Status, Sense>> {
    if call.cdb.fua() {
        return None;
    }
    let extent = match checked(call) {
        Ok(extent) if extent.blocks > 0 => extent,
        other => return Some(other.map(|_| Status::Good)),
    };
    let _held = call.unit.roster.ranges.try_shared(extent.lba, extent.blocks)?;
    // What is not read fully is taken back by the dispatcher.
    let room = data_in.room(extent.bytes() as usize);
    match call.unit.backend.read_at_once(room, extent.offset()) {
        Ok(true) => Some(Ok(Status::Good)),
        Ok(false) => None,
        Err(_) => Some(Err(Sense::read_error(extent.lba))),
    }
}

/// WRITE(6), (10), (12), (16). With FUA, GOOD means durable.
pub(super) fn write(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    let extent = checked(call)?;
    let data = call.data_out()?;
    if extent.blocks == 0 {
        return Ok(Status::Good);
    }
    {
        let _held = call.hold(extent)?;
        write_at(call.unit, data, extent)?;
    }
    if call.cdb.fua() {
        flush(call.unit, extent)?;
    }
    Ok(Status::Good)
}

/// WRITE without waiting: into the cache, and nobody else is there.
pub(super) fn write_at_once(call: &Call<'_>, _: &mut Buffer) -> Option<Result<Status, Sense>> {
    if call.cdb.fua() {
        return None;
    }
    let (extent, data) = match checked(call).and_then(|it| Ok((it, call.data_out()?))) {
        Ok((extent, data)) if extent.blocks > 0 => (extent, data),
        other => return Some(other.map(|_| Status::Good)),
    };
    let _held = call.unit.roster.ranges.try_exclusive(extent.lba, extent.blocks)?;
    match call.unit.backend.write_at_once(data, extent.offset()) {
        Ok(true) => Some(Ok(Status::Good)),
        Ok(false) => None,
        Err(error) => Some(Err(Sense::failed_write(&error, extent.lba))),
    }
}

/// The blocks of a READ or WRITE, if they may be moved.
fn checked(call: &Call<'_>) -> Result<Extent, Sense> {
    call.cdb.refuse_protection()?;
    call.cdb.transfer_within(call.unit.blocks())
}

/// WRITE AND VERIFY(10), (12), (16): durable and compared with what was sent, whether or not
/// BYTCHK asks for the comparison.
pub(super) fn write_and_verify(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    call.cdb.refuse_protection()?;
    if bytchk(call.cdb) > 1 {
        return Err(Sense::invalid_cdb_bit(1, 2));
    }
    let extent = call.cdb.transfer_within(call.unit.blocks())?;
    let data = call.data_out()?;
    if extent.blocks == 0 {
        return Ok(Status::Good);
    }
    let _held = call.hold(extent)?;
    write_at(call.unit, data, extent)?;
    flush(call.unit, extent)?;
    compare(call.unit, extent, Some(data))?;
    Ok(Status::Good)
}

/// VERIFY(10), (12), (16): the blocks can be read and, as BYTCHK says, hold what was sent.
pub(super) fn verify(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    call.cdb.refuse_protection()?;
    if bytchk(call.cdb) == 2 {
        return Err(Sense::invalid_cdb_bit(1, 2));
    }
    let extent = call.cdb.transfer_within(call.unit.blocks())?;
    let data = call.data_out()?;
    if extent.blocks == 0 {
        return Ok(Status::Good);
    }
    let _held = call.hold_shared(extent)?;
    compare(call.unit, extent, (bytchk(call.cdb) != 0).then_some(data))?;
    Ok(Status::Good)
}

/// COMPARE AND WRITE: the first half of the data-out is what the blocks must hold, the second half
/// what they shall hold. The blocks are held against everybody from before the comparison until
/// the write is done, so nobody else can come between them.
pub(super) fn compare_and_write(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    call.cdb.refuse_protection()?;
    let extent = compared_extent(call.cdb);
    extent.check(call.unit.blocks())?;
    // No blocks but data: 256 blocks were meant, which the field cannot say.
    let cut = extent.blocks == 0 && call.sends_data();
    if cut || extent.blocks > u64::from(MAX_COMPARE_AND_WRITE_BLOCKS) {
        return Err(Sense::invalid_cdb(13));
    }
    let (expected, wanted) = call.data_out_alone()?.split_at(extent.bytes() as usize);
    if extent.blocks == 0 {
        return Ok(Status::Good);
    }
    let _held = call.hold(extent)?;
    compare(call.unit, extent, Some(expected))?;
    write_at(call.unit, wanted, extent)?;
    if call.cdb.fua() {
        flush(call.unit, extent)?;
    }
    Ok(Status::Good)
}

/// The blocks of a COMPARE AND WRITE, whose number stands in one byte.
pub(super) fn compared_extent(cdb: Cdb<'_>) -> Extent {
    Extent { lba: cdb.u64(2), blocks: u64::from(cdb.byte(13)) }
}

/// ORWRITE(16): sets the bits that are set in the data-out, and no other command sees or changes
/// the blocks meanwhile.
pub(super) fn or_write(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    call.cdb.refuse_protection()?;
    let extent = call.cdb.transfer_within(call.unit.blocks())?;
    let data = call.data_out()?;
    if extent.blocks == 0 {
        return Ok(Status::Good);
    }
    let _held = call.hold(extent)?;
    let mut merged = vec![0; data.len()];
    read_at(call.unit, &mut merged, extent.lba)?;
    merged.iter_mut().zip(data).for_each(|(held, set)| *held |= set);
    write_at(call.unit, &merged, extent)?;
    if call.cdb.fua() {
        flush(call.unit, extent)?;
    }
    Ok(Status::Good)
}

/// PRE-FETCH(10), (16): everything fits in the cache of the host that serves the medium.
pub(super) fn prefetch(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    call.cdb.extent_within(call.unit.blocks())?;
    Ok(Status::ConditionMet)
}

/// SYNCHRONIZE CACHE(10), (16). IMMED is a permission to answer early that we do not use.
pub(super) fn synchronize_cache(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    let extent = call.cdb.extent_within(call.unit.blocks())?;
    flush(call.unit, extent)?;
    Ok(Status::Good)
}

/// READ CAPACITY(10).
pub(super) fn read_capacity10(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let partial_medium_indicator = call.cdb.bit(8, 0);
    if !partial_medium_indicator && call.cdb.u32(2) != 0 {
        return Err(Sense::invalid_cdb(2));
    }
    let last = u32::try_from(call.unit.blocks() - 1).unwrap_or(u32::MAX);
    let mut out = [0; 8];
    out[..4].copy_from_slice(&last.to_be_bytes());
    out[4..].copy_from_slice(&(BLOCK_SIZE as u32).to_be_bytes());
    Ok(reply(data_in, &out, out.len()))
}

/// READ CAPACITY(16): thin, reads of unmapped blocks give zeros, larger physical blocks.
pub(super) fn read_capacity16(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const LBPME_AND_LBPRZ: u8 = 0xc0;
    let partial_medium_indicator = call.cdb.bit(14, 0);
    if !partial_medium_indicator && call.cdb.u64(2) != 0 {
        return Err(Sense::invalid_cdb(2));
    }
    let mut out = [0; 32];
    out[..8].copy_from_slice(&(call.unit.blocks() - 1).to_be_bytes());
    out[8..12].copy_from_slice(&(BLOCK_SIZE as u32).to_be_bytes());
    out[13] = inquiry::PHYSICAL_EXPONENT;
    out[14] = LBPME_AND_LBPRZ;
    Ok(reply(data_in, &out, call.cdb.u32(10) as usize))
}

/// The BYTCHK field.
pub(super) fn bytchk(cdb: Cdb<'_>) -> u8 {
    cdb.byte(1) >> 1 & 3
}

/// Makes everything durable; `extent` is what a failure points at.
pub(super) fn flush(unit: &LogicalUnit, extent: Extent) -> Result<(), Sense> {
    unit.backend.flush().map_err(|error| Sense::failed_write(&error, extent.lba))
}

fn write_at(unit: &LogicalUnit, data: &[u8], extent: Extent) -> Result<(), Sense> {
    unit.backend
        .write_at(data, extent.offset())
        .map_err(|error| Sense::failed_write(&error, extent.lba))
}

fn read_at(unit: &LogicalUnit, buf: &mut [u8], lba: u64) -> Result<(), Sense> {
    unit.backend.read_at(buf, lba * BLOCK_SIZE as u64).map_err(|_| Sense::read_error(lba))
}

/// Reads the extent and compares it with `expected`: as long as the extent, or one block that is
/// repeated, or nothing to compare with.
fn compare(unit: &LogicalUnit, extent: Extent, expected: Option<&[u8]>) -> Result<(), Sense> {
    let mut buf = [0; STEP];
    let total = extent.bytes() as usize;
    for at in (0..total).step_by(STEP) {
        let held = &mut buf[..STEP.min(total - at)];
        read_at(unit, held, extent.lba + (at / BLOCK_SIZE) as u64)?;
        let Some(expected) = expected else { continue };
        for (index, block) in held.chunks_exact(BLOCK_SIZE).enumerate() {
            let offset = (at + index * BLOCK_SIZE) % expected.len();
            let wanted = &expected[offset..offset + BLOCK_SIZE];
            if let Some(byte) = block.iter().zip(wanted).position(|(a, b)| a != b) {
                return Err(Sense::miscompare((offset + byte) as u64));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::testing::*;
    use super::super::{Access, Command, MAX_TRANSFER_BLOCKS, data_out_length};
    use super::*;

    fn blocks(count: usize, seed: u8) -> Vec<u8> {
        (0..count * BLOCK_SIZE).map(|i| (i / 7) as u8 ^ seed).collect()
    }

    #[test]
    fn every_length_writes_and_reads() {
        let rig = Rig::new(1024);
        let data = blocks(3, 1);
        rig.good(&[0x0a, 0, 0, 5, 3, 0], &data);
        rig.good(&cdb10(0x2a, 0, 105, 3), &data);
        rig.good(&cdb12(0xaa, 0, 205, 3), &data);
        rig.good(&cdb16(0x8a, 0, 305, 3), &data);
        assert_eq!(rig.good(&[0x08, 0, 0, 205, 3, 0], &[]), data);
        assert_eq!(rig.good(&cdb10(0x28, 0, 305, 3), &[]), data);
        assert_eq!(rig.good(&cdb12(0xa8, 0, 5, 3), &[]), data);
        assert_eq!(rig.good(&cdb16(0x88, 0, 105, 3), &[]), data);
        assert_eq!(rig.medium.bytes().iter().filter(|&&b| b != 0).count(), {
            4 * data.iter().filter(|&&b| b != 0).count()
        });
    }

    #[test]
    fn a_length_of_zero_is_256_in_six_bytes_and_nothing_elsewhere() {
        let rig = Rig::new(300);
        assert_eq!(rig.good(&[0x08, 0, 0, 0, 0, 0], &[]).len(), 256 * BLOCK_SIZE);
        assert_eq!(data_out_length(&[0x0a, 0, 0, 0, 0, 0]), Some(256 * 512));
        for cdb in [cdb10(0x28, 0, 9, 0), cdb10(0x2a, 0, 9, 0), cdb10(0x2e, 2, 300, 0)] {
            assert_eq!(rig.good(&cdb, &[]), []);
        }
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
    }

    #[test]
    fn ranges_are_checked_in_every_command() {
        let rig = Rig::new(100);
        for opcode in [0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35] {
            let flags = if opcode == 0x2f { 2 } else { 0 };
            let data = blocks(2, 0);
            assert_eq!(rig.sense(&cdb10(opcode, flags, 99, 2), &data), Sense::out_of_range(100));
            assert_eq!(rig.sense(&cdb10(opcode, 0, 101, 0), &[]), Sense::out_of_range(101));
        }
        for opcode in [0x88, 0x8a, 0x8e, 0x8f, 0x90, 0x91] {
            assert_eq!(
                rig.sense(&cdb16(opcode, 0, u64::MAX, 1), &[]),
                Sense::out_of_range(u64::MAX)
            );
        }
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
    }

    #[test]
    fn protection_information_is_refused() {
        let rig = Rig::new(100);
        for opcode in [0x28, 0x2a, 0x2e, 0x2f] {
            for protect in 1..8 {
                let cdb = cdb10(opcode, protect << 5, 0, 1);
                assert_eq!(rig.sense(&cdb, &blocks(1, 0)), Sense::invalid_cdb_bit(1, 7));
            }
        }
    }

    #[test]
    fn the_longest_transfer_is_what_the_limits_say() {
        let limit = MAX_TRANSFER_BLOCKS;
        let rig = Rig::new(limit as usize + 1);
        assert_eq!(rig.good(&cdb12(0xa8, 0, 0, limit), &[]).len(), limit as usize * 512);
        for cdb in [cdb12(0xa8, 0, 0, limit + 1), cdb12(0xaa, 0, 0, limit + 1)] {
            assert_eq!(rig.sense(&cdb, &[]), Sense::invalid_cdb(6));
        }
    }

    #[test]
    fn too_little_data_writes_nothing_and_too_much_is_ignored() {
        let rig = Rig::new(100);
        for sent in [0, 1, 511, 512, 1023] {
            let data = &blocks(2, 9)[..sent];
            for opcode in [0x2a, 0x2e] {
                assert_eq!(rig.sense(&cdb10(opcode, 0, 0, 2), data), Sense::DATA_OUT_LENGTH);
            }
            assert_eq!(rig.sense(&cdb10(0x2f, 2, 0, 2), data), Sense::DATA_OUT_LENGTH);
        }
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
        rig.good(&cdb10(0x2a, 0, 0, 2), &[7; 2000]);
        assert_eq!(rig.medium.bytes().iter().filter(|&&b| b == 7).count(), 1024);
    }

    #[test]
    fn fua_is_durable_before_good() {
        let rig = Rig::new(100);
        rig.good(&cdb10(0x2a, 0x10, 0, 1), &blocks(1, 0));
        assert_eq!(rig.medium.flushes.load(Relaxed), 0);
        rig.good(&cdb10(0x2a, 0x08, 0, 1), &blocks(1, 0));
        assert_eq!(rig.medium.flushes.load(Relaxed), 1);
        rig.good(&cdb16(0x88, 0x08, 0, 1), &[]);
        assert_eq!(rig.medium.flushes.load(Relaxed), 2);
        rig.good(&cdb10(0x2e, 0, 0, 1), &blocks(1, 0));
        rig.good(&cdb10(0x35, 0, 0, 0), &[]);
        rig.good(&cdb16(0x91, 2, 5, 10), &[]);
        assert_eq!(rig.medium.flushes.load(Relaxed), 5);
    }

    #[test]
    fn verify_compares_what_bytchk_says() {
        let rig = Rig::new(300);
        let mut data = blocks(200, 3);
        rig.good(&cdb10(0x2a, 0, 10, 200), &data);
        rig.good(&cdb10(0x2f, 0 << 1, 10, 200), &[]);
        rig.good(&cdb12(0xaf, 1 << 1, 10, 200), &data);
        data[150 * 512 + 77] ^= 1;
        let miscompare = Sense::miscompare(150 * 512 + 77);
        assert_eq!(rig.sense(&cdb16(0x8f, 1 << 1, 10, 200), &data), miscompare);
        assert_eq!(rig.sense(&cdb10(0x2f, 2 << 1, 10, 1), &data), Sense::invalid_cdb_bit(1, 2));
        let one = blocks(1, 5);
        rig.good(&cdb10(0x2a, 0, 10, 200), &one.repeat(200));
        rig.good(&cdb10(0x2f, 3 << 1, 10, 200), &one);
        assert_eq!(rig.sense(&cdb10(0x2f, 3 << 1, 10, 201), &one).asc, 0x1d);
        assert_eq!(data_out_length(&cdb10(0x2f, 3 << 1, 10, 201)), Some(512));
        assert_eq!(data_out_length(&cdb10(0x2f, 1 << 1, 10, 20)), Some(10240));
        assert_eq!(data_out_length(&cdb10(0x2f, 0, 10, 20)), Some(0));
    }

    #[test]
    fn write_and_verify_writes_and_compares() {
        let rig = Rig::new(300);
        for (cdb, at) in
            [(&cdb10(0x2e, 0, 0, 2)[..], 0), (&cdb12(0xae, 2, 7, 2), 7), (&cdb16(0x8e, 2, 9, 2), 9)]
        {
            let data = blocks(2, at as u8 + 1);
            rig.good(cdb, &data);
            assert_eq!(rig.medium.bytes()[at * 512..][..1024], data);
        }
        assert_eq!(rig.sense(&cdb10(0x2e, 4, 0, 1), &blocks(1, 0)), Sense::invalid_cdb_bit(1, 2));
    }

    /// 16 bytes of CDB with the number of blocks where COMPARE AND WRITE has it.
    fn caw(flags: u8, lba: u64, blocks: u8) -> [u8; 16] {
        cdb16(0x89, flags, lba, u32::from(blocks))
    }

    #[test]
    fn compare_and_write_writes_only_what_compares() {
        let rig = Rig::new(300);
        let (old, new) = (blocks(3, 1), blocks(3, 2));
        rig.good(&cdb10(0x2a, 0, 50, 3), &old);
        let before = rig.medium.bytes();
        let mut wrong = old.clone();
        wrong[700] ^= 1;
        let miscompare = Sense::miscompare(700);
        assert_eq!(rig.sense(&caw(0, 50, 3), &[&wrong[..], &new].concat()), miscompare);
        assert_eq!(rig.medium.bytes(), before, "a miscompare writes nothing");
        rig.good(&caw(0x10, 50, 3), &[&old[..], &new].concat());
        assert_eq!(rig.good(&cdb10(0x28, 0, 50, 3), &[]), new);
        assert_eq!(rig.medium.flushes.load(Relaxed), 0);
        rig.good(&caw(0x08, 50, 3), &[&new[..], &old].concat());
        assert_eq!(rig.medium.flushes.load(Relaxed), 1, "FUA");
        rig.good(&caw(0, 300, 0), &[]);
        assert_eq!(rig.sense(&caw(0, 0, 0), &[0; 512 * 512]), Sense::invalid_cdb(13));
    }

    #[test]
    fn compare_and_write_checks_its_length_range_and_data() {
        let rig = Rig::new(300);
        let limit = MAX_COMPARE_AND_WRITE_BLOCKS;
        let both = |blocks: u8| vec![0; 2 * usize::from(blocks) * BLOCK_SIZE];
        rig.good(&caw(0, 0, limit), &both(limit));
        let written = rig.medium.mutations.load(Relaxed);
        assert_eq!(rig.sense(&caw(0, 0, limit + 1), &both(limit + 1)), Sense::invalid_cdb(13));
        assert_eq!(rig.sense(&caw(0, 299, 2), &both(2)), Sense::out_of_range(300));
        assert_eq!(rig.sense(&caw(0x20, 0, 1), &both(1)), Sense::invalid_cdb_bit(1, 7));
        assert_eq!(data_out_length(&caw(0, 0, 3)), Some(3072));
        for sent in [0, 512, 1023, 1025, 2048] {
            assert_eq!(rig.sense(&caw(0, 0, 1), &vec![0; sent]), Sense::DATA_OUT_LENGTH);
        }
        assert_eq!(rig.medium.mutations.load(Relaxed), written);
    }

    /// The counter of every lock manager on shared disks. Without the exclusive range, increments
    /// are lost at once: the medium of the tests pauses between reading and writing.
    #[test]
    fn two_sessions_race_and_no_increment_is_lost() {
        const EACH: u64 = 10_000;
        let rig = Rig::new(8);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let nexus = quiet(&rig.unit, Access::ReadWrite);
                    let mut block = [0u8; BLOCK_SIZE];
                    let mut done = 0;
                    while done < EACH {
                        let mut next = block;
                        let count = u64::from_be_bytes(block[..8].try_into().unwrap()) + 1;
                        next[..8].copy_from_slice(&count.to_be_bytes());
                        let data = [block, next].concat();
                        let (ended, _) = run(&rig.unit, &nexus, &caw(0, 3, 1), &data);
                        if ended.status == Status::Good {
                            (done, block) = (done + 1, next);
                        } else {
                            assert_eq!(ended.sense.map(|sense| sense.asc), Some(0x1d));
                            let (_, held) = run(&rig.unit, &nexus, &cdb10(0x28, 0, 3, 1), &[]);
                            block = held.try_into().unwrap();
                        }
                    }
                });
            }
        });
        let counter = &rig.medium.bytes()[3 * BLOCK_SIZE..][..8];
        assert_eq!(counter, (2 * EACH).to_be_bytes());
    }

    #[test]
    fn orwrite_sets_bits_and_clears_none() {
        let rig = Rig::new(100);
        rig.good(&cdb10(0x2a, 0, 7, 2), &[0x0f; 1024]);
        rig.good(&cdb16(0x8b, 0, 7, 2), &[0x81; 1024]);
        assert_eq!(rig.good(&cdb10(0x28, 0, 7, 2), &[]), [0x8f; 1024]);
        assert_eq!(rig.sense(&cdb16(0x8b, 0, 99, 2), &[0; 1024]), Sense::out_of_range(100));
        assert_eq!(rig.sense(&cdb16(0x8b, 0, 9, 2), &[0; 1000]), Sense::DATA_OUT_LENGTH);
        rig.good(&cdb16(0x8b, 8, 7, 2), &[0; 1024]);
        assert_eq!(rig.medium.flushes.load(Relaxed), 1);
    }

    #[test]
    fn capacity_is_told() {
        let rig = Rig::new(1000);
        assert_eq!(rig.good(&cdb10(0x25, 0, 0, 0), &[]), [0, 0, 3, 231, 0, 0, 2, 0]);
        let long = rig.good(&cdb16(0x9e, 0x10, 0, 32), &[]);
        assert_eq!(long[..12], [0, 0, 0, 0, 0, 0, 3, 231, 0, 0, 2, 0]);
        assert_eq!((long.len(), long[12], long[13], long[14]), (32, 0, 3, 0xc0));
        assert_eq!(rig.good(&cdb16(0x9e, 0x10, 0, 12), &[]).len(), 12);
        assert_eq!(rig.sense(&cdb10(0x25, 0, 1, 0), &[]), Sense::invalid_cdb(2));
        assert_eq!(rig.sense(&cdb16(0x9e, 0x10, 1, 32), &[]), Sense::invalid_cdb(2));
    }

    #[test]
    fn prefetch_meets_its_condition() {
        let rig = Rig::new(100);
        for cdb in [&cdb10(0x34, 0, 0, 100)[..], &cdb16(0x90, 2, 99, 1)] {
            assert_eq!(rig.run(cdb, &[]).0.status, Status::ConditionMet);
        }
    }

    #[test]
    fn failures_of_the_medium_are_told_apart() {
        let rig = Rig::new(100);
        let fail = |kind| *rig.medium.fault.lock().unwrap() = Some(kind);
        fail(ErrorKind::Other);
        assert_eq!(rig.sense(&cdb10(0x28, 0, 7, 1), &[]), Sense::read_error(7));
        assert_eq!(rig.sense(&cdb10(0x2f, 0, 7, 1), &[]), Sense::read_error(7));
        assert_eq!(rig.sense(&cdb10(0x2a, 0, 7, 1), &blocks(1, 0)), Sense::write_error(7));
        assert_eq!(rig.sense(&cdb10(0x35, 0, 7, 1), &[]), Sense::write_error(7));
        fail(ErrorKind::StorageFull);
        assert_eq!(rig.sense(&cdb10(0x2a, 0, 7, 1), &blocks(1, 0)), Sense::NO_SPACE);
        fail(ErrorKind::ReadOnlyFilesystem);
        assert_eq!(rig.sense(&cdb10(0x2a, 0, 7, 1), &blocks(1, 0)), Sense::WRITE_PROTECTED);
    }

    #[test]
    fn a_failed_read_leaves_the_data_in_alone() {
        let rig = Rig::new(100);
        *rig.medium.fault.lock().unwrap() = Some(ErrorKind::Other);
        let mut data_in = Buffer::default();
        data_in.extend_from_slice(&[1, 2, 3]);
        let command = Command { cdb: &cdb10(0x28, 0, 0, 1), data_out: &[] };
        let done = rig.unit.execute(&rig.nexus, command, &mut data_in);
        assert_eq!((done.status, &data_in[..]), (Status::CheckCondition, &[1, 2, 3][..]));
    }

    /// The medium of the tests tears every block; without the range lock this fails at once.
    #[test]
    fn no_reader_sees_a_torn_block() {
        let rig = Rig::new(8);
        std::thread::scope(|scope| {
            for writer in 1..=2u8 {
                let rig = &rig;
                scope.spawn(move || {
                    let nexus = quiet(&rig.unit, Access::ReadWrite);
                    for round in 0..200u32 {
                        let value = (writer << 6) | (round % 60) as u8;
                        let data = [value; 3 * BLOCK_SIZE];
                        let cdb = cdb10(0x2a, 0, u32::from(writer), 3);
                        assert_eq!(run(&rig.unit, &nexus, &cdb, &data).0.status, Status::Good);
                    }
                });
            }
            for _ in 0..400 {
                let data = rig.good(&cdb10(0x28, 0, 0, 8), &[]);
                for block in data.chunks(BLOCK_SIZE) {
                    assert!(block.iter().all(|byte| byte == &block[0]), "torn");
                }
            }
        });
    }
}
