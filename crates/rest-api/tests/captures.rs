//! The views against what the original answered (shared/reference/golden, captures 1 and 2): byte
//! for byte, written from the model and read back by a client.

use std::collections::BTreeMap;

use osds_model::access::AttachmentFacts;
use osds_model::host::Protocol;
use osds_model::pool::{PoolExtras, PoolSpec};
use osds_model::profile::{DataStorage, IoConnectivity};
use osds_model::volume::{Presence, Terms, VolumeState};
use osds_model::{
    AttachMode, Attachment, Authentication, Capacity, Connection, Credentials, Dock, Fault,
    FaultKind, Fence, Generation, Host, HostId, Initiator, Phase, Pool, Profile, Sealed, Secret,
    Sharing, Timestamp, UserId, Volume, VolumeId,
};
use osds_rest_api::{
    ADMIN_TENANT, AttachmentView, ConnectionInfo, DockView, ErrorBody, HostView, PoolView,
    ProfileView, VersionView, VolumeView, json,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

const SECOND: Timestamp = Timestamp(1_795_348_479); // 2026-11-22T11:54:39
const VOLUME: &str = "efb5e7da-669f-4298-a38f-270a269767fe";
const HOST: &str = "ac043d8d-0743-441a-8c44-ff3b6dc38aee";
const POOL: &str = "084bf71e-a102-11e7-88a8-e31fe6d52248";
const PROFILE: &str = "b2b5a617-2b70-418b-b57b-dc0135d823f6";

/// Written as the original writes it, and read back and written again it is the same.
fn shown<T: Serialize, R: Serialize + DeserializeOwned>(view: &T) -> String {
    let wire = json::write(view);
    let again = json::write(&json::read::<R>(&wire).unwrap());
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&wire));
    String::from_utf8(wire).unwrap()
}

fn volume() -> Volume {
    Volume {
        id: VOLUME.parse().unwrap(),
        created_at: SECOND,
        updated_at: Some(Timestamp(SECOND.0 + 5)),
        tenant: ADMIN_TENANT.into(),
        user: UserId::default(),
        name: "ma".into(),
        description: String::new(),
        availability_zone: "default".into(),
        profile: PROFILE.parse().unwrap(),
        pool: POOL.parse().unwrap(),
        snapshot: None,
        group: None,
        metadata: BTreeMap::from([("lvPath".into(), format!("/dev/vg001/volume-{VOLUME}"))]),
        state: VolumeState {
            generation: Generation(1),
            terms: Terms { multi_attach: true, max_attachments: None },
            presence: Presence::Wanted(Capacity::from_gib(2).unwrap()),
            limits: osds_model::IoLimits::NONE,
            limited: osds_model::IoLimits::NONE,
            taken_back: None,
            source: None,
            snapshots: BTreeMap::new(),
            made: Capacity::from_gib(1),
            fault: None,
            attachments: BTreeMap::new(),
        },
    }
}

#[test]
fn a_volume() {
    let mut volume = volume();
    // The stub driver of the capture names none; the original's LVM driver makes it so.
    let naa = format!("6{}", &VOLUME.replace('-', "")[1..]);
    assert_eq!(
        shown::<_, VolumeView<'_>>(&VolumeView::of(&volume, "inUse")),
        format!(
            r#"{{"id":"{VOLUME}","createdAt":"2026-11-22T11:54:39","updatedAt":"2026-11-22T11:54:44","tenantId":"e93b4c0934da416eb9c8d120c5d04d96","name":"ma","size":1,"availabilityZone":"default","status":"inUse","poolId":"{POOL}","profileId":"{PROFILE}","metadata":{{"lvPath":"/dev/vg001/volume-{VOLUME}"}},"AttachStatus":"","multiAttach":true,"identifier":{{"durableName":"{naa}","durableNameFormat":"NAA"}}}}"#
        )
    );
    volume.state.terms.multi_attach = false;
    volume.state.made = None;
    volume.state.fault = Some(Fault::new(FaultKind::NoSpace, "pool is full"));
    volume.metadata.clear();
    volume.updated_at = None;
    assert_eq!(
        shown::<_, VolumeView<'_>>(&VolumeView::of(&volume, "error")),
        format!(
            r#"{{"id":"{VOLUME}","createdAt":"2026-11-22T11:54:39","updatedAt":"","tenantId":"e93b4c0934da416eb9c8d120c5d04d96","name":"ma","size":2,"availabilityZone":"default","status":"error","poolId":"{POOL}","profileId":"{PROFILE}","AttachStatus":"","statusReason":"pool is full"}}"#
        )
    );
}

