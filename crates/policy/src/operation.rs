//! What an agent wants done, in words that every protocol shares.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use crds::shared::Protocol;

use crate::redact::Redacted;

/// One thing the agent wants done: exactly what one `Permit` lets out.
///
/// It holds a list of accesses, since one statement may read one table and write another while it is still sent, and
/// approved, as one.
#[derive(Clone, Debug)]
pub struct Operation {
    pub protocol: Protocol,
    /// The protocol's own word, for example `SELECT`.
    pub action: String,
    /// Everything it touches. Empty only for an opaque operation.
    pub accesses: Vec<Access>,
    pub attributes: Attributes,
    pub certainty: Certainty,
    /// SHA-256 of the exact bytes to be sent.
    pub payload: PayloadHash,
    /// What an approval binds to: HMAC-SHA-256 over context and payload.
    pub digest: Digest,
    /// The loosest decision that this kind of operation can ever get.
    pub ceiling: Strictness,
    pub origin: Origin,
    /// The revision under which masks were applied; the gate refuses to decide under another.
    pub planned: Revision,
    /// What a reviewer and the recording see.
    pub display: Redacted,
}

impl Operation {
    /// The weightiest verb of its accesses.
    pub fn verb(&self) -> Verb {
        self.accesses.iter().map(|a| a.verb).max().unwrap_or(Verb::Administer)
    }
}

/// Neutral verbs, ordered by weight.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Connect,
    Read,
    Create,
    Update,
    Delete,
    Execute,
    Administer,
}

/// One use of one resource.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    pub verb: Verb,
    pub resource: Resource,
    /// For Update and Delete: whether an effective condition bounds it. `None` is unknown and counts as unbounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounded: Option<bool>,
    /// Reached through another object that is an access of its own, as the tables behind a view: Deny, RequireApproval
    /// and `requireWhere` rules apply to it, but no Allow is asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub indirect: bool,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    pub kind: ResourceKind,
    /// For example `[schema, relation]`; empty where the kind has one resource only.
    pub path: Vec<String>,
    #[serde(default)]
    pub fields: Fields,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path.join("."))?;
        }
        if let Fields::Named(names) = &self.fields {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            write!(f, " ({})", names.join(", "))?;
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// The target itself (`Connect`); path `[database]`.
    Target,
    /// Table, view and the like; path `[schema, name]`.
    Relation,
    /// Rows streamed into a relation; path `[schema, name]`.
    RelationStream,
    /// A system catalog from the list that every session may read; path `[schema, name]`.
    Catalog,
    /// A function that is not built in; path `[schema, name(types)]`.
    Function,
    /// Code that cannot be looked into.
    Code,
    /// A file or a program of the target's host.
    Program,
    /// A setting from the list that every session may change; path `[name]`.
    SessionSetting,
    /// Any other setting; path `[name]`.
    Setting,
    /// Roles and rights.
    Role,
    /// Objects of a schema that are not relations, and relations as a target of DDL; path `[schema, name]` where known.
    Object,
    /// A notification channel; path `[name]`.
    Channel,
    /// BEGIN, COMMIT, SAVEPOINT and the like; also cursors and prepared statements that the session made itself.
    Transaction,
}

/// Which parts of a resource are touched. What cannot be proven is `All`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fields {
    #[default]
    All,
    Named(BTreeSet<String>),
}

/// Typed facts that conditions look at. One that is absent is unknown.
pub type Attributes = BTreeMap<Attribute, String>;

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// The AccessTarget's host.
    Host,
    Database,
    /// `idle`, `transaction` or `failed`.
    Transaction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certainty {
    Exact,
    /// Not understood; the reason is shown to the agent and holds none of its data.
    Opaque(String),
}

/// Allow < RequireApproval < Deny.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strictness {
    Allow,
    RequireApproval,
    Deny,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Agent,
    /// Our own pins, snapshots and cancels: constant texts, or derived from a decided operation.
    Internal,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadHash(pub [u8; 32]);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// Hash of the content of the policies in force; `sha256:HEX` when shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub [u8; 32]);

fn hex(f: &mut fmt::Formatter<'_>, prefix: &str, bytes: &[u8]) -> fmt::Result {
    f.write_str(prefix)?;
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Display for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, "sha256:", &self.0)
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, "hmac-sha256:", &self.0)
    }
}
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, "sha256:", &self.0)
    }
}
impl fmt::Debug for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
