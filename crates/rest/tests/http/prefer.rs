//! `Prefer: wait`: the answer comes when there is something to say.

use std::thread;
use std::time::{Duration, Instant};

use osds_drivers::fake::{Op, When};

use crate::scene::{Scene, T, WAIT};

const APPLIED: &str = "preference-applied";

#[test]
fn with_it_the_answer_shows_what_has_become_of_the_wish() {
    let scene = Scene::new();
    let (a, volumes) = (scene.host("a"), format!("{T}/block/volumes"));
    let body = r#"{"name":"v","size":1}"#;
    let at_once = scene.post(&volumes, body).expect(202);
    assert_eq!((at_once.text("status"), at_once.header(APPLIED)), ("creating".into(), None));
    let made = scene.post_wait(&volumes, body).expect(202);
    assert_eq!(made.text("status"), "available");
    assert_eq!(made.header(APPLIED), Some("wait"));
    let id = made.id();
    let resize = format!("{}/resize", scene.volume_path(&id));
    let grown = scene.post_wait(&resize, r#"{"newSize":3}"#).expect(202);
    assert_eq!((grown.text("status"), grown.text("size")), ("available".into(), "3".into()));
    let attached = scene.attach(&id, &a, "rw").expect(202);
    assert_eq!(attached.text("status"), "available");
    assert_eq!(attached.header(APPLIED), Some("wait"));
    let gone = scene.delete_wait(&scene.attachment_path(&attached.id())).expect(202);
    assert_eq!((gone.body.as_str(), gone.header(APPLIED)), ("", Some("wait")));
    scene.get(&scene.attachment_path(&attached.id())).expect(404);
    let gone = scene.delete_wait(&scene.volume_path(&id)).expect(202);
    assert_eq!(gone.body, "");
    scene.get(&scene.volume_path(&id)).expect(404);
    // Nothing to wait for is no reason to wait.
    scene.delete_wait(&scene.volume_path(&id)).expect(404);
}

#[test]
fn the_wait_ends_when_the_time_is_over() {
    let scene = Scene::new();
    let gate = scene.storage.faults.pause(Op::Create, When::Before);
    let since = Instant::now();
    let wait = [("Prefer", "respond-async, wait=1")];
    let body = Some(&br#"{"name":"v","size":1}"#[..]);
    let path = format!("{T}/block/volumes");
    let answer = scene.client().request("POST", &path, &wait, body).expect(202);
    assert_eq!((answer.text("status"), answer.header(APPLIED)), ("creating".into(), Some("wait")));
    assert!((1..10).contains(&since.elapsed().as_secs()));
    drop(gate);
}

#[test]
fn the_wait_ends_as_soon_as_the_thing_has_settled() {
    let scene = Scene::new();
    let gate = scene.storage.faults.pause(Op::Create, When::Before);
    let made = scene.post(&format!("{T}/block/volumes"), r#"{"name":"v","size":1}"#).expect(202);
    let path = scene.volume_path(&made.id());
    scene.runtime().block_on(gate.arrived());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let since = Instant::now();
            (scene.client().request("GET", &path, &[WAIT], None), since.elapsed())
        });
        // One that leaves in the middle of its wait takes nothing with it.
        let mut leaving = scene.client();
        leaving.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nPrefer: wait=30\r\n\r\n")).unwrap();
        drop(leaving);
        scene.get(&path).expect(200);
        gate.open();
        let (answer, took) = waiting.join().unwrap();
        assert_eq!(answer.text("status"), "available");
        assert!(took < Duration::from_secs(20));
    });
}
