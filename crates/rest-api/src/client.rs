//! A small blocking client: one request, one answer, no surprises.
//!
//! It puts the tenant into the path, says who it is, ignores proxy variables of the environment
//! (a control plane is not reached through one by accident), follows no redirects and always gives
//! up in the end. An answer of 300 or more is an error that carries the server's own words.
//!
//! [`Request::wait`] asks the server to answer only when the thing has settled
//! (`Prefer: wait`, RFC 7240, section 4.3); [`Answer::waited`] tells whether it knew how to.
//! Every POST carries an `Idempotency-Key` of its own, so that sending it again makes nothing twice.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http;

use crate::json::{self, BadJson};
use crate::keystone::{self, Identity, KeystoneError, Login, Token};
use crate::view::{ErrorBody, HolderView};
use crate::{API_VERSION, url};
use osds_model::Reason;

pub use ureq::http::Method;

/// Where the server is when nobody says.
pub const DEFAULT_ENDPOINT: &str = "http://localhost:50040";

/// The status of a server that does not know who asks.
const UNPROVEN: u16 = 401;

/// Larger answers are refused.
const LARGEST_ANSWER: u64 = 256 << 20;

/// Whom to talk to, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://host:port` or `https://host:port`.
    pub endpoint: String,
    /// The tenant of the path. When it is empty, paths have no tenant at all, as the original's.
    /// With a login it is the project's id instead.
    pub tenant: String,
    /// Where to get a token, when the server wants one.
    pub login: Option<Login>,
    /// Certificates (PEM) to trust for `https://`; the usual ones when absent.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take, besides what it asks the server to wait.
    pub timeout: Duration,
    /// What the program calls itself.
    pub user_agent: String,
}

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint is not something this client can talk to.
    #[error("endpoint {endpoint} cannot be used: {reason}")]
    BadEndpoint {
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No token, or no certificates.
    #[error(transparent)]
    Keystone(#[from] KeystoneError),
    /// The server said no; the text is the server's.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
        /// Which rule said no, where one did.
        reason: Option<Reason>,
        /// Who has the volume, where that is why.
        holders: Vec<HolderView<'static>>,
    },
    /// No server, or none that answered in time.
    #[error("could not reach {url}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened instead.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server answered, but not what it should.
    #[error("the answer to {method} {url} is not what it should be")]
    Unreadable {
        /// What was asked.
        method: Method,
        /// Of whom.
        url: String,
        /// What is wrong with it.
        #[source]
        source: BadJson,
    },
}

impl ClientError {
    /// Whether the server said that there is no such thing.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// A request that went out and what came back; for people who debug.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// What was asked.
    pub method: &'a Method,
    /// Of whom.
    pub url: &'a str,
    /// The HTTP status.
    pub status: http::StatusCode,
    /// The answer.
    pub body: &'a [u8],
}

/// Sees every exchange.
pub type Observer = Box<dyn Fn(&Exchange<'_>) + Send + Sync>;

/// A client of one server, for one tenant.
pub struct Client {
    agent: ureq::Agent,
    settings: Settings,
    identity: Option<Identity>,
    token: Mutex<Option<Token>>,
    observer: Option<Observer>,
}

impl Client {
    /// A client with these settings. With a login, gets a token at once: paths need the project.
    ///
    /// # Errors
    /// When the endpoint cannot be used, or there is no token.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let mut settings = settings;
        settings.endpoint.truncate(settings.endpoint.trim_end_matches('/').len());
        let reason = match settings.endpoint.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() => None,
            Some(_) | None => Some("it has to be http://host:port or https://host:port"),
        };
        if let Some(reason) = reason {
            return Err(ClientError::BadEndpoint { endpoint: settings.endpoint, reason });
        }
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(settings.user_agent.as_str())
            .timeout_connect(Some(settings.timeout))
            .tls_config(keystone::trusting(settings.ca_file.as_deref())?)
            .build();
        let identity = settings.login.take().map(Identity::new).transpose()?;
        let token = identity.as_ref().map(Identity::log_in).transpose()?;
        if let Some(token) = &token {
            settings.tenant.clone_from(&token.project);
        }
        let token = Mutex::new(token);
        Ok(Self { agent: config.into(), settings, identity, token, observer: None })
    }

    /// What proves who we are; a fresh one when the server does not take the one we have.
    fn token(&self, fresh: bool) -> Result<Option<Token>, ClientError> {
        // Whole after every statement: poison means nothing here.
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = self.identity.as_ref().filter(|_| fresh) {
            *token = Some(identity.log_in()?);
        }
        Ok(token.clone())
    }

    /// Shows every exchange to `observer`.
    #[must_use]
    pub fn observed(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// A request for `path` under the tenant, like `block/volumes`. Ids in it must be encoded
    /// ([`url::encode`]).
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> Request<'_> {
        let tenant = url::encode(&self.settings.tenant);
        let path = if tenant.is_empty() {
            format!("/{API_VERSION}/{path}")
        } else {
            format!("/{API_VERSION}/{tenant}/{path}")
        };
        self.request_at(method, &path)
    }

    /// A request for `path` of the server, like `/v1beta`.
    #[must_use]
    pub fn request_at(&self, method: Method, path: &str) -> Request<'_> {
        let url = format!("{}{path}", self.settings.endpoint);
        let once = (method == Method::POST).then(|| uuid::Uuid::now_v7().to_string());
        Request { client: self, method, url, body: Vec::new(), wait: None, once }
    }

    /// Reads `path` under the tenant.
    ///
    /// # Errors
    /// As [`Request::send`], and when the answer is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.request(Method::GET, path).send()?.read()
    }

    /// Reads the list `path` under the tenant, as these pairs ask; empty values are left out.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<T>, ClientError> {
        let mut path = path.to_owned();
        let mut sign = '?';
        for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            write!(path, "{sign}{key}={}", url::encode(value)).expect("a String takes all");
            sign = '&';
        }
        // Some empty lists of the original are `null`.
        Ok(self.get::<Option<Vec<T>>>(&path)?.unwrap_or_default())
    }

    /// Makes something of `body` at `path` under the tenant.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.request(Method::POST, path).body(body).send()?.read()
    }

    /// Changes what is at `path` under the tenant.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.request(Method::PUT, path).body(body).send()?.read()
    }

    /// Deletes what is at `path` under the tenant.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.request(Method::DELETE, path).send().map(drop)
    }
}

