//! Reads an etcd over its JSON gateway, which every etcd from 3.3 on has beside its gRPC.
//!
//! All pages are read at the revision of the first, so what comes out is one moment of the other's
//! records, however long it takes. Nothing is ever written there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64ct::{Base64, Encoding as _};
use osds_model::Secret;
use osds_rest_api::keystone::trusting;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::tls::{ClientCert, PemItem, PrivateKey, TlsConfig};

/// Keys of one page; some records are large.
const PAGE: usize = 500;
/// No page of ours is larger: etcd refuses values of more than 1.5 MiB, and most are of 1 KiB.
const LARGEST: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where it is, and how to get in.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// `http://host:port` or `https://host:port`; of a cluster, any member.
    pub(crate) endpoint: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// Certificates to trust for https; the usual ones when absent.
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate and its key, where it asks for one.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// A key and its value.
pub(crate) type Pair = (String, Vec<u8>);

struct Gateway<'a> {
    agent: ureq::Agent,
    endpoint: &'a str,
    /// `/v3`, or `/v3beta` of etcd 3.3.
    api: &'static str,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Range {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct Header {
    revision: String,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
}

/// Every pair whose key begins with `prefix`, in the order of keys.
pub(crate) fn read(access: &Access, prefix: &str) -> Result<Vec<Pair>> {
    let mut gateway = Gateway::open(access)?;
    if let (Some(name), Some(password)) = (&access.user, &access.password) {
        gateway.log_in(name, password)?;
    }
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let (mut from, mut revision, mut pairs) = (prefix.as_bytes().to_vec(), None, Vec::new());
    loop {
        let mut ask = json!({
            "key": Base64::encode_string(&from),
            "range_end": Base64::encode_string(&end),
            "limit": PAGE.to_string(),
        });
        if let Some(revision) = &revision {
            ask["revision"] = Value::from(String::clone(revision));
        }
        let answer: Range = serde_json::from_value(gateway.call("kv/range", &ask)?)
            .context("etcd's answer to a range is of another form")?;
        revision.get_or_insert(answer.header.revision);
        let bad = |_| anyhow::anyhow!("etcd's answer has a text that is not base64");
        for pair in &answer.kvs {
            let key = Base64::decode_vec(&pair.key).map_err(bad)?;
            from = [&key[..], b"\0"].concat();
            let value = Base64::decode_vec(&pair.value).map_err(bad)?;
            pairs.push((String::from_utf8_lossy(&key).into_owned(), value));
        }
        if !answer.more || answer.kvs.is_empty() {
            return Ok(pairs);
        }
    }
}

impl<'a> Gateway<'a> {
    fn open(access: &'a Access) -> Result<Self> {
        let endpoint = access.endpoint.trim_end_matches('/');
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            bail!("--etcd {endpoint} has no scheme; write for example http://{endpoint}");
        }
        if access.user.is_some() != access.password.is_some() {
            bail!("--etcd-user and --etcd-password-file go together");
        }
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .tls_config(tls(access)?)
            .build();
        let mut gateway = Self { agent: config.into(), endpoint, api: "/v3", token: None };
        // The path tells the generation: what is not there answers 404.
        if gateway.post("maintenance/status", &json!({}))?.0 == 404 {
            gateway.api = "/v3beta";
        }
        Ok(gateway)
    }

    fn log_in(&mut self, name: &str, password: &Secret) -> Result<()> {
        let ask = json!({"name": name, "password": password.reveal()});
        let answer = self.call("auth/authenticate", &ask).context("cannot log in to etcd")?;
        let token = answer.get("token").and_then(Value::as_str);
        self.token = Some(token.context("etcd gave no token")?.to_owned());
        Ok(())
    }

    fn call(&self, path: &str, ask: &Value) -> Result<Value> {
        let (status, answer) = self.post(path, ask)?;
        if status == 200 {
            return Ok(answer);
        }
        // Its own words; what we asked is not in them.
        let words = answer.get("message").or(answer.get("error")).and_then(Value::as_str);
        bail!("etcd at {} answers {status}: {}", self.endpoint, words.unwrap_or("no reason given"))
    }

    fn post(&self, path: &str, ask: &Value) -> Result<(u16, Value)> {
        let url = format!("{}{}/{path}", self.endpoint, self.api);
        let mut post = self.agent.post(&url).content_type("application/json");
        if let Some(token) = &self.token {
            post = post.header("Authorization", token);
        }
        let mut answer = post
            .send(ask.to_string())
            .with_context(|| format!("etcd at {} does not answer", self.endpoint))?;
        let body = answer.body_mut().with_config().limit(LARGEST).read_to_vec();
        let body = body.with_context(|| format!("etcd at {} broke off", self.endpoint))?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

fn tls(access: &Access) -> Result<TlsConfig> {
    let trusting = trusting(access.ca.as_deref())?;
    let Some((certificate, key)) = &access.identity else { return Ok(trusting) };
    let chain = ureq::tls::parse_pem(
        &std::fs::read(certificate)
            .with_context(|| format!("cannot read certificate {}", certificate.display()))?,
    )
    .filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate.to_owned()),
        Ok(_) | Err(_) => None,
    })
    .collect::<Vec<_>>();
    let pem = std::fs::read(key).with_context(|| format!("cannot read key {}", key.display()))?;
    let key = PrivateKey::from_pem(&pem)
        .map_err(|_| anyhow::anyhow!("{} is no private key (PEM)", key.display()))?;
    let roots = trusting.root_certs().clone();
    let client = ClientCert::new_with_certs(&chain, key);
    Ok(TlsConfig::builder().root_certs(roots).client_cert(Some(client)).build())
}
