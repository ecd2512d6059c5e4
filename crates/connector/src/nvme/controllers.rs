//! Controllers and namespaces, as sysfs shows them.
//! What the kernel shows is believed, and nothing that nvme-cli prints.
//!
//! ```text
//! class/nvme/nvme2/{subsysnqn,state,address: traddr=10.0.0.1,trsvcid=4420}   nvme2c2n1: one path
//! class/nvme-subsystem/nvme-subsys2/{subsysnqn,nvme2n1}                      the device over all
//! ```
//! Without the kernel's own multipath the device is the controller's: `class/nvme/nvme2/nvme2n1`.

use std::collections::BTreeSet;
use std::fs;

use crate::error::ConnectError;
use crate::tools::Machine;

/// One controller.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    /// Its name, such as `nvme2`.
    pub(super) name: String,
    state: String,
    /// `traddr=10.0.0.1,trsvcid=4420` and what else there is.
    address: String,
}

impl Controller {
    /// Every controller of this subsystem, one that is on its way out among them.
    pub(super) fn all_of(machine: &Machine, nqn: &str) -> Result<Vec<Self>, ConnectError> {
        let class = machine.path("sys/class/nvme");
        let mut all = Vec::new();
        for name in machine.names(&class)? {
            let of = class.join(&name);
            if machine.read(&of.join("subsysnqn"))?.is_none_or(|found| found != nqn) {
                continue;
            }
            let state = machine.read(&of.join("state"))?.unwrap_or_default();
            let address = machine.read(&of.join("address"))?.unwrap_or_default();
            all.push(Self { name, state, address });
        }
        Ok(all)
    }

    /// Those that are there to stay.
    pub(super) fn of(machine: &Machine, nqn: &str) -> Result<Vec<Self>, ConnectError> {
        let mut all = Self::all_of(machine, nqn)?;
        all.retain(|one| !one.state.starts_with("deleting") && one.state != "dead");
        Ok(all)
    }

    /// Whether its storage host answers.
    pub(super) fn is_live(&self) -> bool {
        self.state == "live"
    }

    /// Whether it goes to this port.
    pub(super) fn is_at(&self, portal: &str) -> bool {
        let (address, port) = super::parts(portal);
        let of = |key: &str| {
            let mut pairs = self.address.split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map_or("", |(_, value)| value.trim())
        };
        of("traddr").eq_ignore_ascii_case(address) && of("trsvcid") == port
    }

    /// Has it look at its namespaces again.
    pub(super) fn rescan(&self, machine: &Machine) -> Result<(), ConnectError> {
        self.write(machine, "rescan_controller")
    }

    /// Takes it away.
    pub(super) fn delete(&self, machine: &Machine) -> Result<(), ConnectError> {
        self.write(machine, "delete_controller")
    }

    fn write(&self, machine: &Machine, what: &str) -> Result<(), ConnectError> {
        let file = machine.path("sys/class/nvme").join(&self.name).join(what);
        // Never made: what is not there any more is what was wanted.
        match fs::OpenOptions::new().write(true).open(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            opened => opened
                .and_then(|mut file| std::io::Write::write_all(&mut file, b"1"))
                .map_err(|e| ConnectError::io(format!("writing {}", file.display()), e)),
        }
    }
}

/// The devices of the subsystem's namespaces.
pub(super) fn disks(machine: &Machine, nqn: &str) -> Result<Vec<String>, ConnectError> {
    let mut disks = BTreeSet::new();
    for class in ["sys/class/nvme-subsystem", "sys/class/nvme"] {
        let class = machine.path(class);
        for name in machine.names(&class)? {
            let of = class.join(name);
            if machine.read(&of.join("subsysnqn"))?.is_some_and(|found| found == nqn) {
                disks.extend(machine.names(&of)?.into_iter().filter(|name| is_disk(name)));
            }
        }
    }
    Ok(disks.into_iter().collect())
}

/// `nvme2n1`; neither the controller `nvme2` nor the path `nvme2c2n1`, which nobody may open.
fn is_disk(name: &str) -> bool {
    let numbers = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(subsystem, namespace)| is_number(subsystem) && is_number(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        assert!(is_disk("nvme12n1"));
        for other in ["nvme1", "nvme1c1n1", "nvme1n", "nvme1n1p1", "ng1n1", "subsysnqn"] {
            assert!(!is_disk(other), "{other}");
        }
        let at = |address: &str| Controller {
            name: "nvme0".into(),
            state: "live".into(),
            address: address.into(),
        };
        let four = at("traddr=10.0.0.1,trsvcid=4420,src_addr=10.0.0.2");
        assert!(four.is_at("10.0.0.1:4420"));
        assert!(!four.is_at("10.0.0.2:4420") && !four.is_at("10.0.0.1:4421"));
        assert!(at("traddr=2001:DB8::7,trsvcid=4420").is_at("[2001:db8::7]:4420"));
    }
}
