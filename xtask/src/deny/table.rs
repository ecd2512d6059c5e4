//! What we may build on: licences, bans and sources, each with its reason.
//!
//! We ship binaries under Apache-2.0. A licence belongs here if it lets us do that while giving
//! credit; weak copyleft per file (MPL) does, as long as we change no file of theirs.

/// All licences we can ship under: the SPDX name (with its exception), and why it is fine.
pub const LICENCES: &[(&str, &str)] = &[
    ("Apache-2.0", "our own"),
    ("Apache-2.0 WITH LLVM-exception", "ours, with fewer duties"),
    ("MIT", "credit only"),
    ("MIT-0", "no duties"),
    ("0BSD", "no duties"),
    ("BSD-2-Clause", "credit only"),
    ("BSD-3-Clause", "credit only, no use of their name"),
    ("ISC", "credit only"),
    ("Zlib", "credit only"),
    ("BSL-1.0", "credit in source form only"),
    ("CC0-1.0", "public domain"),
    (
        "CDLA-Permissive-2.0",
        "data; pass the text along (Mozilla's list of authorities, webpki-roots)",
    ),
    ("Unlicense", "public domain"),
    ("Unicode-3.0", "credit only; tables of Unicode"),
    ("MPL-2.0", "copyleft per file, and we change none (imbl)"),
];

/// Where crates come from: the registry, by either of its two protocols.
pub const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// A crate we do not build on.
pub struct Ban {
    /// Its name.
    pub name: &'static str,
    /// How far the ban reaches.
    pub scope: Scope,
    /// Why.
    pub why: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

/// How far a ban reaches.
pub enum Scope {
    /// The whole graph.
    Anywhere,
    /// Our own manifests; what others use is their business.
    Direct,
}

const fn everywhere(name: &'static str, why: &'static str, instead: &'static str) -> Ban {
    Ban { name, scope: Scope::Anywhere, why, instead }
}

const fn ours(name: &'static str, why: &'static str, instead: &'static str) -> Ban {
    Ban { name, scope: Scope::Direct, why, instead }
}

/// All bans.
pub const BANS: &[Ban] = &[
    everywhere("openssl", "a C library to build and to patch", "rustls, behind a feature"),
    everywhere("openssl-sys", "a C library to build and to patch", "rustls, behind a feature"),
    everywhere("native-tls", "means openssl on Linux", "rustls, behind a feature"),
    everywhere("failure", "deprecated; errors without a kind", "thiserror"),
    everywhere("serde_yaml", "no longer maintained", "serde-saphyr"),
    everywhere("serde_yml", "archived after reports of unsoundness", "serde-saphyr"),
    everywhere("async-std", "discontinued, and a second runtime", "tokio"),
    everywhere("atty", "no longer maintained", "std::io::IsTerminal"),
    everywhere("dotenv", "no longer maintained", "osds.toml"),
    ours("lazy_static", "the standard library has it", "std::sync::LazyLock"),
    ours("once_cell", "the standard library has it", "std::sync::OnceLock or LazyLock"),
    ours("chrono", "we have one crate for dates", "jiff"),
    ours("time", "we have one crate for dates", "jiff"),
    ours("log", "we have one way to log, with fields", "tracing"),
    ours("structopt", "absorbed by clap", "clap with its derive feature"),
    ours("reqwest", "an async client and its tower for a few blocking calls", "ureq"),
    ours("parking_lot", "the locks of the standard library are good enough", "std::sync"),
];
