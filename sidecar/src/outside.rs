//! All that the core knows of the world around it: five narrow interfaces.
//!
//! Standalone mode feeds them from a directory and a local socket, the operator feeds them over streams, tests feed them
//! from memory. Nothing behind them can loosen a verdict: a policy that is missing or too old denies, an
//! approval that cannot be asked for or proven refuses, a credential that is not there refuses the connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::impact::Impact;
use policy::operation::Digest;
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::verdict::ApprovalTerms;
use policy::{PolicySet, TargetKey};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

/// A future behind a trait object.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

// === policies ===

/// The policies in force, with the moment at which they were last known to be current.
#[derive(Clone, Debug)]
pub struct PolicySnapshot {
    pub set: Arc<PolicySet>,
    pub confirmed: Instant,
    /// Unconfirmed for longer, it denies everything.
    pub max_age: Duration,
}

impl PolicySnapshot {
    pub fn too_old(&self) -> bool {
        self.confirmed.elapsed() > self.max_age
    }
}

/// The current snapshot, and a wake-up for each change.
pub type Policies = watch::Receiver<PolicySnapshot>;

// === credentials ===

/// What the sidecar logs in with. The agent never sees it.
#[derive(Clone, Debug)]
pub struct Credential {
    pub username: String,
    pub password: SecretString,
}

#[derive(Debug, thiserror::Error)]
#[error("no usable credential for target `{target}`: {reason}")]
pub struct CredentialError {
    pub target: String,
    pub reason: String,
}

pub trait Credentials: Send + Sync {
    /// The current secret; a rotated one counts for new connections. None for a host, a port or TLS that the AccessTarget
    /// does not name any more.
    fn current(&self, target: &Target) -> Result<Credential, CredentialError>;
    /// PEM of the CA that the target's certificate must chain to; `None` means the system's roots.
    fn trust_anchor(&self, target: &TargetKey) -> Result<Option<Vec<u8>>, CredentialError>;
}

// === approvals ===

/// One question to humans. Everything in it may be shown.
#[derive(Clone, Debug)]
pub struct Ask {
    pub subject: Arc<Subject>,
    pub target: TargetKey,
    pub host: String,
    pub port: u16,
    pub protocol: policy::operation::Protocol,
    /// The protocol's own word and the resources touched.
    pub action: String,
    pub resources: Vec<String>,
    pub statement: Redacted,
    pub digest: Digest,
    pub terms: ApprovalTerms,
    pub revision: policy::operation::Revision,
    /// What a grant of it would cover; `None`: it can be approved once and no more.
    pub cover: Option<crds::approval::Cover>,
    /// Of the session that asks.
    pub session: String,
    /// What it would do, where the policy wants people to be told.
    pub impact: Option<Impact>,
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Pending {
        have: u8,
        need: u8,
    },
    /// Enough approvers said yes; good for one `consume` before it expires, or for those that it grants.
    Approved {
        by: Vec<String>,
    },
    Denied {
        by: String,
        reason: Option<String>,
    },
    Expired,
    Withdrawn,
    Revoked,
}

/// An open request: its name for people, and its standing as it changes.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub name: String,
    pub standing: watch::Receiver<Standing>,
}

/// How an approval was used.
#[derive(Clone, Debug)]
pub struct Used {
    /// Who approved.
    pub by: Vec<String>,
    /// It was not used up, and what it let through ends with it.
    pub lease: Option<Lease>,
    /// If it changes more rows than this, it has to be rolled back: from the numbers that were shown with the request.
    pub rollback_above: Option<u64>,
}

/// A grant that let an operation through.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Of the request.
    pub name: String,
    /// By this machine's own clock.
    pub ends: std::time::Instant,
    /// As long as it is Approved, and somebody says so.
    pub standing: watch::Receiver<Standing>,
    /// It counts under no other.
    pub revision: policy::operation::Revision,
    /// It was given to one session.
    pub of_session: bool,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    #[error("{0} approval requests are already open, which is the limit")]
    TooMany(usize),
    #[error("the approval service is away")]
    Away,
}

