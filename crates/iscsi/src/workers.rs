//! A bounded pool of threads, shared by all sessions, for commands that have to wait.
//!
//! Each session is a [`Lane`] that hands out its work piece by piece. Lanes with work stand in a
//! circle, so a session with a hundred slow commands is not served before one with a single one.
//! A unit may hold as many threads as are free: one whose medium hangs takes half of the pool, a
//! second one a quarter, and somebody else always finds a thread. Threads are started when work
//! would otherwise wait, up to the bound, and joined by [`Workers::stop`].

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// A source of work.
pub trait Lane: Debug + Send + Sync {
    /// Runs the next piece to its end, if there still is one. Must not panic.
    fn run_next(&self);

    /// How much of the pool the work of this lane and its siblings may take.
    fn share(&self) -> &Share;

    /// Pieces handed in and not taken yet; for the pool alone, which changes it under its lock.
    fn waiting(&self) -> &AtomicUsize;
}

/// The threads that lanes of one kind (of one unit) hold together.
#[derive(Debug, Default)]
pub struct Share(AtomicUsize);

/// See the head of this file.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    most: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    circle: VecDeque<Arc<dyn Lane>>,
    threads: Vec<JoinHandle<()>>,
    busy: usize,
    idle: usize,
    stopped: bool,
}

impl Workers {
    /// At most so many threads.
    pub fn new(most: usize) -> Self {
        let (state, work) = Default::default();
        Self { shared: Arc::new(Shared { most, state, work }) }
    }

    /// One more piece of work is in `lane`.
    pub fn submit(&self, lane: &Arc<impl Lane + 'static>) {
        let mut state = self.shared.lock();
        if lane.waiting().fetch_add(1, Ordering::Relaxed) == 0 {
            state.circle.push_back(Arc::clone(lane) as Arc<dyn Lane>);
        }
        self.shared.call_for_hands(&mut state);
        if state.threads.is_empty() {
            // The system gives us none: better slow than never.
            drop(state);
            lane.run_next();
        }
    }

    /// Forgets a lane that has no work left.
    pub fn forget(&self, lane: &Arc<impl Lane + 'static>) {
        let mut state = self.shared.lock();
        if lane.waiting().swap(0, Ordering::Relaxed) > 0 {
            let gone = Arc::as_ptr(lane).cast::<()>();
            state.circle.retain(|other| Arc::as_ptr(other).cast::<()>() != gone);
        }
    }

    /// Ends and joins the threads. To be called when no lane has work left.
    pub fn stop(&self) {
        let threads = {
            let mut state = self.shared.lock();
            state.stopped = true;
            std::mem::take(&mut state.threads)
        };
        self.shared.work.notify_all();
        for thread in threads {
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }

    #[cfg(test)]
    fn threads(&self) -> usize {
        self.shared.lock().threads.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a thread looks at the circle: an idle one, or a new one.
    fn call_for_hands(self: &Arc<Self>, state: &mut State) {
        if state.idle > 0 {
            self.work.notify_one();
        } else if state.threads.len() < self.most && !state.stopped {
            let name = format!("iscsi-work-{}", state.threads.len());
            let shared = Arc::clone(self);
            match Builder::new().name(name).spawn(move || shared.serve()) {
                Ok(thread) => state.threads.push(thread),
                Err(error) => tracing::warn!(%error, "could not start an iSCSI worker thread"),
            }
        }
    }

    fn serve(self: Arc<Self>) {
        let mut state = self.lock();
        loop {
            if let Some(lane) = state.pick(self.most) {
                // Whoever was called may have come for two pieces.
                if state.next(self.most).is_some() {
                    self.call_for_hands(&mut state);
                }
                drop(state);
                lane.run_next();
                state = self.lock();
                state.busy -= 1;
                lane.share().0.fetch_sub(1, Ordering::Relaxed);
            } else if state.stopped {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

impl State {
    /// The first lane in the circle that may have another thread.
    fn next(&self, most: usize) -> Option<usize> {
        let free = most - self.busy;
        self.circle.iter().position(|lane| lane.share().0.load(Ordering::Relaxed) < free)
    }

    fn pick(&mut self, most: usize) -> Option<Arc<dyn Lane>> {
        let lane = self.circle.remove(self.next(most)?)?;
        self.busy += 1;
        lane.share().0.fetch_add(1, Ordering::Relaxed);
        if lane.waiting().fetch_sub(1, Ordering::Relaxed) > 1 {
            self.circle.push_back(Arc::clone(&lane));
        }
        Some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Each piece says that it runs and then waits to be let go.
    #[derive(Debug)]
    struct Stubborn {
        name: &'static str,
        begun: Mutex<Sender<&'static str>>,
        leave: Mutex<Receiver<()>>,
        share: Arc<Share>,
        waiting: AtomicUsize,
    }

    impl Lane for Stubborn {
        fn run_next(&self) {
            self.begun.lock().unwrap().send(self.name).unwrap();
            let _ = self.leave.lock().unwrap().recv();
        }

        fn share(&self) -> &Share {
            &self.share
        }

        fn waiting(&self) -> &AtomicUsize {
            &self.waiting
        }
    }

    fn stubborn(name: &'static str, begun: &Sender<&'static str>) -> (Arc<Stubborn>, Sender<()>) {
        let (go, leave) = channel();
        let lane = Stubborn {
            name,
            begun: Mutex::new(begun.clone()),
            leave: Mutex::new(leave),
            share: Arc::default(),
            waiting: AtomicUsize::new(0),
        };
        (Arc::new(lane), go)
    }

    #[test]
    fn a_unit_that_hangs_leaves_threads_to_the_others() {
        let workers = Workers::new(8);
        let (begun, begins) = channel();
        let mut lanes = vec![];
        // Each may take half of what is left: 4, 2, 1; then one remains for whoever comes.
        for (name, taken) in [("a", 4), ("b", 2), ("c", 1), ("d", 1)] {
            let (lane, go) = stubborn(name, &begun);
            for _ in 0..8 {
                workers.submit(&lane);
            }
            for _ in 0..taken {
                assert_eq!(begins.recv().unwrap(), name);
            }
            assert_eq!(lane.share.0.load(Ordering::Relaxed), taken);
            lanes.push((lane, go));
        }
        assert!(begins.try_recv().is_err(), "nobody got more");
        assert_eq!(workers.threads(), 8);
        for (_, go) in &lanes {
            (0..8).for_each(|_| go.send(()).unwrap());
        }
        let rest: Vec<_> = (0..4 * 8 - 8).map(|_| begins.recv().unwrap()).collect();
        assert_eq!(rest.len(), 24);
        workers.stop();
        assert_eq!(workers.threads(), 0);
    }

    #[test]
    fn lanes_take_turns() {
        let workers = Workers::new(1);
        let (begun, begins) = channel();
        let (busy, busy_go) = stubborn("busy", &begun);
        let (quiet, quiet_go) = stubborn("quiet", &begun);
        for _ in 0..20 {
            workers.submit(&busy);
        }
        assert_eq!(begins.recv().unwrap(), "busy");
        workers.submit(&quiet);
        quiet_go.send(()).unwrap();
        (0..20).for_each(|_| busy_go.send(()).unwrap());
        let order: Vec<_> = begins.iter().take(20).collect();
        assert_eq!(order[..2], ["busy", "quiet"], "not behind the other nineteen");
        workers.stop();
    }
}
