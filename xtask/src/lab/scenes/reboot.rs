//! The storage host crashes in the middle of I/O and comes back by itself: hosts go on, nothing that
//! was answered is lost, and reservations that were to be kept are there again, without those who
//! were put out before.
//!
//! The controls: the crash came while both were writing; after it nothing at all is exported, by the
//! kernel or by us; a reservation that was not to be kept is gone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::own::Own;
use super::{Client, DAEMON_SCRIPT, Embedded, Lio, LioFiles, On, Stage, Way, both, nvme};
use crate::lab::checks::Checks;

const NUMBERS_SCRIPT: &str = include_str!("../../../../lab/scripts/numbers.sh");

/// How many blocks each host writes, and how long that may take.
const COUNT: u32 = 250;
const PATIENCE: Duration = Duration::from_secs(400);

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let [data, kept, lost] = ["data", "kept", "lost"].map(|name| stage.volume(name));
    let (data, kept, lost) = (data?, kept?, lost?);
    let attach = |volume: &str, client| stage.attach(volume, client, "rw");
    let login = |client: &Client<'_>, way: &Way| stage.login_for(client, way, 300);
    let (on_a, on_b) = (login(a, &attach(&data, a)?)?, login(b, &attach(&data, b)?)?);
    let (kept_a, mut kept_b) = (login(a, &attach(&kept, a)?)?, attach(&kept, b)?);
    let disk = login(b, &kept_b)?;
    let (lost_a, lost_b) = (login(a, &attach(&lost, a)?)?, login(b, &attach(&lost, b)?)?);

    let out = |words: &str, disk: &str| format!("sg_persist -n --out {words} {disk}");
    for (disk, aptpl) in [(&kept_a, "--param-aptpl"), (&lost_a, "")] {
        a.must(&out(&format!("--register-ignore --param-sark=0xa {aptpl}"), disk))?;
        a.must(&out("--reserve --param-rk=0xa --prout-type=5", disk))?;
    }
    // B registers, is put out, let in again, and does not register again.
    b.must(&out("--register-ignore --param-sark=0xb --param-aptpl", &disk))?;
    b.must(&write(&disk))?;
    b.must(&format!("iscsiadm -m node -T {} --logout", kept_b.target))?;
    stage.detach(&kept_b)?;
    kept_b = attach(&kept, b)?;
    let disk = login(b, &kept_b)?;
    checks.check(!b.run(&write(&disk))?.ok(), "A's reservation keeps B from writing", "it wrote");

    let crash = || {
        stage.store.reset()?;
        super::set_up(stage.store)?;
        let served = stage.store.must(served(stage.on))?;
        stage.store.must(DAEMON_SCRIPT)?;
        Ok(served)
    };
    through(checks, (a, &on_a), (b, &on_b), crash)?;
    let refused = !b.run(&write(&disk))?.ok();
    checks.check(refused, "the reservation that was kept still keeps B from writing", "it wrote");
    let wrote = a.run(&write(&kept_a))?;
    checks.check(wrote.ok(), "and A, who holds it, writes", &wrote.text);
    let keys = a.must(&format!("sg_persist -n --in --read-keys {kept_a} 2>&1"))?;
    let without_b = keys.contains("0xa") && !keys.contains("0xb");
    checks.check(without_b, "B's registration of before its detach has not come back", &keys);
    let wrote = b.run(&write(&lost_b))?;
    checks.check(wrote.ok(), "control: a reservation that was not to be kept is gone", &wrote.text);
    Ok(())
}

