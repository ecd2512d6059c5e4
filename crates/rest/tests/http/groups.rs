//! Volume groups: who may join, what leaving means, and an end that takes all or nobody.

use osds_drivers::fake::{Op, When};
use osds_model::FaultKind;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::scene::{Scene, Setup, T, eventually, plain_pool, shared_pool};

fn default_profile(scene: &Scene) -> String {
    let list = scene.get(&format!("{T}/profiles?name=default_block")).expect(200).json();
    list[0]["id"].as_str().unwrap().to_owned()
}

fn path(id: &str) -> String {
    format!("{T}/block/volumeGroups/{id}")
}

/// A group of the default profile; its id.
fn group(scene: &Scene) -> String {
    let body = json!({"name": "g", "profiles": [default_profile(scene)]});
    scene.post(&format!("{T}/block/volumeGroups"), &body.to_string()).expect(202).id()
}

fn put(scene: &Scene, group: &str, body: &Value) -> Answer {
    scene.put(&path(group), &body.to_string())
}

fn join(scene: &Scene, group: &str, volumes: &[&String]) {
    put(scene, group, &json!({"addVolumes": volumes})).expect(202);
}

fn members(scene: &Scene, group: &str) -> Vec<String> {
    let list = scene.get(&format!("{T}/block/volumes?GroupId={group}")).expect(200).json();
    list.as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap().to_owned()).collect()
}

fn refused(answer: &Answer, words: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.message().contains(words), "{answer:?}");
}

