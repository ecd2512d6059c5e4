//! A second opinion on reservations: SPC-4's tables as arrays of small numbers, written anew.
//!
//! The model has four nexuses, a key for each (zero: none), a number for the holder and the pending
//! attentions; it knows nothing of the state machine in `reservations`. Whatever is sent to both,
//! as bytes to the unit and as numbers to the model, must end in the same status, keys, holder, type,
//! generation and news. To prove that a difference would be seen, the model can be told to make one
//! mistake ([`Slip`]), and each of them must be found.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::testing::*;
use super::*;

/// Two hosts, a second port of the first of them, and a host that only reads.
const PORTS: usize = 4;
const READER: usize = 3;
const NAMES: [&str; PORTS] = ["iqn.x:a", "iqn.x:b", "iqn.x:a", "iqn.x:r"];

const GOOD: Heard = Heard::Status(0x00);
const CONFLICT: Heard = Heard::Status(0x18);
const PREEMPTED_ALL: u16 = 0x2a03;
const RELEASED: u16 = 0x2a04;
const PREEMPTED_KEY: u16 = 0x2a05;

/// What a nexus sends.
#[derive(Debug, Clone, Copy)]
enum Sent {
    /// PERSISTENT RESERVE OUT but REGISTER AND MOVE: service action, type, and the two keys.
    Out(u8, u8, u64, u64),
    /// REGISTER AND MOVE: keys, the port it goes to, and UNREG.
    Move(u64, u64, usize, bool),
    Reserve6,
    Release6,
    Read,
    Write,
}

/// How it ended: a status, or the code of its sense data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Status(u8),
    Sense(u16),
}

/// A mistake that the model makes on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slip {
    PreemptLeavesTheKeys,
    ReserveCounts,
    RegistrantsDoNotWrite,
    StrangersReadUnderExclusiveAccess,
    AnyRegistrantReleases,
    ReservationOutlivesItsHolder,
    ReleaseTellsNobody,
    Reserve6IsCompatibleWithNothing,
}

/// One row for each type: code, who may read, who may write (the column of RESERVE's table), whether
/// all registrants hold it. H: the holder, R: any registrant, E: everybody.
const TYPES: [(u8, char, char, bool); 6] = [
    (1, 'E', 'H', false),
    (3, 'H', 'H', false),
    (5, 'E', 'R', false),
    (6, 'R', 'R', false),
    (7, 'E', 'R', true),
    (8, 'R', 'R', true),
];

fn row(kind: u8) -> Option<(char, char, bool)> {
    TYPES.iter().find(|row| row.0 == kind).map(|row| (row.1, row.2, row.3))
}

#[derive(Debug, Clone, Default)]
struct Model {
    keys: [u64; PORTS],
    generation: u32,
    /// Code of the type, and who made it: with types 7 and 8 that does not count.
    reserved: Option<(u8, usize)>,
    reserved6: Option<usize>,
    news: [BTreeSet<u16>; PORTS],
    slip: Option<Slip>,
}

impl Model {
    fn slips(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }

    fn all_hold(&self) -> bool {
        self.reserved.and_then(|(kind, _)| row(kind)).is_some_and(|row| row.2)
    }

    fn holds(&self, port: usize) -> bool {
        self.reserved.is_some_and(|(_, by)| by == port || self.all_hold()) && self.keys[port] != 0
    }

    fn tell(&mut self, except: usize, news: u16) {
        for port in (0..PORTS).filter(|&port| port != except && self.keys[port] != 0) {
            self.news[port].insert(news);
        }
    }

    /// The keys of these ports go, and the reservation that nobody holds any more.
    fn unregister(&mut self, by: usize, gone: &[usize]) {
        for &port in gone {
            self.keys[port] = 0;
            if port != by {
                self.news[port].insert(PREEMPTED_KEY);
            }
        }
        let Some((kind, holder)) = self.reserved else { return };
        let left = if self.all_hold() {
            self.keys.iter().any(|&key| key != 0)
        } else {
            self.keys[holder] != 0 || self.slips(Slip::ReservationOutlivesItsHolder)
        };
        if !left {
            self.reserved = None;
            if let 5 | 6 = kind {
                self.tell(PORTS, RELEASED);
            }
        }
    }

