//! Why bytes or a message were refused. Every violation ends the session that it happened in: after one, the position in
//! the stream or the state of the peer is not known, and nothing of what was refused was forwarded.

/// A breach of the protocol, of a limit, or of the order in which [`Machine`](crate::Machine) has to be used.
///
/// The texts name messages and fields, never their contents, so they may be logged and sent to either side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("message `{tag}` declares a length of {length} bytes, the smallest legal length is 4: the sender does not speak this protocol", tag = show(*.tag))]
    TooShort { tag: u8, length: u32 },
    #[error("message `{tag}` declares {length} bytes, the limit is {limit}: send less at once or raise the limit", tag = show(*.tag))]
    TooLong { tag: u8, length: u32, limit: usize },
    #[error("unknown message tag `{tag}`: the sender does not speak this protocol or is out of step", tag = show(*.tag))]
    UnknownTag { tag: u8 },
    #[error("malformed {message} message: {what}")]
    Malformed { message: &'static str, what: &'static str },
    #[error("{what} of a {message} message is not valid utf-8: set client_encoding to UTF8")]
    NotUtf8 { message: &'static str, what: &'static str },
    #[error("{what} is not supported through this proxy")]
    Unsupported { what: &'static str },
    #[error("message {message} is not allowed {state}")]
    Unexpected { message: &'static str, state: &'static str },
    #[error("more than {limit} {what}: raise the limit or use less")]
    Limit { what: &'static str, limit: usize },
    #[error("internal: {what}")]
    Misuse { what: &'static str },
}

impl Violation {
    /// The SQLSTATE to report when the session is closed because of this.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::TooShort { .. } | Self::UnknownTag { .. } | Self::Malformed { .. } | Self::Unexpected { .. } => {
                "08P01"
            }
            Self::TooLong { .. } | Self::Limit { .. } => "54000",
            Self::NotUtf8 { .. } => "22021",
            Self::Unsupported { .. } => "0A000",
            Self::Misuse { .. } => "XX000",
        }
    }
}

/// A tag as people write it: the letter, or the number when it is not printable.
fn show(tag: u8) -> String {
    match tag {
        0 => "startup".to_owned(),
        tag if tag.is_ascii_graphic() => char::from(tag).to_string(),
        tag => format!("0x{tag:02x}"),
    }
}
