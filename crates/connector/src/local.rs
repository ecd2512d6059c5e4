//! Volumes of this very machine: the loop device that the dock made for us.
//!
//! The dock makes it with the attachment and takes it away with it; we only find it, by the file
//! that it is on, and never make one ourselves: a device that the dock does not know is one that it
//! cannot stop (ADR 0030). So there is nothing to leave behind, either.

use std::path::Path;

use osds_model::{AttachMode, Connection};

use crate::Connector;
use crate::access::Access;
use crate::device::Device;
use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// Loop devices of this machine.
#[derive(Clone, Debug)]
pub struct Local {
    machine: Machine,
}

impl Local {
    /// On this machine.
    #[must_use]
    pub const fn new(machine: Machine) -> Self {
        Self { machine }
    }

    /// The device that is on this file.
    fn on(&self, file: &str) -> Result<Option<Device>, ConnectError> {
        let devices = self.machine.path("sys/block");
        for name in self.machine.names(&devices)? {
            if !name.starts_with("loop") {
                continue;
            }
            let of = devices.join(&name).join("loop");
            // One that goes with its last user belongs to an attachment that is over.
            let is_leaving = self.machine.read(&of.join("autoclear"))?.is_some_and(|t| t == "1");
            let backing = self.machine.read(&of.join("backing_file"))?;
            if !is_leaving && backing.is_some_and(|backing| backing == file) {
                return Device::named(&self.machine, &name);
            }
        }
        Ok(None)
    }

    /// The dock's devices for us, the one on the link first: a host that writes uses the one on top
    /// of it, and never the lower one, which the dock could not stop for it.
    fn pair(&self, link: &str) -> Result<Option<(Device, Option<Device>)>, ConnectError> {
        let Some(lower) = self.on(link)? else { return Ok(None) };
        let name = lower.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let upper = self.on(&format!("/dev/{}", name.unwrap_or_default()))?;
        Ok(Some((lower, upper)))
    }

    fn used(&self, link: &str) -> Result<Option<Device>, ConnectError> {
        match self.pair(link)? {
            Some((_, Some(upper))) => Ok(Some(upper)),
            Some((lower, None)) if lower.is_read_only(&self.machine)? => Ok(Some(lower)),
            // Half-made, or on its way out.
            Some((_, None)) | None => Ok(None),
        }
    }
}

fn path_of(connection: &Connection) -> Result<&str, ConnectError> {
    match connection {
        Connection::Local { path } => Ok(path),
        Connection::Iscsi { .. } | Connection::NvmeOf { .. } => {
            Err(ConnectError::new(Kind::Wrong, "this is no connection to a local volume"))
        }
    }
}

impl Connector for Local {
    fn connect(&self, access: &Access) -> Result<Device, ConnectError> {
        let path = path_of(&access.connection)?;
        let Some(device) = self.used(path)? else {
            let doing =
                format!("looking for the device of volume {} on this machine", access.volume);
            let why = format!(
                "no loop device is on {path}; the volume is on another machine (use it there, or \
                 choose an iscsi pool), or its dock is not done yet"
            );
            return Err(ConnectError::new(Kind::Missing, doing).because(why));
        };
        match access.mode {
            AttachMode::ReadOnly => device.hold_to_reading(&self.machine)?,
            AttachMode::ReadWrite if device.is_read_only(&self.machine)? => {
                let doing = format!("writing to {}", device.path.display());
                let why = "it takes no writes although the attachment is rw; its dock will mend it";
                return Err(ConnectError::new(Kind::Temporary, doing).because(why));
            }
            AttachMode::ReadWrite => {}
        }
        if !Path::new(&device.path).exists() {
            let doing = format!("{} is not in /dev here", device.path.display());
            let why = "mount the node's /dev into the container of the plugin";
            return Err(ConnectError::new(Kind::Missing, doing).because(why));
        }
        Ok(device)
    }

    fn find(&self, connection: &Connection) -> Result<Option<Device>, ConnectError> {
        self.used(path_of(connection)?)
    }

    fn disconnect(&self, connection: &Connection) -> Result<(), ConnectError> {
        match self.find(connection)? {
            Some(device) => match device.flush(&self.machine) {
                // Gone in the meantime: with a detach.
                Err(_) if self.find(connection)?.is_none() => Ok(()),
                outcome => outcome,
            },
            None => Ok(()),
        }
    }

    fn resize(&self, connection: &Connection) -> Result<(), ConnectError> {
        // Its dock has done so, unless it was stopped in between.
        let Some((lower, upper)) = self.pair(path_of(connection)?)? else { return Ok(()) };
        for device in [lower].iter().chain(&upper) {
            let arguments = ["--set-capacity".as_ref(), device.path.as_os_str()];
            self.machine.run("losetup", &arguments)?;
        }
        Ok(())
    }
}
