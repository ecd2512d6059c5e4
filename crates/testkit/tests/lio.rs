//! The drivers' conformance suite against the iSCSI target of a real kernel (LIO), over real
//! sessions: the hosts are testkit's initiators. `kernel/mod.rs` says what it takes.
//!
//! Two cases are left out: the kernel does not count by kind of command, and it keeps no limits,
//! which the suite is told when it asks for some.

/// What the hosts of the target suite speak.
const PROTOCOL: Protocol = Protocol::Iscsi;

#[macro_use]
mod kernel;
mod sessions;
#[path = "../../drivers/tests/conformance/target.rs"]
#[allow(dead_code, reason = "the kernel does not count by kind of command")]
mod target;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use osds_drivers::target::lio::{LioSettings, LioTarget};
use osds_drivers::{BlockSource, TargetDriver};
use osds_model::host::Protocol;
use osds_model::{Authentication, Connection, Initiator, Secret, VolumeId};
use osds_testkit::initiator::{Chap, Options};

use kernel::{Medium, NeverRevokes, Volumes};
use sessions::{Sessions, Way};
use target::Refused;

/// LIO, and hosts that keep the sessions they have.
#[derive(Clone)]
struct Bench {
    honest: LioTarget,
    lies: bool,
    /// How what it makes in the kernel is called.
    name: String,
    volumes: Arc<Volumes>,
    sessions: Sessions,
    /// What each initiator proves at login.
    carried: Arc<Mutex<HashMap<String, Authentication<Secret>>>>,
}

impl Bench {
    fn new(home: &Path, medium: Medium) -> Self {
        let name = format!("test{}", kernel::number());
        let volumes = Arc::new(Volumes::new(home, medium));
        let settings = LioSettings {
            backend: name.clone(),
            listen: vec![kernel::address()],
            advertise: Vec::new(),
            iqn_prefix: format!("iqn.2026-01.example.{name}"),
            drain_timeout: Duration::from_secs(20),
            home: volumes.notes(),
        };
        let honest = LioTarget::start(settings).unwrap();
        let (sessions, carried) = (Sessions::default(), Arc::default());
        Self { honest, lies: false, name, volumes, sessions, carried }
    }

    /// Takes away what a case leaves; nothing of it stays in the kernel.
    async fn end(self) {
        for volume in self.honest.exports().await.unwrap().into_keys() {
            self.honest.unexport(volume).await.unwrap();
        }
        let targets = kernel::left("target/iscsi", &format!("iqn.2026-01.example.{}", self.name));
        assert!(targets.is_empty(), "{targets:?}");
        for adapter in ["target/core/iblock_1493", "target/core/fileio_1493"] {
            let backstores = kernel::left(adapter, &format!("osds.{}.", self.name));
            assert!(backstores.is_empty(), "{backstores:?}");
        }
    }

    /// How an initiator logs in.
    fn way<'w>(&self, host: &'w Initiator, to: &'w Connection) -> Way<'w> {
        let chap = self.carried.lock().unwrap().get(&host.port_name).map(chap);
        Way { name: &host.port_name, to, options: Options { chap, ..Options::default() } }
    }
}

fn chap(proof: &Authentication<Secret>) -> Chap {
    let Authentication { initiator, target } = proof;
    let chap = Chap::new(&initiator.name, initiator.secret.reveal());
    match target {
        Some(target) => chap.mutual(&target.name, target.secret.reveal()),
        None => chap,
    }
}

#[async_trait]
impl target::Bench for Bench {
    fn driver(&self) -> Arc<dyn TargetDriver> {
        let honest = self.honest.clone();
        if self.lies { Arc::new(NeverRevokes(honest)) } else { Arc::new(honest) }
    }

    fn carry(&self, host: &Initiator, proof: Option<Authentication<Secret>>) {
        let mut carried = self.carried.lock().unwrap();
        carried.remove(&host.port_name);
        carried.extend(proof.map(|proof| (host.port_name.clone(), proof)));
    }

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
        self.sessions.write(self.way(host, way), at, bytes).await
    }

    async fn read(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), Refused> {
        self.sessions.read(self.way(host, way), at, bytes).await
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
    other_credentials_are_another_grant,
    limits_are_read_back_and_disturb_nobody,
);
