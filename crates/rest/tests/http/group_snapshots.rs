//! Group snapshots: several volumes at one moment, asked for, shown, listed and deleted as one, and
//! refused without a trace when they cannot be.

use osds_drivers::fake::{Op, When};
use osds_model::{FaultKind, Snapshot, Volume};
use osds_store::Store as _;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::scene::{Scene, Setup, T, shared_pool};

const ALL: &str = "block/groupSnapshots";

fn take(scene: &Scene, volumes: &[&str], more: &Value) -> Answer {
    let mut body = json!({"name": "g", "volumeIds": volumes});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    scene.post_wait(&format!("{T}/{ALL}"), &body.to_string())
}

fn path(id: &str) -> String {
    format!("{T}/{ALL}/{id}")
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Everything that a group snapshot is written in.
fn records(scene: &Scene) -> (Vec<Volume>, Vec<Snapshot>) {
    let view = scene.store.view();
    let volumes = view.iter::<Volume>().map(|volume| Volume::clone(volume)).collect();
    (volumes, view.iter::<Snapshot>().map(|snapshot| Snapshot::clone(snapshot)).collect())
}

#[test]
fn several_volumes_are_taken_together_and_go_together() {
    let scene = Scene::new();
    let (held, free) = (scene.volume(true), scene.volume(false));
    let host = scene.host("a");
    scene.attach(&held, &host, "rw").expect(202);
    let more = json!({"id": "x", "status": "error", "size": 99, "tenantId": "x",
        "description": "d", "metadata": {"k": "v"}});
    let taken = take(&scene, &[&held, &free], &more).expect(202);
    let id = taken.id();
    assert_ne!(id, "x");
    assert_eq!((taken.text("status"), taken.text("name")), ("available".into(), "g".into()));
    assert_eq!((taken.json()["size"].clone(), taken.text("description")), (json!(2), "d".into()));
    let snapshots = taken.json()["snapshots"].clone();
    let members = ids(&snapshots);
    assert_eq!(members.len(), 2);
    for member in snapshots.as_array().unwrap() {
        assert_eq!(
            (&member["groupSnapshotId"], &member["status"]),
            (&json!(id), &json!("available"))
        );
        assert_eq!((&member["name"], &member["metadata"]), (&json!("g"), &json!({"k": "v"})));
    }
    let of: Vec<_> = snapshots.as_array().unwrap().iter().map(|s| s["volumeId"].clone()).collect();
    assert!(of.contains(&json!(held)) && of.contains(&json!(free)), "{of:?}");
    assert_eq!(scene.get(&path(&id)).expect(200).body, taken.body);

    // Each is a snapshot like any other, but for its end.
    let one = format!("{T}/block/snapshots/{}", members[0]);
    let shown = scene.get(&one).expect(200);
    assert_eq!(shown.json(), snapshots[0]);
    let before = records(&scene);
    let refused = scene.delete(&one).expect(400);
    assert!(refused.message().contains(&format!("group snapshot {id}")), "{refused:?}");
    assert_eq!(refused.text("reason"), "inGroupSnapshot");
    assert_eq!(records(&scene), before);
    assert_eq!(scene.put(&one, r#"{"name":"mine"}"#).expect(200).text("name"), "mine");
    let copy = json!({"name": "c", "size": 1, "snapshotId": members[1]});
    let copy = scene.post_wait(&format!("{T}/block/volumes"), &copy.to_string()).expect(202);
    assert_eq!(copy.text("status"), "available");
    let words = scene.delete(&scene.volume_path(&free)).expect(400).message();
    assert!(words.contains("still has snapshots"), "{words}");

    assert_eq!(scene.delete_wait(&path(&id)).expect(202).body, "");
    scene.get(&path(&id)).expect(404);
    scene.delete(&path(&id)).expect(404);
    scene.get(&one).expect(404);
    assert_eq!(scene.get(&format!("{T}/block/snapshots")).body, "[]");
    scene.delete_wait(&scene.volume_path(&free)).expect(202);
}

#[test]
fn all_of_a_volume_group() {
    let scene = Scene::new();
    let profile = scene.get(&format!("{T}/profiles?name=default_block")).json()[0]["id"].clone();
    let group = json!({"name": "db", "profiles": [profile]}).to_string();
    let group = scene.post(&format!("{T}/block/volumeGroups"), &group).expect(202).id();
    let (data, log, other) = (scene.volume(false), scene.volume(false), scene.volume(false));
    let by_group = || {
        let body = json!({"name": "g", "groupId": group}).to_string();
        scene.post_wait(&format!("{T}/{ALL}"), &body)
    };
    let words = by_group().expect(400).message();
    assert!(words.contains("has no volumes"), "{words}");
    let join = json!({"addVolumes": [data, log]}).to_string();
    scene.put(&format!("{T}/block/volumeGroups/{group}"), &join).expect(202);
    let taken = by_group().expect(202);
    let snapshots = taken.json()["snapshots"].as_array().unwrap().clone();
    let mut of: Vec<_> = snapshots.iter().map(|s| s["volumeId"].as_str().unwrap()).collect();
    of.sort_unstable();
    assert_eq!(of, [data.as_str(), log.as_str()], "and not {other}");
    // Whose name a volume group has is not what it is called by.
    assert_ne!(taken.id(), group);
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let scene = Scene::of(Setup { far_pools: vec![far()], ..Setup::default() });
    let volume = scene.volume(false);
    let away = json!({"name": "v", "size": 1, "poolId": pool(&scene, "far")}).to_string();
    let away = scene.post_wait(&format!("{T}/block/volumes"), &away).expect(202);
    assert_eq!(away.text("status"), "available");
    let (away, nobody) = (away.id(), "019a0000-0000-7000-8000-000000000001");
    let profile = scene.get(&format!("{T}/profiles?name=default_block")).json()[0]["id"].clone();
    let group = json!({"name": "empty", "profiles": [profile]}).to_string();
    let group = scene.post(&format!("{T}/block/volumeGroups"), &group).expect(202).id();
    let before = records(&scene);
    let apart = format!("volumes {volume} and {away} are on different backends");
    for (body, words, reason) in [
        (json!({"name": "g"}), "name the volumes", Value::Null),
        (json!({"name": "g", "volumeIds": []}), "name the volumes", Value::Null),
        (json!({"name": "g", "volumeIds": [volume], "groupId": group}), "not both", Value::Null),
        (json!({"name": "g", "volumeIds": [volume, volume]}), "named twice", Value::Null),
        (json!({"name": "g", "volumeIds": [volume, nobody]}), nobody, Value::Null),
        (json!({"name": "g", "volumeIds": [volume, "x"]}), "can't find", Value::Null),
        (json!({"name": "g", "groupId": nobody}), nobody, Value::Null),
        (json!({"name": "g", "groupId": group}), "has no volumes", Value::Null),
        (json!({"name": "a/b", "volumeIds": [volume]}), "name", Value::Null),
        (json!({"volumeIds": [volume]}), "'name' is missing", Value::Null),
        (json!({"name": "g", "volumeIds": [1]}), "volumeIds", Value::Null),
        (json!({"name": "g", "volumeIds": [volume, away]}), &apart, "notTogether".into()),
    ] {
        let answer = scene.post_wait(&format!("{T}/{ALL}"), &body.to_string()).expect(400);
        assert!(answer.message().contains(words), "{body} {answer:?}");
        assert_eq!(answer.json()["reason"], reason, "{body} {answer:?}");
        assert_eq!(records(&scene), before, "{body}");
    }
    assert_eq!(scene.get(&format!("{T}/{ALL}")).expect(200).body, "[]");
    assert_eq!(take(&scene, &[&volume], &json!({})).expect(202).text("status"), "available");
}

fn far() -> osds_model::pool::PoolSpec {
    osds_model::pool::PoolSpec { name: "far".to_owned(), ..shared_pool(100) }
}

fn pool(scene: &Scene, name: &str) -> String {
    let found = scene.get(&format!("{T}/pools?name={name}")).expect(200).json();
    found[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn lists_of_group_snapshots() {
    let scene = Scene::new();
    let (a, b) = (scene.volume(false), scene.volume(false));
    let one = take(&scene, &[&a, &b], &json!({"name": "one"})).expect(202);
    let two = take(&scene, &[&b], &json!({"name": "two"})).expect(202).id();
    let alone = json!({"name": "alone", "volumeId": a}).to_string();
    let alone = scene.post_wait(&format!("{T}/block/snapshots"), &alone).expect(202);
    assert!(!alone.body.contains("groupSnapshotId"), "{alone:?}");
    let (members, one) = (ids(&one.json()["snapshots"]), one.id());
    let list = |query: &str| ids(&scene.get(&format!("{T}/{ALL}{query}")).expect(200).json());
    assert_eq!(list(""), [one.clone(), two.clone()]);
    assert_eq!(list("?limit=50&offset=0&sortDir=desc&sortKey=id"), [two.clone(), one.clone()]);
    assert_eq!(list("?sortKey=name&limit=1"), [&*two]);
    assert_eq!(list("?sortKey=size&sortDir=asc"), [two.clone(), one.clone()]);
    assert_eq!(list("?offset=1"), [&*two]);
    assert_eq!(list("?Name=one&status=available&size=2"), [&*one]);
    assert_eq!(list(&format!("?id={two}")), [two]);
    assert_eq!(list("?status=error"), [""; 0]);
    scene.get(&format!("{T}/{ALL}?limit=0")).expect(400);
    let snapshots =
        |query: &str| ids(&scene.get(&format!("{T}/block/snapshots{query}")).expect(200).json());
    assert_eq!(snapshots(&format!("?groupSnapshotId={one}")), members);
    assert_eq!(snapshots(&format!("?GroupSnapshotId={one}&VolumeId={a}")).len(), 1);
    assert_eq!(snapshots("?groupSnapshotId=x"), [""; 0]);
    assert_eq!(snapshots("").len(), 4);
}

#[test]
fn another_tenants_are_not_there() {
    let scene = Scene::new();
    let mine = json!({"name": "v", "size": 1}).to_string();
    let mine = scene.post_wait("/v1beta/t/block/volumes", &mine).expect(202).id();
    let taken = json!({"name": "g", "volumeIds": [mine]}).to_string();
    let taken = scene.post_wait(&format!("/v1beta/t/{ALL}"), &taken).expect(202);
    let of = |tenant: &str| format!("/v1beta/{tenant}/{ALL}");
    let one = |tenant: &str| format!("{}/{}", of(tenant), taken.id());
    scene.get(&one("t")).expect(200);
    scene.get(&path(&taken.id())).expect(200);
    let before = records(&scene);
    for tenant in ["t2", "", "s"] {
        assert!(!scene.get(&of(tenant)).body.contains(&taken.id()), "{tenant}");
        scene.get(&one(tenant)).expect(404);
        scene.delete_wait(&one(tenant)).expect(404);
        let body = json!({"name": "g", "volumeIds": [mine]}).to_string();
        assert_ne!(scene.post_wait(&of(tenant), &body).status, 202, "{tenant}");
    }
    assert_eq!(records(&scene), before);
    assert_eq!(scene.delete_wait(&one("t")).expect(202).body, "");
}

/// The cause names files and machines: the administrator sees it, the tenant what sort it is.
#[test]
fn a_tenant_is_not_told_the_cause() {
    let scene = Scene::new();
    let make = |name: &str| {
        let body = json!({"name": name, "size": 1}).to_string();
        scene.post_wait("/v1beta/t/block/volumes", &body).expect(202).id()
    };
    let volumes = [make("a"), make("b")];
    scene.storage.faults.fail_all(Op::Snapshot, When::Before, FaultKind::Broken);
    let body = json!({"name": "g", "volumeIds": volumes}).to_string();
    let taken = scene.post_wait(&format!("/v1beta/t/{ALL}"), &body).expect(202);
    assert_eq!(taken.text("status"), "error", "{taken:?}");
    assert!(!taken.body.contains("planned failure"), "{taken:?}");
    assert!(!taken.text("statusReason").is_empty(), "{taken:?}");
    let seen = scene.get(&path(&taken.id())).expect(200);
    assert!(seen.text("statusReason").contains("planned failure"), "{seen:?}");
    let list = scene.get(&format!("/v1beta/t/{ALL}")).expect(200);
    assert!(!list.body.contains("planned failure"), "{list:?}");
    scene.storage.faults.heal();
    // It is tried again, or goes: whichever, together.
    assert_eq!(scene.delete_wait(&path(&taken.id())).expect(202).body, "");
    assert_eq!(records(&scene).1, []);
}
