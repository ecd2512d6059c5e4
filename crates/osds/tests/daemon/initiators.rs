//! Initiators that others wrote, against the running daemon: libiscsi's tools and qemu's block
//! layer, each as a host that was registered and given the volume over REST.
//!
//! They come from the packages libiscsi-bin, qemu-utils and qemu-block-extra. Where those are
//! missing a test says so and passes, unless `OSDS_REQUIRE_PACKAGES` is set (`cargo xtask packages`
//! installs them). The whole conformance suite of libiscsi runs; what does not pass there is in
//! [`EXPECTED`] with its reason, and an entry that is no longer true fails as well.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;

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
    url: String,
}

impl Shared {
    fn new() -> Self {
        let scene = Scene::quick();
        let (a, b) = (scene.host("a", &[A, A_TOO]), scene.host("b", &[B, QEMU]));
        let volume = scene.volume("shared", true);
        let attachment = scene.attach(&volume, &a, "rw");
        scene.attach(&volume, &b, "ro");
        let (target, portal) = connection(&attachment).unwrap();
        let url = format!("iscsi://{portal}/{target}/1");
        Self { scene, volume, portal: format!("iscsi://{portal}"), url }
    }

    /// What qemu calls the disk when it shall use a certain name.
    fn image(&self, initiator: &str) -> String {
        let mut parts = self.url.split('/').skip(2);
        let (portal, target) = (parts.next().unwrap(), parts.next().unwrap());
        format!(
            "driver=iscsi,transport=tcp,portal={portal},target={target},lun=1,\
             initiator-name={initiator}"
        )
    }

    fn qemu(&self, initiator: &str, read_only: bool, commands: &[&str]) -> (bool, String) {
        let image = self.image(initiator);
        let mut arguments = vec!["--image-opts"];
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
    let compare = ["compare", "-f", "raw", "-F", "raw", &shared.url, file.to_str().unwrap()];
    let (good, said) = say("qemu-img", &compare);
    assert!(good && said.contains("identical"), "{said}");
    let (good, said) = say("qemu-img", &["info", &shared.url]);
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
        let (_, said) = say("iscsi-ls", &["-s", "-i", initiator, &shared.portal]);
        [&shared.volume, &private].map(|volume| {
            let mut lines = said.lines().skip_while(|line| !line.contains(volume.as_str()));
            // The line of a target is followed by one for each unit that it lets in to.
            lines.next().is_some() && lines.next().is_some_and(|line| line.contains("Lun:1"))
        })
    };
    assert_eq!([seen(A), seen(B), seen(STRANGER)], [[true, true], [true, false], [false, false]]);

