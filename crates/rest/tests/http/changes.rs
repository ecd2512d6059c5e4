//! What can be changed of a volume that hosts have, what an administrator can give up, and what a
//! tenant is told and may not pile up.

use osds_drivers::TargetDriver;
use osds_drivers::fake::{Op, When};
use osds_model::FaultKind;
use serde_json::{Value, json};

use crate::scene::{Scene, Setup, T, WAIT, attach_body, eventually, plain_pool, shared_pool};

/// Another tenant than the administrator's.
const TENANT: &str = "/v1beta/0123456789abcdef";

fn put_wait(scene: &Scene, path: &str, body: &Value) -> crate::client::Answer {
    scene.client().request("PUT", path, &[WAIT], Some(body.to_string().as_bytes()))
}

#[test]
fn limits_change_under_the_hosts() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    scene.attach(&volume, &a, "rw").expect(202);
    let path = format!("{}/ioLimits", scene.volume_path(&volume));
    let limits = json!({"maxIOPS": 500, "maxBWSPerHost": 20});
    let limited = put_wait(&scene, &path, &limits).expect(202).json();
    assert_eq!((&limited["ioLimits"], &limited["status"]), (&limits, &"inUse".into()));
    let enforced = || {
        let export = scene.runtime().block_on(scene.target.export_of(volume.parse().unwrap()));
        export.unwrap().unwrap().limits
    };
    // Answered when they were in force, not when they were wished for.
    assert_eq!(enforced().volume.iops.map(u64::from), Some(500));
    assert_eq!(enforced().each_host.bytes_per_second.map(u64::from), Some(20_000_000));
    // All of them at once: what is left out is not limited.
    let fewer = put_wait(&scene, &path, &json!({"maxIOPS": 7})).expect(202).json();
    assert_eq!(fewer["ioLimits"], json!({"maxIOPS": 7}));
    assert_eq!(enforced().each_host.bytes_per_second, None);
    let none = put_wait(&scene, &path, &json!({})).expect(202).json();
    assert!(none["ioLimits"].is_null() && enforced().is_none(), "{none}");
    for bad in [json!({"maxIOPS": -1}), json!({"maxBWS": i64::MAX}), json!({"maxIOPS": "x"})] {
        put_wait(&scene, &path, &bad).expect(400);
    }
    scene.put(&path.replace(&volume, "nope"), "{}").expect(404);
    // A target that cannot: said, and the host goes on.
    scene.target.faults.fail_all(Op::Limit, When::Before, FaultKind::NotSupported);
    let stuck = put_wait(&scene, &path, &limits).expect(202);
    assert!(stuck.text("statusReason").contains("planned failure"), "{stuck:?}");
    assert_eq!(stuck.text("status"), "inUse");
    scene.target.faults.heal();
    eventually("it is limited after all", || enforced().volume.iops.is_some());
}

