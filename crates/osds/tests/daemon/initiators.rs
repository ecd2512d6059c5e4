//! Initiators that others wrote, against the running daemon: libiscsi's tools and qemu's block
//! layer, each as a host that was registered and given the volume over REST.
//!
//! They come from the packages libiscsi-bin, qemu-utils and qemu-block-extra. Where those are
//! missing a test says so and passes, unless `OSDS_REQUIRE_PACKAGES` is set (`cargo xtask packages`
//! installs them). The whole conformance suite of libiscsi runs; what does not pass there is in
//! the table of `testkit::conformance` with its reason, and an entry that is no longer true fails
//! as well.

use std::io::Write as _;
use std::process::{Command, Stdio};

use osds_testkit::conformance::{self, Disk, Verdict};

use serde_json::Value;

use crate::scene::{Scene, connection, text};

const A: &str = "iqn.2026-01.example:a";
const A_TOO: &str = "iqn.2026-01.example:a2";
const B: &str = "iqn.2026-01.example:b";
const STRANGER: &str = "iqn.2026-01.example:stranger";
/// What qemu's tools say they are when an `iscsi://` address is all they are given.
const QEMU: &str = "iqn.2008-11.org.linux-kvm";

/// All the tools, or a word about where they come from.
fn tools(names: &[&str]) -> bool {
    let answers = |name: &str| Command::new(name).arg("--help").output();
    let mut missing: Vec<&str> =
        names.iter().copied().filter(|name| answers(name).is_err()).collect();
    let speaks = |help: &[u8]| help.windows(6).any(|word| word == b" iscsi");
    let needs_qemu = names.iter().any(|name| name.starts_with("qemu"));
    if needs_qemu && !answers("qemu-img").is_ok_and(|output| speaks(&output.stdout)) {
        missing.push("qemu's iscsi:// driver");
    }
    if missing.is_empty() {
        return true;
    }
    let words = format!("missing: {}; run cargo xtask packages", missing.join(", "));
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{words}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the capture of the test harness, which hides what a passing test prints.
    writeln!(std::io::stdout(), "SKIPPED: {test}: {words}").expect("stdout is open");
    false
}

/// Runs a tool to its end: did it succeed, and all it said.
fn run(tool: &str, arguments: &[&str]) -> (bool, Vec<u8>) {
    let done = Command::new(tool).args(arguments).stdin(Stdio::null()).output().unwrap();
    (done.status.success(), [done.stdout, done.stderr].concat())
}

/// The same for what is text.
fn say(tool: &str, arguments: &[&str]) -> (bool, String) {
    let (good, said) = run(tool, arguments);
    (good, String::from_utf8_lossy(&said).into_owned())
}

/// A volume that host a has read-write and host b read-only.
struct Shared {
    scene: Scene,
    volume: String,
    portal: String,
    a: Value,
    b: Value,
}

/// The address of an attachment's disk, with what its host proves there.
fn url(attachment: &Value) -> String {
    let (target, portal) = connection(attachment).unwrap();
    let data = &attachment["connectionInfo"]["data"];
    let (name, password) = (text(data, "authUserName"), text(data, "authPassword"));
    format!("iscsi://{name}%{password}@{portal}/{target}/1")
}

/// The address and nothing else.
fn bare_url(attachment: &Value) -> String {
    let (target, portal) = connection(attachment).unwrap();
    format!("iscsi://{portal}/{target}/1")
}

impl Shared {
    fn new() -> Self {
        let scene = Scene::quick();
        let (a, b) = (scene.host("a", &[A, A_TOO]), scene.host("b", &[B, QEMU]));
        let volume = scene.volume("shared", true);
        let a = scene.attach(&volume, &a, "rw");
        let b = scene.attach(&volume, &b, "ro");
        let (_, portal) = connection(&a).unwrap();
        Self { scene, volume, portal: format!("iscsi://{portal}"), a, b }
    }

    /// The attachment that goes with a name; a stranger tries what host b would.
    fn attachment(&self, initiator: &str) -> &Value {
        if [A, A_TOO].contains(&initiator) { &self.a } else { &self.b }
    }

