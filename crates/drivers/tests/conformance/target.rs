//! What every target driver promises.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use osds_drivers::{BlockSource, Blocks, TargetDriver};
use osds_model::host::Protocol;
use osds_model::{
    AttachMode, Authentication, Capacity, Connection, Credentials, FaultKind, Grant, HostId,
    Initiator, IoLimits, IoRate, Secret, VolumeId,
};

use AttachMode::{ReadOnly, ReadWrite};

pub const A: HostId = HostId::from_u128(0xA);
pub const B: HostId = HostId::from_u128(0xB);
pub const C: HostId = HostId::from_u128(0xC);
const V: VolumeId = VolumeId::from_u128(1);
const W: VolumeId = VolumeId::from_u128(2);
/// How large the volumes are.
pub const SIZE: u64 = 1 << 20;

/// A target under test, and hosts that log in to it.
#[async_trait]
pub trait Bench: Send + Sync + 'static {
    /// The driver.
    fn driver(&self) -> Arc<dyn TargetDriver>;
    /// What the host with this initiator proves when it logs in from now on; nothing at first. A
    /// session that it has goes on.
    fn carry(&self, host: &Initiator, proof: Option<Authentication<Secret>>);
    /// A volume of [`SIZE`] zeros, opened twice: for the target, and to look behind its back.
    async fn blocks(&self, _: VolumeId) -> (BlockSource, File) {
        blocks()
    }
    /// Makes a volume larger beneath the target.
    async fn grow(&self, _: VolumeId, behind: &File, size: u64) {
        behind.set_len(size).unwrap();
    }
    /// Writes as the host with this initiator, over a session of its own if it has none.
    async fn write(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), Refused>;
    /// Reads as the host with this initiator.
    async fn read(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), Refused>;
}

/// A command of a host did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// No login, or the session was ended.
    Out,
    /// The target said no to this command.
    Command,
}

pub fn initiator(host: HostId) -> Initiator {
    let kind = match crate::PROTOCOL {
        Protocol::NvmeOf => "nqn",
        Protocol::Iscsi | Protocol::FibreChannel | Protocol::Local => "iqn",
    };
    let port_name = format!("{kind}.2026-01.example:{}", host.0.simple());
    Initiator { port_name, protocol: crate::PROTOCOL }
}

fn grant(host: HostId, mode: AttachMode) -> Grant<Secret> {
    Grant { mode, initiators: vec![initiator(host)], authentication: None }
}

/// A volume of `SIZE` zeros, opened twice: for the target, and to look behind its back.
fn blocks() -> (BlockSource, File) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SIZE).unwrap();
    let (file, path) = file.keep().unwrap();
    let behind = file.try_clone().unwrap();
    // Both handles stay good; nothing is left on the disk.
    std::fs::remove_file(&path).unwrap();
    (BlockSource::of_file(file, path, Capacity::from_bytes(SIZE)), behind)
}