#[test]
fn an_attachment() {
    let host: HostId = HOST.parse().unwrap();
    let id: VolumeId = VOLUME.parse().unwrap();
    let mut attachment = Attachment {
        id: "69f09d30-eb77-41df-b49c-43ea58001514".parse().unwrap(),
        mode: AttachMode::ReadOnly,
        sharing: Sharing::Shared,
        publication: None,
        phase: Phase::Attaching,
        fault: None,
        initiators: vec![],
        authentication: None,
        connection: None,
        about: AttachmentFacts {
            created_at: SECOND,
            tenant: ADMIN_TENANT.into(),
            access_protocol: "iscsi".into(),
            ..AttachmentFacts::default()
        },
    };
    let head = format!(
        r#"{{"id":"69f09d30-eb77-41df-b49c-43ea58001514","createdAt":"2026-11-22T11:54:39","updatedAt":"","tenantId":"e93b4c0934da416eb9c8d120c5d04d96","hostId":"{HOST}","volumeId":"{VOLUME}","#
    );
    assert_eq!(
        shown::<_, AttachmentView<'_>>(&AttachmentView::of(id, host, &attachment, "creating")),
        format!(
            r#"{head}"status":"creating","attachMode":"ro","accessProtocol":"iscsi","connectionInfo":{{}}}}"#
        )
    );
    attachment.connection = Some(Connection::Iscsi {
        iqn: "iqn.2017-10.io.opensds:v".into(),
        portals: vec!["127.0.0.1:3260".into(), "10.0.0.9:3260".into()],
        lun: 1,
    });
    attachment.sharing = Sharing::Exclusive;
    assert_eq!(
        shown::<_, AttachmentView<'_>>(&AttachmentView::of(id, host, &attachment, "available")),
        format!(
            r#"{head}"status":"available","attachMode":"ro","accessProtocol":"iscsi","connectionInfo":{{"driverVolumeType":"iscsi","data":{{"accessMode":"ro","discard":false,"targetDiscovered":true,"targetIQN":["iqn.2017-10.io.opensds:v","iqn.2017-10.io.opensds:v"],"targetLun":1,"targetPortal":["127.0.0.1:3260","10.0.0.9:3260"]}}}},"sharing":"exclusive"}}"#
        )
    );
}

/// The original's connector reads one address and one port; a list of all is beside them.
#[test]
fn an_attachment_over_nvme() {
    let connection = Connection::NvmeOf {
        nqn: "nqn.2019-01.com.opensds:nvme:v.h".into(),
        portals: vec!["[2001:db8::7]:4420".into(), "10.0.0.9:4420".into()],
        host_nqn: "nqn.x:a".into(),
    };
    let info =
        ConnectionInfo::Ours { connection: &connection, mode: AttachMode::ReadWrite, login: None };
    assert_eq!(
        shown::<_, ConnectionInfo<'_>>(&info),
        r#"{"driverVolumeType":"nvmeof","data":{"accessMode":"rw","discard":true,"hostNqn":"nqn.x:a","targetDiscovered":true,"targetIP":"2001:db8::7","targetNQN":"nqn.2019-01.com.opensds:nvme:v.h","targetPort":"4420","targetPortal":["[2001:db8::7]:4420","10.0.0.9:4420"],"transporType":"tcp"}}"#
    );
}

