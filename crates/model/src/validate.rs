//! What names must look like. One function per rule of the original's API, so that a message can
//! name the rule that was broken.

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
        assert!(ipv4("10.0.0.1") && !ipv4("10.0.0") && !ipv4("::1"));
    }
}