fn peek(behind: &File, at: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    behind.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

async fn exported(bench: &dyn Bench) -> (Arc<dyn TargetDriver>, File) {
    let (source, behind) = bench.blocks(V).await;
    let driver = bench.driver();
    driver.export(V, source).await.unwrap();
    (driver, behind)
}

async fn let_in(driver: &dyn TargetDriver, host: HostId, mode: AttachMode) -> Connection {
    driver.grant(V, host, &grant(host, mode)).await.unwrap()
}

/// What one host does in the tests: 512 bytes of a letter to block `at`.
async fn put(
    bench: &dyn Bench,
    host: HostId,
    way: &Connection,
    at: u64,
    letter: u8,
) -> Result<(), Refused> {
    bench.write(&initiator(host), way, at * 512, &[letter; 512]).await
}

async fn get(bench: &dyn Bench, host: HostId, way: &Connection, at: u64) -> Result<u8, Refused> {
    let mut bytes = [0; 512];
    bench.read(&initiator(host), way, at * 512, &mut bytes).await.map(|()| bytes[0])
}

async fn hosts_of(driver: &dyn TargetDriver) -> BTreeMap<HostId, AttachMode> {
    let mut exports = driver.exports().await.unwrap();
    let Some(export) = exports.remove(&V) else { return BTreeMap::new() };
    export.hosts.into_iter().map(|(host, facts)| (host, facts.grant.mode)).collect()
}

pub async fn a_granted_host_reaches_the_blocks_and_nobody_else(bench: &dyn Bench) {
    let (driver, behind) = exported(bench).await;
    let way = let_in(&*driver, A, ReadWrite).await;
    match &way {
        Connection::Iscsi { lun, portals, .. } => assert!(*lun != 0 && !portals.is_empty()),
        Connection::NvmeOf { nqn, portals, .. } => assert!(!nqn.is_empty() && !portals.is_empty()),
        Connection::Local { path } => assert!(path.starts_with('/')),
    }
    put(bench, A, &way, 3, b'a').await.unwrap();
    assert_eq!(get(bench, A, &way, 3).await, Ok(b'a'));
    assert_eq!(peek(&behind, 3 * 512), [b'a'; 8]);
    assert_eq!(put(bench, B, &way, 3, b'b').await, Err(Refused::Out));
    assert_eq!(get(bench, B, &way, 3).await, Err(Refused::Out));
    assert_eq!(peek(&behind, 3 * 512), [b'a'; 8]);
    // Being in one volume is not being in another.
    driver.export(W, bench.blocks(W).await.0).await.unwrap();
    let other = driver.grant(W, B, &grant(B, ReadWrite)).await.unwrap();
    assert_eq!(put(bench, A, &other, 0, b'a').await, Err(Refused::Out));
    put(bench, B, &other, 0, b'b').await.unwrap();
}

pub async fn export_is_boring_and_keeps_grants(bench: &dyn Bench) {
    let (source, _behind) = bench.blocks(V).await;
    let again = || {
        let blocks = match &source.blocks {
            Blocks::File(file) => Blocks::File(file.try_clone().unwrap()),
            Blocks::Device(file, id) => Blocks::Device(file.try_clone().unwrap(), *id),
            Blocks::Unit(id) => Blocks::Unit(*id),
        };
        BlockSource { blocks, path: source.path.clone(), size: source.size }
    };
    let driver = bench.driver();
    driver.export(V, again()).await.unwrap();
    let way = let_in(&*driver, A, ReadWrite).await;
    put(bench, A, &way, 0, b'a').await.unwrap();
    driver.export(V, again()).await.unwrap();
    assert_eq!(get(bench, A, &way, 0).await, Ok(b'a'));
    assert_eq!(hosts_of(&*driver).await, BTreeMap::from([(A, ReadWrite)]));
}

pub async fn a_write_through_a_read_only_grant_fails(bench: &dyn Bench) {
    let (driver, behind) = exported(bench).await;
    let way = let_in(&*driver, A, ReadWrite).await;
    put(bench, A, &way, 0, b'a').await.unwrap();
    if !driver.capabilities().read_only_per_host {
        // What cannot be enforced is refused, not accepted and ignored.
        let error = driver.grant(V, B, &grant(B, ReadOnly)).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::NotSupported, "{}", error.chain());
        assert_eq!(get(bench, B, &way, 0).await, Err(Refused::Out));
        return;
    }
    let reader = let_in(&*driver, B, ReadOnly).await;
    assert_eq!(get(bench, B, &reader, 0).await, Ok(b'a'));
    assert_eq!(put(bench, B, &reader, 0, b'b').await, Err(Refused::Command));
    assert_eq!(peek(&behind, 0), [b'a'; 8]);
    // The refusal is the reader's own affair.
    put(bench, A, &way, 0, b'c').await.unwrap();
    assert_eq!(get(bench, B, &reader, 0).await, Ok(b'c'));
    assert_eq!(hosts_of(&*driver).await, BTreeMap::from([(A, ReadWrite), (B, ReadOnly)]));
}

pub async fn the_second_grant_is_boring_and_another_mode_is_refused(bench: &dyn Bench) {
    let (driver, _behind) = exported(bench).await;
    if let Err(error) = driver.grant(V, A, &grant(A, ReadOnly)).await {
        // There is no other mode; it is still none of two.
        assert_eq!(error.kind, FaultKind::NotSupported, "{}", error.chain());
        let way = let_in(&*driver, A, ReadWrite).await;
        assert_eq!(let_in(&*driver, A, ReadWrite).await, way);
        return;
    }
    let way = let_in(&*driver, A, ReadOnly).await;
    assert_eq!(let_in(&*driver, A, ReadOnly).await, way);
    let error = driver.grant(V, A, &grant(A, ReadWrite)).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::InUse, "{}", error.chain());
    assert_eq!(put(bench, A, &way, 0, b'a').await, Err(Refused::Command));
    driver.revoke(V, A).await.unwrap();
    let way = let_in(&*driver, A, ReadWrite).await;
    put(bench, A, &way, 0, b'a').await.unwrap();
}

