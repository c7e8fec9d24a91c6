//! Messages of the upstream (protocol documentation, "Message Formats", backend). The upstream may be hostile too: the
//! rules are those of [`crate::frontend`].
//!
//! What is refused: `CopyBothResponse`, `FunctionCallResponse`, Kerberos, GSSAPI and SSPI authentication requests, cancel
//! keys outside 4 to 256 bytes, and every frame that does not decode to its last byte.

mod auth;
mod fields;
mod rows;

use bytes::{Bytes, BytesMut};

pub use self::auth::Authentication;
pub use self::fields::ErrorFields;
pub use self::rows::{Columns, CopyResponse, DataRow, Field, RowDescription};
use crate::reader::Reader;
use crate::{Frame, Violation, wire};

/// One message of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    Authentication(Authentication),
    BackendKeyData(KeyData),
    NegotiateProtocolVersion(Negotiate),
    ParameterStatus {
        name: String,
        value: String,
    },
    ReadyForQuery(TxState),
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    PortalSuspended,
    EmptyQueryResponse,
    /// The command tag, such as `INSERT 0 1`.
    CommandComplete {
        tag: String,
    },
    ParameterDescription {
        types: Vec<u32>,
    },
    RowDescription(RowDescription),
    DataRow(DataRow),
    CopyIn(CopyResponse),
    CopyOut(CopyResponse),
    CopyData(Bytes),
    CopyDone,
    ErrorResponse(ErrorFields),
    NoticeResponse(ErrorFields),
    NotificationResponse {
        pid: u32,
        channel: String,
        payload: String,
    },
}

/// What `ReadyForQuery` says about the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TxState {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    Transaction,
    /// `E`: in a transaction block that failed; only its end is accepted.
    Failed,
}

/// `BackendKeyData`: what a `CancelRequest` has to show. `Debug` never shows the key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyData {
    pub pid: u32,
    /// 4 bytes in protocol 3.0, 4 to 256 in 3.2.
    pub key: Bytes,
}

impl std::fmt::Debug for KeyData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyData").field("pid", &self.pid).field("key", &"<secret>").finish()
    }
}

/// `NegotiateProtocolVersion`: the newest minor version we speak and the `_pq_.` options we do not know.
///
/// On the wire the version is the whole number, major included, as every server sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiate {
    /// Minor number of major version 3.
    pub minor: u16,
    pub options: Vec<String>,
}

impl Backend {
    /// Decodes one frame.
    ///
    /// # Errors
    /// See the module documentation.
    pub fn decode(frame: &Frame) -> Result<Self, Violation> {
        let name = name_of(frame.tag())?;
        let mut r = Reader::new(name, frame.body());
        let message = match frame.tag() {
            b'R' => Self::Authentication(Authentication::read(&mut r)?),
            b'K' => Self::BackendKeyData(KeyData::read(&mut r)?),
            b'v' => Self::NegotiateProtocolVersion(Negotiate::read(&mut r)?),
            b'S' => Self::ParameterStatus {
                name: r.string("the name has no end")?,
                value: r.string("the value has no end")?,
            },
            b'Z' => Self::ReadyForQuery(TxState::read(&mut r)?),
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'n' => Self::NoData,
            b's' => Self::PortalSuspended,
            b'I' => Self::EmptyQueryResponse,
            b'C' => Self::CommandComplete { tag: r.string("the tag has no end")? },
            b't' => {
                let count = r.count(4, "more types than bytes")?;
                let types = (0..count).map(|_| r.u32("a type is cut")).collect::<Result<_, _>>()?;
                Self::ParameterDescription { types }
            }
            b'T' => Self::RowDescription(RowDescription::read(&mut r)?),
            b'D' => return DataRow::from_frame(frame).map(Self::DataRow),
            b'G' => Self::CopyIn(CopyResponse::read(&mut r)?),
            b'H' => Self::CopyOut(CopyResponse::read(&mut r)?),
            b'd' => Self::CopyData(r.rest()),
            b'c' => Self::CopyDone,
            b'E' => Self::ErrorResponse(ErrorFields::read(&mut r)?),
            b'N' => Self::NoticeResponse(ErrorFields::read(&mut r)?),
            b'A' => Self::NotificationResponse {
                pid: r.u32("the process id is cut")?,
                channel: r.string("the channel has no end")?,
                payload: r.string("the payload has no end")?,
            },
            tag => return Err(Violation::UnknownTag { tag }),
        };
        r.finish()?;
        Ok(message)
    }

