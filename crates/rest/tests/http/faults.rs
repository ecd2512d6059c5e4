//! One test for each fault of the original that this slice does not have (reference page, section
//! 2.4). B4, B5 and half of B23 are races: see `races.rs`.
//!
//! Elsewhere: B12 (FusionStorage) and the array's side of B20 to B22 in testkit/tests/fusionstorage.rs,
//! their iSCSI side in testkit/tests/embedded.rs; B16 and B18 in snapshots.rs and groups.rs.

use std::time::Duration;

use osds_drivers::fake::{Denied, Op, When};
use osds_model::{FaultKind, HostId, VolumeId};
use serde_json::json;

use crate::scene::{Scene, Setup, T, WAIT, attach_body, eventually, gib, plain_pool, shared_pool};

fn write(scene: &Scene, host: &str, volume: &str) -> Result<(), Denied> {
    let (host, volume) = ids(host, volume);
    scene.target.write_as(host, volume, 0, b"x")
}

fn read(scene: &Scene, host: &str, volume: &str) -> Result<(), Denied> {
    let (host, volume) = ids(host, volume);
    scene.target.read_as(host, volume, 0, &mut [0; 512])
}

fn ids(host: &str, volume: &str) -> (HostId, VolumeId) {
    (host.parse().unwrap(), volume.parse().unwrap())
}

#[test]
fn b01_detach_of_one_of_two_keeps_in_use() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let first = scene.attach(&volume, &a, "rw").expect(202).id();
    let second = scene.attach(&volume, &b, "rw").expect(202).id();
    scene.detach(&first);
    assert_eq!(scene.status_of_volume(&volume), "inUse");
    assert_eq!(write(&scene, &b, &volume), Ok(()));
    assert_eq!(read(&scene, &a, &volume), Err(Denied::NotGranted));
    scene.detach(&second);
    assert_eq!(scene.status_of_volume(&volume), "available");
}

#[test]
fn b02_a_host_that_has_the_volume_is_told_that_it_grows() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let first = scene.attach(&volume, &a, "rw").expect(202).id();
    scene.attach(&volume, &b, "rw").expect(202);
    scene.detach(&first);
    let path = scene.volume_path(&volume);
    let end = 2 * (1 << 30) - 1;
    let (host, id) = ids(&b, &volume);
    let at_the_end = || scene.target.write_as(host, id, end, b"x");
    assert_eq!(at_the_end(), Err(Denied::OutOfRange));
    // Not confirmed, and not said to be larger, before the host knows.
    scene.target.faults.fail_all(Op::Resized, When::Before, FaultKind::Temporary);
    let growing = scene.post_wait(&format!("{path}/resize"), r#"{"newSize":2}"#).expect(202);
    assert_eq!(
        (growing.text("status"), growing.json()["size"].clone()),
        ("inUse".into(), 1.into())
    );
    assert!(growing.text("statusReason").contains("planned failure"), "{growing:?}");
    scene.target.faults.heal();
    // The same again is no mistake while it is not done.
    scene.post(&format!("{path}/resize"), r#"{"newSize":2}"#).expect(202);
    eventually("it has grown", || scene.get(&path).json()["size"] == 2);
    assert_eq!(scene.status_of_volume(&volume), "inUse");
    assert_eq!(at_the_end(), Ok(()));
}

#[test]
fn b03_a_failed_second_attach_leaves_the_first_untouched() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let first = scene.attach(&volume, &a, "rw").expect(202);
    assert_eq!(first.text("status"), "available");
    scene.target.faults.fail_all(Op::Grant, When::Before, FaultKind::Broken);
    let second = scene.attach(&volume, &b, "rw").expect(202);
    assert_eq!(second.text("status"), "error");
    assert!(second.text("statusReason").contains("planned failure"), "{second:?}");
    assert_eq!(scene.status_of_volume(&volume), "inUse");
    let now = scene.get(&scene.attachment_path(&first.id())).expect(200);
    assert_eq!(now.text("status"), "available");
    assert_eq!(now.json()["connectionInfo"], first.json()["connectionInfo"]);
    assert_eq!(write(&scene, &a, &volume), Ok(()));
    // And the failed one can be taken away, though it never was.
    scene.detach(&second.id());
    assert_eq!(scene.attachments_of(&volume).len(), 1);
    assert_eq!(scene.status_of_volume(&volume), "inUse");
}

