//! The freeze test: a host is stopped (SIGSTOP) in the middle of its writes, put out meanwhile, and
//! resumed; from the moment the daemon says that it is out, no write of it lands.
//!
//! One real daemon, one real host process for all rounds, every block stamped. At the confirmation
//! the blocks are read from the file behind the daemon's back and by the other host, which then
//! overwrites a part. The resumed host finishes the PDU it was stopped in and what else it has, sees its
//! session die and is not let in again. Then every block must be as it was, or as the other wrote it.
//!
//! `OSDS_FREEZE_ROUNDS=1000`, or `cargo xtask soak freeze`, for a long run.

mod evidence;
mod host;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use osds_rest_api::client::Method;
use osds_testkit::initiator::Session;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, connection, text, until};
use evidence::{BLOCK, Writer, afterwards, at_confirmation, stamped};
use host::{POINTS, Point};

/// Blocks that are written to, over and over.
const BLOCKS: u32 = 4096;
const INITIATOR: &str = "iqn.x:first";
const SECOND: &str = "iqn.x:second";
/// Set for the host process: where its orders come from.
const ROLE: &str = "OSDS_FREEZE_HOST";
const ROUNDS: &str = "OSDS_FREEZE_ROUNDS";
const THIS: &str = "stopped::no_write_of_a_stopped_host_lands_after_it_was_put_out";

/// How a host loses a volume that it does not give back, and what confirms it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// DELETE of the attachment, answered when it is gone.
    Detach,
    /// The host is fenced; its attachment is gone.
    Fence,
    /// A forced detach: the record goes at once, and the next host gets the volume.
    Force,
    /// Nobody puts it out, and all the same it is called confirmed: what a target would do that
    /// confirms without draining.
    Pretence,
}

/// The host process.
struct Host {
    child: Child,
    pid: Pid,
    heard: BufReader<UnixStream>,
    orders: UnixStream,
}

impl Host {
    fn start(scene: &Scene) -> Self {
        let control = scene.path("host.socket");
        let listener = UnixListener::bind(&control).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", THIS, "--nocapture"])
            .env(ROLE, &control)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let orders = listener.accept().unwrap().0;
        orders.set_read_timeout(Some(PATIENCE)).unwrap();
        let heard = BufReader::new(orders.try_clone().unwrap());
        let pid = Pid::from_child(&child);
        Self { child, pid, heard, orders }
    }

    fn order(&mut self, words: &str) {
        writeln!(self.orders, "{words}").unwrap();
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.heard.read_line(&mut line) {
            Ok(1..) => Ok(line.trim_end().to_owned()),
            other => Err(format!("the host process is silent: {other:?}")),
        }
    }

