//! A host at work while strangers and a bad neighbour do their worst: what it costs the host.
//!
//! The host reads 4 KiB blocks one by one, first alone and then beside each attack, in one run; the
//! figures are printed beside each other. What is asserted is what does not depend on the machine: every
//! read is answered, a granted host can log in at any time, the daemon's memory and threads stay within
//! bounds, and when an attack is over nothing of it is left. Attackers and daemon share the same cores,
//! so most of what the figures show is the processor that the attackers take.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use osds_iscsi::pdu::{NO_TAG, Request, request};
use osds_testkit::initiator::{Error, Options, Session};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::scene::{Scene, connection, until};

/// Strangers' connections.
const MANY: usize = 10_000;
/// Of every attack, at least.
const TIME: Duration = Duration::from_millis(700);
/// Above what the daemon has alone. Each of 256 strangers has a thread and a login's buffers.
const MEMORY_MIB: f64 = 96.0;
/// The daemon's own, the strangers it lets wait, and some that are just ending.
const THREADS: usize = 400;

/// What the host saw in one phase.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p99: Duration,
}

/// Reads one by one until told to stop.
fn work(session: &mut Session, stop: &AtomicBool) -> Figures {
    let (mut latencies, began) = (Vec::new(), Instant::now());
    while !stop.load(Ordering::Relaxed) || latencies.is_empty() {
        let before = Instant::now();
        let lba = latencies.len() as u64 % 1024 * 8;
        assert_eq!(session.read(lba, 8).unwrap().len(), 4096);
        latencies.push(before.elapsed());
    }
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort();
    Figures { rate, p99: latencies[latencies.len() * 99 / 100] }
}

/// Who attacks, and what with.
struct Attack<'a> {
    portal: SocketAddr,
    target: &'a str,
    stop: &'a AtomicBool,
    /// How often something was done; it is printed.
    done: &'a AtomicU64,
}

impl Attack<'_> {
    fn goes_on(&self) -> bool {
        self.done.fetch_add(1, Ordering::Relaxed);
        !self.stop.load(Ordering::Relaxed)
    }

    /// From an address of its own, as far as loopback has any.
    fn connect(&self, number: usize) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let [high, low] = u16::try_from(number % 60_000).unwrap_or(0).to_be_bytes();
        socket.bind(&SocketAddr::from(([127, 1, high, low.max(1)], 0)).into())?;
        socket.connect_timeout(&self.portal.into(), Duration::from_secs(10))?;
        Ok(socket.into())
    }

    /// Ten thousand connections, held by their other end.
    fn connections(&self) {
        let mut held = Vec::new();
        while held.len() < MANY && self.goes_on() {
            held.extend(self.connect(held.len()).ok());
        }
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }

    /// Logins that are refused, one after the other.
    fn logins(&self) {
        while self.goes_on() {
            match Session::login(self.portal, "iqn.x:nobody", self.target) {
                // Or it made room for another one of them.
                Err(Error::LoginRefused { class: 2, .. } | Error::ConnectionLost(_)) => {}
                other => panic!("a stranger was let in, or something else: {other:?}"),
            }
        }
    }

    /// The first half of a login's header, and silence.
    fn halves(&self) {
        let mut held = Vec::new();
        while self.goes_on() && held.len() < MANY / 10 {
            let stream = self.connect(held.len()).ok();
            held.extend(stream.filter(|mut stream| stream.write_all(&[0x43; 24]).is_ok()));
        }
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }

    /// Bytes that mean nothing.
    fn noise(&self) {
        let noise: Vec<u8> =
            (0..64_u32 << 10).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
        while self.goes_on() {
            if let Ok(mut stream) = self.connect(self.done.load(Ordering::Relaxed) as usize) {
                // It closes as soon as it has seen enough.
                let _ = stream.write_all(&noise);
                let _ = stream.read(&mut [0; 64]);
            }
        }
    }

    /// A neighbour who may log in, and does nothing but ask for echoes of 4 KiB, 32 at a time.
    fn echoes(&self) {
        let mut session = Session::login(self.portal, NEIGHBOUR, self.target).unwrap();
        while self.goes_on() {
            for _ in 0..32 {
                let nop = request::NopOut {
                    immediate: true,
                    lun: [0; 8],
                    itt: session.queue().take_tag(),
                    ttt: NO_TAG,
                    cmd_sn: 0,
                    exp_stat_sn: 0,
                };
                session.queue().wire().push(&Request::NopOut(nop), &[0x5a; 4096]);
            }
            for _ in 0..32 {
                session.queue().wire().receive_owned().unwrap();
            }
        }
    }
}

