//! Reservations as initiators meet them: commands and parameter data, two nexuses on one unit.
//!
//! What an order means is tested in `reservation_rules`; here it is the bytes, the classes in the
//! dispatch table, the attentions that arrive, and the promise that a change waits for commands
//! that are running and is seen by all that come after.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::reservation_terms::Class;
use super::table::TABLE;
use super::testing::*;
use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Two hosts with a session each on one unit.
struct Hosts {
    rig: Rig,
    a: Nexus,
    b: Nexus,
}

impl Hosts {
    fn new() -> Self {
        Self::on(Rig::new(64))
    }

    fn on(rig: Rig) -> Self {
        let (a, b) = (nexus(&rig.unit, "iqn.x:a"), nexus(&rig.unit, "iqn.x:b"));
        Self { rig, a, b }
    }

    fn run(&self, nexus: &Nexus, cdb: &[u8], data: &[u8]) -> (Completion, Vec<u8>) {
        run(&self.rig.unit, nexus, cdb, data)
    }

    #[track_caller]
    fn out(&self, nexus: &Nexus, action: u8, kind: u8, list: &[u8]) -> Completion {
        self.run(nexus, &out_cdb(action, kind, list.len()), list).0
    }

    #[track_caller]
    fn good(&self, nexus: &Nexus, action: u8, kind: u8, keys: (u64, u64)) {
        assert_eq!(self.out(nexus, action, kind, &list(keys, 0)), Completion::GOOD);
    }

    fn read_in(&self, nexus: &Nexus, action: u8) -> Vec<u8> {
        let (done, data) = self.run(nexus, &in_cdb(action, 4096), &[]);
        assert_eq!(done, Completion::GOOD);
        data
    }

    /// What is pending for a nexus.
    fn attention(&self, nexus: &Nexus) -> Option<(u8, u8)> {
        let sense = self.run(nexus, &[0; 6], &[]).0.sense?;
        assert_eq!(sense.key, SenseKey::UnitAttention);
        Some((sense.asc, sense.ascq))
    }
}

fn nexus(unit: &LogicalUnit, name: &str) -> Nexus {
    let nexus = unit.attach(name, [0x80, 1, 2, 3, 4, 5], Access::ReadWrite);
    while nexus.take_attention().is_some() {}
    nexus
}

fn out_cdb(action: u8, kind: u8, length: usize) -> [u8; 10] {
    [0x5f, action, kind, 0, 0, 0, 0, (length >> 8) as u8, length as u8, 0]
}

fn in_cdb(action: u8, allocation: u16) -> [u8; 10] {
    let [high, low] = allocation.to_be_bytes();
    [0x5e, action, 0, 0, 0, 0, 0, high, low, 0]
}

/// A parameter list: reservation key, service action key, flags.
fn list((key, new_key): (u64, u64), flags: u8) -> Vec<u8> {
    let mut list = [key.to_be_bytes(), new_key.to_be_bytes(), [0; 8]].concat();
    list[20] = flags;
    list
}

/// A TransportID written by hand: the name, `,i,0x` and twelve digits, padded.
fn id(text: &str) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    text.push(0);
    text.resize(text.len().next_multiple_of(4), 0);
    [&[0x45, 0, 0, text.len() as u8][..], &text].concat()
}

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const PREEMPT_AND_ABORT: u8 = 5;
const MOVE: u8 = 7;
const CONFLICT: Completion = Completion { status: Status::ReservationConflict, sense: None };

