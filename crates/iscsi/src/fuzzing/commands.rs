//! CDBs of all kinds on one unit, from two hosts that may write and one that may only read.
//!
//! Holds for every sequence: the reader changes no byte; a command that fails changes none either and
//! adds nothing to what is sent; there is sense data exactly with CHECK CONDITION; what is sent fits
//! what the medium and the lists can be; a READ sends what the medium holds, whatever was in the
//! buffer before.

use std::sync::atomic::Ordering;

use crate::buffer::Buffer;
use crate::scsi::{
    Access, Attention, BLOCK_SIZE, Command, Completion, Nexus, Status, data_out_length,
    execute_absent, execute_well_known,
};

use super::Input;
use super::medium::{BLOCKS, Medium};

/// Longest data-out handed in.
const LONGEST: usize = 40 << 10;

/// Nothing that is sent is longer: the medium, or a list with every registrant.
const MOST: usize = 128 << 10;

/// What the buffer holds before; nothing may touch it.
const BEFORE: [u8; 5] = [0xa5; 5];

/// Each command begins with a byte that says from whom and with how much data.
pub fn commands(input: &[u8]) {
    let medium = Medium::new();
    let unit = medium.unit();
    let attach = |name, isid| unit.attach(name, [0, 0, 0, 0, 0, isid], Access::ReadWrite);
    let mut nexuses = [
        attach("iqn.x:a", 1),
        attach("iqn.x:b", 1),
        unit.attach("iqn.x:reader", [0; 6], Access::ReadOnly),
    ];
    let mut input = Input(input);
    let mut data_in = Buffer::default();
    while let Some(first) = input.byte() {
        let Some(nexus) = nexuses.get(usize::from(first & 3)) else {
            // Not a command: something happens to the unit.
            match first >> 2 & 7 {
                0 => unit.reset(&nexuses[0]),
                1 => medium.fails.store(true, Ordering::Relaxed),
                2 => nexuses[0] = attach("iqn.x:a", 2),
                3 => nexuses[1] = attach("iqn.x:b", 1),
                4 => unit.announce(Attention::CapacityChanged, None),
                5 => absent(&mut input),
                _ => {}
            }
            continue;
        };
        let cdb: [u8; 16] = input.array();
        let cdb = match first >> 2 & 3 {
            0 | 1 => &cdb[..],
            2 => &cdb[..10],
            _ => &cdb[..6],
        };
        let data = data_out(first >> 4, cdb, &mut input);
        let before = medium.bytes().clone();
        let faulty = medium.fails.load(Ordering::Relaxed);
        data_in.clear();
        data_in.extend_from_slice(&BEFORE);
        let done = unit.execute(nexus, Command { cdb, data_out: &data }, &mut data_in);
        judge(cdb, nexus, done, &data_in, (&before, &medium.bytes()), faulty);
    }
}

fn data_out(how: u8, cdb: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let wanted = data_out_length(cdb).unwrap_or(0).min(LONGEST as u64) as usize;
    match how & 3 {
        0 => Vec::new(),
        1 => {
            let len = input.byte().unwrap_or(0);
            input.bytes(len.into()).to_vec()
        }
        // As much as it asks for: zeros, or the beginning given and the rest a pattern.
        2 => vec![input.byte().unwrap_or(0); wanted],
        _ => {
            let len = input.byte().unwrap_or(0);
            let mut data = input.bytes(len.into()).to_vec();
            data.resize(wanted, len);
            data
        }
    }
}

fn judge(
    cdb: &[u8],
    nexus: &Nexus,
    done: Completion,
    data_in: &[u8],
    (before, after): (&[u8], &[u8]),
    faulty: bool,
) {
    let checked = done.status == Status::CheckCondition;
    assert_eq!(done.sense.is_some(), checked, "{cdb:02x?}: {done:?}");
    if let Some(sense) = done.sense {
        assert!(sense.to_bytes()[0] & 0x7e == 0x70 && !sense.to_descriptor_bytes().is_empty());
    }
    let (kept, sent) = data_in.split_at(BEFORE.len());
    assert_eq!(kept, BEFORE, "{cdb:02x?} wrote over what was in the buffer");
    assert!(sent.len() <= MOST, "{cdb:02x?} sends {} bytes", sent.len());
    let good = done.status == Status::Good;
    if !good {
        assert!(sent.is_empty(), "{cdb:02x?} failed and sends {} bytes", sent.len());
    }
    if nexus.access() == Access::ReadOnly || !(good || faulty) {
        assert!(before == after, "{cdb:02x?} changed the medium: {:?} {done:?}", nexus.access());
    }
    if let (true, Some((lba, blocks))) = (good, read_extent(cdb)) {
        let from = lba * BLOCK_SIZE;
        assert!(sent == &after[from..from + blocks * BLOCK_SIZE], "{cdb:02x?} read something else");
    }
}

/// What a READ of any length reads, from its CDB alone.
fn read_extent(cdb: &[u8]) -> Option<(usize, usize)> {
    let number = |range: std::ops::Range<usize>| {
        cdb.get(range)?
            .iter()
            .try_fold(0_usize, |sum, byte| sum.checked_mul(256).map(|sum| sum + usize::from(*byte)))
    };
    match cdb.first()? {
        0x08 => {
            let blocks = number(4..5)?;
            Some((number(1..4)? & 0x1f_ffff, if blocks == 0 { 256 } else { blocks }))
        }
        0x28 => Some((number(2..6)?, number(7..9)?)),
        0xa8 => Some((number(2..6)?, number(6..10)?)),
        0x88 => Some((number(2..10)?, number(10..14)?)),
        _ => None,
    }
}

/// Units that are not there, and the one that is always there.
fn absent(input: &mut Input<'_>) {
    let cdb: [u8; 16] = input.array();
    let inventory = [1, 0x4001];
    for before in [&[][..], &BEFORE] {
        let data_in = &mut Buffer::default();
        data_in.extend_from_slice(before);
        let len = data_in.len();
        let done = execute_well_known(&cdb, &inventory, data_in);
        assert!(done.status == Status::Good || data_in.len() == len);
        data_in.truncate(len);
        let done = execute_absent(&cdb, data_in);
        assert!(done.status == Status::Good || data_in.len() == len);
    }
}

const _: () = assert!(BLOCKS * BLOCK_SIZE <= LONGEST);
