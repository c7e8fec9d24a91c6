//! Postgres. The rooms: `pgcodec` holds codec and state, `operation` says what is wanted, `mask` and `detect` guard what comes
//! back, `refusal` says no in Postgres' words, `session` drives.

pub mod cancel;
pub mod detect;
pub mod mask;
pub mod operation;
pub mod parameter;
pub mod preview;
pub mod refusal;
pub mod session;
pub mod settings;
pub mod statement;