#[test]
fn a_fence_in_the_order_that_cluster_software_uses() {
    let hosts = Hosts::new();
    let (a, b) = (&hosts.a, &hosts.b);
    let (read, write) = (cdb10(0x28, 0, 0, 1), cdb10(0x2a, 0, 0, 1));
    hosts.good(a, REGISTER, 0, (0, 0xa));
    hosts.good(b, REGISTER, 0, (0, 0xb));
    hosts.good(a, RESERVE, 5, (0xa, 0));
    for nexus in [a, b] {
        assert_eq!(hosts.run(nexus, &write, &[1; 512]).0, Completion::GOOD);
    }
    // B fences A, although A holds the reservation.
    hosts.good(b, PREEMPT_AND_ABORT, 5, (0xb, 0xa));
    assert_eq!(hosts.run(a, &[0; 6], &[]).0.sense.map(|s| (s.asc, s.ascq)), Some((0x2a, 0x05)));
    assert_eq!(hosts.run(a, &write, &[2; 512]).0, CONFLICT);
    assert_eq!(hosts.run(a, &read, &[]).1, [1; 512]);
    assert_eq!(hosts.run(b, &write, &[3; 512]).0, Completion::GOOD);
    assert_eq!(hosts.out(a, RESERVE, 5, &list((0xa, 0), 0)), CONFLICT);
    hosts.good(a, REGISTER, 0, (0, 0xa));
    assert_eq!(hosts.run(a, &write, &[4; 512]).0, Completion::GOOD);
    assert_eq!(hosts.attention(b), None);
}

