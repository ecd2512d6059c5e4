//! The part of a connection that others than its own thread may touch: to end it, and to wait for
//! that end.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::gate::{Gate, Latch};

/// The part of a connection that others may touch.
#[derive(Debug)]
pub struct Connection {
    /// Key in the registry.
    pub id: u64,
    /// The other end.
    pub peer: SocketAddr,
    /// The socket; reading and writing is for its own thread only.
    pub stream: TcpStream,
    /// Every command passes here.
    pub gate: Gate,
    /// Set when the thread has let go of everything.
    pub ended: Latch,
    /// The thread, to be joined by whoever waits for the end.
    pub thread: Mutex<Option<JoinHandle<()>>>,
}

impl Connection {
    /// A connection whose thread is still to be started.
    pub(super) fn new(id: u64, stream: TcpStream, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            stream,
            gate: Gate::default(),
            ended: Latch::default(),
            thread: Mutex::default(),
        }
    }

    /// Tells the connection to end: nothing more begins, blocked socket calls return.
    pub(super) fn end(&self) {
        self.gate.close();
        // Fails only when the peer is gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits for what [`Connection::end`] began.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        if !self.gate.wait_empty(deadline) || !self.ended.wait(deadline) {
            return false;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The latch was the last thing it did, so this returns at once. A panic of that thread has
        // been reported by the panic hook and ended only its own session.
        thread.is_none_or(|thread| thread.join().is_ok() || self.gate.wait_empty(deadline))
    }
}
