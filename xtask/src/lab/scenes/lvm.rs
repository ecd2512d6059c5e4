//! Volumes that are logical volumes, thick and thin, by an osds of their own on the storage host.
//!
//! The control for what must never be seen: after a volume is deleted, a logical volume that somebody
//! makes by hand in its place does show what was written; the next volume of ours, in the same place,
//! does not.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Client, Stage, Way, both, id, login_script};
use crate::lab::checks::Checks;

const LVM_SCRIPT: &str = include_str!("../../../../lab/scripts/lvm.sh");

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let set = Set { stage };
    set.script("make")?;
    set.script("start")?;
    set.hosts()?;
    let mut played = Ok(());
    for zone in ["thick", "thin"] {
        if played.is_ok() {
            played = shared(&set, checks, zone).and_then(|()| killed(&set, checks, zone));
        }
    }
    let gone = set.script("gone");
    played.and(gone.map(|_| ()))
}

/// The second osds.
struct Set<'a> {
    stage: &'a Stage<'a>,
}

impl Set<'_> {
    fn script(&self, what: &str) -> Result<String> {
        self.stage.store.must(&format!("DO={what}\n{LVM_SCRIPT}"))
    }

    /// `osdsctl`; how it went and what it said.
    fn try_ctl(&self, words: &str) -> Result<(bool, String)> {
        let endpoint = "OPENSDS_ENDPOINT=http://10.9.0.1:50041 OPENSDS_AUTH_STRATEGY=noauth";
        let script = format!(
            "{endpoint} /host/osdsctl -o json {words} 2>/tmp/lvm.err || {{ cat /tmp/lvm.err; exit 1; }}"
        );
        let output = self.stage.store.run(&script)?;
        Ok((output.ok(), output.text))
    }

    fn ctl(&self, words: &str) -> Result<Value> {
        let (ok, text) = self.try_ctl(words)?;
        ensure!(ok, "osdsctl {words}: {text}");
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("osdsctl {words}: {text}"))
    }

    fn hosts(&self) -> Result<()> {
        let multi =
            r#"{"name":"multi","customProperties":{"capabilities:multiAttach":"<is> true"}}"#;
        self.ctl(&format!("profile create '{multi}'"))?;
        for client in [&self.stage.a, &self.stage.b] {
            let name = client.guest.name;
            let host = id(&self.ctl(&format!(
                "host create {name} --ip 10.9.0.2 --availabilityZones thick,thin"
            ))?)?;
            self.ctl(&format!("host initiator add {host} {} iscsi", client.iqn))?;
        }
        Ok(())
    }

    fn of(&self, noun: &str, name: &str) -> Result<String> {
        let list = self.ctl(&format!("{noun} list"))?;
        let key = if noun == "host" { "hostName" } else { "name" };
        let rows = super::rows(&list);
        let found = rows.iter().find(|row| row[key] == name);
        id(found.with_context(|| format!("no {noun} {name} in {list}"))?)
    }

    fn volume(&self, zone: &str, more: &str) -> Result<String> {
        let profile = self.of("profile", "multi")?;
        id(&self.ctl(&format!(
            "volume create 1 --name lv --az {zone} --profile {profile} {more} --wait"
        ))?)
    }

    fn attach(&self, volume: &str, client: &Client<'_>, mode: &str) -> Result<Way> {
        let host = self.of("host", client.guest.name)?;
        let words = format!("volume attachment create {volume} {host} --attach-mode {mode} --wait");
        let attachment = id(&self.ctl(&words)?)?;
        let shown = self.ctl(&format!("--show-secrets volume attachment show {attachment}"))?;
        let data = &shown["connectionInfo"]["data"];
        let word =
            |value: &Value| value.as_str().map(str::to_owned).context("an attachment says how");
        Ok(Way {
            target: word(&data["targetIQN"][0])?,
            portal: word(&data["targetPortal"][0])?,
            user: word(&data["authUserName"])?,
            password: word(&data["authPassword"])?,
            attachment,
        })
    }

    fn detach(&self, client: &Client<'_>, way: &Way) -> Result<()> {
        self.stage.logout(client)?;
        self.ctl(&format!("volume attachment delete {} --wait", way.attachment)).map(|_| ())
    }

    fn login(&self, client: &Client<'_>, way: &Way) -> Result<String> {
        let disk = client.must(&login_script(client, way))?;
        Ok(format!("/dev/{}", disk.lines().last().unwrap_or_default()))
    }

    /// What lvm has of volumes; the thin pool is the lab's own.
    fn left(&self) -> Result<String> {
        self.stage
            .store
            .must("lvs --noheadings -o lv_name shelf | grep -vw thin | tr -d ' \\n'; true")
    }
}