    let page = |initiator: &str| {
        let arguments = ["-i", initiator, "-e", "1", "-c", "131", &shared.url];
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

    let (good, said) = say("iscsi-inq", &["-i", STRANGER, &shared.url]);
    assert!(!good && said.contains("Target not found"), "{said}");
    for initiator in [A, B] {
        let (good, said) = say("iscsi-readcapacity16", &["-i", initiator, &shared.url]);
        assert!(good && said.contains("Total size:1073741824"), "{said}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Skipped,
    Failed,
}

use Verdict::{Failed, Skipped};

/// What does not pass, by the beginning of the test's name, and why that is right.
const EXPECTED: &[(&str, Verdict, &str)] = &[
    ("ExtendedCopy.", Skipped, "EXTENDED COPY is optional and not offered"),
    ("ReceiveCopyResults.", Skipped, "goes with EXTENDED COPY"),
    ("PreventAllow.", Skipped, "the medium is not removable"),
    ("StartStopUnit.Simple", Skipped, "the medium is not removable"),
    ("Reserve6.TargetColdReset", Skipped, "TARGET COLD RESET is not offered"),
    ("ReadOnly.", Skipped, "this unit is writable; the suite runs as a read-only host below"),
    ("Sanitize.", Skipped, "optional and not offered"),
    ("WriteAtomic16.", Skipped, "SBC-4; optional and not offered"),
    ("WriteSame1", Skipped, ZERO_BLOCKS),
    ("GetLBAStatus.UnmapSingle", Failed, UNMAP_SINGLE),
    ("iSCSIResiduals.Write", Failed, SHORT_WRITES),
];

/// Of the suites for WRITE SAME only this is skipped: see [`EXPECTED_WITHIN`].
const ZERO_BLOCKS: &str = "no blocks would mean all to the end of the unit; the Block Limits page \
                           (WSNZ, and a maximum length) says that this is refused: SBC-3, WRITE SAME";

/// Read in the test's source, test_get_lba_status_unmap_single.c: with 8 blocks in a physical one
/// it asks for block i + 1 and wants the answer to begin at block i + 8.
const UNMAP_SINGLE: &str = "SBC-3, GET LBA STATUS: the first descriptor begins with the block that \
                            was asked for; the test wants another";

/// Read in the tests' source: every assertion that fails (three GOODs and the first block of the
/// last) is about a WRITE whose expected data transfer length is less than its CDB asks for.
const SHORT_WRITES: &str = "too little data for a WRITE: nothing is written and the command ends \
                            with INVALID FIELD IN COMMAND INFORMATION UNIT, as Linux does; RFC 7143, \
                            11.4.5, wants the residual told, which it is, and no GOOD status";

/// Tests whose suite's entry is about them alone.
const EXPECTED_WITHIN: &[(&str, &str)] =
    &[("WriteSame1", ".ZeroBlocks"), ("iSCSIResiduals.Write", "Residuals")];

/// Fewer passes than this would mean that the tool tests something else than it did.
const AT_LEAST: usize = 150;

fn expected(test: &str) -> Option<usize> {
    EXPECTED.iter().position(|(name, ..)| {
        let end = EXPECTED_WITHIN.iter().find(|(within, _)| within == name).map_or("", |e| e.1);
        test.starts_with(name) && test.ends_with(end)
    })
}

/// Reads what the tool said. Text between a test's name and its verdict is the test's; what comes
/// after that is of the cleaning up. It calls what it skipped passed.
fn verdicts(said: &str) -> BTreeMap<String, Verdict> {
    let mut found = BTreeMap::new();
    let (mut suite, mut test) = (String::new(), None);
    let mut skipped = false;
    for line in said.lines().map(str::trim) {
        let mut rest = line;
        if let Some(name) = line.strip_prefix("Suite: ") {
            name.clone_into(&mut suite);
        } else if let Some((name, tail)) =
            line.strip_prefix("Test: ").and_then(|line| line.split_once(" ..."))
        {
            (test, skipped, rest) = (Some(format!("{suite}.{name}")), false, tail);
        }
        let (own, passed) = match rest.split_once("passed") {
            Some((own, _)) => (own, true),
            None => (rest, false),
        };
        skipped |= own.contains("[SKIPPED]");
        let verdict = match (passed, rest.ends_with("FAILED")) {
            (true, _) if skipped => Skipped,
            (true, _) => Verdict::Passed,
            (false, true) => Failed,
            (false, false) => continue,
        };
        found.extend(test.take().map(|test| (test, verdict)));
    }
    found
}

/// One suite in a process of its own: some tests leave their mark on those after them. What the
/// tool said is shown when this test fails.
fn conformance(suite: &str, initiators: [&str; 2], url: &str) -> BTreeMap<String, Verdict> {
    let which = format!("ALL.{suite}");
    let [first, second] = initiators;
    let arguments = ["-i", first, "-I", second, "-d", "-v", "-t", &which, url, url];
    let (_, said) = say("iscsi-test-cu", &arguments);
    let found = verdicts(&said);
    println!("{said}");
    assert!(!found.is_empty(), "no verdict of {suite}");
    found
}

#[test]
fn the_conformance_suite_finds_what_is_expected() {
    if !tools(&["iscsi-test-cu"]) {
        return;
    }
    let scene = Scene::quick();
    let host = scene.host("a", &[A, B]);
    let (_, list) = say("iscsi-test-cu", &["--list"]);
    let mut suites: Vec<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ALL."))
        .filter(|name| !name.contains('.'))
        .collect();
    // This one waits for silence by the clock: first, so that it is not waited for at the end.
    suites.sort_by_key(|suite| *suite != "iSCSIcmdsn");
    let (suites, results) = (Mutex::new(suites.into_iter()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(suite) = suites.lock().unwrap().next() else { return };
                    // Some tests take it for granted that nobody has written yet.
                    let volume = scene.volume(suite, false);
                    let attachment = scene.attach(&volume, &host, "rw");
                    let (target, portal) = connection(&attachment).unwrap();
                    let url = format!("iscsi://{portal}/{target}/1");
                    let found = conformance(suite, [A, B], &url);
                    results.lock().unwrap().extend(found);
                    scene.remove(&format!("block/attachments/{}", text(&attachment, "id")));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let mut surprises = Vec::new();
    let mut seen = [false; EXPECTED.len()];
    for (test, verdict) in &results {
        match expected(test) {
            Some(at) if EXPECTED[at].1 == *verdict => seen[at] = true,
            Some(at) => {
                let why = EXPECTED[at].2;
                surprises.push(format!("{test} {verdict:?}, though \"{why}\": mend EXPECTED"));
            }
            None if *verdict == Verdict::Passed => {}
            None => surprises.push(format!("{test} {verdict:?}")),
        }
    }
    for (entry, _) in EXPECTED.iter().zip(seen).filter(|(_, seen)| !seen) {
        surprises.push(format!("no test is {:?} as {}", entry.1, entry.0));
    }
    let passed = results.values().filter(|verdict| **verdict == Verdict::Passed).count();
    println!("{passed} of {} tests passed", results.len());
    assert!(surprises.is_empty(), "{surprises:#?}");
    assert!(passed >= AT_LEAST, "only {passed} of {} tests passed", results.len());
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
        for (test, verdict) in conformance(suite, [B, QEMU], &shared.url) {
            assert_eq!(verdict, Verdict::Passed, "{test}");
        }
    }
    let refused = conformance("Write10", [B, QEMU], &shared.url);
    assert_eq!(refused["Write10.Simple"], Failed, "a read-only host can write");
    let accepted = conformance("Write10", [A, A_TOO], &shared.url);
    assert_eq!(accepted["Write10.Simple"], Verdict::Passed);
}

#[test]
fn skipped_is_not_passed_and_cleaning_up_is_not_the_test() {
    let said = "Suite: A\n  Test: One ...passed    [SKIPPED] later\n    [SKIPPED] later\n\
                \n  Test: Two ...    [SKIPPED] not there\npassed\n  Test: Three ...    words\nFAILED\n";
    let found = verdicts(said);
    let as_said = [("A.One", Verdict::Passed), ("A.Three", Failed), ("A.Two", Skipped)];
    assert!(found.iter().map(|(name, verdict)| (name.as_str(), *verdict)).eq(as_said));
    assert_eq!(expected("WriteSame10.ZeroBlocks").map(|at| EXPECTED[at].1), Some(Skipped));
    assert_eq!(expected("WriteSame10.Simple"), None);
}
