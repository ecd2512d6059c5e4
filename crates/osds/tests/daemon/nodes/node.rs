//! A node of a cluster: a mount namespace, and the real node plugin in it.
//!
//! The namespace is held open by a process of its own, so that mounts outlive a plugin that is
//! killed, as they do on a node. Nothing of it is seen outside; we look in through the holder's root.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use osds_csi::context::PublishContext;
use osds_csi::proto::node_client::NodeClient;
use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::proto::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use osds_csi::proto::{
    CapacityRange, NodeExpandVolumeRequest, NodeGetInfoRequest, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, VolumeCapability,
};
use osds_csi::status::Status;
use rustix::fs::OFlags;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

use super::driver::Place;
use crate::scene::{OSDS, Scene, text, until};

/// A node.
pub struct Node {
    pub name: String,
    home: PathBuf,
    api: String,
    holder: Child,
    plugin: Option<Child>,
    client: Option<NodeClient<Channel>>,
    runtime: Runtime,
}

/// How a volume is used.
#[derive(Clone)]
pub struct Use {
    pub mode: Mode,
    pub kind: AccessType,
}

impl Use {
    pub fn block(mode: Mode) -> Self {
        Self { mode, kind: AccessType::Block(BlockVolume {}) }
    }

    pub fn mount(mode: Mode, fs_type: &str) -> Self {
        let fs_type = fs_type.to_owned();
        Self { mode, kind: AccessType::Mount(MountVolume { fs_type, ..Default::default() }) }
    }

    fn capability(&self) -> VolumeCapability {
        VolumeCapability {
            access_mode: Some(AccessMode { mode: self.mode.into() }),
            access_type: Some(self.kind.clone()),
        }
    }
}