const GIB: u64 = 1 << 30;

fn shared(set: &Set<'_>, checks: &mut Checks, zone: &str) -> Result<()> {
    let (a, b, store) = (&set.stage.a, &set.stage.b, set.stage.store);
    let volume = set.volume(zone, "")?;
    let (to_a, to_b) = (set.attach(&volume, a, "rw")?, set.attach(&volume, b, "ro")?);
    let (on_a, on_b) = both(|| set.login(a, &to_a), || set.login(b, &to_b));
    let (on_a, on_b) = (on_a?, on_b?);
    let ro = |disk: &str| format!("blockdev --getro {disk}");
    let modes = (a.must(&ro(&on_a))?, b.must(&ro(&on_b))?);
    let good = (&*modes.0, &*modes.1) == ("0", "1");
    checks.check(
        good,
        &format!("{zone}: A may write, B's disk is read-only"),
        &format!("{modes:?}"),
    );
    let write = |disk: &str, letters: &str, seek: u64| {
        format!(
            "yes {letters} | head -c 65536 >/tmp/w; \
             dd if=/tmp/w of={disk} oflag=direct bs=65536 seek={seek} count=1 2>&1"
        )
    };
    let read = |disk: &str, skip: u64| {
        format!("dd if={disk} iflag=direct bs=65536 skip={skip} count=1 2>/dev/null | head -c 4")
    };
    let middle = GIB / 2 / 65536;
    a.must(&write(&on_a, "ONCE", 0))?;
    a.must(&write(&on_a, "ONCE", middle))?;
    let seen = b.must(&read(&on_b, middle))?;
    checks.check(seen == "ONCE", &format!("{zone}: B reads what A has written"), &seen);

    // A snapshot while A writes as fast as it can; what it writes next is not in it.
    a.must(&format!(
        "touch /tmp/busy; setsid sh -c 'while [ -e /tmp/busy ]; do dd if=/tmp/w of={on_a} oflag=direct \
         bs=65536 seek=9 count=1 2>/dev/null; done' >/dev/null 2>&1 </dev/null &"
    ))?;
    let snapshot = id(&set.ctl(&format!("volume snapshot create {volume} -n s --wait"))?)?;
    a.must("rm -f /tmp/busy")?;
    a.must(&write(&on_a, "NEXT", middle))?;
    set.detach(b, &to_b)?;
    let copy = set.volume(zone, &format!("--snapshot {snapshot}"))?;
    let to_b = set.attach(&copy, b, "rw")?;
    let on_b = set.login(b, &to_b)?;
    let seen = b.must(&read(&on_b, middle))?;
    checks.check(
        seen == "ONCE",
        &format!("{zone}: a volume from a snapshot of one in use shows that moment"),
        &seen,
    );
    let (seen, next) = (b.must(&write(&on_b, "COPY", 0))?, a.must(&read(&on_a, 0))?);
    checks.check(next == "ONCE", &format!("{zone}: and is a volume of its own"), &(seen + &next));
    set.detach(b, &to_b)?;
    set.ctl(&format!("volume delete {copy} --wait"))?;

    let extend = format!("volume extend {volume} 2 --wait");
    if zone == "thick" {
        let (ok, said) = set.try_ctl(&extend)?;
        let shown = set.ctl(&format!("volume show {volume}"))?.to_string();
        let told = shown.contains("thin pool") || said.contains("thin pool");
        checks.check(
            told,
            "thick: with a snapshot and in use it does not grow, and says what to do",
            &format!("{ok} {said} {shown}"),
        );
    }
    set.ctl(&format!("volume snapshot delete {snapshot} --wait"))?;
    let to_b = set.attach(&volume, b, "ro")?;
    let on_b = set.login(b, &to_b)?;
    let grown = set.try_ctl(&extend)?;
    let rescan = |disk: &str| {
        format!(
            "iscsiadm -m session --rescan >/dev/null 2>&1; for try in $(seq 100); do \
             [ $(blockdev --getsize64 {disk}) = {} ] && break; sleep 0.1; done; \
             blockdev --getsize64 {disk}",
            2 * GIB
        )
    };
    let sizes = (a.must(&rescan(&on_a))?, b.must(&rescan(&on_b))?);
    let two = (2 * GIB).to_string();
    let good = sizes == (two.clone(), two);
    checks.check(
        good,
        &format!("{zone}: extended in use, both see 2 GiB after a rescan"),
        &format!("{sizes:?} {grown:?}"),
    );
    let zeros = |disk: &str, from: u64| {
        format!(
            "tail -c +{} {disk} | head -c 67108864 | cmp - <(head -c 67108864 /dev/zero)",
            from + 1
        )
    };
    let fresh = a.run(&zeros(&on_a, GIB))?;
    checks.check(fresh.ok(), &format!("{zone}: what was added reads zeros"), &fresh.text);
    let kept = b.must(&read(&on_b, middle))?;
    checks.check(kept == "NEXT", &format!("{zone}: and what was there is there"), &kept);

    set.detach(a, &to_a)?;
    set.detach(b, &to_b)?;
    let name = format!("volume-{volume}");
    let place = store.must(&format!(
        "lvs --noheadings --segments -o seg_pe_ranges shelf/{name} | tr -s ' \\n' ' '"
    ))?;
    set.ctl(&format!("volume delete {volume} --wait"))?;
    let left = set.left()?;
    checks.check(left.is_empty(), &format!("{zone}: deleted, nothing is left in LVM"), &left);
    if zone == "thick" {
        // The control: somebody else's logical volume in that very place.
        let shown = store.must(&format!(
            "lvcreate -q -y -Wn -Zn -n control -l 512 shelf {place} >/dev/null 2>&1 || \
             lvcreate -q -y -Wn -Zn -n control -l 512 shelf; grep -ac 'NEXT' /dev/shelf/control; \
             lvremove -q -y shelf/control"
        ))?;
        let count = shown.lines().next().unwrap_or_default().to_owned();
        checks.check(count != "0", "thick: control: the disk itself still shows it", &shown);
    }
    let volume = set.volume(zone, "")?;
    let zeros = store.run(&all_zeros(&volume))?;
    checks.check(zeros.ok(), &format!("{zone}: the next volume is all zeros"), &zeros.text);
    set.ctl(&format!("volume delete {volume} --wait")).map(|_| ())
}

