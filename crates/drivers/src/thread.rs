//! Where calls are made that may block for long (files, programs, arrays, kernels), and what they share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use osds_model::FaultKind;

use crate::DriverError;

/// Runs `work` on a thread for that and waits for it. One that panicked may have done a part of it:
/// its caller asks again, as after any lost answer.
pub(crate) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| {
        let doing = "the driver stopped in the middle of a call";
        Err(DriverError::new(FaultKind::Temporary, doing).because(stopped))
    })
}

/// What drivers guard so is never half-changed when somebody panics.
pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
