//! NVMe over TCP, by the kernel's target and the kernel's initiator: both hosts write, one is put out
//! in the middle of its writes, and nothing is left.
//!
//! Controls: a host whose name alone is taken from the subsystem writes on; a frozen host that stays
//! attached overwrites; a subsystem that is only taken from its port leaves a write under way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::own::Own;
use super::{Client, Stage, both};
use crate::lab::checks::Checks;

pub const BACKEND: &str = "[backend.nvme]\nlisten = [\"10.9.0.1:4420\"]";
/// Where the kernel is told what to export.
pub const TREE: &str = "/sys/kernel/config/nvmet";
/// How long a late write is waited for.
const LATE: Duration = Duration::from_secs(3);

/// Names the clients, as `nvme gen-hostnqn` would.
pub fn named(client: &Client<'_>, last: char) -> Result<()> {
    client.must(&format!(
        "mkdir -p /etc/nvme; echo nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-00000000000{last} \
         >/etc/nvme/hostnqn; echo 00000000-0000-4000-8000-00000000000{last} >/etc/nvme/hostid"
    ))
    .map(|_| ())
}

/// Writes four letters again and again to a block. Where there is no device, none is made a file.
pub fn write(disk: &str, letters: &str, at: u32) -> String {
    format!(
        "yes {letters} | head -c 4096 | dd of={disk} oflag=direct conv=nocreat bs=4096 seek={at} count=1 iflag=fullblock 2>&1"
    )
}

pub fn read(disk: &str, at: u32) -> String {
    format!(
        "timeout 30 dd if={disk} iflag=direct bs=4096 skip={at} count=1 2>/dev/null | head -c 4"
    )
}

/// What is of ours in configfs.
pub fn left(stage: &Stage<'_>) -> Result<String> {
    stage.store.must(&format!(
        "cd {TREE}; ls subsystems hosts ports | grep -v : | tr -d '\\n'; ls subsystems"
    ))
}

