//! Targets that listen on an IPv4 and on an IPv6 address: one volume over both.
//!
//! B has no multipathd and takes the portal that is named first, the IPv6 one; A has one and takes
//! both. The control: a target that listens on IPv4 alone is not reached over IPv6.

use anyhow::{Context, Result};

use super::own::Own;
use super::{Client, Stage, both, host, nvme};
use crate::lab::checks::Checks;

const V6: &str = "fd09::1";

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    for (client, last, letter) in [(&stage.a, 2, 'a'), (&stage.b, 3, 'b')] {
        host::ready(client, last)?;
        nvme::named(client, letter)?;
        client.must(&format!(
            "ip -6 addr replace fd09::{last}/64 dev $(ls /sys/class/net | grep ^e) nodad"
        ))?;
    }
    stage.store.must("modprobe -a nvmet nvmet-tcp")?;
    host::multipathd(&stage.a)?;
    let listen = |port: u16| format!("listen = [\"[{V6}]:{port}\", \"10.9.0.1:{port}\"]");
    let embedded = format!("[backend.iscsi]\n{}", listen(3264));
    let lio = format!("target = \"lio\"\n[backend.iscsi]\n{}", listen(3265));
    let nvmet = format!("[backend.nvme]\n{}", listen(4421));
    over_iscsi(stage, checks, "v6embedded", (50_047, &embedded, 3264))?;
    over_iscsi(stage, checks, "v6lio", (50_048, &lio, 3265))?;
    stage.a.must("kill $(pgrep multipathd)")?;
    over_nvme(stage, checks, (50_049, &nvmet))
}

/// Reads four letters that the other has written.
fn seen(writer: (&Client<'_>, &str), reader: (&Client<'_>, &str), letters: &str) -> Result<bool> {
    writer.0.must(&nvme::write(writer.1, letters, 0))?;
    Ok(reader.0.must(&nvme::read(reader.1, 0))? == letters)
}

fn over_iscsi(
    stage: &Stage<'_>,
    checks: &mut Checks,
    name: &str,
    (port, backend, portal): (u16, &str, u16),
) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let own = Own::set(stage.store, name, port, backend, "iscsi")?;
    own.start()?;
    let volume = own.volume(name)?;
    let (on_a, on_b) = both(
        || a.must(&own.attach(&format!("attach {volume}"))),
        || b.must(&own.attach(&format!("attach --read-only {volume}"))),
    );
    let (on_a, on_b) = (on_a?, on_b?);
    let addresses = "cat /sys/class/iscsi_connection/*/persistent_address | sort | tr '\\n' ' '";
    let (of_a, of_b) = (a.must(addresses)?, b.must(addresses)?);
    let good = on_b.starts_with("/dev/sd") && of_b == V6;
    checks.check(good, &format!("{name}: B is there over IPv6 alone"), &format!("{on_b} {of_b}"));
    let good = on_a.starts_with("/dev/dm-") && of_a == format!("10.9.0.1 {V6}");
    checks.check(
        good,
        &format!("{name}: A has one map over IPv4 and IPv6"),
        &format!("{on_a} {of_a}"),
    );
    let wwids = "cat /sys/block/sd*/device/wwid | sort -u";
    let (of_a, of_b) = (a.must(wwids)?, b.must(wwids)?);
    let expected = format!("naa.6{}", &volume.replace('-', "")[1..]);
    let same = of_a == expected && of_b == expected;
    checks.check(same, &format!("{name}: by one name, {expected}"), &format!("{of_a} {of_b}"));
    let read = seen((a, &on_a), (b, &on_b), "BOTH")?;
    checks.check(read, &format!("{name}: B reads what A has written"), "it does not");
    let wrote = b.run(&nvme::write(&on_b, "NOT!", 0))?;
    checks.check(!wrote.ok(), &format!("{name}: and cannot write"), &wrote.text);

    let of_v4 = "for one in /sys/class/iscsi_connection/connection*; do \
                 grep -q '^10\\.' $one/persistent_address && echo ${one##*/connection}; done";
    let sid = a.must(of_v4)?;
    let sid = sid.split(':').next().context("a session's number")?;
    a.must(&format!("iscsiadm -m session -r {sid} -u >/dev/null 2>&1"))?;
    let read = seen((a, &on_a), (b, &on_b), "SIX!")?;
    checks.check(read, &format!("{name}: without IPv4 the map goes on over IPv6"), "it does not");

    let ask = |port: u16| {
        format!("iscsiadm -m discovery -t sendtargets -o nonpersistent -p [{V6}]:{port} 2>&1")
    };
    let listed = b.run(&ask(portal))?;
    let portals = [format!("[{V6}]:{portal},1 "), format!("10.9.0.1:{portal},1 ")];
    let both_are_told = portals.iter().all(|portal| listed.text.contains(portal));
    let what = format!("{name}: asked over IPv6, it tells of both portals");
    checks.check(listed.ok() && both_are_told, &what, &listed.text);
    let refused = b.run(&format!("timeout 20 {}", ask(3260)))?;
    checks.check(
        !refused.ok(),
        &format!("{name}: control: what listens on IPv4 alone is not reached over IPv6"),
        &refused.text,
    );
    for client in [a, b] {
        let detach = own.attach(&format!("detach {volume}"));
        client.must(&format!("{detach} || {{ tail -20 /tmp/multipathd.log; exit 1; }}"))?;
        let left = client.must(host::LEFT)?;
        checks.check(left.is_empty(), &format!("{name}: detached, nothing is left"), &left);
    }
    own.ctl(&format!("volume delete {volume} --wait"))?;
    own.clear()
}

fn over_nvme(stage: &Stage<'_>, checks: &mut Checks, (port, backend): (u16, &str)) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let own = Own::set(stage.store, "v6nvmet", port, backend, "nvmeof")?;
    own.start()?;
    let volume = own.volume("v6nvmet")?;
    let attach = own.attach(&format!("attach {volume}"));
    let (on_a, on_b) = both(|| a.must(&attach), || b.must(&attach));
    let (on_a, on_b) = (on_a?, on_b?);
    for (client, device) in [(a, &on_a), (b, &on_b)] {
        let found = client.must(
            "cat /sys/class/nvme/nvme*/address | sort | tr '\\n' ' '; ls /dev/nvme*n* | wc -l",
        )?;
        let both_are_there = [format!("traddr={V6},"), "traddr=10.9.0.1,".to_owned()]
            .iter()
            .all(|address| found.contains(address));
        checks.check(
            both_are_there && found.ends_with('1'),
            &format!("v6nvmet: {}: a controller over each, one device", client.guest.name),
            &format!("{device} {found}"),
        );
    }
    let read = seen((a, &on_a), (b, &on_b), "BOTH")?;
    checks.check(read, "v6nvmet: B reads what A has written", "it does not");
    let of_v4 = "for one in /sys/class/nvme/nvme*; do \
                 grep -q traddr=10 $one/address && echo 1 >$one/delete_controller; done; true";
    a.must(of_v4)?;
    let read = seen((a, &on_a), (b, &on_b), "SIX!")?;
    checks.check(read, "v6nvmet: without IPv4 it goes on over IPv6", "it does not");
    for client in [a, b] {
        client.must(&own.attach(&format!("detach {volume}")))?;
    }
    own.ctl(&format!("volume delete {volume} --wait"))?;
    let left = nvme::left(stage)?;
    checks.check(left.is_empty(), "v6nvmet: detached, nothing is left in configfs", &left);
    own.clear()
}