    fn stop(&self) {
        kill_process(self.pid, Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(self.pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "{status:?}");
    }

    fn resume(&mut self, point: Point) {
        kill_process(self.pid, Signal::CONT).unwrap();
        if !point.is_anywhere() {
            self.order("on");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A volume, and how its blocks must be.
struct Volume {
    id: String,
    file: File,
    expected: Vec<u8>,
}

impl Volume {
    fn make(scene: &Scene, name: &str, multi_attach: bool) -> Self {
        let id = scene.volume(name, multi_attach);
        let file = File::open(scene.blocks(&id)).unwrap();
        Self { id, file, expected: vec![0; BLOCKS as usize * BLOCK] }
    }

    fn blocks(&self) -> Vec<u8> {
        let mut bytes = vec![0; BLOCKS as usize * BLOCK];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

/// Figures over all rounds.
#[derive(Default)]
struct Totals {
    answered: u64,
    new: usize,
    confirmed_in: Vec<Duration>,
}

struct Stage {
    host: Host,
    hosts: [String; 2],
    /// Both hosts have the first volume; the second volume is for one at a time.
    shared: Volume,
    lone: Volume,
    second: Session,
    totals: Totals,
    scene: Scene,
}

impl Stage {
    fn set() -> Self {
        let scene = Scene::quick();
        let hosts = [scene.host("first", &[INITIATOR]), scene.host("second", &[SECOND])];
        let shared = Volume::make(&scene, "shared", true);
        let lone = Volume::make(&scene, "lone", false);
        let attachment = text(&scene.attach(&shared.id, &hosts[1], "rw"), "id");
        let second = scene.log_in(&attachment, SECOND);
        let host = Host::start(&scene);
        Self { host, hosts, shared, lone, second, totals: Totals::default(), scene }
    }

    /// One round; what was wrong.
    fn round(&mut self, round: u32, way: Way, point: Point) -> Result<(), String> {
        let force = way == Way::Force;
        let volume = if force { &mut self.lone } else { &mut self.shared };
        let attachment = self.scene.attach(&volume.id, &self.hosts[0], "rw");
        let id = text(&attachment, "id");
        let (target, portal) = connection(&attachment).unwrap();
        let at = POINTS.iter().position(|it| *it == point).unwrap();
        let data = &attachment["connectionInfo"]["data"];
        let (name, password) = (text(data, "authUserName"), text(data, "authPassword"));
        self.host.order(&format!("{round} {at} {portal} {target} {name} {password}"));
        assert_eq!(self.host.hear()?, "busy");
        if point.is_anywhere() {
            pause(round);
        }
        self.host.stop();

        let began = Instant::now();
        let after = put_out(&self.scene, &self.hosts, way, &id, volume);
        self.totals.confirmed_in.push(began.elapsed());
        let now = volume.blocks();
        let mut fresh = after.as_ref().map(|id| self.scene.log_in(id, SECOND));
        let second = fresh.as_mut().unwrap_or(&mut self.second);
        self.totals.new += at_confirmation(&volume.expected, &now, round)?;
        volume.expected = now;
        afterwards(&volume.expected, &second.read(0, BLOCKS).unwrap())?;
        let (lba, blocks) = (round % 8 * 512, 512);
        let piece = stamped(Writer::Second, round, 1, lba, blocks);
        second.write(lba.into(), &piece).unwrap();
        let from = lba as usize * BLOCK;
        volume.expected[from..from + piece.len()].copy_from_slice(&piece);

        self.host.resume(point);
        if way == Way::Pretence {
            // Time enough for what a real round waits for; then it is really put out.
            until("a late write", || (volume.blocks() != volume.expected).then_some(()));
            put_out(&self.scene, &self.hosts, Way::Detach, &id, volume);
        }
        let said = self.host.hear();
        // First of all, whatever else was wrong.
        afterwards(&volume.expected, &volume.blocks())?;
        let said = said?;
        let (answered, end) =
            said.strip_prefix("out ").and_then(|said| said.split_once(' ')).unwrap_or(("", &said));
        self.totals.answered += answered.parse::<u64>().unwrap_or(0);
        if end != "lost, then refused and refused" {
            return Err(format!("the host that was put out: {said}"));
        }
        afterwards(&volume.expected, &second.read(0, BLOCKS).unwrap())?;
        if let (Some(session), Some(id)) = (fresh, after) {
            session.logout().unwrap();
            self.scene.remove(&format!("block/attachments/{id}"));
        }
        Ok(())
    }
}

/// Somewhere in the next milliseconds, spun because a sleep is too coarse for it.
fn pause(round: u32) {
    let until = Duration::from_micros(u64::from(round.wrapping_mul(0x9e37_79b9) >> 20));
    let began = Instant::now();
    while began.elapsed() < until {
        std::hint::spin_loop();
    }
}

/// Returns when it is confirmed; with the attachment of the host that came after, if that is how.
fn put_out(
    scene: &Scene,
    hosts: &[String; 2],
    way: Way,
    attachment: &str,
    volume: &Volume,
) -> Option<String> {
    let path = format!("block/attachments/{attachment}");
    match way {
        Way::Detach => scene.remove(&path),
        Way::Fence => {
            let [first, _] = hosts;
            let body = json!({"reason": "does not answer"});
            let _: Value = scene.admin.post(&format!("host/hosts/{first}/fence"), &body).unwrap();
            let gone = scene.settled(&path).unwrap_err();
            assert!(gone.is_not_found(), "{gone}");
            let unfence = format!("host/hosts/{first}/unfence");
            scene.admin.request(Method::POST, &unfence).send().unwrap();
        }
        Way::Force => {
            scene.admin.delete(&path).unwrap();
            if let Err(error) = scene.admin.delete(&format!("{path}?force=true")) {
                // The detach was quicker than we were.
                assert!(error.is_not_found(), "{error}");
            }
            return Some(text(&scene.attach(&volume.id, &hosts[1], "rw"), "id"));
        }
        // What it had sent may land; nothing more comes, as it is stopped.
        Way::Pretence => until("the writes have come to rest", || {
            let blocks = volume.blocks();
            // sleep: between two looks, far longer than the target takes for what it has received.
            std::thread::sleep(Duration::from_millis(30));
            (volume.blocks() == blocks).then_some(())
        }),
    }
    None
}

fn say(words: &str) {
    // Past the capture of the test harness: a figure that nobody sees is none.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{words}").unwrap();
}

#[test]
fn no_write_of_a_stopped_host_lands_after_it_was_put_out() {
    if let Ok(control) = std::env::var(ROLE) {
        return host::play(&control);
    }
    let rounds: u32 = std::env::var(ROUNDS).map_or(100, |rounds| rounds.parse().unwrap());
    let ways = [Way::Detach, Way::Force, Way::Fence];
    let mut stage = Stage::set();
    let began = Instant::now();
    for round in 1..=rounds {
        let way = ways[round as usize % ways.len()];
        let point = POINTS[round as usize / ways.len() % POINTS.len()];
        if let Err(why) = stage.round(round, way, point) {
            panic!("round {round}, {way:?} at {point:?}: {why}");
        }
        if round % 200 == 0 {
            say(&format!("freeze: {round} of {rounds} rounds, {:?}", began.elapsed()));
        }
    }
    let Totals { answered, new, mut confirmed_in } = stage.totals;
    confirmed_in.sort();
    let took = began.elapsed().as_secs_f64();
    say(&format!(
        "freeze: {rounds} rounds in {took:.1} s, {:.0} a second; {answered} writes answered, {new} \
         blocks checked that were written in them; confirmed in {:?} (median), {:?} (longest); no \
         late write",
        f64::from(rounds) / took,
        confirmed_in[confirmed_in.len() / 2],
        confirmed_in[confirmed_in.len() - 1],
    ));
}

/// The proof that the test above can fail, at every point: the host is resumed without having been
/// put out. Tried by hand too: with a `Registry::revoke` that leaves the sessions alone it
/// fails at once. One that only does not wait for running commands passes here, since these take
/// microseconds and the ledger's sync comes after them; the tests in crates/iscsi/tests/target/revoke.rs,
/// whose medium can hold a write back, are about that, and four of them failed.
#[test]
fn a_confirmation_that_is_not_true_is_noticed_wherever_the_host_was_stopped() {
    let mut stage = Stage::set();
    for (round, point) in (1..).zip(POINTS) {
        let why = stage.round(round, Way::Pretence, point).unwrap_err();
        assert!(why.contains("changed after the detach was confirmed"), "{point:?}: {why}");
        stage.shared.expected = stage.shared.blocks();
    }
}
