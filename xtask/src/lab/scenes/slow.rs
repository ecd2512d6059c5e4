//! A write that is under way at the moment of the detach, on storage that takes its time (dm-delay):
//! it is on the disk before the detach is confirmed.
//!
//! The control: while it was under way it was not on the disk, so it is the detach that has waited.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{SLOW_SCRIPT, Stage};
use crate::lab::checks::Checks;

/// How long each write of the disk takes; a detach that waits for more than ten seconds is a fault.
const DELAY: Duration = Duration::from_secs(3);

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let b = &stage.b;
    let ask = |what: &str| format!("DO={what} DELAY={}\n{SLOW_SCRIPT}", DELAY.as_millis());
    let volume = stage.volume_in(stage.on.slow_zone(), "slow")?;
    let to_b = stage.attach(&volume, b, "rw")?;
    let on_b = stage.login(b, &to_b)?;
    let write = |word: &str| {
        format!(
            "yes {word} | head -c 4096 >/tmp/w; \
             timeout 100 dd if=/tmp/w of={on_b} oflag=direct,dsync bs=4096 count=1 2>&1"
        )
    };
    // The file has its blocks by then, and only these are written later.
    b.must(&write("OLD"))?;
    let block = stage.store.must(&format!("VOLUME={volume}\n{}", ask("where")))?;
    let on_disk = || stage.store.must(&format!("BLOCK={block}\n{}", ask("peek")));
    let seen = on_disk()?;
    ensure!(seen == "OLD", "the disk behind the file was not found: {seen}");
    stage.store.must(&ask("delay"))?;
    let (before, took, after) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| b.guest.run(&write("NEW")));
        let result = (|| {
            let until = Instant::now() + DELAY * 10;
            // The disk is busy with it: that it has come so far, and no farther.
            while stage.store.must(&ask("busy"))? == "0" {
                ensure!(Instant::now() < until, "no write came");
            }
            let (before, begun) = (on_disk()?, Instant::now());
            stage.detach(&to_b)?;
            Ok((before, begun.elapsed(), on_disk()?))
        })();
        stage.store.must(&ask("undelay")).ok();
        drop(writer.join());
        result
    })?;
    checks.check(before == "OLD", "control: the write was not on the disk yet", &before);
    checks.check(
        after == "NEW",
        &format!("it is, when the detach is confirmed ({:.1} s)", took.as_secs_f32()),
        &after,
    );
    stage.logout(b).context("logging out")?;
    Ok(())
}
