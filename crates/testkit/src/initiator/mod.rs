//! A small blocking iSCSI initiator, for demos, benches and tests that attack the target.
//!
//! It speaks with the target's own PDU types, so what it sends is what the target reads; what keeps
//! both honest is that independent initiators run against the same target. [`Session`] offers
//! ordinary block commands, a queue of commands in flight, and underneath both the bare [`Wire`]
//! for PDUs no well-behaved initiator would send.

mod chap;
mod commands;
mod login;
mod queue;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::chap::Chap;
pub use self::commands::{Capacity, Io};
pub use self::login::discover;
pub use self::queue::{Answer, Data, Residual, Tag};
pub use self::wire::Wire;

use self::queue::Queue;
use osds_iscsi::pdu::RejectReason;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target refused the login.
    #[error("login refused: status class {class}, detail {detail:#04x}")]
    LoginRefused {
        /// 2 = the initiator is at fault, 3 = the target.
        class: u8,
        /// What exactly.
        detail: u8,
    },
    /// The target did not prove to be who it was asked to be.
    #[error("the target did not prove itself")]
    Impostor,
    /// The command ended in CHECK CONDITION.
    #[error("check condition: sense key {key:#x}, {asc:02x}/{ascq:02x}")]
    CheckCondition {
        /// Sense key.
        key: u8,
        /// Additional sense code.
        asc: u8,
        /// Additional sense code qualifier.
        ascq: u8,
    },
    /// The command ended in another bad status.
    #[error("SCSI status {0:#04x}")]
    Status(u8),
    /// The target rejected a PDU.
    #[error("the target rejected a PDU: {0:?}")]
    Rejected(RejectReason),
    /// The connection is gone.
    #[error("connection lost")]
    ConnectionLost(#[source] io::Error),
    /// The target said something that does not fit.
    #[error("protocol error: {0}")]
    Protocol(String),
}

impl Error {
    fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::ConnectionLost(error)
    }
}

/// What a session asks for at login.
#[derive(Clone, Debug)]
pub struct Options {
    /// Initiator part of the session identifier; the same one again replaces the session.
    pub isid: [u8; 6],
    /// Begin in the security stage (else: in the operational stage).
    pub from_security: bool,
    /// Prove ourselves by CHAP; needs `from_security`.
    pub chap: Option<Chap>,
    /// Ask for CRC32C on headers.
    pub header_digest: bool,
    /// Ask for CRC32C on data.
    pub data_digest: bool,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// MaxRecvDataSegmentLength we declare.
    pub max_recv_segment: usize,
    /// MaxBurstLength we offer.
    pub max_burst: usize,
    /// FirstBurstLength we offer.
    pub first_burst: usize,
    /// How long a single receive may take.
    pub timeout: Duration,
    /// Take the unit attentions a new session finds waiting, so that the first command does not.
    pub clear_attentions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            isid: [0x80, 0, 0, 0, 0, 1],
            from_security: true,
            chap: None,
            header_digest: false,
            data_digest: false,
            initial_r2t: false,
            immediate_data: true,
            max_recv_segment: 256 << 10,
            max_burst: 1 << 20,
            first_burst: 64 << 10,
            timeout: Duration::from_secs(20),
            clear_attentions: true,
        }
    }
}

/// One session with one target, its unit at LUN 1.
#[derive(Debug)]
pub struct Session {
    queue: Queue,
    block_size: Option<usize>,
}

impl Session {
    /// Logs in with the default options.
    pub fn login(portal: SocketAddr, initiator: &str, target: &str) -> Result<Self, Error> {
        Self::login_with(portal, initiator, target, &Options::default())
    }

    /// Logs in.
    pub fn login_with(
        portal: SocketAddr,
        initiator: &str,
        target: &str,
        options: &Options,
    ) -> Result<Self, Error> {
        let established = login::log_in(portal, initiator, Some(target), options)?;
        let mut session = Self { queue: Queue::new(established), block_size: None };
        if options.clear_attentions {
            session.test_unit_ready()?;
        }
        Ok(session)
    }

    /// The queue of commands in flight.
    pub fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Ends the session in good order.
    pub fn logout(mut self) -> Result<(), Error> {
        self.queue.logout()
    }
}
