//! The security stage: which method, and whether it has been gone through.
//!
//! What must be proved is known from the claim before the first key is looked at. With nothing to
//! prove the method is None, and an initiator that insists on CHAP is refused: to go through the
//! motions would tell it that something was proved. With something to prove the method is CHAP, and
//! the stage is left in one way only, by [`Security::is_satisfied`] being true.

use std::sync::Arc;

use super::chap::{Exchange, Proven, Random};
use super::status::Status;
use crate::credentials::Authentication;
use crate::pdu::text;

/// What a login must prove; nothing: its name is believed.
pub type Demand = Option<Arc<Authentication>>;

/// See the head of this file.
#[derive(Debug)]
pub struct Security {
    random: Random,
    demand: Demand,
    method: Method,
    proven: Option<Proven>,
}

#[derive(Debug)]
enum Method {
    Open,
    None,
    Chap(Exchange),
}

/// What one request meant to this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It brought the stage further.
    Made,
    /// It had nothing for this stage.
    None,
}

impl Security {
    /// Nothing has been agreed on.
    pub fn new(demand: Demand, random: Random) -> Self {
        Self { random, demand, method: Method::Open, proven: None }
    }

    /// All that was demanded has been proved.
    pub fn is_satisfied(&self) -> bool {
        match &self.demand {
            None => true,
            Some(demanded) => self.proven.as_ref().is_some_and(|proven| proven.satisfies(demanded)),
        }
    }

    /// What has been proved.
    pub fn proven(&self) -> Option<&Proven> {
        self.proven.as_ref()
    }

    /// Answers the keys of one request of this stage.
    pub fn answer(&mut self, pairs: &text::Pairs, out: &mut Vec<u8>) -> Result<Progress, Status> {
        let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let (chap, others): (Vec<_>, Vec<_>) = pairs.partition(|(key, _)| key.starts_with("CHAP_"));
        let mut progress = Progress::None;
        if !chap.is_empty() {
            progress = self.chap(&chap, out)?;
        }
        for (key, value) in others {
            match key {
                "InitiatorName" | "TargetName" | "SessionType" | "InitiatorAlias" => {}
                // Ours to declare, and declared: a text may hold a key only once.
                "TargetPortalGroupTag" => {}
                "AuthMethod" => {
                    self.choose(value, out)?;
                    progress = Progress::Made;
                }
                // Operational keys have their own stage.
                _ => text::push(out, key, "Reject"),
            }
        }
        Ok(progress)
    }

    fn choose(&mut self, offer: &str, out: &mut Vec<u8>) -> Result<(), Status> {
        let offers = |method| offer.split(',').any(|offered| offered == method);
        match (&self.method, &self.demand) {
            (Method::None | Method::Chap(_), _) => Err(Status::INITIATOR_ERROR),
            (Method::Open, None) if offers("None") => {
                self.method = Method::None;
                text::push(out, "AuthMethod", "None");
                Ok(())
            }
            (Method::Open, Some(demanded)) if offers("CHAP") => {
                self.method = Method::Chap(Exchange::new(Arc::clone(demanded)));
                text::push(out, "AuthMethod", "CHAP");
                Ok(())
            }
            (Method::Open, _) => Err(Status::AUTHENTICATION_FAILURE),
        }
    }

    fn chap(&mut self, pairs: &[(&str, &str)], out: &mut Vec<u8>) -> Result<Progress, Status> {
        match &mut self.method {
            Method::Chap(exchange) if self.proven.is_none() => {
                self.proven = exchange.step(pairs, self.random, out)?;
                Ok(Progress::Made)
            }
            // Before the method has been agreed on, after it is done, or with another.
            Method::Chap(_) | Method::Open | Method::None => Err(Status::AUTHENTICATION_FAILURE),
        }
    }
}
