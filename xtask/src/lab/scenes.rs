//! The scenes that are played in the lab, and what they share: hosts, attachments, logins.
//!
//! Everything a user would do is done as a user would: through `osdsctl`, on the storage host. What a
//! host does is done by its own kernel and its own tools.

mod conformance;
mod csi;
mod disk;
mod fence;
mod gfs2;
mod grow;
mod host;
mod ipv6;
mod killed;
mod lvm;
mod nvme;
mod own;
mod preempt;
mod reboot;
mod shared;
mod slow;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::channel::Output;
use super::checks::Checks;
use super::guest::Guest;
use super::{Outcome, Places, cluster, image};

const STORE_SCRIPT: &str = include_str!("../../../lab/scripts/store.sh");
const DAEMON_SCRIPT: &str = include_str!("../../../lab/scripts/daemon.sh");
const SLOW_SCRIPT: &str = include_str!("../../../lab/scripts/slow.sh");
const LOGIN_SCRIPT: &str = include_str!("../../../lab/scripts/login.sh");

/// How a scene is played.
type Play = fn(&Stage<'_>, &mut Checks) -> Result<()>;

/// How much of the time of everybody who pushes a scene may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// Played at every push: all of these together in five minutes on busy cores.
    Short,
    /// Played by `lab test --long`, or when it is named.
    Long,
}
use Length::{Long, Short};

/// Whose target serves the volumes of a scene.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The built-in one's.
    Embedded,
    /// The storage host's kernel's, of logical volumes.
    Lio,
    /// The same, of files.
    LioFiles,
}
use On::{Embedded, Lio, LioFiles};

impl On {
    /// The zone that volumes are made in, which has just the one pool.
    fn zone(self) -> &'static str {
        match self {
            Embedded => "default",
            Lio => "lvm",
            LioFiles => "lio",
        }
    }

    /// The same on a disk whose writes can be held up.
    fn slow_zone(self) -> &'static str {
        match self {
            Embedded => "slow",
            Lio | LioFiles => "slow-lio",
        }
    }
}

/// Everything there is to play, in this order. Each clears the stage after it.
const SCENES: [(Length, On, &str, Play); 26] = [
    (Short, Lio, "lio disk: one writes, one reads, the kernel's target says so", disk::play),
    (Short, Lio, "lio shared: reservations, compare and write, OCFS2", shared::play),
    (Short, Lio, "lio fence: a frozen host is put out", fence::play),
    (Long, LioFiles, "lio files: one writes, one reads, of a file", disk::play),
    (Long, LioFiles, "lio slow: a write under way at the moment of the detach", slow::play),
    (Long, Lio, "lio preempt: a dead host is fenced by reservation", preempt::play),
    (Long, Lio, "lio killed: osds is killed at every step", killed::play),
    (Long, Lio, "lio reboot: the storage host crashes in the middle of I/O", reboot::play),
    (Long, Lio, "lio grow: a volume grows beneath two hosts", grow::play),
    (Long, LioFiles, "lio files grow: the same of a file", grow::play),
    (Short, Embedded, "disk: one writes, one reads, the target says so", disk::play),
    (Short, Embedded, "fence: a frozen host is put out", fence::play),
    (Long, Embedded, "shared: reservations, compare and write, OCFS2", shared::play),
    (Long, Embedded, "slow: a write under way at the moment of the detach", slow::play),
    (Long, Embedded, "preempt: a dead host is fenced by reservation", preempt::play),
    (Long, Embedded, "reboot: the storage host crashes in the middle of I/O", reboot::play),
    (Long, Embedded, "grow: a volume grows beneath two hosts", grow::play),
    (Long, Embedded, "host: osds attach and detach over iSCSI", host::play),
    (Long, Embedded, "gfs2: a writer and a host that may only read", gfs2::play),
    (Long, Embedded, "nvme: two hosts over NVMe/TCP, by the kernel's target", nvme::play),
    (Long, Embedded, "nvme-fence: a host is put out in the middle of its writes", nvme::fence),
    (
        Long,
        Embedded,
        "nvme-reboot: the storage host crashes in the middle of I/O",
        reboot::over_nvme,
    ),
    (Long, Embedded, "ipv6: portals of both kinds, on each target", ipv6::play),
    (Long, Embedded, "csi: raw block on two nodes, by iSCSI and by NVMe/TCP", csi::play),
    (Long, Embedded, "lvm: logical volumes, thick and thin, and osds killed", lvm::play),
    (Long, Embedded, conformance::NAME, conformance::play),
];

/// Which scenes to play.
#[derive(Default)]
pub struct Wanted {
    /// Those with this word, or one of these between commas, in their name, whatever their length.
    pub word: Option<String>,
    /// The long ones, too.
    pub long: bool,
}

impl Wanted {
    fn has(&self, length: Length, name: &str) -> bool {
        match &self.word {
            Some(words) => words.split(',').any(|word| name.contains(word)),
            None => self.long || length == Short,
        }
    }
}

