//! The identity service (OpenStack Keystone, Identity API v3), as far as both sides need it: a user
//! gets a token with a password, a server asks whose token it is.
//!
//! Blocking, with a limit on every wait. Neither a token nor a password is in any error or `Debug`.
//!
//! Source: OpenStack Identity API v3, "Password authentication with scoped authorization" and
//! "Validate and show information for token".

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// A limit on one exchange with Keystone; somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers are small: a token with its catalogue left out.
const LARGEST_ANSWER: u64 = 1 << 20;

/// Where Keystone is, and who we are there.
#[derive(Clone)]
pub struct Login {
    /// Its address, with or without `/v3` at the end.
    pub auth_url: String,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The user's domain.
    pub user_domain: Domain,
    /// The project that the token shall be for.
    pub project_name: String,
    /// The project's domain.
    pub project_domain: Domain,
    /// Certificates (PEM) to trust for `https://`; the usual ones when absent.
    pub ca_file: Option<PathBuf>,
}

/// A domain of users and projects.
#[derive(Clone, Debug)]
pub enum Domain {
    /// By its id; that of the first one is `default`.
    Id(String),
    /// By its name; that of the first one is `Default`.
    Name(String),
}

impl Domain {
    fn to_json(&self) -> Value {
        match self {
            Self::Id(id) => json!({ "id": id }),
            Self::Name(name) => json!({ "name": name }),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("auth_url", &self.auth_url)
            .field("username", &self.username)
            .field("project_name", &self.project_name)
            .finish_non_exhaustive()
    }
}

/// Why Keystone is of no help.
#[derive(Debug, thiserror::Error)]
pub enum KeystoneError {
    /// The address is not one of a web server.
    #[error("keystone's address {0} has to be http://host:port/path or https://host:port/path")]
    BadUrl(String),
    /// Certificates cannot be read.
    #[error("certificates in {path} cannot be used: {reason}")]
    BadCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not take user and password.
    #[error(
        "keystone at {url} does not take user {username} with this password for project {project}"
    )]
    Refused {
        /// Where.
        url: String,
        /// The user.
        username: String,
        /// The project.
        project: String,
    },
    /// It does not answer, or not what it should.
    #[error("{0}")]
    NoAnswer(String),
}

/// What a token proves.
#[derive(Clone, PartialEq, Eq)]
pub struct Proven {
    /// The user's id.
    pub user: String,
    /// The project's id.
    pub project: String,
    /// Whether it is the administrators' project: the one with the name `admin`, as in the original,
    /// in the domain of our own. The administrator of another domain names projects as he likes.
    pub is_admin_project: bool,
    /// Names of the roles in that project.
    pub roles: Vec<String>,
    /// From then on it proves nothing.
    pub expires: SystemTime,
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

/// A token that we got for ourselves.
#[derive(Clone)]
pub struct Token {
    text: String,
    /// From then on it is of no use.
    pub expires: SystemTime,
    /// The project it is for, by its id.
    pub project: String,
}

impl Token {
    /// What goes into `X-Auth-Token`.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

/// The service itself. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    agent: ureq::Agent,
    login: Arc<Login>,
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
    project: Option<ProjectBody>,
}

#[derive(Deserialize)]
struct ProjectBody {
    #[serde(flatten)]
    named: Named,
    domain: Option<Named>,
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
    ///
    /// # Errors
    /// The address or the certificates cannot be used.
    pub fn new(login: Login) -> Result<Self, KeystoneError> {
        let base = login.auth_url.trim_end_matches('/');
        let base = base.strip_suffix("/v3").unwrap_or(base);
        let is_web = ["http://", "https://"]
            .iter()
            .any(|scheme| base.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !is_web {
            return Err(KeystoneError::BadUrl(login.auth_url));
        }
        let tokens_url = format!("{base}/v3/auth/tokens");
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .tls_config(trusting(login.ca_file.as_deref())?)
            .build();
        Ok(Self { agent: config.into(), login: login.into(), tokens_url })
    }

    /// A token for ourselves.
    ///
    /// # Errors
    /// Keystone does not answer, or does not take our password.
    pub fn log_in(&self) -> Result<Token, KeystoneError> {
        let login = &self.login;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": login.username, "password": login.password,
                "domain": login.user_domain.to_json(),
            }}},
            "scope": {"project": {
                "name": login.project_name, "domain": login.project_domain.to_json(),
            }},
        }});
        let url = format!("{}?nocatalog", self.tokens_url);
        let sent = self.agent.post(url).content_type("application/json").send(body.to_string());
        let mut answer = sent.map_err(|error| self.no_answer(&error))?;
        match answer.status().as_u16() {
            201 => {}
            401 | 403 => {
                return Err(KeystoneError::Refused {
                    url: self.tokens_url.clone(),
                    username: login.username.clone(),
                    project: login.project_name.clone(),
                });
            }
            other => return Err(self.answers(other)),
        }
        let text = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok());
        let text = text.map(str::to_owned);
        let TokenBody { expires_at, project, .. } = self.body(&mut answer)?.token;
        match (text, project) {
            (Some(text), Some(project)) => {
                Ok(Token { text, expires: expires_at.into(), project: project.named.id })
            }
            (None, _) | (_, None) => Err(KeystoneError::NoAnswer(format!(
                "{} gave no token for a project",
                self.tokens_url
            ))),
        }
    }

    /// Asks whose token it is.
    ///
    /// # Errors
    /// Keystone does not answer.
    pub fn validate(&self, own: &Token, token: &str) -> Result<Verdict, KeystoneError> {
        let request = self.agent.get(format!("{}?nocatalog", self.tokens_url));
        let request = request.header("X-Auth-Token", &own.text).header("X-Subject-Token", token);
        let mut answer = request.call().map_err(|error| self.no_answer(&error))?;
        match answer.status().as_u16() {
            200 => Ok(verdict(self.body(&mut answer)?, &self.login.project_domain)),
            401 => Ok(Verdict::OurTokenIsBad),
            400 | 403 | 404 => Ok(Verdict::Bad("the token is not valid, or not any more")),
            other => Err(self.answers(other)),
        }
    }

    fn body(&self, answer: &mut ureq::http::Response<ureq::Body>) -> Result<Answer, KeystoneError> {
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let text = text.map_err(|error| self.no_answer(&error))?;
        // The error names a place and never the text, in which a token might stand.
        serde_json::from_slice(&text).map_err(|error| {
            KeystoneError::NoAnswer(format!(
                "{} answers what is no token description, at line {} column {}",
                self.tokens_url,
                error.line(),
                error.column()
            ))
        })
    }

    fn answers(&self, status: u16) -> KeystoneError {
        KeystoneError::NoAnswer(format!("{} answers with status {status}", self.tokens_url))
    }

    fn no_answer(&self, error: &ureq::Error) -> KeystoneError {
        KeystoneError::NoAnswer(format!("could not reach {}: {error}", self.tokens_url))
    }
}

