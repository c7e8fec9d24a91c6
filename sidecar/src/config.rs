//! `agentaccess.yaml`, typed. Everything wrong in it is found here, before any port is bound, and named by file and
//! field with what to do. Relative paths count from the folder of the file.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crds::shared::SecretKeyRef;
use policy::TargetKey;
use policy::subject::Subject;
use serde::Deserialize;

use crate::fence::probe::Nonce;
use crate::limits::Limits;

mod bind;
mod file;
mod otlp;
pub mod units;

pub use bind::Bind;

/// A configuration is a page, not a book.
const LARGEST_FILE: u64 = 1 << 20;
const LEAST_RECORDING: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    pub state_dir: PathBuf,
    /// Folder of AccessTarget, policies and Secrets.
    pub policies: PathBuf,
    pub listeners: Vec<Listener>,
    /// The sidecar stands in a pod whose fence sends everything to it.
    pub pod: Option<Pod>,
    pub approvers: Vec<Approver>,
    /// Group that may reach `approve.sock` and read `requests/`; absent: the group of this process.
    pub approver_group: Option<u32>,
    /// Approvers, agents and the sidecar may share a user; every approval entry says so.
    pub danger_shared_user: bool,
    /// Over this many bytes of recording new operations are refused.
    pub recording_max_bytes: u64,
    pub metrics: Option<SocketAddr>,
    pub log: Log,
    /// Where traces and log lines go, if anywhere.
    pub otel: Option<otel::Destination>,
    pub limits: Limits,
    /// Worker threads of sessions; 1 is the fastest on small machines.
    pub threads: usize,
}

/// One door: who comes in by it, how they prove it, where it leads.
#[derive(Clone, Debug)]
pub struct Listener {
    /// For example `listeners[0]`, for messages.
    pub field: String,
    pub target: TargetKey,
    pub bind: Bind,
    pub subject: Arc<Subject>,
    pub auth: Auth,
    /// Further names of our certificate.
    pub tls_names: Vec<String>,
}

/// Who everybody in the pod is, to policies, and what `verify` knows us by.
#[derive(Clone, Debug)]
pub struct Pod {
    pub subject: Arc<Subject>,
    pub nonce: Nonce,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// The password is in a Secret of the subject's namespace.
    Scram {
        username: String,
        password: SecretKeyRef,
    },
    /// Unix sockets only: the peer's user.
    PeerUid(u32),
    DangerTrustAnyPeer,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    pub name: String,
    pub uid: u32,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    #[serde(default)]
    pub format: LogFormat,
    #[serde(default)]
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration `{path}`: {source}; give the file with --config")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{0}` is larger than 1MiB, which no configuration is: give the right file with --config")]
    TooLarge(PathBuf),
    #[error("{path}: {source}", path = path.display())]
    Parse { path: PathBuf, source: serde_yaml::Error },
    #[error("{}", list(path, problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

/// What is wrong with one field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub field: String,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

fn list(path: &Path, problems: &[Problem]) -> String {
    match problems {
        [one] => format!("{}: {one}", path.display()),
        many => {
            let lines: String = many.iter().map(|p| format!("\n  {p}")).collect();
            format!("{}: {} fields are wrong{lines}", path.display(), many.len())
        }
    }
}

// === impl Config ===

impl Config {
    /// Reads and checks the file; `uid` is the user of this process.
    pub fn load(path: &Path, uid: u32) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > LARGEST_FILE {
            return Err(ConfigError::TooLarge(path.to_owned()));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(read)?, path, uid)
    }

    /// The same for a text that stands in the file `path`.
    pub fn parse(text: &str, path: &Path, uid: u32) -> Result<Self, ConfigError> {
        let file: file::File =
            serde_yaml::from_str(text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
        let mut problems = Problems::default();
        let config = build(file, path, uid, &mut problems);
        match problems.0.is_empty() {
            true => Ok(config),
            false => Err(ConfigError::Invalid { path: path.to_owned(), problems: problems.0 }),
        }
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { field: field.into(), text: text.into() });
    }
}

