//! What osdsctl says, sends and ends with, against a server of canned answers.
//!
//! Each story is a file under `golden/`: the command, its stdout, its stderr (marked `!`), its exit
//! code, and the requests it sent (marked `>`, the tenant shown as `T`). Where the original prints
//! the same thing, the bytes in the files are the original's. `UPDATE_EXPECT=1 cargo test` rewrites
//! them.

mod canned;
mod snapshots;

use std::fmt::Write;
use std::process::Command;

use canned::{Answer, Server, accepted, ok, refused, waited};
use expect_test::expect_file;
use serde_json::{Value, json};

const PROFILE: &str = "c4f79dcc-a98a-422b-ae88-7b0bdaddfe4f";
const VOLUME: &str = "f3e1bff1-9f04-4006-a515-eb7694c40f13";
const HOST: &str = "ac043d8d-0743-441a-8c44-ff3b6dc38aee";
const ATTACHMENT: &str = "69f09d30-eb77-41df-b49c-43ea58001514";
const POOL: &str = "084bf71e-a102-11e7-88a8-e31fe6d52248";

/// Runs commands, each against its own answers, and tells what happened.
#[derive(Default)]
struct Story {
    told: String,
}

impl Story {
    fn run(&mut self, line: &[&str], answers: Vec<Answer>) -> &mut Self {
        self.run_as(line, &[("OPENSDS_AUTH_STRATEGY", "noauth")], answers)
    }

    fn run_as(
        &mut self,
        line: &[&str],
        environment: &[(&str, &str)],
        answers: Vec<Answer>,
    ) -> &mut Self {
        let server = Server::start(answers);
        let mut command = Command::new(env!("CARGO_BIN_EXE_osdsctl"));
        command.args(line).env_clear().env("OPENSDS_ENDPOINT", server.endpoint());
        // None of these may be looked at.
        command.env("http_proxy", "http://127.0.0.1:9").env("ALL_PROXY", "http://127.0.0.1:9");
        let output = command.envs(environment.iter().copied()).output().unwrap();
        let told = &mut self.told;
        writeln!(told, "$ osdsctl {}", line.join(" ")).unwrap();
        told.push_str(&String::from_utf8(output.stdout).unwrap());
        for words in String::from_utf8(output.stderr).unwrap().lines() {
            writeln!(told, "! {}", words.replace(&server.endpoint(), "ENDPOINT")).unwrap();
        }
        writeln!(told, "[rc={}]", output.status.code().unwrap()).unwrap();
        for request in server.requests() {
            for part in request.lines() {
                writeln!(told, "> {part}").unwrap();
            }
        }
        told.push('\n');
        self
    }
}

fn volume(status: &str) -> Value {
    json!({
        "id": VOLUME, "createdAt": "2026-11-22T12:00:28", "updatedAt": "", "name": "cli-vol",
        "size": 1, "availabilityZone": "default", "status": status, "profileId": PROFILE,
        "AttachStatus": ""
    })
}

fn attachment(status: &str) -> Value {
    json!({
        "id": ATTACHMENT, "createdAt": "2026-11-22T11:54:44", "updatedAt": "",
        "tenantId": "e93b4c0934da416eb9c8d120c5d04d96", "hostId": HOST, "volumeId": VOLUME,
        "status": status, "attachMode": "ro", "accessProtocol": "iscsi", "connectionInfo": {}
    })
}

fn available_attachment() -> Value {
    let mut attachment = attachment("available");
    attachment["connectionInfo"] = json!({
        "driverVolumeType": "iscsi",
        "data": {
            "accessMode": "ro", "discard": false, "targetDiscovered": true,
            "targetIQN": ["iqn.2017-10.io.opensds:v"], "targetLun": 1,
            "targetPortal": ["127.0.0.1:3260"]
        }
    });
    attachment
}

fn proving_attachment() -> Value {
    let mut attachment = available_attachment();
    let data = &mut attachment["connectionInfo"]["data"];
    data["authMethod"] = "chap".into();
    data["authUserName"] = ATTACHMENT.into();
    data["authPassword"] = "hush".into();
    data["targetAuthUserName"] = VOLUME.into();
    data["targetAuthPassword"] = "hush, too".into();
    attachment
}

