//! All 924 rows of the attach table, through the driver, REST, the controller and its store.
//!
//! A row's state is made by attaching, and then written into the record as the row says: some rows
//! are of states that the rules never let come about, or that a later edit of a volume leaves.

use osds_csi::proto::volume_capability::access_mode::Mode;
use osds_lifecycle::publish;
use osds_model::{
    AccessMode, AccessType, AttachMode, Host, Publication, Sharing, Volume, VolumeId,
};
use osds_store::{Txn, decide};

use crate::scene::{Scene, block, mount};

fn modes(word: &str) -> (Mode, AccessMode) {
    match word {
        "SNW" | "SINGLE" => (Mode::SingleNodeWriter, AccessMode::SingleNodeWriter),
        "SNRO" => (Mode::SingleNodeReaderOnly, AccessMode::SingleNodeReaderOnly),
        "MNRO" => (Mode::MultiNodeReaderOnly, AccessMode::MultiNodeReaderOnly),
        "MNSW" => (Mode::MultiNodeSingleWriter, AccessMode::MultiNodeSingleWriter),
        "MNMW" => (Mode::MultiNodeMultiWriter, AccessMode::MultiNodeMultiWriter),
        "SNSW" => (Mode::SingleNodeSingleWriter, AccessMode::SingleNodeSingleWriter),
        "SNMW" => (Mode::SingleNodeMultiWriter, AccessMode::SingleNodeMultiWriter),
        other => panic!("{other}"),
    }
}

fn access(word: &str) -> AccessType {
    match word {
        "block" => AccessType::Block,
        "localfs" => AccessType::LocalFs,
        "clusterfs" => AccessType::ClusterFs,
        other => panic!("{other}"),
    }
}

impl Scene {
    /// The host has the volume in this way.
    async fn hold(&self, volume: VolumeId, host: &Host, said: Publication, mode: AttachMode) {
        self.cluster.attach(volume, host, mode, Sharing::Shared).await.unwrap();
        self.cluster.settle().await;
        let written = decide::<_, std::convert::Infallible>(self.cluster.store.as_ref(), |view| {
            let old = view.get::<Volume>(volume).unwrap();
            let mut new = Volume::clone(old);
            let held = std::sync::Arc::make_mut(new.state.attachments.get_mut(&host.id).unwrap());
            held.publication = Some(said);
            held.sharing = publish::terms(said.mode, mode).1;
            Ok((Txn::new().replace(old, new), ()))
        });
        written.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rows() {
    let scene = Scene::new().await;
    let (here, elsewhere) = (scene.host("here").await, scene.host("elsewhere").await);
    let shared = scene.create("shared", &[Mode::MultiNodeMultiWriter]).await.unwrap();
    let single = scene.create("single", &[Mode::SingleNodeWriter]).await.unwrap();
    let table = include_str!("../../../lifecycle/tests/csi-attach-table.csv");
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in table.lines().skip(1) {
        rows += 1;
        // `existing` is in quotes where it has a comma; nothing else but the last column is.
        let plain = line.replace("\"same node, ", "same node/").replacen("\",", ",", 1);
        let columns: Vec<&str> = plain.splitn(8, ',').collect();
        let [word, readonly, multi, what, existing, code, mode, _] = columns[..] else {
            panic!("{line}");
        };
        let readonly = readonly == "True";
        let (wire, asked) = modes(word);
        let volume = if multi == "True" { &shared } else { &single };
        let id: VolumeId = volume.volume_id.parse().unwrap();
        let asked_mode = if readonly { AttachMode::ReadOnly } else { AttachMode::ReadWrite };
        let mode_here = publish::terms(asked, asked_mode).0;
        let said = Publication { mode: asked, access: access(what) };
        match existing.split_once('/') {
            Some((_, "identical")) => scene.hold(id, &here, said, mode_here).await,
            Some((_, "other ro flag")) => {
                let other = match mode_here {
                    AttachMode::ReadOnly => AttachMode::ReadWrite,
                    AttachMode::ReadWrite => AttachMode::ReadOnly,
                };
                scene.hold(id, &here, said, other).await;
            }
            Some((_, "other access type")) => {
                let other = if what == "block" { AccessType::LocalFs } else { AccessType::Block };
                scene.hold(id, &here, Publication { access: other, ..said }, mode_here).await;
            }
            Some((_, other)) => panic!("{other}"),
            None if existing == "none" => {}
            None => {
                let (word, how) =
                    existing.strip_prefix("other: ").unwrap().split_once(' ').unwrap();
                let said = Publication { mode: modes(word).1, access: access(what) };
                scene.hold(id, &elsewhere, said, how.parse().unwrap()).await;
            }
        }
        let capability = match what {
            "block" => block(wire),
            "localfs" => mount(wire, "ext4"),
            _ => mount(wire, "gfs2"),
        };
        let outcome =
            scene.publish(&volume.volume_id, &here.id.to_string(), capability, readonly).await;
        let (is_code, is_mode) = match &outcome {
            Ok(context) => (0, context.mode.as_str()),
            Err(status) => (status.code() as i32, "-"),
        };
        if (is_code.to_string().as_str(), is_mode) != (code, mode) {
            wrong.push(format!("{line}: {is_code} {is_mode} {outcome:?}"));
        }
        if let Err(status) = outcome
            && is_code == 9
            && !status.message().contains(&elsewhere.id.to_string())
        {
            wrong.push(format!("{line}: does not name the other node: {}", status.message()));
        }
        scene.unpublish(&volume.volume_id, "").await.unwrap();
    }
    assert_eq!(rows, 924);
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
