//! Reservations that an initiator wants kept (APTPL) outlive the daemon, and only as long as they
//! should: the host that was fenced stays fenced, and the host that was detached is forgotten.

use std::fs;

use osds_testkit::initiator::{Data, Error, Session};

use crate::scene::{Scene, text, until};

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const PREEMPT_AND_ABORT: u8 = 5;
const APTPL: u8 = 1;

/// PERSISTENT RESERVE OUT, which must go well.
#[track_caller]
fn reserve(session: &mut Session, action: u8, kind: u8, keys: (u64, u64), flags: u8) {
    let mut list = [keys.0.to_be_bytes(), keys.1.to_be_bytes(), [0; 8]].concat();
    list[20] = flags;
    let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    session.command(&cdb, Data::Out(list.into())).unwrap().good().unwrap();
}

/// PERSISTENT RESERVE IN: the generation and what follows it.
fn ask(session: &mut Session, action: u8) -> (u32, Vec<u8>) {
    let cdb = [0x5e, action, 0, 0, 0, 0, 0, 1, 0, 0];
    let answer = session.command(&cdb, Data::In(256)).unwrap().good().unwrap();
    (u32::from_be_bytes(*answer.first_chunk().unwrap()), answer[8..].to_vec())
}

fn keys(session: &mut Session) -> Vec<u64> {
    ask(session, 0).1.chunks(8).map(|key| u64::from_be_bytes(key.try_into().unwrap())).collect()
}

fn conflicts<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Status(0x18)))
}

/// A volume that hosts a, b and c have read-write; its id, and their attachments.
fn shared(scene: &Scene) -> (String, [String; 3]) {
    let volume = scene.volume("v", true);
    let attachments = ["a", "b", "c"].map(|name| {
        let host = scene.host(name, &[&format!("iqn.x:{name}")]);
        text(&scene.attach(&volume, &host, "rw"), "id")
    });
    (volume, attachments)
}

#[test]
fn a_fenced_host_stays_fenced_through_a_kill_and_a_detach_is_remembered() {
    let mut scene = Scene::quick();
    let (volume, [a, b, c]) = shared(&scene);
    let file = scene.ledger(&volume).with_extension("reservations");
    {
        let mut hosts = [(&a, "iqn.x:a"), (&b, "iqn.x:b"), (&c, "iqn.x:c")];
        let [a, b, c] = hosts.each_mut().map(|(id, name)| scene.log_in(id, name));
        let (mut a, mut b, mut c) = (a, b, c);
        reserve(&mut a, REGISTER, 0, (0, 0xa), APTPL);
        reserve(&mut b, REGISTER, 0, (0, 0xb), APTPL);
        reserve(&mut c, REGISTER, 0, (0, 0xc), APTPL);
        reserve(&mut a, RESERVE, 5, (0xa, 0), 0);
        b.write(0, &[b'b'; 512]).unwrap();
        reserve(&mut a, PREEMPT_AND_ABORT, 5, (0xa, 0xb), 0);
    }
    scene.kill();
    scene.restart();
    let (mut of_a, mut of_b) = (scene.log_in(&a, "iqn.x:a"), scene.log_in(&b, "iqn.x:b"));
    // What is counted begins anew; everything else is as it was.
    assert_eq!(ask(&mut of_b, 0).0, 0);
    assert_eq!(keys(&mut of_b), [0xa, 0xc]);
    assert_eq!(ask(&mut of_b, 1).1, [0, 0, 0, 0, 0, 0, 0, 0xa, 0, 0, 0, 0, 0, 5, 0, 0]);
    assert!(conflicts(&of_b.write(0, &[b'x'; 512])));
    of_a.write(0, &[b'a'; 512]).unwrap();

    // The holder is detached as soon as anybody listens, whatever of it was let in again by then.
    drop((of_a, of_b));
    scene.kill();
    scene.restart();
    scene.remove(&format!("block/attachments/{a}"));
    let mut of_b = scene.log_in(&b, "iqn.x:b");
    assert_eq!(keys(&mut of_b), [0xc]);
    of_b.write(0, &[b'b'; 512]).unwrap();
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept.contains("iqn.x:c") && !kept.contains("iqn.x:a"), "{kept}");

    // The last registration that says so ends it for all.
    let mut of_c = scene.log_in(&c, "iqn.x:c");
    reserve(&mut of_c, REGISTER, 0, (0xc, 0xcc), 0);
    assert!(!file.exists());
    reserve(&mut of_c, REGISTER, 0, (0xcc, 0xc), APTPL);
    assert!(file.exists());
    drop((of_b, of_c));
    for attachment in [&b, &c] {
        scene.remove(&format!("block/attachments/{attachment}"));
    }
    assert!(!file.exists(), "nobody is left");
}

#[test]
fn what_is_kept_and_cannot_be_read_lets_nobody_in_until_somebody_has_looked() {
    let mut scene = Scene::quick();
    let (volume, [a, ..]) = shared(&scene);
    let file = scene.ledger(&volume).with_extension("reservations");
    reserve(&mut scene.log_in(&a, "iqn.x:a"), REGISTER, 0, (0, 0xa), APTPL);
    scene.kill();
    fs::write(&file, b"rubbish").unwrap();
    scene.restart();
    until("the log names the file and the remedy", || {
        let log = scene.log();
        (log.contains("remove the file") && log.contains(&volume)).then_some(())
    });
    fs::remove_file(&file).unwrap();
    assert_eq!(keys(&mut scene.log_in(&a, "iqn.x:a")), [0; 0]);
    // A volume goes with all that is kept of it.
    fs::write(&file, b"rubbish").unwrap();
    for attachment in scene.get("block/attachments").as_array().unwrap() {
        scene.remove(&format!("block/attachments/{}", text(attachment, "id")));
    }
    scene.remove(&format!("block/volumes/{volume}"));
    assert!(!file.exists());
}
