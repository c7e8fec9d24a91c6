//! Standalone mode: the five interfaces of `outside` fed from a directory of files and a local socket.

pub mod state;
