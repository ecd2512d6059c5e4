//! The drivers' conformance suite against the embedded target, over real sessions: the hosts are
//! testkit's initiators. And what the suite cannot know of: hosts with several initiators, names
//! in another spelling, and an identity that outlives the process. At the end, targets that lie
//! must fail.

/// What the hosts of the target suite speak.
const PROTOCOL: Protocol = Protocol::Iscsi;

#[path = "../../drivers/tests/conformance/target.rs"]
mod target;

mod sessions;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use osds_drivers::target::embedded::{EmbeddedSettings, EmbeddedTarget, IQN_PREFIX};
use osds_drivers::{BlockSource, DriverError, ExportFacts, Hold, TargetCapabilities, TargetDriver};
use osds_iscsi::Limits;
use osds_model::host::Protocol;
use osds_model::usage::TargetUsage;
use osds_model::{
    AttachMode, Authentication, Capacity, Connection, Credentials, Grant, HostId, Initiator,
    IoLimits, Secret, VolumeId,
};
use osds_testkit::initiator::{Chap, Error, Options, Session};
use sessions::{Sessions, Way, refused};
use target::{A, B, Refused};

use AttachMode::{ReadOnly, ReadWrite};

const V: VolumeId = VolumeId::from_u128(0x01a2_03f1_15d9_7260_837a_4ac2_746f_9cb3);
const W: VolumeId = VolumeId::from_u128(0x01a2_03f1_15d9_7260_837a_4ac2_746f_9cb4);
const MIB: u64 = 1 << 20;

/// What a lying target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// It says read-only and lets everybody write.
    WritesForAll,
    /// It says revoked and revokes nobody.
    NeverRevokes,
    /// It says revoked and is still at it.
    RevokesLater,
    /// It says that hosts have to prove something and believes them.
    BelievesNames,
}

/// The embedded target, and hosts that keep the sessions they have.
#[derive(Clone)]
struct Bench {
    honest: EmbeddedTarget,
    lie: Option<Lie>,
    sessions: Sessions,
    /// What each initiator proves at login.
    carried: Arc<Mutex<HashMap<String, Authentication<Secret>>>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            honest: start(Limits::default()),
            lie: None,
            sessions: Sessions::default(),
            carried: Arc::default(),
        }
    }

    fn lying(lie: Lie) -> Self {
        Self { lie: Some(lie), ..Self::new() }
    }

    /// How an initiator logs in.
    fn way<'w>(&self, host: &'w Initiator, to: &'w Connection) -> Way<'w> {
        let chap = self.carried.lock().unwrap().get(&host.port_name).map(chap);
        Way { name: &host.port_name, to, options: Options { chap, ..Options::default() } }
    }
}

fn start(limits: Limits) -> EmbeddedTarget {
    let settings = EmbeddedSettings {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        advertise: Vec::new(),
        iqn_prefix: IQN_PREFIX.to_owned(),
        limits,
    };
    EmbeddedTarget::start(settings).unwrap()
}

