//! The compatibility traps of the reference page, one test for each of the twenty. Every one is
//! something that a client of the original trips over, found by reading it or by running it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Scene, T, attach_body, plain_pool, shared_pool};

#[test]
fn trap_01_what_is_always_there_and_what_is_not() {
    let scene = Scene::new();
    let volume = scene.get(&scene.volume_path(&scene.volume(false))).json();
    assert_eq!(volume["AttachStatus"], "");
    assert_eq!(volume.get("multiAttach"), None);
    assert!(scene.get(&format!("{T}/pools")).json()[0]["multiAttach"].is_boolean());
    let host = scene.post(
        &format!("{T}/host/hosts"),
        r#"{"hostName":"n","osType":"linux","ip":"10.0.0.5","accessMode":"agentless"}"#,
    );
    let host = host.json();
    assert_eq!(
        (host.get("availabilityZones"), host.get("initiators")),
        (Some(&Value::Null), Some(&Value::Null))
    );
}

#[test]
fn trap_02_times_have_no_zone_and_are_always_there() {
    let scene = Scene::new();
    let volume = scene.volume(true);
    scene.attach(&volume, &scene.host("a"), "rw").expect(202);
    for path in ["docks", "pools", "profiles", "host/hosts", "block/volumes", "block/attachments"] {
        let list = scene.get(&format!("{T}/{path}")).json();
        for item in list.as_array().unwrap() {
            assert!(item["id"].is_string());
            for key in ["createdAt", "updatedAt"] {
                let time = item[key].as_str().unwrap();
                assert!(matches!(crate::client::mask(time).as_str(), "NOW" | ""), "{path} {time}");
            }
        }
    }
}

