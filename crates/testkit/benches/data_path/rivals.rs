//! The two targets as child processes, and the initiator that drives either.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use osds_iscsi::scsi::{Access, FileBackend, Identity, LogicalUnit};
use osds_iscsi::{Limits, Target};
use osds_testkit::initiator::{Io, Options, Session};

use crate::cell::{Cell, Figures, Medium, on_threads};
use crate::process::Usage;

/// Bytes of the medium.
pub const MEDIUM: u64 = 256 << 20;

const INITIATOR: &str = "iqn.2026-11.bench:initiator";
const TARGET: &str = "iqn.2026-11.bench:disk";
const BLOCK: u64 = 512;

/// Fills the medium, so that nothing reads holes.
pub fn write_medium(path: &Path) {
    let mut file = File::create(path).expect("a file can be created");
    let piece: Vec<u8> = (0..1_u32 << 20).map(|n| (n >> 9) as u8).collect();
    for _ in 0..MEDIUM >> 20 {
        file.write_all(&piece).expect("room for the medium");
    }
    file.sync_all().expect("the medium can be written");
}

/// Brings a medium into the state that a cell starts from.
pub fn prepare(medium: &Path, cell: &Cell) {
    match cell.medium {
        Medium::Cached | Medium::Durable => {}
        Medium::Cold => {
            // Drops the file from the page cache; what is dirty has to go to the medium first.
            File::open(medium).and_then(|file| file.sync_all()).expect("the medium");
            let mut dropped = Command::new("dd");
            let input = format!("if={}", medium.display());
            dropped.args([&input, "iflag=nocache", "count=0", "status=none"]);
            assert!(dropped.status().is_ok_and(|status| status.success()), "dd drops the cache");
        }
    }
}

/// The child: our target over one file, until standard input ends.
pub fn serve(file: &Path) {
    let medium = OpenOptions::new().read(true).write(true).open(file).expect("the medium");
    let identity = Identity {
        naa: *b"\x60\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
        serial: "0001".into(),
        vendor: "OSDS".into(),
        product: "BENCH".into(),
        revision: "1".into(),
    };
    let unit = LogicalUnit::new(Box::new(FileBackend::new(medium)), identity).expect("a unit");
    let target = Target::start(&[SocketAddr::from(([127, 0, 0, 1], 0))], Limits::default());
    let target = target.expect("a target");
    target.export(TARGET, Arc::new(unit)).expect("an export");
    target.grant(TARGET, INITIATOR, Access::ReadWrite, None).expect("a grant");
    println!("{}", target.portals()[0]);
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
    target.shutdown().expect("an end");
}

/// A running target.
pub struct Rival {
    child: Child,
    portal: SocketAddr,
    medium: PathBuf,
}

impl Rival {
    pub fn ours(file: &Path) -> Self {
        let mut command = again();
        let (child, line) = start(command.arg("serve").arg(file));
        let portal = line.parse().expect("the child prints its portal");
        Self { child, portal, medium: file.to_owned() }
    }

    /// tgtd on a free port, with a control socket of its own.
    pub fn tgt(file: &Path) -> Result<Self, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let portal = free.map_err(|error| error.to_string())?;
        // Its control sockets are numbered up to 15 bits; a port is as unique a number as any.
        let control = (portal.port() & 0x7fff).to_string();
        let log = File::create(file.with_extension("log")).map_err(|error| error.to_string())?;
        let also = log.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new("tgtd")
            .args(["-f", "-C", &control, "--iscsi", &format!("portal={portal}")])
            .stdout(log)
            .stderr(also)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("tgtd: {error} (apt-get install tgt)"))?;
        let rival = Self { child, portal, medium: file.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(portal).is_err() {
            if Instant::now() > deadline {
                return Err("tgtd does not listen".into());
            }
            std::thread::yield_now();
        }
        let order = |words: &[&str]| {
            let mut admin = Command::new("tgtadm");
            admin.args(["-C", &control, "--lld", "iscsi"]).args(words);
            let output = admin.output().map_err(|error| format!("tgtadm: {error}"))?;
            if output.status.success() {
                return Ok(());
            }
            Err(format!("tgtadm {words:?}: {}", String::from_utf8_lossy(&output.stderr)))
        };
        order(&["--op", "new", "--mode", "target", "--tid", "1", "-T", TARGET])?;
        // Its own defaults are 8 KiB segments and bursts of 256 KiB.
        for (name, value) in [
            ("MaxRecvDataSegmentLength", "262144"),
            ("MaxXmitDataSegmentLength", "262144"),
            ("MaxBurstLength", "1048576"),
            ("FirstBurstLength", "65536"),
        ] {
            order(&["--op", "update", "--mode", "target", "--tid", "1", "-n", name, "-v", value])?;
        }
        let file = file.display().to_string();
        let unit =
            ["--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", &file];
        order(&unit)?;
        order(&["--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"])?;
        Ok(rival)
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// One round.
    pub fn measure(&self, cell: &Cell, time: Duration) -> Figures {
        prepare(&self.medium, cell);
        let nothing = self.usage();
        on_threads(
            cell.sessions,
            time,
            |n, begin| self.session(cell, n, begin),
            || {
                // From an arbitrary moment: only differences count.
                nothing.until(&self.usage())
            },
        )
    }

    fn session(
        &self,
        cell: &Cell,
        number: usize,
        begin: &dyn Fn() -> Instant,
    ) -> (u64, Vec<Duration>) {
        let isid = [0x80, 0, 0, 0, 1, u8::try_from(number).expect("few sessions")];
        let options = Options { isid, ..Options::default() };
        let mut session =
            Session::login_with(self.portal, INITIATOR, TARGET, &options).expect("a login");
        session.block_size().expect("a capacity");
        let data: Arc<[u8]> = vec![0x5a; cell.bytes].into();
        let mut offset = cell.offsets(number, MEDIUM);
        let blocks = u32::try_from(cell.bytes as u64 / BLOCK).expect("few blocks");
        let mut done = 0;
        let latencies = RefCell::new((Instant::now(), Vec::with_capacity(1 << 16)));
        let stop = begin();
        session
            .pipeline(
                cell.depth,
                || {
                    let now = Instant::now();
                    latencies.borrow_mut().0 = now;
                    let lba = offset() / BLOCK;
                    (now < stop).then(|| match (cell.write, cell.medium) {
                        (false, _) => Io::Read { lba, blocks },
                        (true, Medium::Durable) => {
                            Io::DurableWrite { lba, data: Arc::clone(&data) }
                        }
                        (true, Medium::Cached | Medium::Cold) => {
                            Io::Write { lba, data: Arc::clone(&data) }
                        }
                    })
                },
                |_, answer| {
                    assert_eq!(answer.status, 0, "{}: {:02x?}", cell.name(), answer.sense);
                    assert!(cell.write || answer.data.len() == cell.bytes, "all data came");
                    done += 1;
                    if cell.depth == 1 {
                        let (began, list) = &mut *latencies.borrow_mut();
                        list.push(began.elapsed());
                    }
                },
            )
            .expect("the session holds");
        session.logout().expect("a logout");
        (done, latencies.into_inner().1)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // Only our own child, by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program.
pub fn again() -> Command {
    Command::new(std::env::current_exe().expect("this program has a path"))
}

/// Starts a child that prints one line when it is ready and ends with its standard input.
pub fn start(command: &mut Command) -> (Child, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let mut line = String::new();
    let output = child.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut line).expect("it says that it is ready");
    (child, line.trim().to_owned())
}
