//! Requests that are to be done once, however often they come (the `Idempotency-Key` of
//! draft-ietf-httpapi-idempotency-key-header): a client that lost the answer asks again under the
//! same key, and gets what the first request made.
//!
//! The key is remembered by a claim, in the very transaction that makes the thing. So of two
//! requests under one key one commits, the other decides again and finds the claim: there is no
//! moment at which the first is under way and the second must be turned away. Keys are a tenant's
//! own, last a day, and are bounded in number; the sweep forgets them.

use osds_model::Timestamp;
use osds_store::{Asked, Claim, ClaimKind, Store, Txn, Versioned, View, decide};
use uuid::{Uuid, uuid};

use crate::{Caller, Error};

/// How long a key is remembered.
const LASTS: i64 = 24 * 60 * 60;
/// Most keys that a sweep leaves; the oldest go first.
const MOST: usize = 100_000;
/// How many go in one transaction.
const BATCH: usize = 500;
/// Names the space of fingerprints.
const NAMESPACE: Uuid = uuid!("0d1c9a52-6a7e-4d0c-8f57-2f3f5f0a9b24");

/// What a request is known by when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    key: String,
    fingerprint: Uuid,
}

impl Once {
    /// The request that its client calls `key`, and that asks for `body` at `path`.
    #[must_use]
    pub fn new(key: &str, path: &str, body: &[u8]) -> Self {
        let asked = [path.as_bytes(), &[0], body].concat();
        Self { key: key.to_owned(), fingerprint: Uuid::new_v5(&NAMESPACE, &asked) }
    }
}

/// The id of what the caller's request made when it came before.
pub(crate) fn made_before(
    view: &View,
    caller: &Caller,
    now: Timestamp,
) -> Result<Option<Uuid>, Error> {
    let Some(once) = &caller.once else { return Ok(None) };
    let Some((claim, asked)) = remembered(view, caller, once) else { return Ok(None) };
    if is_over(asked.at, now) {
        return Ok(None);
    }
    if asked.fingerprint != once.fingerprint {
        return Err(Error::KeyReused);
    }
    Ok(Some(claim.owner))
}

/// `txn`, which also remembers that the caller's request made `owner`.
pub(crate) fn remember(
    txn: Txn,
    view: &View,
    caller: &Caller,
    owner: impl Into<Uuid>,
    now: Timestamp,
) -> Txn {
    let Some(once) = &caller.once else { return txn };
    let asked = Asked { at: now, fingerprint: once.fingerprint };
    let claim = Claim::request(&caller.tenant, &once.key, owner.into(), asked);
    match remembered(view, caller, once) {
        None => txn.create(claim),
        // Its day is over.
        Some((old, _)) => txn.replace(old, claim),
    }
}

/// What a request under a key made is not there any more.
pub(crate) fn gone() -> Error {
    Error::NotFound(
        "what this request made is gone; to make another one, use another Idempotency-Key"
            .to_owned(),
    )
}

fn remembered<'a>(
    view: &'a View,
    caller: &Caller,
    once: &Once,
) -> Option<(&'a Versioned<Claim>, &'a Asked)> {
    let value = Claim::request_value(&caller.tenant, &once.key);
    let claim = view.claim(ClaimKind::Request, &value)?;
    Some((claim, claim.asked.as_ref()?))
}

fn is_over(at: Timestamp, now: Timestamp) -> bool {
    now.0.saturating_sub(at.0) > LASTS
}

/// Forgets the keys whose day is over, and the oldest of too many.
pub(crate) async fn forget_old(store: &dyn Store, now: Timestamp) -> Result<(), Error> {
    loop {
        let forgotten = decide::<_, Error>(store, |view| {
            let mut keys: Vec<_> = view
                .iter::<Claim>()
                .filter_map(|claim| Some((claim.asked.as_ref()?.at, claim)))
                .collect();
            let too_many = keys.len().saturating_sub(MOST);
            keys.sort_unstable_by_key(|(at, claim)| (*at, claim.revision));
            let old = keys
                .iter()
                .enumerate()
                .take_while(|(n, (at, _))| *n < too_many || is_over(*at, now));
            let old: Vec<_> = old.take(BATCH).map(|(_, (_, claim))| *claim).collect();
            let txn = old.iter().fold(Txn::new(), |txn, claim| txn.remove(*claim));
            Ok((txn, old.len()))
        });
        if forgotten.await? < BATCH {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use osds_model::{TenantId, UserId};
    use osds_store::MemoryStore;

    use super::*;

    fn caller(tenant: &str, key: &str, body: &str) -> Caller {
        let once = Some(Once::new(key, "/x", body.as_bytes()));
        Caller { tenant: TenantId::from(tenant), user: UserId::default(), admin: false, once }
    }

    async fn ask(
        store: &MemoryStore,
        caller: &Caller,
        owner: u128,
        at: i64,
    ) -> Result<u128, Error> {
        let made = decide(store, |view| {
            if let Some(id) = made_before(view, caller, Timestamp(at))? {
                return Ok((Txn::new(), id));
            }
            let id = Uuid::from_u128(owner);
            Ok::<_, Error>((remember(Txn::new(), view, caller, id, Timestamp(at)), id))
        });
        Ok(made.await?.as_u128())
    }

    #[tokio::test]
    async fn a_key_is_a_tenants_own_and_lasts_a_day() {
        let store = MemoryStore::new();
        let asked = caller("t", "k", "a");
        assert_eq!(ask(&store, &asked, 1, 0).await.unwrap(), 1);
        assert_eq!(ask(&store, &asked, 2, LASTS).await.unwrap(), 1);
        let other = ask(&store, &caller("t", "k", "b"), 3, 5).await;
        assert!(matches!(other, Err(Error::KeyReused)));
        assert_eq!(ask(&store, &caller("u", "k", "b"), 4, 5).await.unwrap(), 4);
        // No pair of tenant and key makes the word of another pair.
        assert_eq!(ask(&store, &caller("t/k", "x", "a"), 5, 0).await.unwrap(), 5);
        assert_eq!(ask(&store, &caller("t", "k/x", "a"), 6, 0).await.unwrap(), 6);
        assert_eq!(ask(&store, &asked, 7, LASTS + 1).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn old_keys_are_forgotten_and_names_are_not() {
        let store = MemoryStore::new();
        let name = Claim::profile_name("gold", osds_model::ProfileId::from_u128(1));
        store.commit(Txn::new().create(name)).await.unwrap();
        for n in 0..1200 {
            ask(&store, &caller("t", &n.to_string(), "a"), 1, i64::from(n >= 1150)).await.unwrap();
        }
        forget_old(&store, Timestamp(LASTS + 1)).await.unwrap();
        assert_eq!(store.view().len::<Claim>(), 51);
    }
}