/// A request that has not been sent.
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    url: String,
    body: Vec<u8>,
    wait: Option<Duration>,
    /// By what the server knows the request when it is sent again.
    once: Option<String>,
}

impl Request<'_> {
    /// With `body` as its body.
    #[must_use]
    pub fn body(mut self, body: &impl Serialize) -> Self {
        self.body = json::write(body);
        self
    }

    /// Asks the server to answer only when the thing has settled, or after this long. Less than a
    /// second is not worth asking for.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait).filter(|wait| wait.as_secs() > 0);
        self
    }

    /// Known to the server as `key` instead of by a key of its own: whoever sends it again under
    /// this key, however much later that day, gets what the first one made.
    #[must_use]
    pub fn once(mut self, key: String) -> Self {
        self.once = Some(key);
        self
    }

    /// Sends it and takes the answer.
    ///
    /// # Errors
    /// When the server cannot be reached, or says no.
    pub fn send(self) -> Result<Answer, ClientError> {
        // Once more with a fresh token: the one we have may have run out in a long life.
        match self.send_as(self.client.token(false)?.as_ref()) {
            Err(ClientError::Refused { status: UNPROVEN, .. })
                if self.client.identity.is_some() =>
            {
                self.send_as(self.client.token(true)?.as_ref())
            }
            outcome => outcome,
        }
    }

    fn send_as(&self, token: Option<&Token>) -> Result<Answer, ClientError> {
        let client = self.client;
        let unreachable =
            |source| ClientError::Unreachable { url: self.url.clone(), source: Box::new(source) };
        let mut request = http::Request::builder()
            .method(self.method.clone())
            .uri(&self.url)
            .header("Content-Type", "application/json");
        if let Some(wait) = self.wait {
            request = request.header("Prefer", format!("wait={}", wait.as_secs()));
        }
        if let Some(key) = &self.once {
            request = request.header("Idempotency-Key", format!("\"{key}\""));
        }
        if let Some(token) = token {
            request = request.header("X-Auth-Token", token.expose());
        }
        let patience = client.settings.timeout + self.wait.unwrap_or_default();
        // A body of no bytes would still announce its length, which GET and DELETE should not.
        let answer = if self.body.is_empty() {
            let request = request.body(()).map_err(|e| unreachable(e.into()))?;
            client.agent.run(patient(&client.agent, request, patience))
        } else {
            let request = request.body(&self.body[..]).map_err(|e| unreachable(e.into()))?;
            client.agent.run(patient(&client.agent, request, patience))
        };
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status();
        let waited = answer.headers().get_all("preference-applied").iter().any(|applied| {
            applied.to_str().is_ok_and(|applied| applied.trim_start().starts_with("wait"))
        });
        let body = answer
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER)
            .read_to_vec()
            .map_err(unreachable)?;
        let (url, method) = (self.url.clone(), self.method.clone());
        if let Some(observer) = &client.observer {
            observer(&Exchange { method: &method, url: &url, status, body: &body });
        }
        if status.as_u16() >= 300 {
            let (message, reason, holders) = refusal(status, &body);
            return Err(ClientError::Refused { status: status.as_u16(), message, reason, holders });
        }
        Ok(Answer { method, url, body, waited })
    }
}

fn patient<S: ureq::AsSendBody>(
    agent: &ureq::Agent,
    request: http::Request<S>,
    patience: Duration,
) -> http::Request<S> {
    agent.configure_request(request).timeout_global(Some(patience)).build()
}

