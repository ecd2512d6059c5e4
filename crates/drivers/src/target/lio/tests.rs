//! The driver over an imitated kernel: every call it makes, every place where it may be cut short,
//! and what somebody may change behind its back. That the kernel does what is imitated is shown in
//! the lab.

mod kernel;

use std::fs::{self, File};
use std::path::Path;

use expect_test::expect;
use osds_model::{AttachMode, Authentication, Credentials, Initiator};

use self::kernel::Lio;
use super::*;
use crate::configfs::imitation::Imitation;

const V: VolumeId = VolumeId::from_u128(0x01a2_03f1_15d9_7260_837a_4ac2_746f_9cb3);
const A: HostId = HostId::from_u128(0xa);
const B: HostId = HostId::from_u128(0xb);
const SIZE: u64 = 1 << 20;

type Wish = BTreeMap<HostId, Grant<Secret>>;

struct Bench {
    home: tempfile::TempDir,
    kernel: Lio,
    imitation: Arc<Imitation>,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = File::create(home.path().join("v.img")).unwrap();
        file.set_len(SIZE).unwrap();
        let (kernel, imitation) = Self::boot(home.path());
        Self { home, kernel, imitation }
    }

    fn boot(home: &Path) -> (Lio, Arc<Imitation>) {
        let tree = home.join("tree");
        fs::remove_dir_all(&tree).ok();
        fs::create_dir_all(tree.join("core")).unwrap();
        fs::write(tree.join("dbroot"), home.join("db").to_str().unwrap()).unwrap();
        let kernel = Lio::default();
        let imitation = Arc::new(Imitation::at(&tree, kernel.clone()));
        (kernel, imitation)
    }

    /// The machine starts again: its kernel knows nothing any more.
    fn reboot(&mut self) {
        (self.kernel, self.imitation) = Self::boot(self.home.path());
    }

    /// A driver as after a start of ours.
    fn driver(&self) -> LioTarget {
        self.driver_with(&["192.0.2.1:3260", "[2001:db8::1]:3260"], Duration::from_secs(60))
    }

    fn driver_with(&self, listen: &[&str], drain_timeout: Duration) -> LioTarget {
        let settings = LioSettings {
            backend: "fast".to_owned(),
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            advertise: Vec::new(),
            iqn_prefix: "iqn.2017-10.io.opensds".to_owned(),
            drain_timeout,
            home: self.home.path().join("notes"),
        };
        let tree = Configfs::imitated(self.tree(), self.imitation.clone());
        LioTarget::on(settings, tree, self.home.path().join("sys")).unwrap()
    }

    fn tree(&self) -> PathBuf {
        self.home.path().join("tree")
    }

    fn source(&self) -> BlockSource {
        let path = self.home.path().join("v.img");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        BlockSource::of_file(file, path, Capacity::from_bytes(SIZE))
    }

    /// What the dock does until all is as wished.
    fn converge(&self, driver: &LioTarget, wish: &Wish) -> Result<(), DriverError> {
        let inner = &driver.inner;
        for _ in 0..20 {
            let facts = inner.facts(V)?;
            let served = facts.map(|facts| facts.hosts).unwrap_or_default();
            let is_wished = |host: &HostId, facts: &crate::HostFacts| {
                wish.get(host).is_some_and(|grant| grant.names() == facts.grant)
            };
            if let Some((host, _)) = served.iter().find(|(host, facts)| !is_wished(host, facts)) {
                inner.revoke(V, *host)?;
            } else if let Some((host, grant)) =
                wish.iter().find(|(host, _)| !served.contains_key(host))
            {
                inner.export(V, &self.source())?;
                inner.grant(V, *host, grant)?;
            } else if wish.is_empty() {
                return inner.take_down(V, true);
            } else {
                return Ok(());
            }
        }
        panic!("it does not converge: {}", self.imitation.picture());
    }

    fn attribute(&self, path: &str) -> PathBuf {
        self.tree().join(driver_group()).join(path)
    }
}

