//! What cluster software really sends, line by line, over real sockets.
//!
//! A script is a session log: who, what, and what came back. Reservations are spelled with the
//! options of sg_persist (mpathpersist has the same), whose keys are hexadecimal; `ats` is a COMPARE
//! AND WRITE of a block filled with one byte by one filled with another. `power cut` makes a new
//! target over the medium and over what was kept, and everybody logs in anew. `play` compares every
//! line; that it does is proved by a script with a lie in it.

use std::io;
use std::sync::{Arc, Mutex};

use osds_iscsi::scsi::{Access, KeptReservations, ReservationStore};
use osds_iscsi::{Limits, Target};

use crate::initiator::{Answer, Data, Options, Session};
use crate::scene::{DISK, Medium, bare};

const BLOCK: usize = 512;

/// Every host, with the name of its initiator, its path, and what it may do.
const HOSTS: [(&str, &str, u8, Access); 5] = [
    ("node1", "iqn.x:node1", 1, Access::ReadWrite),
    ("node1/2", "iqn.x:node1", 2, Access::ReadWrite),
    ("node2", "iqn.x:node2", 1, Access::ReadWrite),
    ("node2/2", "iqn.x:node2", 2, Access::ReadWrite),
    ("backup", "iqn.x:backup", 1, Access::ReadOnly),
];

/// sg_persist's manual page, "EXAMPLES" and the usual steps around them.
const SG_PERSIST: &str = "
    node1    --in --report-capabilities                                  = all types, kept, not active
    node1    --in --read-keys                                            = none
    node1    --out --register --param-sark=123abc                        = good
    node1    --in --read-keys                                            = 123abc
    node1    --out --reserve --param-rk=123abc --prout-type=1            = good
    node1    --in --read-reservation                                     = 123abc type 1
    node2    --out --reserve --param-rk=456def --prout-type=1            = conflict
    node2    --out --register --param-sark=456def                        = good
    node2    --out --reserve --param-rk=456def --prout-type=1            = conflict
    node2    --in --read-full-status                                     = 123abc node1 type 1, 456def node2
    node2    read 0                                                      = 00
    node2    write 0 22                                                  = conflict
    node1    write 0 11                                                  = good
    node2    --out --release --param-rk=456def --prout-type=1            = good
    node1    --in --read-reservation                                     = 123abc type 1
    node1    --out --release --param-rk=123abc --prout-type=3            = illegal 26/04
    node1    --out --release --param-rk=123abc --prout-type=1            = good
    node1    --in --read-reservation                                     = none
    node2    write 0 22                                                  = good
    node1    --out --register --param-rk=123abc                          = good
    node2    --out --register --param-rk=456def                          = good
    node1    --in --read-keys                                            = none
";

/// fence_scsi: `on` registers whatever key is there and reserves unless it is done; `off` is sent by
/// a survivor. Readiness is asked for first, to take up what is pending.
const FENCE_SCSI: &str = "
    node1    turs                                                        = good
    node1    --out --register-ignore --param-sark=a1                     = good
    node1    --in --read-reservation                                     = none
    node1    --out --reserve --param-rk=a1 --prout-type=5                = good
    node2    turs                                                        = good
    node2    --out --register-ignore --param-sark=b2                     = good
    node2    --in --read-reservation                                     = a1 type 5
    node1    write 0 11                                                  = good
    node2    write 1 22                                                  = good
    backup   read 0                                                      = 11
    backup   write 0 33                                                  = protected 27/00

    node2    --in --read-keys                                            = a1, b2
    node2    --out --preempt-abort --param-rk=b2 --param-sark=a1 --prout-type=5 = good
    node2    --in --read-keys                                            = b2
    node2    --in --read-reservation                                     = b2 type 5
    node1    write 0 44                                                  = attention 2a/05
    node1    write 0 44                                                  = conflict
    node1    ats 0 11 44                                                 = conflict
    node1    read 0                                                      = 11
    node1    --out --preempt-abort --param-rk=a1 --param-sark=b2 --prout-type=5 = conflict
    node1    --out --register --param-rk=a1 --param-sark=a1              = conflict
    node2    write 0 22                                                  = good
    node2    --out --preempt-abort --param-rk=b2 --param-sark=a1 --prout-type=5 = conflict

    node1    turs                                                        = good
    node1    --out --register-ignore --param-sark=a1                     = good
    node1    --in --read-reservation                                     = b2 type 5
    node1    write 0 55                                                  = good
    node1    --in --read-keys                                            = b2, a1
