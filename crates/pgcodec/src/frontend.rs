//! Messages of the agent after startup (protocol documentation, "Message Formats", frontend).
//!
//! What is refused: every frame that does not decode to its last byte; `FunctionCall`; a kind other than `S` or `P`; a
//! format code other than 0 or 1; a number of parameter formats other than 0, 1 or the number of parameters; a length
//! below -1. The decoded form is what is evaluated and encoded again: the agent's own bytes are never forwarded.

use bytes::{Bytes, BytesMut};

use crate::reader::Reader;
use crate::{Frame, Limits, Violation, wire};

/// One message of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frontend {
    /// `Q`: SQL text in the simple protocol.
    Query {
        sql: String,
    },
    Parse(Parse),
    Bind(Bind),
    Execute(Execute),
    /// `D`
    Describe(Target),
    /// `C`
    Close(Target),
    Sync,
    Flush,
    Terminate,
    CopyData(Bytes),
    CopyDone,
    CopyFail {
        message: String,
    },
    /// `p`: a password or a SASL message; which of them depends on what was asked. The body as it is.
    Password(Secret),
}

/// The body of a `p` message. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// `P`: prepare `sql` under `name`; the empty name is the unnamed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    pub name: String,
    pub sql: String,
    /// Type OIDs given by the client, possibly fewer than there are parameters; 0 leaves one to the server.
    pub param_types: Vec<u32>,
}

/// `B`: bind values to a statement, making a portal; the empty names are the unnamed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    /// None (all text), one for all, or one for each parameter.
    pub formats: Vec<Format>,
    /// `None` is NULL.
    pub params: Vec<Option<Bytes>>,
    /// None (all text), one for all, or one for each column.
    pub result_formats: Vec<Format>,
}

/// `E`: run a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    pub portal: String,
    /// Rows after which the server suspends the portal; 0 is no limit. Negative numbers on the wire mean the same.
    pub max_rows: u32,
}

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Text,
    Binary,
}

/// What `Describe` and `Close` are about, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Statement(String),
    Portal(String),
}

impl Frontend {
    /// Decodes one frame.
    ///
    /// # Errors
    /// See the module documentation; the session has to be closed and nothing of the frame forwarded.
    pub fn decode(frame: &Frame, limits: &Limits) -> Result<Self, Violation> {
        let name = name_of(frame.tag())?;
        let mut r = Reader::new(name, frame.body());
        let message = match frame.tag() {
            b'Q' => Self::Query { sql: r.string("the text has no end")? },
            b'P' => Self::Parse(Parse::read(&mut r, limits)?),
            b'B' => Self::Bind(Bind::read(&mut r, limits)?),
            b'E' => Self::Execute(Execute {
                portal: r.string("the portal name has no end")?,
                max_rows: u32::try_from(r.i32("the row limit is missing")?).unwrap_or(0),
            }),
            b'D' => Self::Describe(Target::read(&mut r)?),
            b'C' => Self::Close(Target::read(&mut r)?),
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'X' => Self::Terminate,
            b'd' => Self::CopyData(r.rest()),
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail { message: r.string("the text has no end")? },
            b'p' => Self::Password(Secret(r.rest())),
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
            Self::Query { sql } => wire::message(out, b'Q', "Query", |w| w.string(sql)),
            Self::Parse(parse) => parse.encode(out),
            Self::Bind(bind) => bind.encode(out),
            Self::Execute(execute) => execute.encode(out),
            Self::Describe(target) => wire::message(out, b'D', "Describe", |w| target.write(w)),
            Self::Close(target) => wire::message(out, b'C', "Close", |w| target.write(w)),
            Self::Sync => wire::message(out, b'S', "Sync", |_| Ok(())),
            Self::Flush => wire::message(out, b'H', "Flush", |_| Ok(())),
            Self::Terminate => wire::message(out, b'X', "Terminate", |_| Ok(())),
            Self::CopyData(data) => wire::message(out, b'd', "CopyData", |w| {
                w.bytes(data);
                Ok(())
            }),
            Self::CopyDone => wire::message(out, b'c', "CopyDone", |_| Ok(())),
            Self::CopyFail { message } => wire::message(out, b'f', "CopyFail", |w| w.string(message)),
            Self::Password(secret) => wire::message(out, b'p', "Password", |w| {
                w.bytes(&secret.0);
                Ok(())
            }),
        }
    }

    /// The message's name in the protocol documentation.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Query { .. } => "Query",
            Self::Parse(_) => "Parse",
            Self::Bind(_) => "Bind",
            Self::Execute(_) => "Execute",
            Self::Describe(_) => "Describe",
            Self::Close(_) => "Close",
            Self::Sync => "Sync",
            Self::Flush => "Flush",
            Self::Terminate => "Terminate",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::CopyFail { .. } => "CopyFail",
            Self::Password(_) => "Password",
        }
    }
}