fn host(name: &str, zones: &Value, initiators: &Value) -> Value {
    json!({
        "id": HOST, "createdAt": "2026-11-22T12:00:28", "updatedAt": "", "hostName": name,
        "osType": "linux", "accessMode": "agentless", "ip": "10.9.9.9",
        "availabilityZones": zones, "initiators": initiators
    })
}

fn profile(custom: &Value) -> Value {
    let mut profile = json!({
        "id": "ae92830e-991a-4d1b-b045-f230e66dfbd6", "createdAt": "2026-11-22T12:00:28",
        "updatedAt": "", "name": "multi-attach3", "description": "multi attach profile",
        "storageType": "block",
        "provisioningProperties": {
            "dataStorage": {"compression": false, "deduplication": false}, "ioConnectivity": {}
        },
        "replicationProperties": {"dataProtection": {"isIsolated": false}, "replicaInfos": {}},
        "snapshotProperties": {"schedule": {}, "retention": {}, "topology": {}},
        "dataProtectionProperties": {"dataProtection": {"isIsolated": false}}
    });
    if !custom.is_null() {
        profile["customProperties"] = custom.clone();
    }
    profile
}

#[test]
fn version() {
    let v1beta = json!({
        "description": "v1beta version", "name": "v1beta", "status": "CURRENT",
        "updatedAt": "2017-07-10T14:36:58.014Z"
    });
    let mut story = Story::default();
    story
        .run(&["version", "list"], vec![ok(&json!([v1beta]))])
        .run(&["version", "show", "v1beta"], vec![ok(&v1beta)])
        .run(&["version", "show", "v1"], vec![refused(404, "can't find the version: v1")]);
    expect_file!["golden/version.txt"].assert_eq(&story.told);
}

#[test]
fn dock() {
    let dock = json!({
        "id": "08a43707-2537-568b-acd5-315d2f37e3ae", "createdAt": "2026-11-22T11:53:41",
        "updatedAt": "", "type": "provisioner", "name": "sample", "description": "Sample Test",
        "endpoint": "127.0.0.1:51050", "driverName": "sample",
        "metadata": {"HostReplicationDriver": "drbd"}
    });
    let mut story = Story::default();
    story
        .run(&["dock", "list"], vec![ok(&json!([dock]))])
        .run(&["dock", "list", "--driverName", "a b", "--limit", "2"], vec![ok(&json!([]))])
        .run(&["dock", "show", "08a43707-2537-568b-acd5-315d2f37e3ae"], vec![ok(&dock)]);
    expect_file!["golden/dock.txt"].assert_eq(&story.told);
}

#[test]
fn pool() {
    let pool = |id: &str, name: &str, description: &str, total: u32, free: u32| {
        json!({
            "id": id, "createdAt": "2026-11-22T11:53:41", "updatedAt": "", "name": name,
            "description": description, "status": "available",
            "dockId": "08a43707-2537-568b-acd5-315d2f37e3ae", "availabilityZone": "default",
            "totalCapacity": total, "freeCapacity": free, "multiAttach": true,
            "storageType": "block",
            "extras": {
                "dataStorage": {
                    "provisioningPolicy": "Thin", "compression": true, "deduplication": false
                },
                "ioConnectivity": {
                    "accessProtocol": "rbd", "maxIOPS": 8_000_000, "minIOPS": 1_000_000,
                    "maxBWS": 700, "minBWS": 100, "latency": 100
                },
                "dataProtection": {"isIsolated": false},
                "advanced": {"diskType": "SSD", "latency": "3ms"}
            }
        })
    };
    let first =
        pool(POOL, "sample-pool-01", "This is the first sample storage pool for testing", 100, 90);
    let all = json!([
        pool(
            // Not a uuid: other servers' ids are what they are.
            "bdd44c8e-b8a9-488a-89c0-d1e5beb902dg",
            "opensds-files-default",
            "This is the first file sample storage pool for testing",
            200,
            170
        ),
        pool(
            "a594b8ac-a103-11e7-985f-d723bcf01b5f",
            "sample-pool-02",
            "This is the second sample storage pool for testing",
            200,
            170
        ),
        first
    ]);
    let fits = json!([
        {"poolId": POOL, "name": "sample-pool-01", "fits": true, "reason": "", "freeCapacity": 90},
        {"poolId": "a594b8ac-a103-11e7-985f-d723bcf01b5f", "name": "sample-pool-02", "fits": false,
         "reason": "multiAttach is false, wanted true", "freeCapacity": 170}
    ]);
    let explain = ["pool", "explain", "100", "--profile", PROFILE, "--az", "az 1"];
    let mut story = Story::default();
    story
        .run(&["pool", "list"], vec![ok(&all)])
        .run(&["pool", "show", POOL], vec![ok(&first)])
        .run(&explain, vec![ok(&fits)]);
    expect_file!["golden/pool.txt"].assert_eq(&story.told);
}

