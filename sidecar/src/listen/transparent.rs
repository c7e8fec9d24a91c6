//! The door behind the fence: everything that the pod dials is redirected here, and the kernel tells what was meant.
//!
//! Refused, by a reset: a connection that was not redirected, one whose destination the kernel does not tell, one that
//! means no target. Invariant: a connection is never taken for another target than the one it was sent to, and nothing
//! that the peer says has a part in it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockAddr, SockRef};
use tokio::net::{TcpListener, TcpStream};

use super::{Entry, ListenError, Lobby, PAUSE, Refused, tcp, tcp_error};
use crate::fence::probe::{Nonce, is_probe};
use crate::fence::ruleset::TCP_PORT;
use crate::metrics::ConnectionRefused;
use crate::outside::{ClientAuth, Subjects, Target};
use crate::socket;

const FIELD: &str = "pod";
/// The kernel's list of IPv6 addresses; empty or absent without IPv6.
const ADDRESSES_V6: &str = "/proc/thread-self/net/if_inet6";

/// Knows what destinations mean at the moment at which a connection comes.
pub trait Guide: Send + Sync {
    /// The target, or why there is none now.
    fn target(&self, destination: SocketAddr) -> Result<Arc<Target>, String>;
}

/// What the door behind the fence knows.
#[derive(Clone)]
pub struct Pod {
    pub subject: Subjects,
    pub nonce: Nonce,
    pub guide: Arc<dyn Guide>,
}

impl std::fmt::Debug for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pod").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Bound and not yet accepting.
#[derive(Debug)]
pub struct TransparentDoor {
    listener: TcpListener,
}

/// Binds `port` on the loopback of both families. Only a system without IPv6 may lack the second: where IPv6 leads out
/// of the pod, it has to lead to us.
pub fn on_loopback<T>(port: u16, bind: impl Fn(SocketAddr) -> io::Result<T>) -> Result<Vec<T>, ListenError> {
    let mut bound = Vec::new();
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::new(ip, port);
        match bind(address) {
            Ok(socket) => bound.push(socket),
            Err(_) if ip.is_ipv6() && !has_v6() => {}
            Err(error) => return Err(tcp_error(FIELD.to_owned(), address, error)),
        }
    }
    Ok(bound)
}

/// An unreadable list counts as one with addresses.
fn has_v6() -> bool {
    match std::fs::read_to_string(ADDRESSES_V6) {
        Ok(addresses) => !addresses.trim().is_empty(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

// === impl TransparentDoor ===

impl TransparentDoor {
    /// Within the runtime.
    ///
    /// # Errors
    /// When a port is in use, or IPv6 is there and its loopback is not.
    pub fn open() -> Result<Vec<Self>, ListenError> {
        Ok(on_loopback(TCP_PORT, tcp)?.into_iter().map(|listener| Self { listener }).collect())
    }

    /// Accepts until the drain begins; then the socket closes.
    pub async fn serve(self, pod: Pod, lobby: Lobby) {
        loop {
            // Both arms are cancel-safe: an accept that loses has taken no connection.
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = lobby.drain.draining() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if pod.take(stream, peer, &lobby).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(event = "accept_failed", listener = FIELD, %error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

// === impl Pod ===

impl Pod {
    /// `Err` when nobody takes connections any more.
    async fn take(&self, stream: TcpStream, peer: SocketAddr, lobby: &Lobby) -> Result<(), ()> {
        // Until a session has it, a close is a reset: what was refused is refused at once, and leaves nothing behind.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        let destination = match stream.local_addr().and_then(|ours| meant(original(&stream, ours), ours)) {
            Ok(destination) => destination,
            Err(error) => {
                lobby.refuse(FIELD, &Refused(ConnectionRefused::Direct, format!("from {peer}: {error}")));
                return Ok(());
            }
        };
        if is_probe(destination.ip()) {
            self.greet(&stream, destination);
            return Ok(());
        }
        let entry = || {
            let target = self
                .guide
                .target(destination)
                .map_err(|why| Refused(ConnectionRefused::Destination, format!("{destination} from {peer}: {why}")))?;
            let _ = SockRef::from(&stream).set_linger(None);
            socket::prepare(&stream);
            Ok(Entry { subject: self.subject.clone(), target, auth: ClientAuth::Proven })
        };
        match lobby.admit(FIELD, entry) {
            Some((entry, slot)) => lobby.hand_on(entry, Box::new(stream), peer.to_string(), slot).await,
            None => Ok(()),
        }
    }

    /// One write into an empty buffer, which takes it whole or not at all: nobody is waited for.
    fn greet(&self, stream: &TcpStream, destination: SocketAddr) {
        let socket = SockRef::from(stream);
        let _ = socket.set_linger(None);
        let _ = socket.send(self.nonce.greeting(destination).as_bytes());
    }
}

/// What the kernel says that the peer dialled, asked in the words of the family that carried it.
fn original(stream: &TcpStream, ours: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let answer = if ours.ip().to_canonical().is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    answer.and_then(|address: SockAddr| address.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into()))
}

/// Without a redirect the kernel knows no destination, or names our own address: that would be a way to call ourselves.
fn meant(original: io::Result<SocketAddr>, ours: SocketAddr) -> io::Result<SocketAddr> {
    let original = original.map_err(|e| io::Error::other(format!("it was not redirected ({e})")))?;
    let destination = SocketAddr::new(original.ip().to_canonical(), original.port());
    if destination == SocketAddr::new(ours.ip().to_canonical(), ours.port()) {
        return Err(io::Error::other("it was not redirected, but dialled straight"));
    }
    Ok(destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_redirected_connection_means_something() {
        let ours: SocketAddr = "127.0.0.1:15001".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:15001".parse().unwrap();
        let there: SocketAddr = "203.0.113.7:443".parse().unwrap();
        assert_eq!(meant(Ok(there), ours).unwrap(), there);
        assert_eq!(meant(Ok("[::ffff:203.0.113.7]:443".parse().unwrap()), ours).unwrap(), there);
        for (original, ours) in [(ours, ours), (mapped, ours), (ours, mapped)] {
            let error = meant(Ok(original), ours).unwrap_err().to_string();
            assert!(error.contains("dialled straight"), "{error}");
        }
        let none = Err(io::Error::from_raw_os_error(2));
        assert!(meant(none, ours).unwrap_err().to_string().contains("was not redirected ("));
    }

    #[tokio::test]
    async fn a_connection_without_a_redirect_has_no_destination() {
        let listener = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let ours = stream.local_addr().unwrap();
        assert!(meant(original(&stream, ours), ours).is_err());
    }
}
