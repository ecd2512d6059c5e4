//! `osds attach` and `osds detach` on a client, by its own open-iscsi and multipath-tools.
//!
//! Through two portals of the built-in target: one session and a plain disk where no multipathd runs,
//! two sessions and a map where one does. The control: a disk that calls itself by another volume's
//! name is refused, whatever its number.

use anyhow::{Context, Result};

use super::own::Own;
use super::{Client, Stage, both};
use crate::lab::checks::Checks;

const LIE_SCRIPT: &str = include_str!("../../../../lab/scripts/lie.sh");
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
pub const LEFT: &str = "ls /sys/class/iscsi_session 2>/dev/null; ls /etc/iscsi/nodes /var/lib/iscsi/nodes 2>/dev/null \
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
    another(&own, checks, a, &volume)?;
    multipath(&own, checks, a, &volume)?;
    own.ctl(&format!("volume delete {volume} --wait"))?;
    own.clear()
}

/// An API that gives the way to one volume for the way to another: the disk itself tells.
fn another(own: &Own<'_>, checks: &mut Checks, client: &Client<'_>, volume: &str) -> Result<()> {
    let host = own.host(client.guest.name)?;
    let words = format!("volume attachment create {volume} {host} --attach-mode rw --wait");
    let attachment = super::id(&own.ctl(&words)?)?;
    let mut shown = own.ctl(&format!("--show-secrets volume attachment show {attachment}"))?;
    let mut lie = volume.to_owned();
    let last = if lie.ends_with('d') { 'e' } else { 'd' };
    lie.pop();
    lie.push(last);
    shown["volumeId"] = lie.clone().into();
    let hosts = own.ctl("host list")?;
    client.must(&format!(
        "cat >/tmp/lie.sh <<'SH'\n{LIE_SCRIPT}\nSH\nchmod +x /tmp/lie.sh\n\
         cat >/tmp/lie-attachment.json <<'J'\n{shown}\nJ\ncat >/tmp/lie-hosts.json <<'J'\n{hosts}\nJ\n\
         echo '{{\"code\":404,\"message\":\"gone\"}}' >/tmp/lie-gone.json\n\
         setsid busybox nc -ll -p 50099 -e /tmp/lie.sh >/tmp/lie.log 2>&1 </dev/null & echo $! >/tmp/lie.pid; sleep 0.5"
    ))?;
    let osds = |words: &str| {
        format!(
            "OPENSDS_AUTH_STRATEGY=noauth /host/osds {words} {lie} --osds-endpoint http://127.0.0.1:50099 2>&1"
        )
    };
    let said = client.run(&osds("attach"))?;
    let refused = !said.ok() && said.text.contains("it is not touched");
    checks.check(refused, "a disk that calls itself by another name is refused", &said.text);
    client.must(&osds("detach"))?;
    let left = client.must(LEFT)?;
    checks.check(left.is_empty(), "and detached without a trace", &left);
    client.must("kill $(cat /tmp/lie.pid)")?;
    own.ctl(&format!("volume attachment delete {attachment} --wait")).map(|_| ())
}

/// Starts multipathd on a client.
pub fn multipathd(client: &Client<'_>) -> Result<()> {
    client.must(
        "printf 'defaults {\\n find_multipaths no\\n user_friendly_names no\\n polling_interval 1\\n}\\nblacklist {\\n devnode \"^vd\"\\n}\\n' >/etc/multipath.conf\n\
         mkdir -p /etc/multipath /run/multipathd; modprobe -a dm-multipath dm-service-time dm-round-robin\n\
         setsid multipathd -d >/tmp/multipathd.log 2>&1 </dev/null &\n\
         for try in $(seq 200); do multipathd show daemon 2>/dev/null | grep -q idle && exit 0; sleep 0.1; done; cat /tmp/multipathd.log; exit 1",
    )
    .map(|_| ())
}

/// Two portals and a multipathd.
fn multipath(own: &Own<'_>, checks: &mut Checks, client: &Client<'_>, volume: &str) -> Result<()> {
    multipathd(client)?;
    let on = client.must(&own.attach(&format!("attach {volume}")))?;
    checks.check(on.starts_with("/dev/dm-"), "with multipathd the map is the device", &on);
    let paths = client.must("ls /sys/class/iscsi_session | wc -l; multipath -ll 2>/dev/null")?;
    checks.check(paths.starts_with('2'), "over a session at each portal", &paths);
    client.must(&format!(
        "yes MANY | head -c 4096 | dd of={on} oflag=direct bs=4096 iflag=fullblock 2>&1"
    ))?;
    let first = client.must("ls -d /sys/class/iscsi_session/session* | head -1")?;
    let sid = first.rsplit("session").next().context("a session's number")?.to_owned();
    let cut = format!(
        "iscsiadm -m session -r {sid} -u >/dev/null 2>&1; dd if={on} iflag=direct bs=4096 count=1 2>/dev/null | head -c 4"
    );
    let seen = client.must(&cut)?;
    checks.check(seen == "MANY", "with one session gone the map goes on", &seen);
    let on = client.must(&own.attach(&format!("attach {volume}")))?;
    let paths = client.must("ls /sys/class/iscsi_session | wc -l")?;
    checks.check(
        on.starts_with("/dev/dm-") && paths == "2",
        "and asked again, there are two",
        &paths,
    );
    client.must(&own.attach(&format!("detach {volume}")))?;
    let left = client.must(LEFT)?;
    checks.check(
        left.is_empty(),
        "osds detach leaves no map, session, record, disk or note",
        &left,
    );
    client.must("kill $(pgrep multipathd)").map(|_| ())
}
