//! A volume grows under its hosts: one of them writes all the time, one only looks, and both are
//! told, once each, without a break in either session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use osds_testkit::initiator::{Answer, Data, Error, Session};
use serde_json::{Value, json};

use crate::scene::{Scene, text};

const GIB: u64 = 1 << 30;

/// A read, and what comes of it, attentions included.
fn read_bare(session: &mut Session) -> Result<(), Error> {
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x88, 1);
    session.command(&cdb, Data::In(512)).and_then(Answer::good).map(drop)
}

/// Writes the same few blocks, each time with another byte, until told to stop: how often hosts were
/// told of a new size meanwhile, how many writes were acknowledged, and the session.
fn write_on(mut session: Session, stop: &AtomicBool) -> (usize, usize, Session) {
    let (mut told, mut written) = (0, 0_usize);
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x8a, 8);
    while !stop.load(Ordering::SeqCst) {
        let data: Arc<[u8]> = vec![written as u8; 4096].into();
        match session.command(&cdb, Data::Out(data)).and_then(Answer::good) {
            Ok(_) => written += 1,
            Err(Error::CheckCondition { key: 6, asc: 0x2a, ascq: 0x09 }) => told += 1,
            Err(other) => panic!("a write failed: {other}"),
        }
    }
    (told, written, session)
}

#[test]
fn every_host_is_told_and_none_is_disturbed() {
    let mut scene = Scene::quick();
    let (a, b) = (scene.host("a", &["iqn.x:a"]), scene.host("b", &["iqn.x:b"]));
    let volume = scene.volume("v", true);
    let path = format!("block/volumes/{volume}");
    let of_a = text(&scene.attach(&volume, &a, "rw"), "id");
    let of_b = text(&scene.attach(&volume, &b, "ro"), "id");
    let (writer, mut reader) = (scene.log_in(&of_a, "iqn.x:a"), scene.log_in(&of_b, "iqn.x:b"));
    read_bare(&mut reader).unwrap();
    assert_eq!(reader.read_capacity().unwrap().blocks * 512, GIB);

    let stop = Arc::new(AtomicBool::new(false));
    let told_to_stop = Arc::clone(&stop);
    let writing = std::thread::spawn(move || write_on(writer, &told_to_stop));
    let grown: Value = scene.make(&format!("{path}/resize"), &json!({"newSize": 2})).unwrap();
    assert_eq!(
        (text(&grown, "status"), &grown["size"]),
        ("inUse".to_owned(), &json!(2)),
        "{grown}"
    );
    // It is confirmed: whoever asks now is told.
    match read_bare(&mut reader) {
        Err(Error::CheckCondition { key: 6, asc: 0x2a, ascq: 0x09 }) => {}
        other => panic!("the reader was not told: {other:?}"),
    }
    read_bare(&mut reader).unwrap();
    assert_eq!(reader.read_capacity().unwrap().blocks * 512, 2 * GIB);
    stop.store(true, Ordering::SeqCst);
    let (told, written, mut writer) = writing.join().unwrap();
    assert!(written > 0);
    // Its next command is the one that is told when no write came after.
    let told = told + usize::from(told == 0 && read_bare(&mut writer).is_err());
    assert_eq!(told, 1, "after {written} writes");

    // The new blocks are there for both, and what was written first still is.
    let last = 2 * GIB / 512 - 8;
    writer.write(last, &[b'z'; 4096]).unwrap();
    assert_eq!(reader.read(last, 8).unwrap(), [b'z'; 4096]);
    assert_eq!(reader.read(0, 1).unwrap(), [(written - 1) as u8; 512]);

    // And after a kill: the size is what the ledger and the file say.
    scene.kill();
    scene.restart();
    let mut reader = scene.log_in(&of_b, "iqn.x:b");
    assert_eq!(reader.read_capacity().unwrap().blocks * 512, 2 * GIB);
    assert_eq!(reader.read(last, 8).unwrap(), [b'z'; 4096]);
}

#[test]
fn what_cannot_grow_goes_on_and_may_be_asked_for_less() {
    let scene = Scene::quick();
    let a = scene.host("a", &["iqn.x:a"]);
    let volume = scene.volume("v", true);
    let path = format!("block/volumes/{volume}");
    let of_a = text(&scene.attach(&volume, &a, "rw"), "id");
    let mut session = scene.log_in(&of_a, "iqn.x:a");
    // The pool promises 400 GiB; no single volume may be larger than the 4 GiB it really is.
    let stuck = scene.make(&format!("{path}/resize"), &json!({"newSize": 9})).unwrap();
    assert_eq!(
        (text(&stuck, "status"), &stuck["size"]),
        ("inUse".to_owned(), &json!(1)),
        "{stuck}"
    );
    assert!(!text(&stuck, "statusReason").is_empty(), "{stuck}");
    session.write(0, &[b'a'; 4096]).unwrap();
    // The size it has: as it was, and nothing of the pool is held any more.
    let back = scene.make(&format!("{path}/resize"), &json!({"newSize": 1})).unwrap();
    assert_eq!(
        (text(&back, "status"), text(&back, "statusReason")),
        ("inUse".into(), String::new())
    );
    let grown = scene.make(&format!("{path}/resize"), &json!({"newSize": 3})).unwrap();
    assert_eq!(
        (text(&grown, "status"), &grown["size"]),
        ("inUse".to_owned(), &json!(3)),
        "{grown}"
    );
    assert_eq!(session.read(0, 8).unwrap(), [b'a'; 4096]);
}
