//! What a limit on commands and bytes a second counts a command as.
//!
//! Only what moves blocks counts: reads, writes, verifications, COMPARE AND WRITE, WRITE SAME, EXTENDED
//! COPY, and a discard as one command without data. INQUIRY, TEST UNIT READY, reservations, flushes and
//! the rest never do: a host that is held back must still be seen alive, and must still be able
//! to fence others. A command that is longer than allowed moves nothing, as it will be refused;
//! and one that is refused for its sender's mode (`Access`) is told so at once.

use super::block::{MAX_COMPARE_AND_WRITE_BLOCKS, compared_extent};
use super::cdb::Cdb;
use super::copy;
use super::nexus::Access;
use super::provisioning::MAX_WRITE_SAME_BLOCKS;
use super::table::{Effect, Found, Toll, find};
use super::{BLOCK_SIZE, MAX_TRANSFER_BLOCKS};

/// How many bytes a command moves that counts; `None` for one that does not.
pub fn toll(cdb: &[u8], data_out: &[u8], access: Access) -> Option<u64> {
    let cdb = Cdb::new(cdb);
    let row = match find(cdb) {
        Found::Row(row) => row,
        Found::OtherAction | Found::Nothing => return None,
    };
    if row.effect == Effect::Writes && access == Access::ReadOnly {
        return None;
    }
    let (blocks, most) = match row.toll {
        Toll::Free => return None,
        Toll::One => (0, 0),
        Toll::Blocks => (cdb.extent().blocks, u64::from(MAX_TRANSFER_BLOCKS)),
        Toll::OldAndNew if row.opcode == 0x89 => {
            (2 * compared_extent(cdb).blocks, 2 * u64::from(MAX_COMPARE_AND_WRITE_BLOCKS))
        }
        Toll::OldAndNew => (2 * cdb.extent().blocks, 2 * u64::from(MAX_TRANSFER_BLOCKS)),
        Toll::Copy => (2 * copy::blocks_of(data_out), u64::MAX),
        Toll::Fill if cdb.bit(1, 3) => (0, 0),
        Toll::Fill => (cdb.extent().blocks, u64::from(MAX_WRITE_SAME_BLOCKS)),
    };
    let moved = if blocks > most { 0 } else { blocks };
    Some(moved * BLOCK_SIZE as u64)
}

/// Whether a command may change the unit's blocks. What only changes who may use them is not meant.
pub fn changes_blocks(cdb: &[u8], access: Access) -> bool {
    let cdb = Cdb::new(cdb);
    match cdb.opcode() {
        // Most of all commands are one of these.
        0x28 | 0x88 => false,
        0x2a | 0x8a => access != Access::ReadOnly,
        _ => match find(cdb) {
            Found::Row(row) => {
                let writes = row.effect == Effect::Writes && access != Access::ReadOnly;
                writes && !matches!(row.toll, Toll::Free)
            }
            Found::OtherAction | Found::Nothing => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::super::testing::{cdb10, cdb12, cdb16};
    use super::*;

    fn of(cdb: &[u8]) -> Option<u64> {
        toll(cdb, &[], Access::ReadWrite)
    }

    #[test]
    fn whatever_moves_blocks_counts_and_by_how_many() {
        assert_eq!(of(&[0x08, 0, 0, 0, 0, 0]), Some(256 * 512));
        assert_eq!(of(&cdb10(0x28, 0, 9, 8)), Some(4096));
        assert_eq!(of(&cdb12(0xaa, 0, 9, 8)), Some(4096));
        assert_eq!(of(&cdb16(0x8e, 0, 9, 8)), Some(4096));
        assert_eq!(of(&cdb10(0x2f, 0, 9, 8)), Some(4096));
        assert_eq!(of(&cdb10(0x28, 0, 9, 0)), Some(0));
        let mut caw = cdb16(0x89, 0, 9, 0);
        caw[13] = 3;
        assert_eq!(of(&caw), Some(2 * 3 * 512), "both halves");
        assert_eq!(of(&cdb16(0x8b, 0, 9, 3)), Some(2 * 3 * 512));
        assert_eq!(of(&cdb16(0x93, 0, 9, 1000)), Some(512_000), "it fills");
        assert_eq!(of(&cdb16(0x93, 0x08, 9, 1000)), Some(0), "it may discard");
        assert_eq!(of(&cdb10(0x42, 0, 0, 24)), Some(0));
    }

    /// Every command that is offered and writes, but for those that only say who may.
    #[test]
    fn whatever_writes_changes_blocks() {
        for row in TABLE.iter().filter(|row| row.handler.is_some()) {
            let mut cdb = [0; 16];
            (cdb[0], cdb[1]) = (row.opcode, row.service_action.unwrap_or(0) as u8);
            let says_who = matches!(row.opcode, 0x16 | 0x17 | 0x5e | 0x5f);
            let expected = row.effect == Effect::Writes && !says_who;
            assert_eq!(changes_blocks(&cdb, Access::ReadWrite), expected, "{}", row.name);
            assert!(!changes_blocks(&cdb, Access::ReadOnly), "{}", row.name);
        }
    }

    #[test]
    fn what_asks_reserves_or_flushes_is_free() {
        for cdb in [
            &[0x00; 6][..],
            &[0x12, 0, 0, 0, 36, 0],
            &cdb10(0x25, 0, 0, 0),
            &cdb10(0x35, 0, 0, 0),
            &cdb16(0x91, 0, 0, 0),
            &cdb10(0x5f, 1, 0, 24),
            &cdb10(0x5e, 0, 0, 24),
            &cdb16(0x9e, 0x12, 0, 24),
            &cdb10(0x34, 0, 0, 8),
            &[0xff; 16],
            &[],
        ] {
            assert_eq!(of(cdb), None, "{cdb:02x?}");
        }
    }

    /// No CDB can make a debt that others would pay off for minutes.
    #[test]
    fn nothing_costs_more_than_the_longest_that_is_carried_out() {
        for row in TABLE {
            let mut cdb = [0xff; 16];
            cdb[0] = row.opcode;
            cdb[1] = row.service_action.unwrap_or(0) as u8;
            assert!(of(&cdb).unwrap_or(0) <= 16 << 20, "{}", row.name);
        }
        assert_eq!(of(&cdb16(0x88, 0, 0, MAX_TRANSFER_BLOCKS + 1)), Some(0));
        assert_eq!(of(&cdb16(0x88, 0, 0, MAX_TRANSFER_BLOCKS)), Some(4 << 20));
    }

    #[test]
    fn every_command_that_changes_the_medium_counts_unless_its_sender_may_not() {
        for row in TABLE.iter().filter(|row| row.handler.is_some()) {
            let mut cdb = [0; 16];
            cdb[0] = row.opcode;
            cdb[1] = row.service_action.unwrap_or(0) as u8;
            let reserves = matches!(row.opcode, 0x16 | 0x5f);
            if row.effect == Effect::Writes {
                assert_eq!(of(&cdb).is_some(), !reserves, "{}", row.name);
                assert_eq!(toll(&cdb, &[], Access::ReadOnly), None, "{}", row.name);
            }
        }
    }
}
