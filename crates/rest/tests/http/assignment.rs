//! No mass assignment (the original's fault B14): whatever fields a body has, only what a client
//! may say changes. Looked at in the records, where nothing can be hidden by how it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use osds_model::{Host, Profile, Volume};
use osds_store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::scene::{Scene, T, WAIT};

/// What a client may not say, and what it may say only at another time.
const FIELDS: [&str; 34] = [
    "id",
    "Id",
    "ID",
    "status",
    "Status",
    "poolId",
    "PoolId",
    "size",
    "Size",
    "newSize",
    "tenantId",
    "TenantId",
    "userId",
    "createdAt",
    "updatedAt",
    "profileId",
    "groupId",
    "snapshotId",
    "snapshotFromCloud",
    "availabilityZone",
    "multiAttach",
    "AttachStatus",
    "attachStatus",
    "identifier",
    "hostId",
    "volumeId",
    "attachMode",
    "sharing",
    "accessProtocol",
    "connectionInfo",
    "fenced",
    "state",
    "generation",
    "storageType",
];

/// All that a client may not change by an update.
#[derive(Debug, PartialEq)]
struct Facts {
    volumes: Vec<Volume>,
    hosts: Vec<Host>,
    profiles: Vec<Profile>,
}

fn facts(scene: &Scene) -> Facts {
    let view = scene.store.view();
    let volumes = view.iter::<Volume>().map(|volume| {
        let mut volume = Volume {
            name: String::new(),
            description: String::new(),
            metadata: BTreeMap::new(),
            updated_at: None,
            ..Volume::clone(volume)
        };
        for held in volume.state.attachments.values_mut() {
            let about = &mut Arc::make_mut(held).about;
            about.mountpoint.clear();
            about.updated_at = None;
        }
        volume
    });
    let hosts = view.iter::<Host>().map(|host| Host {
        name: String::new(),
        os_type: String::new(),
        access_mode: String::new(),
        ip: String::new(),
        port: 0,
        username: String::new(),
        availability_zones: None,
        initiators: Vec::new(),
        updated_at: None,
        ..Host::clone(host)
    });
    let profiles = view.iter::<Profile>().map(|profile| Profile {
        name: String::new(),
        description: String::new(),
        custom: None,
        updated_at: None,
        ..Profile::clone(profile)
    });
    Facts { volumes: volumes.collect(), hosts: hosts.collect(), profiles: profiles.collect() }
}

/// Fields with values of their kind, of another kind, and names of other things.
fn extras(known: Vec<String>) -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        3 => prop::sample::select(known).prop_map(Value::from),
        2 => prop::sample::select(vec!["available", "error", "inUse", "ro", "exclusive", "file",
            "other", "2000-01-01T00:00:00", ""]).prop_map(Value::from),
        2 => (0_i64..99).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({"driverVolumeType": "fc", "data": {"targetLun": 0}, "durableName": "x"})),
    ];
    let pair = (prop::sample::select(&FIELDS[..]).prop_map(str::to_owned), value);
    prop::collection::vec(pair, 1..6).prop_map(|pairs| pairs.into_iter().collect())
}

#[test]
fn updates_change_what_people_say_and_no_facts() {
    let scene = Scene::new();
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let held = scene.attach(&volume, &a, "rw").expect(202).id();
    let profile = scene.shared_profile("p", "true");
    let other = scene.volume(false);
    let known = vec![a.clone(), b, volume.clone(), held.clone(), profile.clone(), other];
    let paths = vec![
        (format!("{T}/block/volumes/{volume}"), "description"),
        (format!("{T}/block/attachments/{held}"), "mountpoint"),
        (format!("{T}/host/hosts/{a}"), "username"),
        (format!("{T}/profiles/{profile}"), "description"),
    ];
    let before = facts(&scene);
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let request = (prop::sample::select(paths), extras(known), 0_u32..1000);
    let taken = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&request, |((path, may), mut body, n)| {
        body.insert(may.to_owned(), format!("said {n}").into());
        let answer = scene.put(&path, &Value::Object(body).to_string());
        prop_assert!(matches!(answer.status, 200 | 400), "{answer:?}");
        if answer.status == 200 {
            prop_assert_eq!(answer.text(may), format!("said {n}"));
            taken.set(taken.get() + 1);
        }
        prop_assert_eq!(&facts(&scene), &before);
        Ok(())
    });
    outcome.unwrap();
    assert!(taken.get() > 100, "most were refused, so this says little: {}", taken.get());
}

