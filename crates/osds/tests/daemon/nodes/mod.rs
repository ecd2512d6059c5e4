//! Many nodes on one machine: the real node plugin in a mount namespace each, the real daemon, real
//! loop devices. What orchestrators ask of nodes, and that nothing is left afterwards.
//!
//! Needs root and loop devices; elsewhere each test says that it was skipped.

mod any;
mod driver;
mod node;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::status::Code;
use serde_json::json;

use self::driver::{read, write};
use self::node::{Node, Use, loops, nothing_is_left};
use crate::scene::{OSDS, Scene, text, throughout, until};

/// Whether this machine can; says why not.
fn can(test: &str) -> bool {
    let why = if !rustix::process::geteuid().is_root() {
        "it takes root"
    } else if !Path::new("/dev/loop-control").exists() {
        "there are no loop devices"
    } else {
        return true;
    };
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{test}: {why}");
    println!("SKIPPED: {test}: {why}");
    false
}

/// Lets go of what a failed test left.
struct Loops<'a>(&'a Scene);

impl Drop for Loops<'_> {
    fn drop(&mut self) {
        for device in loops(self.0) {
            let name = device.split(' ').next().unwrap_or_default();
            let _ = Command::new("losetup").arg("-d").arg(format!("/dev/{name}")).status();
        }
    }
}

/// A container's root may lack CAP_SYS_RESOURCE (bit 24), without which ext4 does not grow in use.
fn may_grow_file_systems() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = u64::from_str_radix(line.unwrap_or("0").trim(), 16).unwrap_or(0);
    let may = capabilities & (1 << 24) != 0;
    if !may {
        println!("note: no CAP_SYS_RESOURCE here, so no file system is grown");
    }
    may
}

fn detach(scene: &Scene, attachment: &serde_json::Value) {
    scene.remove(&format!("block/attachments/{}", text(attachment, "id")));
}

#[test]
fn three_nodes_share_a_block_device_and_the_reader_cannot_write() {
    if !can("three_nodes_share_a_block_device_and_the_reader_cannot_write") {
        return;
    }
    let mut scene = Scene::local();
    let volume = scene.volume("shared", true);
    let names = ["node-a", "node-b", "node-c"];
    let mut nodes: Vec<Node> = names.iter().map(|name| Node::start(&scene, name)).collect();
    let writes = Use::block(Mode::MultiNodeMultiWriter);
    let reads = Use::block(Mode::MultiNodeReaderOnly);
    let mut held = Vec::new();
    for (node, mode) in nodes.iter_mut().zip(["rw", "rw", "ro"]) {
        let attachment = scene.attach(&volume, &node.host(&scene), mode);
        let (handle, way) = match mode {
            "ro" => (format!("{volume}#ro"), &reads),
            _ => (volume.clone(), &writes),
        };
        let target = node.target("pod");
        for _ in 0..2 {
            node.stage(&handle, &attachment, way).unwrap();
            node.publish(&handle, &target, false, way).unwrap();
        }
        held.push((handle, attachment, target));
    }
    let device = |node: usize, write| nodes[node].open(&held[node].2, write);
    let (a, b) = (device(0, true).unwrap(), device(1, true).unwrap());
    let c = device(2, false).unwrap();
    for (round, letter) in (b'a'..=b'z').enumerate() {
        let (writer, reader) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        write(writer, round as u64, letter).unwrap();
        assert_eq!((read(reader, round as u64), read(&c, round as u64)), (letter, letter));
    }
    let refused = device(2, true).and_then(|device| write(&device, 0, b'x'));
    assert!(refused.is_err(), "the reader wrote");
    assert_eq!(read(&a, 0), b'a');
    // B is put out while it has the device open: no write of it lands, and the others go on.
    write(&b, 30, b'b').unwrap();
    detach(&scene, &held[1].1);
    assert!(write(&b, 30, b'x').is_err(), "a write after the detach was confirmed");
    assert_eq!(read(&a, 30), b'b');
    write(&a, 31, b'a').unwrap();
    let stats = nodes[1].stats(&held[1].0, &held[1].2).unwrap();
    assert!(stats.volume_condition.unwrap().abnormal, "B does not know that it is out");
    drop((a, b, c));
    // Taken down with nobody there to ask.
    scene.kill();
    for (node, (handle, _, target)) in nodes.iter_mut().zip(&held) {
        for _ in 0..2 {
            node.unpublish(handle, target).unwrap();
            node.unstage(handle).unwrap();
        }
        assert!(!target.exists() && node.mounts().is_empty());
    }
    scene.restart();
    for (_, attachment, _) in [&held[0], &held[2]] {
        detach(&scene, attachment);
    }
    nothing_is_left(&scene, &nodes.iter().collect::<Vec<_>>());
}

