//! Proving tokens: the cache of those that were proven, and our own token.
//!
//! Requests with the same token ask once: the first one holds the token's slot while it asks, the
//! others wait for the slot and find the answer. A refusal is not kept, but the number of questions
//! under way is bounded, so that guessing tokens does not become a flood at Keystone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use osds_rest_api::keystone::{Identity, KeystoneError, Login, Proven, Token, Verdict};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Tokens kept; a further one takes the place of one that is out of date, or of any.
const MOST_TOKENS: usize = 8192;
/// Questions under way at once.
const MOST_QUESTIONS: usize = 16;
/// Longest wait for the turn to ask.
const LONGEST_QUEUE: Duration = Duration::from_secs(10);
/// Our own token is renewed so long before its end.
const MARGIN: Duration = Duration::from_secs(60);
/// No token is longer than a header line of ours; fernet tokens have about 250 bytes.
const LONGEST_TOKEN: usize = 8192;

/// Why a token proves nothing.
#[derive(Debug)]
pub(crate) enum Unproven {
    /// There is none.
    Missing,
    /// It is not good.
    Bad(&'static str),
    /// Keystone could not be asked.
    NoAnswer,
}

/// A slot of the cache; locked by the one who asks.
type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

struct Kept {
    proven: Arc<Proven>,
    since: Instant,
}

/// See the head of this file.
pub(super) struct Keystone {
    identity: Identity,
    /// How long a proven token is believed without asking again, which is also how long a revoked
    /// one still works.
    token_cache: Duration,
    slots: Mutex<HashMap<String, Slot>>,
    own: tokio::sync::Mutex<Option<Token>>,
    questions: Semaphore,
}

impl Keystone {
    pub(super) fn new(login: Login, token_cache: Duration) -> Result<Self, KeystoneError> {
        Ok(Self {
            identity: Identity::new(login)?,
            token_cache,
            slots: Mutex::default(),
            own: tokio::sync::Mutex::new(None),
            questions: Semaphore::new(MOST_QUESTIONS),
        })
    }

    /// What a token proves, now.
    pub(super) async fn prove(&self, token: &str) -> Result<Arc<Proven>, Unproven> {
        if token.is_empty() {
            return Err(Unproven::Missing);
        }
        if token.len() > LONGEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Unproven::Bad("the token is malformed"));
        }
        let slot = self.slot(token);
        let mut kept = slot.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| self.is_current(kept)) {
            return Ok(Arc::clone(&kept.proven));
        }
        *kept = None;
        let asked = Instant::now();
        let outcome = self.ask(token).await;
        match outcome {
            Ok(proven) => {
                let proven = Arc::new(proven);
                *kept = Some(Kept { proven: Arc::clone(&proven), since: asked });
                Ok(proven)
            }
            Err(unproven) => {
                drop(kept);
                self.slots().remove(token);
                Err(unproven)
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        // Whole after every statement: poison means nothing here.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, token: &str) -> Slot {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(token) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST_TOKENS {
            // A locked slot is being asked about: it stays.
            slots.retain(|_, slot| match slot.try_lock() {
                Ok(kept) => kept.as_ref().is_some_and(|kept| self.is_current(kept)),
                Err(_) => true,
            });
        }
        if slots.len() >= MOST_TOKENS
            && let Some(any) = slots.keys().next().cloned()
        {
            slots.remove(&any);
        }
        let slot = Slot::default();
        slots.insert(token.to_owned(), Arc::clone(&slot));
        slot
    }

    fn is_current(&self, kept: &Kept) -> bool {
        kept.since.elapsed() < self.token_cache && kept.proven.expires > SystemTime::now()
    }

    async fn ask(&self, token: &str) -> Result<Proven, Unproven> {
        let turn = timeout(LONGEST_QUEUE, self.questions.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Unproven::NoAnswer) };
        // Once more when our own token has been revoked or Keystone has forgotten it.
        for fresh in [false, true] {
            let own = self.own_token(fresh).await?;
            let (identity, token) = (self.identity.clone(), token.to_owned());
            match blocking(move || identity.validate(&own, &token)).await? {
                Verdict::Good(proven) if proven.expires > SystemTime::now() => return Ok(proven),
                Verdict::Good(_) => return Err(Unproven::Bad("the token has expired")),
                Verdict::Bad(why) => return Err(Unproven::Bad(why)),
                Verdict::OurTokenIsBad => debug!("keystone does not know our own token any more"),
            }
        }
        warn!(
            "keystone refuses our own fresh token; may the user of [auth.keystone] validate tokens?"
        );
        Err(Unproven::NoAnswer)
    }

    async fn own_token(&self, fresh: bool) -> Result<Token, Unproven> {
        let mut own = self.own.lock().await;
        let usable = own.as_ref().filter(|own| own.expires > SystemTime::now() + MARGIN);
        if let Some(own) = usable.filter(|_| !fresh) {
            return Ok(own.clone());
        }
        let identity = self.identity.clone();
        let new = blocking(move || identity.log_in()).await?;
        *own = Some(new.clone());
        Ok(new)
    }
}

async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, KeystoneError> + Send + 'static,
) -> Result<T, Unproven> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            warn!(%error, "keystone could not be asked");
            Err(Unproven::NoAnswer)
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
