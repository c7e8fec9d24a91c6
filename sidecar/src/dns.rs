//! DNS for a pod behind the fence: the names of targets have addresses, and there are no other names.
//!
//! Nobody else is ever asked, so that no query carries anything out. Bounds: UDP is answered where it is read, without a
//! task and without waiting for room to send; TCP has a number of connections, and each a time and a number of queries.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::fence::ruleset::DNS_PORT;
use crate::listen::ListenError;
use crate::listen::tcp;
use crate::listen::transparent::on_loopback;
use crate::metrics::Metrics;

mod answer;

/// A query that we answer is a name and little else.
const LARGEST: usize = 4_096;
/// Open TCP connections of each family.
const CONNECTIONS: usize = 64;
const QUERIES: usize = 64;
/// For a whole TCP connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an error of a socket, for example when memory runs out.
const PAUSE: Duration = Duration::from_millis(100);

/// The address of a name, with its final dot and in any case.
pub type Names = Arc<dyn Fn(&str) -> Option<Ipv4Addr> + Send + Sync>;

/// Bound and not yet answering.
#[derive(Debug)]
pub struct DnsServer {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

#[derive(Clone)]
struct Answers {
    names: Names,
    metrics: Arc<Metrics>,
}

// === impl DnsServer ===

impl DnsServer {
    /// Within the runtime.
    ///
    /// # Errors
    /// When a port is in use, or IPv6 is there and its loopback is not.
    pub fn open() -> Result<Self, ListenError> {
        Ok(Self { udp: on_loopback(DNS_PORT, udp)?, tcp: on_loopback(DNS_PORT, tcp)? })
    }

    /// Answers until the runtime ends.
    pub fn serve(self, names: Names, metrics: Arc<Metrics>) {
        let answers = Answers { names, metrics };
        for socket in self.udp {
            tokio::spawn(answers.clone().by_udp(socket));
        }
        for listener in self.tcp {
            tokio::spawn(answers.clone().by_tcp(listener));
        }
    }
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

// === impl Answers ===

impl Answers {
    fn to(&self, query: &[u8]) -> Option<Vec<u8>> {
        let answer = catch_unwind(AssertUnwindSafe(|| answer::answer(query, |name| (self.names)(name))));
        // One agent's query must not end the names of the pod.
        answer.unwrap_or_else(|_| {
            self.metrics.panicked();
            None
        })
    }

    async fn by_udp(self, socket: UdpSocket) {
        // One byte more tells a datagram that is too long.
        let mut query = vec![0; LARGEST.saturating_add(1)];
        loop {
            let (length, from) = match socket.recv_from(&mut query).await {
                Ok(received) => received,
                Err(error) => {
                    // Also what the kernel tells of answers that nobody wanted.
                    tracing::debug!(event = "dns_receive_failed", %error);
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let whole = query.get(..length).filter(|query| query.len() <= LARGEST);
            if let Some(answer) = whole.and_then(|query| self.to(query)) {
                // Without room it is lost, as datagrams are.
                let _ = socket.try_send_to(&answer, from);
            }
        }
    }

    async fn by_tcp(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(event = "accept_failed", listener = "dns", %error);
                    sleep(PAUSE).await;
                    continue;
                }
            };
            // Over the bound it is closed.
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            let answers = self.clone();
            tokio::spawn(async move {
                // A peer that is slow, gone or talks nonsense has its connection closed.
                let _ = timeout(PATIENCE, answers.converse(stream)).await;
                drop(slot);
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut query = Vec::new();
        for _ in 0..QUERIES {
            let length = usize::from(stream.read_u16().await?);
            if length > LARGEST {
                return Ok(());
            }
            query.resize(length, 0);
            stream.read_exact(&mut query).await?;
            let Some(answer) = self.to(&query) else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await?;
        }
        Ok(())
    }
}
