//! From the first byte to a proven agent: TLS, startup packet, client authentication.
//!
//! Refused: bytes behind an SSLRequest before the handshake (the class of CVE-2021-23214), a second SSLRequest, direct
//! TLS without ALPN `postgresql`, replication in any spelling, a database that the target does not list, a parameter
//! that is not on the list, another `client_encoding` than UTF8, a TLS server name that is not the target's, and an agent
//! that cannot prove itself. Each step has a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pgcodec::backend::{Authentication, KeyData};
use pgcodec::login::SaslInitialResponse;
use pgcodec::scram::{Binding, ITERATIONS, Scram, Verifier};
use pgcodec::startup::{Opening, Startup, StartupFramer, parse_options};
use pgcodec::{Backend, Framer, Frontend, Violation};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::super::refusal::Words;
use super::super::settings;
use super::agent::{Replay, fields};
use crate::core::Core;
use crate::outside::{ClientAuth, Reach, Stream, Target};
use crate::tls::{ALPN, CaError, canonical};

/// What an agent wants and has proven.
pub(super) struct Proven {
    pub stream: Box<dyn Stream>,
    /// What was read behind the last message of the startup.
    pub rest: Bytes,
    pub startup: Startup,
    pub database: String,
    /// Settings to pass on to the target.
    pub settings: Vec<(String, String)>,
    /// `TLSv1.3` and the like.
    pub tls: Option<String>,
    pub auth: &'static str,
}

/// How a connection can begin.
pub(super) enum Begun {
    Session(Box<Proven>),
    /// A cancel request; the connection is closed without an answer, once the request was passed on.
    Cancel(KeyData, Box<dyn Stream>),
    /// The peer went away, or said nothing in time.
    Gone,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum StartupError {
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("bytes came before the tls handshake")]
    BytesBeforeTls,
    #[error("tls was asked for twice")]
    SecondTls,
    #[error("gssapi encryption was asked for twice")]
    SecondGss,
    #[error("direct tls without alpn `postgresql`")]
    NoAlpn,
    #[error("the tls handshake failed: {0}")]
    Tls(std::io::Error),
    #[error("no certificate for the target can be made: {0}")]
    Certificate(#[from] CaError),
    #[error("the tls server name is not that of the target")]
    ServerName,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("{}", .0.message)]
    Refused(Words),
    #[error("authentication failed: {0}")]
    Authentication(String),
    #[error("no random numbers")]
    NoRandomness,
}

impl StartupError {
    /// For the log, which may go further than the recording: no name that the agent chose.
    pub(super) fn logged(&self) -> String {
        match self {
            Self::Refused(words) => format!("refused with sqlstate {}; the recording says why", words.sqlstate),
            other => other.to_string(),
        }
    }
}

/// Takes a connection to the point where the agent is known.
pub(super) async fn begin(
    stream: Box<dyn Stream>,
    auth: &ClientAuth,
    target: &Target,
    core: &Arc<Core>,
) -> Result<Begun, StartupError> {
    let mut starting = Starting {
        stream,
        framer: StartupFramer::new(&core.codec_limits()),
        tls: None,
        end_point: None,
        deadline: core.limits.handshake,
        until: tokio::time::Instant::now() + core.limits.handshake,
    };
    let mut gss_asked = false;
    let startup = loop {
        match starting.opening().await? {
            None => return Ok(Begun::Gone),
            Some(Opening::DirectTls) => starting = starting.direct_tls(target, core).await?,
            Some(Opening::SslRequest) => starting = starting.requested_tls(target, core).await?,
            Some(Opening::GssEncRequest) if gss_asked => return Err(StartupError::SecondGss),
            Some(Opening::GssEncRequest) => {
                gss_asked = true;
                starting.answer(b"N").await?;
            }
            Some(Opening::CancelRequest(key)) => return Ok(Begun::Cancel(key, starting.stream)),
            Some(Opening::Startup(startup)) => break startup,
        }
    };
    match starting.prove(startup, auth, target, core).await {
        Err((mut stream, error)) => {
            let words = told(&error);
            let mut out = BytesMut::new();
            if Backend::ErrorResponse(fields("FATAL", &words)).encode(&mut out).is_ok() {
                let _ = timeout(Duration::from_secs(1), stream.write_all(&out)).await;
                let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
            }
            Err(error)
        }
        Ok(proven) => Ok(Begun::Session(Box::new(proven))),
    }
}

/// What the agent hears. A failed authentication says no more than that.
fn told(error: &StartupError) -> Words {
    match error {
        StartupError::Refused(words) => words.clone(),
        StartupError::Authentication(_) => {
            let mut words = Words::new("28P01", "password authentication failed for this listener");
            words.hint = Some(
                "Use the login that this listener was given; the database's own passwords do not work here.".into(),
            );
            words
        }
        StartupError::Violation(violation) => Words::new(violation.sqlstate(), violation.to_string()),
        _ => Words::new("08P01", error.to_string()),
    }
}

