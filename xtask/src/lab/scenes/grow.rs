//! A volume grows while two hosts have it: both see it once they have looked again, and what is
//! written behind the old end is on the disk.
//!
//! The controls: behind its end nobody writes, before it has grown, and before the host has looked.

use anyhow::Result;

use super::{Stage, both};
use crate::lab::checks::Checks;

const GIB: u64 = 1 << 30;
/// Of what is written and read at once.
const BLOCK: u64 = 4096;

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let volume = stage.volume("grow")?;
    let (to_a, to_b) = (stage.attach(&volume, a, "rw")?, stage.attach(&volume, b, "ro")?);
    let (on_a, on_b) = both(|| stage.login(a, &to_a), || stage.login(b, &to_b));
    let (on_a, on_b) = (on_a?, on_b?);
    let write = |letters: &str, at: u64| {
        format!(
            "yes {letters} | head -c {BLOCK} >/tmp/w; \
             dd if=/tmp/w of={on_a} oflag=direct bs={BLOCK} seek={at} count=1 2>&1"
        )
    };
    let read = |at: u64| {
        format!("dd if={on_b} iflag=direct bs={BLOCK} skip={at} count=1 2>/dev/null | head -c 4")
    };
    let size = |disk: &str| format!("blockdev --getsize64 {disk}");
    let end = GIB / BLOCK;
    a.must(&write("LAST", end - 1))?;
    let wrote = a.run(&write("MORE", end))?;
    checks.check(!wrote.ok(), "control: behind its end nobody writes", "A wrote");

    stage.ctl(&format!("volume extend {volume} 2 --wait"))?;
    let sizes = [a.must(&size(&on_a))?, b.must(&size(&on_b))?];
    let old = sizes.iter().all(|size| *size == GIB.to_string());
    checks.check(old, "control: who has not looked again sees the old size", &sizes.join(" "));
    let rescan = |disk: &str| {
        format!(
            "iscsiadm -m session --rescan >/dev/null 2>&1\nfor try in $(seq 100); do \
             [ $(blockdev --getsize64 {disk}) = {} ] && break; sleep 0.1; done; {}",
            2 * GIB,
            size(disk)
        )
    };
    let (of_a, of_b) = both(|| a.must(&rescan(&on_a)), || b.must(&rescan(&on_b)));
    let sizes = [of_a?, of_b?];
    let new = sizes.iter().all(|size| *size == (2 * GIB).to_string());
    checks.check(new, "after a rescan both see 2 GiB", &sizes.join(" "));

    let zeros = b.run(&format!(
        "dd if={on_b} iflag=direct bs=1M skip=1024 count=16 2>/dev/null | cmp -n 16777216 - /dev/zero"
    ))?;
    checks.check(zeros.ok(), "what was added reads zeros", &zeros.text);
    let mut seen = String::new();
    for (letters, at) in [("MORE", end), ("VERY", 2 * end - 1)] {
        a.must(&write(letters, at))?;
        seen += &b.must(&read(at))?;
    }
    checks.check(seen == "MOREVERY", "B reads what A writes there, to the last block", &seen);
    let kept = b.must(&read(end - 1))?;
    checks.check(kept == "LAST", "and what was at the old end before", &kept);
    let is_read_only = b.must(&format!("blockdev --getro {on_b}"))?;
    checks.check(is_read_only == "1", "B's disk has stayed read-only", &is_read_only);
    Ok(())
}