/// One volume on two hosts.
pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let own = Own::set(stage.store, "nvme", 50_041, BACKEND, "nvmeof")?;
    stage.store.must("modprobe -r nvmet-tcp nvmet")?;
    for module in ["nvmet", "nvmet-tcp"] {
        let said = own.try_start()?;
        let loads = format!("modprobe {module}");
        let names = !said.ok() && said.text.contains(&loads);
        checks.check(names, &format!("without its module the start says: {loads}"), &said.text);
        stage.store.must(&loads)?;
    }
    own.start()?;
    named(a, 'a')?;
    named(b, 'b')?;
    let volume = own.volume("nvme")?;
    let attach = own.attach(&format!("attach {volume}"));
    let (on_a, on_b) = both(|| a.must(&attach), || b.must(&attach));
    let (on_a, on_b) = (on_a?, on_b?);
    checks.check(on_a.starts_with("/dev/nvme"), "osds attach makes a device on both", &on_a);
    let again = a.must(&attach)?;
    checks.check(again == on_a, "and the same one when asked again", &again);
    let wwid = |disk: &str| format!("cat /sys/block/{}/wwid", disk.trim_start_matches("/dev/"));
    let (of_a, of_b) = (a.must(&wwid(&on_a))?, b.must(&wwid(&on_b))?);
    let expected = format!("uuid.{volume}");
    let same = of_a == expected && of_b == expected;
    checks.check(same, "one name for it everywhere", &format!("{of_a} {of_b}"));
    a.must(&write(&on_a, "AAAA", 0))?;
    b.must(&write(&on_b, "BBBB", 1))?;
    let (seen_b, seen_a) = (b.must(&read(&on_b, 0))?, a.must(&read(&on_a, 1))?);
    let seen = seen_b == "AAAA" && seen_a == "BBBB";
    checks.check(seen, "each reads what the other has written", &format!("{seen_b} {seen_a}"));

    let other = own.volume("nvme-ro")?;
    let said = b.run(&own.attach(&format!("attach --read-only {other} 2>&1")))?;
    let refused = !said.ok() && said.text.contains("read");
    checks.check(refused, "read-only is refused, and not taken and forgotten", &said.text);
    let held = own.attachment(&other, "b")?;
    if let Some(held) = held {
        own.ctl(&format!("volume attachment delete {} --wait", super::id(&held)?))?;
    }
    let subsystem = stage.store.must(&format!("ls {TREE}/subsystems | grep {volume} | head -1"))?;
    let stranger = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000ff";
    let way = "-t tcp -a 10.9.0.1 -s 4420";
    let said = b.run(&format!("nvme connect {way} -n {subsystem} --hostnqn={stranger} --hostid=00000000-0000-4000-8000-0000000000ff 2>&1"))?;
    checks.check(!said.ok(), "a stranger is refused", &said.text);
    let said = b.run(&format!("nvme discover {way} --hostnqn={stranger} 2>&1"))?;
    checks.check(!said.text.contains(&volume), "and is shown nothing", &said.text);

    let wrote = a.run(&write(&on_a, "MORE", 1 << 18))?;
    checks.check(!wrote.ok(), "control: behind its end nobody writes", "A wrote");
    own.ctl(&format!("volume extend {volume} 2 --wait"))?;
    let size = |disk: &str| {
        format!(
            "for try in $(seq 100); do [ $(blockdev --getsize64 {disk}) = 2147483648 ] && exit 0; sleep 0.1; done; blockdev --getsize64 {disk}; exit 1"
        )
    };
    let (one, two) = both(|| a.run(&size(&on_a)), || b.run(&size(&on_b)));
    let (one, two) = (one?, two?);
    checks.check(one.ok() && two.ok(), "both are told that it has grown", &(one.text + &two.text));
    // In blocks of 4 KiB: the last before the old end, and the first behind it.
    let end = 1 << 18;
    b.must(&write(&on_b, "LAST", end - 1))?;
    a.must(&write(&on_a, "MORE", end))?;
    let (seen_b, seen_a) = (b.must(&read(&on_b, end))?, a.must(&read(&on_a, end - 1))?);
    let seen = seen_b == "MORE" && seen_a == "LAST";
    checks.check(seen, "behind the old end B reads what A has written", &(seen_b + &seen_a));

    drift(stage, &own, checks, (&volume, &on_a))?;

    b.must(&own.attach(&format!("detach {volume}")))?;
    let gone = b.run("ls /sys/class/nvme /sys/class/nvme-subsystem | grep nvme[0-9]; ls /dev/nvme*n* 2>/dev/null; ls /var/lib/osds/client/volumes")?;
    checks.check(
        gone.text.lines().all(str::is_empty),
        "osds detach leaves nothing on B",
        &gone.text,
    );
    let subsystems = stage.store.must(&format!("ls {TREE}/subsystems"))?;
    checks.check(subsystems.lines().count() == 1, "nor of B in configfs", &subsystems);
    let seen = a.must(&read(&on_a, 1))?;
    checks.check(seen == "BBBB", "A reads on", &seen);
    a.must(&own.attach(&format!("detach {volume}")))?;
    let left = left(stage)?;
    checks.check(left.is_empty(), "and with A nothing is left in configfs", &left);
    for volume in [volume, other] {
        own.ctl(&format!("volume delete {volume} --wait"))?;
    }
    own.clear()
}

/// The daemon is killed, and somebody turns a namespace off by hand.
fn drift(
    stage: &Stage<'_>,
    own: &Own<'_>,
    checks: &mut Checks,
    (volume, on_a): (&str, &str),
) -> Result<()> {
    let a = &stage.a;
    own.kill()?;
    a.must(&write(on_a, "CCCC", 2))?;
    checks.check(true, "with the daemon killed, hosts write on", "");
    own.start()?;
    let host = own.host("a")?;
    let enable = format!("{TREE}/subsystems/*{volume}.{host}/namespaces/1/enable");
    let at = stage
        .store
        .must(&format!("ls -d --time-style=full-iso -l {enable} | tr -s ' ' | cut -d' ' -f6-"))?;
    checks.check(!at.is_empty(), "and its next life finds what was there", &at);
    stage.store.must(&format!("echo 0 >{enable}"))?;
    let healed = stage.store.run(&format!(
        "for try in $(seq 300); do grep -q 1 {enable} 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
    ))?;
    checks.check(healed.ok(), "a namespace that somebody turned off is turned on", &healed.text);
    let back = a.run(&format!(
        "for try in $(seq 300); do [ \"$({})\" = CCCC ] && exit 0; sleep 0.1; done; exit 1",
        read(on_a, 2)
    ))?;
    checks.check(back.ok(), "and A reads what it wrote, on the same device", &back.text);
    Ok(())
}

