//! Reading a command descriptor block: numbers, flags and the block extent it addresses.
//!
//! Where the address and the length stand follows from the opcode's group alone (its top three
//! bits), so READ, WRITE, VERIFY and the others share one reading of 6, 10, 12 and 16 byte CDBs.
//! Reading beyond the end of a CDB gives zeros; the dispatcher has checked the length by then.

use super::sense::Sense;
use super::{BLOCK_SIZE, MAX_TRANSFER_BLOCKS};

/// A CDB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cdb<'a>(&'a [u8]);

/// The layout that an opcode's group prescribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Six,
    Ten,
    Twelve,
    Sixteen,
    /// Variable length and vendor specific groups, of which we know no addresses.
    Other,
}

impl<'a> Cdb<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    pub(super) fn opcode(self) -> u8 {
        self.byte(0)
    }

    pub(super) fn byte(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    pub(super) fn bit(self, at: usize, bit: u8) -> bool {
        self.byte(at) >> bit & 1 == 1
    }

    pub(super) fn u16(self, at: usize) -> u16 {
        u16::from(self.byte(at)) << 8 | u16::from(self.byte(at + 1))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }

    /// The service action of an opcode that has them.
    pub(super) fn service_action(self) -> u16 {
        if self.opcode() == 0x7f { self.u16(8) } else { u16::from(self.byte(1) & 0x1f) }
    }

    /// The NACA bit of the CONTROL byte.
    pub(super) fn asks_for_aca(self) -> bool {
        let control = match self.group() {
            Group::Six => 5,
            Group::Ten => 9,
            Group::Twelve => 11,
            Group::Sixteen => 15,
            Group::Other => 1,
        };
        self.bit(control, 2)
    }

    /// Byte 1 where it holds protection, DPO, FUA and the like; a six-byte CDB has none of them.
    pub(super) fn flags(self) -> u8 {
        if self.group() == Group::Six { 0 } else { self.byte(1) }
    }

    /// Force unit access.
    pub(super) fn fua(self) -> bool {
        self.flags() & 0x08 != 0
    }

    /// RDPROTECT, WRPROTECT, VRPROTECT: we keep no protection information.
    pub(super) fn refuse_protection(self) -> Result<(), Sense> {
        if self.flags() & 0xe0 == 0 { Ok(()) } else { Err(Sense::invalid_cdb_bit(1, 7)) }
    }

    /// The addressed blocks, as they stand in the CDB.
    pub(super) fn extent(self) -> Extent {
        match self.group() {
            Group::Six => Extent {
                lba: u64::from(self.u32(0) & 0x1f_ffff),
                // The one place where zero means something else.
                blocks: if self.byte(4) == 0 { 256 } else { u64::from(self.byte(4)) },
            },
            Group::Ten => Extent { lba: u64::from(self.u32(2)), blocks: u64::from(self.u16(7)) },
            Group::Twelve => Extent { lba: u64::from(self.u32(2)), blocks: u64::from(self.u32(6)) },
            Group::Sixteen => Extent { lba: self.u64(2), blocks: u64::from(self.u32(10)) },
            Group::Other => Extent { lba: 0, blocks: 0 },
        }
    }

    /// Where the number of blocks stands.
    pub(super) fn length_field(self) -> u16 {
        match self.group() {
            Group::Six => 4,
            Group::Ten => 7,
            Group::Twelve => 6,
            Group::Sixteen => 10,
            Group::Other => 0,
        }
    }

    /// The addressed blocks, if they exist.
    pub(super) fn extent_within(self, capacity: u64) -> Result<Extent, Sense> {
        let extent = self.extent();
        extent.check(capacity)?;
        Ok(extent)
    }

    /// The addressed blocks, if they exist and are no more than one command may move.
    pub(super) fn transfer_within(self, capacity: u64) -> Result<Extent, Sense> {
        let extent = self.extent_within(capacity)?;
        if extent.blocks > u64::from(MAX_TRANSFER_BLOCKS) {
            return Err(Sense::invalid_cdb(self.length_field()));
        }
        Ok(extent)
    }

    fn group(self) -> Group {
        match self.opcode() >> 5 {
            0 => Group::Six,
            1 | 2 => Group::Ten,
            4 => Group::Sixteen,
            5 => Group::Twelve,
            _ => Group::Other,
        }
    }
}

/// A run of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) lba: u64,
    pub(super) blocks: u64,
}

impl Extent {
    /// Refuses what does not lie within `capacity` blocks.
    pub(super) fn check(self, capacity: u64) -> Result<(), Sense> {
        match self.lba.checked_add(self.blocks) {
            Some(end) if end <= capacity => Ok(()),
            _ => Err(Sense::out_of_range(self.lba.max(capacity))),
        }
    }

    /// Offset in bytes. Meaningful only after [`Extent::check`], like [`Extent::bytes`].
    pub(super) fn offset(self) -> u64 {
        self.lba * BLOCK_SIZE as u64
    }

    /// Length in bytes.
    pub(super) fn bytes(self) -> u64 {
        self.blocks * BLOCK_SIZE as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(cdb: &[u8]) -> (u64, u64) {
        let extent = Cdb::new(cdb).extent();
        (extent.lba, extent.blocks)
    }

    #[test]
    fn every_length_has_its_layout() {
        assert_eq!(extent(&[0x08, 0xff, 2, 3, 4, 0]), (0x1f_0203, 4));
        assert_eq!(extent(&[0x0a, 0, 0, 1, 0, 0]), (1, 256));
        assert_eq!(extent(&[0x28, 0, 1, 2, 3, 4, 9, 5, 6, 0]), (0x0102_0304, 0x0506));
        assert_eq!(extent(&[0xa8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]), (0x0102_0304, 0x0506_0708));
        assert_eq!(
            extent(&[0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0]),
            (0x0102_0304_0506_0708, 0x090a_0b0c)
        );
    }

    #[test]
    fn an_address_of_six_bytes_is_not_mistaken_for_flags() {
        let six = Cdb::new(&[0x0a, 0x1f, 0, 0, 1, 0]);
        assert!(!six.fua() && six.refuse_protection().is_ok());
        let ten = Cdb::new(&[0x2a, 0x28, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert!(ten.fua() && ten.refuse_protection().is_err());
    }

    #[test]
    fn the_end_of_the_medium_is_exact_and_cannot_overflow() {
        let check = |lba, blocks| Extent { lba, blocks }.check(100);
        assert!(check(0, 100).is_ok());
        assert!(check(99, 1).is_ok());
        assert_eq!(check(99, 2), Err(Sense::out_of_range(100)));
        assert_eq!(check(101, 0), Err(Sense::out_of_range(101)));
        assert_eq!(check(u64::MAX, 1), Err(Sense::out_of_range(u64::MAX)));
    }

    #[test]
    fn aca_is_read_from_the_control_byte_of_each_length() {
        for (opcode, control) in [(0x00, 5), (0x28, 9), (0xa8, 11), (0x88, 15)] {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            assert!(!Cdb::new(&cdb).asks_for_aca());
            cdb[control] = 4;
            assert!(Cdb::new(&cdb).asks_for_aca(), "{opcode:#x}");
        }
    }
}
