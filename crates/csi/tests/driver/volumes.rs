//! What is made, found again, refused, listed and removed.

use std::collections::HashMap;
use std::num::NonZeroU64;

use osds_csi::proto::controller_server::Controller as _;
use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::proto::{
    ControllerExpandVolumeRequest, ControllerGetVolumeRequest, ControllerModifyVolumeRequest,
    CreateVolumeRequest, DeleteVolumeRequest, GetCapacityRequest, ListVolumesRequest,
    ListVolumesResponse, ValidateVolumeCapabilitiesRequest, VolumeCapability,
};
use osds_csi::status::{Code, Status};
use osds_model::AttachMode;
use tonic::Request;

use crate::scene::{Scene, block, gib, mount};

fn new(name: &str, capability: VolumeCapability) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        volume_capabilities: vec![capability],
        ..CreateVolumeRequest::default()
    }
}

async fn delete(scene: &Scene, volume: &str) -> Result<(), Status> {
    let request = DeleteVolumeRequest { volume_id: volume.into(), ..Default::default() };
    scene.driver.delete_volume(Request::new(request)).await.map(drop)
}

async fn list(scene: &Scene, most: i32, token: &str) -> Result<ListVolumesResponse, Status> {
    let request = ListVolumesRequest { max_entries: most, starting_token: token.into() };
    Ok(scene.driver.list_volumes(Request::new(request)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_volume_and_has_many_lives() {
    let scene = Scene::new().await;
    let request = |range| CreateVolumeRequest {
        capacity_range: range,
        ..new("pvc #1 \u{fc}ber alles", block(Mode::SingleNodeWriter))
    };
    let first = scene.create_as(request(gib(2, 0))).await.unwrap();
    assert_eq!(first.capacity_bytes, 2 << 30);
    // The same, and whatever it satisfies.
    for range in [gib(2, 0), gib(1, 2), None] {
        assert_eq!(scene.create_as(request(range)).await.unwrap().volume_id, first.volume_id);
    }
    for range in [gib(3, 0), gib(1, 1)] {
        let status = scene.create_as(request(range)).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{}", status.message());
    }
    let mut ids = vec![first.volume_id];
    for _ in 0..3 {
        let last = ids.last().unwrap().clone();
        delete(&scene, &last).await.unwrap();
        delete(&scene, &last).await.unwrap();
        let next = scene.create_as(request(gib(2, 0))).await.unwrap().volume_id;
        assert!(!ids.contains(&next));
        ids.push(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_publish_would_refuse_is_not_made() {
    let scene = Scene::new().await;
    let refused = |request| async { scene.create_as(request).await.unwrap_err() };
    let status = refused(new("a", mount(Mode::MultiNodeMultiWriter, "ext4"))).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("volumeMode Block"), "{}", status.message());
    let unknown = CreateVolumeRequest {
        parameters: [("colour".to_owned(), "red".to_owned())].into(),
        ..new("a", block(Mode::SingleNodeWriter))
    };
    assert_eq!(refused(unknown).await.code(), Code::InvalidArgument);
    let huge = CreateVolumeRequest {
        capacity_range: gib(1 << 20, 0),
        ..new("a", block(Mode::SingleNodeWriter))
    };
    assert_eq!(refused(huge).await.code(), Code::ResourceExhausted);
    let added = CreateVolumeRequest {
        parameters: [("csi.storage.k8s.io/pvc/name".to_owned(), "x".to_owned())].into(),
        ..new("a", block(Mode::SingleNodeWriter))
    };
    assert!(scene.create_as(added).await.is_ok());

    // And says so when it is asked in advance.
    let volume = scene.create("single", &[Mode::SingleNodeWriter]).await.unwrap().volume_id;
    let validate = |capability| {
        let request = ValidateVolumeCapabilitiesRequest {
            volume_id: volume.clone(),
            volume_capabilities: vec![capability],
            ..Default::default()
        };
        scene.driver.validate_volume_capabilities(Request::new(request))
    };
    let yes = validate(mount(Mode::SingleNodeWriter, "xfs")).await.unwrap().into_inner();
    assert!(yes.confirmed.is_some() && yes.message.is_empty());
    let no = validate(block(Mode::MultiNodeMultiWriter)).await.unwrap().into_inner();
    assert!(no.confirmed.is_none() && no.message.contains("multiAttach"), "{}", no.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_handles_of_one_volume() {
    let scene = Scene::new().await;
    let volume = scene.create("v", &[Mode::MultiNodeMultiWriter]).await.unwrap().volume_id;
    let alias = format!("{volume}#ro");
    let (a, b) = (scene.host("a").await.id.to_string(), scene.host("b").await.id.to_string());
    let many = || block(Mode::MultiNodeMultiWriter);
    assert_eq!(
        scene.publish(&volume, &a, many(), false).await.unwrap().mode,
        AttachMode::ReadWrite
    );
    let reads = scene.publish(&alias, &b, many(), false).await.unwrap();
    assert_eq!(reads.mode, AttachMode::ReadOnly);
    assert_eq!(scene.publish(&alias, &b, many(), false).await.unwrap(), reads);
    // One node has one of them.
    let status = scene.publish(&alias, &a, many(), false).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let status = scene.publish(&volume, &b, many(), true).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{}", status.message());

    let published = |page: &ListVolumesResponse, id: &str| {
        let entry = page.entries.iter().find(|e| e.volume.as_ref().unwrap().volume_id == id);
        entry.map(|entry| entry.status.as_ref().unwrap().published_node_ids.clone())
    };
    let page = list(&scene, 0, "").await.unwrap();
    assert_eq!(published(&page, &volume), Some(vec![a.clone()]));
    assert_eq!(published(&page, &alias), Some(vec![b.clone()]));
    let first = list(&scene, 1, "").await.unwrap();
    assert_eq!(first.next_token, volume);
    let second = list(&scene, 1, &first.next_token).await.unwrap();
    assert_eq!(published(&second, &alias), Some(vec![b.clone()]));
    assert_eq!(second.next_token, "");
    assert_eq!(list(&scene, 0, "rubbish").await.unwrap_err().code(), Code::Aborted);

    // In use, and the alias is nothing by itself.
    assert_eq!(delete(&scene, &volume).await.unwrap_err().code(), Code::FailedPrecondition);
    delete(&scene, &alias).await.unwrap();
    scene.unpublish(&volume, "").await.unwrap();
    let page = list(&scene, 0, "").await.unwrap();
    assert_eq!(published(&page, &volume), Some(vec![]));
    assert_eq!(published(&page, &alias), Some(vec![b.clone()]));
    for _ in 0..3 {
        scene.unpublish(&alias, &b).await.unwrap();
    }
    assert_eq!(published(&list(&scene, 0, "").await.unwrap(), &alias), None);
    delete(&scene, &volume).await.unwrap();
    for (volume, node) in [(volume.as_str(), b.as_str()), ("nothing", ""), (&alias, "nobody")] {
        scene.unpublish(volume, node).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_node_stays_out_however_often_it_is_asked_for() {
    let scene = Scene::new().await;
    let volume = scene.create("v", &[Mode::SingleNodeWriter]).await.unwrap().volume_id;
    let node = scene.host("a").await.id.to_string();
    let one = || block(Mode::SingleNodeWriter);
    scene.publish(&volume, &node, one(), false).await.unwrap();
    let admin = osds_testkit::cluster::Cluster::admin();
    scene.cluster.controller.fence_host(&admin, &node, "dead").await.unwrap();
    for _ in 0..3 {
        let status = scene.publish(&volume, &node, one(), false).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{}", status.message());
        assert!(status.message().contains("unfence"), "{}", status.message());
    }
    // The fence is answered when it is on record; the target puts the node out after that.
    let out = async {
        loop {
            let request = ControllerGetVolumeRequest { volume_id: volume.clone() };
            let shown = scene.driver.controller_get_volume(Request::new(request)).await;
            if shown.unwrap().into_inner().status.unwrap().published_node_ids.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), out).await.unwrap();
    scene.cluster.controller.unfence_host(&admin, &node).await.unwrap();
    scene.publish(&volume, &node, one(), false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_not_and_room() {
    let scene = Scene::new().await;
    let nobody = "01980000-0000-7000-8000-000000000001";
    let volume = scene.create("v", &[Mode::SingleNodeWriter]).await.unwrap().volume_id;
    let one = || block(Mode::SingleNodeWriter);
    for (volume, node) in
        [(volume.as_str(), nobody), (volume.as_str(), "x"), (nobody, nobody), ("x", nobody)]
    {
        let status = scene.publish(volume, node, one(), false).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{}", status.message());
    }
    let room = |capability| {
        let request =
            GetCapacityRequest { volume_capabilities: vec![capability], ..Default::default() };
        scene.driver.get_capacity(Request::new(request))
    };
    let all = room(one()).await.unwrap().into_inner().available_capacity;
    assert_eq!(all, 199 << 30);
    let many = room(block(Mode::MultiNodeMultiWriter)).await.unwrap().into_inner();
    assert!(many.available_capacity <= 100 << 30);
    let never = room(mount(Mode::MultiNodeMultiWriter, "ext4")).await.unwrap().into_inner();
    assert_eq!(never.available_capacity, 0);

    let larger = |range| {
        let request = ControllerExpandVolumeRequest {
            volume_id: volume.clone(),
            capacity_range: range,
            ..Default::default()
        };
        scene.driver.controller_expand_volume(Request::new(request))
    };
    let grown = larger(gib(3, 0)).await.unwrap().into_inner();
    assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (3 << 30, true));
    assert_eq!(larger(gib(2, 0)).await.unwrap().into_inner().capacity_bytes, 3 << 30);
    assert_eq!(larger(gib(1, 2)).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(larger(gib(1 << 20, 0)).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(larger(None).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_changed_of_a_volume_that_is_there() {
    let scene = Scene::new().await;
    let pairs = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let request = CreateVolumeRequest {
        mutable_parameters: pairs(&[("maxIOPS", "500")]),
        ..new("v", block(Mode::SingleNodeWriter))
    };
    let volume = scene.create_as(request.clone()).await.unwrap().volume_id;
    let has = |volume: &str| {
        let admin = osds_testkit::cluster::Cluster::admin();
        let found = scene.cluster.controller.volume(&admin, volume).unwrap();
        let rate = found.state.limits.volume;
        let number = |limit: Option<NonZeroU64>| limit.map_or(0, NonZeroU64::get);
        (number(rate.iops), number(rate.bytes_per_second), found.state.terms.multi_attach)
    };
    assert_eq!(has(&volume), (500, 0, false));
    let modify = |id: &str, changes: &[(&str, &str)]| {
        let request = ControllerModifyVolumeRequest {
            volume_id: id.to_owned(),
            mutable_parameters: pairs(changes),
            ..Default::default()
        };
        scene.driver.controller_modify_volume(Request::new(request))
    };
    // What is not said stays; nothing at all is no change.
    for _ in 0..2 {
        modify(&volume, &[("maxBWS", "10")]).await.unwrap();
        modify(&volume, &[]).await.unwrap();
        assert_eq!(has(&volume), (500, 10_000_000, false));
    }
    for bad in [("colour", "red"), ("multiAttach", "maybe")] {
        let status = modify(&volume, &[("maxIOPS", "1"), bad]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
    }
    assert_eq!(has(&volume), (500, 10_000_000, false), "nothing of a bad request is done");
    // It lies in a pool for volumes of one host, and stays as it is.
    let status = modify(&volume, &[("maxIOPS", "0"), ("multiAttach", "true")]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
    assert_eq!(has(&volume), (500, 10_000_000, false));

    let shared = CreateVolumeRequest {
        mutable_parameters: pairs(&[("multiAttach", "true")]),
        ..new("shared", block(Mode::SingleNodeWriter))
    };
    let shared = scene.create_as(shared).await.unwrap().volume_id;
    for multi_attach in [false, true] {
        modify(&shared, &[("multiAttach", &multi_attach.to_string())]).await.unwrap();
        assert_eq!(has(&shared), (0, 0, multi_attach));
    }
    // Two nodes have it: it is not for one any more.
    for name in ["a", "b"] {
        let node = scene.host(name).await.id.to_string();
        let many = block(Mode::MultiNodeMultiWriter);
        scene.publish(&shared, &node, many, false).await.unwrap();
    }
    let status = modify(&shared, &[("multiAttach", "false")]).await.unwrap_err();
    assert_ne!(status.code(), Code::Internal, "{}", status.message());
    assert_eq!(has(&shared), (0, 0, true));
    modify(&format!("{shared}#ro"), &[("maxBWS", "7")]).await.unwrap();
    assert_eq!(has(&shared), (0, 7_000_000, true));

    let nobody = "01980000-0000-7000-8000-000000000001";
    assert_eq!(modify(nobody, &[]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(modify("", &[]).await.unwrap_err().code(), Code::InvalidArgument);
    let bad = CreateVolumeRequest { mutable_parameters: pairs(&[("x", "y")]), ..request };
    let status = scene.create_as(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
