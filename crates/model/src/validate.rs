//! What names must look like, and how much free text there may be. One function per rule of the
//! original's API, so that a message can name the rule that was broken; the bounds are ours, for
//! records are kept in memory.

/// Whether `name` is one the original accepts for a volume or a snapshot: 1 to 255 of
/// `[A-Za-z0-9 _-]`.
#[must_use]
pub fn volume_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'_' | b'-'))
}

/// Whether `name` is one the original accepts for a profile: 1 to 255 characters, at least one of
/// `[A-Za-z0-9_-]` among them.
#[must_use]
pub fn profile_name(name: &str) -> bool {
    (1..=255).contains(&name.chars().count())
        && name.bytes().any(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Whether `name` is a DNS-like host name of at most 64 characters: labels of letters, digits and
/// inner hyphens (RFC 1123, section 2.1).
#[must_use]
pub fn host_name(name: &str) -> bool {
    name.len() <= 64
        && name.split('.').all(|label| {
            let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = label.as_bytes();
            edge(bytes.first())
                && edge(bytes.last())
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        })
}

/// Most characters of words for people.
pub const MOST_WORDS: usize = 4096;
/// Most pairs of free text on one thing, and most characters of each half.
pub const MOST_PAIRS: (usize, usize, usize) = (256, 255, 4096);

/// What is wrong with words for people, if anything is.
///
/// # Errors
/// In words: they are too long.
pub fn words(what: &str, text: &str) -> Result<(), String> {
    match text.chars().count() {
        0..=MOST_WORDS => Ok(()),
        many => Err(format!("{what} has {many} characters; it may have {MOST_WORDS}")),
    }
}

/// What is wrong with pairs of free text, if anything is: records are kept in memory, and pairs can
/// be added again and again.
///
/// # Errors
/// In words: there are too many, or one is too long.
pub fn pairs<'a>(
    what: &str,
    pairs: impl ExactSizeIterator<Item = (&'a str, usize)>,
) -> Result<(), String> {
    let (most, most_key, most_value) = MOST_PAIRS;
    if pairs.len() > most {
        return Err(format!("{what} has {} pairs; it may have {most}", pairs.len()));
    }
    for (key, value) in pairs {
        let length = key.chars().count();
        if length > most_key {
            return Err(format!("a key of {what} has {length} characters; it may have {most_key}"));
        }
        if value > most_value {
            return Err(format!("{what} {key} has {value} characters; it may have {most_value}"));
        }
    }
    Ok(())
}

/// Whether `ip` is a dotted IPv4 address.
#[must_use]
pub fn ipv4(ip: &str) -> bool {
    ip.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(volume_name("a B_c-9") && !volume_name("a/b") && !volume_name(""));
        assert!(!volume_name(&"x".repeat(256)));
        assert!(profile_name("ö-x") && !profile_name("öö") && !profile_name(""));
        assert!(host_name("node1") && host_name("a-b.c9") && host_name("1"));
        assert!(!host_name("node_4") && !host_name("-a") && !host_name("a..b") && !host_name(""));
        assert!(words("x", &"ö".repeat(MOST_WORDS)).is_ok());
        assert!(words("x", &"ö".repeat(MOST_WORDS + 1)).unwrap_err().contains("4097"));
        let (most, key, value) = MOST_PAIRS;
        let long = "k".repeat(key + 1);
        assert!(pairs("m", vec![("k", value); most].into_iter()).is_ok());
        assert!(pairs("m", vec![("k", 0); most + 1].into_iter()).is_err());
        assert!(pairs("m", vec![("k", value + 1)].into_iter()).is_err());
        assert!(pairs("m", vec![(&*long, 0)].into_iter()).is_err());
        assert!(ipv4("10.0.0.1") && !ipv4("10.0.0") && !ipv4("::1"));
    }
}
