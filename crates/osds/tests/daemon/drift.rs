//! Somebody changes things behind the daemon's back: its own notes are written anew, what is not
//! its own is reported and left alone, and lost data is never replaced by something empty.
//!
//! The daemon looks at everything five times a second here. Exports cannot be changed from
//! outside; testkit's stories and the embedded driver's own tests cover those.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::scene::{Scene, text, throughout, until};

/// Several sweeps.
const A_WHILE: Duration = Duration::from_millis(1000);

/// A volume that host a has read-write, with something on it; the volume and the attachment.
fn attached(scene: &Scene) -> (String, String) {
    let (host, volume) = (scene.host("a", &["iqn.x:a"]), scene.volume("v", true));
    let attachment = text(&scene.attach(&volume, &host, "rw"), "id");
    scene.log_in(&attachment, "iqn.x:a").write(0, &[b'a'; 4096]).unwrap();
    (volume, attachment)
}

/// What no record accounts for, as the API tells it.
fn drift(scene: &Scene) -> Vec<String> {
    let dock = text(&scene.get("docks")[0], "id");
    serde_json::from_value(scene.get(&format!("docks/{dock}/drift"))).unwrap()
}

#[test]
fn a_ledger_entry_that_was_deleted_comes_back() {
    let mut scene = Scene::quick();
    let (volume, attachment) = attached(&scene);
    let ledger = scene.ledger(&volume);
    let noted = fs::read(&ledger).unwrap();

    fs::remove_file(&ledger).unwrap();
    until("the entry is there again", || ledger.exists().then_some(()));
    assert_eq!(fs::read(&ledger).unwrap(), noted);
    // Said once the sweep has mended all of it, a moment after the file is there.
    let said = || scene.log().contains("a ledger entry was missing").then_some(());
    until("the log says so", said);

    // The same while nobody looks: then only the records know who had the volume.
    scene.kill();
    fs::remove_file(&ledger).unwrap();
    scene.restart();
    let mut session = scene.log_in(&attachment, "iqn.x:a");
    assert_eq!(session.read(0, 8).unwrap(), [b'a'; 4096]);
    session.write(0, &[b'b'; 4096]).unwrap();
    assert!(ledger.exists());
    until("nothing is unaccounted for", || drift(&scene).is_empty().then_some(()));
}

#[test]
fn an_unreadable_ledger_entry_is_set_aside_and_written_anew() {
    let mut scene = Scene::quick();
    let (volume, attachment) = attached(&scene);
    scene.kill();
    let ledger = scene.ledger(&volume);
    fs::write(&ledger, b"rubbish").unwrap();
    scene.restart();
    // The records know who has the volume: the dock is told again, and the host gets in again.
    assert_eq!(scene.log_in(&attachment, "iqn.x:a").read(0, 8).unwrap(), [b'a'; 4096]);
    assert_eq!(fs::read(ledger.with_extension("unreadable")).unwrap(), b"rubbish");
    assert_ne!(fs::read(&ledger).unwrap(), b"rubbish");
    let log = scene.log();
    let mut lines = log.lines().filter(|line| line.contains("ERROR"));
    assert!(lines.any(|line| line.contains(&volume) && line.contains("set aside")), "{log}");
}

#[test]
fn what_is_not_ours_is_reported_and_left_alone() {
    let scene = Scene::quick();
    let (volume, _) = attached(&scene);
    assert_eq!(drift(&scene), [""; 0]);
    let unknown = "0c0ffee0-0000-7000-8000-000000000001";
    let (note, stray) = (scene.path("pools/default/notes.txt"), scene.blocks(unknown));
    fs::write(&note, "do not delete").unwrap();
    fs::write(&stray, [7; 4096]).unwrap();
    let reported = until("both are reported", || {
        let drift = drift(&scene);
        (drift.len() == 2).then_some(drift)
    });
    let all = reported.join("; ");
    assert!(all.contains("notes.txt") && all.contains(unknown), "{all}");
    throughout(A_WHILE, || {
        assert_eq!(fs::read(&note).unwrap(), b"do not delete");
        assert_eq!(fs::read(&stray).unwrap(), [7; 4096]);
    });
    // Said once each, however often it is seen.
    let log = scene.log();
    for what in ["notes.txt", unknown] {
        let said = log.lines().filter(|l| l.contains("left alone") && l.contains(what)).count();
        assert_eq!(said, 1, "{what}: {log}");
    }
    // Names of ours that nobody wished for do not become volumes either.
    let listed = scene.get("block/volumes");
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(text(&listed[0], "id"), volume);
    fs::remove_file(&note).unwrap();
    fs::remove_file(&stray).unwrap();
    until("nothing is reported any more", || drift(&scene).is_empty().then_some(()));
}

