//! The codec of every call: protobuf, with buffers that begin small.
//!
//! An open stream holds one each way for its whole life, and what is said on it is a few dozen bytes every few seconds;
//! tonic begins with 8 KiB. A longer message grows them, up to the bound of a message.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// First size of a buffer, in bytes.
const BEGIN: usize = 512;
/// tonic's own: what is encoded beyond it goes out first.
const YIELD: usize = 32 * 1024;

/// Sends `T` and takes `U`.
#[derive(Clone, Copy, Debug)]
pub struct Lean<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Lean<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Lean<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BEGIN, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BEGIN, YIELD))
    }
}
