//! The host that is stopped: a process of its own, which logs in, writes, and does not give up.
//!
//! It is this test program once more (the environment says so) and takes one line of orders for each
//! round from a socket of its parent. It says `busy` when it may be stopped; at an exact point it
//! then waits for `on`, which the parent sends after it has resumed it. When its session is dead it
//! tries to come back, and says `out` with what it saw.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use osds_iscsi::pdu::frame::append;
use osds_iscsi::pdu::{Digests, Request, Response, request};
use osds_testkit::initiator::{Chap, Error, Io, Options, Session};

use super::evidence::{BLOCK, Writer, stamped};
use super::{BLOCKS, INITIATOR};

const DEPTH: usize = 32;
/// Writes that are answered before it says that it is busy.
const ANSWERED: u64 = 40;
/// Blocks of a small write, which travels with its command, and of one that the target asks for.
const SMALL: u32 = 32;
const LARGE: u32 = 256;

/// Where in its writes a host is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Wherever it happens to be: small writes, whose data comes with the command.
    Anywhere,
    /// The same with large writes: commands, R2Ts and Data-Outs.
    AnywhereSolicited,
    /// 20 of the 48 bytes of a write's header are sent.
    MidHeader,
    /// The header and half of the immediate data are sent.
    MidImmediate,
    /// 32 writes have their R2Ts, and not a byte of their data is sent.
    ReadyToTransfer,
    /// The same, and 15 have their data, and the next one half a Data-Out.
    MidDataOut,
}

pub const POINTS: [Point; 6] = [
    Point::Anywhere,
    Point::MidDataOut,
    Point::AnywhereSolicited,
    Point::MidHeader,
    Point::ReadyToTransfer,
    Point::MidImmediate,
];

impl Point {
    /// The parent chooses the moment; else the host waits at the point.
    pub fn is_anywhere(self) -> bool {
        match self {
            Self::Anywhere | Self::AnywhereSolicited => true,
            Self::MidHeader | Self::MidImmediate | Self::ReadyToTransfer | Self::MidDataOut => {
                false
            }
        }
    }

    fn is_solicited(self) -> bool {
        match self {
            Self::AnywhereSolicited | Self::ReadyToTransfer | Self::MidDataOut => true,
            Self::Anywhere | Self::MidHeader | Self::MidImmediate => false,
        }
    }
}

struct Host {
    orders: BufReader<UnixStream>,
    said: UnixStream,
    round: u32,
    command: u32,
}

/// Plays the host until the parent hangs up.
pub fn play(control: &str) {
    let said = UnixStream::connect(control).expect("the parent listens");
    let orders = BufReader::new(said.try_clone().expect("a second handle"));
    let mut host = Host { orders, said, round: 0, command: 0 };
    while let Some(order) = host.hear() {
        let words: Vec<&str> = order.split(' ').collect();
        let [round, point, portal, target, name, password] = words[..] else {
            panic!("an order: {order}")
        };
        host.round = round.parse().expect("a round");
        let point = POINTS[point.parse::<usize>().expect("a point")];
        let portal: SocketAddr = portal.parse().expect("a portal");
        let options = Options { chap: Some(Chap::new(name, password)), ..Options::default() };
        let (answered, end) = host.work(point, portal, target, &options);
        let log_in = || Session::login_with(portal, INITIATOR, target, &options);
        let again = [(); 2].map(|()| outcome(log_in()));
        host.say(&format!("out {answered} {end}, then {} and {}", again[0], again[1]));
    }
}

fn outcome(login: Result<Session, Error>) -> String {
    match login {
        Ok(_) => "logged in".into(),
        Err(Error::LoginRefused { class: 2, detail: 3 }) => "refused".into(),
        Err(other) => format!("{other:?}"),
    }
}

