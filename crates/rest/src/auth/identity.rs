//! The identity service (OpenStack Keystone, Identity API v3), as far as a server needs it: get a
//! token for ourselves, ask whose token another one is.
//!
//! Blocking, with a limit on every wait. Neither a token nor a password is in any error or `Debug`.
//!
//! Source: OpenStack Identity API v3, "Password authentication with scoped authorization" and
//! "Validate and show information for token".

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A limit on one exchange with Keystone; our own clients wait for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers are small: a token with its catalogue left out.
const LARGEST_ANSWER: u64 = 1 << 20;

/// How to reach Keystone, and as whom.
#[derive(Clone)]
pub struct KeystoneSettings {
    /// Its address, with or without `/v3` at the end.
    pub auth_url: String,
    /// Our own user, which may validate tokens.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The domain of our user, by name.
    pub user_domain_name: String,
    /// Our own project.
    pub project_name: String,
    /// The domain of our project, by name.
    pub project_domain_name: String,
    /// Certificates (PEM) to trust for `https://`; the usual ones when absent.
    pub ca_file: Option<PathBuf>,
    /// How long a proven token is believed without asking again, which is also how long a revoked
    /// one still works. Nothing: every request asks.
    pub token_cache: Duration,
}

impl fmt::Debug for KeystoneSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeystoneSettings")
            .field("auth_url", &self.auth_url)
            .field("username", &self.username)
            .field("project_name", &self.project_name)
            .field("token_cache", &self.token_cache)
            .finish_non_exhaustive()
    }
}

/// Why Keystone settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoneError {
    /// The address is not one of a web server.
    #[error("auth_url {0} has to be http://host:port/path or https://host:port/path")]
    BadUrl(String),
    /// The certificates cannot be read.
    #[error("certificates in {path} cannot be used: {reason}")]
    BadCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a token proves.
#[derive(Clone, PartialEq, Eq)]
pub struct Proven {
    /// The user's id.
    pub user: String,
    /// The project's id.
    pub project: String,
    /// The project's name.
    pub project_name: String,
    /// Names of the roles in that project.
    pub roles: Vec<String>,
    /// From then on it proves nothing.
    pub expires: SystemTime,
}

impl Proven {
    /// The original's way to find administrators.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role.eq_ignore_ascii_case("admin"))
    }

    /// The original's way to find the administrators' project.
    pub fn is_admin_project(&self) -> bool {
        self.project_name.eq_ignore_ascii_case("admin")
    }
}

/// What Keystone said of a token.
pub enum Verdict {
    /// It is good.
    Good(Proven),
    /// It is unknown, revoked, expired, or not for a project.
    Bad(&'static str),
    /// Keystone does not take our own token any more.
    OurTokenIsBad,
}

/// Keystone was of no help. The words are for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// Our own token.
#[derive(Clone)]
pub struct OwnToken {
    text: String,
    /// From then on it is of no use.
    pub expires: SystemTime,
}

/// The service itself. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    agent: ureq::Agent,
    settings: std::sync::Arc<KeystoneSettings>,
    tokens_url: String,
}

#[derive(Deserialize)]
struct Answer {
    token: TokenBody,
}

#[derive(Deserialize)]
struct TokenBody {
    expires_at: Timestamp,
    #[serde(default)]
    roles: Vec<Named>,
    user: Option<Named>,
    project: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
}

impl Identity {
    /// A client; asks nothing yet.
    pub fn new(settings: KeystoneSettings) -> Result<Self, KeystoneError> {
        let base = settings.auth_url.trim_end_matches('/');
        let base = base.strip_suffix("/v3").unwrap_or(base);
        let is_web = ["http://", "https://"]
            .iter()
            .any(|scheme| base.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !is_web {
            return Err(KeystoneError::BadUrl(settings.auth_url));
        }
        let tokens_url = format!("{base}/v3/auth/tokens");
        let roots = match &settings.ca_file {
            Some(path) => trusted(path)?,
            None => RootCerts::WebPki,
        };
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self { agent: config.into(), settings: settings.into(), tokens_url })
    }

    /// What was configured.
    pub fn settings(&self) -> &KeystoneSettings {
        &self.settings
    }

