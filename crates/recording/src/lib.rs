//! The durable, ordered record of what agents did: format, hash chain, checkpoints, writer, reader, verify.
//!
//! Refused here: an entry larger than its bounds, a damaged recording, a write that cannot be proven to have happened.
//! Invariant: an entry is acknowledged only after its whole line was written at the durability it asked for, and a line
//! that was covered by a checkpoint cannot change, move or vanish without [`verify::verify`] saying so.

pub mod chain;
pub mod entry;
pub mod keys;
pub mod note;
pub mod outgoing;
pub mod prune;
pub mod reader;
pub mod segment;
pub mod sessions;
pub mod spool;
mod sync;
pub mod tail;
pub mod verify;
mod walk;
pub mod writer;

pub use chain::Head;
pub use entry::{Body, Durability, Entry, Line};
pub use keys::{SigningKey, VerifyingKey};
pub use spool::{FsStorage, Storage};
pub use walk::Fault;
pub use writer::{OpenError, Position, QueueFull, Recovery, WriteError, Writer, WriterConfig};
