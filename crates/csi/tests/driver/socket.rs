//! The server on its socket: served, cleaned up, and never in the place of another.

use std::path::Path;
use std::time::Duration;

use osds_csi::controller::{ControllerService, Settings};
use osds_csi::identity::IdentityService;
use osds_csi::proto::group_controller_client::GroupControllerClient;
use osds_csi::proto::identity_client::IdentityClient;
use osds_csi::proto::{
    GetPluginCapabilitiesRequest, GetPluginInfoRequest, GroupControllerGetCapabilitiesRequest,
    plugin_capability,
};
use osds_csi::server::{ServeError, Socket, path_of, serve};
use osds_csi::{Api, DRIVER_NAME, Metrics, Services};
use osds_rest_api::{ADMIN_TENANT, client};
use tokio::sync::oneshot;

use crate::connect::channel;

fn services() -> Services {
    Services { identity: IdentityService::new(DRIVER_NAME, None), controller: None, node: None }
}

async fn ask(path: &Path, origin: &'static str) -> Result<String, tonic::Status> {
    let channel = channel(path, origin, Duration::from_secs(5)).await.unwrap();
    let answer = IdentityClient::new(channel).get_plugin_info(GetPluginInfoRequest {}).await?;
    Ok(answer.into_inner().name)
}

#[tokio::test]
async fn served_and_cleaned_up() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sub/csi.sock");
    let socket = Socket::listen(&path).await.unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(socket, services(), async {
        let _ = ended.await;
    }));
    assert_eq!(ask(&path, "http://localhost").await.unwrap(), DRIVER_NAME);
    // Another driver keeps its hands off.
    assert!(matches!(Socket::listen(&path).await, Err(ServeError::InUse { .. })));
    end.send(()).unwrap();
    served.await.unwrap().unwrap();
    assert!(!path.exists());

    // What a killed one left is replaced; what is no socket is not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Socket::listen(&path).await.unwrap());
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(Socket::listen(&path).await, Err(ServeError::InTheWay { .. })));
}

/// What is called a group controller has to be one, on the same socket.
#[tokio::test]
async fn the_controller_is_a_group_controller() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("csi.sock");
    let socket = Socket::listen(&path).await.unwrap();
    // Nobody is asked for what a driver can do.
    let api = Api::new(client::Settings {
        endpoint: "http://127.0.0.1:9".into(),
        tenant: ADMIN_TENANT.into(),
        login: None,
        ca_file: None,
        timeout: Duration::from_secs(1),
        user_agent: "test/1".into(),
    });
    let settings = Settings { driver_name: DRIVER_NAME.into(), auto_multi_attach: false };
    let controller = Some(ControllerService::new(api, settings, Metrics::default()));
    let (end, ended) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(socket, Services { controller, ..services() }, async {
        let _ = ended.await;
    }));
    let channel = channel(&path, "http://localhost", Duration::from_secs(5)).await.unwrap();
    let mut identity = IdentityClient::new(channel.clone());
    let said = identity.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await.unwrap();
    let service = plugin_capability::service::Type::GroupControllerService;
    let offered =
        plugin_capability::Type::Service(plugin_capability::Service { r#type: service.into() });
    let mut capabilities = said.into_inner().capabilities.into_iter();
    assert!(capabilities.any(|one| one.r#type == Some(offered)));
    let mut groups = GroupControllerClient::new(channel);
    let request = GroupControllerGetCapabilitiesRequest {};
    let said = groups.group_controller_get_capabilities(request).await.unwrap().into_inner();
    assert_eq!(said.capabilities.len(), 1);
    end.send(()).unwrap();
    served.await.unwrap().unwrap();
}

#[test]
fn endpoints() {
    for good in ["unix:///run/csi.sock", "unix:/run/csi.sock", "/run/csi.sock"] {
        assert_eq!(path_of(good).unwrap(), Path::new("/run/csi.sock"));
    }
    for bad in ["", "/", "tcp://127.0.0.1:1", "unix://csi.sock"] {
        assert!(path_of(bad).is_err(), "{bad}");
    }
}