    fn url(&self, initiator: &str) -> String {
        url(self.attachment(initiator))
    }

    /// What qemu calls the disk when it shall use a certain name.
    fn image(&self, initiator: &str) -> String {
        let attachment = self.attachment(initiator);
        let (target, portal) = connection(attachment).unwrap();
        let name = text(&attachment["connectionInfo"]["data"], "authUserName");
        format!(
            "driver=iscsi,transport=tcp,portal={portal},target={target},lun=1,\
             initiator-name={initiator},user={name},password-secret=chap"
        )
    }

    fn qemu(&self, initiator: &str, read_only: bool, commands: &[&str]) -> (bool, String) {
        let image = self.image(initiator);
        let password = text(&self.attachment(initiator)["connectionInfo"]["data"], "authPassword");
        let secret = format!("secret,id=chap,data={password}");
        let mut arguments = vec!["--object", &secret, "--image-opts"];
        arguments.extend(read_only.then_some("-r"));
        arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
        arguments.push(&image);
        say("qemu-io", &arguments)
    }
}

#[test]
fn qemu_writes_as_one_host_and_reads_as_the_other() {
    if !tools(&["qemu-io", "qemu-img"]) {
        return;
    }
    let shared = Shared::new();
    let write = ["write -P 0xab 0 8M", "write -P 0xcd 777k 13k", "write -z 4M 1M", "flush"];
    let (good, said) = shared.qemu(A, false, &write);
    assert!(good && !said.contains("failed"), "{said}");
    let read =
        ["read -P 0xab 0 777k", "read -P 0xcd 777k 13k", "read -P 0 4M 1M", "read -P 0xab 5M 3M"];
    let (good, said) = shared.qemu(B, true, &read);
    assert!(good && !said.contains("failed"), "{said}");
    // A pattern that is not there is noticed: the comparison is real.
    let (_, said) = shared.qemu(B, true, &["read -P 0xee 0 4k"]);
    assert!(said.contains("Pattern verification failed"), "{said}");

    let (good, said) = shared.qemu(B, false, &["write -P 0xee 0 4k"]);
    assert!(!good && said.contains("write protected"), "{said}");
    let (good, said) = shared.qemu(STRANGER, true, &["read 0 4k"]);
    assert!(!good && said.contains("Target not found"), "{said}");
    let (good, said) = shared.qemu(A, false, &read);
    assert!(good && !said.contains("failed"), "{said}");

    // The address alone, as people type it; every block of it against the file behind.
    let file = shared.scene.blocks(&shared.volume);
    let compare = ["compare", "-f", "raw", "-F", "raw", &shared.url(QEMU), file.to_str().unwrap()];
    let (good, said) = say("qemu-img", &compare);
    assert!(good && said.contains("identical"), "{said}");
    let (good, said) = say("qemu-img", &["info", &shared.url(QEMU)]);
    assert!(good && said.contains("1 GiB (1073741824 bytes)"), "{said}");
}