/// The same as the initiator wants it; it asks the target for a proof where there can be one.
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
        match self.lie {
            None => Arc::new(self.honest.clone()),
            Some(lie) => Arc::new(LyingTarget { honest: self.honest.clone(), lie }),
        }
    }

    fn carry(&self, host: &Initiator, proof: Option<Authentication<Secret>>) {
        let mut carried = self.carried.lock().unwrap();
        carried.remove(&host.port_name);
        carried.extend(proof.map(|proof| (host.port_name.clone(), proof)));
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

struct LyingTarget {
    honest: EmbeddedTarget,
    lie: Lie,
}

#[async_trait]
impl TargetDriver for LyingTarget {
    fn name(&self) -> &'static str {
        "lying"
    }

    fn capabilities(&self) -> TargetCapabilities {
        self.honest.capabilities()
    }

    async fn export(&self, volume: VolumeId, source: BlockSource) -> Result<(), DriverError> {
        self.honest.export(volume, source).await
    }

    async fn limit(&self, volume: VolumeId, limits: &IoLimits) -> Result<(), DriverError> {
        self.honest.limit(volume, limits).await
    }

    async fn grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<Secret>,
    ) -> Result<Connection, DriverError> {
        let mut grant = grant.clone();
        match self.lie {
            Lie::WritesForAll => grant.mode = ReadWrite,
            Lie::BelievesNames => grant.authentication = None,
            Lie::NeverRevokes | Lie::RevokesLater => {}
        }
        self.honest.grant(volume, host, &grant).await
    }

    async fn revoke(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        match self.lie {
            Lie::WritesForAll | Lie::BelievesNames => self.honest.revoke(volume, host).await,
            Lie::NeverRevokes => Ok(()),
            Lie::RevokesLater => {
                let honest = self.honest.clone();
                tokio::spawn(async move {
                    // sleep: the lie itself, longer than a few writes take.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    honest.revoke(volume, host).await
                });
                Ok(())
            }
        }
    }

    async fn unexport(&self, volume: VolumeId) -> Result<(), DriverError> {
        self.honest.unexport(volume).await
    }

    async fn resized(&self, volume: VolumeId, size: Capacity) -> Result<(), DriverError> {
        self.honest.resized(volume, size).await
    }

    async fn quiesce(&self, volume: VolumeId, most: Duration) -> Result<Hold, DriverError> {
        self.honest.quiesce(volume, most).await
    }

    async fn exports(&self) -> Result<BTreeMap<VolumeId, ExportFacts>, DriverError> {
        self.honest.exports().await
    }

    async fn usage(&self) -> Result<TargetUsage, DriverError> {
        self.honest.usage().await
    }
}

mod conformance {
    macro_rules! suite {
        ($($case:ident),+ $(,)?) => {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    crate::target::$case(&crate::Bench::new()).await;
                }
            )+
        };
    }

    suite!(
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
        what_hosts_do_is_counted_by_host,
        limits_are_read_back_and_disturb_nobody,
    );
}

async fn is_caught<F: Future<Output = ()> + Send + 'static>(lie: Lie, case: F) {
    assert!(tokio::spawn(case).await.is_err(), "the suite did not catch {lie:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_lie_are_caught() {
    let bench = Bench::lying(Lie::WritesForAll);
    is_caught(Lie::WritesForAll, async move {
        target::a_write_through_a_read_only_grant_fails(&bench).await;
    })
    .await;
    let bench = Bench::lying(Lie::BelievesNames);
    is_caught(Lie::BelievesNames, async move {
        target::a_grant_with_credentials_lets_in_who_proves_them(&bench).await;
    })
    .await;
    for lie in [Lie::NeverRevokes, Lie::RevokesLater] {
        let bench = Bench::lying(lie);
        is_caught(lie, async move { target::no_write_lands_after_revoke(&bench).await }).await;
        let bench = Bench::lying(lie);
        is_caught(lie, async move {
            target::a_revoked_host_is_out_and_the_others_are_not(&bench).await;
        })
        .await;
    }
}

fn source(size: u64) -> BlockSource {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    BlockSource::of_file(file, "volume".into(), Capacity::from_bytes(size))
}

fn named(names: &[&str]) -> Vec<Initiator> {
    let initiator =
        |name: &&str| Initiator { port_name: (*name).to_owned(), protocol: Protocol::Iscsi };
    names.iter().map(initiator).collect()
}

