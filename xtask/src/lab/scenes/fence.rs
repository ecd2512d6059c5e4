//! A host is frozen in the middle of its writes, put out, and let go on: none of its writes lands.
//!
//! The control comes first: the same host, frozen and let go on while it is still attached, does
//! overwrite what A wrote meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Stage, both};
use crate::lab::checks::Checks;

/// How long a late write is waited for.
const LATE: Duration = Duration::from_secs(3);

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let volume = stage.volume("fence")?;
    let (to_a, to_b) = (stage.attach(&volume, a, "rw")?, stage.attach(&volume, b, "rw")?);
    let (on_a, on_b) = both(|| stage.login(a, &to_a), || stage.login(b, &to_b));
    let (on_a, on_b) = (on_a?, on_b?);
    b.must(&format!(
        "yes BBBB | head -c 65536 >/tmp/b; for one in 1 2 3 4; do setsid sh -c \
         'while dd if=/tmp/b of={on_b} oflag=direct conv=nocreat bs=65536 count=1 2>/dev/null; do :; done' \
         >/dev/null 2>&1 </dev/null & done"
    ))?;
    let mark = format!(
        "yes MARK | head -c 65536 >/tmp/m; dd if=/tmp/m of={on_a} oflag=direct bs=65536 2>/dev/null"
    );
    let stays = format!("dd if={on_a} iflag=direct bs=65536 count=1 2>/dev/null | cmp - /tmp/m");
    let wait = || std::thread::sleep(LATE);
    wait();

    b.guest.freeze()?;
    a.must(&mark)?;
    b.guest.thaw()?;
    wait();
    let overwritten = !a.run(&stays)?.ok();
    checks.check(
        overwritten,
        "control: a frozen host that stays attached writes on",
        "A's mark stayed",
    );

    b.guest.freeze()?;
    let begun = Instant::now();
    stage.detach(&to_b)?;
    let took = begun.elapsed().as_secs_f32();
    a.must(&mark)?;
    b.guest.thaw()?;
    wait();
    let kept = a.run(&stays)?;
    checks.check(
        kept.ok(),
        &format!("frozen B is put out in {took:.1} s, and no write of it lands"),
        &kept.text,
    );
    // Its kernel gives the session up after 5 s.
    std::thread::sleep(2 * LATE);
    let read = format!("timeout 60 dd if={on_b} of=/dev/null iflag=direct bs=512 count=1 2>&1");
    checks.check(!b.run(&read)?.ok(), "B can no longer read", "it read");
    stage.logout(b)?;
    let again = b.run(&super::login_script(b, &to_b))?;
    checks.check(!again.ok(), "B cannot log in again", &again.text);
    let kept = a.run(&stays)?;
    checks.check(kept.ok(), "A reads what it wrote, undisturbed", &kept.text);
    Ok(())
}
