//! Login and discovery, as an ordinary initiator does them.
//!
//! Two rounds (security, then operational), four with CHAP, or one when the caller starts late; what the target does
//! not answer keeps the default of the standard. Odd logins are built from a bare `Wire` by the
//! tests that need them.

use std::net::SocketAddr;

use osds_iscsi::pdu::response::LoginResponse;
use osds_iscsi::pdu::{Digests, NO_TAG, Request, Response, request, text};

use super::chap::{Chap, challenge, response, value};
use super::{Error, Options, Wire};

/// A connection in the full feature phase and what was agreed on.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) wire: Wire,
    pub(super) cmd_sn: u32,
    pub(super) max_cmd_sn: u32,
    pub(super) exp_stat_sn: u32,
    pub(super) initial_r2t: bool,
    pub(super) immediate_data: bool,
    pub(super) max_send_segment: usize,
    pub(super) first_burst: usize,
}

/// Lists the targets that `initiator` may use, once for each of their addresses.
pub fn discover(portal: SocketAddr, initiator: &str) -> Result<Vec<(String, String)>, Error> {
    let mut established = log_in(portal, initiator, None, &Options::default())?;
    let mut ask = Vec::new();
    text::push(&mut ask, "SendTargets", "All");
    let mut list = Vec::new();
    let mut ttt = NO_TAG;
    loop {
        let request = request::Text {
            immediate: false,
            is_final: true,
            continues: false,
            lun: [0; 8],
            itt: 1,
            ttt,
            cmd_sn: established.cmd_sn,
            exp_stat_sn: established.exp_stat_sn,
        };
        established.cmd_sn = established.cmd_sn.wrapping_add(1);
        established.wire.push(&Request::Text(request), &ask);
        let (response, data) = established.wire.receive_owned()?;
        let Response::Text(answer) = response else {
            return Err(Error::protocol(format!("instead of text: {response:?}")));
        };
        established.exp_stat_sn = answer.counters.stat_sn.wrapping_add(1);
        list.extend_from_slice(&data);
        if answer.is_final {
            break;
        }
        ttt = answer.ttt;
        ask.clear();
    }
    let mut found: Vec<(String, String)> = Vec::new();
    for piece in list.split(|byte| *byte == 0).filter(|piece| !piece.is_empty()) {
        let line = String::from_utf8_lossy(piece);
        match line.split_once('=') {
            Some(("TargetName", name)) => found.push((name.to_owned(), String::new())),
            Some(("TargetAddress", address)) => match found.last_mut() {
                Some((_, known)) if known.is_empty() => address.clone_into(known),
                Some((name, _)) => {
                    let name = name.clone();
                    found.push((name, address.to_owned()));
                }
                None => return Err(Error::protocol("an address without a target")),
            },
            Some(_) | None => return Err(Error::protocol(format!("unexpected {line:?}"))),
        }
    }
    super::queue::Queue::new(established).logout()?;
    Ok(found)
}

pub(super) fn log_in(
    portal: SocketAddr,
    initiator: &str,
    target: Option<&str>,
    options: &Options,
) -> Result<Established, Error> {
    let mut wire = Wire::connect(portal, options.timeout)?;
    let mut names = vec![("InitiatorName", initiator.to_owned())];
    match target {
        Some(target) => {
            names.push(("TargetName", target.to_owned()));
            names.push(("SessionType", "Normal".into()));
        }
        None => names.push(("SessionType", "Discovery".into())),
    }
    let mut request = request::Login {
        transit: true,
        continues: false,
        current: 0,
        next: 1,
        version_max: 0,
        version_min: 0,
        isid: options.isid,
        tsih: 0,
        itt: 1,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 0,
    };
    if options.from_security {
        match &options.chap {
            None => {
                names.push(("AuthMethod", "None".into()));
                round(&mut wire, &mut request, &names)?;
            }
            Some(chap) => prove(&mut wire, &mut request, names, chap)?,
        }
        names = Vec::new();
    }
    (request.current, request.next) = (1, 3);
    names.extend(offers(options, target.is_some()));
    let (mut answer, mut pairs) = round(&mut wire, &mut request, &names)?;
    if !answer.transit && !pairs.is_empty() {
        // A target that has declared something itself may wait for us to have seen it.
        let further;
        (answer, further) = round(&mut wire, &mut request, &[])?;
        pairs.extend(further);
    }
    if !answer.transit || answer.next != 3 {
        return Err(Error::protocol("the target does not move to the full feature phase"));
    }
    let find = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let size = |key: &str, default: usize| {
        find(key)
            .map_or(Ok(default), |v| v.parse().map_err(|_| Error::protocol(format!("{key}={v}"))))
    };
    wire.digests = Digests {
        header: find("HeaderDigest") == Some("CRC32C"),
        data: find("DataDigest") == Some("CRC32C"),
    };
    Ok(Established {
        wire,
        cmd_sn: answer.counters.exp_cmd_sn,
        max_cmd_sn: answer.counters.max_cmd_sn,
        exp_stat_sn: answer.counters.stat_sn.wrapping_add(1),
        initial_r2t: find("InitialR2T") != Some("No"),
        immediate_data: find("ImmediateData") != Some("No"),
        max_send_segment: size("MaxRecvDataSegmentLength", 8192)?,
        first_burst: size("FirstBurstLength", 64 << 10)?,
    })
}