#[test]
fn trap_04_any_request_may_carry_a_body_and_any_content_type() {
    let scene = Scene::new();
    let mut client = scene.client();
    let text = [("Content-Type", "text/xml")];
    for body in [&b"null"[..], b"{}", b"garbage", b"", &[0xff; 4000]] {
        let list = client.request("GET", &format!("{T}/block/volumes"), &text, Some(body));
        assert_eq!(list.expect(200).body, "[]");
        let gone = client.request("DELETE", &scene.volume_path("nope"), &text, Some(body));
        gone.expect(404);
    }
    let made = client.request(
        "POST",
        &format!("{T}/block/volumes"),
        &text,
        Some(br#"{"NAME":"v","Size":1,"size":2,"unknown":[1]}trailing"#),
    );
    assert_eq!(made.expect(202).text("size"), "2");
}

#[test]
fn trap_05_a_volume_is_available_within_two_seconds() {
    let scene = Scene::new();
    let since = Instant::now();
    let made = scene.post(&format!("{T}/block/volumes"), r#"{"name":"v","size":1}"#).expect(202);
    crate::scene::eventually("available", || scene.status_of_volume(&made.id()) == "available");
    assert!(since.elapsed() < Duration::from_secs(2));
}

#[test]
fn trap_06_without_a_limit_the_list_is_whole() {
    let scene = Scene::new();
    let mut client = scene.client();
    let path = format!("{T}/block/volumes");
    for _ in 0..60 {
        client.request("POST", &path, &[], Some(br#"{"name":"v","size":1}"#)).expect(202);
    }
    let count = |query: &str| scene.get(&format!("{path}{query}")).json().as_array().unwrap().len();
    assert_eq!(count(""), 60);
    assert_eq!(count("?limit=50&offset=0&sortDir=desc&sortKey=id"), 50);
}

#[test]
fn trap_07_attaching_again_gives_the_attachment_in_the_answer() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(false));
    let body = format!(r#"{{"volumeId":"{volume}","hostId":"{a}"}}"#);
    let path = format!("{T}/block/attachments");
    let first = scene.post_wait(&path, &body).expect(202);
    let again = scene.post(&path, &body).expect(202).json();
    for key in ["id", "hostId", "status"] {
        assert_eq!(again[key], first.json()[key]);
    }
}

#[test]
fn trap_08_a_stale_volume_can_be_put_back() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    let path = scene.volume_path(&volume);
    let mut stale = scene.get(&path).json();
    assert_eq!(stale["status"], "available");
    scene.attach(&volume, &a, "rw").expect(202);
    scene.put(&path, r#"{"metadata":{"other":"1"}}"#).expect(200);
    stale["metadata"] = json!({"CSIVolumeMode": "Filesystem"});
    let put = scene.put(&path, &stale.to_string()).expect(200).json();
    assert_eq!(put["status"], "inUse");
    assert_eq!(put["metadata"], json!({"CSIVolumeMode": "Filesystem", "other": "1"}));
}

#[test]
fn trap_09_detach_with_a_whole_attachment_again_and_again() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(false));
    let held = scene.attach(&volume, &a, "rw").expect(202);
    let path = scene.attachment_path(&held.id());
    let mut client = scene.client();
    client.request("DELETE", &path, &[], Some(held.body.as_bytes())).expect(202);
    crate::scene::eventually("it is gone", || scene.get(&path).status == 404);
    for _ in 0..3 {
        let answer = client.request("DELETE", &path, &[], Some(held.body.as_bytes())).expect(404);
        assert!(answer.message().contains("can't find"));
    }
    // nbp looks for the attachment of a host by the host's id.
    scene.attach(&volume, &a, "rw").expect(202);
    let list = scene.get(&format!("{T}/block/attachments?HostId={a}&VolumeId={volume}")).json();
    assert_eq!(list.as_array().unwrap().len(), 1);
}

#[test]
fn trap_10_the_initiator_of_the_pools_protocol_is_taken() {
    let scene = Scene::new();
    let host = scene.post(&format!("{T}/host/hosts"), r#"{"hostName":"csi-node","osType":"linux","ip":"10.0.0.1","accessMode":"agentless","availabilityZones":["default"],"initiators":[{"portName":"5001438031c0a9d6","protocol":"fibre_channel"},{"portName":"iqn.a","protocol":"iscsi"},{"portName":"nqn.a","protocol":"nvmeof"}]}"#).expect(200).id();
    let volume = scene.volume(false);
    assert_eq!(scene.attach(&volume, &host, "rw").expect(202).text("status"), "available");
    let none = scene.post(&format!("{T}/host/hosts"), r#"{"hostName":"fc-only","osType":"linux","ip":"10.0.0.2","accessMode":"agentless","initiators":[{"portName":"5001438031c0a9d7","protocol":"fibre_channel"}]}"#).expect(200).id();
    let words = scene.attach(&scene.volume(false), &none, "rw").expect(400).message();
    assert!(words.contains("no iscsi initiator"), "{words}");
}

#[test]
fn trap_12_filters_in_any_case() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    scene.attach(&volume, &a, "ro").expect(202);
    let list = |query: &str| {
        scene
            .get(&format!("{T}/block/attachments?{query}"))
            .expect(200)
            .json()
            .as_array()
            .unwrap()
            .len()
    };
    let page = "limit=50&offset=0&sortDir=desc&sortKey=id";
    for filter in [
        format!("VolumeId={volume}"),
        format!("volumeId={volume}"),
        format!("hostid={a}"),
        "AttachMode=ro".to_owned(),
        "status=available".to_owned(),
    ] {
        assert_eq!(list(&format!("{filter}&{page}")), 1, "{filter}");
    }
    assert_eq!(list("volumeId=x"), 0);
}

#[test]
fn trap_17_custom_keys_may_be_anything_a_segment_can_hold() {
    let scene = Scene::new();
    let profile = scene.shared_profile("p", "true");
    let custom = format!("{T}/profiles/{profile}/customProperties");
    scene.post(&custom, r#"{"a/b c":1,"capabilities:extras.advanced.diskType":"SSD"}"#).expect(200);
    scene.delete(&format!("{custom}/capabilities:extras.advanced.diskType")).expect(200);
    scene.delete(&format!("{custom}/a%2Fb%20c")).expect(200);
    assert_eq!(scene.get(&custom).json(), json!({"capabilities:multiAttach": true}));
}

#[test]
fn trap_18_gone_from_the_list_means_the_volume_can_go() {
    let scene = Scene::new();
    let a = scene.host("a");
    let mut client = scene.client();
    for _ in 0..30 {
        let volume = scene.volume(false);
        let held = scene.attach(&volume, &a, "rw").expect(202).id();
        scene.delete(&scene.attachment_path(&held)).expect(202);
        let list = format!("{T}/block/attachments?volumeId={volume}");
        while client.request("GET", &list, &[], None).body != "[]" {}
        client.request("DELETE", &scene.volume_path(&volume), &[], None).expect(202);
    }
}

#[test]
fn trap_03_versions_errors_and_bodies_have_their_shapes() {
    let scene = Scene::new();
    assert!(scene.get("/").expect(200).json().is_array());
    assert!(scene.get("/v1beta").expect(200).json().is_object());
    for answer in [
        scene.get(&scene.volume_path("nope")),
        scene.post(&format!("{T}/block/volumes"), "garbage"),
        scene.get(&format!("{T}/block/volumes?limit=0")),
        scene.get(&format!("{T}/nothing/here")),
    ] {
        assert!((400..500).contains(&answer.status));
        // Looks at its form.
        assert!(!answer.message().is_empty());
    }
    let made = scene.post(&format!("{T}/block/volumes"), r#"{"name":"v","size":1}"#).expect(202);
    assert!(made.json().is_object());
    assert_eq!(scene.delete_wait(&scene.volume_path(&made.id())).expect(202).body, "");
}

#[test]
fn trap_11_connection_data_is_as_connectors_want_it() {
    let scene = Scene::new();
    let held = scene.attach(&scene.volume(true), &scene.host("a"), "ro").expect(202).json();
    let data = &held["connectionInfo"]["data"];
    assert!(data["targetLun"].as_u64().is_some_and(|lun| lun > 0), "{data}");
    let (portals, names) = (data["targetPortal"].as_array(), data["targetIQN"].as_array());
    assert_eq!(portals.unwrap().len(), names.unwrap().len());
    assert!(!portals.unwrap().is_empty());
    assert_eq!(data["targetDiscovered"], true);
}

#[test]
fn trap_13_empty_lists_and_the_detail_of_replications() {
    let scene = Scene::new();
    assert_eq!(scene.get(&format!("{T}/block/replications")).expect(200).body, "null");
    assert_eq!(scene.get(&format!("{T}/block/replications/detail")).expect(200).body, "[]");
    // The original's client takes both for an empty list.
    let groups = scene.get(&format!("{T}/block/volumeGroups")).expect(200).body;
    assert!(["null", "[]"].contains(&groups.as_str()), "{groups}");
}

#[test]
fn trap_14_one_tenant_of_the_path_is_the_administrator() {
    let scene = Scene::new();
    let theirs = scene.post("/v1beta/t/block/volumes", r#"{"name":"v","size":1}"#).expect(202).id();
    scene.get(&scene.volume_path(&theirs)).expect(200);
    let near = T.replace("d04d96", "d04d97");
    scene.get(&format!("{near}/block/volumes/{theirs}")).expect(404);
    assert_eq!(scene.get(&format!("{near}/block/volumes")).expect(200).body, "[]");
}

#[test]
fn trap_15_default_profile_and_default_storage_type() {
    let scene = Scene::new();
    let default = scene.get(&format!("{T}/profiles?name=default_block")).json()[0].clone();
    assert_eq!(default["storageType"], "block");
    let made = scene.post(&format!("{T}/block/volumes"), r#"{"name":"v","size":1}"#).expect(202);
    assert_eq!(made.json()["profileId"], default["id"]);
    let seed =
        r#"{"name":"multi-attach","customProperties":{"capabilities:multiAttach":"<is> true"}}"#;
    assert_eq!(scene.post(&format!("{T}/profiles"), seed).expect(200).text("storageType"), "block");
}

#[test]
fn trap_16_multi_attach_in_every_spelling() {
    let scene = Scene::with_pools(vec![shared_pool(10), plain_pool(100)]);
    let volumes = format!("{T}/block/volumes");
    for (n, spelling) in
        [r#""<is> true""#, r#""<is> True""#, "true", r#""true""#, r#""<is> 1""#].iter().enumerate()
    {
        let profile = scene.shared_profile(&format!("p{n}"), spelling);
        let body = format!(r#"{{"name":"v","size":1,"profileId":"{profile}"}}"#);
        assert_eq!(scene.post(&volumes, &body).expect(202).json()["multiAttach"], true);
    }
    // The body's wish counts only in a pool that can.
    let pool = scene.get(&format!("{T}/pools?name=plain")).json()[0]["id"].clone();
    let body = json!({"name": "v", "size": 1, "multiAttach": true, "poolId": pool}).to_string();
    scene.post(&volumes, &body).expect(400);
    let body = json!({"name": "v", "size": 1, "poolId": pool}).to_string();
    assert_eq!(scene.post(&volumes, &body).expect(202).json().get("multiAttach"), None);
}

#[test]
fn trap_19_words_that_clients_look_for() {
    let scene = Scene::new();
    for path in ["block/volumes", "block/attachments", "block/snapshots", "host/hosts"] {
        let missing = scene.get(&format!("{T}/{path}/nope")).expect(404);
        assert!(missing.message().contains("can't find"), "{path}");
    }
    // `Not Found` is the text of the status, which clients take from its number.
    let mut client = scene.client();
    client.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", scene.volume_path("nope"))).unwrap();
    let mut line = [0; 22];
    std::io::Read::read_exact(client.stream(), &mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 404 Not Found");
}

#[test]
fn trap_20_messages_are_the_originals() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(false));
    scene.attach(&volume, &a, "rw").expect(202);
    let words = scene.attach(&volume, &b, "rw").expect(400).message();
    assert!(words.starts_with("volume is already attached to one of the host"), "{words}");
}

/// The first generation describes hosts in the attachment, and names none.
#[test]
fn attachments_of_the_first_generation() {
    let scene = Scene::new();
    let (volume, path) = (scene.volume(true), format!("{T}/block/attachments"));
    let body = |host: &str| {
        json!({"volumeId": volume, "hostInfo": {"platform": "x86_64", "osType": "linux",
            "ip": "10.0.0.7", "host": host, "initiator": format!("iqn.{host}")},
            "metadata": {"k": "v"}})
        .to_string()
    };
    let first = scene.post_wait(&path, &body("old-node")).expect(202);
    assert_eq!(
        (first.text("status"), first.json()["metadata"]["k"].clone()),
        ("available".into(), "v".into())
    );
    let host = scene.get(&format!("{T}/host/hosts/{}", first.text("hostId"))).expect(200);
    assert_eq!(host.text("hostName"), "old-node");
    // The same host again is the same host.
    assert_eq!(scene.post(&path, &body("old-node")).expect(202).id(), first.id());
    assert_ne!(scene.post(&path, &body("new-node")).expect(202).id(), first.id());
    let hosts = scene.get(&format!("{T}/host/hosts")).json();
    assert_eq!(hosts.as_array().unwrap().len(), 2);
    // A name that is taken does not lend its initiator to another one's: it would never log in.
    let other = body("old-node").replace("iqn.old-node", "iqn.reinstalled");
    let refused = scene.post(&path, &other).expect(400).text("message");
    assert!(refused.contains("old-node already exists"), "{refused}");
    let nobody = json!({"volumeId": volume, "hostInfo": {"ip": "10.0.0.9"}}).to_string();
    scene.post(&path, &nobody).expect(400);
    scene.post(&path, &attach_body(&volume, "", "rw")).expect(400);
}