fn build(file: file::File, path: &Path, uid: u32, problems: &mut Problems) -> Config {
    let base = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = base.parent().unwrap_or(Path::new("/")).to_owned();
    for (field, given) in [("stateDir", &file.state_dir), ("policies", &file.policies)] {
        if given.as_os_str().is_empty() {
            problems.add(field, "is empty: give a path");
        }
    }
    let (state_dir, policies) = (base.join(&file.state_dir), base.join(&file.policies));
    if state_dir == policies || policies.starts_with(&state_dir) {
        problems.add("policies", "lies in stateDir: keep what people write apart from what the sidecar writes");
    }
    if file.listeners.is_empty() && file.pod.is_none() {
        problems.add("listeners", "is empty: without a listener no agent can connect; add one");
    }
    let mut listeners = Vec::new();
    for (at, entry) in file.listeners.into_iter().enumerate() {
        listeners.extend(listener(format!("listeners[{at}]"), entry, &base, problems));
    }
    let pod = file.pod.and_then(|entry| pod(entry, problems));
    let mut seen = HashMap::new();
    for one in &listeners {
        let any_port = matches!(one.bind, Bind::Tcp(address) if address.port() == 0);
        if let Some(other) = seen.insert(one.bind.clone(), one.field.clone()).filter(|_| !any_port) {
            problems
                .add(format!("{}.listen", one.field), format!("`{}` is that of {other} too: choose another", one.bind));
        }
    }
    approvers(&file.approvers, problems);
    if !file.danger_shared_user {
        separate_users(&file.approvers, &listeners, uid, problems);
    }
    if file.recording.max_bytes < LEAST_RECORDING {
        problems.add("recording.maxBytes", "is below 1MiB: give a size such as `10GiB`");
    }
    let metrics = file.metrics.and_then(|m| match bind::tcp(&m.listen) {
        Ok(address) => Some(address),
        Err(text) => {
            problems.add("metrics.listen", text);
            None
        }
    });
    if let Some(address) = metrics.filter(|a| a.port() != 0)
        && let Some(other) = seen.get(&Bind::Tcp(address))
    {
        problems.add("metrics.listen", format!("`{address}` is that of {other} too: choose another"));
    }
    if !(1..=64).contains(&file.threads) {
        problems.add("threads", format!("is {}: give a number from 1 to 64", file.threads));
    }
    for error in file.limits.validate().err().unwrap_or_default() {
        problems.add("limits", error.to_string());
    }
    let otel = file.otel.and_then(|entry| otlp::destination(&entry, &base, problems));
    Config {
        file: path.to_owned(),
        state_dir,
        policies,
        listeners,
        pod,
        approvers: file.approvers,
        approver_group: file.approver_group,
        danger_shared_user: file.danger_shared_user,
        recording_max_bytes: file.recording.max_bytes,
        metrics,
        log: file.log,
        otel,
        limits: file.limits,
        threads: file.threads,
    }
}

fn pod(entry: file::PodEntry, problems: &mut Problems) -> Option<Pod> {
    let before = problems.0.len();
    subject("pod", &entry.subject, problems);
    match entry.nonce.parse() {
        Ok(nonce) if problems.0.len() == before => Some(Pod { subject: Arc::new(entry.subject), nonce }),
        Ok(_) => None,
        Err(error) => {
            problems.add("pod.nonce", error.to_string());
            None
        }
    }
}

fn subject(field: &str, subject: &Subject, problems: &mut Problems) {
    for (name, value) in [("namespace", &subject.namespace), ("serviceAccount", &subject.service_account)] {
        if !is_name(value) {
            problems.add(format!("{field}.subject.{name}"), not_a_name(value));
        }
    }
}

fn not_a_name(value: &str) -> String {
    format!("`{value}` is not a name: use lower-case letters, digits, `-` and `.`, at most 253")
}

fn listener(field: String, entry: file::ListenerEntry, base: &Path, problems: &mut Problems) -> Option<Listener> {
    let before = problems.0.len();
    if !is_name(&entry.target) {
        problems.add(format!("{field}.target"), not_a_name(&entry.target));
    }
    subject(&field, &entry.subject, problems);
    let bind = match Bind::parse(&entry.listen, base) {
        Ok(bind) => Some(bind),
        Err(text) => {
            problems.add(format!("{field}.listen"), text);
            None
        }
    };
    let auth = client_auth(&format!("{field}.clientAuth"), entry.client_auth, bind.as_ref(), problems);
    if problems.0.len() > before {
        return None;
    }
    Some(Listener {
        target: TargetKey { namespace: entry.subject.namespace.clone(), name: entry.target },
        bind: bind?,
        subject: Arc::new(entry.subject),
        auth: auth?,
        tls_names: entry.tls_names,
        field,
    })
}

