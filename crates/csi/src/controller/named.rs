//! What an orchestrator calls by a name of its own: volumes, snapshots and group snapshots.
//!
//! A name is for ever; the control plane knows a request by its key, for a day, and its own names
//! are narrower and nobody's own. So the name is kept in the metadata and looked for there first,
//! and whoever finds none asks under a key made of the name: of two who ask at once, one makes the
//! thing and both get it. When what a key made is gone again, the next key of the name is taken.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use osds_model::validate;
use osds_rest_api::client::{ClientError, Method};
use osds_rest_api::{GroupSnapshotView, SnapshotView, VolumeView, url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::{Uuid, uuid};

use super::publish::WAIT;
use crate::api::Api;
use crate::status::{self, Status};

/// Names the space of keys that are made of names.
const KEYS: Uuid = uuid!("5f0a3b1e-93b1-4d5c-8a2e-6a1d1b0f7c44");
/// How often the thing of one name may have been made and deleted within a day.
const LIVES: u32 = 1000;
/// Key of the metadata: the orchestrator's name.
pub(super) const NAME: &str = "csi.name";
/// The same of a group snapshot, in each of its snapshots; these also have [`NAME`], their volumes'.
pub(super) const GROUP_NAME: &str = "csi.groupName";
/// Pairs that sidecars add to parameters by themselves.
pub(super) const ADDED: &str = "csi.storage.k8s.io/";

/// A thing of the control plane that an orchestrator has a name for.
pub(super) trait Named: DeserializeOwned + Send + 'static {
    /// Where the control plane has them.
    const PLACE: &'static str;
    /// Whether this is the orchestrator's name for it.
    fn is_called(&self, name: &str) -> bool;
    /// Its status word.
    fn status(&self) -> &str;
}

impl Named for VolumeView<'static> {
    const PLACE: &'static str = "block/volumes";
    fn is_called(&self, name: &str) -> bool {
        says(&self.metadata, NAME, name)
    }
    fn status(&self) -> &str {
        &self.status
    }
}

impl Named for SnapshotView<'static> {
    const PLACE: &'static str = "block/snapshots";
    fn is_called(&self, name: &str) -> bool {
        // One of a group snapshot has no name of its own.
        self.group_snapshot_id.is_empty() && says(&self.metadata, NAME, name)
    }
    fn status(&self) -> &str {
        &self.status
    }
}

impl Named for GroupSnapshotView<'static> {
    const PLACE: &'static str = "block/groupSnapshots";
    fn is_called(&self, name: &str) -> bool {
        self.snapshots.iter().any(|one| says(&one.metadata, GROUP_NAME, name))
    }
    fn status(&self) -> &str {
        &self.status
    }
}

fn says(metadata: &BTreeMap<String, String>, key: &str, name: &str) -> bool {
    metadata.get(key).is_some_and(|known| known == name)
}

/// Its name in the control plane, whose rules are narrower.
pub(super) fn short_name(name: &str) -> String {
    if validate::volume_name(name) {
        name.to_owned()
    } else {
        format!("csi-{}", Uuid::new_v5(&KEYS, name.as_bytes()))
    }
}

/// The one with this name.
pub(super) async fn find<T: Named>(api: &Api, name: &str) -> Result<Option<T>, Status> {
    let (short, name) = (short_name(name), name.to_owned());
    api.call(move |client| {
        let called: Vec<T> = client.list(T::PLACE, &[("Name", short.as_str())])?;
        // Others may be called so, too; a name of the control plane is nobody's own.
        Ok(called.into_iter().find(|one| one.is_called(&name) && one.status() != "deleting"))
    })
    .await
}