fn driver_group() -> String {
    Names::of("fast", "iqn.2017-10.io.opensds").group(V)
}

fn initiators(names: &[&str]) -> Vec<Initiator> {
    let iscsi = |name: &&str| Initiator { port_name: (*name).into(), protocol: Protocol::Iscsi };
    names.iter().map(iscsi).collect()
}

fn proof(word: &str) -> Option<Authentication<Secret>> {
    let of =
        |name: &str| Credentials { name: name.to_owned(), secret: Secret::new(name.repeat(3)) };
    Some(Authentication { initiator: of(word), target: Some(of(&format!("{word}-target"))) })
}

fn rw() -> Grant<Secret> {
    let (mode, initiators) = (AttachMode::ReadWrite, initiators(&["iqn.x:a1", "iqn.x:a0"]));
    Grant { mode, initiators, authentication: proof("alpha") }
}

fn ro() -> Grant<Secret> {
    let (mode, initiators) = (AttachMode::ReadOnly, initiators(&["iqn.x:b"]));
    Grant { mode, initiators, authentication: None }
}

fn both() -> Wish {
    Wish::from([(A, rw()), (B, ro())])
}

#[test]
fn a_volumes_life_in_the_kernel() {
    let bench = Bench::new();
    let driver = bench.driver();
    let inner = &driver.inner;
    bench.imitation.transcript();
    inner.export(V, &bench.source()).unwrap();
    let home = bench.home.path().display().to_string();
    let said = |bench: &Bench| {
        let text = bench.imitation.transcript().replace(&home, "HOME");
        let text = text.replace(&driver_group(), "GROUP").replace(&V.to_string(), "V");
        let blocks = text.split("osds blocks ").nth(1).and_then(|rest| rest.split('\'').next());
        blocks.map_or(text.clone(), |blocks| text.replace(blocks, "DEVICE:INODE"))
    };
    expect![[r"
        mkdir core/fileio_1493
        mkdir core/fileio_1493/osds.fast.V
        echo -n fd_dev_name=HOME/v.img,fd_dev_size=1048576 > core/fileio_1493/osds.fast.V/control
        echo -n 115d97260837a4ac2746f9cb3-V > core/fileio_1493/osds.fast.V/wwn/vpd_unit_serial
        echo -n 0x1a203f > core/fileio_1493/osds.fast.V/wwn/company_id
        echo -n OSDS > core/fileio_1493/osds.fast.V/wwn/vendor_id
        echo -n Volume > core/fileio_1493/osds.fast.V/wwn/product_id
        echo -n 1 > core/fileio_1493/osds.fast.V/wwn/revision
        echo -n 'osds blocks DEVICE:INODE' > core/fileio_1493/osds.fast.V/alias
        echo -n 1 > core/fileio_1493/osds.fast.V/enable
        echo -n 0 > core/fileio_1493/osds.fast.V/attrib/emulate_tas
        mkdir iscsi/iqn.2017-10.io.opensds:V
        mkdir GROUP
        echo -n 0 > GROUP/attrib/demo_mode_discovery
        echo -n 1 > GROUP/attrib/prod_mode_write_protect
        mkdir GROUP/lun/lun_0
        ln -s core/fileio_1493/osds.fast.V GROUP/lun/lun_0/volume
        mkdir GROUP/np/192.0.2.1:3260
        mkdir GROUP/np/[2001:db8::1]:3260
        echo -n 1 > GROUP/enable
    "]]
    .assert_eq(&said(&bench));
    let way = inner.grant(V, A, &rw()).unwrap();
    inner.grant(V, B, &ro()).unwrap();
    expect![[r"
        mkdir GROUP/acls/iqn.x:a1
        echo -n 'osds 0000000000000000000000000000000a 1/2' > GROUP/acls/iqn.x:a1/tag
        mkdir GROUP/acls/iqn.x:a1/lun_1
        ln -s GROUP/lun/lun_0 GROUP/acls/iqn.x:a1/lun_1/mapped
        echo -n 0 > GROUP/acls/iqn.x:a1/lun_1/write_protect
        echo -n alpha-target > GROUP/acls/iqn.x:a1/auth/userid_mutual
        echo -n alpha-targetalpha-targetalpha-target > GROUP/acls/iqn.x:a1/auth/password_mutual
        echo -n alpha > GROUP/acls/iqn.x:a1/auth/userid
        echo -n alphaalphaalpha > GROUP/acls/iqn.x:a1/auth/password
        mkdir GROUP/acls/iqn.x:a0
        echo -n 'osds 0000000000000000000000000000000a 2/2' > GROUP/acls/iqn.x:a0/tag
        mkdir GROUP/acls/iqn.x:a0/lun_1
        ln -s GROUP/lun/lun_0 GROUP/acls/iqn.x:a0/lun_1/mapped
        echo -n 0 > GROUP/acls/iqn.x:a0/lun_1/write_protect
        echo -n alpha-target > GROUP/acls/iqn.x:a0/auth/userid_mutual
        echo -n alpha-targetalpha-targetalpha-target > GROUP/acls/iqn.x:a0/auth/password_mutual
        echo -n alpha > GROUP/acls/iqn.x:a0/auth/userid
        echo -n alphaalphaalpha > GROUP/acls/iqn.x:a0/auth/password
        mkdir GROUP/acls/iqn.x:b
        echo -n 'osds 0000000000000000000000000000000b 1/1' > GROUP/acls/iqn.x:b/tag
        mkdir GROUP/acls/iqn.x:b/lun_1
        ln -s GROUP/lun/lun_0 GROUP/acls/iqn.x:b/lun_1/mapped
        echo -n 0 > GROUP/acls/iqn.x:b/attrib/authentication
    "]]
    .assert_eq(&said(&bench));
    let portals = vec!["192.0.2.1:3260".to_owned(), "[2001:db8::1]:3260".to_owned()];
    let iqn = format!("iqn.2017-10.io.opensds:{V}");
    assert_eq!(way, Connection::Iscsi { iqn, portals, lun: 1 });
    let facts = inner.facts(V).unwrap().unwrap();
    assert_eq!((facts.size.bytes(), facts.blocks), (SIZE, bench.source().id().unwrap()));
    assert_eq!(facts.hosts[&A].grant, rw().names());
    assert_eq!(facts.hosts[&B].grant, ro().names());
    // All of it again is boring.
    inner.export(V, &bench.source()).unwrap();
    inner.grant(V, A, &rw()).unwrap();
    assert_eq!(bench.imitation.transcript(), "");
    inner.revoke(V, B).unwrap();
    inner.revoke(V, B).unwrap();
    inner.revoke(V, A).unwrap();
    inner.take_down(V, true).unwrap();
    expect![[r"
        rm GROUP/acls/iqn.x:b/lun_1/mapped
        rmdir GROUP/acls/iqn.x:b/lun_1
        rmdir GROUP/acls/iqn.x:b
        rm GROUP/acls/iqn.x:a0/lun_1/mapped
        rmdir GROUP/acls/iqn.x:a0/lun_1
        rmdir GROUP/acls/iqn.x:a0
        rm GROUP/acls/iqn.x:a1/lun_1/mapped
        rmdir GROUP/acls/iqn.x:a1/lun_1
        rmdir GROUP/acls/iqn.x:a1
        echo -n 0 > GROUP/enable
        rm GROUP/lun/lun_0/volume
        rmdir GROUP/lun/lun_0
        rmdir GROUP/np/192.0.2.1:3260
        rmdir GROUP/np/[2001:db8::1]:3260
        rmdir GROUP
        rmdir iscsi/iqn.2017-10.io.opensds:V
        rmdir core/fileio_1493/osds.fast.V
        rmdir core/fileio_1493
    "]]
    .assert_eq(&said(&bench));
    assert_eq!(inner.exports().unwrap(), BTreeMap::new());
}

/// Nobody who could log in sees anything but the volume, in his own mode.
fn nobody_sees_a_half(driver: &LioTarget) {
    for (host, let_in) in driver.inner.hosts(V).unwrap() {
        let acls = fs::read_dir(driver.inner.tree.path(driver_group()).join("acls")).unwrap();
        for acl in acls.map(|entry| entry.unwrap().path()) {
            let read = |name: &str| fs::read_to_string(acl.join(name)).unwrap_or_default();
            let opens = !read("auth/password").trim().is_empty()
                || read("attrib/authentication").trim() == "0";
            let protected = if acl.ends_with("iqn.x:b") { "1" } else { "0" };
            assert!(
                !opens
                    || (acl.join("lun_1/mapped").is_symlink()
                        && read("lun_1/write_protect").trim() == protected),
                "{host} {:?} {}",
                let_in.names,
                acl.display()
            );
        }
    }
}

#[test]
fn it_converges_from_wherever_it_was_cut_short() {
    let (wished, nothing) = (both(), Wish::new());
    let whole = Bench::new();
    let driver = whole.driver();
    let bare = whole.imitation.picture();
    whole.converge(&driver, &wished).unwrap();
    let blocks = |bench: &Bench, picture: String| {
        // Every bench has a file of its own.
        let home = bench.home.path().display().to_string();
        let mut lines: Vec<_> =
            picture.lines().filter(|line| !line.contains("osds blocks")).collect();
        lines.sort_unstable();
        lines.join("\n").replace(&home, "HOME")
    };
    let (bare, full) = (blocks(&whole, bare), blocks(&whole, whole.imitation.picture()));
    assert_ne!(bare, full);
    let mut cuts = 0;
    for (from, to) in [(&nothing, &wished), (&wished, &nothing)] {
        for calls in 0.. {
            let bench = Bench::new();
            let driver = bench.driver();
            bench.converge(&driver, from).unwrap();
            bench.imitation.cut_after(calls);
            let outcome = bench.converge(&driver, to);
            let was_cut = bench.imitation.was_cut() && outcome.is_err();
            bench.imitation.go_on();
            // The next one knows nothing but what the kernel says.
            let driver = bench.driver();
            // Who is on his way out may.
            if from.is_empty() && driver.inner.facts(V).unwrap().is_some() {
                nobody_sees_a_half(&driver);
            }
            for (wish, picture) in [(&wished, &full), (&nothing, &bare)] {
                bench.converge(&driver, wish).unwrap();
                assert_eq!(&blocks(&bench, bench.imitation.picture()), picture, "{calls} calls");
            }
            cuts += usize::from(was_cut);
            if !was_cut {
                break;
            }
        }
    }
    assert!(cuts > 50, "{cuts} cuts");
}

#[test]
fn the_check_of_halves_can_fail() {
    let bench = Bench::new();
    let driver = bench.driver();
    bench.converge(&driver, &both()).unwrap();
    nobody_sees_a_half(&driver);
    for sabotage in ["acls/iqn.x:b/lun_1/write_protect", "acls/iqn.x:a1/lun_1/write_protect"] {
        let file = bench.attribute(sabotage);
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, if before.trim() == "1" { "0" } else { "1" }).unwrap();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            nobody_sees_a_half(&driver);
        }));
        assert!(seen.is_err(), "{sabotage}");
        fs::write(&file, before).unwrap();
    }
}

#[test]
fn what_somebody_changes_by_hand_is_seen_and_put_right() {
    let bench = Bench::new();
    let driver = bench.driver();
    bench.converge(&driver, &both()).unwrap();
    let full = bench.imitation.picture();
    let write = |path: &str, value: &str| fs::write(bench.attribute(path), value).unwrap();
    let tree = Configfs::imitated(bench.tree(), bench.imitation.clone());
    let changes: [(&str, &dyn Fn()); 10] = [
        ("a reader may write", &|| write("acls/iqn.x:b/lun_1/write_protect", "0")),
        ("a writer may only read", &|| write("acls/iqn.x:a1/lun_1/write_protect", "1")),
        ("a name is believed", &|| write("acls/iqn.x:a0/attrib/authentication", "0")),
        ("anybody is let in", &|| write("attrib/generate_node_acls", "1")),
        ("nobody has to prove anything", &|| write("attrib/authentication", "0")),
        ("it is switched off", &|| write("enable", "0")),
        ("a portal is gone", &|| fs::remove_dir_all(bench.attribute("np/192.0.2.1:3260")).unwrap()),
        ("an ACL is gone", &|| {
            let acl = format!("{}/acls/iqn.x:a0", driver_group());
            tree.unlink(format!("{acl}/lun_1/mapped")).unwrap();
            tree.remove(format!("{acl}/lun_1")).unwrap();
            tree.remove(acl).unwrap();
        }),
        ("a stranger is let in", &|| {
            let acl = format!("{}/acls/iqn.x:stranger", driver_group());
            tree.make(&acl).unwrap();
            tree.make(format!("{acl}/lun_1")).unwrap();
            let lun = format!("{}/lun/lun_0", driver_group());
            tree.link(format!("{acl}/lun_1/m"), lun).unwrap();
        }),
        ("another password", &|| write("acls/iqn.x:a1/auth/password", "guessable")),
    ];
    for (what, change) in changes {
        change();
        let facts = driver.inner.facts(V).unwrap().unwrap();
        let is_as_wished = facts.hosts.len() == 2
            && facts.hosts[&A].grant == rw().names()
            && facts.hosts[&B].grant == ro().names();
        assert!(!is_as_wished, "{what}: nobody noticed");
        bench.converge(&driver, &both()).unwrap();
        assert_eq!(bench.imitation.picture(), full, "{what}");
    }
    // A LUN that leads nowhere is no export; who is mapped to it sees nothing.
    tree.unlink(format!("{}/lun/lun_0/volume", driver_group())).unwrap();
    assert_eq!(driver.inner.facts(V).unwrap(), None);
    bench.converge(&driver, &both()).unwrap();
    assert_eq!(bench.imitation.picture(), full);
}

#[test]
fn after_a_reboot_of_the_machine_all_is_made_again() {
    let mut bench = Bench::new();
    bench.converge(&bench.driver(), &both()).unwrap();
    let full = bench.imitation.picture();
    bench.reboot();
    let driver = bench.driver();
    assert_eq!(driver.inner.facts(V).unwrap(), None);
    bench.converge(&driver, &both()).unwrap();
    assert_eq!(bench.imitation.picture(), full);
}

#[test]
fn what_others_have_is_left_alone() {
    let bench = Bench::new();
    let tree = Configfs::imitated(bench.tree(), bench.imitation.clone());
    let theirs = ["core/iblock_0", "core/iblock_0/vol1", "core/fileio_1493"];
    theirs.iter().for_each(|path| assert!(tree.make(path).unwrap()));
    let strange = format!("core/fileio_1493/osds.other.{V}");
    tree.make(&strange).unwrap();
    tree.make("iscsi").unwrap();
    tree.make("iscsi/iqn.2003-01.org.linux-iscsi:x").unwrap();
    let before = bench.imitation.picture();
    let driver = bench.driver();
    for wish in [both(), Wish::new()] {
        bench.converge(&driver, &wish).unwrap();
    }
    assert_eq!(bench.imitation.picture(), before);
}

#[test]
fn a_host_whose_commands_do_not_end_is_not_said_to_be_out() {
    let bench = Bench::new();
    let driver = bench.driver_with(&["192.0.2.1:3260"], Duration::from_millis(50));
    bench.converge(&driver, &both()).unwrap();
    let inner = &driver.inner;
    bench.kernel.storage.hang(true);
    for _ in 0..2 {
        let error = inner.revoke(V, A).unwrap_err();
        assert_eq!(error.kind, FaultKind::Temporary);
        assert!(error.chain().contains("does not answer"), "{}", error.chain());
        let facts = inner.exports().unwrap().remove(&V).unwrap();
        assert!(facts.hosts[&A].grant.initiators.is_empty(), "as granted");
        assert_eq!(facts.hosts[&B].grant, ro().names());
        assert_eq!(inner.grant(V, A, &rw()).unwrap_err().kind, FaultKind::Temporary);
        assert_eq!(inner.usage_of(V).unwrap(), None, "nobody waits for counters");
    }
    bench.kernel.storage.hang(false);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while inner.is_leaving(V) {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
    inner.revoke(V, A).unwrap();
    let facts = inner.facts(V).unwrap().unwrap();
    assert_eq!(facts.hosts.keys().copied().collect::<Vec<_>>(), [B]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let bench = Bench::new();
    let driver = bench.driver();
    let inner = &driver.inner;
    let kind = |outcome: Result<Connection, DriverError>| outcome.unwrap_err().kind;
    assert_eq!(kind(inner.grant(V, A, &rw())), FaultKind::Gone);
    bench.converge(&driver, &both()).unwrap();
    bench.imitation.transcript();
    let other_mode = Grant { mode: AttachMode::ReadOnly, ..rw() };
    let other_secret = Grant { authentication: proof("beta"), ..rw() };
    let mut same_name = rw();
    if let Some(proof) = &mut same_name.authentication {
        proof.initiator.secret = Secret::new("another secret".to_owned());
    }
    for other in [other_mode, other_secret, same_name, Grant { authentication: None, ..rw() }] {
        assert_eq!(kind(inner.grant(V, A, &other)), FaultKind::InUse);
    }
    let c = HostId::from_u128(0xc);
    let of = |names: &[&str]| Grant { initiators: initiators(names), ..ro() };
    assert_eq!(kind(inner.grant(V, c, &of(&["IQN.x:A0"]))), FaultKind::InUse);
    assert_eq!(kind(inner.grant(V, c, &of(&[]))), FaultKind::NotSupported);
    assert_eq!(kind(inner.grant(V, c, &of(&["iqn.x/../../acls/x"]))), FaultKind::Broken);
    let nulled = Grant { authentication: proof("NULLA"), ..of(&["iqn.x:c"]) };
    assert_eq!(kind(inner.grant(V, c, &nulled)), FaultKind::NotSupported);
    assert_eq!(bench.imitation.transcript(), "");
    // Other blocks under the name, while hosts are in: not beneath them.
    let path = bench.home.path().join("v.img");
    fs::rename(&path, bench.home.path().join("old.img")).unwrap();
    File::create(&path).unwrap().set_len(SIZE).unwrap();
    assert_eq!(inner.export(V, &bench.source()).unwrap_err().kind, FaultKind::InUse);
    inner.revoke(V, A).unwrap();
    inner.revoke(V, B).unwrap();
    inner.export(V, &bench.source()).unwrap();
    assert_eq!(inner.facts(V).unwrap().unwrap().blocks, bench.source().id().unwrap());
    let comma = bench.home.path().join("a,b");
    let source = BlockSource { path: comma, ..bench.source() };
    inner.take_down(V, true).unwrap();
    assert_eq!(inner.export(V, &source).unwrap_err().kind, FaultKind::NotSupported);
}

#[test]
fn a_file_that_grew_is_offered_so() {
    let bench = Bench::new();
    let driver = bench.driver();
    bench.converge(&driver, &both()).unwrap();
    let size = Capacity::from_bytes(2 * SIZE);
    for _ in 0..2 {
        driver.inner.resized(V, size).unwrap();
        assert_eq!(driver.inner.facts(V).unwrap().unwrap().size, size);
    }
    driver.inner.resized(VolumeId::from_u128(9), size).unwrap();
    assert_eq!(driver.inner.facts(V).unwrap().unwrap().hosts.len(), 2);
}

#[test]
fn reservations_come_back_without_those_who_were_put_out() {
    let mut bench = Bench::new();
    let driver = bench.driver();
    bench.converge(&driver, &both()).unwrap();
    let file = bench.home.path().join(format!("db/pr/aptpl_{}", names::serial(V)));
    let kept = ["iqn.x:a1", "iqn.x:b"].map(|name| {
        format!("PR_REG_START: 0\ninitiator_node={name}\nsa_res_key=1\nPR_REG_END: 0\n")
    });
    fs::write(&file, kept.concat()).unwrap();
    driver.inner.revoke(V, B).unwrap();
    // Let in again, it would have to register again.
    bench.converge(&driver, &both()).unwrap();
    bench.reboot();
    let driver = bench.driver();
    assert!(driver.keeps_reservations(V));
    bench.converge(&driver, &both()).unwrap();
    let said = bench.imitation.transcript();
    let fed: Vec<_> = said.lines().filter(|line| line.contains("res_aptpl_metadata")).collect();
    assert_eq!(fed.len(), 1, "{said}");
    assert!(fed[0].contains("initiator_node=iqn.x:a1,sa_res_key=1"), "{said}");
    let fed_at = said.find("res_aptpl_metadata").unwrap();
    assert!(fed_at < said.find("ln -s").unwrap(), "later the kernel refuses it");
    bench.converge(&driver, &Wish::new()).unwrap();
    assert!(!file.exists() && !driver.keeps_reservations(V));
}

#[tokio::test]
async fn what_the_kernel_cannot_do_is_said() {
    let bench = Bench::new();
    let driver = bench.driver();
    bench.converge(&driver, &both()).unwrap();
    let mut limits = IoLimits::NONE;
    driver.limit(V, &limits).await.unwrap();
    limits.volume.iops = std::num::NonZeroU64::new(1);
    assert_eq!(driver.limit(V, &limits).await.unwrap_err().kind, FaultKind::NotSupported);
    assert_eq!(driver.export_of(V).await.unwrap().unwrap().limits, IoLimits::NONE);
    assert!(driver.quiesce(V, Duration::from_secs(1)).await.unwrap().is_over());
    let other = VolumeId::from_u128(9);
    assert!(!driver.quiesce(other, Duration::from_secs(1)).await.unwrap().is_needed());
    let counters = bench.attribute("acls/iqn.x:b/lun_1/statistics/scsi_auth_intr");
    fs::write(counters.join("num_cmds"), "12\n").unwrap();
    fs::write(counters.join("read_mbytes"), "3\n").unwrap();
    let usage = driver.usage_of(V).await.unwrap().unwrap();
    assert_eq!((usage.hosts[&B].others, usage.hosts[&B].read_bytes), (12, 3 << 20));
    assert_eq!(usage.hosts[&A], Default::default());
    driver.unexport(V).await.unwrap();
    assert_eq!(driver.usage().await.unwrap(), TargetUsage::default());
}

#[test]
fn another_portal_in_the_configuration_is_there_after_the_start_and_nobody_is_put_out() {
    let bench = Bench::new();
    bench.converge(&bench.driver(), &both()).unwrap();
    let driver = bench.driver_with(&["192.0.2.2:3260"], Duration::from_secs(60));
    let facts = driver.inner.facts(V).unwrap().unwrap();
    assert_eq!(facts.hosts[&A].grant, rw().names());
    assert_eq!(
        driver.inner.tree.list(format!("{}/np", driver_group())).unwrap(),
        ["192.0.2.2:3260"]
    );
}
