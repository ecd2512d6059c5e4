//! What there is and how it is used, counted: for operators, never for deciders.
//!
//! One view of the records and one question to every dock, all docks at once and none for long: a
//! dock that hangs is one that does not answer, and the census goes on without it. Whoever asks
//! answers for how often; nothing here is kept.
//!
//! Must stay true: nothing waits for a wish, and no wish waits for this.

use std::collections::BTreeMap;
use std::time::Duration;

use osds_dock_api::DockError;
use osds_lifecycle::status;
use osds_model::usage::{LoginRefusals, TargetUsage, Usage};
use osds_model::{
    AttachMode, AttachmentId, Capacity, Dock, DockId, Host, HostId, Pool, PoolId, Volume, VolumeId,
};
use osds_store::View;
use tokio::task::JoinSet;

use crate::reconcile::Figures;
use crate::{Attached, Caller, Controller, Error};

/// How long a dock may take to say what hosts did.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything counted at one moment.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Volumes by the word for their status.
    pub volumes: BTreeMap<&'static str, u64>,
    /// Attachments by the word for their status, and by mode.
    pub attachments: BTreeMap<(&'static str, AttachMode), u64>,
    /// Hosts.
    pub hosts: u64,
    /// Those of them that are fenced.
    pub fenced: u64,
    /// Pools.
    pub pools: Vec<PoolFigures>,
    /// Docks.
    pub docks: Vec<DockFigures>,
    /// Attachments that a target counts for, in the order of their volumes' ids; as many as were
    /// asked for.
    pub used: Vec<AttachmentFigures>,
    /// How many more of those there are.
    pub left_out: u64,
    /// What the loop did and does.
    pub reconcile: Figures,
    /// Revision of the records: one more with every commit.
    pub revision: u64,
}

/// A pool in figures.
#[derive(Clone, Debug)]
pub struct PoolFigures {
    /// Its id.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// Whether its dock reported it the last time.
    pub available: bool,
    /// What the backend has in all.
    pub total: Capacity,
    /// What volumes may take altogether.
    pub usable: Capacity,
    /// What is promised to volumes.
    pub allocated: Capacity,
}

/// A dock in figures.
#[derive(Clone, Debug)]
pub struct DockFigures {
    /// Its id.
    pub id: DockId,
    /// Its name; empty while it has not been heard of.
    pub name: String,
    /// Whether it answered.
    pub up: bool,
    /// Connections at its target.
    pub connections: u64,
    /// Those of them that have not been let in to a volume.
    pub strangers: u64,
    /// Logins refused for volumes, and for what is no volume of it.
    pub refusals: BTreeMap<Option<VolumeId>, LoginRefusals>,
}

/// An attachment in figures, and what people know it by.
#[derive(Clone, Debug)]
pub struct AttachmentFigures {
    /// Its id.
    pub id: AttachmentId,
    /// The volume.
    pub volume: VolumeId,
    /// The volume's name.
    pub volume_name: String,
    /// The host.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// The pool's name.
    pub pool_name: String,
    /// Read-only or read-write.
    pub mode: AttachMode,
    /// What the host did.
    pub usage: Usage,
}

impl Controller {
    /// What one attachment's host did with its volume since it was let in; all zeros when it is
    /// not let in (yet).
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Dock`] when its dock does not answer.
    pub async fn attachment_usage(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(Attached, Usage), Error> {
        let attached = self.attachment(caller, id)?;
        let volume = attached.volume.id;
        let view = self.store.view();
        let dock = view.get::<Pool>(attached.volume.pool).map(|pool| pool.dock);
        let Some((id, dock)) = dock.and_then(|id| Some((id, self.reconciler.dock(id)?))) else {
            return Err(Error::invalid("no backend serves the pool of the volume any more"));
        };
        let usage = tokio::time::timeout(PATIENCE, dock.usage_of(volume)).await;
        let usage = usage.unwrap_or(Err(DockError::Unreachable(id)))?;
        let of_host = usage.and_then(|mut usage| usage.hosts.remove(&attached.host));
        Ok((attached, of_host.unwrap_or_default()))
    }

    /// Counts everything, with up to `most` attachments one by one.
    pub async fn census(&self, most: usize) -> Census {
        let docks = self.ask_docks().await;
        let view = self.store.view();
        let mut census = of_records(&view);
        census.reconcile = self.reconciler.figures();
        for (id, answer) in docks {
            let up = answer.is_some();
            let TargetUsage { volumes, refusals, connections, strangers } =
                answer.unwrap_or_default();
            let mut dock = DockFigures {
                id,
                name: view.get::<Dock>(id).map(|dock| dock.name.clone()).unwrap_or_default(),
                up,
                connections,
                strangers,
                refusals: BTreeMap::from([(None, refusals)]),
            };
            for (volume, usage) in volumes {
                dock.refusals.insert(Some(volume), usage.refusals);
                for (host, usage) in usage.hosts {
                    if census.used.len() >= most {
                        census.left_out += 1;
                    } else if let Some(figures) = named(&view, volume, host, usage) {
                        census.used.push(figures);
                    }
                }
            }
            census.docks.push(dock);
        }
        census
    }

    /// What every dock says, in the order of their ids; nothing from those that do not answer.
    async fn ask_docks(&self) -> BTreeMap<DockId, Option<TargetUsage>> {
        let mut asked = JoinSet::new();
        let mut answers = BTreeMap::new();
        for (id, dock) in self.reconciler.docks() {
            answers.insert(id, None);
            asked.spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, dock.usage()).await;
                (id, answer.ok().and_then(Result::ok))
            });
        }
        // One that panicked does not answer.
        while let Some(joined) = asked.join_next().await {
            answers.extend(joined);
        }
        answers
    }
}

fn of_records(view: &View) -> Census {
    let mut census = Census { revision: view.revision().0, ..Census::default() };
    for volume in view.iter::<Volume>() {
        *census.volumes.entry(status::volume(&volume.state)).or_default() += 1;
        for attachment in volume.state.attachments.values() {
            let of = (status::attachment(attachment), attachment.mode);
            *census.attachments.entry(of).or_default() += 1;
        }
    }
    for host in view.iter::<Host>() {
        census.hosts += 1;
        census.fenced += u64::from(host.fence.is_some());
    }
    census.pools = view
        .iter::<Pool>()
        .map(|pool| PoolFigures {
            id: pool.id,
            name: pool.spec.name.clone(),
            available: pool.available,
            total: pool.spec.total,
            usable: pool.spec.usable,
            allocated: pool.allocated,
        })
        .collect();
    census
}

/// What a target counts for a host that has no attachment on record is nobody's: it is on its way
/// out, or a stray.
fn named(view: &View, id: VolumeId, host: HostId, usage: Usage) -> Option<AttachmentFigures> {
    let volume = view.get::<Volume>(id)?;
    let attachment = volume.state.attachments.get(&host)?;
    let pool = view.get::<Pool>(volume.pool);
    Some(AttachmentFigures {
        id: attachment.id,
        volume: id,
        volume_name: volume.name.clone(),
        host,
        host_name: view.get::<Host>(host).map(|host| host.name.clone()).unwrap_or_default(),
        pool_name: pool.map(|pool| pool.spec.name.clone()).unwrap_or_default(),
        mode: attachment.mode,
        usage,
    })
}