/// The security stage with CHAP: method, challenge, proof.
fn prove(
    wire: &mut Wire,
    request: &mut request::Login,
    mut names: Vec<(&str, String)>,
    chap: &Chap,
) -> Result<(), Error> {
    request.transit = false;
    names.push(("AuthMethod", "CHAP".into()));
    let (_, pairs) = round(wire, request, &names)?;
    if value(&pairs, "AuthMethod")? != "CHAP" {
        return Err(Error::protocol("the target does not do CHAP"));
    }
    let (_, pairs) = round(wire, request, &[("CHAP_A", chap.digests.clone())])?;
    let algorithm = value(&pairs, "CHAP_A")?.to_owned();
    let identifier = value(&pairs, "CHAP_I")?;
    let theirs = value(&pairs, "CHAP_C")?.to_owned();
    let proof = response(&algorithm, identifier, &chap.secret, &theirs)?;
    let mut answer = vec![("CHAP_N", chap.name.clone()), ("CHAP_R", proof)];
    let ours = challenge()?;
    if chap.target.is_some() {
        answer.extend([("CHAP_I", "42".to_owned()), ("CHAP_C", ours.clone())]);
    }
    request.transit = true;
    let (last, pairs) = round(wire, request, &answer)?;
    if let Some((name, secret)) = &chap.target {
        let expected = response(&algorithm, "42", secret, &ours)?;
        let find = |key| value(&pairs, key).unwrap_or_default();
        if find("CHAP_N") != name || !find("CHAP_R").eq_ignore_ascii_case(&expected) {
            return Err(Error::Impostor);
        }
    }
    if last.transit { Ok(()) } else { Err(Error::protocol("the target stays in security")) }
}

fn offers(options: &Options, normal: bool) -> Vec<(&'static str, String)> {
    let digest = |on| if on { "CRC32C,None" } else { "None" };
    let yes_no = |on| if on { "Yes" } else { "No" };
    let mut offers = vec![
        ("HeaderDigest", digest(options.header_digest).to_owned()),
        ("DataDigest", digest(options.data_digest).to_owned()),
        ("MaxRecvDataSegmentLength", options.max_recv_segment.to_string()),
        ("DefaultTime2Wait", "2".into()),
        ("DefaultTime2Retain", "0".into()),
        ("ErrorRecoveryLevel", "0".into()),
    ];
    if normal {
        offers.extend([
            ("InitialR2T", yes_no(options.initial_r2t).to_owned()),
            ("ImmediateData", yes_no(options.immediate_data).to_owned()),
            ("MaxBurstLength", options.max_burst.to_string()),
            ("FirstBurstLength", options.first_burst.to_string()),
            ("MaxOutstandingR2T", "1".into()),
            ("MaxConnections", "1".into()),
            ("DataPDUInOrder", "Yes".into()),
            ("DataSequenceInOrder", "Yes".into()),
        ]);
    }
    offers
}

fn round(
    wire: &mut Wire,
    request: &mut request::Login,
    pairs: &[(&str, String)],
) -> Result<(LoginResponse, text::Pairs), Error> {
    let mut data = Vec::new();
    for (key, value) in pairs {
        text::push(&mut data, key, value);
    }
    wire.push(&Request::Login(*request), &data);
    let (response, data) = wire.receive_owned()?;
    let Response::Login(answer) = response else {
        return Err(Error::protocol(format!("instead of a login response: {response:?}")));
    };
    if answer.class != 0 {
        return Err(Error::LoginRefused { class: answer.class, detail: answer.detail });
    }
    request.exp_stat_sn = answer.counters.stat_sn.wrapping_add(1);
    let pairs = text::parse(&data).map_err(|error| Error::protocol(error.to_string()))?;
    Ok((answer, pairs))
}
