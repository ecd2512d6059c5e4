//! The iSCSI connector on a machine made of files: a sysfs, and an iscsiadm that changes it.
//!
//! The kernel here has no iSCSI initiator. What is shown is what the connector does and in which
//! order, what it believes, and that nothing is left; that iscsiadm and the kernel do as assumed is
//! shown in the lab.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use osds_connector::{Access, ConnectError, Connector as _, Kind, Machine, iscsi::Iscsi};
use osds_model::{AttachMode, Authentication, Connection, Credentials, Secret, VolumeId};

const V: VolumeId = VolumeId::from_u128(0x0198_f0a0_0000_7000_8000_0000_0000_0001);
const IQN: &str = "iqn.x:v";

/// Makes and removes what the kernel would; logs what it was told. The disk of session N is sdN.
const ISCSIADM: &str = r##"#!/bin/sh
echo "$*" >> $ROOT/log
set -- "$@"
for a in "$@"; do
  case "$p" in --portal) portal=$a;; --sid) sid=$a;; --op) op=$a;; --targetname) iqn=$a;; esac
  [ "$a" = --login ] && op=login; [ "$a" = --logout ] && op=logout; p=$a
done
S=$ROOT/sys
address=${portal%:*}; port=${portal##*:}
case $op in
new) d="$ROOT/etc/iscsi/nodes/$iqn/$address,$port,1"; mkdir -p "$d"; echo "node.name = $iqn" > "$d/default";;
login)
  grep -q "$address" $ROOT/refused 2>/dev/null && exit 24
  n=$port
  d=$S/devices/host$n/session$n/target$n:0:0/$n:0:0:1/block/sd$n
  mkdir -p $d $S/class/iscsi_session/session$n $S/class/iscsi_connection/connection$n:0 $S/class/scsi_host/host$n
  mkdir -p $S/block/sd$n/device $S/block/sd$n/holders $S/class/block/sd$n $S/dev/block/8:$n $ROOT/dev
  ln -s $S/devices/host$n/session$n $S/class/iscsi_session/session$n/device
  echo $iqn > $S/class/iscsi_session/session$n/targetname
  echo $address > $S/class/iscsi_connection/connection$n:0/address
  echo $port > $S/class/iscsi_connection/connection$n:0/port
  cat $ROOT/wwid > $S/block/sd$n/device/wwid
  echo 8:$n > $S/class/block/sd$n/dev; echo 0 > $S/dev/block/8:$n/ro; : > $S/block/sd$n/device/delete;;
logout) rm -r $S/class/iscsi_session/session$sid $S/class/iscsi_connection/connection$sid:0 $S/devices/host$sid;;
delete) [ -d "$ROOT/etc/iscsi/nodes/$iqn" ] || exit 21; rm -r "$ROOT/etc/iscsi/nodes/$iqn";;
esac
"##;

const BLOCKDEV: &str = r##"#!/bin/sh
echo "blockdev $*" >> $ROOT/log
n=${2##*/sd}
[ "$1" = --setro ] && echo 1 > $ROOT/sys/dev/block/8:$n/ro
if [ "$1" = --flushbufs ]; then rm -rf $ROOT/sys/devices/host$n/session$n/target*; fi
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
        scene.program("iscsiadm", ISCSIADM);
        scene.program("blockdev", BLOCKDEV);
        fs::write(scene.path("wwid"), Access::wwid(V)).unwrap();
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn iscsi(&self) -> Iscsi {
        Iscsi::new(self.machine.clone())
    }

    fn connect(&self, mode: AttachMode, portals: &[&str]) -> Result<String, ConnectError> {
        let initiator = Credentials { name: "u".into(), secret: Secret::new("hunter2".into()) };
        let proof = Some(Authentication { initiator, target: None });
        let access = Access { volume: V, connection: connection(portals), mode, proof };
        self.iscsi()
            .connect(&access)
            .map(|device| device.path.strip_prefix(self.home.path()).unwrap().display().to_string())
    }

    /// Sessions, records, devices that are left.
    fn left(&self) -> Vec<String> {
        let of = |directory: &str| self.machine.names(&self.path(directory)).unwrap();
        [of("sys/class/iscsi_session"), of("sys/devices"), of("etc/iscsi/nodes")].concat()
    }
}

fn connection(portals: &[&str]) -> Connection {
    let portals = portals.iter().map(|portal| (*portal).to_owned()).collect();
    Connection::Iscsi { iqn: IQN.to_owned(), portals, lun: 1 }
}

fn is_there(path: &Path) -> bool {
    path.exists()
}

