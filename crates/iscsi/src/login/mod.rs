//! The login phase (RFC 7143 section 6) as a machine without sockets.
//!
//! One login request in, one [`Step`] out. Who asks for what (the [`Claim`]) is fixed by the first
//! request and can never change afterwards. There is exactly one place where a login may pass into
//! the full feature phase, `conclude`, whatever stage the initiator started in; it insists on what
//! the grant demands being proved, and only yields [`Step::Ready`]: the caller must have the claim
//! and the proof admitted by the registry before the answer goes out. So no order of stages leads
//! around the access check. A login that was refused once stays so.

pub mod chap;
pub mod keys;
mod security;
pub mod status;

use self::chap::{Proven, Random};
use self::keys::{Answer, Negotiation, Parameters};
pub use self::security::Demand;
use self::security::{Progress, Security};
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
    /// What it has proved.
    pub proven: Option<Proven>,
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
    random: Random,
    first: Option<request::Login>,
    refused: bool,
    stage: u8,
    pieces: text::Joined,
    claim: Option<Claim>,
    /// The target of the claim, also of one that was refused.
    asked_for: Option<Name>,
    security: Option<Security>,
    negotiation: Option<Negotiation>,
    declared_segment: bool,
    declared_group: bool,
    stat_sn: u32,
    rounds: u32,
}

impl Login {
    /// Waits for the first request.
    pub fn new(limits: &Limits, random: Random) -> Self {
        Self {
            limits: limits.clone(),
            random,
            first: None,
            refused: false,
            stage: SECURITY,
            pieces: text::Joined::default(),
            claim: None,
            asked_for: None,
            security: None,
            negotiation: None,
            declared_segment: false,
            declared_group: false,
            stat_sn: 0,
            rounds: 0,
        }
    }

    /// Takes one request. `check` says early what the claim must prove, or that it has no chance;
    /// what counts is the admission that [`Step::Ready`] demands.
    pub fn step(
        &mut self,
        request: &request::Login,
        data: &[u8],
        check: impl Fn(&Claim) -> Result<Demand, Status>,
    ) -> Step {
        match self.advance(request, data, check) {
            Ok(step) => step,
            Err(status) => {
                self.refused = true;
                Step::Refuse(self.refusal(request, status))
            }
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
        check: impl Fn(&Claim) -> Result<Demand, Status>,
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
        let transit = match self.stage {
            SECURITY => self.secure(request, &pairs, &mut answer)?,
            _ => {
                self.negotiate(&pairs, &mut answer)?;
                request.transit
            }
        };
        self.declare(&mut answer);
        let response = self.response(request, transit);
        if !transit {
            return Ok(Step::Answer(response, answer));
        }
        if request.next == FULL_FEATURE {
            return self.conclude(request, response, answer);
        }
        self.stage = request.next;
        Ok(Step::Answer(response, answer))
    }

    /// One request of the security stage; may the login leave it?
    fn secure(
        &mut self,
        request: &request::Login,
        pairs: &text::Pairs,
        answer: &mut Vec<u8>,
    ) -> Result<bool, Status> {
        let security = self.security.as_mut().ok_or(Status::MISSING_PARAMETER)?;
        let progress = security.answer(pairs, answer)?;
        match (request.transit, security.is_satisfied(), progress) {
            (true, false, Progress::Made) => Ok(false),
            // It asks to go on with nothing proved and nothing under way.
            (true, false, Progress::None) => Err(Status::AUTHENTICATION_FAILURE),
            (transit, _, _) => Ok(transit),
        }
    }

    /// One request of the operational stage.
    fn negotiate(&mut self, pairs: &text::Pairs, answer: &mut Vec<u8>) -> Result<(), Status> {
        // Who has something to prove has no business here before that is done.
        if !self.security.as_ref().is_some_and(Security::is_satisfied) {
            return Err(Status::AUTHENTICATION_FAILURE);
        }
        let negotiation = self.negotiation.as_mut().ok_or(Status::MISSING_PARAMETER)?;
        for (key, value) in pairs {
            if matches!(key.as_str(), "InitiatorName" | "TargetName" | "SessionType") {
                continue;
            }
            match negotiation.answer(key, value)? {
                Answer::Silent => {}
                Answer::Value(text) => text::push(answer, key, &text),
            }
        }
        Ok(())
    }

    /// The one door to the full feature phase.
    fn conclude(
        &mut self,
        request: &request::Login,
        response: LoginResponse,
        text: Vec<u8>,
    ) -> Result<Step, Status> {
        let claim = self.claim.clone().ok_or(Status::MISSING_PARAMETER)?;
        // Skipping the security stage means AuthMethod=None: enough where nothing is to be proved.
        let security = self.security.as_ref().filter(|security| security.is_satisfied());
        let proven = security.ok_or(Status::AUTHENTICATION_FAILURE)?.proven().cloned();
        let parameters =
            self.negotiation.as_ref().map_or_else(Parameters::default, Negotiation::parameters);
        let first_cmd_sn = request.cmd_sn;
        Ok(Step::Ready(Ready { claim, proven, parameters, response, text, first_cmd_sn }))
    }

    /// Everything that must be true of a login header before its text is looked at.
    fn check_header(&mut self, request: &request::Login) -> Result<(), Status> {
        self.rounds += 1;
        if self.refused || self.rounds > MAX_ROUNDS {
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
        check: impl Fn(&Claim) -> Result<Demand, Status>,
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
        let demand = check(&claim)?;
        self.security = Some(Security::new(demand, self.random));
        self.negotiation = Some(Negotiation::new(&self.limits, claim.target.is_none()));
        self.claim = Some(claim);
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
mod tests;