";

/// The same with a type that keeps the fenced from reading too (`--prout-type` 6), where the
/// bystander is stopped as well.
const FENCE_SCSI_EXCLUSIVE: &str = "
    node1    --out --register-ignore --param-sark=a1                     = good
    node1    --out --reserve --param-rk=a1 --prout-type=6                = good
    node2    --out --register-ignore --param-sark=b2                     = good
    node2    read 0                                                      = 00
    backup   read 0                                                      = conflict
    node2    --out --preempt-abort --param-rk=b2 --param-sark=a1 --prout-type=6 = good
    node1    read 0                                                      = attention 2a/05
    node1    read 0                                                      = conflict
    node1    turs                                                        = good
    node1    --in --read-keys                                            = b2
";

/// fence_mpath: one key for all paths of a host, and all of them go at once.
const FENCE_MPATH: &str = "
    node1    --out --register-ignore --param-sark=a1                     = good
    node1/2  --out --register-ignore --param-sark=a1                     = good
    node1    --out --reserve --param-rk=a1 --prout-type=5                = good
    node1/2  --out --reserve --param-rk=a1 --prout-type=5                = conflict
    node2    --out --register-ignore --param-sark=b2                     = good
    node2/2  --out --register-ignore --param-sark=b2                     = good
    node1/2  write 0 11                                                  = good
    node2/2  write 0 22                                                  = good
    node2    --in --read-keys                                            = a1, a1, b2, b2
    node2    --out --preempt-abort --param-rk=b2 --param-sark=a1 --prout-type=5 = good
    node2/2  --in --read-keys                                            = b2, b2
    node1    write 0 33                                                  = attention 2a/05
    node1/2  write 0 33                                                  = attention 2a/05
    node1    write 0 33                                                  = conflict
    node1/2  write 0 33                                                  = conflict
    node2/2  write 0 44                                                  = good
    node1    --out --register-ignore --param-sark=a1                     = good
    node1    write 0 55                                                  = good
    node1/2  write 0 55                                                  = conflict
";

/// SBD-like: a slot for each node; its owner beats in it, whoever wants to put it out poisons it. Who
/// loses the comparison reads what is there, at the offset it was told.
const HEARTBEAT: &str = "
    node1    ats 1 00 01                                                 = good
    node2    ats 2 00 01                                                 = good
    node1    ats 1 01 02                                                 = good
    node2    read 1                                                      = 02
    node2    ats 1 02 ff                                                 = good
    node1    ats 1 02 03                                                 = miscompare at 0
    node1    read 1                                                      = ff
    backup   read 1                                                      = ff
    backup   ats 1 ff 00                                                 = protected 27/00
";

/// VMware's locks: the offset of the first byte that differs is where the host looks who has it, and
/// a lock whose heartbeat stands still is broken by the very same command.
const VMWARE_ATS: &str = "
    node1    --in --max-compare                                          = 128
    node1    poke 7 100 99                                               = good
    node1    ats 7 00 11                                                 = miscompare at 100
    node1    poke 7 100 00                                               = good
    node1    ats 7 00 11                                                 = good
    node2    ats 7 00 22                                                 = miscompare at 0
    node2    read 7                                                      = 11
    node2    ats 7 11 22                                                 = good
    node1    ats 7 11 12                                                 = miscompare at 0
    node1    poke 7 511 99                                               = good
    node2    ats 7 22 23                                                 = miscompare at 511
";

