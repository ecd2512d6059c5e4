//! The control plane, as the driver reaches it.
//!
//! REST through the blocking client, each call on a thread for such calls. The client is made with
//! the first call and not at start: with keystone that is a login, and a driver has to start, answer
//! `Probe` and take volumes down while keystone or the control plane are not there.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use osds_rest_api::client::{Client, ClientError, Settings};

use crate::status::{self, Status};

/// How long a request may take, besides what the server is asked to wait.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The control plane.
#[derive(Clone)]
pub struct Api {
    settings: Arc<Settings>,
    client: Arc<OnceLock<Client>>,
}

impl Api {
    /// Where these settings point to; nothing is asked yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), client: Arc::default() }
    }

    /// Does `work` with the client where it may block. Its failure is answered as [`status::of`]
    /// says.
    ///
    /// # Errors
    /// As `work`, or when there is no client to be had.
    pub async fn call<T, F>(&self, work: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    {
        self.ask(work).await?.map_err(|error| status::of(&error))
    }

    /// As [`Self::call`], with the client's own error, for who looks at it.
    ///
    /// # Errors
    /// When the work could not be done at all.
    pub async fn ask<T, F>(&self, work: F) -> Result<Result<T, ClientError>, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    {
        let api = self.clone();
        tokio::task::spawn_blocking(move || work(api.client()?))
            .await
            .map_err(|_| Status::internal("the call ended in a panic; this is a fault of osds"))
    }

    fn client(&self) -> Result<&Client, ClientError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new((*self.settings).clone())?;
        // Whoever was first: both are as good.
        Ok(self.client.get_or_init(|| client))
    }
}
