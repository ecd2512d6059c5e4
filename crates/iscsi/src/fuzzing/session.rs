//! A whole connection over a real socket: any bytes, before and after a login.
//!
//! Holds for every stream: the connection ends when its bytes do, and nothing of it is left; what it
//! was sent is a stream of PDUs that an initiator can read; and unless it logged in as the host that
//! may write, no byte of the medium has changed. To get deep, the first byte can ask for a login in
//! front and for right command numbers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::pdu::frame::{self, Parsed};
use crate::pdu::{Digests, Request, Response, request, text};
use crate::scsi::Access;
use crate::{Limits, Target};

use super::Input;
use super::medium::Medium;

const DISK: &str = "iqn.x:disk";
const ALICE: &str = "iqn.x:alice";
const BOB: &str = "iqn.x:bob";

/// Longer than any connection takes whose peer has sent all it will.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest segment looked for in the input.
const LONGEST: usize = 64 << 10;

static PANICKED: AtomicBool = AtomicBool::new(false);

fn target() -> &'static Mutex<Target> {
    static TARGET: OnceLock<Mutex<Target>> = OnceLock::new();
    TARGET.get_or_init(|| {
        // A panic of a connection's thread is no panic of ours: it must be heard of.
        let then = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours = std::thread::current().name().is_some_and(|name| name.starts_with("iscsi-"));
            PANICKED.fetch_or(ours, Ordering::SeqCst);
            then(info);
        }));
        let limits = Limits { send_timeout: PATIENCE, ..Limits::default() };
        let listen = "127.0.0.1:0".parse().expect("an address");
        Mutex::new(Target::start(&[listen], limits).expect("a free port"))
    })
}

/// The first byte says what comes before the stream and what is mended in it.
pub fn session(input: &[u8]) {
    let mut input = Input(input);
    let Some(choice) = input.byte() else { return };
    let writer = choice & 3 == 1 || choice & 3 == 3;
    let digests = Digests { header: choice & 3 == 3, data: choice & 3 == 3 };
    let mut sent = Vec::new();
    match choice & 3 {
        0 => {}
        2 => log_in(&mut sent, BOB, digests, choice & 8 != 0),
        _ => log_in(&mut sent, ALICE, digests, choice & 8 != 0),
    }
    if choice & 4 != 0 || digests.header {
        renumber(&mut sent, input.0, digests);
    } else {
        sent.extend_from_slice(input.0);
    }
    // Only what was not begun as the reader can have logged in as the writer.
    let may_write = writer || (choice & 3 == 0 && holds(input.0, ALICE));

    let target = target().lock().unwrap_or_else(PoisonError::into_inner);
    let medium = Medium::new();
    let before = medium.bytes().clone();
    target.export(DISK, Arc::new(medium.unit())).expect("nothing is exported");
    target.grant(DISK, ALICE, Access::ReadWrite, None).expect("a grant");
    target.grant(DISK, BOB, Access::ReadOnly, None).expect("a grant");
    let received = converse(&target, &sent);
    target.unexport(DISK).expect("nothing of it is left");
    assert!(!PANICKED.load(Ordering::SeqCst), "a thread of the target panicked");
    assert!(may_write || *medium.bytes() == before, "the medium has changed");
    // A login in the input may agree on digests that we would have to follow.
    if choice & 3 != 0 || !holds(input.0, "CRC32C") {
        read_back(&received, digests);
    }
}

fn holds(input: &[u8], word: &str) -> bool {
    input.windows(word.len()).any(|piece| piece.eq_ignore_ascii_case(word.as_bytes()))
}

fn log_in(out: &mut Vec<u8>, initiator: &str, digests: Digests, solicited: bool) {
    let mut pairs = Vec::new();
    text::push(&mut pairs, "InitiatorName", initiator);
    text::push(&mut pairs, "TargetName", DISK);
    let digest = |on| if on { "CRC32C" } else { "None" };
    text::push(&mut pairs, "HeaderDigest", digest(digests.header));
    text::push(&mut pairs, "DataDigest", digest(digests.data));
    let yes_no = |yes| if yes { "Yes" } else { "No" };
    text::push(&mut pairs, "InitialR2T", yes_no(solicited));
    text::push(&mut pairs, "ImmediateData", yes_no(!solicited));
    let request = request::Login {
        transit: true,
        continues: false,
        current: 1,
        next: 3,
        version_max: 0,
        version_min: 0,
        isid: [0x80, 0, 0, 0, 0, 1],
        tsih: 0,
        itt: 1,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 0,
    };
    frame::append(out, Request::Login(request).encode(), &pairs, Digests::default());
}

/// Gives the PDUs of `stream` the command numbers that are expected, and digests.
fn renumber(out: &mut Vec<u8>, mut stream: &[u8], digests: Digests) {
    let mut cmd_sn = 1;
    while let Ok(Parsed::Whole(frame)) = frame::next(stream, Digests::default(), LONGEST) {
        let mut header = frame.header;
        if digests.header {
            // What joins PDUs for us knows no additional segments.
            header.0[4] = 0;
        }
        match Request::decode(&header) {
            Ok(Request::DataOut(_) | Request::Snack(_)) | Err(_) => {}
            Ok(_) => {
                header.0[24..28].copy_from_slice(&u32::to_be_bytes(cmd_sn));
                cmd_sn += u32::from(!header.immediate());
            }
        }
        if digests.header {
            frame::append(out, header, frame.data, digests);
        } else {
            out.extend_from_slice(&header.0);
            out.extend_from_slice(&stream[header.0.len()..frame.len]);
        }
        stream = &stream[frame.len..];
    }
    out.extend_from_slice(stream);
}

/// Sends everything, then nothing more; what came back until the target closed.
fn converse(target: &Target, sent: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(target.portals()[0]).expect("the target listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The target may close before it has read all.
            let _ = (&stream).write_all(sent);
            let _ = stream.shutdown(Shutdown::Write);
        });
        match (&stream).read_to_end(&mut received) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
    });
    received
}

/// What came back is a login response or more, then PDUs under the agreed digests, perhaps cut.
fn read_back(mut received: &[u8], digests: Digests) {
    let mut agreed = Digests::default();
    loop {
        match frame::next(received, agreed, 1 << 24) {
            Ok(Parsed::Whole(frame)) => {
                match Response::decode(&frame.header) {
                    Ok(Response::Login(response)) if response.class == 0 && response.next == 3 => {
                        agreed = digests;
                    }
                    Ok(_) => {}
                    Err(error) => panic!("{error}: {:02x?}", frame.header),
                }
                received = &received[frame.len..];
            }
            Ok(Parsed::Needs(_)) => return,
            Err(error) => panic!("{error} after {agreed:?}"),
        }
    }
}
