//! The storage host crashes in the middle of I/O and comes back by itself: hosts go on, nothing that
//! was answered is lost, and reservations that were to be kept are there again, without those who
//! were put out before.
//!
//! The controls: after the crash the kernel exports nothing at all; a reservation that was not to be
//! kept is gone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Client, DAEMON_SCRIPT, Stage, Way, both};
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

    let numbers = |tag: &str, disk: &str, base: u32| {
        format!("TAG={tag} DISK={disk} BASE={base} COUNT={COUNT}\n{NUMBERS_SCRIPT}")
    };
    a.must("rm -f /tmp/acked")?;
    let crash = || -> Result<(String, String, Duration)> {
        let until = Instant::now() + PATIENCE;
        let acked = || -> Result<u32> {
            Ok(a.must("cat /tmp/acked 2>/dev/null || echo 0")?.parse().unwrap_or(0))
        };
        while acked()? < 40 {
            ensure!(Instant::now() < until, "A does not write");
        }
        let begun = Instant::now();
        stage.store.reset()?;
        super::set_up(stage.store)?;
        let bare = stage.store.must("ls /sys/kernel/config/target/iscsi 2>/dev/null || true")?;
        let before = a.must("cat /tmp/acked")?;
        stage.store.must(DAEMON_SCRIPT)?;
        Ok((bare, before, begun.elapsed()))
    };
    let written = || {
        both(
            || a.guest.run_for(&numbers("A", &on_a, 1000), PATIENCE),
            || b.guest.run_for(&numbers("B", &on_b, 5000), PATIENCE),
        )
    };
    let (crashed, (of_a, of_b)) = both(crash, written);
    let (bare, before, took) = crashed?;
    let (of_a, of_b) = (of_a?, of_b?);
    checks.check(
        !bare.contains("iqn"),
        "control: after the crash the kernel exports nothing",
        &bare,
    );
    let seconds = took.as_secs_f32();
    checks.check(
        of_a.ok() && of_b.ok(),
        &format!(
            "the storage host is back after {seconds:.0} s; A (at {before} of {COUNT} then) and B \
             have written on without an error"
        ),
        &(of_a.text + &of_b.text),
    );
    let reads = |tag: &str, disk: &str, base: u32| {
        let first = base + 1;
        format!(
            "dd if={disk} iflag=direct bs=512 skip={first} count={COUNT} 2>/dev/null | tr -d '\\0' | \
             fold -w 10 >/tmp/got; echo >>/tmp/got; seq -f '{tag}-%08g' {COUNT} | cmp - /tmp/got"
        )
    };
    let (of_b, of_a) = (a.run(&reads("B", &on_a, 5000))?, b.run(&reads("A", &on_b, 1000))?);
    checks.check(
        of_a.ok() && of_b.ok(),
        "each reads every block that the other has written",
        &(of_a.text + &of_b.text),
    );
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

fn write(disk: &str) -> String {
    format!(
        "sg_turs {disk}; sg_turs {disk}; \
         timeout 60 dd if=/dev/zero of={disk} oflag=direct bs=512 seek=8 count=1 2>&1"
    )
}
