//! Where the kernel listens: one port for each address, shared by all subsystems.
//!
//! Two ports cannot have one address, so one that somebody else made there is used and left as it
//! is. Ours have numbers from [`FIRST`] on, by which a half-made one is known; they go with the last
//! subsystem on them.
//!
//! After a reboot of this machine hosts try to come back all the time, and newer kernels (6.10) give up
//! for good when the port is open and their subsystem is not there yet. So ports lead nowhere until
//! all that was there is back.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use osds_model::FaultKind;

use super::Inner;
use crate::DriverError;
use crate::configfs::Configfs;
use crate::thread::lock;

/// The first number of ours: the letters of our name, and far from where people begin.
const FIRST: u16 = 0x4f53;
/// How many numbers are ours.
const COUNT: u16 = 256;

impl Inner {
    /// Lets hosts reach these subsystems.
    pub(super) fn let_reach(&self, nqns: &[String]) -> Result<(), DriverError> {
        for address in &self.listen {
            let port = ensure(&self.tree, *address)?;
            // The first opens the port: nothing else may come between them.
            for nqn in nqns {
                let link = format!("ports/{port}/subsystems/{nqn}");
                self.tree.link(link, format!("subsystems/{nqn}"))?;
            }
        }
        Ok(())
    }

    /// Lets hosts reach what is there, and from now on whatever is made.
    pub(super) fn open(&self) -> Result<(), DriverError> {
        let _shared = lock(&self.shared);
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let outcome = self.let_reach_all();
        self.is_open.store(true, Ordering::Release);
        outcome
    }

    fn let_reach_all(&self) -> Result<(), DriverError> {
        let mut ready = Vec::new();
        for (volume, host) in self.subsystems(None)? {
            let nqn = self.names.subsystem(volume, host);
            let note = self.notes.of(volume, host);
            if note.is_some_and(|note| self.is_as_made(volume, &nqn, &note).unwrap_or(false)) {
                ready.push(nqn);
            }
        }
        // Whoever is put out from here on waits, and then finds the links.
        let leaving = lock(&self.leaving);
        ready.retain(|nqn| !leaving.contains(nqn));
        if ready.is_empty() { Ok(()) } else { self.let_reach(&ready) }
    }
}

/// The port with this address.
pub(super) fn find(tree: &Configfs, address: SocketAddr) -> Result<Option<String>, DriverError> {
    for port in tree.list("ports")? {
        let mut same = true;
        for (name, value) in attributes(address) {
            same = same && tree.read(format!("ports/{port}/{name}"))?.as_deref() == Some(&*value);
        }
        if same {
            return Ok(Some(port));
        }
    }
    Ok(None)
}

/// Makes sure there is a port with this address; which.
pub(super) fn ensure(tree: &Configfs, address: SocketAddr) -> Result<String, DriverError> {
    if let Some(port) = find(tree, address)? {
        return Ok(port);
    }
    let there = tree.list("ports")?;
    for number in FIRST..FIRST + COUNT {
        let port = number.to_string();
        // Half-made, or left by an earlier setting.
        let is_free = !there.contains(&port) || is_unused(tree, &port)?;
        if is_free {
            tree.make(format!("ports/{port}"))?;
            for (name, value) in attributes(address) {
                tree.write(format!("ports/{port}/{name}"), &value)?;
            }
            return Ok(port);
        }
    }
    let doing = format!("looking for a free port number for {address}");
    Err(DriverError::new(FaultKind::Broken, doing))
}

/// Takes those of ours away that no subsystem is on.
pub(super) fn remove_unused(tree: &Configfs) -> Result<(), DriverError> {
    for port in tree.list("ports")? {
        let is_ours = port.parse::<u16>().is_ok_and(|n| (FIRST..FIRST + COUNT).contains(&n));
        if is_ours && is_unused(tree, &port)? {
            super::remove_unused(tree, &format!("ports/{port}"))?;
        }
    }
    Ok(())
}

fn is_unused(tree: &Configfs, port: &str) -> Result<bool, DriverError> {
    Ok(tree.links(format!("ports/{port}/subsystems"))?.is_empty())
}

fn attributes(address: SocketAddr) -> [(&'static str, String); 4] {
    let family = if address.is_ipv6() { "ipv6" } else { "ipv4" };
    [
        ("addr_trtype", "tcp".to_owned()),
        ("addr_adrfam", family.to_owned()),
        ("addr_traddr", address.ip().to_string()),
        ("addr_trsvcid", address.port().to_string()),
    ]
}
