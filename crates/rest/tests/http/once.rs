//! Requests under an `Idempotency-Key`: a client that lost the answer asks again, and nothing is
//! made twice (the original's fault B24, for everything that can be made).

use std::collections::BTreeSet;

use serde_json::json;

use crate::client::Answer;
use crate::scene::{Scene, T, attach_body};

fn post(scene: &Scene, path: &str, key: &str, body: &str) -> Answer {
    let headers = [("Idempotency-Key", key)];
    scene.client().request("POST", path, &headers, Some(body.as_bytes()))
}

fn count(scene: &Scene, noun: &str) -> usize {
    scene.get(&format!("{T}/{noun}")).json().as_array().map_or(0, Vec::len)
}

#[test]
fn b24_everything_that_can_be_made_is_made_once() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let host = r#"{"hostName":"n","osType":"linux","ip":"10.0.0.5","accessMode":"agentless"}"#;
    let first_generation = json!({"volumeId": volume, "hostInfo": {"host": "old", "ip": "10.0.0.7",
        "initiator": "iqn.old"}});
    let profile = scene.shared_profile("of the group", "true");
    let group = json!({"name": "g", "profiles": [profile]});
    for (noun, status, body) in [
        ("block/volumes", 202, r#"{"name":"v","size":1}"#.to_owned()),
        ("host/hosts", 200, host.to_owned()),
        ("profiles", 200, r#"{"name":"p"}"#.to_owned()),
        ("block/attachments", 202, attach_body(&volume, &a, "rw")),
        ("block/attachments", 202, first_generation.to_string()),
        ("block/volumeGroups", 202, group.to_string()),
        ("block/snapshots", 202, json!({"name": "s", "volumeId": volume}).to_string()),
        ("block/groupSnapshots", 202, json!({"name": "s", "volumeIds": [volume]}).to_string()),
    ] {
        let path = format!("{T}/{noun}");
        let before = count(&scene, noun);
        let key = format!("\"{before}{noun}\"");
        let first = post(&scene, &path, &key, &body).expect(status);
        let again = post(&scene, &path, &key, &body).expect(status);
        assert_eq!(again.id(), first.id(), "{noun}");
        // Quotes are how the header is written, not what it says.
        assert_eq!(post(&scene, &path, key.trim_matches('"'), &body).id(), first.id());
        assert_eq!(count(&scene, noun), before + 1, "{noun}");
        let other = post(&scene, &path, &key, &body.replace('{', "{ ")).expect(422);
        assert!(other.message().contains("used for another request"), "{other:?}");
    }
    // The key of one route is no key of another: it would name the wrong thing.
    let body = r#"{"name":"v","size":1}"#;
    post(&scene, &format!("{T}/block/volumes"), "x", body).expect(202);
    post(&scene, &format!("{T}/profiles"), "x", body).expect(422);
    // One that attaches what is attached names what there is, and goes on naming it.
    let held = scene.attach(&volume, &b, "rw").expect(202).id();
    let path = format!("{T}/block/attachments");
    for _ in 0..2 {
        let again = post(&scene, &path, "again", &attach_body(&volume, &b, "rw")).expect(202);
        assert_eq!(again.id(), held);
    }
}

#[test]
fn keys_are_a_tenants_own() {
    let scene = Scene::new();
    let body = r#"{"name":"v","size":1}"#;
    let ids: BTreeSet<String> = ["/v1beta/t", "/v1beta/t2", T]
        .map(|tenant| post(&scene, &format!("{tenant}/block/volumes"), "k", body).expect(202).id())
        .into();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_key_without_a_word_in_it_is_refused_and_makes_nothing() {
    let scene = Scene::new();
    let path = format!("{T}/block/volumes");
    for key in ["", "\"\"", "a b", &"x".repeat(256)] {
        post(&scene, &path, key, r#"{"name":"v","size":1}"#).expect(400);
    }
    assert_eq!(count(&scene, "block/volumes"), 0);
    // What was refused is not remembered: the key is free for another try.
    post(&scene, &path, "k", r#"{"name":"v","size":0}"#).expect(400);
    post(&scene, &path, "k", r#"{"name":"v","size":1}"#).expect(202);
}

#[test]
fn what_is_gone_is_not_made_again() {
    let scene = Scene::new();
    let path = format!("{T}/block/volumes");
    let body = r#"{"name":"v","size":1}"#;
    let made = post(&scene, &path, "k", body).expect(202).id();
    scene.delete_wait(&scene.volume_path(&made)).expect(202);
    assert!(post(&scene, &path, "k", body).expect(404).message().contains("is gone"));
}

#[test]
fn of_many_at_once_one_is_done_and_all_are_told() {
    let scene = Scene::new();
    let path = format!("{T}/block/volumes");
    let ids: BTreeSet<String> = std::thread::scope(|threads| {
        let asking: Vec<_> = (0..16)
            .map(|_| {
                let (scene, path) = (&scene, &path);
                threads.spawn(move || {
                    post(scene, path, "k", r#"{"name":"v","size":1}"#).expect(202).id()
                })
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    assert_eq!(count(&scene, "block/volumes"), 1);
}
