//! What the original answered to the same requests (golden captures 1, 2 and 5), byte for byte
//! but for ids and times. Where we differ on purpose, the test says so.

use osds_keyring::chap::Chap;

use crate::client::Answer;
use crate::scene::{Scene, Setup, T, attach_body, plain_pool, shared_pool};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const DEFAULTS: &str = r#""provisioningProperties":{"dataStorage":{"compression":false,"deduplication":false},"ioConnectivity":{}},"replicationProperties":{"dataProtection":{"isIsolated":false},"replicaInfos":{}},"snapshotProperties":{"schedule":{},"retention":{},"topology":{}},"dataProtectionProperties":{"dataProtection":{"isIsolated":false}}"#;
const ADMIN: &str = "e93b4c0934da416eb9c8d120c5d04d96";

/// The answer, in the words of the captures.
#[track_caller]
fn same(answer: &Answer, status: u16, content_type: &str, body: &str) {
    assert_eq!(
        (answer.status, answer.content_type(), answer.masked().as_str()),
        (status, content_type, body)
    );
}

#[track_caller]
fn refused(answer: &Answer, content_type: &str, message: &str) {
    let body = serde_json::json!({"code": 400, "message": message}).to_string();
    // The word for programs comes after what the original says.
    let words = answer.body.split(",\"reason\":").next().unwrap_or_default();
    let said = Answer { body: format!("{}}}", words.trim_end_matches('}')), ..answer.clone() };
    same(&said, 400, content_type, &body);
}