/// Validation of a Windows failover cluster: everything is to outlive a power cut, the challenger
/// takes over from the defender, and in the end nothing is left.
const WINDOWS: &str = "
    node1    --out --register --param-sark=a1 --param-aptpl              = good
    node1    --out --reserve --param-rk=a1 --prout-type=5                = good
    node2    --out --register --param-sark=b2 --param-aptpl              = good
    node1    --in --report-capabilities                                  = all types, kept, active
    node1    write 0 11                                                  = good
    power cut
    node1    --in --read-keys                                            = a1, b2
    node1    --in --read-reservation                                     = a1 type 5
    node1    write 0 11                                                  = good
    node2    write 0 22                                                  = good
    node1/2  write 0 33                                                  = conflict

    node2    --out --preempt --param-rk=b2 --param-sark=a1 --prout-type=5 = good
    node1    turs                                                        = attention 2a/05
    node1    write 0 11                                                  = conflict
    node1    --out --reserve --param-rk=a1 --prout-type=5                = conflict
    node1    --out --release --param-rk=a1 --prout-type=5                = conflict
    power cut
    node1    write 0 11                                                  = conflict
    node2    write 0 22                                                  = good
    node1    --out --register --param-sark=a1 --param-aptpl              = good
    node2    --out --release --param-rk=b2 --prout-type=5                = good
    node1    turs                                                        = attention 2a/04
    node1    --out --reserve --param-rk=a1 --prout-type=5                = good
    node2    --out --clear --param-rk=b2                                 = good
    node1    turs                                                        = attention 2a/03
    node1    --in --read-keys                                            = none
    node1    --in --read-reservation                                     = none
    power cut
    node1    --in --read-keys                                            = none
    node1/2  write 0 33                                                  = good
";

/// The old commands beside the new ones: before there is a registration they reserve; afterwards
/// they are good for whom the reservation lets write, and change nothing (CRH).
const OLD_AND_NEW: &str = "
    node1    reserve6                                                    = good
    node2    turs                                                        = conflict
    node2    release6                                                    = good
    node2    --out --register --param-sark=b2                            = conflict
    node1    --out --register --param-sark=a1                            = conflict
    node1    release6                                                    = good
    node1    --out --register --param-sark=a1 --param-alltgpt            = good
    node1    reserve6                                                    = conflict
    node1    --out --reserve --param-rk=a1 --prout-type=5                = good
    node1    reserve6                                                    = good
    node1    release6                                                    = good
    node2    reserve6                                                    = conflict
    node2    release6                                                    = conflict
    node2    --out --register --param-sark=b2                            = good
    node2    reserve6                                                    = good
    node2    --in --read-full-status                                     = a1 node1 type 5 all ports, b2 node2
";

/// Keeps in memory what a disk would keep.
#[derive(Default)]
struct Kept(Mutex<KeptReservations>);

struct Shelf(Arc<Kept>);

impl ReservationStore for Shelf {
    fn keep(&self, reservations: &KeptReservations) -> io::Result<()> {
        *self.0.0.lock().unwrap() = reservations.clone();
        Ok(())
    }
}

/// A target with every host logged in.
struct Stage {
    medium: Arc<Medium>,
    kept: Arc<Kept>,
    sessions: Vec<Session>,
    _target: Target,
}

impl Stage {
    fn over(medium: Arc<Medium>, kept: Arc<Kept>) -> Self {
        let before = kept.0.lock().unwrap().clone();
        let unit = bare(&medium, 1).with_reservations(Box::new(Shelf(Arc::clone(&kept))), before);
        let target = Target::start(&["127.0.0.1:0".parse().unwrap()], Limits::default()).unwrap();
        target.export(DISK, Arc::new(unit.unwrap())).unwrap();
        let log_in = |(_, name, path, access): (&str, &str, u8, Access)| {
            target.grant(DISK, name, access, None).unwrap();
            let options = Options { isid: [0x80, 0, 0, 0, 0, path], ..Options::default() };
            Session::login_with(target.portals()[0], name, DISK, &options).unwrap()
        };
        let sessions = HOSTS.map(log_in).into();
        Self { medium, kept, sessions, _target: target }
    }

    fn cut(self) -> Self {
        Self::over(self.medium, self.kept)
    }

