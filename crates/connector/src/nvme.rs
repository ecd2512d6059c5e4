//! NVMe over TCP: `nvme connect` of nvme-cli, and sysfs for everything that is looked at.
//!
//! ```text
//! controller at each port -> the subsystem's one namespace -> uuid? -> read-only?
//! ```
//! A subsystem is one volume for one host, so whatever is below its name is ours and nothing else
//! is. The kernel makes one device of all ports where it multiplexes by itself (`nvme_core`'s
//! multipath, which is the rule); where it does not, one port is used. A device is used only when
//! the namespace calls itself by the volume's id.
//!
//! Must stay true: after `disconnect` there is no controller and no device of the subsystem, and no
//! other subsystem noticed. Nothing is waited for that only a storage host could end.

mod controllers;

use std::thread;
use std::time::{Duration, Instant};

use osds_model::{AttachMode, Connection};

use self::controllers::Controller;
use crate::Connector;
use crate::access::Access;
use crate::device::Device;
use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// How long a device may take to appear or to go.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How many seconds the kernel holds I/O back and tries again when the storage host is away: long
/// enough for it to start again. Who is put out meanwhile loses the namespace at once.
const LOSS: &str = "--ctrl-loss-tmo=600";

/// Seconds between two of these tries.
const DELAY: &str = "--reconnect-delay=2";

/// Controllers of this machine.
#[derive(Clone, Debug)]
pub struct Nvme {
    machine: Machine,
}

/// The parts of a connection.
struct Target<'a> {
    nqn: &'a str,
    portals: &'a [String],
    host_nqn: &'a str,
}

impl Nvme {
    /// On this machine.
    #[must_use]
    pub const fn new(machine: Machine) -> Self {
        Self { machine }
    }