/// Plays them, on the kernel of this package or Debian's.
pub fn run(places: &Places, kernel: Option<&Path>, wanted: &Wanted, keep: bool) -> Result<Outcome> {
    let image = image::ensure(places, kernel)?;
    cluster::binaries(places)?;
    if wanted.has(Long, conformance::NAME) {
        cluster::suites(places)?;
    }
    let mut guests = cluster::start(places, &image)?;
    let _watcher = if keep { None } else { Some(cluster::end_with_us(&guests)?) };
    let mut checks = Checks::new();
    let result = play(&guests, wanted, &mut checks);
    checks.end("the lab", result);
    let good = checks.sum_up();
    if !good {
        for guest in &guests {
            tell(places, guest);
        }
    }
    if keep {
        guests.iter_mut().for_each(Guest::leave);
        println!("lab: guests run on; cargo xtask lab shell store|a|b, cargo xtask lab down");
    }
    Ok(if good { Outcome::Held } else { Outcome::Failed })
}

/// Keeps what a guest knows, for whoever has to find out.
fn tell(places: &Places, guest: &Guest) {
    let script = "dmesg | tail -60; tail -60 /tmp/osds.log /tmp/iscsid.log 2>/dev/null";
    let known = guest.run_for(script, Duration::from_secs(30));
    let known = known.map_or_else(|error| format!("{error:#}"), |output| output.text);
    let file = places.run.join(guest.name).join("last-words.log");
    match std::fs::write(&file, known) {
        Ok(()) => println!("lab: {} has what guest {} knew", file.display(), guest.name),
        Err(error) => println!("lab: could not write {}: {error}", file.display()),
    }
}

fn play(guests: &[Guest], wanted: &Wanted, checks: &mut Checks) -> Result<()> {
    let [store, a, b] = guests else { anyhow::bail!("the lab has three guests") };
    set_up(store)?;
    store.must(DAEMON_SCRIPT).context("osds does not start on the storage host")?;
    checks.say("osds serves on the storage host");
    let mut stage = Stage::set(store, a, b)?;
    for (length, on, name, scene) in SCENES {
        if wanted.has(length, name) {
            checks.say(name);
            stage.on = on;
            let result = scene(&stage, checks);
            checks.end(name, result);
            stage.clear(checks);
        }
    }
    Ok(())
}

/// The disks and the configuration of the storage host, after each boot.
fn set_up(store: &Guest) -> Result<()> {
    store.must(STORE_SCRIPT)?;
    store.must(&format!("DO=make\n{SLOW_SCRIPT}")).map(|_| ())
}

/// A client with its record in OpenSDS.
pub struct Client<'a> {
    guest: &'a Guest,
    id: String,
    iqn: String,
}

impl Client<'_> {
    fn must(&self, script: &str) -> Result<String> {
        self.guest.must(script)
    }

    fn run(&self, script: &str) -> Result<Output> {
        self.guest.run(script)
    }
}

/// The storage host and its clients, with hosts and a profile in OpenSDS.
pub struct Stage<'a> {
    store: &'a Guest,
    a: Client<'a>,
    b: Client<'a>,
    profile: String,
    /// Where volumes are made.
    on: On,
}

/// What an attachment tells a host.
struct Way {
    attachment: String,
    target: String,
    portal: String,
    user: String,
    password: String,
}

impl<'a> Stage<'a> {
    fn set(store: &'a Guest, a: &'a Guest, b: &'a Guest) -> Result<Self> {
        let multi =
            r#"{"name":"multi","customProperties":{"capabilities:multiAttach":"<is> true"}}"#;
        let profile = id(&ctl(store, &format!("profile create '{multi}'"))?)?;
        let client = |guest: &'a Guest, address: &str| -> Result<Client<'a>> {
            let iqn = format!("iqn.2026-11.lab:{}", guest.name);
            let host = ctl(
                store,
                &format!(
                    "host create {} --ip {address} --availabilityZones default,lio,lvm,slow,slow-lio",
                    guest.name
                ),
            )?;
            let host = id(&host)?;
            ctl(store, &format!("host initiator add {host} {iqn} iscsi"))?;
            Ok(Client { guest, id: host, iqn })
        };
        let (a, b) = (client(a, "10.9.0.2")?, client(b, "10.9.0.3")?);
        Ok(Self { store, a, b, profile, on: Embedded })
    }

    /// `osdsctl`, on the storage host.
    fn ctl(&self, words: &str) -> Result<Value> {
        ctl(self.store, words)
    }

    /// A new volume of 1 GiB for several hosts; its id.
    fn volume(&self, name: &str) -> Result<String> {
        self.volume_in(self.on.zone(), name)
    }

    fn volume_in(&self, zone: &str, name: &str) -> Result<String> {
        let profile = &self.profile;
        let words = format!("volume create 1 --name {name} --az {zone} --profile {profile} --wait");
        id(&self.ctl(&words)?)
    }

