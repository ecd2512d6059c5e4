//! What the array can be asked and told, one function for each call.
//!
//! Here JSON becomes types and back; what a call is good for is decided elsewhere. A volume's size is
//! in MiB on the wire. What is asked for and is not there is `None`, not an error.

use osds_model::Capacity;
use serde_json::{Value, json};

use super::rest::{Call, Code, Rest, RestError};
use crate::BlocksId;

/// As many as one answer lists.
const PAGE: usize = 100;

/// A pool of the array.
pub(crate) struct ArrayPool {
    pub(crate) id: u32,
    pub(crate) total: Capacity,
    /// What its volumes may come to take, or take now if that is more.
    pub(crate) taken: Capacity,
}

/// A volume of the array.
pub(crate) struct ArrayVolume {
    pub(crate) name: String,
    pub(crate) size: Capacity,
    pub(crate) blocks: BlocksId,
}

/// A snapshot of the array.
pub(crate) struct ArraySnapshot {
    pub(crate) name: String,
    pub(crate) size: Capacity,
}

/// A way to the array's volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Portal {
    pub(crate) address: String,
    /// The target's name, if the array says it.
    pub(crate) iqn: Option<String>,
}

pub(crate) struct Array {
    pub(crate) rest: Rest,
}

/// The call was not needed: it was so already.
fn unless<T>(done: Result<T, RestError>, already: &[Code]) -> Result<(), RestError> {
    match done {
        Err(error) if error.code().is_some_and(|code| already.contains(&code)) => Ok(()),
        done => done.map(drop),
    }
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn mib(value: &Value) -> Capacity {
    Capacity::from_bytes(value.as_u64().unwrap_or(0).saturating_mul(1 << 20))
}

/// As many whole MiB as hold this.
fn in_mib(size: Capacity) -> u64 {
    size.bytes().div_ceil(1 << 20)
}

fn volume(value: &Value) -> Option<ArrayVolume> {
    let name = text(&value["volName"])?;
    let size = mib(&value["volSize"]);
    // The world-wide name is never given twice; a volume's name is, when it was deleted.
    let wwn = value["wwn"].as_str().unwrap_or(&name);
    let number = u128::from_str_radix(wwn, 16).unwrap_or_else(|_| fold(wwn));
    Some(ArrayVolume { name, size, blocks: BlocksId::of_unit(number) })
}

fn snapshot(value: &Value) -> Option<ArraySnapshot> {
    let name = text(&value["snapName"]).or_else(|| text(&value["snapshotName"]))?;
    Some(ArraySnapshot { name, size: mib(&value["snapshotSize"]) })
}

/// FNV-1a: a number for a name that is none.
fn fold(name: &str) -> u128 {
    let step = |sum: u128, byte: u8| (sum ^ u128::from(byte)).wrapping_mul((1 << 88) + 0x13b);
    name.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step)
}

impl Array {
    fn post(&self, path: &str, body: &Value) -> Result<Value, RestError> {
        self.rest.call(Call::Post(path, body))
    }

    fn iscsi(&self, verb: &str, body: &Value) -> Result<Value, RestError> {
        self.rest.call(Call::PlainPost(&format!("iscsi/{verb}"), body))
    }

    pub(crate) fn pools(&self) -> Result<Vec<ArrayPool>, RestError> {
        let answer = self.rest.call(Call::Get("storagePool"))?;
        let pool = |pool: &Value| {
            let taken = mib(&pool["allocatedCapacity"]).max(mib(&pool["usedCapacity"]));
            let id = pool["poolId"].as_u64().and_then(|id| u32::try_from(id).ok())?;
            Some(ArrayPool { id, total: mib(&pool["totalCapacity"]), taken })
        };
        Ok(list(&answer, "storagePools").iter().filter_map(pool).collect())
    }

    /// The volume of this name.
    pub(crate) fn volume(&self, name: &str) -> Result<Option<ArrayVolume>, RestError> {
        match self.rest.call(Call::Get(&format!("volume/queryByName?volName={name}"))) {
            Err(error) if error.code() == Some(Code::NoVolume) => Ok(None),
            answer => {
                let answer = answer?;
                // One, or a list of one.
                let found = &answer["lunDetailInfo"];
                Ok(volume(found.get(0).unwrap_or(found)))
            }
        }
    }