#[test]
fn libiscsi_sees_what_is_granted_and_one_identity_from_everywhere() {
    if !tools(&["iscsi-ls", "iscsi-inq", "iscsi-readcapacity16"]) {
        return;
    }
    let shared = Shared::new();
    let scene = &shared.scene;
    let private = scene.volume("private", false);
    let a = text(&scene.get("host/hosts?hostName=a")[0], "id");
    scene.attach(&private, &a, "rw");
    let seen = |initiator: &str| {
        let (_, said) = say("iscsi-ls", &["-i", initiator, &shared.portal]);
        [&shared.volume, &private].map(|volume| said.contains(volume.as_str()))
    };
    assert_eq!([seen(A), seen(B), seen(STRANGER)], [[true, true], [true, false], [false, false]]);

    // To see the units it has to log in, with what goes with the one target that it may use.
    let url = shared.url(B);
    let portal = url.split('/').take(3).collect::<Vec<_>>().join("/");
    let (_, said) = say("iscsi-ls", &["-s", "-i", B, &portal]);
    assert!(said.contains(&shared.volume) && said.contains("Lun:1"), "{said}");

    let page = |initiator: &str| {
        let arguments = ["-i", initiator, "-e", "1", "-c", "131", &shared.url(initiator)];
        let (good, said) = run("iscsi-inq", &arguments);
        assert!(good, "{}", String::from_utf8_lossy(&said));
        said
    };
    let identity = page(A);
    assert_eq!(page(B), identity);
    let shown = scene.get(&format!("block/volumes/{}", shared.volume));
    let naa = text(&shown["identifier"], "durableName");
    assert_eq!(naa[1..], shared.volume.replace('-', "")[1..]);
    let byte = |at: usize| u8::from_str_radix(&naa[at..at + 2], 16).unwrap();
    // The tool prints the bytes as they are, up to the first that is zero.
    let bytes: Vec<u8> = (0..32).step_by(2).map(byte).take_while(|byte| *byte != 0).collect();
    let bytes = [b"Designator:[", &bytes[..]].concat();
    let is_there = identity.windows(bytes.len()).any(|part| part == bytes);
    assert!(is_there, "{naa} is not in {}", String::from_utf8_lossy(&identity));

    let (good, said) = say("iscsi-inq", &["-i", STRANGER, &shared.url(STRANGER)]);
    assert!(!good && said.contains("Target not found"), "{said}");
    for wrong in [bare_url(&shared.a), shared.url(B)] {
        let (good, said) = say("iscsi-inq", &["-i", A, &wrong]);
        assert!(!good && said.contains("Authentication failure"), "{said}");
    }
    for initiator in [A, B] {
        let (good, said) = say("iscsi-readcapacity16", &["-i", initiator, &shared.url(initiator)]);
        assert!(good && said.contains("Total size:1073741824"), "{said}");
    }
}

/// Fewer passes than this would mean that the tool tests something else than it did.
const AT_LEAST: usize = 191;

#[test]
fn the_conformance_suite_finds_what_is_expected() {
    if !tools(&["iscsi-test-cu"]) {
        return;
    }
    let scene = Scene::quick();
    let host = scene.host("a", &[A, B]);
    let found = conformance::run_all([A, B], |suite, read_only| {
        // Some tests take it for granted that nobody has written yet.
        let volume = scene.volume(suite, false);
        let attachment = scene.attach(&volume, &host, if read_only { "ro" } else { "rw" });
        let id = text(&attachment, "id");
        let detached = Detached { scene: &scene, attachment: id };
        Disk { url: url(&attachment), keep: Box::new(detached) }
    });
    let surprises = found.surprises(&conformance::expectations());
    assert!(surprises.is_empty(), "{surprises:#?}");
    let passed = found.count(Verdict::Passed);
    assert!(passed >= AT_LEAST, "only {passed} of {} tests passed", found.total());
}

/// Detaches when it is dropped.
struct Detached<'a> {
    scene: &'a Scene,
    attachment: String,
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        self.scene.remove(&format!("block/attachments/{}", self.attachment));
    }
}

/// What the suite makes of a unit is decided for each host.
#[test]
fn the_conformance_suite_as_a_read_only_host() {
    if !tools(&["iscsi-test-cu"]) {
        return;
    }
    let shared = Shared::new();
    // It tries every command that writes, and wants each refused as write-protected.
    for suite in ["ReadOnly", "Read10", "Read16", "Inquiry", "ModeSense6", "TestUnitReady"] {
        for (test, verdict) in conformance::run(suite, [B, QEMU], &shared.url(B)).tests() {
            assert_eq!(verdict, Verdict::Passed, "{test}");
        }
    }
    let simple = |initiators: [&str; 2]| {
        let url = shared.url(initiators[0]);
        conformance::run("Write10", initiators, &url).of("Write10.Simple")
    };
    assert_eq!(simple([B, QEMU]), Some(Verdict::Failed), "a read-only host can write");
    assert_eq!(simple([A, A_TOO]), Some(Verdict::Passed));
}
