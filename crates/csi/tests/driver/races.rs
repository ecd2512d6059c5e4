//! Many callers at once: the control plane's transaction decides, not the driver.

use std::collections::BTreeSet;
use std::sync::Arc;

use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_csi::status::Code;
use tokio::task::JoinSet;

use crate::scene::{Scene, block};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_nodes_one_gets_what_is_for_one() {
    let scene = Arc::new(Scene::new().await);
    let volume = scene.create("one", &[Mode::SingleNodeWriter]).await.unwrap().volume_id;
    let mut asking = JoinSet::new();
    for n in 0..50 {
        let node = scene.host(&format!("n{n}")).await.id.to_string();
        let (scene, volume) = (Arc::clone(&scene), volume.clone());
        asking.spawn(async move {
            scene.publish(&volume, &node, block(Mode::SingleNodeWriter), false).await
        });
    }
    let outcomes = asking.join_all().await;
    let granted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(granted, 1);
    for status in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(status.code(), Code::FailedPrecondition, "{}", status.message());
        assert!(status.message().contains("published on node "), "{}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_make_one_name_all_get_one_volume() {
    let scene = Arc::new(Scene::new().await);
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let scene = Arc::clone(&scene);
        asking.spawn(async move { scene.create("pvc-1", &[Mode::SingleNodeWriter]).await });
    }
    let made = asking.join_all().await;
    let ids: BTreeSet<_> = made.into_iter().map(|made| made.unwrap().volume_id).collect();
    assert_eq!(ids.len(), 1);
}