    pub(crate) fn volumes(&self, pool: u32) -> Result<Vec<ArrayVolume>, RestError> {
        self.all_pages("volume/list", pool, "volumeList", Code::NoVolume, volume)
    }

    /// What such a list has of the pool, page by page.
    fn all_pages<T>(
        &self,
        path: &str,
        pool: u32,
        key: &str,
        nothing: Code,
        read: fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, RestError> {
        let mut all = Vec::new();
        for page in 1.. {
            let body = json!({"poolId": pool, "pageNum": page, "pageSize": PAGE});
            let answer = match self.post(path, &body) {
                // The array's way to say that a page is empty.
                Err(error) if error.code() == Some(nothing) => break,
                answer => answer?,
            };
            let found = list(&answer, key);
            all.extend(found.iter().filter_map(read));
            if found.len() < PAGE {
                break;
            }
        }
        Ok(all)
    }

    /// The snapshot of this name.
    pub(crate) fn snapshot(&self, name: &str) -> Result<Option<ArraySnapshot>, RestError> {
        match self.rest.call(Call::Get(&format!("snapshot/queryByName?snapshotName={name}"))) {
            Err(error) if error.code() == Some(Code::NoSnapshot) => Ok(None),
            answer => {
                let found = &answer?["snapshot"];
                // Asked by its name, it need not say it.
                let size = mib(&found["snapshotSize"]);
                Ok(found.is_object().then(|| ArraySnapshot { name: name.to_owned(), size }))
            }
        }
    }

    pub(crate) fn snapshots(&self, pool: u32) -> Result<Vec<ArraySnapshot>, RestError> {
        self.all_pages("snapshot/list", pool, "snapshotList", Code::NoSnapshot, snapshot)
    }

    pub(crate) fn take_snapshot(&self, volume: &str, name: &str) -> Result<(), RestError> {
        let body = json!({"volName": volume, "snapshotName": name});
        self.post("snapshot/create", &body).map(drop)
    }

    pub(crate) fn delete_snapshot(&self, name: &str) -> Result<(), RestError> {
        let body = json!({"snapshotName": name});
        unless(self.post("snapshot/delete", &body), &[Code::NoSnapshot])
    }

    /// A volume that begins as the snapshot, and is this large.
    pub(crate) fn create_from(
        &self,
        snapshot: &str,
        name: &str,
        size: Capacity,
    ) -> Result<(), RestError> {
        let body = json!({"src": snapshot, "volName": name, "volSize": in_mib(size)});
        self.post("snapshot/volume/create", &body).map(drop)
    }

    pub(crate) fn create(&self, name: &str, size: Capacity, pool: u32) -> Result<(), RestError> {
        let body = json!({"volName": name, "volSize": in_mib(size), "poolId": pool});
        self.post("volume/create", &body).map(drop)
    }

    pub(crate) fn expand(&self, name: &str, size: Capacity) -> Result<(), RestError> {
        let body = json!({"volName": name, "newVolSize": in_mib(size)});
        self.post("volume/expand", &body).map(drop)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), RestError> {
        let body = json!({"volNames": [name]});
        unless(self.post("volume/delete", &body), &[Code::NoVolume])
    }

    pub(crate) fn hosts(&self) -> Result<Vec<String>, RestError> {
        let answer = self.rest.call(Call::PlainGet("iscsi/queryAllHost"))?;
        Ok(list(&answer, "hostList").iter().filter_map(|host| text(&host["hostName"])).collect())
    }

    pub(crate) fn create_host(&self, host: &str) -> Result<(), RestError> {
        unless(self.iscsi("createHost", &json!({"hostName": host})), &[Code::HostExists])
    }

    pub(crate) fn delete_host(&self, host: &str) -> Result<(), RestError> {
        self.iscsi("deleteHost", &json!({"hostName": host})).map(drop)
    }

    /// Every port that there is.
    pub(crate) fn ports(&self) -> Result<Vec<String>, RestError> {
        match self.iscsi("queryPortInfo", &json!({})) {
            Err(error) if error.code() == Some(Code::NoPort) => Ok(Vec::new()),
            answer => {
                let answer = answer?;
                let port = |port: &Value| text(&port["portName"]);
                Ok(list(&answer, "portList").iter().filter_map(port).collect())
            }
        }
    }

    /// Whether there is this port.
    pub(crate) fn has_port(&self, port: &str) -> Result<bool, RestError> {
        match self.iscsi("queryPortInfo", &json!({"portName": port})) {
            Err(error) if error.code() == Some(Code::NoPort) => Ok(false),
            answer => answer.map(|answer| !list(&answer, "portList").is_empty()),
        }
    }

    /// The host that has this port.
    pub(crate) fn host_of(&self, port: &str) -> Result<Option<String>, RestError> {
        match self.iscsi("queryHostByPort", &json!({"portName": [port]})) {
            Err(error) if error.code() == Some(Code::NoPort) => Ok(None),
            answer => {
                let answer = answer?;
                let map = answer["portHostMap"].as_object();
                let mut hosts = map.into_iter().flatten().filter(|(name, _)| {
                    // Names have no case (RFC 7143).
                    name.eq_ignore_ascii_case(port)
                });
                Ok(hosts.find_map(|(_, hosts)| text(&hosts[0])))
            }
        }
    }

    pub(crate) fn create_port(&self, port: &str) -> Result<(), RestError> {
        unless(self.iscsi("createPort", &json!({"portName": port})), &[Code::PortExists])
    }

    pub(crate) fn delete_port(&self, port: &str) -> Result<(), RestError> {
        unless(self.iscsi("deletePort", &json!({"portName": port})), &[Code::NoPort])
    }

    pub(crate) fn add_port(&self, host: &str, port: &str) -> Result<(), RestError> {
        let body = json!({"hostName": host, "portNames": [port]});
        self.iscsi("addPortToHost", &body).map(drop)
    }

    pub(crate) fn remove_port(&self, host: &str, port: &str) -> Result<(), RestError> {
        let body = json!({"hostName": host, "portNames": [port]});
        self.iscsi("deletePortFromHost", &body).map(drop)
    }

    pub(crate) fn map(&self, host: &str, volume: &str) -> Result<(), RestError> {
        let body = json!({"hostName": host, "lunNames": [volume]});
        unless(self.iscsi("addLunsToHost", &body), &[Code::Mapped])
    }

    pub(crate) fn unmap(&self, host: &str, volume: &str) -> Result<(), RestError> {
        let body = json!({"hostName": host, "lunNames": [volume]});
        self.iscsi("deleteLunFromHost", &body).map(drop)
    }

    /// The names of the volumes that a host reaches.
    pub(crate) fn volumes_of(&self, host: &str) -> Result<Vec<String>, RestError> {
        let answer = self.iscsi("queryHostLunInfo", &json!({"hostName": host}))?;
        Ok(list(&answer, "hostLunList").iter().filter_map(|lun| text(&lun["lunName"])).collect())
    }

    /// Who reaches the volume, and under which number.
    pub(crate) fn hosts_of(&self, volume: &str) -> Result<Vec<(String, u32)>, RestError> {
        let answer = match self.iscsi("queryHostFromVolume", &json!({"lunName": volume})) {
            Err(error) if error.code() == Some(Code::NoVolume) => return Ok(Vec::new()),
            answer => answer?,
        };
        let host = |host: &Value| {
            let lun = u32::try_from(host["lunId"].as_u64()?).ok()?;
            Some((text(&host["hostName"])?, lun))
        };
        Ok(list(&answer, "hostList").iter().filter_map(host).collect())
    }

    /// Ways that are open now (8.0).
    pub(crate) fn portals(&self) -> Result<Vec<Portal>, RestError> {
        let path = "cluster/dswareclient/queryIscsiPortal";
        let answer = self.rest.call(Call::PlainPost(path, &json!({})))?;
        let nodes = list(&answer, "nodeResultList").iter();
        let all = nodes.flat_map(|node| list(node, "iscsiPortalList"));
        let open = all.filter(|portal| portal["iscsiStatus"] == "active");
        let portal = |portal: &Value| {
            let iqn = text(&portal["targetName"]).filter(|iqn| !iqn.is_empty());
            Some(Portal { address: text(&portal["iscsiPortal"])?, iqn })
        };
        Ok(open.filter_map(portal).collect())
    }
}
