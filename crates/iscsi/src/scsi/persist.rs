//! PERSISTENT RESERVE IN and OUT, RESERVE(6) and RELEASE(6): their bytes.
//!
//! Parameter lists become orders, the state becomes parameter data; what an order means is decided
//! in `reservations`. An initiator port is written as an iSCSI TransportID, its name and session
//! identifier in one text. The unit has one target port, number 1, so a registration for all
//! target ports is the same as one for this.

use super::cdb::Cdb;
use super::dispatch::{Call, reply};
use super::reservation_terms::{InitiatorPort, Order, ReservationType};
use super::sense::{Sense, Status};
use crate::buffer::Buffer;
use crate::name::Name;

/// Relative identifier of the one target port.
pub(super) const TARGET_PORT: u16 = 1;

/// A parameter list without TransportIDs.
const PLAIN_LIST: usize = 24;

/// READ KEYS.
pub(super) fn read_keys(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let state = call.unit.reservations();
    if state.unit_is_held() {
        return Ok(Status::ReservationConflict);
    }
    let keys = state.registrants().iter().flat_map(|r| r.key.to_be_bytes()).collect::<Vec<_>>();
    Ok(answer(call, data_in, state.generation(), &keys))
}

/// READ RESERVATION.
pub(super) fn read_reservation(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let state = call.unit.reservations();
    if state.unit_is_held() {
        return Ok(Status::ReservationConflict);
    }
    let mut out = vec![];
    if let Some(held) = state.held() {
        let key = held.by.as_ref().and_then(|by| state.key_of(by)).unwrap_or(0);
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, 0, 0, held.kind as u8, 0, 0]);
    }
    Ok(answer(call, data_in, state.generation(), &out))
}

/// REPORT CAPABILITIES.
pub(super) fn report_capabilities(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const CRH_SIP_ATP: u8 = 0x10 | 0x08 | 0x04;
    const PTPL_CAPABLE: u8 = 0x01;
    const TYPE_MASK_VALID: u8 = 0x80;
    /// TEST UNIT READY goes through every type; no promise about the others.
    const ALLOW_COMMANDS: u8 = 0x10;
    const PTPL_ACTIVE: u8 = 0x01;
    let state = call.unit.reservations();
    if state.unit_is_held() {
        return Ok(Status::ReservationConflict);
    }
    let mut out = [0, 8, CRH_SIP_ATP, TYPE_MASK_VALID | ALLOW_COMMANDS, 0, 0, 0, 0];
    if call.unit.can_keep_reservations() {
        out[2] |= PTPL_CAPABLE;
    }
    if state.persists() {
        out[3] |= PTPL_ACTIVE;
    }
    for kind in ReservationType::ALL {
        // Bit n of the mask, counted through both bytes, stands for type n.
        let code = usize::from(kind as u8);
        out[4 + code / 8] |= 1 << (code % 8);
    }
    Ok(reply(data_in, &out, usize::from(call.cdb.u16(7))))
}

/// READ FULL STATUS.
pub(super) fn read_full_status(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let state = call.unit.reservations();
    if state.unit_is_held() {
        return Ok(Status::ReservationConflict);
    }
    let mut out = vec![];
    for registrant in state.registrants() {
        let holder = state.held().filter(|_| state.holds(&registrant.port));
        let flags = u8::from(registrant.all_target_ports) << 1 | u8::from(holder.is_some());
        let id = transport_id(&registrant.port);
        out.extend_from_slice(&registrant.key.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, 0, flags, holder.map_or(0, |held| held.kind as u8)]);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&TARGET_PORT.to_be_bytes());
        out.extend_from_slice(&(id.len() as u32).to_be_bytes());
        out.extend_from_slice(&id);
    }
    Ok(answer(call, data_in, state.generation(), &out))
}

