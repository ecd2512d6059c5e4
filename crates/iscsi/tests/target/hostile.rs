//! Peers that break the protocol hurt nobody but themselves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use osds_iscsi::Limits;
use osds_iscsi::pdu::{Header, NO_TAG, RejectReason, Request, Response, request};

use crate::initiator::{Data, Error, Options, Session};
use crate::scene::{ALICE, BOB, DISK, PATIENCE, Scene, eventually, noise};

/// What a peer finds after an attack.
#[derive(Debug, PartialEq)]
enum After {
    Rejected(RejectReason),
    Closed,
}

/// Reads until a Reject or the end of the connection.
fn aftermath(session: &mut Session) -> After {
    loop {
        match session.queue().wire().receive_owned() {
            Ok((Response::Reject(reject), _)) => return After::Rejected(reject.reason),
            Ok(_) => {}
            Err(Error::ConnectionLost(why)) => {
                assert_ne!(why.kind(), std::io::ErrorKind::WouldBlock, "nobody closes");
                return After::Closed;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn raw(bytes: &[(usize, u8)]) -> Header {
    let mut header = Header([0; 48]);
    for (at, byte) in bytes {
        header.0[*at] = *byte;
    }
    header
}

fn data_out(itt: u32, ttt: u32, data_sn: u32, offset: u32) -> Request {
    let is_final = true;
    Request::DataOut(request::DataOut {
        is_final,
        lun: [0; 8],
        itt,
        ttt,
        exp_stat_sn: 0,
        data_sn,
        offset,
    })
}

fn write_command(session: &mut Session, expected_len: u32, is_final: bool) -> request::ScsiCommand {
    let mut cdb = [0; 16];
    (cdb[0], cdb[8]) = (0x2a, 1);
    request::ScsiCommand {
        immediate: false,
        is_final,
        read: false,
        write: true,
        attribute: 1,
        lun: [0, 1, 0, 0, 0, 0, 0, 0],
        itt: session.queue().take_tag(),
        expected_len,
        cmd_sn: session.queue().take_cmd_sn(),
        exp_stat_sn: 0,
        cdb,
    }
}

/// An attack, and what must follow it.
type Attack = (&'static str, fn(&mut Session), &'static [After]);

const ATTACKS: &[Attack] = &[
    (
        "a segment of 16 MiB",
        |s| s.queue().wire().send_bytes(&raw(&[(5, 0xff), (6, 0xff), (7, 0xff)]).0).unwrap(),
        &[],
    ),
    (
        "an opcode nobody has",
        |s| s.queue().wire().push_raw(raw(&[(0, 0x1c)]), &[]),
        &[After::Rejected(RejectReason::NotSupported)],
    ),
    (
        "an opcode of the target",
        |s| s.queue().wire().push_raw(raw(&[(0, 0x25)]), &[]),
        &[After::Rejected(RejectReason::NotSupported)],
    ),
    (
        "data for no task",
        |s| s.queue().wire().push(&data_out(99, NO_TAG, 0, 0), &[0; 512]),
        &[After::Rejected(RejectReason::InvalidField)],
    ),
    (
        "SNACK",
        |s| s.queue().wire().push_raw(raw(&[(0, 0x10), (1, 0x80)]), &[]),
        &[After::Rejected(RejectReason::Snack)],
    ),
    (
        "a login in the session",
        |s| s.queue().wire().push_raw(raw(&[(0, 0x43), (1, 0x87)]), &[]),
        &[After::Rejected(RejectReason::Protocol), After::Closed],
    ),
    (
        "a hole in the command numbers",
        |s| {
            s.queue().take_cmd_sn();
            let command = write_command(s, 512, true);
            s.queue().wire().push(&Request::ScsiCommand(command), &[0; 512]);
        },
        &[After::Rejected(RejectReason::Protocol), After::Closed],
    ),
    (
        "a task tag used twice",
        |s| {
            for _ in 0..2 {
                let command = write_command(s, 4096, true);
                let twice = request::ScsiCommand { itt: 7, ..command };
                s.queue().wire().push(&Request::ScsiCommand(twice), &[]);
            }
        },
        &[After::Rejected(RejectReason::TaskInProgress), After::Closed],
    ),
    (
        "a wrong transfer tag",
        |s| {
            let command = write_command(s, 4096, true);
            s.queue().wire().push(&Request::ScsiCommand(command), &[]);
            s.queue().wire().push(&data_out(command.itt, 0x1234_5678, 0, 0), &[0; 512]);
        },
        &[After::Rejected(RejectReason::InvalidField)],
    ),
    (
        "a text request out of nowhere",
        |s| {
            let text = request::Text {
                immediate: true,
                is_final: true,
                continues: false,
                lun: [0; 8],
                itt: 3,
                ttt: 12,
                cmd_sn: 0,
                exp_stat_sn: 0,
            };
            s.queue().wire().push(&Request::Text(text), b"SendTargets=\0");
        },
        &[After::Rejected(RejectReason::Protocol), After::Closed],
    ),
    (
        "too many rejects",
        |s| {
            for _ in 0..100 {
                s.queue().wire().push_raw(raw(&[(0, 0x1c)]), &[]);
            }
            for _ in 0..65 {
                assert_eq!(aftermath(s), After::Rejected(RejectReason::NotSupported));
            }
        },
        &[After::Closed],
    ),
    (
        "noise",
        |s| {
            let _ = s.queue().wire().send_bytes(&noise(42, 1 << 20));
        },
        &[],
    ),
];

#[test]
fn attacks_end_where_they_must_and_another_session_never_notices() {
    let scene = Scene::new();
    let mut bystander = scene.login(BOB).unwrap();
    bystander.block_size().unwrap();
    for (what, attack, expected) in ATTACKS {
        let mut attacker = scene.login(ALICE).unwrap();
        // The bystander's commands are in flight around the attack.
        for lba in 0..16 {
            bystander.submit_read(lba, 8).unwrap();
        }
        bystander.queue().wire().flush().unwrap();
        attack(&mut attacker);
        for after in *expected {
            assert_eq!(aftermath(&mut attacker), *after, "{what}");
        }
        match expected.last() {
            // The session lives on and answers.
            Some(After::Rejected(_)) => {
                assert!(attacker.read(0, 1).is_ok(), "{what}");
            }
            Some(After::Closed) => {}
            None => eventually(what, || aftermath(&mut attacker) == After::Closed),
        }
        for _ in 0..16 {
            let (_, answer) = bystander.queue().complete().unwrap();
            assert_eq!(answer.good().unwrap().len(), 8 * 512, "{what}");
        }
    }
    assert_eq!(scene.medium.writes(), 0);
}

#[test]
fn data_that_breaks_its_sequence_ends_the_command_and_writes_nothing() {
    let scene = Scene::new();
    let options = Options { first_burst: 4096, ..Options::default() };
    let mut session = scene.login_with(ALICE, &options).unwrap();
    for (sn, offset, len) in [(3, 0, 512), (0, 512, 512), (0, 0, 1024), (0, u32::MAX, 512)] {
        let command = write_command(&mut session, 512, false);
        let wire = session.queue().wire();
        wire.push(&Request::ScsiCommand(command), &[]);
        wire.push(&data_out(command.itt, NO_TAG, sn, offset), &vec![7; len]);
        let (Response::ScsiResponse(status), sense) = wire.receive_owned().unwrap() else {
            panic!()
        };
        assert_eq!((status.status, sense[4]), (2, 0x0b), "aborted command");
    }
    assert_eq!(scene.medium.writes(), 0);
    assert!(session.read(0, 1).is_ok());
}

#[test]
fn what_we_do_not_do_is_refused_politely() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    // Both directions at once.
    let command = request::ScsiCommand { read: true, ..write_command(&mut session, 512, true) };
    let wire = session.queue().wire();
    wire.push(&Request::ScsiCommand(command), &[0; 512]);
    let (Response::ScsiResponse(status), sense) = wire.receive_owned().unwrap() else { panic!() };
    assert_eq!((status.status, sense[4]), (2, 5));
    // A CDB that goes on in an additional header segment.
    let command = write_command(&mut session, 512, true);
    let mut bytes = Request::ScsiCommand(command).encode().0.to_vec();
    (bytes[4], bytes[7]) = (2, 0);
    bytes.extend_from_slice(&[0, 5, 1, 0, 0, 0, 0, 0]);
    session.queue().wire().send_bytes(&bytes).unwrap();
    let (Response::ScsiResponse(status), sense) = session.queue().wire().receive_owned().unwrap()
    else {
        panic!()
    };
    assert_eq!((status.status, sense[4]), (2, 5));
    assert_eq!(scene.medium.writes(), 0);
}

#[test]
fn commands_outside_the_window_are_ignored() {
    let scene = Scene::with(Limits { queue_depth: 4, ..Limits::default() });
    let options = Options { initial_r2t: true, immediate_data: false, ..Options::default() };
    let mut session = scene.login_with(ALICE, &options).unwrap();
    let beyond = session.queue().max_cmd_sn().wrapping_add(1);
    let command = request::ScsiCommand { cmd_sn: beyond, ..write_command(&mut session, 512, true) };
    session.queue().wire().push(&Request::ScsiCommand(command), &[]);
    // Four open writes fill the window; the number that was skipped above is used by the first.
    for n in 0..6 {
        let mut command = write_command(&mut session, 512, true);
        command.cmd_sn = command.cmd_sn.wrapping_sub(1);
        session.queue().wire().push(&Request::ScsiCommand(command), &[]);
        if n < 4 {
            let (response, _) = session.queue().wire().receive_owned().unwrap();
            let Response::ReadyToTransfer(r2t) = response else { panic!("{response:?}") };
            assert_eq!(r2t.counters.max_cmd_sn, beyond.wrapping_sub(1));
        }
    }
    // The two beyond the window got nothing: the next answer is that of an immediate ping.
    let nop = request::NopOut {
        immediate: true,
        lun: [0; 8],
        itt: 1000,
        ttt: NO_TAG,
        cmd_sn: 0,
        exp_stat_sn: 0,
    };
    session.queue().wire().push(&Request::NopOut(nop), &[]);
    let (response, _) = session.queue().wire().receive_owned().unwrap();
    assert!(matches!(response, Response::NopIn(nop) if nop.itt == 1000), "{response:?}");
}

fn quick() -> Limits {
    Limits {
        login_timeout: Duration::from_millis(200),
        idle_ping_after: Duration::from_millis(100),
        // Long enough for a test on a busy machine to answer.
        ping_timeout: Duration::from_millis(400),
        ..Limits::default()
    }
}

/// Sends one byte after the other, as slowly as the socket's read timeout paces it, until the other
/// end closes.
fn trickle(mut stream: &TcpStream, bytes: &[u8]) {
    stream.set_read_timeout(Some(Duration::from_millis(15))).unwrap();
    let begun = Instant::now();
    for byte in bytes.iter().cycle() {
        let ended = match stream.write_all(&[*byte]) {
            Ok(()) => match stream.read(&mut [0; 512]) {
                Ok(n) => n == 0,
                Err(e) => !matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
            },
            Err(_) => true,
        };
        if ended {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "still being listened to");
    }
}

#[test]
fn trickling_does_not_extend_a_login() {
    let scene = Scene::with(quick());
    let stream = TcpStream::connect(scene.portal).unwrap();
    // The header announces a data segment that never ends.
    let mut header = raw(&[(0, 0x43), (1, 0x87), (6, 0x20)]).0.to_vec();
    header.resize(8000, b'a');
    trickle(&stream, &header);
}

#[test]
fn a_pdu_that_never_ends_ends_the_session() {
    let scene = Scene::with(quick());
    let mut stalled = scene.login(ALICE).unwrap();
    let mut header =
        Request::ScsiCommand(write_command(&mut stalled, 512, true)).encode().0.to_vec();
    header[6] = 0x20;
    header.resize(8000, 0);
    trickle(stalled.queue().wire().stream(), &header);
    // And one that stalls half-way without any further byte.
    let mut silent = scene.login(ALICE).unwrap();
    silent.queue().wire().send_bytes(&header[..20]).unwrap();
    eventually("dropped", || aftermath(&mut silent) == After::Closed);
    assert_eq!(scene.medium.writes(), 0);
}

#[test]
fn an_idle_session_that_answers_pings_lives_and_a_mute_one_dies() {
    let scene = Scene::with(quick());
    let mut lively = scene.login(ALICE).unwrap();
    let mute = scene.login(BOB).unwrap();
    let begun = Instant::now();
    let mut pings = 0;
    while pings < 3 {
        let (response, _) = lively.queue().wire().receive_owned().unwrap();
        let Response::NopIn(ping) = response else { panic!("{response:?}") };
        assert_eq!(ping.itt, NO_TAG);
        let pong = request::NopOut {
            immediate: true,
            lun: ping.lun,
            itt: NO_TAG,
            ttt: ping.ttt,
            cmd_sn: 0,
            exp_stat_sn: 0,
        };
        lively.queue().wire().push(&Request::NopOut(pong), &[]);
        lively.queue().wire().flush().unwrap();
        pings += 1;
    }
    eventually("the mute session is gone", || {
        // Keeps the lively one alive meanwhile.
        lively.queue().echo(b"x").is_ok() && scene.sessions() == 1
    });
    assert!(begun.elapsed() < PATIENCE);
    drop(mute);
}

#[test]
fn the_initiator_answers_a_ping_that_crosses_its_own() {
    let scene = Scene::with(Limits { ping_timeout: PATIENCE, ..quick() });
    let mut session = scene.login(ALICE).unwrap();
    session.queue().wire().stream().peek(&mut [0; 1]).unwrap();
    assert_eq!(session.queue().echo(b"first").unwrap(), b"first");
    assert_eq!(session.queue().echo(b"second").unwrap(), b"second");
}

#[test]
fn a_reader_that_stalls_does_not_hold_up_a_revoke() {
    let scene = Scene::new();
    let mut stalled = scene.login(ALICE).unwrap();
    stalled.block_size().unwrap();
    // Far more read data than the socket buffers take, and nobody reads it.
    for _ in 0..32 {
        stalled.submit_read(0, 8192).unwrap();
    }
    stalled.queue().wire().flush().unwrap();
    let begun = Instant::now();
    scene.target.revoke(DISK, ALICE).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(scene.sessions(), 0);
    assert_eq!(stalled.queue().in_flight(), 32);
    let _ = Data::None;
}
