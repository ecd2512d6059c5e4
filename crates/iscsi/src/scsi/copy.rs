//! EXTENDED COPY(LID1): the unit copies its own blocks, and they never travel to the host.
//!
//! Offered is the least that is of use: segments from blocks to blocks within this unit. Copying to
//! another unit would need to know that this initiator may write there, which a unit does not;
//! such a segment is refused, and initiators then copy by reading and writing. A parameter list is
//! read to its end before the first block is touched. A segment holds its source against writers
//! and its destination against everybody, taken as one, and it is read whole before any of it is
//! written, so that the two may overlap.

use super::cdb::{Cdb, Extent};
use super::copied::Ended;
use super::dispatch::{Call, reply};
use super::sense::{CopyFault, Sense, Status};
use super::unit::LogicalUnit;
use super::{BLOCK_SIZE, Completion, MAX_TRANSFER_BLOCKS};
use crate::buffer::Buffer;

/// Most parties (copy sources and destinations) of one list.
const MAX_PARTIES: u16 = 4;
/// Most segments of one list. With [`MAX_SEGMENT_BLOCKS`] it bounds how long a command can run:
/// 32 MiB, hence how long a session that is being closed has to be waited for.
const MAX_SEGMENTS: u16 = 8;
/// Most blocks of one segment.
const MAX_SEGMENT_BLOCKS: u64 = MAX_TRANSFER_BLOCKS as u64;

const HEADER: usize = 16;
const PARTY: usize = 32;
const SEGMENT: usize = 28;
/// Most bytes of both kinds of descriptors.
const MAX_DESCRIPTORS: u32 =
    MAX_PARTIES as u32 * PARTY as u32 + MAX_SEGMENTS as u32 * SEGMENT as u32;

/// The one kind of party: who it is, in the words of its device identification page.
const IDENTIFIED: u8 = 0xe4;
/// The one kind of segment.
const BLOCKS_TO_BLOCKS: u8 = 0x02;

/// What a party's descriptor says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    /// This unit.
    This,
    /// Something that cannot be copied from or to.
    Not(CopyFault),
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    from: (u16, Extent),
    to: (u16, Extent),
}

/// A parameter list that can be carried out, or fails at one of its segments.
struct Order {
    list_id: u8,
    /// What to do with the list identifier.
    usage: Usage,
    parties: Vec<Party>,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    /// The result is kept until it is asked for.
    Keep,
    /// It need not be kept.
    Discard,
    /// There is no identifier.
    None,
}

/// EXTENDED COPY(LID1).
pub(super) fn extended_copy(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    let list = call.data_out()?;
    if list.is_empty() {
        return Ok(Status::Good);
    }
    let order = read(call.unit, list)?;
    if order.usage == Usage::None {
        return carry_out(call, &order).outcome();
    }
    if !call.nexus.copies().begin(order.list_id) {
        return Err(Sense::OPERATION_IN_PROGRESS);
    }
    let ended = carry_out(call, &order);
    call.nexus.copies().end(order.list_id, ended, order.usage == Usage::Keep);
    ended.outcome()
}

/// How many blocks a parameter list asks to copy, of those that could be copied at all.
pub(super) fn blocks_of(list: &[u8]) -> u64 {
    let header = Cdb::new(list);
    let from = HEADER.saturating_add(usize::from(header.u16(2)));
    let segments = list.get(from..).unwrap_or_default().chunks_exact(SEGMENT);
    let blocks = segments.map(|bytes| u64::from(Cdb::new(bytes).u16(10)));
    blocks.take(usize::from(MAX_SEGMENTS)).filter(|blocks| *blocks <= MAX_SEGMENT_BLOCKS).sum()
}