pub async fn nothing_is_granted_without_an_export(bench: &dyn Bench) {
    let driver = bench.driver();
    let error = driver.grant(V, A, &grant(A, ReadWrite)).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Gone, "{}", error.chain());
}

pub async fn a_host_without_the_protocol_is_refused(bench: &dyn Bench) {
    let (driver, _behind) = exported(bench).await;
    let spoken = driver.capabilities().protocol;
    let other = Protocol::ALL.into_iter().find(|protocol| *protocol != spoken).unwrap();
    let stranger = Initiator { port_name: "naa.5000000000000001".to_owned(), protocol: other };
    for initiators in [vec![], vec![stranger]] {
        let grant = Grant { mode: ReadWrite, initiators, authentication: None };
        let error = driver.grant(V, A, &grant).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::NotSupported, "{}", error.chain());
    }
    assert_eq!(hosts_of(&*driver).await, BTreeMap::new());
}

pub async fn a_revoked_host_is_out_and_the_others_are_not(bench: &dyn Bench) {
    let (driver, behind) = exported(bench).await;
    let (a, b) = (let_in(&*driver, A, ReadWrite).await, let_in(&*driver, B, ReadWrite).await);
    put(bench, A, &a, 0, b'a').await.unwrap();
    put(bench, B, &b, 1, b'b').await.unwrap();
    for host in [A, A, C] {
        driver.revoke(V, host).await.unwrap();
        assert_eq!(put(bench, A, &a, 0, b'x').await, Err(Refused::Out));
        assert_eq!(get(bench, A, &a, 0).await, Err(Refused::Out));
        assert_eq!(peek(&behind, 0), [b'a'; 8]);
        put(bench, B, &b, 1, b'c').await.unwrap();
    }
    driver.revoke(W, A).await.unwrap();
    let a = let_in(&*driver, A, ReadWrite).await;
    assert_eq!(get(bench, A, &a, 1).await, Ok(b'c'));
}

