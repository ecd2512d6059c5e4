//! What cluster software asks of a shared disk: reservations, COMPARE AND WRITE, OCFS2 on both hosts.
//!
//! The control is ext4 mounted twice: it must be seen to be incoherent, or the file system checks
//! could not fail.

use std::time::Duration;

use anyhow::Result;

use super::{Client, Stage, both};
use crate::lab::checks::Checks;

const OCFS2_SCRIPT: &str = include_str!("../../../../lab/scripts/ocfs2.sh");
const COUNT_SCRIPT: &str = include_str!("../../../../lab/scripts/count.sh");

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let volume = stage.volume("shared")?;
    let to_a = stage.attach(&volume, a, "rw")?;
    let to_b = stage.attach(&volume, b, "rw")?;
    let (on_a, on_b) = both(|| stage.login(a, &to_a), || stage.login(b, &to_b));
    let (on_a, on_b) = (on_a?, on_b?);
    reservations(checks, (a, &on_a), (b, &on_b))?;
    counters(checks, (a, &on_a), (b, &on_b))?;
    incoherent(checks, (a, &on_a), (b, &on_b))?;
    clustered(checks, (a, &on_a), (b, &on_b))
}

type On<'a> = (&'a Client<'a>, &'a str);

/// Write exclusive, registrants only: what fence_scsi uses, in its order.
fn reservations(checks: &mut Checks, (a, on_a): On<'_>, (b, on_b): On<'_>) -> Result<()> {
    let out = |words: &str, disk: &str| format!("sg_persist -n --out {words} {disk}");
    let write = |disk: &str| {
        format!("sg_turs {disk}; dd if=/dev/zero of={disk} oflag=direct bs=512 seek=8 count=1 2>&1")
    };
    let read = |disk: &str| format!("dd if={disk} of=/dev/null iflag=direct bs=512 count=1 2>&1");
    a.must(&out("--register-ignore --param-sark=0xa", on_a))?;
    a.must(&out("--reserve --param-rk=0xa --prout-type=5", on_a))?;
    checks.check(!b.run(&write(on_b))?.ok(), "A's reservation keeps B from writing", "it wrote");
    let seen = b.run(&read(on_b))?;
    checks.check(seen.ok(), "and lets it read", &seen.text);
    b.must(&out("--register-ignore --param-sark=0xb", on_b))?;
    b.must(&out("--preempt-abort --param-rk=0xb --param-sark=0xa --prout-type=5", on_b))?;
    checks.check(!a.run(&write(on_a))?.ok(), "B has preempted A, which cannot write", "it wrote");
    let wrote = b.run(&write(on_b))?;
    checks.check(wrote.ok(), "and B can", &wrote.text);
    b.must(&out("--clear --param-rk=0xb", on_b))?;
    a.run(&format!("sg_turs {on_a}; sg_turs {on_a}"))?;
    let wrote = a.run(&write(on_a))?;
    checks.check(wrote.ok(), "cleared, A writes again", &wrote.text);
    Ok(())
}

/// Two hosts add to one number without any lock.
fn counters(checks: &mut Checks, (a, on_a): On<'_>, (b, on_b): On<'_>) -> Result<()> {
    a.must(&format!("dd if=/dev/zero of={on_a} oflag=direct bs=512 seek=100 count=1 2>&1"))?;
    let count = |disk: &str| format!("DISK={disk} ROUNDS=15\n{COUNT_SCRIPT}");
    let (one, other) = both(|| a.run(&count(on_a)), || b.run(&count(on_b)));
    let (one, other) = (one?.text, other?.text);
    let value = a.must(&format!(
        "dd if={on_a} iflag=direct bs=512 skip=100 count=1 2>/dev/null | tr -d '\\0'"
    ))?;
    let found = format!("{value}; a: {one} b: {other}");
    checks.check(value == "30", "COMPARE AND WRITE from both: no increment is lost", &found);
    Ok(())
}

fn incoherent(checks: &mut Checks, (a, on_a): On<'_>, (b, on_b): On<'_>) -> Result<()> {
    a.must(&format!(
        "modprobe ext4; mkfs.ext4 -q -F {on_a}; mkdir -p /mnt/x; mount {on_a} /mnt/x"
    ))?;
    b.must(&format!(
        "modprobe ext4; mkdir -p /mnt/x; mount -o ro,noload {on_b} /mnt/x; ls /mnt/x"
    ))?;
    a.must("echo here >/mnt/x/file; sync")?;
    let stale = !b.run("ls /mnt/x/file 2>&1")?.ok();
    checks.check(stale, "control: of ext4 mounted twice, B does not see A's file", "it saw it");
    let (one, other) = both(|| a.must("umount /mnt/x"), || b.must("umount /mnt/x"));
    one.and(other).map(|_| ())
}

fn clustered(checks: &mut Checks, (a, on_a): On<'_>, (b, on_b): On<'_>) -> Result<()> {
    let (one, other) = both(|| a.must(OCFS2_SCRIPT), || b.must(OCFS2_SCRIPT));
    one.and(other)?;
    a.must(&format!(
        "mkfs.ocfs2 -q -F --cluster-stack=o2cb --cluster-name=lab -N 2 -b 4096 -C 4096 -J size=4M {on_a} </dev/null"
    ))?;
    let mount =
        |disk: &str| format!("blockdev --flushbufs {disk}; mount -t ocfs2 {disk} /mnt/shared 2>&1");
    let (one, other) = both(|| a.run(&mount(on_a)), || b.run(&mount(on_b)));
    let (one, other) = (one?, other?);
    checks.check(
        one.ok() && other.ok(),
        "OCFS2 is mounted on A and B at once",
        &(one.text + &other.text),
    );
    // Made by one of them: of two hosts that make one file at the same moment OCFS2 may tell one that it
    // exists (8 times of 100), and that one would count one less.
    a.must("echo 0 >/mnt/shared/n; : >/mnt/shared/lock; sync")?;
    b.must("cat /mnt/shared/n /mnt/shared/lock")?;
    let count = "set -e; for i in $(seq 20); do ( flock 9; n=$(cat /mnt/shared/n); \
                 echo $((n + 1)) >/mnt/shared/n ) 9>/mnt/shared/lock; done; echo >/mnt/shared/of-$(cat /proc/sys/kernel/hostname)";
    let (one, other) = both(|| a.must(count), || b.must(count));
    one.and(other)?;
    let value = a.must("cat /mnt/shared/n")?;
    checks.check(value == "40", "counters behind a lock of both lose nothing", &value);
    let (of_a, of_b) = (a.must("ls /mnt/shared")?, b.must("ls /mnt/shared")?);
    let seen = of_a.contains("of-b") && of_b.contains("of-a");
    checks.check(seen, "each sees the files of the other", &format!("{of_a}; {of_b}"));
    let patience = Duration::from_secs(120);
    let leave = "umount /mnt/shared 2>&1";
    let (one, other) =
        both(|| a.guest.run_for(leave, patience), || b.guest.run_for(leave, patience));
    let (one, other) = (one?, other?);
    checks.check(one.ok() && other.ok(), "and both leave it", &(one.text + &other.text));
    let fsck = a.run(&format!("fsck.ocfs2 -fn {on_a} 2>&1"))?;
    checks.check(fsck.text.contains("All passes succeeded"), "fsck finds it clean", &fsck.text);
    Ok(())
}
