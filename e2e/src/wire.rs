//! A small PostgreSQL client that sends exactly the bytes it is told to, for the forms that psql cannot make.
//!
//! It blocks, and every read has a deadline. It never repairs or retries anything.

mod forms;
mod message;
mod stream;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{BufMut, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

pub use forms::{Answer, Form, Format, Shape};
pub use message::{Fault, Message};
use stream::Stream;

const DEADLINE: Duration = Duration::from_secs(20);
/// More than any test asks for; a length beyond it is not a message.
const MOST: usize = 64 << 20;

/// How to log in.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: String,
    /// All parameters of the startup packet besides `user`.
    pub parameters: Vec<(String, String)>,
    /// PEM of the CA to trust; `None` connects without TLS.
    pub ca: Option<String>,
}

impl Login {
    pub fn new(user: &str, password: &str, database: &str) -> Self {
        let parameters = vec![
            ("database".to_owned(), database.to_owned()),
            ("client_encoding".to_owned(), "UTF8".to_owned()),
            ("application_name".to_owned(), "e2e-wire".to_owned()),
        ];
        Self { user: user.to_owned(), password: password.to_owned(), parameters, ca: None }
    }

    #[must_use]
    pub fn trusting(mut self, ca: &str) -> Self {
        self.ca = Some(ca.to_owned());
        self
    }

    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    inbox: BytesMut,
    /// Process id and secret, when BackendKeyData came.
    pub key: Option<(i32, Vec<u8>)>,
    /// ParameterStatus, in the order of arrival.
    pub settings: Vec<(String, String)>,
    /// The state in the last ReadyForQuery: `I`, `T` or `E`.
    pub status: u8,
}

// === impl Wire ===

