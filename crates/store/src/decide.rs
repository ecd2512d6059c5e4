//! Look, decide, commit; when somebody else was quicker, look again.

use crate::Store;
use crate::error::StoreError;
use crate::txn::Txn;
use crate::view::View;

/// How often a decision is made again. Each time, some other decision got through, so this many
/// in a row means that far too many want the same record.
const ATTEMPTS: u32 = 1000;

/// Why nothing was decided.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DecideError<E> {
    /// The decision was no.
    #[error(transparent)]
    Refused(E),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Commits what `decide` decides on the latest view, deciding again as often as somebody else
/// changes what the decision rests on. `decide` must be pure: it may be called many times.
///
/// Returns only when all that `decide` was shown is durable, also when it refuses or has nothing
/// to commit: an answer such as "that exists already" must stay true after a power cut.
///
/// # Errors
/// [`DecideError::Refused`] with the error of `decide`, or [`DecideError::Store`], which is never
/// [`StoreError::Conflict`].
pub async fn decide<T, E>(
    store: &dyn Store,
    mut decide: impl FnMut(&View) -> Result<(Txn, T), E>,
) -> Result<T, DecideError<E>> {
    for _ in 0..ATTEMPTS {
        let seen = store.latest();
        let (txn, answer) = match decide(&seen) {
            Ok((txn, answer)) => (txn, Ok(answer)),
            Err(refusal) => (Txn::new(), Err(DecideError::Refused(refusal))),
        };
        if txn.is_empty() && store.view().revision() >= seen.revision() {
            return answer;
        }
        match store.commit(txn).await {
            Ok(_) => return answer,
            // Let the winners move on: without this, losers of one record keep each other busy.
            Err(StoreError::Conflict) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    let doing = format!("{ATTEMPTS} decisions in a row met a change by somebody else");
    Err(StoreError::unavailable(doing).into())
}
