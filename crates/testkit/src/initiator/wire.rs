//! A socket that carries PDUs, well-formed or not.
//!
//! Sending is queued until somebody receives or flushes, so commands that are submitted together
//! travel together. Large data is sent from where it lies and received to where it belongs: a load
//! generator that copies it once more would be measured instead of the target. Every receive has a
//! timeout: a test against a silent target ends.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use osds_iscsi::pdu::frame::{self, Parsed};
use osds_iscsi::pdu::{Digests, Header, Request, Response, header};

use super::Error;

/// Longest data segment taken from the target.
const MAX_SEGMENT: usize = (1 << 24) - 1;

/// Data segments from here on are large: see the head of this file.
pub(super) const LARGE: usize = 64 << 10;

/// How much is received at a time while large data is expected: headers, and little data that has to
/// be copied.
const SIP: usize = 4 << 10;

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    start: usize,
    end: usize,
    out: Vec<u8>,
    /// Digests of both directions from now on.
    pub digests: Digests,
}

impl Wire {
    /// Connects; a receive that takes longer than `timeout` is an error.
    pub fn connect(portal: SocketAddr, timeout: Duration) -> Result<Self, Error> {
        let stream = TcpStream::connect_timeout(&portal, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self {
            stream,
            received: vec![0; 512 << 10],
            start: 0,
            end: 0,
            out: Vec::new(),
            digests: Digests::default(),
        })
    }

    /// The socket, for tests that stall or cut it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Queues a request.
    pub fn push(&mut self, request: &Request, data: &[u8]) {
        self.push_raw(request.encode(), data);
    }

    /// Queues a header of any content with its data.
    pub fn push_raw(&mut self, header: Header, data: &[u8]) {
        frame::append(&mut self.out, header, data, self.digests);
    }

    /// Sends what is queued and then a request whose data stays where it is, if it is large;
    /// queues it otherwise.
    pub fn push_large(&mut self, request: &Request, data: &[u8]) -> Result<(), Error> {
        if data.len() < LARGE {
            self.push(request, data);
            return Ok(());
        }
        let (head, len) = frame::head(request.encode(), data.len(), self.digests);
        let (rest, rest_len) = frame::trailer(data, self.digests);
        let slices = &mut [&self.out[..], &head[..len], data, &rest[..rest_len]].map(IoSlice::new);
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.stream.write_vectored(left) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(n) => IoSlice::advance_slices(&mut left, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Queued bytes.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Result<(), Error> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Sends any bytes at once.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.flush()?;
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends what is queued and receives one PDU; its data is handed to `take`.
    pub fn receive<T>(&mut self, take: impl FnOnce(Response, &[u8]) -> T) -> Result<T, Error> {
        self.receive_some(usize::MAX, take)
    }

    /// The header of the next PDU, if it carries large data without digests that has not all come.
    /// The data must be taken with [`Wire::take_large`].
    pub fn next_large(&mut self) -> Result<Option<(Response, usize)>, Error> {
        self.flush()?;
        if self.digests != Digests::default() {
            return Ok(None);
        }
        while self.end - self.start < header::LEN {
            self.fill(header::LEN, SIP)?;
        }
        let here = &self.received[self.start..self.end];
        let Some(first) = here.first_chunk() else { return Ok(None) };
        let header = Header(*first);
        let len = header.data_len();
        let fits = (LARGE..=MAX_SEGMENT).contains(&len) && len.is_multiple_of(4);
        if !fits || header.ahs_len() > 0 || here.len() >= header::LEN + len {
            return Ok(None);
        }
        let response =
            Response::decode(&header).map_err(|error| Error::protocol(error.to_string()))?;
        self.start += header::LEN;
        Ok(Some((response, len)))
    }

    /// Receives the data that [`Wire::next_large`] announced.
    pub fn take_large(&mut self, room: &mut [u8]) -> Result<(), Error> {
        let here = (self.end - self.start).min(room.len());
        let (first, rest) = room.split_at_mut(here);
        first.copy_from_slice(&self.received[self.start..self.start + here]);
        self.start += here;
        Ok(self.stream.read_exact(rest)?)
    }

    /// The same as [`Wire::receive`]; receives little at a time, because large data is expected.
    pub fn receive_sparingly<T>(
        &mut self,
        take: impl FnOnce(Response, &[u8]) -> T,
    ) -> Result<T, Error> {
        self.receive_some(SIP, take)
    }

    fn receive_some<T>(
        &mut self,
        most: usize,
        take: impl FnOnce(Response, &[u8]) -> T,
    ) -> Result<T, Error> {
        self.flush()?;
        loop {
            let need = match frame::next(
                &self.received[self.start..self.end],
                self.digests,
                MAX_SEGMENT,
            ) {
                Ok(Parsed::Whole(found)) => {
                    let response = Response::decode(&found.header)
                        .map_err(|error| Error::protocol(error.to_string()))?;
                    let len = found.len;
                    let taken = take(response, found.data);
                    self.start += len;
                    return Ok(taken);
                }
                Ok(Parsed::Needs(need)) => need,
                Err(error) => return Err(Error::protocol(error.to_string())),
            };
            self.fill(need, most)?;
        }
    }

    /// One receive towards a PDU of `need` bytes, of not much more than `most`.
    fn fill(&mut self, need: usize, most: usize) -> Result<(), Error> {
        self.received.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.received.len() < need {
            self.received.resize(need, 0);
        }
        let until = self.received.len().min(self.end.saturating_add(most).max(need));
        match self.stream.read(&mut self.received[self.end..until]) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => {
                self.end += n;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives one PDU and keeps a copy of its data.
    pub fn receive_owned(&mut self) -> Result<(Response, Vec<u8>), Error> {
        self.receive(|response, data| (response, data.to_vec()))
    }
}
