//! Initiators that others wrote, against this target: libiscsi's tools and qemu's block layer.
//!
//! Our own initiator shares its PDU types with the target, so an error both agree on would go
//! unseen; these do not share a line. They come from the packages libiscsi-bin, qemu-utils and
//! qemu-block-extra. Where they are missing the tests say so and pass, unless
//! `OSDS_REQUIRE_PACKAGES` is set (`cargo xtask packages` installs them). libiscsi's conformance
//! suite runs from testkit/tests, where it shares its table with the daemon's test.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use osds_iscsi::scsi::{Access, FileBackend, Identity, LogicalUnit};
use osds_iscsi::{Authentication, Credentials, Limits, Secret, Target};

const IQN: &str = "iqn.2026-01.org.example:disk";
const ALICE: &str = "iqn.x:alice";
const BOB: &str = "iqn.x:bob";

/// A target with one disk that the given initiators may use.
struct Served {
    target: Target,
    _directory: tempfile::TempDir,
}

impl Served {
    fn new(grants: &[(&str, Access)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(64 << 20).unwrap();
        let identity = Identity {
            naa: *b"\x60\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
            serial: "0001020304050607".into(),
            vendor: "EXAMPLE".into(),
            product: "FILE".into(),
            revision: "1".into(),
        };
        let unit = LogicalUnit::new(Box::new(FileBackend::new(file)), identity).unwrap();
        let target = Target::start(&["127.0.0.1:0".parse().unwrap()], Limits::default()).unwrap();
        target.export(IQN, Arc::new(unit)).unwrap();
        for (initiator, access) in grants {
            target.grant(IQN, initiator, *access, None).unwrap();
        }
        Self { target, _directory: directory }
    }

    fn portal(&self) -> String {
        format!("iscsi://{}", self.target.portals()[0])
    }

    fn url(&self) -> String {
        format!("{}/{IQN}/1", self.portal())
    }

    /// What qemu calls the disk.
    fn image(&self, initiator: &str, more: &str) -> String {
        let portal = self.target.portals()[0];
        format!(
            "driver=iscsi,transport=tcp,portal={portal},target={IQN},lun=1,\
             initiator-name={initiator}{more}"
        )
    }
}

/// All the tools, or a word about where they come from.
fn tools(names: &[&str]) -> bool {
    let there = |name: &&str| {
        let mut probe = Command::new(name);
        probe.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let Some(missing) = names.iter().find(|name| !there(name)) else { return true };
    let words = format!(
        "{missing} is not installed: apt-get install libiscsi-bin qemu-utils qemu-block-extra"
    );
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{words}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the capture of the test harness, which hides what a passing test prints.
    writeln!(std::io::stdout(), "SKIPPED: {test}: {words}").expect("stdout is open");
    false
}

/// Runs a tool to its end: did it succeed, and all it said.
fn run(tool: &str, arguments: &[&str]) -> (bool, String) {
    let done = Command::new(tool).args(arguments).stdin(Stdio::null()).output().unwrap();
    let mut said = String::from_utf8_lossy(&done.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&done.stderr));
    (done.status.success(), said)
}

#[test]
fn libiscsi_discovers_and_reads_the_facts() {
    if !tools(&["iscsi-ls", "iscsi-inq", "iscsi-readcapacity16"]) {
        return;
    }
    let served = Served::new(&[(ALICE, Access::ReadWrite), (BOB, Access::ReadOnly)]);
    let (good, said) = run("iscsi-ls", &["-s", "-i", ALICE, &served.portal()]);
    assert!(good && said.contains(IQN) && said.contains("Lun:1"), "{said}");
    let (_, said) = run("iscsi-ls", &["-i", "iqn.x:evil", &served.portal()]);
    assert!(!said.contains(IQN), "{said}");
    let (good, said) = run("iscsi-inq", &["-i", BOB, &served.url()]);
    assert!(good && said.contains("Vendor:EXAMPLE"), "{said}");
    let (good, said) = run("iscsi-inq", &["-i", "iqn.x:evil", &served.url()]);
    assert!(!good && said.contains("Target not found"), "{said}");
    let (good, said) = run("iscsi-readcapacity16", &["-i", BOB, &served.url()]);
    assert!(good && said.contains("Total size:67108864"), "{said}");
}

#[test]
fn libiscsi_proves_itself_one_way_and_both_ways() {
    if !tools(&["iscsi-inq", "iscsi-ls", "qemu-io"]) {
        return;
    }
    let served = Served::new(&[]);
    let credentials = |name: &str, secret: &str| Credentials {
        name: name.into(),
        secret: Secret::new(secret).unwrap(),
    };
    let alice = Authentication {
        initiator: credentials("alice", "alices-secret"),
        target: Some(credentials("disk", "the-disks-secret")),
    };
    let bob = Authentication { initiator: credentials("bob", "bobs-secret-1"), target: None };
    served.target.grant(IQN, ALICE, Access::ReadWrite, Some(alice)).unwrap();
    served.target.grant(IQN, BOB, Access::ReadOnly, Some(bob)).unwrap();
    let url = |who: &str, more: &str| {
        format!("iscsi://{who}{}/{IQN}/1{more}", served.target.portals()[0])
    };
    let mutual = "?target_user=disk&target_password=the-disks-secret";
    for (initiator, url, outcome) in [
        (ALICE, url("alice%alices-secret@", ""), Ok(())),
        (ALICE, url("alice%alices-secret@", mutual), Ok(())),
        (BOB, url("bob%bobs-secret-1@", ""), Ok(())),
        (BOB, url("bob%bobs-secret-1@", mutual), Err("")),
        (
            ALICE,
            url("alice%alices-secret@", "?target_user=disk&target_password=something-else"),
            Err(""),
        ),
        (ALICE, url("alice%another-secret@", ""), Err("Authentication failure")),
        (ALICE, url("bob%bobs-secret-1@", ""), Err("Authentication failure")),
        (BOB, url("alice%alices-secret@", ""), Err("Authentication failure")),
        (ALICE, url("", ""), Err("Authentication failure")),
        ("iqn.x:evil", url("alice%alices-secret@", ""), Err("Target not found")),
    ] {
        let (good, said) = run("iscsi-inq", &["-i", initiator, &url]);
        match outcome {
            Ok(()) => assert!(good && said.contains("Vendor:EXAMPLE"), "{url}: {said}"),
            Err(words) => assert!(!good && said.contains(words), "{url}: {said}"),
        }
    }
    let image = |password: &str| {
        let more = ",user=alice,password-secret=s0";
        let secret = format!("secret,id=s0,data={password}");
        let image = served.image(ALICE, more);
        let read = [
            "--object",
            &secret,
            "--image-opts",
            "-c",
            "write -P 7 0 64k",
            "-c",
            "read -P 7 0 64k",
        ];
        run("qemu-io", &[&read[..], &[&image]].concat())
    };
    let (good, said) = image("alices-secret");
    assert!(good && !said.contains("failed"), "{said}");
    let (good, said) = image("another-secret");
    assert!(!good, "{said}");
}

#[test]
fn qemu_writes_as_one_host_and_reads_as_the_other() {
    if !tools(&["qemu-io"]) {
        return;
    }
    let served = Served::new(&[(ALICE, Access::ReadWrite), (BOB, Access::ReadOnly)]);
    for digest in ["", ",header-digest=crc32c"] {
        let alice = served.image(ALICE, digest);
        let commands = [
            "write -P 0xab 0 16M",
            "read -P 0xab 0 16M",
            "flush",
            "discard 0 1M",
            "read -P 0 0 1M",
            "write -z 1M 1M",
            "read -P 0 1M 1M",
            "write -P 0xcd 777k 13k",
            "read -P 0xcd 777k 13k",
        ];
        let mut arguments = vec!["--image-opts"];
        arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
        arguments.push(&alice);
        let (good, said) = run("qemu-io", &arguments);
        assert!(good && !said.contains("failed"), "{said}");
    }
    let bob = served.image(BOB, "");
    let read = ["-r", "--image-opts", "-c", "read -P 0xcd 777k 13k", "-c", "read -P 0xab 2M 14M"];
    let (good, said) = run("qemu-io", &[&read[..], &[&bob]].concat());
    assert!(good && !said.contains("failed"), "{said}");
    let (good, said) = run("qemu-io", &["--image-opts", "-c", "write 0 4k", &bob]);
    assert!(!good && said.contains("write protected"), "{said}");
    let evil = served.image("iqn.x:evil", "");
    let (good, said) = run("qemu-io", &["-r", "--image-opts", "-c", "read 0 4k", &evil]);
    assert!(!good && said.contains("Target not found"), "{said}");
}