#[test]
fn parameter_data_has_its_form() {
    let hosts = Hosts::new();
    let (a, b) = (&hosts.a, &hosts.b);
    assert_eq!(hosts.read_in(a, 0), [0; 8]);
    assert_eq!(hosts.out(a, REGISTER, 0, &list((0, 0x0a0b), 4)), Completion::GOOD);
    hosts.good(b, REGISTER, 0, (0, 0x0c));
    assert_eq!(hosts.read_in(a, 1), [0, 0, 0, 2, 0, 0, 0, 0]);
    hosts.good(b, RESERVE, 3, (0x0c, 0));
    let keys = [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0x0c];
    assert_eq!(hosts.read_in(a, 0), keys);
    let (done, cut) = hosts.run(a, &in_cdb(0, 9), &[]);
    assert_eq!((done, &cut[..]), (Completion::GOOD, &keys[..9]));
    let held = [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0, 3, 0, 0];
    assert_eq!(hosts.read_in(a, 1), held);
    assert_eq!(hosts.read_in(b, 2), [0, 8, 0x1c, 0x90, 0xea, 0x01, 0, 0]);
    let full = hosts.read_in(a, 3);
    let ids = [id("iqn.x:a,i,0x800102030405"), id("iqn.x:b,i,0x800102030405")];
    assert_eq!(full[..8], [0, 0, 0, 2, 0, 0, 0, (48 + 2 * ids[0].len()) as u8]);
    let first = [0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(full[8..31], first);
    assert_eq!(usize::from(full[31]), ids[0].len());
    assert_eq!(full[32..32 + ids[0].len()], ids[0]);
    let second = &full[32 + ids[0].len()..];
    assert_eq!((second[7], second[12], second[13]), (0x0c, 1, 3));
    assert_eq!(second[24..], ids[1]);
}

#[test]
fn where_all_hold_no_key_is_named() {
    let hosts = Hosts::new();
    hosts.good(&hosts.a, REGISTER, 0, (0, 0xa));
    hosts.good(&hosts.a, RESERVE, 7, (0xa, 0));
    let held = [0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0];
    assert_eq!(hosts.read_in(&hosts.b, 1), held);
}

#[test]
fn bad_parameter_lists_are_refused_where_they_are_bad() {
    let hosts = Hosts::new();
    let (a, unit) = (&hosts.a, &hosts.rig.unit);
    hosts.good(a, REGISTER, 0, (0, 0xa));
    let sense = |action, kind, list: &[u8]| hosts.out(a, action, kind, list).sense;
    for length in [0, 23, 25] {
        assert_eq!(sense(1, 5, &vec![0; length]), Some(Sense::PARAMETER_LIST_LENGTH), "{length}");
    }
    let cut = run(unit, a, &out_cdb(0, 0, 24), &[0; 23]).0.sense;
    assert_eq!(cut, Some(Sense::DATA_OUT_LENGTH));
    let plain = list((0xa, 0), 0);
    for kind in [0, 2, 4, 9, 0x15, 0xf5] {
        assert_eq!(sense(RESERVE, kind, &plain), Some(Sense::invalid_cdb(2)), "{kind:#x}");
    }
    assert_eq!(sense(8, 0, &plain), Some(Sense::invalid_cdb_bit(1, 4)));
    hosts.good(a, RESERVE, 5, (0xa, 0));
    for kind in [0x15, 3] {
        assert_eq!(sense(RELEASE, kind, &plain), Some(Sense::INVALID_RELEASE), "{kind:#x}");
    }
    let spec_i_pt = list((0xa, 0), 8);
    assert_eq!(sense(6, 0, &spec_i_pt), Some(Sense::invalid_parameter_bit(20, 3)));
    let aptpl = list((0xa, 0xa), 1);
    assert_eq!(sense(REGISTER, 0, &aptpl), Some(Sense::invalid_parameter(20)), "no store");
}

#[test]
fn ports_can_be_registered_for_others_and_take_the_reservation() {
    let hosts = Hosts::new();
    let (a, b) = (&hosts.a, &hosts.b);
    let named = |ids: &[u8]| {
        let mut list = list((0, 0xa), 8);
        list.extend_from_slice(&(ids.len() as u32).to_be_bytes());
        list.extend_from_slice(ids);
        list
    };
    let nameless = [&[0x05, 0, 0, 8][..], b"iqn.x:b\0"].concat();
    for bad in [&nameless[..], &id("iqn.x:b"), &id("x,i,0x800102030405"), &[0x45, 0, 0, 40]] {
        let done = hosts.out(a, REGISTER, 0, &named(bad));
        assert_eq!(done.sense, Some(Sense::invalid_parameter(28)));
    }
    let spelled = id("IQN.x:B,i,0x800102030405");
    assert_eq!(hosts.out(a, REGISTER, 0, &named(&spelled)), Completion::GOOD);
    hosts.good(b, RESERVE, 1, (0xa, 0));
    // B gives it to A.
    let to_a = id("iqn.x:a,i,0x800102030405");
    let mut list = [0xau64.to_be_bytes(), 0xffu64.to_be_bytes(), [0, 2, 0, 1, 0, 0, 0, 0]].concat();
    list[23] = to_a.len() as u8;
    list.extend_from_slice(&to_a);
    let mut wrong_port = list.clone();
    wrong_port[19] = 2;
    let done = hosts.out(b, MOVE, 0, &wrong_port);
    assert_eq!(done.sense, Some(Sense::invalid_parameter(18)));
    assert_eq!(hosts.out(b, MOVE, 0, &list), Completion::GOOD);
    assert_eq!(hosts.run(b, &cdb10(0x2a, 0, 0, 1), &[0; 512]).0, CONFLICT);
    hosts.good(a, RELEASE, 1, (0xff, 0));
}

#[test]
fn every_command_has_the_class_of_its_table() {
    use Class::*;
    let expected = |row: &table::Row| match row.name {
        "INQUIRY" | "REPORT LUNS" | "REQUEST SENSE" | "LOG SENSE" | "REPORT TARGET PORT GROUPS" => {
            Free
        }
        "TEST UNIT READY" | "READ CAPACITY(10)" | "READ CAPACITY(16)" => Asks,
        "RESERVE(6)" | "RELEASE(6)" => Own,
        "MODE SELECT(6)"
        | "MODE SELECT(10)"
        | "START STOP UNIT"
        | "PREVENT ALLOW MEDIUM REMOVAL"
        | "SYNCHRONIZE CACHE(10)"
        | "SYNCHRONIZE CACHE(16)" => Writes,
        name if name.starts_with("PERSISTENT") => Own,
        // SPC-4's table lets only registrants ask for the results of copies.
        name if name.starts_with("RECEIVE COPY") || name == "third-party copy in" => Writes,
        _ if row.effect == table::Effect::Writes => Writes,
        _ => Reads,
    };
    for row in TABLE {
        assert_eq!(row.class, expected(row), "{}", row.name);
    }
}

#[test]
fn a_reservation_stops_what_its_class_says() {
    let hosts = Hosts::new();
    let (a, b) = (&hosts.a, &hosts.b);
    hosts.good(a, REGISTER, 0, (0, 0xa));
    for (kind, readable) in [(1, true), (3, false)] {
        hosts.good(a, RESERVE, kind, (0xa, 0));
        for row in TABLE {
            let mut cdb = [0; 16];
            let action_at = if row.opcode == 0x7f { 9 } else { 1 };
            // A row for all other actions is found by one that no row has.
            cdb[action_at] = row.service_action.unwrap_or(0x1f) as u8;
            cdb[0] = row.opcode;
            // Before anything else is looked at, so an empty CDB and no data will do.
            let conflicts = hosts.run(b, &cdb, &[]).0 == CONFLICT;
            let expected = match row.class {
                Class::Free | Class::Asks => false,
                Class::Reads => !readable,
                // Allowing removal disturbs nobody.
                Class::Writes => row.opcode != 0x1e,
                Class::Own => continue,
            };
            assert_eq!(conflicts, expected, "{} under {kind}", row.name);
        }
        assert_eq!(hosts.run(b, &[0x1b, 0, 0, 0, 1, 0], &[]).0, Completion::GOOD, "start");
        hosts.good(a, RELEASE, kind, (0xa, 0));
    }
}

#[test]
fn a_reader_cannot_reserve_anything() {
    let hosts = Hosts::new();
    let reader = hosts.rig.unit.attach("iqn.x:r", [7; 6], Access::ReadOnly);
    while reader.take_attention().is_some() {}
    for action in 0..8 {
        let done = hosts.out(&reader, action, 5, &list((0, 0xf), 0));
        assert_eq!(done.sense, Some(Sense::WRITE_PROTECTED));
    }
    assert_eq!(
        hosts.run(&reader, &[0x16, 0, 0, 0, 0, 0], &[]).0.sense,
        Some(Sense::WRITE_PROTECTED)
    );
    assert_eq!(hosts.read_in(&reader, 0), [0; 8]);
    // But it is bound by what the others reserve.
    hosts.good(&hosts.a, REGISTER, 0, (0, 0xa));
    hosts.good(&hosts.a, RESERVE, 6, (0xa, 0));
    assert_eq!(hosts.run(&reader, &cdb10(0x28, 0, 0, 1), &[]).0, CONFLICT);
}

#[test]
fn reserve_6_ends_with_its_session_and_with_a_reset() {
    let hosts = Hosts::new();
    let (a, unit) = (&hosts.a, &hosts.rig.unit);
    let reserve = |nexus: &Nexus| hosts.run(nexus, &[0x16, 0, 0, 0, 0, 0], &[]).0;
    let ready = |nexus: &Nexus| hosts.run(nexus, &[0; 6], &[]).0;
    let second = nexus(unit, "iqn.x:c");
    assert_eq!(reserve(&second), Completion::GOOD);
    assert_eq!((reserve(a), ready(a)), (CONFLICT, CONFLICT));
    assert_eq!(hosts.run(a, &in_cdb(0, 8), &[]).0, CONFLICT);
    assert_eq!(hosts.run(a, &[0x12, 0, 0, 0, 36, 0], &[]).0, Completion::GOOD);
    assert_eq!(hosts.run(a, &[0x17, 0, 0, 0, 0, 0], &[]).0, Completion::GOOD, "and no effect");
    assert_eq!(ready(a), CONFLICT);
    drop(second);
    assert_eq!(reserve(a), Completion::GOOD);
    hosts.rig.unit.reset(a);
    assert_eq!(hosts.attention(&hosts.b), Some((0x29, 0x03)));
    assert_eq!(reserve(&hosts.b), Completion::GOOD);
    let third_party = hosts.run(&hosts.b, &[0x16, 0x10, 0, 0, 0, 0], &[]).0;
    assert_eq!(third_party.sense, Some(Sense::invalid_cdb_bit(1, 4)));
}

#[test]
fn registrations_outlive_the_session_and_end_with_the_host() {
    let hosts = Hosts::new();
    let unit = &hosts.rig.unit;
    let third = nexus(unit, "iqn.x:c");
    hosts.good(&third, REGISTER, 0, (0, 0xc));
    hosts.good(&third, RESERVE, 5, (0xc, 0));
    hosts.good(&hosts.a, REGISTER, 0, (0, 0xa));
    drop(third);
    assert_eq!(hosts.run(&hosts.b, &cdb10(0x2a, 0, 0, 1), &[0; 512]).0, CONFLICT);
    let again = nexus(unit, "iqn.x:c");
    assert_eq!(hosts.run(&again, &cdb10(0x2a, 0, 0, 1), &[0; 512]).0, Completion::GOOD);
    drop(again);
    unit.forget_initiator("iqn.x:c", soon()).unwrap();
    assert_eq!(hosts.attention(&hosts.a), Some((0x2a, 0x04)));
    assert_eq!(hosts.attention(&hosts.b), None);
    assert_eq!(hosts.run(&hosts.b, &cdb10(0x2a, 0, 0, 1), &[0; 512]).0, Completion::GOOD);
    assert_eq!(hosts.read_in(&hosts.b, 0)[7..], [8, 0, 0, 0, 0, 0, 0, 0, 0xa]);
}

/// Writers hammer while one host fences another: after the answer nothing of the fenced one lands.
#[test]
fn when_a_preempt_is_answered_no_write_of_the_preempted_is_under_way() {
    for round in 0..50u8 {
        let hosts = Hosts::new();
        let (a, b) = (&hosts.a, &hosts.b);
        hosts.good(a, REGISTER, 0, (0, 0xa));
        hosts.good(b, REGISTER, 0, (0, 0xb));
        hosts.good(b, RESERVE, 5, (0xb, 0));
        let fenced = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // Every write differs from the one before, so that each that lands is seen.
                for stamp in (0..=250u8).cycle() {
                    let was_fenced = fenced.load(Ordering::SeqCst);
                    let (done, _) = hosts.run(a, &cdb10(0x2a, 0, 8, 4), &[stamp; 2048]);
                    match done {
                        Completion::GOOD => assert!(!was_fenced),
                        CONFLICT => return,
                        told => assert_eq!(told.sense.map(|s| s.asc), Some(0x2a)),
                    }
                }
            });
            for _ in 0..round {
                std::thread::yield_now();
            }
            hosts.good(b, PREEMPT_AND_ABORT, 5, (0xb, 0xa));
            let seen = hosts.rig.medium.bytes();
            fenced.store(true, Ordering::SeqCst);
            writer.join().unwrap();
            assert_eq!(hosts.rig.medium.bytes(), seen);
        });
    }
}