/// Makes it, or finds what another request under this name has made. `space` tells its keys from
/// those of other requests.
///
/// # Errors
/// Inside, what the control plane says to this body.
pub(super) async fn make<T: Named>(
    api: &Api,
    name: &str,
    space: &str,
    body: impl Serialize + Clone + Send + 'static,
) -> Result<Result<T, ClientError>, Status> {
    for life in 0..LIVES {
        let key = Uuid::new_v5(&KEYS, format!("{space}/{life}").as_bytes()).to_string();
        let body = body.clone();
        let outcome = api
            .ask(move |client| {
                let request = client.request(Method::POST, T::PLACE).body(&body);
                request.once(key).wait(WAIT).send()?.read::<T>()
            })
            .await?;
        match outcome {
            // What this key made is gone: the name is free for another life.
            Err(ClientError::Refused { status: 404, .. }) => {}
            // The key was of another request: one that has made it, or one whose thing is gone.
            Err(ClientError::Refused { status: 422, .. }) => {
                if let Some(found) = find(api, name).await? {
                    return Ok(Ok(found));
                }
            }
            outcome => return Ok(outcome),
        }
    }
    Err(Status::resource_exhausted("this name was used too often today; use another"))
}

/// The one with this id, if it is there; `wait`: once nothing is under way for it.
///
/// # Errors
/// As the control plane.
pub(super) async fn get<T: Named>(
    api: &Api,
    id: &str,
    wait: Option<Duration>,
) -> Result<Option<T>, Status> {
    let path = format!("{}/{}", T::PLACE, url::encode(id));
    api.call(move |client| {
        let request = client.request(Method::GET, &path);
        let request = match wait {
            Some(wait) => request.wait(wait),
            None => request,
        };
        match request.send() {
            Ok(answer) => answer.read().map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Asks for the one with this id to be gone, and what is left of it after a while. Inside, what
/// the control plane says.
pub(super) async fn delete<T: Named>(
    api: &Api,
    id: &str,
) -> Result<Result<Option<T>, ClientError>, Status> {
    let path = format!("{}/{}", T::PLACE, url::encode(id));
    let outcome = api
        .ask(move |client| client.request(Method::DELETE, &path).wait(WAIT).send().map(drop))
        .await?;
    match outcome {
        Ok(()) => get(api, id, Some(WAIT)).await.map(Ok),
        Err(error) if error.is_not_found() => Ok(Ok(None)),
        Err(error) => Ok(Err(error)),
    }
}

/// A page of what is sorted by `K`, from behind the token on, and the token of the next page. Tokens
/// name the last entry that was shown; ids sort by age, so what is made between two pages is on
/// the next.
///
/// # Errors
/// INVALID_ARGUMENT for a negative number, ABORTED for a token that is none of ours.
pub(super) fn page<K, T>(
    all: impl IntoIterator<Item = (K, T)>,
    most: i32,
    token: &str,
) -> Result<(Vec<(K, T)>, String), Status>
where
    K: Ord + FromStr + Display,
{
    let most =
        usize::try_from(most).map_err(|_| status::invalid("max_entries must not be negative"))?;
    let after: Option<K> = match token {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            Status::aborted("starting_token is none of ours; start again without one")
        })?),
    };
    let mut left =
        all.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let page: Vec<_> = left.by_ref().take(if most == 0 { usize::MAX } else { most }).collect();
    let next_token = match (left.next(), page.last()) {
        (Some(_), Some((last, _))) => last.to_string(),
        (Some(_) | None, _) => String::new(),
    };
    Ok((page, next_token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;

    #[test]
    fn pages_end_where_the_list_does() {
        let all = || [(1, 'a'), (3, 'b'), (4, 'c')];
        let letters = |page: Vec<(i32, char)>| page.into_iter().map(|(_, c)| c).collect::<String>();
        for (most, token, shown, next) in [
            (0, "", "abc", ""),
            (2, "", "ab", "3"),
            (2, "3", "c", ""),
            (1, "1", "b", "3"),
            // What the token named is gone.
            (3, "2", "bc", ""),
            (3, "4", "", ""),
        ] {
            let (page, token) = page(all(), most, token).unwrap();
            assert_eq!((letters(page).as_str(), token.as_str()), (shown, next));
        }
        assert_eq!(page(all(), -1, "").unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(page(all(), 0, "x").unwrap_err().code(), Code::Aborted);
    }

    #[test]
    fn a_name_that_the_control_plane_takes_stays() {
        assert_eq!(short_name("pvc-1"), "pvc-1");
        let other = short_name("pvc #1 über alles");
        assert!(validate::volume_name(&other), "{other}");
        assert_eq!(other, short_name("pvc #1 über alles"));
    }
}
