//! Messages through the codec of every call: what is taken is written alike, however the bytes arrive.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use control::MESSAGE_LIMIT;
use control::codec::Lean;
use http_body::{Body, Frame};
use prost::Message;
use tonic::codec::{Codec as _, EncodeBody, Streaming};
use tonic::{Code, Status};

/// Any bytes as one message.
pub(super) fn message<M: Message + Default + PartialEq + Debug>(data: &[u8]) {
    let Ok(read) = M::decode(data) else { return };
    let written = read.encode_to_vec();
    assert_eq!(written.len(), read.encoded_len());
    assert_eq!(M::decode(&*written).expect("what was written is read"), read);
}

/// Any bytes as the body of a call: the pieces in which they arrive change nothing, and what was taken comes back.
pub(super) fn body<M: Message + Default + PartialEq + Debug + Send + Sync + 'static>(data: &[u8], piece: usize) {
    let (whole, end) = read::<M>(data, data.len().max(1));
    let (parts, other) = read::<M>(data, piece);
    assert_eq!((&parts, end), (&whole, other), "in pieces of {piece}");
    let sent: Vec<Result<M, Status>> = parts.into_iter().map(Ok).collect();
    let encoder = Lean::<M, M>::default().encoder();
    let mut written = Vec::new();
    let mut body = pin!(EncodeBody::new_server(encoder, tokio_stream::iter(sent), None, Default::default(), None));
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
        if let Ok(bytes) = frame.expect("what was taken is sent").into_data() {
            written.extend_from_slice(&bytes);
        }
    }
    assert_eq!(read::<M>(&written, piece), (whole, None));
}

/// The messages of a body and how it ended.
fn read<M: Message + Default + Send + 'static>(data: &[u8], piece: usize) -> (Vec<M>, Option<Code>) {
    let pieces = Pieces(data.chunks(piece).rev().map(Bytes::copy_from_slice).collect());
    let decoder = Lean::<M, M>::default().decoder();
    let mut stream = pin!(Streaming::new_request(decoder, pieces, None, Some(MESSAGE_LIMIT)));
    let mut messages = Vec::new();
    loop {
        let next = tokio_stream::Stream::poll_next(stream.as_mut(), &mut Context::from_waker(Waker::noop()));
        match next {
            Poll::Ready(Some(Ok(message))) => messages.push(message),
            Poll::Ready(Some(Err(status))) => return (messages, Some(status.code())),
            Poll::Ready(None) => return (messages, None),
            Poll::Pending => panic!("all bytes are there"),
        }
    }
}

/// The last one first.
struct Pieces(Vec<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop().map(|bytes| Ok(Frame::data(bytes))))
    }
}
