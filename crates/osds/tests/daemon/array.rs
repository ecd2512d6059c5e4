//! The seed's FusionStorage file in the real daemon, against the simulated array: its profile, a
//! volume, two hosts, real I/O, a kill of the daemon, and nothing left at the end.

use osds_keyring::original;
use osds_model::Connection;
use osds_testkit::array::{Contents, PASSWORD, Release, SimulatedArray};
use osds_testkit::initiator::Session;
use serde_json::{Value, json};

use crate::osdsctl::{PROFILE, Shell};
use crate::scene::{Scene, connection, text};

const SEED: &str = include_str!("../../../../docs/examples/fusionstorage.yaml");

const CONFIG: &str = r#"
[[backend]]
name = "array"
driver = "huawei_fusionstorage"
config = "fusionstorage.yaml"
"#;

/// Logs in as the array wants the host of this attachment to.
fn log_in(array: &SimulatedArray, attachment: &Value, initiator: &str) -> Option<Session> {
    let (iqn, portal) = connection(attachment).unwrap();
    let lun = attachment["connectionInfo"]["data"]["targetLun"].as_u64().unwrap();
    let (lun, portals) = (u32::try_from(lun).unwrap(), vec![portal.to_string()]);
    let Connection::Iscsi { iqn, .. } =
        array.way(initiator, &Connection::Iscsi { iqn, portals, lun })?
    else {
        return None;
    };
    Some(Session::login(portal, initiator, &iqn).unwrap())
}

#[test]
fn the_seeds_file_carries_a_volume_of_two_hosts() {
    let array = SimulatedArray::start(Release::V8, &[(0, 8 << 10), (1, 8 << 10)]).unwrap();
    // As printed, but for where it is, whom to believe, and a password that is ciphertext.
    let ours = format!("url: \"{}\"\n  caFile: {}", array.url(), array.ca_file().display());
    let yaml = SEED
        .replace("url: \"https://0.0.0.0:8088\"", &ours)
        .replace(PASSWORD, &original::encrypt(PASSWORD).unwrap())
        .replace("EnableEncrypted: false", "EnableEncrypted: true");
    let mut scene = Scene::with(CONFIG, &[("fusionstorage.yaml", yaml.as_str())]);
    let profile = Shell::new(&scene).make("profile", PROFILE);
    let body = json!({"name": "v", "size": 1, "profileId": profile});
    let volume = scene.make("block/volumes", &body).unwrap();
    assert_eq!(
        (text(&volume, "status"), &volume["multiAttach"]),
        ("available".to_owned(), &json!(true)),
        "{volume}"
    );
    let volume = text(&volume, "id");
    let (a, b) = (scene.host("a", &["iqn.x:a"]), scene.host("b", &["iqn.x:b"]));
    let of_a = scene.attach(&volume, &a, "rw");
    let of_b = scene.attach(&volume, &b, "rw");
    // CHAP is on by default, and of a target that cannot ask for it nobody asks it.
    assert_eq!(of_a["connectionInfo"]["data"].get("authMethod"), None, "{of_a}");
    let mut first = log_in(&array, &of_a, "iqn.x:a").unwrap();
    let mut second = log_in(&array, &of_b, "iqn.x:b").unwrap();
    first.write(8, &[b'a'; 4096]).unwrap();
    assert_eq!(second.read(8, 8).unwrap(), [b'a'; 4096]);

    // The array takes a snapshot under both, and makes a volume of it.
    let body = json!({"name": "s", "volumeId": volume});
    let snapshot = scene.make("block/snapshots", &body).unwrap();
    assert_eq!(text(&snapshot, "status"), "available", "{snapshot}");
    let snapshot = text(&snapshot, "id");
    first.write(8, &[b'x'; 4096]).unwrap();
    let body = json!({"name": "old", "size": 1, "snapshotId": snapshot, "profileId": profile});
    let old = text(&scene.make("block/volumes", &body).unwrap(), "id");
    let of_old = scene.attach(&old, &b, "rw");
    assert_eq!(log_in(&array, &of_old, "iqn.x:b").unwrap().read(8, 8).unwrap(), [b'a'; 4096]);
    first.write(8, &[b'a'; 4096]).unwrap();
    scene.remove(&format!("block/attachments/{}", text(&of_old, "id")));
    scene.remove(&format!("block/volumes/{old}"));
    scene.remove(&format!("block/snapshots/{snapshot}"));

    // The daemon dies, and the array serves on.
    scene.kill();
    second.write(16, &[b'b'; 4096]).unwrap();
    scene.restart();
    assert_eq!(first.read(16, 8).unwrap(), [b'b'; 4096]);
    assert_eq!(array.contents().hosts.len(), 2);

    scene.remove(&format!("block/attachments/{}", text(&of_a, "id")));
    assert!(first.read(8, 1).is_err(), "a detached host is out");
    assert!(log_in(&array, &of_a, "iqn.x:a").is_none());
    assert_eq!(second.read(8, 8).unwrap(), [b'a'; 4096]);
    scene.remove(&format!("block/attachments/{}", text(&of_b, "id")));
    scene.remove(&format!("block/volumes/{volume}"));
    assert_eq!(array.contents(), Contents::default());
    assert!(!scene.log().contains(PASSWORD), "the password is in the log");
}