fn verdict(answer: Answer, home: &Domain) -> Verdict {
    let TokenBody { expires_at, roles, user, project } = answer.token;
    let Some(user) = user else { return Verdict::Bad("the token is nobody's") };
    let Some(project) = project.filter(|project| !project.named.id.is_empty()) else {
        return Verdict::Bad("the token is not for a project; ask for a scoped one");
    };
    let is_at_home = project.domain.is_some_and(|domain| match home {
        Domain::Id(id) => domain.id == *id,
        // Keystone compares names without case.
        Domain::Name(name) => domain.name.to_lowercase() == name.to_lowercase(),
    });
    Verdict::Good(Proven {
        user: user.id,
        is_admin_project: is_at_home && project.named.name.eq_ignore_ascii_case("admin"),
        project: project.named.id,
        roles: roles.into_iter().map(|role| role.name).collect(),
        expires: expires_at.into(),
    })
}

/// What an https client trusts: the certificates (PEM) in this file, the usual ones without one.
///
/// # Errors
/// [`KeystoneError::BadCertificates`].
pub fn trusting(file: Option<&Path>) -> Result<TlsConfig, KeystoneError> {
    let roots = match file {
        Some(path) => trusted(path)?,
        None => RootCerts::WebPki,
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn trusted(path: &Path) -> Result<RootCerts, KeystoneError> {
    let bad = |reason: String| KeystoneError::BadCertificates { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| bad(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(RootCerts::from(certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(auth_url: &str) -> Login {
        Login {
            auth_url: auth_url.to_owned(),
            username: "osds".to_owned(),
            password: "do-not-print-me".to_owned(),
            user_domain: Domain::Id("default".to_owned()),
            project_name: "service".to_owned(),
            project_domain: Domain::Name("Default".to_owned()),
            ca_file: None,
        }
    }

    #[test]
    fn the_address_may_name_the_version() {
        for url in ["http://k:5000", "http://k:5000/", "http://k:5000/v3", "http://k:5000/v3/"] {
            let identity = Identity::new(login(url)).unwrap();
            assert_eq!(identity.tokens_url, "http://k:5000/v3/auth/tokens");
        }
        for url in ["", "k:5000", "ftp://k", "https://"] {
            assert!(Identity::new(login(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", login("http://k")).contains("do-not-print-me"));
    }

    #[test]
    fn a_token_without_a_project_proves_nothing() {
        let home = Domain::Name("Default".to_owned());
        let answer = |text: &str| verdict(serde_json::from_str(text).unwrap(), &home);
        let bad =
            answer(r#"{"token":{"expires_at":"2026-11-22T12:00:00.000000Z","user":{"id":"u"}}}"#);
        assert!(matches!(bad, Verdict::Bad(_)));
        let of = |name: &str, domain: &str| {
            let text = r#"{"token":{"expires_at":"2026-11-22T12:00:00.000000Z","user":{"id":"u",
                "name":"n"},"project":{"id":"p","name":"NAME","domain":{"id":"d","name":"DOMAIN"}},
                "roles":[{"id":"r","name":"admin"}],"more":1}}"#;
            match answer(&text.replace("NAME", name).replace("DOMAIN", domain)) {
                Verdict::Good(proven) => proven,
                Verdict::Bad(_) | Verdict::OurTokenIsBad => panic!("refused"),
            }
        };
        assert_eq!(of("Admin", "Default").project, "p");
        assert!(of("Admin", "Default").is_admin_project);
        assert!(!of("red", "Default").is_admin_project);
        assert!(!of("admin", "elsewhere").is_admin_project, "another domain's own admin project");
    }
}
