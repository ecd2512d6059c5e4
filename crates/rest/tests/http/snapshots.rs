//! Snapshots and copies: taken of what hosts have, shown and listed as the original does, and the
//! bodies cannot say what is a fact.

use osds_model::pool::PoolSpec;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::scene::{Scene, T, shared_pool};

fn take(scene: &Scene, volume: &str, more: &Value) -> Answer {
    let mut body = json!({"name": "s", "volumeId": volume});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    scene.post_wait(&format!("{T}/block/snapshots"), &body.to_string())
}

fn path(id: &str) -> String {
    format!("{T}/block/snapshots/{id}")
}

#[test]
fn a_snapshot_is_taken_shown_renamed_and_deleted() {
    let scene = Scene::new();
    let volume = scene.volume(false);
    let more = json!({"id": "x", "size": 99, "status": "error", "tenantId": "x",
        "metadata": {"k": "v"}});
    let taken = take(&scene, &volume, &more).expect(202);
    let id = taken.id();
    assert_eq!(taken.text("status"), "available");
    assert_eq!((taken.json()["size"].clone(), taken.text("volumeId")), (json!(1), volume.clone()));
    assert_eq!(taken.json()["metadata"], json!({"k": "v"}));
    let renamed = scene.put(&path(&id), r#"{"name":"t","status":"error","metadata":{"l":"w"}}"#);
    let renamed = renamed.expect(200);
    assert_eq!((renamed.text("name"), renamed.text("status")), ("t".into(), "available".into()));
    assert_eq!(renamed.json()["metadata"], json!({"k": "v", "l": "w"}));
    assert_eq!(scene.get(&path(&id)).expect(200).body, renamed.body);
    let words = scene.delete(&scene.volume_path(&volume)).expect(400).message();
    assert!(words.contains("still has snapshots"), "{words}");
    assert_eq!(scene.delete_wait(&path(&id)).expect(202).body, "");
    scene.get(&path(&id)).expect(404);
    scene.put(&path(&id), r#"{"name":"x"}"#).expect(404);
    scene.delete(&path(&id)).expect(404);
    scene.delete_wait(&scene.volume_path(&volume)).expect(202);
}

#[test]
fn lists_of_snapshots() {
    let scene = Scene::new();
    let (a, b) = (scene.volume(false), scene.volume(false));
    let first = take(&scene, &a, &json!({"name": "one"})).expect(202).id();
    let second = take(&scene, &b, &json!({"name": "two"})).expect(202).id();
    let list = |query: &str| -> Vec<String> {
        let list = scene.get(&format!("{T}/block/snapshots{query}")).expect(200).json();
        list.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list(""), [first.clone(), second.clone()]);
    assert_eq!(list("?limit=50&offset=0&sortDir=desc&sortKey=id"), [second.clone(), first.clone()]);
    assert_eq!(list("?sortKey=name"), [second.clone(), first.clone()]);
    assert_eq!(list(&format!("?VolumeId={a}")), [first]);
    assert_eq!(list("?Name=two&status=available&size=1"), [second]);
    assert_eq!(list("?status=error"), [""; 0]);
    assert_eq!(scene.get("/v1beta/other/block/snapshots").expect(200).body, "[]");
}

#[test]
fn a_volume_is_made_from_a_snapshot_or_from_a_volume() {
    let scene = Scene::new();
    let volume = scene.volume(false);
    let snapshot = take(&scene, &volume, &json!({})).expect(202).id();
    let make = |body: Value| scene.post_wait(&format!("{T}/block/volumes"), &body.to_string());
    let copy = make(json!({"name": "c", "size": 2, "snapshotId": snapshot})).expect(202);
    assert_eq!(
        (copy.text("status"), copy.text("snapshotId")),
        ("available".into(), snapshot.clone())
    );
    let clone = make(json!({"name": "c", "size": 1, "sourceVolumeId": volume})).expect(202);
    assert_eq!(clone.text("status"), "available");
    assert_eq!(clone.text("sourceVolumeId"), volume);
    let both = json!({"name": "c", "size": 1, "snapshotId": snapshot, "sourceVolumeId": volume});
    make(both).expect(400);
    let words = make(json!({"name": "c", "size": 1, "snapshotId": "nope"})).expect(400).message();
    assert!(words.contains("can't find"), "{words}");
    make(json!({"name": "c", "size": 1, "sourceVolumeId": "nope"})).expect(400);
}

/// The original settles on the source's pool, and then takes whichever the selector names.
#[test]
fn b16_a_copy_is_made_where_its_source_is_or_not_at_all() {
    let roomy = PoolSpec { name: "roomy".to_owned(), ..shared_pool(1000) };
    let scene = Scene::with_pools(vec![shared_pool(14), roomy]);
    let pool = |name: &str| {
        let found = scene.get(&format!("{T}/pools?name={name}")).expect(200).json();
        found[0]["id"].as_str().unwrap().to_owned()
    };
    let (tight, roomy) = (pool("shared"), pool("roomy"));
    let make = |body: Value| scene.post_wait(&format!("{T}/block/volumes"), &body.to_string());
    let anywhere = make(json!({"name": "v", "size": 1})).expect(202);
    assert_eq!(anywhere.text("poolId"), roomy, "left to itself the selector takes the other one");
    let source = make(json!({"name": "v", "size": 4, "poolId": tight})).expect(202).id();
    let snapshot = take(&scene, &source, &json!({})).expect(202).id();
    let copy = json!({"name": "c", "size": 4, "snapshotId": snapshot});
    let made = make(copy.clone()).expect(202);
    assert_eq!((made.text("status"), made.text("poolId")), ("available".into(), tight.clone()));
    let mut elsewhere = copy.clone();
    elsewhere["poolId"] = json!(roomy);
    make(elsewhere).expect(400);
    // No room where the source is: refused, however much there is elsewhere.
    let words = make(copy).expect(400).message();
    assert!(words.contains("shared"), "it names the pool: {words}");
    let clone = make(json!({"name": "c", "size": 1, "sourceVolumeId": source})).expect(400);
    assert!(clone.message().contains("size"), "{clone:?}");
    assert_eq!(
        scene.get(&format!("{T}/block/volumes?poolId={roomy}")).json().as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_group_with_a_snapshot_stays_whole() {
    let scene = Scene::new();
    let profile = scene.get(&format!("{T}/profiles?name=default_block")).json()[0]["id"].clone();
    let body = json!({"name": "g", "profiles": [profile]}).to_string();
    let group = scene.post(&format!("{T}/block/volumeGroups"), &body).expect(202).id();
    let group = format!("{T}/block/volumeGroups/{group}");
    let (plain, kept) = (scene.volume(false), scene.volume(false));
    scene.put(&group, &json!({"addVolumes": [plain, kept]}).to_string()).expect(202);
    let snapshot = take(&scene, &kept, &json!({})).expect(202).id();
    let words = scene.delete(&group).expect(400).message();
    assert!(words.contains(&format!("volume {kept} in group still has snapshots")), "{words}");
    assert_eq!(scene.status_of_volume(&plain), "available");
    scene.delete_wait(&path(&snapshot)).expect(202);
    assert_eq!(scene.delete_wait(&group).expect(202).body, "");
    scene.get(&group).expect(404);
}
