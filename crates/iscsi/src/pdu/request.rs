//! The PDUs an initiator sends, one struct each.
//!
//! `decode` gives a header its meaning and checks only what is wrong in every context; whether a
//! request is allowed *now* is for login and session to say. `encode` is its exact inverse, which
//! a property test below holds both to.

use super::Malformed;
use super::header::{Header, bit};

/// NOP-Out: an echo request, or the answer to the target's ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// Immediate delivery.
    pub immediate: bool,
    /// Logical unit, only meaningful in answers.
    pub lun: [u8; 8],
    /// Initiator task tag; [`super::NO_TAG`] asks for no answer.
    pub itt: u32,
    /// Target transfer tag of the ping being answered.
    pub ttt: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
}

/// SCSI Command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// Immediate delivery.
    pub immediate: bool,
    /// No unsolicited Data-Out follows.
    pub is_final: bool,
    /// The initiator expects to read.
    pub read: bool,
    /// The initiator expects to write.
    pub write: bool,
    /// Task attribute (0 untagged, 1 simple, 2 ordered, 3 head of queue, 4 ACA).
    pub attribute: u8,
    /// Logical unit.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Expected data transfer length in bytes.
    pub expected_len: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
    /// The command descriptor block (its first 16 bytes).
    pub cdb: [u8; 16],
}

/// Task Management Function request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagement {
    /// Immediate delivery.
    pub immediate: bool,
    /// Function code (1 abort task ... 8 task reassign).
    pub function: u8,
    /// Logical unit.
    pub lun: [u8; 8],
    /// Initiator task tag of this request.
    pub itt: u32,
    /// Initiator task tag of the task it is about.
    pub referenced_task: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
    /// CmdSN of the task it is about.
    pub ref_cmd_sn: u32,
    /// Only for task reassign.
    pub exp_data_sn: u32,
}

/// Login request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// T bit: ready to move to the next stage.
    pub transit: bool,
    /// C bit: the text goes on in the next PDU.
    pub continues: bool,
    /// Current stage.
    pub current: u8,
    /// Next stage (only with `transit`).
    pub next: u8,
    /// Highest version supported.
    pub version_max: u8,
    /// Lowest version supported.
    pub version_min: u8,
    /// Initiator part of the session identifier.
    pub isid: [u8; 6],
    /// Target part of the session identifier; 0 asks for a new session.
    pub tsih: u16,
    /// Initiator task tag.
    pub itt: u32,
    /// Connection identifier.
    pub cid: u16,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
}

/// Text request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Immediate delivery.
    pub immediate: bool,
    /// F bit: the initiator has nothing more to negotiate.
    pub is_final: bool,
    /// C bit: the text goes on in the next PDU.
    pub continues: bool,
    /// Logical unit.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Target transfer tag of the answer this continues.
    pub ttt: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
}

/// SCSI Data-Out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// Last PDU of this sequence.
    pub is_final: bool,
    /// Logical unit (solicited data only).
    pub lun: [u8; 8],
    /// Initiator task tag of the command.
    pub itt: u32,
    /// Target transfer tag of the R2T, or [`super::NO_TAG`] for unsolicited data.
    pub ttt: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
    /// Number of this PDU in its sequence.
    pub data_sn: u32,
    /// Where in the command's data this segment belongs.
    pub offset: u32,
}

/// Logout request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logout {
    /// Immediate delivery.
    pub immediate: bool,
    /// 0 close the session, 1 close a connection, 2 remove a connection for recovery.
    pub reason: u8,
    /// Initiator task tag.
    pub itt: u32,
    /// The connection to close.
    pub cid: u16,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
}

/// Selective negative acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snack {
    /// What is asked for again.
    pub kind: u8,
    /// Logical unit.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Target transfer tag.
    pub ttt: u32,
    /// Expected status sequence number.
    pub exp_stat_sn: u32,
    /// First missing number.
    pub begin: u32,
    /// How many are missing.
    pub run: u32,
}

