//! Negotiation of the operational keys (RFC 7143 section 13): one offer in, one answer out.
//!
//! Pure: values in, values out. A key that was never offered keeps the default of the standard, so
//! an initiator that skips negotiation altogether gets exactly those. Every key may be negotiated
//! once. What a key means is decided by its kind: a list (first match), a number (minimum or
//! maximum), a boolean (AND or OR), or a declaration.

use super::status::Status;
use crate::limits::Limits;
use crate::pdu::Digests;

/// What both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Digests in the full feature phase.
    pub digests: Digests,
    /// Unsolicited Data-Out PDUs are forbidden.
    pub initial_r2t: bool,
    /// Data may ride on the command PDU.
    pub immediate_data: bool,
    /// Longest data segment the initiator takes.
    pub max_send_segment: usize,
    /// Longest sequence of Data-In or solicited Data-Out.
    pub max_burst: usize,
    /// Longest unsolicited data of one command.
    pub first_burst: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            initial_r2t: true,
            immediate_data: true,
            max_send_segment: 8192,
            max_burst: 256 << 10,
            first_burst: 64 << 10,
        }
    }
}

/// The operational negotiation of one login.
#[derive(Debug)]
pub struct Negotiation {
    limits: Limits,
    discovery: bool,
    parameters: Parameters,
    settled: Vec<String>,
}

/// The answer to one offered key.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to say: the key only informs.
    Silent,
    /// The value of the answer.
    Value(String),
}

const REJECT: &str = "Reject";
const IRRELEVANT: &str = "Irrelevant";
const NOT_UNDERSTOOD: &str = "NotUnderstood";

impl Negotiation {
    /// Starts with the defaults of the standard.
    pub fn new(limits: &Limits, discovery: bool) -> Self {
        Self {
            limits: limits.clone(),
            discovery,
            parameters: Parameters::default(),
            settled: Vec::new(),
        }
    }

    /// What has been agreed so far.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Answers one key of the operational stage.
    pub fn answer(&mut self, key: &str, value: &str) -> Result<Answer, Status> {
        if self.settled.iter().any(|seen| seen == key) {
            // Negotiating a key twice in one login is a protocol error.
            return Err(Status::INITIATOR_ERROR);
        }
        self.settled.push(key.to_owned());
        if matches!(value, REJECT | IRRELEVANT | NOT_UNDERSTOOD) {
            // The initiator turns down something; nothing here depends on its consent.
            return Ok(Answer::Silent);
        }
        let p = &mut self.parameters;
        let limits = &self.limits;
        let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let answer = match key {
            "HeaderDigest" => digest(value, &mut p.digests.header),
            "DataDigest" => digest(value, &mut p.digests.data),
            "MaxRecvDataSegmentLength" => match number(value, 512, 0xff_ffff) {
                Some(n) => {
                    p.max_send_segment = n as usize;
                    return Ok(Answer::Silent);
                }
                // A declaration is not answered, and without it we cannot know what it takes.
                None => return Err(Status::INITIATOR_ERROR),
            },
            // The tag is ours to declare, and is declared: a text may hold a key only once.
            "TargetPortalGroupTag" => return Ok(Answer::Silent),
            "InitiatorAlias" => return Ok(Answer::Silent),
            "DefaultTime2Wait" => match number(value, 0, 3600) {
                Some(n) => n.max(2).to_string(),
                None => REJECT.to_owned(),
            },
            "DefaultTime2Retain" => least(value, 0, 3600, 0),
            "ErrorRecoveryLevel" => least(value, 0, 2, 0),
            "TaskReporting" => match value.split(',').find(|item| *item == "RFC3720") {
                Some(item) => item.to_owned(),
                None => REJECT.to_owned(),
            },
            "iSCSIProtocolLevel" => least(value, 0, 31, 1),
            // Obsolete keys with an answer laid down for them.
            "IFMarker" | "OFMarker" => "No".to_owned(),
            "IFMarkInt" | "OFMarkInt" => REJECT.to_owned(),
            "MaxConnections"
            | "InitialR2T"
            | "ImmediateData"
            | "MaxBurstLength"
            | "FirstBurstLength"
            | "MaxOutstandingR2T"
            | "DataPDUInOrder"
            | "DataSequenceInOrder"
                if self.discovery =>
            {
                IRRELEVANT.to_owned()
            }
            "MaxConnections" => least(value, 1, 65535, 1),
            "MaxOutstandingR2T" => least(value, 1, 65535, 1),
            // We take unsolicited data, so the initiator's wish decides (OR with No).
            "InitialR2T" => settle(boolean(value), &mut p.initial_r2t),
            "ImmediateData" => settle(boolean(value), &mut p.immediate_data),
            "MaxBurstLength" => {
                let text = least(value, 512, 0xff_ffff, size(limits.max_burst));
                p.max_burst = text.parse().unwrap_or(p.max_burst);
                text
            }
            "FirstBurstLength" => {
                let ours = limits.first_burst.min(p.max_burst.max(512));
                let text = least(value, 512, 0xff_ffff, size(ours));
                p.first_burst = text.parse().unwrap_or(p.first_burst);
                text
            }
            // OR with Yes: data is only ever taken and sent in order.
            "DataPDUInOrder" | "DataSequenceInOrder" => match boolean(value) {
                Some(_) => "Yes".to_owned(),
                None => REJECT.to_owned(),
            },
            // Declarations only a target may make, and keys of other stages.
            "TargetAlias" | "TargetAddress" | "SendTargets" | "AuthMethod" => REJECT.to_owned(),
            _ => NOT_UNDERSTOOD.to_owned(),
        };
        Ok(Answer::Value(answer))
    }
}