    /// Sends one line and says what came back.
    fn send(&mut self, host: &str, words: &[&str]) -> String {
        let at =
            HOSTS.iter().position(|it| it.0 == host).unwrap_or_else(|| panic!("who is {host}?"));
        let session = &mut self.sessions[at];
        let byte = |at: usize| u8::from_str_radix(words[at], 16).unwrap();
        let mut cdb10 = [0; 10];
        if let Some(lba) = words.get(1).and_then(|word| word.parse::<u8>().ok()) {
            (cdb10[5], cdb10[8]) = (lba, 1);
        }
        let mut command = |cdb: &[u8], data| session.command(cdb, data).unwrap();
        match words[0] {
            "turs" => told(&command(&[0; 6], Data::None)),
            "reserve6" => told(&command(&[0x16, 0, 0, 0, 0, 0], Data::None)),
            "release6" => told(&command(&[0x17, 0, 0, 0, 0, 0], Data::None)),
            "read" => {
                cdb10[0] = 0x28;
                let answer = command(&cdb10, Data::In(BLOCK));
                if answer.status == 0 { format!("{:02x}", answer.data[0]) } else { told(&answer) }
            }
            "write" => {
                cdb10[0] = 0x2a;
                told(&command(&cdb10, Data::Out(vec![byte(2); BLOCK].into())))
            }
            // Changes one byte of a block.
            "poke" => {
                cdb10[0] = 0x28;
                let mut block = command(&cdb10, Data::In(BLOCK)).good().unwrap();
                block[words[2].parse::<usize>().unwrap()] = byte(3);
                cdb10[0] = 0x2a;
                told(&command(&cdb10, Data::Out(block.into())))
            }
            "ats" => {
                let mut cdb = [0; 16];
                (cdb[0], cdb[9], cdb[13]) = (0x89, cdb10[5], 1);
                let data = [[byte(2); BLOCK], [byte(3); BLOCK]].concat();
                told(&command(&cdb, Data::Out(data.into())))
            }
            "--out" => {
                let (cdb, list) = reserve_out(&words[1..]);
                told(&command(&cdb, Data::Out(list.into())))
            }
            "--in" if words[1] == "--max-compare" => {
                let answer = command(&[0x12, 1, 0xb0, 0, 64, 0], Data::In(64));
                answer.good().unwrap()[5].to_string()
            }
            "--in" => reserve_in(words[1], |cdb| command(cdb, Data::In(4096))),
            other => panic!("what is {other}?"),
        }
    }
}

/// A status in words.
fn told(answer: &Answer) -> String {
    let sense = &answer.sense;
    match answer.status {
        0x00 => "good".into(),
        0x18 => "conflict".into(),
        0x02 if sense[2] & 0x0f == 0x0e => {
            assert_eq!((sense[0], sense[12]), (0xf0, 0x1d), "VALID, and the code");
            format!("miscompare at {}", u32::from_be_bytes(sense[3..7].try_into().unwrap()))
        }
        0x02 => {
            let key = match sense[2] & 0x0f {
                0x05 => "illegal",
                0x06 => "attention",
                0x07 => "protected",
                other => panic!("sense key {other:x}"),
            };
            format!("{key} {:02x}/{:02x}", sense[12], sense[13])
        }
        other => format!("status {other:02x}"),
    }
}

/// PERSISTENT RESERVE OUT from the options of sg_persist.
fn reserve_out(options: &[&str]) -> ([u8; 10], Vec<u8>) {
    let (mut cdb, mut list) = ([0; 10], vec![0; 24]);
    (cdb[0], cdb[8]) = (0x5f, 24);
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let key = || u64::from_str_radix(value, 16).unwrap().to_be_bytes();
        match name {
            "--register" => cdb[1] = 0,
            "--reserve" => cdb[1] = 1,
            "--release" => cdb[1] = 2,
            "--clear" => cdb[1] = 3,
            "--preempt" => cdb[1] = 4,
            "--preempt-abort" => cdb[1] = 5,
            "--register-ignore" => cdb[1] = 6,
            "--prout-type" => cdb[2] = value.parse().unwrap(),
            "--param-rk" => list[..8].copy_from_slice(&key()),
            "--param-sark" => list[8..16].copy_from_slice(&key()),
            "--param-aptpl" => list[20] |= 1,
            "--param-alltgpt" => list[20] |= 4,
            other => panic!("no such option: {other}"),
        }
    }
    (cdb, list)
}

