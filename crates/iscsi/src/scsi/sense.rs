//! Statuses and sense data: how a command says what went wrong.
//!
//! [`Sense`] is a small value; it becomes bytes only at the edge, in fixed format (the control
//! mode page says `D_SENSE` = 0) or in descriptor format where REQUEST SENSE asks for it. The
//! constructors carry the code pairs, so that no other file spells an ASC in hexadecimal.

use std::io;

/// The status byte of a finished command (SAM-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It was done.
    Good = 0x00,
    /// It was not; the sense data says why.
    CheckCondition = 0x02,
    /// PRE-FETCH: all the asked blocks fit in the cache.
    ConditionMet = 0x04,
    /// Try again later.
    Busy = 0x08,
    /// Another initiator holds a reservation that forbids it.
    ReservationConflict = 0x18,
    /// Too many commands are outstanding.
    TaskSetFull = 0x28,
    /// Another initiator aborted it.
    TaskAborted = 0x40,
}

/// The coarse class of an error (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// The unit cannot be reached now.
    NotReady = 0x2,
    /// The medium failed.
    MediumError = 0x3,
    /// The device failed.
    HardwareError = 0x4,
    /// The command is wrong.
    IllegalRequest = 0x5,
    /// Something changed since the last command of this nexus.
    UnitAttention = 0x6,
    /// Writing is not allowed.
    DataProtect = 0x7,
    /// A copy ended before its time.
    CopyAborted = 0xa,
    /// The device gave the command up.
    AbortedCommand = 0xb,
    /// The medium holds something else than was sent.
    Miscompare = 0xe,
}

/// Why a segment of a copy was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFault {
    /// Blocks that do not exist; no code of its own goes with COPY ABORTED.
    OutOfRange,
    /// It names a party that the list does not describe, or the null device.
    Unreachable,
    /// The medium failed.
    Failed,
    /// It names another unit than this one.
    NotThisUnit,
    /// It takes this unit for another kind of device.
    NoDisk,
}

/// Which field an ILLEGAL REQUEST complains about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldPointer {
    /// True: a byte of the CDB. False: a byte of the parameter data.
    pub in_cdb: bool,
    /// Offset of the byte.
    pub byte: u16,
    /// The most significant bit of the field, where the field is smaller than a byte.
    pub bit: Option<u8>,
}

/// Sense data of one ended command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// The INFORMATION field: an LBA, or for a miscompare the offset of the first wrong byte.
    pub information: Option<u64>,
    /// The COMMAND-SPECIFIC INFORMATION field: of an EXTENDED COPY the number of the segment.
    pub command_specific: Option<u32>,
    /// The field at fault.
    pub field: Option<FieldPointer>,
}

