//! What only this driver has: initiator names behind hosts, and a target that somebody may change
//! behind its back. What every driver promises is in the conformance suite, which testkit runs
//! against this one over real sessions.

use osds_model::Initiator;

use super::*;

const V: VolumeId = VolumeId::from_u128(1);
const A: HostId = HostId::from_u128(0xa);
const B: HostId = HostId::from_u128(0xb);

async fn exported() -> EmbeddedTarget {
    let settings = EmbeddedSettings {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        advertise: Vec::new(),
        iqn_prefix: IQN_PREFIX.to_owned(),
        limits: Limits::default(),
    };
    let driver = EmbeddedTarget::start(settings).unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let source = BlockSource::of_file(file, "v".into(), Capacity::from_bytes(1 << 20));
    driver.export(V, source).await.unwrap();
    driver
}

fn grant_to(mode: AttachMode, names: &[&str]) -> Grant<Secret> {
    let initiator =
        |name: &&str| Initiator { port_name: (*name).to_owned(), protocol: Protocol::Iscsi };
    Grant { mode, initiators: names.iter().map(initiator).collect(), authentication: None }
}

async fn grant_of(driver: &EmbeddedTarget, host: HostId) -> Option<Grant<()>> {
    let mut facts = driver.export_of(V).await.unwrap().unwrap();
    assert_eq!(driver.exports().await.unwrap()[&V], facts);
    facts.hosts.remove(&host).map(|facts| facts.grant)
}

#[tokio::test]
async fn a_name_taken_away_or_changed_behind_our_back_is_seen_and_put_right() {
    let driver = exported().await;
    let both = grant_to(AttachMode::ReadWrite, &["iqn.x:A1", "iqn.x:a2"]);
    driver.grant(V, A, &both).await.unwrap();
    assert_eq!(grant_of(&driver, A).await, Some(both.names()));
    let (target, iqn) = (&driver.inner.target, driver.inner.iqn(V));

    target.revoke(&iqn, "iqn.x:a1").unwrap();
    let half = grant_to(AttachMode::ReadWrite, &["iqn.x:a2"]);
    assert_eq!(grant_of(&driver, A).await, Some(half.names()));

    target.grant(&iqn, "iqn.x:a1", Access::ReadOnly, None).unwrap();
    target.revoke(&iqn, "iqn.x:a2").unwrap();
    // Let in, though by no name as it was granted: somebody has to put it out first.
    let none = grant_to(AttachMode::ReadWrite, &[]);
    assert_eq!(grant_of(&driver, A).await, Some(none.names()));

    driver.revoke(V, A).await.unwrap();
    assert_eq!(grant_of(&driver, A).await, None);
    driver.grant(V, A, &both).await.unwrap();
    assert_eq!(grant_of(&driver, A).await, Some(both.names()));
}

#[tokio::test]
async fn a_proof_that_is_no_longer_asked_for_is_seen_and_put_right() {
    let driver = exported().await;
    let secret = |text: &str| Secret::new(text.to_owned());
    let proving = |text: &str| {
        let initiator = osds_model::Credentials { name: "a".to_owned(), secret: secret(text) };
        let authentication = Some(osds_model::Authentication { initiator, target: None });
        Grant { authentication, ..grant_to(AttachMode::ReadWrite, &["iqn.x:a"]) }
    };
    let grant = proving("a secret of ours");
    driver.grant(V, A, &grant).await.unwrap();
    assert_eq!(grant_of(&driver, A).await, Some(grant.names()));
    let (target, iqn) = (&driver.inner.target, driver.inner.iqn(V));
    let other = Admitted::by(&proving("a secret of theirs")).unwrap().proof;
    for changed in [None, other] {
        target.revoke(&iqn, "iqn.x:a").unwrap();
        target.grant(&iqn, "iqn.x:a", Access::ReadWrite, changed).unwrap();
        // By no name as it was granted: it is put out before anything else.
        let seen = grant_of(&driver, A).await.unwrap();
        assert_eq!(seen.initiators, []);
        driver.revoke(V, A).await.unwrap();
        driver.grant(V, A, &grant).await.unwrap();
        assert_eq!(grant_of(&driver, A).await, Some(grant.names()));
    }
    // A secret that CHAP forbids is refused before anything is done.
    driver.revoke(V, A).await.unwrap();
    let error = driver.grant(V, A, &proving("short")).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Broken);
    assert!(!error.chain().contains("short"), "{}", error.chain());
    assert_eq!(grant_of(&driver, A).await, None);
}

