//! What is on the array, and what each call makes of it.
//!
//! A refusal has a number: 50 before it in 8.0, 32 in 6.3, but for those with a number of their own.
//! After each call the iSCSI target is told who may reach what: the ports of the hosts that a volume
//! is mapped to. A port is taken away from the target before the call is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use osds_iscsi::Target;
use osds_iscsi::scsi::{Access, FileBackend, Identity, LogicalUnit};
use serde_json::{Value, json};

use super::{Contents, PASSWORD, Release, USER};

/// The name of the array's target.
pub(super) const IQN: &str = "iqn.2006-08.com.huawei:oceanstor:simulated";

/// The service's version; its paths begin with it.
const SERVICE: &str = "v1.3";

/// No room; an invented number, for the facts have none.
const FULL: u64 = 150_999;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) token: Option<String>,
    pub(super) body: String,
}

impl Answer {
    fn of(body: &Value) -> Self {
        Self { status: 200, token: None, body: body.to_string() }
    }

    pub(super) fn refuse(code: u64) -> Self {
        Self::of(&json!({"result": 1, "errorCode": code, "description": "no"}))
    }
}

pub(super) struct State {
    pub(super) release: Release,
    pub(super) target: Target,
    pub(super) token_calls: u32,
    home: PathBuf,
    pools: BTreeMap<u32, u64>,
    volumes: BTreeMap<String, Volume>,
    hosts: BTreeMap<String, Host>,
    ports: BTreeSet<String>,
    snapshots: BTreeMap<String, Snapshot>,
    /// Calls that each token is still good for.
    tokens: BTreeMap<String, u32>,
    made: u32,
}

struct Volume {
    pool: u32,
    mib: u64,
    /// Its LUN at every host: given once, so that no test takes one volume for another.
    lun: u32,
    wwn: String,
    file: File,
    unit: Arc<LogicalUnit>,
    let_in: BTreeSet<String>,
}

/// The volume's blocks as they were. It needs the volume no more, and the volumes that are made of
/// it do not need it.
struct Snapshot {
    of: String,
    pool: u32,
    mib: u64,
    file: File,
}

#[derive(Default)]
struct Host {
    ports: BTreeSet<String>,
    volumes: BTreeSet<String>,
}

/// What a call answers beside `result`, or the number of its refusal.
type Outcome = Result<Value, u64>;

impl State {
    pub(super) fn new(
        release: Release,
        pools: &[(u32, u64)],
        target: Target,
        home: PathBuf,
    ) -> Self {
        Self {
            release,
            target,
            token_calls: u32::MAX,
            home,
            pools: pools.iter().copied().collect(),
            volumes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            ports: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            tokens: BTreeMap::new(),
            made: 0,
        }
    }

    pub(super) fn portal(&self) -> String {
        self.target.portals()[0].to_string()
    }

    pub(super) fn reached(&self, initiator: &str, lun: u32) -> Option<String> {
        let host = self.hosts.values().find(|host| host.ports.contains(initiator))?;
        let is_it = |name: &&String| self.volumes.get(*name).is_some_and(|it| it.lun == lun);
        host.volumes.iter().find(is_it).map(|name| iqn(name))
    }

    pub(super) fn blocks(&self, volume: &str) -> Option<File> {
        self.volumes.get(volume)?.file.try_clone().ok()
    }

    pub(super) fn contents(&self) -> Contents {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        let host =
            |(name, host): (&String, &Host)| (name.clone(), list(&host.ports), list(&host.volumes));
        Contents {
            volumes: self.volumes.keys().cloned().collect(),
            hosts: self.hosts.iter().map(host).collect(),
            ports: list(&self.ports),
            snapshots: self.snapshots.keys().cloned().collect(),
        }
    }

    pub(super) fn plant_host(&mut self, name: &str, port: &str) {
        self.ports.insert(port.to_owned());
        self.hosts.entry(name.to_owned()).or_default().ports.insert(port.to_owned());
    }