#[test]
fn versions() {
    let scene = Scene::new();
    let version = r#"{"description":"v1beta version","name":"v1beta","status":"CURRENT","updatedAt":"2017-07-10T14:36:58.014Z"}"#;
    let shown = |path: &str| scene.get(path);
    assert_eq!(shown("/").body, format!("[{version}]"));
    assert_eq!(shown("/").content_type(), JSON);
    assert_eq!(shown("/v1beta").body, version);
    assert_eq!(shown("/v1beta/").body, version);
    same(&shown("/v1"), 404, JSON, r#"{"code":404,"message":"can't find the version: v1"}"#);
    same(&shown("/nope"), 404, JSON, r#"{"code":404,"message":"can't find the version: nope"}"#);
}

#[test]
fn paths_and_methods_without_a_route_are_404() {
    let scene = Scene::new();
    // The original answers with an HTML page; ours is an error body like every other.
    for (method, path) in [
        ("GET", format!("{T}/nothing")),
        ("PATCH", format!("{T}/docks")),
        ("DELETE", format!("{T}/docks")),
        ("POST", format!("{T}/docks/")),
        ("HEAD", format!("{T}/docks")),
        ("OPTIONS", format!("{T}/block/volumes")),
        ("GET", "/v1beta/%ff/docks/x".to_owned()),
        ("GET", format!("{T}/docks//")),
        ("GET", format!("{T}/Docks")),
    ] {
        let answer = scene.client().request(method, &path, &[], None);
        assert_eq!((answer.status, answer.content_type()), (404, JSON), "{method} {path}");
        if method != "HEAD" {
            assert!(!answer.message().is_empty());
        }
    }
}

#[test]
fn a_trailing_slash_is_accepted() {
    let scene = Scene::new();
    let (with, without) = (scene.get(&format!("{T}/docks/")), scene.get(&format!("{T}/docks")));
    assert_eq!((with.status, with.body), (200, without.body));
    let volume = scene.volume(false);
    scene.get(&format!("{}/?x=1", scene.volume_path(&volume))).expect(200);
    scene.post(&format!("{T}/block/volumes/"), r#"{"name":"v","size":1}"#).expect(202);
}

#[test]
fn profiles() {
    let scene = Scene::new();
    let profiles = format!("{T}/profiles");
    let made = scene.post(&profiles, r#"{"name": "multi-attach", "description": "multi attach profile","storageType":"block","customProperties":{"capabilities:multiAttach":"<is> true"}}"#);
    let body = format!(
        r#"{{"id":"ID","createdAt":"NOW","updatedAt":"","name":"multi-attach","description":"multi attach profile","storageType":"block",{DEFAULTS},"customProperties":{{"capabilities:multiAttach":"\u003cis\u003e true"}}}}"#
    );
    same(&made, 200, JSON, &body);
    assert_eq!(scene.get(&format!("{profiles}/{}", made.id())).body, made.body);
    refused(
        &scene.post(&profiles, r#"{"name": "multi-attach", "storageType":"block"}"#),
        JSON,
        "create profile failed: the profile name 'multi-attach' already exists",
    );
    refused(
        &scene.post(&profiles, r#"{"name": "x", "storageType":"Block"}"#),
        TEXT,
        "Request body has an error: doesn't match the schema: Error at \"/storageType\":JSON value is not one of the allowed values",
    );
    refused(
        &scene.post(&profiles, r#"{"name":"bad","storageType":"object"}"#),
        JSON,
        "parse profile request body failed: object is invalid storagetype",
    );
    let file = scene.post(&profiles, r#"{"name":"f","storageType":"file"}"#);
    let read = r#""dataStorage":{"storageAccessCapability":["Read","Write","Execute"],"compression":false,"deduplication":false},"ioConnectivity":{"accessProtocol":"nfs"}"#;
    assert!(file.body.contains(read), "{file:?}");
    let missing =
        r#"{"code":404,"message":"profile nope not found: Wrong resource uuid provided!"}"#;
    same(&scene.get(&format!("{profiles}/nope")), 404, JSON, missing);
    same(&scene.delete(&format!("{profiles}/nope")), 404, JSON, missing);
    same(&scene.delete(&format!("{profiles}/{}", file.id())), 200, JSON, "");
    // The profile for volumes without one is there from the start, where the original needs its
    // installer to make it.
    let default = scene.get(&format!("{profiles}?name=default_block"));
    let body = format!(
        r#"[{{"id":"ID","createdAt":"NOW","updatedAt":"","name":"default_block","description":"default policy","storageType":"block",{DEFAULTS}}}]"#
    );
    same(&default, 200, JSON, &body);
}

#[test]
fn profile_updates_and_custom_properties() {
    let scene = Scene::new();
    let id = scene.shared_profile("p", r#""<is> true""#);
    let plain = scene.post(&format!("{T}/profiles"), r#"{"name":"q"}"#).id();
    let custom = format!("{T}/profiles/{plain}/customProperties");
    same(&scene.get(&custom), 200, JSON, "null");
    let updated = scene.put(
        &format!("{T}/profiles/{plain}"),
        r#"{"description":"d2","customProperties":{"capabilities:extras.advanced.diskType":"SSD"},"storageType":"file"}"#,
    );
    let body = format!(
        r#"{{"id":"ID","createdAt":"NOW","updatedAt":"NOW","name":"q","description":"d2","storageType":"block",{DEFAULTS},"customProperties":{{"capabilities:extras.advanced.diskType":"SSD"}}}}"#
    );
    same(&updated, 200, JSON, &body);
    same(&scene.get(&custom), 200, JSON, r#"{"capabilities:extras.advanced.diskType":"SSD"}"#);
    // 500 in the original, with the same words.
    let missing = scene.put(&format!("{T}/profiles/nope"), r#"{"description":"d2"}"#);
    assert_eq!((missing.status, missing.content_type()), (404, JSON));
    assert_eq!(missing.message(), "update profiles failed: Wrong resource uuid provided!");
    let missing = scene.get(&format!("{T}/profiles/nope/customProperties")).expect(404);
    assert!(missing.message().ends_with("Wrong resource uuid provided!"));
    let body = format!(r#"{{"name":"dependent","size":1,"profileId":"{id}"}}"#);
    scene.post(&format!("{T}/block/volumes"), &body).expect(202);
    let words = "There are dependent volumes : [dependent] for the specified profile ID";
    refused(&scene.delete(&format!("{T}/profiles/{id}")), JSON, words);
}

#[test]
fn volumes_that_are_asked_for() {
    let scene = Scene::new();
    let volumes = format!("{T}/block/volumes");
    let made = scene.post(&volumes, r#"{"name":"v0","size":1}"#);
    // The pool is chosen before the answer, so it is in it.
    let body = format!(
        r#"{{"id":"ID","createdAt":"NOW","updatedAt":"","tenantId":"{ADMIN}","name":"v0","size":1,"availabilityZone":"default","status":"creating","poolId":"ID","profileId":"ID","AttachStatus":""}}"#
    );
    same(&made, 202, JSON, &body);
    let schema = "Request body has an error: doesn't match the schema: ";
    for (sent, words) in [
        (r#"{"name":"v0"}"#, format!("{schema}Property 'size' is missing")),
        (r#"{"size":1}"#, format!("{schema}Property 'name' is missing")),
        (
            r#"{"name":"x","size":"1"}"#,
            format!("{schema}Error at \"/size\":Field must be set to string or not be present"),
        ),
        (
            "garbage",
            "Request body has an error: failed to decode request body: invalid character 'g' looking for beginning of value".to_owned(),
        ),
    ] {
        refused(&scene.post(&volumes, sent), TEXT, &words);
    }
    for (sent, words) in [
        (
            r#"{"name":"a/b","size":1}"#,
            "create volume failed: invalid volume name, it should only contain english char and number  : a/b",
        ),
        (
            r#"{"name":"x","size":1,"profileId":"nope"}"#,
            "get profile failed: Wrong resource uuid provided!",
        ),
        (r#"{"name":"x","size":0}"#, "create volume failed: invalid volume size: 0"),
    ] {
        refused(&scene.post(&volumes, sent), JSON, words);
    }
    // The original accepts what fits nowhere and shows `error` later.
    let big = scene.post(&volumes, r#"{"name":"big","size":999999}"#).expect(400);
    let words = big.message();
    assert!(words.starts_with("create volume failed: ") && words.contains("shared"), "{words}");
    let default = scene.get(&format!("{T}/profiles?name=default_block")).json()[0]["id"].clone();
    scene.delete(&format!("{T}/profiles/{}", default.as_str().unwrap())).expect(400);
}

#[test]
fn a_volume_without_the_default_profile() {
    let scene = Scene::new();
    let default = scene.get(&format!("{T}/profiles?name=default_block")).json()[0]["id"].clone();
    scene.delete(&format!("{T}/profiles/{}", default.as_str().unwrap())).expect(200);
    refused(
        &scene.post(&format!("{T}/block/volumes"), r#"{"name":"v0","size":1}"#),
        JSON,
        "get default profile failed: can't find profile(name: default_block, storageType:block)",
    );
}

#[test]
fn things_that_are_not_there() {
    let scene = Scene::new();
    for (path, words) in [
        ("block/volumes", "volume nope not found: specified volume(nope) can't find"),
        (
            "block/attachments",
            "volume attachment nope not found: specified volume attachment(nope) can't find",
        ),
        ("host/hosts", "host nope not found: specified host(nope) can't find"),
        ("pools", "pool nope not found: Wrong resource uuid provided!"),
        ("docks", "dock nope not found: Wrong resource uuid provided!"),
        ("profiles", "profile nope not found: Wrong resource uuid provided!"),
        (
            "block/snapshots",
            "volume snapshot nope not found: specified volume snapshot(nope) can't find",
        ),
        ("block/volumeGroups", "volume group nope not found: Wrong resource uuid provided!"),
        ("file/shares", "fileshare nope not found: specified fileshare(nope) can't find"),
    ] {
        let body = serde_json::json!({"code": 404, "message": words}).to_string();
        same(&scene.get(&format!("{T}/{path}/nope")), 404, JSON, &body);
        if !matches!(path, "pools" | "docks") {
            same(&scene.delete(&format!("{T}/{path}/nope")), 404, JSON, &body);
        }
    }
    let resize = scene.post(&format!("{T}/block/volumes/nope/resize"), r#"{"newSize":3}"#);
    assert_eq!(
        resize.expect(404).message(),
        "volume nope not found: specified volume(nope) can't find"
    );
    // Another tenant is told less.
    for path in ["block/volumes", "block/attachments", "host/hosts"] {
        let answer = scene.get(&format!("/v1beta/othertenant/{path}/nope")).expect(404);
        assert!(answer.message().ends_with(" not found: Wrong resource uuid provided!"));
    }
    // 500 in the original.
    let put = scene.put(&format!("{T}/block/volumes/nope"), "{}").expect(404);
    assert_eq!(put.message(), "update volume failed: specified volume(nope) can't find");
    let put = scene.put(&format!("{T}/block/attachments/nope"), "{}").expect(404);
    assert!(put.message().contains("can't find"));
}

#[test]
fn empty_lists() {
    let scene = Scene::new();
    for (path, empty) in [
        ("block/volumes", "[]"),
        ("block/attachments", "[]"),
        ("block/snapshots", "[]"),
        ("block/replications", "null"),
        ("block/replications/detail", "[]"),
        ("block/volumeGroups", "null"),
        ("host/hosts", "[]"),
        ("file/shares", "[]"),
        ("file/acls", "[]"),
        ("file/snapshots", "[]"),
        ("availabilityZones", r#"["default"]"#),
    ] {
        same(&scene.get(&format!("{T}/{path}")), 200, JSON, empty);
    }
}

#[test]
fn what_is_not_there_yet_says_so() {
    let scene = Scene::new();
    for (path, what) in [
        ("block/replications", "replications are not supported: no driver"),
        ("block/replications/x/enable", "replications are not supported: no driver"),
        ("block/replications/x/disable", "replications are not supported: no driver"),
        ("block/replications/x/failover", "replications are not supported: no driver"),
        ("file/shares", "file shares are not supported: this server serves blocks"),
        ("file/snapshots", "file share snapshots are not supported"),
        ("file/acls", "file share access lists are not supported"),
        ("metrics", "metrics through this API are not supported: Prometheus reads them"),
        ("metrics/uploadconf?conftype=grafana", "metrics through this API"),
    ] {
        let answer = scene.post(&format!("{T}/{path}"), "{}").expect(501);
        assert!(answer.message().starts_with(what), "{answer:?}");
    }
    for path in ["metrics/", "metrics/urls", "metrics/downloadconf?conftype=prometheus"] {
        scene.get(&format!("{T}/{path}")).expect(501);
    }
    let alert = scene.post("/v1beta/alert", "{}").expect(501);
    assert!(alert.message().contains("Alertmanager"), "{alert:?}");
    let one = format!("{T}/block/replications/x");
    for answer in [scene.get(&one), scene.put(&one, "{}"), scene.delete(&one)] {
        let words = "replication x not found: Wrong resource uuid provided!";
        assert_eq!(answer.expect(404).message(), words);
    }
}

#[test]
fn docks_and_pools() {
    let scene = Scene::new();
    let dock = r#"{"id":"ID","createdAt":"NOW","updatedAt":"","type":"provisioner","name":"dock","endpoint":"local","nodeId":"here","driverName":"fake"}"#;
    same(&scene.get(&format!("{T}/docks")), 200, JSON, &format!("[{dock}]"));
    let id = scene.get(&format!("{T}/docks")).json()[0]["id"].as_str().unwrap().to_owned();
    same(&scene.get(&format!("{T}/docks/{id}")), 200, JSON, dock);
    let pool = r#"{"id":"ID","createdAt":"NOW","updatedAt":"","name":"shared","status":"available","dockId":"ID","availabilityZone":"default","totalCapacity":100000,"freeCapacity":100000,"multiAttach":true,"storageType":"block","extras":{"dataStorage":{"compression":false,"deduplication":false},"ioConnectivity":{},"dataProtection":{"isIsolated":false}}}"#;
    same(&scene.get(&format!("{T}/pools")), 200, JSON, &format!("[{pool}]"));
    let id = scene.get(&format!("{T}/pools")).json()[0]["id"].as_str().unwrap().to_owned();
    same(&scene.get(&format!("{T}/pools/{id}")), 200, JSON, pool);
}

#[test]
fn hosts() {
    let scene = Scene::new();
    let hosts = format!("{T}/host/hosts");
    let made = scene.post(&hosts, r#"{"hostName":"node1","osType":"linux","ip":"10.0.0.1","accessMode":"agentless","availabilityZones":["default"],"initiators":[{"portName":"iqn.1993-08.org.debian:01:a","protocol":"iscsi"}]}"#);
    let body = format!(
        r#"{{"id":"ID","createdAt":"NOW","updatedAt":"","tenantId":"{ADMIN}","hostName":"node1","osType":"linux","accessMode":"agentless","ip":"10.0.0.1","availabilityZones":["default"],"initiators":[{{"portName":"iqn.1993-08.org.debian:01:a","protocol":"iscsi"}}]}}"#
    );
    same(&made, 200, JSON, &body);
    refused(
        &scene.post(
            &hosts,
            r#"{"hostName":"node1","osType":"linux","ip":"10.0.0.1","accessMode":"agentless"}"#,
        ),
        JSON,
        "the host with name node1 already exists in the system",
    );
    let second = scene.post(&hosts, r#"{"hostName":"node2","osType":"linux","ip":"10.0.0.2","accessMode":"agentless","availabilityZones":["default"],"password":"s3cret","username":"root","port":22}"#);
    let body = format!(
        r#"{{"id":"ID","createdAt":"NOW","updatedAt":"","tenantId":"{ADMIN}","hostName":"node2","osType":"linux","accessMode":"agentless","ip":"10.0.0.2","port":22,"username":"root","availabilityZones":["default"],"initiators":null}}"#
    );
    same(&second, 200, JSON, &body);
    let fifth = scene.post(
        &hosts,
        r#"{"hostName":"node5","osType":"linux","ip":"10.0.0.5","accessMode":"agentless"}"#,
    );
    assert!(fifth.body.ends_with(r#""availabilityZones":null,"initiators":null}"#));
    refused(
        &scene.post(
            &hosts,
            r#"{"hostName":"node_4","osType":"linux","ip":"10.0.0.4","accessMode":"agentless"}"#,
        ),
        TEXT,
        r#"Request body has an error: doesn't match the schema: Error at "/hostName":JSON string doesn't match the regular expression '^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])$'"#,
    );
    let added = scene.put(&format!("{hosts}/{}", made.id()), r#"{"availabilityZones":null,"initiators":[{"portName":"iqn.1993-08.org.debian:01:a","protocol":"iscsi"},{"portName":"iqn.x","protocol":"iscsi"}]}"#).expect(200);
    assert_eq!(added.json()["initiators"].as_array().unwrap().len(), 2);
    assert_eq!(added.json()["availabilityZones"], serde_json::json!(["default"]));
    same(&scene.delete(&format!("{hosts}/{}", made.id())), 200, JSON, "");
    scene.get(&format!("{hosts}/{}", made.id())).expect(404);
    assert_eq!(scene.get(&hosts).json().as_array().unwrap().len(), 2);
}

#[test]
fn attachments_that_are_refused() {
    let scene = Scene::new();
    let attachments = format!("{T}/block/attachments");
    let (a, b) = (scene.host("a"), scene.host("b"));
    let far = scene.post(&format!("{T}/host/hosts"), r#"{"hostName":"far","osType":"linux","ip":"10.0.0.3","accessMode":"agentless","availabilityZones":["az9"]}"#).id();
    let volume = scene.volume(false);
    let ask = |volume: &str, host: &str| {
        scene.post(&attachments, &format!(r#"{{"volumeId":"{volume}","hostId":"{host}"}}"#))
    };
    refused(
        &ask(&volume, "nope"),
        JSON,
        "get host failed in create volume attachment method: specified host(nope) can't find",
    );
    refused(
        &ask("nope", &a),
        JSON,
        "get volume failed in create volume attachment method: specified volume(nope) can't find",
    );
    refused(
        &ask(&volume, &far),
        JSON,
        "availability zone of volume: default is not in the host availability zones: [az9]",
    );
    refused(
        &scene.post(&attachments, &format!(r#"{{"volumeId":"{volume}"}}"#)),
        TEXT,
        "Request body has an error: doesn't match the schema: Property 'hostId' is missing",
    );
    refused(
        &scene.post(&attachments, &attach_body(&volume, &a, "xx")),
        TEXT,
        "Request body has an error: doesn't match the schema: Error at \"/attachMode\":JSON value is not one of the allowed values",
    );
    scene.attach(&volume, &a, "rw").expect(202);
    refused(
        &ask(&volume, &b),
        JSON,
        "volume is already attached to one of the host. If you want to attach to multiple host, volume multiattach must be true",
    );
    refused(
        &scene.delete(&scene.volume_path(&volume)),
        JSON,
        "delete volume failed: only the volume with the status available, error, error_deleting, error_extending can be deleted, the volume status is inUse",
    );
    refused(
        &scene.delete(&format!("{T}/host/hosts/{a}")),
        JSON,
        "some volumes are attached to host: a, please detach them first",
    );
}

/// Where the original's connector reads it, and nowhere else.
#[test]
fn a_password_is_in_its_own_attachment_only() {
    let scene = Scene::of(Setup { chap: Chap::Mutual, ..Setup::default() });
    let (a, b, volume) = (scene.host("a"), scene.host("b"), scene.volume(true));
    let first = scene.attach(&volume, &a, "rw").expect(202);
    let path = scene.attachment_path(&first.id());
    let data = first.json()["connectionInfo"]["data"].clone();
    assert_eq!(data["authMethod"], "chap");
    let secrets = ["authPassword", "targetAuthPassword"].map(|key| {
        let secret = data[key].as_str().unwrap().to_owned();
        assert_eq!(secret.len(), 16, "{data}");
        secret
    });
    assert_ne!(secrets[0], secrets[1]);
    // The same for whoever asks again, by either way.
    assert_eq!(scene.attach(&volume, &a, "rw").json()["connectionInfo"]["data"], data);
    assert_eq!(scene.get(&path).json()["connectionInfo"]["data"], data);
    let other = scene.attach(&volume, &b, "rw").expect(202);
    let other = &other.json()["connectionInfo"]["data"];
    for key in ["authUserName", "authPassword", "targetAuthPassword"] {
        assert_ne!(data[key], other[key], "{key}");
    }
    // No list, edit or other noun says it; that CHAP is asked for is no secret.
    let list = scene.get(&format!("{T}/block/attachments"));
    assert_eq!(list.json()[0]["connectionInfo"]["data"]["authUserName"], data["authUserName"]);
    let edited = scene.put(&path, r#"{"mountpoint":"/dev/sdb"}"#).expect(200);
    let volume = scene.get(&format!("{T}/block/volumes/{volume}"));
    let stranger = path.replace("e93b4c0934da416eb9c8d120c5d04d96", "stranger");
    let refused = scene.get(&stranger).expect(404);
    for answer in [&list, &edited, &volume, &refused] {
        let body = &answer.body;
        assert!(!secrets.iter().any(|secret| body.contains(secret.as_str())), "{body}");
    }
    // The next attachment of the same host has others.
    scene.delete_wait(&path);
    let again = scene.attach(&volume.id(), &a, "rw").json();
    for key in ["authUserName", "authPassword", "targetAuthPassword"] {
        assert_ne!(data[key], again["connectionInfo"]["data"][key], "{key}");
    }
}

#[test]
fn chap_can_be_off() {
    let scene = Scene::of(Setup { chap: Chap::Off, ..Setup::default() });
    let (a, volume) = (scene.host("a"), scene.volume(true));
    let shown = scene.attach(&volume, &a, "rw").expect(202).json();
    assert!(shown["connectionInfo"]["data"]["targetIQN"].is_array());
    assert!(shown["connectionInfo"]["data"]["authMethod"].is_null(), "{shown}");
}

#[test]
fn an_attachment_from_its_request_to_its_end() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    let asked = scene.post(&format!("{T}/block/attachments"), &attach_body(&volume, &a, "ro"));
    let body = format!(
        r#"{{"id":"ID","createdAt":"NOW","updatedAt":"","tenantId":"{ADMIN}","hostId":"ID","volumeId":"ID","status":"creating","attachMode":"ro","accessProtocol":"iscsi","connectionInfo":{{}}}}"#
    );
    same(&asked, 202, JSON, &body);
    let path = scene.attachment_path(&asked.id());
    let shown = scene.attach(&volume, &a, "ro").expect(202);
    assert_eq!(shown.id(), asked.id());
    let shown = shown.json();
    assert_eq!(shown["status"], "available");
    assert_eq!(shown["connectionInfo"]["driverVolumeType"], "iscsi");
    let data = &shown["connectionInfo"]["data"];
    assert_ne!(data["targetLun"], 0);
    assert!(data["targetIQN"].is_array() && data["targetPortal"].is_array());
    assert_eq!(data["accessMode"], "ro");
    assert_eq!(scene.status_of_volume(&volume), "inUse");
    let put = scene.put(&path, r#"{"mountpoint":"/dev/sdb","connectionInfo":{}}"#).expect(200);
    assert_eq!(put.text("mountpoint"), "/dev/sdb");
    same(&scene.delete(&path), 202, JSON, "");
    scene.delete_wait(&path);
    scene.get(&path).expect(404);
    assert_eq!(scene.status_of_volume(&volume), "available");
}

#[test]
fn volumes_that_grow_and_go() {
    let scene = Scene::new();
    let volume = scene.volume(false);
    let path = scene.volume_path(&volume);
    let resize = format!("{path}/resize");
    refused(
        &scene.post(&resize, r#"{"newSize":1}"#),
        JSON,
        "extend volume failed: new size for extend must be greater than current size.(current: 1 GB, extended: 1 GB).",
    );
    refused(
        &scene.post(&resize, "{}"),
        TEXT,
        "Request body has an error: doesn't match the schema: Property 'newSize' is missing",
    );
    let growing = scene.post(&resize, r#"{"newSize":4}"#).expect(202).json();
    assert_eq!((&growing["status"], &growing["size"]), (&"extending".into(), &1.into()));
    let grown = scene.client().request("GET", &path, &[crate::scene::WAIT], None).json();
    assert_eq!((&grown["status"], &grown["size"]), (&"available".into(), &4.into()));
    // The original answers 202 and tells nobody but its log.
    assert!(scene.post(&resize, r#"{"newSize":900000}"#).expect(400).message().contains("free"));
    same(&scene.delete(&path), 202, JSON, "");
    scene.delete_wait(&path);
    scene.get(&path).expect(404);
}

#[test]
fn lists_are_filtered_sorted_and_cut() {
    let scene = Scene::new();
    for (name, size) in [("b", 3), ("a", 2), ("c", 1)] {
        let body = format!(r#"{{"name":"{name}","size":{size},"multiAttach":{}}}"#, size == 2);
        scene.post_wait(&format!("{T}/block/volumes"), &body).expect(202);
    }
    let names = |query: &str| -> Vec<String> {
        let list = scene.get(&format!("{T}/block/volumes?{query}")).expect(200).json();
        list.as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(""), ["b", "a", "c"]);
    assert_eq!(names("sortKey=name&sortDir=asc"), ["a", "b", "c"]);
    assert_eq!(names("sortKey=name&offset=1&limit=1&size=2&size=3"), ["a"]);
    assert_eq!(names("sortKey=size&limit=2"), ["b", "a"]);
    assert_eq!(names("limit=50&offset=0&sortDir=desc&sortKey=id"), ["c", "a", "b"]);
    assert_eq!(names("limit=2&offset=1"), ["a", "c"]);
    assert_eq!(names("offset=9999"), [""; 0]);
    assert_eq!(names("multiAttach=true"), ["a"]);
    assert_eq!(names("Size=1&bogus=2"), ["c"]);
    assert_eq!(names("name=a&name=b"), ["b", "a"]);
    assert_eq!(names("status=error"), [""; 0]);
    assert_eq!(names("DurableName=zz"), [""; 0]);
    for (query, words) in [
        ("limit=0", "Parameter 'limit' in query has an error: Number must be at least 1"),
        ("limit=-1", "Parameter 'limit' in query has an error: Number must be at least 1"),
        (
            "limit=abc",
            "Parameter 'limit' in query has an error: value abc: an invalid interger: strconv.ParseFloat: parsing \"abc\": invalid syntax",
        ),
        (
            "sortDir=up",
            "Parameter 'sortDir' in query has an error: JSON value is not one of the allowed values",
        ),
    ] {
        refused(&scene.get(&format!("{T}/block/volumes?{query}")), TEXT, words);
    }
}

#[test]
fn lists_of_volumes_are_narrowed_and_in_order() {
    let scene = Scene::with_pools(vec![shared_pool(50), plain_pool(100)]);
    let pools = ["shared", "plain"].map(|name| {
        let found = scene.get(&format!("{T}/pools?name={name}")).json();
        found[0]["id"].as_str().unwrap().to_owned()
    });
    let profiles = ["p", "q"].map(|name| {
        let body = format!(r#"{{"name":"{name}"}}"#);
        scene.post(&format!("{T}/profiles"), &body).expect(200).id()
    });
    let tenants = ["e93b4c0934da416eb9c8d120c5d04d96", "t", "t2"];
    let mut made = Vec::new();
    for n in 0..18 {
        let (pool, profile, tenant, name) = (n % 2, n / 2 % 2, n % 3, n % 4);
        let body = format!(
            r#"{{"name":"v{name}","size":1,"poolId":"{}","profileId":"{}"}}"#,
            pools[pool], profiles[profile]
        );
        let path = format!("/v1beta/{}/block/volumes", tenants[tenant]);
        let id = scene.post_wait(&path, &body).expect(202).id();
        made.push((pool, profile, tenant, name, id));
    }
    let ids = |tenant: &str, query: &str| -> Vec<String> {
        let list = scene.get(&format!("/v1beta/{tenant}/block/volumes?{query}")).expect(200).json();
        list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().into()).collect()
    };
    type Wanted<'a> = dyn Fn(&(usize, usize, usize, usize, String)) -> bool + 'a;
    let wanted = |want: &Wanted<'_>| -> Vec<String> {
        made.iter().filter(|one| want(one)).map(|one| one.4.clone()).collect()
    };
    let ([first, second], [p, q], admin) = (&pools, &profiles, tenants[0]);
    let cases: [(String, &Wanted<'_>); 13] = [
        (format!("poolId={first}"), &|one| one.0 == 0),
        (format!("PoolId={second}&PoolId={first}"), &|_| true),
        (format!("profileId={q}"), &|one| one.1 == 1),
        (format!("profileId={q}&profileId={p}&poolId={first}"), &|one| one.0 == 0),
        ("tenantId=t".to_owned(), &|one| one.2 == 1),
        ("tenantId=t&tenantId=t2".to_owned(), &|one| one.2 > 0),
        ("name=v1".to_owned(), &|one| one.3 == 1),
        ("name=v1&name=v3&name=v1".to_owned(), &|one| one.3 % 2 == 1),
        (format!("id={}&id=nope", made[7].4), &|one| one.4 == made[7].4),
        ("status=available".to_owned(), &|_| true),
        ("status=error&status=creating".to_owned(), &|_| false),
        (format!("status=available&tenantId=t&poolId={first}"), &|one| one.0 == 0 && one.2 == 1),
        (format!("STATUS=available&name=v1&profileId={p}"), &|one| one.1 == 0 && one.3 == 1),
    ];
    for (query, want) in cases {
        let all = wanted(want);
        assert_eq!(ids(admin, &query), all, "{query}");
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(ids(admin, &format!("{query}&sortKey=id&sortDir=desc")), turned, "{query}");
        let page: Vec<_> = all.iter().skip(1).take(2).cloned().collect();
        assert_eq!(ids(admin, &format!("{query}&limit=2&offset=1")), page, "{query}");
        // A tenant is shown its own, whatever it asks for.
        assert_eq!(ids("t2", &query), wanted(&|one| one.2 == 2 && want(one)), "{query}");
    }
    assert!(ids(admin, "poolId=nope").is_empty() && ids(admin, "name=").is_empty());
}

#[test]
fn lists_of_attachments_are_narrowed_and_in_order() {
    let scene = Scene::new();
    let hosts = ["a", "b", "c"].map(|name| scene.host(name));
    let volumes = [scene.volume(true), scene.volume(true)];
    let mut held = Vec::new();
    // Neither the order of the hosts nor that of the volumes.
    for (host, volume) in [(2, 1), (0, 0), (1, 1), (0, 1), (2, 0)] {
        let id = scene.attach(&volumes[volume], &hosts[host], "rw").expect(202).id();
        held.push((host, volume, id));
    }
    let ids = |query: &str| -> Vec<String> {
        let list = scene.get(&format!("{T}/block/attachments?{query}")).expect(200).json();
        list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().into()).collect()
    };
    let wanted = |want: &dyn Fn(usize, usize) -> bool| -> Vec<String> {
        let found = held.iter().filter(|(host, volume, _)| want(*host, *volume));
        found.map(|(_, _, id)| id.clone()).collect()
    };
    let [a, _, c] = &hosts;
    let [one, two] = &volumes;
    assert_eq!(ids(""), wanted(&|_, _| true));
    assert_eq!(ids(&format!("volumeId={two}")), wanted(&|_, volume| volume == 1));
    assert_eq!(ids(&format!("hostId={a}")), wanted(&|host, _| host == 0));
    assert_eq!(ids(&format!("hostId={a}&hostId={c}")), wanted(&|host, _| host != 1));
    assert_eq!(ids(&format!("volumeId={two}&volumeId={one}")), wanted(&|_, _| true));
    assert_eq!(ids(&format!("HostId={c}&VolumeId={two}")), wanted(&|h, v| h == 2 && v == 1));
    let mut turned = wanted(&|_, volume| volume == 1);
    turned.reverse();
    assert_eq!(ids(&format!("volumeId={two}&sortKey=id&sortDir=desc")), turned);
    assert_eq!(ids(&format!("volumeId={two}&limit=1&offset=1")), [turned[1].clone()]);
    assert_eq!(ids("status=available"), wanted(&|_, _| true));
    assert_eq!(ids(&format!("status=available&hostId={c}")), wanted(&|host, _| host == 2));
    assert!(ids("status=creating&status=error").is_empty());
    let tenant = T.trim_start_matches("/v1beta/");
    assert_eq!(ids(&format!("tenantId={tenant}&volumeId={two}")), wanted(&|_, v| v == 1));
    assert!(ids("volumeId=nope&hostId=nope").is_empty());
    let named = scene.get(&format!("{T}/host/hosts?hostName=b&hostName=x")).expect(200).json();
    assert_eq!((named.as_array().unwrap().len(), &named[0]["hostName"]), (1, &"b".into()));
    let others = format!("/v1beta/other/block/attachments?volumeId={two}");
    assert_eq!(scene.get(&others).expect(200).body, "[]");
}

#[test]
fn other_tenants_see_what_is_theirs() {
    let scene = Scene::new();
    let theirs = "/v1beta/othertenant/block/volumes";
    let made = scene.post_wait(theirs, r#"{"name":"tv","size":1}"#).expect(202);
    assert_eq!(made.text("tenantId"), "othertenant");
    let ours = scene.volume(false);
    assert_eq!(scene.get(theirs).json().as_array().unwrap().len(), 1);
    let hidden = scene.get(&format!("{theirs}/{ours}")).expect(404);
    let words = format!("volume {ours} not found: Wrong resource uuid provided!");
    assert_eq!(hidden.message(), words);
    assert_eq!(scene.delete(&format!("{theirs}/{ours}")).expect(404).message(), words);
    // The administrator sees everything.
    let all = scene.get(&format!("{T}/block/volumes")).json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    scene.get(&scene.volume_path(&made.id())).expect(200);
    // A host of one tenant cannot have another's volume.
    let host = scene.host("a");
    let body = attach_body(&ours, &host, "rw");
    scene.post("/v1beta/othertenant/block/attachments", &body).expect(400);
}

#[test]
fn ours_explain_drift_fence() {
    let scene = Scene::new();
    let explained = scene.get(&format!("{T}/pools/explain?size=1")).expect(200);
    let body = r#"[{"poolId":"ID","name":"shared","fits":true,"reason":"","freeCapacity":100000}]"#;
    same(&explained, 200, JSON, body);
    let huge = scene.get(&format!("{T}/pools/explain?size=999999&profileId=")).json();
    assert_eq!(huge[0]["fits"], false);
    assert!(huge[0]["reason"].as_str().unwrap().contains("GiB"));
    scene.get(&format!("{T}/pools/explain")).expect(400);
    scene.get(&format!("{T}/pools/explain?size=0")).expect(400);
    scene.get(&format!("{T}/pools/explain?size=1&profileId=nope")).expect(400);

    let dock = scene.get(&format!("{T}/docks")).json()[0]["id"].as_str().unwrap().to_owned();
    same(&scene.get(&format!("{T}/docks/{dock}/drift")), 200, JSON, "[]");
    scene.get(&format!("{T}/docks/nope/drift")).expect(404);

    let (a, volume) = (scene.host("a"), scene.volume(true));
    let held = scene.attach(&volume, &a, "rw").expect(202).id();
    let host = format!("{T}/host/hosts/{a}");
    let fenced = scene.post(&format!("{host}/fence"), r#"{"reason":"smoke"}"#).expect(200);
    assert_eq!(
        (fenced.text("fenced"), fenced.text("fenceReason")),
        ("true".into(), "smoke".into())
    );
    scene.delete_wait(&scene.attachment_path(&held));
    scene.get(&scene.attachment_path(&held)).expect(404);
    assert!(scene.attach(&volume, &a, "rw").expect(400).message().contains("fenced"));
    let free = scene.client().request("POST", &format!("{host}/unfence"), &[], None).expect(200);
    assert_eq!(free.json().get("fenced"), None);
    scene.attach(&volume, &a, "rw").expect(202);
    scene.client().request("POST", &format!("{host}/fence"), &[], None).expect(200);
    scene.post(&format!("{T}/host/hosts/nope/fence"), "{}").expect(404);
}
