//! A real cluster, spoken to by `kubectl` as its users do, and looked at over its API. KUBECONFIG says which; without it a test fails and says how to
//! get one. Each test has namespaces of its own; they are deleted when it ends.

use std::env;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::wait;

mod api;

static NAMESPACES: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Debug)]
pub struct Cluster {
    user: Option<String>,
    groups: Vec<String>,
}

/// What `kubectl` and the server said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub accepted: bool,
    pub text: String,
}

/// Deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    pub name: String,
}

// === impl Cluster ===

impl Cluster {
    /// The cluster of KUBECONFIG, as its administrator.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn connect() -> Result<Self> {
        ensure!(
            env::var_os("KUBECONFIG").is_some(),
            "KUBECONFIG is not set: these tests want a cluster, `make e2e` brings one up"
        );
        let cluster = Self { user: None, groups: Vec::new() };
        cluster.raw("/readyz")?.accepted("the cluster is ready")?;
        Ok(cluster)
    }

    /// The same cluster as somebody else sees it.
    pub fn user(&self, name: &str) -> Self {
        Self { user: Some(name.to_owned()), groups: Vec::new() }
    }

    pub fn in_group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    /// Runs `kubectl` with these arguments.
    ///
    /// # Errors
    /// When it cannot be run; a refusal is an answer.
    pub fn run(&self, arguments: &[&str], input: Option<&Value>) -> Result<Answer> {
        let mut command = Command::new("kubectl");
        command.arg("--request-timeout=30s");
        if let Some(user) = &self.user {
            command.arg(format!("--as={user}"));
        }
        // Ours first: after `--` all words are those of the program that is run.
        command.args(self.groups.iter().map(|group| format!("--as-group={group}"))).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("kubectl cannot be run")?;
        let mut stdin = child.stdin.take().context("kubectl has no input")?;
        if let Some(input) = input {
            stdin.write_all(input.to_string().as_bytes())?;
        }
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Answer { accepted: output.status.success(), text: String::from_utf8(text)? })
    }

    /// What `kubectl get -o json` says to these words.
    ///
    /// # Errors
    /// When there is no such object, or it is not JSON.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        if let Some(found) = api::get(self, arguments)? {
            return Ok(found);
        }
        let answer = self.run(&[&["get", "-o", "json"], arguments].concat(), None)?;
        answer.accepted(&format!("get {arguments:?}"))?;
        Ok(serde_json::from_str(&answer.text)?)
    }

    /// What `kubectl get --raw` says.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn raw(&self, path: &str) -> Result<Answer> {
        api::raw(self, path)
    }

    /// Makes the object, or makes it so; its fields are ours from now on.
    ///
    /// # Errors
    /// See [`Cluster::run`].
    pub fn apply(&self, object: &Value) -> Result<Answer> {
        match api::apply(self, object)? {
            Some(answer) => Ok(answer),
            None => self.run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(object)),
        }
    }

    /// Makes the object.
    ///
    /// # Errors
    /// See [`Cluster::run`].
    pub fn create(&self, object: &Value) -> Result<Answer> {
        match api::create(self, object, false)? {
            Some(answer) => Ok(answer),
            None => self.run(&["create", "-f", "-"], Some(object)),
        }
    }

    /// Asks whether the object would be made: all of admission runs, nothing is stored.
    ///
    /// # Errors
    /// See [`Cluster::run`].
    pub fn would_create(&self, object: &Value) -> Result<Answer> {
        match api::create(self, object, true)? {
            Some(answer) => Ok(answer),
            None => self.run(&["create", "--dry-run=server", "-f", "-"], Some(object)),
        }
    }

    /// A namespace with these labels.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn namespace(&self, labels: &Value) -> Result<Namespace> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{since}-{}-{number}", std::process::id());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.create(&object)?.accepted("a new namespace")?;
        let namespace = Namespace { cluster: self.clone(), name };
        // Pods want it, and a controller makes it.
        wait::eventually("the default ServiceAccount", Duration::from_secs(30), || {
            self.get(&["serviceaccount", "default", "-n", &namespace.name]).is_ok()
        })?;
        Ok(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = api::delete_namespace(&self.cluster, &self.name);
        if !deleted.as_ref().is_ok_and(|answer| answer.accepted) {
            eprintln!("namespace {} stays: {deleted:?}", self.name);
        }
    }
}

// === impl Answer ===

impl Answer {
    /// # Errors
    /// When it was refused; `what` says what was asked.
    pub fn accepted(&self, what: &str) -> Result<()> {
        if self.accepted {
            return Ok(());
        }
        bail!("{what}: refused: {}", self.text)
    }

    /// # Errors
    /// When it was accepted, or refused for another reason than one that says `why`.
    pub fn refused(&self, what: &str, why: &str) -> Result<()> {
        ensure!(!self.accepted, "{what}: accepted: {}", self.text);
        ensure!(self.text.contains(why), "{what}: refused, but not because of `{why}`: {}", self.text);
        Ok(())
    }
}
