//! The host record of this machine: what a node is for the control plane.
//!
//! The id of the record is the node's id in CSI. The record is found by its name, made when there
//! is none, and told anew when the names that the machine logs in with have changed; names that
//! somebody else has added stay, and so do zones, which are an operator's to say.
//!
//! Must stay true: an attachment keeps the initiators that it was made with, so that telling new
//! ones takes nothing from a volume that is attached.

use std::collections::BTreeMap;
use std::path::Path;

use osds_model::{HostId, Initiator};
use osds_rest_api::client::{Client, ClientError, Method};
use osds_rest_api::request::{Given, HostUpdate, NewHost};
use osds_rest_api::{HostView, Protocol, url};

use crate::api::Api;
use crate::status::{self, Status};

/// Where open-iscsi keeps this machine's name.
pub const INITIATOR_NAME: &str = "/etc/iscsi/initiatorname.iscsi";
/// Where nvme-cli keeps this machine's name.
pub const HOST_NQN: &str = "/etc/nvme/hostnqn";

/// A node, as the control plane knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id in CSI: that of its host record.
    pub id: HostId,
    /// The zones whose volumes it reaches; empty: all of them.
    pub zones: Vec<String>,
}

/// The names that this machine logs in with, as far as the files of others say.
#[must_use]
pub fn initiators_of(initiator_name: &Path, host_nqn: &Path) -> Vec<Initiator> {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let iscsi = read(initiator_name).lines().find_map(|line| {
        let name = line.trim().strip_prefix("InitiatorName=")?.trim();
        (!name.is_empty()).then(|| name.to_owned())
    });
    let nvme = read(host_nqn).lines().map(str::trim).find(|l| !l.is_empty()).map(str::to_owned);
    let named = |port_name: Option<String>, protocol| {
        port_name.map(|port_name| Initiator { port_name, protocol })
    };
    [named(iscsi, Protocol::Iscsi), named(nvme, Protocol::NvmeOf)].into_iter().flatten().collect()
}

/// Tells the control plane of this machine, once or again.
///
/// # Errors
/// When the control plane cannot be asked, or does not take the name.
pub async fn register(
    api: &Api,
    name: &str,
    initiators: Vec<Initiator>,
) -> Result<Registered, Status> {
    let name = name.to_owned();
    let view = api.call(move |client| ensure(client, &name, &initiators)).await?;
    let id = view.id.with(str::parse).map_err(|_| Status::internal("a host without an id"))?;
    let zones = view.availability_zones.map(std::borrow::Cow::into_owned).unwrap_or_default();
    Ok(Registered { id, zones })
}

fn ensure(
    client: &Client,
    name: &str,
    initiators: &[Initiator],
) -> Result<HostView<'static>, ClientError> {
    if let Some(found) = find(client, name)? {
        return told(client, found, initiators);
    }
    let body = NewHost {
        host_name: name.to_owned(),
        os_type: "linux".to_owned(),
        access_mode: "agentless".to_owned(),
        // The original's document wants one; nobody uses it.
        ip: "127.0.0.1".to_owned(),
        initiators: initiators.to_vec(),
        ..NewHost::default()
    };
    match client.post("host/hosts", &body) {
        Ok(made) => Ok(made),
        // Somebody was faster, or the name is not to be had.
        Err(error) => match find(client, name)? {
            Some(found) => told(client, found, initiators),
            None => Err(error),
        },
    }
}

fn find(client: &Client, name: &str) -> Result<Option<HostView<'static>>, ClientError> {
    let called: Vec<HostView<'static>> = client.list("host/hosts", &[("HostName", name)])?;
    Ok(called.into_iter().find(|host| host.host_name == name))
}

/// The record once it has these names: one of each protocol that is told, and others' as they are.
fn told(
    client: &Client,
    found: HostView<'static>,
    initiators: &[Initiator],
) -> Result<HostView<'static>, ClientError> {
    let mut wanted: BTreeMap<Protocol, Vec<Initiator>> = BTreeMap::new();
    for initiator in found.initiators.iter() {
        wanted.entry(initiator.protocol).or_default().push(initiator.clone());
    }
    for initiator in initiators {
        let names = wanted.entry(initiator.protocol).or_default();
        if !names.iter().any(|name| name.is_same_as(initiator)) {
            *names = vec![initiator.clone()];
        }
    }
    let wanted: Vec<Initiator> = wanted.into_values().flatten().collect();
    let mut has = found.initiators.to_vec();
    has.sort_by(|a, b| a.protocol.cmp(&b.protocol));
    if wanted == has {
        return Ok(found);
    }
    let path = format!("host/hosts/{}", found.id.with(url::encode));
    let update = HostUpdate { initiators: Given::Value(wanted), ..HostUpdate::default() };
    client.request(Method::PUT, &path).body(&update).send()?.read()
}

/// The segments of a node in these zones; none when it reaches all.
#[must_use]
pub fn topology(driver: &str, zones: &[String]) -> Option<crate::proto::Topology> {
    if zones.is_empty() {
        return None;
    }
    let segment =
        |zone: &String| (crate::controller::volumes::zone_key(driver, zone), "true".to_owned());
    Some(crate::proto::Topology { segments: zones.iter().map(segment).collect() })
}

/// Why a name cannot be a host's; `None` when it can.
///
/// # Errors
/// INVALID_ARGUMENT, with the rule.
pub fn check_name(name: &str) -> Result<(), Status> {
    if osds_model::validate::host_name(name) {
        return Ok(());
    }
    Err(status::invalid(format!(
        "{name} cannot be the name of a host: letters, digits, dashes and dots, 64 at most; set \
         --node-id"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        let home = tempfile::tempdir().unwrap();
        let (iscsi, nvme) = (home.path().join("i"), home.path().join("n"));
        assert!(initiators_of(&iscsi, &nvme).is_empty());
        std::fs::write(&iscsi, "# made by\nInitiatorName=iqn.2026-11.x:a\n").unwrap();
        std::fs::write(&nvme, "nqn.2014-08.org:uuid:1\n").unwrap();
        let names = initiators_of(&iscsi, &nvme);
        assert_eq!(names[0].port_name, "iqn.2026-11.x:a");
        assert_eq!(names[1].protocol, Protocol::NvmeOf);
    }

    #[test]
    fn a_node_without_zones_is_anywhere() {
        assert!(topology("d", &[]).is_none());
        let segments = topology("d", &["a".into(), "b".into()]).unwrap().segments;
        assert_eq!(segments["topology.d/b"], "true");
    }
}