/// The keys of CHAP as a driver of the original that has it switched on names them.
#[test]
fn an_attachment_that_proves_itself() {
    let names = |secret: &str| Credentials { name: secret.to_owned(), secret: () };
    let sealed =
        |of: Credentials<()>| Credentials { name: of.name, secret: Sealed("sealed".to_owned()) };
    let open = |of: Credentials<()>| {
        let secret = Secret::new(format!("{} in clear", of.name));
        Credentials { name: of.name, secret }
    };
    let attachment = Attachment {
        id: "69f09d30-eb77-41df-b49c-43ea58001514".parse().unwrap(),
        mode: AttachMode::ReadWrite,
        sharing: Sharing::Shared,
        publication: None,
        phase: Phase::Attached,
        fault: None,
        initiators: vec![],
        authentication: Some(Authentication {
            initiator: sealed(names("alice")),
            target: Some(sealed(names("disk"))),
        }),
        connection: Some(Connection::Iscsi {
            iqn: "i".into(),
            portals: vec!["p:1".into()],
            lun: 1,
        }),
        about: AttachmentFacts::default(),
    };
    let view = || {
        AttachmentView::of(VOLUME.parse().unwrap(), HOST.parse().unwrap(), &attachment, "available")
    };
    let data = |view: &AttachmentView<'_>| {
        let shown = shown::<_, AttachmentView<'_>>(view);
        assert!(!shown.contains("sealed"), "{shown}");
        shown[shown.find(r#""data":"#).unwrap() + 7..].to_owned()
    };
    let rest =
        r#""targetDiscovered":true,"targetIQN":["i"],"targetLun":1,"targetPortal":["p:1"]}}}"#;
    assert_eq!(
        data(&view()),
        format!(
            r#"{{"accessMode":"rw","authMethod":"chap","authUserName":"alice","discard":true,"targetAuthUserName":"disk",{rest}"#
        )
    );
    let both =
        Authentication { initiator: open(names("alice")), target: Some(open(names("disk"))) };
    let whole = view().revealing(Some(both));
    assert_eq!(
        data(&whole),
        format!(
            r#"{{"accessMode":"rw","authMethod":"chap","authPassword":"alice in clear","authUserName":"alice","discard":true,"targetAuthPassword":"disk in clear","targetAuthUserName":"disk",{rest}"#
        )
    );
    // Neither side's Debug shows it, and a client can print it without.
    let read: AttachmentView<'_> = json::read(&json::write(&whole)).unwrap();
    let words = format!("{whole:?} {read:?} {}", data(&read.clone().concealing()));
    assert!(!words.contains("in clear") && words.contains("***"), "{words}");
}

#[test]
fn hosts() {
    let mut host = Host {
        id: HOST.parse().unwrap(),
        created_at: SECOND,
        updated_at: None,
        tenant: ADMIN_TENANT.into(),
        user: UserId::default(),
        name: "node1".into(),
        os_type: "linux".into(),
        access_mode: "agentless".into(),
        ip: "10.0.0.1".into(),
        port: 0,
        username: String::new(),
        availability_zones: Some(vec!["default".into()]),
        initiators: vec![Initiator {
            port_name: "iqn.1993-08.org.debian:01:a".into(),
            protocol: Protocol::Iscsi,
        }],
        fence: None,
    };
    let head = format!(
        r#"{{"id":"{HOST}","createdAt":"2026-11-22T11:54:39","updatedAt":"","tenantId":"e93b4c0934da416eb9c8d120c5d04d96","hostName":"node1","osType":"linux","accessMode":"agentless","ip":"10.0.0.1","#
    );
    assert_eq!(
        shown::<_, HostView<'_>>(&HostView::of(&host)),
        format!(
            r#"{head}"availabilityZones":["default"],"initiators":[{{"portName":"iqn.1993-08.org.debian:01:a","protocol":"iscsi"}}]}}"#
        )
    );
    host.port = 22;
    host.username = "root".into();
    host.availability_zones = None;
    host.initiators.clear();
    host.fence = Some(Fence { since: SECOND, reason: "dead".into() });
    assert_eq!(
        shown::<_, HostView<'_>>(&HostView::of(&host)),
        format!(
            r#"{head}"port":22,"username":"root","availabilityZones":null,"initiators":null,"fenced":true,"fenceReason":"dead"}}"#
        )
    );
}

#[test]
fn a_pool_and_its_dock() {
    let pool = Pool {
        id: POOL.parse().unwrap(),
        created_at: SECOND,
        updated_at: None,
        dock: "08a43707-2537-568b-acd5-315d2f37e3ae".parse().unwrap(),
        available: true,
        enforces_read_only: true,
        enforces_credentials: true,
        spec: PoolSpec {
            name: "sample-pool-01".into(),
            description: "first".into(),
            storage_type: "block".into(),
            availability_zone: "default".into(),
            multi_attach: false,
            total: Capacity::from_gib(100).unwrap(),
            usable: Capacity::from_gib(100).unwrap(),
            extras: PoolExtras {
                data_storage: DataStorage {
                    provisioning_policy: "Thin".into(),
                    compression: true,
                    ..DataStorage::default()
                },
                io_connectivity: IoConnectivity {
                    access_protocol: "rbd".into(),
                    max_iops: 8_000_000,
                    ..IoConnectivity::default()
                },
                advanced: BTreeMap::from([("diskType".into(), json!("SSD"))]),
                ..PoolExtras::default()
            },
        },
        allocated: Capacity::from_gib(10).unwrap(),
    };
    assert_eq!(
        shown::<_, PoolView<'_>>(&PoolView::of(&pool)),
        format!(
            r#"{{"id":"{POOL}","createdAt":"2026-11-22T11:54:39","updatedAt":"","name":"sample-pool-01","description":"first","status":"available","dockId":"08a43707-2537-568b-acd5-315d2f37e3ae","availabilityZone":"default","totalCapacity":100,"freeCapacity":90,"consumedCapacity":10,"multiAttach":false,"storageType":"block","extras":{{"dataStorage":{{"provisioningPolicy":"Thin","compression":true,"deduplication":false}},"ioConnectivity":{{"accessProtocol":"rbd","maxIOPS":8000000}},"dataProtection":{{"isIsolated":false}},"advanced":{{"diskType":"SSD"}}}}}}"#
        )
    );
    let dock = Dock {
        id: pool.dock,
        created_at: SECOND,
        updated_at: None,
        name: "sample".into(),
        description: "Sample Test".into(),
        endpoint: "127.0.0.1:51050".into(),
        node: "vm".into(),
        driver: "sample".into(),
        metadata: BTreeMap::new(),
    };
    assert_eq!(
        shown::<_, DockView<'_>>(&DockView::of(&dock)),
        r#"{"id":"08a43707-2537-568b-acd5-315d2f37e3ae","createdAt":"2026-11-22T11:54:39","updatedAt":"","type":"provisioner","name":"sample","description":"Sample Test","endpoint":"127.0.0.1:51050","nodeId":"vm","driverName":"sample"}"#
    );
}

#[test]
fn a_profile() {
    let profile = Profile {
        id: PROFILE.parse().unwrap(),
        created_at: SECOND,
        updated_at: None,
        name: "multi-attach".into(),
        description: "multi attach profile".into(),
        storage_type: "block".into(),
        provisioning: Default::default(),
        replication: Default::default(),
        snapshot: Default::default(),
        data_protection: Default::default(),
        custom: Some(BTreeMap::from([("capabilities:multiAttach".into(), json!("<is> true"))])),
    };
    let head = format!(
        r#"{{"id":"{PROFILE}","createdAt":"2026-11-22T11:54:39","updatedAt":"","name":"multi-attach","description":"multi attach profile","storageType":"block","provisioningProperties":{{"dataStorage":{{"compression":false,"deduplication":false}},"ioConnectivity":{{}}}},"replicationProperties":{{"dataProtection":{{"isIsolated":false}},"replicaInfos":{{}}}},"snapshotProperties":{{"schedule":{{}},"retention":{{}},"topology":{{}}}},"dataProtectionProperties":{{"dataProtection":{{"isIsolated":false}}}}"#
    );
    assert_eq!(
        shown::<_, ProfileView<'_>>(&ProfileView::of(&profile)),
        format!(
            "{head},\"customProperties\":{{\"capabilities:multiAttach\":\"\\u003cis\\u003e true\"}}}}"
        )
    );
    let profile = Profile { custom: Some(BTreeMap::new()), ..profile };
    assert_eq!(shown::<_, ProfileView<'_>>(&ProfileView::of(&profile)), format!("{head}}}"));
}

#[test]
fn a_version_and_an_error() {
    assert_eq!(
        shown::<_, VersionView<'_>>(&VersionView::v1beta()),
        r#"{"description":"v1beta version","name":"v1beta","status":"CURRENT","updatedAt":"2017-07-10T14:36:58.014Z"}"#
    );
    let error = ErrorBody {
        code: 404,
        message: "can't find the version: v1".into(),
        ..ErrorBody::default()
    };
    assert_eq!(
        shown::<_, ErrorBody<'_>>(&error),
        r#"{"code":404,"message":"can't find the version: v1"}"#
    );
}

#[test]
fn clients_take_ids_and_keys_of_other_servers() {
    let pool: PoolView<'_> =
        json::read(br#"{"Id":"bdd44c8e-b8a9-488a-89c0-d1e5beb902dg","FreeCapacity":170,"x":1}"#)
            .unwrap();
    assert_eq!(pool.id.to_string(), "bdd44c8e-b8a9-488a-89c0-d1e5beb902dg");
    assert_eq!(pool.free_capacity, 170);
}