/// Ends an attack also when a check has failed, so that nobody waits for ever.
struct Release<'a>([&'a AtomicBool; 2]);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|end| end.store(true, Ordering::Relaxed));
    }
}

const CROWD: &str = "10,000 connections";
const HOST: &str = "iqn.x:host";
const NEIGHBOUR: &str = "iqn.x:neighbour";

fn resident_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn threads(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/task")).unwrap().count()
}

/// Our ends of ten thousand connections.
fn raise_the_limit_of_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let enough = limit.maximum.is_none_or(|most| most > MANY as u64 + 500);
    assert!(enough, "the system allows too few open files: {limit:?}");
}

#[test]
fn crowds_floods_and_half_sentences_cost_the_others_little() {
    raise_the_limit_of_files();
    let scene = Scene::quick_with("[iscsi]\nchap = \"off\"\n");
    let hosts = [scene.host("host", &[HOST]), scene.host("neighbour", &[NEIGHBOUR])];
    let volume = scene.volume("shared", true);
    let [attachment, other] = hosts.map(|host| scene.attach(&volume, &host, "rw"));
    let id = attachment["id"].as_str().unwrap();
    let (target, portal) = connection(&other).unwrap();
    let mut session = scene.log_in(id, HOST);
    session.block_size().unwrap();
    let daemon = scene.daemon.id();
    let alone = threads(daemon);
    let memory = resident_mib(daemon);

    type Doing = fn(&Attack<'_>);
    let attacks: [(&str, usize, Doing); 6] = [
        ("alone", 0, |_| {}),
        (CROWD, 1, |it| it.connections()),
        ("refused logins", 2, |it| it.logins()),
        ("half PDUs", 1, |it| it.halves()),
        ("noise", 2, |it| it.noise()),
        ("a neighbour's echoes", 1, |it| it.echoes()),
    ];
    let mut base: Option<Figures> = None;
    for (name, attackers, attack) in attacks {
        let (stop, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let done = AtomicU64::new(0);
        let doing = Attack { portal, target: &target, stop: &stop, done: &done };
        let (mut most_threads, mut most_memory) = (0, 0.0);
        let figures = std::thread::scope(|scope| {
            for _ in 0..attackers {
                scope.spawn(|| attack(&doing));
            }
            let working = scope.spawn(|| work(&mut session, &over));
            let began = Instant::now();
            let _release = Release([&stop, &over]);
            until("the attack has had its time", || {
                most_threads = most_threads.max(threads(daemon));
                most_memory = f64::max(most_memory, resident_mib(daemon));
                let many = name == CROWD && done.load(Ordering::Relaxed) < MANY as u64;
                let time = if many { TIME * 8 } else { TIME };
                (began.elapsed() >= time).then_some(())
            });
            // In the middle of it, whoever is granted gets in.
            until("a granted host is in", || {
                let options = Options { isid: [0x80, 0, 0, 0, 0, 2], ..Options::default() };
                let session = Session::login_with(portal, HOST, &target, &options);
                session.and_then(Session::logout).ok()
            });
            over.store(true, Ordering::Relaxed);
            let figures = working.join().unwrap();
            stop.store(true, Ordering::Relaxed);
            figures
        });
        let base = base.get_or_insert(figures);
        println!(
            "{name}: {} done; {:.0} reads/s ({:.2} of alone), p99 {:?} ({:.1} times); daemon at most \
             {most_threads} threads, {most_memory:.0} MiB",
            done.load(Ordering::Relaxed),
            figures.rate,
            figures.rate / base.rate,
            figures.p99,
            figures.p99.as_secs_f64() / base.p99.as_secs_f64(),
        );
        assert!(most_threads <= alone + THREADS, "{name}: {most_threads} threads");
        assert!(most_memory <= memory + MEMORY_MIB, "{name}: {most_memory} MiB, was {memory}");
        until("nothing of the attack is left", || (threads(daemon) <= alone + 8).then_some(()));
    }
}
