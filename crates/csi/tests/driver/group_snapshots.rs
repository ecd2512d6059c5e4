//! Snapshots of several volumes: one name is one group snapshot, its snapshots go together, and
//! each refusal has the code that CSI wants.

use std::collections::BTreeSet;

use osds_csi::proto::controller_server::Controller as _;
use osds_csi::proto::group_controller_server::GroupController as _;
use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::proto::volume_content_source::{SnapshotSource, Type};
use osds_csi::proto::{
    CreateSnapshotRequest, CreateVolumeGroupSnapshotRequest, CreateVolumeRequest,
    DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest, GetSnapshotRequest,
    GetVolumeGroupSnapshotRequest, ListSnapshotsRequest, Snapshot, VolumeContentSource,
    VolumeGroupSnapshot,
};
use osds_csi::status::{Code, Status};
use tokio::task::JoinSet;
use tonic::Request;

use crate::scene::{Scene, block};

const NOBODY: &str = "01980000-0000-7000-8000-000000000001";

async fn volumes<const N: usize>(scene: &Scene) -> [String; N] {
    let mut made = Vec::new();
    for n in 0..N {
        let volume = scene.create(&format!("pvc-{n}"), &[Mode::SingleNodeWriter]).await;
        made.push(volume.unwrap().volume_id);
    }
    made.try_into().unwrap()
}

async fn take(scene: &Scene, name: &str, of: &[&str]) -> Result<VolumeGroupSnapshot, Status> {
    let request = CreateVolumeGroupSnapshotRequest {
        name: name.into(),
        source_volume_ids: of.iter().map(ToString::to_string).collect(),
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let taken = scene.driver.create_volume_group_snapshot(Request::new(request)).await?;
    Ok(taken.into_inner().group_snapshot.unwrap())
}

async fn get(scene: &Scene, id: &str, snapshots: &[&str]) -> Result<VolumeGroupSnapshot, Status> {
    let request = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id.into(),
        snapshot_ids: snapshots.iter().map(ToString::to_string).collect(),
        ..GetVolumeGroupSnapshotRequest::default()
    };
    let found = scene.driver.get_volume_group_snapshot(Request::new(request)).await?;
    Ok(found.into_inner().group_snapshot.unwrap())
}

async fn delete(scene: &Scene, id: &str, snapshots: &[&str]) -> Result<(), Status> {
    let request = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: id.into(),
        snapshot_ids: snapshots.iter().map(ToString::to_string).collect(),
        ..DeleteVolumeGroupSnapshotRequest::default()
    };
    scene.driver.delete_volume_group_snapshot(Request::new(request)).await.map(drop)
}

async fn delete_one(scene: &Scene, id: &str) -> Result<(), Status> {
    let request = DeleteSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
    scene.driver.delete_snapshot(Request::new(request)).await.map(drop)
}

async fn alone(scene: &Scene, name: &str, volume: &str) -> Result<Snapshot, Status> {
    let request = CreateSnapshotRequest {
        name: name.into(),
        source_volume_id: volume.into(),
        ..CreateSnapshotRequest::default()
    };
    let taken = scene.driver.create_snapshot(Request::new(request)).await?;
    Ok(taken.into_inner().snapshot.unwrap())
}

async fn all(scene: &Scene) -> Vec<Snapshot> {
    let request = Request::new(ListSnapshotsRequest::default());
    let entries = scene.driver.list_snapshots(request).await.unwrap().into_inner().entries;
    entries.into_iter().map(|entry| entry.snapshot.unwrap()).collect()
}

