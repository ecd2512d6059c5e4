//! Bytes as a stream of PDUs: cut, decoded, and joined again.
//!
//! Holds for every stream: nothing beyond the declared length is waited for or handed out; a PDU
//! that lacks its last byte is asked for and nothing else; what decodes is encoded so that it decodes
//! to the same; and one flipped bit in a PDU with digests is never taken for the PDU.

use crate::pdu::frame::{self, Frame, Parsed};
use crate::pdu::{Digests, Request, Response, header, text};

use super::Input;

/// The first byte says which digests and how long a segment may be; the rest is the stream.
pub fn pdu(input: &[u8]) {
    let mut input = Input(input);
    let Some(choice) = input.byte() else { return };
    let digests = Digests { header: choice & 1 != 0, data: choice & 2 != 0 };
    let most = 64 << (choice >> 2 & 7);
    let mut stream = input.0;
    while let Some(len) = one(stream, most, digests) {
        stream = &stream[len..];
    }
}

/// The first PDU of a stream; how long it was.
fn one(stream: &[u8], most: usize, digests: Digests) -> Option<usize> {
    let largest = header::LEN + 4 * 255 + most.next_multiple_of(4);
    let frame = match frame::next(stream, Digests::default(), most) {
        Ok(Parsed::Whole(frame)) => frame,
        Ok(Parsed::Needs(need)) => {
            assert!(need > stream.len() && need <= largest, "needs {need} of {largest}");
            return None;
        }
        Err(_) => return None,
    };
    assert!(frame.len <= stream.len() && frame.len <= largest && frame.data.len() <= most);
    let short = frame::next(&stream[..frame.len - 1], Digests::default(), most);
    assert!(matches!(short, Ok(Parsed::Needs(need)) if need == frame.len || need == header::LEN));
    decode(&frame);
    if digests.header || digests.data {
        sealed(&frame, most, digests);
    }
    Some(frame.len)
}

fn decode(frame: &Frame<'_>) {
    if let Ok(request) = Request::decode(&frame.header) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    if let Ok(response) = Response::decode(&frame.header) {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
    if let Ok(pairs) = text::parse(frame.data) {
        let mut again = Vec::new();
        pairs.iter().for_each(|(key, value)| text::push(&mut again, key, value));
        assert_eq!(text::parse(&again), Ok(pairs));
    }
}

/// The same PDU with digests is read back; with one bit flipped it is not.
fn sealed(frame: &Frame<'_>, most: usize, digests: Digests) {
    const ADDITIONAL_LENGTH: usize = 4;
    let mut plain = frame.header;
    plain.0[ADDITIONAL_LENGTH] = 0;
    let mut wire = Vec::new();
    frame::append(&mut wire, plain, frame.data, digests);
    match frame::next(&wire, digests, most) {
        Ok(Parsed::Whole(read)) => {
            assert_eq!((read.header, read.data, read.len), (plain, frame.data, wire.len()));
        }
        other => panic!("{other:?}"),
    }
    let protected = if digests.header { 0..header::LEN } else { header::LEN..wire.len() };
    let Some(bits) = Some(protected.len() * 8).filter(|bits| *bits > 0) else { return };
    let bit = usize::from(plain.0[16]) << 8 | usize::from(plain.0[17]);
    let at = protected.start + bit % bits / 8;
    wire[at] ^= 1 << (bit % 8);
    let read = frame::next(&wire, digests, most);
    assert!(!matches!(read, Ok(Parsed::Whole(_))), "a flipped bit in byte {at} is not seen");
}
