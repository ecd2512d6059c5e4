//! This machine's host record: made or brought up to date when the node is asked who it is.
//!
//! The record's initiators are what this machine can log in by now; names of protocols that we do
//! not know are left as they are. Zones are the operator's once the record is there.

use std::collections::BTreeSet;

use osds_connector::iscsi::Iscsi;
use osds_connector::nvme::Nvme;
use osds_connector::{ConnectError, Machine};
use osds_model::Initiator;
use osds_model::host::Protocol;
use osds_rest_api::client::{Client, ClientError};
use osds_rest_api::request::{Given, HostUpdate, NewHost};
use osds_rest_api::view::HostView;

const PLACE: &str = "host/hosts";

/// What this machine logs in by.
///
/// # Errors
/// Its files cannot be read.
pub fn initiators(machine: &Machine, node: &str) -> Result<Vec<Initiator>, ConnectError> {
    let mut all = Vec::new();
    if let Some(port_name) = Iscsi::initiator(machine)? {
        all.push(Initiator { port_name, protocol: Protocol::Iscsi });
    }
    if let Some(port_name) = Nvme::host_nqn(machine)? {
        all.push(Initiator { port_name, protocol: Protocol::NvmeOf });
    }
    // Any name will do for devices of the machine itself, as long as no other node has it.
    all.push(Initiator { port_name: node.to_owned(), protocol: Protocol::Local });
    Ok(all)
}

/// Makes sure the record is there and says what is so; the record.
///
/// # Errors
/// The control plane did not do it.
pub fn register(
    client: &Client,
    node: &str,
    ours: &[Initiator],
) -> Result<HostView<'static>, ClientError> {
    let found: Vec<HostView<'static>> = client.list(PLACE, &[("hostName", node)])?;
    let Some(host) = found.into_iter().find(|host| host.host_name == node) else {
        let new = NewHost {
            host_name: node.to_owned(),
            os_type: "linux".to_owned(),
            access_mode: "agentless".to_owned(),
            // Information only, and required: who is let in goes by initiator.
            ip: "127.0.0.1".to_owned(),
            availability_zones: Some(vec!["default".to_owned()]),
            initiators: ours.to_vec(),
            ..NewHost::default()
        };
        return client.post(PLACE, &new);
    };
    let known: BTreeSet<Protocol> = ours.iter().map(|one| one.protocol).collect();
    let kept = host.initiators.iter().filter(|one| !known.contains(&one.protocol)).cloned();
    let all: BTreeSet<Initiator> = kept.chain(ours.iter().cloned()).collect();
    if all != host.initiators.iter().cloned().collect() {
        let initiators = Given::Value(all.into_iter().collect());
        let update = HostUpdate { initiators, ..HostUpdate::default() };
        return client.put(&format!("{PLACE}/{}", host.id), &update);
    }
    Ok(host)
}

/// The zones that the record says.
#[must_use]
pub fn zones(host: &HostView<'_>) -> Vec<String> {
    host.availability_zones.as_ref().map(|zones| zones.to_vec()).unwrap_or_default()
}
