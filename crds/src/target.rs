//! `AccessTarget`: host, TLS and credential of one target, so that policies hold neither hosts nor secrets.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::shared::{Protocol, SecretKeyRef};

/// On a Secret: the hosts, and ports, of targets that may use it. Its owner writes it; who writes targets need not.
pub const HOSTS_ANNOTATION: &str = "agentaccess.dev/hosts";

#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "AccessTarget",
    plural = "accesstargets",
    shortname = "atgt",
    category = "agentaccess",
    namespaced,
    status = "crate::status::TargetStatus",
    derive = "PartialEq",
    doc = "Host, TLS and credential of one target, so that policies hold neither hosts nor secrets.",
    printcolumn(name = "PROTOCOL", type_ = "string", json_path = ".spec.protocol"),
    printcolumn(name = "HOST", type_ = "string", json_path = ".spec.host"),
    printcolumn(name = "PORT", type_ = "integer", json_path = ".spec.port"),
    printcolumn(
        name = "RESOLVED",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"ResolvedRefs\")].status"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.protocol == 'Postgres') == has(self.postgres)")
        .message("the postgres block is given if and only if protocol is Postgres")
)]
pub struct AccessTargetSpec {
    pub protocol: Protocol,
    /// A DNS name or an IP address; no wildcard.
    #[schemars(length(min = 1, max = limits::NAME_CHARS), regex(pattern = limits::HOST))]
    #[x_kube(
        validation = Rule::new("!self.contains('*')").message("a target is one host: name it, without a wildcard")
    )]
    pub host: String,
    /// 1 to 65535.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    #[serde(default)]
    pub tls: TargetTls,
    pub credential_ref: CredentialRef,
    /// If and only if protocol is Postgres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresTarget>,
}

#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.mode != 'Disabled' || !has(self.caSecretRef)")
        .message("caSecretRef has no meaning when mode is Disabled: remove one of them")
)]
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
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub name: String,
    #[serde(default = "username")]
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::SECRET_KEY))]
    pub username_key: String,
    #[serde(default = "password")]
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::SECRET_KEY))]
    pub password_key: String,
}

fn username() -> String {
    "username".to_owned()
}
fn password() -> String {
    "password".to_owned()
}

#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresTarget {
    /// The databases that are meant; a startup packet for another one is refused.
    #[schemars(
        length(min = 1, max = limits::DATABASES),
        inner(length(min = 1, max = limits::LABEL_CHARS), regex(pattern = limits::IDENTIFIER)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub databases: Vec<String>,
    /// Pinned at login, `pg_temp` is added last; default `[public]`.
    #[serde(default = "public")]
    #[schemars(
        length(min = 1, max = limits::DATABASES),
        inner(length(min = 1, max = limits::LABEL_CHARS), regex(pattern = limits::IDENTIFIER))
    )]
    #[x_kube(
        validation = Rule::new("self.all(s, !s.startsWith('pg_temp') && !s.startsWith('pg_toast') && !s.startsWith('$'))")
            .message("searchPath names schemas: pg_temp is always last, and $user is not one schema")
    )]
    pub search_path: Vec<String>,
}

fn public() -> Vec<String> {
    vec!["public".to_owned()]
}
