//! What a host was given: the connection, the mode, and what it proves at login.
//!
//! Read from an attachment's `connectionInfo`, the object that OpenSDS clients know. Passwords are
//! optional in it: who keeps such an object keeps it without them ([`Access::from_info`] then asks
//! for none), and gets them when he connects.

use osds_model::{AttachMode, Authentication, Connection, Credentials, Secret, Volume, VolumeId};
use serde_json::Value;

use crate::error::{ConnectError, Kind};

/// What a host was given.
#[derive(Clone, Debug)]
pub struct Access {
    /// The volume.
    pub volume: VolumeId,
    /// How it is reached.
    pub connection: Connection,
    /// Read-only or read-write.
    pub mode: AttachMode,
    /// What is proved at login.
    pub proof: Option<Authentication<Secret>>,
}

impl Access {
    /// Reads a `connectionInfo`.
    ///
    /// # Errors
    /// `Missing` while the target has not let the host in; `NotSupported` for what this machine does
    /// not speak; `Wrong` for what cannot be read.
    pub fn from_info(volume: VolumeId, info: &Value) -> Result<Self, ConnectError> {
        let doing = || format!("reading how to reach volume {volume}");
        let wrong = |what: &str| {
            ConnectError::new(Kind::Wrong, doing())
                .because(format!("its connectionInfo has no usable {what}"))
        };
        let data = &info["data"];
        let text = |key: &str| data[key].as_str().filter(|text| !text.is_empty());
        let mode = match text("accessMode") {
            Some("ro") => AttachMode::ReadOnly,
            // Only what was never said is the original's default.
            Some("rw") | None => AttachMode::ReadWrite,
            Some(_) => return Err(wrong("accessMode")),
        };
        let connection = match info["driverVolumeType"].as_str().unwrap_or_default() {
            "" => {
                let error = ConnectError::new(Kind::Missing, doing());
                return Err(error.because("the target has not let this host in yet; try again"));
            }
            "iscsi" => Connection::Iscsi {
                iqn: texts(&data["targetIQN"])
                    .into_iter()
                    .next()
                    .ok_or_else(|| wrong("targetIQN"))?,
                portals: texts(&data["targetPortal"]),
                lun: data["targetLun"]
                    .as_u64()
                    .and_then(|lun| u32::try_from(lun).ok())
                    .ok_or_else(|| wrong("targetLun"))?,
            },
            "nvmeof" => {
                if let Some(other) = text("transporType").filter(|other| *other != "tcp") {
                    let why = format!("this release attaches no NVMe volumes over {other}");
                    return Err(ConnectError::new(Kind::NotSupported, doing()).because(why));
                }
                let must = |key: &str| text(key).map(str::to_owned).ok_or_else(|| wrong(key));
                let mut portals = texts(&data["targetPortal"]);
                if portals.is_empty() {
                    // As the original has it: one address and one port.
                    let (ip, port) = (must("targetIP")?, must("targetPort")?);
                    let is_v6 = ip.contains(':');
                    portals.push(if is_v6 {
                        format!("[{ip}]:{port}")
                    } else {
                        format!("{ip}:{port}")
                    });
                }
                Connection::NvmeOf { nqn: must("targetNQN")?, portals, host_nqn: must("hostNqn")? }
            }
            "local" => {
                let path = text("backingFile").ok_or_else(|| wrong("backingFile"))?;
                Connection::Local { path: path.to_owned() }
            }
            other => {
                let why = format!("this release attaches no {other} volumes");
                return Err(ConnectError::new(Kind::NotSupported, doing()).because(why));
            }
        };
        let credentials = |name: &str, password: &str| {
            let secret = Secret::new(text(password)?.to_owned());
            Some(Credentials { name: text(name)?.to_owned(), secret })
        };
        let proof = credentials("authUserName", "authPassword").map(|initiator| Authentication {
            initiator,
            target: credentials("targetAuthUserName", "targetAuthPassword"),
        });
        Ok(Self { volume, connection, mode, proof })
    }

