//! What the controller tells a node through the orchestrator: the attachment and how it is reached.
//!
//! An orchestrator keeps this where many can read it, so no password is in it: a node that needs
//! one asks the control plane for its attachment when it stages.

use std::collections::HashMap;

use osds_model::AttachMode;
use serde_json::Value;

use crate::status::{Status, invalid, missing};

const ATTACHMENT: &str = "attachmentId";
const MODE: &str = "attachMode";
const INFO: &str = "connectionInfo";

/// Keys of a `connectionInfo` that nobody else may see.
const PASSWORDS: [&str; 2] = ["authPassword", "targetAuthPassword"];

/// What a node is told.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishContext {
    /// The attachment.
    pub attachment: String,
    /// What the target lets this node do.
    pub mode: AttachMode,
    /// How the volume is reached: the attachment's `connectionInfo`.
    pub info: Value,
}

impl PublishContext {
    /// As CSI carries it; without passwords.
    #[must_use]
    pub fn to_map(&self) -> HashMap<String, String> {
        let mut info = self.info.clone();
        if let Some(data) = info.get_mut("data").and_then(Value::as_object_mut) {
            PASSWORDS.iter().for_each(|key| drop(data.remove(*key)));
        }
        let pairs = [
            (ATTACHMENT, self.attachment.clone()),
            (MODE, self.mode.as_str().to_owned()),
            (INFO, info.to_string()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads it.
    ///
    /// # Errors
    /// Something of it is missing or unreadable.
    pub fn from_map(map: &HashMap<String, String>) -> Result<Self, Status> {
        let get =
            |key: &str| map.get(key).ok_or_else(|| missing(&format!("publish_context.{key}")));
        let mode = get(MODE)?;
        let unusable = |key: &str| invalid(format!("publish_context.{key} cannot be used"));
        Ok(Self {
            attachment: get(ATTACHMENT)?.clone(),
            mode: mode.parse().map_err(|_| unusable(MODE))?,
            info: serde_json::from_str(get(INFO)?).map_err(|_| unusable(INFO))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_carries_all_but_passwords() {
        let info = |data| json!({"driverVolumeType": "iscsi", "data": data});
        let context = PublishContext {
            attachment: "a".to_owned(),
            mode: AttachMode::ReadOnly,
            info: info(json!({"authMethod": "chap", "authPassword": "hunter2", "targetLun": 1})),
        };
        let map = context.to_map();
        assert!(!format!("{map:?}").contains("hunter2"));
        let info = info(json!({"authMethod": "chap", "targetLun": 1}));
        assert_eq!(PublishContext::from_map(&map).unwrap(), PublishContext { info, ..context });
        assert!(PublishContext::from_map(&HashMap::new()).is_err());
    }
}