/// Any PDU an initiator may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// NOP-Out.
    NopOut(NopOut),
    /// SCSI Command.
    ScsiCommand(ScsiCommand),
    /// Task Management Function request.
    TaskManagement(TaskManagement),
    /// Login request.
    Login(Login),
    /// Text request.
    Text(Text),
    /// SCSI Data-Out.
    DataOut(DataOut),
    /// Logout request.
    Logout(Logout),
    /// SNACK request.
    Snack(Snack),
}

impl Request {
    /// Gives a received header its meaning.
    pub fn decode(h: &Header) -> Result<Self, Malformed> {
        let immediate = h.immediate();
        let flags = h.u8(1);
        let (itt, lun) = (h.itt(), h.array(8));
        let (cmd_sn, exp_stat_sn) = (h.u32(24), h.u32(28));
        Ok(match h.opcode() {
            0x00 => {
                Self::NopOut(NopOut { immediate, lun, itt, ttt: h.u32(20), cmd_sn, exp_stat_sn })
            }
            0x01 => Self::ScsiCommand(ScsiCommand {
                immediate,
                is_final: flags & 0x80 != 0,
                read: flags & 0x40 != 0,
                write: flags & 0x20 != 0,
                attribute: flags & 0x07,
                lun,
                itt,
                expected_len: h.u32(20),
                cmd_sn,
                exp_stat_sn,
                cdb: h.array(32),
            }),
            0x02 => Self::TaskManagement(TaskManagement {
                immediate,
                function: flags & 0x7f,
                lun,
                itt,
                referenced_task: h.u32(20),
                cmd_sn,
                exp_stat_sn,
                ref_cmd_sn: h.u32(32),
                exp_data_sn: h.u32(36),
            }),
            0x03 => {
                if !immediate {
                    return Err(Malformed::Field("login without the immediate bit"));
                }
                Self::Login(Login {
                    transit: flags & 0x80 != 0,
                    continues: flags & 0x40 != 0,
                    current: (flags >> 2) & 3,
                    next: flags & 3,
                    version_max: h.u8(2),
                    version_min: h.u8(3),
                    isid: h.array(8),
                    tsih: h.u16(14),
                    itt,
                    cid: h.u16(20),
                    cmd_sn,
                    exp_stat_sn,
                })
            }
            0x04 => Self::Text(Text {
                immediate,
                is_final: flags & 0x80 != 0,
                continues: flags & 0x40 != 0,
                lun,
                itt,
                ttt: h.u32(20),
                cmd_sn,
                exp_stat_sn,
            }),
            0x05 => Self::DataOut(DataOut {
                is_final: flags & 0x80 != 0,
                lun,
                itt,
                ttt: h.u32(20),
                exp_stat_sn,
                data_sn: h.u32(36),
                offset: h.u32(40),
            }),
            0x06 => Self::Logout(Logout {
                immediate,
                reason: flags & 0x7f,
                itt,
                cid: h.u16(20),
                cmd_sn,
                exp_stat_sn,
            }),
            0x10 => Self::Snack(Snack {
                kind: flags & 0x0f,
                lun,
                itt,
                ttt: h.u32(20),
                exp_stat_sn,
                begin: h.u32(40),
                run: h.u32(44),
            }),
            other => return Err(Malformed::Opcode(other)),
        })
    }