#[test]
fn preempt_and_abort_voids_what_is_waiting() {
    let hosts = Hosts::new();
    let (a, b, unit) = (&hosts.a, &hosts.b, &hosts.rig.unit);
    hosts.good(a, REGISTER, 0, (0, 0xa));
    hosts.good(b, REGISTER, 0, (0, 0xb));
    let began = a.aborts();
    let late = |nexus, began| {
        let (cdb, data_out) = (&cdb10(0x2a, 0, 0, 1)[..], &[9; 512][..]);
        unit.execute_begun(nexus, began, Command { cdb, data_out }, &mut crate::Buffer::default())
    };
    // Without a reservation, so that nothing but the abort can stop it.
    hosts.good(b, PREEMPT_AND_ABORT, 0, (0xb, 0xa));
    assert_eq!(late(a, began), Completion { status: Status::TaskAborted, sense: None });
    assert_eq!(hosts.rig.medium.bytes()[0], 0);
    assert_eq!(hosts.attention(a), Some((0x2a, 0x05)), "the aborted command did not take it");
    assert_eq!(late(a, a.aborts()), Completion::GOOD);
}

#[test]
fn a_reservation_does_not_wait_for_ever_and_most_changes_wait_for_nothing() {
    let mut hosts = Hosts::new();
    hosts.rig.unit = hosts.rig.unit.with_patience(Duration::from_millis(20));
    let (a, b, unit) = (&hosts.a, &hosts.b, &hosts.rig.unit);
    hosts.good(a, REGISTER, 0, (0, 0xa));
    hosts.good(b, REGISTER, 0, (0, 0xb));
    // A command of A is with the medium, and will stay there.
    let stuck = unit.enter(a);
    let before = hosts.read_in(b, 3);
    let busy = Completion { status: Status::Busy, sense: None };
    for (action, kind) in [(RESERVE, 5), (4, 5), (PREEMPT_AND_ABORT, 5)] {
        assert_eq!(hosts.out(b, action, kind, &list((0xb, 0xa), 0)), busy, "{action}");
    }
    assert_eq!(hosts.read_in(b, 3), before, "nothing has changed");
    assert_eq!(hosts.run(b, &cdb10(0x28, 0, 0, 1), &[]).0, Completion::GOOD, "and all go on");
    // Who has no right to it holds nobody up, and is told so at once.
    assert_eq!(hosts.out(b, PREEMPT_AND_ABORT, 5, &list((0xbb, 0xa), 0)), CONFLICT);
    hosts.good(b, REGISTER, 0, (0xb, 0xbb));
    unit.forget_initiator("iqn.x:b", Instant::now()).unwrap();
    hosts.good(b, REGISTER, 0, (0, 0xb));
    drop(stuck);
    hosts.good(b, RESERVE, 5, (0xb, 0));
    // What is so already need not wait: some cluster software says it every few seconds.
    let stuck = unit.enter(a);
    hosts.good(b, RESERVE, 5, (0xb, 0));
    hosts.good(b, RELEASE, 5, (0xb, 0));
    hosts.good(b, 3, 0, (0xb, 0));
    assert_eq!(hosts.run(b, &[0x16, 0, 0, 0, 0, 0], &[]).0, busy);
    drop(stuck);
    assert_eq!(hosts.run(b, &[0x16, 0, 0, 0, 0, 0], &[]).0, Completion::GOOD);
}

