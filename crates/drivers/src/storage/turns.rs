//! Calls for one thing come one after the other, and hold nobody else up.
//!
//! What guards is the name, not memory: a panic leaves nothing half-changed behind it.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// What is being worked on.
#[derive(Debug)]
pub(super) struct Turns<K> {
    names: Mutex<BTreeSet<K>>,
    ended: Condvar,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { names: Mutex::default(), ended: Condvar::new() }
    }
}

impl<K: Ord + Copy> Turns<K> {
    /// Does it when nobody else works on the same thing.
    pub(super) fn alone<T>(&self, name: K, work: impl FnOnce() -> T) -> T {
        let busy = |names: &mut BTreeSet<K>| !names.insert(name);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.ended.wait_while(names, busy).unwrap_or_else(PoisonError::into_inner));
        /// Also after a panic.
        struct End<'a, K: Ord>(&'a Turns<K>, K);
        impl<K: Ord> Drop for End<'_, K> {
            fn drop(&mut self) {
                let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
                names.remove(&self.1);
                self.0.ended.notify_all();
            }
        }
        let _end = End(self, name);
        work()
    }
}
