//! Detectors: what values look like, wherever they stand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// A net behind the masks, for values in places that nobody declared: it looks at what each value looks like. It never
/// permits anything, and what is encoded or split is not found.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Detector {
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub name: String,
    /// What it looks for.
    #[schemars(length(min = 1, max = limits::DETECTED), extend("x-kubernetes-list-type" = "set"))]
    pub find: Vec<Sensitive>,
    /// What becomes of it; default Redact. Of several detectors the strictest counts.
    #[serde(default)]
    pub action: OnDetected,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sensitive {
    /// Numbers of payment cards: issuer, length and check digit fit.
    CardNumber,
    /// Of the United States, in three groups.
    SocialSecurityNumber,
    EmailAddress,
    /// JSON Web Tokens, private keys in PEM, and keys that begin with the prefix of their provider.
    AccessToken,
}

/// The strictest last.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnDetected {
    /// It passes, and is counted in metrics and in the recording.
    Report,
    /// It is covered before the agent sees it, and counted too.
    #[default]
    Redact,
}
