//! What a session hands to the workers, and how it hears of the end.
//!
//! The session's thread alone decides what is handed over and alone answers the initiator: numbers,
//! order and the socket stay with one thread and need no lock. A worker takes a job, runs it behind
//! the session's gate, puts the outcome here and rings a bell (an eventfd that the session's thread
//! polls beside its socket), but only if that thread said that it sleeps; so neither of them pays for the
//! other while both are busy, and a session that has nothing here never polls. What must hold:
//! when [`Backlog::close`] has returned, no worker is inside a command of this session and none
//! will be. A panic of a job is kept here and ends the session.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::run::{self, Ran};
use super::tasks::Began;
use crate::buffer::Buffer;
use crate::pdu::request::ScsiCommand;
use crate::quiet::Pass;
use crate::registry::{Attached, Connection};
use crate::scsi::{Attention, Completion, Status};
use crate::workers::{Lane, Share, Workers};

/// Something for a worker.
#[derive(Debug)]
pub struct Job {
    /// Which one it is, for the session.
    pub ticket: u64,
    /// What it is.
    pub errand: Errand,
    /// Data-out of a command.
    pub data_out: Buffer,
    /// Empty; data-in will be put here.
    pub data_in: Buffer,
    /// Leave to change the unit's blocks, for a command that does; given back when it has ended, or
    /// never begins.
    pub pass: Option<Pass>,
}

/// What a worker can do for a session.
#[derive(Debug)]
pub enum Errand {
    /// Run a command of the unit that began, and was received, at that time.
    Command(ScsiCommand, Began, Instant),
    /// Wait until all that the task set executes has ended, then tell the others that their commands
    /// were cleared. It ends in BUSY if that takes beyond this moment.
    Clear(Instant),
    /// The same, then reset the unit.
    Reset(Instant),
}

/// A job that has ended.
#[derive(Debug)]
pub struct Done {
    /// The job's ticket.
    pub ticket: u64,
    /// How it ended.
    pub ran: Ran,
    /// The buffer of its data-out.
    pub data_out: Buffer,
    /// Its data-in.
    pub data_in: Buffer,
}

/// Why [`Backlog::sleep`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something happened at the socket.
    Socket,
    /// Somebody rang.
    Bell,
    /// Nothing happened within the timeout.
    Timeout,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Backlog {
    connection: Arc<Connection>,
    share: Arc<Share>,
    waiting: AtomicUsize,
    bell: OwnedFd,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    /// None once closed.
    attached: Option<Arc<Attached>>,
    queued: VecDeque<Job>,
    running: usize,
    done: Vec<Done>,
    asleep: bool,
    panicked: bool,
}

impl Backlog {
    /// An empty one.
    pub fn new(connection: &Arc<Connection>, attached: &Arc<Attached>) -> io::Result<Self> {
        Ok(Self {
            connection: Arc::clone(connection),
            share: Arc::clone(&attached.tasks.share),
            waiting: AtomicUsize::new(0),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            state: Mutex::new(State {
                attached: Some(Arc::clone(attached)),
                queued: VecDeque::new(),
                running: 0,
                done: Vec::new(),
                asleep: false,
                panicked: false,
            }),
            left: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job. `first`: before those that have not begun.
    fn put(&self, job: Job, first: bool) {
        let queued = &mut self.lock().queued;
        if first { queued.push_front(job) } else { queued.push_back(job) }
    }

    /// Takes back a job that has not begun.
    pub fn withdraw(&self, ticket: u64) -> Option<Job> {
        let queued = &mut self.lock().queued;
        let at = queued.iter().position(|job| job.ticket == ticket)?;
        queued.remove(at)
    }

    /// Moves what has ended to `ended`. Whether a job has panicked.
    pub fn collect(&self, ended: &mut Vec<Done>) -> bool {
        let mut state = self.lock();
        ended.append(&mut state.done);
        state.panicked
    }

    /// Wakes the session's thread if it sleeps.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            // Fails only when the counter is full, and then the bell rings anyway.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Waits for the socket, the bell or the timeout.
    pub fn sleep(&self, stream: &TcpStream, timeout: Duration) -> io::Result<Woken> {
        {
            let mut state = self.lock();
            if !state.done.is_empty() || state.panicked {
                return Ok(Woken::Bell);
            }
            state.asleep = true;
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut fds = [PollFd::new(stream, PollFlags::IN), PollFd::new(&self.bell, PollFlags::IN)];
        let polled = match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => Ok(0),
            other => other,
        };
        let (socket, bell) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        self.lock().asleep = false;
        if bell {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        }
        Ok(match polled? {
            0 => Woken::Timeout,
            _ if socket => Woken::Socket,
            _ => Woken::Bell,
        })
    }

    /// Drops what has not begun, lets nothing begin any more, and waits for what is running; what
    /// waits there for commands of others is given up. The second time there is nothing left to do.
    pub fn close(&self) {
        self.connection.depart();
        let mut state = self.lock();
        state.attached = None;
        state.queued.clear();
        while state.running > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(&self, attached: &Attached, job: &mut Job) -> Ran {
        let gate = &self.connection.gate;
        let (reset, deadline) = match &job.errand {
            Errand::Command(command, began, received) => {
                let Job { data_out, data_in, .. } = job;
                let (began, received) = (*began, *received);
                return run::to_its_end(
                    gate, attached, command, data_out, began, received, data_in,
                );
            }
            Errand::Clear(deadline) => (false, *deadline),
            Errand::Reset(deadline) => (true, *deadline),
        };
        let Some(_pass) = gate.enter() else { return Ran::Revoked };
        if !attached.tasks.wait_for_executing(deadline, || gate.is_closed()) {
            return Ran::Done(Completion { status: Status::Busy, sense: None });
        }
        if reset {
            attached.unit.reset(&attached.nexus);
        } else {
            attached.unit.announce(Attention::CommandsCleared, Some(&attached.nexus));
        }
        Ran::Done(Completion::GOOD)
    }
}

impl Lane for Backlog {
    fn run_next(&self) {
        let (attached, mut job) = {
            let mut state = self.lock();
            let Some(attached) = state.attached.clone() else { return };
            let Some(job) = state.queued.pop_front() else { return };
            state.running += 1;
            (attached, job)
        };
        let ran = catch_unwind(AssertUnwindSafe(|| self.perform(&attached, &mut job)));
        // Before the session may be told that nobody is inside: the nexus ends with it.
        drop(attached);
        let mut state = self.lock();
        state.running -= 1;
        match ran {
            Ok(ran) => {
                let Job { ticket, data_out, data_in, errand: _, pass } = job;
                drop(pass);
                state.done.push(Done { ticket, ran, data_out, data_in });
            }
            // The panic hook has reported it.
            Err(_) => state.panicked = true,
        }
        if state.running == 0 {
            self.left.notify_all();
        }
        self.wake(state);
    }

    fn share(&self) -> &Share {
        &self.share
    }

    fn waiting(&self) -> &AtomicUsize {
        &self.waiting
    }
}

/// Closes the backlog when it goes.
#[derive(Debug)]
pub struct Held<'a> {
    /// The backlog.
    pub backlog: Arc<Backlog>,
    /// Who works on it.
    pub workers: &'a Workers,
}

impl Held<'_> {
    /// Hands a job to the workers.
    pub fn hand_over(&self, job: Job, first: bool) {
        self.backlog.put(job, first);
        self.workers.submit(&self.backlog);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.backlog.close();
        self.workers.forget(&self.backlog);
    }
}