impl Node {
    /// A node with its plugin, which registers its host record.
    pub fn start(scene: &Scene, name: &str) -> Self {
        let home = scene.path(name);
        fs::create_dir(&home).unwrap();
        let holder = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                "echo ready; exec sleep 3600",
            ])
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn();
        let mut holder = holder.unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (plugin, client) = (None, None);
        let (name, api) = (name.to_owned(), scene.daemon.api.clone());
        let mut node = Self { name, home, api, holder, plugin, client, runtime };
        node.run_plugin();
        let request = NodeGetInfoRequest {};
        let info = node.runtime.block_on(node.client.as_mut().unwrap().node_get_info(request));
        let id = info.unwrap().into_inner().node_id;
        assert_eq!(scene.get(&format!("host/hosts/{id}"))["hostName"], node.name.as_str());
        node
    }

    /// Starts the plugin, which must not run.
    pub fn run_plugin(&mut self) {
        let socket = self.home.join("csi.sock");
        let log = File::options().create(true).append(true).open(self.home.join("log")).unwrap();
        let mut plugin = Command::new("nsenter")
            .args(["--mount", "--target", &self.holder.id().to_string(), OSDS, "csi", "node"])
            .args(["--node-id", &self.name, "--osds-endpoint", &self.api])
            .arg("--endpoint")
            .arg(format!("unix://{}", socket.display()))
            .arg("--node-state-dir")
            .arg(self.home.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(plugin.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(
            line.starts_with("ready "),
            "{}",
            fs::read_to_string(self.home.join("log")).unwrap()
        );
        self.plugin = Some(plugin);
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = self.runtime.block_on(endpoint.connect()).unwrap();
        self.client = Some(NodeClient::new(channel));
    }

    /// SIGKILL for the plugin; what is mounted stays.
    pub fn kill_plugin(&mut self) {
        if let Some(mut plugin) = self.plugin.take() {
            plugin.kill().unwrap();
            plugin.wait().unwrap();
        }
    }

    /// The process id of the plugin.
    pub fn plugin_id(&self) -> u32 {
        self.plugin.as_ref().unwrap().id()
    }

    /// The id of its host record.
    pub fn host(&self, scene: &Scene) -> String {
        let hosts = scene.get(&format!("host/hosts?hostName={}", self.name));
        text(&hosts[0], "id")
    }

    /// Where its plugin is, for an orchestrator.
    pub fn place(&self) -> Place {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        Place { socket: self.home.join("csi.sock"), root, home: self.home.join("any") }
    }

    /// Where it stages this volume.
    pub fn staging(&self, volume: &str) -> PathBuf {
        let path = self.home.join("staging").join(volume.replace('#', "-"));
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Where it publishes for this pod.
    pub fn target(&self, pod: &str) -> PathBuf {
        fs::create_dir_all(self.home.join("pods")).unwrap();
        self.home.join("pods").join(pod)
    }

    /// The same path, as it is in the node's namespace.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// What is mounted in the node below its own directory.
    pub fn mounts(&self) -> Vec<String> {
        let file = format!("/proc/{}/mountinfo", self.holder.id());
        let home = self.home.display().to_string();
        let text = fs::read_to_string(file).unwrap();
        text.lines().filter(|line| line.contains(&home)).map(str::to_owned).collect()
    }

    /// What it has on record.
    pub fn journal(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.join("state/volumes"));
        let names = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        entries.map(|entries| entries.map(names).collect()).unwrap_or_default()
    }

    fn client(&mut self) -> (&Runtime, &mut NodeClient<Channel>) {
        (&self.runtime, self.client.as_mut().unwrap())
    }

    pub fn stage(&mut self, handle: &str, attachment: &Value, way: &Use) -> Result<(), Status> {
        let staging = self.staging(handle).display().to_string();
        let request = NodeStageVolumeRequest {
            volume_id: handle.to_owned(),
            publish_context: context(attachment).to_map(),
            staging_target_path: staging,
            volume_capability: Some(way.capability()),
            ..Default::default()
        };
        let (runtime, client) = self.client();
        runtime.block_on(client.node_stage_volume(request)).map(drop)
    }

    pub fn publish(
        &mut self,
        handle: &str,
        target: &Path,
        readonly: bool,
        way: &Use,
    ) -> Result<(), Status> {
        let request = NodePublishVolumeRequest {
            volume_id: handle.to_owned(),
            staging_target_path: self.staging(handle).display().to_string(),
            target_path: target.display().to_string(),
            volume_capability: Some(way.capability()),
            readonly,
            ..Default::default()
        };
        let (runtime, client) = self.client();
        runtime.block_on(client.node_publish_volume(request)).map(drop)
    }

    pub fn unpublish(&mut self, handle: &str, target: &Path) -> Result<(), Status> {
        let (volume_id, target_path) = (handle.to_owned(), target.display().to_string());
        let request = NodeUnpublishVolumeRequest { volume_id, target_path };
        let (runtime, client) = self.client();
        runtime.block_on(client.node_unpublish_volume(request)).map(drop)
    }

    pub fn unstage(&mut self, handle: &str) -> Result<(), Status> {
        let staging_target_path = self.staging(handle).display().to_string();
        let request =
            NodeUnstageVolumeRequest { volume_id: handle.to_owned(), staging_target_path };
        let (runtime, client) = self.client();
        runtime.block_on(client.node_unstage_volume(request)).map(drop)
    }

    pub fn expand(&mut self, handle: &str, at: &Path, least: i64) -> Result<i64, Status> {
        let request = NodeExpandVolumeRequest {
            volume_id: handle.to_owned(),
            volume_path: at.display().to_string(),
            capacity_range: Some(CapacityRange { required_bytes: least, limit_bytes: 0 }),
            ..Default::default()
        };
        let (runtime, client) = self.client();
        let answer = runtime.block_on(client.node_expand_volume(request))?;
        Ok(answer.into_inner().capacity_bytes)
    }

    pub fn stats(&mut self, handle: &str, at: &Path) -> Result<NodeGetVolumeStatsResponse, Status> {
        let request = NodeGetVolumeStatsRequest {
            volume_id: handle.to_owned(),
            volume_path: at.display().to_string(),
            ..Default::default()
        };
        let (runtime, client) = self.client();
        let answer = runtime.block_on(client.node_get_volume_stats(request))?;
        Ok(answer.into_inner())
    }

    /// Opens the device at this path in the node, past every cache.
    pub fn open(&self, target: &Path, write: bool) -> std::io::Result<File> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
        OpenOptions::new().read(true).write(write).custom_flags(direct).open(self.inside(target))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill_plugin();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What a controller would tell the node.
fn context(attachment: &Value) -> PublishContext {
    PublishContext {
        attachment: text(attachment, "id"),
        mode: text(attachment, "attachMode").parse().unwrap(),
        info: attachment["connectionInfo"].clone(),
    }
}

/// Loop devices on files of this scene, as the kernel names them.
pub fn loops(scene: &Scene) -> Vec<String> {
    let pools = scene.path("pools").canonicalize().unwrap().display().to_string();
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        file.starts_with(&pools).then(|| format!("{name} {}", file.trim_end()))
    };
    fs::read_dir("/sys/block").unwrap().filter_map(file).collect()
}

/// Waits until nothing of the scene is left in the kernel or in the nodes.
pub fn nothing_is_left(scene: &Scene, nodes: &[&Node]) {
    until("nothing is left", || {
        let mounts = nodes.iter().flat_map(|node| node.mounts()).count();
        let journals = nodes.iter().flat_map(|node| node.journal()).count();
        (loops(scene).is_empty() && mounts == 0 && journals == 0).then_some(())
    });
    let links = fs::read_dir(scene.path("pools/default/.exports")).map(Iterator::count);
    assert_eq!(links.unwrap_or_default(), 0);
}