/// RECEIVE COPY OPERATING PARAMETERS: the limits that are checked here.
pub(super) fn operating_parameters(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const NO_LIST_ID: u8 = 0x01;
    const CONCURRENT: u8 = 0xff;
    let kinds = [BLOCKS_TO_BLOCKS, IDENTIFIED];
    let mut out = [0; 46];
    out[4] = NO_LIST_ID;
    out[8..10].copy_from_slice(&MAX_PARTIES.to_be_bytes());
    out[10..12].copy_from_slice(&MAX_SEGMENTS.to_be_bytes());
    out[12..16].copy_from_slice(&MAX_DESCRIPTORS.to_be_bytes());
    out[16..20].copy_from_slice(&(MAX_SEGMENT_BLOCKS as u32 * BLOCK_SIZE as u32).to_be_bytes());
    out[34..36].copy_from_slice(&u16::from(CONCURRENT).to_be_bytes());
    out[36] = CONCURRENT;
    out[37] = BLOCK_SIZE.trailing_zeros() as u8;
    out[43] = kinds.len() as u8;
    out[44..].copy_from_slice(&kinds);
    let following = out.len() as u32 - 4;
    out[..4].copy_from_slice(&following.to_be_bytes());
    Ok(reply(data_in, &out, call.cdb.u32(10) as usize))
}