impl Sense {
    /// NO SENSE: what REQUEST SENSE says when nothing is pending.
    pub const NONE: Self = Self::new(SenseKey::NoSense, 0x00, 0x00);
    /// INVALID COMMAND OPERATION CODE.
    pub const INVALID_OPCODE: Self = Self::new(SenseKey::IllegalRequest, 0x20, 0x00);
    /// LOGICAL UNIT NOT SUPPORTED.
    pub const NO_SUCH_UNIT: Self = Self::new(SenseKey::IllegalRequest, 0x25, 0x00);
    /// PARAMETER LIST LENGTH ERROR.
    pub const PARAMETER_LIST_LENGTH: Self = Self::new(SenseKey::IllegalRequest, 0x1a, 0x00);
    /// SAVING PARAMETERS NOT SUPPORTED.
    pub const SAVING_NOT_SUPPORTED: Self = Self::new(SenseKey::IllegalRequest, 0x39, 0x00);
    /// INVALID FIELD IN COMMAND INFORMATION UNIT: the data-out has not the length that the
    /// CDB asks for.
    pub const DATA_OUT_LENGTH: Self = Self::new(SenseKey::IllegalRequest, 0x0e, 0x03);
    /// INVALID RELEASE OF PERSISTENT RESERVATION.
    pub const INVALID_RELEASE: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x04);
    /// INSUFFICIENT REGISTRATION RESOURCES.
    pub const NO_REGISTRATION_RESOURCES: Self = Self::new(SenseKey::IllegalRequest, 0x55, 0x04);
    /// INTERNAL TARGET FAILURE.
    pub const TARGET_FAILURE: Self = Self::new(SenseKey::HardwareError, 0x44, 0x00);
    /// OPERATION IN PROGRESS.
    pub const OPERATION_IN_PROGRESS: Self = Self::new(SenseKey::IllegalRequest, 0x00, 0x16);
    /// TOO MANY TARGET DESCRIPTORS (of a copy).
    pub const TOO_MANY_COPY_PARTIES: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x06);
    /// UNSUPPORTED TARGET DESCRIPTOR TYPE CODE (of a copy).
    pub const UNKNOWN_COPY_PARTY: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x07);
    /// TOO MANY SEGMENT DESCRIPTORS (of a copy).
    pub const TOO_MANY_SEGMENTS: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x08);
    /// UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE (of a copy).
    pub const UNKNOWN_SEGMENT: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x09);
    /// INLINE DATA LENGTH EXCEEDED (of a copy).
    pub const INLINE_DATA: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x0b);
    /// The command was given up, for no reason that its initiator would want to know.
    pub const ABORTED: Self = Self::new(SenseKey::AbortedCommand, 0x00, 0x00);
    /// WRITE PROTECTED.
    pub const WRITE_PROTECTED: Self = Self::new(SenseKey::DataProtect, 0x27, 0x00);
    /// SPACE ALLOCATION FAILED WRITE PROTECT.
    pub const NO_SPACE: Self = Self::new(SenseKey::DataProtect, 0x27, 0x07);

    /// Sense data of a key and a code pair.
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq, information: None, command_specific: None, field: None }
    }

    /// LOGICAL BLOCK ADDRESS OUT OF RANGE; the first address that does not exist goes along.
    pub const fn out_of_range(lba: u64) -> Self {
        Self { information: Some(lba), ..Self::new(SenseKey::IllegalRequest, 0x21, 0x00) }
    }

    /// INVALID FIELD IN CDB, at a byte.
    pub const fn invalid_cdb(byte: u16) -> Self {
        Self::invalid(0x24, FieldPointer { in_cdb: true, byte, bit: None })
    }

    /// INVALID FIELD IN CDB, at a bit of a byte.
    pub const fn invalid_cdb_bit(byte: u16, bit: u8) -> Self {
        Self::invalid(0x24, FieldPointer { in_cdb: true, byte, bit: Some(bit) })
    }

    /// INVALID FIELD IN PARAMETER LIST, at a byte.
    pub const fn invalid_parameter(byte: u16) -> Self {
        Self::invalid(0x26, FieldPointer { in_cdb: false, byte, bit: None })
    }

    /// INVALID FIELD IN PARAMETER LIST, at a bit of a byte.
    pub const fn invalid_parameter_bit(byte: u16, bit: u8) -> Self {
        Self::invalid(0x26, FieldPointer { in_cdb: false, byte, bit: Some(bit) })
    }

    /// UNRECOVERED READ ERROR at a block.
    pub const fn read_error(lba: u64) -> Self {
        Self { information: Some(lba), ..Self::new(SenseKey::MediumError, 0x11, 0x00) }
    }

    /// WRITE ERROR at a block.
    pub const fn write_error(lba: u64) -> Self {
        Self { information: Some(lba), ..Self::new(SenseKey::MediumError, 0x0c, 0x00) }
    }

    /// What a failed write, discard or flush means: no space and no permission have codes of
    /// their own, everything else is a write error.
    pub fn failed_write(error: &io::Error, lba: u64) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NO_SPACE,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::WRITE_PROTECTED
            }
            _ => Self::write_error(lba),
        }
    }

    /// MISCOMPARE DURING VERIFY OPERATION, `offset` bytes into the compared data.
    pub const fn miscompare(offset: u64) -> Self {
        Self { information: Some(offset), ..Self::new(SenseKey::Miscompare, 0x1d, 0x00) }
    }

    /// COPY ABORTED while segment number `segment` was carried out.
    pub const fn copy_aborted(why: CopyFault, segment: u16) -> Self {
        let (asc, ascq) = match why {
            CopyFault::OutOfRange => (0x00, 0x00),
            CopyFault::Unreachable => (0x08, 0x04),
            CopyFault::Failed => (0x0d, 0x01),
            CopyFault::NotThisUnit => (0x0d, 0x02),
            CopyFault::NoDisk => (0x0d, 0x03),
        };
        let command_specific = Some(segment as u32);
        Self { command_specific, ..Self::new(SenseKey::CopyAborted, asc, ascq) }
    }

    const fn invalid(asc: u8, field: FieldPointer) -> Self {
        Self { field: Some(field), ..Self::new(SenseKey::IllegalRequest, asc, 0x00) }
    }

    /// Fixed format (response code 70h), 18 bytes. An information value that needs more than 32
    /// bits does not fit that format and is left out.
    pub fn to_bytes(&self) -> [u8; 18] {
        let mut out = [0; 18];
        out[0] = 0x70;
        out[2] = self.key as u8;
        if let Some(low) = self.information.and_then(|value| u32::try_from(value).ok()) {
            out[0] |= 0x80;
            out[3..7].copy_from_slice(&low.to_be_bytes());
        }
        out[7] = 10;
        if let Some(value) = self.command_specific {
            out[8..12].copy_from_slice(&value.to_be_bytes());
        }
        out[12] = self.asc;
        out[13] = self.ascq;
        if let Some(field) = self.field {
            out[15..18].copy_from_slice(&field.to_bytes());
        }
        out
    }

    /// Descriptor format (response code 72h), with an information and a field pointer descriptor
    /// where there is something to say.
    pub fn to_descriptor_bytes(&self) -> Vec<u8> {
        let mut out = vec![0x72, self.key as u8, self.asc, self.ascq, 0, 0, 0, 0];
        if let Some(value) = self.information {
            out.extend_from_slice(&[0x00, 0x0a, 0x80, 0]);
            out.extend_from_slice(&value.to_be_bytes());
        }
        if let Some(value) = self.command_specific {
            out.extend_from_slice(&[0x01, 0x0a, 0, 0]);
            out.extend_from_slice(&u64::from(value).to_be_bytes());
        }
        if let Some(field) = self.field {
            let [a, b, c] = field.to_bytes();
            out.extend_from_slice(&[0x02, 0x06, 0, 0, a, b, c, 0]);
        }
        out[7] = (out.len() - 8) as u8;
        out
    }
}

