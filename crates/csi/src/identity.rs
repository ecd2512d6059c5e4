//! Identity: who the driver is, and whether it works.
//!
//! A controller is ready when the control plane answers; what it said is believed for a moment,
//! since probes come from several containers. A node is ready by itself: it has to take volumes
//! down while the control plane is away.

use std::time::{Duration, Instant};

use osds_rest_api::VersionView;
use tokio::sync::Mutex;
use tonic::{Request, Response};

use crate::api::Api;
use crate::proto::identity_server::Identity;
use crate::proto::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
use crate::proto::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, PluginCapability, ProbeRequest, ProbeResponse,
};
use crate::status::Status;

/// How long a probe waits for the control plane.
const PROBE: Duration = Duration::from_secs(2);

/// How long a good answer is believed.
const BELIEVED: Duration = Duration::from_secs(5);

/// The identity service.
pub struct IdentityService {
    name: String,
    controller: Option<Api>,
    answered: Mutex<Option<Instant>>,
}

impl IdentityService {
    /// For a driver of this name; `controller` is what it speaks for, when it has a controller.
    #[must_use]
    pub fn new(name: impl Into<String>, controller: Option<Api>) -> Self {
        Self { name: name.into(), controller, answered: Mutex::default() }
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.name.clone(),
            vendor_version: env!("CARGO_PKG_VERSION").into(),
            manifest: [].into(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        // The same from controller and node: they are one driver.
        let capabilities = vec![
            offered(service::Type::ControllerService),
            offered(service::Type::GroupControllerService),
            offered(service::Type::VolumeAccessibilityConstraints),
            PluginCapability {
                r#type: Some(Type::VolumeExpansion(VolumeExpansion {
                    r#type: volume_expansion::Type::Online.into(),
                })),
            },
        ];
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let Some(api) = &self.controller else {
            return Ok(Response::new(ProbeResponse { ready: Some(true) }));
        };
        // One question for all who ask at once.
        let mut answered = self.answered.lock().await;
        if answered.is_some_and(|at| at.elapsed() < BELIEVED) {
            return Ok(Response::new(ProbeResponse { ready: Some(true) }));
        }
        let question = api.call(|client| {
            client
                .request_at(osds_rest_api::client::Method::GET, "/v1beta")
                .send()?
                .read::<VersionView<'static>>()
        });
        match tokio::time::timeout(PROBE, question).await {
            Ok(Ok(_)) => {
                *answered = Some(Instant::now());
                Ok(Response::new(ProbeResponse { ready: Some(true) }))
            }
            Ok(Err(status)) => Err(Status::failed_precondition(format!(
                "the control plane cannot be used: {}",
                status.message()
            ))),
            Err(_) => Err(Status::failed_precondition(format!(
                "the control plane has not answered within {} seconds",
                PROBE.as_secs()
            ))),
        }
    }
}

fn offered(service: service::Type) -> PluginCapability {
    PluginCapability { r#type: Some(Type::Service(Service { r#type: service.into() })) }
}