    fn attach(&self, volume: &str, client: &Client<'_>, mode: &str) -> Result<Way> {
        let host = &client.id;
        let words = format!("volume attachment create {volume} {host} --attach-mode {mode} --wait");
        self.shown(&id(&self.ctl(&words)?)?, false)
    }

    /// What an attachment says, if need be once it is available.
    fn shown(&self, attachment: &str, wait: bool) -> Result<Way> {
        let show = || self.ctl(&format!("--show-secrets volume attachment show {attachment}"));
        let mut shown = show()?;
        let until = Instant::now() + Duration::from_secs(60);
        while wait && shown["status"] != "available" {
            ensure!(Instant::now() < until, "it does not become available: {shown}");
            shown = show()?;
        }
        let data = &shown["connectionInfo"]["data"];
        let word =
            |value: &Value| value.as_str().map(str::to_owned).context("an attachment says how");
        Ok(Way {
            target: word(&data["targetIQN"][0])?,
            portal: word(&data["targetPortal"][0])?,
            user: word(&data["authUserName"])?,
            password: word(&data["authPassword"])?,
            attachment: attachment.to_owned(),
        })
    }

    fn detach(&self, way: &Way) -> Result<()> {
        self.ctl(&format!("volume attachment delete {} --wait", way.attachment)).map(|_| ())
    }

    /// Logs a client in, and waits for the disk: `/dev/sdX`.
    fn login(&self, client: &Client<'_>, way: &Way) -> Result<String> {
        self.login_for(client, way, 5)
    }

    /// The same, with a kernel that waits so many seconds for a session that it has lost.
    fn login_for(&self, client: &Client<'_>, way: &Way, seconds: u32) -> Result<String> {
        let disk = client.must(&format!("PATIENCE={seconds}\n{}", login_script(client, way)))?;
        Ok(format!("/dev/{}", disk.lines().last().unwrap_or_default()))
    }

    fn logout(&self, client: &Client<'_>) -> Result<()> {
        let script = "iscsiadm -m node --logoutall=all >/dev/null 2>&1; iscsiadm -m node -o delete 2>&1; \
                      timeout 20 nvme disconnect-all; rm -f /var/lib/osds/client/*.json; true";
        client.must(script).map(|_| ())
    }

    /// Takes away what a scene has left, and looks that nothing stays.
    fn clear(&self, checks: &mut Checks) {
        let result = (|| {
            for client in [&self.a, &self.b] {
                client.guest.thaw()?;
                self.logout(client)?;
            }
            for attachment in rows(&self.ctl("volume attachment list")?) {
                self.ctl(&format!("volume attachment delete {} --wait", id(attachment)?))?;
            }
            for volume in rows(&self.ctl("volume list")?) {
                self.ctl(&format!("volume delete {} --wait", id(volume)?))?;
            }
            let left =
                self.store.must("find /pool/volumes /pool/kernel -type f -name 'volume-*'")?;
            checks.check(left.is_empty(), "deleted volumes leave no file behind", &left);
            let left = self.store.must("lvs --noheadings -o lv_name lab | grep -v thin || true")?;
            checks.check(left.is_empty(), "and no logical volume", &left);
            let left = in_kernel(self.store)?;
            checks.check(left.is_empty(), "and nothing in the kernel's target", &left);
            Ok(())
        })();
        checks.end("clearing the stage", result);
    }
}

/// What of ours is in the kernel's target, and what it keeps of reservations.
fn in_kernel(store: &Guest) -> Result<String> {
    store.must(
        "find /sys/kernel/config/target/core /sys/kernel/config/target/iscsi -mindepth 1 \
         -maxdepth 1 -name '*[0-9][0-9][0-9]*'; ls /var/target/pr",
    )
}

/// The script that logs a client in.
fn login_script(client: &Client<'_>, way: &Way) -> String {
    let Way { target, portal, user, password, .. } = way;
    let iqn = &client.iqn;
    format!(
        "IQN={iqn} TARGET={target} PORTAL={portal} CHAP_USER={user} CHAP_PASSWORD={password}\n{LOGIN_SCRIPT}"
    )
}

fn ctl(store: &Guest, words: &str) -> Result<Value> {
    let endpoint = "OPENSDS_ENDPOINT=http://10.9.0.1:50040 OPENSDS_AUTH_STRATEGY=noauth";
    let text = store.must(&format!(
        "{endpoint} /host/osdsctl -o json {words} 2>/tmp/ctl.err || {{ cat /tmp/ctl.err; exit 1; }}"
    ))?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text)
        .with_context(|| format!("osdsctl {words} did not print JSON: {text}"))
}

fn id(object: &Value) -> Result<String> {
    object["id"].as_str().map(str::to_owned).with_context(|| format!("no id in {object}"))
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Both at once.
fn both<T: Send, U: Send>(
    one: impl FnOnce() -> T + Send,
    other: impl FnOnce() -> U + Send,
) -> (T, U) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}
