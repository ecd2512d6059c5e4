//! The PDUs a target sends, one struct each.
//!
//! Almost all of them carry the same three counters ([`Counters`]) at the same place: the number of
//! this status, the next command expected, and the last command the target will take. `decode` is
//! for the initiator's side and the tests, and is the exact inverse of `encode`.

use super::Malformed;
use super::header::{Header, NO_TAG, bit};

/// The sequence numbers every response reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next command sequence number expected.
    pub exp_cmd_sn: u32,
    /// Highest command sequence number accepted now.
    pub max_cmd_sn: u32,
}

/// How the bytes moved differ from the bytes the initiator expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// Exactly as expected.
    #[default]
    None,
    /// So many fewer.
    Underflow(u32),
    /// So many more would have been moved.
    Overflow(u32),
}

impl Residual {
    /// Compares what the command moves with what the initiator expected.
    pub fn of(expected: u64, actual: u64) -> Self {
        let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        match actual.cmp(&expected) {
            std::cmp::Ordering::Equal => Self::None,
            std::cmp::Ordering::Less => Self::Underflow(clamp(expected - actual)),
            std::cmp::Ordering::Greater => Self::Overflow(clamp(actual - expected)),
        }
    }

    fn flags(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Underflow(_) => 0x02,
            Self::Overflow(_) => 0x04,
        }
    }

    fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Underflow(n) | Self::Overflow(n) => n,
        }
    }

    fn decode(flags: u8, count: u32) -> Result<Self, Malformed> {
        match flags & 0x06 {
            0 => Ok(Self::None),
            2 => Ok(Self::Underflow(count)),
            4 => Ok(Self::Overflow(count)),
            _ => Err(Malformed::Field("both residual flags")),
        }
    }
}

/// NOP-In: an echo, or the target's own ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// Logical unit.
    pub lun: [u8; 8],
    /// Initiator task tag being answered; [`NO_TAG`] for a ping.
    pub itt: u32,
    /// Tag of the ping; [`NO_TAG`] when no answer is wanted.
    pub ttt: u32,
    /// Sequence numbers.
    pub counters: Counters,
}

/// SCSI Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// 0 = the command completed at the target, 1 = the target failed.
    pub response: u8,
    /// SCSI status byte.
    pub status: u8,
    /// Initiator task tag.
    pub itt: u32,
    /// Sequence numbers.
    pub counters: Counters,
    /// How many Data-In and R2T PDUs were sent for the command.
    pub exp_data_sn: u32,
    /// Difference from the expected length.
    pub residual: Residual,
}

/// Task Management Function response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// 0 complete, 1 no such task, 2 no such LUN, 4 no reassign, 5 not supported, 6 not allowed,
    /// 255 rejected.
    pub response: u8,
    /// Initiator task tag.
    pub itt: u32,
    /// Sequence numbers.
    pub counters: Counters,
}

/// Login response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// The target agrees to move to the next stage.
    pub transit: bool,
    /// The text goes on in the next PDU.
    pub continues: bool,
    /// Current stage.
    pub current: u8,
    /// Next stage.
    pub next: u8,
    /// Highest version supported.
    pub version_max: u8,
    /// Version in use.
    pub version_active: u8,
    /// Initiator part of the session identifier.
    pub isid: [u8; 6],
    /// Target part of the session identifier.
    pub tsih: u16,
    /// Initiator task tag.
    pub itt: u32,
    /// Sequence numbers.
    pub counters: Counters,
    /// Status class: 0 success, 1 redirection, 2 initiator error, 3 target error.
    pub class: u8,
    /// Status detail.
    pub detail: u8,
}

/// Text response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// Nothing more follows.
    pub is_final: bool,
    /// The text goes on in the next PDU.
    pub continues: bool,
    /// Logical unit.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Tag to ask for the rest with.
    pub ttt: u32,
    /// Sequence numbers.
    pub counters: Counters,
}

/// SCSI Data-In.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// Last PDU of this sequence.
    pub is_final: bool,
    /// The status of the command, when it rides on this PDU (then `counters.stat_sn` counts).
    pub status: Option<u8>,
    /// Initiator task tag.
    pub itt: u32,
    /// Sequence numbers.
    pub counters: Counters,
    /// Number of this PDU within the command.
    pub data_sn: u32,
    /// Where in the command's data this segment belongs.
    pub offset: u32,
    /// Difference from the expected length; only with `status`.
    pub residual: Residual,
}

/// Logout response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// 0 closed, 1 no such connection, 2 recovery not supported, 3 clean-up failed.
    pub response: u8,
    /// Initiator task tag.
    pub itt: u32,
    /// Sequence numbers.
    pub counters: Counters,
    /// Seconds to wait before coming back.
    pub time2wait: u16,
    /// Seconds the tasks are kept.
    pub time2retain: u16,
}