#[test]
fn a_file_system_is_made_once_and_read_without_a_write() {
    if !can("a_file_system_is_made_once_and_read_without_a_write") {
        return;
    }
    let scene = Scene::local();
    let _loops = Loops(&scene);
    let volume = scene.volume("files", true);
    let (mut a, mut b) = (Node::start(&scene, "node-a"), Node::start(&scene, "node-b"));
    let one = Use::mount(Mode::SingleNodeMultiWriter, "");
    let many = Use::mount(Mode::MultiNodeReaderOnly, "");
    // A reader formats nothing.
    let of_b = scene.attach(&volume, &b.host(&scene), "ro");
    let refused = b.stage(&volume, &of_b, &many).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("blank"), "{}", refused.message());
    b.unstage(&volume).unwrap();
    detach(&scene, &of_b);
    let of_a = scene.attach(&volume, &a.host(&scene), "rw");
    // Nor does one who shares.
    let shared = Use::mount(Mode::MultiNodeMultiWriter, "");
    assert_eq!(a.stage(&volume, &of_a, &shared).unwrap_err().code(), Code::FailedPrecondition);
    a.stage(&volume, &of_a, &one).unwrap();
    let (first, second) = (a.target("first"), a.target("second"));
    a.publish(&volume, &first, false, &one).unwrap();
    a.publish(&volume, &second, true, &one).unwrap();
    fs::write(a.inside(&first).join("word"), "kept").unwrap();
    assert_eq!(fs::read_to_string(a.inside(&second).join("word")).unwrap(), "kept");
    assert!(fs::write(a.inside(&second).join("word"), "lost").is_err());
    let other = a.publish(&volume, &first, true, &one).unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let single = Use::mount(Mode::SingleNodeSingleWriter, "");
    let third = a.target("third");
    let other = a.publish(&volume, &third, false, &single).unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    // Larger, while it is in use.
    let before = a.stats(&volume, &first).unwrap();
    assert!(!before.volume_condition.unwrap().abnormal);
    let early = a.expand(&volume, &first, 2 << 30).unwrap_err();
    assert_eq!(early.code(), Code::Unavailable, "{early:?}");
    assert_eq!(a.expand(&volume, &first, 1 << 30).unwrap(), 1 << 30);
    let resize = json!({"newSize": 2});
    let path = format!("block/volumes/{volume}/resize");
    scene.make(&path, &resize).unwrap();
    scene.until_volume(&volume, "inUse");
    if may_grow_file_systems() {
        assert_eq!(a.expand(&volume, &first, 2 << 30).unwrap(), 2 << 30);
        let after = a.stats(&volume, &first).unwrap();
        assert!(after.usage[0].total > before.usage[0].total * 3 / 2, "{after:?}");
        assert!(after.usage[1].total > before.usage[1].total);
    }
    for at in [Path::new("/nowhere"), &third] {
        assert_eq!(a.stats(&volume, at).unwrap_err().code(), Code::NotFound);
        assert_eq!(a.expand(&volume, at, 0).unwrap_err().code(), Code::NotFound);
    }
    // What is there is never formatted over, and a volume is read-only or not on one node.
    assert_eq!(a.unstage(&volume).unwrap_err().code(), Code::FailedPrecondition);
    for target in [&first, &second] {
        a.unpublish(&volume, target).unwrap();
    }
    let alias = format!("{volume}#ro");
    assert_eq!(a.stage(&alias, &of_a, &many).unwrap_err().code(), Code::AlreadyExists);
    // What is in the file system by now is in its place, and not in its journal only.
    a.unstage(&volume).unwrap();
    a.stage(&volume, &of_a, &one).unwrap();
    // Cut off as a dying node is: the journal of the file system is not clean.
    a.publish(&volume, &first, false, &one).unwrap();
    fs::write(a.inside(&first).join("later"), "also").unwrap();
    let synced = Command::new("sync").arg("-f").arg(a.inside(&first)).status().unwrap();
    assert!(synced.success());
    detach(&scene, &of_a);
    let image = scene.blocks(&volume);
    let sum = || {
        let output = Command::new("sha256sum").arg(&image).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let dirty = sum();
    let of_b = scene.attach(&volume, &b.host(&scene), "ro");
    let wrong = Use::mount(Mode::MultiNodeReaderOnly, "xfs");
    let refused = b.stage(&volume, &of_b, &wrong).unwrap_err();
    assert!(refused.message().contains("ext4"), "{}", refused.message());
    b.stage(&volume, &of_b, &many).unwrap();
    let target = b.target("reader");
    b.publish(&volume, &target, false, &many).unwrap();
    assert_eq!(fs::read_to_string(b.inside(&target).join("word")).unwrap(), "kept");
    assert!(fs::write(b.inside(&target).join("word"), "lost").is_err());
    b.unpublish(&volume, &target).unwrap();
    b.unstage(&volume).unwrap();
    assert_eq!(sum(), dirty, "reading wrote");
    detach(&scene, &of_b);
    a.unpublish(&volume, &first).unwrap();
    a.unstage(&volume).unwrap();
    nothing_is_left(&scene, &[&a, &b]);
}