    fn media(&self, port: usize, writes: bool) -> Heard {
        if writes && port == READER {
            return Heard::Sense(0x2700);
        }
        let passes = match (self.reserved6, self.reserved) {
            (Some(holder), _) => holder == port,
            (None, None) => true,
            (None, Some((kind, holder))) => {
                let (reads, write, _) = row(kind).unwrap();
                match if writes { write } else { reads } {
                    'E' => true,
                    'R' if writes && self.slips(Slip::RegistrantsDoNotWrite) => holder == port,
                    'R' => self.keys[port] != 0,
                    _ if !writes && self.slips(Slip::StrangersReadUnderExclusiveAccess) => true,
                    _ => holder == port,
                }
            }
        };
        if passes { GOOD } else { CONFLICT }
    }

    /// RESERVE(6) and RELEASE(6), with compatible reservation handling (CRH).
    fn old(&mut self, port: usize, reserve: bool) -> Heard {
        if reserve && port == READER {
            return Heard::Sense(0x2700);
        }
        if self.keys != [0; PORTS] {
            // Whom the persistent reservation lets write is compatible with it.
            let none = self.reserved.is_none() || self.slips(Slip::Reserve6IsCompatibleWithNothing);
            let lets_in = match self.reserved {
                Some((kind, by)) if row(kind).unwrap().1 == 'H' => by == port,
                _ => self.keys[port] != 0,
            };
            return if !none && lets_in { GOOD } else { CONFLICT };
        }
        match self.reserved6 {
            Some(holder) if holder != port => return if reserve { CONFLICT } else { GOOD },
            _ => self.reserved6 = reserve.then_some(port),
        }
        GOOD
    }

    fn hear(&mut self, port: usize, sent: Sent) -> Heard {
        match sent {
            Sent::Read | Sent::Write => self.media(port, matches!(sent, Sent::Write)),
            Sent::Reserve6 | Sent::Release6 => self.old(port, matches!(sent, Sent::Reserve6)),
            Sent::Out(..) | Sent::Move(..) if port == READER => Heard::Sense(0x2700),
            Sent::Out(1, kind, ..) if row(kind).is_none() => Heard::Sense(0x2400),
            Sent::Out(..) | Sent::Move(..) if self.reserved6.is_some() => CONFLICT,
            Sent::Out(action @ (0 | 6), _, key, new) => self.register(port, action, key, new),
            Sent::Out(_, _, key, _) | Sent::Move(key, ..)
                if self.keys[port] == 0 || self.keys[port] != key =>
            {
                CONFLICT
            }
            Sent::Out(1, kind, ..) => self.reserve(port, kind),
            Sent::Out(2, kind, ..) => self.release(port, kind),
            Sent::Out(3, ..) => {
                self.tell(port, PREEMPTED_ALL);
                self.keys = [0; PORTS];
                self.reserved = None;
                self.generation += 1;
                GOOD
            }
            Sent::Out(_, kind, _, victim) => self.preempt(port, kind, victim),
            Sent::Move(_, new, to, unregister) => self.move_on(port, new, to, unregister),
        }
    }

    fn register(&mut self, port: usize, action: u8, key: u64, new: u64) -> Heard {
        if action == 0 && self.keys[port] != key {
            return CONFLICT;
        }
        if (self.keys[port], new) == (0, 0) {
            return GOOD;
        }
        self.generation += 1;
        self.keys[port] = new;
        self.unregister(port, if new == 0 { &[0, 1, 2, 3][port..=port] } else { &[] });
        GOOD
    }

    fn reserve(&mut self, port: usize, kind: u8) -> Heard {
        self.generation += u32::from(self.slips(Slip::ReserveCounts));
        match self.reserved {
            None => self.reserved = Some((kind, port)),
            Some((held, _)) if held == kind && self.holds(port) => {}
            Some(_) => return CONFLICT,
        }
        GOOD
    }

    fn release(&mut self, port: usize, kind: u8) -> Heard {
        let Some((held, _)) = self.reserved else { return GOOD };
        if !self.holds(port) && !self.slips(Slip::AnyRegistrantReleases) {
            return GOOD;
        }
        if held != kind {
            return Heard::Sense(0x2604);
        }
        self.reserved = None;
        if held >= 5 && !self.slips(Slip::ReleaseTellsNobody) {
            self.tell(port, RELEASED);
        }
        GOOD
    }

