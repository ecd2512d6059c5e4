//! The CSI driver: what an orchestrator (Kubernetes, Nomad) asks, answered by the control plane.
//!
//! Four services of CSI 1.12 over a unix socket. `identity` says who we are, `controller` (and, for
//! snapshots of several volumes, the group controller in it) turns calls into REST requests, `node` brings volumes to paths on this machine. Nothing is decided
//! here: whether a volume may go to a node is a rule of `lifecycle`, committed with the attachment;
//! the driver translates, and gives every refusal its code ([`status`]).
//!
//! Must stay true: any number of these may run, none keeps a fact that another would need, and all
//! may die at any moment.

pub mod api;
pub mod context;
pub mod controller;
pub mod handle;
pub mod identity;
pub mod metrics;
pub mod node;
pub mod server;
pub mod status;
pub mod zones;

/// The messages, made of proto/csi.proto.
#[allow(
    missing_docs,
    rust_2018_idioms,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]
pub mod proto {
    tonic::include_proto!("csi.v1");
}

pub use api::Api;
pub use handle::Handle;
pub use metrics::Metrics;
pub use server::{Services, serve};

/// What the driver calls itself when nobody says.
pub const DRIVER_NAME: &str = "block.csi.osds.io";