    pub(super) fn forget_host(&mut self, name: &str) {
        self.hosts.remove(name);
    }

    pub(super) fn call(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Answer {
        let login = format!("{SERVICE}/sec/login");
        if (method, path) == ("GET", "rest/version") {
            return Answer::of(&json!({"currentVersion": SERVICE}));
        }
        if (method, path) == ("POST", login.as_str()) {
            return self.log_in(body);
        }
        if !self.is_good(token) {
            // As text in 8.0, as a number in 6.3.
            let code = match self.release {
                Release::V8 => json!("1077949069"),
                Release::V6 => json!(10_000_003),
            };
            return Answer::of(&json!({"result": 2, "errorCode": code, "description": "offline"}));
        }
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let name = query.split_once('=').map_or("", |(_, name)| name);
        let versioned = bare.strip_prefix(SERVICE).map(|path| path.trim_start_matches('/'));
        let outcome = match (method, versioned, bare) {
            ("GET", Some("storagePool"), _) => Ok(self.pools()),
            ("GET", Some("volume/queryByName"), _) => self.query(name),
            ("POST", Some("volume/list"), _) => Ok(self.list(body)),
            ("POST", Some("volume/create"), _) => {
                let (pool, mib) = (number(&body["poolId"]), number(&body["volSize"]));
                self.create(&word(&body["volName"]), u32::try_from(pool).unwrap_or(u32::MAX), mib)
            }
            ("POST", Some("volume/expand"), _) => {
                self.expand(&word(&body["volName"]), number(&body["newVolSize"]))
            }
            ("POST", Some("volume/delete"), _) => self.delete(&word(&body["volNames"][0])),
            ("GET", Some("snapshot/queryByName"), _) => match self.snapshots.get(name) {
                Some(found) => Ok(json!({"snapshot": describe_snapshot(name, found)})),
                None => Err(150_006),
            },
            ("POST", Some("snapshot/list"), _) => Ok(self.list_snapshots(body)),
            ("POST", Some("snapshot/create"), _) => {
                self.snapshot(&word(&body["volName"]), &word(&body["snapshotName"]))
            }
            ("POST", Some("snapshot/delete"), _) => {
                let gone = self.snapshots.remove(&word(&body["snapshotName"]));
                gone.map(|_| json!({})).ok_or(150_006)
            }
            ("POST", Some("snapshot/volume/create"), _) => {
                let (from, mib) = (word(&body["src"]), number(&body["volSize"]));
                self.create_from(&from, &word(&body["volName"]), mib)
            }
            ("GET", None, "iscsi/queryAllHost") => {
                let hosts: Vec<_> =
                    self.hosts.keys().map(|name| json!({"hostName": name})).collect();
                Ok(json!({"hostList": hosts}))
            }
            ("POST", None, path) => self.order(path, body),
            _ => return Answer { status: 404, token: None, body: "{}".to_owned() },
        };
        self.tell_target();
        match outcome {
            Ok(mut answer) => {
                answer["result"] = json!(0);
                Answer::of(&answer)
            }
            Err(code) => {
                let code = self.number(code);
                // Orders say it in a list, questions beside the result.
                Answer::of(&match method {
                    "GET" => json!({"result": 1, "errorCode": code, "description": "no"}),
                    _ => json!({"result": 1, "detail": [{"errorCode": code, "description": "no"}]}),
                })
            }
        }
    }

    fn number(&self, code: u64) -> u64 {
        match (self.release, code) {
            (_, code) if code > 1_000_000 => code,
            (Release::V8, code) => 50_000_000 + code,
            (Release::V6, code) => 32_000_000 + code,
        }
    }

    fn log_in(&mut self, body: &Value) -> Answer {
        if (&body["userName"], &body["password"]) != (&json!(USER), &json!(PASSWORD)) {
            return Answer::of(&json!({"result": 1, "errorCode": 1_077_949_061_u64}));
        }
        self.made += 1;
        let token = format!("token-{}", self.made);
        self.tokens.insert(token.clone(), self.token_calls);
        Answer { token: Some(token), ..Answer::of(&json!({"result": 0})) }
    }

    fn is_good(&mut self, token: Option<&str>) -> bool {
        let left = token.and_then(|token| self.tokens.get_mut(token));
        let Some(left) = left.filter(|left| **left > 0) else { return false };
        *left -= 1;
        true
    }

    fn used(&self, pool: u32) -> u64 {
        self.volumes.values().filter(|volume| volume.pool == pool).map(|volume| volume.mib).sum()
    }

    fn pools(&self) -> Value {
        let pool = |(id, total): (&u32, &u64)| {
            let used = self.used(*id);
            json!({
                "poolId": id, "totalCapacity": total, "allocatedCapacity": used,
                "usedCapacity": used / 2,
            })
        };
        json!({"storagePools": self.pools.iter().map(pool).collect::<Vec<_>>()})
    }

    fn query(&self, name: &str) -> Outcome {
        match self.volumes.get(name) {
            Some(volume) => Ok(json!({"lunDetailInfo": describe(name, volume)})),
            None => Err(match self.release {
                Release::V8 => 150_005,
                Release::V6 => 31_000_000,
            }),
        }
    }

    fn list(&self, body: &Value) -> Value {
        let pool = number(&body["poolId"]);
        let mine = self.volumes.iter().filter(|(_, volume)| u64::from(volume.pool) == pool);
        json!({"volumeList": page(body, mine.map(|(name, volume)| describe(name, volume)))})
    }

    fn list_snapshots(&self, body: &Value) -> Value {
        let pool = number(&body["poolId"]);
        let mine = self.snapshots.iter().filter(|(_, snapshot)| u64::from(snapshot.pool) == pool);
        let mine = mine.map(|(name, snapshot)| describe_snapshot(name, snapshot));
        json!({"snapshotList": page(body, mine)})
    }

    /// Between two commands of the hosts: each is carried out by one thread, and none by this one.
    fn snapshot(&mut self, of: &str, name: &str) -> Outcome {
        let volume = self.volumes.get(of).ok_or(150_005_u64)?;
        if self.snapshots.contains_key(name) {
            return Err(150_994);
        }
        let file = tempfile::tempfile_in(&self.home).expect("room for a sparse file");
        copy(&volume.file, &file).expect("room for a copy");
        let Volume { pool, mib, .. } = *volume;
        let snapshot = Snapshot { of: of.to_owned(), pool, mib, file };
        self.snapshots.insert(name.to_owned(), snapshot);
        Ok(json!({}))
    }

    fn create_from(&mut self, from: &str, name: &str, mib: u64) -> Outcome {
        let snapshot = self.snapshots.get(from).ok_or(150_006_u64)?;
        let (pool, least) = (snapshot.pool, snapshot.mib);
        let blocks = snapshot.file.try_clone().expect("a second handle");
        if mib < least {
            return Err(150_996);
        }
        self.create(name, pool, mib)?;
        // Nobody can be in it yet.
        copy(&blocks, &self.volumes[name].file).expect("room for a copy");
        Ok(json!({}))
    }

    pub(super) fn create(&mut self, name: &str, pool: u32, mib: u64) -> Outcome {
        let total = *self.pools.get(&pool).ok_or(150_998_u64)?;
        if self.volumes.contains_key(name) {
            return Err(150_997);
        }
        if name.is_empty() || self.used(pool) + mib > total {
            return Err(FULL);
        }
        self.made += 1;
        let path = self.home.join(format!("{}.img", self.made));
        let open = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = open.and_then(|file| file.set_len(mib << 20).map(|()| file));
        let file = file.expect("room for a sparse file");
        let number = u128::from(self.made) | 0x6 << 124;
        let identity = Identity {
            naa: number.to_be_bytes(),
            serial: self.made.to_string(),
            vendor: "HUAWEI".to_owned(),
            product: "VBS fileIO".to_owned(),
            revision: "1".to_owned(),
        };
        let backend = FileBackend::new(file.try_clone().expect("a second handle"));
        let unit = LogicalUnit::new(Box::new(backend), identity).expect("a unit on a file");
        let unit = Arc::new(unit);
        self.target.export(&iqn(name), Arc::clone(&unit)).expect("a name of its own");
        let (lun, wwn, let_in) = (self.made, format!("{number:032x}"), BTreeSet::new());
        self.volumes.insert(name.to_owned(), Volume { pool, mib, lun, wwn, file, unit, let_in });
        Ok(json!({}))
    }

    pub(super) fn expand(&mut self, name: &str, mib: u64) -> Outcome {
        let volume = self.volumes.get(name).ok_or(150_005_u64)?;
        let (pool, more) = (volume.pool, mib.checked_sub(volume.mib).ok_or(150_996_u64)?);
        if self.used(pool) + more > self.pools[&pool] {
            return Err(FULL);
        }
        let volume = self.volumes.get_mut(name).expect("it was there");
        volume.file.set_len(mib << 20).expect("room for a sparse file");
        volume.mib = mib;
        volume.unit.capacity_changed().expect("its size can be read");
        Ok(json!({}))
    }

    fn delete(&mut self, name: &str) -> Outcome {
        if self.hosts.values().any(|host| host.volumes.contains(name)) {
            return Err(150_995);
        }
        self.volumes.remove(name).ok_or(150_005_u64)?;
        self.target.unexport(&iqn(name)).expect("nobody is in");
        Ok(json!({}))
    }

    fn order(&mut self, path: &str, body: &Value) -> Outcome {
        let (host, port) = (word(&body["hostName"]), word(&body["portName"]));
        let first_port = word(&body["portNames"][0]);
        let volume = word(&body["lunNames"][0]);
        match path.strip_prefix("iscsi/").unwrap_or(path) {
            "queryPortInfo" if port.is_empty() => {
                let ports: Vec<_> =
                    self.ports.iter().map(|name| json!({"portName": name})).collect();
                return Ok(json!({"portList": ports}));
            }
            "queryPortInfo" => {
                self.has_port(&port)?;
                return Ok(json!({"portList": [{"portName": port}]}));
            }
            "queryHostByPort" => {
                let port = word(&body["portName"][0]);
                self.has_port(&port)?;
                let hosts: Vec<_> =
                    self.hosts.iter().filter(|(_, host)| host.ports.contains(&port)).collect();
                let names: Vec<_> = hosts.into_iter().map(|(name, _)| name).collect();
                return Ok(match names[..] {
                    [] => json!({"portHostMap": {}}),
                    _ => json!({"portHostMap": {port: names}}),
                });
            }
            "queryHostLunInfo" => {
                let host = self.hosts.get(&host).ok_or(157_018_u64)?;
                let lun = |name: &String| json!({"lunId": self.volumes[name].lun, "lunName": name});
                return Ok(
                    json!({"hostLunList": host.volumes.iter().map(lun).collect::<Vec<_>>()}),
                );
            }
            "queryHostFromVolume" => {
                let name = word(&body["lunName"]);
                let lun = self.volumes.get(&name).ok_or(150_005_u64)?.lun;
                let hosts = self.hosts.iter().filter(|(_, host)| host.volumes.contains(&name));
                let hosts: Vec<_> =
                    hosts.map(|(name, _)| json!({"hostName": name, "lunId": lun})).collect();
                return Ok(json!({"hostList": hosts}));
            }
            "cluster/dswareclient/queryIscsiPortal" if self.release == Release::V8 => {
                let portal = |at: &str, status| json!({"iscsiPortal": at, "iscsiStatus": status, "targetName": IQN});
                let portals = [portal(&self.portal(), "active"), portal("192.0.2.1:3260", "down")];
                return Ok(json!({"nodeResultList": [
                    {"status": "successful", "iscsiPortalList": portals},
                ]}));
            }
            "createPort" if self.ports.contains(&port) => return Err(155_102),
            "createPort" => drop(self.ports.insert(port)),
            "deletePort" => {
                self.has_port(&port)?;
                if self.hosts.values().any(|host| host.ports.contains(&port)) {
                    return Err(157_021);
                }
                self.ports.remove(&port);
            }
            "createHost" if self.hosts.contains_key(&host) => return Err(157_019),
            "createHost" => drop(self.hosts.insert(host, Host::default())),
            "deleteHost" => {
                let found = self.hosts.get(&host).ok_or(157_018_u64)?;
                if !found.ports.is_empty() || !found.volumes.is_empty() {
                    return Err(157_020);
                }
                self.hosts.remove(&host);
            }
            "addPortToHost" => {
                self.has_port(&first_port)?;
                if self.hosts.values().any(|host| host.ports.contains(&first_port)) {
                    return Err(157_021);
                }
                self.hosts.get_mut(&host).ok_or(157_018_u64)?.ports.insert(first_port);
            }
            "deletePortFromHost" => {
                let found = self.hosts.get_mut(&host).ok_or(157_018_u64)?;
                if !found.ports.remove(&first_port) {
                    return Err(157_022);
                }
            }
            "addLunsToHost" => {
                if !self.volumes.contains_key(&volume) {
                    return Err(150_005);
                }
                if !self.hosts.get_mut(&host).ok_or(157_018_u64)?.volumes.insert(volume) {
                    return Err(157_001);
                }
            }
            "deleteLunFromHost" => {
                if !self.hosts.get_mut(&host).ok_or(157_018_u64)?.volumes.remove(&volume) {
                    return Err(157_002);
                }
            }
            _ => return Err(1_000_404),
        }
        Ok(json!({}))
    }

    fn has_port(&self, port: &str) -> Result<(), u64> {
        if self.ports.contains(port) { Ok(()) } else { Err(155_103) }
    }

    /// Lets in who is mapped, and nobody else.
    fn tell_target(&mut self) {
        for (name, volume) in &mut self.volumes {
            let hosts = self.hosts.values().filter(|host| host.volumes.contains(name));
            let mapped: BTreeSet<_> = hosts.flat_map(|host| host.ports.iter().cloned()).collect();
            for port in volume.let_in.difference(&mapped) {
                self.target.revoke(&iqn(name), port).expect("its commands end");
            }
            for port in mapped.difference(&volume.let_in) {
                let granted = self.target.grant(&iqn(name), port, Access::ReadWrite, None);
                granted.expect("ports have names of initiators");
            }
            volume.let_in = mapped;
        }
    }
}

fn iqn(volume: &str) -> String {
    format!("{IQN}:{}", volume.to_ascii_lowercase())
}

fn describe(name: &str, volume: &Volume) -> Value {
    json!({
        "volName": name, "volSize": volume.mib, "poolId": volume.pool, "wwn": volume.wwn,
    })
}

fn describe_snapshot(name: &str, snapshot: &Snapshot) -> Value {
    json!({
        "snapName": name, "snapshotSize": snapshot.mib, "fatherName": snapshot.of,
        "poolId": snapshot.pool,
    })
}

/// The page that is asked for.
fn page(body: &Value, all: impl Iterator<Item = Value>) -> Vec<Value> {
    let (page, size) = (number(&body["pageNum"]), number(&body["pageSize"]));
    let skip = usize::try_from((page.max(1) - 1) * size).unwrap_or(usize::MAX);
    all.skip(skip).take(usize::try_from(size).unwrap_or(0)).collect()
}

/// Copies what is not zeros; holes stay holes.
fn copy(from: &File, to: &File) -> std::io::Result<()> {
    let (mut at, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        let read = from.read_at(&mut piece, at)?;
        if read == 0 {
            return Ok(());
        }
        if piece[..read].iter().any(|byte| *byte != 0) {
            to.write_all_at(&piece[..read], at)?;
        }
        at += read as u64;
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
