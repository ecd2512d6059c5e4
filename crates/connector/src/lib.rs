//! The host's side of an attachment: from a connection to a block device, and from there to a mount.
//!
//! A [`Connector`] makes a device of a [`Connection`]: over iSCSI, over NVMe/TCP, or of this
//! machine's own. What it
//! hands out was looked at: it is the volume that was asked for, and read-only where the attachment
//! is. [`blank`] and [`filesystem`] say when a device may be formatted and how it is mounted;
//! [`mounts`] reads what is mounted; [`journal`] remembers what was done, so that it can be undone
//! with nobody's help.
//!
//! Must stay true: every act may be repeated, and cut in half; no secret is on a command line.

pub mod access;
pub mod blank;
pub mod device;
pub mod error;
pub mod filesystem;
pub mod iscsi;
pub mod journal;
pub mod local;
pub mod mounts;
pub mod nvme;
pub mod tools;

pub use access::Access;
pub use device::Device;
pub use error::{ConnectError, Kind};
pub use tools::Machine;

use osds_model::Connection;

/// Makes devices of connections of one protocol. Calls may block for long.
pub trait Connector: Send + Sync {
    /// Makes sure the volume is a device here, in the mode of the access, and says which.
    ///
    /// # Errors
    /// There is no device, or it is not this volume, or it takes writes and must not.
    fn connect(&self, access: &Access) -> Result<Device, ConnectError>;

    /// The device, if the volume is one by now.
    ///
    /// # Errors
    /// The machine cannot be asked.
    fn find(&self, connection: &Connection) -> Result<Option<Device>, ConnectError>;

    /// Makes sure nothing is left of it here: no device, no session, no record. Needs nobody else.
    ///
    /// # Errors
    /// Something is left.
    fn disconnect(&self, connection: &Connection) -> Result<(), ConnectError>;

    /// Makes sure the device is as large as the volume.
    ///
    /// # Errors
    /// The machine cannot be told.
    fn resize(&self, connection: &Connection) -> Result<(), ConnectError>;
}

/// The connector for this connection.
#[must_use]
pub fn connector(machine: &Machine, connection: &Connection) -> Box<dyn Connector> {
    match connection {
        Connection::Iscsi { .. } => Box::new(iscsi::Iscsi::new(machine.clone())),
        Connection::NvmeOf { .. } => Box::new(nvme::Nvme::new(machine.clone())),
        Connection::Local { .. } => Box::new(local::Local::new(machine.clone())),
    }
}
