//! One file as one disk of a target of its own: the library without anything above it.
//!
//! For initiators that others wrote. The port is chosen by the system, and everything goes when
//! the value is dropped.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::sync::Arc;

use osds_iscsi::scsi::{Access, FileBackend, Identity, LogicalUnit};
use osds_iscsi::{Limits, Target};

/// Bytes of the disk.
pub const SIZE: u64 = 64 << 20;

const IQN: &str = "iqn.2026-01.org.example:disk";

/// A target with one disk, LUN 1.
pub struct Served {
    target: Target,
    _directory: tempfile::TempDir,
}

impl Served {
    /// A fresh disk of [`SIZE`] bytes that the given initiators may use.
    ///
    /// # Errors
    /// If there is no room for the file or no port.
    pub fn new(grants: &[(&str, Access)]) -> Result<Self, Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("disk");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(SIZE)?;
        let identity = Identity {
            naa: *b"\x60\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
            serial: "0001020304050607".into(),
            vendor: "EXAMPLE".into(),
            product: "FILE".into(),
            revision: "1".into(),
        };
        let unit = LogicalUnit::new(Box::new(FileBackend::new(file)), identity)?;
        let target = Target::start(&[SocketAddr::from(([127, 0, 0, 1], 0))], Limits::default())?;
        target.export(IQN, Arc::new(unit))?;
        for (initiator, access) in grants {
            target.grant(IQN, initiator, *access, None)?;
        }
        Ok(Self { target, _directory: directory })
    }

    /// Where the disk is, as libiscsi's tools want it.
    pub fn url(&self) -> String {
        format!("iscsi://{}/{IQN}/1", self.target.portals()[0])
    }
}
