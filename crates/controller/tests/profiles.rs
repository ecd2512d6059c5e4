//! Profiles beyond what REST can ask for: records that a hand or an older program left.

mod puppet;

use osds_controller::NewProfile;
use osds_store::{ClaimKind, Txn};
use puppet::Scene;

#[tokio::test]
async fn a_profile_whose_name_was_never_claimed_can_be_deleted() {
    let scene = Scene::new(vec![], 1);
    let new = NewProfile { name: "p".to_owned(), ..NewProfile::default() };
    let profile = scene.controller.create_profile(&Scene::admin(), new).await.unwrap();
    let txn = Txn::new().remove(scene.store.view().claim(ClaimKind::ProfileName, "p").unwrap());
    scene.store.commit(txn).await.unwrap();
    scene.controller.delete_profile(&profile.id.to_string()).await.unwrap();
    assert!(scene.controller.profile(&profile.id.to_string()).is_err(), "it is gone");
}
