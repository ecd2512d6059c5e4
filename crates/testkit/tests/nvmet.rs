//! The drivers' conformance suite against the NVMe over TCP target of a real kernel (nvmet). The
//! hosts are small initiators of our own, as a kernel would not have one volume from two subsystems.
//! `kernel/mod.rs` says what it takes.
//!
//! Left out are the cases of what this target does not have: nobody proves anything to it, and it
//! does not count.

/// What the hosts of the target suite speak.
const PROTOCOL: Protocol = Protocol::NvmeOf;

#[macro_use]
mod kernel;
#[path = "kernel/nvme.rs"]
mod nvme;
#[path = "../../drivers/tests/conformance/target.rs"]
#[allow(dead_code, reason = "nobody proves anything to this target, and it does not count")]
mod target;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use osds_drivers::target::nvmet::{NvmetSettings, NvmetTarget};
use osds_drivers::{BlockSource, TargetDriver};
use osds_model::host::Protocol;
use osds_model::{Authentication, Connection, Initiator, Secret, VolumeId};

use kernel::{Medium, NeverRevokes, Volumes};
use nvme::{Controller, Failure};
use target::Refused;

/// By host and subsystem.
type Controllers = HashMap<(String, String), Controller>;

/// nvmet, and hosts that keep the controllers they have.
#[derive(Clone)]
struct Bench {
    honest: NvmetTarget,
    lies: bool,
    /// How its subsystems begin.
    prefix: String,
    volumes: Arc<Volumes>,
    controllers: Arc<Mutex<Controllers>>,
}

impl Bench {
    fn new(home: &Path, medium: Medium) -> Self {
        let prefix = format!("nqn.2026-01.example:test{}", kernel::number());
        let volumes = Arc::new(Volumes::new(home, medium));
        let settings = NvmetSettings {
            listen: vec![kernel::address()],
            advertise: Vec::new(),
            nqn_prefix: prefix.clone(),
            drain_timeout: Duration::from_secs(20),
            notes: volumes.notes(),
        };
        let honest = NvmetTarget::start(settings).unwrap();
        Self { honest, lies: false, prefix, volumes, controllers: Arc::default() }
    }

    /// Takes away what a case leaves; nothing of it stays in the kernel.
    async fn end(self) {
        for volume in self.honest.exports().await.unwrap().into_keys() {
            self.honest.unexport(volume).await.unwrap();
        }
        let subsystems = kernel::left("nvmet/subsystems", &self.prefix);
        let hosts = kernel::left("nvmet/hosts", "nqn.2026-01.example:");
        assert!(subsystems.is_empty() && hosts.is_empty(), "{subsystems:?} {hosts:?}");
    }

    /// As a real initiator does, one connects when it has no controller, and once more when the one
    /// it had was ended. So "out" means that even a new connection is refused.
    async fn with<T: Send + 'static>(
        &self,
        host: &Initiator,
        way: &Connection,
        work: impl Fn(&mut Controller) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Refused> {
        let Connection::NvmeOf { nqn, portals, .. } = way.clone() else { panic!("{way:?}") };
        let (host, controllers) = (host.port_name.clone(), Arc::clone(&self.controllers));
        let done = tokio::task::spawn_blocking(move || {
            let key = (host.clone(), nqn.clone());
            let mut kept = controllers.lock().unwrap().remove(&key);
            let mut outcome = kept.as_mut().map_or(Err(Refused::Out), |one| refusal(work(one)));
            if outcome.as_ref().is_err_and(|refused| *refused == Refused::Out) {
                let portal = portals[0].parse().unwrap();
                // Whatever it says to a connect, it lets nobody in.
                let mut fresh =
                    Controller::connect(portal, &nqn, &host).map_err(|_| Refused::Out)?;
                outcome = refusal(work(&mut fresh));
                kept = Some(fresh);
            }
            controllers.lock().unwrap().extend(kept.map(|one| (key, one)));
            outcome
        });
        done.await.unwrap()
    }
}

fn refusal<T>(outcome: Result<T, Failure>) -> Result<T, Refused> {
    outcome.map_err(|failure| match failure {
        Failure::Lost | Failure::Status(nvme::NO_NAMESPACE) => Refused::Out,
        Failure::Status(_) => Refused::Command,
    })
}

#[async_trait]
impl target::Bench for Bench {
    fn driver(&self) -> Arc<dyn TargetDriver> {
        let honest = self.honest.clone();
        if self.lies { Arc::new(NeverRevokes(honest)) } else { Arc::new(honest) }
    }

    fn carry(&self, _: &Initiator, _: Option<Authentication<Secret>>) {}

    async fn blocks(&self, _: VolumeId) -> (BlockSource, File) {
        self.volumes.make()
    }

    async fn grow(&self, _: VolumeId, behind: &File, size: u64) {
        self.volumes.grow(behind, size);
    }

    async fn write(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let bytes = bytes.to_vec();
        self.with(host, way, move |controller| controller.write(at, &bytes)).await
    }

    async fn read(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), Refused> {
        let length = bytes.len();
        let read = self.with(host, way, move |controller| controller.read(at, length)).await?;
        bytes.copy_from_slice(&read);
        Ok(())
    }
}

suites!(
    a_granted_host_reaches_the_blocks_and_nobody_else,
    export_is_boring_and_keeps_grants,
    a_write_through_a_read_only_grant_fails,
    the_second_grant_is_boring_and_another_mode_is_refused,
    nothing_is_granted_without_an_export,
    a_host_without_the_protocol_is_refused,
    a_revoked_host_is_out_and_the_others_are_not,
    no_write_lands_after_revoke,
    unexport_puts_everybody_out,
    a_resized_volume_is_larger_for_hosts,
    exports_are_read_back,
    a_grant_with_credentials_lets_in_who_proves_them,
    limits_are_read_back_and_disturb_nobody,
);