/// A store in memory that can fail.
#[derive(Default)]
struct Ledger {
    kept: Mutex<KeptReservations>,
    broken: AtomicBool,
}

impl ReservationStore for Arc<Ledger> {
    fn keep(&self, reservations: &KeptReservations) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("no space"));
        }
        *self.kept.lock().unwrap() = reservations.clone();
        Ok(())
    }
}

/// A store that says when it is asked and keeps when it is told to.
struct Slow {
    asked: Mutex<Sender<()>>,
    told: Mutex<Receiver<()>>,
}

impl ReservationStore for Slow {
    fn keep(&self, _: &KeptReservations) -> io::Result<()> {
        self.asked.lock().unwrap().send(()).unwrap();
        self.told.lock().unwrap().recv().map_err(io::Error::other)
    }
}

#[test]
fn who_is_put_out_while_another_one_registers_him_is_forgotten() {
    let ((asked, asks), (tell, told)) = (channel(), channel());
    let Rig { unit, medium, .. } = Rig::new(8);
    let store = Slow { asked: Mutex::new(asked), told: Mutex::new(told) };
    let unit = unit.with_reservations(Box::new(store), KeptReservations::default()).unwrap();
    let nexus = quiet(&unit, Access::ReadWrite);
    let hosts = Hosts::on(Rig { unit, nexus, medium });
    let unit = &hosts.rig.unit;
    unit.let_in("iqn.x:a", Access::ReadWrite);
    unit.let_in("iqn.x:b", Access::ReadWrite);
    let port = id("iqn.x:a,i,0x800102030405");
    let mut both = list((0, 0xb), 8 | 1);
    both.extend_from_slice(&(port.len() as u32).to_be_bytes());
    both.extend_from_slice(&port);
    std::thread::scope(|scope| {
        let registers = scope.spawn(|| hosts.out(&hosts.b, REGISTER, 0, &both));
        asks.recv().unwrap();
        unit.put_out("iqn.x:a");
        let early = unit.forget_initiator("iqn.x:a", Instant::now());
        // The second is for what remains when he is forgotten.
        (0..2).for_each(|_| tell.send(()).unwrap());
        assert_eq!(registers.join().unwrap(), Completion::GOOD);
        assert!(matches!(early, Err(NotForgotten::Busy)), "{early:?}");
    });
    unit.forget_initiator("iqn.x:a", soon()).unwrap();
    assert!(!unit.reservations().knows("iqn.x:a") && unit.reservations().knows("iqn.x:b"));
}

