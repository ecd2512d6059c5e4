//! A snapshot of a volume that two hosts write to at that moment is the volume as it was at one
//! instant: what each host wrote before, nothing of what came after, and never an effect without its
//! cause.
//!
//! Each host counts: it writes a number to the front of the volume, and when that is acknowledged to
//! the back. The second host counts what it reads of the first. A copy goes from front to back, so one
//! that is taken while writes go on finds a back that is ahead of its front.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use osds_testkit::initiator::Session;
use serde_json::{Value, json};

use crate::scene::{Scene, text, until};

/// Blocks of the volume.
const END: u64 = (1 << 30) / 512;
/// Makes a copy take some time.
const FILLED: u64 = 48 << 20;
const ROUNDS: u64 = 8;

/// Where a host writes its number, first and second.
#[derive(Clone, Copy)]
struct Places {
    front: u64,
    back: u64,
}

const OF_A: Places = Places { front: 0, back: END - 8 };
const OF_B: Places = Places { front: 8, back: END - 16 };

pub fn write(session: &mut Session, at: u64, number: u64) {
    session.write(at, &number.to_le_bytes().repeat(64)).expect("a host that is let in writes");
}

pub fn read(session: &mut Session, at: u64) -> u64 {
    let block = session.read(at, 1).expect("a host that is let in reads");
    let (number, rest) = block.split_first_chunk().expect("a block is longer");
    let number = u64::from_le_bytes(*number);
    assert!(rest.chunks(8).all(|other| other == number.to_le_bytes()), "a torn block");
    number
}

/// A host that counts until it is told to stop.
struct Counting {
    /// What both of its places have at least.
    done: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Counting {
    /// Counts by itself, or what it sees of another.
    fn start(mut session: Session, own: Places, of: Option<Places>, stop: Arc<AtomicBool>) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                number = of.map_or(number + 1, |other| read(&mut session, other.back));
                write(&mut session, own.front, number);
                write(&mut session, own.back, number);
                told.store(number, Ordering::SeqCst);
            }
        });
        Self { done, thread }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
}

#[test]
fn a_snapshot_under_two_writers_is_one_moment_of_both() {
    let mut scene = Scene::quick();
    let (a, b) = (scene.host("a", &["iqn.x:a"]), scene.host("b", &["iqn.x:b"]));
    let volume = scene.volume("v", true);
    let of_a = text(&scene.attach(&volume, &a, "rw"), "id");
    let of_b = text(&scene.attach(&volume, &b, "rw"), "id");
    let (mut on_a, on_b) = (scene.log_in(&of_a, "iqn.x:a"), scene.log_in(&of_b, "iqn.x:b"));
    for at in (2048..2048 + FILLED / 512).step_by(512) {
        on_a.write(at, &[b'f'; 512 * 512]).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let counts_a = Counting::start(on_a, OF_A, None, Arc::clone(&stop));
    let counts_b = Counting::start(on_b, OF_B, Some(OF_A), Arc::clone(&stop));
    until("both are at it", || (counts_b.done() > 10).then_some(()));

    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        let before = (counts_a.done(), counts_b.done());
        let body = json!({"name": format!("s{round}"), "volumeId": volume});
        let snapshot: Value = scene.make("block/snapshots", &body).unwrap();
        assert_eq!(text(&snapshot, "status"), "available", "{snapshot}");
        taken.push((text(&snapshot, "id"), before, counts_a.done()));
        let more = counts_a.done() + 20;
        until("writes go on", || (counts_a.done() > more).then_some(()));
    }
    stop.store(true, Ordering::SeqCst);
    counts_a.thread.join().unwrap();
    counts_b.thread.join().unwrap();

    // What a snapshot is does not depend on who was there when it was taken.
    scene.kill();
    scene.restart();
    let (mut last, rounds) = (0, taken.len());
    for (snapshot, before, after) in taken {
        let body = json!({"name": "copy", "size": 1, "snapshotId": snapshot});
        let copy = text(&scene.make("block/volumes", &body).unwrap(), "id");
        let held = text(&scene.attach(&copy, &b, "ro"), "id");
        let mut session = scene.log_in(&held, "iqn.x:b");
        let mut found = |at| read(&mut session, at);
        let (front_a, back_a) = (found(OF_A.front), found(OF_A.back));
        let (front_b, back_b) = (found(OF_B.front), found(OF_B.back));
        let all = format!("a {front_a} {back_a}, b {front_b} {back_b}, {before:?} to {after}");
        assert!(front_a == back_a || front_a == back_a + 1, "a's order: {all}");
        assert!(front_b >= back_b, "b's order: {all}");
        assert!(front_b <= back_a, "b saw what a had not written: {all}");
        assert!(back_a >= before.0 && back_b >= before.1, "what was acknowledged before: {all}");
        assert!(front_a <= after + 1, "what came after: {all}");
        assert!(front_a > last, "another moment each time: {all}");
        last = front_a;
        assert_eq!(session.read(2048, 1).unwrap(), [b'f'; 512]);
        session.logout().unwrap();
        scene.remove(&format!("block/attachments/{held}"));
        scene.remove(&format!("block/volumes/{copy}"));
        scene.remove(&format!("block/snapshots/{snapshot}"));
    }
    assert_eq!(rounds as u64, ROUNDS);
}