impl FieldPointer {
    /// The three sense-key-specific bytes, SKSV set.
    fn to_bytes(self) -> [u8; 3] {
        let [high, low] = self.byte.to_be_bytes();
        let bit = self.bit.map_or(0, |bit| 0x08 | (bit & 0x07));
        [0x80 | (u8::from(self.in_cdb) << 6) | bit, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_points_at_the_field() {
        let bytes = Sense::invalid_cdb_bit(1, 3).to_bytes();
        assert_eq!((bytes[0], bytes[2], bytes[7]), (0x70, 0x05, 10));
        assert_eq!((bytes[12], bytes[13]), (0x24, 0x00));
        assert_eq!(bytes[15..18], [0x80 | 0x40 | 0x08 | 3, 0, 1]);
        assert_eq!(Sense::invalid_parameter(0x0102).to_bytes()[15..18], [0x80, 1, 2]);
    }

    #[test]
    fn fixed_format_carries_only_information_that_fits() {
        let bytes = Sense::read_error(0x1234_5678).to_bytes();
        assert_eq!((bytes[0], &bytes[3..7]), (0xf0, &[0x12, 0x34, 0x56, 0x78][..]));
        let bytes = Sense::read_error(1 << 32).to_bytes();
        assert_eq!((bytes[0], &bytes[3..7]), (0x70, &[0; 4][..]));
    }

    #[test]
    fn descriptor_format_carries_everything() {
        let bytes = Sense::read_error(1 << 32).to_descriptor_bytes();
        assert_eq!(bytes[..8], [0x72, 3, 0x11, 0, 0, 0, 0, 12]);
        assert_eq!(bytes[8..12], [0, 0x0a, 0x80, 0]);
        assert_eq!(bytes[12..], (1u64 << 32).to_be_bytes());
        assert_eq!(Sense::invalid_cdb(7).to_descriptor_bytes()[8..], [2, 6, 0, 0, 0xc0, 0, 7, 0]);
        let bytes = Sense::copy_aborted(CopyFault::Unreachable, 3).to_descriptor_bytes();
        assert_eq!(bytes[..8], [0x72, 0x0a, 8, 4, 0, 0, 0, 12]);
        assert_eq!(bytes[8..], [1, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(Sense::copy_aborted(CopyFault::OutOfRange, 3).to_bytes()[8..12], [0, 0, 0, 3]);
    }
}
