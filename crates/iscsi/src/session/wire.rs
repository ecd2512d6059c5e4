//! One socket: bytes in through a reusable buffer, bytes out in batches.
//!
//! [`Inbox`] receives as much as is there and yields whole PDUs that borrow from its buffer; its size
//! is one largest PDU and a bit, so a peer cannot make it grow. [`Outbox`] collects answers until
//! somebody flushes, so that a deep queue shares its system calls; large read data is sent with one
//! gathering write from where it lies. Timeouts are those of the socket.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::buffer::Buffer;
use crate::pdu::frame::{self, Parsed};
use crate::pdu::header;
use crate::pdu::{Digests, FrameError, Response};
use crate::registry::Connection;

/// Room beyond one largest PDU, so that small commands arrive in bulk.
const SPARE: usize = 64 << 10;

/// Answers beyond this are sent without waiting for the end of the batch.
const HIGH_WATER: usize = 256 << 10;

/// What one receive brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Some bytes.
    Bytes,
    /// The peer has closed, or we have been told to end.
    End,
    /// Nothing within the timeout.
    Nothing,
    /// Nothing, but something else needs to be looked at.
    Woken,
}

/// The receiving side.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    max_data: usize,
    timeout: Option<Duration>,
}

impl Inbox {
    /// Takes data segments up to `max_data` bytes.
    pub fn new(max_data: usize) -> Self {
        let mut inbox = Self { buffer: Vec::new(), start: 0, end: 0, max_data, timeout: None };
        inbox.grow(max_data);
        inbox
    }

    /// From now on takes data segments up to `max_data` bytes. What was received stays.
    pub fn grow(&mut self, max_data: usize) {
        // Header, the longest additional segments, both digests.
        let largest = header::LEN + 4 * 255 + 8 + max_data.next_multiple_of(4);
        self.max_data = max_data;
        if self.buffer.len() < largest + SPARE {
            // Fresh zeroed memory is only backed by pages once a PDU needs them.
            let mut buffer = vec![0; largest + SPARE];
            buffer[..self.end].copy_from_slice(&self.buffer[..self.end]);
            self.buffer = buffer;
        }
    }

    /// The first PDU in the buffer.
    pub fn next(&self, digests: Digests) -> Result<Parsed<'_>, FrameError> {
        frame::next(&self.buffer[self.start..self.end], digests, self.max_data)
    }

    /// Done with so many bytes.
    pub fn consume(&mut self, len: usize) {
        self.start += len;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// One receive, after making room for a PDU of `need` bytes.
    pub fn fill(
        &mut self,
        stream: &TcpStream,
        need: usize,
        timeout: Duration,
    ) -> io::Result<Received> {
        if self.timeout != Some(timeout) {
            stream.set_read_timeout(Some(timeout))?;
            self.timeout = Some(timeout);
        }
        self.make_room(need);
        let mut stream = stream;
        match stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => Ok(Received::End),
            Ok(n) => {
                self.end += n;
                Ok(Received::Bytes)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(Received::Nothing)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(Received::Nothing),
            Err(e) => Err(e),
        }
    }
}