/// A volume exported and granted to a host; the target's name and portal.
async fn granted(
    driver: &EmbeddedTarget,
    volume: VolumeId,
    host: HostId,
    grant: &Grant<Secret>,
) -> (SocketAddr, String) {
    driver.export(volume, source(MIB)).await.unwrap();
    let way = driver.grant(volume, host, grant).await.unwrap();
    let Connection::Iscsi { iqn, portals, .. } = way else { panic!("{way:?}") };
    (portals[0].parse().unwrap(), iqn)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_all_of_its_initiators() {
    let driver = start(Limits::default());
    let a = Grant {
        mode: ReadWrite,
        initiators: named(&["iqn.x:a1", "iqn.x:a2"]),
        authentication: None,
    };
    let b = Grant {
        mode: ReadOnly,
        initiators: named(&["iqn.x:b1", "iqn.x:b2"]),
        authentication: None,
    };
    let (portal, iqn) = granted(&driver, V, A, &a).await;
    driver.grant(V, B, &b).await.unwrap();
    let log_in = |name: &str| Session::login(portal, name, &iqn);
    let mut of_a = [log_in("iqn.x:a1").unwrap(), log_in("iqn.x:a2").unwrap()];
    let mut of_b = [log_in("iqn.x:b1").unwrap(), log_in("iqn.x:b2").unwrap()];
    for (number, session) in of_a.iter_mut().enumerate() {
        session.write(number as u64, &[b'a'; 512]).unwrap();
    }
    for session in &mut of_b {
        assert_eq!(session.read(0, 2).unwrap(), [b'a'; 1024]);
        let refusal = session.write(0, &[b'b'; 512]).unwrap_err();
        assert!(matches!(refusal, Error::CheckCondition { key: 7, asc: 0x27, .. }), "{refusal}");
    }
    driver.revoke(V, A).await.unwrap();
    for session in &mut of_a {
        assert_eq!(refused(session.write(0, &[b'x'; 512]).unwrap_err()), Refused::Out);
    }
    for name in ["iqn.x:a1", "iqn.x:a2"] {
        assert_eq!(refused(log_in(name).unwrap_err()), Refused::Out);
    }
    // The sessions of the other host have not noticed.
    for session in &mut of_b {
        assert_eq!(session.read(0, 2).unwrap(), [b'a'; 1024]);
    }
    let hosts = driver.export_of(V).await.unwrap().unwrap().hosts;
    assert_eq!(
        hosts.into_iter().map(|(h, facts)| (h, facts.grant)).collect::<Vec<_>>(),
        [(B, b.names())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_the_same_in_upper_and_lower_case() {
    let driver = start(Limits::default());
    let shouted = Grant {
        mode: ReadOnly,
        initiators: named(&["IQN.2026-01.Example:HOST-A"]),
        authentication: None,
    };
    let (portal, iqn) = granted(&driver, V, A, &shouted).await;
    let mut session = Session::login(portal, "iqn.2026-01.example:host-a", &iqn).unwrap();
    assert!(session.is_write_protected().unwrap());
    // As it was granted, letter for letter: else the dock would put it out and in for ever.
    let facts = driver.export_of(V).await.unwrap().unwrap();
    assert_eq!(facts.hosts[&A].grant, shouted.names());
    driver.revoke(V, A).await.unwrap();
    assert_eq!(refused(session.read(0, 1).unwrap_err()), Refused::Out);
    assert!(driver.export_of(V).await.unwrap().unwrap().hosts.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_outlives_the_process_and_is_nobody_elses() {
    let who =
        |session: &mut Session| [0x80, 0x83].map(|page| session.vital_product_data(page).unwrap());
    let mut seen = Vec::new();
    for (host, mode) in [(A, ReadWrite), (B, ReadOnly)] {
        let driver = start(Limits::default());
        let grant = Grant { mode, initiators: named(&["iqn.x:a"]), authentication: None };
        for volume in [V, W] {
            let (portal, iqn) = granted(&driver, volume, host, &grant).await;
            seen.push(who(&mut Session::login(portal, "iqn.x:a", &iqn).unwrap()));
        }
        driver.shutdown().await.unwrap();
    }
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[1], seen[3]);
    for (of_v, of_w) in seen[0].iter().zip(&seen[1]) {
        assert_ne!(of_v, of_w);
    }
    let serial = String::from_utf8_lossy(&seen[0][0]).into_owned();
    assert!(serial.contains(&V.to_string()), "{serial}");
}

/// A revoke that ran out of time must not look like one that never was asked for: the session is
/// still there, the grant is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_still_draining_is_served_and_not_as_granted() {
    let driver = start(Limits { drain_timeout: Duration::ZERO, ..Limits::default() });
    let grant = Grant { mode: ReadWrite, initiators: named(&["iqn.x:a"]), authentication: None };
    let (portal, iqn) = granted(&driver, V, A, &grant).await;
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let mut session = Session::login(portal, "iqn.x:a", &iqn).unwrap();
        let data: Arc<[u8]> = vec![b'a'; 512 << 10].into();
        for _ in 0..8 {
            session.submit_write(0, &data).unwrap();
        }
        let writer = std::thread::spawn(move || while session.queue().complete().is_ok() {});
        let revoked = driver.revoke(V, A).await;
        let seen = driver.export_of(V).await.unwrap().unwrap().hosts.remove(&A);
        if let (Err(_), Some(seen)) = (&revoked, &seen) {
            assert_ne!(
                seen.grant,
                grant.names(),
                "put out by half, and it looks as if it was let in"
            );
            assert_eq!(refused(Session::login(portal, "iqn.x:a", &iqn).unwrap_err()), Refused::Out);
        }
        writer.join().unwrap();
        while driver.revoke(V, A).await.is_err() {
            assert!(Instant::now() < limit, "it never ends");
            tokio::task::yield_now().await;
        }
        if revoked.is_err() && seen.is_some() {
            return;
        }
        assert!(Instant::now() < limit, "no revoke ever ran out of time");
        driver.grant(V, A, &grant).await.unwrap();
    }
}

/// B20 (LVM, CHAP), B21 (NVMe-oF) and B22 (NetApp, Ceph), as far as a target of ours has their like.
#[tokio::test(flavor = "multi_thread")]
async fn b20_to_b22_a_second_host_comes_and_goes_and_nothing_of_the_first_changes() {
    let driver = start(Limits::default());
    let proof = |word: &str| {
        let secret = Secret::new(word.repeat(16)[..16].to_owned());
        let initiator = Credentials { name: word.to_owned(), secret };
        Authentication { initiator, target: None }
    };
    let grant = |name: &str, word: &str| Grant {
        mode: ReadWrite,
        initiators: named(&[name]),
        authentication: Some(proof(word)),
    };
    let (portal, iqn) = granted(&driver, V, A, &grant("iqn.x:a", "alpha")).await;
    let log_in = |name: &str, word: &str| {
        let options = Options { chap: Some(chap(&proof(word))), ..Options::default() };
        Session::login_with(portal, name, &iqn, &options)
    };
    let mut first = log_in("iqn.x:a", "alpha").unwrap();
    let facts = async || driver.export_of(V).await.unwrap().unwrap();
    let before = facts().await;
    driver.grant(V, B, &grant("iqn.x:b", "beta")).await.unwrap();
    assert_eq!(facts().await.hosts[&A], before.hosts[&A]);
    let mut second = log_in("iqn.x:b", "beta").unwrap();
    second.write(0, &[b'b'; 512]).unwrap();
    driver.revoke(V, B).await.unwrap();
    // B22: it is out, and not only on paper.
    assert_eq!(refused(second.write(0, &[b'x'; 512]).unwrap_err()), Refused::Out);
    assert_eq!(refused(log_in("iqn.x:b", "beta").err().unwrap()), Refused::Out);
    // B21: the first has not noticed. B20: it proves what it proved, and nobody gets in without.
    assert_eq!(first.read(0, 1).unwrap(), [b'b'; 512]);
    assert_eq!(facts().await, before);
    log_in("iqn.x:a", "alpha").unwrap();
    assert_eq!(refused(log_in("iqn.x:a", "beta").err().unwrap()), Refused::Out);
    assert_eq!(refused(Session::login(portal, "iqn.x:a", &iqn).err().unwrap()), Refused::Out);
}
