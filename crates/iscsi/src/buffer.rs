//! Bytes that are appended and thrown away, over and over.
//!
//! A `Vec` that has been cleared must fill fresh bytes with zeros before they may be read into, at
//! the price of a second pass over every large read. A [`Buffer`] keeps the bytes behind its end
//! initialised, so room in it costs nothing once it has grown: what [`Buffer::room`] returns holds
//! whatever was there before. So a buffer belongs to one session, and whoever asks for room fills all of
//! it or takes it back.

use std::ops::Deref;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Buffer {
    /// All initialised bytes; only the first `len` count.
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    /// Appends room for `more` bytes, which hold anything, and returns it.
    pub fn room(&mut self, more: usize) -> &mut [u8] {
        let (start, end) = (self.len, self.len + more);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.len = end;
        &mut self.bytes[start..end]
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let known = bytes.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + known].copy_from_slice(&bytes[..known]);
        self.bytes.extend_from_slice(&bytes[known..]);
        self.len += bytes.len();
    }

    /// Takes back everything behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Takes everything back.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The memory it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for exactly so many more bytes at once.
    pub fn reserve_exact(&mut self, more: usize) {
        self.bytes.reserve_exact((self.len + more).saturating_sub(self.bytes.len()));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_vector_would() {
        let mut buffer = Buffer::default();
        let mut vector = vec![];
        for round in 0..50_u8 {
            let more = vec![round; usize::from(round) * 37 % 101];
            buffer.extend_from_slice(&more);
            vector.extend_from_slice(&more);
            buffer.room(3).copy_from_slice(&[round, 1, 2]);
            vector.extend_from_slice(&[round, 1, 2]);
            assert_eq!(*buffer, *vector);
            if round % 7 == 0 {
                buffer.truncate(40);
                vector.truncate(40);
            }
            if round % 11 == 0 {
                buffer.clear();
                vector.clear();
            }
            assert_eq!(*buffer, *vector);
        }
    }

    #[test]
    fn room_that_was_there_is_not_cleared() {
        let mut buffer = Buffer::default();
        buffer.extend_from_slice(&[7; 4]);
        buffer.clear();
        assert_eq!(buffer.room(6), [7, 7, 7, 7, 0, 0]);
    }
}
