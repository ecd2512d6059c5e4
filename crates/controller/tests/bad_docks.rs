//! Docks that hang, fail or panic: they must harm nobody but the volumes they have, and those only
//! for as long as it lasts.

mod puppet;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use osds_dock_api::DockError;
use osds_model::{Fault, FaultKind};
use puppet::{PATIENCE, Puppet, Scene, done};

#[tokio::test]
async fn a_panic_in_a_dock_leaves_no_volume_untended() {
    let dock = Arc::new(Puppet::new(1));
    dock.panics.store(1, Ordering::SeqCst);
    let scene = Scene::new(vec![Arc::clone(&dock)], 4);
    scene.controller.start().await.unwrap();
    let volume = scene.create("V", dock.pool()).await;
    scene.until_made(volume).await;
    scene.controller.stop().await;
}

/// What went wrong with an older wish says nothing about the one that took its place.
#[tokio::test]
async fn a_failure_of_an_older_wish_is_not_held_against_the_newer() {
    let (dock, mut asked) = Puppet::asking(1);
    let dock = Arc::new(dock);
    let scene = Scene::new(vec![Arc::clone(&dock)], 4);
    scene.controller.start().await.unwrap();
    let volume = scene.create("V", dock.pool()).await;
    let first = asked.recv().await.unwrap();
    scene.controller.delete_volume(&Scene::admin(), &volume.to_string()).await.unwrap();
    let fault = Fault::new(FaultKind::Broken, "no luck with the first wish");
    first.reply.send(Err(DockError::Failed(fault))).unwrap();
    let second = asked.recv().await.unwrap();
    assert!(second.wish.generation > first.wish.generation);
    assert_eq!(scene.volume(volume).unwrap().state.fault, None);
    second.reply.send(Ok(done(&second.wish))).unwrap();
    scene.controller.wait_for_volume(volume, PATIENCE).await;
    assert!(scene.volume(volume).is_none());
    scene.controller.stop().await;
}

#[tokio::test]
async fn volumes_of_a_dock_that_hangs_do_not_hold_up_those_of_another() {
    let (hanging, mut asked) = Puppet::asking(1);
    let (hanging, well) = (Arc::new(hanging), Arc::new(Puppet::new(2)));
    let scene = Scene::new(vec![Arc::clone(&hanging), Arc::clone(&well)], 2);
    scene.controller.start().await.unwrap();
    for name in ["V", "W", "X"] {
        scene.create(name, hanging.pool()).await;
    }
    let held = [asked.recv().await.unwrap(), asked.recv().await.unwrap()];
    let volume = scene.create("Y", well.pool()).await;
    scene.until_made(volume).await;
    assert!(asked.try_recv().is_err(), "no more than so many at once");
    drop(held);
}

/// Neither at the start nor in the sweep.
#[tokio::test(start_paused = true)]
async fn a_dock_that_says_nothing_holds_up_no_other() {
    let (mute, well) = (Arc::new(Puppet::new(1)), Arc::new(Puppet::new(2)));
    mute.mute.store(true, Ordering::SeqCst);
    let scene = Scene::new(vec![Arc::clone(&mute), Arc::clone(&well)], 2);
    tokio::time::timeout(PATIENCE * 6, scene.controller.start()).await.expect("it starts").unwrap();
    let volume = scene.create("V", well.pool()).await;
    scene.until_made(volume).await;
    scene.controller.stop().await;
}