/// Why an approval did not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the approval does not count: {0}")]
pub struct NotConsumed(pub &'static str);

pub trait Approvals: Send + Sync {
    /// Opens a request, or finds the open or approved one of the same subject, target and digest, or one that grants it.
    fn ask(&self, ask: Ask) -> Answer<'_, Result<Ticket, AskError>>;
    /// Whether a request or a grant for this is known here already, so that nothing has to be found out for people.
    fn knows(&self, ask: &Ask) -> bool;
    /// The agent no longer wants it.
    fn withdraw(&self, name: &str) -> Answer<'_, ()>;
    /// Uses an approval for what `ask` asks. One that is good once is used up, atomically: of many callers at most one is
    /// told `Ok`, and only before it expires. One that grants more is used if it covers this, at this moment.
    fn consume(&self, ticket: &Ticket, ask: &Ask) -> Answer<'_, Result<Used, NotConsumed>>;
}

// === witness ===

pub trait Witness: Send + Sync {
    /// Takes a checkpoint (a signed note) and may answer with a countersignature line.
    fn checkpoint(&self, note: &str) -> Option<String>;
}

// === subjects ===

/// Who a connection belongs to. In a pod the labels change while it lives.
#[derive(Clone, Debug)]
pub struct Subjects(watch::Receiver<Arc<Subject>>);

impl Subjects {
    pub fn now(&self) -> Arc<Subject> {
        Arc::clone(&self.0.borrow())
    }

    /// Resolves when it is another one than before. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody can change it any more.
            std::future::pending::<()>().await;
        }
    }
}

/// One that never changes.
impl From<Arc<Subject>> for Subjects {
    fn from(subject: Arc<Subject>) -> Self {
        Self(watch::channel(subject).1)
    }
}

impl From<watch::Receiver<Arc<Subject>>> for Subjects {
    fn from(subject: watch::Receiver<Arc<Subject>>) -> Self {
        Self(subject)
    }
}

// === connections ===

/// A byte stream from an agent.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// How the agent proves itself to its listener.
#[derive(Clone)]
pub enum ClientAuth {
    /// SCRAM-SHA-256 with this login.
    Scram { username: String, password: SecretString },
    /// The listener has proven the peer already (the uid of a Unix socket's peer, the pod's network namespace).
    Proven,
    /// `dangerTrustAnyPeer`: every record of such a session says so.
    DangerTrustAnyPeer,
}

impl std::fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Scram { .. } => "Scram(<secret>)",
            Self::Proven => "Proven",
            Self::DangerTrustAnyPeer => "DangerTrustAnyPeer",
        })
    }
}

/// Where a target may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Also on this machine: the listener stands beside the target, or before it.
    Anywhere,
    /// Not in the pod nor on its link, whatever its name resolves to.
    OutOfThePod,
}

/// A target as sessions need it: resolved from an `AccessTarget`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub key: TargetKey,
    pub host: String,
    pub port: u16,
    pub reach: Reach,
    pub tls: crds::target::TlsMode,
    pub postgres: crds::target::PostgresTarget,
}

impl Target {
    /// As an AccessTarget names it.
    ///
    /// # Errors
    /// When there is none, or none that is meant for sessions.
    pub fn of(key: &TargetKey, spec: Option<&crds::target::AccessTargetSpec>) -> Result<Self, String> {
        let spec = spec.ok_or_else(|| format!("there is no AccessTarget `{key}` any more"))?;
        Ok(Self {
            key: key.clone(),
            host: spec.host.clone(),
            port: u16::try_from(spec.port).map_err(|_| format!("the port of AccessTarget `{key}` is not a port"))?,
            reach: Reach::Anywhere,
            tls: spec.tls.mode,
            postgres: spec.postgres.clone().ok_or_else(|| format!("AccessTarget `{key}` is not a Postgres target"))?,
        })
    }
}

/// One accepted stream.
pub struct Connection {
    pub subject: Subjects,
    pub target: Arc<Target>,
    pub stream: Box<dyn Stream>,
    pub auth: ClientAuth,
    /// Address or uid of the peer, for the record.
    pub peer: String,
    /// Gives the slot in the connection budget back when dropped.
    pub slot: tokio::sync::OwnedSemaphorePermit,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("target", &self.target.key).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Accepted streams; bounded, so that accepting stops when sessions are not started.
pub type Connections = mpsc::Receiver<Connection>;

/// The greatest age of a snapshot where nobody says another.
pub const MAX_POLICY_AGE: Duration = Duration::from_secs(15 * 60);
