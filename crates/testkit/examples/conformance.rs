//! Prints the page of the book that puts our target beside tgt: `cargo xtask conformance`.
//!
//! Both are given the same suite of libiscsi, from the same tool, in one run, each suite a fresh
//! file of the same size; the suite that wants to be refused gets a read-only disk of both. Nothing
//! is written by hand but the words of `expected.tsv`, so the page says what was found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use osds_iscsi::scsi::Access;
use osds_testkit::conformance::{self, Disk, Results, Verdict, expectations};
use osds_testkit::served::{SIZE, Served};

type Failure = Box<dyn std::error::Error>;

const INITIATORS: [&str; 2] = [
    "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test",
    "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test-2",
];

fn main() -> ExitCode {
    match page() {
        Ok(page) => {
            // What the tool says goes to standard output as well, so the page is marked.
            println!("=== page\n{page}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn page() -> Result<String, Failure> {
    if !conformance::is_installed() {
        return Err("iscsi-test-cu is missing: cargo xtask packages".into());
    }
    let tgt = Tgt::start()?;
    eprintln!("the suite against ours");
    let ours = conformance::run_all(INITIATORS, |_, read_only| {
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        let served = Served::new(&INITIATORS.map(|name| (name, access))).expect("a target");
        Disk { url: served.url(), keep: Box::new(served) }
    });
    eprintln!("the suite against tgt");
    let theirs = conformance::run_all(INITIATORS, |_, read_only| {
        let disk = tgt.disk(read_only).expect("tgtd makes a disk");
        Disk { url: disk.url.clone(), keep: Box::new(disk) }
    });
    let surprises = ours.surprises(&expectations());
    if !surprises.is_empty() {
        return Err(format!("the table is not true: {surprises:#?}").into());
    }
    Ok(write_page(&ours, &theirs))
}

/// A tgtd of our own.
struct Tgt {
    child: Child,
    portal: SocketAddr,
    control: String,
    directory: tempfile::TempDir,
    targets: AtomicU32,
}

/// One target of it with one disk.
struct TgtDisk<'a> {
    tgt: &'a Tgt,
    number: String,
    url: String,
}

impl Tgt {
    fn start() -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let portal = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // Its control sockets are numbered up to 15 bits; a port is as unique a number as any.
        let control = (portal.port() & 0x7fff).to_string();
        let log = File::create(directory.path().join("log"))?;
        let child = Command::new("tgtd")
            .args(["-f", "-C", &control, "--iscsi", &format!("portal={portal}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("tgtd: {error}; apt-get install tgt"))?;
        let tgt = Self { child, portal, control, directory, targets: AtomicU32::new(0) };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(portal).is_err() {
            if Instant::now() > deadline {
                return Err("tgtd does not listen".into());
            }
            std::thread::yield_now();
        }
        Ok(tgt)
    }

    fn order(&self, words: &[&str]) -> Result<(), Failure> {
        let mut admin = Command::new("tgtadm");
        admin.args(["-C", &self.control, "--lld", "iscsi"]).args(words);
        let output = admin.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("tgtadm {words:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// A fresh disk, thin as ours is.
    fn disk(&self, read_only: bool) -> Result<TgtDisk<'_>, Failure> {
        let number = (self.targets.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        let path = self.directory.path().join(&number);
        File::create(&path)?.set_len(SIZE)?;
        let name = format!("iqn.2026-01.org.example:tgt{number}");
        let (path, tid) = (path.display().to_string(), number.as_str());
        let unit = ["--mode", "logicalunit", "--tid", tid, "--lun", "1"];
        self.order(&["--op", "new", "--mode", "target", "--tid", tid, "-T", &name])?;
        self.order(&[&["--op", "new"], &unit[..], &["-b", &path]].concat())?;
        let flags =
            if read_only { "thin_provisioning=1,readonly=1" } else { "thin_provisioning=1" };
        self.order(&[&["--op", "update"], &unit[..], &["--params", flags]].concat())?;
        self.order(&["--op", "bind", "--mode", "target", "--tid", tid, "-I", "ALL"])?;
        Ok(TgtDisk { tgt: self, url: format!("iscsi://{}/{name}/1", self.portal), number })
    }
}

impl Drop for Tgt {
    fn drop(&mut self) {
        // It may have ended already, and nothing better can be done at this point.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for TgtDisk<'_> {
    fn drop(&mut self) {
        let words = ["--op", "delete", "--mode", "target", "--force", "--tid", &self.number];
        if let Err(error) = self.tgt.order(&words) {
            eprintln!("{error}");
        }
    }
}

/// Passed, skipped, failed.
type Counts = [usize; 3];

fn index(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Passed => 0,
        Verdict::Skipped => 1,
        Verdict::Failed => 2,
    }
}

fn by_family(results: &Results) -> BTreeMap<&str, Counts> {
    let mut families: BTreeMap<&str, Counts> = BTreeMap::new();
    for (test, verdict) in results.tests() {
        let family = test.split('.').next().unwrap_or(test);
        families.entry(family).or_default()[index(verdict)] += 1;
    }
    families
}

fn totals(results: &Results) -> Counts {
    [Verdict::Passed, Verdict::Skipped, Verdict::Failed].map(|verdict| results.count(verdict))
}

fn cells([passed, skipped, failed]: Counts) -> String {
    format!("{passed} | {skipped} | {failed}")
}

/// What the package manager says is installed.
fn version(package: &str) -> String {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.ok().filter(|version| !version.is_empty()).unwrap_or_else(|| "of unknown version".into())
}

fn write_page(ours: &Results, theirs: &Results) -> String {
    let mut page = format!(
        "# Conformance\n\n\
         <!-- Written by cargo xtask conformance; do not edit. -->\n\n\
         libiscsi's `iscsi-test-cu` (libiscsi-bin {}), every test of it, data loss allowed, against our\n\
         target and against tgt ({}), in one run: each suite in a process of its own and on a fresh,\n\
         thin file of {} MiB; the suite `ReadOnly` on a read-only disk of both. tgt's units are told to be\n\
         thin (`thin_provisioning=1`), with which it passes more than with its defaults. The tool counts what\n\
         it skips as passed; here a skipped test is a skipped test.\n\n\
         ```text\ncargo xtask conformance            # some minutes; needs the package tgt, too\n```\n\n\
         The tests of the library and of the daemon hold ours to the second and third table: a test that\n\
         ends in another way than is said there fails them, and so does an entry that is no longer true.\n\n\
         ## By family\n\n\
         | family | ours: pass | skip | fail | tgt: pass | skip | fail |\n\
         |---|---|---|---|---|---|---|\n",
        version("libiscsi-bin"),
        version("tgt"),
        SIZE >> 20,
    );
    // Writing to a String cannot fail.
    let (of_ours, of_theirs) = (by_family(ours), by_family(theirs));
    for (family, counts) in &of_ours {
        let other = of_theirs.get(family).copied().unwrap_or_default();
        let _ = writeln!(page, "| {family} | {} | {} |", cells(*counts), cells(other));
    }
    let _ = writeln!(
        page,
        "| **all {}** | {} | {} |\n\n\
         LIO, the kernel's target, has been measured elsewhere on the same list: 117 pass, 98 skip, 15 fail,\n\
         all reservation tests among those that pass.",
        ours.total(),
        cells(totals(ours)),
        cells(totals(theirs)),
    );
    let table = expectations();
    for (title, verdict) in [("skips", Verdict::Skipped), ("fails", Verdict::Failed)] {
        let _ = write!(
            page,
            "\n## What ours {title}, and why\n\n| test | of them | reason |\n|---|---|---|\n"
        );
        for line in table.iter().filter(|line| line.verdict == verdict) {
            let count = ours.tests().filter(|(test, _)| line.is_about(test)).count();
            let _ = writeln!(page, "| {} | {count} | {} |", line.tests, line.reason);
        }
    }
    let failing = |(test, verdict)| (verdict == Verdict::Failed).then_some(test);
    let theirs: Vec<&str> = theirs.tests().filter_map(failing).collect();
    let _ = write!(page, "\n## What tgt fails\n\n{}.\n", theirs.join(", "));
    page
}