    /// The name this machine connects with; none when nvme-cli is not set up.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn host_nqn(machine: &Machine) -> Result<Option<String>, ConnectError> {
        let text = machine.read(&machine.path("etc/nvme/hostnqn"))?;
        let line = text.as_deref().and_then(|text| text.lines().next()).map(str::trim);
        Ok(line.filter(|nqn| !nqn.is_empty()).map(str::to_owned))
    }

    /// The kernel takes one host id for one host name (since 6.5 it insists): the machine's own,
    /// or the one that is in the name.
    fn host_id(&self, host_nqn: &str) -> Result<Option<String>, ConnectError> {
        if Self::host_nqn(&self.machine)?.is_some_and(|own| own.eq_ignore_ascii_case(host_nqn)) {
            let own = self.machine.read(&self.machine.path("etc/nvme/hostid"))?;
            if let Some(own) = own.filter(|own| !own.is_empty()) {
                return Ok(Some(own));
            }
        }
        let in_name = host_nqn.rsplit_once(":uuid:").map(|(_, uuid)| uuid.to_owned());
        Ok(in_name.filter(|uuid| uuid.len() == 36))
    }

    /// The kernel's door for connections; it comes with its module.
    fn check_able(&self) -> Result<(), ConnectError> {
        let door = self.machine.path("dev/nvme-fabrics");
        if door.exists() {
            return Ok(());
        }
        let loaded = self.machine.try_run("modprobe", &["nvme-tcp"]);
        if door.exists() {
            return Ok(());
        }
        let why = match loaded {
            Ok(ended) if !ended.complaint.is_empty() => ended.complaint,
            Ok(_) => "/dev/nvme-fabrics is not there".to_owned(),
            Err(error) => error.chain(),
        };
        let doing = "looking for the kernel's NVMe initiator (modprobe nvme-tcp)";
        Err(ConnectError::new(Kind::NotSupported, doing).because(why))
    }

    fn connect_at(&self, target: &Target<'_>, portal: &str) -> Result<(), ConnectError> {
        let (address, port) = parts(portal);
        let mut arguments = vec![
            "connect".to_owned(),
            "--transport=tcp".to_owned(),
            format!("--traddr={address}"),
            format!("--trsvcid={port}"),
            format!("--nqn={}", target.nqn),
            format!("--hostnqn={}", target.host_nqn),
            LOSS.to_owned(),
            DELAY.to_owned(),
        ];
        if let Some(id) = self.host_id(target.host_nqn)? {
            arguments.push(format!("--hostid={id}"));
        }
        let ended = self.machine.try_run("nvme", &arguments)?;
        let is_there = |all: Vec<Controller>| all.iter().any(|one| one.is_at(portal));
        // Somebody else may have been quicker.
        if ended.code == 0 || is_there(Controller::of(&self.machine, target.nqn)?) {
            return Ok(());
        }
        let doing = format!("connecting to {} at {portal}", target.nqn);
        let why = format!(
            "nvme ended with {}: {}; either nobody answers there, or the target refused this host: \
             it was detached, or its name is not {}",
            ended.code, ended.complaint, target.host_nqn
        );
        Err(ConnectError::new(Kind::Temporary, doing).because(why))
    }

    /// What the device's namespace calls itself; `None` before the kernel says so, which is a moment
    /// after it shows the device.
    fn name_of(&self, disk: &str) -> Result<Option<String>, ConnectError> {
        let file = self.machine.path("sys/block").join(disk).join("wwid");
        Ok(self.machine.read(&file)?.filter(|name| !name.is_empty()))
    }

    /// The namespace's device, once the kernel has made all of it.
    fn wait_for_disk(&self, nqn: &str) -> Result<String, ConnectError> {
        let begun = Instant::now();
        let mut is_scanned = false;
        loop {
            let disk = controllers::disks(&self.machine, nqn)?.into_iter().next();
            if let Some(disk) = &disk
                && self.name_of(disk)?.is_some()
            {
                return Ok(disk.clone());
            }
            // A controller of an earlier attachment may not have been told.
            if !is_scanned && begun.elapsed() >= PATIENCE / 3 {
                for controller in Controller::of(&self.machine, nqn)? {
                    controller.rescan(&self.machine)?;
                }
                is_scanned = true;
            }
            if begun.elapsed() >= PATIENCE {
                let doing = format!("waiting for the namespace of {nqn}");
                let why = match disk {
                    Some(disk) => format!("{disk} is there and has no name yet"),
                    None => "the controller is there and the device is not".to_owned(),
                };
                return Err(ConnectError::new(Kind::Temporary, doing).because(why));
            }
            // sleep: the kernel makes the device in its own time and tells nobody but udev.
            thread::sleep(PAUSE);
        }
    }

    /// Whether the device is this volume, by what its namespace says itself.
    fn check_identity(&self, disk: &str, access: &Access) -> Result<(), ConnectError> {
        let found = self.name_of(disk)?.unwrap_or_else(|| "nothing".to_owned());
        let expected = Access::namespace_names(access.volume);
        if expected.iter().any(|name| name.eq_ignore_ascii_case(&found)) {
            return Ok(());
        }
        let why =
            format!("it calls itself {found} and has to be {}; it is not touched", expected[0]);
        let doing = format!("checking that {disk} is the volume");
        Err(ConnectError::new(Kind::Wrong, doing).because(why))
    }

    fn multiplexes(&self) -> Result<bool, ConnectError> {
        let parameter = self.machine.path("sys/module/nvme_core/parameters/multipath");
        Ok(self.machine.read(&parameter)?.is_some_and(|text| text == "Y"))
    }

    /// Waits until nothing of the subsystem is left.
    fn wait_until_gone(&self, nqn: &str) -> Result<(), ConnectError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let controllers = Controller::all_of(&self.machine, nqn)?;
            let disks = controllers::disks(&self.machine, nqn)?;
            if controllers.is_empty() && disks.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let names = controllers.into_iter().map(|one| one.name).chain(disks);
                let why = format!("{} are still there", names.collect::<Vec<_>>().join(", "));
                let doing = format!("disconnecting from {nqn}");
                return Err(ConnectError::new(Kind::Temporary, doing).because(why));
            }
            // sleep: the kernel takes them away in its own time.
            thread::sleep(PAUSE);
        }
    }
}

/// `[2001:db8::7]:4420` as address and port.
fn parts(portal: &str) -> (&str, &str) {
    let (address, port) = portal.rsplit_once(':').unwrap_or((portal, "4420"));
    (address.trim_start_matches('[').trim_end_matches(']'), port)
}