/// PERSISTENT RESERVE OUT, every service action.
pub(super) fn reserve_out(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    let list = call.data_out()?;
    if list.len() < PLAIN_LIST {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    let order = order(call.cdb, list)?;
    let persist = match &order {
        Order::Register { persist, .. } => persist.then_some(20),
        Order::Move { persist, .. } => persist.then_some(17),
        Order::Reserve { .. }
        | Order::Release { .. }
        | Order::Clear { .. }
        | Order::Preempt { .. } => None,
    };
    if let Some(byte) = persist.filter(|_| !call.unit.can_keep_reservations()) {
        return Err(Sense::invalid_parameter(byte));
    }
    call.unit.reserve_by_order(call.nexus, &order)
}

/// RESERVE(6): the whole unit, for the initiator that asks; nothing else has survived.
pub(super) fn reserve6(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    refuse_third_party(call.cdb)?;
    call.unit.hold_unit(call.nexus)
}

/// RELEASE(6).
pub(super) fn release6(call: &Call<'_>, _: &mut Buffer) -> Result<Status, Sense> {
    refuse_third_party(call.cdb)?;
    Ok(call.unit.let_unit_go(call.nexus))
}

fn refuse_third_party(cdb: Cdb<'_>) -> Result<(), Sense> {
    if cdb.byte(1) & 0x1f == 0 { Ok(()) } else { Err(Sense::invalid_cdb_bit(1, 4)) }
}

/// Parameter data after the generation and its own length.
fn answer(call: &Call<'_>, data_in: &mut Buffer, generation: u32, body: &[u8]) -> Status {
    let mut out = generation.to_be_bytes().to_vec();
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    reply(data_in, &out, usize::from(call.cdb.u16(7)))
}

fn order(cdb: Cdb<'_>, list: &[u8]) -> Result<Order, Sense> {
    let fields = Cdb::new(list);
    let (key, new_key) = (fields.u64(0), fields.u64(8));
    let scope = cdb.byte(2) >> 4;
    let kind = ReservationType::from_code(cdb.byte(2) & 0x0f).filter(|_| scope == 0);
    let action = cdb.service_action();
    if action == 7 {
        return move_order(list, key, new_key);
    }
    let (specified_ports, all_target_ports, persist) =
        (fields.bit(20, 3), fields.bit(20, 2), fields.bit(20, 0));
    if specified_ports && action != 0 {
        return Err(Sense::invalid_parameter_bit(20, 3));
    }
    if !specified_ports && list.len() != PLAIN_LIST {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    Ok(match action {
        0 | 6 => {
            let also = if specified_ports { specified(list)? } else { vec![] };
            let ignore = action == 6;
            Order::Register { key, new_key, ignore, all_target_ports, persist, also }
        }
        1 => Order::Reserve { key, kind: kind.ok_or(Sense::invalid_cdb(2))? },
        2 => Order::Release { key, kind },
        3 => Order::Clear { key },
        4 | 5 => Order::Preempt { key, victim: new_key, kind, abort: action == 5 },
        _ => return Err(Sense::invalid_cdb_bit(1, 4)),
    })
}

fn move_order(list: &[u8], key: u64, new_key: u64) -> Result<Order, Sense> {
    let fields = Cdb::new(list);
    if list.len() - PLAIN_LIST != fields.u32(20) as usize {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    if fields.u16(18) != TARGET_PORT {
        return Err(Sense::invalid_parameter(18));
    }
    let (to, rest) = parse_port(&list[PLAIN_LIST..]).ok_or(Sense::invalid_parameter(24))?;
    if !rest.is_empty() {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    let (unregister, persist) = (fields.bit(17, 1), fields.bit(17, 0));
    Ok(Order::Move { key, new_key, to, unregister, persist })
}

/// The ports that SPEC_I_PT names beside the sender's own.
fn specified(list: &[u8]) -> Result<Vec<InitiatorPort>, Sense> {
    const LENGTH: usize = 4;
    let announced = Cdb::new(list).u32(PLAIN_LIST) as usize;
    let mut rest = list.get(PLAIN_LIST + LENGTH..).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    if rest.len() != announced {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    let mut ports = vec![];
    while !rest.is_empty() {
        let at = list.len() - rest.len();
        let (port, after) = parse_port(rest).ok_or(Sense::invalid_parameter(at as u16))?;
        ports.push(port);
        rest = after;
    }
    Ok(ports)
}

/// iSCSI, and the form with a session identifier.
const TRANSPORT_ISCSI_PORT: u8 = 0x40 | 0x05;
const SEPARATOR: &str = ",i,0x";

/// The TransportID of an initiator port.
fn transport_id(port: &InitiatorPort) -> Vec<u8> {
    let mut text = format!("{}{SEPARATOR}", port.initiator);
    text.extend(port.isid.iter().map(|byte| format!("{byte:02x}")));
    // A terminating zero, and as many more as make it a multiple of four.
    let padded = (text.len() / 4 + 1) * 4;
    let mut out = vec![TRANSPORT_ISCSI_PORT, 0];
    out.extend_from_slice(&(padded as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out.resize(4 + padded, 0);
    out
}

/// Reads one TransportID of an iSCSI initiator port; the rest goes along. A name without a session
/// identifier stands for no port.
fn parse_port(bytes: &[u8]) -> Option<(InitiatorPort, &[u8])> {
    let length = usize::from(Cdb::new(bytes).u16(2));
    if *bytes.first()? != TRANSPORT_ISCSI_PORT || !length.is_multiple_of(4) {
        return None;
    }
    let (text, rest) = (bytes.get(4..4 + length)?, &bytes[4 + length..]);
    let end = text.iter().position(|&byte| byte == 0)?;
    let (name, hex) = std::str::from_utf8(&text[..end]).ok()?.split_once(SEPARATOR)?;
    if hex.len() != 12 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let isid = u64::from_str_radix(hex, 16).ok()?.to_be_bytes();
    let initiator = Name::new(name).ok()?.as_str().to_owned();
    let isid = isid[2..].try_into().expect("eight bytes without two");
    Some((InitiatorPort { initiator, isid }, rest))
}
