//! The array's REST service: one session, kept and renewed; answers that are not, tried again.
//!
//! Every call may be repeated: what it makes true has a name, and a second time the array says that
//! it is so already. So a call whose answer was lost is simply made again, with growing waits. A
//! session that the array has forgotten is replaced once a call. Blocking: callers are on threads
//! for that.
//!
//! Must stay true: neither the password nor a token is in an error; a certificate is believed only
//! when it can be, but for those who wrote `insecure: true`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use osds_model::FaultKind;
use serde_json::{Value, json};
use ureq::tls::{PemItem, RootCerts, TlsConfig};

use crate::DriverError;
use crate::config::{FusionStorageConfig, Secret};

/// Answers are lists of a page at most.
const LARGEST_ANSWER: u64 = 16 << 20;
/// A session that the array has ended: of 8.0, and of 6.3.
const OFFLINE: [u64; 2] = [1_077_949_069, 10_000_003];

/// How long the array is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one answer.
    pub answer: Duration,
    /// How often a call is made before it has failed.
    pub tries: u32,
    /// Before the second try; twice as long before each that follows.
    pub first_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let (answer, first_wait) = (Duration::from_secs(30), Duration::from_millis(200));
        Self { answer, tries: 4, first_wait }
    }
}

/// Why there is no answer to go on with. Says neither password nor token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    /// The array said no.
    #[error("the array refuses: {text}{}", code.map(|code| format!(" (code {code})")).unwrap_or_default())]
    Refused {
        /// Its number for it.
        code: Option<u64>,
        /// Its words.
        text: String,
    },
    /// User or password are not good, or not any more.
    #[error(
        "the array at {url} does not take user {user} with this password; correct username and \
         password in the driver YAML and restart"
    )]
    Denied {
        /// Where.
        url: String,
        /// Who.
        user: String,
    },
    /// It does not answer, or not what it should.
    #[error("{0}")]
    NoAnswer(String),
}

/// What the array's numbers say, without the part that differs between its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// There is no such volume.
    NoVolume,
    /// There is no such snapshot.
    NoSnapshot,
    /// There is no such port.
    NoPort,
    /// There is such a port already.
    PortExists,
    /// There is such a host already.
    HostExists,
    /// The port is a host's already.
    PortTaken,
    /// The volume is mapped to that host already.
    Mapped,
}

impl Code {
    fn of(code: u64) -> Option<Self> {
        // 8.0 writes 50 before these, 6.3 writes 32; one query of 6.3 has a number of its own.
        Some(match code % 1_000_000 {
            _ if code == 31_000_000 => Self::NoVolume,
            150_005 => Self::NoVolume,
            150_006 => Self::NoSnapshot,
            155_102 => Self::PortExists,
            155_103 => Self::NoPort,
            157_001 => Self::Mapped,
            157_019 => Self::HostExists,
            157_021 => Self::PortTaken,
            _ => return None,
        })
    }
}

impl RestError {
    /// What the array's number says, if it is one that we know.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => code.and_then(Code::of),
            Self::Denied { .. } | Self::NoAnswer(_) => None,
        }
    }

    pub(crate) fn kind(&self) -> FaultKind {
        match (self, self.code()) {
            (Self::Denied { .. }, _) => FaultKind::Broken,
            (Self::Refused { .. }, Some(Code::NoVolume | Code::NoSnapshot)) => FaultKind::Gone,
            (
                Self::Refused { .. },
                Some(Code::PortExists | Code::HostExists | Code::PortTaken | Code::Mapped),
            ) => FaultKind::InUse,
            // A number that nobody told us: it may pass.
            (Self::Refused { .. }, Some(Code::NoPort) | None) | (Self::NoAnswer(_), _) => {
                FaultKind::Temporary
            }
        }
    }

    /// The same, for a caller of the driver.
    pub(crate) fn while_doing(self, doing: impl Into<String>) -> DriverError {
        DriverError::new(self.kind(), doing).because(self)
    }
}