pub async fn no_write_lands_after_revoke<B: Bench + Clone>(bench: &B) {
    let (driver, behind) = exported(bench).await;
    for _ in 0..20 {
        let way = let_in(&*driver, A, ReadWrite).await;
        let (revoked, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = tokio::spawn({
            let (bench, revoked, written) = (bench.clone(), revoked.clone(), written.clone());
            async move {
                let mut after = 0;
                for number in 1_u64.. {
                    // A few more tries once it is out, then rest.
                    if revoked.load(Ordering::SeqCst) {
                        after += 1;
                        if after > 5 {
                            return;
                        }
                    }
                    let block = number.to_be_bytes().repeat(64);
                    if bench.write(&initiator(A), &way, 0, &block).await.is_ok() {
                        written.store(number, Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        // Revoke in the middle of it, not before it began.
        while written.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        driver.revoke(V, A).await.unwrap();
        let last = peek(&behind, 0);
        revoked.store(true, Ordering::SeqCst);
        writer.await.unwrap();
        assert_eq!(peek(&behind, 0), last);
    }
}

pub async fn unexport_puts_everybody_out(bench: &dyn Bench) {
    let (driver, behind) = exported(bench).await;
    let way = let_in(&*driver, A, ReadWrite).await;
    put(bench, A, &way, 0, b'a').await.unwrap();
    for _ in 0..2 {
        driver.unexport(V).await.unwrap();
        assert_eq!(put(bench, A, &way, 0, b'x').await, Err(Refused::Out));
        assert_eq!(peek(&behind, 0), [b'a'; 8]);
        assert!(!driver.exports().await.unwrap().contains_key(&V));
        assert_eq!(driver.export_of(V).await.unwrap(), None);
    }
    // An export that comes back does not bring old grants with it.
    driver.export(V, bench.blocks(V).await.0).await.unwrap();
    assert_eq!(hosts_of(&*driver).await, BTreeMap::new());
    assert_eq!(get(bench, A, &way, 0).await, Err(Refused::Out));
}

pub async fn a_resized_volume_is_larger_for_hosts(bench: &dyn Bench) {
    let (driver, behind) = exported(bench).await;
    let way = let_in(&*driver, A, ReadWrite).await;
    let end = SIZE / 512;
    assert_eq!(put(bench, A, &way, end, b'a').await, Err(Refused::Command));
    bench.grow(V, &behind, 2 * SIZE).await;
    let size = Capacity::from_bytes(2 * SIZE);
    for _ in 0..2 {
        driver.resized(V, size).await.unwrap();
        put(bench, A, &way, end, b'a').await.unwrap();
        assert_eq!(get(bench, A, &way, end).await, Ok(b'a'));
    }
    assert_eq!(driver.export_of(V).await.unwrap().unwrap().size, size);
    driver.resized(W, size).await.unwrap();
    assert!(!driver.exports().await.unwrap().contains_key(&W));
}

pub async fn limits_are_read_back_and_disturb_nobody(bench: &dyn Bench) {
    let rate = |iops, bytes| IoRate {
        iops: NonZeroU64::new(iops),
        bytes_per_second: NonZeroU64::new(bytes),
    };
    let (driver, _behind) = exported(bench).await;
    let limits_of = async || driver.export_of(V).await.unwrap().unwrap().limits;
    assert_eq!(limits_of().await, IoLimits::NONE);
    let way = let_in(&*driver, A, ReadWrite).await;
    let limits = IoLimits { volume: rate(90_000, 1 << 40), each_host: rate(0, 1 << 30) };
    if let Err(error) = driver.limit(V, &limits).await {
        // What cannot be kept is refused, not accepted and ignored.
        assert_eq!(error.kind, FaultKind::NotSupported, "{}", error.chain());
        assert_eq!(limits_of().await, IoLimits::NONE);
        return;
    }
    for _ in 0..2 {
        driver.limit(V, &limits).await.unwrap();
        assert_eq!(limits_of().await, limits);
        put(bench, A, &way, 0, b'a').await.unwrap();
    }
    assert_eq!(hosts_of(&*driver).await, BTreeMap::from([(A, ReadWrite)]));
    // A second export of the same keeps them, as it keeps the hosts; the end of the export does not.
    let_in(&*driver, B, ReadWrite).await;
    assert_eq!(limits_of().await, limits);
    driver.limit(V, &IoLimits::NONE).await.unwrap();
    assert_eq!(limits_of().await, IoLimits::NONE);
    driver.limit(V, &limits).await.unwrap();
    driver.unexport(V).await.unwrap();
    driver.limit(V, &limits).await.unwrap();
    driver.limit(W, &limits).await.unwrap();
    assert_eq!(driver.exports().await.unwrap(), BTreeMap::new());
    driver.export(V, bench.blocks(V).await.0).await.unwrap();
    assert_eq!(limits_of().await, IoLimits::NONE);
}

pub async fn exports_are_read_back(bench: &dyn Bench) {
    let driver = bench.driver();
    assert_eq!(driver.exports().await.unwrap(), BTreeMap::new());
    let (driver, _behind) = exported(bench).await;
    let way = let_in(&*driver, A, ReadWrite).await;
    driver.export(W, bench.blocks(W).await.0).await.unwrap();
    let exports = driver.exports().await.unwrap();
    assert_eq!(exports.keys().copied().collect::<Vec<_>>(), [V, W]);
    let facts = &exports[&V];
    assert_eq!(facts.size.bytes(), SIZE);
    let granted = grant(A, ReadWrite).names();
    assert_eq!((&facts.hosts[&A].connection, &facts.hosts[&A].grant), (&way, &granted));
    assert_eq!(driver.export_of(V).await.unwrap().as_ref(), Some(facts));
    assert!(exports[&W].hosts.is_empty());
    driver.revoke(V, A).await.unwrap();
    assert_eq!(hosts_of(&*driver).await, BTreeMap::new());
}

/// Credentials whose secrets are made of this word.
fn proof(word: &str) -> Authentication<Secret> {
    let secret = |word: String| Secret::new(word.repeat(16)[..16].to_owned());
    let target = Credentials { name: "target".to_owned(), secret: secret(format!("{word}!")) };
    let initiator = Credentials { name: word.to_owned(), secret: secret(word.to_owned()) };
    Authentication { initiator, target: Some(target) }
}

fn proving(host: HostId, word: &str) -> Grant<Secret> {
    Grant { authentication: Some(proof(word)), ..grant(host, ReadWrite) }
}

pub async fn a_grant_with_credentials_lets_in_who_proves_them(bench: &dyn Bench) {
    let (driver, behind) = exported(bench).await;
    let (a, b) = (initiator(A), initiator(B));
    if !driver.capabilities().credentials_per_host {
        // Nobody is let in as if something had been proved.
        let error = driver.grant(V, A, &proving(A, "alpha")).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::NotSupported, "{}", error.chain());
        assert_eq!(hosts_of(&*driver).await, BTreeMap::new());
        return;
    }
    let way = driver.grant(V, A, &proving(A, "alpha")).await.unwrap();
    driver.grant(V, B, &proving(B, "beta")).await.unwrap();
    let facts = driver.export_of(V).await.unwrap().unwrap();
    assert_eq!(facts.hosts[&A].grant, proving(A, "alpha").names());
    // The right name is not enough, nor another host's secret, nor half of the credentials.
    let renamed = |name: &str, word: &str| {
        let mut proof = proof(word);
        proof.initiator.name = name.to_owned();
        Some(proof)
    };
    for wrong in [None, Some(proof("beta")), renamed("alpha", "beta"), renamed("beta", "alpha")] {
        bench.carry(&a, wrong);
        assert_eq!(put(bench, A, &way, 0, b'x').await, Err(Refused::Out));
        assert_eq!(get(bench, A, &way, 0).await, Err(Refused::Out));
    }
    assert_eq!(peek(&behind, 0), [0; 8]);
    for (host, of, word) in [(A, &a, "alpha"), (B, &b, "beta")] {
        bench.carry(of, Some(proof(word)));
        put(bench, host, &way, 0, b'a').await.unwrap();
    }
    assert_eq!(peek(&behind, 0), [b'a'; 8]);
}

pub async fn other_credentials_are_another_grant(bench: &dyn Bench) {
    let (driver, _behind) = exported(bench).await;
    let a = initiator(A);
    let way = driver.grant(V, A, &proving(A, "first")).await.unwrap();
    bench.carry(&a, Some(proof("first")));
    put(bench, A, &way, 0, b'a').await.unwrap();
    assert_eq!(driver.grant(V, A, &proving(A, "first")).await.unwrap(), way);
    let one_way = Authentication { target: None, ..proof("first") };
    let one_way = Grant { authentication: Some(one_way), ..grant(A, ReadWrite) };
    for other in [proving(A, "later"), grant(A, ReadWrite), one_way] {
        let error = driver.grant(V, A, &other).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::InUse, "{}", error.chain());
    }
    assert_eq!(get(bench, A, &way, 0).await, Ok(b'a'));
    // The session of the old ones ends with them, and they are good for nothing afterwards.
    driver.revoke(V, A).await.unwrap();
    driver.grant(V, A, &proving(A, "later")).await.unwrap();
    assert_eq!(get(bench, A, &way, 0).await, Err(Refused::Out));
    bench.carry(&a, Some(proof("later")));
    assert_eq!(get(bench, A, &way, 0).await, Ok(b'a'));
}

pub async fn what_hosts_do_is_counted_by_host(bench: &dyn Bench) {
    let (driver, _behind) = exported(bench).await;
    let mode = if driver.capabilities().read_only_per_host { ReadOnly } else { ReadWrite };
    let way = let_in(&*driver, A, ReadWrite).await;
    let way_b = let_in(&*driver, B, mode).await;
    for block in 0..3 {
        put(bench, A, &way, block, b'a').await.unwrap();
    }
    assert_eq!(get(bench, B, &way_b, 1).await, Ok(b'a'));
    let refused = u64::from(put(bench, B, &way_b, 1, b'b').await.is_err());
    let usage = driver.usage_of(V).await.unwrap().unwrap();
    assert_eq!(usage.hosts.keys().copied().collect::<Vec<_>>(), [A, B]);
    let (a, b) = (&usage.hosts[&A], &usage.hosts[&B]);
    assert_eq!((a.writes.count(), a.written_bytes, a.reads.count()), (3, 3 * 512, 0));
    assert_eq!((b.writes.count(), b.reads.count(), b.read_bytes), (1 - refused, 1, 512));
    assert_eq!((a.errors.write_protected, b.errors.write_protected), (0, refused));
    let all = driver.usage().await.unwrap();
    assert_eq!(all.volumes.keys().copied().collect::<Vec<_>>(), [V]);
    // What the others did stays; who is let in again starts again.
    driver.revoke(V, A).await.unwrap();
    let usage = driver.usage_of(V).await.unwrap().unwrap();
    assert_eq!(usage.hosts.keys().copied().collect::<Vec<_>>(), [B]);
    assert_eq!(usage.hosts[&B].reads.count(), 1);
    let_in(&*driver, A, ReadWrite).await;
    let usage = driver.usage_of(V).await.unwrap().unwrap();
    assert_eq!((usage.hosts[&A].writes.count(), usage.hosts[&A].written_bytes), (0, 0));
    driver.unexport(V).await.unwrap();
    assert_eq!(driver.usage_of(V).await.unwrap(), None);
}