struct Starting {
    stream: Box<dyn Stream>,
    framer: StartupFramer,
    tls: Option<String>,
    end_point: Option<Vec<u8>>,
    deadline: Duration,
    /// Everything before the startup packet has to be over by then.
    until: tokio::time::Instant,
}

impl Starting {
    async fn answer(&mut self, byte: &[u8]) -> Result<(), StartupError> {
        let write = async {
            self.stream.write_all(byte).await?;
            self.stream.flush().await
        };
        timeout_at(self.until, write).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
        Ok(())
    }

    /// The next packet before the session; `None` when the peer goes away or is silent.
    async fn opening(&mut self) -> Result<Option<Opening>, StartupError> {
        let until = self.until;
        let read = async {
            loop {
                if let Some(opening) = self.framer.next()? {
                    return Ok(Some(opening));
                }
                let mut buffer = BytesMut::with_capacity(1024);
                if self.stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(None);
                }
                self.framer.push(&buffer)?;
            }
        };
        timeout_at(until, read).await.unwrap_or(Ok(None))
    }

    async fn requested_tls(mut self, target: &Target, core: &Arc<Core>) -> Result<Self, StartupError> {
        if self.tls.is_some() {
            return Err(StartupError::SecondTls);
        }
        if self.framer.buffered() != 0 {
            return Err(StartupError::BytesBeforeTls);
        }
        self.answer(b"S").await?;
        self.handshake(target, core, false).await
    }

    async fn direct_tls(mut self, target: &Target, core: &Arc<Core>) -> Result<Self, StartupError> {
        if self.tls.is_some() {
            return Err(StartupError::SecondTls);
        }
        let framer = std::mem::replace(&mut self.framer, StartupFramer::new(&core.codec_limits()));
        self.stream = Box::new(Replay::new(framer.into_rest(), self.stream));
        self.handshake(target, core, true).await
    }

    async fn handshake(self, target: &Target, core: &Arc<Core>, direct: bool) -> Result<Self, StartupError> {
        let presented = match target.reach {
            Reach::Anywhere => core.tls.configured(),
            Reach::OutOfThePod => core.tls.for_host(&target.host)?,
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&presented.config));
        let tls = match timeout_at(self.until, acceptor.accept(self.stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return Err(StartupError::Tls(error)),
            Err(_) => return Err(StartupError::Tls(std::io::ErrorKind::TimedOut.into())),
        };
        let connection = tls.get_ref().1;
        if direct && connection.alpn_protocol() != Some(ALPN) {
            return Err(StartupError::NoAlpn);
        }
        // Who dialled a target and names another is told nothing. Addresses are never named here (RFC 6066).
        let named = connection.server_name().is_none_or(|name| canonical(name) == canonical(&target.host));
        if target.reach == Reach::OutOfThePod && !named {
            return Err(StartupError::ServerName);
        }
        let version = connection.protocol_version().and_then(|v| v.as_str()).unwrap_or("TLS").to_owned();
        Ok(Self {
            stream: Box::new(tls),
            framer: StartupFramer::new(&core.codec_limits()),
            tls: Some(version),
            end_point: Some(presented.end_point()),
            deadline: self.deadline,
            until: self.until,
        })
    }

    /// Checks the startup packet and lets the agent prove itself. An error keeps the stream, so that it can be told.
    async fn prove(
        self,
        startup: Startup,
        auth: &ClientAuth,
        target: &Target,
        core: &Arc<Core>,
    ) -> Result<Proven, (Box<dyn Stream>, StartupError)> {
        let Self { mut stream, framer, tls, end_point, deadline, until: _ } = self;
        let checked = check(&startup, target);
        let (database, settings) = match checked {
            Ok(checked) => checked,
            Err(words) => return Err((stream, StartupError::Refused(words))),
        };
        let mut channel = Channel { framer: Framer::frontend(&core.codec_limits()), stream: &mut stream };
        let proof = async {
            channel.framer.push(&framer.into_rest())?;
            if let Some(negotiate) = &startup.negotiate {
                channel.send(&Backend::NegotiateProtocolVersion(negotiate.clone())).await?;
            }
            channel.authenticate(auth, &startup, end_point, core).await
        };
        let result = timeout(deadline, proof)
            .await
            .unwrap_or_else(|_| Err(StartupError::Authentication("no answer in time".to_owned())));
        let rest = channel.framer.into_rest().freeze();
        match result {
            Err(error) => Err((stream, error)),
            Ok(auth) => Ok(Proven { stream, rest, startup, database, settings, tls, auth }),
        }
    }
}

/// The messages of an authentication.
struct Channel<'a> {
    stream: &'a mut Box<dyn Stream>,
    framer: Framer,
}