fn ids(taken: &VolumeGroupSnapshot) -> Vec<&str> {
    taken.snapshots.iter().map(|one| one.snapshot_id.as_str()).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, words: &str) {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(status.message().contains(words), "{}", status.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_group_snapshot_and_has_many_lives() {
    let scene = Scene::new().await;
    let [a, b, c] = volumes(&scene).await;
    let name = "groupsnapshot #1 \u{fc}ber alles";
    let first = take(&scene, name, &[&a, &b]).await.unwrap();
    assert!(first.ready_to_use && first.snapshots.iter().all(|one| one.ready_to_use));
    let of: BTreeSet<_> = first.snapshots.iter().map(|one| one.source_volume_id.clone()).collect();
    assert_eq!(of, [a.clone(), b.clone()].into());
    for one in &first.snapshots {
        assert_eq!(one.group_snapshot_id, first.group_snapshot_id);
        assert_eq!((one.creation_time, one.size_bytes), (first.creation_time, 1 << 30));
    }
    assert!(first.creation_time.is_some());
    // The same volumes, whatever their order and by which handle.
    let alias = format!("{b}#ro");
    for of in [[&a, &b], [&b, &a], [&alias, &a]] {
        assert_eq!(take(&scene, name, &of.map(String::as_str)).await.unwrap(), first);
    }
    for of in [vec![&a, &c], vec![&a], vec![&a, &b, &c], vec![&a, &b, &alias]] {
        let of: Vec<_> = of.into_iter().map(String::as_str).collect();
        refused(take(&scene, name, &of).await, Code::AlreadyExists, &a);
    }
    let mut lives = vec![first.group_snapshot_id];
    for _ in 0..3 {
        let last = lives.last().unwrap().clone();
        delete(&scene, &last, &[]).await.unwrap();
        delete(&scene, &last, &[]).await.unwrap();
        assert_eq!(all(&scene).await, []);
        let next = take(&scene, name, &[&a, &c]).await.unwrap().group_snapshot_id;
        assert!(!lives.contains(&next));
        lives.push(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_snapshots_are_snapshots_that_go_together() {
    let scene = Scene::new().await;
    let [a, b] = volumes(&scene).await;
    let taken = take(&scene, "g", &[&a, &b]).await.unwrap();
    let (id, members) = (taken.group_snapshot_id.as_str(), ids(&taken));
    assert_eq!(all(&scene).await, taken.snapshots);
    let request = GetSnapshotRequest { snapshot_id: members[0].into(), ..Default::default() };
    let one = scene.driver.get_snapshot(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(one.snapshot.unwrap(), taken.snapshots[0]);
    for member in &members {
        refused(delete_one(&scene, member).await, Code::InvalidArgument, id);
    }

    // Who asks for a snapshot of this name, or of the name that a volume has, gets one of its own.
    for name in ["g", "pvc-0"] {
        let alone = alone(&scene, name, &a).await.unwrap();
        assert!(alone.group_snapshot_id.is_empty() && !members.contains(&&*alone.snapshot_id));
        delete_one(&scene, &alone.snapshot_id).await.unwrap();
    }
    let named_as_a_volume = take(&scene, "pvc-1", &[&a, &b]).await.unwrap();
    let single = alone(&scene, "pvc-1", &b).await.unwrap();
    assert!(!ids(&named_as_a_volume).contains(&&*single.snapshot_id));
    assert!(single.group_snapshot_id.is_empty());
    delete(&scene, &named_as_a_volume.group_snapshot_id, &[]).await.unwrap();
    delete_one(&scene, &single.snapshot_id).await.unwrap();

    // A volume is made from one of them.
    let source = SnapshotSource { snapshot_id: members[0].into() };
    let request = CreateVolumeRequest {
        name: "again".into(),
        volume_capabilities: vec![block(Mode::SingleNodeWriter)],
        volume_content_source: Some(VolumeContentSource { r#type: Some(Type::Snapshot(source)) }),
        ..CreateVolumeRequest::default()
    };
    scene.create_as(request).await.unwrap();

    let reversed: Vec<_> = members.iter().rev().copied().collect();
    for said in [&members[..], &reversed, &[]] {
        assert_eq!(get(&scene, id, said).await.unwrap(), taken);
    }
    for said in [&members[..1], &[members[0], NOBODY], &[members[0], members[1], NOBODY]] {
        refused(get(&scene, id, said).await, Code::InvalidArgument, members[1]);
        refused(delete(&scene, id, said).await, Code::InvalidArgument, members[1]);
    }
    assert_eq!(get(&scene, id, &[]).await.unwrap(), taken, "nothing of it is gone");
    delete(&scene, id, &reversed).await.unwrap();
    refused(get(&scene, id, &[]).await, Code::NotFound, id);
    assert_eq!(all(&scene).await, []);
    for gone in [id, NOBODY, "x"] {
        delete(&scene, gone, &members).await.unwrap();
        refused(get(&scene, gone, &members).await, Code::NotFound, gone);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_nothing() {
    let scene = Scene::new().await;
    let [a, b] = volumes(&scene).await;
    let alias = format!("{a}#ro");
    for (name, of, code, words) in [
        ("", vec![&*a], Code::InvalidArgument, "name"),
        ("g", vec![], Code::InvalidArgument, "source_volume_ids"),
        ("g", vec![&*a, &*b, &*a], Code::InvalidArgument, "twice"),
        ("g", vec![&*a, &*alias], Code::InvalidArgument, "twice"),
        ("g", vec![&*a, NOBODY], Code::NotFound, NOBODY),
        ("g", vec![&*a, "x"], Code::NotFound, "x"),
        ("g", vec![""], Code::NotFound, "no volume"),
    ] {
        refused(take(&scene, name, &of).await, code, words);
        assert_eq!(all(&scene).await, []);
    }
    let request = |key: &str| CreateVolumeGroupSnapshotRequest {
        name: "g".into(),
        source_volume_ids: vec![a.clone(), b.clone()],
        parameters: [(key.to_owned(), "red".to_owned())].into(),
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let ask = |key| scene.driver.create_volume_group_snapshot(Request::new(request(key)));
    refused(ask("colour").await, Code::InvalidArgument, "colour");
    ask("csi.storage.k8s.io/volumegroupsnapshot/name").await.unwrap();
    refused(get(&scene, "", &[]).await, Code::InvalidArgument, "group_snapshot_id");
    refused(delete(&scene, "", &[]).await, Code::InvalidArgument, "group_snapshot_id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_take_one_name_all_get_one_group_snapshot() {
    let scene = std::sync::Arc::new(Scene::new().await);
    let [a, b] = volumes(&scene).await;
    let mut asking = JoinSet::new();
    for n in 0..20 {
        let scene = std::sync::Arc::clone(&scene);
        // Half of them name the volumes the other way round.
        let of = if n % 2 == 0 { [a.clone(), b.clone()] } else { [b.clone(), a.clone()] };
        asking.spawn(async move { take(&scene, "g", &[&of[0], &of[1]]).await });
    }
    let taken = asking.join_all().await;
    let ids: BTreeSet<_> = taken.into_iter().map(|one| one.unwrap().group_snapshot_id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(all(&scene).await.len(), 2);
}
