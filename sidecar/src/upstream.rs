//! The one place where bytes leave for a target.
//!
//! Before login a `Greeting` can write login frames only (a closed type of `pgcodec` that carries no operation). After
//! it an `Upstream` can write two things: the frames of a spent `Permit`, which are hashed again and must be the very
//! bytes that were decided and recorded, and `Control`, which only the protocol's state machine makes and which
//! carries nothing of the agent's. The write half is private to this file; nobody else holds a socket to a target.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pgcodec::login::LoginFrame;
use pgcodec::machine::Control;
use policy::operation::PayloadHash;
use policy::verdict::Obligations;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::channel_binding;
use crate::failpoint::{self, failpoint};
use crate::gate::{Permit, Running};
use crate::outside::{Reach, Stream};
use crate::outward::leads_out;
use crate::socket;

/// Bytes that may wait for a slow target; above it nothing more is taken from the agent.
pub const HIGH_WATER: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot reach `{host}:{port}`: {source}")]
    Unreachable { host: String, port: u16, source: io::Error },
    #[error("`{host}` resolves to {address}, which does not lead out of the pod: it is not dialled")]
    Inward { host: String, address: IpAddr },
    #[error("`{host}:{port}` did not answer within {seconds} s")]
    Timeout { host: String, port: u16, seconds: u64 },
    #[error("`{0}` is not a host name or address that a certificate can be checked against")]
    Name(String),
    #[error(
        "TLS with `{host}:{port}` failed: {source}; check the target's caSecretRef and that its certificate names this host"
    )]
    Tls { host: String, port: u16, source: io::Error },
    #[error("the connection to the target broke during login: {0}")]
    Login(#[from] io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the bytes to be sent are not the bytes that were decided")]
    NotTheDecidedBytes,
}

/// A connection that is not logged in yet.
pub struct Greeting {
    stream: Box<dyn Stream>,
    host: String,
    port: u16,
    /// tls-server-end-point of the target's certificate (RFC 5929), once TLS is up.
    end_point: Option<Vec<u8>>,
    encrypted: bool,
}

impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeting").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// To the first address of the host that answers, and to none that was not looked at.
async fn connect(host: &str, port: u16, reach: Reach) -> Result<TcpStream, DialError> {
    let unreachable = |source| DialError::Unreachable { host: host.to_owned(), port, source };
    let mut last = unreachable(io::ErrorKind::NotFound.into());
    for address in lookup_host((host, port)).await.map_err(unreachable)? {
        if reach == Reach::OutOfThePod && !leads_out(address.ip()) {
            last = DialError::Inward { host: host.to_owned(), address: address.ip() };
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = unreachable(error),
        }
    }
    Err(last)
}

impl Greeting {
    pub async fn dial(host: &str, port: u16, reach: Reach, deadline: Duration) -> Result<Self, DialError> {
        let stream = match timeout(deadline, connect(host, port, reach)).await {
            Err(_) => return Err(DialError::Timeout { host: host.to_owned(), port, seconds: deadline.as_secs() }),
            Ok(connected) => connected?,
        };
        socket::prepare(&stream);
        Ok(Self { stream: Box::new(stream), host: host.to_owned(), port, end_point: None, encrypted: false })
    }

