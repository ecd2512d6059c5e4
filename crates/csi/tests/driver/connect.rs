//! A gRPC client's way to a unix socket.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Error, Uri};

/// Connects to the socket; each call may take so long. The origin is what is said to be asked for.
pub async fn channel(
    path: &Path,
    origin: &'static str,
    patience: Duration,
) -> Result<Channel, Error> {
    let connect = Connect(path.to_owned());
    Endpoint::from_static(origin).timeout(patience).connect_with_connector(connect).await
}

#[derive(Clone)]
struct Connect(PathBuf);

impl tower_service::Service<Uri> for Connect {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}