/// Ready To Transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyToTransfer {
    /// Logical unit.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Tag the data must carry.
    pub ttt: u32,
    /// Sequence numbers.
    pub counters: Counters,
    /// Number of this R2T within the command.
    pub r2t_sn: u32,
    /// First byte wanted.
    pub offset: u32,
    /// Bytes wanted.
    pub len: u32,
}

/// Asynchronous message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// Logical unit.
    pub lun: [u8; 8],
    /// Sequence numbers.
    pub counters: Counters,
    /// 0 SCSI event, 1 logout please, 2 connection dropped, 3 session dropped, 4 negotiate.
    pub event: u8,
    /// Vendor code.
    pub vendor: u8,
    /// Three parameters, by event.
    pub parameters: [u16; 3],
}

/// Why a PDU was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RejectReason {
    /// The data digest did not match.
    DataDigest = 0x02,
    /// SNACK is not supported at this recovery level.
    Snack = 0x03,
    /// The PDU breaks the protocol.
    Protocol = 0x04,
    /// The command is not supported.
    NotSupported = 0x05,
    /// Too many immediate commands.
    TooManyImmediate = 0x06,
    /// The task tag is in use.
    TaskInProgress = 0x07,
    /// A field holds a value that is not allowed.
    InvalidField = 0x09,
    /// The target is out of resources.
    OutOfResources = 0x0a,
}

impl RejectReason {
    fn decode(code: u8) -> Result<Self, Malformed> {
        Ok(match code {
            0x02 => Self::DataDigest,
            0x03 => Self::Snack,
            0x04 => Self::Protocol,
            0x05 => Self::NotSupported,
            0x06 => Self::TooManyImmediate,
            0x07 => Self::TaskInProgress,
            0x09 => Self::InvalidField,
            0x0a => Self::OutOfResources,
            _ => return Err(Malformed::Field("reject reason")),
        })
    }
}

/// Reject; the data segment holds the rejected header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Sequence numbers.
    pub counters: Counters,
}

/// Any PDU a target may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// NOP-In.
    NopIn(NopIn),
    /// SCSI Response.
    ScsiResponse(ScsiResponse),
    /// Task Management Function response.
    TaskManagement(TaskManagementResponse),
    /// Login response.
    Login(LoginResponse),
    /// Text response.
    Text(TextResponse),
    /// SCSI Data-In.
    DataIn(DataIn),
    /// Logout response.
    Logout(LogoutResponse),
    /// Ready To Transfer.
    ReadyToTransfer(ReadyToTransfer),
    /// Asynchronous message.
    AsyncMessage(AsyncMessage),
    /// Reject.
    Reject(Reject),
}

fn with_counters(header: Header, c: Counters) -> Header {
    header.put32(24, c.stat_sn).put32(28, c.exp_cmd_sn).put32(32, c.max_cmd_sn)
}

impl Response {
    /// Gives a received header its meaning.
    pub fn decode(h: &Header) -> Result<Self, Malformed> {
        let counters =
            Counters { stat_sn: h.u32(24), exp_cmd_sn: h.u32(28), max_cmd_sn: h.u32(32) };
        let flags = h.u8(1);
        let (itt, lun) = (h.itt(), h.array(8));
        Ok(match h.opcode() {
            0x20 => Self::NopIn(NopIn { lun, itt, ttt: h.u32(20), counters }),
            0x21 => Self::ScsiResponse(ScsiResponse {
                response: h.u8(2),
                status: h.u8(3),
                itt,
                counters,
                exp_data_sn: h.u32(36),
                residual: Residual::decode(flags, h.u32(44))?,
            }),
            0x22 => {
                Self::TaskManagement(TaskManagementResponse { response: h.u8(2), itt, counters })
            }
            0x23 => Self::Login(LoginResponse {
                transit: flags & 0x80 != 0,
                continues: flags & 0x40 != 0,
                current: (flags >> 2) & 3,
                next: flags & 3,
                version_max: h.u8(2),
                version_active: h.u8(3),
                isid: h.array(8),
                tsih: h.u16(14),
                itt,
                counters,
                class: h.u8(36),
                detail: h.u8(37),
            }),
            0x24 => Self::Text(TextResponse {
                is_final: flags & 0x80 != 0,
                continues: flags & 0x40 != 0,
                lun,
                itt,
                ttt: h.u32(20),
                counters,
            }),
            0x25 => {
                let has_status = flags & 0x01 != 0;
                Self::DataIn(DataIn {
                    is_final: flags & 0x80 != 0,
                    status: has_status.then(|| h.u8(3)),
                    itt,
                    counters,
                    data_sn: h.u32(36),
                    offset: h.u32(40),
                    residual: if has_status {
                        Residual::decode(flags, h.u32(44))?
                    } else {
                        Residual::None
                    },
                })
            }
            0x26 => Self::Logout(LogoutResponse {
                response: h.u8(2),
                itt,
                counters,
                time2wait: h.u16(40),
                time2retain: h.u16(42),
            }),
            0x31 => Self::ReadyToTransfer(ReadyToTransfer {
                lun,
                itt,
                ttt: h.u32(20),
                counters,
                r2t_sn: h.u32(36),
                offset: h.u32(40),
                len: h.u32(44),
            }),
            0x32 => Self::AsyncMessage(AsyncMessage {
                lun,
                counters,
                event: h.u8(36),
                vendor: h.u8(37),
                parameters: [h.u16(38), h.u16(40), h.u16(42)],
            }),
            0x3f => Self::Reject(Reject { reason: RejectReason::decode(h.u8(2))?, counters }),
            other => return Err(Malformed::Opcode(other)),
        })
    }

