//! Snapshots, of one volume and of several at one moment.

use expect_test::expect_file;
use serde_json::{Value, json};

use crate::canned::{accepted, ok, refused, waited};
use crate::{HOST, POOL, PROFILE, Story, VOLUME};

fn snapshot(status: &str) -> Value {
    json!({
        "id": "9bff55c5-f416-428c-98fc-430778f7aa27", "createdAt": "2026-11-22T11:59:15",
        "updatedAt": "", "name": "s1", "size": 1, "status": status, "profileId": PROFILE,
        "volumeId": "03c14bdd-8857-42c1-beef-9f769147d9c6"
    })
}

#[test]
fn snapshots() {
    let id = "9bff55c5-f416-428c-98fc-430778f7aa27";
    let mut failed = snapshot("error");
    failed["statusReason"] = "the pool is full".into();
    let snap = |verb: &'static str| ["volume", "snapshot", verb];
    let missing = || {
        refused(404, "volume snapshot nope not found: specified volume snapshot(nope) can't find")
    };
    let mut story = Story::default();
    story
        .run(&snap("list"), vec![ok(&json!([snapshot("available")]))])
        .run(
            &[&snap("list")[..], &["--volumeId", VOLUME, "--status", "error", "--name", "x"]]
                .concat(),
            vec![ok(&json!([]))],
        )
        .run(
            &[&snap("create")[..], &[VOLUME, "-n", "s1", "-d", "before", "-p", PROFILE]].concat(),
            vec![accepted(&snapshot("creating"))],
        )
        .run(
            &[&snap("create")[..], &[VOLUME, "-n", "s1", "--wait"]].concat(),
            vec![accepted(&snapshot("creating")), ok(&snapshot("available"))],
        )
        .run(
            &[&snap("create")[..], &[VOLUME, "-n", "s1", "--wait"]].concat(),
            vec![waited(&failed)],
        )
        .run(&[&snap("show")[..], &[id]].concat(), vec![ok(&snapshot("available"))])
        .run(&[&snap("show")[..], &["nope"]].concat(), vec![missing()])
        .run(&[&snap("update")[..], &[id, "-n", "s2"]].concat(), vec![ok(&snapshot("available"))])
        .run(&[&snap("delete")[..], &[id]].concat(), vec![accepted(&Value::Null)])
        .run(
            &[&snap("delete")[..], &[id, "--wait"]].concat(),
            vec![waited(&Value::Null), missing()],
        );
    expect_file!["../golden/snapshot.txt"].assert_eq(&story.told);
}

fn group_snapshot(status: &str) -> Value {
    let group = "019a0000-0000-7000-8000-000000000009";
    let of = |id: &str, volume: &str| {
        let mut one = snapshot(status);
        (one["id"], one["volumeId"], one["groupSnapshotId"]) =
            (id.into(), volume.into(), group.into());
        one
    };
    json!({
        "id": group, "createdAt": "2026-11-22T11:59:21", "name": "nightly", "size": 2,
        "status": status, "snapshots": [
            of("9bff55c5-f416-428c-98fc-430778f7aa27", VOLUME),
            of("9bff55c5-f416-428c-98fc-430778f7aa28", HOST),
        ]
    })
}

#[test]
fn group_snapshots() {
    let id = "019a0000-0000-7000-8000-000000000009";
    let snap = |verb: &'static str| ["volume", "group", "snapshot", verb];
    let missing = || refused(404, "group snapshot nope not found: Wrong resource uuid provided!");
    let mut failed = group_snapshot("error");
    failed["statusReason"] = "the pool is full".into();
    let member = group_snapshot("available")["snapshots"][0].clone();
    let mut story = Story::default();
    story
        .run(&[&snap("create")[..], &["--help"]].concat(), vec![])
        .run(&snap("list"), vec![ok(&json!([group_snapshot("available")]))])
        .run(
            &[&snap("list")[..], &["--name", "x", "--status", "error"]].concat(),
            vec![ok(&json!([]))],
        )
        .run(
            &[&snap("create")[..], &[VOLUME, HOST, "-n", "nightly", "-d", "before"]].concat(),
            vec![accepted(&group_snapshot("creating"))],
        )
        .run(
            &[&snap("create")[..], &["--group", POOL, "-n", "nightly", "--wait"]].concat(),
            vec![accepted(&group_snapshot("creating")), ok(&group_snapshot("available"))],
        )
        .run(
            &[&snap("create")[..], &[VOLUME, HOST, "-n", "nightly", "--wait"]].concat(),
            vec![waited(&failed)],
        )
        // Neither, and both.
        .run(&snap("create"), vec![])
        .run(&[&snap("create")[..], &[VOLUME, "--group", POOL]].concat(), vec![])
        .run(&[&snap("show")[..], &[id]].concat(), vec![ok(&group_snapshot("available"))])
        .run(
            &[&snap("show")[..], &[id, "-o", "yaml"]].concat(),
            vec![ok(&group_snapshot("available"))],
        )
        .run(&[&snap("show")[..], &["nope"]].concat(), vec![missing()])
        .run(&[&snap("delete")[..], &[id]].concat(), vec![accepted(&Value::Null)])
        .run(
            &[&snap("delete")[..], &[id, "--wait"]].concat(),
            vec![waited(&Value::Null), missing()],
        )
        // What the snapshots themselves say of it.
        .run(&["volume", "snapshot", "show", "x"], vec![ok(&member)])
        .run(&["volume", "snapshot", "list", "--groupSnapshotId", id], vec![ok(&json!([member]))]);
    expect_file!["../golden/group_snapshot.txt"].assert_eq(&story.told);
}