#[test]
fn what_is_made_is_new_and_its_makers() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    let held = scene.attach(&volume, &a, "rw").expect(202).id();
    let profile = scene.shared_profile("p", "true");
    let since = scene
        .store
        .view()
        .get::<Volume>(volume.parse::<osds_model::VolumeId>().unwrap())
        .unwrap()
        .created_at;
    let known = vec![a, volume, held, profile, "other".to_owned()];
    let tenant = "/v1beta/maker";
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let made = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&(0..3, extras(known)), |(what, extras)| {
        let before = facts(&scene);
        let ids: BTreeSet<String> = ids(&before);
        let (path, whole) = match what {
            0 => ("block/volumes", json!({"name": "v", "size": 1})),
            1 => (
                "host/hosts",
                json!({"hostName": format!("h{}", ids.len()), "osType": "linux",
                "ip": "10.0.0.1", "accessMode": "agent"}),
            ),
            _ => ("profiles", json!({"name": format!("p{}", ids.len())})),
        };
        let mut body = extras.clone();
        // A size is what a volume is asked for with; nobody else has one.
        body.retain(|key, _| !key.eq_ignore_ascii_case("size"));
        body.extend(whole.as_object().unwrap().clone());
        let body = Value::Object(body).to_string();
        let path = format!("{tenant}/{path}");
        let answer = scene.client().request("POST", &path, &[WAIT], Some(body.as_bytes()));
        prop_assert!(matches!(answer.status, 200 | 202 | 400), "{answer:?}");
        let mut after = facts(&scene);
        if answer.status != 400 {
            made.set(made.get() + 1);
            let id = answer.id();
            prop_assert!(!ids.contains(&id), "it took the id of another: {answer:?}");
            for value in extras.values().filter_map(Value::as_str) {
                prop_assert_ne!(&id, value);
            }
            if let Some(at) = after.volumes.iter().position(|v| v.id.to_string() == id) {
                let volume = after.volumes.remove(at);
                prop_assert_eq!(volume.tenant.to_string(), "maker");
                prop_assert_eq!(volume.user.to_string(), "");
                prop_assert!(volume.created_at >= since);
                prop_assert_eq!(volume.state.attachments.len(), 0);
                prop_assert!(scene.store.view().get::<osds_model::Pool>(volume.pool).is_some());
                let shown = scene.get(&format!("{tenant}/block/volumes/{id}")).json();
                prop_assert_eq!(
                    (&shown["status"], &shown["size"]),
                    (&"available".into(), &1.into())
                );
            }
            if let Some(at) = after.hosts.iter().position(|h| h.id.to_string() == id) {
                let host = after.hosts.remove(at);
                prop_assert_eq!(host.tenant.to_string(), "maker");
                prop_assert!(host.created_at >= since && host.fence.is_none());
            }
            after.profiles.retain(|profile| profile.id.to_string() != id);
        }
        prop_assert_eq!(after, before);
        Ok(())
    });
    outcome.unwrap();
    assert!(made.get() > 50, "most were refused, so this says little: {}", made.get());
}

fn ids(facts: &Facts) -> BTreeSet<String> {
    let volumes = facts.volumes.iter().map(|volume| volume.id.to_string());
    let hosts = facts.hosts.iter().map(|host| host.id.to_string());
    volumes.chain(hosts).chain(facts.profiles.iter().map(|p| p.id.to_string())).collect()
}
