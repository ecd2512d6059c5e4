//! Small records for the tests: everything that does not matter here has one fixed value.

#![allow(dead_code, reason = "each test file uses some of these")]

use std::collections::BTreeMap;

use osds_model::access::AttachmentFacts;
use osds_model::id::{
    AttachmentId, DockId, HostId, PoolId, ProfileId, SnapshotId, TenantId, UserId, VolumeId,
};
use osds_model::pool::{PoolExtras, PoolSpec};
use osds_model::volume::Terms;
use osds_model::{
    AttachMode, Attachment, Capacity, Dock, Generation, Host, Phase, Pool, Presence, Profile,
    Sharing, Snapshot, Timestamp, Volume, VolumeState,
};

pub fn volume(id: u128) -> Volume {
    Volume {
        id: VolumeId::from_u128(id),
        created_at: Timestamp(1_700_000_000),
        updated_at: None,
        tenant: TenantId::from("t1"),
        user: UserId::from("u1"),
        name: format!("volume-{id}"),
        description: String::new(),
        availability_zone: "default".to_owned(),
        profile: ProfileId::from_u128(1),
        pool: PoolId::from_u128(1),
        snapshot: None,
        group: None,
        metadata: BTreeMap::new(),
        state: VolumeState {
            generation: Generation(1),
            terms: Terms { multi_attach: true, max_attachments: None },
            presence: Presence::Wanted(Capacity::from_bytes(1 << 30)),
            limits: osds_model::IoLimits::NONE,
            limited: osds_model::IoLimits::NONE,
            taken_back: None,
            source: None,
            snapshots: BTreeMap::new(),
            made: None,
            fault: None,
            attachments: BTreeMap::new(),
        },
    }
}

/// The volume after one more edit.
pub fn edited(volume: &Volume) -> Volume {
    let mut volume = volume.clone();
    volume.state.generation = volume.state.generation.next();
    volume
}

pub fn attachment(id: u128, tenant: &str) -> Attachment {
    Attachment {
        id: AttachmentId::from_u128(id),
        mode: AttachMode::ReadOnly,
        sharing: Sharing::Shared,
        publication: None,
        phase: Phase::Attaching,
        fault: None,
        initiators: Vec::new(),
        authentication: None,
        connection: None,
        about: AttachmentFacts { tenant: TenantId::from(tenant), ..AttachmentFacts::default() },
    }
}

pub fn pool(id: u128, allocated: u64) -> Pool {
    Pool {
        id: PoolId::from_u128(id),
        created_at: Timestamp(1_700_000_000),
        updated_at: None,
        dock: DockId::from_u128(1),
        available: true,
        enforces_read_only: true,
        enforces_credentials: true,
        spec: PoolSpec {
            name: format!("pool-{id}"),
            description: String::new(),
            storage_type: "block".to_owned(),
            availability_zone: "default".to_owned(),
            multi_attach: true,
            total: Capacity::from_bytes(1 << 40),
            usable: Capacity::from_bytes(1 << 40),
            extras: PoolExtras::default(),
        },
        allocated: Capacity::from_bytes(allocated),
    }
}

pub fn profile(id: u128, name: &str) -> Profile {
    Profile {
        id: ProfileId::from_u128(id),
        created_at: Timestamp(1_700_000_000),
        updated_at: None,
        name: name.to_owned(),
        description: String::new(),
        storage_type: "block".to_owned(),
        provisioning: Default::default(),
        replication: Default::default(),
        snapshot: Default::default(),
        data_protection: Default::default(),
        custom: None,
    }
}

pub fn dock(id: u128) -> Dock {
    Dock {
        id: DockId::from_u128(id),
        created_at: Timestamp(1_700_000_000),
        updated_at: None,
        name: format!("dock-{id}"),
        description: String::new(),
        endpoint: "local".to_owned(),
        node: "node".to_owned(),
        driver: "file".to_owned(),
        metadata: BTreeMap::new(),
    }
}

pub fn host(id: u128, name: &str) -> Host {
    Host {
        id: HostId::from_u128(id),
        created_at: Timestamp(1_700_000_000),
        updated_at: None,
        tenant: TenantId::from("t1"),
        user: UserId::from("u1"),
        name: name.to_owned(),
        os_type: "linux".to_owned(),
        access_mode: "agentless".to_owned(),
        ip: "127.0.0.1".to_owned(),
        port: 0,
        username: String::new(),
        availability_zones: None,
        initiators: Vec::new(),
        fence: None,
    }
}

pub fn snapshot(id: u128, volume: u128) -> Snapshot {
    Snapshot {
        id: SnapshotId::from_u128(id),
        created_at: Timestamp(1_700_000_000),
        updated_at: None,
        tenant: TenantId::from("t1"),
        user: UserId::from("u1"),
        name: format!("snapshot-{id}"),
        description: String::new(),
        profile: ProfileId::from_u128(1),
        size: Capacity::from_bytes(1 << 30),
        volume: VolumeId::from_u128(volume),
        group: None,
        metadata: BTreeMap::new(),
    }
}
