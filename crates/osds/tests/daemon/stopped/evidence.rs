//! Stamps in every block, and what they prove.
//!
//! A block carries, over and over, who wrote it, in which round, by which of its commands, and where.
//! So a block that changes when it must not says whose it is and when it was sent; a torn or misplaced
//! block says so too. A block never written is all zeros.

use std::fmt;

pub const BLOCK: usize = 512;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The one that is stopped and put out.
    First = 1,
    /// The one that has the volume beside it, or after it.
    Second = 2,
}

/// What one block says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub writer: Writer,
    pub round: u32,
    pub command: u32,
    pub block: u32,
}

const MARK: u16 = 0xb10c;
const BYTES: usize = 16;

impl Stamp {
    fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&MARK.to_le_bytes());
        bytes[2] = self.writer as u8;
        bytes[4..8].copy_from_slice(&self.round.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.command.to_le_bytes());
        bytes[12..].copy_from_slice(&self.block.to_le_bytes());
        bytes
    }

    /// Reads a block; `None` where it was never written.
    pub fn read(block: &[u8]) -> Result<Option<Self>, String> {
        let Some(first) = block.first_chunk::<BYTES>() else { return Err("no block".into()) };
        if block.chunks_exact(BYTES).any(|piece| piece != first) {
            return Err("it is torn: its parts are of different writes".into());
        }
        if *first == [0; BYTES] {
            return Ok(None);
        }
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| first[at + n]));
        let stamp = |writer| Self { writer, round: word(4), command: word(8), block: word(12) };
        [Writer::First, Writer::Second]
            .map(stamp)
            .into_iter()
            .find(|stamp| stamp.bytes() == *first)
            .map(Some)
            .ok_or_else(|| format!("nobody's stamp: {first:02x?}"))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer, round, command, .. } = self;
        write!(f, "command {command} of the {writer:?} in round {round}")
    }
}

/// The data of one write: each of its blocks stamped.
pub fn stamped(writer: Writer, round: u32, command: u32, lba: u32, blocks: u32) -> Vec<u8> {
    let stamps = (lba..lba + blocks).map(|block| Stamp { writer, round, command, block });
    stamps.flat_map(|stamp| stamp.bytes().repeat(BLOCK / BYTES)).collect()
}

fn told(block: &[u8]) -> String {
    match Stamp::read(block) {
        Ok(Some(stamp)) => stamp.to_string(),
        Ok(None) => "nothing".into(),
        Err(why) => why,
    }
}

/// Every block is whole, where it belongs, and as it was before the round or written in it by the
/// first. How many are new.
pub fn at_confirmation(before: &[u8], now: &[u8], round: u32) -> Result<usize, String> {
    let mut new = 0;
    for (at, (old, block)) in before.chunks(BLOCK).zip(now.chunks(BLOCK)).enumerate() {
        if old == block {
            continue;
        }
        match Stamp::read(block) {
            Ok(Some(Stamp { writer: Writer::First, round: of, block: place, .. }))
                if of == round && place as usize == at =>
            {
                new += 1;
            }
            _ => {
                return Err(format!("block {at} was {} and is {}", told(old), told(block)));
            }
        }
    }
    Ok(new)
}

/// Every block is still as it was: no write has landed.
pub fn afterwards(expected: &[u8], now: &[u8]) -> Result<(), String> {
    let pairs = expected.chunks(BLOCK).zip(now.chunks(BLOCK)).enumerate();
    let late: Vec<_> = pairs.filter(|(_, (then, now))| then != now).collect();
    match late.first() {
        None => Ok(()),
        Some((at, (then, now))) => Err(format!(
            "{} blocks changed after the detach was confirmed, the first is block {at}: it was {} \
             and is {}",
            late.len(),
            told(then),
            told(now)
        )),
    }
}

#[test]
fn each_way_to_break_the_promise_is_seen_in_the_blocks() {
    let of = |round, command| stamped(Writer::First, round, command, 0, 4);
    let before = [of(1, 7), vec![0; 2 * BLOCK]].concat();
    assert_eq!(Stamp::read(&before[BLOCK..2 * BLOCK]).unwrap().unwrap().command, 7);
    let mut now = before.clone();
    now[..2 * BLOCK].copy_from_slice(&of(2, 3)[..2 * BLOCK]);
    assert_eq!(at_confirmation(&before, &now, 2), Ok(2));
    assert_eq!(afterwards(&now, &now), Ok(()));

    let spoil = |with: &[u8], at: usize| {
        let mut spoilt = now.clone();
        spoilt[at..at + with.len()].copy_from_slice(with);
        spoilt
    };
    let late = spoil(&of(2, 4)[..BLOCK], 0);
    let words = afterwards(&now, &late).unwrap_err();
    assert!(words.contains("1 blocks") && words.contains("command 4 of the First in round 2"));
    let cases = [
        (spoil(&of(3, 1)[..BLOCK], 0), "round 3"),
        (spoil(&of(2, 9)[..BLOCK / 2], 0), "torn"),
        (spoil(&stamped(Writer::Second, 2, 1, 0, 1), 0), "Second"),
        (spoil(&of(2, 9)[..BLOCK], 3 * BLOCK), "block 3"),
        (spoil(&[0xee; BLOCK], 0), "nobody"),
    ];
    for (spoilt, words) in cases {
        let seen = at_confirmation(&before, &spoilt, 2).unwrap_err();
        assert!(seen.contains(words), "{seen}");
    }
}