/// PERSISTENT RESERVE IN, and its answer in words.
fn reserve_in(option: &str, command: impl FnOnce(&[u8]) -> Answer) -> String {
    let action = match option {
        "--read-keys" => 0,
        "--read-reservation" => 1,
        "--report-capabilities" => 2,
        "--read-full-status" => 3,
        other => panic!("no such option: {other}"),
    };
    let answer = command(&[0x5e, action, 0, 0, 0, 0, 0, 16, 0, 0]);
    if answer.status != 0 {
        return told(&answer);
    }
    let data = &answer.data;
    let key = |at: usize| u64::from_be_bytes(data[at..at + 8].try_into().unwrap());
    if action == 2 {
        assert_eq!(data[4..6], [0xea, 0x01], "all six types");
        let kept = if data[2] & 1 == 1 { "kept" } else { "not kept" };
        let active = if data[3] & 1 == 1 { "active" } else { "not active" };
        return format!("all types, {kept}, {active}");
    }
    let length = u32::from_be_bytes(data[4..8].try_into().unwrap());
    assert_eq!(data.len(), 8 + length as usize, "the length that is announced");
    let mut words = vec![];
    let mut at = 8;
    while at < data.len() {
        words.push(match action {
            0 => format!("{:x}", key(at)),
            1 => format!("{:x} type {}", key(at), data[at + 13]),
            _ => {
                let id = String::from_utf8_lossy(&data[at + 28..]).into_owned();
                let name = id.split(',').next().unwrap().trim_start_matches("iqn.x:").to_owned();
                let holds = data[at + 12] & 1 == 1;
                let kind = if holds { format!(" type {}", data[at + 13]) } else { String::new() };
                let ports = if data[at + 12] & 2 == 2 { " all ports" } else { "" };
                format!("{:x} {name}{kind}{ports}", key(at))
            }
        });
        at += match action {
            0 => 8,
            1 => 16,
            _ => 24 + u32::from_be_bytes(data[at + 20..at + 24].try_into().unwrap()) as usize,
        };
    }
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

/// Plays a script; the first line that is not true.
fn play(script: &str) -> Result<(), String> {
    let mut stage = Stage::over(Arc::new(Medium::sized()), Arc::default());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line == "power cut" {
            stage = stage.cut();
            continue;
        }
        let (sent, expected) = line.split_once(" = ").expect("what is expected");
        let words: Vec<&str> = sent.split_whitespace().collect();
        let heard = stage.send(words[0], &words[1..]);
        if heard != expected.trim() {
            return Err(format!("{line}: heard {heard}"));
        }
    }
    Ok(())
}

#[test]
fn cluster_software_hears_what_its_manuals_say() {
    for (name, script) in [
        ("sg_persist", SG_PERSIST),
        ("fence_scsi", FENCE_SCSI),
        ("fence_scsi, exclusive access", FENCE_SCSI_EXCLUSIVE),
        ("fence_mpath", FENCE_MPATH),
        ("heartbeats", HEARTBEAT),
        ("VMware", VMWARE_ATS),
        ("Windows", WINDOWS),
        ("old and new", OLD_AND_NEW),
    ] {
        assert_eq!(play(script), Ok(()), "{name}");
    }
}

#[test]
fn sabotage_a_line_that_is_not_true_is_found() {
    for (truth, lie) in [
        ("= a1, b2", "= b2, a1"),
        ("= b2 type 5", "= a1 type 5"),
        ("= attention 2a/05", "= conflict"),
        ("= 11", "= 44"),
    ] {
        play(&FENCE_SCSI.replacen(truth, lie, 1)).expect_err(truth);
    }
}