#[test]
fn b05_a_second_attach_is_granted_while_the_first_is_under_way() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let gate = scene.target.faults.pause(Op::Grant, When::Before);
    let path = format!("{T}/block/attachments");
    let first = scene.post(&path, &attach_body(&volume, &a, "rw")).expect(202).id();
    scene.runtime().block_on(gate.arrived());
    assert_eq!(scene.status_of_volume(&volume), "attaching");
    let second = scene.post(&path, &attach_body(&volume, &b, "ro")).expect(202).id();
    gate.open();
    for id in [first, second] {
        let path = scene.attachment_path(&id);
        let shown = scene.client().request("GET", &path, &[WAIT], None);
        assert_eq!(shown.text("status"), "available");
    }
    assert_eq!(scene.status_of_volume(&volume), "inUse");
}

#[test]
fn b06_a_detach_that_fails_keeps_its_record_and_is_tried_again() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(false));
    let held = scene.attach(&volume, &a, "rw").expect(202).id();
    let path = scene.attachment_path(&held);
    scene.target.faults.fail_all(Op::Revoke, When::Before, FaultKind::Temporary);
    let left = scene.delete_wait(&path).expect(202);
    assert_eq!(left.text("status"), "errorDeleting");
    assert!(left.text("statusReason").contains("planned failure"));
    assert_eq!(scene.status_of_volume(&volume), "inUse");
    assert_eq!(write(&scene, &a, &volume), Ok(()), "the host has access, and the record says so");
    scene.attach(&volume, &b, "rw").expect(400);
    scene.delete(&path).expect(202);
    scene.target.faults.heal();
    eventually("the detach goes on by itself", || scene.get(&path).status == 404);
    assert_eq!(read(&scene, &a, &volume), Err(Denied::NotGranted));
    assert_eq!(scene.attach(&volume, &b, "rw").expect(202).text("status"), "available");
}

#[test]
fn b07_read_only_is_enforced_by_the_target() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    scene.attach(&volume, &a, "rw").expect(202);
    let reader = scene.attach(&volume, &b, "ro").expect(202);
    assert_eq!(reader.json()["connectionInfo"]["data"]["accessMode"], "ro");
    assert_eq!(write(&scene, &a, &volume), Ok(()));
    assert_eq!(read(&scene, &b, &volume), Ok(()));
    assert_eq!(write(&scene, &b, &volume), Err(Denied::WriteProtected));
}

#[test]
fn b07_read_only_is_refused_where_the_target_cannot_enforce_it() {
    let target = osds_drivers::fake::FakeTarget::without_read_only_per_host();
    let scene = Scene::of(Setup { target, ..Setup::default() });
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    scene.attach(&volume, &a, "rw").expect(202);
    let words = scene.attach(&volume, &b, "ro").expect(400).message();
    assert!(words.contains("cannot enforce read-only"), "{words}");
    scene.attach(&volume, &b, "rw").expect(202);
}

#[test]
fn b08_a_host_has_a_volume_once() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    let first = scene.attach(&volume, &a, "rw").expect(202);
    let again = scene.attach(&volume, &a, "rw").expect(202);
    assert_eq!(first.body, again.body);
    assert_eq!(scene.attachments_of(&volume).len(), 1);
    let other = scene.attach(&volume, &a, "ro").expect(400).message();
    assert!(other.contains("detach it first"), "{other}");
    scene.detach(&first.id());
    assert_eq!(read(&scene, &a, &volume), Err(Denied::NotGranted));
}

