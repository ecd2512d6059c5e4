//! The part of a connection that others than its own thread may touch: to end it, and to wait for
//! that end.
//!
//! Ending never waits for the peer. A session keeps its sending side open for its last words, which
//! it says only as far as they go out at once, unless it is waiting just then for the peer to take
//! what it sends: then its socket is cut. The two cannot be mixed up: whether it waits is decided
//! under the same lock as the end, and it never waits once it was told to end.

use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use crate::gate::{Gate, Latch};
use crate::scsi::Departure;
use crate::session::tasks::TaskSet;

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
    /// Who else has to hear of the end of its session; set before it becomes one.
    pub departure: OnceLock<Departure>,
    /// Where a reset of its session may be waiting; set with it.
    pub tasks: OnceLock<Arc<TaskSet>>,
    /// Set when the thread has let go of everything.
    pub ended: Latch,
    /// The thread, to be joined by whoever waits for the end.
    pub thread: Mutex<Option<JoinHandle<()>>>,
    voice: Mutex<Voice>,
}

/// What the connection's thread may be doing with the sending side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Voice {
    /// It is logging in: nothing is said at the end.
    #[default]
    Curt,
    /// A session that is not waiting for its peer to take anything.
    Free,
    /// A session that is.
    Stuck,
    /// It was told to end.
    Ended,
}

impl Connection {
    /// A connection whose thread is still to be started.
    pub(super) fn new(id: u64, stream: TcpStream, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            stream,
            gate: Gate::default(),
            departure: OnceLock::new(),
            tasks: OnceLock::new(),
            ended: Latch::default(),
            thread: Mutex::default(),
            voice: Mutex::default(),
        }
    }

    fn voice(&self) -> MutexGuard<'_, Voice> {
        // One plain value: poison means nothing here.
        self.voice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the connection to end: nothing more begins, blocked socket calls return.
    pub(super) fn end(&self) {
        self.gate.close();
        self.depart();
        let mut voice = self.voice();
        let how = match *voice {
            Voice::Free => Shutdown::Read,
            // Asked once more, the last words have taken too long.
            Voice::Curt | Voice::Stuck | Voice::Ended => Shutdown::Both,
        };
        *voice = Voice::Ended;
        // Fails only when the peer is gone already.
        let _ = self.stream.shutdown(how);
    }

    /// Nothing of the session waits for commands of others any more: it is over.
    pub fn depart(&self) {
        if let Some(departure) = self.departure.get() {
            departure.announce();
        }
        if let Some(tasks) = self.tasks.get() {
            tasks.wake();
        }
    }

    /// For the thread: it serves a session now, which says when it is put out.
    pub fn begin_session(&self) {
        let mut voice = self.voice();
        if *voice == Voice::Curt {
            *voice = Voice::Free;
        }
    }

    /// For the thread: sends all of this, unless it was told to end. `torn` says afterwards whether
    /// a part went out without the rest.
    pub fn send(&self, mut left: &mut [IoSlice<'_>], torn: &mut bool) -> io::Result<()> {
        IoSlice::advance_slices(&mut left, 0);
        if left.is_empty() {
            return Ok(());
        }
        match self.send_at_once(left) {
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
        // Mostly there is no rest. If there is, it waits for the peer.
        while !left.is_empty() {
            *torn = true;
            self.change_voice(Voice::Free, Voice::Stuck)?;
            let sent = (&self.stream).write_vectored(left);
            self.change_voice(Voice::Stuck, Voice::Free)?;
            match sent {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut left, n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        *torn = false;
        Ok(())
    }

    /// For the thread, as its last act with the socket: sends what goes out at once.
    pub fn last_words(&self, words: &[u8]) {
        // Whatever fails, the connection ends: that is what it was told.
        let _ = self.send_at_once(&[IoSlice::new(words)]);
    }

    fn send_at_once(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(&self.stream, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    /// Refused when the connection was told to end.
    fn change_voice(&self, from: Voice, to: Voice) -> io::Result<()> {
        let mut voice = self.voice();
        if *voice == Voice::Ended {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if *voice == from {
            *voice = to;
        }
        Ok(())
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
