//! One statement in each form that the protocol has for it; what holds in one must hold in all.

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::{Fault, Message, Wire};

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One Query message; takes no parameters.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync over the unnamed statement, in one write.
    Extended,
    /// A named statement: Parse and Sync; then Bind, Execute and Sync without a Describe, twice. Rows of the second.
    Prepared,
    /// `SELECT 1` and the statement, without a Sync between them, in one write. Rows of the statement.
    Pipelined,
    /// Execute for one row at a time until the portal is done.
    PortalLimited,
}

/// How values travel; the simple form knows only text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

/// A form with a format.
pub type Shape = (Form, Format);

impl Form {
    /// Every combination that there is: nine.
    pub const ALL: [Shape; 9] = [
        (Form::Simple, Format::Text),
        (Form::Extended, Format::Text),
        (Form::Extended, Format::Binary),
        (Form::Prepared, Format::Text),
        (Form::Prepared, Format::Binary),
        (Form::Pipelined, Format::Text),
        (Form::Pipelined, Format::Binary),
        (Form::PortalLimited, Format::Text),
        (Form::PortalLimited, Format::Binary),
    ];
}

/// All that came back for one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub columns: Vec<String>,
    /// Values as they travelled; `None` is NULL.
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// Command tags, such as `SELECT 2`.
    pub tags: Vec<String>,
    pub fault: Option<Fault>,
    pub notices: Vec<Fault>,
    /// The state in the last ReadyForQuery; `None`: the session was closed instead.
    pub status: Option<u8>,
    /// Each message as it came, for tests that look for bytes that must not be there.
    pub messages: Vec<Message>,
}

// === impl Answer ===

