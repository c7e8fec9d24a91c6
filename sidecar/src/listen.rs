//! Doors for agents: TCP and Unix sockets. What comes in is handed on as a [`Connection`], or closed.
//!
//! Accepting never waits on a peer: nothing is read here. Over the budget a connection is closed at once; when sessions
//! do not start fast enough, accepting pauses and the kernel's queue fills, which is bounded too.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::config::{Auth, Bind, Listener};
use crate::drain::Drain;
use crate::metrics::{ConnectionRefused, Metrics};
use crate::outside::{ClientAuth, Connection, Connections, Stream, Subjects, Target};
use crate::socket;

pub mod transparent;
pub mod unix;

/// Accepted connections that no session has taken yet.
const WAITING: usize = 64;
/// Of the kernel, for each TCP listener.
const BACKLOG: u32 = 256;
/// After an accept that failed, for example when descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);
/// With a check of the peer's uid anybody may knock; without one (`scram`) too.
const SOCKET_MODE: u32 = 0o666;
/// `dangerTrustAnyPeer` trusts the users that may open the socket: ours and our group.
const TRUSTING_SOCKET_MODE: u32 = 0o660;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{field}: port {port} of {host} is in use: stop what listens there, or choose another port", host = address.ip(), port = address.port())]
    InUse { field: String, address: SocketAddr },
    #[error("{field}: cannot listen on {address}: {source}")]
    Tcp { field: String, address: SocketAddr, source: io::Error },
    #[error("{field}: {source}")]
    Unix { field: String, source: unix::UnixError },
}

/// What a connection needs at the moment at which it comes: the answers follow reloads.
pub trait Doorman: Send + Sync {
    /// The target behind the door, or why there is none now.
    fn target(&self, listener: &Listener) -> Result<Arc<Target>, String>;
    /// How the agent must prove itself, or why nobody can now.
    fn client_auth(&self, listener: &Listener) -> Result<ClientAuth, String>;
}

/// Bound and not yet accepting.
#[derive(Debug)]
pub struct Door {
    listener: Arc<Listener>,
    socket: Socket,
    bound: Bind,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "held for its drop")] SocketFile),
}

/// Removes the file of a Unix socket when the door closes.
#[derive(Debug)]
struct SocketFile(PathBuf);

/// What all doors share.
#[derive(Clone)]
pub struct Lobby {
    doorman: Arc<dyn Doorman>,
    budget: Arc<Semaphore>,
    sender: mpsc::Sender<Connection>,
    drain: Drain,
    metrics: Arc<Metrics>,
}

/// All that makes an accepted stream a [`Connection`].
struct Entry {
    subject: Subjects,
    target: Arc<Target>,
    auth: ClientAuth,
}

/// Why a stream is closed, for the metric and for the log.
struct Refused(ConnectionRefused, String);

// === impl Lobby ===

impl Lobby {
    /// At most `connections` are open at the same time, counted until a session drops its slot.
    pub fn new(
        doorman: Arc<dyn Doorman>,
        connections: usize,
        drain: Drain,
        metrics: Arc<Metrics>,
    ) -> (Self, Connections) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { doorman, budget: Arc::new(Semaphore::new(connections)), sender, drain, metrics }, receiver)
    }

    /// A slot for a connection that `entry` lets in; otherwise what stands against it is told and counted.
    fn admit(
        &self,
        door: &str,
        entry: impl FnOnce() -> Result<Entry, Refused>,
    ) -> Option<(Entry, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.budget).try_acquire_owned();
        let slot =
            slot.map_err(|_| Refused(ConnectionRefused::Budget, "the limit of connections is reached".to_owned()));
        match slot.and_then(|slot| Ok((entry()?, slot))) {
            Ok(admitted) => Some(admitted),
            Err(refused) => {
                self.refuse(door, &refused);
                None
            }
        }
    }

    /// `Err` when nobody takes connections any more.
    async fn hand_on(
        &self,
        entry: Entry,
        stream: Box<dyn Stream>,
        peer: String,
        slot: OwnedSemaphorePermit,
    ) -> Result<(), ()> {
        let Entry { subject, target, auth } = entry;
        self.sender.send(Connection { subject, target, stream, auth, peer, slot }).await.map_err(|_| ())
    }

    /// Who comes in by a listener of the configuration.
    fn entry(&self, listener: &Listener, peer: &Peer) -> Result<Entry, Refused> {
        if let (Auth::PeerUid(expected), Peer::Uid(found)) = (&listener.auth, peer)
            && Some(*expected) != *found
        {
            return Err(Refused(ConnectionRefused::Peer, format!("{peer} is not uid {expected}")));
        }
        let unavailable = |reason| Refused(ConnectionRefused::Unavailable, reason);
        let target = self.doorman.target(listener).map_err(unavailable)?;
        let auth = self.doorman.client_auth(listener).map_err(unavailable)?;
        Ok(Entry { subject: Arc::clone(&listener.subject).into(), target, auth })
    }

    fn refuse(&self, door: &str, Refused(why, text): &Refused) {
        self.metrics.connection_refused(*why);
        tracing::warn!(event = "connection_refused", listener = door, reason = text);
    }
}

