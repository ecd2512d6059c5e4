//! osds is killed (SIGKILL) again and again while it lets a host in and puts it out, each time a little
//! later: it always gets to where it was told to, and nothing is left in the kernel.
//!
//! The control: some of the kills came in the middle, and the kernel had half of it.

use std::time::Duration;

use anyhow::Result;

use super::{DAEMON_SCRIPT, Stage, id};
use crate::lab::checks::Checks;

/// Kills while a host is let in, and as many while it is put out.
const ROUNDS: u32 = 6;

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let a = &stage.a;
    let volume = stage.volume("killed")?;
    let (mut halves, mut bad) = (0, Vec::new());
    for round in 0..ROUNDS {
        let delay = Duration::from_millis(20 + 110 * u64::from(round));
        let host = &a.id;
        let attach = format!("volume attachment create {volume} {host} --attach-mode rw");
        halves += killed(stage, &attach, delay)?;
        let attachments = stage.ctl("volume attachment list")?;
        // Killed before it was written down: nobody was told that it would be.
        let way = match super::rows(&attachments).first() {
            Some(attachment) => stage.shown(&id(attachment)?, true)?,
            None => stage.attach(&volume, a, "rw")?,
        };
        let disk = stage.login(a, &way);
        match &disk {
            Ok(disk) => drop(a.must(&format!("dd if={disk} of=/dev/null bs=4096 count=1 2>&1"))?),
            Err(error) => bad.push(format!("{delay:?}: {error:#}")),
        }
        stage.logout(a)?;
        let detach = format!("volume attachment delete {}", way.attachment);
        halves += killed(stage, &detach, delay)?;
        stage.ctl(&format!("volume attachment delete {} --wait", way.attachment)).ok();
        let left = super::in_kernel(stage.store)?;
        if !left.is_empty() {
            bad.push(format!("{delay:?}: {left}"));
        }
    }
    checks.check(
        bad.is_empty(),
        &format!("killed {} times, it converges each time, and leaves nothing behind", 2 * ROUNDS),
        &bad.join("; "),
    );
    checks.check(
        halves > 0,
        &format!("control: {halves} of the kills left the kernel with a part of it"),
        "every kill came before the first call or after the last",
    );
    Ok(())
}

/// Asks for something, kills the daemon a moment later, and starts it again. Whether the kernel had
/// something else then than before and than in the end.
fn killed(stage: &Stage<'_>, words: &str, delay: Duration) -> Result<u32> {
    let picture = "find /sys/kernel/config/target/core /sys/kernel/config/target/iscsi \
                   -maxdepth 6 2>/dev/null | sort | cksum";
    let seconds = delay.as_secs_f32();
    let script = format!(
        "before=$({picture}); export OPENSDS_ENDPOINT=http://10.9.0.1:50040 OPENSDS_AUTH_STRATEGY=noauth\n\
         /host/osdsctl {words} >/dev/null 2>&1 &\n\
         for try in $(seq 200); do [ \"$({picture})\" != \"$before\" ] && break; done\n\
         sleep {seconds}; kill -9 $(cat /run/osds.pid); {picture}"
    );
    let at_kill = stage.store.must(&script)?;
    stage.store.must(DAEMON_SCRIPT)?;
    let settled = stage.store.must(&format!("sleep 3; {picture}"))?;
    Ok(u32::from(at_kill.lines().last() != settled.lines().last()))
}
