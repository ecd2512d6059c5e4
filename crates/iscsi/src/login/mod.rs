//! The login phase (RFC 7143 section 6) as a machine without sockets.
//!
//! One login request in, one [`Step`] out. Who asks for what (the [`Claim`]) is fixed by the first
//! request and can never change afterwards. There is exactly one place where a login may pass into
//! the full feature phase, `conclude`, whatever stage the initiator started in; it only yields
//! [`Step::Ready`], and the caller must have the claim admitted by the registry before the answer
//! goes out. So no order of stages leads around the access check.
//!
//! Room for the next step: the security stage offers AuthMethod=None only. A method that proves the
//! name adds its rounds in `security`, and sets a flag that `conclude` insists on.

pub mod keys;
pub mod status;

use self::keys::{Answer, Negotiation, Parameters};
use self::status::Status;
use crate::limits::Limits;
use crate::name::Name;
use crate::pdu::response::{Counters, LoginResponse};
use crate::pdu::{request, text};

const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// Longest data segment of a login PDU, as no other length has been declared yet.
pub const MAX_SEGMENT: usize = 8192;

/// Text of one negotiation over all its PDUs.
const MAX_TEXT: usize = 16 << 10;

/// Keys in one negotiation, so that the answer always fits one segment.
const MAX_KEYS: usize = 96;

/// Requests in one login.
const MAX_ROUNDS: u32 = 32;

/// The tag of our one portal group.
pub const PORTAL_GROUP: &str = "1";

/// Who asks for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The initiator's name, in normal form.
    pub initiator: Name,
    /// Initiator part of the session identifier.
    pub isid: [u8; 6],
    /// Target part; 0 asks for a new session.
    pub tsih: u16,
    /// Connection identifier.
    pub cid: u16,
    /// The target, or none for discovery.
    pub target: Option<Name>,
}

/// What to do after one request.
#[derive(Debug)]
pub enum Step {
    /// Send this and wait for the next request.
    Answer(LoginResponse, Vec<u8>),
    /// Send this and close.
    Refuse(LoginResponse),
    /// Have the claim admitted; then send the answer and go on in the full feature phase.
    Ready(Ready),
}

/// A login that only lacks admission.
#[derive(Debug)]
pub struct Ready {
    /// Who asks for what.
    pub claim: Claim,
    /// What was negotiated.
    pub parameters: Parameters,
    /// The final answer; its TSIH is still to be filled in.
    pub response: LoginResponse,
    /// The text of the final answer.
    pub text: Vec<u8>,
    /// The CmdSN the first command will carry.
    pub first_cmd_sn: u32,
}

impl Ready {
    /// The answer if admission is refused after all.
    pub fn refusal(&self, status: Status) -> LoginResponse {
        LoginResponse {
            transit: false,
            class: status.class,
            detail: status.detail,
            ..self.response
        }
    }
}

/// One login in progress.
#[derive(Debug)]
pub struct Login {
    limits: Limits,
    first: Option<request::Login>,
    stage: u8,
    pieces: text::Joined,
    claim: Option<Claim>,
    /// The target of the claim, also of one that was refused.
    asked_for: Option<Name>,
    negotiation: Option<Negotiation>,
    method_chosen: bool,
    declared_segment: bool,
    declared_group: bool,
    stat_sn: u32,
    rounds: u32,
}