    /// Appends the message.
    ///
    /// # Errors
    /// A text that contains a NUL, or a count or length that does not fit; `out` is unchanged then.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        match self {
            Self::Authentication(request) => request.encode(out),
            Self::BackendKeyData(data) => wire::message(out, b'K', "BackendKeyData", |w| data.write(w)),
            Self::NegotiateProtocolVersion(n) => wire::message(out, b'v', "NegotiateProtocolVersion", |w| n.write(w)),
            Self::ParameterStatus { name, value } => wire::message(out, b'S', "ParameterStatus", |w| {
                w.string(name)?;
                w.string(value)
            }),
            Self::ReadyForQuery(state) => wire::message(out, b'Z', "ReadyForQuery", |w| {
                w.u8(state.byte());
                Ok(())
            }),
            Self::ParseComplete => wire::message(out, b'1', "ParseComplete", |_| Ok(())),
            Self::BindComplete => wire::message(out, b'2', "BindComplete", |_| Ok(())),
            Self::CloseComplete => wire::message(out, b'3', "CloseComplete", |_| Ok(())),
            Self::NoData => wire::message(out, b'n', "NoData", |_| Ok(())),
            Self::PortalSuspended => wire::message(out, b's', "PortalSuspended", |_| Ok(())),
            Self::EmptyQueryResponse => wire::message(out, b'I', "EmptyQueryResponse", |_| Ok(())),
            Self::CommandComplete { tag } => wire::message(out, b'C', "CommandComplete", |w| w.string(tag)),
            Self::ParameterDescription { types } => wire::message(out, b't', "ParameterDescription", |w| {
                w.count(types.len())?;
                types.iter().for_each(|oid| w.u32(*oid));
                Ok(())
            }),
            Self::RowDescription(rows) => rows.encode(out),
            Self::DataRow(row) => {
                out.extend_from_slice(row.frame());
                Ok(())
            }
            Self::CopyIn(response) => wire::message(out, b'G', "CopyInResponse", |w| response.write(w)),
            Self::CopyOut(response) => wire::message(out, b'H', "CopyOutResponse", |w| response.write(w)),
            Self::CopyData(data) => wire::message(out, b'd', "CopyData", |w| {
                w.bytes(data);
                Ok(())
            }),
            Self::CopyDone => wire::message(out, b'c', "CopyDone", |_| Ok(())),
            Self::ErrorResponse(fields) => wire::message(out, b'E', "ErrorResponse", |w| fields.write(w)),
            Self::NoticeResponse(fields) => wire::message(out, b'N', "NoticeResponse", |w| fields.write(w)),
            Self::NotificationResponse { pid, channel, payload } => {
                wire::message(out, b'A', "NotificationResponse", |w| {
                    w.u32(*pid);
                    w.string(channel)?;
                    w.string(payload)
                })
            }
        }
    }

    /// The message's name in the protocol documentation.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Authentication(_) => "Authentication",
            Self::BackendKeyData(_) => "BackendKeyData",
            Self::NegotiateProtocolVersion(_) => "NegotiateProtocolVersion",
            Self::ParameterStatus { .. } => "ParameterStatus",
            Self::ReadyForQuery(_) => "ReadyForQuery",
            Self::ParseComplete => "ParseComplete",
            Self::BindComplete => "BindComplete",
            Self::CloseComplete => "CloseComplete",
            Self::NoData => "NoData",
            Self::PortalSuspended => "PortalSuspended",
            Self::EmptyQueryResponse => "EmptyQueryResponse",
            Self::CommandComplete { .. } => "CommandComplete",
            Self::ParameterDescription { .. } => "ParameterDescription",
            Self::RowDescription(_) => "RowDescription",
            Self::DataRow(_) => "DataRow",
            Self::CopyIn(_) => "CopyInResponse",
            Self::CopyOut(_) => "CopyOutResponse",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::ErrorResponse(_) => "ErrorResponse",
            Self::NoticeResponse(_) => "NoticeResponse",
            Self::NotificationResponse { .. } => "NotificationResponse",
        }
    }
}

