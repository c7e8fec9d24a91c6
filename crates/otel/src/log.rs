//! One line of a program's log.

use std::time::SystemTime;

use tracing::Level;

use crate::span::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Log {
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    /// The event's name, or its message.
    pub(crate) body: String,
    /// Names are those of fields in our own code.
    pub(crate) attributes: Vec<(&'static str, Value)>,
}
