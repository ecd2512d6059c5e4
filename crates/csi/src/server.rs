//! The socket: where the services are served, with limits, and what is left of it at the end.
//!
//! A socket file that nobody answers on is what a killed driver leaves behind, and is replaced; one
//! that answers belongs to a driver that runs, and is an error. At the end the file goes, but only
//! if it is still ours.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::controller::ControllerService;
use crate::identity::IdentityService;
use crate::node::NodeService;
use crate::proto::controller_server::ControllerServer;
use crate::proto::group_controller_server::GroupControllerServer;
use crate::proto::identity_server::IdentityServer;
use crate::proto::node_server::NodeServer;

/// The longest a call may take. Callers give up much earlier and ask again.
const LONGEST_CALL: Duration = Duration::from_secs(300);

/// Calls at once on one connection; the sidecars have ten to a hundred workers.
const CALLS: usize = 256;

/// What is served on a socket.
pub struct Services {
    /// Always.
    pub identity: IdentityService,
    /// Where the controller runs; it is the group controller, too.
    pub controller: Option<ControllerService>,
    /// Where the node service runs.
    pub node: Option<NodeService>,
}

/// Why nothing is served (any more).
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The endpoint is of another kind.
    #[error("endpoint {endpoint} cannot be used: it has to be unix:///path/of/a/socket")]
    BadEndpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// Somebody answers there.
    #[error("{path} is in use by another driver; end that one, or choose another --endpoint")]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something that is not a socket is in the way.
    #[error("{path} is there and is not a socket; choose another --endpoint")]
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot listen on {path}")]
    Listen {
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The server ended by itself.
    #[error("the server ended")]
    Server(#[source] tonic::transport::Error),
}

/// A socket that is listened on; its file goes with it.
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the file at the end, if it is still the one that was made.
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket's file stays behind");
        }
    }
}

/// The path of `unix:///run/x.sock`, or of `unix:/run/x.sock`, or of a plain path.
///
/// # Errors
/// When it is of another kind.
pub fn path_of(endpoint: &str) -> Result<PathBuf, ServeError> {
    let path = endpoint
        .strip_prefix("unix://")
        .or_else(|| endpoint.strip_prefix("unix:"))
        .unwrap_or(endpoint);
    if path.starts_with('/') && path.len() > 1 {
        Ok(path.into())
    } else {
        Err(ServeError::BadEndpoint { endpoint: endpoint.to_owned() })
    }
}

impl Socket {
    /// Listens on a socket of this path, for its owner only.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn listen(path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ServeError::InTheWay { path: path.to_owned() });
            }
            Ok(_) if UnixStream::connect(path).await.is_ok() => {
                return Err(ServeError::InUse { path: path.to_owned() });
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
        let inode = std::fs::symlink_metadata(path).map_err(failed)?.ino();
        Ok(Self { listener, file: SocketFile { path: path.to_owned(), inode } })
    }
}

/// Serves until `until`, then lets calls that are under way end.
///
/// # Errors
/// When the server ends by itself.
pub async fn serve(
    socket: Socket,
    services: Services,
    until: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Socket { listener, file } = socket;
    let controller = services.controller.map(Arc::new);
    let outcome = Server::builder()
        .timeout(LONGEST_CALL)
        .concurrency_limit_per_connection(CALLS)
        .max_concurrent_streams(Some(CALLS as u32))
        .add_service(IdentityServer::new(services.identity))
        .add_optional_service(controller.clone().map(ControllerServer::from_arc))
        .add_optional_service(controller.map(GroupControllerServer::from_arc))
        .add_optional_service(services.node.map(NodeServer::new))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), until)
        .await
        .map_err(ServeError::Server);
    drop(file);
    outcome
}
