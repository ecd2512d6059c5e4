//! `cargo xtask packages`: the Debian packages, and programs from PyPI and the Go module proxy, that
//! some tests need.
//!
//! Our own initiator cannot testify for our own target, so some tests drive it with libiscsi's
//! tools and with qemu. Where we may install packages we do; where we may not we say how. A test
//! that misses them prints `SKIPPED: <test>: <why>` and passes, unless [`REQUIRE`] is set: then
//! it must fail. So a machine that could run it never skips it in silence.

mod go;
mod python;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Set by `ci` when the packages are there: from then on a skipped test is a failed test.
pub const REQUIRE: &str = "OSDS_REQUIRE_PACKAGES";

/// The packages: iscsi-ls and its kin; qemu-img and qemu-io; qemu's iscsi:// driver; what makes
/// Keystone's environment; etcd; what makes and runs the guests of the lab.
const PACKAGES: [&str; 10] = [
    "libiscsi-bin",
    "qemu-utils",
    "qemu-block-extra",
    "python3-venv",
    "etcd-server",
    "qemu-system-x86",
    "erofs-utils",
    "kmod",
    "xz-utils",
    "cpio",
];

/// Programs that prove the packages are there, whoever packed them.
const PROGRAMS: [&str; 6] =
    ["iscsi-ls", "iscsi-inq", "iscsi-test-cu", "qemu-img", "qemu-io", "etcd"];

/// The same for the lab (`cargo xtask lab`).
pub const LAB_PROGRAMS: [&str; 6] =
    ["qemu-system-x86_64", "mkfs.erofs", "depmod", "modprobe", "xz", "cpio"];

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is there.
    Present,
    /// Something is missing and could not be installed.
    Missing(String),
}

/// Installs what is missing, and fails if that did not work.
pub fn run() -> Result<()> {
    match ensure() {
        Outcome::Present => {
            println!("packages: all there ({})", PACKAGES.join(" "));
            Ok(())
        }
        Outcome::Missing(what) => bail!("{what}\n{}", how()),
    }
}

/// What to type where we may not install.
pub fn how() -> String {
    format!(
        "install them with: sudo apt-get install --no-install-recommends {}",
        PACKAGES.join(" ")
    )
}

/// Makes sure the packages are there, if that is in our power.
pub fn ensure() -> Outcome {
    match ensure_debian() {
        Outcome::Present => match python::ensure() {
            Outcome::Present => go::ensure(),
            missing @ Outcome::Missing(_) => missing,
        },
        missing @ Outcome::Missing(_) => missing,
    }
}

fn ensure_debian() -> Outcome {
    if missing().is_empty() {
        return Outcome::Present;
    }
    let Some(prefix) = become_root() else {
        return Outcome::Missing(format!(
            "missing: {}; not root, and no sudo",
            missing().join(" ")
        ));
    };
    if !on_path("apt-get") {
        return Outcome::Missing(format!("missing: {}; no apt-get here", missing().join(" ")));
    }
    // A network that does not answer must not hold up the tests that do not need it.
    let patience = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"];
    let install = ["install", "--yes", "--no-install-recommends"];
    let updated = apt_get(prefix, &[&patience[..], &["update"]].concat());
    let installed =
        updated && apt_get(prefix, &[&patience[..], &install[..], &PACKAGES[..]].concat());
    match missing() {
        still if still.is_empty() => Outcome::Present,
        still if installed => {
            Outcome::Missing(format!("installed, yet missing: {}", still.join(" ")))
        }
        still => Outcome::Missing(format!("missing: {}; apt-get failed", still.join(" "))),
    }
}

/// Programs and modules that are not there.
fn missing() -> Vec<String> {
    let missing = [&PROGRAMS[..], &LAB_PROGRAMS].concat();
    let mut missing: Vec<String> =
        missing.iter().filter(|name| !on_path(name)).map(|name| (*name).into()).collect();
    if !python::can_be_made() {
        missing.push("python's venv with pip".into());
    }
    if !qemu_speaks_iscsi() {
        missing.push("qemu's iscsi:// driver".into());
    }
    missing
}

/// The driver is a module in a folder named after the machine, or is built in; qemu-img knows.
fn qemu_speaks_iscsi() -> bool {
    let output = Command::new("qemu-img").arg("--help").output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let formats = text.lines().find(|line| line.starts_with("Supported formats:"));
        formats.is_some_and(|line| line.split_whitespace().any(|word| word == "iscsi"))
    })
}

/// Also where root's programs are, which are not on the path of everybody.
pub fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).any(|folder| folder.join(program).is_file())
}

/// What to put before a command so that root runs it; nothing if we are root already.
fn become_root() -> Option<&'static [&'static str]> {
    if is_root() {
        return Some(&[]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stderr(Stdio::null()).status();
    sudo.is_ok_and(|status| status.success()).then_some(&["sudo", "-n"])
}

/// The effective user, as the kernel tells it.
fn is_root() -> bool {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

fn apt_get(prefix: &[&str], arguments: &[&str]) -> bool {
    let words =
        [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"], arguments].concat();
    println!("$ {}", words.join(" "));
    let status = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_on_the_path() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
    }

    #[test]
    fn how_names_every_package() {
        assert!(PACKAGES.iter().all(|package| how().contains(package)));
    }
}
