//! One connection from accept to close, on its own thread.
//!
//! The loop receives what is there, handles every whole PDU in it (commands that need not wait run
//! to their end right here, the others are handed to workers), and sends the collected answers when
//! nothing whole is left to handle; so a deep queue costs few system calls and an idle session
//! none. It waits in socket calls with timeouts, and while a worker has something of it in a poll
//! of the socket and the worker's bell. Shutting the socket from another thread wakes either, so a
//! revoke never waits for a peer. What a deadline counts is whole PDUs, never bytes: a peer that trickles gains nothing.
//!
//! Memory of a session is bounded; `Limits` says by what.

mod answers;
mod backlog;
mod commands;
mod control;
mod feature;
mod pending;
mod run;
mod sequence;
pub mod tasks;
mod transfer;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use self::feature::Session;
use self::wire::{Inbox, Outbox, Received};
use crate::login::{self, Login, Ready, Step};
use crate::pdu::frame::Parsed;
use crate::pdu::response::Response;
use crate::pdu::{Digests, FrameError, Request};
use crate::registry::{Admitted, Connection, Registry};

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The peer closed the connection.
    #[error("closed by the peer")]
    Closed,
    /// We were told to end; nothing more may be said or done.
    #[error("revoked")]
    Revoked,
    /// The initiator logged out.
    #[error("logged out")]
    LoggedOut,
    /// The login was refused.
    #[error("login refused with status {0:#04x}{1:02x}")]
    Refused(u8, u8),
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The bytes received are not a sequence of PDUs.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer was silent for too long.
    #[error("no sign of life")]
    Silent,
    /// The login took too long.
    #[error("login not finished in time")]
    LoginTimeout,
    /// A command panicked; the panic hook has said where.
    #[error("a command panicked")]
    Panicked,
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
}

impl End {
    /// The peer is there and should get what is still queued for it.
    fn is_polite(&self) -> bool {
        match self {
            Self::LoggedOut | Self::Refused(..) | Self::Protocol(_) | Self::Frame(_) => true,
            Self::Closed
            | Self::Revoked
            | Self::Silent
            | Self::LoginTimeout
            | Self::Panicked
            | Self::Socket(_) => false,
        }
    }
}

/// Serves one connection until it ends. Everything it holds is let go when this returns.
pub fn serve(registry: &Registry, connection: &Arc<Connection>) {
    let peer = connection.peer;
    let mut granted = false;
    match run(registry, connection, &mut granted) {
        Ok(never) => match never {},
        // Strangers must not be able to fill the log.
        Err(end @ (End::Protocol(_) | End::Frame(_) | End::Silent)) if granted => {
            tracing::warn!(%peer, %end, "iSCSI connection dropped");
        }
        Err(end) => tracing::debug!(%peer, %end, "iSCSI connection ended"),
    }
}

/// `granted` is set once the connection is a session on a unit.
fn run(
    registry: &Registry,
    connection: &Arc<Connection>,
    granted: &mut bool,
) -> Result<std::convert::Infallible, End> {
    let limits = registry.limits();
    connection.stream.set_nodelay(true)?;
    let mut inbox = Inbox::new(login::MAX_SEGMENT);
    let mut outbox = Outbox::new(connection, limits.send_timeout)?;
    let end = match log_in(registry, connection, &mut inbox, &mut outbox) {
        Ok((ready, admitted)) => {
            *granted = admitted.unit.is_some();
            inbox.grow(limits.max_data_segment);
            outbox.digests = ready.parameters.digests;
            connection.begin_session();
            let mut session = Session::new(registry, connection, outbox, ready, admitted)?;
            let Err(end) = serve_session(&mut inbox, connection, &mut session);
            if connection.gate.is_closed() {
                session.take_leave();
            }
            outbox = session.into_outbox();
            end
        }
        Err(end) => end,
    };
    if end.is_polite() && outbox.flush().is_ok() {
        wire::farewell(&connection.stream);
    }
    Err(end)
}

