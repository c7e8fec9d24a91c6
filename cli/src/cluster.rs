//! The way to the API server of a cluster: kubectl, with the kubeconfig, context and login that people have set up.
//!
//! This program has no client of its own, since it lies in pods of agents too. Objects are read as JSON, so that those of
//! another version can be looked at. Nothing is changed there but annotations, as a person would write them. Every call has
//! a deadline and a bound on its answer, and lists have an end.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use serde_json::Value;

const PROGRAM: &str = "kubectl";
const PATIENCE: Duration = Duration::from_secs(20);
const REQUEST_TIMEOUT: &str = "--request-timeout=15s";
/// The same where somebody waits with a finger on a key.
const HURRY: Duration = Duration::from_secs(2);
const HURRIED_TIMEOUT: &str = "--request-timeout=1500ms";
/// Bytes of one answer: a page of 500 pods has a few MiB.
const LARGEST: u64 = 64 << 20;
/// Pages of 500 items that one list may have.
const PAGES: usize = 40;

#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterOptions {
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    options: ClusterOptions,
    patience: Duration,
    request_timeout: &'static str,
}

/// What kubectl said.
struct Answer {
    ok: bool,
    out: Vec<u8>,
    err: String,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(options: &ClusterOptions) -> Self {
        Self { options: options.clone(), patience: PATIENCE, request_timeout: REQUEST_TIMEOUT }
    }

    /// For who would rather have no answer than wait for it.
    pub(crate) fn hurried(options: &ClusterOptions) -> Self {
        Self { options: options.clone(), patience: HURRY, request_timeout: HURRIED_TIMEOUT }
    }

    /// The one that the context names.
    ///
    /// # Errors
    /// When there is no kubeconfig that can be used.
    pub(crate) fn namespace(&self) -> Result<String> {
        let answer = self.kubectl(&["config", "view", "--minify", "--output=jsonpath={..namespace}"])?;
        if !answer.ok {
            bail!("no cluster is configured: {}", answer.err);
        }
        let name = String::from_utf8_lossy(&answer.out).trim().to_owned();
        Ok(if name.is_empty() { "default".to_owned() } else { name })
    }

    /// `major.minor`, and the whole of it for people.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(crate) fn version(&self) -> Result<((u32, u32), String)> {
        let Some(info) = self.raw("/version")? else { bail!("the API server does not tell its version") };
        // Some add a sign to the minor version.
        let number = |at| text(&info, at).trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
        let shown = text(&info, "/gitVersion").to_owned();
        let version = number("/major").zip(number("/minor"));
        Ok((version.ok_or_else(|| anyhow!("the API server's version `{shown}` is not understood"))?, shown))
    }

    /// One object; `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be told whether it is there.
    pub(crate) fn get(&self, collection: &str, name: &str) -> Result<Option<Value>> {
        self.raw(&format!("{collection}/{}", segment(name)?))
    }

    /// All items of a collection; `None` if the cluster has no such kind.
    ///
    /// # Errors
    /// When it cannot be read, or is too long to be looked at.
    pub(crate) fn list(&self, collection: &str, labels: &str) -> Result<Option<Vec<Value>>> {
        let mut items = Vec::new();
        let first = format!("{collection}?limit=500&labelSelector={}", encoded(labels));
        let mut path = first.clone();
        for _ in 0..PAGES {
            let Some(mut page) = self.raw(&path)? else { return Ok(None) };
            let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) else {
                bail!("{collection}: the answer is no list");
            };
            items.extend(more);
            match text(&page, "/metadata/continue") {
                "" => return Ok(Some(items)),
                token => path = format!("{first}&continue={}", encoded(token)),
            }
        }
        bail!("{collection} has more than {} items: too many to look at", items.len())
    }

    /// Whether the caller may do this.
    ///
    /// # Errors
    /// When the API server does not say.
    pub(crate) fn may(&self, verb: &str, group: &str, resource: &str) -> Result<bool> {
        let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let answer = self.kubectl(&["auth", "can-i", verb, &resource, self.request_timeout])?;
        // It may add warnings, and a reason behind the word.
        match String::from_utf8_lossy(&answer.out).split_whitespace().next() {
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            _ => bail!("the API server does not say: {}", answer.err),
        }
    }

    /// Writes annotations, and gives what the API server said to it, warning by warning.
    ///
    /// # Errors
    /// When it was refused: why.
    pub(crate) fn annotate(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<String>> {
        let namespace = format!("--namespace={}", segment(namespace)?);
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut arguments = vec!["annotate", resource, segment(name)?, namespace.as_str(), self.request_timeout];
        arguments.extend(pairs.iter().map(String::as_str));
        let answer = self.kubectl(&arguments)?;
        if !answer.ok {
            // Whose webhook says it is of no use to who reads it.
            bail!("{}", answer.err.rsplit("denied the request: ").next().unwrap_or_default());
        }
        let warnings = answer.err.lines().filter_map(|line| line.strip_prefix("Warning: "));
        Ok(warnings.map(str::to_owned).collect())
    }

    fn raw(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.kubectl(&["get", "--raw", path, self.request_timeout])?;
        match answer {
            Answer { ok: true, out, .. } => {
                Ok(Some(serde_json::from_slice(&out).with_context(|| format!("{path}: the answer is no JSON"))?))
            }
            Answer { err, .. } if err.contains("(NotFound)") => Ok(None),
            Answer { err, .. } => bail!("{path}: {err}"),
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<Answer> {
        let mut command = Command::new(PROGRAM);
        if let Some(context) = &self.options.context {
            command.arg(format!("--context={context}"));
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                anyhow!("`{PROGRAM}` is not in PATH: install it, it is the way to the cluster")
            }
            _ => anyhow!("`{PROGRAM}` cannot be run: {error}"),
        })?;
        let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
        let end = Instant::now() + self.patience;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() >= end => {
                    // It may have ended meanwhile; then there is nothing to end.
                    let _gone = child.kill();
                    let _status = child.wait();
                    bail!("`{PROGRAM}` did not answer within {}s", self.patience.as_secs());
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok(Answer { ok: status.success(), out: joined(out)?, err: text(joined(err)?) })
    }
}

type Reader = thread::JoinHandle<std::io::Result<Vec<u8>>>;

/// In a thread of its own, so that a full pipe stops nobody.
fn read(pipe: Option<impl std::io::Read + Send + 'static>) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            pipe.take(LARGEST + 1).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn joined(reader: Reader) -> Result<Vec<u8>> {
    let bytes = reader.join().map_err(|_| anyhow!("the answer of `{PROGRAM}` could not be read"))??;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
        bail!("the answer of `{PROGRAM}` is larger than {} MiB", LARGEST >> 20);
    }
    Ok(bytes)
}

/// A name as part of a path, or as an argument of its own: `--all` is none.
///
/// # Errors
/// When no object may have it.
pub(crate) fn segment(name: &str) -> Result<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fits) {
        bail!("`{name}` is not a name that an object can have");
    }
    Ok(name)
}

/// As part of a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// A text in an object, or the empty one.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `namespace/name`, or the name of what has no namespace.
pub(crate) fn full_name(object: &Value) -> String {
    match text(object, "/metadata/namespace") {
        "" => text(object, "/metadata/name").to_owned(),
        namespace => format!("{namespace}/{}", text(object, "/metadata/name")),
    }
}

/// The items of a list in an object.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