/// The same over NVMe/TCP, whose kernel's target knows no reservations.
pub fn over_nvme(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b, store) = (&stage.a, &stage.b, stage.store);
    let load = "modprobe -a nvmet nvmet-tcp";
    store.must(load)?;
    let own = Own::set(store, "nvmereboot", 50_046, nvme::BACKEND, "nvmeof")?;
    own.start()?;
    nvme::named(a, 'a')?;
    nvme::named(b, 'b')?;
    // A host that comes back before all of its volumes are must not lose the rest.
    let volumes = ["reboot", "idle1", "idle2"].map(|name| own.volume(name));
    let volumes: Vec<String> = volumes.into_iter().collect::<Result<_>>()?;
    let each = |verb: &str| -> String {
        let words = volumes.iter().map(|volume| own.attach(&format!("{verb} {volume}")));
        format!("set -e; {}", words.collect::<Vec<_>>().join("; "))
    };
    let on_both = |script: &str| -> Result<(String, String)> {
        let (one, other) = both(|| a.must(script), || b.must(script));
        Ok((one?, other?))
    };
    let before = on_both(&each("attach"))?;
    let first = |devices: &str| devices.lines().next().unwrap_or_default().to_owned();
    let (on_a, on_b) = (first(&before.0), first(&before.1));
    let crash = || {
        store.reset()?;
        super::set_up(store)?;
        store.must(load)?;
        let served = store.must(&format!("ls {}/subsystems", nvme::TREE))?;
        store.must(DAEMON_SCRIPT)?;
        own.start()?;
        Ok(served)
    };
    through(checks, (a, &on_a), (b, &on_b), crash)?;
    let read = |devices: &str| {
        devices.lines().fold("set -e".to_owned(), |script, device| {
            script
                + &format!(
                    "; timeout 60 dd if={device} of=/dev/null iflag=direct bs=4096 count=1 2>&1"
                )
        })
    };
    let (of_a, of_b) = both(|| a.run(&read(&before.0)), || b.run(&read(&before.1)));
    let (of_a, of_b) = (of_a?, of_b?);
    let what = "the volumes that nobody was writing to are back on both as well";
    checks.check(of_a.ok() && of_b.ok(), what, &(of_a.text + &of_b.text));
    let again = on_both(&each("attach"))?;
    let what = "and all are the devices that they were";
    checks.check(again == before, what, &format!("{before:?} {again:?}"));
    on_both(&each("detach"))?;
    for volume in &volumes {
        own.ctl(&format!("volume delete {volume} --wait"))?;
    }
    let left = nvme::left(stage)?;
    checks.check(left.is_empty(), "detached, nothing is left in configfs", &left);
    own.clear()
}

/// Prints what is exported; nothing where that is nothing.
fn served(on: On) -> &'static str {
    match on {
        Embedded => "ss -Hltn | grep :3260 || true",
        Lio | LioFiles => "ls /sys/kernel/config/target/iscsi 2>/dev/null | grep iqn || true",
    }
}

/// Both hosts write numbers to the disk, each to blocks of its own, and meanwhile the storage host
/// crashes: `crash` does that, starts it again, and says what was exported before osds ran.
fn through(
    checks: &mut Checks,
    (a, on_a): (&Client<'_>, &str),
    (b, on_b): (&Client<'_>, &str),
    crash: impl FnOnce() -> Result<String> + Send,
) -> Result<()> {
    let numbers = |tag: &str, disk: &str, base: u32| {
        format!("TAG={tag} DISK={disk} BASE={base} COUNT={COUNT}\n{NUMBERS_SCRIPT}")
    };
    for client in [a, b] {
        client.must("rm -f /tmp/acked")?;
    }
    let acked = |client: &Client<'_>| -> Result<u32> {
        Ok(client.must("cat /tmp/acked 2>/dev/null || echo 0")?.parse().unwrap_or(0))
    };
    let crash = || -> Result<(String, (u32, u32), Duration)> {
        let until = Instant::now() + PATIENCE;
        while acked(a)? < 40 || acked(b)? < 40 {
            ensure!(Instant::now() < until, "the hosts do not write");
        }
        let begun = Instant::now();
        let served = crash()?;
        Ok((served, (acked(a)?, acked(b)?), begun.elapsed()))
    };
    let written = || {
        both(
            || a.guest.run_for(&numbers("A", on_a, 1000), PATIENCE),
            || b.guest.run_for(&numbers("B", on_b, 5000), PATIENCE),
        )
    };
    let (crashed, (of_a, of_b)) = both(crash, written);
    let ((served, (at_a, at_b), took), of_a, of_b) = (crashed?, of_a?, of_b?);
    checks.check(
        served.is_empty() && at_a < COUNT && at_b < COUNT,
        &format!(
            "control: after the crash nothing is exported, and it came while A (at {at_a} of \
             {COUNT}) and B (at {at_b}) were writing"
        ),
        &served,
    );
    checks.check(
        of_a.ok() && of_b.ok(),
        &format!(
            "the storage host is back after {:.0} s, and both have written on without an error",
            took.as_secs_f32()
        ),
        &(of_a.text + &of_b.text),
    );
    let reads = |tag: &str, disk: &str, base: u32| {
        let first = base + 1;
        format!(
            "dd if={disk} iflag=direct bs=4096 skip={first} count={COUNT} 2>/dev/null | tr -d '\\0' | \
             fold -w 10 >/tmp/got; echo >>/tmp/got; seq -f '{tag}-%08g' {COUNT} | cmp - /tmp/got"
        )
    };
    let (of_b, of_a) = (a.run(&reads("B", on_a, 5000))?, b.run(&reads("A", on_b, 1000))?);
    checks.check(
        of_a.ok() && of_b.ok(),
        "each reads every block that the other has written",
        &(of_a.text + &of_b.text),
    );
    Ok(())
}

fn write(disk: &str) -> String {
    format!(
        "sg_turs {disk}; sg_turs {disk}; \
         timeout 60 dd if=/dev/zero of={disk} oflag=direct bs=512 seek=8 count=1 2>&1"
    )
}