    /// Whether the login asks for a proof that is not in this `connectionInfo`.
    #[must_use]
    pub fn wants_proof(info: &Value) -> bool {
        let data = &info["data"];
        data["authMethod"].is_string() && !data["authPassword"].is_string()
    }

    /// How the namespace of this volume calls itself (UUID or NGUID), as sysfs writes it.
    #[must_use]
    pub fn namespace_names(volume: VolumeId) -> [String; 2] {
        [format!("uuid.{volume}"), format!("eui.{}", volume.0.simple())]
    }

    /// How the device of this volume calls itself (VPD page 83h), as sysfs writes it.
    #[must_use]
    pub fn wwid(volume: VolumeId) -> String {
        let digits = Volume::naa(volume).into_iter().map(|byte| format!("{byte:02x}"));
        format!("naa.{}", digits.collect::<String>())
    }
}

/// A list of texts, or one text alone.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const V: VolumeId = VolumeId::from_u128(0x0198_f0a0_0000_7000_8000_0000_0000_0001);

    #[test]
    fn an_info_is_read() {
        let info = json!({"driverVolumeType": "iscsi", "data": {
            "accessMode": "ro", "authMethod": "chap", "authUserName": "u", "authPassword": "p",
            "targetIQN": ["iqn.x:a", "iqn.x:a"], "targetLun": 1,
            "targetPortal": ["10.0.0.1:3260", "[::1]:3260"]}});
        let access = Access::from_info(V, &info).unwrap();
        assert_eq!(access.mode, AttachMode::ReadOnly);
        let portals = vec!["10.0.0.1:3260".to_owned(), "[::1]:3260".to_owned()];
        assert_eq!(access.connection, Connection::Iscsi { iqn: "iqn.x:a".into(), portals, lun: 1 });
        assert_eq!(access.proof.unwrap().initiator.secret.reveal(), "p");
        assert!(!Access::wants_proof(&info));
        assert_eq!(Access::wwid(V), "naa.6198f0a0000070008000000000000001");
    }

    #[test]
    fn an_info_of_nvme_is_read_ours_and_the_originals() {
        let ours = json!({"targetNQN": "nqn.x:v", "hostNqn": "nqn.x:a", "transporType": "tcp",
            "targetIP": "::1", "targetPort": "4420", "targetPortal": ["[::1]:4420", "10.0.0.1:4420"]});
        let mut old = ours.clone();
        old.as_object_mut().unwrap().remove("targetPortal");
        for (data, portals) in
            [(ours, &["[::1]:4420", "10.0.0.1:4420"][..]), (old, &["[::1]:4420"])]
        {
            let info = json!({"driverVolumeType": "nvmeof", "data": data});
            let portals = portals.iter().map(|one| (*one).to_owned()).collect();
            let (nqn, host_nqn) = ("nqn.x:v".to_owned(), "nqn.x:a".to_owned());
            let access = Access::from_info(V, &info).unwrap();
            assert_eq!(access.connection, Connection::NvmeOf { nqn, portals, host_nqn });
        }
        assert_eq!(Access::namespace_names(V)[1], "eui.0198f0a0000070008000000000000001");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        for (info, kind) in [
            (json!({}), Kind::Missing),
            (json!({"driverVolumeType": "rbd"}), Kind::NotSupported),
            (json!({"driverVolumeType": "iscsi", "data": {}}), Kind::Wrong),
            (json!({"driverVolumeType": "nvmeof", "data": {"targetNQN": "x"}}), Kind::Wrong),
            (
                json!({"driverVolumeType": "nvmeof", "data": {"transporType": "rdma"}}),
                Kind::NotSupported,
            ),
            (json!({"driverVolumeType": "local", "data": {"accessMode": "xx"}}), Kind::Wrong),
            (json!({"driverVolumeType": "local", "data": {}}), Kind::Wrong),
        ] {
            assert_eq!(Access::from_info(V, &info).unwrap_err().kind, kind, "{info}");
        }
        let info = json!({"driverVolumeType": "iscsi", "data": {"authMethod": "chap"}});
        assert!(Access::wants_proof(&info));
    }
}