/// Reads a parameter list. Errors are of the list as a whole; what only a segment is wrong with
/// shows when its turn comes (SPC-4 5.16.7.3 and 5.16.7.4 tell the two apart).
fn read(unit: &LogicalUnit, list: &[u8]) -> Result<Order, Sense> {
    let header = Cdb::new(list.get(..HEADER).ok_or(Sense::PARAMETER_LIST_LENGTH)?);
    let (parties, segments) = (u32::from(header.u16(2)), header.u32(8));
    if parties.saturating_add(segments) > MAX_DESCRIPTORS {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    let rest = &list[HEADER..];
    let (parties, rest) =
        rest.split_at_checked(parties as usize).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let segments = rest.get(..segments as usize).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    if header.u32(12) != 0 {
        return Err(Sense::INLINE_DATA);
    }
    let list_id = header.byte(0);
    let usage = match header.byte(1) >> 3 & 3 {
        0 => Usage::Keep,
        2 => Usage::Discard,
        3 if list_id == 0 => Usage::None,
        3 => return Err(Sense::invalid_parameter(0)),
        _ => return Err(Sense::invalid_parameter_bit(1, 4)),
    };
    if parties.len() / PARTY > usize::from(MAX_PARTIES) {
        return Err(Sense::TOO_MANY_COPY_PARTIES);
    }
    let first_segment = HEADER + parties.len();
    let parties = parties
        .chunks(PARTY)
        .enumerate()
        .map(|(index, bytes)| party(unit, bytes, (HEADER + index * PARTY) as u16))
        .collect::<Result<_, _>>()?;
    if segments.len() / SEGMENT > usize::from(MAX_SEGMENTS) {
        return Err(Sense::TOO_MANY_SEGMENTS);
    }
    let segments = segments
        .chunks(SEGMENT)
        .enumerate()
        .map(|(index, bytes)| segment(bytes, (first_segment + index * SEGMENT) as u16))
        .collect::<Result<_, _>>()?;
    Ok(Order { list_id, usage, parties, segments })
}

/// Reads a party's descriptor, which stands at byte `at` of the list.
fn party(unit: &LogicalUnit, bytes: &[u8], at: u16) -> Result<Party, Sense> {
    const BINARY: u8 = 1;
    const NAA_OF_UNIT: u8 = 0x03;
    const DISK: u8 = 0;
    let fields = Cdb::new(bytes);
    if fields.byte(0) != IDENTIFIED {
        return Err(Sense::UNKNOWN_COPY_PARTY);
    }
    if bytes.len() != PARTY {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    // SPC-4 lets the type of LUN identifier be ignored here, as the party is named otherwise. The
    // bit for the null device is obsolete there; whoever sets it does not mean this unit.
    let null = fields.bit(1, 5);
    let identified = fields.byte(4) & 0x0f == BINARY
        && fields.byte(5) & 0x3f == NAA_OF_UNIT
        && bytes[8..].starts_with(&unit.identity().naa)
        && usize::from(fields.byte(7)) == unit.identity().naa.len();
    Ok(if null {
        Party::Not(CopyFault::Unreachable)
    } else if !identified {
        Party::Not(CopyFault::NotThisUnit)
    } else if fields.byte(1) & 0x1f != DISK {
        Party::Not(CopyFault::NoDisk)
    } else if fields.u32(28) & 0xff_ffff != BLOCK_SIZE as u32 {
        // It counts in blocks that are not ours.
        return Err(Sense::invalid_parameter(at + 29));
    } else {
        Party::This
    })
}

/// Reads a segment's descriptor, which stands at byte `at` of the list.
fn segment(bytes: &[u8], at: u16) -> Result<Segment, Sense> {
    let fields = Cdb::new(bytes);
    if fields.byte(0) != BLOCKS_TO_BLOCKS {
        return Err(Sense::UNKNOWN_SEGMENT);
    }
    if bytes.len() != SEGMENT {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    // Both sides have blocks of one size, so which of them counts (DC) and what becomes of a rest
    // (CAT) make no difference; whoever asks for more is told that we do not know it.
    if fields.byte(1) & 0xfc != 0 {
        return Err(Sense::invalid_parameter(at + 1));
    }
    if usize::from(fields.u16(2)) != SEGMENT - 4 {
        return Err(Sense::invalid_parameter(at + 2));
    }
    let blocks = u64::from(fields.u16(10));
    if blocks > MAX_SEGMENT_BLOCKS {
        return Err(Sense::invalid_parameter(at + 10));
    }
    let extent = |at| Extent { lba: fields.u64(at), blocks };
    Ok(Segment { from: (fields.u16(4), extent(12)), to: (fields.u16(6), extent(20)) })
}

/// Carries out segment after segment, until one fails.
fn carry_out(call: &Call<'_>, order: &Order) -> Ended {
    let mut ended = Ended { completion: Completion::GOOD, segments: 0, bytes: 0 };
    let mut buffer = vec![];
    for segment in &order.segments {
        if let Err(fault) = copy(call, &order.parties, segment, &mut buffer) {
            ended.completion = Completion::check(Sense::copy_aborted(fault, ended.segments));
            break;
        }
        ended.segments += 1;
        ended.bytes += segment.to.1.bytes() as u32;
    }
    ended
}

fn copy(
    call: &Call<'_>,
    parties: &[Party],
    segment: &Segment,
    buffer: &mut Vec<u8>,
) -> Result<(), CopyFault> {
    let unit = call.unit;
    for (party, extent) in [segment.from, segment.to] {
        match parties.get(usize::from(party)) {
            Some(Party::This) => {}
            Some(Party::Not(fault)) => return Err(*fault),
            None => return Err(CopyFault::Unreachable),
        }
        extent.check(unit.blocks()).map_err(|_| CopyFault::OutOfRange)?;
    }
    let (from, to) = (segment.from.1, segment.to.1);
    if to.blocks == 0 {
        return Ok(());
    }
    buffer.resize(to.bytes() as usize, 0);
    let ranges = &unit.roster.ranges;
    let held = ranges.copying(from.lba, to.lba, to.blocks, call.nexus.leaving());
    // Its session is over: nobody reads why.
    let _held = held.ok_or(CopyFault::Failed)?;
    unit.backend.read_at(buffer, from.offset()).map_err(|_| CopyFault::Failed)?;
    unit.backend.write_at(buffer, to.offset()).map_err(|_| CopyFault::Failed)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::testing::*;
    use super::super::{Access, Attention};
    use super::*;

    fn segments(list: &[(u64, u64, u16)]) -> Vec<u8> {
        list.iter().flat_map(|&(from, to, blocks)| copy_segment(from, to, blocks)).collect()
    }

    fn one(from: u64, to: u64, blocks: u16) -> Vec<u8> {
        copy_list(1, 0, &copy_party(), &copy_segment(from, to, blocks))
    }

    fn numbered(blocks: usize) -> Rig {
        let rig = Rig::new(blocks);
        let data: Vec<u8> = (0..blocks).flat_map(|n| [n as u8 + 1; BLOCK_SIZE]).collect();
        rig.good(&cdb12(0xaa, 0, 0, blocks as u32), &data);
        rig.medium.mutations.store(0, Relaxed);
        rig
    }

    /// The first byte of each block.
    fn seen(rig: &Rig) -> Vec<u8> {
        rig.medium.bytes().chunks(BLOCK_SIZE).map(|block| block[0]).collect()
    }

    #[test]
    fn what_is_copied_can_be_told_beforehand() {
        assert_eq!(blocks_of(&one(5, 50, 3)), 3);
        let three = segments(&[(0, 9, 8192), (0, 9, 8193), (0, 9, 1)]);
        assert_eq!(blocks_of(&copy_list(1, 0, &copy_party(), &three)), 8193);
        let cut = one(5, 50, 3);
        for length in 0..cut.len() {
            assert_eq!(blocks_of(&cut[..length]), 0);
        }
        assert_eq!(blocks_of(&[0xff; 4000]), 0);
    }

    #[test]
    fn segments_are_copied_in_order_and_may_overlap() {
        let rig = numbered(12);
        let list = copy_list(1, 0, &copy_party(), &segments(&[(0, 2, 4), (2, 10, 2), (5, 0, 0)]));
        let mut typed = list.clone();
        typed[17] = 0xc0;
        rig.good(&copy_cdb(list.len()), &typed);
        assert_eq!(seen(&rig), [1, 2, 1, 2, 3, 4, 7, 8, 9, 10, 1, 2]);
        let back = one(2, 1, 4);
        rig.good(&copy_cdb(back.len()), &back);
        assert_eq!(seen(&rig)[..6], [1, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn an_empty_list_is_no_error_and_a_cut_one_is() {
        let rig = numbered(12);
        rig.good(&copy_cdb(0), &[]);
        let list = one(0, 1, 1);
        for length in 1..list.len() {
            let sense = rig.sense(&copy_cdb(length), &list[..length]);
            assert_eq!(sense, Sense::PARAMETER_LIST_LENGTH, "{length}");
        }
        assert_eq!(rig.sense(&copy_cdb(list.len() + 1), &list), Sense::DATA_OUT_LENGTH);
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
    }

    #[test]
    fn what_is_wrong_with_the_list_is_told_before_anything_is_copied() {
        let rig = numbered(12);
        let good = one(0, 1, 1);
        let changed = |at: usize, byte: u8| {
            let mut list = good.clone();
            list[at] = byte;
            rig.sense(&copy_cdb(list.len()), &list)
        };
        assert_eq!(changed(1, 0x08), Sense::invalid_parameter_bit(1, 4));
        assert_eq!(changed(1, 0x18), Sense::invalid_parameter(0));
        assert_eq!(changed(15, 1), Sense::INLINE_DATA);
        assert_eq!(changed(16, 0xe0), Sense::UNKNOWN_COPY_PARTY);
        assert_eq!(changed(46, 0x10), Sense::invalid_parameter(45));
        assert_eq!(changed(48, 0x03), Sense::UNKNOWN_SEGMENT);
        assert_eq!(changed(49, 0x04), Sense::invalid_parameter(49));
        assert_eq!(changed(51, 0x17), Sense::invalid_parameter(50));
        assert_eq!(changed(58, 0x20), Sense::invalid_parameter(58));
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
    }

    #[test]
    fn what_is_wrong_with_a_segment_ends_the_copy_there() {
        let refused = |party_at: usize, byte: u8, second: (u64, u64, u16), to: u8| {
            let rig = numbered(12);
            let mut both = segments(&[(0, 1, 1), second]);
            both[SEGMENT + 7] = to;
            let mut parties = [copy_party(), copy_party()].concat();
            parties[PARTY + party_at] = byte;
            let list = copy_list(9, 0, &parties, &both);
            let sense = rig.sense(&copy_cdb(list.len()), &list);
            assert_eq!(seen(&rig)[..3], [1, 1, 3], "the first segment alone was copied");
            sense
        };
        let aborted = |fault| Sense::copy_aborted(fault, 1);
        assert_eq!(refused(1, 0x20, (0, 2, 1), 1), aborted(CopyFault::Unreachable));
        assert_eq!(refused(1, 0x01, (0, 2, 1), 1), aborted(CopyFault::NoDisk));
        for at in [4, 5, 7, 8, 23] {
            assert_eq!(refused(at, 0x14, (0, 2, 1), 1), aborted(CopyFault::NotThisUnit), "{at}");
        }
        assert_eq!(refused(0, 0xe4, (0, 2, 1), 2), aborted(CopyFault::Unreachable));
        assert_eq!(refused(0, 0xe4, (0, 12, 1), 0), aborted(CopyFault::OutOfRange));
        assert_eq!(refused(0, 0xe4, (11, 2, 2), 0), aborted(CopyFault::OutOfRange));
        assert_eq!(refused(0, 0xe4, (u64::MAX, 2, 2), 0), aborted(CopyFault::OutOfRange));
    }

    #[test]
    fn the_limits_are_those_that_are_told() {
        let rig = Rig::new(MAX_SEGMENT_BLOCKS as usize + 1);
        let told = rig.good(&receive(3, 0, 255), &[]);
        let fields = Cdb::new(&told);
        assert_eq!((told.len(), fields.u32(0)), (46, 42));
        assert_eq!((fields.u16(8), fields.u16(10)), (MAX_PARTIES, MAX_SEGMENTS));
        assert_eq!((fields.u32(12), fields.u32(16)), (MAX_DESCRIPTORS, 4 << 20));
        assert_eq!((told[37], &told[43..]), (9, &[2, 0x02, 0xe4][..]));
        let run = |parties: u16, count: u16, blocks: u16| {
            let segments = copy_segment(0, 1, blocks).repeat(count.into());
            let list = copy_list(1, 0, &copy_party().repeat(parties.into()), &segments);
            rig.run(&copy_cdb(list.len()), &list).0.sense
        };
        assert_eq!(run(MAX_PARTIES, MAX_SEGMENTS, 1), None);
        assert_eq!(run(MAX_PARTIES + 1, 1, 1), Some(Sense::TOO_MANY_COPY_PARTIES));
        assert_eq!(run(1, MAX_SEGMENTS + 1, 1), Some(Sense::TOO_MANY_SEGMENTS));
        assert_eq!(run(MAX_PARTIES + 1, MAX_SEGMENTS + 1, 1), Some(Sense::PARAMETER_LIST_LENGTH));
        assert_eq!(run(1, 1, MAX_SEGMENT_BLOCKS as u16), None);
        let at = (HEADER + PARTY + 10) as u16;
        let longer = MAX_SEGMENT_BLOCKS as u16 + 1;
        assert_eq!(run(1, 1, longer), Some(Sense::invalid_parameter(at)));
    }

    fn receive(action: u8, list_id: u8, allocation: u32) -> [u8; 16] {
        let mut cdb = cdb16(0x84, action, 0, allocation);
        cdb[2] = list_id;
        cdb
    }

    #[test]
    fn a_result_is_kept_for_the_one_that_asked_for_it() {
        let rig = numbered(12);
        let unknown = Sense::invalid_cdb(2);
        assert_eq!(rig.sense(&receive(0, 1, 100), &[]), unknown);
        let list = copy_list(1, 0, &copy_party(), &segments(&[(0, 4, 2), (0, 6, 1)]));
        rig.good(&copy_cdb(list.len()), &list);
        let other = quiet(&rig.unit, Access::ReadWrite);
        assert_eq!(run(&rig.unit, &other, &receive(0, 1, 100), &[]).0.sense, Some(unknown));
        let told = rig.good(&receive(0, 1, 100), &[]);
        assert_eq!(told, [0, 0, 0, 8, 1, 0, 2, 0, 0, 0, 6, 0]);
        assert_eq!(rig.sense(&receive(0, 1, 100), &[]), unknown, "it was fetched");
        for usage in [0x10, 0x18] {
            let list = copy_list(0, usage, &copy_party(), &segments(&[(0, 4, 2)]));
            rig.good(&copy_cdb(list.len()), &list);
            assert_eq!(rig.sense(&receive(0, 0, 100), &[]), unknown);
        }
    }

    #[test]
    fn a_failure_is_kept_with_its_sense() {
        let rig = numbered(12);
        let list = copy_list(7, 0, &copy_party(), &segments(&[(0, 4, 2), (0, 11, 2)]));
        let sense = rig.sense(&copy_cdb(list.len()), &list);
        assert_eq!(rig.good(&receive(0, 7, 100), &[])[4..], [2, 0, 1, 0, 0, 0, 4, 0]);
        let details = rig.good(&receive(4, 7, 100), &[]);
        assert_eq!((details.len(), details[3], details[56]), (78, 74, 0x02));
        assert_eq!(details[60..], sense.to_bytes());
        assert_eq!(rig.good(&receive(4, 7, 100), &[]), [0; 4]);
        rig.sense(&copy_cdb(list.len()), &list);
        rig.unit.reset(&rig.nexus);
        while rig.nexus.take_attention().is_some() {}
        assert_eq!(rig.good(&receive(4, 7, 100), &[]), [0; 4], "a reset forgets");
    }

    #[test]
    fn a_medium_that_fails_is_told() {
        let rig = numbered(12);
        *rig.medium.fault.lock().unwrap() = Some(ErrorKind::Other);
        let list = one(0, 1, 1);
        let sense = rig.sense(&copy_cdb(list.len()), &list);
        assert_eq!(sense, Sense::copy_aborted(CopyFault::Failed, 0));
    }

    #[test]
    fn a_reader_cannot_copy_and_other_actions_are_not_there() {
        let rig = numbered(12);
        let reader = quiet(&rig.unit, Access::ReadOnly);
        let list = one(0, 1, 1);
        for action in 0..32 {
            let mut cdb = copy_cdb(list.len());
            cdb[1] = action;
            let done = run(&rig.unit, &reader, &cdb, &list).0;
            assert_eq!(done.sense, Some(Sense::WRITE_PROTECTED));
            if action != 0 {
                assert_eq!(rig.sense(&cdb, &list), Sense::invalid_cdb_bit(1, 4));
            }
        }
        assert_eq!(rig.medium.mutations.load(Relaxed), 0);
        rig.unit.announce(Attention::CapacityChanged, None);
        assert_eq!(rig.sense(&copy_cdb(list.len()), &list).asc, 0x2a);
    }

    /// The medium of the tests moves half blocks, with a pause between them. Without holding both
    /// ends, a copy that takes half of a write, or a reader that sees half of a copy, shows at once.
    #[test]
    fn no_copy_is_torn() {
        let rig = Rig::new(16);
        let (unit, copies) = (&rig.unit, &one(0, 8, 2));
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let nexus = quiet(unit, Access::ReadWrite);
                for round in 0..2000u32 {
                    let data = [round as u8; 2 * BLOCK_SIZE];
                    let done = run(unit, &nexus, &cdb10(0x2a, 0, 0, 2), &data).0;
                    assert_eq!(done.status, Status::Good);
                }
            });
            let copier = scope.spawn(move || {
                let nexus = quiet(unit, Access::ReadWrite);
                while !writer.is_finished() {
                    let done = run(unit, &nexus, &copy_cdb(copies.len()), copies).0;
                    assert_eq!(done.status, Status::Good);
                }
            });
            while !copier.is_finished() {
                let copied = rig.good(&cdb10(0x28, 0, 8, 2), &[]);
                assert!(copied.iter().all(|byte| byte == &copied[0]), "torn");
            }
        });
    }
}
