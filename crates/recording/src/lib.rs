//! The durable, ordered record of what agents did: format, hash chain, checkpoints, writer, reader, verify.
//!
//! Refused here: an entry larger than its bounds, a damaged recording, a write that cannot be proven to have happened.
//! Invariant: an entry is acknowledged only after its whole line was written at the durability it asked for, and a line
//! that was covered by a checkpoint cannot change, move or vanish without [`verify::verify`] saying so.

pub mod chain;
pub mod entry;
pub mod keys;
pub mod note;

pub mod reader;

pub mod spool;

pub mod writer;

pub use entry::{Body, Durability, Entry, Line};
pub use keys::{SigningKey, VerifyingKey};
pub use spool::{FsStorage, Storage};
pub use writer::{OpenError, Position, QueueFull, Recovery, WriteError, Writer, WriterConfig};