impl std::fmt::Debug for Lobby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lobby").field("budget", &self.budget.available_permits()).finish_non_exhaustive()
    }
}

// === impl Door ===

impl Door {
    /// Binds. Within the runtime.
    pub fn open(listener: Listener) -> Result<Self, ListenError> {
        let field = format!("{}.listen", listener.field);
        let (socket, bound) = match &listener.bind {
            Bind::Tcp(address) => {
                let socket = tcp(*address).map_err(|source| tcp_error(field, *address, source))?;
                let bound = socket.local_addr().unwrap_or(*address);
                (Socket::Tcp(socket), Bind::Tcp(bound))
            }
            Bind::Unix(path) => {
                let mode = if listener.auth == Auth::DangerTrustAnyPeer { TRUSTING_SOCKET_MODE } else { SOCKET_MODE };
                let socket = unix::bind(path, mode, None).map_err(|source| ListenError::Unix { field, source })?;
                (Socket::Unix(socket, SocketFile(path.clone())), listener.bind.clone())
            }
        };
        Ok(Self { listener: Arc::new(listener), socket, bound })
    }

    /// Where it listens in fact: the port that the system chose, if it did.
    pub fn bound(&self) -> &Bind {
        &self.bound
    }

    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Accepts until the drain begins; then the socket closes.
    pub async fn serve(self, lobby: Lobby) {
        loop {
            // Both arms are cancel-safe: an accept that loses has taken no connection.
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = lobby.drain.draining() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let admitted = lobby.admit(&self.listener.field, || lobby.entry(&self.listener, &peer));
                    let Some((entry, slot)) = admitted else { continue };
                    if lobby.hand_on(entry, stream, peer.to_string(), slot).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(event = "accept_failed", listener = self.listener.field, %error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether [`Door::open`] could succeed now; for `check`. The port is bound for a moment.
pub fn check(listener: &Listener) -> Result<(), ListenError> {
    let field = format!("{}.listen", listener.field);
    match &listener.bind {
        Bind::Tcp(address) => {
            let bound = std::net::TcpListener::bind(address);
            bound.map(drop).map_err(|source| tcp_error(field, *address, source))
        }
        Bind::Unix(path) => unix::check(path).map_err(|source| ListenError::Unix { field, source }),
    }
}

/// A TCP listener that a restart can take over at once.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Names the field and, for the usual mistake, what to do.
pub fn tcp_error(field: String, address: SocketAddr, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { field, address },
        _ => ListenError::Tcp { field, address, source },
    }
}

// === impl Socket ===

enum Peer {
    Address(SocketAddr),
    /// `None` when the kernel does not say.
    Uid(Option<u32>),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Uid(Some(uid)) => write!(f, "uid {uid}"),
            Self::Uid(None) => f.write_str("an unknown uid"),
        }
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                socket::prepare(&stream);
                Ok((Box::new(stream), Peer::Address(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|c| c.uid());
                Ok((Box::new(stream), Peer::Uid(uid)))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is gone already is no loss; a stale one is replaced at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}
