//! The target on a directory that behaves as nvmet's configfs does: what is written in which order,
//! what a process that is killed anywhere leaves, and whose things are left alone.

use std::io;

use osds_model::Initiator;
use tempfile::TempDir;

use super::*;
use crate::configfs::imitation::{Imitation, Rules};
use crate::configfs::{Calls, Change};

const V: VolumeId = VolumeId::from_u128(0x0198_f0a0_0000_7000_8000_0000_0000_0001);
const A: HostId = HostId::from_u128(0xA);
const B: HostId = HostId::from_u128(0xB);
const OF_A: &str = "nqn.2019-01.com.opensds:nvme:0198f0a0-0000-7000-8000-000000000001.\
                    00000000-0000-0000-0000-00000000000a";

/// What nvmet does beside what is asked (kernel 6.1).
struct Nvmet;

impl Rules for Nvmet {
    fn born(&self, made: &Path) -> Vec<(String, Option<String>)> {
        let parts: Vec<_> = made.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let attribute = |(name, value): (&str, &str)| (name.to_owned(), Some(value.to_owned()));
        let group = |name: &str| (name.to_owned(), None);
        match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["subsystems", _] => {
                let attributes = [
                    ("attr_allow_any_host", "0\n"),
                    ("attr_serial", "5f0c\n"),
                    ("attr_model", "Linux\n"),
                ];
                let groups = ["namespaces", "allowed_hosts"];
                attributes.map(attribute).into_iter().chain(groups.map(group)).collect()
            }
            ["subsystems", _, "namespaces", _] => [
                ("device_path", "(null)\n"),
                ("device_uuid", "00000000-0000-0000-0000-000000000000\n"),
                ("device_nguid", "00000000-0000-0000-0000-000000000000\n"),
                ("enable", "0\n"),
                ("revalidate_size", ""),
            ]
            .map(attribute)
            .into(),
            ["ports", _] => {
                let names = ["addr_trtype", "addr_adrfam", "addr_traddr", "addr_trsvcid"];
                let attributes = names.map(|name| attribute((name, "\n")));
                attributes.into_iter().chain([group("subsystems")]).collect()
            }
            _ => Vec::new(),
        }
    }

    fn check(&self, root: &Path, change: Change<'_>) -> io::Result<()> {
        let refused = |kind: io::ErrorKind| Err(kind.into());
        if let Change::Write(path, _) = change {
            let of = path.parent().unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let reads = |file: &Path| fs::read_to_string(file).unwrap_or_default();
            if name.starts_with("device_") && reads(&of.join("enable")).starts_with('1') {
                return refused(io::ErrorKind::ResourceBusy);
            }
            if name == "enable" && reads(&of.join("device_path")).starts_with("(null)") {
                return refused(io::ErrorKind::InvalidInput);
            }
            if name.starts_with("addr_") && of.join("subsystems").read_dir()?.next().is_some() {
                return refused(io::ErrorKind::PermissionDenied);
            }
        }
        let below = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
        if let Change::Link(path, _) = change
            && below(path).starts_with("ports/")
        {
            // A port without an address cannot be opened.
            let port = path.ancestors().nth(2).unwrap();
            if fs::read_to_string(port.join("addr_trsvcid"))?.trim().is_empty() {
                return refused(io::ErrorKind::InvalidInput);
            }
        }
        Ok(())
    }

    fn reads(&self, _: &Path, path: &Path, written: &str) -> Option<String> {
        (!path.ends_with("revalidate_size")).then(|| format!("{written}\n"))
    }
}

/// A kernel, and the target in its first life.
struct Scene {
    home: TempDir,
    kernel: Arc<Imitation>,
    listen: Vec<SocketAddr>,
}

impl Scene {
    fn new() -> Self {
        // Notes are synced to a disk; one in memory will do.
        let home = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        for group in ["subsystems", "hosts", "ports"] {
            fs::create_dir_all(home.path().join("nvmet").join(group)).unwrap();
        }
        let kernel = Arc::new(Imitation::at(&home.path().join("nvmet"), Nvmet));
        fs::write(home.path().join("disk"), vec![0; 8192]).unwrap();
        let listen = vec!["10.9.0.1:4420".parse().unwrap(), "[2001:db8::7]:4420".parse().unwrap()];
        Self { home, kernel, listen }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join("nvmet").join(below)
    }

