//! The NVMe connector on a machine made of files: a sysfs, and an nvme that changes it.
//!
//! What is shown is what the connector does and in which order, what it believes, and that nothing
//! is left; that nvme-cli and the kernel do as assumed is shown in the lab.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use osds_connector::{Access, ConnectError, Connector as _, Kind, Machine, nvme::Nvme};
use osds_model::{AttachMode, Connection, VolumeId};

const V: VolumeId = VolumeId::from_u128(0x0198_f0a0_0000_7000_8000_0000_0000_0001);
const NQN: &str = "nqn.x:v.h";
const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-00000000000a";

/// Makes and removes what the kernel would; logs what it was told. The controller of a port is named
/// after the port's last digit, the device of all is nvme9n1.
const NVME: &str = r##"#!/bin/sh
echo "nvme $*" >> $ROOT/log
S=$ROOT/sys/class
for a in "$@"; do
  case "$a" in --traddr=*) addr=${a#*=};; --trsvcid=*) port=${a#*=};; --nqn=*) nqn=${a#*=};; esac
done
case $1 in
connect)
  grep -q "$addr" $ROOT/refused 2>/dev/null && { echo "failed: Connection refused" >&2; exit 1; }
  n=${port#442}
  c=$S/nvme/nvme$n; y=$S/nvme-subsystem/nvme-subsys9
  mkdir -p $c $y/nvme9n1 $ROOT/sys/block/nvme9n1 $S/block/nvme9n1 $ROOT/sys/dev/block/259:9
  mkdir -p $c/nvme9c${n}n1
  echo $nqn > $c/subsysnqn; echo $nqn > $y/subsysnqn; echo live > $c/state
  echo "traddr=$addr,trsvcid=$port,src_addr=10.0.0.9" > $c/address
  : > $c/rescan_controller; : > $c/delete_controller
  cp $ROOT/wwid $ROOT/sys/block/nvme9n1/wwid
  echo 259:9 > $S/block/nvme9n1/dev; echo 0 > $ROOT/sys/dev/block/259:9/ro;;
disconnect)
  for c in $S/nvme/*; do grep -q "^$3\$" $c/subsysnqn && rm -r $c; done
  rm -rf $S/nvme-subsystem/nvme-subsys9 $S/block/nvme9n1;;
esac
"##;

const BLOCKDEV: &str = r##"#!/bin/sh
echo "blockdev $*" >> $ROOT/log
[ "$1" = --setro ] && echo 1 > $ROOT/sys/dev/block/259:9/ro
exit 0
"##;

struct Scene {
    home: tempfile::TempDir,
    machine: Machine,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let programs = home.path().join("bin");
        fs::create_dir(&programs).unwrap();
        let machine = Machine { root: home.path().to_owned(), programs: Some(programs) };
        let scene = Self { home, machine };
        scene.program("nvme", NVME);
        scene.program("blockdev", BLOCKDEV);
        scene.file("wwid", &format!("uuid.{V}"));
        scene.file("dev/nvme-fabrics", "");
        scene.file("sys/module/nvme_core/parameters/multipath", "Y\n");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn nvme(&self) -> Nvme {
        Nvme::new(self.machine.clone())
    }

    fn connect(&self, mode: AttachMode, portals: &[&str]) -> Result<String, ConnectError> {
        let access = Access { volume: V, connection: connection(portals), mode, proof: None };
        let device = self.nvme().connect(&access)?;
        Ok(device.path.strip_prefix(self.home.path()).unwrap().display().to_string())
    }

    /// Controllers and subsystems that are left.
    fn left(&self) -> Vec<String> {
        let of = |directory: &str| self.machine.names(&self.path(directory)).unwrap();
        [of("sys/class/nvme"), of("sys/class/nvme-subsystem")].concat()
    }
}

fn connection(portals: &[&str]) -> Connection {
    let portals = portals.iter().map(|portal| (*portal).to_owned()).collect();
    Connection::NvmeOf { nqn: NQN.to_owned(), portals, host_nqn: HOST.to_owned() }
}

#[test]
fn a_volume_comes_and_goes_and_leaves_nothing() {
    let scene = Scene::new();
    let way = connection(&["10.0.0.1:4421"]);
    for _ in 0..2 {
        assert_eq!(
            scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap(),
            "dev/nvme9n1"
        );
    }
    let told = "nvme connect --transport=tcp --traddr=10.0.0.1 --trsvcid=4421 --nqn=nqn.x:v.h \
                --hostnqn=nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-00000000000a \
                --ctrl-loss-tmo=600 --reconnect-delay=2 \
                --hostid=00000000-0000-4000-8000-00000000000a\n";
    assert_eq!(scene.log(), told, "the second time is boring");
    assert_eq!(scene.nvme().find(&way).unwrap().unwrap().number.minor, 9);
    scene.nvme().resize(&way).unwrap();
    assert_eq!(
        fs::read_to_string(scene.path("sys/class/nvme/nvme1/rescan_controller")).unwrap(),
        "1"
    );
    // A subsystem of somebody else is nothing to us.
    scene.file("sys/class/nvme/nvme5/subsysnqn", "nqn.x:other");
    for _ in 0..2 {
        scene.nvme().disconnect(&way).unwrap();
        assert_eq!(scene.left(), ["nvme5"]);
    }
    let log = scene.log();
    let flushed = log.find("--flushbufs").unwrap();
    assert!(flushed < log.find("disconnect --nqn nqn.x:v.h").unwrap(), "{log}");
    assert_eq!(scene.nvme().find(&way).unwrap(), None);
}

#[test]
fn the_machines_own_host_id_goes_with_its_own_name() {
    let scene = Scene::new();
    scene.file("etc/nvme/hostnqn", &format!("{HOST}\n"));
    scene.file("etc/nvme/hostid", "11111111-0000-4000-8000-00000000000a\n");
    assert_eq!(Nvme::host_nqn(&scene.machine).unwrap().unwrap(), HOST);
    scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap();
    assert!(scene.log().contains("--hostid=11111111-"), "{}", scene.log());
}

#[test]
fn a_namespace_of_another_name_is_not_touched() {
    let scene = Scene::new();
    scene.file("wwid", "uuid.00000000-0000-7000-8000-00000000beef");
    let error = scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap_err();
    assert_eq!(error.kind, Kind::Wrong, "{}", error.chain());
    assert!(!scene.log().contains("blockdev"), "{}", scene.log());
    scene.nvme().disconnect(&connection(&[])).unwrap();
    assert_eq!(scene.left(), Vec::<String>::new());
    // The name without a uuid is as good.
    scene.file("wwid", &format!("eui.{}", V.0.simple()));
    scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap();
}

#[test]
fn read_only_is_a_read_only_device() {
    let scene = Scene::new();
    scene.connect(AttachMode::ReadOnly, &["10.0.0.1:4421"]).unwrap();
    assert_eq!(fs::read_to_string(scene.path("sys/dev/block/259:9/ro")).unwrap(), "1\n");
}

#[test]
fn every_port_is_used_where_the_kernel_multiplexes_and_one_where_not() {
    let portals = ["10.0.0.1:4421", "10.0.0.2:4422", "10.0.0.3:4423"];
    let scene = Scene::new();
    scene.file("refused", "10.0.0.1\n");
    scene.connect(AttachMode::ReadWrite, &portals).unwrap();
    let of = |scene: &Scene| scene.machine.names(&scene.path("sys/class/nvme")).unwrap();
    assert_eq!(of(&scene), ["nvme2", "nvme3"]);
    let scene = Scene::new();
    scene.file("refused", "10.0.0.1\n");
    scene.file("sys/module/nvme_core/parameters/multipath", "N\n");
    scene.connect(AttachMode::ReadWrite, &portals).unwrap();
    assert_eq!(of(&scene), ["nvme2"]);
    for (portals, word) in [(&[][..], "has no port"), (&["10.0.0.1:4421"], "refused this host")] {
        let scene = Scene::new();
        scene.file("refused", "10.0.0.1\n");
        let error = scene.connect(AttachMode::ReadWrite, portals).unwrap_err();
        assert_eq!(error.kind, Kind::Temporary);
        assert!(error.chain().contains(word), "{}", error.chain());
    }
}

/// The kernel shows a device before it shows what the device is called.
#[test]
fn a_device_is_looked_at_when_all_of_it_is_there() {
    let scene = Scene::new();
    scene.file("wwid", "");
    let name = scene.path("sys/block/nvme9n1/wwid");
    let kernel = std::thread::spawn(move || {
        while !name.exists() {
            std::thread::yield_now();
        }
        fs::write(&name, format!("uuid.{V}\n")).unwrap();
    });
    let device = scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]);
    assert_eq!(device.unwrap(), "dev/nvme9n1");
    kernel.join().unwrap();
}

/// The kernel, which takes away what it is told to.
fn kernel(scene: &Scene) -> std::thread::JoinHandle<()> {
    let class = scene.path("sys/class");
    std::thread::spawn(move || {
        let told = class.join("nvme/nvme1/delete_controller");
        while fs::read_to_string(&told).unwrap() != "1" {
            std::thread::yield_now();
        }
        fs::remove_dir_all(class.join("nvme/nvme1")).unwrap();
        fs::remove_dir_all(class.join("nvme-subsystem/nvme-subsys9")).unwrap();
    })
}

#[test]
fn a_storage_host_that_goes_in_the_middle_keeps_nobody_waiting() {
    let scene = Scene::new();
    scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap();
    // The kernel finds out while somebody flushes, who waits on.
    let gone = "#!/bin/sh\necho flushing >> $ROOT/log\n\
                echo connecting > $ROOT/sys/class/nvme/nvme1/state\n\
                while [ -e $ROOT/sys/class/nvme/nvme1 ]; do sleep 0.01; done\n";
    scene.program("blockdev", gone);
    let kernel = kernel(&scene);
    scene.nvme().disconnect(&connection(&[])).unwrap();
    kernel.join().unwrap();
    assert_eq!(scene.log().lines().last(), Some("flushing"), "{}", scene.log());
    assert_eq!(scene.left(), Vec::<String>::new());
}

#[test]
fn a_storage_host_that_is_away_keeps_nobody_waiting() {
    let scene = Scene::new();
    scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap();
    scene.file("sys/class/nvme/nvme1/state", "connecting\n");
    let kernel = kernel(&scene);
    scene.nvme().disconnect(&connection(&[])).unwrap();
    kernel.join().unwrap();
    let log = scene.log();
    assert!(!log.contains("flushbufs"), "a flush would wait: {log}");
    assert!(!log.contains("nvme disconnect"), "nvme-cli would wait: {log}");
    assert_eq!(scene.left(), Vec::<String>::new());
}

#[test]
fn a_kernel_without_the_initiator_says_which_module() {
    let scene = Scene::new();
    fs::remove_file(scene.path("dev/nvme-fabrics")).unwrap();
    scene.program(
        "modprobe",
        "#!/bin/sh\necho modprobe $* >>$ROOT/log\necho no such module >&2\nexit 1\n",
    );
    let error = scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap_err();
    assert_eq!(error.kind, Kind::NotSupported);
    assert!(error.chain().contains("modprobe nvme-tcp"), "{}", error.chain());
    // Loaded in the meantime, it goes on.
    scene.program("modprobe", "#!/bin/sh\n: >$ROOT/dev/nvme-fabrics\n");
    scene.connect(AttachMode::ReadWrite, &["10.0.0.1:4421"]).unwrap();
}
