//! The 48-byte basic header segment, with big-endian access by offset.
//!
//! Only the fields that mean the same in every PDU have names here; the rest is named in
//! [`super::request`] and [`super::response`], one struct per PDU. Offsets are those printed in
//! RFC 7143 section 11, so a reader can hold the two side by side.

use std::fmt;

/// Length of the basic header segment.
pub const LEN: usize = 48;

/// The reserved value of a task tag: "no task", "no transfer".
pub const NO_TAG: u32 = 0xffff_ffff;

/// A basic header segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header(pub [u8; LEN]);

impl Header {
    /// A header of zeros with its opcode.
    pub(crate) fn new(opcode: u8, immediate: bool) -> Self {
        let mut bytes = [0; LEN];
        bytes[0] = opcode | if immediate { 0x40 } else { 0 };
        Self(bytes)
    }

    /// The six opcode bits.
    pub fn opcode(&self) -> u8 {
        self.0[0] & 0x3f
    }

    /// The I bit: deliver at once, outside the command order.
    pub fn immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// Bytes of additional header segments that follow.
    pub fn ahs_len(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    /// Bytes of data segment that follow, without padding.
    pub fn data_len(&self) -> usize {
        (usize::from(self.0[5]) << 16) | (usize::from(self.0[6]) << 8) | usize::from(self.0[7])
    }

    /// Sets the length of the data segment (24 bits).
    pub(crate) fn set_data_len(&mut self, len: usize) {
        debug_assert!(len < 1 << 24);
        let [_, a, b, c] = u32::try_from(len).unwrap_or(0xff_ffff).to_be_bytes();
        self.0[5..8].copy_from_slice(&[a, b, c]);
    }

    /// The initiator task tag.
    pub fn itt(&self) -> u32 {
        self.u32(16)
    }

    /// One byte.
    pub(crate) fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    /// Two bytes, big-endian.
    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    /// Four bytes, big-endian.
    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    /// N bytes as they are.
    pub(crate) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    /// Stores bytes at an offset; returns itself so that encoders read as a list of fields.
    pub(crate) fn put<const N: usize>(mut self, at: usize, bytes: [u8; N]) -> Self {
        self.0[at..at + N].copy_from_slice(&bytes);
        self
    }

    /// Stores a big-endian word.
    pub(crate) fn put32(self, at: usize, value: u32) -> Self {
        self.put(at, value.to_be_bytes())
    }

    /// Stores a big-endian half word.
    pub(crate) fn put16(self, at: usize, value: u16) -> Self {
        self.put(at, value.to_be_bytes())
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header(")?;
        for chunk in self.0.chunks(4) {
            for byte in chunk {
                write!(f, "{byte:02x}")?;
            }
            write!(f, " ")?;
        }
        write!(f, ")")
    }
}

/// `value` if the condition holds, else no bits.
pub(crate) fn bit(on: bool, value: u8) -> u8 {
    if on { value } else { 0 }
}
