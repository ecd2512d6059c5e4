//! One volume, A read-write, B read-only: what the two kernels make of it.
//!
//! The control is B itself: the write that the target refuses while B is read-only goes through once
//! B has detached and attached again read-write.

use anyhow::Result;

use super::{Stage, both};
use crate::lab::checks::Checks;

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let volume = stage.volume("disk")?;
    let to_a = stage.attach(&volume, a, "rw")?;
    let to_b = stage.attach(&volume, b, "ro")?;
    let (on_a, on_b) = both(|| stage.login(a, &to_a), || stage.login(b, &to_b));
    let (on_a, on_b) = (on_a?, on_b?);
    checks.check(true, "both kernels have the disk", "");

    let wwid =
        |disk: &str| format!("cat /sys/block/{}/device/wwid", disk.trim_start_matches("/dev/"));
    let (of_a, of_b) = (a.must(&wwid(&on_a))?, b.must(&wwid(&on_b))?);
    // The volume's id with its first digit made a 6 (NAA 6).
    let expected = format!("naa.6{}", &volume.replace('-', "")[1..]);
    let same = of_a == expected && of_b == expected;
    checks.check(
        same,
        &format!("one name for it everywhere: {expected}"),
        &format!("{of_a} {of_b}"),
    );

    let ro = |disk: &str| format!("blockdev --getro {disk}");
    checks.check(a.must(&ro(&on_a))? == "0", "A's kernel sees a disk it may write", "");
    checks.check(b.must(&ro(&on_b))? == "1", "B's kernel sees a read-only disk", "");

    a.must(&format!(
        "yes AAAA | head -c 4096 | dd of={on_a} oflag=direct bs=4096 iflag=fullblock 2>&1"
    ))?;
    let read =
        |disk: &str| format!("dd if={disk} iflag=direct bs=4096 count=1 2>/dev/null | head -c 4");
    let seen = b.must(&read(&on_b))?;
    checks.check(seen == "AAAA", "B reads what A has written", &seen);

    // Past the kernel's own refusal, straight to the target.
    let raw = format!(
        "yes BBBB | head -c 512 >/tmp/b; sg_raw -s 512 -i /tmp/b /dev/$(ls /sys/block/{}/device/scsi_generic) \
         2a 00 00 00 00 00 00 00 01 00 2>&1",
        on_b.trim_start_matches("/dev/")
    );
    let refused = b.run(&raw)?;
    let by_target = !refused.ok() && refused.text.contains("Write protected");
    checks.check(by_target, "a raw SCSI WRITE of B is refused by the target", &refused.text);
    let seen = a.must(&read(&on_a))?;
    checks.check(seen == "AAAA", "and has changed nothing", &seen);

    // Discovery shows a host its own targets; the same machine under a name that nobody knows, none.
    let discover = format!("iscsiadm -m discovery -t sendtargets -p {} 2>&1", to_b.portal);
    let listed = b.must(&discover)?;
    checks.check(listed.contains(&to_b.target), "B is shown its target", &listed);
    b.must(
        "iscsiadm -m iface -I other -o new && iscsiadm -m iface -I other -o update \
         -n iface.initiatorname -v iqn.2026-11.lab:stranger",
    )?;
    let listed = b.run(&format!("{discover} -I other"))?;
    checks.check(!listed.text.contains(&to_b.target), "a stranger is not", &listed.text);
    b.must("iscsiadm -m iface -I other -o delete")?;

    stage.logout(b)?;
    stage.detach(&to_b)?;
    let to_b = stage.attach(&volume, b, "rw")?;
    let on_b = stage.login(b, &to_b)?;
    checks.check(b.must(&ro(&on_b))? == "0", "B becomes a writer by detach and attach", "");
    b.must(&format!("dd if=/tmp/b of={on_b} oflag=direct bs=512 count=1 2>&1"))?;
    let seen = a.must(&read(&on_a))?;
    checks.check(seen == "BBBB", "A reads what B has written", &seen);
    Ok(())
}
