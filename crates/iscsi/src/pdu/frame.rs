//! Cuts a byte stream into PDUs, and joins PDUs into a byte stream.
//!
//! [`next`] looks at the bytes received so far and either borrows one whole PDU from them, says
//! how many bytes that PDU will need, or refuses the stream. The length check comes before
//! anything is waited for or stored, so a peer cannot make us hold more than the negotiated data
//! segment. After an error the stream has no trustworthy next boundary: the caller must close it.

use super::header::{Header, LEN};

/// Which digests a connection carries, once it is in the full feature phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// CRC32C after the header segments.
    pub header: bool,
    /// CRC32C after the data segment.
    pub data: bool,
}

/// One PDU, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The basic header segment.
    pub header: Header,
    /// Additional header segments, undecoded.
    pub ahs: &'a [u8],
    /// The data segment without padding.
    pub data: &'a [u8],
    /// Bytes of the stream this PDU occupied.
    pub len: usize,
}

/// What [`next`] found.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// A whole PDU is here.
    Whole(Frame<'a>),
    /// So many bytes (counted from the start of this PDU) are needed before it can be told more.
    Needs(usize),
}

/// The stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced data segment is longer than this end declared it would take.
    #[error("a data segment of {len} bytes was announced, {max} are allowed")]
    TooLong {
        /// The announced length.
        len: usize,
        /// The declared limit.
        max: usize,
    },
    /// The header digest does not match: the length fields cannot be trusted.
    #[error("the header digest does not match")]
    HeaderDigest,
    /// The data digest does not match; the header is good.
    #[error("the data digest does not match")]
    DataDigest(Header),
}

/// Finds the first PDU in `bytes`.
pub fn next(bytes: &[u8], digests: Digests, max_data: usize) -> Result<Parsed<'_>, FrameError> {
    let Some(first) = bytes.first_chunk::<LEN>() else { return Ok(Parsed::Needs(LEN)) };
    let header = Header(*first);
    let data_len = header.data_len();
    if data_len > max_data {
        return Err(FrameError::TooLong { len: data_len, max: max_data });
    }
    let ahs_end = LEN + header.ahs_len();
    let data_start = ahs_end + if digests.header { 4 } else { 0 };
    let padded_end = data_start + data_len.next_multiple_of(4);
    let end = padded_end + if digests.data && data_len > 0 { 4 } else { 0 };
    if digests.header && bytes.len() >= data_start {
        // Checked before the rest is awaited: a damaged length must not be waited for.
        let sent = &bytes[ahs_end..data_start];
        if sent != crc32c::crc32c(&bytes[..ahs_end]).to_le_bytes() {
            return Err(FrameError::HeaderDigest);
        }
    }
    if bytes.len() < end {
        return Ok(Parsed::Needs(end));
    }
    if end > padded_end {
        let sent = &bytes[padded_end..end];
        if sent != crc32c::crc32c(&bytes[data_start..padded_end]).to_le_bytes() {
            return Err(FrameError::DataDigest(header));
        }
    }
    Ok(Parsed::Whole(Frame {
        header,
        ahs: &bytes[LEN..ahs_end],
        data: &bytes[data_start..data_start + data_len],
        len: end,
    }))
}

/// A header as it goes on the wire before a data segment of `data_len` bytes: with its digest, if
/// there are any, and how many of the bytes count.
pub fn head(mut header: Header, data_len: usize, digests: Digests) -> ([u8; LEN + 4], usize) {
    header.set_data_len(data_len);
    let mut out = [0; LEN + 4];
    out[..LEN].copy_from_slice(&header.0);
    if !digests.header {
        return (out, LEN);
    }
    out[LEN..].copy_from_slice(&crc32c::crc32c(&header.0).to_le_bytes());
    (out, LEN + 4)
}

/// Appends a header whose data segment of `data_len` bytes will follow, and then its [`trailer`].
pub fn open(out: &mut Vec<u8>, header: Header, data_len: usize, digests: Digests) {
    let (bytes, len) = head(header, data_len, digests);
    out.extend_from_slice(&bytes[..len]);
}

/// What must follow a data segment on the wire: padding, then its digest.
pub fn trailer(data: &[u8], digests: Digests) -> ([u8; 7], usize) {
    let mut out = [0; 7];
    let mut len = data.len().next_multiple_of(4) - data.len();
    if digests.data && !data.is_empty() {
        let sum = crc32c::crc32c_append(crc32c::crc32c(data), &out[..len]);
        out[len..len + 4].copy_from_slice(&sum.to_le_bytes());
        len += 4;
    }
    (out, len)
}

/// Appends one whole PDU.
pub fn append(out: &mut Vec<u8>, header: Header, data: &[u8], digests: Digests) {
    open(out, header, data.len(), digests);
    out.extend_from_slice(data);
    let (rest, len) = trailer(data, digests);
    out.extend_from_slice(&rest[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Digests; 4] = [
        Digests { header: false, data: false },
        Digests { header: true, data: false },
        Digests { header: false, data: true },
        Digests { header: true, data: true },
    ];

    proptest! {
        #[test]
        fn what_is_appended_is_read_back(data in proptest::collection::vec(any::<u8>(), 0..70)) {
            for digests in ALL {
                let header = Header::new(0x05, true).put32(16, 7);
                let mut wire = Vec::new();
                append(&mut wire, header, &data, digests);
                for cut in 0..wire.len() {
                    let partial = next(&wire[..cut], digests, 100);
                    let Ok(Parsed::Needs(n)) = partial else { panic!("{partial:?}") };
                    prop_assert!(n > cut && n <= wire.len());
                }
                let Ok(Parsed::Whole(frame)) = next(&wire, digests, 100) else { panic!("whole") };
                prop_assert_eq!(frame.data, &data[..]);
                prop_assert_eq!(frame.len, wire.len());
                prop_assert_eq!(frame.header.itt(), 7);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for digests in ALL {
                let _ = next(&bytes, digests, 256);
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_by_each_digest() {
        let mut wire = Vec::new();
        append(&mut wire, Header::new(1, false), b"abcde", ALL[3]);
        for at in 0..wire.len() {
            // A damaged length byte may ask for more instead; every other byte must be caught.
            if (4..8).contains(&at) {
                continue;
            }
            let mut bad = wire.clone();
            bad[at] ^= 1;
            assert!(next(&bad, ALL[3], 64).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_digest_is_the_published_check_value() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_over_long_segment_is_refused_before_it_is_awaited() {
        let mut header = Header::new(5, false);
        header.set_data_len(101);
        assert_eq!(
            next(&header.0, Digests::default(), 100).err(),
            Some(FrameError::TooLong { len: 101, max: 100 })
        );
    }
}