    /// Another life of the target on the same kernel.
    fn target(&self) -> NvmetTarget {
        self.target_on(Arc::clone(&self.kernel) as Arc<dyn Calls>, Duration::from_secs(10))
    }

    fn target_on(&self, calls: Arc<dyn Calls>, drain_timeout: Duration) -> NvmetTarget {
        let settings = NvmetSettings {
            listen: self.listen.clone(),
            advertise: Vec::new(),
            nqn_prefix: NQN_PREFIX.to_owned(),
            drain_timeout,
            notes: self.home.path().join("notes"),
        };
        NvmetTarget::on(Configfs::imitated(self.path(""), calls), settings).unwrap()
    }

    fn disk(&self) -> BlockSource {
        let path = self.home.path().join("disk");
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        let size = Capacity::from_bytes(file.metadata().unwrap().len());
        BlockSource::of_file(file, path, size)
    }

    fn notes(&self) -> usize {
        fs::read_dir(self.home.path().join("notes")).unwrap().count()
    }

    /// A kernel that was just started: nothing of configfs is left.
    fn reboot(&mut self) {
        fs::remove_dir_all(self.path("")).unwrap();
        for group in ["subsystems", "hosts", "ports"] {
            fs::create_dir_all(self.path(group)).unwrap();
        }
        self.kernel = Arc::new(Imitation::at(&self.path(""), Nvmet));
    }
}

fn grant_of(host: &str) -> Grant<Secret> {
    let named = |protocol, name: &str| Initiator { port_name: name.to_owned(), protocol };
    let initiators = vec![
        named(Protocol::Iscsi, &format!("iqn.x:{host}")),
        named(Protocol::NvmeOf, &format!("nqn.x:{host}")),
    ];
    Grant { mode: AttachMode::ReadWrite, initiators, authentication: None }
}

async fn attach(
    target: &NvmetTarget,
    scene: &Scene,
    host: HostId,
    name: &str,
) -> Result<Connection, DriverError> {
    target.export(V, scene.disk()).await?;
    target.grant(V, host, &grant_of(name)).await
}

