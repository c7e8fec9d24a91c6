//! Login at the target with the credential that only the sidecar holds.
//!
//! Refused: a target that does not offer TLS where the AccessTarget asks for `VerifyFull`, bytes sent before the TLS
//! handshake (the class of CVE-2021-23222), MD5, a cleartext password without verified TLS, a server that does not
//! prove that it knows the password (SCRAM's server signature), and a session whose pinned settings did not come out
//! as asked. The agent's own `user` never gets here.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use crds::target::TlsMode;
use pgcodec::backend::{Authentication, KeyData};
use pgcodec::frontend::Secret;
use pgcodec::login::LoginFrame;
use pgcodec::startup::StartupMessage;
use pgcodec::{Backend, Framer, Limits, ProtocolVersion, TxState, Violation};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use secrecy::ExposeSecret;
use tokio::time::timeout_at;

use super::super::settings;
use crate::outside::{Credential, CredentialError, Target};
use crate::upstream::{DialError, Greeting, Upstream};

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(
        "`{0}` does not offer tls, which the target asks for: enable it on the server, or set tls.mode to Disabled"
    )]
    NoTls(String),
    #[error("`{0}` sent bytes before the tls handshake")]
    BytesBeforeTls(String),
    #[error("the target speaks another protocol: {0}")]
    Protocol(#[from] Violation),
    #[error(
        "the target refused the login with sqlstate {0}: check the secret that credentialRef names, and the role's rights"
    )]
    Refused(String),
    #[error("the target asks for {0}, which is not supported: let it use scram-sha-256")]
    Method(&'static str),
    #[error("the target did not prove that it knows the password")]
    NotProven,
    #[error("the pinned setting `{0}` did not come out as asked")]
    Pin(&'static str),
    #[error("the login took longer than {0} s")]
    Timeout(u64),
}

impl LoginError {
    /// What an agent may be told: the target's own words stay with the operator.
    pub fn for_agent(&self) -> String {
        match self {
            Self::Dial(
                DialError::Unreachable { .. }
                | DialError::Inward { .. }
                | DialError::Timeout { .. }
                | DialError::Login(_),
            )
            | Self::Timeout(_) => "it cannot be reached".to_owned(),
            Self::Dial(DialError::Tls { .. } | DialError::Name(_))
            | Self::Tls(_)
            | Self::NoTls(_)
            | Self::BytesBeforeTls(_) => "a verified tls connection to it is not possible".to_owned(),
            Self::Refused(code) => format!("it refused the sidecar's login (sqlstate {code})"),
            Self::Credential(_) => "the sidecar has no usable credential for it".to_owned(),
            Self::Protocol(_) | Self::Method(_) | Self::NotProven | Self::Pin(_) => "the login there failed".to_owned(),
        }
    }
}

/// A session at the target, ready for its first operation.
#[derive(Debug)]
pub struct LoggedIn {
    pub upstream: Upstream,
    /// Absent where the server sends none (a pooler in front of it): then nothing can be cancelled.
    pub key: Option<KeyData>,
    /// What the server reported, in order.
    pub parameters: Vec<(String, String)>,
    pub version: ProtocolVersion,
    pub encrypted: bool,
}

/// Dials, verifies, logs in, pins.
pub(crate) async fn login(
    target: &Target,
    credential: &Credential,
    anchor: Option<&[u8]>,
    database: &str,
    extra: &[(String, String)],
    limits: &Limits,
    deadline: std::time::Duration,
) -> Result<LoggedIn, LoginError> {
    let end = tokio::time::Instant::from_std(Instant::now()) + deadline;
    let steps = async {
        let greeting = greet(target, anchor, deadline).await?;
        Login { greeting, framer: Framer::backend(limits) }.run(target, credential, database, extra).await
    };
    timeout_at(end, steps).await.unwrap_or(Err(LoginError::Timeout(deadline.as_secs())))
}

/// A connection to the target with TLS as the AccessTarget says, before any startup packet.
pub(crate) async fn greet(
    target: &Target,
    anchor: Option<&[u8]>,
    deadline: std::time::Duration,
) -> Result<Greeting, LoginError> {
    let mut greeting = Greeting::dial(&target.host, target.port, target.reach, deadline).await?;
    match target.tls {
        TlsMode::Disabled => Ok(greeting),
        TlsMode::VerifyFull => {
            let config = crate::tls::upstream(anchor)?;
            greeting.login(&LoginFrame::SslRequest).await?;
            let mut answer = BytesMut::with_capacity(16);
            greeting.read(&mut answer).await?;
            match answer.as_ref() {
                [b'S'] => Ok(greeting.start_tls(config, deadline).await?),
                [b'S', ..] => Err(LoginError::BytesBeforeTls(target.host.clone())),
                _ => Err(LoginError::NoTls(target.host.clone())),
            }
        }
    }
}

struct Login {
    greeting: Greeting,
    framer: Framer,
}

impl Login {
    async fn run(
        mut self,
        target: &Target,
        credential: &Credential,
        database: &str,
        extra: &[(String, String)],
    ) -> Result<LoggedIn, LoginError> {
        let mut parameters =
            vec![("user".to_owned(), credential.username.clone()), ("database".to_owned(), database.to_owned())];
        parameters.extend(settings::pins(&target.postgres.search_path));
        parameters.extend(extra.iter().cloned());
        let message = StartupMessage { version: ProtocolVersion::V3_0, parameters };
        self.greeting.login(&LoginFrame::Startup(message)).await?;
        self.authenticate(credential).await?;
        self.settle().await
    }

    async fn authenticate(&mut self, credential: &Credential) -> Result<(), LoginError> {
        loop {
            match self.authentication().await? {
                Authentication::Ok => return Ok(()),
                Authentication::Cleartext if self.greeting.encrypted() => {
                    let password = Bytes::copy_from_slice(credential.password.expose_secret().as_bytes());
                    self.greeting.login(&LoginFrame::Password(Secret(password))).await?;
                }
                Authentication::Cleartext => return Err(LoginError::Method("a cleartext password without tls")),
                Authentication::Md5 { .. } => return Err(LoginError::Method("md5")),
                // What follows the server's proof is the Ok that ends the loop.
                Authentication::Sasl { mechanisms } => self.scram(&mechanisms, credential).await?,
                Authentication::SaslContinue { .. } | Authentication::SaslFinal { .. } => {
                    return Err(LoginError::NotProven);
                }
            }
        }
    }

    async fn scram(&mut self, mechanisms: &[String], credential: &Credential) -> Result<(), LoginError> {
        let offers = |name: &str| mechanisms.iter().any(|m| m == name);
        let (binding, mechanism) = match self.greeting.end_point() {
            Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
                (ChannelBinding::tls_server_end_point(hash.to_vec()), SCRAM_SHA_256_PLUS)
            }
            // TLS, but no -PLUS on offer: saying "I could have" (`y`) lets the server notice a stripped offer.
            Some(_) if offers(SCRAM_SHA_256) => (ChannelBinding::unrequested(), SCRAM_SHA_256),
            None if offers(SCRAM_SHA_256) => (ChannelBinding::unsupported(), SCRAM_SHA_256),
            _ => return Err(LoginError::Method("a sasl mechanism other than scram-sha-256")),
        };
        let mut scram = ScramSha256::new(credential.password.expose_secret().as_bytes(), binding);
        let data = Secret(Bytes::copy_from_slice(scram.message()));
        self.greeting.login(&LoginFrame::SaslInitial { mechanism: mechanism.to_owned(), data }).await?;
        let Authentication::SaslContinue { data } = self.authentication().await? else {
            return Err(LoginError::NotProven);
        };
        scram.update(&data).map_err(|_| LoginError::NotProven)?;
        let data = Secret(Bytes::copy_from_slice(scram.message()));
        self.greeting.login(&LoginFrame::SaslResponse(data)).await?;
        let Authentication::SaslFinal { data } = self.authentication().await? else {
            return Err(LoginError::NotProven);
        };
        scram.finish(&data).map_err(|_| LoginError::NotProven)
    }

    async fn authentication(&mut self) -> Result<Authentication, LoginError> {
        match self.next().await? {
            Backend::Authentication(request) => Ok(request),
            other => Err(unexpected(&other)),
        }
    }

    /// From AuthenticationOk to the first ReadyForQuery.
    async fn settle(mut self) -> Result<LoggedIn, LoginError> {
        let mut key = None;
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            match self.next().await? {
                // By itself: as a part of what was read it would keep all of that as long as the session.
                Backend::BackendKeyData(KeyData { pid, key: secret }) => {
                    key = Some(KeyData { pid, key: Bytes::copy_from_slice(&secret) });
                }
                Backend::ParameterStatus { name, value } => parameters.push((name, value)),
                Backend::ReadyForQuery(TxState::Idle) => break,
                // Notices of a login say nothing that the agent has to know.
                Backend::NoticeResponse(_) => {}
                other => return Err(unexpected(&other)),
            }
        }
        if let Some(pin) = settings::broken_pin(&parameters) {
            return Err(LoginError::Pin(pin));
        }
        let encrypted = self.greeting.encrypted();
        let early = self.framer.into_rest();
        Ok(LoggedIn {
            upstream: self.greeting.established(early),
            key,
            parameters,
            version: ProtocolVersion::V3_0,
            encrypted,
        })
    }

    async fn next(&mut self) -> Result<Backend, LoginError> {
        loop {
            if let Some(frame) = self.framer.next()? {
                return match Backend::decode(&frame)? {
                    Backend::ErrorResponse(fields) => Err(LoginError::Refused(fields.code().to_owned())),
                    message => Ok(message),
                };
            }
            self.greeting.read(self.framer.read_buffer()).await?;
        }
    }
}

fn unexpected(message: &Backend) -> LoginError {
    LoginError::Protocol(Violation::Unexpected { message: message.name(), state: "during login" })
}
