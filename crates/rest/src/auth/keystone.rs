//! Proving tokens: the cache of those that were proven, and our own token.
//!
//! Requests with the same token ask once: the first one holds the token's slot while it asks, the
//! others wait for the slot and find the answer. A refusal is for those that wait already and is
//! not kept, but the number of questions under way is bounded, so that guessing tokens does not
//! become a flood at Keystone.
//!
//! Must stay true: a question holds its turn until Keystone has answered or the time is over, also
//! when whoever asked is gone: each one blocks a thread, and storage needs those threads too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use osds_rest_api::keystone::{Identity, KeystoneError, Login, Proven, Token, Verdict};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

enum Kept {
    Proven { proven: Arc<Proven>, asked: Instant },
    Refused { why: Unproven, at: Instant },
}

/// Our own token, or when we last tried to get one in vain.
#[derive(Default)]
struct Own {
    token: Option<Token>,
    failed: Option<Instant>,
}

/// See the head of this file.
pub(super) struct Keystone {
    identity: Identity,
    /// How long a proven token is believed without asking again, which is also how long a revoked
    /// one still works.
    token_cache: Duration,
    slots: Mutex<HashMap<String, Slot>>,
    own: tokio::sync::Mutex<Own>,
    questions: Arc<Semaphore>,
}

impl Keystone {
    pub(super) fn new(login: Login, token_cache: Duration) -> Result<Self, KeystoneError> {
        Ok(Self {
            identity: Identity::new(login)?,
            token_cache,
            slots: Mutex::default(),
            own: tokio::sync::Mutex::default(),
            questions: Arc::new(Semaphore::new(MOST_QUESTIONS)),
        })
    }

    /// What a token proves, now.
    pub(super) async fn prove(self: &Arc<Self>, token: &str) -> Result<Arc<Proven>, Unproven> {
        if token.is_empty() {
            return Err(Unproven::Missing);
        }
        if token.len() > LONGEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Unproven::Bad("the token is malformed"));
        }
        let came = Instant::now();
        let slot = self.slot(token);
        let mut kept = slot.lock().await;
        match &*kept {
            // Asked after we came, it is as new as an answer to ourselves.
            Some(Kept::Proven { proven, asked })
                if self.is_current(proven, *asked) || *asked >= came && is_alive(proven) =>
            {
                return Ok(Arc::clone(proven));
            }
            Some(Kept::Refused { why, at }) if *at >= came => return Err(*why),
            Some(_) | None => {}
        }
        *kept = None;
        let asked = Instant::now();
        let outcome = self.ask(token).await.map(Arc::new);
        *kept = Some(match &outcome {
            Ok(proven) => Kept::Proven { proven: Arc::clone(proven), asked },
            Err(why) => Kept::Refused { why: *why, at: Instant::now() },
        });
        if outcome.is_err() {
            // Those that wait have the slot; those that come do not find it.
            self.slots().remove(token);
        }
        outcome
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
                Ok(kept) => match &*kept {
                    Some(Kept::Proven { proven, asked }) => self.is_current(proven, *asked),
                    Some(Kept::Refused { .. }) | None => false,
                },
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

    fn is_current(&self, proven: &Proven, asked: Instant) -> bool {
        asked.elapsed() < self.token_cache && is_alive(proven)
    }

    async fn ask(self: &Arc<Self>, token: &str) -> Result<Proven, Unproven> {
        let turn = timeout(LONGEST_QUEUE, Arc::clone(&self.questions).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Unproven::NoAnswer) };
        // A task: a client that hangs up must not free the turn while Keystone is still asked.
        let asked = tokio::spawn(Arc::clone(self).question(token.to_owned(), turn)).await;
        match asked.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Err(Unproven::NoAnswer),
        }
    }

    async fn question(
        self: Arc<Self>,
        token: String,
        _turn: OwnedSemaphorePermit,
    ) -> Result<Proven, Unproven> {
        let mut refused = None;
        // Once more when our own token has been revoked or Keystone has forgotten it.
        for _ in 0..2 {
            let own = self.own_token(refused.as_ref()).await?;
            let (identity, token, ours) = (self.identity.clone(), token.clone(), own.clone());
            match blocking(move || identity.validate(&ours, &token)).await? {
                Verdict::Good(proven) if is_alive(&proven) => return Ok(proven),
                Verdict::Good(_) => return Err(Unproven::Bad("the token has expired")),
                Verdict::Bad(why) => return Err(Unproven::Bad(why)),
                Verdict::OurTokenIsBad => debug!("keystone does not know our own token any more"),
            }
            refused = Some(own);
        }
        warn!(
            "keystone refuses our own fresh token; may the user of [auth.keystone] validate tokens?"
        );
        Err(Unproven::NoAnswer)
    }

    /// Our own token, and not the one that was refused.
    async fn own_token(&self, refused: Option<&Token>) -> Result<Token, Unproven> {
        let came = Instant::now();
        let mut own = self.own.lock().await;
        // One wait in vain is enough for all that wait.
        if own.failed.is_some_and(|at| at >= came) {
            return Err(Unproven::NoAnswer);
        }
        let is_usable = |own: &&Token| {
            own.expires > SystemTime::now() + MARGIN
                && refused.is_none_or(|refused| refused.expose() != own.expose())
        };
        if let Some(own) = own.token.as_ref().filter(is_usable) {
            return Ok(own.clone());
        }
        let identity = self.identity.clone();
        let new = blocking(move || identity.log_in()).await;
        own.failed = new.is_err().then(Instant::now);
        own.token = new.as_ref().ok().cloned();
        new
    }
}