/// What the dock does with what is there: whoever is not as granted is put out, and let in.
async fn converge(target: &NvmetTarget, scene: &Scene, wished: &[(HostId, &str)]) {
    let hosts = |facts: Option<ExportFacts>| facts.map(|facts| facts.hosts).unwrap_or_default();
    for (host, held) in hosts(target.export_of(V).await.unwrap()) {
        let wish = wished.iter().find(|(wished, _)| *wished == host);
        if wish.is_none_or(|(_, name)| held.grant != grant_of(name).names()) {
            target.revoke(V, host).await.unwrap();
        }
    }
    for (host, name) in wished {
        attach(target, scene, *host, name).await.unwrap();
    }
    let served = hosts(target.export_of(V).await.unwrap());
    let served: Vec<_> = served.into_iter().map(|(host, facts)| (host, facts.grant)).collect();
    let wished: Vec<_> =
        wished.iter().map(|(host, name)| (*host, grant_of(name).names())).collect();
    assert_eq!(served, wished);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_in_which_order() {
    let scene = Scene::new();
    let target = scene.target();
    let way = attach(&target, &scene, A, "a").await.unwrap();
    let Connection::NvmeOf { nqn, portals, host_nqn } = &way else { panic!("{way:?}") };
    assert_eq!((nqn.as_str(), host_nqn.as_str()), (OF_A, "nqn.x:a"));
    assert_eq!(*portals, ["10.9.0.1:4420", "[2001:db8::7]:4420"]);
    let disk = scene.home.path().join("disk").canonicalize().unwrap();
    let said =
        scene.kernel.transcript().replace(OF_A, "VA").replace(disk.to_str().unwrap(), "DISK");
    assert_eq!(
        said,
        "mkdir subsystems/VA\n\
         echo -n 70008000000000000001 > subsystems/VA/attr_serial\n\
         echo -n osds > subsystems/VA/attr_model\n\
         mkdir subsystems/VA/namespaces/1\n\
         echo -n DISK > subsystems/VA/namespaces/1/device_path\n\
         echo -n 0198f0a0-0000-7000-8000-000000000001 > subsystems/VA/namespaces/1/device_uuid\n\
         echo -n 0198f0a0-0000-7000-8000-000000000001 > subsystems/VA/namespaces/1/device_nguid\n\
         echo -n 1 > subsystems/VA/namespaces/1/enable\n\
         mkdir hosts/nqn.x:a\n\
         ln -s hosts/nqn.x:a subsystems/VA/allowed_hosts/nqn.x:a\n\
         mkdir ports/20307\n\
         echo -n tcp > ports/20307/addr_trtype\n\
         echo -n ipv4 > ports/20307/addr_adrfam\n\
         echo -n 10.9.0.1 > ports/20307/addr_traddr\n\
         echo -n 4420 > ports/20307/addr_trsvcid\n\
         ln -s subsystems/VA ports/20307/subsystems/VA\n\
         mkdir ports/20308\n\
         echo -n tcp > ports/20308/addr_trtype\n\
         echo -n ipv6 > ports/20308/addr_adrfam\n\
         echo -n 2001:db8::7 > ports/20308/addr_traddr\n\
         echo -n 4420 > ports/20308/addr_trsvcid\n\
         ln -s subsystems/VA ports/20308/subsystems/VA\n"
    );
    // Asked again, in this life and in another, nothing is done.
    assert_eq!(attach(&target, &scene, A, "a").await.unwrap(), way);
    assert_eq!(attach(&scene.target(), &scene, A, "a").await.unwrap(), way);
    assert_eq!(scene.kernel.transcript(), "");
    target.revoke(V, A).await.unwrap();
    let said = scene.kernel.transcript().replace(OF_A, "VA");
    assert_eq!(
        said,
        "echo -n 0 > subsystems/VA/namespaces/1/enable\n\
         rm ports/20307/subsystems/VA\n\
         rm ports/20308/subsystems/VA\n\
         rm subsystems/VA/allowed_hosts/nqn.x:a\n\
         rmdir subsystems/VA/namespaces/1\n\
         rmdir hosts/nqn.x:a\n\
         rmdir ports/20307\n\
         rmdir ports/20308\n\
         rmdir subsystems/VA\n"
    );
    target.revoke(V, A).await.unwrap();
    assert_eq!(scene.kernel.transcript(), "");
    assert_eq!(
        (scene.kernel.picture().as_str(), scene.notes()),
        ("hosts/\nports/\nsubsystems/\n", 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_host_is_nothing_to_the_other() {
    let scene = Scene::new();
    let target = scene.target();
    attach(&target, &scene, A, "a").await.unwrap();
    let alone = scene.kernel.picture();
    attach(&target, &scene, B, "b").await.unwrap();
    let error = attach(&target, &scene, HostId::from_u128(0xC), "b").await.unwrap_err();
    assert_eq!(error.kind, FaultKind::InUse, "{}", error.chain());
    target.revoke(V, B).await.unwrap();
    assert_eq!(scene.kernel.picture(), alone);
    // A size that hosts are told.
    fs::File::options()
        .write(true)
        .open(scene.home.path().join("disk"))
        .unwrap()
        .set_len(16384)
        .unwrap();
    scene.kernel.transcript();
    target.resized(V, Capacity::from_bytes(16384)).await.unwrap();
    assert!(scene.kernel.transcript().contains("namespaces/1/revalidate_size"));
    let facts = scene.target().export_of(V).await.unwrap().unwrap();
    assert_eq!(facts.size.bytes(), 16384);
    assert_eq!(facts.blocks, scene.disk().id().unwrap());
    target.unexport(V).await.unwrap();
    assert_eq!(target.export_of(V).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_refused() {
    let scene = Scene::new();
    let target = scene.target();
    let error = target.grant(V, A, &grant_of("a")).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Gone, "{}", error.chain());
    target.export(V, scene.disk()).await.unwrap();
    let good = grant_of("a");
    let names = || Initiator { port_name: "nqn.x/../y".to_owned(), protocol: Protocol::NvmeOf };
    for (bad, word) in [
        (Grant { mode: AttachMode::ReadOnly, ..good.clone() }, "one host to reading"),
        (Grant { initiators: vec![good.initiators[0].clone()], ..good.clone() }, "protocol nvmeof"),
        (Grant { initiators: vec![names()], ..good.clone() }, "no NVMe qualified name"),
    ] {
        let error = target.grant(V, A, &bad).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::NotSupported);
        assert!(error.chain().contains(word), "{}", error.chain());
    }
    assert_eq!(scene.kernel.transcript(), "");
    // A name in /dev that leads elsewhere by now.
    let other = BlockSource { path: scene.home.path().join("other"), ..scene.disk() };
    fs::write(&other.path, "x").unwrap();
    let error = target.export(V, other).await.unwrap_err();
    assert!(error.chain().contains("another volume"), "{}", error.chain());
}

/// Killed after any call: the next life lets in whom it shall, puts out whom it shall not, and
/// leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_kill_leaves_is_mended() {
    let whole = {
        let scene = Scene::new();
        attach(&scene.target(), &scene, A, "a").await.unwrap();
        scene.kernel.picture()
    };
    for (revokes, wished) in [(false, true), (false, false), (true, true), (true, false)] {
        for calls in 0.. {
            let scene = Scene::new();
            let target = scene.target();
            if revokes {
                attach(&target, &scene, A, "a").await.unwrap();
            }
            scene.kernel.cut_after(calls);
            let _ = if revokes {
                target.revoke(V, A).await
            } else {
                attach(&target, &scene, A, "a").await.map(drop)
            };
            let was_cut = scene.kernel.was_cut();
            scene.kernel.go_on();
            let next = scene.target();
            let wish = [(A, "a")];
            converge(&next, &scene, if wished { &wish } else { &[] }).await;
            next.restored().await.unwrap();
            let clean = |text: String| text.replace(scene.home.path().to_str().unwrap(), "");
            if wished {
                let found = clean(scene.kernel.picture());
                let strip = |text: &str| {
                    let lines = text.lines().filter(|line| !line.contains("device_path"));
                    lines.collect::<Vec<_>>().join("\n")
                };
                assert_eq!(strip(&found), strip(&whole), "after {calls} calls");
                next.unexport(V).await.unwrap();
            }
            let left = (scene.kernel.picture(), scene.notes());
            assert_eq!(left, ("hosts/\nports/\nsubsystems/\n".into(), 0), "after {calls} calls");
            if !was_cut {
                assert!(calls > 5);
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_and_a_reboot_heal() {
    let mut scene = Scene::new();
    attach(&scene.target(), &scene, A, "a").await.unwrap();
    attach(&scene.target(), &scene, B, "b").await.unwrap();
    let whole = scene.kernel.picture();
    let of_a = |name: &str| scene.path(&format!("subsystems/{OF_A}/{name}"));
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(of_a("attr_allow_any_host"), "1\n").unwrap(),
        &|| fs::write(of_a("namespaces/1/enable"), "0\n").unwrap(),
        &|| fs::remove_file(of_a("allowed_hosts/nqn.x:a")).unwrap(),
        &|| fs::remove_file(scene.path(&format!("ports/20308/subsystems/{OF_A}"))).unwrap(),
        &|| {
            let stranger = scene.path("hosts/nqn.x:b");
            std::os::unix::fs::symlink(stranger, of_a("allowed_hosts/nqn.x:b")).unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change();
        let target = scene.target();
        let hosts = target.export_of(V).await.unwrap().unwrap().hosts;
        assert_eq!(hosts[&A].grant.initiators, [], "change {number} is seen");
        assert_eq!(hosts[&B].grant, grant_of("b").names());
        converge(&target, &scene, &[(A, "a"), (B, "b")]).await;
        assert_eq!(scene.kernel.picture(), whole, "change {number} is mended");
    }
    scene.reboot();
    let target = scene.target();
    assert_eq!((target.exports().await.unwrap(), scene.notes()), (BTreeMap::new(), 0));
    // Hosts that find a port open and their subsystem missing give up, so nobody finds one before.
    attach(&target, &scene, A, "a").await.unwrap();
    let hosts = target.export_of(V).await.unwrap().unwrap().hosts;
    assert_eq!(hosts[&A].grant, grant_of("a").names(), "it is as it shall be for now");
    assert_eq!(fs::read_dir(scene.path("ports")).unwrap().count(), 0);
    converge(&target, &scene, &[(A, "a"), (B, "b")]).await;
    assert_eq!(fs::read_dir(scene.path("ports")).unwrap().count(), 0);
    target.restored().await.unwrap();
    assert_eq!(scene.kernel.picture(), whole);
    // And from then on at once.
    target.revoke(V, A).await.unwrap();
    attach(&target, &scene, A, "a").await.unwrap();
    target.restored().await.unwrap();
    assert_eq!(scene.kernel.picture(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_not_touched() {
    let scene = Scene::new();
    let theirs = Configfs::imitated(scene.path(""), Arc::clone(&scene.kernel) as Arc<dyn Calls>);
    let make = || -> Result<(), DriverError> {
        for path in ["hosts/nqn.x:a", "subsystems/nqn.x:theirs", "ports/1", "ports/20307"] {
            theirs.make(path)?;
        }
        for (port, address) in [("1", "10.9.0.1"), ("20307", "10.9.0.7")] {
            theirs.write(format!("ports/{port}/addr_trtype"), "tcp")?;
            theirs.write(format!("ports/{port}/addr_adrfam"), "ipv4")?;
            theirs.write(format!("ports/{port}/addr_traddr"), address)?;
            theirs.write(format!("ports/{port}/addr_trsvcid"), "4420")?;
            theirs.link(format!("ports/{port}/subsystems/x"), "subsystems/nqn.x:theirs")?;
        }
        theirs.link("subsystems/nqn.x:theirs/allowed_hosts/nqn.x:a", "hosts/nqn.x:a")
    };
    make().unwrap();
    let before = scene.kernel.picture();
    scene.kernel.transcript();
    let target = scene.target();
    attach(&target, &scene, A, "a").await.unwrap();
    // Their port has our address, and their number is not taken.
    let said = scene.kernel.transcript();
    assert!(said.contains("ports/1/subsystems/") && said.contains("mkdir ports/20308"), "{said}");
    assert!(!said.contains("mkdir hosts"), "{said}");
    assert_eq!(target.exports().await.unwrap().len(), 1);
    target.unexport(V).await.unwrap();
    assert_eq!(scene.kernel.picture(), before);
}

/// A kernel whose storage does not answer: a namespace is not let go.
struct Hangs {
    kernel: Arc<Imitation>,
    is_hanging: AtomicBool,
}

impl Calls for Hangs {
    fn call(&self, change: Change<'_>) -> io::Result<()> {
        if let Change::Write(path, "0") = change
            && path.ends_with("enable")
        {
            while self.is_hanging.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        self.kernel.call(change)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detach_says_so_when_the_storage_hangs_and_ends_when_it_answers() {
    let scene = Scene::new();
    let calls =
        Arc::new(Hangs { kernel: Arc::clone(&scene.kernel), is_hanging: AtomicBool::new(true) });
    let shared = Arc::clone(&calls) as Arc<dyn Calls>;
    let target = scene.target_on(shared, Duration::from_millis(20));
    attach(&target, &scene, A, "a").await.unwrap();
    for _ in 0..2 {
        let error = target.revoke(V, A).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::Temporary, "{}", error.chain());
        let facts = target.export_of(V).await.unwrap().unwrap();
        assert_eq!(facts.hosts[&A].grant.initiators, [], "served, and not as granted");
        assert!(attach(&target, &scene, A, "a").await.is_err());
    }
    calls.is_hanging.store(false, Ordering::Release);
    while target.revoke(V, A).await.is_err() {}
    assert_eq!(scene.kernel.picture(), "hosts/\nports/\nsubsystems/\n");
}
