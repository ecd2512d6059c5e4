//! `osds import` from a real etcd with the original's records: the plan, the records, and what the
//! daemon makes of them.
//!
//! What must never happen is looked for on the disk: an empty volume in place of one that was not
//! copied yet.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding as _};
use expect_test::expect_file;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::scene::{PATIENCE, Scene, text, throughout};

/// What the original keeps, made after its own answers.
const RECORDS: &str = include_str!("etcd.json");
const MA: &str = "efb5e7da-669f-4298-a38f-270a269767fe";
const SINGLE: &str = "03c14bdd-8857-42c1-beef-9f769147d9c6";
const NODE1: &str = "ac043d8d-0743-441a-8c44-ff3b6dc38aee";

struct Etcd {
    child: Child,
    url: String,
    token: Option<String>,
    _home: TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    /// One with these records; nothing when there is no etcd here.
    fn start() -> Option<Self> {
        if Command::new("etcd").arg("--version").output().is_err() {
            let words = "missing: etcd; run cargo xtask packages";
            assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{words}");
            writeln!(std::io::stdout(), "SKIPPED: import: {words}").expect("stdout is open");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        // etcd does not tell which port it got, so it is given one; somebody else may be quicker.
        let limit = Instant::now() + PATIENCE;
        loop {
            let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let (url, peer) = (format!("http://{}", free()), format!("http://{}", free()));
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(home.path().join(peer.replace([':', '/'], "-")));
            command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"]);
            // A cluster of one waits this long before it elects itself.
            command.args(["--heartbeat-interval", "10", "--election-timeout", "50"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                let health = ureq::get(format!("{url}/health")).call();
                if health.is_ok_and(|mut answer| {
                    answer.body_mut().read_to_string().is_ok_and(|text| text.contains("true"))
                }) {
                    return Some(Self { child, url, token: None, _home: home });
                }
                assert!(Instant::now() < limit, "etcd does not start");
                // sleep: the pause of a poll with a deadline.
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(Instant::now() < limit, "etcd does not start");
        }
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let mut post = ureq::post(format!("{}/v3/{path}", self.url));
        if let Some(token) = &self.token {
            post = post.header("Authorization", token);
        }
        let mut answer = post.send(body.to_string()).unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn put(&self, key: &str, value: &str) {
        let [key, value] = [key, value].map(|text| Base64::encode_string(text.as_bytes()));
        self.call("kv/put", &json!({"key": key, "value": value}));
    }

    fn fill(&self) {
        let records: Map<String, Value> = serde_json::from_str(RECORDS).unwrap();
        for (key, value) in &records {
            self.put(key, &value.to_string());
        }
        // Not the original's.
        self.put("/opensds/v1betax", "1");
        self.put("/opensds/v1bet", "1");
    }

    /// From now on it asks who is there.
    fn lock(&mut self) {
        self.call("auth/user/add", &json!({"name": "root", "password": "hunter2"}));
        self.call("auth/role/add", &json!({"name": "root"}));
        self.call("auth/user/grant", &json!({"user": "root", "role": "root"}));
        self.call("auth/enable", &json!({}));
    }
}

fn import(scene: &Scene, etcd: &Etcd, more: &[&str]) -> String {
    let home = scene.path("");
    let home = home.to_str().unwrap();
    let arguments = [&["import", "--etcd", &etcd.url, "-c", "osds.toml", "-d", home], more];
    crate::config::run(&scene.path(""), &arguments.concat())
}

#[test]
fn the_originals_records_come_over_and_no_volume_is_made_anew() {
    let Some(mut etcd) = Etcd::start() else { return };
    etcd.fill();
    let mut scene = Scene::quick();
    let said = import(&scene, &etcd, &[]);
    assert!(said.contains("is osds running?") && said.ends_with("[rc=1]\n"), "{said}");
    scene.kill();

    let plan = import(&scene, &etcd, &["--dry-run", "--map-pool", "sample-pool-01=default"]);
    let ours = |text: &str| text.replace(&default_profile(text), "(ours)");
    expect_file!["golden/import-plan.txt"].assert_eq(&ours(&plan));

    etcd.lock();
    let refused = import(&scene, &etcd, &[]);
    assert!(refused.contains("etcd at") && refused.ends_with("[rc=1]\n"), "{refused}");
    fs::write(scene.path("pw"), "hunter2\n").unwrap();
    let pw = scene.path("pw");
    let user = ["--etcd-user", "root", "--etcd-password-file", pw.to_str().unwrap()];
    let mapped = ["--map-pool", "sample-pool-01=default"];
    let done = import(&scene, &etcd, &[&user[..], &mapped].concat());
    assert_eq!(
        ours(&done),
        ours(&plan).replace("would be brought over (nothing is written)", "brought over")
    );
    let again = import(&scene, &etcd, &[&user[..], &mapped].concat());
    assert!(again.contains("! 0 brought over, 6 there already, 4 left, 1 refused"), "{again}");
    assert!(!format!("{refused}{done}").contains("hunter2"));

    // The daemon finds no blocks, says so, and makes none.
    scene.restart();
    let volume = scene.until_volume(MA, "error");
    assert!(text(&volume, "statusReason").contains("not there"), "{volume}");
    assert_eq!(text(&volume, "createdAt"), "2026-11-22T11:54:39");
    throughout(Duration::from_millis(600), || assert!(!scene.blocks(MA).exists()));

    // Its blocks are put there: from then on it is as any other.
    let blocks = File::create_new(scene.path("copied")).unwrap();
    blocks.set_len(1 << 30).unwrap();
    blocks.write_all_at(&[b'o'; 4096], 0).unwrap();
    fs::rename(scene.path("copied"), scene.blocks(MA)).unwrap();
    let volume = scene.until_volume(MA, "available");
    assert_eq!(volume["multiAttach"], true);
    let attachment = text(&scene.attach(MA, NODE1, "rw"), "id");
    let mut session = scene.log_in(&attachment, "iqn.1993-08.org.debian:01:a");
    assert_eq!(session.read(0, 8).unwrap(), [b'o'; 4096]);
    scene.until_volume(SINGLE, "error");
    assert!(!scene.blocks(SINGLE).exists());
    // What is in use cannot be taken for the original's either.
    assert_eq!(text(&scene.get(&format!("host/hosts/{NODE1}")), "hostName"), "node1");
}

/// The id of the profile that our first start made, which is another one each time.
fn default_profile(plan: &str) -> String {
    let place = plan.split("takes the place of ").nth(1).unwrap_or_default();
    place.split(',').next().unwrap_or_default().to_owned()
}