#[test]
fn plugins_and_the_daemon_are_killed_at_any_moment() {
    if !can("plugins_and_the_daemon_are_killed_at_any_moment") {
        return;
    }
    let mut scene = Scene::local();
    let volume = scene.volume("survivor", false);
    let mut node = Node::start(&scene, "node-a");
    let host = node.host(&scene);
    let way = Use::mount(Mode::SingleNodeWriter, "");
    let target = node.target("pod");
    for round in 0_u64..8 {
        // A plugin that dies some way into its work; the next one does it again to the end.
        let attachment = scene.attach(&volume, &host, "rw");
        let plugin = node.plugin_id().to_string();
        let killer = thread::spawn(move || {
            // sleep: a moment that is another in each round; what happens then is the test.
            thread::sleep(Duration::from_millis(round * 7));
            Command::new("kill").args(["-9", &plugin]).status().unwrap();
        });
        let _ = node.stage(&volume, &attachment, &way);
        let _ = node.publish(&volume, &target, false, &way);
        killer.join().unwrap();
        node.kill_plugin();
        node.run_plugin();
        until("it is staged after all", || node.stage(&volume, &attachment, &way).ok());
        until("it is published after all", || node.publish(&volume, &target, false, &way).ok());
        let word = node.inside(&target).join("word");
        if round > 0 {
            assert_eq!(fs::read_to_string(&word).unwrap(), (round - 1).to_string());
        }
        fs::write(&word, round.to_string()).unwrap();
        // The daemon goes and comes: nobody notices.
        scene.kill();
        scene.restart();
        throughout(Duration::from_millis(300), || {
            assert_eq!(fs::read_to_string(&word).unwrap(), round.to_string());
        });
        assert_eq!(loops(&scene).len(), 1);
        node.kill_plugin();
        node.run_plugin();
        node.unpublish(&volume, &target).unwrap();
        node.unstage(&volume).unwrap();
        // A daemon that is killed in a detach goes on with it.
        let id = text(&attachment, "id");
        let _ = scene.admin.delete(&format!("block/attachments/{id}"));
        scene.kill();
        scene.restart();
        until("it is detached", || {
            let found = scene.admin.get::<serde_json::Value>(&format!("block/attachments/{id}"));
            found.is_err().then_some(())
        });
        nothing_is_left(&scene, &[&node]);
    }
}

#[test]
fn a_machine_attaches_and_detaches_by_hand() {
    if !can("a_machine_attaches_and_detaches_by_hand") {
        return;
    }
    let scene = Scene::local();
    let _loops = Loops(&scene);
    let volume = scene.volume("by-hand", true);
    let state = scene.path("client");
    let osds = |verb: &str, more: &[&str]| {
        let output = Command::new(OSDS)
            .args([verb, &volume, "--osds-endpoint", &scene.daemon.api, "--host", "by-hand"])
            .arg("--state-dir")
            .arg(&state)
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (done, _, said) = osds("detach", &[]);
    assert!(!done && said.contains("was not attached"), "{said}");
    let (done, device, said) = osds("attach", &[]);
    assert!(done, "{said}");
    assert_eq!(osds("attach", &[]), (true, device.clone(), String::new()));
    let (done, _, said) = osds("attach", &["--read-only"]);
    assert!(!done && said.contains("detach"), "{said}");
    fs::write(&device, "by hand").unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", &device]).status().unwrap();
    assert!(made.success());
    let place = scene.path("mounted");
    fs::create_dir(&place).unwrap();
    assert!(Command::new("mount").arg(&device).arg(&place).status().unwrap().success());
    let (done, _, said) = osds("detach", &[]);
    assert!(!done && said.contains("unmount it first"), "{said}");
    assert!(Command::new("umount").arg(&place).status().unwrap().success());
    let (done, out, said) = osds("detach", &[]);
    assert!(done && out.is_empty(), "{said}");
    let (done, device, said) = osds("attach", &["--read-only"]);
    assert!(done, "{said}");
    let refused = fs::OpenOptions::new().write(true).open(&device);
    assert!(refused.and_then(|mut file| std::io::Write::write_all(&mut file, &[1; 512])).is_err());
    assert!(osds("detach", &[]).0);
    assert_eq!(fs::read_dir(state.join("volumes")).unwrap().count(), 0);
    nothing_is_left(&scene, &[]);
}
