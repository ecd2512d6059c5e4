//! `osdsctl csi`: what Kubernetes believes to be attached, held against what is.
//!
//! Kubernetes' VolumeAttachments carry, as our driver's publish told it, the id of the attachment
//! of the control plane. So the two lists are joined by that id alone, and every line that stands
//! on one side only is something that a person wants to know. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use osds_rest_api::{AttachmentView, HostView};
use serde_json::Value;

use crate::session::Session;

/// What our driver calls itself when nobody says.
const DRIVER: &str = "block.csi.osds.io";
/// Who made an attachment, in its metadata.
const REQUESTER: &str = "requester";

/// `osdsctl csi ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare Kubernetes' VolumeAttachments with the attachments that there are.
    ///
    /// Says nothing when they agree, and ends with an error when they do not.
    #[command(after_help = "Example: kubectl get volumeattachments -o json | osdsctl csi doctor")]
    Doctor {
        /// What `kubectl get volumeattachments -o json` said; standard input when absent.
        file: Option<PathBuf>,
        /// The name of the driver.
        #[arg(long, default_value = DRIVER)]
        driver: String,
    },
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<()> {
        let Self::Doctor { file, driver } = self;
        let text = match &file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("could not read {}", file.display()))?,
            None => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("could not read stdin")?;
                text
            }
        };
        let said: Value = serde_json::from_str(&text)
            .context("that is not what kubectl get volumeattachments -o json says")?;
        let Some(claims) = said["items"].as_array() else {
            bail!("there is no list of items in it; use kubectl get volumeattachments -o json");
        };
        let attachments: Vec<AttachmentView<'static>> =
            session.client.list("block/attachments", &[])?;
        let hosts: Vec<HostView<'static>> = session.client.list("host/hosts", &[])?;
        let odd = differences(claims, &driver, &attachments, &hosts);
        session.lines(&odd)?;
        if odd.is_empty() { Ok(()) } else { bail!("{} differences", odd.len()) }
    }
}

/// What stands on one side only.
fn differences(
    claims: &[Value],
    driver: &str,
    attachments: &[AttachmentView<'_>],
    hosts: &[HostView<'_>],
) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut odd = Vec::new();
    let held: BTreeMap<String, &AttachmentView<'_>> =
        attachments.iter().map(|one| (one.id.to_string(), one)).collect();
    let fenced: BTreeSet<String> =
        hosts.iter().filter(|host| host.fenced).map(|host| host.id.to_string()).collect();
    let mut known = BTreeSet::new();
    let mut unsure = false;
    for claim in claims.iter().filter(|claim| claim["spec"]["attacher"] == driver) {
        let name = text(&claim["metadata"]["name"]);
        let node = text(&claim["spec"]["nodeName"]);
        let leaving = claim["metadata"]["deletionTimestamp"].is_string();
        let attached = claim["status"]["attached"] == true;
        let id = text(&claim["status"]["attachmentMetadata"]["attachmentId"]);
        if id.is_empty() {
            unsure = true;
            let why = text(&claim["status"]["attachError"]["message"]);
            if !why.is_empty() {
                odd.push(format!("{name}: not attached to node {node}: {why}"));
            }
            continue;
        }
        known.insert(id.clone());
        match held.get(&id) {
            None if attached => odd.push(format!(
                "{name}: Kubernetes takes it for attached to node {node}, and there is no \
                 attachment {id}; it will ask again within a minute"
            )),
            None => {}
            Some(one) => {
                let host = one.host_id.to_string();
                if fenced.contains(&host) {
                    odd.push(format!(
                        "{name}: host {host} (node {node}) is fenced; osdsctl host unfence {host}"
                    ));
                }
                if one.status != "available" || !one.status_reason.is_empty() {
                    odd.push(format!(
                        "{name}: attachment {id} is {}: {}",
                        one.status, one.status_reason
                    ));
                }
                if leaving && one.status == "available" {
                    let why = text(&claim["status"]["detachError"]["message"]);
                    odd.push(format!(
                        "{name}: Kubernetes is taking it from node {node}, and nobody has asked \
                         for that here: {why}"
                    ));
                }
            }
        }
    }
    for (id, one) in held {
        let ours = one.metadata.get(REQUESTER).is_some_and(|who| who == "csi");
        if ours && !known.contains(&id) {
            let perhaps =
                if unsure { ", unless it is one that is being attached right now" } else { "" };
            odd.push(format!(
                "attachment {id}: volume {} is attached to host {} for Kubernetes, which has no \
                 VolumeAttachment for it{perhaps}",
                one.volume_id, one.host_id
            ));
        }
    }
    odd
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attachment(id: &str, host: &str, requester: &str) -> AttachmentView<'static> {
        serde_json::from_value(json!({
            "id": id, "hostId": host, "volumeId": "v", "status": "available",
            "metadata": {"requester": requester},
        }))
        .unwrap()
    }

    fn claim(name: &str, id: &str) -> Value {
        json!({
            "metadata": {"name": name},
            "spec": {"attacher": DRIVER, "nodeName": "n"},
            "status": {"attached": true, "attachmentMetadata": {"attachmentId": id}},
        })
    }

    #[test]
    fn what_stands_on_one_side_only() {
        let host = |id: &str, fenced: bool| -> HostView<'static> {
            serde_json::from_value(json!({"id": id, "fenced": fenced})).unwrap()
        };
        let hosts = [host("h", false), host("dead", true)];
        let agreed = [attachment("a", "h", "csi"), attachment("b", "h", "")];
        assert!(differences(&[claim("x", "a")], DRIVER, &agreed, &hosts).is_empty());
        // Another driver's are none of ours.
        let odd = differences(&[claim("x", "a")], "other", &agreed, &hosts);
        assert!(odd.len() == 1 && odd[0].contains("no VolumeAttachment"), "{odd:?}");
        let odd = differences(&[claim("x", "gone")], DRIVER, &[], &hosts);
        assert!(odd.len() == 1 && odd[0].contains("no attachment gone"), "{odd:?}");
        let dead = [attachment("a", "dead", "csi")];
        let odd = differences(&[claim("x", "a")], DRIVER, &dead, &hosts);
        assert!(odd.len() == 1 && odd[0].contains("fenced"), "{odd:?}");
    }
}