fn client_auth(
    field: &str,
    entry: file::ClientAuthEntry,
    bind: Option<&Bind>,
    problems: &mut Problems,
) -> Option<Auth> {
    match (entry.scram, entry.peer_uid, entry.danger_trust_any_peer) {
        (Some(scram), None, None) => {
            // Postgres truncates longer role names, and a name with a control character can only be a mistake.
            if scram.username.is_empty() || scram.username.len() > 63 || scram.username.chars().any(char::is_control) {
                problems.add(format!("{field}.scram.username"), "must have 1 to 63 bytes and no control character");
            }
            Some(Auth::Scram { username: scram.username, password: scram.password_secret_ref })
        }
        (None, Some(uid), None) => {
            if matches!(bind, Some(Bind::Tcp(_))) {
                problems.add(
                    format!("{field}.peerUid"),
                    "works on Unix sockets only: set `listen: unix:/path`, or use scram",
                );
            }
            Some(Auth::PeerUid(uid))
        }
        (None, None, Some(true)) => {
            if bind.is_some_and(|b| !b.is_local()) {
                problems.add(
                    format!("{field}.dangerTrustAnyPeer"),
                    "would trust the whole network: listen on 127.0.0.1, [::1] or unix:/path, or use scram",
                );
            }
            Some(Auth::DangerTrustAnyPeer)
        }
        (None, None, Some(false)) => {
            problems.add(format!("{field}.dangerTrustAnyPeer"), "is false: leave it out and give scram or peerUid");
            None
        }
        _ => {
            problems.add(field, "give exactly one of scram, peerUid and dangerTrustAnyPeer");
            None
        }
    }
}

fn approvers(given: &[Approver], problems: &mut Problems) {
    let (mut names, mut uids) = (HashSet::new(), HashSet::new());
    for (at, approver) in given.iter().enumerate() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._@".contains(&b);
        if approver.name.is_empty() || approver.name.len() > 63 || !approver.name.bytes().all(plain) {
            problems.add(
                format!("approvers[{at}].name"),
                format!("`{}` is not a name: use letters, digits, `-`, `.`, `_` and `@`, at most 63", approver.name),
            );
        }
        if !names.insert(&approver.name) {
            problems.add(
                format!("approvers[{at}].name"),
                format!("`{}` is listed twice: one person, one entry", approver.name),
            );
        }
        if !uids.insert(approver.uid) {
            problems
                .add(format!("approvers[{at}].uid"), format!("{} is listed twice: one person, one vote", approver.uid));
        }
    }
}

/// Who asks, who approves and who enforces must be different users, or the process boundaries mean nothing.
fn separate_users(approvers: &[Approver], listeners: &[Listener], uid: u32, problems: &mut Problems) {
    const WAY_OUT: &str = "use a user of its own, or set `dangerSharedUser: true`";
    let agents: HashMap<u32, &str> = listeners
        .iter()
        .filter_map(|l| match l.auth {
            Auth::PeerUid(uid) => Some((uid, l.field.as_str())),
            Auth::Scram { .. } | Auth::DangerTrustAnyPeer => None,
        })
        .collect();
    for (at, approver) in approvers.iter().enumerate() {
        let field = || format!("approvers[{at}].uid");
        if approver.uid == uid {
            problems.add(field(), format!("{uid} is the user of the sidecar itself: {WAY_OUT}"));
        }
        if let Some(listener) = agents.get(&approver.uid) {
            problems.add(
                field(),
                format!("{} is the agent of {listener}, which could approve itself: {WAY_OUT}", approver.uid),
            );
        }
    }
    if let Some(listener) = agents.get(&uid) {
        problems.add(
            format!("{listener}.clientAuth.peerUid"),
            format!("{uid} is the user of the sidecar itself, whose secrets the agent could read: {WAY_OUT}"),
        );
    }
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain)
}
