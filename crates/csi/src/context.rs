//! What a publish tells the node: how to reach the volume, and whether it may write.
//!
//! CSI carries a map of texts from the controller to the node, through the orchestrator's records.
//! It holds the connection as the control plane gives it, so that a node needs nobody else to
//! bring a volume up. With CHAP there is a password in it: who may read VolumeAttachments may read
//! that, and it lasts as long as the attachment.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use osds_model::{AttachMode, VolumeId};
use serde_json::Value;

/// How a node reaches a volume.
#[derive(Clone, PartialEq)]
pub struct PublishContext {
    /// The volume; the name of its blocks follows from it.
    pub volume: VolumeId,
    /// The attachment.
    pub attachment: String,
    /// Whether the target lets the node write.
    pub mode: AttachMode,
    /// `iscsi`, `local` ...
    pub protocol: String,
    /// What the protocol needs, by the names of `connectionInfo`.
    pub connection: BTreeMap<String, Value>,
}

/// The map is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("publish_context has no usable {0}; publish the volume again")]
pub struct NotAContext(&'static str);

impl PublishContext {
    /// As CSI carries it.
    #[must_use]
    pub fn to_map(&self) -> HashMap<String, String> {
        let connection = Value::from_iter(self.connection.clone()).to_string();
        [
            ("volume", self.volume.to_string()),
            ("attachment", self.attachment.clone()),
            ("mode", self.mode.as_str().to_owned()),
            ("protocol", self.protocol.clone()),
            ("connection", connection),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// As it came.
    ///
    /// # Errors
    /// Names what is missing or is no such thing.
    pub fn from_map(map: &HashMap<String, String>) -> Result<Self, NotAContext> {
        let said = |key| map.get(key).ok_or(NotAContext(key));
        Ok(Self {
            volume: said("volume")?.parse().map_err(|_| NotAContext("volume"))?,
            attachment: said("attachment")?.clone(),
            mode: said("mode")?.parse().map_err(|_| NotAContext("mode"))?,
            protocol: said("protocol")?.clone(),
            connection: serde_json::from_str(said("connection")?)
                .map_err(|_| NotAContext("connection"))?,
        })
    }
}

impl fmt::Debug for PublishContext {
    /// Without the connection: there may be passwords in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishContext")
            .field("volume", &self.volume)
            .field("attachment", &self.attachment)
            .field("mode", &self.mode)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_no_password_in_debug() {
        let context = PublishContext {
            volume: VolumeId::from_u128(7),
            attachment: "a".into(),
            mode: AttachMode::ReadOnly,
            protocol: "iscsi".into(),
            connection: [("authPassword".to_owned(), Value::from("hidden"))].into(),
        };
        let map = context.to_map();
        assert_eq!(PublishContext::from_map(&map), Ok(context.clone()));
        assert!(!format!("{context:?}").contains("hidden"));
        for key in map.keys() {
            let mut less = map.clone();
            less.remove(key);
            assert!(PublishContext::from_map(&less).is_err(), "{key}");
        }
    }
}
