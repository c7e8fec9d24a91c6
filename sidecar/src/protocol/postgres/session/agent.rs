//! The agent's connection: framed reading, and writing that never blocks reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use pgcodec::backend::ErrorFields;
use pgcodec::{Backend, Framer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use super::super::refusal::Words;
use crate::outside::Stream;

/// Bytes that may wait for a slow agent; above it nothing more is read from the target.
pub(super) const HIGH_WATER: usize = 256 * 1024;

/// After startup.
pub(super) struct Agent {
    pub reader: Reader,
    pub writer: Writer,
}

pub(super) struct Reader {
    read: ReadHalf<Box<dyn Stream>>,
    pub framer: Framer,
    /// The agent closed its side.
    pub closed: bool,
    pub bytes: u64,
}

pub(super) struct Writer {
    write: WriteHalf<Box<dyn Stream>>,
    out: BytesMut,
    pub bytes: u64,
}

impl Agent {
    /// `rest`: what was read behind the startup packet.
    pub(super) fn new(stream: Box<dyn Stream>, mut framer: Framer, rest: &[u8]) -> Result<Self, pgcodec::Violation> {
        framer.push(rest)?;
        let (read, write) = tokio::io::split(stream);
        Ok(Self {
            reader: Reader { read, framer, closed: false, bytes: 0 },
            writer: Writer { write, out: BytesMut::with_capacity(4096), bytes: 0 },
        })
    }
}

impl Reader {
    /// Reads some bytes into the framer. Cancel-safe.
    pub(super) async fn read(&mut self) -> io::Result<()> {
        let count = self.read.read_buf(self.framer.read_buffer()).await?;
        self.closed = count == 0;
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(())
    }
}

impl Writer {
    /// Queues a message.
    pub(super) fn put(&mut self, message: &Backend) -> Result<(), pgcodec::Violation> {
        message.encode(&mut self.out)
    }

    /// Queues an `ErrorResponse` of our own.
    pub(super) fn refuse(&mut self, severity: &str, words: &Words) -> Result<(), pgcodec::Violation> {
        self.put(&Backend::ErrorResponse(fields(severity, words)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// What waits will never be read: the agent is gone.
    pub(super) fn discard(&mut self) {
        self.out.clear();
    }

    /// Writes what the socket takes. Cancel-safe.
    pub(super) async fn write_some(&mut self) -> io::Result<()> {
        let written = self.write.write(&self.out).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.out.advance(written);
        self.bytes = self.bytes.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        if self.out.is_empty() {
            self.write.flush().await?;
        }
        Ok(())
    }

    /// Writes everything that waits.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            self.write_some().await?;
        }
        Ok(())
    }

    pub(super) async fn shutdown(&mut self) {
        let _ = self.write.shutdown().await;
    }
}

/// The fields of an `ErrorResponse` or `NoticeResponse` of our own.
pub(super) fn fields(severity: &str, words: &Words) -> ErrorFields {
    let mut fields = ErrorFields::new(severity, words.sqlstate, &words.message);
    if let Some(detail) = &words.detail {
        fields = fields.with(b'D', detail.as_str());
    }
    if let Some(hint) = &words.hint {
        fields = fields.with(b'H', hint.as_str());
    }
    fields
}

/// A stream whose first bytes were read already.
pub(super) struct Replay {
    first: Bytes,
    rest: Box<dyn Stream>,
}

impl Replay {
    pub(super) fn new(first: Bytes, rest: Box<dyn Stream>) -> Self {
        Self { first, rest }
    }
}

impl AsyncRead for Replay {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.rest).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(cx)
    }
}
