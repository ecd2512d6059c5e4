//! iSCSI by open-iscsi: `iscsiadm` for records and sessions, sysfs for everything that is looked at.
//!
//! ```text
//! record (scan: manual, CHAP) -> login -> scan for the one LUN -> wwid? -> read-only? -> multipath
//! ```
//! A session brings the one LUN that is asked for and nothing else (`session.scan manual`), and a
//! device is used only when it calls itself by the volume's name: a number that was another volume's
//! yesterday is refused. Passwords go into the record's file, for root only: iscsiadm would take
//! them on its command line, which everybody can read.
//!
//! Must stay true: after `disconnect` there is no device, no session and no record of the target,
//! and no other target noticed.

mod record;
mod sessions;

use std::thread;
use std::time::{Duration, Instant};

use osds_model::{AttachMode, Authentication, Connection, Secret};

use self::sessions::Session;
use crate::Connector;
use crate::access::Access;
use crate::device::Device;
use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// Exit codes of iscsiadm (its manual page): the session is there already; no records or no
/// sessions were found; the login was refused.
const SESSION_EXISTS: i32 = 15;
const NO_OBJECTS: i32 = 21;
const AUTHENTICATION: i32 = 24;

/// How long a device may take to appear, or a multipath map to form.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Sessions of this machine.
#[derive(Clone, Debug)]
pub struct Iscsi {
    machine: Machine,
}

/// The parts of a connection.
struct Target<'a> {
    iqn: &'a str,
    portals: &'a [String],
    lun: u32,
}

impl Iscsi {
    /// On this machine.
    #[must_use]
    pub const fn new(machine: Machine) -> Self {
        Self { machine }
    }

