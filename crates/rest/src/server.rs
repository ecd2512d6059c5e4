//! The port: how many connections, how long each may take its time, and how it ends.
//!
//! Every wait for a client has a limit. Heads are waited for by the HTTP library (an idle
//! connection is one that waits for its next head), bodies and handlers by the edge, and what
//! the client does not read by the kernel (`TCP_USER_TIMEOUT`). So whoever connects and does
//! nothing holds one of a bounded number of places for a bounded time, and not even for that when
//! all places are taken: the connection that has waited longest for a request makes room.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::edge::Edge;
use crate::tls::Tls;

/// How long a connection that has to make room may take to be gone, unless it works on a request.
const PARTING: Duration = Duration::from_millis(500);

/// Limits of the port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. A further one takes the place of one that waits for a request; while
    /// none does, it waits in the kernel's queue.
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
/// With `tls`, every connection speaks it, and nothing is answered in clear.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let edge = Arc::new(Edge::new(router, limits));
    let room = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let idle = Arc::<Idle>::default();
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            stream = accept(&listener) => {
                let place = tokio::select! {
                    () = &mut shutdown => break,
                    place = place(&room, &idle) => place,
                };
                let (edge, stopping) = (Arc::clone(&edge), stopping.clone());
                let (seat, tls) = (Seat::new(&idle), tls.clone());
                connections.spawn(async move {
                    welcome(stream, tls, &edge, &limits, stopping, &seat).await;
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

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Mostly a client that left while it waited; else we are out of descriptors, and
                // asking again at once would burn the processor without getting any.
                warn!(%error, "could not accept a connection");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A place for a connection that is there already.
async fn place(room: &Arc<Semaphore>, idle: &Idle) -> Option<OwnedSemaphorePermit> {
    loop {
        if room.available_permits() == 0 {
            idle.dismiss_oldest();
        }
        // Again after a while: when nobody was idle, somebody may be now.
        if let Ok(place) = timeout(PARTING, Arc::clone(room).acquire_owned()).await {
            // The semaphore is never closed.
            return place.ok();
        }
    }
}

/// The connections that wait for a request, the one that has waited longest first: the last number
/// given, and by theirs what tells them to leave.
#[derive(Default)]
struct Idle(Mutex<(u64, BTreeMap<u64, Arc<Notify>>)>);

impl Idle {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Arc<Notify>>)> {
        // Whole after every statement: poison means nothing here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dismiss_oldest(&self) {
        if let Some((_, leave)) = self.lock().1.pop_first() {
            leave.notify_one();
        }
    }
}

/// One connection's entry among the idle ones, which it leaves while it works on a request.
struct Seat {
    idle: Arc<Idle>,
    leave: Arc<Notify>,
    /// Its key among them; 0 while it works.
    number: AtomicU64,
}

impl Seat {
    fn new(idle: &Arc<Idle>) -> Self {
        let seat =
            Self { idle: Arc::clone(idle), leave: Arc::default(), number: AtomicU64::new(0) };
        seat.wait();
        seat
    }

    /// It waits for a request from now on.
    fn wait(&self) {
        let mut idle = self.idle.lock();
        idle.0 += 1;
        let number = idle.0;
        idle.1.insert(number, Arc::clone(&self.leave));
        self.number.store(number, Ordering::Relaxed);
    }

    /// It works on a request from now on.
    fn work(&self) {
        let number = self.number.swap(0, Ordering::Relaxed);
        self.idle.lock().1.remove(&number);
    }

    fn is_at_work(&self) -> bool {
        self.number.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.work();
    }
}

/// A connection from its first byte: in clear, or after a handshake that has no more time than
/// the head of a request, and gives way to others as one that waits.
async fn welcome(
    stream: TcpStream,
    tls: Option<Tls>,
    edge: &Arc<Edge>,
    limits: &Limits,
    mut stopping: watch::Receiver<()>,
    seat: &Seat,
) {
    if let Err(error) = tune(&stream, limits) {
        debug!(%error, "connection could not be tuned");
    }
    let Some(tls) = tls else {
        return converse(stream, edge, limits, stopping, seat).await;
    };
    let shaken = tokio::select! {
        shaken = timeout(limits.head_read, tls.accept(stream)) => shaken,
        () = seat.leave.notified() => return,
        // Nothing has been asked yet that would have to be answered.
        _ = stopping.changed() => return,
    };
    match shaken {
        Ok(Ok(stream)) => converse(stream, edge, limits, stopping, seat).await,
        Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
        Err(_) => debug!("TLS handshake took too long"),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    edge: &Arc<Edge>,
    limits: &Limits,
    mut stopping: watch::Receiver<()>,
    seat: &Seat,
) {
    let answer = service_fn(|request| {
        let edge = Arc::clone(edge);
        async move {
            seat.work();
            let response = edge.answer(request).await;
            seat.wait();
            response
        }
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
        () = seat.leave.notified() => {
            connection.as_mut().graceful_shutdown();
            match timeout(PARTING, connection.as_mut()).await {
                Ok(outcome) => outcome,
                // A request came in at the last moment.
                Err(_) if seat.is_at_work() => connection.await,
                Err(_) => return,
            }
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
