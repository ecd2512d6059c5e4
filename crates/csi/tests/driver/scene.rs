//! A cluster in this process, its REST API on a free port, and a controller service before it.

use std::sync::Arc;
use std::time::Duration;

use osds_csi::context::PublishContext;
use osds_csi::controller::{ControllerService, Settings};
use osds_csi::proto::controller_server::Controller as _;
use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::proto::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use osds_csi::proto::{
    CapacityRange, ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest,
    CreateVolumeRequest, Volume, VolumeCapability,
};
use osds_csi::status::Status;
use osds_csi::{Api, DRIVER_NAME, Metrics};
use osds_model::Host;
use osds_rest::{Authority, Limits};
use osds_rest_api::{ADMIN_TENANT, client};
use osds_testkit::cluster::{Cluster, quick};
use tokio::sync::oneshot;
use tonic::Request;

pub struct Scene {
    pub cluster: Cluster,
    pub driver: Arc<ControllerService>,
    _end: oneshot::Sender<()>,
}

impl Scene {
    pub async fn new() -> Self {
        let cluster = Cluster::start(quick()).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = osds_rest::router(
            cluster.controller.clone(),
            Authority::noauth(),
            osds_rest::Settings::default(),
        );
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(osds_rest::serve(listener, None, router, Limits::default(), async {
            let _ = ended.await;
        }));
        let api = Api::new(client::Settings {
            endpoint,
            tenant: ADMIN_TENANT.into(),
            login: None,
            ca_file: None,
            timeout: Duration::from_secs(20),
            user_agent: "test/1".into(),
        });
        let settings = Settings { driver_name: DRIVER_NAME.into(), auto_multi_attach: true };
        let driver = Arc::new(ControllerService::new(api, settings, Metrics::default()));
        Self { cluster, driver, _end: end }
    }

    pub async fn host(&self, name: &str) -> Arc<Host> {
        self.cluster.add_host(name).await.unwrap()
    }

    pub async fn create(&self, name: &str, modes: &[Mode]) -> Result<Volume, Status> {
        self.create_as(CreateVolumeRequest {
            name: name.into(),
            volume_capabilities: modes.iter().map(|mode| block(*mode)).collect(),
            ..CreateVolumeRequest::default()
        })
        .await
    }

    pub async fn create_as(&self, request: CreateVolumeRequest) -> Result<Volume, Status> {
        let made = self.driver.create_volume(Request::new(request)).await?;
        Ok(made.into_inner().volume.unwrap())
    }

    pub async fn publish(
        &self,
        volume: &str,
        node: &str,
        capability: VolumeCapability,
        readonly: bool,
    ) -> Result<PublishContext, Status> {
        let request = ControllerPublishVolumeRequest {
            volume_id: volume.into(),
            node_id: node.into(),
            volume_capability: Some(capability),
            readonly,
            volume_context: [("allowClusterFs".to_owned(), "true".to_owned())].into(),
            ..ControllerPublishVolumeRequest::default()
        };
        let answer = self.driver.controller_publish_volume(Request::new(request)).await?;
        Ok(PublishContext::from_map(&answer.into_inner().publish_context).unwrap())
    }

    pub async fn unpublish(&self, volume: &str, node: &str) -> Result<(), Status> {
        let request = ControllerUnpublishVolumeRequest {
            volume_id: volume.into(),
            node_id: node.into(),
            ..ControllerUnpublishVolumeRequest::default()
        };
        self.driver.controller_unpublish_volume(Request::new(request)).await.map(drop)
    }
}

pub fn gib(required: i64, limit: i64) -> Option<CapacityRange> {
    Some(CapacityRange { required_bytes: required << 30, limit_bytes: limit << 30 })
}

pub fn block(mode: Mode) -> VolumeCapability {
    capability(mode, AccessType::Block(BlockVolume {}))
}

pub fn mount(mode: Mode, fs_type: &str) -> VolumeCapability {
    let volume = MountVolume { fs_type: fs_type.into(), ..MountVolume::default() };
    capability(mode, AccessType::Mount(volume))
}

fn capability(mode: Mode, access: AccessType) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(access),
    }
}
