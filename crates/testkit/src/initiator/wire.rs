//! A socket that carries PDUs, well-formed or not.
//!
//! Sending is queued until somebody receives or flushes, so commands that are submitted together
//! travel together. Every receive has a timeout: a test against a silent target ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use osds_iscsi::pdu::frame::{self, Parsed};
use osds_iscsi::pdu::{Digests, Header, Request, Response};

use super::Error;

/// Longest data segment taken from the target.
const MAX_SEGMENT: usize = (1 << 24) - 1;

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
            self.received.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.received.len() < need {
                self.received.resize(need, 0);
            }
            match self.stream.read(&mut self.received[self.end..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives one PDU and keeps a copy of its data.
    pub fn receive_owned(&mut self) -> Result<(Response, Vec<u8>), Error> {
        self.receive(|response, data| (response, data.to_vec()))
    }
}