/// A host is frozen in the middle of its writes and put out; then one with a write under way.
pub fn fence(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    stage.store.must("modprobe -a nvmet nvmet-tcp loop dm-delay")?;
    let own = Own::set(stage.store, "nvmefence", 50_042, BACKEND, "nvmeof")?;
    // Storage whose writes can be made to take 3 s.
    stage.store.must(
        "set -e; truncate -s 2G /pool/slow.img; loop=$(losetup -f --show /pool/slow.img)\n\
         dmsetup create slow-nvme --table \"0 $(blockdev --getsz $loop) delay $loop 0 0\"\n\
         mkfs.ext4 -q -F /dev/mapper/slow-nvme; mkdir -p /pool/nvmefence/volumes; mount /dev/mapper/slow-nvme /pool/nvmefence/volumes",
    )?;
    own.start()?;
    named(a, 'a')?;
    named(b, 'b')?;
    let volume = own.volume("fence")?;
    let attach = own.attach(&format!("attach {volume}"));
    let (on_a, on_b) = both(|| a.must(&attach), || b.must(&attach));
    let (on_a, on_b) = (on_a?, on_b?);
    let writes = format!(
        "yes BBBB | head -c 65536 >/tmp/b; for one in 1 2 3 4; do setsid sh -c \
         'while dd if=/tmp/b of={on_b} oflag=direct conv=nocreat bs=65536 count=1 2>/dev/null; do :; done' \
         >/dev/null 2>&1 </dev/null & done"
    );
    let mark = format!(
        "yes MARK | head -c 65536 >/tmp/m; dd if=/tmp/m of={on_a} oflag=direct bs=65536 2>/dev/null"
    );
    let stays = format!("dd if={on_a} iflag=direct bs=65536 count=1 2>/dev/null | cmp - /tmp/m");
    let wait = || std::thread::sleep(LATE);
    let host = own.host("b")?;
    let subsystem = stage.store.must(&format!("ls {TREE}/subsystems | grep {volume}.{host}"))?;
    let allowed = format!("{TREE}/subsystems/{subsystem}/allowed_hosts");

    b.must(&writes)?;
    wait();
    b.guest.freeze()?;
    // The dock would mend it; it is asked to look away.
    stage.store.must(&format!("kill -STOP $(cat /pool/nvmefence/pid); name=$(ls {allowed}); echo $name >/tmp/name; rm {allowed}/$name"))?;
    a.must(&mark)?;
    b.guest.thaw()?;
    wait();
    let overwritten = !a.run(&stays)?.ok();
    checks.check(
        overwritten,
        "control: a host whose name is taken from the subsystem writes on",
        "A's mark stayed",
    );
    stage.store.must(&format!("ln -s {TREE}/hosts/$(cat /tmp/name) {allowed}/$(cat /tmp/name); kill -CONT $(cat /pool/nvmefence/pid)"))?;

    b.guest.freeze()?;
    let attachment = own.attachment(&volume, "b")?.context("B has an attachment")?;
    let begun = Instant::now();
    own.ctl(&format!("volume attachment delete {} --wait", super::id(&attachment)?))?;
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
    // Its kernel holds I/O back and asks for the namespace again, until it is told to give up.
    b.must(&format!(
        "setsid sh -c 'dd if={on_b} of=/tmp/read iflag=direct bs=512 count=1 2>/tmp/said; echo $? >/tmp/read-ended' \
         >/dev/null 2>&1 </dev/null &"
    ))?;
    wait();
    let said = b.run("[ -e /tmp/read-ended ] && grep -q ^0 /tmp/read-ended")?;
    checks.check(!said.ok(), "B can no longer read", "it read");
    let begun = Instant::now();
    b.must(&own.attach(&format!("detach {volume}")))?;
    let took = begun.elapsed().as_secs_f32();
    let gone = b.run(
        "ls /sys/class/nvme | grep nvme[0-9]; ls /dev/nvme*n* 2>/dev/null\n\
         for try in $(seq 100); do [ -e /tmp/read-ended ] && exec grep ^0 /tmp/read-ended; sleep 0.1; done; echo it still reads",
    )?;
    let what =
        format!("its detach clears away what was left in {took:.1} s, and what waited has failed");
    checks.check(gone.text.trim().is_empty(), &what, &gone.text);

    under_way(stage, &own, checks, &volume)?;
    a.must(&own.attach(&format!("detach {volume}")))?;
    own.ctl(&format!("volume delete {volume} --wait"))?;
    let left = left(stage)?;
    checks.check(left.is_empty(), "nothing is left in configfs", &left);
    let home = "/pool/nvmefence";
    stage.store.must(&format!("kill -9 $(cat {home}/pid); sleep 0.5; umount {home}/volumes; dmsetup remove slow-nvme; losetup -D; rm -rf {home} /pool/slow.img")).map(|_| ())
}

