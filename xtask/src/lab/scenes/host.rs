//! `osds attach` and `osds detach` on a client, by its own open-iscsi.
//!
//! Two portals of the built-in target, and no multipathd: one session and a plain disk, that reads
//! only where the attachment does. The control is the writer beside the reader.

use anyhow::Result;

use super::own::Own;
use super::{Client, Stage, both};
use crate::lab::checks::Checks;

const BACKEND: &str = "[backend.iscsi]\nlisten = [\"10.9.0.1:3261\", \"10.9.1.1:3261\"]";

/// A second address, and open-iscsi as a distribution would have it.
pub fn ready(client: &Client<'_>, last: u8) -> Result<()> {
    let iqn = &client.iqn;
    client.must(&format!(
        "ip addr add 10.9.1.{last}/24 dev $(ls /sys/class/net | grep ^e) 2>/dev/null\n\
         mkdir -p /etc/iscsi /run/lock/iscsi /var/lib/iscsi\n\
         echo InitiatorName={iqn} >/etc/iscsi/initiatorname.iscsi\n\
         pgrep iscsid >/dev/null || {{ setsid iscsid -f >/tmp/iscsid.log 2>&1 </dev/null & }}\n\
         for try in $(seq 100); do grep -q ISCSIADM /proc/net/unix && exit 0; sleep 0.1; done; exit 1"
    ))
    .map(|_| ())
}

/// Sessions, records, disks, maps and notes on a client.
const LEFT: &str = "ls /sys/class/iscsi_session 2>/dev/null; ls /etc/iscsi/nodes /var/lib/iscsi/nodes 2>/dev/null \
    | grep iqn; ls /sys/block | grep -e ^sd -e ^dm; ls /var/lib/osds/client/volumes; true";

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    stage
        .store
        .must("ip addr add 10.9.1.1/24 dev $(ls /sys/class/net | grep ^e) 2>/dev/null; true")?;
    ready(a, 2)?;
    ready(b, 3)?;
    let own = Own::set(stage.store, "host", 50_043, BACKEND, "iscsi")?;
    own.start()?;
    let volume = own.volume("host")?;
    let (attach, read) = (format!("attach {volume}"), format!("attach --read-only {volume}"));
    let (on_a, on_b) = both(|| a.must(&own.attach(&attach)), || b.must(&own.attach(&read)));
    let (on_a, on_b) = (on_a?, on_b?);
    let disks = on_a.starts_with("/dev/sd") && on_b.starts_with("/dev/sd");
    checks.check(disks, "osds attach logs in and says the disk", &format!("{on_a} {on_b}"));
    let again = a.must(&own.attach(&attach))?;
    checks.check(again == on_a, "and the same one when asked again", &again);
    let sessions = a.must("ls /sys/class/iscsi_session | wc -l")?;
    checks.check(
        sessions == "1",
        "one session without multipathd, though there are two portals",
        &sessions,
    );
    let ro = |disk: &str| format!("blockdev --getro {disk}");
    let (of_a, of_b) = (a.must(&ro(&on_a))?, b.must(&ro(&on_b))?);
    checks.check(
        of_a == "0" && of_b == "1",
        "BLKROGET: A's disk takes writes, B's does not",
        &format!("{of_a} {of_b}"),
    );
    a.must(&format!(
        "yes HOST | head -c 4096 | dd of={on_a} oflag=direct bs=4096 iflag=fullblock 2>&1"
    ))?;
    let seen =
        b.must(&format!("dd if={on_b} iflag=direct bs=4096 count=1 2>/dev/null | head -c 4"))?;
    checks.check(seen == "HOST", "B reads what A has written", &seen);
    let wrote = b.run(&format!("dd if=/dev/zero of={on_b} oflag=direct bs=4096 count=1 2>&1"))?;
    checks.check(!wrote.ok(), "B cannot write", &wrote.text);
    let records =
        a.must("find /etc/iscsi/nodes /var/lib/iscsi/nodes -type f -perm /077 2>/dev/null; true")?;
    checks.check(records.is_empty(), "node records are root's only", &records);
    a.must(&format!(
        "modprobe ext4; mkfs.ext4 -q -F {on_a} && mkdir -p /mnt/h && mount {on_a} /mnt/h"
    ))?;
    let said = a.run(&own.attach(&format!("detach {volume} 2>&1")))?;
    checks.check(
        !said.ok() && said.text.contains("/mnt/h"),
        "a mounted disk is not detached",
        &said.text,
    );
    a.must("umount /mnt/h")?;
    for client in [a, b] {
        client.must(&own.attach(&format!("detach {volume}")))?;
        let left = client.must(LEFT)?;
        checks.check(left.is_empty(), "osds detach leaves no session, record, disk or note", &left);
    }
    own.ctl(&format!("volume delete {volume} --wait"))?;
    own.clear()
}
