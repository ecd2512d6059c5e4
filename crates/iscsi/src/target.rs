//! The target: its portals, and the orders its owner gives.
//!
//! One thread per portal accepts connections, one thread per connection serves it; all of them are
//! owned here and end with [`Target::shutdown`]. Every order is idempotent and may come from any
//! thread at any time.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::credentials::Authentication;
use crate::gate::Latch;
use crate::limits::Limits;
use crate::quiet::Held;
use crate::registry::{Connection, ExportFacts, Registry, TargetError};
use crate::scsi::{Access, LogicalUnit};
use crate::session;
use crate::throttle::Limit;
use crate::usage::{ExportUsage, TargetUsage};

/// Connections that wait to be accepted. When it overflows the system drops the rest, and a host
/// that knocks beside a crowd tries again only after a second, then three, then seven.
const BACKLOG: i32 = 4096;

/// A running iSCSI target.
#[derive(Debug)]
pub struct Target {
    registry: Arc<Registry>,
    stopping: Arc<Latch>,
    portals: Vec<Portal>,
}

#[derive(Debug)]
struct Portal {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Target {
    /// Listens on the given addresses (port 0 picks a free one) and serves from now on.
    pub fn start(listen: &[SocketAddr], limits: Limits) -> io::Result<Self> {
        let limits = limits.clamped();
        let bound = listen.iter().map(|address| bind(*address)).collect::<io::Result<Vec<_>>>()?;
        let addresses =
            bound.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let mut target = Self {
            registry: Arc::new(Registry::new(limits, addresses)),
            stopping: Arc::default(),
            portals: Vec::new(),
        };
        for listener in bound {
            let portal = target.open(listener)?;
            target.portals.push(portal);
        }
        Ok(target)
    }

    fn open(&self, listener: TcpListener) -> io::Result<Portal> {
        let address = listener.local_addr()?;
        let listener = Arc::new(listener);
        let thread = Builder::new().name("iscsi-accept".into()).spawn({
            let registry = Arc::clone(&self.registry);
            let stopping = Arc::clone(&self.stopping);
            let listener = Arc::clone(&listener);
            move || accept(&registry, &stopping, &listener)
        })?;
        Ok(Portal { listener, address, thread: Mutex::new(Some(thread)) })
    }

    /// The addresses it listens on, in the order asked for.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.portals.iter().map(|portal| portal.address).collect()
    }

    /// Makes a unit known under a target name. It is at LUN 1, and nobody may log in yet.
    pub fn export(&self, iqn: &str, unit: Arc<LogicalUnit>) -> Result<(), TargetError> {
        self.registry.export(iqn, unit)
    }

    /// Takes an export away: revokes everybody and waits.
    pub fn unexport(&self, iqn: &str) -> Result<(), TargetError> {
        self.registry.unexport(iqn)
    }

    /// Limits how much of a unit's I/O is carried out in a second, from now on and without a break
    /// for anybody. What is over the limit is held back, not refused. The limit goes with the export.
    pub fn limit(&self, iqn: &str, limit: &Limit) -> Result<(), TargetError> {
        self.registry.limit(iqn, limit)
    }

    /// Holds back every command that would change the blocks of a unit, for `most` at most or until
    /// what this returns is dropped. When it returns, those that were under way have ended. Reads go
    /// on, and so does everything that ends sessions or their commands.
    pub fn hold_writes(&self, iqn: &str, most: Duration) -> Result<Held, TargetError> {
        self.registry.hold_writes(iqn, most)
    }

    /// Allows an initiator to log in with this access once it has proved to be who it says. Without
    /// `authentication` its name is believed. With another access or other credentials than it has:
    /// an error.
    pub fn grant(
        &self,
        iqn: &str,
        initiator: &str,
        access: Access,
        authentication: Option<Authentication>,
    ) -> Result<(), TargetError> {
        self.registry.grant(iqn, initiator, access, authentication)
    }

    /// Takes a grant away. From the call on new logins are refused; when it has returned `Ok` the
    /// sessions are gone and no write of that initiator reaches the unit any more.
    /// [`TargetError::StillDraining`] means that a running command outlasted the deadline: ask again.
    pub fn revoke(&self, iqn: &str, initiator: &str) -> Result<(), TargetError> {
        self.registry.revoke(iqn, initiator)
    }

    /// Everything exported, granted and logged in.
    pub fn exports(&self) -> Vec<ExportFacts> {
        self.registry.exports()
    }

    /// The same for one target name; `None` when nothing is exported under it.
    pub fn export_of(&self, iqn: &str) -> Option<ExportFacts> {
        self.registry.export_of(iqn)
    }

    /// What was done with everything that is exported. Cheap: holds up no command and no login.
    pub fn usage(&self) -> TargetUsage {
        self.registry.usage()
    }

    /// The same for one target name; `None` when nothing is exported under it.
    pub fn usage_of(&self, iqn: &str) -> Option<ExportUsage> {
        self.registry.usage_of(iqn)
    }

    /// Ends every connection and stops listening; a second time is fine.
    pub fn shutdown(&self) -> Result<(), TargetError> {
        self.stopping.set();
        let ended = self.registry.stop();
        for portal in &self.portals {
            // Wakes the accept call; where the system does not, a connection to ourselves does.
            let _ = SockRef::from(&*portal.listener).shutdown(std::net::Shutdown::Both);
            let _ = TcpStream::connect_timeout(&portal.address, Duration::from_millis(100));
            let thread = portal.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                // A panic there was reported by the panic hook.
                let _ = thread.join();
            }
        }
        ended
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Whoever needs to know that it ended calls shutdown.
        let _ = self.shutdown();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restarted daemon must get its port back while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn accept(registry: &Arc<Registry>, stopping: &Latch, listener: &TcpListener) {
    let stopped = || stopping.wait(Instant::now());
    while !stopped() {
        match listener.accept() {
            Ok((stream, peer)) => {
                if stopped() {
                    return;
                }
                if let Some(connection) = registry.connect(stream, peer) {
                    serve(registry, &connection);
                } else {
                    tracing::debug!(%peer, "no room for another iSCSI connection");
                }
            }
            Err(error) => {
                if stopped() {
                    return;
                }
                // Out of descriptors, or a connection that died in the queue: neither ends the
                // portal, and the first must not become a busy loop.
                tracing::warn!(%error, "could not accept an iSCSI connection");
                stopping.wait(Instant::now() + Duration::from_millis(50));
            }
        }
    }
}

fn serve(registry: &Arc<Registry>, connection: &Arc<Connection>) {
    let spawned = Builder::new().name(format!("iscsi-{}", connection.id)).spawn({
        let registry = Arc::clone(registry);
        let connection = Arc::clone(connection);
        move || {
            let _leave = Leave { registry: &registry, connection: &connection };
            session::serve(&registry, &connection);
        }
    });
    match spawned {
        Ok(thread) => {
            *connection.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        }
        Err(error) => {
            tracing::warn!(%error, "could not start a thread for an iSCSI connection");
            registry.disconnect(connection);
        }
    }
}

/// Leaves the registry however the thread ends, a panic of a backend included.
struct Leave<'a> {
    registry: &'a Registry,
    connection: &'a Connection,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let _ = self.connection.stream.shutdown(std::net::Shutdown::Both);
        self.registry.disconnect(self.connection);
    }
}