impl Login {
    /// Waits for the first request.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            first: None,
            stage: SECURITY,
            pieces: text::Joined::default(),
            claim: None,
            asked_for: None,
            negotiation: None,
            method_chosen: false,
            declared_segment: false,
            declared_group: false,
            stat_sn: 0,
            rounds: 0,
        }
    }

    /// Takes one request. `check` says early whether the claim has a chance; what counts is the
    /// admission that [`Step::Ready`] demands.
    pub fn step(
        &mut self,
        request: &request::Login,
        data: &[u8],
        check: impl Fn(&Claim) -> Result<(), Status>,
    ) -> Step {
        match self.advance(request, data, check) {
            Ok(step) => step,
            Err(status) => Step::Refuse(self.refusal(request, status)),
        }
    }

    /// The target that was asked for, once it is known to be one.
    pub fn target(&self) -> Option<&Name> {
        self.asked_for.as_ref()
    }

    /// The refusal of something that was not even a login request.
    pub fn refuse_other(&mut self, itt: u32) -> LoginResponse {
        let blank = request::Login {
            transit: false,
            continues: false,
            current: self.stage,
            next: 0,
            version_max: 0,
            version_min: 0,
            isid: self.first.map_or([0; 6], |first| first.isid),
            tsih: 0,
            itt,
            cid: 0,
            cmd_sn: 0,
            exp_stat_sn: 0,
        };
        self.refusal(&blank, Status::INVALID_DURING_LOGIN)
    }

    fn advance(
        &mut self,
        request: &request::Login,
        data: &[u8],
        check: impl Fn(&Claim) -> Result<(), Status>,
    ) -> Result<Step, Status> {
        self.check_header(request)?;
        self.pieces.add(data, MAX_TEXT).map_err(|_| Status::INITIATOR_ERROR)?;
        if request.continues {
            // The rest of the text comes with the next request; an empty answer asks for it.
            return Ok(Step::Answer(self.response(request, false), Vec::new()));
        }
        let pairs = self.pieces.take().map_err(|_| Status::INITIATOR_ERROR)?;
        if pairs.len() > MAX_KEYS {
            return Err(Status::INITIATOR_ERROR);
        }
        self.fix_claim(request, &pairs, check)?;
        let mut answer = Vec::new();
        for (key, value) in &pairs {
            self.answer_key(key, value, &mut answer)?;
        }
        self.declare(&mut answer);
        if !request.transit {
            return Ok(Step::Answer(self.response(request, false), answer));
        }
        let response = self.response(request, true);
        if request.next == FULL_FEATURE {
            return self.conclude(request, response, answer);
        }
        self.stage = request.next;
        Ok(Step::Answer(response, answer))
    }

    /// The one door to the full feature phase.
    fn conclude(
        &mut self,
        request: &request::Login,
        response: LoginResponse,
        text: Vec<u8>,
    ) -> Result<Step, Status> {
        let claim = self.claim.clone().ok_or(Status::MISSING_PARAMETER)?;
        // Skipping the security stage means AuthMethod=None, which is what we ask for today.
        let parameters =
            self.negotiation.as_ref().map_or_else(Parameters::default, Negotiation::parameters);
        Ok(Step::Ready(Ready { claim, parameters, response, text, first_cmd_sn: request.cmd_sn }))
    }

    /// Everything that must be true of a login header before its text is looked at.
    fn check_header(&mut self, request: &request::Login) -> Result<(), Status> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            return Err(Status::INITIATOR_ERROR);
        }
        if request.version_min > 0 {
            return Err(Status::UNSUPPORTED_VERSION);
        }
        match self.first {
            None => {
                if !matches!(request.current, SECURITY | OPERATIONAL) {
                    return Err(Status::INITIATOR_ERROR);
                }
                self.stage = request.current;
                self.first = Some(*request);
            }
            Some(first) => {
                let same = first.isid == request.isid
                    && first.tsih == request.tsih
                    && first.cid == request.cid
                    && first.itt == request.itt
                    && self.stage == request.current;
                if !same {
                    return Err(Status::INITIATOR_ERROR);
                }
            }
        }
        if request.transit {
            let forward = request.next > request.current;
            let known = matches!(request.next, OPERATIONAL | FULL_FEATURE);
            if request.continues || !forward || !known {
                return Err(Status::INITIATOR_ERROR);
            }
        }
        Ok(())
    }

    /// Reads the names from the first text; later ones may repeat but not change them.
    fn fix_claim(
        &mut self,
        request: &request::Login,
        pairs: &text::Pairs,
        check: impl Fn(&Claim) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let find = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let name = |text: &str| Name::new(text).map_err(|_| Status::INITIATOR_ERROR);
        if let Some(claim) = &self.claim {
            let session_type = if claim.target.is_some() { "Normal" } else { "Discovery" };
            let changed = find("InitiatorName")
                .is_some_and(|n| Name::new(n).ok().as_ref() != Some(&claim.initiator))
                || find("TargetName").is_some_and(|n| Name::new(n).ok() != claim.target)
                || find("SessionType").is_some_and(|kind| kind != session_type);
            return if changed { Err(Status::INITIATOR_ERROR) } else { Ok(()) };
        }
        let initiator = name(find("InitiatorName").ok_or(Status::MISSING_PARAMETER)?)?;
        let target = match find("SessionType").unwrap_or("Normal") {
            "Normal" => {
                let text = find("TargetName").ok_or(Status::MISSING_PARAMETER)?;
                // A name no target can have is a target that is not there.
                Some(Name::new(text).map_err(|_| Status::NOT_FOUND)?)
            }
            "Discovery" => None,
            _ => return Err(Status::SESSION_TYPE),
        };
        let claim =
            Claim { initiator, isid: request.isid, tsih: request.tsih, cid: request.cid, target };
        self.asked_for.clone_from(&claim.target);
        check(&claim)?;
        self.negotiation = Some(Negotiation::new(&self.limits, claim.target.is_none()));
        self.claim = Some(claim);
        Ok(())
    }

    fn answer_key(&mut self, key: &str, value: &str, answer: &mut Vec<u8>) -> Result<(), Status> {
        if matches!(key, "InitiatorName" | "TargetName" | "SessionType") {
            return Ok(());
        }
        if self.stage == SECURITY {
            return self.security(key, value, answer);
        }
        let negotiation = self.negotiation.as_mut().ok_or(Status::MISSING_PARAMETER)?;
        match negotiation.answer(key, value)? {
            Answer::Silent => {}
            Answer::Value(text) => text::push(answer, key, &text),
        }
        Ok(())
    }

    /// Keys of the security stage.
    fn security(&mut self, key: &str, value: &str, answer: &mut Vec<u8>) -> Result<(), Status> {
        match key {
            "AuthMethod" => {
                if self.method_chosen {
                    return Err(Status::INITIATOR_ERROR);
                }
                if !value.split(',').any(|method| method == "None") {
                    return Err(Status::AUTHENTICATION_FAILURE);
                }
                self.method_chosen = true;
                text::push(answer, key, "None");
            }
            "InitiatorAlias" => {}
            // Operational keys have their own stage; a method's keys need the method.
            _ => text::push(answer, key, "Reject"),
        }
        Ok(())
    }

    /// What the target says of its own accord, once each.
    fn declare(&mut self, answer: &mut Vec<u8>) {
        let normal = self.claim.as_ref().is_some_and(|claim| claim.target.is_some());
        if normal && !self.declared_group {
            self.declared_group = true;
            text::push(answer, "TargetPortalGroupTag", PORTAL_GROUP);
        }
        if self.stage == OPERATIONAL && !self.declared_segment {
            self.declared_segment = true;
            let length = self.limits.max_data_segment.to_string();
            text::push(answer, "MaxRecvDataSegmentLength", &length);
        }
    }

    fn response(&mut self, request: &request::Login, transit: bool) -> LoginResponse {
        let counters = Counters {
            stat_sn: self.stat_sn,
            exp_cmd_sn: request.cmd_sn,
            max_cmd_sn: request.cmd_sn.wrapping_add(self.limits.queue_depth - 1),
        };
        self.stat_sn = self.stat_sn.wrapping_add(1);
        LoginResponse {
            transit,
            continues: false,
            current: request.current,
            next: if transit { request.next } else { 0 },
            version_max: 0,
            version_active: 0,
            isid: request.isid,
            tsih: request.tsih,
            itt: request.itt,
            counters,
            class: Status::SUCCESS.class,
            detail: Status::SUCCESS.detail,
        }
    }

    fn refusal(&mut self, request: &request::Login, status: Status) -> LoginResponse {
        LoginResponse {
            class: status.class,
            detail: status.detail,
            ..self.response(request, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(current: u8, next: Option<u8>) -> request::Login {
        request::Login {
            transit: next.is_some(),
            continues: false,
            current,
            next: next.unwrap_or(0),
            version_max: 0,
            version_min: 0,
            isid: [1, 2, 3, 4, 5, 6],
            tsih: 0,
            itt: 7,
            cid: 0,
            cmd_sn: 100,
            exp_stat_sn: 0,
        }
    }

    fn words(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in pairs {
            text::push(&mut out, key, value);
        }
        out
    }

    const NAMES: [(&str, &str); 2] = [("InitiatorName", "iqn.x:a"), ("TargetName", "iqn.x:disk")];

    fn login() -> Login {
        Login::new(&Limits::default())
    }

    fn refused(step: Step) -> (u8, u8) {
        match step {
            Step::Refuse(r) => (r.class, r.detail),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn security_then_operational_then_full_feature() {
        let mut l = login();
        let mut first = NAMES.to_vec();
        first.push(("AuthMethod", "CHAP,None"));
        let Step::Answer(r, t) = l.step(&request(0, Some(1)), &words(&first), |_| Ok(())) else {
            panic!()
        };
        assert!(r.transit && r.next == 1);
        assert_eq!(t, b"AuthMethod=None\0TargetPortalGroupTag=1\0");
        let step = l.step(&request(1, Some(3)), &words(&[("ImmediateData", "No")]), |_| Ok(()));
        let Step::Ready(ready) = step else { panic!("{step:?}") };
        assert_eq!(ready.text, b"ImmediateData=No\0MaxRecvDataSegmentLength=262144\0");
        assert_eq!(ready.response.counters.stat_sn, 1);
        assert_eq!(ready.first_cmd_sn, 100);
        assert_eq!(ready.claim.target, Some(Name::new("iqn.x:disk").unwrap()));
    }

    // The hole this guards against: a login that starts late and is never asked who it is.
    #[test]
    fn every_way_into_the_full_feature_phase_asks_for_access() {
        for (current, next) in [(0, None), (0, Some(1)), (0, Some(3)), (1, None), (1, Some(3))] {
            let mut l = login();
            let step = l.step(&request(current, next), &words(&NAMES), |_| Err(Status::NOT_FOUND));
            assert_eq!(refused(step), (2, 3), "{current} {next:?}");
        }
    }

    #[test]
    fn no_names_no_entry() {
        for (current, next) in [(0, Some(1)), (0, Some(3)), (1, Some(3))] {
            let step = login().step(&request(current, next), b"", |_| Ok(()));
            assert_eq!(refused(step), (2, 7));
            let only = words(&NAMES[..1]);
            let step = login().step(&request(current, next), &only, |_| Ok(()));
            assert_eq!(refused(step), (2, 7));
        }
    }

    #[test]
    fn names_may_be_repeated_but_not_changed() {
        for (key, value, good) in [
            ("InitiatorName", "IQN.X:A", true),
            ("InitiatorName", "iqn.x:b", false),
            ("TargetName", "iqn.x:other", false),
            ("SessionType", "Discovery", false),
            ("SessionType", "Normal", true),
        ] {
            let mut l = login();
            l.step(&request(0, Some(1)), &words(&NAMES), |_| Ok(()));
            let step = l.step(&request(1, Some(3)), &words(&[(key, value)]), |_| Ok(()));
            assert_eq!(matches!(step, Step::Ready(_)), good, "{key}={value}");
        }
    }

    #[test]
    fn header_rules() {
        let cases: [(request::Login, (u8, u8)); 7] = [
            (request::Login { version_min: 1, ..request(0, Some(1)) }, (2, 5)),
            (request(2, None), (2, 0)),
            (request(3, None), (2, 0)),
            (request(0, Some(2)), (2, 0)),
            (request(1, Some(1)), (2, 0)),
            (request(1, Some(0)), (2, 0)),
            (request::Login { continues: true, ..request(0, Some(1)) }, (2, 0)),
        ];
        for (header, status) in cases {
            assert_eq!(refused(login().step(&header, &words(&NAMES), |_| Ok(()))), status);
        }
        for change in [
            request::Login { isid: [0; 6], ..request(1, Some(3)) },
            request::Login { itt: 8, ..request(1, Some(3)) },
            request::Login { cid: 1, ..request(1, Some(3)) },
            request::Login { tsih: 1, ..request(1, Some(3)) },
            request(0, Some(3)),
        ] {
            let mut l = login();
            l.step(&request(0, Some(1)), &words(&NAMES), |_| Ok(()));
            assert_eq!(refused(l.step(&change, b"", |_| Ok(()))), (2, 0), "{change:?}");
        }
    }

    #[test]
    fn a_text_in_pieces_is_joined() {
        let mut l = login();
        let whole = words(&NAMES);
        let piece = request::Login { continues: true, ..request(1, None) };
        let step = l.step(&piece, &whole[..9], |_| panic!("too early"));
        assert!(matches!(step, Step::Answer(r, t) if !r.transit && t.is_empty()));
        assert!(matches!(l.step(&request(1, Some(3)), &whole[9..], |_| Ok(())), Step::Ready(_)));
    }

    #[test]
    fn a_text_without_end_is_refused() {
        let mut l = login();
        let piece = request::Login { continues: true, ..request(1, None) };
        l.step(&piece, &[b'a'; 8192], |_| Ok(()));
        l.step(&piece, &[b'a'; 8192], |_| Ok(()));
        assert_eq!(refused(l.step(&piece, b"a", |_| Ok(()))), (2, 0));
    }

    #[test]
    fn a_method_we_cannot_do_is_an_authentication_failure() {
        let mut first = NAMES.to_vec();
        first.push(("AuthMethod", "CHAP"));
        assert_eq!(refused(login().step(&request(0, Some(1)), &words(&first), |_| Ok(()))), (2, 1));
    }

    #[test]
    fn session_types() {
        let text = words(&[("InitiatorName", "iqn.x:a"), ("SessionType", "Other")]);
        assert_eq!(refused(login().step(&request(0, Some(1)), &text, |_| Ok(()))), (2, 9));
        let text = words(&[("InitiatorName", "iqn.x:a"), ("SessionType", "Discovery")]);
        let step = login().step(&request(0, Some(3)), &text, |_| Ok(()));
        assert!(matches!(step, Step::Ready(r) if r.claim.target.is_none()));
    }

    proptest! {
        #[test]
        fn arbitrary_requests_never_panic_and_never_pass_unchecked(
            rounds in proptest::collection::vec(
                (any::<[u8; 24]>(), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..6),
        ) {
            let mut l = login();
            for (bytes, noise, named) in rounds {
                let mut header = crate::pdu::Header([0; 48]);
                header.0[..24].copy_from_slice(&bytes);
                header.0[0] = 0x43;
                header.0[3] = 0;
                let Ok(crate::pdu::Request::Login(r)) = crate::pdu::Request::decode(&header) else { panic!() };
                let data = if named { words(&NAMES) } else { noise };
                let step = l.step(&r, &data, |_| Err(Status::NOT_FOUND));
                prop_assert!(!matches!(step, Step::Ready(_)));
            }
        }
    }
}
