//! The two halves of a URL that this API cares about: path segments and query pairs.
//!
//! The original's clients encode blanks and little else, so reading is lenient: a `%` that does
//! not start an escape stands for itself, and bytes that are not UTF-8 become U+FFFD.

use std::borrow::Cow;
use std::fmt::Write;

/// The pairs of a query string, decoded, in order.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key, true), decode(value, true))
    })
}

/// A path segment, decoded.
#[must_use]
pub fn segment(text: &str) -> Cow<'_, str> {
    decode(text, false)
}

fn decode(text: &str, plus_is_blank: bool) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || (plus_is_blank && b == b'+')) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| Some(hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?))
            .flatten();
        match (byte, escaped) {
            (_, Some(decoded)) => {
                out.push(decoded);
                at += 3;
            }
            (b'+', None) if plus_is_blank => {
                out.push(b' ');
                at += 1;
            }
            (_, None) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `text` with everything escaped that has a meaning of its own in a path segment or a query
/// (RFC 3986, section 2.3 leaves the rest alone); `:` stays, as in `capabilities:multiAttach`.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes all");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_clients_send() {
        let pairs: Vec<_> = query_pairs("Name=a%20b+c&&x&y=1=2&z=100%&w=%zz%41").collect();
        let expected = [("Name", "a b c"), ("x", ""), ("y", "1=2"), ("z", "100%"), ("w", "%zzA")];
        assert_eq!(pairs, expected.map(|(k, v)| (k.into(), v.into())));
        assert_eq!(segment("capabilities:multi+Attach%20x"), "capabilities:multi+Attach x");
        assert_eq!(segment("%ff"), "\u{fffd}");
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for text in ["a b/c?d&e=f+g%h", "\u{e4}\u{20ac}", "capabilities:x.y", ""] {
            assert_eq!(segment(&encode(text)), text);
            assert_eq!(query_pairs(&format!("k={}", encode(text))).next().unwrap().1, text);
        }
    }
}
