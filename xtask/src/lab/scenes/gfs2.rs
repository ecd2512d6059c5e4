//! GFS2 on two hosts: a writer, and a spectator whose attachment the target holds to reading.
//!
//! OCFS2 cannot mount such a disk. The control is the spectator itself: what it reads changes with
//! what the writer does, and its own writes are refused by the disk and by the file system.

use std::time::Duration;

use anyhow::Result;

use super::{Stage, both};
use crate::lab::checks::Checks;

const GFS2_SCRIPT: &str = include_str!("../../../../lab/scripts/gfs2.sh");

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let volume = stage.volume("gfs2")?;
    let (to_a, to_b) = (stage.attach(&volume, a, "rw")?, stage.attach(&volume, b, "ro")?);
    let (on_a, on_b) = both(|| stage.login(a, &to_a), || stage.login(b, &to_b));
    let (on_a, on_b) = (on_a?, on_b?);
    let (one, other) = both(|| a.must(GFS2_SCRIPT), || b.must(GFS2_SCRIPT));
    one.and(other)?;
    checks.say("corosync and dlm_controld run on both");
    a.must(&format!("mkfs.gfs2 -q -O -p lock_dlm -t lab:shared -j 2 -J 8 {on_a} 2>&1"))?;
    a.must(&format!("mount -t gfs2 {on_a} /mnt/g 2>&1"))?;
    let mounted = b.run(&format!(
        "blockdev --flushbufs {on_b}; mount -t gfs2 -o ro,spectator {on_b} /mnt/g 2>&1"
    ))?;
    checks.check(mounted.ok(), "a read-only attachment is mounted as a spectator", &mounted.text);
    a.must("echo one >/mnt/g/file")?;
    let seen = b.run("cat /mnt/g/file 2>&1")?;
    checks.check(seen.text.trim() == "one", "the spectator sees the writer's file", &seen.text);
    a.must("echo two >/mnt/g/file")?;
    let seen = b.run("cat /mnt/g/file 2>&1")?;
    checks.check(seen.text.trim() == "two", "and what it is changed to, at once", &seen.text);
    let wrote = b.run("echo no >/mnt/g/file")?;
    checks.check(!wrote.ok(), "it cannot write into the file system", &wrote.text);
    let wrote = b.run(&format!("dd if=/dev/zero of={on_b} bs=4096 count=1 oflag=direct 2>&1"))?;
    checks.check(!wrote.ok(), "nor to the disk", &wrote.text);
    let patience = Duration::from_secs(120);
    let left = b.guest.run_for("umount /mnt/g 2>&1", patience)?;
    checks.check(left.ok(), "the spectator leaves", &left.text);
    a.must("umount /mnt/g")?;
    let fsck = a.run(&format!("fsck.gfs2 -n {on_a} 2>&1"))?;
    checks.check(fsck.ok(), "and fsck finds it clean", &fsck.text);
    let end =
        "dlm_tool leave shared 2>/dev/null; kill $(pgrep dlm_controld) $(pgrep corosync); true";
    let (one, other) = both(|| a.must(end), || b.must(end));
    one.and(other).map(|_| ())
}
