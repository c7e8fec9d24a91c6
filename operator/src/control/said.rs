//! What a stream says, on its way from the task that follows something to the connection.
//!
//! Thousands of streams wait most of their lives. The queue keeps room for 32 messages however few it may hold, so it
//! holds them boxed: 256 bytes instead of 9 KiB.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

pub(super) type Sender<T> = mpsc::Sender<Box<Result<T, Status>>>;

/// The far end: it ends when nobody can say anything any more.
#[derive(Debug)]
pub struct Said<T>(mpsc::Receiver<Box<Result<T, Status>>>);

/// One message may wait.
pub(super) fn channel<T>() -> (Sender<T>, Said<T>) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Said(receiver))
}

impl<T> Stream for Said<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|said| said.map(|said| *said))
    }
}
