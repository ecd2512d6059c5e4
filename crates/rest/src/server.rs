//! The port: how many connections, how long each may take its time, and how it ends.
//!
//! Every wait for a client has a limit. Heads are waited for by the HTTP library (an idle
//! connection is one that waits for its next head), bodies and handlers by the edge, and what
//! the client does not read by the kernel (`TCP_USER_TIMEOUT`). So whoever connects and does
//! nothing holds one of a bounded number of places for a bounded time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::edge::Edge;

/// Limits of the port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Longest time for the head of a request, and between requests.
    pub head_read: Duration,
    /// Largest head, in bytes.
    pub head_bytes: usize,
    /// Longest time for the body of a request.
    pub body_read: Duration,
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Longest time from the head to the answer.
    pub request: Duration,
    /// Longest time for which a client may not read what we sent.
    pub write: Duration,
    /// Longest time that requests under way get to finish after the order to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_read: Duration::from_secs(30),
            head_bytes: 64 * 1024,
            body_read: Duration::from_secs(30),
            body_bytes: 1024 * 1024,
            // The original's `ServerTimeOut`.
            request: Duration::from_secs(120),
            write: Duration::from_secs(60),
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves `router` on `listener` until `shutdown`; returns when the last connection is closed.
/// Requests that are under way at `shutdown` are answered, within [`Limits::grace`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let edge = Arc::new(Edge::new(router, limits));
    let room = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, place) = accept(&listener, &room) => {
                let (edge, stopping) = (Arc::clone(&edge), stopping.clone());
                connections.spawn(async move {
                    converse(stream, &edge, &limits, stopping).await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    info!(connections = connections.len(), "no new connections; finishing");
    // Also tells those that look later: the channel is closed then.
    drop(stop);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.grace, finished).await.is_err() {
        warn!(connections = connections.len(), "connections are cut: they did not finish in time");
    }
    connections.shutdown().await;
}

/// The next connection, when there is room for one.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                // Mostly a client that left while it waited; else we are out of descriptors, and
                // asking again at once would burn the processor without getting any.
                warn!(%error, "could not accept a connection");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn converse(
    stream: TcpStream,
    edge: &Arc<Edge>,
    limits: &Limits,
    mut stopping: watch::Receiver<()>,
) {
    if let Err(error) = tune(&stream, limits) {
        debug!(%error, "connection could not be tuned");
    }
    let answer = service_fn(|request| {
        let edge = Arc::clone(edge);
        async move { edge.answer(request).await }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_read)
        .max_buf_size(limits.head_bytes.max(8192))
        .keep_alive(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "connection ended badly");
    }
}

fn tune(stream: &TcpStream, limits: &Limits) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let alive = TcpKeepalive::new().with_time(limits.write).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limits.write))?;
    Ok(())
}
