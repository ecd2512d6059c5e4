//! Limits on I/O: asked for by a profile, shown on the volume, enforced by its dock, and refused
//! with the name of the field when they are none.

use std::num::NonZeroU64;

use osds_drivers::TargetDriver;
use osds_model::profile::IoConnectivity;
use osds_model::{IoLimits, IoRate};
use serde_json::json;

use crate::scene::{Scene, T, shared_pool};

/// A pool that states what it can do, as a profile with limits demands.
fn scene() -> Scene {
    let mut pool = shared_pool(1000);
    pool.extras.io_connectivity =
        IoConnectivity { max_iops: 7_000_000, max_bws: 600, ..IoConnectivity::default() };
    Scene::with_pools(vec![pool])
}

fn rate(iops: u64, mb: u64) -> IoRate {
    IoRate { iops: NonZeroU64::new(iops), bytes_per_second: NonZeroU64::new(mb * 1_000_000) }
}

#[test]
fn a_volume_has_the_limits_of_its_profile_and_keeps_them() {
    let scene = scene();
    let body = json!({
        "name": "gold",
        "provisioningProperties": {"ioConnectivity": {"maxIOPS": 500, "maxBWS": 20}},
        "customProperties": {"maxIOPSPerHost": 200, "maxBWSPerHost": "10"}
    });
    let profile = scene.post(&format!("{T}/profiles"), &body.to_string()).expect(200).id();
    let body = json!({"name": "v", "size": 1, "profileId": profile}).to_string();
    let volume = scene.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
    let wanted = json!({"maxIOPS": 500, "maxBWS": 20, "maxIOPSPerHost": 200, "maxBWSPerHost": 10});
    assert_eq!(volume.json()["ioLimits"], wanted);
    // The target holds it to them from before the first command.
    let host = scene.host("a");
    scene.attach(&volume.id(), &host, "rw").expect(202);
    let id = volume.id().parse().unwrap();
    let enforced = || {
        let export = scene.runtime().block_on(scene.target.export_of(id)).unwrap();
        export.map(|export| export.limits)
    };
    let limits = IoLimits { volume: rate(500, 20), each_host: rate(200, 10) };
    assert_eq!(enforced(), Some(limits));
    // What is left of the profile to edit changes no volume that is there.
    let custom = format!("{T}/profiles/{profile}/customProperties");
    scene.post(&custom, r#"{"maxIOPSPerHost": 7}"#).expect(200);
    let shown = scene.get(&scene.volume_path(&volume.id()));
    assert_eq!((shown.json()["ioLimits"].clone(), enforced()), (wanted, Some(limits)));
    let second = scene.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
    assert_eq!(second.json()["ioLimits"]["maxIOPSPerHost"], 7);
}

#[test]
fn the_example_works() {
    let scene = scene();
    let example = include_str!("../../../../docs/examples/profile-limits.json");
    let profile = scene.post(&format!("{T}/profiles"), example).expect(200).id();
    let body = json!({"name": "v", "size": 1, "profileId": profile}).to_string();
    let volume = scene.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
    let wanted = json!({"maxIOPS": 500, "maxBWS": 20, "maxIOPSPerHost": 200});
    assert_eq!(volume.json()["ioLimits"], wanted);
}

#[test]
fn a_volume_without_limits_says_nothing_of_them() {
    let scene = scene();
    let volume = scene.volume(true);
    assert!(!scene.get(&scene.volume_path(&volume)).body.contains("ioLimits"));
}

/// The original's rule stays: a pool must state as much.
#[test]
fn a_limit_is_also_a_demand_on_the_pool() {
    let scene = scene();
    let with = |io: serde_json::Value| {
        let name = format!("p{}", io.to_string().len());
        let body = json!({"name": name, "provisioningProperties": {"ioConnectivity": io}});
        let profile = scene.post(&format!("{T}/profiles"), &body.to_string()).expect(200).id();
        let body = json!({"name": "v", "size": 1, "profileId": profile}).to_string();
        scene.post(&format!("{T}/block/volumes"), &body)
    };
    with(json!({"maxBWS": 600})).expect(202);
    let words = with(json!({"maxIOPS": 8_000_000})).expect(400).message();
    assert!(words.contains("extras.ioConnectivity.maxIOPS"), "{words}");
}

#[test]
fn a_limit_that_is_none_is_refused_by_its_name() {
    let scene = scene();
    let profiles = format!("{T}/profiles");
    let post = |text: &str| scene.post(&profiles, text).expect(400).message();
    for field in ["maxIOPS", "maxBWS"] {
        for bad in ["-1", "1.5", "\"500\"", "1e30", "99999999999999999999", "true", "[]"] {
            let words = post(&format!(
                r#"{{"name":"p","provisioningProperties":{{"ioConnectivity":{{"{field}":{bad}}}}}}}"#
            ));
            assert!(words.contains(field), "{bad}: {words}");
        }
    }
    for field in ["maxIOPSPerHost", "maxBWSPerHost"] {
        for bad in ["-1", "1.5", "\"many\"", "1e30", "99999999999999999999", "true", "[]", "null"] {
            let words = post(&format!(r#"{{"name":"p","customProperties":{{"{field}":{bad}}}}}"#));
            assert!(words.contains(field), "{bad}: {words}");
        }
    }
    // Nor later.
    let plain = scene.post(&profiles, r#"{"name":"q"}"#).expect(200).id();
    let custom = format!("{profiles}/{plain}/customProperties");
    let words = scene.post(&custom, r#"{"maxBWSPerHost":"fast"}"#).expect(400).message();
    assert!(words.contains("maxBWSPerHost"), "{words}");
}
