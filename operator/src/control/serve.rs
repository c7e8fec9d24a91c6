//! gRPC for sidecars: few strangers, many pods, and a bound and a deadline for each.
//!
//! Whoever shows no certificate may stay for `STRANGER`, long enough to get one. A pod's connection ends with its
//! certificate. At the stop nobody is let in, streams are told to end, and what was begun is finished.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use control::v1::control_server::ControlServer;
use control::v1::enrolment_server::EnrolmentServer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::places::{Place, Places};
use super::service::Service;
use super::tls::{self, Peer, Tls};
use crate::certificate;

/// Handshakes at a time.
const HANDSHAKES: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections without a certificate, and how long each may last.
const STRANGERS: usize = 256;
const STRANGER: Duration = Duration::from_secs(30);
/// Connections of pods, of all and of one.
const PODS: usize = 8_192;
const OF_ONE_POD: usize = 4;
/// Calls at a time on one connection: the requests that a pod may keep open, and some.
const CALLS: u32 = 128;
/// From a call to the head of its answer.
const ANSWER: Duration = Duration::from_secs(15);
/// A peer that does not answer a ping for so long is gone.
const PING: Duration = Duration::from_secs(10);
const HEADERS: u32 = 16 * 1024;
/// Longest request for a certificate: token and key.
const ENROLMENT: usize = 64 * 1024;
/// What is still being answered when we stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Who is at the other end of a connection; in the extensions of each request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub peer: Option<Arc<Peer>>,
}

/// Serves until `stop` says so, and then what was begun.
pub async fn serve(listener: TcpListener, tls: Arc<Tls>, service: Service, stop: watch::Receiver<bool>) {
    let (sender, incoming) = mpsc::channel(16);
    let accepting = tokio::spawn(accept(listener, tls, sender, stop.clone()));
    let control = ControlServer::new(service.clone())
        .max_decoding_message_size(control::MESSAGE_LIMIT)
        .max_encoding_message_size(control::MESSAGE_LIMIT);
    let server = Server::builder()
        .max_concurrent_streams(CALLS)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .http2_max_header_list_size(HEADERS)
        .timeout(ANSWER)
        .add_service(EnrolmentServer::new(service).max_decoding_message_size(ENROLMENT))
        .add_service(control);
    let mut stopped = stop.clone();
    let stopping = async move { drop(stopped.wait_for(|stop| *stop).await) };
    let mut cut = stop;
    let serving = server.serve_with_incoming_shutdown(ReceiverStream::new(incoming), stopping);
    let late = async move {
        let _ = cut.wait_for(|stop| *stop).await;
        sleep(DRAIN).await;
    };
    // What the first arm loses when the second one ends is what did not end in time.
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::error!(event = "control_ended", %error);
        },
        () = late => tracing::warn!(event = "drain_cut", seconds = DRAIN.as_secs()),
    }
    accepting.abort();
}

/// Hands on what has shaken hands.
async fn accept(
    listener: TcpListener,
    tls: Arc<Tls>,
    sender: mpsc::Sender<io::Result<Connection>>,
    mut stop: watch::Receiver<bool>,
) {
    let limits = Arc::new(Limits {
        handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        pods: Arc::new(Semaphore::new(PODS)),
        of_one_pod: Places::new(OF_ONE_POD),
    });
    loop {
        let Ok(place) = Arc::clone(&limits.handshakes).acquire_owned().await else { return };
        // Over the limit the next one waits in the kernel. Both arms lose nothing when they are dropped.
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(event = "accept_failed", listener = "control", %error);
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, sender, limits) = (Arc::clone(&tls), sender.clone(), Arc::clone(&limits));
        tokio::spawn(async move {
            match timeout(HANDSHAKE, greet(stream, &tls, &limits)).await {
                // When nobody takes it we stop.
                Ok(Ok(connection)) => drop(sender.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::debug!(event = "handshake_failed", listener = "control", %error),
                Err(_) => tracing::debug!(event = "handshake_failed", listener = "control", error = "too slow"),
            }
            drop(place);
        });
    }
}

struct Limits {
    handshakes: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    pods: Arc<Semaphore>,
    of_one_pod: Arc<Places>,
}

async fn greet(stream: TcpStream, tls: &Tls, limits: &Limits) -> io::Result<Connection> {
    // Without it each answer waits for the other side's acknowledgement.
    let _ = stream.set_nodelay(true);
    let stream = tls.acceptor().map_err(io::Error::other)?.accept(stream).await?;
    let peer = tls::peer(stream.get_ref().1.peer_certificates()).map_err(io::Error::other)?;
    let full = || io::Error::other("too many connections");
    let places = if peer.is_some() { &limits.pods } else { &limits.strangers };
    let place = Arc::clone(places).try_acquire_owned().map_err(|_| full())?;
    let pod = match &peer {
        Some(peer) => Some(limits.of_one_pod.take(&peer.pod).ok_or_else(full)?),
        None => None,
    };
    // Streams are told to end a little earlier.
    let life = peer
        .as_ref()
        .map_or(STRANGER, |peer| Duration::from_secs(peer.ends.saturating_sub(certificate::now()).saturating_add(5)));
    Ok(Connection {
        stream,
        caller: Caller { peer: peer.map(Arc::new) },
        end: Box::pin(sleep(life)),
        _place: place,
        _pod: pod,
    })
}

/// One that is cut when its time is over.
struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
    _pod: Option<Place>,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // An HTTP/2 connection is always being read, so this is where its time is seen to be over.
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