    /// The header that carries this request.
    pub fn encode(&self) -> Header {
        match self {
            Self::NopOut(p) => Header::new(0x00, p.immediate)
                .put(1, [0x80])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.ttt)
                .put32(24, p.cmd_sn)
                .put32(28, p.exp_stat_sn),
            Self::ScsiCommand(p) => {
                let flags = bit(p.is_final, 0x80) | bit(p.read, 0x40) | bit(p.write, 0x20);
                Header::new(0x01, p.immediate)
                    .put(1, [flags | (p.attribute & 7)])
                    .put(8, p.lun)
                    .put32(16, p.itt)
                    .put32(20, p.expected_len)
                    .put32(24, p.cmd_sn)
                    .put32(28, p.exp_stat_sn)
                    .put(32, p.cdb)
            }
            Self::TaskManagement(p) => Header::new(0x02, p.immediate)
                .put(1, [0x80 | p.function])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.referenced_task)
                .put32(24, p.cmd_sn)
                .put32(28, p.exp_stat_sn)
                .put32(32, p.ref_cmd_sn)
                .put32(36, p.exp_data_sn),
            Self::Login(p) => {
                let stages = ((p.current & 3) << 2) | (p.next & 3);
                Header::new(0x03, true)
                    .put(1, [bit(p.transit, 0x80) | bit(p.continues, 0x40) | stages])
                    .put(2, [p.version_max, p.version_min])
                    .put(8, p.isid)
                    .put16(14, p.tsih)
                    .put32(16, p.itt)
                    .put16(20, p.cid)
                    .put32(24, p.cmd_sn)
                    .put32(28, p.exp_stat_sn)
            }
            Self::Text(p) => Header::new(0x04, p.immediate)
                .put(1, [bit(p.is_final, 0x80) | bit(p.continues, 0x40)])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.ttt)
                .put32(24, p.cmd_sn)
                .put32(28, p.exp_stat_sn),
            Self::DataOut(p) => Header::new(0x05, false)
                .put(1, [bit(p.is_final, 0x80)])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.ttt)
                .put32(28, p.exp_stat_sn)
                .put32(36, p.data_sn)
                .put32(40, p.offset),
            Self::Logout(p) => Header::new(0x06, p.immediate)
                .put(1, [0x80 | p.reason])
                .put32(16, p.itt)
                .put16(20, p.cid)
                .put32(24, p.cmd_sn)
                .put32(28, p.exp_stat_sn),
            Self::Snack(p) => Header::new(0x10, false)
                .put(1, [0x80 | (p.kind & 0x0f)])
                .put(8, p.lun)
                .put32(16, p.itt)
                .put32(20, p.ttt)
                .put32(28, p.exp_stat_sn)
                .put32(40, p.begin)
                .put32(44, p.run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // A header is more than its fields (reserved bits), so the round trip is over values:
        // whatever bytes decode, the value they mean survives encode and decode.
        #[test]
        fn every_decodable_header_means_the_same_after_encoding(
            bytes in any::<[u8; 48]>(),
            opcode in prop_oneof![0u8..8, Just(0x10u8), any::<u8>()],
        ) {
            let mut header = Header([0; 48]);
            header.0.copy_from_slice(&bytes);
            header.0[0] = (bytes[0] & 0x40) | (opcode & 0x3f);
            if let Ok(request) = Request::decode(&header) {
                prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            }
        }
    }

    #[test]
    fn a_scsi_command_has_the_layout_of_the_standard() {
        let header = Request::ScsiCommand(ScsiCommand {
            immediate: false,
            is_final: true,
            read: true,
            write: false,
            attribute: 1,
            lun: [0, 1, 0, 0, 0, 0, 0, 0],
            itt: 0x0102_0304,
            expected_len: 512,
            cmd_sn: 9,
            exp_stat_sn: 10,
            cdb: [0x28; 16],
        })
        .encode();
        assert_eq!(header.0[..2], [0x01, 0xc1]);
        assert_eq!(header.0[8..24], [0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 2, 0]);
        assert_eq!(header.0[24..32], [0, 0, 0, 9, 0, 0, 0, 10]);
        assert_eq!(header.0[32..], [0x28; 16]);
    }

    #[test]
    fn responses_and_unknown_opcodes_are_not_requests() {
        for opcode in [0x07, 0x20, 0x25, 0x3f] {
            assert_eq!(
                Request::decode(&Header::new(opcode, false)),
                Err(Malformed::Opcode(opcode))
            );
        }
    }
}