    /// A token for ourselves.
    pub fn log_in(&self) -> Result<OwnToken, NoAnswer> {
        let s = &self.settings;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": s.username, "password": s.password,
                "domain": {"name": s.user_domain_name},
            }}},
            "scope": {"project": {
                "name": s.project_name, "domain": {"name": s.project_domain_name},
            }},
        }});
        let url = format!("{}?nocatalog", self.tokens_url);
        let sent = self.agent.post(url).content_type("application/json").send(body.to_string());
        let mut answer = sent.map_err(|error| self.no_answer(&error))?;
        let status = answer.status().as_u16();
        if status != 201 {
            return Err(NoAnswer(format!(
                "{} answers {status} to our own login as {}; look at [auth.keystone]",
                self.tokens_url, s.username
            )));
        }
        let text = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok());
        let text = text.map(str::to_owned);
        let body: Answer = self.body(&mut answer)?;
        match text {
            Some(text) => Ok(OwnToken { text, expires: body.token.expires_at.into() }),
            None => Err(NoAnswer(format!("{} gave no token", self.tokens_url))),
        }
    }

    /// Asks whose token it is.
    pub fn validate(&self, own: &OwnToken, token: &str) -> Result<Verdict, NoAnswer> {
        let request = self.agent.get(format!("{}?nocatalog", self.tokens_url));
        let request = request.header("X-Auth-Token", &own.text).header("X-Subject-Token", token);
        let mut answer = request.call().map_err(|error| self.no_answer(&error))?;
        match answer.status().as_u16() {
            200 => Ok(verdict(self.body(&mut answer)?)),
            401 => Ok(Verdict::OurTokenIsBad),
            400 | 403 | 404 => Ok(Verdict::Bad("the token is not valid, or not any more")),
            other => Err(NoAnswer(format!("{} answers {other}", self.tokens_url))),
        }
    }

    fn body(&self, answer: &mut ureq::http::Response<ureq::Body>) -> Result<Answer, NoAnswer> {
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let text = text.map_err(|error| self.no_answer(&error))?;
        // The error names a place and never the text, in which a token might stand.
        serde_json::from_slice(&text).map_err(|error| {
            NoAnswer(format!(
                "{} answers what is no token description, at line {} column {}",
                self.tokens_url,
                error.line(),
                error.column()
            ))
        })
    }

    fn no_answer(&self, error: &ureq::Error) -> NoAnswer {
        NoAnswer(format!("could not reach {}: {error}", self.tokens_url))
    }
}

fn verdict(answer: Answer) -> Verdict {
    let TokenBody { expires_at, roles, user, project } = answer.token;
    let Some(user) = user else { return Verdict::Bad("the token is nobody's") };
    let Some(project) = project.filter(|project| !project.id.is_empty()) else {
        return Verdict::Bad("the token is not for a project; ask for a scoped one");
    };
    Verdict::Good(Proven {
        user: user.id,
        project: project.id,
        project_name: project.name,
        roles: roles.into_iter().map(|role| role.name).collect(),
        expires: expires_at.into(),
    })
}

fn trusted(path: &std::path::Path) -> Result<RootCerts, KeystoneError> {
    let bad = |reason: String| KeystoneError::BadCertificates { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        match item.map_err(|error| bad(error.to_string()))? {
            ureq::tls::PemItem::Certificate(certificate) => certificates.push(certificate),
            ureq::tls::PemItem::PrivateKey(_) => {}
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(RootCerts::from(certificates.iter().map(Certificate::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(auth_url: &str) -> KeystoneSettings {
        KeystoneSettings {
            auth_url: auth_url.to_owned(),
            username: "osds".to_owned(),
            password: "do-not-print-me".to_owned(),
            user_domain_name: "Default".to_owned(),
            project_name: "service".to_owned(),
            project_domain_name: "Default".to_owned(),
            ca_file: None,
            token_cache: Duration::ZERO,
        }
    }

    #[test]
    fn the_address_may_name_the_version() {
        for url in ["http://k:5000", "http://k:5000/", "http://k:5000/v3", "http://k:5000/v3/"] {
            let identity = Identity::new(settings(url)).unwrap();
            assert_eq!(identity.tokens_url, "http://k:5000/v3/auth/tokens");
        }
        for url in ["", "k:5000", "ftp://k", "https://"] {
            assert!(Identity::new(settings(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", settings("http://k")).contains("do-not-print-me"));
    }

    #[test]
    fn a_token_without_a_project_proves_nothing() {
        let answer = |text| verdict(serde_json::from_str(text).unwrap());
        let bad =
            answer(r#"{"token":{"expires_at":"2026-11-22T12:00:00.000000Z","user":{"id":"u"}}}"#);
        assert!(matches!(bad, Verdict::Bad(_)));
        let good = answer(
            r#"{"token":{"expires_at":"2026-11-22T12:00:00.000000Z","user":{"id":"u","name":"n"},
            "project":{"id":"p","name":"Admin"},"roles":[{"id":"r","name":"admin"}],"more":1}}"#,
        );
        let Verdict::Good(proven) = good else { panic!("refused") };
        assert!(proven.is_admin() && proven.is_admin_project());
        assert_eq!(proven.project, "p");
    }
}
