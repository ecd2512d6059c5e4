//! Ends and beginnings: SIGTERM, SIGKILL in the middle of everything, and two daemons at once.
//!
//! Clients keep a diary of what they were told. After a kill, what was acknowledged must be so,
//! what was not may be either; and in the end files, records and accounts speak of the same volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use osds_rest_api::client::{Client, ClientError, Method};
use serde_json::{Value, json};

use crate::scene::{OSDS, PATIENCE, Scene, client, connection, text, until};

/// A daemon whose end can be looked at.
struct Plain {
    child: Child,
    api: String,
    portal: String,
}

impl Plain {
    fn start(home: &Path, api: &str, portal: &str) -> Self {
        let mut child = Command::new(OSDS)
            .args(["all", "--api", api, "--iscsi", portal, "--data-dir"])
            .arg(home)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let word = |key: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            found.unwrap_or_else(|| panic!("no {key} in {line:?}")).to_owned()
        };
        Self { api: word("api=http://"), portal: word("iscsi="), child }
    }

    /// Sends a signal and says how the daemon ended.
    fn signal(mut self, name: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
        let ended = until("the daemon ends", || self.child.try_wait().unwrap());
        ended.code()
    }
}

/// Everything the API shows, but for what the file system has to do with.
fn everything(admin: &Client) -> Value {
    let nouns = ["docks", "pools", "profiles", "host/hosts", "block/volumes", "block/attachments"];
    let show = |noun: &str| (noun.to_owned(), admin.get::<Value>(noun).unwrap());
    let mut shown: Value = nouns.into_iter().map(show).collect();
    for pool in shown["pools"].as_array_mut().unwrap() {
        // The space on the disk under the temporary directory is everybody's.
        for key in ["totalCapacity", "freeCapacity", "updatedAt"] {
            pool[key] = Value::Null;
        }
    }
    shown
}

#[test]
fn a_polite_end_is_clean_and_a_restart_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Plain::start(home.path(), "127.0.0.1:0", "127.0.0.1:0");
    let admin = client(&format!("http://{}", daemon.api));
    let make = |path: &str, body: &Value| -> Value {
        let request = admin.request(Method::POST, path).body(body);
        request.wait(PATIENCE).send().unwrap().read().unwrap()
    };
    let profile = make(
        "profiles",
        &json!({"name": "p", "customProperties": {"capabilities:multiAttach": "<is> true"}}),
    );
    let volume =
        make("block/volumes", &json!({"name": "v", "size": 1, "profileId": text(&profile, "id")}));
    for (name, mode) in [("a", "rw"), ("b", "ro")] {
        let host = make(
            "host/hosts",
            &json!({"hostName": name, "osType": "linux", "ip": "127.0.0.1",
                    "accessMode": "agentless", "availabilityZones": ["default"],
                    "initiators": [{"portName": format!("iqn.x:{name}"), "protocol": "iscsi"}]}),
        );
        make(
            "block/attachments",
            &json!({"volumeId": text(&volume, "id"), "hostId": text(&host, "id"),
                    "attachMode": mode}),
        );
    }
    let before = everything(&admin);
    assert_eq!(before["block/attachments"].as_array().unwrap().len(), 2);
    for signal in ["TERM", "INT", "TERM"] {
        let (api, portal) = (daemon.api.clone(), daemon.portal.clone());
        assert_eq!(daemon.signal(signal), Some(0), "after SIG{signal}");
        daemon = Plain::start(home.path(), &api, &portal);
        for attachment in before["block/attachments"].as_array().unwrap() {
            // Settled: nothing that the start has begun is under way any more.
            let path = format!("block/attachments/{}", text(attachment, "id"));
            admin.request(Method::GET, &path).wait(PATIENCE).send().unwrap();
        }
        assert_eq!(everything(&admin), before);
    }
    assert_eq!(daemon.signal("TERM"), Some(0));
}

#[test]
fn two_daemons_do_not_share_a_data_directory() {
    let scene = Scene::start();
    let second = Command::new(OSDS)
        .args(["all", "--api", "127.0.0.1:0", "--iscsi", "127.0.0.1:0", "--data-dir"])
        .arg(scene.path(""))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8(second.stderr).unwrap();
    assert!(words.contains("in use by another process"), "{words}");
    assert!(second.stdout.is_empty(), "it said that it was ready");
    // The first has not noticed.
    assert!(scene.get("block/volumes").as_array().unwrap().is_empty());
}

