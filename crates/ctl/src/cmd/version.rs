//! `osdsctl version`.

use clap::Subcommand;
use osds_rest_api::client::Method;
use osds_rest_api::{VersionView, url};

use crate::session::Session;

const KEYS: &[&str] = &["Name", "Status", "UpdatedAt"];

/// `osdsctl version ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all versions.
    List,
    /// Show one version.
    Show {
        /// Its name, like v1beta.
        #[arg(value_name = "version")]
        name: String,
    },
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::List => {
                let versions: Vec<VersionView<'_>> =
                    session.client.request_at(Method::GET, "/").send()?.read()?;
                session.list(&versions, KEYS)
            }
            Self::Show { name } => {
                let path = format!("/{}", url::encode(&name));
                let version: VersionView<'_> =
                    session.client.request_at(Method::GET, &path).send()?.read()?;
                session.show(&version, KEYS)
            }
        }
    }
}