/// First of the offered digests that we can do. The order is the initiator's preference.
fn digest(offer: &str, on: &mut bool) -> String {
    for item in offer.split(',') {
        match item {
            "CRC32C" => *on = true,
            "None" => *on = false,
            _ => continue,
        }
        return item.to_owned();
    }
    REJECT.to_owned()
}

fn settle(value: Option<bool>, parameter: &mut bool) -> String {
    match value {
        Some(value) => {
            *parameter = value;
            if value { "Yes".to_owned() } else { "No".to_owned() }
        }
        None => REJECT.to_owned(),
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// The smaller of their offer and ours.
fn least(value: &str, from: u32, to: u32, ours: u32) -> String {
    number(value, from, to).map_or_else(|| REJECT.to_owned(), |n| n.min(ours).to_string())
}

/// A decimal or hexadecimal number within its range.
pub fn number(value: &str, from: u32, to: u32) -> Option<u32> {
    let parsed = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u32::from_str_radix(hex, 16).ok()?,
        None if !value.starts_with('+') => value.parse().ok()?,
        Some(_) | None => return None,
    };
    (from..=to).contains(&parsed).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(n: &mut Negotiation, key: &str, value: &str) -> String {
        match n.answer(key, value).unwrap() {
            Answer::Silent => "-".into(),
            Answer::Value(text) => text,
        }
    }

    fn normal() -> Negotiation {
        Negotiation::new(&Limits::default(), false)
    }

    #[test]
    fn every_standard_key_has_its_rule() {
        let mut n = normal();
        for (key, offer, answer) in [
            ("HeaderDigest", "CRC32C,None", "CRC32C"),
            ("DataDigest", "X-foo,None,CRC32C", "None"),
            ("MaxConnections", "8", "1"),
            ("InitialR2T", "No", "No"),
            ("ImmediateData", "No", "No"),
            ("MaxRecvDataSegmentLength", "0x10000", "-"),
            ("MaxBurstLength", "16776192", "1048576"),
            ("FirstBurstLength", "4096", "4096"),
            ("DefaultTime2Wait", "0", "2"),
            ("DefaultTime2Retain", "20", "0"),
            ("MaxOutstandingR2T", "16", "1"),
            ("DataPDUInOrder", "No", "Yes"),
            ("DataSequenceInOrder", "Yes", "Yes"),
            ("ErrorRecoveryLevel", "2", "0"),
            ("IFMarker", "No", "No"),
            ("OFMarkInt", "1~2", "Reject"),
            ("InitiatorAlias", "me", "-"),
            ("X-com.acme.magic", "1", "NotUnderstood"),
        ] {
            assert_eq!(ask(&mut n, key, offer), answer, "{key}={offer}");
        }
        assert_eq!(
            n.parameters(),
            Parameters {
                digests: Digests { header: true, data: false },
                initial_r2t: false,
                immediate_data: false,
                max_send_segment: 0x10000,
                max_burst: 1 << 20,
                first_burst: 4096,
            }
        );
    }

    #[test]
    fn values_out_of_range_are_rejected_and_change_nothing() {
        let mut n = normal();
        for (key, bad) in [
            ("MaxBurstLength", "511"),
            ("FirstBurstLength", "16777216"),
            ("InitialR2T", "yes"),
            ("HeaderDigest", "SHA1"),
            ("MaxConnections", "0"),
            ("DefaultTime2Wait", "+5"),
        ] {
            assert_eq!(ask(&mut n, key, bad), REJECT, "{key}={bad}");
        }
        assert_eq!(n.parameters(), Parameters::default());
    }

    /// Found by fuzzing: our own declaration follows in the same text, which may hold a key only once.
    #[test]
    fn what_we_declare_ourselves_is_not_answered_too() {
        let mut n = normal();
        let bad = n.answer("MaxRecvDataSegmentLength", "twelve");
        assert_eq!(bad, Err(Status::INITIATOR_ERROR));
        assert_eq!(ask(&mut n, "TargetPortalGroupTag", "7"), "-");
    }

    #[test]
    fn a_key_is_negotiated_once() {
        let mut n = normal();
        ask(&mut n, "ImmediateData", "Yes");
        assert_eq!(n.answer("ImmediateData", "No"), Err(Status::INITIATOR_ERROR));
    }

    #[test]
    fn the_first_burst_never_exceeds_a_burst() {
        let mut n = normal();
        assert_eq!(ask(&mut n, "MaxBurstLength", "1024"), "1024");
        assert_eq!(ask(&mut n, "FirstBurstLength", "65536"), "1024");
    }

    #[test]
    fn burst_keys_mean_nothing_to_a_discovery_session() {
        let mut n = Negotiation::new(&Limits::default(), true);
        assert_eq!(ask(&mut n, "MaxBurstLength", "1024"), IRRELEVANT);
        assert_eq!(ask(&mut n, "DefaultTime2Wait", "7"), "7");
    }

    proptest! {
        #[test]
        fn no_offer_leads_outside_the_limits(key in 0usize..4, value in ".{0,12}|[0-9]{1,9}") {
            let key = ["MaxBurstLength", "FirstBurstLength", "MaxRecvDataSegmentLength", "InitialR2T"][key];
            let mut n = normal();
            let _ = n.answer(key, &value);
            let p = n.parameters();
            prop_assert!(p.max_burst >= 512 && p.max_burst <= 1 << 20);
            prop_assert!(p.first_burst >= 512 && p.first_burst <= 64 << 10);
            prop_assert!(p.max_send_segment >= 512 && p.max_send_segment < 1 << 24);
        }
    }
}