#[test]
fn a_group_is_made_shown_renamed_and_listed() {
    let scene = Scene::new();
    let all = format!("{T}/block/volumeGroups");
    let profile = default_profile(&scene);
    let body = json!({"name": "g", "description": "d", "profiles": [profile, profile],
        "id": "mine", "status": "error", "poolId": "x", "tenantId": "x"});
    let made = scene.post(&all, &body.to_string()).expect(202);
    let id = made.id();
    assert_ne!(id, "mine");
    assert_eq!(made.json()["profiles"], json!([profile]));
    assert_eq!(made.text("status"), "available");
    let shown = scene.get(&path(&id)).expect(200);
    assert_eq!(shown.body, made.body);
    let renamed = put(&scene, &id, &json!({"name": "h", "description": ""})).expect(202);
    assert_eq!(renamed.text("name"), "h");
    assert_eq!(renamed.text("description"), "d");
    assert_ne!(renamed.text("updatedAt"), "");
    refused(&put(&scene, &id, &json!({"name": "h"})), "no valid name, description");
    let other = group(&scene);
    let list = |query: &str| -> Vec<String> {
        let list = scene.get(&format!("{all}{query}")).expect(200).json();
        let all = list.as_array().cloned().unwrap_or_default();
        all.iter().map(|group| group["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list(""), [id.clone(), other.clone()]);
    assert_eq!(list("?limit=50&offset=0&sortDir=desc&sortKey=id"), [id.clone(), other.clone()]);
    assert_eq!(list("?sortDir=asc"), [other, id.clone()]);
    assert_eq!(list("?Name=H&Status=AVAILABLE"), [id]);
    assert_eq!(scene.get(&format!("{all}?Name=nosuch")).expect(200).body, "null");
    scene.get(&format!("{all}?limit=0")).expect(400);
}

#[test]
fn a_group_wants_profiles_and_a_pool_that_fits_all_of_them() {
    let scene = Scene::with_pools(vec![shared_pool(10), plain_pool(100)]);
    let all = format!("{T}/block/volumeGroups");
    let plain = default_profile(&scene);
    let shared = scene.shared_profile("shared", "true");
    let named = |name: &str| {
        let pool = scene.get(&format!("{T}/pools?name={name}")).json();
        pool[0]["id"].as_str().unwrap().to_owned()
    };
    let make = |profiles: &[&str]| {
        scene.post(&all, &json!({"name": "g", "profiles": profiles}).to_string())
    };
    assert_eq!(make(&[&plain]).expect(202).text("poolId"), named("plain"));
    assert_eq!(make(&[&plain, &shared]).expect(202).text("poolId"), named("shared"));
    assert_eq!(make(&[&shared, &plain]).expect(202).text("poolId"), named("shared"));
    refused(&make(&[]), "profiles must be provided");
    refused(&make(&["nope"]), "profile nope not found");
    let body = json!({"name": "far", "customProperties": {"capabilities:name": "moon"}});
    let far = scene.post(&format!("{T}/profiles"), &body.to_string()).expect(200).id();
    refused(&make(&[&shared, &far]), "no available pool to meet user's requirement: shared: ");
    let body = json!({"name": "g", "profiles": [plain], "availabilityZone": "moon"});
    refused(&scene.post(&all, &body.to_string()), "no available pool");
    // A profile that a group names stays.
    let words = scene.delete(&format!("{T}/profiles/{shared}")).expect(400).message();
    assert!(words.contains("dependent volume groups : [g g]"), "{words}");
}

#[test]
fn who_may_join() {
    let scene = Scene::with_pools(vec![shared_pool(10), plain_pool(100)]);
    let profile = scene.shared_profile("shared", "true");
    let make = |body: Value| {
        scene.post_wait(&format!("{T}/block/volumes"), &body.to_string()).expect(202).id()
    };
    let fits = make(json!({"name": "fits", "size": 1, "profileId": profile}));
    let of_other_profile = make(json!({"name": "v", "size": 1, "multiAttach": true}));
    let body = json!({"name": "g", "profiles": [profile]}).to_string();
    let id = scene.post(&format!("{T}/block/volumeGroups"), &body).expect(202).id();
    let add = |group: &str, volume: &str| put(&scene, group, &json!({"addVolumes": [volume]}));
    refused(&add(&id, "nope"), "specified volume(nope) can't find");
    refused(&add(&id, &of_other_profile), "profile is not supported");
    // All of it or nothing.
    let both = json!({"name": "new", "addVolumes": [fits, of_other_profile]});
    refused(&put(&scene, &id, &both), "profile is not supported");
    assert!(members(&scene, &id).is_empty());
    assert_eq!(scene.get(&path(&id)).text("name"), "g");
    let contrary = json!({"addVolumes": [fits], "removeVolumes": [fits]});
    refused(&put(&scene, &id, &contrary), "is in both add and remove volume list");
    add(&id, &fits).expect(202);
    assert_eq!(members(&scene, &id), std::slice::from_ref(&fits));
    refused(&add(&id, &fits), "no valid name, description, addvolumes");
    let second = scene.post(&format!("{T}/block/volumeGroups"), &body).expect(202).id();
    refused(&add(&second, &fits), &format!("already in group {id}"));
    let none = json!({"removeVolumes": [fits]});
    refused(&put(&scene, &second, &none), "volume is not in group");
    // In the other pool.
    let plain = default_profile(&scene);
    let body = json!({"name": "p", "profiles": [plain]}).to_string();
    let in_plain = scene.post(&format!("{T}/block/volumeGroups"), &body).expect(202).id();
    refused(&add(&in_plain, &of_other_profile), "not local to the pool");
    put(&scene, "nope", &json!({"name": "x"})).expect(404);
    // One that failed.
    scene.storage.faults.fail_all(Op::Create, When::Before, FaultKind::Broken);
    let failed = make(json!({"name": "failed", "size": 1, "profileId": profile}));
    refused(&add(&id, &failed), "invalid status error");
}

#[test]
fn a_group_is_of_one_tenant() {
    let scene = Scene::new();
    let mine = group(&scene);
    let their_path = "/v1beta/other/block";
    let theirs = scene.post_wait(&format!("{their_path}/volumes"), r#"{"name":"v","size":1}"#);
    let theirs = theirs.expect(202).id();
    // Else whoever deletes the group would delete another tenant's data.
    let answer = put(&scene, &mine, &json!({"addVolumes": [theirs]}));
    refused(&answer, "of different tenants");
    for method in ["GET", "PUT", "DELETE"] {
        let path = format!("{their_path}/volumeGroups/{mine}");
        let body = br#"{"name":"x"}"#;
        let answer = scene.client().request(method, &path, &[], Some(body)).expect(404);
        assert!(answer.message().ends_with("Wrong resource uuid provided!"), "{answer:?}");
    }
    assert_eq!(scene.get(&format!("{their_path}/volumeGroups")).expect(200).body, "null");
}

/// The original's fault: the volume kept the group's id, and its data went with the group.
#[test]
fn b18_who_left_a_group_outlives_it() {
    let scene = Scene::new();
    let (stays, leaves) = (scene.volume(false), scene.volume(false));
    let id = group(&scene);
    join(&scene, &id, &[&stays, &leaves]);
    put(&scene, &id, &json!({"removeVolumes": [leaves]})).expect(202);
    assert!(scene.get(&scene.volume_path(&leaves)).json().get("groupId").is_none());
    let gone = scene.delete_wait(&path(&id)).expect(202);
    assert_eq!(gone.body, "");
    scene.get(&path(&id)).expect(404);
    scene.get(&scene.volume_path(&stays)).expect(404);
    assert_eq!(scene.status_of_volume(&leaves), "available");
    scene.get(&scene.volume_path(&leaves)).expect(200);
    // And it may join another.
    let other = group(&scene);
    join(&scene, &other, &[&leaves]);
}

#[test]
fn a_group_goes_whole_or_not_at_all() {
    let scene = Scene::new();
    let (free, held) = (scene.volume(false), scene.volume(false));
    let (id, host) = (group(&scene), scene.host("a"));
    join(&scene, &id, &[&free, &held]);
    let attachment = scene.attach(&held, &host, "rw").expect(202).id();
    refused(&scene.delete(&path(&id)), &format!("volume {held} in group {id} is attached"));
    assert_eq!(scene.status_of_volume(&free), "available");
    assert_eq!(scene.get(&path(&id)).text("status"), "available");
    scene.detach(&attachment);
    scene.storage.faults.fail_all(Op::Delete, When::Before, FaultKind::Broken);
    let left = scene.delete_wait(&path(&id)).expect(202);
    assert_eq!(left.text("status"), "errorDeleting");
    // Nobody joins or leaves one that is going, and asking again is no error.
    refused(&put(&scene, &id, &json!({"name": "x"})), "is being deleted");
    refused(&put(&scene, &id, &json!({"removeVolumes": [free]})), "is being deleted");
    scene.delete(&path(&id)).expect(202);
    scene.storage.faults.heal();
    eventually("the group is gone", || scene.get(&path(&id)).status == 404);
    assert_eq!(scene.get(&format!("{T}/block/volumes")).body, "[]");
}

#[test]
fn an_empty_group_is_gone_at_once_and_a_member_may_go_alone() {
    let scene = Scene::new();
    let (id, volume) = (group(&scene), scene.volume(false));
    join(&scene, &id, &[&volume]);
    scene.delete_wait(&scene.volume_path(&volume)).expect(202);
    assert!(members(&scene, &id).is_empty());
    assert_eq!(scene.get(&path(&id)).text("status"), "available");
    scene.delete(&path(&id)).expect(202);
    scene.get(&path(&id)).expect(404);
    scene.delete(&path(&id)).expect(404);
}

/// Joining, leaving and deleting at once: nothing is lost, and no group is left with nobody to take
/// its record away.
#[test]
fn races_of_members_and_the_end() {
    let scene = Scene::of(Setup { pools: vec![shared_pool(1000)], ..Setup::default() });
    for _ in 0..15 {
        let volumes: Vec<_> = (0..4).map(|_| scene.volume(false)).collect();
        let id = group(&scene);
        join(&scene, &id, &[&volumes[0], &volumes[1]]);
        std::thread::scope(|threads| {
            let (scene, id, volumes) = (&scene, &id, &volumes);
            threads.spawn(move || put(scene, id, &json!({"addVolumes": [volumes[2]]})));
            threads.spawn(move || put(scene, id, &json!({"removeVolumes": [volumes[0]]})));
            threads.spawn(move || scene.delete(&scene.volume_path(&volumes[1])));
            threads.spawn(move || scene.delete(&path(id)).expect(202));
        });
        eventually("the group is gone", || scene.get(&path(&id)).status == 404);
        // Who is left is in no group, and was never in its way.
        for volume in &volumes {
            let answer = scene.get(&scene.volume_path(volume));
            if answer.status == 200 {
                assert!(answer.json().get("groupId").is_none(), "{answer:?}");
            }
        }
        assert_eq!(scene.status_of_volume(&volumes[3]), "available");
    }
}