fn target_of(connection: &Connection) -> Result<Target<'_>, ConnectError> {
    match connection {
        Connection::NvmeOf { nqn, portals, host_nqn } => Ok(Target { nqn, portals, host_nqn }),
        Connection::Iscsi { .. } | Connection::Local { .. } => {
            Err(ConnectError::new(Kind::Wrong, "this is no connection to an NVMe volume"))
        }
    }
}

impl Connector for Nvme {
    fn connect(&self, access: &Access) -> Result<Device, ConnectError> {
        let target = target_of(&access.connection)?;
        self.check_able()?;
        let multiplexes = self.multiplexes()?;
        let mut failure = None;
        for portal in target.portals {
            let is_there = Controller::of(&self.machine, target.nqn)?;
            // Two devices of one volume would be two caches of it.
            if !multiplexes && !is_there.is_empty() {
                break;
            }
            if is_there.iter().any(|controller| controller.is_at(portal)) {
                continue;
            }
            if let Err(error) = self.connect_at(&target, portal) {
                tracing::warn!(portal, error = %error.chain(), "no controller at this port");
                failure = Some(error);
            }
        }
        if Controller::of(&self.machine, target.nqn)?.is_empty() {
            let doing = format!("connecting to {}", target.nqn);
            let none = || ConnectError::new(Kind::Temporary, doing).because("it has no port");
            return Err(failure.unwrap_or_else(none));
        }
        let disk = self.wait_for_disk(target.nqn)?;
        self.check_identity(&disk, access)?;
        let gone =
            || ConnectError::new(Kind::Temporary, format!("{disk} went while it was looked at"));
        let device = Device::named(&self.machine, &disk)?.ok_or_else(gone)?;
        if access.mode == AttachMode::ReadOnly {
            device.hold_to_reading(&self.machine)?;
        }
        Ok(device)
    }

    fn find(&self, connection: &Connection) -> Result<Option<Device>, ConnectError> {
        let disks = controllers::disks(&self.machine, target_of(connection)?.nqn)?;
        let Some(disk) = disks.into_iter().next() else { return Ok(None) };
        Device::named(&self.machine, &disk)
    }

    fn disconnect(&self, connection: &Connection) -> Result<(), ConnectError> {
        let Target { nqn, .. } = target_of(connection)?;
        let is_live = || {
            Controller::all_of(&self.machine, nqn)
                .is_ok_and(|all| all.iter().any(Controller::is_live))
        };
        for disk in controllers::disks(&self.machine, nqn)? {
            // Without a live controller a flush would wait for ten minutes, and for nobody: a host
            // that was put out has nothing that could still land. It may be found out in the middle.
            let device = if is_live() { Device::named(&self.machine, &disk)? } else { None };
            match device.map(|device| device.flush_while(&self.machine, is_live)) {
                Some(Ok(true)) => {}
                Some(Err(error)) => {
                    tracing::warn!(disk, error = %error.chain(), "not flushed");
                }
                Some(Ok(false)) | None => {
                    tracing::warn!(disk, "not flushed: its storage host does not answer");
                }
            }
        }
        // nvme-cli opens every device it knows before it disconnects anything, and waits there for one
        // whose storage host is away (seen in the lab): then the kernel is asked directly.
        let is_away = || {
            let staying = Controller::of(&self.machine, nqn);
            staying.is_ok_and(|all| all.iter().any(|controller| !controller.is_live()))
        };
        let disconnect = ["disconnect", "--nqn", nqn];
        if is_live()
            && let Err(error) = self.machine.run_while("nvme", &disconnect, || !is_away())
        {
            tracing::warn!(error = %error.chain(), "nvme disconnect failed");
        }
        for controller in Controller::all_of(&self.machine, nqn)? {
            controller.delete(&self.machine)?;
        }
        self.wait_until_gone(nqn)
    }

    fn resize(&self, connection: &Connection) -> Result<(), ConnectError> {
        for controller in Controller::of(&self.machine, target_of(connection)?.nqn)? {
            controller.rescan(&self.machine)?;
        }
        Ok(())
    }
}