    /// The header that carries this response.
    pub fn encode(&self) -> Header {
        match self {
            Self::NopIn(p) => with_counters(Header::new(0x20, false), p.counters)
                .put(1, [0x80])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.ttt),
            Self::ScsiResponse(p) => with_counters(Header::new(0x21, false), p.counters)
                .put(1, [0x80 | p.residual.flags(), p.response, p.status])
                .put32(16, p.itt)
                .put32(36, p.exp_data_sn)
                .put32(44, p.residual.count()),
            Self::TaskManagement(p) => with_counters(Header::new(0x22, false), p.counters)
                .put(1, [0x80, p.response])
                .put32(16, p.itt),
            Self::Login(p) => {
                let stages = ((p.current & 3) << 2) | (p.next & 3);
                let flags = bit(p.transit, 0x80) | bit(p.continues, 0x40) | stages;
                with_counters(Header::new(0x23, false), p.counters)
                    .put(1, [flags, p.version_max, p.version_active])
                    .put(8, p.isid)
                    .put16(14, p.tsih)
                    .put32(16, p.itt)
                    .put(36, [p.class, p.detail])
            }
            Self::Text(p) => with_counters(Header::new(0x24, false), p.counters)
                .put(1, [bit(p.is_final, 0x80) | bit(p.continues, 0x40)])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.ttt),
            Self::DataIn(p) => {
                let has_status = bit(p.status.is_some(), 0x01);
                let flags = bit(p.is_final, 0x80) | p.residual.flags() | has_status;
                with_counters(Header::new(0x25, false), p.counters)
                    .put(1, [flags, 0, p.status.unwrap_or(0)])
                    .put32(16, p.itt)
                    .put32(20, NO_TAG)
                    .put32(36, p.data_sn)
                    .put32(40, p.offset)
                    .put32(44, p.residual.count())
            }
            Self::Logout(p) => with_counters(Header::new(0x26, false), p.counters)
                .put(1, [0x80, p.response])
                .put32(16, p.itt)
                .put16(40, p.time2wait)
                .put16(42, p.time2retain),
            Self::ReadyToTransfer(p) => with_counters(Header::new(0x31, false), p.counters)
                .put(1, [0x80])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.ttt)
                .put32(36, p.r2t_sn)
                .put32(40, p.offset)
                .put32(44, p.len),
            Self::AsyncMessage(p) => with_counters(Header::new(0x32, false), p.counters)
                .put(1, [0x80])
                .put(8, p.lun)
                .put32(16, NO_TAG)
                .put(36, [p.event, p.vendor])
                .put16(38, p.parameters[0])
                .put16(40, p.parameters[1])
                .put16(42, p.parameters[2]),
            Self::Reject(p) => with_counters(Header::new(0x3f, false), p.counters)
                .put(1, [0x80, p.reason as u8])
                .put32(16, NO_TAG),
        }
    }

    /// The sequence numbers of this response.
    pub fn counters(&self) -> Counters {
        match self {
            Self::NopIn(p) => p.counters,
            Self::ScsiResponse(p) => p.counters,
            Self::TaskManagement(p) => p.counters,
            Self::Login(p) => p.counters,
            Self::Text(p) => p.counters,
            Self::DataIn(p) => p.counters,
            Self::Logout(p) => p.counters,
            Self::ReadyToTransfer(p) => p.counters,
            Self::AsyncMessage(p) => p.counters,
            Self::Reject(p) => p.counters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPCODES: [u8; 10] = [0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f];

    proptest! {
        #[test]
        fn every_decodable_header_means_the_same_after_encoding(
            bytes in any::<[u8; 48]>(),
            opcode in prop_oneof![proptest::sample::select(&OPCODES[..]), 0u8..64],
        ) {
            let mut header = Header(bytes);
            header.0[0] = opcode;
            if let Ok(response) = Response::decode(&header) {
                let again = Response::decode(&response.encode()).unwrap();
                // A residual count without its flag means nothing and is not carried over.
                prop_assert_eq!(again, response);
            }
        }
    }

    #[test]
    fn residuals_compare_what_moved_with_what_was_expected() {
        assert_eq!(Residual::of(512, 512), Residual::None);
        assert_eq!(Residual::of(512, 36), Residual::Underflow(476));
        assert_eq!(Residual::of(0, 512), Residual::Overflow(512));
        assert_eq!(Residual::of(0, u64::MAX), Residual::Overflow(u32::MAX));
    }
}
