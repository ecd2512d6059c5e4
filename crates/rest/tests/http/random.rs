//! Whatever is sent to whichever route: an answer, and never one that says the server is to blame.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::scene::{Scene, T};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PUT"];
const PATHS: [&str; 28] = [
    "docks",
    "docks/{id}",
    "docks/{id}/drift",
    "pools",
    "pools/{id}",
    "pools/explain",
    "availabilityZones",
    "profiles",
    "profiles/{id}",
    "profiles/{id}/customProperties",
    "profiles/{id}/customProperties/{id}",
    "host/hosts",
    "host/hosts/{id}",
    "host/hosts/{id}/fence",
    "host/hosts/{id}/unfence",
    "block/volumes",
    "block/volumes/{id}",
    "block/volumes/{id}/resize",
    "block/attachments",
    "block/attachments/{id}",
    "block/snapshots",
    "block/snapshots/{id}",
    "block/groupSnapshots",
    "block/groupSnapshots/{id}",
    "block/volumeGroups",
    "block/volumeGroups/{id}",
    "block/replications/{id}/enable",
    "{id}",
];
const KEYS: [&str; 30] = [
    "name",
    "size",
    "newSize",
    "description",
    "metadata",
    "multiAttach",
    "profileId",
    "poolId",
    "availabilityZone",
    "snapshotId",
    "sourceVolumeId",
    "volumeId",
    "volumeIds",
    "groupId",
    "hostId",
    "attachMode",
    "sharing",
    "hostInfo",
    "hostName",
    "osType",
    "ip",
    "accessMode",
    "initiators",
    "availabilityZones",
    "storageType",
    "customProperties",
    "reason",
    "profiles",
    "addVolumes",
    "removeVolumes",
];
const QUERY_KEYS: [&str; 10] =
    ["limit", "offset", "sortKey", "sortDir", "size", "name", "status", "force", "profileId", "id"];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2_i64..9).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "v",
            "default",
            "block",
            "linux",
            "10.0.0.1",
            "agent",
            "node1",
            "rw",
            "ro",
            "shared",
            "exclusive",
            "iscsi",
            "<is> true",
            ">= 1",
            "<or> a",
            "iqn.a",
            "",
        ])
        .prop_map(Value::from),
    ]
}

fn object() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        9 => prop::sample::select(&KEYS[..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let value = leaf().prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            any::<String>(),
            Just("portName".to_owned()),
            Just("protocol".to_owned()),
            Just("capabilities:multiAttach".to_owned()),
            Just("host".to_owned()),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    prop::collection::vec((key, value), 0..8)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
}

/// A body that nearly is one.
fn plausible() -> impl Strategy<Value = Value> {
    let whole = json!({"name": "v", "size": 1, "newSize": 2, "hostName": "node1",
        "osType": "linux", "ip": "10.0.0.1", "accessMode": "agent", "storageType": "block"});
    object().prop_map(move |more| {
        let mut body = whole.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..64),
        1 => any::<String>().prop_map(String::into_bytes),
        4 => object().prop_map(|value| value.to_string().into_bytes()),
        4 => plausible().prop_map(|value| value.to_string().into_bytes()),
        1 => (1_usize..5000).prop_map(|depth| "[".repeat(depth).into_bytes()),
        1 => (1_usize..5000).prop_map(|depth| r#"{"metadata":"#.repeat(depth).into_bytes()),
    ]
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn query() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        prop::sample::select(&QUERY_KEYS[..]).prop_map(str::to_owned),
        any::<String>().prop_map(|text| encoded(&text)),
    ];
    let value = prop_oneof![
        any::<String>().prop_map(|text| encoded(&text)),
        any::<i64>().prop_map(|n| n.to_string()),
        "[0-9a-zA-Z%+&=.-]{0,12}",
    ];
    prop::collection::vec((key, value), 0..4).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join("&")
    })
}

#[test]
fn no_request_is_the_servers_fault() {
    let scene = Scene::new();
    let (volume, host) = (scene.volume(true), scene.host("a"));
    let held = scene.attach(&volume, &host, "rw").expect(202).id();
    let profile = scene.shared_profile("p", "true");
    let group = format!(r#"{{"name":"g","profiles":["{profile}"]}}"#);
    let group = scene.post(&format!("{T}/block/volumeGroups"), &group).expect(202).id();
    let taken = format!(r#"{{"name":"g","volumeIds":["{volume}"]}}"#);
    let taken = scene.post_wait(&format!("{T}/block/groupSnapshots"), &taken).expect(202).id();
    let known = vec![volume, host, held, profile, group, taken, "nope".to_owned()];
    let id = prop_oneof![
        4 => prop::sample::select(known),
        1 => any::<String>().prop_map(|text| encoded(&text)),
        1 => prop::collection::vec(any::<u8>(), 1..6)
            .prop_map(|bytes| bytes.iter().map(|byte| format!("%{byte:02X}")).collect()),
    ];
    let request = (
        prop::sample::select(&METHODS[..]),
        prop::sample::select(&PATHS[..]),
        id,
        query(),
        body(),
        any::<bool>(),
    );
    let client = RefCell::new(scene.client());
    let config = Config { cases: 1500, failure_persistence: None, ..Config::default() };
    let outcome =
        TestRunner::new(config).run(&request, |(method, path, id, query, body, slash)| {
            let slash = if slash { "/" } else { "" };
            let path = format!("{T}/{}{slash}?{query}", path.replace("{id}", &id));
            let answer = client.borrow_mut().request(method, &path, &[], Some(&body));
            prop_assert!(matches!(answer.status, 200 | 202 | 400 | 404 | 501), "{path} {answer:?}");
            if answer.status >= 400 {
                answer.message();
            }
            if answer.header("connection") == Some("close") {
                *client.borrow_mut() = scene.client();
            }
            Ok(())
        });
    outcome.unwrap();
}