fn hosts_with(ledger: &Arc<Ledger>) -> Hosts {
    let Rig { unit, medium, .. } = Rig::new(8);
    let kept = ledger.kept.lock().unwrap().clone();
    let unit = unit.with_reservations(Box::new(Arc::clone(ledger)), kept).unwrap();
    let nexus = quiet(&unit, Access::ReadWrite);
    Hosts::on(Rig { unit, nexus, medium })
}

#[test]
fn what_is_to_outlive_a_power_loss_is_kept_before_the_answer() {
    let ledger = Arc::new(Ledger::default());
    let hosts = hosts_with(&ledger);
    assert_eq!(hosts.read_in(&hosts.a, 2)[2..4], [0x1d, 0x90]);
    hosts.good(&hosts.a, REGISTER, 0, (0, 0xa));
    assert_eq!(*ledger.kept.lock().unwrap(), KeptReservations::default());
    let done = hosts.out(&hosts.a, REGISTER, 0, &list((0xa, 0xaa), 1));
    assert_eq!(done, Completion::GOOD);
    assert_eq!(hosts.read_in(&hosts.a, 2)[2..4], [0x1d, 0x91]);
    hosts.good(&hosts.a, RESERVE, 6, (0xaa, 0));
    ledger.broken.store(true, Ordering::SeqCst);
    let done = hosts.out(&hosts.a, RELEASE, 6, &list((0xaa, 0), 0));
    assert_eq!(done.sense, Some(Sense::TARGET_FAILURE));
    drop(hosts);

    let hosts = hosts_with(&ledger);
    assert_eq!(hosts.run(&hosts.b, &cdb10(0x28, 0, 0, 1), &[]).0, CONFLICT);
    assert_eq!(hosts.run(&hosts.a, &cdb10(0x28, 0, 0, 1), &[]).0, Completion::GOOD);
    let forgotten = hosts.rig.unit.forget_initiator("iqn.x:a", soon());
    assert!(matches!(forgotten, Err(NotForgotten::NotKept(_))));
    assert_eq!(hosts.run(&hosts.b, &cdb10(0x28, 0, 0, 1), &[]).0, CONFLICT, "nothing changed");
    ledger.broken.store(false, Ordering::SeqCst);
    hosts.rig.unit.forget_initiator("iqn.x:a", soon()).unwrap();
    assert_eq!(hosts.run(&hosts.b, &cdb10(0x28, 0, 0, 1), &[]).0, Completion::GOOD);
    assert_eq!(*ledger.kept.lock().unwrap(), KeptReservations::default());
    let nonsense = KeptReservations {
        registrants: vec![],
        held: Some(Held { kind: ReservationType::ExclusiveAccessAllRegistrants, by: None }),
    };
    let unit = Rig::new(8).unit.with_reservations(Box::new(Arc::clone(&ledger)), nonsense);
    assert_eq!(unit.unwrap_err().kind(), io::ErrorKind::InvalidData);
}