/// The server's words: its message, else the body as it is, else the status. And what it says to
/// programs.
fn refusal(
    status: http::StatusCode,
    body: &[u8],
) -> (String, Option<Reason>, Vec<HolderView<'static>>) {
    let (message, reason, holders) = match json::read::<ErrorBody<'static>>(body) {
        Ok(error) => (error.message.into_owned(), error.reason, error.holders.into_owned()),
        Err(_) => (String::from_utf8_lossy(body).trim().to_owned(), None, Vec::new()),
    };
    let message = if message.is_empty() { status.to_string() } else { message };
    (message, reason, holders)
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    method: Method,
    url: String,
    body: Vec<u8>,
    waited: bool,
}

impl Answer {
    /// The body as a `T`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        json::read(&self.body).map_err(|source| ClientError::Unreadable {
            method: self.method.clone(),
            url: self.url.clone(),
            source,
        })
    }

    /// Whether there is no body.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Whether the server waited as it was asked to.
    #[must_use]
    pub const fn waited(&self) -> bool {
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;
    use crate::request::Resize;
    use crate::view::VersionView;

    /// Answers one request with `answer` and hands out what it was asked.
    fn serve(answer: &'static str) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let (heard, asked) = mpsc::channel();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut text = String::new();
            while !text.ends_with("\r\n\r\n") && reader.read_line(&mut text).unwrap() > 0 {}
            let length = text.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            text.push_str(&String::from_utf8(body).unwrap());
            heard.send(text).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
        });
        (endpoint, asked)
    }

    fn client(endpoint: String, tenant: &str) -> Client {
        Client::new(Settings {
            endpoint,
            tenant: tenant.into(),
            login: None,
            ca_file: None,
            timeout: Duration::from_secs(5),
            user_agent: "test/1".into(),
        })
        .unwrap()
    }

    #[test]
    fn a_request_carries_tenant_name_and_wish_to_wait() {
        let (endpoint, asked) = serve(
            "HTTP/1.1 202 Accepted\r\nPreference-Applied: wait\r\nContent-Length: 15\r\n\r\n{\"name\":\"v1beta\"",
        );
        let client = client(endpoint, "t 1");
        let answer = client
            .request(Method::POST, "block/volumes/x/resize")
            .body(&Resize { new_size: 2 })
            .wait(Duration::from_secs(20))
            .send()
            .unwrap();
        assert!(answer.waited());
        // Cut off by its own Content-Length.
        assert!(matches!(answer.read::<VersionView<'_>>(), Err(ClientError::Unreadable { .. })));
        let asked = asked.recv().unwrap().to_lowercase();
        assert!(
            asked.starts_with("post /v1beta/t%201/block/volumes/x/resize http/1.1\r\n"),
            "{asked}"
        );
        for part in ["prefer: wait=20\r\n", "user-agent: test/1\r\n", "application/json\r\n"] {
            assert!(asked.contains(part), "{asked}");
        }
        assert!(asked.ends_with("\r\n\r\n{\"newsize\":2}"), "{asked}");
    }

    #[test]
    fn a_delete_has_no_body_and_a_refusal_the_servers_words() {
        let (endpoint, asked) = serve(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 39\r\n\r\n{\"code\":404,\"message\":\"x can't find yet\"}",
        );
        let error = client(endpoint, "").delete("host/hosts/x").unwrap_err();
        assert!(error.is_not_found());
        // The body lacks its last two bytes, so it is shown as it is.
        assert_eq!(error.to_string(), "{\"code\":404,\"message\":\"x can't find yet");
        let asked = asked.recv().unwrap().to_lowercase();
        assert!(asked.starts_with("delete /v1beta/host/hosts/x "), "{asked}");
        assert!(
            !asked.contains("content-length") && !asked.contains("transfer-encoding"),
            "{asked}"
        );
    }

    #[test]
    fn refusals() {
        let not_found = http::StatusCode::NOT_FOUND;
        let words = |body: &[u8]| refusal(not_found, body).0;
        assert_eq!(words(br#"{"code":404,"message":"gone"}"#), "gone");
        assert_eq!(words(br#"{"code":404}"#), "404 Not Found");
        assert_eq!(words(b""), "404 Not Found");
        assert_eq!(words(b"<html>x</html>\n"), "<html>x</html>");
        let body = br#"{"code":400,"message":"x","reason":"fenced","holders":[{"hostId":"h"}]}"#;
        let (_, reason, holders) = refusal(not_found, body);
        assert_eq!((reason, holders.len()), (Some(Reason::Fenced), 1));
        // A later server may know more words.
        assert_eq!(refusal(not_found, br#"{"message":"x","reason":"new"}"#).1, None);
    }

    #[test]
    fn endpoints_that_cannot_be_used() {
        for (endpoint, said) in [
            ("https://", "has to be http://"),
            ("x:1", "has to be http://"),
            ("http://", "has to be http://"),
        ] {
            let settings = Settings {
                endpoint: endpoint.into(),
                tenant: String::new(),
                login: None,
                ca_file: None,
                timeout: Duration::from_secs(1),
                user_agent: String::new(),
            };
            let error = Client::new(settings).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn nobody_there() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = client(format!("http://{free}"), "t").get::<Vec<Resize>>("x").unwrap_err();
        assert!(error.to_string().starts_with("could not reach http://127.0.0.1:"), "{error}");
    }
}
