//! A host is put out in the middle of its writes: from the moment the daemon says so, its blocks
//! do not change any more.
//!
//! The host writes eight commands deep, each block stamped with the number of its command. At the
//! answer the backing file is read, not over iSCSI but behind the daemon's back, and again for a
//! while after it. Twenty rounds of each way to lose a volume.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use osds_rest_api::client::Method;
use osds_testkit::initiator::{Error, Io, Session};
use serde_json::{Value, json};

use crate::scene::{Scene, log_in, text, throughout, until};

const ROUNDS: usize = 20;
/// Bytes of one write.
const CHUNK: usize = 16 << 10;
/// Bytes that are written to, over and over.
const REGION: usize = 64 * CHUNK;
/// How long the blocks are looked at after the answer.
const AFTER: Duration = Duration::from_millis(200);

/// A host that writes until it cannot.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Error>,
}

impl Writer {
    fn start(mut session: Session, round: usize) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&acknowledged);
        let thread = std::thread::spawn(move || {
            let mut number = (round as u64) << 32;
            let next = || {
                number += 1;
                let data = number.to_le_bytes().repeat(CHUNK / 8).into();
                let lba = number % (REGION / CHUNK) as u64 * (CHUNK / 512) as u64;
                Some(Io::Write { lba, data })
            };
            let done = |_, answer: &osds_testkit::initiator::Answer| {
                assert_eq!(answer.status, 0, "a write of a host that is let in failed");
                counter.fetch_add(1, Ordering::Relaxed);
            };
            session.pipeline(8, next, done).expect_err("there is always one more write")
        });
        Self { acknowledged, thread }
    }

    /// Waits until it is really at it.
    fn is_busy(&self) {
        until("the writes are under way", || {
            (self.acknowledged.load(Ordering::Relaxed) >= 100).then_some(())
        });
    }

    /// Waits until it has noticed.
    fn has_ended(self) {
        let error = self.thread.join().unwrap();
        assert!(matches!(error, Error::ConnectionLost(_)), "{error}");
    }
}

fn region(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; REGION];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The blocks are now as they stay.
fn is_frozen(file: &File, round: usize) {
    let now = region(file);
    assert!(now.iter().any(|byte| *byte != 0), "nothing was written at all");
    throughout(AFTER, || assert!(region(file) == now, "round {round}: a write landed afterwards"));
}

fn log_in_is_refused(attachment: &Value, initiator: &str) {
    let error = log_in(attachment, initiator).unwrap_err();
    assert!(matches!(error, Error::LoginRefused { class: 2, .. }), "{error}");
}

/// Host a, host b and a volume; the volume's file.
fn set(multi_attach: bool) -> (Scene, [String; 2], String, File) {
    let scene = Scene::quick();
    let hosts = [scene.host("a", &["iqn.x:a"]), scene.host("b", &["iqn.x:b"])];
    let volume = scene.volume("v", multi_attach);
    let file = File::open(scene.blocks(&volume)).unwrap();
    (scene, hosts, volume, file)
}

#[test]
fn a_detach_that_is_answered_is_over() {
    let (scene, [a, b], volume, file) = set(true);
    let other = text(&scene.attach(&volume, &b, "ro"), "id");
    let mut reader = scene.log_in(&other, "iqn.x:b");
    for round in 0..ROUNDS {
        let attachment = scene.attach(&volume, &a, "rw");
        let id = text(&attachment, "id");
        let writer = Writer::start(scene.log_in(&id, "iqn.x:a"), round);
        writer.is_busy();
        scene.remove(&format!("block/attachments/{id}"));
        is_frozen(&file, round);
        writer.has_ended();
        log_in_is_refused(&attachment, "iqn.x:a");
        // It is the volume of the other host still, in the same session.
        reader.read(0, 8).unwrap();
        assert_eq!(text(&scene.get(&format!("block/volumes/{volume}")), "status"), "inUse");
    }
}

#[test]
fn a_fenced_host_is_out_when_its_attachment_is_gone() {
    let (scene, [a, _], volume, file) = set(true);
    for round in 0..ROUNDS {
        let attachment = scene.attach(&volume, &a, "rw");
        let id = text(&attachment, "id");
        let writer = Writer::start(scene.log_in(&id, "iqn.x:a"), round);
        writer.is_busy();
        let body = json!({"reason": "does not answer"});
        let _: Value = scene.admin.post(&format!("host/hosts/{a}/fence"), &body).unwrap();
        // Fencing takes effect at once and is confirmed like any detach.
        let gone = scene.settled(&format!("block/attachments/{id}")).unwrap_err();
        assert!(gone.is_not_found(), "{gone}");
        is_frozen(&file, round);
        writer.has_ended();
        log_in_is_refused(&attachment, "iqn.x:a");
        let body = json!({"volumeId": volume, "hostId": a});
        let refused = scene.make("block/attachments", &body).unwrap_err();
        assert!(refused.to_string().contains("fence"), "{refused}");
        let unfence = format!("host/hosts/{a}/unfence");
        scene.admin.request(Method::POST, &unfence).send().unwrap();
    }
}

/// Force drops the record only. The next host to get the volume still waits until the one before
/// it is out.
#[test]
fn after_force_nobody_gets_in_before_the_old_host_is_out() {
    let (scene, [a, b], volume, file) = set(false);
    let mut forced = 0;
    for round in 0..ROUNDS {
        let attachment = scene.attach(&volume, &a, "rw");
        let id = text(&attachment, "id");
        let writer = Writer::start(scene.log_in(&id, "iqn.x:a"), round);
        writer.is_busy();
        let path = format!("block/attachments/{id}");
        scene.admin.delete(&path).unwrap();
        match scene.admin.delete(&format!("{path}?force=true")) {
            Ok(()) => forced += 1,
            // It was quicker than we were.
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
        let next = scene.attach(&volume, &b, "rw");
        is_frozen(&file, round);
        writer.has_ended();
        log_in_is_refused(&attachment, "iqn.x:a");
        scene.remove(&format!("block/attachments/{}", text(&next, "id")));
    }
    assert!(forced > 0, "force never had anything to do");
}

/// The proof that these tests can fail.
#[test]
fn a_host_that_still_writes_is_noticed() {
    let (scene, [a, _], volume, file) = set(true);
    let id = text(&scene.attach(&volume, &a, "rw"), "id");
    let writer = Writer::start(scene.log_in(&id, "iqn.x:a"), 1);
    writer.is_busy();
    assert!(std::panic::catch_unwind(|| is_frozen(&file, 0)).is_err());
    scene.remove(&format!("block/attachments/{id}"));
    writer.has_ended();
}