/// The login phase: rounds of requests until one is admitted or refused.
fn log_in(
    registry: &Registry,
    connection: &Connection,
    inbox: &mut Inbox,
    outbox: &mut Outbox<'_>,
) -> Result<(Ready, Admitted), End> {
    let limits = registry.limits();
    let deadline = Instant::now() + limits.login_timeout;
    let mut login = Login::new(limits, random);
    loop {
        let frame = loop {
            match inbox.next(Digests::default())? {
                Parsed::Whole(frame) => break frame,
                Parsed::Needs(need) => {
                    // The remaining time, recomputed: single bytes do not extend it.
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(End::LoginTimeout);
                    }
                    if inbox.fill(&connection.stream, need, left)? == Received::End {
                        return Err(End::Closed);
                    }
                }
            }
        };
        let Ok(Request::Login(request)) = Request::decode(&frame.header) else {
            let refusal = login.refuse_other(frame.header.itt());
            return Err(refuse(registry, &login, outbox, refusal));
        };
        let len = frame.len;
        let step = login.step(&request, frame.data, |claim| registry.check(claim));
        inbox.consume(len);
        match step {
            Step::Answer(response, text) => {
                outbox.push(&Response::Login(response), &text);
                outbox.flush()?;
            }
            Step::Refuse(response) => return Err(refuse(registry, &login, outbox, response)),
            Step::Ready(mut ready) => {
                let proven = ready.proven.as_ref();
                match registry.admit(connection, &ready.claim, proven, deadline) {
                    Ok(admitted) => {
                        ready.response.tsih = admitted.tsih;
                        outbox.push(&Response::Login(ready.response), &ready.text);
                        outbox.flush()?;
                        return Ok((ready, admitted));
                    }
                    Err(status) => {
                        return Err(refuse(registry, &login, outbox, ready.refusal(status)));
                    }
                }
            }
        }
    }
}

/// Bytes nobody could foresee, from the system.
fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

fn refuse(
    registry: &Registry,
    login: &Login,
    outbox: &mut Outbox<'_>,
    response: crate::pdu::response::LoginResponse,
) -> End {
    registry.count_refusal(login.target(), response.class, response.detail);
    outbox.push(&Response::Login(response), &[]);
    End::Refused(response.class, response.detail)
}

/// The full feature phase.
fn serve_session(
    inbox: &mut Inbox,
    connection: &Connection,
    session: &mut Session<'_>,
) -> Result<std::convert::Infallible, End> {
    let digests = session.digests();
    let limits = session.limits();
    let (idle, patience) = (limits.idle_ping_after, limits.ping_timeout);
    let mut heard = Instant::now();
    let mut pinged = None;
    loop {
        let mut whole = false;
        let need = loop {
            match inbox.next(digests) {
                Ok(Parsed::Whole(frame)) => {
                    let len = frame.len;
                    session.handle(&frame)?;
                    inbox.consume(len);
                    whole = true;
                }
                Ok(Parsed::Needs(need)) => break need,
                Err(error) => return Err(session.bad_frame(error)),
            }
        };
        session.settle()?;
        session.flush()?;
        if whole {
            heard = Instant::now();
            pinged = None;
        }
        let timeout = if pinged.is_some() { patience } else { idle };
        let received = if session.is_waiting() {
            let silent_since = pinged.unwrap_or(heard);
            let left = timeout.saturating_sub(silent_since.elapsed());
            session.wait(inbox, &connection.stream, need, left)?
        } else {
            inbox.fill(&connection.stream, need, timeout)?
        };
        // Before anything that may have come with it: a peer that goes on sending gains nothing.
        if connection.gate.is_closed() {
            return Err(End::Revoked);
        }
        if received == Received::End {
            return Err(End::Closed);
        }
        // Silence, or bytes: only a whole PDU counts as having come in time.
        let now = Instant::now();
        if received == Received::Bytes {
            session.received(now);
        }
        match pinged {
            Some(since) if now.duration_since(since) >= patience => {
                if received != Received::Bytes || !session.has_whole(inbox) {
                    return Err(End::Silent);
                }
            }
            None if now.duration_since(heard) >= idle && !session.has_whole(inbox) => {
                session.ping()?;
                session.rest();
                pinged = Some(now);
            }
            Some(_) | None => {}
        }
    }
}