/// Where a call goes.
#[derive(Clone, Copy)]
pub(crate) enum Call<'c> {
    /// A question, below the version's path.
    Get(&'c str),
    /// An order, below the version's path.
    Post(&'c str, &'c Value),
    /// A question beside the versions.
    PlainGet(&'c str),
    /// An order beside the versions.
    PlainPost(&'c str, &'c Value),
}

/// A client of one array.
pub(crate) struct Rest {
    agent: ureq::Agent,
    /// Ends in a slash.
    base: String,
    user: String,
    password: Secret,
    patience: Patience,
    session: Mutex<Option<Session>>,
}

#[derive(Clone)]
struct Session {
    version: String,
    token: String,
}

enum Failed {
    Expired,
    /// Worth another try.
    Unclear(String),
    Refused(RestError),
}

impl Rest {
    /// A client; asks nothing yet.
    pub(crate) fn new(
        config: &FusionStorageConfig,
        patience: Patience,
    ) -> Result<Self, DriverError> {
        let tls = trust(config.ca_file.as_deref(), config.insecure)?;
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(patience.answer))
            .tls_config(tls)
            .build()
            .into();
        Ok(Self {
            agent,
            base: format!("{}/dsware/service/", config.url.trim_end_matches('/')),
            user: config.username.clone(),
            password: config.password.clone(),
            patience,
            session: Mutex::new(None),
        })
    }

    /// Makes the call until there is an answer.
    pub(crate) fn call(&self, call: Call<'_>) -> Result<Value, RestError> {
        let (mut wait, mut renewed, mut tries) = (self.patience.first_wait, false, 1);
        loop {
            let outcome = self.session().and_then(|session| {
                let outcome = self.with_session(&session, call);
                if matches!(outcome, Err(Failed::Expired)) {
                    self.forget(&session);
                }
                outcome
            });
            let why = match outcome {
                Ok(answer) => return Ok(answer),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Expired) if renewed => return Err(self.denied()),
                Err(Failed::Expired) => {
                    renewed = true;
                    continue;
                }
                Err(Failed::Unclear(why)) => why,
            };
            if tries >= self.patience.tries {
                return Err(RestError::NoAnswer(why));
            }
            tries += 1;
            // sleep: before the array is asked again, on a thread that may block.
            std::thread::sleep(wait);
            wait *= 2;
        }
    }

    /// The session that is, or a new one. Who comes second waits and takes it.
    fn session(&self) -> Result<Session, Failed> {
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*kept {
            return Ok(session.clone());
        }
        let session = self.log_in()?;
        Ok(kept.insert(session).clone())
    }

    /// Only this one: another caller may have a new one already.
    fn forget(&self, session: &Session) {
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|kept| kept.token == session.token) {
            *kept = None;
        }
    }

    fn log_in(&self) -> Result<Session, Failed> {
        let (_, answer) = self.exchange("rest/version", None, None)?;
        let version = answer["currentVersion"].as_str().unwrap_or_default().to_owned();
        // It becomes a part of every path.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
        if version.is_empty() || !version.chars().all(is_plain) || version.contains("..") {
            let url = format!("{}rest/version", self.base);
            return Err(Failed::Unclear(format!("{url} does not say the version of the service")));
        }
        let body = json!({"userName": self.user, "password": self.password.expose()});
        let login = self.exchange(&format!("{version}/sec/login"), Some(&body), None);
        let (token, answer) = match login {
            Err(Failed::Expired) => return Err(Failed::Refused(self.denied())),
            login => login?,
        };
        match (token, result_of(&answer)) {
            (Some(token), None) => Ok(Session { version, token }),
            (None, None) => {
                Err(Failed::Unclear(format!("{} lets us in without a token", self.base)))
            }
            // Never its words: who knows what it repeats.
            (_, Some(_)) => Err(Failed::Refused(self.denied())),
        }
    }

    fn with_session(&self, session: &Session, call: Call<'_>) -> Result<Value, Failed> {
        let versioned = |path: &str| format!("{}/{path}", session.version);
        let (path, body) = match call {
            Call::Get(path) => (versioned(path), None),
            Call::Post(path, body) => (versioned(path), Some(body)),
            Call::PlainGet(path) => (path.to_owned(), None),
            Call::PlainPost(path, body) => (path.to_owned(), Some(body)),
        };
        let (_, answer) = self.exchange(&path, body, Some(&session.token))?;
        match result_of(&answer) {
            None => Ok(answer),
            Some(RestError::Refused { code: Some(code), .. }) if OFFLINE.contains(&code) => {
                Err(Failed::Expired)
            }
            Some(error) => Err(Failed::Refused(error)),
        }
    }

    /// One exchange: the token that came with the answer, and the answer.
    fn exchange(
        &self,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<(Option<String>, Value), Failed> {
        let url = format!("{}{path}", self.base);
        let json = "application/json;charset=UTF-8";
        let unclear = |what: String| Failed::Unclear(format!("{url}: {what}"));
        let sent = match body {
            None => {
                let request = self.agent.get(&url).header("Referer", &self.base);
                let request = request.header("Content-Type", json);
                token.into_iter().fold(request, |r, token| r.header("x-auth-token", token)).call()
            }
            Some(body) => {
                let request = self.agent.post(&url).header("Referer", &self.base);
                let request = request.header("Content-Type", json);
                let request = token.into_iter().fold(request, |r, t| r.header("x-auth-token", t));
                request.send(body.to_string())
            }
        };
        let mut answer = sent.map_err(|error| unclear(format!("no answer: {error}")))?;
        match answer.status().as_u16() {
            200..=299 => {}
            401 | 403 => return Err(Failed::Expired),
            status @ (408 | 429 | 500..=599) => return Err(unclear(format!("status {status}"))),
            status => {
                let text = format!("{url} answers with status {status}");
                return Err(Failed::Refused(RestError::Refused { code: None, text }));
            }
        }
        let token = answer.headers().get("x-auth-token").and_then(|token| token.to_str().ok());
        let token = token.map(str::to_owned);
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let text = text.map_err(|error| unclear(format!("no whole answer: {error}")))?;
        let answer = serde_json::from_slice(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            unclear(format!("the answer is not JSON, in line {line} column {column}"))
        })?;
        Ok((token, answer))
    }

    fn denied(&self) -> RestError {
        RestError::Denied { url: self.base.clone(), user: self.user.clone() }
    }
}

