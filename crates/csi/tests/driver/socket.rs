//! The server on its socket: served, cleaned up, and never in the place of another.

use std::path::Path;
use std::time::Duration;

use osds_csi::identity::IdentityService;
use osds_csi::proto::GetPluginInfoRequest;
use osds_csi::proto::identity_client::IdentityClient;
use osds_csi::server::{ServeError, Socket, path_of, serve};
use osds_csi::{DRIVER_NAME, Services};
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

#[test]
fn endpoints() {
    for good in ["unix:///run/csi.sock", "unix:/run/csi.sock", "/run/csi.sock"] {
        assert_eq!(path_of(good).unwrap(), Path::new("/run/csi.sock"));
    }
    for bad in ["", "/", "tcp://127.0.0.1:1", "unix://csi.sock"] {
        assert!(path_of(bad).is_err(), "{bad}");
    }
}
