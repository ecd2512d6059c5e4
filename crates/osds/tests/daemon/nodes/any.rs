//! The suite of many nodes: what a CSI driver promises when more than one node asks.
//!
//! Ours by default: the real controller and three nodes. Any other with `OSDS_CSI_CONTROLLER` and
//! `OSDS_CSI_NODES` (see `driver`); one that is for one node only fails where it should.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::status::Code;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::driver::{Driver, read, write};
use super::node::{Node, nothing_is_left};
use crate::scene::{OSDS, Scene};

/// Our controller as a process.
struct Controller {
    process: Child,
    socket: PathBuf,
}

impl Controller {
    fn start(scene: &Scene) -> Self {
        let socket = scene.path("controller.sock");
        let mut process = Command::new(OSDS)
            .args(["csi", "controller", "--auto-multiattach", "--osds-endpoint", &scene.daemon.api])
            .arg("--endpoint")
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(scene.path("controller.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line}");
        Self { process, socket }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn any_driver_keeps_many_nodes_apart() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let home = tempfile::tempdir().unwrap();
    if let Some(driver) = runtime.block_on(Driver::of_environment(home.path())) {
        return runtime.block_on(suite(&driver, home.path()));
    }
    if !super::can("any_driver_keeps_many_nodes_apart") {
        return;
    }
    let scene = Scene::local();
    let nodes = ["node-a", "node-b", "node-c"].map(|name| Node::start(&scene, name));
    let controller = Controller::start(&scene);
    let places: Vec<_> = nodes.iter().map(Node::place).collect();
    runtime.block_on(async {
        let driver = Driver::connect(&controller.socket, &places).await;
        suite(&driver, home.path()).await;
    });
    nothing_is_left(&scene, &nodes.iter().collect::<Vec<_>>());
}

async fn suite(driver: &Driver, home: &Path) {
    assert!(driver.nodes.len() > 1, "two nodes at least: say both in OSDS_CSI_NODES");
    // Names of its own, where the driver has been used before.
    let run = home.file_name().unwrap_or_default().to_string_lossy().replace('.', "");
    all_share(driver, &format!("shared-{run}")).await;
    one_of_many(driver, &format!("single-{run}")).await;
}

/// Every node writes, every node reads what all wrote, and who is for reading cannot write.
async fn all_share(driver: &Driver, name: &str) {
    let (many, reads) = (Mode::MultiNodeMultiWriter, Mode::MultiNodeReaderOnly);
    let volume = driver.create(name, &[many, reads]).await.unwrap();
    assert_eq!(driver.create(name, &[many, reads]).await.unwrap().volume_id, volume.volume_id);
    for node in &driver.nodes {
        for _ in 0..2 {
            driver.bring(&volume, node, many).await.unwrap();
        }
    }
    let devices: Vec<_> =
        driver.nodes.iter().map(|node| node.open(&volume, true).unwrap()).collect();
    for (at, device) in (0..).zip(&devices) {
        write(device, at, b'a' + u8::try_from(at).unwrap()).unwrap();
        for other in &devices {
            assert_eq!(read(other, at), b'a' + u8::try_from(at).unwrap());
        }
    }
    drop(devices);
    // One of them comes back to read.
    let reader = driver.nodes.last().unwrap();
    driver.take(&volume, reader).await.unwrap();
    driver.bring(&volume, reader, reads).await.unwrap();
    assert_eq!(read(&reader.open(&volume, false).unwrap(), 0), b'a');
    let refused = reader.open(&volume, true).and_then(|device| write(&device, 0, b'x'));
    assert!(refused.is_err(), "the reader wrote");
    assert_eq!(read(&driver.nodes[0].open(&volume, false).unwrap(), 0), b'a');
    // Everybody out at one word.
    for node in &driver.nodes {
        node.put_out(&volume).await.unwrap();
    }
    for _ in 0..2 {
        driver.unpublish(&volume, "").await.unwrap();
    }
    for _ in 0..2 {
        driver.delete(&volume).await.unwrap();
    }
}

/// Of many who ask at once for what is for one, one gets it, and the others when it is free again.
async fn one_of_many(driver: &Driver, name: &str) {
    let one = Mode::SingleNodeWriter;
    let volume = driver.create(name, &[one]).await.unwrap();
    let asked = {
        let mut asking = JoinSet::new();
        for number in 0..50 {
            let node = driver.nodes[number % driver.nodes.len()].clone();
            let (driver, volume) = (driver.clone(), volume.clone());
            asking.spawn(async move {
                let outcome = driver.publish(&volume, &node, one).await;
                (node.id.clone(), outcome)
            });
        }
        asking.join_all().await
    };
    let winners: BTreeSet<_> =
        asked.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(node, _)| node).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    for (node, outcome) in &asked {
        if let Err(status) = outcome
            && !winners.contains(node)
        {
            assert_eq!(status.code(), Code::FailedPrecondition, "{}", status.message());
        }
    }
    let of = |id: &str| driver.nodes.iter().find(|node| node.id == id).unwrap();
    let winner = of(winners.first().unwrap());
    driver.bring(&volume, winner, one).await.unwrap();
    write(&winner.open(&volume, true).unwrap(), 0, b'w').unwrap();
    let never = driver.bring(&volume, winner, Mode::MultiNodeMultiWriter).await;
    assert!(never.is_err(), "a mode of many nodes on a volume that is for one");
    node_goes_and_the_next_comes(driver, &volume, winner).await;
    driver.delete(&volume).await.unwrap();
}

async fn node_goes_and_the_next_comes(
    driver: &Driver,
    volume: &osds_csi::proto::Volume,
    winner: &super::driver::Node,
) {
    driver.take(volume, winner).await.unwrap();
    let next = driver.nodes.iter().find(|node| node.id != winner.id).unwrap();
    driver.bring(volume, next, Mode::SingleNodeWriter).await.unwrap();
    assert_eq!(read(&next.open(volume, false).unwrap(), 0), b'w');
    driver.take(volume, next).await.unwrap();
}
