//! One run's server and output: whom the environment says to talk to, and how data is printed.
//!
//! The variables, their defaults and their warnings are the original's. Tables show the keys that a
//! command names; JSON and YAML show the whole thing, so scripts do not depend on a table.
//!
//! Must stay true: data goes to stdout, words to stderr; a reader that closes the pipe is no error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::Context;
use osds_rest_api::client::{Client, DEFAULT_ENDPOINT, Exchange, Settings};
use osds_rest_api::{ADMIN_TENANT, AttachmentView, conceal_all, json};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{Format, say};
use crate::environment::{self, variable};
use crate::properties::{Properties, of_pairs};
use crate::table;

/// How long a request may take, besides what the server is asked to wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// One run's server and output.
pub(crate) struct Session {
    /// The server.
    pub(crate) client: Client,
    format: Format,
    show_secrets: bool,
}

impl Session {
    /// As the environment says, with the original's defaults and warnings.
    pub(crate) fn from_env(
        format: Format,
        debug: bool,
        show_secrets: bool,
    ) -> anyhow::Result<Self> {
        let endpoint = variable("OPENSDS_ENDPOINT").unwrap_or_else(|| {
            say(&format!(
                "WARNING: OPENSDS_ENDPOINT is not specified, use default({DEFAULT_ENDPOINT})"
            ));
            DEFAULT_ENDPOINT.to_owned()
        });
        let strategy = variable("OPENSDS_AUTH_STRATEGY");
        let (noauth, login) = match strategy.as_deref() {
            None => {
                say("WARNING: Not found Env OPENSDS_AUTH_STRATEGY, use default(noauth)");
                (true, None)
            }
            Some("noauth") => (true, None),
            Some("keystone") => (false, Some(environment::login()?)),
            // The original takes any other word for noauth with the default tenant.
            Some(_) => (false, None),
        };
        let tenant = variable("OPENSDS_TENANT_ID")
            .filter(|_| noauth)
            .unwrap_or_else(|| ADMIN_TENANT.to_owned());
        let client = Client::new(Settings {
            endpoint,
            tenant,
            login,
            ca_file: environment::ca_file(),
            timeout: PATIENCE,
            user_agent: concat!("osdsctl/", env!("CARGO_PKG_VERSION")).to_owned(),
        })?;
        let client = if debug {
            client.observed(Box::new(move |exchange| debug_exchange(exchange, show_secrets)))
        } else {
            client
        };
        Ok(Self { client, format, show_secrets })
    }

    /// The attachment as it may be printed: its passwords only for who asks to see them.
    pub(crate) fn discreet<'a>(&self, attachment: AttachmentView<'a>) -> AttachmentView<'a> {
        if self.show_secrets { attachment } else { attachment.concealing() }
    }

    /// Prints one thing; as a table, with these properties.
    pub(crate) fn show(&self, item: &impl Properties, keys: &[&str]) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(&table::of_one(item.properties(), keys)),
            Format::Json | Format::Yaml => self.print_data(item),
        }
    }

    /// Prints a list; as a table, with these columns.
    pub(crate) fn list(&self, items: &[impl Properties], keys: &[&str]) -> anyhow::Result<()> {
        match self.format {
            Format::Table => {
                print(&table::of_many(items.iter().map(Properties::properties).collect(), keys))
            }
            Format::Json | Format::Yaml => self.print_data(&items),
        }
    }

    /// Says that it is done, where the original does; data formats have nothing to say.
    pub(crate) fn told(&self, words: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(words),
            Format::Json | Format::Yaml => Ok(()),
        }
    }

    /// Prints texts, a line each.
    pub(crate) fn lines(&self, texts: &[String]) -> anyhow::Result<()> {
        match self.format {
            Format::Table => texts.iter().try_for_each(|text| print(text)),
            Format::Json | Format::Yaml => self.print_data(&texts),
        }
    }

    /// Prints free pairs.
    pub(crate) fn show_pairs(&self, pairs: &BTreeMap<String, Value>) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(&table::of_pairs(of_pairs(pairs))),
            Format::Json | Format::Yaml => self.print_data(pairs),
        }
    }

    fn print_data(&self, data: &impl Serialize) -> anyhow::Result<()> {
        match self.format {
            Format::Table | Format::Json => print(&json::pretty(data)),
            Format::Yaml => {
                let text = serde_saphyr::to_string(data).context("could not write YAML")?;
                print(text.trim_end())
            }
        }
    }
}

fn debug_exchange(exchange: &Exchange<'_>, show_secrets: bool) {
    say(&format!(
        "DEBUG: {} {}\nDEBUG: StatusCode: {}\nDEBUG: Response Body: {}",
        exchange.method,
        exchange.url,
        exchange.status,
        if show_secrets {
            String::from_utf8_lossy(exchange.body)
        } else {
            concealed(exchange.body)
        }
    ));
}

/// As it came, but for its passwords. What is not JSON has none.
fn concealed(body: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(body);
    let Ok(said) = serde_json::from_slice::<Value>(body) else { return text };
    let mut shown = said.clone();
    conceal_all(&mut shown);
    if shown == said { text } else { shown.to_string().into() }
}

fn print(text: &str) -> anyhow::Result<()> {
    to_stdout(format!("{text}\n").as_bytes())
}

/// Writes data to stdout. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn to_stdout(data: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("could not write to stdout")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
