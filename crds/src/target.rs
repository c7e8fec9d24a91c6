//! `AccessTarget`: host, TLS and credential of one target, so that policies hold neither hosts nor secrets.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::shared::{Protocol, SecretKeyRef};

#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "AccessTarget",
    plural = "accesstargets",
    shortname = "atgt",
    category = "agentaccess",
    namespaced
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessTargetSpec {
    pub protocol: Protocol,
    pub host: String,
    /// 1 to 65535.
    pub port: i32,
    #[serde(default)]
    pub tls: TargetTls,
    pub credential_ref: CredentialRef,
    /// If and only if protocol is Postgres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresTarget>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetTls {
    #[serde(default)]
    pub mode: TlsMode,
    /// The CA that signs the target's certificate; absent: the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    #[default]
    VerifyFull,
    Disabled,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialRef {
    pub name: String,
    #[serde(default = "username")]
    pub username_key: String,
    #[serde(default = "password")]
    pub password_key: String,
}

fn username() -> String {
    "username".to_owned()
}
fn password() -> String {
    "password".to_owned()
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresTarget {
    /// The databases that are meant; a startup packet for another one is refused.
    pub databases: Vec<String>,
    /// Pinned at login, `pg_temp` is added last; default `[public]`.
    #[serde(default = "public")]
    pub search_path: Vec<String>,
}

fn public() -> Vec<String> {
    vec!["public".to_owned()]
}