impl Host {
    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let len = self.orders.read_line(&mut line).expect("the parent's words");
        (len > 0).then(|| line.trim_end().to_owned())
    }

    fn say(&mut self, words: &str) {
        writeln!(self.said, "{words}").expect("the parent hears");
    }

    /// Writes until the session is dead. How many writes were answered, and how it ended.
    fn work(
        &mut self,
        point: Point,
        portal: SocketAddr,
        target: &str,
        options: &Options,
    ) -> (u64, String) {
        let solicited = point.is_solicited();
        let options =
            Options { initial_r2t: solicited, immediate_data: !solicited, ..options.clone() };
        let mut session = Session::login_with(portal, INITIATOR, target, &options)
            .expect("a host that is let in");
        let mut answered = 0;
        let end = self.write_on(point, &mut session, &mut answered);
        let end = match end {
            Err(Error::ConnectionLost(_)) => "lost".to_owned(),
            Err(other) => format!("{other:?}"),
            Ok(()) => "went on".to_owned(),
        };
        (answered, end)
    }

    fn next_write(&mut self, blocks: u32) -> Io {
        self.command += 1;
        let lba = self.command.wrapping_mul(7) % (BLOCKS / blocks) * blocks;
        let data = stamped(Writer::First, self.round, self.command, lba, blocks).into();
        Io::Write { lba: lba.into(), data }
    }

    fn write_on(
        &mut self,
        point: Point,
        session: &mut Session,
        answered: &mut u64,
    ) -> Result<(), Error> {
        let blocks = if point.is_solicited() { LARGE } else { SMALL };
        let anywhere = point.is_anywhere();
        // To the exact points it comes warm from ordinary work.
        let mut left = if anywhere { u64::MAX } else { ANSWERED };
        session.block_size()?;
        let mut said = self.said.try_clone()?;
        session.pipeline(
            DEPTH,
            || {
                left -= 1;
                (left > 0).then(|| self.next_write(blocks))
            },
            |_, answer| {
                assert_eq!(answer.status, 0, "a write failed: {answer:02x?}");
                *answered += 1;
                if anywhere && *answered == ANSWERED {
                    writeln!(said, "busy").expect("the parent hears");
                }
            },
        )?;
        match point {
            Point::Anywhere | Point::AnywhereSolicited => Ok(()),
            Point::MidHeader => self.cut(session, |_| 20),
            Point::MidImmediate => self.cut(session, |len| 48 + (len - 48) / 2),
            Point::ReadyToTransfer => self.solicited(session, |_, _| 0),
            Point::MidDataOut => self.solicited(session, |flight, len| match flight {
                0..15 => len,
                15 => len / 2,
                _ => 0,
            }),
        }
    }

    /// The parent stops and resumes us in here.
    fn stand(&mut self) {
        self.say("busy");
        assert_eq!(self.hear().as_deref(), Some("on"), "the parent resumes us");
    }

    fn write_command(
        &mut self,
        session: &mut Session,
        blocks: u32,
    ) -> (request::ScsiCommand, Arc<[u8]>) {
        let Io::Write { lba, data } = self.next_write(blocks) else { panic!("it only writes") };
        let mut cdb = [0; 16];
        cdb[0] = 0x8a;
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
        let queue = session.queue();
        let command = request::ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: true,
            attribute: 1,
            lun: [0, 1, 0, 0, 0, 0, 0, 0],
            itt: queue.take_tag(),
            expected_len: blocks * BLOCK as u32,
            cmd_sn: queue.take_cmd_sn(),
            exp_stat_sn: 0,
            cdb,
        };
        (command, data)
    }

    /// 31 whole writes and the first bytes of one more.
    fn cut(&mut self, session: &mut Session, first: fn(usize) -> usize) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let mut last = 0;
        for _ in 0..DEPTH {
            let (command, data) = self.write_command(session, SMALL);
            last = bytes.len();
            let header = Request::ScsiCommand(command).encode();
            append(&mut bytes, header, &data, Digests::default());
        }
        let cut = last + first(bytes.len() - last);
        session.queue().wire().send_bytes(&bytes[..cut])?;
        self.stand();
        session.queue().wire().send_bytes(&bytes[cut..])?;
        self.insist(session, true)
    }

    /// 32 writes that wait for their R2Ts; how much of which Data-Out goes out before the stop is for
    /// `first` to say.
    fn solicited(
        &mut self,
        session: &mut Session,
        first: fn(usize, usize) -> usize,
    ) -> Result<(), Error> {
        let mut flights = Vec::new();
        for _ in 0..DEPTH {
            let (command, data) = self.write_command(session, LARGE);
            session.queue().wire().push(&Request::ScsiCommand(command), &[]);
            flights.push((command.itt, data));
        }
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for number in 0..DEPTH {
            let (response, _) = session.queue().wire().receive_owned()?;
            let Response::ReadyToTransfer(r2t) = response else {
                return Err(Error::Protocol(format!("instead of an R2T: {response:?}")));
            };
            let flight = flights.iter().find(|(itt, _)| *itt == r2t.itt);
            let (itt, data) = flight.expect("an R2T for one of ours");
            assert_eq!((r2t.offset, r2t.len as usize), (0, data.len()), "one R2T for all of it");
            let pdu = request::DataOut {
                is_final: true,
                lun: r2t.lun,
                itt: *itt,
                ttt: r2t.ttt,
                exp_stat_sn: 0,
                data_sn: 0,
                offset: 0,
            };
            let mut bytes = Vec::new();
            append(&mut bytes, Request::DataOut(pdu).encode(), data, Digests::default());
            let cut = first(number, bytes.len());
            early.extend_from_slice(&bytes[..cut]);
            late.extend_from_slice(&bytes[cut..]);
        }
        session.queue().wire().send_bytes(&early)?;
        self.stand();
        session.queue().wire().send_bytes(&late)?;
        self.insist(session, false)
    }

    /// Goes on as if nothing had happened, with more writes if it may send any, until the session is
    /// dead.
    fn insist(&mut self, session: &mut Session, more: bool) -> Result<(), Error> {
        loop {
            if more {
                let (command, data) = self.write_command(session, SMALL);
                session.queue().wire().push(&Request::ScsiCommand(command), &data);
            }
            let (response, _) = session.queue().wire().receive_owned()?;
            // Statuses, and at last perhaps the word that the session is over.
            let is_expected =
                matches!(response, Response::ScsiResponse(_) | Response::AsyncMessage(_));
            assert!(is_expected, "no status: {response:?}");
        }
    }
}
