//! Which action of the policy each route is, as one table. A route that is not in it may be used
//! by nobody (with keystone), so a new one cannot be forgotten here unnoticed; a test in `routes`
//! holds the documented ones to it.

use axum::http::Method;
use osds_policy::Action;

use self::Verb::{Delete, Get, Post, Put};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// Everything behind `/v1beta/{tenantId}/`.
const TABLE: &[(&str, &[(Verb, Action)])] = &[
    ("docks", &[(Get, Action::DockList)]),
    ("docks/{id}", &[(Get, Action::DockGet)]),
    ("docks/{id}/drift", &[(Get, Action::DockGet)]),
    ("pools", &[(Get, Action::PoolList)]),
    ("pools/{id}", &[(Get, Action::PoolGet)]),
    ("pools/explain", &[(Get, Action::PoolList)]),
    ("availabilityZones", &[(Get, Action::AvailabilityZoneList)]),
    ("profiles", &[(Get, Action::ProfileList), (Post, Action::ProfileCreate)]),
    (
        "profiles/{id}",
        &[(Get, Action::ProfileGet), (Put, Action::ProfileUpdate), (Delete, Action::ProfileDelete)],
    ),
    (
        "profiles/{id}/customProperties",
        &[(Get, Action::ProfileListCustomProperties), (Post, Action::ProfileAddCustomProperty)],
    ),
    ("profiles/{id}/customProperties/{key}", &[(Delete, Action::ProfileRemoveCustomProperty)]),
    ("block/volumes", &[(Get, Action::VolumeList), (Post, Action::VolumeCreate)]),
    (
        "block/volumes/{id}",
        &[(Get, Action::VolumeGet), (Put, Action::VolumeUpdate), (Delete, Action::VolumeDelete)],
    ),
    ("block/volumes/{id}/resize", &[(Post, Action::VolumeExtend)]),
    ("block/volumes/{id}/ioLimits", &[(Put, Action::VolumeSetIoLimits)]),
    ("block/volumes/{id}/multiAttach", &[(Put, Action::VolumeSetMultiAttach)]),
    ("block/attachments", &[(Get, Action::AttachmentList), (Post, Action::AttachmentCreate)]),
    (
        "block/attachments/{id}",
        &[
            (Get, Action::AttachmentGet),
            (Put, Action::AttachmentUpdate),
            (Delete, Action::AttachmentDelete),
        ],
    ),
    ("block/attachments/{id}/stats", &[(Get, Action::AttachmentGet)]),
    ("block/snapshots", &[(Get, Action::SnapshotList), (Post, Action::SnapshotCreate)]),
    (
        "block/snapshots/{id}",
        &[
            (Get, Action::SnapshotGet),
            (Put, Action::SnapshotUpdate),
            (Delete, Action::SnapshotDelete),
        ],
    ),
    // Whoever may not take one snapshot may not take several.
    ("block/groupSnapshots", &[(Get, Action::SnapshotList), (Post, Action::SnapshotCreate)]),
    ("block/groupSnapshots/{id}", &[(Get, Action::SnapshotGet), (Delete, Action::SnapshotDelete)]),
    ("block/replications", &[(Get, Action::ReplicationList), (Post, Action::ReplicationCreate)]),
    ("block/replications/detail", &[(Get, Action::ReplicationListDetail)]),
    (
        "block/replications/{id}",
        &[
            (Get, Action::ReplicationGet),
            (Put, Action::ReplicationUpdate),
            (Delete, Action::ReplicationDelete),
        ],
    ),
    ("block/replications/{id}/enable", &[(Post, Action::ReplicationEnable)]),
    ("block/replications/{id}/disable", &[(Post, Action::ReplicationDisable)]),
    ("block/replications/{id}/failover", &[(Post, Action::ReplicationFailover)]),
    ("block/volumeGroups", &[(Get, Action::VolumeGroupList), (Post, Action::VolumeGroupCreate)]),
    (
        "block/volumeGroups/{id}",
        &[
            (Get, Action::VolumeGroupGet),
            (Put, Action::VolumeGroupUpdate),
            (Delete, Action::VolumeGroupDelete),
        ],
    ),
    ("file/shares", &[(Get, Action::FileShareList), (Post, Action::FileShareCreate)]),
    (
        "file/shares/{id}",
        &[
            (Get, Action::FileShareGet),
            (Put, Action::FileShareUpdate),
            (Delete, Action::FileShareDelete),
        ],
    ),
    // The original asks for the actions of volumes' snapshots here.
    ("file/snapshots", &[(Get, Action::SnapshotList), (Post, Action::SnapshotCreate)]),
    (
        "file/snapshots/{id}",
        &[
            (Get, Action::SnapshotGet),
            (Put, Action::SnapshotUpdate),
            (Delete, Action::SnapshotDelete),
        ],
    ),
    ("file/acls", &[(Get, Action::FileShareAclList), (Post, Action::FileShareAclCreate)]),
    ("file/acls/{id}", &[(Get, Action::FileShareAclGet), (Delete, Action::FileShareAclDelete)]),
    ("host/hosts", &[(Get, Action::HostList), (Post, Action::HostCreate)]),
    (
        "host/hosts/{id}",
        &[(Get, Action::HostGet), (Put, Action::HostUpdate), (Delete, Action::HostDelete)],
    ),
    ("metrics", &[(Get, Action::MetricsGet), (Post, Action::MetricsCollect)]),
    ("metrics/urls", &[(Get, Action::MetricsUrls)]),
    ("metrics/downloadconf", &[(Get, Action::MetricsDownloadConf)]),
    ("metrics/uploadconf", &[(Post, Action::MetricsUploadConf)]),
    ("host/hosts/{id}/fence", &[(Post, Action::HostUpdate)]),
    ("host/hosts/{id}/unfence", &[(Post, Action::HostUpdate)]),
];

/// The action of a route, by its pattern.
pub(crate) fn of(method: &Method, route: &str) -> Option<Action> {
    let verb = match *method {
        Method::GET => Get,
        Method::POST => Post,
        Method::PUT => Put,
        Method::DELETE => Delete,
        _ => return None,
    };
    let below = route.strip_prefix("/v1beta/{tenantId}/")?;
    let (_, actions) = TABLE.iter().find(|(pattern, _)| *pattern == below)?;
    actions.iter().find(|(known, _)| *known == verb).map(|(_, action)| *action)
}