/// What a client knows of a thing of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Asked for and acknowledged.
    Wanted,
    /// Its end was asked for and acknowledged.
    Unwanted,
    /// The answer to the last request about it was lost.
    Unclear,
}

/// What one client was told.
#[derive(Default)]
struct Diary {
    volumes: BTreeMap<String, Known>,
    /// Volume, host and mode of each.
    attachments: BTreeMap<String, (Known, String, usize, &'static str)>,
}

/// Whether an answer came, and what it says. No answer is no failure here: the daemon was killed.
fn answer(sent: Result<Value, ClientError>) -> Option<Value> {
    match sent {
        Ok(value) => Some(value),
        Err(ClientError::Unreachable { .. } | ClientError::Unreadable { .. }) => None,
        Err(
            refused @ (ClientError::Refused { .. }
            | ClientError::BadEndpoint { .. }
            | ClientError::Keystone(_)),
        ) => {
            panic!("refused: {refused}")
        }
    }
}

impl Diary {
    /// Creates, attaches, detaches and deletes until the daemon answers no more. What is started
    /// is not waited for, so that the kill falls into the middle of it.
    fn live(&mut self, admin: &Client, hosts: &[String], name: &str, answers: &AtomicUsize) {
        for number in 0.. {
            if self.turn(admin, hosts, &format!("{name}-{number}"), number, answers).is_none() {
                return;
            }
        }
    }

    fn turn(
        &mut self,
        admin: &Client,
        hosts: &[String],
        name: &str,
        number: usize,
        answers: &AtomicUsize,
    ) -> Option<()> {
        let count = || answers.fetch_add(1, Ordering::Relaxed);
        let body = json!({"name": name, "size": 1, "multiAttach": true});
        // Attaching needs a volume that is there; the others shall be caught while being made.
        let wait = |number: usize| if number % 4 == 3 { Duration::ZERO } else { PATIENCE };
        let request = admin.request(Method::POST, "block/volumes").body(&body).wait(wait(number));
        let volume = text(&answer(request.send().and_then(|a| a.read()))?, "id");
        count();
        self.volumes.insert(volume.clone(), Known::Wanted);
        let mut held = Vec::new();
        if number % 4 != 3 {
            for (host, mode) in [(0, "rw"), (1, "ro")].into_iter().take(1 + number % 2) {
                let body = json!({"volumeId": volume, "hostId": hosts[host], "attachMode": mode});
                let id = text(&answer(admin.post("block/attachments", &body))?, "id");
                count();
                let entry = (Known::Wanted, volume.clone(), host, mode);
                self.attachments.insert(id.clone(), entry);
                held.push(id);
            }
        }
        if number.is_multiple_of(3) {
            return Some(());
        }
        for id in held {
            self.attachments.get_mut(&id).unwrap().0 = Known::Unclear;
            let path = format!("block/attachments/{id}");
            let request = admin.request(Method::DELETE, &path).wait(wait(number));
            answer(request.send().map(|_| Value::Null))?;
            count();
            self.attachments.get_mut(&id).unwrap().0 = Known::Unwanted;
        }
        if number % 4 != 3 {
            self.volumes.insert(volume.clone(), Known::Unclear);
            answer(admin.delete(&format!("block/volumes/{volume}")).map(|()| Value::Null))?;
            count();
            self.volumes.insert(volume, Known::Unwanted);
        }
        Some(())
    }