#[tokio::test]
async fn a_name_spelt_otherwise_is_the_same_name() {
    let driver = exported().await;
    let a = grant_to(AttachMode::ReadWrite, &["iqn.x:host"]);
    driver.grant(V, A, &a).await.unwrap();
    for mode in [AttachMode::ReadWrite, AttachMode::ReadOnly] {
        let error = driver.grant(V, B, &grant_to(mode, &["IQN.X:Host"])).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::InUse, "{}", error.chain());
        assert!(error.chain().contains("the same initiator"), "{}", error.chain());
        driver.revoke(V, B).await.unwrap();
        assert_eq!(
            (grant_of(&driver, A).await, grant_of(&driver, B).await),
            (Some(a.names()), None)
        );
    }
}

#[tokio::test]
async fn what_is_not_a_name_lets_nobody_in_and_leaves_nothing_behind() {
    let driver = exported().await;
    for names in [["iqn.x:good", "rubbish"], ["rubbish", "iqn.x:good"]] {
        let bad = grant_to(AttachMode::ReadWrite, &names);
        let error = driver.grant(V, A, &bad).await.unwrap_err();
        assert!(error.chain().contains("rubbish"), "{}", error.chain());
        assert_eq!(grant_of(&driver, A).await, None);
        driver.revoke(V, A).await.unwrap();
    }
    // The record was mended: the next grant is another one and goes well.
    let good = grant_to(AttachMode::ReadOnly, &["iqn.x:good"]);
    driver.grant(V, A, &good).await.unwrap();
    assert_eq!(grant_of(&driver, A).await, Some(good.names()));
}

#[test]
fn the_identity_is_the_volumes_own() {
    let volume = VolumeId::from_u128(0x01a2_03f1_15d9_7260_837a_4ac2_746f_9cb3);
    let identity = identity(volume);
    assert_eq!(u128::from_be_bytes(identity.naa), 0x61a2_03f1_15d9_7260_837a_4ac2_746f_9cb3);
    assert_eq!(identity.serial, "01a203f1-15d9-7260-837a-4ac2746f9cb3");
}

/// An address is the volume's id and nothing else, and no id is given twice: so what a host has once
/// known at an address never comes to mean another volume, not even after a delete.
#[tokio::test]
async fn an_address_belongs_to_one_volume_for_good() {
    let driver = exported().await;
    let bits = (0..128).map(|bit| VolumeId::from_u128(1 << bit));
    let addresses: Vec<_> = bits
        .map(|volume| {
            let way = driver.inner.connection(volume);
            let Connection::Iscsi { iqn, lun, .. } = way else { panic!("{way:?}") };
            assert!(iqn.ends_with(&format!(":{volume}")), "{iqn}");
            (iqn, lun)
        })
        .collect();
    let different: std::collections::HashSet<_> = addresses.iter().collect();
    assert_eq!(different.len(), addresses.len());
}

#[tokio::test]
async fn blocks_are_exchanged_only_under_nobody() {
    let driver = exported().await;
    let before = driver.export_of(V).await.unwrap().unwrap().blocks;
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let other = |file: &std::fs::File| {
        let size = Capacity::from_bytes(1 << 20);
        BlockSource::of_file(file.try_clone().unwrap(), "v".into(), size)
    };
    let grant = grant_to(AttachMode::ReadWrite, &["iqn.x:a"]);
    driver.grant(V, A, &grant).await.unwrap();
    assert_eq!(driver.export(V, other(&file)).await.unwrap_err().kind, FaultKind::InUse);
    assert_eq!(driver.export_of(V).await.unwrap().unwrap().blocks, before);
    driver.revoke(V, A).await.unwrap();
    driver.export(V, other(&file)).await.unwrap();
    driver.grant(V, A, &grant).await.unwrap();
    let now = driver.export_of(V).await.unwrap().unwrap();
    assert_eq!((now.blocks, now.hosts.len()), (other(&file).id().unwrap(), 1));
    assert_ne!(now.blocks, before);
}