    fn preempt(&mut self, port: usize, kind: u8, victim: u64) -> Heard {
        let theirs = |model: &Self, port: usize| model.keys[port] == victim;
        let replaces = match self.reserved {
            None => false,
            Some(_) if self.all_hold() => victim == 0,
            Some((_, holder)) => victim != 0 && theirs(self, holder),
        };
        if victim == 0 && !replaces {
            return Heard::Sense(0x2600);
        }
        let has_key = (0..PORTS).filter(|&it| self.keys[it] != 0);
        let gone: Vec<_> = has_key
            .filter(|&it| victim == 0 || theirs(self, it))
            .filter(|&it| !(replaces && it == port))
            .collect();
        if !replaces && gone.is_empty() {
            return CONFLICT;
        }
        if replaces {
            if row(kind).is_none() {
                return Heard::Sense(0x2400);
            }
            let was = self.reserved.replace((kind, port));
            for &port in &gone {
                self.news[port].insert(PREEMPTED_KEY);
                self.keys[port] = 0;
            }
            if was.is_some_and(|(was, _)| was != kind) {
                self.tell(port, RELEASED);
            }
        } else if !self.slips(Slip::PreemptLeavesTheKeys) {
            self.unregister(port, &gone);
        }
        self.generation += 1;
        GOOD
    }

    fn move_on(&mut self, port: usize, new: u64, to: usize, unregister: bool) -> Heard {
        let Some((kind, holder)) = self.reserved else { return Heard::Sense(0x2400) };
        if self.all_hold() {
            return CONFLICT;
        }
        if holder != port {
            return Heard::Sense(0x2400);
        }
        if new == 0 || to == port {
            return Heard::Sense(0x2600);
        }
        self.keys[to] = new;
        self.reserved = Some((kind, to));
        if unregister {
            self.keys[port] = 0;
        }
        self.generation += 1;
        GOOD
    }
}

/// The unit, and the nexuses that the model numbers.
struct Real {
    unit: LogicalUnit,
    nexuses: Vec<Nexus>,
}

fn isid(port: usize) -> [u8; 6] {
    [0x80, 0, 0, 0, 0, port as u8]
}

impl Real {
    fn new() -> Self {
        let unit = Rig::new(8).unit;
        let attach = |port: usize| {
            let access = if port == READER { Access::ReadOnly } else { Access::ReadWrite };
            let nexus = unit.attach(NAMES[port], isid(port), access);
            while nexus.take_attention().is_some() {}
            nexus
        };
        let nexuses = (0..PORTS).map(attach).collect();
        Self { unit, nexuses }
    }

    fn run(&self, port: usize, cdb: &[u8], data: &[u8]) -> (Heard, Vec<u8>) {
        let (done, data) = run(&self.unit, &self.nexuses[port], cdb, data);
        let heard = match done.sense {
            Some(sense) => Heard::Sense(u16::from_be_bytes([sense.asc, sense.ascq])),
            None => Heard::Status(done.status as u8),
        };
        (heard, data)
    }

    fn hear(&self, port: usize, sent: Sent) -> Heard {
        let out = |action: u8, kind: u8, list: &[u8]| {
            self.run(port, &[0x5f, action, kind, 0, 0, 0, 0, 0, list.len() as u8, 0], list).0
        };
        match sent {
            Sent::Out(action, kind, key, new) => {
                out(action, kind, &[key.to_be_bytes(), new.to_be_bytes(), [0; 8]].concat())
            }
            Sent::Move(key, new, to, unregister) => {
                let mut id = format!("{},i,0x80000000000{to}\0", NAMES[to]).into_bytes();
                id.resize(id.len().next_multiple_of(4), 0);
                let id = [&[0x45, 0, 0, id.len() as u8][..], &id].concat();
                let tail = [0, u8::from(unregister) << 1, 0, 1, 0, 0, 0, id.len() as u8];
                let list = [key.to_be_bytes(), new.to_be_bytes(), tail].concat();
                out(7, 0, &[list, id].concat())
            }
            Sent::Reserve6 => self.run(port, &[0x16, 0, 0, 0, 0, 0], &[]).0,
            Sent::Release6 => self.run(port, &[0x17, 0, 0, 0, 0, 0], &[]).0,
            Sent::Read => self.run(port, &cdb10(0x28, 0, 0, 1), &[]).0,
            Sent::Write => self.run(port, &cdb10(0x2a, 0, 0, 1), &[7; 512]).0,
        }
    }

    fn news(&self, port: usize) -> BTreeSet<u16> {
        let told = std::iter::from_fn(|| self.nexuses[port].take_attention());
        told.map(|sense| u16::from_be_bytes([sense.asc, sense.ascq])).collect()
    }