    /// Compares what the client was told with what there is.
    fn check(&mut self, scene: &Scene) {
        for (id, known) in &self.volumes {
            match (known, scene.settled(&format!("block/volumes/{id}"))) {
                (Known::Wanted | Known::Unclear, Ok(volume)) => {
                    let status = text(&volume, "status");
                    assert!(["available", "inUse"].contains(&status.as_str()), "{volume}");
                }
                (Known::Unclear | Known::Unwanted, Err(error)) if error.is_not_found() => {}
                (known, found) => panic!("volume {id} is {known:?} and {found:?}"),
            }
        }
        for (id, (known, volume, host, mode)) in &self.attachments {
            match (known, scene.settled(&format!("block/attachments/{id}"))) {
                (Known::Wanted | Known::Unclear, Ok(held)) => {
                    assert_eq!(text(&held, "status"), "available", "{held}");
                    assert_eq!(text(&held, "attachMode"), *mode);
                    assert_eq!(text(&held, "volumeId"), *volume);
                    let mut session = scene.log_in(id, INITIATORS[*host]);
                    assert_eq!(session.is_write_protected().unwrap(), *mode == "ro");
                }
                (Known::Unclear | Known::Unwanted, Err(error)) if error.is_not_found() => {}
                (known, found) => panic!("attachment {id} is {known:?} and {found:?}"),
            }
        }
        // What has an end need not be asked for again and again.
        self.volumes.retain(|_, known| *known == Known::Wanted);
        self.attachments.retain(|_, (known, ..)| *known == Known::Wanted);
    }
}

const INITIATORS: [&str; 2] = ["iqn.x:a", "iqn.x:b"];
const CLIENTS: usize = 3;
const ROUNDS: usize = 10;

/// Lets clients work until there were so many answers, kills the daemon and starts it again.
fn kill_and_restart(scene: &mut Scene, hosts: &[String], diaries: &mut [Diary], round: usize) {
    let answers = AtomicUsize::new(0);
    let admins: Vec<Client> = diaries.iter().map(|_| client(&scene.daemon.api)).collect();
    std::thread::scope(|scope| {
        for (number, (diary, admin)) in diaries.iter_mut().zip(&admins).enumerate() {
            let answers = &answers;
            let name = format!("r{round}-c{number}");
            scope.spawn(move || diary.live(admin, hosts, &name, answers));
        }
        // Never at the same point twice.
        let enough = 5 + 7 * round;
        until("the clients are busy", || (answers.load(Ordering::Relaxed) >= enough).then_some(()));
        scene.kill();
    });
    scene.restart();
}

fn hosts_of(scene: &Scene) -> [String; 2] {
    [scene.host("a", &INITIATORS[..1]), scene.host("b", &INITIATORS[1..])]
}

#[test]
fn nothing_acknowledged_is_lost_in_ten_kills() {
    let mut scene = Scene::quick();
    let hosts = hosts_of(&scene);
    let mut diaries: Vec<Diary> = (0..CLIENTS).map(|_| Diary::default()).collect();
    for round in 0..ROUNDS {
        kill_and_restart(&mut scene, &hosts, &mut diaries, round);
        for diary in &mut diaries {
            diary.check(&scene);
        }
        accounts_add_up(&scene);
    }
    let volumes: usize = diaries.iter().map(|diary| diary.volumes.len()).sum();
    let attachments: usize = diaries.iter().map(|diary| diary.attachments.len()).sum();
    println!("{volumes} volumes and {attachments} attachments outlived {ROUNDS} kills");
    assert!(volumes >= ROUNDS && attachments >= ROUNDS, "too little was at stake");
}

/// The proof that the test above can fail.
#[test]
fn a_daemon_that_forgets_is_noticed() {
    let mut scene = Scene::quick_with("store.kind = \"memory\"\n");
    let hosts = hosts_of(&scene);
    let mut diaries = [Diary::default()];
    kill_and_restart(&mut scene, &hosts, &mut diaries, 0);
    let check = std::panic::AssertUnwindSafe(|| diaries[0].check(&scene));
    assert!(std::panic::catch_unwind(check).is_err());
}

/// Files, records and promises of space are of the same volumes.
fn accounts_add_up(scene: &Scene) {
    let recorded = || -> Vec<Value> {
        let volumes = scene.get("block/volumes?limit=10000");
        volumes.as_array().unwrap().clone()
    };
    // Volumes whose POST was cut off are nobody's and may still be on their way.
    until("every volume has settled", || {
        let settled = |v: &Value| ["available", "inUse"].contains(&text(v, "status").as_str());
        recorded().iter().all(settled).then_some(())
    });
    let recorded: BTreeSet<String> =
        recorded().iter().map(|volume| format!("volume-{}.img", text(volume, "id"))).collect();
    let stored: BTreeSet<String> = std::fs::read_dir(scene.path("pools/default"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".osds-pool")
        .collect();
    assert_eq!(stored, recorded);
    let pools = scene.get("pools");
    assert_eq!(
        pools[0]["consumedCapacity"].as_u64().unwrap_or(0),
        recorded.len() as u64,
        "{pools}"
    );
    // Sessions of hosts that have nothing any more do not exist.
    let attachments = scene.get("block/attachments?limit=10000");
    for held in attachments.as_array().unwrap() {
        assert!(connection(held).is_some(), "{held}");
    }
}