#[test]
fn b09_every_spelling_of_multi_attach_means_it() {
    let scene = Scene::with_pools(vec![plain_pool(1000), shared_pool(10)]);
    let spellings =
        [r#""<is> true""#, r#""<is> True""#, r#""<is> TRUE""#, "true", r#""true""#, r#""True""#];
    for (n, spelling) in spellings.into_iter().enumerate() {
        let profile = scene.shared_profile(&format!("p{n}"), spelling);
        let body = format!(r#"{{"name":"v","size":1,"profileId":"{profile}"}}"#);
        let made = scene.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
        assert_eq!(made.text("multiAttach"), "true", "{spelling}");
        let pool = scene.get(&format!("{T}/pools/{}", made.text("poolId")));
        assert_eq!(pool.text("name"), "shared", "{spelling}");
    }
    let not = scene.shared_profile("not", r#""<is> false""#);
    let body = format!(r#"{{"name":"v","size":1,"profileId":"{not}"}}"#);
    let made = scene.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
    assert_eq!(made.json().get("multiAttach"), None);
}

#[test]
fn b10_multi_attach_in_the_body_needs_a_pool_that_has_it() {
    let scene = Scene::with_pools(vec![plain_pool(1000), shared_pool(10)]);
    let volumes = format!("{T}/block/volumes");
    let made = scene.post_wait(&volumes, r#"{"name":"v","size":1,"multiAttach":true}"#);
    let pool = scene.get(&format!("{T}/pools/{}", made.expect(202).text("poolId")));
    assert_eq!(pool.text("name"), "shared");
    let plain = scene.get(&format!("{T}/pools?name=plain")).json()[0]["id"].clone();
    let body = json!({"name": "v", "size": 1, "multiAttach": true, "poolId": plain}).to_string();
    let words = scene.post(&volumes, &body).expect(400).message();
    assert!(words.contains("multiAttach"), "{words}");
}

#[test]
fn b11_the_seeds_own_profile_command_works_as_printed() {
    let scene = Scene::new();
    let body = r#"{"name": "multi-attach", "description": "multi attach profile","customProperties":{"capabilities:multiAttach":"<is> true"}}"#;
    let made = scene.post(&format!("{T}/profiles"), body).expect(200);
    assert_eq!(made.text("storageType"), "block");
}

#[test]
fn b13_what_fails_says_so_and_can_be_taken_away() {
    let scene = Scene::new();
    let volumes = format!("{T}/block/volumes");
    scene.storage.faults.fail_all(Op::Create, When::Before, FaultKind::Broken);
    let failed = scene.post_wait(&volumes, r#"{"name":"v","size":1}"#).expect(202);
    assert_eq!(failed.text("status"), "error");
    assert!(failed.text("statusReason").contains("planned failure"));
    scene.delete_wait(&scene.volume_path(&failed.id())).expect(202);
    scene.get(&scene.volume_path(&failed.id())).expect(404);
    // And what failed for a while comes true when it can.
    let later = scene.post_wait(&volumes, r#"{"name":"v","size":1}"#).expect(202).id();
    scene.storage.faults.heal();
    eventually("the volume is made", || scene.status_of_volume(&later) == "available");
}

#[test]
fn b13_a_store_that_is_gone_is_503_and_reads_go_on() {
    let scene = Scene::new();
    let volume = scene.volume(false);
    scene.store.close();
    let answer = scene.post(&format!("{T}/block/volumes"), r#"{"name":"v","size":1}"#).expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.message(), "the records cannot be written at the moment; try again");
    scene.delete(&scene.volume_path(&volume)).expect(503);
    scene.get(&scene.volume_path(&volume)).expect(200);
}

#[test]
fn b14_nobody_writes_facts_over_the_api() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(false));
    let path = scene.volume_path(&volume);
    let before = scene.get(&path).json();
    // POST with an id that is taken makes another volume.
    let body = json!({"id": volume, "name": "hijack", "size": 5, "status": "inUse",
        "createdAt": "2000-01-01T00:00:00", "tenantId": "other"});
    let made = scene.post_wait(&format!("{T}/block/volumes"), &body.to_string()).expect(202);
    assert_ne!(made.id(), volume);
    assert_eq!(made.text("status"), "available");
    assert!(!made.text("createdAt").starts_with("2000"));
    assert_ne!(made.text("tenantId"), "other");
    assert_eq!(scene.get(&path).json(), before);
    // PUT takes metadata and names, nothing else.
    let body = r#"{"status":"inUse","multiAttach":true,"size":77,"poolId":"xx","profileId":"yy","availabilityZone":"zz","tenantId":"t","createdAt":"x","metadata":{"k":"v"}}"#;
    let mut put = scene.put(&path, body).expect(200).json();
    assert_eq!(put["metadata"], json!({"k": "v"}));
    put.as_object_mut().unwrap().remove("metadata");
    put["updatedAt"] = before["updatedAt"].clone();
    assert_eq!(put, before);
    // Attachments: neither at POST nor at PUT.
    let body = json!({"id": volume, "volumeId": volume, "hostId": a, "status": "available",
        "connectionInfo": {"driverVolumeType": "fc"}});
    let held = scene.post_wait(&format!("{T}/block/attachments"), &body.to_string()).expect(202);
    assert_ne!(held.id(), volume);
    let body = r#"{"mountpoint":"/dev/sdx","attachMode":"ro","status":"bogus","hostId":"zz","connectionInfo":{"driverVolumeType":"fc","data":{"x":1}}}"#;
    let put = scene.put(&scene.attachment_path(&held.id()), body).expect(200).json();
    assert_eq!(put["mountpoint"], "/dev/sdx");
    // Its answer shows no password; a look does.
    let shown = scene.get(&scene.attachment_path(&held.id())).json();
    for key in ["status", "hostId", "attachMode", "connectionInfo"] {
        assert_eq!(shown[key], held.json()[key], "{key}");
    }
    assert_eq!(held.json()["connectionInfo"]["driverVolumeType"], "iscsi");
}

#[test]
fn b15_each_volume_is_worked_on_by_its_own_dock() {
    let far = osds_model::pool::PoolSpec { name: "far".to_owned(), ..shared_pool(10) };
    let setup = Setup { pools: vec![shared_pool(10)], far_pools: vec![far], ..Setup::default() };
    let scene = Scene::of(setup);
    let a = scene.host("a");
    for (pool, near) in [("shared", true), ("far", false)] {
        let id = scene.get(&format!("{T}/pools?name={pool}")).json()[0]["id"].clone();
        let body = json!({"name": "v", "size": 1, "poolId": id}).to_string();
        let made = scene.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
        assert_eq!(made.text("status"), "available");
        scene.attach(&made.id(), &a, "rw").expect(202);
        let (host, volume) = ids(&a, &made.id());
        assert_eq!(scene.target.write_as(host, volume, 0, b"x").is_ok(), near);
        assert_eq!(scene.far_target.write_as(host, volume, 0, b"x").is_ok(), !near);
    }
    assert_eq!(
        (scene.storage.faults.calls(Op::Create), scene.far.faults.calls(Op::Create)),
        (1, 1)
    );
}

#[test]
fn b17_custom_properties_can_be_added_and_removed() {
    let scene = Scene::new();
    let profile = scene.post(&format!("{T}/profiles"), r#"{"name":"p"}"#).expect(200).id();
    let custom = format!("{T}/profiles/{profile}/customProperties");
    let added = scene.post(&custom, r#"{"diskType":"SSD","capabilities:a.b":"x"}"#).expect(200);
    assert_eq!(added.json(), json!({"capabilities:a.b": "x", "diskType": "SSD"}));
    let merged = scene.post(&custom, r#"{"diskType":"HDD"}"#).expect(200);
    assert_eq!(merged.json(), json!({"capabilities:a.b": "x", "diskType": "HDD"}));
    scene.delete(&format!("{custom}/diskType")).expect(200);
    assert_eq!(scene.get(&custom).json(), json!({"capabilities:a.b": "x"}));
    scene.post("/v1beta/x/profiles/nope/customProperties", "{}").expect(404);
    // A filter that nobody can understand is refused now, not when a volume is made.
    scene.post(&custom, r#"{"capabilities:freeCapacity":">= lots"}"#).expect(400);
}

#[test]
fn b19_a_tenant_is_not_a_prefix() {
    let scene = Scene::new();
    let body = r#"{"name":"v","size":1}"#;
    scene.post_wait("/v1beta/othertenant2/block/volumes", body).expect(202);
    scene
        .post(
            "/v1beta/othertenant2/host/hosts",
            r#"{"hostName":"h","osType":"linux","ip":"10.0.0.2","accessMode":"agentless"}"#,
        )
        .expect(200);
    for noun in ["block/volumes", "host/hosts", "block/attachments"] {
        assert_eq!(scene.get(&format!("/v1beta/othertenant/{noun}")).body, "[]");
    }
    assert_ne!(scene.get("/v1beta/othertenant2/block/volumes").body, "[]");
}

#[test]
fn b23_free_space_is_what_is_left_and_broken_pools_show() {
    let pools = vec![shared_pool(10)];
    let sweep_every = Duration::from_millis(20);
    let scene = Scene::of(Setup { pools, sweep_every, ..Setup::default() });
    let pool = || scene.get(&format!("{T}/pools")).json()[0].clone();
    let created_at = pool()["createdAt"].clone();
    let body = r#"{"name":"v","size":6}"#;
    let volume = scene.post(&format!("{T}/block/volumes"), body).expect(202).id();
    // At once: not at the next scan.
    assert_eq!((&pool()["freeCapacity"], &pool()["consumedCapacity"]), (&4.into(), &6.into()));
    scene.post(&format!("{T}/block/volumes"), body).expect(400);
    scene.delete_wait(&scene.volume_path(&volume)).expect(202);
    assert_eq!(pool()["freeCapacity"], 10);
    scene.storage.break_pool("shared", Some(FaultKind::Broken));
    eventually("the pool is unavailable", || pool()["status"] == "unavailable");
    let words = scene.post(&format!("{T}/block/volumes"), body).expect(400).message();
    assert!(words.contains("available"), "{words}");
    scene.storage.break_pool("shared", None);
    eventually("the pool is back", || pool()["status"] == "available");
    assert_eq!(pool()["createdAt"], created_at);
    assert_eq!(shared_pool(10).usable, gib(10));
}

/// The same request twice makes one attachment. (Two requests for volumes make two volumes, unless
/// they say by an `Idempotency-Key` that they are one: see `once`.)
#[test]
fn b24_a_retried_attach_makes_no_second_attachment() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    let gate = scene.target.faults.pause(Op::Grant, When::Before);
    let path = format!("{T}/block/attachments");
    let first = scene.post(&path, &attach_body(&volume, &a, "rw")).expect(202);
    let retried = scene.post(&path, &attach_body(&volume, &a, "rw")).expect(202);
    assert_eq!(first.id(), retried.id());
    drop(gate);
    assert_eq!(scene.attachments_of(&volume).len(), 1);
}

#[test]
fn b25_the_last_initiator_can_be_taken_away() {
    let scene = Scene::new();
    let path = format!("{T}/host/hosts/{}", scene.host("a"));
    let initiators = || scene.get(&path).json()["initiators"].clone();
    // An update of something else keeps them, though the original's client sends `null`.
    scene
        .put(&path, r#"{"osType":"linux","availabilityZones":null,"initiators":null}"#)
        .expect(200);
    assert_eq!(initiators().as_array().unwrap().len(), 1);
    // Its command `host initiator remove` says nothing else.
    scene.put(&path, r#"{"availabilityZones":null,"initiators":null}"#).expect(200);
    assert_eq!(initiators(), json!(null));
    scene.put(&path, r#"{"initiators":[{"portName":"iqn.z","protocol":"iscsi"}]}"#).expect(200);
    scene.put(&path, r#"{"initiators":[]}"#).expect(200);
    assert_eq!(initiators(), json!(null));
}

#[test]
fn b26_detach_puts_out_whom_attach_let_in() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let first = scene.attach(&volume, &a, "rw").expect(202).id();
    scene.attach(&volume, &b, "rw").expect(202);
    // The name of another host, the worst that could happen, is refused; another one is not.
    let path = format!("{T}/host/hosts/{a}");
    let named = |name: &str| {
        format!(r#"{{"ip":"10.9.9.9","initiators":[{{"portName":"{name}","protocol":"iscsi"}}]}}"#)
    };
    scene.put(&path, &named("iqn.1993-08.org.debian:01:b")).expect(400);
    scene.put(&path, &named("iqn.1993-08.org.debian:01:z")).expect(200);
    assert_eq!(write(&scene, &a, &volume), Ok(()));
    scene.detach(&first);
    assert_eq!(write(&scene, &a, &volume), Err(Denied::NotGranted));
    assert_eq!(write(&scene, &b, &volume), Ok(()));
}