fn is_alive(proven: &Proven) -> bool {
    proven.expires > SystemTime::now()
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};

    use osds_rest_api::keystone::Domain;
    use tokio::task::yield_now;

    use super::*;

    /// A Keystone that takes questions and answers none; the questions, to be hung up on.
    fn mute() -> (Arc<Keystone>, Receiver<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let login = Login {
            auth_url: format!("http://{}", listener.local_addr().unwrap()),
            username: "osds".to_owned(),
            password: "p".to_owned(),
            user_domain: Domain::Id("default".to_owned()),
            project_name: "service".to_owned(),
            project_domain: Domain::Id("default".to_owned()),
            ca_file: None,
        };
        let (asked, questions) = channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                // Else our hanging up would be a reset before it has been sent.
                let _ = stream.read(&mut [0; 4096]);
                if asked.send(stream).is_err() {
                    break;
                }
            }
        });
        (Arc::new(Keystone::new(login, Duration::ZERO).unwrap()), questions)
    }

    async fn settle() {
        for _ in 0..64 {
            yield_now().await;
        }
    }

    /// How many more questions there are within the time that one takes to get here.
    fn more(questions: &Receiver<TcpStream>) -> usize {
        let mut seen = 0;
        while let Ok(stream) = questions.recv_timeout(Duration::from_millis(300)) {
            drop(stream);
            seen += 1;
        }
        seen
    }

    #[tokio::test]
    async fn one_wait_in_vain_is_enough_for_all_that_wait() {
        let (keystone, questions) = mute();
        let ask = |token: String| {
            let keystone = Arc::clone(&keystone);
            tokio::spawn(async move { keystone.prove(&token).await.map(drop) })
        };
        // Five with the same token, five with one of their own.
        let waiting: Vec<_> =
            (0..10).map(|n| ask(format!("t{}", if n < 5 { 0 } else { n }))).collect();
        settle().await;
        let first = questions.recv_timeout(Duration::from_secs(30)).unwrap();
        settle().await;
        drop(first);
        for outcome in waiting {
            assert_eq!(outcome.await.unwrap(), Err(Unproven::NoAnswer));
        }
        assert_eq!(more(&questions), 0);
        // Who comes later asks anew.
        let later = ask("t0".to_owned());
        settle().await;
        drop(questions.recv_timeout(Duration::from_secs(30)).unwrap());
        assert_eq!(later.await.unwrap(), Err(Unproven::NoAnswer));
    }

    #[tokio::test]
    async fn who_hangs_up_frees_no_turn_while_keystone_is_asked() {
        let (keystone, questions) = mute();
        let mut held = Vec::new();
        for n in 0..8 {
            let keystone = Arc::clone(&keystone);
            let asking = tokio::spawn(async move {
                let _ = keystone.prove(&format!("t{n}")).await;
            });
            settle().await;
            if n == 0 {
                held.push(questions.recv_timeout(Duration::from_secs(30)).unwrap());
            }
            asking.abort();
            let _ = asking.await;
        }
        assert_eq!(keystone.questions.available_permits(), MOST_QUESTIONS - 8);
        assert_eq!(more(&questions), 0);
    }
}
