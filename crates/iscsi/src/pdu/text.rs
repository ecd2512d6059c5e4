//! The `key=value` lists in the data segments of login and text PDUs.
//!
//! Pairs end with a NUL. A list may be cut anywhere between PDUs when the C bit is set, so the
//! pieces are joined first ([`Joined`], with a limit) and parsed only when whole.

/// One negotiation as received: pairs in order.
pub type Pairs = Vec<(String, String)>;

/// Longest key name the standard allows.
const MAX_KEY: usize = 63;

/// Longest value taken from a peer; no key of ours needs more (names end at 223 bytes).
const MAX_VALUE: usize = 8192;

/// The list is not a sequence of `key=value` pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A pair has no `=`, no key, or bytes outside the allowed set.
    #[error("not a key=value pair")]
    NotAPair,
    /// The same key twice in one list.
    #[error("a key occurs twice")]
    Twice,
    /// More text than this end will hold.
    #[error("too much text")]
    TooLong,
}

/// Parses a whole list.
pub fn parse(bytes: &[u8]) -> Result<Pairs, TextError> {
    let mut pairs = Pairs::new();
    for piece in bytes.split(|byte| *byte == 0).filter(|piece| !piece.is_empty()) {
        let text = std::str::from_utf8(piece).map_err(|_| TextError::NotAPair)?;
        let (key, value) = text.split_once('=').ok_or(TextError::NotAPair)?;
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(is_key_byte) {
            return Err(TextError::NotAPair);
        }
        if value.len() > MAX_VALUE {
            return Err(TextError::TooLong);
        }
        if pairs.iter().any(|(seen, _)| seen == key) {
            return Err(TextError::Twice);
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'@' | b'_' | b'#')
}

/// Appends one pair.
pub fn push(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value.as_bytes());
    out.push(0);
}

/// The pieces of a list that came in several PDUs.
#[derive(Debug, Default)]
pub struct Joined {
    bytes: Vec<u8>,
}

impl Joined {
    /// Adds a piece, unless the whole would exceed `limit`.
    pub fn add(&mut self, piece: &[u8], limit: usize) -> Result<(), TextError> {
        if self.bytes.len() + piece.len() > limit {
            return Err(TextError::TooLong);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Parses what was collected and starts anew.
    pub fn take(&mut self) -> Result<Pairs, TextError> {
        let pairs = parse(&self.bytes);
        self.bytes.clear();
        pairs
    }

    /// Nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_list_cut_anywhere_means_the_same(cut in 0usize..45) {
            let mut whole = Vec::new();
            push(&mut whole, "InitiatorName", "iqn.x:a");
            push(&mut whole, "SessionType", "Discovery");
            let cut = cut.min(whole.len());
            let mut joined = Joined::default();
            joined.add(&whole[..cut], 100).unwrap();
            joined.add(&whole[cut..], 100).unwrap();
            prop_assert_eq!(joined.take().unwrap(), parse(&whole).unwrap());
        }
    }

    #[test]
    fn bad_lists_are_refused() {
        assert_eq!(parse(b"novalue\0"), Err(TextError::NotAPair));
        assert_eq!(parse(b"=x\0"), Err(TextError::NotAPair));
        assert_eq!(parse(b"A=1\0A=2\0"), Err(TextError::Twice));
        assert_eq!(parse(b"a b=1\0"), Err(TextError::NotAPair));
        assert_eq!(Joined::default().add(&[b'a'; 11], 10), Err(TextError::TooLong));
        assert_eq!(parse(b"A=x=y\0B=\0").unwrap().len(), 2);
    }
}