/// What the answer refuses, if it does.
fn result_of(answer: &Value) -> Option<RestError> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    // `rest/version` has none.
    let result = answer.get("result").map(|result| number(result).unwrap_or(u64::MAX));
    if result.unwrap_or(0) == 0 {
        return None;
    }
    let details = answer["detail"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = || std::iter::once(answer).chain(details);
    let code = all().find_map(|one| number(&one["errorCode"]).filter(|code| *code != 0));
    let words = all().find_map(|one| one["description"].as_str()).unwrap_or("it does not say why");
    let words = words.chars().filter(|c| !c.is_control()).take(200).collect();
    Some(RestError::Refused { code, text: words })
}

/// What is believed of the other side.
fn trust(ca_file: Option<&Path>, insecure: bool) -> Result<TlsConfig, DriverError> {
    let roots = match ca_file {
        None => RootCerts::WebPki,
        Some(file) => {
            let doing = || format!("reading the certificates in {} (caFile)", file.display());
            let broken = |why: String| DriverError::new(FaultKind::Broken, doing()).because(why);
            let pem = std::fs::read(file).map_err(|error| DriverError::from_io(doing(), error))?;
            let mut certificates = Vec::new();
            for item in ureq::tls::parse_pem(&pem) {
                if let PemItem::Certificate(one) = item.map_err(|e| broken(e.to_string()))? {
                    certificates.push(one);
                }
            }
            if certificates.is_empty() {
                return Err(broken("there is no certificate in it".to_owned()));
            }
            RootCerts::new_with_certs(&certificates)
        }
    };
    Ok(TlsConfig::builder().root_certs(roots).disable_verification(insecure).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_wherever_the_array_writes_it() {
        for (answer, code) in [
            (json!({"result": 1, "errorCode": 50150005, "description": "x"}), Some(50_150_005)),
            (json!({"result": 2, "errorCode": "1077949069"}), Some(1_077_949_069)),
            (json!({"result": 1, "detail": [{"errorCode": 32155103}]}), Some(32_155_103)),
            (json!({"result": "1"}), None),
            (json!({"result": {}}), None),
        ] {
            let Some(RestError::Refused { code: found, .. }) = result_of(&answer) else {
                panic!("{answer}")
            };
            assert_eq!(found, code, "{answer}");
        }
        assert!(result_of(&json!({"result": 0})).is_none());
        assert!(result_of(&json!({"currentVersion": "v1.3"})).is_none());
    }

    #[test]
    fn every_number_that_is_known_has_its_kind_in_both_versions() {
        for (ending, kind) in [
            (150_005, FaultKind::Gone),
            (150_006, FaultKind::Gone),
            (155_102, FaultKind::InUse),
            (155_103, FaultKind::Temporary),
            (157_001, FaultKind::InUse),
            (157_019, FaultKind::InUse),
            (157_021, FaultKind::InUse),
            (999_999, FaultKind::Temporary),
        ] {
            for version in [50_000_000, 32_000_000] {
                let error =
                    RestError::Refused { code: Some(version + ending), text: String::new() };
                assert_eq!(error.while_doing("x").kind, kind, "{version} {ending}");
            }
        }
        let old = RestError::Refused { code: Some(31_000_000), text: String::new() };
        assert_eq!(old.code(), Some(Code::NoVolume));
    }
}