impl Inbox {
    /// Receives what is there already; `None` if nothing is.
    pub fn fill_now(&mut self, stream: &TcpStream, need: usize) -> io::Result<Option<Received>> {
        self.make_room(need);
        match recv(stream, &mut self.buffer[self.end..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Ok(Some(Received::End)),
            Ok((_, n)) => {
                self.end += n;
                Ok(Some(Received::Bytes))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn make_room(&mut self, need: usize) {
        if self.start + need > self.buffer.len() || self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

/// The sending side.
#[derive(Debug)]
pub struct Outbox<'a> {
    connection: &'a Connection,
    bytes: Buffer,
    /// A part of a PDU went out without the rest: nothing more can be said.
    torn: bool,
    /// Digests of what is sent from now on.
    pub digests: Digests,
}

impl<'a> Outbox<'a> {
    /// Sends to a peer, which is dropped when it takes nothing for `timeout`.
    pub fn new(connection: &'a Connection, timeout: Duration) -> io::Result<Self> {
        connection.stream.set_write_timeout(Some(timeout))?;
        Ok(Self { connection, bytes: Buffer::default(), torn: false, digests: Digests::default() })
    }

    /// Queues one PDU.
    pub fn push(&mut self, response: &Response, data: &[u8]) {
        let (head, len) = frame::head(response.encode(), data.len(), self.digests);
        self.bytes.extend_from_slice(&head[..len]);
        self.bytes.extend_from_slice(data);
        let (rest, len) = frame::trailer(data, self.digests);
        self.bytes.extend_from_slice(&rest[..len]);
    }

    /// Lets `produce` append data right behind a header that is filled in afterwards. `produce`
    /// gets the buffer; `finish` gets the number of bytes appended and says how many of them to keep
    /// and with which header, or `None` to take it all back.
    pub fn push_in_place<T>(
        &mut self,
        produce: impl FnOnce(&mut Buffer) -> T,
        finish: impl FnOnce(&T, usize) -> Option<(Response, usize)>,
    ) -> T {
        let at = self.bytes.len();
        self.bytes.room(header::LEN + if self.digests.header { 4 } else { 0 });
        let data_at = self.bytes.len();
        let made = produce(&mut self.bytes);
        match finish(&made, self.bytes.len().saturating_sub(data_at)) {
            Some((response, keep)) => {
                self.bytes.truncate(data_at + keep);
                let (head, len) = frame::head(response.encode(), keep, self.digests);
                self.bytes.bytes_mut()[at..data_at].copy_from_slice(&head[..len]);
                let (rest, len) = frame::trailer(&self.bytes[data_at..], self.digests);
                self.bytes.extend_from_slice(&rest[..len]);
            }
            None => self.bytes.truncate(at),
        }
        made
    }

    /// Sends what is queued and then these PDUs, whose data stays where it is.
    pub fn send_gathered<'d>(
        &mut self,
        mut pdus: impl Iterator<Item = (Response, &'d [u8])>,
    ) -> io::Result<()> {
        /// PDUs of one system call: a megabyte in our own largest segments, twice over.
        const AT_ONCE: usize = 8;
        let digests = self.digests;
        loop {
            let mut heads = [([0; header::LEN + 4], 0); AT_ONCE];
            let mut datas: [&[u8]; AT_ONCE] = [&[]; AT_ONCE];
            let mut trailers = [([0; 7], 0); AT_ONCE];
            let mut count = 0;
            for (response, data) in pdus.by_ref().take(AT_ONCE) {
                heads[count] = frame::head(response.encode(), data.len(), digests);
                datas[count] = data;
                trailers[count] = frame::trailer(data, digests);
                count += 1;
            }
            if count == 0 && self.bytes.is_empty() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); 1 + 3 * AT_ONCE];
            slices[0] = IoSlice::new(&self.bytes);
            for at in 0..count {
                slices[1 + 3 * at] = IoSlice::new(&heads[at].0[..heads[at].1]);
                slices[2 + 3 * at] = IoSlice::new(datas[at]);
                slices[3 + 3 * at] = IoSlice::new(&trailers[at].0[..trailers[at].1]);
            }
            self.connection.send(&mut slices[..=3 * count], &mut self.torn)?;
            self.bytes.clear();
            if count < AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Sends what is queued, if it is much.
    pub fn flush_if_full(&mut self) -> io::Result<()> {
        if self.bytes.len() >= HIGH_WATER { self.flush() } else { Ok(()) }
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.bytes.is_empty() {
            self.connection.send(&mut [IoSlice::new(&self.bytes)], &mut self.torn)?;
            self.bytes.clear();
        }
        Ok(())
    }

    /// Sends what is queued, as far as it goes out at once. The rest is never said.
    pub fn last_words(&mut self) {
        if !self.torn {
            self.connection.last_words(&self.bytes);
        }
        self.bytes.clear();
    }

    /// Gives memory back; for quiet moments.
    pub fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Buffer::default();
        }
    }
}

/// Says goodbye so that the last answer arrives: closing with unread bytes would make the kernel
/// throw away what is still on its way out. Bounded in time and bytes.
pub fn farewell(stream: &TcpStream) {
    const PATIENCE: Duration = Duration::from_millis(250);
    const BYTES: usize = 1 << 20;
    let deadline = Instant::now() + PATIENCE;
    if stream.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut sink = [0; 4096];
    let mut taken = 0;
    let mut stream = stream;
    while taken < BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut sink) {
            Ok(0) | Err(_) => return,
            Ok(n) => taken += n,
        }
    }
}