#[test]
fn profiles() {
    let custom = json!({"capabilities:multiAttach": "<is> true"});
    let info = r#"{"name": "multi-attach3", "description": "multi attach profile","customProperties":{"capabilities:multiAttach":"<is> true"}}"#;
    let with_type = r#"{"name": "multi-attach3", "description": "multi attach profile","storageType":"block","customProperties":{"capabilities:multiAttach":"<is> true"}}"#;
    let listed = json!([
        {"id": "f6b58cc1-0d09-4de4-950d-201e2159e40a", "name": "f", "storageType": "file"},
        {"id": "e8fab32e-9e87-41cc-80b4-14b31a9301be", "name": "ma-True", "storageType": "block"},
        {"id": PROFILE, "name": "default_block", "description": "d2", "storageType": "block"},
        {"id": "b2b5a617-2b70-418b-b57b-dc0135d823f6", "name": "multi-attach",
         "description": "multi attach profile", "storageType": "block"},
        {"id": "ae92830e-991a-4d1b-b045-f230e66dfbd6", "name": "multi-attach3",
         "description": "multi attach profile", "storageType": "block"}
    ]);
    let pairs = json!({"capabilities:multiAttach": "<is> true", "n": 5, "o": {"a": [1]}});
    let mut story = Story::default();
    story
        .run(&["profile", "create", with_type], vec![ok(&profile(&custom))])
        .run(&["profile", "create", info], vec![ok(&profile(&custom))])
        .run(&["profile", "create", "nonsense"], vec![])
        .run(&["profile", "create", "{}"], vec![refused(400, "Property 'name' is missing")])
        .run(&["profile", "show", PROFILE], vec![ok(&profile(&Value::Null))])
        .run(&["profile", "list"], vec![ok(&listed)])
        .run(&["profile", "delete", PROFILE], vec![ok(&Value::Null)])
        .run(&["profile", "property", "list", PROFILE], vec![ok(&pairs)])
        .run(
            &["profile", "property", "set", PROFILE, "capabilities:multiAttach", "<is> true"],
            vec![ok(&custom)],
        )
        .run(&["profile", "property", "set", PROFILE, "n", "5"], vec![ok(&json!({"n": 5}))])
        .run(
            &["profile", "property", "remove", PROFILE, "capabilities:extras.x y"],
            vec![ok(&Value::Null)],
        );
    expect_file!["golden/profile.txt"].assert_eq(&story.told);
}

#[test]
fn volumes() {
    let missing = "Request body has an error: doesn't match the schema: Property 'name' is missing";
    let gone = "volume nope not found: specified volume(nope) can't find";
    let every_flag = [
        "volume",
        "create",
        "2",
        "-n",
        "n",
        "-d",
        "d",
        "-a",
        "az",
        "-s",
        "snap",
        "-l",
        POOL,
        "-c",
        "-p",
        PROFILE,
        "--multi-attach",
    ];
    let mut limited = volume("inUse");
    limited["ioLimits"] = json!({"maxIOPS": 500, "maxBWSPerHost": 20});
    let mut story = Story::default();
    story
        .run(&["volume", "create", "1", "--name", "cli-vol"], vec![accepted(&volume("creating"))])
        .run(&every_flag, vec![accepted(&volume("creating"))])
        .run(&["volume", "create", "1"], vec![refused(400, missing)])
        .run(&["volume", "create", "x", "--name", "y"], vec![])
        .run(&["volume", "list", "--name", "cli-vol"], vec![ok(&json!([volume("available")]))])
        .run(&["volume", "list", "--name", "nosuch"], vec![ok(&json!([]))])
        .run(&["volume", "show", VOLUME], vec![ok(&volume("available"))])
        .run(
            &["volume", "update", "nope", "-n", "x"],
            vec![refused(500, "update volume failed: specified volume(nope) can't find")],
        )
        .run(&["volume", "update", VOLUME, "-d", "new"], vec![ok(&volume("available"))])
        .run(&["volume", "extend", VOLUME, "2"], vec![accepted(&volume("extending"))])
        .run(
            &["volume", "limits", "set", VOLUME, "--max-iops", "500", "--max-bws-per-host", "20"],
            vec![accepted(&limited)],
        )
        .run(&["volume", "limits", "set", VOLUME, "--max-iops", "x"], vec![])
        .run(&["volume", "limits", "show", VOLUME], vec![ok(&limited)])
        .run(&["volume", "multi-attach", VOLUME, "off"], vec![ok(&volume("inUse"))])
        .run(&["volume", "multi-attach", VOLUME, "maybe"], vec![])
        .run(&["volume", "delete", VOLUME, "--forget"], vec![accepted(&Value::Null)])
        .run(&["volume", "delete", VOLUME], vec![accepted(&Value::Null)])
        .run(&["volume", "delete", "nope"], vec![refused(404, gone)]);
    expect_file!["golden/volume.txt"].assert_eq(&story.told);
}