impl Wire {
    /// A bare TCP connection to 127.0.0.1: nothing has been sent.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn bare(port: u16) -> Result<Self> {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("127.0.0.1:{port}"))?)
    }

    /// The same over a connection that somebody made.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn over(connection: TcpStream) -> Result<Self> {
        let stream = Stream::new(connection, DEADLINE)?;
        Ok(Self { stream, inbox: BytesMut::new(), key: None, settings: Vec::new(), status: b'I' })
    }

    /// Connects and logs in, up to the first ReadyForQuery.
    ///
    /// # Errors
    /// When the server refuses; the text has the SQLSTATE and message.
    pub fn connect(port: u16, login: &Login) -> Result<Self> {
        Self::bare(port)?.log_in(login)
    }

    /// Logs in over a connection on which nothing has been sent, up to the first ReadyForQuery.
    ///
    /// # Errors
    /// When the server refuses; the text has the SQLSTATE and message.
    pub fn log_in(mut self, login: &Login) -> Result<Self> {
        let wire = &mut self;
        if let Some(ca) = &login.ca {
            wire.start_tls(ca)?;
        }
        let mut packet = BytesMut::new();
        let first = std::iter::once(("user", login.user.as_str()));
        let rest = login.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        frontend::startup_message(first.chain(rest), &mut packet)?;
        wire.send(&packet)?;
        wire.authenticate(&login.password)?;
        match wire.until_ready()?.into_iter().find_map(|message| message.fault()) {
            Some(fault) => bail!("refused at login: {fault}"),
            None => Ok(self),
        }
    }

    /// SSLRequest and the handshake, verifying that the certificate is for `localhost`.
    ///
    /// # Errors
    /// When the other side answers `N` or its certificate does not verify.
    pub fn start_tls(&mut self, ca: &str) -> Result<()> {
        let mut packet = BytesMut::new();
        frontend::ssl_request(&mut packet);
        self.send(&packet)?;
        let mut answer = [0];
        self.stream.read_exact(&mut answer)?;
        if answer != *b"S" {
            bail!("the answer to SSLRequest is {answer:?}");
        }
        self.stream.start_tls(ca)
    }

    /// Sends these bytes as they are.
    ///
    /// # Errors
    /// When the other side has closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        Ok(self.stream.flush()?)
    }

    /// Sends one message: tag, length, body.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn send_message(&mut self, tag: u8, body: &[u8]) -> Result<()> {
        self.send(&message(tag, body)?)
    }

    /// How long a read may take; 20 s unless told.
    ///
    /// # Errors
    /// When the duration is zero.
    pub fn within(&mut self, deadline: Duration) -> Result<()> {
        self.stream.within(deadline)
    }

    /// The next message; `None`: the other side has closed.
    ///
    /// # Errors
    /// When nothing comes before the deadline, or what comes is no message.
    pub fn read_message(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(message) = Message::take(&mut self.inbox, MOST)? {
                self.note(&message);
                return Ok(Some(message));
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk) {
                Ok(0) if self.inbox.is_empty() => return Ok(None),
                Ok(0) => bail!("closed in the middle of a message"),
                Ok(count) => self.inbox.put_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    bail!("no message before the deadline");
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    return Ok(None);
                }
                Err(error) => return Err(error).context("reading"),
            }
        }
    }

    /// All messages up to and with the first one with this tag, or up to the close.
    ///
    /// # Errors
    /// As [`Wire::read_message`].
    pub fn until(&mut self, tag: u8) -> Result<Vec<Message>> {
        let mut all = Vec::new();
        while let Some(message) = self.read_message()? {
            let last = message.tag == tag;
            all.push(message);
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// All messages up to ReadyForQuery, or up to the close: then the last one is not a `Z`.
    ///
    /// # Errors
    /// As [`Wire::read_message`].
    pub fn until_ready(&mut self) -> Result<Vec<Message>> {
        self.until(b'Z')
    }

    /// Whether the other side closes before the deadline; what it still says is read and dropped.
    ///
    /// # Errors
    /// When it does not.
    pub fn closed(&mut self) -> Result<()> {
        while self.read_message()?.is_some() {}
        Ok(())
    }

    /// The simple form: one Query message, the whole answer.
    ///
    /// # Errors
    /// When the connection fails; what the server says is in the answer.
    pub fn query(&mut self, sql: &str) -> Result<Answer> {
        self.run(Form::Simple, Format::Text, sql, &[])
    }

    /// Sends a CancelRequest for this connection, over one of its own.
    ///
    /// # Errors
    /// When no key came or nobody listens.
    pub fn cancel(&self, port: u16) -> Result<()> {
        let (pid, secret) = self.key.as_ref().context("no BackendKeyData came")?;
        let mut packet = BytesMut::new();
        packet.put_u32(u32::try_from(12 + secret.len())?);
        packet.put_u32(80_877_102);
        packet.put_i32(*pid);
        packet.put_slice(secret);
        let mut other = Self::bare(port)?;
        other.send(&packet)?;
        other.closed()
    }

    fn authenticate(&mut self, password: &str) -> Result<()> {
        let Some(first) = self.read_message()? else { bail!("closed during the login") };
        match (first.tag, first.word()) {
            (b'R', Some(0)) => return Ok(()),
            (b'R', Some(10)) => {}
            (b'E', _) => bail!("refused at login: {}", first.fault().unwrap_or_default()),
            (tag, word) => bail!("no SCRAM offered: `{}` {word:?}", char::from(tag)),
        }
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut packet = BytesMut::new();
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut packet)?;
        self.send(&packet)?;
        scram.update(&self.sasl(11)?)?;
        packet.clear();
        frontend::sasl_response(scram.message(), &mut packet)?;
        self.send(&packet)?;
        scram.finish(&self.sasl(12)?)?;
        match self.read_message()? {
            Some(message) if message.tag == b'R' && message.word() == Some(0) => Ok(()),
            other => bail!("no AuthenticationOk: {other:?}"),
        }
    }

    fn sasl(&mut self, code: i32) -> Result<Vec<u8>> {
        match self.read_message()? {
            Some(message) if message.tag == b'R' && message.word() == Some(code) => {
                Ok(message.body.get(4..).unwrap_or_default().to_vec())
            }
            Some(message) => bail!("refused at login: {}", message.fault().unwrap_or_default()),
            None => bail!("closed during the login"),
        }
    }

    fn note(&mut self, message: &Message) {
        match message.tag {
            b'Z' => self.status = message.body.first().copied().unwrap_or_default(),
            b'K' => self.key = message.word().map(|pid| (pid, message.body.get(4..).unwrap_or_default().to_vec())),
            b'S' => {
                let mut texts = message.texts();
                if let (Some(name), Some(value)) = (texts.next(), texts.next()) {
                    self.settings.push((name, value));
                }
            }
            _ => {}
        }
    }
}

/// The bytes of one message: tag, length, body.
///
/// # Errors
/// When the body is longer than a length can say.
pub fn message(tag: u8, body: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = vec![tag];
    bytes.put_u32(u32::try_from(body.len() + 4)?);
    bytes.put_slice(body);
    Ok(bytes)
}
