//! The CSI driver on two nodes with the kernel's initiators: raw block on both, by iSCSI and by NVMe.
//!
//! Each node runs `osds csi all` on a socket of its own, and is told what an orchestrator and a
//! kubelet would say. The control of the read-only node is the writer beside it.

use anyhow::Result;

use super::own::Own;
use super::{Client, Stage, both, host, nvme};
use crate::lab::checks::Checks;

const TARGET: &str = "/var/lib/kubelet/pod/volume";

/// What is left of a volume on a node.
const LEFT: &str = "ls /sys/class/iscsi_session 2>/dev/null; ls /sys/class/nvme 2>/dev/null; \
    ls /sys/block | grep -e ^sd -e ^nvme; ls /var/lib/osds/csi/volumes /var/lib/kubelet/pod /var/lib/kubelet/staging; \
    grep kubelet /proc/mounts; ls /etc/iscsi/nodes /var/lib/iscsi/nodes 2>/dev/null | grep iqn; true";

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let backend = "[backend.iscsi]\nlisten = [\"10.9.0.1:3262\"]";
    let iscsi = Own::set(stage.store, "csiiscsi", 50_044, backend, "iscsi")?;
    iscsi.start()?;
    host::ready(&stage.a, 2)?;
    host::ready(&stage.b, 3)?;
    on(stage, checks, iscsi, "iscsi")?;
    stage.store.must("modprobe -a nvmet nvmet-tcp")?;
    let nvmet = Own::set(stage.store, "csinvme", 50_045, nvme::BACKEND, "nvmeof")?;
    nvmet.start()?;
    nvme::named(&stage.a, 'a')?;
    nvme::named(&stage.b, 'b')?;
    on(stage, checks, nvmet, "nvmeof")
}

fn on(stage: &Stage<'_>, checks: &mut Checks, own: Own<'_>, protocol: &str) -> Result<()> {
    let (a, b) = (&stage.a, &stage.b);
    let start = |client: &Client<'_>| {
        client.must(&format!(
            "mkdir -p /csi /var/lib/kubelet/pod /var/lib/kubelet/staging\n\
             OPENSDS_AUTH_STRATEGY=noauth setsid /host/osds csi all --endpoint unix:///csi/csi.sock \
             --osds-endpoint {} >/tmp/csi.log 2>&1 </dev/null & echo $! >/tmp/csi.pid\n\
             for try in $(seq 300); do [ -S /csi/csi.sock ] && exit 0; sleep 0.1; done; cat /tmp/csi.log; exit 1",
            own.endpoint()
        ))
    };
    let (one, other) = both(|| start(a), || start(b));
    one.and(other)?;
    let volume = own.volume("csi")?;
    let say = |verb: &str, volume: &str| {
        format!("/host/csi-client unix:///csi/csi.sock {verb} '{volume}' {TARGET} 2>&1")
            .replace("unix://", "")
    };
    let (one, other) = both(|| a.run(&say("use", &volume)), || b.run(&say("use", &volume)));
    let (one, other) = (one?, other?);
    let went = one.ok() && other.ok();
    checks.check(
        went,
        &format!("{protocol}: staged and published on both nodes"),
        &(one.text + &other.text),
    );
    a.must(&nvme::write(TARGET, "CSIA", 0))?;
    b.must(&nvme::write(TARGET, "CSIB", 1))?;
    let (seen_b, seen_a) = (b.must(&nvme::read(TARGET, 0))?, a.must(&nvme::read(TARGET, 1))?);
    let seen = seen_b == "CSIA" && seen_a == "CSIB";
    checks.check(
        seen,
        &format!("{protocol}: each reads what the other has written"),
        &format!("{seen_b} {seen_a}"),
    );
    b.must(&say("leave", &volume))?;
    if protocol == "iscsi" {
        let reads = format!("{volume}#ro");
        b.must(&say("use", &reads))?;
        let seen = b.must(&nvme::read(TARGET, 0))?;
        let wrote = b.run(&nvme::write(TARGET, "NOT!", 0))?;
        let held = seen == "CSIA" && !wrote.ok();
        checks.check(
            held,
            "iscsi: a node with the read-only handle reads and cannot write",
            &wrote.text,
        );
        a.must(&nvme::write(TARGET, "CSIC", 0))?;
        let seen = b.must(&nvme::read(TARGET, 0))?;
        checks.check(seen == "CSIC", "iscsi: the control: the writer beside it can", &seen);
        b.must(&say("leave", &reads))?;
    } else {
        let reads = format!("{volume}#ro");
        let said = b.run(&say("use", &reads))?;
        checks.check(!said.ok(), "nvmeof: the read-only handle is refused", &said.text);
        b.must(&say("leave", &reads))?;
    }
    a.must(&say("leave", &volume))?;
    for client in [a, b] {
        let left = client.must(LEFT)?;
        let left: Vec<_> =
            left.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
        checks.check(
            left.is_empty(),
            &format!("{protocol}: nothing is left on the node"),
            &left.join(" "),
        );
        client.must("kill $(cat /tmp/csi.pid)")?;
        client.must(
            "for try in $(seq 100); do [ -S /csi/csi.sock ] || exit 0; sleep 0.1; done; exit 1",
        )?;
    }
    own.ctl(&format!("volume delete {volume} --wait"))?;
    own.clear()
}
