//! One thing at a time for each volume, and one answer for all who ask for the same.
//!
//! Callers give up and ask again long before a slow call ends. The work goes on as a task of its
//! own; who asks for the very same joins it and hears its answer, who asks for something else of
//! that volume hears ABORTED, which CSI has for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::status::Status;

type Outcome = Result<i64, Status>;

/// The turns of every volume.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    running: Arc<Mutex<HashMap<String, Running>>>,
}

#[derive(Debug)]
struct Running {
    what: String,
    answer: watch::Receiver<Option<Outcome>>,
}

/// Ends the turn when the work ends, also when it panics.
struct Turn {
    turns: Turns,
    volume: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.volume);
    }
}

impl Turns {
    /// Does `work` for this volume, or joins the same that is under way.
    ///
    /// # Errors
    /// As the work; `ABORTED` while something else is done for the volume.
    pub async fn take(
        &self,
        volume: &str,
        what: String,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Outcome {
        let mut answer = self.begin(volume, what, work)?;
        let lost = || Status::internal("the call ended in a panic; this is a fault of osds");
        let answer = answer.wait_for(Option::is_some).await.map_err(|_| lost())?;
        answer.clone().unwrap_or_else(|| Err(lost()))
    }

    fn begin(
        &self,
        volume: &str,
        what: String,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<watch::Receiver<Option<Outcome>>, Status> {
        let mut running = self.lock();
        let (tell, answer) = watch::channel(None);
        match running.entry(volume.to_owned()) {
            Entry::Occupied(other) if other.get().what == what => {
                return Ok(other.get().answer.clone());
            }
            Entry::Occupied(_) => {
                let why = format!("another call for volume {volume} is under way; try again");
                return Err(Status::aborted(why));
            }
            Entry::Vacant(free) => free.insert(Running { what, answer: answer.clone() }),
        };
        let turn = Turn { turns: self.clone(), volume: volume.to_owned() };
        tokio::spawn(async move {
            let outcome = work.await;
            // The turn ends first: whoever has the answer may ask for something else.
            drop(turn);
            let _ = tell.send(Some(outcome));
        });
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::status::Code;

    #[tokio::test]
    async fn the_same_joins_and_another_is_aborted() {
        let turns = Turns::default();
        let (go, gone) = oneshot::channel::<()>();
        let begun = {
            let turns = turns.clone();
            tokio::spawn(async move {
                let work = async move {
                    let _ = gone.await;
                    Ok(7)
                };
                turns.take("v", "stage".to_owned(), work).await
            })
        };
        while turns.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let other = turns.take("v", "unstage".to_owned(), async { Ok(1) }).await;
        assert_eq!(other.unwrap_err().code(), Code::Aborted);
        assert_eq!(turns.take("w", "stage".to_owned(), async { Ok(2) }).await.unwrap(), 2);
        let joined = turns.take("v", "stage".to_owned(), async { Ok(8) });
        go.send(()).unwrap();
        assert_eq!(joined.await.unwrap(), 7);
        assert_eq!(begun.await.unwrap().unwrap(), 7);
        assert_eq!(turns.take("v", "unstage".to_owned(), async { Ok(1) }).await.unwrap(), 1);
        let panics = turns.take("v", "x".to_owned(), async { panic!("on purpose") }).await;
        assert_eq!(panics.unwrap_err().code(), Code::Internal);
        assert!(turns.lock().is_empty());
    }
}
