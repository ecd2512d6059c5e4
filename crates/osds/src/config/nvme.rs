//! `[backend.nvme]`: the kernel's NVMe over TCP target.
//!
//! What hosts could not use is refused before anything starts: a name that is none, a port of 0 (the
//! kernel takes what it is told, and cannot be asked which it took), a wildcard that nobody can
//! connect to.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use jiff::SignedDuration;
use osds_drivers::target::nvmet::NQN_PREFIX;
use serde::Deserialize;

/// Longest prefix: two ids, a colon and a point follow, and 223 bytes are all there are.
const LONGEST: usize = 223 - 2 * 36 - 2;

/// Where the kernel listens, and what its subsystems are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nvme {
    /// Addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// What hosts are told to connect to, as `address:port`; where it listens when empty.
    pub advertise: Vec<String>,
    /// Subsystem names are this, a colon, and the ids of the volume and the host.
    pub nqn_prefix: String,
    /// How long a detach waits for commands that are running before it reports a fault.
    pub drain_timeout: SignedDuration,
}

impl Default for Nvme {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 4420))],
            advertise: Vec::new(),
            nqn_prefix: NQN_PREFIX.to_owned(),
            drain_timeout: SignedDuration::from_secs(10),
        }
    }
}

impl Nvme {
    /// What hosts are told must be something that they can use.
    pub(super) fn check(&self) -> Result<()> {
        let prefix = &self.nqn_prefix;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte);
        let dated = prefix.strip_prefix("nqn.").is_some_and(|rest| !rest.is_empty());
        ensure!(
            dated && prefix.len() <= LONGEST && prefix.bytes().all(plain),
            "nvme.nqn_prefix '{prefix}' makes no subsystem name: it must begin with nqn. and a \
             date, such as {NQN_PREFIX}, and have letters, digits, points, colons and dashes only"
        );
        ensure!(!self.listen.is_empty(), "nvme.listen is empty: no host could connect");
        for address in &self.listen {
            // The kernel takes its port by name; there is no port 0 to be told afterwards.
            if address.port() == 0 {
                bail!("nvme.listen '{address}' has no port, such as 4420");
            }
            ensure!(
                !address.ip().is_unspecified() || !self.advertise.is_empty(),
                "nvme.listen '{address}' is no address that hosts can connect to: say in \
                 nvme.advertise which are"
            );
        }
        super::check_advertised("nvme.advertise", 4420, &self.advertise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hosts_could_not_use_is_refused() {
        Nvme::default().check().unwrap();
        let with = |change: fn(&mut Nvme)| {
            let mut nvme = Nvme::default();
            change(&mut nvme);
            nvme.check().map_err(|error| error.to_string())
        };
        for (change, word) in [
            ((|n| n.nqn_prefix = "nqn.x/y".into()) as fn(&mut Nvme), "no subsystem name"),
            (|n| n.nqn_prefix = "iqn.x".into(), "no subsystem name"),
            (|n| n.listen.clear(), "no host could connect"),
            (|n| n.listen[0].set_port(0), "has no port"),
            (|n| n.listen[0] = ([0, 0, 0, 0], 4420).into(), "nvme.advertise"),
            (|n| n.advertise = vec!["somewhere".into()], "must be address:port"),
        ] {
            let error = with(change).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        with(|n| {
            n.listen[0] = ([0, 0, 0, 0], 4420).into();
            n.advertise = vec!["[2001:db8::7]:4420".into()];
        })
        .unwrap();
    }
}