fn name_of(tag: u8) -> Result<&'static str, Violation> {
    Ok(match tag {
        b'Q' => "Query",
        b'P' => "Parse",
        b'B' => "Bind",
        b'E' => "Execute",
        b'D' => "Describe",
        b'C' => "Close",
        b'S' => "Sync",
        b'H' => "Flush",
        b'X' => "Terminate",
        b'd' => "CopyData",
        b'c' => "CopyDone",
        b'f' => "CopyFail",
        b'p' => "Password",
        b'F' => return Err(Violation::Unsupported { what: "FunctionCall" }),
        tag => return Err(Violation::UnknownTag { tag }),
    })
}

// === impl Parse ===

impl Parse {
    /// Appends the message.
    ///
    /// # Errors
    /// See [`Frontend::encode`].
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        wire::message(out, b'P', "Parse", |w| {
            w.string(&self.name)?;
            w.string(&self.sql)?;
            w.count(self.param_types.len())?;
            self.param_types.iter().for_each(|oid| w.u32(*oid));
            Ok(())
        })
    }

    fn read(r: &mut Reader, limits: &Limits) -> Result<Self, Violation> {
        let name = r.string("the statement name has no end")?;
        let sql = r.string("the text has no end")?;
        let count = r.count(4, "more parameter types than bytes")?;
        within(count, limits)?;
        let param_types = (0..count).map(|_| r.u32("a parameter type is cut")).collect::<Result<_, _>>()?;
        Ok(Self { name, sql, param_types })
    }
}

// === impl Bind ===

impl Bind {
    /// Appends the message.
    ///
    /// # Errors
    /// See [`Frontend::encode`].
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        wire::message(out, b'B', "Bind", |w| {
            w.string(&self.portal)?;
            w.string(&self.statement)?;
            Format::write_all(&self.formats, w)?;
            w.count(self.params.len())?;
            for value in &self.params {
                w.value(value.as_ref())?;
            }
            Format::write_all(&self.result_formats, w)
        })
    }

    fn read(r: &mut Reader, limits: &Limits) -> Result<Self, Violation> {
        let portal = r.string("the portal name has no end")?;
        let statement = r.string("the statement name has no end")?;
        let formats = Format::read_all(r)?;
        let count = r.count(4, "more parameters than bytes")?;
        within(count, limits)?;
        if formats.len() > 1 && formats.len() != count {
            return Err(r.malformed("the number of formats is not the number of parameters"));
        }
        let params = (0..count).map(|_| r.value("a parameter is cut")).collect::<Result<_, _>>()?;
        let result_formats = Format::read_all(r)?;
        Ok(Self { portal, statement, formats, params, result_formats })
    }
}

// === impl Execute ===

impl Execute {
    /// Appends the message.
    ///
    /// # Errors
    /// See [`Frontend::encode`].
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        wire::message(out, b'E', "Execute", |w| {
            w.string(&self.portal)?;
            // Above i32::MAX no server counts; it asks for all rows, as 0 does.
            w.i32(i32::try_from(self.max_rows).unwrap_or(0));
            Ok(())
        })
    }
}

fn within(count: usize, limits: &Limits) -> Result<(), Violation> {
    match count > limits.bind_params {
        true => Err(Violation::Limit { what: "parameters in one message", limit: limits.bind_params }),
        false => Ok(()),
    }
}

// === impl Format ===

impl Format {
    pub(crate) fn read(r: &mut Reader) -> Result<Self, Violation> {
        match r.u16("a format code is cut")? {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            _ => Err(r.malformed("a format code other than 0 and 1")),
        }
    }

    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    pub(crate) fn read_all(r: &mut Reader) -> Result<Vec<Self>, Violation> {
        let count = r.count(2, "more format codes than bytes")?;
        (0..count).map(|_| Self::read(r)).collect()
    }

    pub(crate) fn write_all(formats: &[Self], w: &mut wire::Writer<'_>) -> Result<(), Violation> {
        w.count(formats.len())?;
        formats.iter().for_each(|format| w.u16(format.code()));
        Ok(())
    }
}

// === impl Target ===

impl Target {
    fn read(r: &mut Reader) -> Result<Self, Violation> {
        let kind = r.u8("the kind is missing")?;
        let name = r.string("the name has no end")?;
        match kind {
            b'S' => Ok(Self::Statement(name)),
            b'P' => Ok(Self::Portal(name)),
            _ => Err(r.malformed("a kind other than S and P")),
        }
    }

    fn write(&self, w: &mut wire::Writer<'_>) -> Result<(), Violation> {
        let (kind, name) = match self {
            Self::Statement(name) => (b'S', name),
            Self::Portal(name) => (b'P', name),
        };
        w.u8(kind);
        w.string(name)
    }
}