impl Answer {
    /// The rows as text, NULL as `∅`.
    pub fn texts(&self) -> Vec<Vec<String>> {
        let text = |value: &Option<Bytes>| {
            value.as_ref().map_or_else(|| "∅".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        self.rows.iter().map(|row| row.iter().map(text).collect()).collect()
    }

    /// The SQLSTATE of the error, or the empty text.
    pub fn sqlstate(&self) -> &str {
        self.fault.as_ref().map_or("", |fault| &fault.sqlstate)
    }

    /// Whether these bytes stand anywhere in what came back.
    pub fn contains(&self, part: &[u8]) -> bool {
        self.messages.iter().any(|message| message.body.windows(part.len().max(1)).any(|window| window == part))
    }

    fn take(&mut self, message: Message) {
        match message.tag {
            b'T' => self.columns = message.columns().unwrap_or_default(),
            b'D' => self.rows.extend(message.values()),
            b'C' => self.tags.extend(message.texts().next()),
            b'E' => self.fault = self.fault.take().or_else(|| message.fault()),
            b'N' => self.notices.extend(message.notice()),
            b'Z' => self.status = message.body.first().copied(),
            _ => {}
        }
        self.messages.push(message);
    }
}

// === impl Wire ===

impl Wire {
    /// Runs one statement. Parameters are texts whatever the format of the results is; `None` is NULL.
    ///
    /// # Errors
    /// When the connection fails, or parameters are given in the simple form. What the server says, and a close
    /// after it, is in the answer.
    pub fn run(&mut self, form: Form, format: Format, sql: &str, parameters: &[Option<&str>]) -> Result<Answer> {
        if form == Form::Simple && !(parameters.is_empty() && format == Format::Text) {
            bail!("the simple form has neither parameters nor the binary format");
        }
        let mut answer = Answer::default();
        match form {
            Form::Simple => {
                let mut out = BytesMut::new();
                frontend::query(sql, &mut out)?;
                self.exchange(&out, &mut answer)?;
            }
            Form::Extended => {
                let mut out = BytesMut::new();
                unit(&mut out, "", sql, parameters, format, 0)?;
                frontend::sync(&mut out);
                self.exchange(&out, &mut answer)?;
            }
            Form::Prepared => self.prepared(&mut answer, sql, parameters, format)?,
            Form::Pipelined => {
                let mut out = BytesMut::new();
                unit(&mut out, "", "SELECT 1", &[], format, 0)?;
                unit(&mut out, "", sql, parameters, format, 0)?;
                frontend::sync(&mut out);
                self.exchange(&out, &mut answer)?;
                forget_first(&mut answer);
            }
            Form::PortalLimited => self.limited(&mut answer, sql, parameters, format)?,
        }
        Ok(answer)
    }

    fn prepared(&mut self, answer: &mut Answer, sql: &str, parameters: &[Option<&str>], format: Format) -> Result<()> {
        const NAME: &str = "e2e_prepared";
        let mut out = BytesMut::new();
        frontend::close(b'S', NAME, &mut out)?;
        frontend::parse(NAME, sql, [], &mut out)?;
        frontend::sync(&mut out);
        self.exchange(&out, answer)?;
        for _ in 0..2 {
            if answer.fault.is_some() || answer.status.is_none() {
                break;
            }
            answer.rows.clear();
            answer.tags.clear();
            out.clear();
            bind(&mut out, NAME, parameters, format)?;
            frontend::execute("", 0, &mut out)?;
            frontend::sync(&mut out);
            self.exchange(&out, answer)?;
        }
        Ok(())
    }

    fn limited(&mut self, answer: &mut Answer, sql: &str, parameters: &[Option<&str>], format: Format) -> Result<()> {
        let mut out = BytesMut::new();
        unit(&mut out, "", sql, parameters, format, 1)?;
        frontend::flush(&mut out);
        self.send(&out)?;
        loop {
            let Some(message) = self.read_message()? else { return Ok(()) };
            let tag = message.tag;
            answer.take(message);
            match tag {
                b's' => {
                    out.clear();
                    frontend::execute("", 1, &mut out)?;
                    frontend::flush(&mut out);
                    self.send(&out)?;
                }
                b'C' | b'I' | b'E' => break,
                _ => {}
            }
        }
        out.clear();
        frontend::sync(&mut out);
        self.exchange(&out, answer)
    }

    fn exchange(&mut self, out: &[u8], answer: &mut Answer) -> Result<()> {
        answer.status = None;
        // A refusal may close the session while we still write.
        let sent = self.send(out);
        let heard = self.until_ready();
        for message in heard.context(sent.err().map_or_else(String::new, |error| format!("sending: {error}")))? {
            answer.take(message);
        }
        Ok(())
    }
}

/// Leaves only what belongs to the second statement of a pipeline.
fn forget_first(answer: &mut Answer) {
    let end = answer.messages.iter().position(|message| message.tag == b'C');
    if let Some(end) = end {
        let rest = answer.messages.split_off(end + 1);
        let first = std::mem::take(answer);
        answer.notices = first.messages.iter().filter_map(Message::notice).collect();
        answer.messages = first.messages;
        for message in rest {
            answer.take(message);
        }
    }
}

fn unit(
    out: &mut BytesMut,
    name: &str,
    sql: &str,
    parameters: &[Option<&str>],
    format: Format,
    rows: i32,
) -> Result<()> {
    frontend::parse(name, sql, [], out)?;
    bind(out, name, parameters, format)?;
    frontend::describe(b'P', "", out)?;
    frontend::execute("", rows, out)?;
    Ok(())
}

fn bind(out: &mut BytesMut, statement: &str, parameters: &[Option<&str>], format: Format) -> Result<()> {
    let write = |value: &Option<&str>, buffer: &mut BytesMut| {
        Ok(value.map_or(IsNull::Yes, |text| {
            buffer.extend_from_slice(text.as_bytes());
            IsNull::No
        }))
    };
    let code = match format {
        Format::Text => 0,
        Format::Binary => 1,
    };
    frontend::bind("", statement, [], parameters, write, [code], out)
        .map_err(|_| anyhow::anyhow!("these parameters cannot be sent"))
}