    /// Writes one login frame; it can never carry an operation.
    pub async fn login(&mut self, frame: &LoginFrame) -> Result<(), DialError> {
        let mut out = BytesMut::new();
        frame.encode(&mut out).map_err(|v| io::Error::new(io::ErrorKind::InvalidInput, v))?;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads at least one byte; end of stream is an error here.
    pub async fn read(&mut self, buf: &mut BytesMut) -> Result<(), DialError> {
        if self.stream.read_buf(buf).await? == 0 {
            return Err(DialError::Login(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Verifies the target's chain and name (`verify-full`). Nothing may have been read beyond the answer to SSLRequest.
    pub async fn start_tls(self, config: Arc<ClientConfig>, deadline: Duration) -> Result<Self, DialError> {
        let Self { stream, host, port, .. } = self;
        let name = ServerName::try_from(host.clone()).map_err(|_| DialError::Name(host.clone()))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let tls = match timeout(deadline, handshake).await {
            Err(_) => return Err(DialError::Timeout { host, port, seconds: deadline.as_secs() }),
            Ok(Err(source)) => return Err(DialError::Tls { host, port, source }),
            Ok(Ok(tls)) => tls,
        };
        let end_point = tls
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|leaf| channel_binding::tls_server_end_point(leaf));
        Ok(Self { stream: Box::new(tls), host, port, end_point, encrypted: true })
    }

    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Sends the one frame of a connection that is used for a cancel request, then closes it.
    pub async fn cancel(mut self, permit: Permit, frame: &[u8]) -> Result<Running, CancelError> {
        let (_, running) = spend(permit, frame)?;
        self.stream.write_all(frame).await?;
        self.stream.flush().await?;
        // The server closes when it has acted on it.
        let mut rest = [0_u8; 1];
        let _ = timeout(Duration::from_secs(5), self.stream.read(&mut rest)).await;
        Ok(running)
    }

    /// Login is over: from here on only permits and control messages are written. `early` is what was read beyond it.
    pub fn established(self, early: BytesMut) -> Upstream {
        let (read, write) = tokio::io::split(self.stream);
        Upstream {
            reader: Reader { read, buffer: early, fresh: true },
            writer: Writer { write, out: BytesMut::with_capacity(4096) },
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the cancel request could not be sent: {0}")]
    Io(#[from] io::Error),
}

/// An established connection to a target.
pub struct Upstream {
    reader: Reader,
    writer: Writer,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("waiting", &self.writer.out.len()).finish_non_exhaustive()
    }
}

/// What may be read from the target.
pub struct Reader {
    read: ReadHalf<Box<dyn Stream>>,
    buffer: BytesMut,
    fresh: bool,
}

/// The write half: its socket and its buffer are private to this file.
pub struct Writer {
    write: WriteHalf<Box<dyn Stream>>,
    out: BytesMut,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("waiting", &self.out.len()).finish_non_exhaustive()
    }
}

/// A stream that a permitted operation opened (COPY FROM STDIN). Bound to it by construction: only `send` makes one.
#[must_use]
pub struct StreamGrant {
    left: u64,
    hash: aws_lc_rs::digest::Context,
}

impl std::fmt::Debug for StreamGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamGrant").field("left", &self.left).finish_non_exhaustive()
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is longer than its cap")]
pub struct OverCap;

impl Upstream {
    /// Queues the frames of one permitted operation. The permit is used up.
    pub fn send(&mut self, permit: Permit, frames: &[u8]) -> Result<(Obligations, Running), SendError> {
        failpoint::step("between_intent_and_send", permit.op());
        let spent = spend(permit, frames)?;
        self.writer.out.extend_from_slice(frames);
        Ok(spent)
    }

    /// As `send`, for an operation whose permit opens a stream of at most `cap` bytes.
    pub fn send_opening(
        &mut self,
        permit: Permit,
        frames: &[u8],
        cap: u64,
    ) -> Result<(Obligations, Running, StreamGrant), SendError> {
        let (obligations, running) = self.send(permit, frames)?;
        let hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        Ok((obligations, running, StreamGrant { left: cap, hash }))
    }

    /// Queues one frame of a granted stream whose content is `content`.
    pub fn stream(&mut self, grant: &mut StreamGrant, frame: &[u8], content: &[u8]) -> Result<(), OverCap> {
        let length = u64::try_from(content.len()).map_err(|_| OverCap)?;
        grant.left = grant.left.checked_sub(length).ok_or(OverCap)?;
        grant.hash.update(content);
        self.writer.out.extend_from_slice(frame);
        Ok(())
    }

    /// Queues a message that only the state machine makes and that carries nothing of the agent's.
    pub fn control(&mut self, control: &Control) {
        control.encode(&mut self.writer.out);
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.writer.out.len()
    }

    /// Reading and writing at the same time: a target that waits for us to read must not keep us from reading.
    pub fn halves(&mut self) -> (&mut Reader, &mut Writer) {
        (&mut self.reader, &mut self.writer)
    }

    /// Writes everything that waits, for sequences in which nothing else happens.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.writer.out.is_empty() {
            self.writer.write_some().await?;
        }
        Ok(())
    }

    /// Ends the connection; what waits is dropped.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.writer.write.shutdown()).await;
    }
}

impl StreamGrant {
    /// SHA-256 over the content that passed.
    pub fn digest(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.hash.finish().as_ref());
        out
    }
}

impl Reader {
    /// Reads some bytes; 0 at the end of the stream. Cancel-safe.
    pub async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        if self.fresh {
            self.fresh = false;
            let early = self.buffer.split();
            if !early.is_empty() {
                into.extend_from_slice(&early);
                return Ok(early.len());
            }
        }
        self.read.read_buf(into).await
    }
}

impl Writer {
    /// Writes what the socket takes. Cancel-safe: what was written is no longer in the buffer.
    pub async fn write_some(&mut self) -> io::Result<()> {
        let written = self.write.write(failpoint::part("mid_send", &self.out)).await?;
        failpoint("mid_send");
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.out.advance(written);
        if self.out.is_empty() {
            self.write.flush().await?;
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

fn spend(permit: Permit, frames: &[u8]) -> Result<(Obligations, Running), SendError> {
    if payload_hash(frames) != permit.payload() {
        return Err(SendError::NotTheDecidedBytes);
    }
    Ok(permit.spend())
}

/// SHA-256 of the exact bytes of an operation.
pub fn payload_hash(frames: &[u8]) -> PayloadHash {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, frames).as_ref());
    PayloadHash(out)
}