    /// READ FULL STATUS in the words of the model: generation; key and type held of each port. None
    /// while a RESERVE(6) keeps it from being read.
    fn status(&self) -> Option<(u32, [(u64, u8); PORTS])> {
        let (heard, data) = self.run(0, &[0x5e, 3, 0, 0, 0, 0, 0, 16, 0, 0], &[]);
        if heard != GOOD {
            return None;
        }
        let number = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
        let mut ports = [(0, 0); PORTS];
        let mut at = 8;
        while at < data.len() {
            let key = u64::from_be_bytes(data[at..at + 8].try_into().unwrap());
            let (holds, kind) = (data[at + 12] & 1 == 1, data[at + 13]);
            assert_eq!(holds, kind != 0, "only holders have a type");
            let length = number(at + 20) as usize;
            let id = String::from_utf8_lossy(&data[at + 24..at + 24 + length]).into_owned();
            let port = id.trim_end_matches('\0').chars().last().unwrap();
            ports[port.to_digit(10).unwrap() as usize] = (key, kind);
            at += 24 + length;
        }
        Some((number(0), ports))
    }
}

/// Sends everything to both. The first difference, in words.
fn compare(steps: &[(usize, Sent)], slip: Option<Slip>) -> Result<(), String> {
    let mut model = Model { slip, ..Model::default() };
    let real = Real::new();
    for (at, &(port, sent)) in steps.iter().enumerate() {
        let (expected, heard) = (model.hear(port, sent), real.hear(port, sent));
        if expected != heard {
            return Err(format!("step {at}, {port} {sent:?}: {expected:?}, but {heard:?}"));
        }
        for (port, expected) in model.news.iter_mut().enumerate() {
            let (expected, told) = (std::mem::take(expected), real.news(port));
            if expected != told {
                return Err(format!("step {at}: {port} expects {expected:x?}, hears {told:x?}"));
            }
        }
        let kind = model.reserved.map_or(0, |(kind, _)| kind);
        let mut ports = [(0, 0); PORTS];
        for (port, of) in ports.iter_mut().enumerate() {
            *of = (model.keys[port], if model.holds(port) { kind } else { 0 });
        }
        let expected = model.reserved6.is_none().then_some((model.generation, ports));
        let status = real.status();
        if expected != status {
            return Err(format!("step {at}, {sent:?}: {expected:?}, but {status:?}"));
        }
    }
    Ok(())
}

/// Few keys, so that they meet; now and then a type that does not exist.
fn any_steps() -> impl Strategy<Value = Vec<(usize, Sent)>> {
    let key = || prop_oneof![1 => Just(0u64), 6 => 1..4u64];
    let kind = || prop_oneof![1 => 0..=9u8, 6 => proptest::sample::select(&[1, 3, 5, 6, 7, 8][..])];
    let sent = prop_oneof![
        8 => (proptest::sample::select(&[0u8, 6, 6][..]), key(), key())
            .prop_map(|(action, key, new)| Sent::Out(action, 0, key, new)),
        12 => (1..6u8, kind(), key(), key())
            .prop_map(|(action, kind, key, new)| Sent::Out(action, kind, key, new)),
        4 => (kind(), key()).prop_map(|(kind, key)| Sent::Out(1, kind, key, 0)),
        3 => (key(), key(), 0..PORTS, any::<bool>())
            .prop_map(|(key, new, to, unregister)| Sent::Move(key, new, to, unregister)),
        1 => Just(Sent::Reserve6),
        2 => Just(Sent::Release6),
        3 => Just(Sent::Read),
        4 => Just(Sent::Write),
    ];
    proptest::collection::vec((0..PORTS, sent), 1..60)
}

proptest! {
    #[test]
    fn any_sequence_ends_as_the_model_says(steps in any_steps()) {
        compare(&steps, None).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn sabotage_every_slip_of_the_model_is_found() {
    for slip in [
        Slip::PreemptLeavesTheKeys,
        Slip::ReserveCounts,
        Slip::RegistrantsDoNotWrite,
        Slip::StrangersReadUnderExclusiveAccess,
        Slip::AnyRegistrantReleases,
        Slip::ReservationOutlivesItsHolder,
        Slip::ReleaseTellsNobody,
        Slip::Reserve6IsCompatibleWithNothing,
    ] {
        let config = Config {
            cases: 3000,
            failure_persistence: None,
            max_shrink_iters: 0,
            ..Config::default()
        };
        // The same sequences each time: whether a slip is found must not be luck.
        let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let found = TestRunner::new_with_rng(config, random)
            .run(&any_steps(), |steps| compare(&steps, Some(slip)).map_err(TestCaseError::fail));
        assert!(found.is_err(), "{slip:?} was not found");
    }
}