/// A write that takes 3 s when the host is put out.
fn under_way(stage: &Stage<'_>, own: &Own<'_>, checks: &mut Checks, volume: &str) -> Result<()> {
    let b = &stage.b;
    let file =
        stage.store.must(&format!("find /pool/nvmefence/volumes -type f -name '*{volume}*'"))?;
    let peek = |at: u32| stage.store.must(&read(&file, at));
    let slow = |ms: u32| {
        stage.store.must(&format!(
            "loop=$(losetup -n -O NAME -j /pool/slow.img); size=$(blockdev --getsz /dev/mapper/slow-nvme)\n\
             dmsetup reload slow-nvme --table \"0 $size delay $loop 0 0 $loop 0 {ms}\" && dmsetup suspend slow-nvme && dmsetup resume slow-nvme"
        ))
    };
    for (at, letters) in [(8, "HIDE"), (9, "KEPT")] {
        let disk = b.must(&own.attach(&format!("attach {volume}")))?;
        // The blocks are there before: only the write itself is slow.
        b.must(&write(&disk, "0000", at))?;
        stage.store.must("sync")?;
        slow(3000)?;
        b.must(&format!(
            "setsid sh -c '{}' >/dev/null 2>&1 </dev/null &",
            write(&disk, letters, at).replace('\'', "")
        ))?;
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        let host = own.host("b")?;
        if letters == "HIDE" {
            stage.store.must(&format!("kill -STOP $(cat /pool/nvmefence/pid); rm {TREE}/ports/*/subsystems/*{volume}.{host}"))?;
        } else {
            let held = own.attachment(volume, "b")?.context("B has an attachment")?;
            own.ctl(&format!("volume attachment delete {} --wait", super::id(&held)?))?;
        }
        let took = begun.elapsed().as_secs_f32();
        let at_once = peek(at)?;
        std::thread::sleep(2 * LATE);
        let later = peek(at)?;
        let found = format!("at once {at_once}, later {later}");
        slow(0)?;
        if letters == "HIDE" {
            let lands = at_once == "0000" && later == letters;
            checks.check(
                lands,
                &format!(
                    "control: taken from the port ({took:.1} s), a write under way lands later"
                ),
                &found,
            );
            stage.store.must("kill -CONT $(cat /pool/nvmefence/pid)")?;
        } else {
            let lands = at_once == letters && later == letters;
            checks.check(
                lands,
                &format!(
                    "a write under way is on disk before the detach is confirmed ({took:.1} s)"
                ),
                &found,
            );
        }
        b.must(&own.attach(&format!("detach {volume}")))?;
    }
    Ok(())
}