#[test]
fn a_lost_volume_is_an_error_and_never_an_empty_new_one() {
    let mut scene = Scene::quick();
    let (volume, attachment) = attached(&scene);
    let (blocks, aside) = (scene.blocks(&volume), scene.path("aside"));
    fs::rename(&blocks, &aside).unwrap();
    let path = format!("block/volumes/{volume}");
    let lost = until("the loss is seen", || {
        let volume = scene.get(&path);
        (!text(&volume, "statusReason").is_empty()).then_some(volume)
    });
    // The host that has it has it still: what it does not close, it can read.
    assert_eq!(text(&lost, "status"), "inUse", "{lost}");
    assert!(text(&lost, "statusReason").contains("is not there any more"), "{lost}");
    throughout(A_WHILE, || assert!(!blocks.exists(), "an empty volume in place of a lost one"));

    // A restart, which knows only what it has noted, does not make one either.
    scene.kill();
    scene.restart();
    throughout(A_WHILE, || assert!(!blocks.exists(), "an empty volume in place of a lost one"));
    let held = scene.settled(&format!("block/attachments/{attachment}")).unwrap();
    assert_eq!(text(&held, "status"), "error", "{held}");
    assert!(text(&held, "statusReason").contains("is not there any more"), "{held}");
    // Not even when the dock has lost its notes.
    scene.kill();
    fs::remove_file(scene.ledger(&volume)).unwrap();
    scene.restart();
    throughout(A_WHILE, || assert!(!blocks.exists(), "an empty volume in place of a lost one"));

    // Nobody else gets it meanwhile.
    let other = scene.host("b", &["iqn.x:b"]);
    let body = json!({"volumeId": volume, "hostId": other, "attachMode": "ro"});
    let late = scene.make("block/attachments", &body).unwrap();
    assert_eq!(text(&late, "status"), "error", "{late}");
    assert!(text(&late, "statusReason").contains("is not there any more"), "{late}");
    scene.remove(&format!("block/attachments/{}", text(&late, "id")));

    // Put back, it is as it was, and so is its host.
    fs::rename(&aside, &blocks).unwrap();
    until("it is as it was", || {
        let found = scene.get(&path);
        (text(&found, "statusReason").is_empty() && text(&found, "status") == "inUse").then_some(())
    });
    let mut session = scene.log_in(&attachment, "iqn.x:a");
    assert_eq!(session.read(0, 8).unwrap(), [b'a'; 4096]);
}

/// An unmounted pool is no reason to make all of its volumes anew on what is underneath.
#[test]
fn a_pool_that_vanishes_is_unavailable_and_nothing_is_made_in_its_place() {
    let scene = Scene::quick();
    let (volume, attachment) = attached(&scene);
    let (pool, aside) = (scene.path("pools/default"), scene.path("aside"));
    fs::rename(&pool, &aside).unwrap();
    let status = || text(&scene.get("pools")[0], "status");
    until("the pool is unavailable", || (status() == "unavailable").then_some(()));
    let refused = scene.make("block/volumes", &json!({"name": "late", "size": 1}));
    assert!(refused.is_err(), "{refused:?}");
    throughout(A_WHILE, || assert!(!pool.exists(), "a new pool in place of a lost one"));
    fs::rename(&aside, &pool).unwrap();
    until("the pool is available", || (status() == "available").then_some(()));
    scene.until_volume(&volume, "inUse");
    assert_eq!(scene.log_in(&attachment, "iqn.x:a").read(0, 8).unwrap(), [b'a'; 4096]);
}

#[test]
fn records_older_than_the_ledger_are_said_on_the_volume() {
    let mut scene = Scene::quick();
    let (volume, attachment) = attached(&scene);
    let (records, backup) = (scene.path("osds.redb"), scene.path("osds.redb.backup"));
    scene.kill();
    fs::copy(&records, &backup).unwrap();
    scene.restart();
    scene.remove(&format!("block/attachments/{attachment}"));
    scene.kill();
    fs::rename(&backup, &records).unwrap();
    scene.restart();
    // The dock was told that the host is out, and holds to it; the records say otherwise.
    let reason = until("the volume says so", || {
        let reason = text(&scene.get(&format!("block/volumes/{volume}")), "statusReason");
        (!reason.is_empty()).then_some(reason)
    });
    assert!(reason.contains("records are older") && reason.contains("ledger away"), "{reason}");
}

#[test]
fn a_pool_whose_backend_is_gone_is_not_chosen() {
    let mut scene = Scene::quick();
    let (volume, _) = attached(&scene);
    scene.kill();
    let config = scene.path("osds.toml");
    let renamed = fs::read_to_string(&config).unwrap().replace("\"file\"\ndr", "\"other\"\ndr");
    fs::write(&config, renamed).unwrap();
    scene.restart();
    let pools = scene.get("pools");
    let mut words: Vec<_> =
        pools.as_array().unwrap().iter().map(|pool| text(pool, "status")).collect();
    words.sort();
    assert_eq!(words, ["available", "unavailable"], "{pools}");
    let lost = scene.get(&format!("block/volumes/{volume}"));
    let fresh = scene.get(&format!("block/volumes/{}", scene.volume("fresh", true)));
    assert_ne!(text(&lost, "poolId"), text(&fresh, "poolId"));
}

/// The directory is there and is not the pool: as when a disk is not mounted at the start. Nothing is
/// made in it, nothing is taken for lost, and with the disk everything is as it was.
#[test]
fn a_pool_that_is_not_mounted_at_the_start_is_unavailable() {
    let mut scene = Scene::quick();
    let (volume, attachment) = attached(&scene);
    let (pool, aside) = (scene.path("pools/default"), scene.path("aside"));
    scene.kill();
    fs::rename(&pool, &aside).unwrap();
    fs::create_dir(&pool).unwrap();
    scene.restart();
    until("the pool is unavailable", || {
        (text(&scene.get("pools")[0], "status") == "unavailable").then_some(())
    });
    scene.until_volume(&volume, "inUse");
    let body = json!({"name": "w", "size": 1});
    assert!(scene.make("block/volumes", &body).is_err(), "nothing is made there");
    throughout(A_WHILE, || assert_eq!(fs::read_dir(&pool).unwrap().count(), 0));
    fs::remove_dir(&pool).unwrap();
    fs::rename(&aside, &pool).unwrap();
    let mut session = scene.log_in(&attachment, "iqn.x:a");
    assert_eq!(session.read(0, 8).unwrap(), [b'a'; 4096]);
    until("the pool is back", || {
        (text(&scene.get("pools")[0], "status") == "available").then_some(())
    });
}