#[test]
fn a_volume_comes_and_goes_and_leaves_nothing() {
    let scene = Scene::new();
    let way = connection(&["10.0.0.1:5"]);
    for _ in 0..2 {
        assert_eq!(scene.connect(AttachMode::ReadWrite, &["10.0.0.1:5"]).unwrap(), "dev/sd5");
    }
    assert_eq!(scene.log().matches("--login").count(), 1, "the second time is boring");
    assert!(scene.log().contains("node.session.scan --value manual"));
    assert!(!scene.log().contains("hunter2"), "a password on a command line");
    assert_eq!(scene.iscsi().find(&way).unwrap().unwrap().number.minor, 5);
    for _ in 0..2 {
        scene.iscsi().disconnect(&way).unwrap();
        assert_eq!(scene.left(), Vec::<String>::new());
        assert_eq!(fs::read_to_string(scene.path("sys/block/sd5/device/delete")).unwrap(), "1");
    }
    assert_eq!(scene.iscsi().find(&way).unwrap(), None);
}

#[test]
fn a_disk_of_another_name_is_not_touched() {
    let scene = Scene::new();
    fs::write(scene.path("wwid"), "naa.6000000000000000000000000000beef").unwrap();
    let error = scene.connect(AttachMode::ReadWrite, &["10.0.0.1:5"]).unwrap_err();
    assert_eq!(error.kind, Kind::Wrong, "{}", error.chain());
    assert!(error.chain().contains("beef"));
    scene.iscsi().disconnect(&connection(&[])).unwrap();
    assert_eq!(scene.left(), Vec::<String>::new());
}

/// The kernel shows a disk among the session's before it can be found by its name.
#[test]
fn a_disk_is_looked_at_when_all_of_it_is_there() {
    let scene = Scene::new();
    fs::write(scene.path("wwid"), "").unwrap();
    let name = scene.path("sys/block/sd5/device/wwid");
    let kernel = std::thread::spawn(move || {
        // Last of all that iscsiadm makes here.
        while !name.with_file_name("delete").exists() {
            std::thread::yield_now();
        }
        fs::write(&name, Access::wwid(V)).unwrap();
    });
    assert_eq!(scene.connect(AttachMode::ReadWrite, &["10.0.0.1:5"]).unwrap(), "dev/sd5");
    kernel.join().unwrap();
}

#[test]
fn read_only_is_a_read_only_device() {
    let scene = Scene::new();
    scene.connect(AttachMode::ReadOnly, &["10.0.0.1:5"]).unwrap();
    assert_eq!(fs::read_to_string(scene.path("sys/dev/block/8:5/ro")).unwrap(), "1\n");
}

#[test]
fn without_multipath_there_is_one_session_and_the_next_portal_is_tried() {
    let scene = Scene::new();
    fs::write(scene.path("refused"), "10.0.0.1\n").unwrap();
    let portals = ["10.0.0.1:5", "10.0.0.2:6", "10.0.0.3:7"];
    assert_eq!(scene.connect(AttachMode::ReadWrite, &portals).unwrap(), "dev/sd6");
    assert_eq!(scene.machine.names(&scene.path("sys/class/iscsi_session")).unwrap(), ["session6"]);
    let error = Scene::new().connect(AttachMode::ReadWrite, &[]).unwrap_err();
    assert_eq!(error.kind, Kind::Temporary);
}

#[test]
fn with_multipath_the_map_is_the_device() {
    let scene = Scene::new();
    scene.program("multipathd", "#!/bin/sh\necho pid 1 running\n");
    scene.program("multipath", "#!/bin/sh\necho multipath $* >> $ROOT/log\n");
    let map = scene.path("sys/block/dm-0/dm");
    fs::create_dir_all(&map).unwrap();
    fs::write(map.join("uuid"), "mpath-3x").unwrap();
    fs::create_dir_all(scene.path("sys/class/block/dm-0")).unwrap();
    fs::write(scene.path("sys/class/block/dm-0/dev"), "253:0").unwrap();
    for disk in ["sd5", "sd6"] {
        let holders = scene.path("sys/block").join(disk).join("holders");
        fs::create_dir_all(&holders).unwrap();
        symlink(scene.path("sys/block/dm-0"), holders.join("dm-0")).unwrap();
    }
    let portals = ["10.0.0.1:5", "10.0.0.2:6"];
    assert_eq!(scene.connect(AttachMode::ReadWrite, &portals).unwrap(), "dev/dm-0");
    scene.iscsi().disconnect(&connection(&portals)).unwrap();
    assert!(scene.log().contains("multipath -f /dev/dm-0"));
    assert_eq!(scene.left(), Vec::<String>::new());
    assert!(!is_there(&scene.path("etc/iscsi/nodes/iqn.x:v")));
}
