//! A group snapshot of two volumes that two hosts write to at that moment is of one instant: whatever
//! either host did on one volume because of the other is in it with its cause.
//!
//! One host counts: it writes a number to the data, and when that is acknowledged to the log. The other
//! copies what it reads in the log to a place of its own in the data, and then in the log. Snapshots
//! that are taken one after the other do not keep that order, which is shown beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use osds_testkit::initiator::Session;
use serde_json::{Value, json};

use crate::scene::{Scene, text, until};
use crate::snapshot::{read, write};

/// Makes copying the data take some time, and the log none.
const FILLED: u64 = 32 << 20;
const ROUNDS: u64 = 5;
/// Where each host writes its number, on both volumes.
const OF_A: u64 = 0;
const OF_B: u64 = 8;

/// The two volumes, as one host has them.
struct Pair {
    data: Session,
    log: Session,
}

impl Pair {
    fn log_in(scene: &Scene, volumes: &[String; 2], host: &str, mode: &str) -> (Self, [String; 2]) {
        let name = format!("iqn.x:{host}");
        let id = scene.get(&format!("host/hosts?hostName={host}"))[0]["id"].clone();
        let held = volumes
            .each_ref()
            .map(|volume| text(&scene.attach(volume, id.as_str().unwrap(), mode), "id"));
        let [data, log] = held.each_ref().map(|one| scene.log_in(one, &name));
        (Self { data, log }, held)
    }

    fn log_out(self) {
        self.data.logout().unwrap();
        self.log.logout().unwrap();
    }
}

struct Counting {
    done: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Counting {
    /// Counts by itself, or what the other one has in the log.
    fn start(mut pair: Pair, at: u64, of: Option<u64>, stop: Arc<AtomicBool>) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                number = of.map_or(number + 1, |other| read(&mut pair.log, other));
                write(&mut pair.data, at, number);
                write(&mut pair.log, at, number);
                told.store(number, Ordering::SeqCst);
            }
        });
        Self { done, thread }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
}

/// What was found in copies of the two snapshots: A's number in the data and in the log, and B's.
#[derive(Debug)]
struct Found {
    a: (u64, u64),
    b: (u64, u64),
}

impl Found {
    /// In volumes made of these snapshots, of the data and of the log.
    fn looking(scene: &Scene, snapshots: &[String; 2]) -> Self {
        let copies = snapshots.each_ref().map(|snapshot| {
            let body = json!({"name": "copy", "size": 1, "snapshotId": snapshot});
            text(&scene.make("block/volumes", &body).unwrap(), "id")
        });
        let (mut pair, held) = Pair::log_in(scene, &copies, "reader", "ro");
        let mut at = |at| (read(&mut pair.data, at), read(&mut pair.log, at));
        let found = Self { a: at(OF_A), b: at(OF_B) };
        pair.log_out();
        held.iter().for_each(|one| scene.remove(&format!("block/attachments/{one}")));
        copies.iter().for_each(|copy| scene.remove(&format!("block/volumes/{copy}")));
        found
    }

    /// Whether it can have been so at one instant.
    const fn is_of_one_moment(&self) -> bool {
        let a_wrote_in_order = self.a.0 == self.a.1 || self.a.0 == self.a.1 + 1;
        // B read in the log what it wrote to the data.
        a_wrote_in_order && self.b.0 >= self.b.1 && self.b.0 <= self.a.1
    }
}

/// The snapshots of this group snapshot, of the data and of the log.
fn of_each(taken: &Value, volumes: &[String; 2]) -> [String; 2] {
    let all = taken["snapshots"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    volumes.each_ref().map(|volume| {
        let one = all.iter().find(|one| one["volumeId"] == **volume).unwrap();
        text(one, "id")
    })
}

#[test]
fn a_group_snapshot_under_two_writers_is_one_moment_of_both_volumes() {
    let mut scene = Scene::quick();
    for name in ["a", "b", "reader"] {
        scene.host(name, &[&format!("iqn.x:{name}")]);
    }
    let volumes = ["data", "log"].map(|name| scene.volume(name, true));
    let (mut on_a, _) = Pair::log_in(&scene, &volumes, "a", "rw");
    let (on_b, _) = Pair::log_in(&scene, &volumes, "b", "rw");
    for at in (2048..2048 + FILLED / 512).step_by(512) {
        on_a.data.write(at, &[b'f'; 512 * 512]).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let a = Counting::start(on_a, OF_A, None, Arc::clone(&stop));
    let b = Counting::start(on_b, OF_B, Some(OF_A), Arc::clone(&stop));
    until("both are at it", || (b.done() > 10).then_some(()));
    let go_on = || {
        let more = a.done() + 20;
        until("writes go on", || (a.done() > more).then_some(()));
    };

    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        let before = (a.done(), b.done());
        let body = json!({"name": format!("g{round}"), "volumeIds": volumes});
        let group = scene.make("block/groupSnapshots", &body).unwrap();
        assert_eq!(text(&group, "status"), "available", "{group}");
        taken.push((text(&group, "id"), of_each(&group, &volumes), before, a.done()));
        go_on();
    }
    let one_by_one = volumes.each_ref().map(|volume| {
        let body = json!({"name": "s", "volumeId": volume});
        let snapshot = scene.make("block/snapshots", &body).unwrap();
        go_on();
        text(&snapshot, "id")
    });
    stop.store(true, Ordering::SeqCst);
    a.thread.join().unwrap();
    b.thread.join().unwrap();

    // What was taken does not depend on who was there when it was.
    scene.kill();
    scene.restart();
    let mut last = 0;
    for (group, snapshots, before, after) in taken {
        let found = Found::looking(&scene, &snapshots);
        let all = format!("{found:?}, {before:?} to {after}");
        assert!(found.is_of_one_moment(), "{all}");
        assert!(found.a.1 >= before.0 && found.b.1 >= before.1, "acknowledged before: {all}");
        assert!(found.a.0 <= after + 1, "what came after: {all}");
        assert!(found.a.0 > last, "another moment each time: {all}");
        last = found.a.0;
        scene.remove(&format!("block/groupSnapshots/{group}"));
    }
    let found = Found::looking(&scene, &one_by_one);
    assert!(!found.is_of_one_moment(), "the check would see two moments: {found:?}");
    let left = scene.get("block/snapshots");
    assert_eq!(left.as_array().map(Vec::len), Some(2), "{left}");
    assert_eq!(scene.get("block/groupSnapshots"), json!([]));
}