    /// The names this machine's initiator logs in with; none when open-iscsi is not set up.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn initiator(machine: &Machine) -> Result<Option<String>, ConnectError> {
        let text = machine.read(&machine.path("etc/iscsi/initiatorname.iscsi"))?;
        let line = |text: String| {
            let mut lines =
                text.lines().filter_map(|line| line.trim().strip_prefix("InitiatorName="));
            lines.next().map(|name| name.trim().to_owned())
        };
        Ok(text.and_then(line).filter(|name| !name.is_empty()))
    }

    fn log_in(
        &self,
        target: &Target<'_>,
        portal: &str,
        proof: Option<&Authentication<Secret>>,
    ) -> Result<(), ConnectError> {
        let node = ["--mode", "node", "--targetname", target.iqn, "--portal", portal];
        let with = |more: &[&str]| self.machine.run("iscsiadm", &[&node[..], more].concat());
        with(&["--op", "new"])?;
        for (name, value) in [("node.session.scan", "manual"), ("node.startup", "manual")] {
            with(&["--op", "update", "--name", name, "--value", value])?;
        }
        record::prove(&self.machine, target.iqn, portal, proof)?;
        let login = self.machine.try_run("iscsiadm", &[&node[..], &["--login"]].concat())?;
        let doing = || format!("logging in to {} at {portal}", target.iqn);
        match login.code {
            0 | SESSION_EXISTS => Ok(()),
            AUTHENTICATION => {
                let why = "the target refused this host: it was detached, or its initiator name is \
                           not the one of its host record";
                Err(ConnectError::new(Kind::Temporary, doing()).because(why))
            }
            code => {
                let why = format!("iscsiadm ended with {code}: {}", login.complaint);
                Err(ConnectError::new(Kind::Temporary, doing()).because(why))
            }
        }
    }

    /// The disk that this session has of the target's LUN, scanned for if need be, once the kernel has
    /// made all of it: its directory is there a moment before it can be found by name.
    fn disk(&self, session: &Session, lun: u32) -> Result<String, ConnectError> {
        let deadline = Instant::now() + PATIENCE;
        let mut is_scanned = false;
        loop {
            let disk = session.disk(&self.machine, lun)?;
            let is_late = Instant::now() >= deadline;
            if let Some(disk) = disk {
                if is_late || self.name_of(&disk)?.is_some() {
                    return Ok(disk);
                }
            } else if !is_scanned {
                session.scan(&self.machine, lun)?;
                is_scanned = true;
            }
            if is_late {
                let doing = format!("waiting for LUN {lun} of {}", session.target);
                let why = "the session is there and the disk is not";
                return Err(ConnectError::new(Kind::Temporary, doing).because(why));
            }
            // sleep: the kernel makes the disk in its own time and tells nobody but udev.
            thread::sleep(PAUSE);
        }
    }

    /// What the disk calls itself.
    fn name_of(&self, disk: &str) -> Result<Option<String>, ConnectError> {
        let device = self.machine.path("sys/block").join(disk).join("device");
        Ok(match self.machine.read(&device.join("wwid"))? {
            Some(wwid) if !wwid.is_empty() => Some(wwid),
            Some(_) | None => sessions::wwid_of_page(&device.join("vpd_pg83")),
        })
    }

    /// Whether the disk is this volume, by what it says itself.
    fn check_identity(&self, disk: &str, expected: &str) -> Result<(), ConnectError> {
        let found = self.name_of(disk)?;
        if found.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(expected)) {
            return Ok(());
        }
        let found = found.unwrap_or_else(|| "nothing".to_owned());
        let why = format!("it calls itself {found} and has to be {expected}; it is not touched");
        let doing = format!("checking that {disk} is the volume");
        Err(ConnectError::new(Kind::Wrong, doing).because(why))
    }

    fn has_multipath(&self) -> bool {
        let asked = self.machine.try_run("multipathd", &["show", "daemon"]);
        asked.is_ok_and(|ended| ended.code == 0 && ended.output.contains("pid"))
    }

    /// The map that multipathd made over the disk.
    fn map_over(&self, disk: &str) -> Result<Option<String>, ConnectError> {
        let holders = self.machine.path("sys/block").join(disk).join("holders");
        for name in self.machine.names(&holders)? {
            let uuid = self.machine.path("sys/block").join(&name).join("dm/uuid");
            if self.machine.read(&uuid)?.is_some_and(|uuid| uuid.starts_with("mpath-")) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The map over the disks, once all are in it; one that multipathd does not take in time is not
    /// waited for.
    fn wait_for_map(&self, disks: &[String]) -> Result<String, ConnectError> {
        for disk in disks {
            // It may know of it by itself by now; then this changes nothing.
            let _ = self.machine.try_run("multipathd", &["add", "path", disk.as_str()])?;
        }
        let begun = Instant::now();
        loop {
            let maps =
                disks.iter().map(|disk| self.map_over(disk)).collect::<Result<Vec<_>, _>>()?;
            let is_whole = maps.iter().all(Option::is_some);
            if let Some(map) = maps.into_iter().flatten().next()
                && (is_whole || begun.elapsed() >= PATIENCE / 3)
            {
                return Ok(map);
            }
            if begun.elapsed() >= PATIENCE {
                let doing = format!("waiting for a multipath map over {}", disks.join(", "));
                let why = "multipathd makes none; allow this volume in /etc/multipath.conf";
                return Err(ConnectError::new(Kind::Temporary, doing).because(why));
            }
            // sleep: multipathd makes the map in its own time.
            thread::sleep(PAUSE);
        }
    }

    fn disks(&self, target: &Target<'_>) -> Result<Vec<String>, ConnectError> {
        let mut disks = Vec::new();
        for session in Session::of(&self.machine, target.iqn)? {
            disks.extend(session.disk(&self.machine, target.lun)?);
        }
        Ok(disks)
    }

    fn missing(&self, disk: &str) -> ConnectError {
        ConnectError::new(Kind::Temporary, format!("{disk} went while it was looked at"))
    }
}

impl Connector for Iscsi {
    fn connect(&self, access: &Access) -> Result<Device, ConnectError> {
        let target = target_of(&access.connection)?;
        let is_multipath = target.portals.len() > 1 && self.has_multipath();
        let mut failure = None;
        for portal in target.portals {
            let is_there = Session::of(&self.machine, target.iqn)?;
            // Two disks of one volume without multipath would be two caches of it.
            if !is_multipath && !is_there.is_empty() {
                break;
            }
            if is_there.iter().any(|session| session.is_at(portal)) {
                continue;
            }
            if let Err(error) = self.log_in(&target, portal, access.proof.as_ref()) {
                tracing::warn!(portal, error = %error.chain(), "no session over this portal");
                failure = Some(error);
            }
        }
        let sessions = Session::of(&self.machine, target.iqn)?;
        if sessions.is_empty() {
            let doing = format!("logging in to {}", target.iqn);
            let none = || ConnectError::new(Kind::Temporary, doing).because("it has no portal");
            return Err(failure.unwrap_or_else(none));
        }
        let mut disks = Vec::new();
        for session in &sessions {
            disks.push(self.disk(session, target.lun)?);
        }
        let expected = Access::wwid(access.volume);
        for disk in &disks {
            self.check_identity(disk, &expected)?;
        }
        let name = if is_multipath { self.wait_for_map(&disks)? } else { disks[0].clone() };
        if access.mode == AttachMode::ReadOnly {
            // Every way to it, the map last: it asks its paths.
            for disk in disks.iter().chain([&name]) {
                let device =
                    Device::named(&self.machine, disk)?.ok_or_else(|| self.missing(disk))?;
                device.hold_to_reading(&self.machine)?;
            }
        }
        Device::named(&self.machine, &name)?.ok_or_else(|| self.missing(&name))
    }

    fn find(&self, connection: &Connection) -> Result<Option<Device>, ConnectError> {
        let disks = self.disks(&target_of(connection)?)?;
        let Some(first) = disks.first() else { return Ok(None) };
        let name = self.map_over(first)?.unwrap_or_else(|| first.clone());
        Device::named(&self.machine, &name)
    }

    fn disconnect(&self, connection: &Connection) -> Result<(), ConnectError> {
        let target = target_of(connection)?;
        let disks = self.disks(&target)?;
        if let Some(first) = disks.first()
            && let Some(map) = self.map_over(first)?
        {
            let device = Device::named(&self.machine, &map)?;
            if let Some(device) = device {
                device.flush(&self.machine)?;
            }
            // By its node: multipathd knows it by its kernel name as well, but multipath itself, whose
            // work it is when the daemon has no time, would take that for a map's alias.
            self.machine.run("multipath", &["-f", &format!("/dev/{map}")])?;
        }
        for disk in &disks {
            if let Some(device) = Device::named(&self.machine, disk)? {
                // A host that was put out cannot flush, and has nothing that could still land.
                if let Err(error) = device.flush(&self.machine) {
                    tracing::warn!(disk, error = %error.chain(), "not flushed");
                }
            }
            sessions::delete(&self.machine, disk)?;
        }
        for session in Session::of(&self.machine, target.iqn)? {
            if session.has_disks(&self.machine)? {
                tracing::warn!(target = target.iqn, "another disk of this session is in use");
                continue;
            }
            let arguments = ["--mode", "session", "--sid", session.sid.as_str(), "--logout"];
            let ended = self.machine.try_run("iscsiadm", &arguments)?;
            if ended.code != 0 && ended.code != NO_OBJECTS {
                let doing = format!("logging out of {}", target.iqn);
                return Err(ConnectError::new(Kind::Temporary, doing).because(ended.complaint));
            }
        }
        let arguments = ["--mode", "node", "--targetname", target.iqn, "--op", "delete"];
        let ended = self.machine.try_run("iscsiadm", &arguments)?;
        if ended.code == 0 || ended.code == NO_OBJECTS {
            return Ok(());
        }
        let doing = format!("removing the record of {}", target.iqn);
        Err(ConnectError::new(Kind::Temporary, doing).because(ended.complaint))
    }

    fn resize(&self, connection: &Connection) -> Result<(), ConnectError> {
        let disks = self.disks(&target_of(connection)?)?;
        for disk in &disks {
            sessions::rescan(&self.machine, disk)?;
        }
        let Some(first) = disks.first() else { return Ok(()) };
        match self.map_over(first)? {
            Some(map) => self.machine.run("multipathd", &["resize", "map", map.as_str()]).map(drop),
            None => Ok(()),
        }
    }
}

fn target_of(connection: &Connection) -> Result<Target<'_>, ConnectError> {
    match connection {
        Connection::Iscsi { iqn, portals, lun } => Ok(Target { iqn, portals, lun: *lun }),
        Connection::NvmeOf { .. } | Connection::Local { .. } => {
            Err(ConnectError::new(Kind::Wrong, "this is no connection to an iSCSI volume"))
        }
    }
}