/// Fails where 1 GiB of the volume is not all zeros.
fn all_zeros(volume: &str) -> String {
    format!("cmp -n {GIB} /dev/shelf/volume-{volume} /dev/zero 2>&1")
}

/// osds is killed in the middle of creates and deletes, a little later each time.
fn killed(set: &Set<'_>, checks: &mut Checks, zone: &str) -> Result<()> {
    let store = set.stage.store;
    let profile = set.of("profile", "multi")?;
    let kill = |after: u32| {
        format!("sleep {}.{}; kill -9 $(cat /run/osds-lvm.pid)", after / 10, after % 10)
    };
    let endpoint = "OPENSDS_ENDPOINT=http://10.9.0.1:50041 OPENSDS_AUTH_STRATEGY=noauth";
    let rounds = 5;
    for round in 0..rounds {
        let create = format!(
            "{endpoint} /host/osdsctl -o json volume create 1 --name k{round} --az {zone} \
             --profile {profile} >/tmp/k.out 2>&1"
        );
        store.must(&format!("{create}\n{}", kill(2 + 4 * round)))?;
        set.script("start")?;
        let volume = set.of("volume", &format!("k{round}"))?;
        let up = until(set, &volume, "available")?;
        ensure!(up, "{zone}: volume {volume} does not become available");
        let zeros = store.run(&all_zeros(&volume))?;
        ensure!(zeros.ok(), "{zone}: a volume healed after a kill is not zeros: {}", zeros.text);
        let delete =
            format!("{endpoint} /host/osdsctl -o json volume delete {volume} >/tmp/k.out 2>&1");
        store.must(&format!("{delete}\n{}", kill(1 + 2 * round)))?;
        set.script("start")?;
        let gone = until(set, &volume, "")?;
        ensure!(gone, "{zone}: volume {volume} does not go");
    }
    let left = set.left()?;
    checks.check(
        left.is_empty(),
        &format!(
            "{zone}: {rounds} creates and deletes, osds killed in each: all healed, nothing left"
        ),
        &left,
    );
    Ok(())
}

/// Waits for a status; for none, until the volume is gone.
fn until(set: &Set<'_>, volume: &str, status: &str) -> Result<bool> {
    for _ in 0..240 {
        let (ok, text) = set.try_ctl(&format!("volume show {volume}"))?;
        let is = serde_json::from_str::<Value>(&text).unwrap_or_default();
        if (ok && is["status"] == status)
            || (!ok && status.is_empty() && text.contains("not found"))
        {
            return Ok(true);
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    Ok(false)
}
