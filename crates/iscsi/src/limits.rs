//! The bounds that an owner of a target may set; those of single negotiations stand beside them.
//!
//! Memory of one session is at most: the receive buffer (one data segment and a bit), the send
//! buffer (about 256 KiB, plus one command's data while it is being sent), `queue_depth` x
//! `first_burst` of unsolicited data, `buffered_bytes_per_session` of solicited data (an R2T is only
//! sent when its command fits in what is left of that; the oldest command always may, so one
//! `max_write_bytes` comes on top), and as much again of what workers read for it.

use std::time::Duration;

/// Bounds on connections, time and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all kinds at once. A further one takes the place of the oldest stranger; when
    /// there is none, it is closed unanswered.
    pub connections_total: usize,
    /// Connections at once that have shown no grant: they are logging in, or came for discovery.
    /// A further one takes the place of the oldest of them.
    pub connections_strangers: usize,
    /// Sessions of one initiator name with units, and as many for discovery, which prove nothing;
    /// further logins are refused (0302). There is no
    /// such bound for a target: with it, one host of a shared disk could keep the others out.
    pub connections_per_initiator: usize,
    /// From accept to the full feature phase.
    pub login_timeout: Duration,
    /// A session silent for so long is pinged.
    pub idle_ping_after: Duration,
    /// A ping, or the rest of a PDU, must arrive within this.
    pub ping_timeout: Duration,
    /// A peer that takes none of our bytes for so long is dropped.
    pub send_timeout: Duration,
    /// How long revoke, unexport and shutdown wait for running commands.
    pub drain_timeout: Duration,
    /// MaxRecvDataSegmentLength we declare.
    pub max_data_segment: usize,
    /// MaxBurstLength we offer.
    pub max_burst: usize,
    /// FirstBurstLength we offer.
    pub first_burst: usize,
    /// Largest expected data length of one write command.
    pub max_write_bytes: usize,
    /// Commands a session may have open at once.
    pub queue_depth: u32,
    /// Solicited write data a session may have in memory; and as much of what workers read for it.
    pub buffered_bytes_per_session: usize,
    /// Threads for commands that have to wait, all sessions together. A unit may hold as many of
    /// them as are free, so half of them when it is alone.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_total: 4096,
            connections_strangers: 256,
            connections_per_initiator: 1024,
            login_timeout: Duration::from_secs(15),
            idle_ping_after: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            max_data_segment: 256 << 10,
            max_burst: 1 << 20,
            first_burst: 64 << 10,
            max_write_bytes: 16 << 20,
            queue_depth: 128,
            buffered_bytes_per_session: 16 << 20,
            workers: 64,
        }
    }
}

impl Limits {
    /// Brings values the protocol cannot express back into its ranges.
    pub(crate) fn clamped(mut self) -> Self {
        // Each session needs a handle of 16 bits of its own.
        self.connections_total = self.connections_total.clamp(1, 1 << 15);
        self.connections_strangers = self.connections_strangers.max(1);
        let length = 512..=(1 << 24) - 1;
        self.max_data_segment = self.max_data_segment.clamp(8192, *length.end());
        self.max_burst = self.max_burst.clamp(*length.start(), *length.end());
        self.first_burst = self.first_burst.clamp(*length.start(), self.max_burst);
        self.workers = self.workers.clamp(1, 1024);
        self.queue_depth = self.queue_depth.clamp(1, 4096);
        // A zero timeout means "for ever" to a socket.
        let tick = Duration::from_millis(1);
        for timeout in [
            &mut self.login_timeout,
            &mut self.idle_ping_after,
            &mut self.ping_timeout,
            &mut self.send_timeout,
        ] {
            *timeout = (*timeout).max(tick);
        }
        self
    }
}