#[test]
fn multi_attach_is_turned_on_and_off() {
    let scene =
        Scene::of(Setup { pools: vec![shared_pool(100), plain_pool(1000)], ..Setup::default() });
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let path = format!("{}/multiAttach", scene.volume_path(&volume));
    let (on, off) = (r#"{"multiAttach":true}"#, r#"{"multiAttach":false}"#);
    scene.attach(&volume, &a, "rw").expect(202);
    let second = scene.attach(&volume, &b, "rw").expect(202).id();
    let words = scene.put(&path, off).expect(400).message();
    assert!(words.contains("2 hosts have the volume; detach it everywhere but on one"), "{words}");
    scene.detach(&second);
    assert!(scene.put(&path, off).expect(200).json()["multiAttach"].is_null());
    scene.post(&format!("{T}/block/attachments"), &attach_body(&volume, &b, "rw")).expect(400);
    assert_eq!(scene.put(&path, on).expect(200).json()["multiAttach"], true);
    scene.attach(&volume, &b, "ro").expect(202);
    scene.put(&path, on).expect(200);
    scene.put(&path, "{}").expect(400);
    // One of a pool that is for volumes of one host.
    let plain = scene.volume(false);
    let words = scene.put(&format!("{}/multiAttach", scene.volume_path(&plain)), on);
    assert!(words.expect(400).message().contains("pool plain is for volumes of one host"));
}

#[test]
fn only_what_could_not_be_deleted_is_forgotten() {
    let scene = Scene::new();
    let volume = scene.volume(false);
    let path = scene.volume_path(&volume);
    let forget = format!("{path}?forget=true");
    assert!(scene.delete(&forget).expect(400).message().contains("delete it first"));
    scene.storage.faults.fail_all(Op::Delete, When::Before, FaultKind::Broken);
    scene.delete_wait(&path);
    assert_eq!(scene.status_of_volume(&volume), "errorDeleting");
    let free = || scene.get(&format!("{T}/pools")).json()[0]["freeCapacity"].clone();
    let before = free();
    scene.delete(&forget.replace(T, TENANT)).expect(403);
    assert_eq!(scene.delete(&forget).expect(202).body, "");
    scene.get(&path).expect(404);
    assert_eq!(free().as_i64().unwrap(), before.as_i64().unwrap() + 1);
}

/// The cause names files and machines; what sort of fault it is, is the tenant's to know.
#[test]
fn a_tenant_is_not_told_the_names_of_files() {
    let scene = Scene::new();
    scene.storage.faults.fail_all(Op::Create, When::Before, FaultKind::NoSpace);
    let body = r#"{"name":"v","size":1}"#;
    let volume = scene.post_wait(&format!("{TENANT}/block/volumes"), body).expect(202);
    assert_eq!(volume.text("status"), "error");
    assert_eq!(volume.text("statusReason"), "its pool has no room for it (noSpace)");
    let listed = scene.get(&format!("{TENANT}/block/volumes")).expect(200);
    assert_eq!(listed.json()[0]["statusReason"], volume.json()["statusReason"]);
    let seen = scene.get(&scene.volume_path(&volume.id())).expect(200);
    assert!(seen.text("statusReason").contains("planned failure"), "{seen:?}");

    scene.storage.faults.heal();
    scene.storage.faults.fail_all(Op::Snapshot, When::Before, FaultKind::Broken);
    let whole = scene.post_wait(&format!("{TENANT}/block/volumes"), body).expect(202).id();
    let body = json!({"name": "s", "volumeId": whole}).to_string();
    let snapshot = scene.post_wait(&format!("{TENANT}/block/snapshots"), &body).expect(202);
    let told = "it needs an administrator, who sees the cause (broken)";
    assert_eq!(snapshot.text("statusReason"), told);
    let listed = scene.get(&format!("{TENANT}/block/snapshots")).expect(200);
    assert_eq!(listed.json()[0]["statusReason"], told);
    let seen = scene.get(&format!("{T}/block/snapshots/{}", snapshot.id())).expect(200);
    assert!(seen.text("statusReason").contains("planned failure"), "{seen:?}");
}

/// Each request is bounded; what they add up to is as well.
#[test]
fn free_text_is_bounded() {
    let scene = Scene::new();
    let volume = scene.volume(false);
    let path = scene.volume_path(&volume);
    let long = "x".repeat(5000);
    for body in [
        json!({"description": long}),
        json!({"metadata": {"k": long}}),
        json!({"metadata": {(long.clone()): "v"}}),
    ] {
        let words = scene.put(&path, &body.to_string()).expect(400).message();
        assert!(words.contains("update volume failed: ") && words.contains("5000"), "{words}");
    }
    let mut refused = 0;
    for round in 0..4 {
        let pairs = (0..100).map(|n| (format!("{round}-{n}"), Value::from("v")));
        let body = json!({"metadata": pairs.collect::<serde_json::Map<_, _>>()});
        refused += usize::from(scene.put(&path, &body.to_string()).status == 400);
    }
    assert_eq!(refused, 2, "256 pairs, and no more");
    let profile = scene.shared_profile("p", "false");
    let custom = format!("{T}/profiles/{profile}/customProperties");
    scene.post(&custom, &json!({"k": long}).to_string()).expect(400);
}

/// Else a host that is fenced under one name could attach under the other.
#[test]
fn an_initiator_is_one_hosts() {
    let scene = Scene::new();
    let a = scene.host("a");
    let path = format!("{T}/host/hosts");
    let body = |name: &str, initiator: &str| {
        json!({"hostName": name, "osType": "linux", "ip": "10.0.0.1", "accessMode": "agentless",
               "availabilityZones": ["default"],
               "initiators": [{"portName": initiator, "protocol": "iscsi"}]})
        .to_string()
    };
    let (of_a, other) = ("IQN.1993-08.org.debian:01:A", "iqn.1993-08.org.debian:01:other");
    let words = scene.post(&path, &body("b", of_a)).expect(400).message();
    assert!(words.contains(&format!("is host a ({a}) already")), "{words}");
    let elsewhere = scene.post(&path.replace(T, TENANT), &body("b", of_a)).expect(400).message();
    assert!(elsewhere.contains("another tenant's host") && !elsewhere.contains(&a), "{elsewhere}");
    let b = scene.post(&path, &body("b", other)).expect(200).id();
    scene.put(&format!("{path}/{b}"), &body("b", of_a)).expect(400);
    // It moves with an edit, and is free when its host is gone.
    scene.put(&format!("{path}/{a}"), &body("a", "iqn.x:new")).expect(200);
    scene.put(&format!("{path}/{b}"), &body("b", of_a)).expect(200);
    scene.put(&format!("{path}/{b}"), &body("b", of_a)).expect(200);
    scene.delete(&format!("{path}/{b}")).expect(200);
    scene.post(&path, &body("c", of_a)).expect(200);
    scene.post(&path, &body("d", other)).expect(200);
}