#[test]
fn attachments() {
    let no_host =
        "get host failed in create volume attachment method: specified host(b) can't find";
    let two = json!([
        {"id": "ff4a7344-b66e-4273-8cfe-9af8918fdda0", "hostId": HOST,
         "volumeId": "ddb85bbc-53c6-43c2-9d1e-f00a976490ce", "status": "available",
         "accessProtocol": "rbd"},
        {"id": "fe82e04b-7f8b-404e-b140-58314ea18ffc", "hostId": HOST,
         "volumeId": "2d42b5a3-45b2-4e31-8559-77a7a3f9861d", "status": "available",
         "accessProtocol": "rbd"}
    ]);
    let place = ["volume", "attachment"];
    let attach = |rest: &[&'static str]| [&place, rest].concat();
    let read_only =
        attach(&["create", VOLUME, HOST, "--attach-mode", "ro", "--sharing", "soleWriter"]);
    let stats = json!({
        "attachmentId": ATTACHMENT, "volumeId": VOLUME, "hostId": HOST, "attachMode": "ro",
        "sessions": 1, "logins": 2, "reads": 1200, "readBytes": 4_915_200,
        "readLatency": {"totalMicros": 96000, "p50Micros": 75, "p99Micros": 1234},
        "writes": 0, "errors": {"write_protected": 3, "miscompare": 1, "unit_attention": 2}
    });
    let mut story = Story::default();
    story
        .run(&attach(&["create", VOLUME, HOST]), vec![accepted(&attachment("creating"))])
        .run(&read_only, vec![accepted(&attachment("creating"))])
        .run(&attach(&["create", "a", "b"]), vec![refused(400, no_host)])
        .run(&attach(&["create", "a"]), vec![])
        .run(&attach(&["show", ATTACHMENT]), vec![ok(&available_attachment())])
        .run(&attach(&["list", "--limit", "2"]), vec![ok(&two)])
        .run(&attach(&["list", "--volumeId", VOLUME]), vec![ok(&json!([available_attachment()]))])
        .run(&attach(&["stats", ATTACHMENT]), vec![ok(&stats)])
        .run(
            &attach(&["stats", "--volume", VOLUME]),
            vec![ok(&json!([available_attachment()])), ok(&stats)],
        )
        .run(&attach(&["stats"]), vec![])
        .run(
            &attach(&["update", ATTACHMENT, r#"{"mountpoint":"/dev/sdb"}"#]),
            vec![ok(&available_attachment())],
        )
        .run(&attach(&["delete", ATTACHMENT]), vec![accepted(&Value::Null)])
        .run(&attach(&["delete", ATTACHMENT, "--force"]), vec![accepted(&Value::Null)]);
    expect_file!["golden/attachment.txt"].assert_eq(&story.told);
}

#[test]
fn hosts() {
    let zones = json!(["default"]);
    let one = json!([{"portName": "iqn.1993-08.org.debian:01:a", "protocol": "iscsi"}]);
    let bare = host("cli-host", &zones, &Value::Null);
    let with_one = host("cli-host", &zones, &one);
    let mut fenced = with_one.clone();
    fenced["fenced"] = json!(true);
    fenced["fenceReason"] = json!("does not answer");
    let mut created = bare.clone();
    created["id"] = json!("37276b0e-1bcb-43dc-81d8-516b7454bcdf");
    let listed = |id: &str, name: &str, ip: &str, zones: &Value| {
        let mut host = host(name, zones, &Value::Null);
        host["id"] = json!(id);
        host["ip"] = json!(ip);
        host
    };
    let listed = json!([
        listed("9d065b4b-32c3-4973-a7cc-b7d5c6ff67ec", "node2", "10.0.0.2", &zones),
        listed("9d52d0cd-81b2-4e6d-af79-687e49a09041", "node3", "10.0.0.3", &json!(["az9"])),
        listed(HOST, "node1", "10.0.0.1", &zones),
        listed("dac7d9cd-ec6d-45fa-99ee-435edd58573b", "node5", "10.0.0.5", &Value::Null)
    ]);
    let mut story = Story::default();
    story
        .run(&["host", "create", "cli-host", "--ip", "10.9.9.9"], vec![ok(&created)])
        .run(&["host", "list"], vec![ok(&listed)])
        .run(&["host", "list", "--hostName", "x"], vec![ok(&json!([]))])
        .run(
            &["host", "show", "nope"],
            vec![refused(404, "host nope not found: specified host(nope) can't find")],
        )
        .run(
            &["host", "update", HOST, "--availabilityZones", "a,b"],
            vec![ok(&host("cli-host", &json!(["a", "b"]), &Value::Null))],
        )
        .run(
            &["host", "initiator", "add", HOST, "iqn.x", "iscsi"],
            vec![ok(&with_one), ok(&with_one)],
        )
        .run(
            &["host", "initiator", "remove", HOST, "iqn.1993-08.org.debian:01:a"],
            vec![ok(&with_one), ok(&bare)],
        )
        .run(&["host", "initiator", "add", HOST, "iqn.x", "scsi"], vec![])
        .run(&["host", "fence", HOST, "--reason", "does not answer"], vec![ok(&fenced)])
        .run(&["host", "unfence", HOST], vec![ok(&with_one)])
        .run(&["host", "delete", HOST], vec![ok(&Value::Null)]);
    expect_file!["golden/host.txt"].assert_eq(&story.told);
}

#[test]
fn outputs() {
    let list = json!([available_attachment()]);
    let mut story = Story::default();
    story
        .run(&["volume", "show", VOLUME, "-o", "json"], vec![ok(&volume("available"))])
        .run(&["-o", "json", "volume", "list"], vec![ok(&json!([]))])
        .run(&["volume", "attachment", "list", "-o", "yaml"], vec![ok(&list)])
        .run(&["--debug", "volume", "list"], vec![ok(&json!([]))]);
    expect_file!["golden/output.txt"].assert_eq(&story.told);
}

#[test]
fn waiting() {
    let mut failed = volume("error");
    failed["statusReason"] = json!("no pool fits");
    let mut larger = volume("available");
    larger["size"] = json!(2);
    let detach = ["volume", "attachment", "delete", ATTACHMENT, "--wait"];
    let mut story = Story::default();
    story
        // The server has waited: nothing is asked twice.
        .run(
            &["volume", "create", "1", "-n", "cli-vol", "--wait", "--timeout", "90"],
            vec![waited(&volume("available"))],
        )
        // It had not settled when the slice was over.
        .run(
            &["volume", "attachment", "create", VOLUME, HOST, "--wait"],
            vec![waited(&attachment("creating")), ok(&available_attachment())],
        )
        .run(
            &["volume", "create", "1", "-n", "cli-vol", "--wait"],
            vec![accepted(&volume("creating")), ok(&failed)],
        )
        .run(
            &["volume", "create", "1", "-n", "cli-vol", "--wait", "--timeout", "0"],
            vec![accepted(&volume("creating"))],
        )
        .run(&["volume", "extend", VOLUME, "2", "--wait"], vec![waited(&larger)])
        .run(&["volume", "extend", VOLUME, "2", "--wait"], vec![waited(&volume("available"))])
        .run(&detach, vec![waited(&Value::Null), refused(404, "can't find")])
        .run(&detach, vec![accepted(&Value::Null), ok(&attachment("errorDeleting"))])
        .run(&["volume", "delete", VOLUME, "--timeout", "3"], vec![]);
    expect_file!["golden/wait.txt"].assert_eq(&story.told);
}

#[test]
fn environment() {
    let empty = || vec![ok(&json!([]))];
    let not_found = || vec![Answer::new(404, &[], "<html>flown the coop</html>")];
    let mut story = Story::default();
    story
        .run_as(&["volume", "list"], &[], empty())
        .run_as(
            &["volume", "list"],
            &[("OPENSDS_AUTH_STRATEGY", "noauth"), ("OPENSDS_TENANT_ID", "mine")],
            empty(),
        )
        // Set but empty, the path has no tenant; such a path leads nowhere.
        .run_as(
            &["volume", "list"],
            &[("OPENSDS_AUTH_STRATEGY", "noauth"), ("OPENSDS_TENANT_ID", "")],
            not_found(),
        )
        .run_as(
            &["volume", "list"],
            &[("OPENSDS_AUTH_STRATEGY", "other"), ("OPENSDS_TENANT_ID", "mine")],
            empty(),
        )
        .run_as(&["volume", "list"], &[("OPENSDS_AUTH_STRATEGY", "keystone")], vec![])
        .run_as(
            &["volume", "list"],
            &[("OPENSDS_AUTH_STRATEGY", "noauth"), ("OPENSDS_ENDPOINT", "ftp://x:1")],
            vec![],
        )
        .run(&["volume", "list"], vec![Answer::new(401, &[], "{\"code\":401}")])
        .run(&["volume", "list"], vec![Answer::new(200, &[], "{}")]);
    expect_file!["golden/environment.txt"].assert_eq(&story.told);
}

fn group(status: &str) -> Value {
    json!({
        "id": "74316d31-d05e-4156-94a1-87e5faaad4a1", "createdAt": "2026-11-22T11:59:21",
        "updatedAt": "", "name": "g", "status": status, "profiles": [PROFILE, POOL],
        "availabilityZone": "default", "poolId": POOL
    })
}

#[test]
fn groups() {
    let id = "74316d31-d05e-4156-94a1-87e5faaad4a1";
    let verb = |verb: &'static str| ["volume", "group", verb];
    let profiles = format!("{PROFILE},{POOL}");
    let missing = || refused(404, "volume group nope not found: Wrong resource uuid provided!");
    let mut story = Story::default();
    story
        .run(&verb("list"), vec![ok(&json!([group("available")]))])
        // `null` is how a server says that there are none.
        .run(&verb("list"), vec![Answer::new(200, &[], "null")])
        .run(&[&verb("list")[..], &["--status", "available"]].concat(), vec![ok(&json!([]))])
        .run(
            &[&verb("create")[..], &["-n", "g", "-a", "default", "--profiles", &profiles]].concat(),
            vec![accepted(&group("available"))],
        )
        .run(&[&verb("show")[..], &[id]].concat(), vec![ok(&group("available"))])
        .run(
            &[&verb("update")[..], &[id, "-a", VOLUME, "-r", HOST, "-n", "h"]].concat(),
            vec![accepted(&group("updating"))],
        )
        .run(
            &[&verb("update")[..], &[id]].concat(),
            vec![refused(400, "update volume group failed: no valid name were provided")],
        )
        .run(&[&verb("delete")[..], &[id]].concat(), vec![accepted(&Value::Null)])
        .run(&[&verb("delete")[..], &[id, "-o", "json"]].concat(), vec![accepted(&Value::Null)])
        .run(
            &[&verb("delete")[..], &[id, "--wait"]].concat(),
            vec![waited(&Value::Null), ok(&group("errorDeleting"))],
        )
        .run(&[&verb("delete")[..], &["nope"]].concat(), vec![missing()]);
    expect_file!["golden/group.txt"].assert_eq(&story.told);
}

/// What osds has none of: the server's words; and the tables, for servers that have them.
#[test]
fn replications() {
    let verb = |verb: &'static str| ["volume", "replication", verb];
    let not_there = || {
        refused(501, "replications are not supported: no driver of this server can copy a volume")
    };
    let replication = json!({
        "Id": "1", "CreatedAt": "2026-11-22T11:59:21", "UpdatedAt": "", "Name": "r",
        "ReplicationStatus": "enabled", "PrimaryVolumeId": VOLUME, "SecondaryVolumeId": HOST,
        "ReplicationMode": "async", "ReplicationPeriod": 60,
        "PrimaryReplicationDriverData": {"k": "v"}
    });
    let create = |more: &[&'static str]| [&verb("create")[..], &[VOLUME, HOST], more].concat();
    let mut story = Story::default();
    story
        .run(&verb("list"), vec![ok(&json!([]))])
        .run(
            &[&verb("list")[..], &["--primaryVolumeId", "v"]].concat(),
            vec![ok(&json!([replication]))],
        )
        .run(&create(&["-n", "r"]), vec![not_there()])
        .run(
            &create(&["-m", "async", "--primary_driver_data", r#"{"k":"v"}"#]),
            vec![accepted(&replication)],
        )
        .run(&create(&["-m", "never"]), vec![])
        .run(&create(&["-t", "5"]), vec![])
        .run(&create(&["-t", "-5", "-m", "async"]), vec![])
        .run(&create(&["--secondary_driver_data", "no"]), vec![])
        .run(&[&verb("show")[..], &["1"]].concat(), vec![ok(&replication)])
        .run(&[&verb("update")[..], &["1", "-d", "x"]].concat(), vec![ok(&replication)])
        .run(&[&verb("enable")[..], &["1"]].concat(), vec![not_there()])
        .run(&[&verb("disable")[..], &["1"]].concat(), vec![accepted(&Value::Null)])
        .run(&[&verb("failover")[..], &["1", "-a"]].concat(), vec![accepted(&Value::Null)])
        .run(&[&verb("delete")[..], &["1"]].concat(), vec![accepted(&Value::Null)]);
    expect_file!["golden/replication.txt"].assert_eq(&story.told);
}

#[test]
fn file_shares() {
    let not_there =
        || refused(501, "file shares are not supported: this server serves blocks, not files");
    let share = json!({
        "id": "1", "createdAt": "2026-11-22T11:59:21", "updatedAt": "", "name": "f", "size": 1,
        "protocols": ["nfs"], "status": "available", "exportLocations": ["10.0.0.1:/f"]
    });
    let snapshot = json!({
        "id": "2", "createdAt": "2026-11-22T11:59:21", "updatedAt": "", "fileshareId": "1",
        "name": "s", "shareSize": 1, "snapshotSize": 1, "status": "available"
    });
    let acl = json!({
        "id": "3", "createdAt": "2026-11-22T11:59:21", "updatedAt": "", "fileshareId": "1",
        "type": "ip", "accessCapability": ["Read", "Write"], "accessTo": "10.0.0.0/8"
    });
    let mut story = Story::default();
    story
        .run(&["fileshare", "list"], vec![ok(&json!([]))])
        .run(&["fileshare", "list", "--status", "available"], vec![ok(&json!([share]))])
        .run(&["fileshare", "create", "1", "-n", "f", "-p", "p"], vec![not_there()])
        .run(&["fileshare", "create", "one"], vec![])
        .run(&["fileshare", "show", "1"], vec![ok(&share)])
        .run(&["fileshare", "update", "1", "-d", "x"], vec![ok(&share)])
        .run(&["fileshare", "delete", "1"], vec![not_there()])
        .run(&["fileshare", "snapshot", "create", "1", "-n", "s"], vec![accepted(&snapshot)])
        .run(&["fileshare", "snapshot", "list"], vec![ok(&json!([snapshot]))])
        .run(&["fileshare", "snapshot", "show", "2"], vec![ok(&snapshot)])
        .run(&["fileshare", "snapshot", "update", "2", "-n", "t"], vec![ok(&snapshot)])
        .run(&["fileshare", "snapshot", "delete", "2"], vec![accepted(&Value::Null)])
        .run(
            &["fileshare", "acl", "create", "1", "-t", "ip", "-c", r#"["Read"]"#, "-a", "10.0.0.5"],
            vec![accepted(&acl)],
        )
        .run(&["fileshare", "acl", "create", "1", "-c", "Read"], vec![])
        .run(&["fileshare", "acl", "list"], vec![ok(&json!([acl]))])
        .run(&["fileshare", "acl", "show", "3"], vec![ok(&acl)])
        .run(&["fileshare", "acl", "delete", "3"], vec![accepted(&Value::Null)]);
    expect_file!["golden/fileshare.txt"].assert_eq(&story.told);
}

/// A page for each command, with its flags; made without asking any server.
#[test]
fn manual_pages() {
    let directory = tempfile::tempdir().unwrap();
    let mut story = Story::default();
    let there = directory.path().to_str().unwrap();
    story.run_as(&["man", there], &[], vec![]);
    assert!(story.told.ends_with("[rc=0]\n\n") && !story.told.contains("WARNING"));
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(page("osdsctl.1").contains("OPENSDS_ENDPOINT"));
    assert!(page("osdsctl-volume-create.1").contains("snapshotFromCloud"));
    assert!(page("osdsctl-volume-attachment-create.1").contains("attach\\-mode"));
    assert!(page("osdsctl-fileshare-acl-create.1").contains("accessTo"));
    assert!(std::fs::read_dir(directory.path()).unwrap().count() > 60);
    let mut first = Story::default();
    first.run_as(&["man"], &[], vec![]);
    assert!(first.told.contains(".TH osdsctl 1"), "{}", first.told);
    let mut nowhere = Story::default();
    nowhere.run_as(&["man", &format!("{there}/none")], &[], vec![]);
    assert!(nowhere.told.contains("[rc=255]"), "{}", nowhere.told);
}

#[test]
fn misuse_and_help() {
    let mut story = Story::default();
    story
        .run(&[], vec![])
        .run(&["volume"], vec![])
        .run(&["volume", "create"], vec![])
        .run(&["volume", "show", "a", "b"], vec![])
        .run(&["volume", "group"], vec![])
        .run(&["volume", "snapshot", "create"], vec![])
        .run(&["fileshare", "acl", "show", "a", "b"], vec![])
        .run(&["volum"], vec![])
        .run(&["volume", "list", "--nope"], vec![])
        .run(&["volume", "attachment", "create", "a", "b", "--attach-mode", "wo"], vec![])
        .run(&["volume", "attachment", "create", "--help"], vec![]);
    expect_file!["golden/misuse.txt"].assert_eq(&story.told);
}

#[test]
fn completion_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let mut story = Story::default();
        // No warning may get between the script and the shell.
        story.run_as(&["completion", shell], &[], vec![]);
        assert!(story.told.contains("attachment"), "{shell}");
        assert!(story.told.ends_with("[rc=0]\n\n") && !story.told.contains("WARNING"), "{shell}");
    }
}

/// The largest number that can be typed is a time that no clock reaches, and no reason to panic.
#[test]
fn a_wait_for_longer_than_time_lasts() {
    let mut story = Story::default();
    let line = ["volume", "create", "1", "--wait", "--timeout", "18446744073709551615"];
    story.run(&line, vec![waited(&volume("available"))]);
    assert!(story.told.contains("[rc=0]"), "{}", story.told);
}

/// Words of a server may hold words of anybody, like the reason of a fence.
#[test]
fn nobody_talks_to_the_terminal_through_an_error() {
    let mut story = Story::default();
    let said = refused(400, "host is fenced: \u{1b}]0;x\u{7}\u{9b}31m\r\nask ops");
    story.run(&["volume", "attachment", "create", VOLUME, HOST], vec![said]);
    let told = "! ERROR: host is fenced: \\u{1b}]0;x\\u{7}\\u{9b}31m\\r\n! ask ops\n";
    assert!(story.told.contains(told), "{}", story.told);
}

/// However it is printed, and also in what `--debug` shows; unless somebody asks to see it.
#[test]
fn passwords() {
    let show = ["volume", "attachment", "show", ATTACHMENT];
    let answer = || vec![ok(&proving_attachment())];
    let mut story = Story::default();
    for flags in [&[][..], &["-o", "json"], &["-o", "yaml"], &["--debug"]] {
        story.run(&[&show[..], flags].concat(), answer());
    }
    let list = ["volume", "attachment", "list", "-o", "json"];
    story.run(&list, vec![ok(&json!([proving_attachment()]))]);
    assert!(!story.told.contains("hush") && story.told.contains("***"), "{}", story.told);
    story.run(&[&show[..], &["--show-secrets"]].concat(), answer());
    story.run(
        &["-o", "json", "--debug", "--show-secrets", show[0], show[1], show[2], show[3]],
        answer(),
    );
    assert_eq!(story.told.matches("hush, too").count(), 3, "{}", story.told);
}
