//! Sessions and their disks, as sysfs shows them.
//! What the kernel shows is believed, and nothing that iscsiadm prints.
//! A disk belongs to the session whose directory it is below, so no other target's is ever touched.
//!
//! ```text
//! class/iscsi_session/session7/{targetname,device -> ../../host3/session7}
//! host3/session7/target3:0:0/3:0:0:1/block/sda        class/scsi_host/host3/scan
//! class/iscsi_connection/connection7:0/{address,port,persistent_address,persistent_port}
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Its number.
    pub(super) sid: String,
    /// Whom it is with.
    pub(super) target: String,
    /// Where it was told to go, and where it is.
    portals: Vec<(String, String)>,
    /// Its directory among the devices.
    directory: PathBuf,
}

impl Session {
    /// Every session with this target.
    pub(super) fn of(machine: &Machine, iqn: &str) -> Result<Vec<Self>, ConnectError> {
        let class = machine.path("sys/class/iscsi_session");
        let mut sessions = Vec::new();
        for name in machine.names(&class)? {
            let of = class.join(&name);
            if machine.read(&of.join("targetname"))?.is_none_or(|found| found != iqn) {
                continue;
            }
            let Some(sid) = name.strip_prefix("session") else { continue };
            let directory = of.join("device");
            let portals = portals(machine, sid)?;
            sessions.push(Self { sid: sid.to_owned(), target: iqn.to_owned(), portals, directory });
        }
        Ok(sessions)
    }

    /// Whether it goes to this portal.
    pub(super) fn is_at(&self, portal: &str) -> bool {
        let (address, port) = portal.rsplit_once(':').unwrap_or((portal, "3260"));
        let address = address.trim_start_matches('[').trim_end_matches(']');
        self.portals.iter().any(|(at, on)| at.eq_ignore_ascii_case(address) && on == port)
    }

    /// Every logical unit that it has, as its number and directory.
    fn units(&self, machine: &Machine) -> Result<Vec<(String, PathBuf)>, ConnectError> {
        let mut units = Vec::new();
        for target in machine.names(&self.directory)? {
            if !target.starts_with("target") {
                continue;
            }
            let directory = self.directory.join(target);
            for unit in machine.names(&directory)? {
                if let Some((_, lun)) = unit.rsplit_once(':')
                    && unit.matches(':').count() == 3
                {
                    units.push((lun.to_owned(), directory.join(&unit)));
                }
            }
        }
        Ok(units)
    }

    /// The disk of this LUN, if it is there.
    pub(super) fn disk(&self, machine: &Machine, lun: u32) -> Result<Option<String>, ConnectError> {
        for (number, unit) in self.units(machine)? {
            if number == lun.to_string()
                && let Some(disk) = machine.names(&unit.join("block"))?.into_iter().next()
            {
                return Ok(Some(disk));
            }
        }
        Ok(None)
    }

    /// Whether there is any disk left.
    pub(super) fn has_disks(&self, machine: &Machine) -> Result<bool, ConnectError> {
        for (_, unit) in self.units(machine)? {
            if !machine.names(&unit.join("block"))?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks for this LUN and no other.
    pub(super) fn scan(&self, machine: &Machine, lun: u32) -> Result<(), ConnectError> {
        let doing = || format!("scanning for LUN {lun} of {}", self.target);
        let real = self.directory.canonicalize();
        let real = real.map_err(|error| ConnectError::io(doing(), error))?;
        let host = real.ancestors().find_map(|one| {
            let name = one.file_name()?.to_str()?;
            let digits = name.strip_prefix("host")?;
            digits.parse::<u32>().ok().map(|_| name.to_owned())
        });
        let Some(host) = host else {
            let why = format!("{} belongs to no SCSI host", real.display());
            return Err(ConnectError::new(Kind::Wrong, doing()).because(why));
        };
        let file = machine.path("sys/class/scsi_host").join(host).join("scan");
        fs::write(&file, format!("0 0 {lun}")).map_err(|error| ConnectError::io(doing(), error))
    }
}

fn portals(machine: &Machine, sid: &str) -> Result<Vec<(String, String)>, ConnectError> {
    let class = machine.path("sys/class/iscsi_connection");
    let ours = format!("connection{sid}:");
    let mut portals = Vec::new();
    for name in machine.names(&class)? {
        if name.starts_with(&ours) {
            let of = class.join(name);
            for (address, port) in [("persistent_address", "persistent_port"), ("address", "port")]
            {
                let address = machine.read(&of.join(address))?;
                let port = machine.read(&of.join(port))?;
                portals.extend(address.zip(port));
            }
        }
    }
    Ok(portals)
}

/// Takes a disk away.
pub(super) fn delete(machine: &Machine, disk: &str) -> Result<(), ConnectError> {
    write(machine, disk, "delete")
}

/// Has a disk look at its size again.
pub(super) fn rescan(machine: &Machine, disk: &str) -> Result<(), ConnectError> {
    write(machine, disk, "rescan")
}

fn write(machine: &Machine, disk: &str, what: &str) -> Result<(), ConnectError> {
    let file = machine.path("sys/block").join(disk).join("device").join(what);
    match fs::write(&file, "1") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(|e| ConnectError::io(format!("writing {}", file.display()), e)),
    }
}

/// The NAA name in a page 83h (SPC-4, 7.8.6), for kernels that do not read it out.
pub(super) fn wwid_of_page(file: &Path) -> Option<String> {
    let page = fs::read(file).ok()?;
    let mut rest = page.get(4..)?;
    while let [_, kind, _, length, after @ ..] = rest {
        let name = after.get(..usize::from(*length))?;
        // Of the logical unit (association 0), an NAA name (type 3).
        if kind & 0x3f == 0x03 {
            let digits = name.iter().map(|byte| format!("{byte:02x}"));
            return Some(format!("naa.{}", digits.collect::<String>()));
        }
        rest = &after[usize::from(*length)..];
    }
    None
}