impl Channel<'_> {
    async fn send(&mut self, message: &Backend) -> Result<(), StartupError> {
        let mut out = BytesMut::new();
        message.encode(&mut out)?;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn password(&mut self, core: &Core) -> Result<pgcodec::frontend::Secret, StartupError> {
        loop {
            if let Some(frame) = self.framer.next()? {
                return match Frontend::decode(&frame, &core.codec_limits())? {
                    Frontend::Password(secret) => Ok(secret),
                    other => {
                        Err(Violation::Unexpected { message: other.name(), state: "during authentication" }.into())
                    }
                };
            }
            if self.stream.read_buf(self.framer.read_buffer()).await? == 0 {
                return Err(StartupError::Authentication("the agent hung up".to_owned()));
            }
        }
    }

    /// Until just before AuthenticationOk, which the session sends when the target is there.
    async fn authenticate(
        &mut self,
        auth: &ClientAuth,
        startup: &Startup,
        end_point: Option<Vec<u8>>,
        core: &Core,
    ) -> Result<&'static str, StartupError> {
        let (username, password) = match auth {
            ClientAuth::Proven => return Ok("proven by the listener"),
            ClientAuth::DangerTrustAnyPeer => return Ok("danger: any peer is trusted"),
            ClientAuth::Scram { username, password } => (username, password),
        };
        let salt: [u8; 16] = core.random().map_err(|_| StartupError::NoRandomness)?;
        let nonce: [u8; 24] = core.random().map_err(|_| StartupError::NoRandomness)?;
        let user = startup.get("user").unwrap_or_default();
        let verifier = if user == username {
            Verifier::derive(password.expose_secret().as_bytes(), &salt, ITERATIONS)
        } else {
            // The same work and the same answers, so that a user name cannot be found out.
            let other: [u8; 32] = core.random().map_err(|_| StartupError::NoRandomness)?;
            let _ = Verifier::derive(&other, &salt, ITERATIONS);
            Verifier::mock(&other, user, ITERATIONS)
        };
        let binding = end_point.map_or(Binding::None, Binding::TlsServerEndPoint);
        let mut scram = Scram::new(verifier, &nonce, binding);
        let failed = |error: pgcodec::scram::ScramError| StartupError::Authentication(error.to_string());
        self.send(&Backend::Authentication(scram.offer())).await?;
        let initial = SaslInitialResponse::decode(&self.password(core).await?)?;
        let next = scram.initial(&initial.mechanism, &initial.data.0).map_err(failed)?;
        self.send(&Backend::Authentication(next)).await?;
        let response = self.password(core).await?;
        let last: Authentication = scram.finish(&response.0).map_err(failed)?;
        self.send(&Backend::Authentication(last)).await?;
        Ok(if initial.mechanism == pgcodec::scram::SCRAM_SHA_256_PLUS { "scram-sha-256-plus" } else { "scram-sha-256" })
    }
}

/// The database, and the settings to pass on.
fn check(startup: &Startup, target: &Target) -> Result<(String, Vec<(String, String)>), Words> {
    let refused = |sqlstate, text: String| Words::new(sqlstate, text);
    if startup.replication {
        return Err(refused("0A000", "replication is never allowed through agentaccess".to_owned()));
    }
    let databases = &target.postgres.databases;
    let asked = startup.get("database").or_else(|| startup.get("user")).unwrap_or_default();
    if !databases.iter().any(|known| known == asked) {
        let mut words = refused("3D000", format!("database {asked:?} is not one of this target's databases"));
        words.hint = Some(format!("Connect to one of: {}.", databases.join(", ")));
        return Err(words);
    }
    let mut settings = Vec::new();
    for (name, value) in &startup.parameters {
        match name.as_str() {
            "user" | "database" => {}
            "options" => {
                let listed = parse_options(value).map_err(|v| refused("22023", v.to_string()))?;
                for (name, value) in listed {
                    setting(&name, &value, target, &mut settings)?;
                }
            }
            name => setting(name, value, target, &mut settings)?,
        }
    }
    Ok((asked.to_owned(), settings))
}

fn setting(name: &str, value: &str, target: &Target, settings: &mut Vec<(String, String)>) -> Result<(), Words> {
    let search_path = &target.postgres.search_path;
    if settings::agrees_with_pin(name, value, search_path) {
        return Ok(());
    }
    if !settings::passed_on(name, value) {
        let mut words = Words::new("42501", format!("the startup setting {name:?} is not allowed with this value"));
        words.hint = Some(match name.eq_ignore_ascii_case("search_path") {
            true => format!("Leave it out of the connection string: it is {} here.", search_path.join(", ")),
            false => "Leave it out of the connection string.".to_owned(),
        });
        return Err(words);
    }
    settings.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    settings.push((name.to_owned(), value.to_owned()));
    Ok(())
}
