//! A small blocking NVMe over TCP initiator: one controller, one I/O queue, one command at a time.
//!
//! ```text
//! socket: ICReq -> ICResp -> Connect           once for the admin queue, once for the I/O queue
//! admin: CC.EN = 1, Identify namespace 1       I/O: Read, Write, their data in the capsule
//! ```
//! Names and numbers are those of the NVMe base specification (2.0) and of its TCP transport (1.0).

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The status of a command to a namespace that is not, or no more, there.
pub const NO_NAMESPACE: u16 = 0x0b;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Kinds of PDU.
const IC_REQ: u8 = 0x00;
const IC_RESP: u8 = 0x01;
const COMMAND: u8 = 0x04;
const RESPONSE: u8 = 0x05;
const C2H_DATA: u8 = 0x07;

/// Opcodes, and kinds of fabrics commands.
const WRITE: u8 = 0x01;
const READ: u8 = 0x02;
const IDENTIFY: u8 = 0x06;
const FABRICS: u8 = 0x7f;
const PROPERTY_SET: u8 = 0x00;
const CONNECT: u8 = 0x01;

/// Depth of each queue, counted from zero.
const DEPTH: u16 = 31;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// There is no connection, or no more.
    Lost,
    /// Its status, without the bits beside it.
    Status(u16),
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// One queue is one connection.
struct Queue {
    stream: TcpStream,
    next: u16,
}

impl Queue {
    fn open(portal: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&portal, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        // Version 0, no alignment, no digests, one R2T at a time.
        let mut hello = [0; 128];
        hello[..8].copy_from_slice(&[IC_REQ, 0, 128, 0, 128, 0, 0, 0]);
        stream.write_all(&hello)?;
        stream.read_exact(&mut hello)?;
        assert_eq!(hello[0], IC_RESP, "{hello:?}");
        Ok(Self { stream, next: 0 })
    }

    /// Sends a command, with its data if it has some, and takes in the answer.
    fn command(
        &mut self,
        mut entry: [u8; 64],
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<u16, Failure> {
        self.next = self.next.wrapping_add(1);
        // Where data is, is said by a scatter-gather list of one.
        entry[1] = 0x40;
        entry[2..4].copy_from_slice(&self.next.to_le_bytes());
        let (length, kind) =
            if data.is_empty() { (answer.len(), 0x5a) } else { (data.len(), 0x01) };
        entry[32..36].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        entry[39] = kind;
        let whole = u32::try_from(72 + data.len()).unwrap();
        let offset = if data.is_empty() { 0 } else { 72 };
        let mut pdu = vec![COMMAND, 0, 72, offset];
        pdu.extend(whole.to_le_bytes());
        pdu.extend(entry);
        pdu.extend(data);
        self.stream.write_all(&pdu)?;
        loop {
            let mut head = [0; 8];
            self.stream.read_exact(&mut head)?;
            let whole = u32::from_le_bytes(head[4..].try_into().unwrap());
            let mut rest = vec![0; usize::try_from(whole).unwrap() - 8];
            self.stream.read_exact(&mut rest)?;
            let word = |at: usize| u16::from_le_bytes([rest[at], rest[at + 1]]);
            match head[0] {
                C2H_DATA => {
                    let at = u32::from_le_bytes(rest[4..8].try_into().unwrap());
                    let (at, data) =
                        (usize::try_from(at).unwrap(), &rest[usize::from(head[3]) - 8..]);
                    answer[at..at + data.len()].copy_from_slice(data);
                }
                RESPONSE => {
                    assert_eq!(word(12), self.next, "an answer to another command");
                    // Beside the phase, what to do and that there is more.
                    return match (word(14) >> 1) & 0x7ff {
                        0 => Ok(word(0)),
                        status => Err(Failure::Status(status)),
                    };
                }
                other => panic!("PDU of kind {other:#04x}"),
            }
        }
    }

    /// Makes it the controller's queue of this number; the controller's own number.
    fn connect(
        &mut self,
        number: u16,
        controller: u16,
        nqn: &str,
        host: &str,
    ) -> Result<u16, Failure> {
        let mut entry = [0; 64];
        (entry[0], entry[4]) = (FABRICS, CONNECT);
        entry[42..44].copy_from_slice(&number.to_le_bytes());
        entry[44..46].copy_from_slice(&DEPTH.to_le_bytes());
        let mut data = [0; 1024];
        // The host's id: of its name, whose last 16 characters tell the hosts apart.
        data[..16].copy_from_slice(&host.as_bytes()[host.len() - 16..]);
        data[16..18].copy_from_slice(&controller.to_le_bytes());
        data[256..256 + nqn.len()].copy_from_slice(nqn.as_bytes());
        data[512..512 + host.len()].copy_from_slice(host.as_bytes());
        self.command(entry, &data, &mut [])
    }
}

/// A host's connection to a subsystem.
pub struct Controller {
    /// It ends with its admin queue.
    _admin: Queue,
    io: Queue,
    /// Bytes of a logical block.
    block: usize,
}

impl Controller {
    /// Connects as this host.
    pub fn connect(portal: SocketAddr, nqn: &str, host: &str) -> Result<Self, Failure> {
        let mut admin = Queue::open(portal)?;
        let number = admin.connect(0, 0xffff, nqn, host)?;
        // CC: enabled, entries of 64 and 16 bytes.
        let mut entry = [0; 64];
        (entry[0], entry[4]) = (FABRICS, PROPERTY_SET);
        entry[44..48].copy_from_slice(&0x14_u32.to_le_bytes());
        entry[48..56].copy_from_slice(&0x0046_0001_u64.to_le_bytes());
        admin.command(entry, &[], &mut [])?;
        let mut io = Queue::open(portal)?;
        io.connect(1, number, nqn, host)?;
        let mut entry = [0; 64];
        (entry[0], entry[4]) = (IDENTIFY, 1);
        let mut space = vec![0; 4096];
        admin.command(entry, &[], &mut space)?;
        // The format in use (FLBAS), and its LBADS.
        let format = usize::from(space[26] & 0xf);
        let shift = space[128 + 4 * format + 2];
        if shift == 0 {
            // All zeros: the namespace is not there.
            return Err(Failure::Status(NO_NAMESPACE));
        }
        Ok(Self { _admin: admin, io, block: 1 << shift })
    }

    /// Reads bytes, which lie in one block.
    pub fn read(&mut self, at: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let (entry, within) = self.entry(READ, at);
        let mut block = vec![0; self.block];
        self.io.command(entry, &[], &mut block)?;
        Ok(block[within..within + length].to_vec())
    }

    /// Writes bytes, which lie in one block, the rest of which is as it was read.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        let (entry, within) = self.entry(WRITE, at);
        let mut block = match bytes.len() == self.block {
            true => bytes.to_vec(),
            false => self.read(at - u64::try_from(within).unwrap(), self.block)?,
        };
        block[within..within + bytes.len()].copy_from_slice(bytes);
        self.io.command(entry, &block, &mut []).map(drop)
    }

    /// A command for the block with this byte, and the byte's place in it.
    fn entry(&self, opcode: u8, at: u64) -> ([u8; 64], usize) {
        let mut entry = [0; 64];
        (entry[0], entry[4]) = (opcode, 1);
        let block = u64::try_from(self.block).unwrap();
        entry[40..48].copy_from_slice(&(at / block).to_le_bytes());
        (entry, usize::try_from(at % block).unwrap())
    }
}
