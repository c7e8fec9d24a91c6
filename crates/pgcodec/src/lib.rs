//! The PostgreSQL wire, protocol 3.0 and 3.2, without any IO: bytes go in, typed messages and state come out.
//!
//! What is refused: every frame that is not exactly one well-formed message (a length outside its bounds, a count larger
//! than the rest of the frame, a missing or a second NUL, text that is not UTF-8, an unknown tag), `FunctionCall`,
//! `CopyBoth`, protocol 2, and every message that the state of the session does not allow. Both sides are treated as
//! hostile: the same rules hold for the upstream.
//!
//! Invariants: memory is bounded by [`Limits`] plus a constant; no function panics on any input; nothing here reads a
//! clock, a socket, a file or a source of randomness (nonces, salts and keys are passed in).
//!
//! The way of a message: [`Framer`] cuts the stream into [`Frame`]s, [`Frontend`] or [`Backend`] decodes one frame, and
//! [`Machine`] says what it means: a [`Candidate`] that needs a verdict, a [`Control`] that does not, or nothing at all.

pub mod backend;
pub mod cancel;
pub mod frame;
pub mod frontend;
pub mod limits;
pub mod login;
pub mod machine;
mod reader;
pub mod scram;
pub mod startup;
mod violation;
mod wire;

pub use backend::{Backend, TxState};
pub use frame::{Frame, Framer};
pub use frontend::{Format, Frontend, Target};
pub use limits::Limits;
pub use machine::{Candidate, Control, Expect, Machine, Reject, Reply, Step};
pub use violation::Violation;

/// Protocol version of an established session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// 3.0: every server and driver; cancel keys have four bytes.
    V3_0,
    /// 3.2 (PostgreSQL 18): cancel keys have 4 to 256 bytes.
    V3_2,
}

impl ProtocolVersion {
    /// The number on the wire: major in the high, minor in the low 16 bits.
    pub fn code(self) -> u32 {
        match self {
            Self::V3_0 => 0x0003_0000,
            Self::V3_2 => 0x0003_0002,
        }
    }

    /// The minor number.
    pub fn minor(self) -> u16 {
        match self {
            Self::V3_0 => 0,
            Self::V3_2 => 2,
        }
    }
}