fn name_of(tag: u8) -> Result<&'static str, Violation> {
    Ok(match tag {
        b'R' => "Authentication",
        b'K' => "BackendKeyData",
        b'v' => "NegotiateProtocolVersion",
        b'S' => "ParameterStatus",
        b'Z' => "ReadyForQuery",
        b'1' => "ParseComplete",
        b'2' => "BindComplete",
        b'3' => "CloseComplete",
        b'n' => "NoData",
        b's' => "PortalSuspended",
        b'I' => "EmptyQueryResponse",
        b'C' => "CommandComplete",
        b't' => "ParameterDescription",
        b'T' => "RowDescription",
        b'D' => "DataRow",
        b'G' => "CopyInResponse",
        b'H' => "CopyOutResponse",
        b'd' => "CopyData",
        b'c' => "CopyDone",
        b'E' => "ErrorResponse",
        b'N' => "NoticeResponse",
        b'A' => "NotificationResponse",
        b'V' => return Err(Violation::Unsupported { what: "FunctionCallResponse" }),
        b'W' => return Err(Violation::Unsupported { what: "CopyBothResponse" }),
        tag => return Err(Violation::UnknownTag { tag }),
    })
}

// === impl TxState ===

impl TxState {
    /// The byte in `ReadyForQuery`.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Transaction => b'T',
            Self::Failed => b'E',
        }
    }

    fn read(r: &mut Reader) -> Result<Self, Violation> {
        match r.u8("the state is missing")? {
            b'I' => Ok(Self::Idle),
            b'T' => Ok(Self::Transaction),
            b'E' => Ok(Self::Failed),
            _ => Err(r.malformed("a state other than I, T and E")),
        }
    }
}

// === impl KeyData ===

impl KeyData {
    fn read(r: &mut Reader) -> Result<Self, Violation> {
        let pid = r.u32("the process id is cut")?;
        let key = r.rest();
        match key.len() {
            4..=256 => Ok(Self { pid, key }),
            _ => Err(r.malformed("a key outside 4 to 256 bytes")),
        }
    }

    fn write(&self, w: &mut wire::Writer<'_>) -> Result<(), Violation> {
        w.u32(self.pid);
        w.bytes(&self.key);
        Ok(())
    }
}

// === impl Negotiate ===

impl Negotiate {
    fn read(r: &mut Reader) -> Result<Self, Violation> {
        let major = r.u16("the version is cut")?;
        let minor = r.u16("the version is cut")?;
        // The documentation says "minor version"; servers send the whole number. Major 0 is the documentation's form.
        if major != 3 && major != 0 {
            return Err(r.malformed("a major version other than 3"));
        }
        let count = usize::try_from(r.u32("the number of options is cut")?).unwrap_or(usize::MAX);
        let mut options = Vec::new();
        while !r.is_empty() && options.len() < count {
            options.push(r.string("an option has no end")?);
        }
        match options.len() == count {
            true => Ok(Self { minor, options }),
            false => Err(r.malformed("more options than bytes")),
        }
    }

    fn write(&self, w: &mut wire::Writer<'_>) -> Result<(), Violation> {
        w.u16(3);
        w.u16(self.minor);
        w.length(self.options.len())?;
        self.options.iter().try_for_each(|option| w.string(option))
    }
}
