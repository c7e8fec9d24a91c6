//! The folder of policies: what is refused at the start, and what a reload changes while the sidecar runs.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use policy::TargetKey;
use recording::entry::{Approval, What};
use secrecy::ExposeSecret as _;
use sidecar::config::{Config, Listener};
use sidecar::ledger::{Ledger, NotRecorded};
use sidecar::metrics::Metrics;
use sidecar::outside::{Answer, Credentials as _, Policies, Target};
use sidecar::secret::Secrets;
use sidecar::standalone::folder::load;
use sidecar::standalone::policies::PolicyFolder;

const TARGET: &str = "
apiVersion: agentaccess.dev/v1alpha1
kind: AccessTarget
metadata: {name: orders-db, namespace: local}
spec:
  protocol: Postgres
  host: localhost
  port: 5432
  tls: {mode: Disabled}
  credentialRef: {name: orders-login}
  postgres: {databases: [orders]}
";
const POLICY: &str = "
apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccessPolicy
metadata: {name: support, namespace: local}
spec:
  podSelector: {}
  targets:
    - targetRef: {name: orders-db}
      postgres:
        rules: [{name: read, action: Allow, verbs: [Select], relations: [public.orders]}]
";
const SECRETS: &str = "
apiVersion: v1
kind: Secret
metadata: {name: orders-login, namespace: local}
stringData: {username: sidecar, password: canary-1}
---
apiVersion: v1
kind: Secret
metadata: {name: agent-login, namespace: local}
stringData: {password: canary-2}
";

/// Remembers markers.
#[derive(Default)]
struct Memory(Mutex<Vec<(What, String)>>);

impl Ledger for Memory {
    fn approval(&self, _: Approval) -> Answer<'_, Result<(), NotRecorded>> {
        Box::pin(async { Ok(()) })
    }
    fn marker(&self, what: What, detail: String) {
        self.0.lock().push((what, detail));
    }
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("policies")).unwrap();
    for (name, mode, text) in
        [("target.yaml", 0o644, TARGET), ("policy.yaml", 0o644, POLICY), ("secrets.yaml", 0o600, SECRETS)]
    {
        write(dir.path(), name, mode, text);
    }
    dir
}

fn write(dir: &Path, name: &str, mode: u32, text: &str) {
    let (place, new) = (dir.join("policies").join(name), dir.join(format!("{name}.new")));
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, Permissions::from_mode(mode)).unwrap();
    std::fs::rename(new, place).unwrap();
}

fn listeners() -> Arc<[Listener]> {
    let text = "
stateDir: /nowhere
policies: ./policies
listeners:
  - target: orders-db
    listen: 127.0.0.1:0
    subject: {namespace: local, serviceAccount: support-agent}
    clientAuth: {scram: {username: agent, passwordSecretRef: {name: agent-login, key: password}}}
";
    Config::parse(text, Path::new("agentaccess.yaml"), 1).unwrap().listeners.into()
}

fn refused(change: impl FnOnce(&Path), texts: &[&str]) {
    let dir = folder();
    change(dir.path());
    let message = match load(&dir.path().join("policies"), &listeners()) {
        Ok(_) => panic!("accepted; expected {texts:?}"),
        Err(error) => error.to_string(),
    };
    for text in texts {
        assert!(message.contains(text), "`{text}` is not in: {message}");
    }
    assert!(!message.contains("canary"), "{message}");
}

#[test]
fn a_good_folder() {
    let dir = folder();
    let held = load(&dir.path().join("policies"), &listeners()).unwrap();
    assert_eq!(held.set.targets().len(), 1);
    std::fs::set_permissions(dir.path().join("policies/secrets.yaml"), Permissions::from_mode(0o640)).unwrap();
    load(&dir.path().join("policies"), &listeners()).unwrap();
}

#[test]
fn bad_folders_name_file_and_remedy() {
    let mode = |mode| {
        move |dir: &Path| {
            std::fs::set_permissions(dir.join("policies/secrets.yaml"), Permissions::from_mode(mode)).unwrap();
        }
    };
    for bad in [0o644, 0o604, 0o602, 0o660, 0o666] {
        refused(mode(bad), &["secrets.yaml", "chmod 600", &format!("{bad:o}")]);
    }
    let mixed = format!("{POLICY}---{SECRETS}");
    refused(
        |dir| {
            std::fs::remove_file(dir.join("policies/secrets.yaml")).unwrap();
            write(dir, "policy.yaml", 0o644, &mixed);
        },
        &["policy.yaml", "chmod 600"],
    );
    refused(|dir| write(dir, "policy.yaml", 0o644, &POLICY.replace("rules:", "rulez:")), &["policy.yaml", "rulez"]);
    refused(
        |dir| {
            write(
                dir,
                "policy.yaml",
                0o644,
                &POLICY.replace("action: Allow", "action: RequireApproval, approval: nobody"),
            )
        },
        &["policy.yaml", "AgentAccessPolicy local/support", "approval"],
    );
    refused(
        |dir| {
            let grants = "approvals: [{name: change, scope: Task, maxGrantDuration: 1h}]\n  targets:";
            write(dir, "policy.yaml", 0o644, &POLICY.replacen("targets:", grants, 1))
        },
        &["policy.yaml", "spec.approvals[0].scope: Task needs the operator of a cluster", "write `scope: Once`"],
    );
    refused(
        |dir| {
            let hard = "recording: {durability: Replicated}\n  targets:";
            write(dir, "policy.yaml", 0o644, &POLICY.replacen("targets:", hard, 1))
        },
        &["policy.yaml", "spec.recording.durability: Replicated needs the operator", "write `durability: Synced`"],
    );
    refused(
        |dir| {
            let everywhere = "---\napiVersion: agentaccess.dev/v1alpha1\nkind: ClusterAgentAccessPolicy\nmetadata: {name: all}\n\
                              spec: {namespaceSelector: {}, podSelector: {}, recording: {durability: Replicated}}\n";
            write(dir, "cluster.yaml", 0o644, everywhere)
        },
        &["cluster.yaml", "ClusterAgentAccessPolicy all", "spec.recording.durability: Replicated needs the operator"],
    );
    refused(
        |dir| write(dir, "secrets.yaml", 0o600, &SECRETS.replace("name: agent-login", "name: other")),
        &["listeners[0].clientAuth.scram.passwordSecretRef", "no Secret `agent-login`"],
    );
    refused(
        |dir| write(dir, "secrets.yaml", 0o600, &SECRETS.replace("username:", "user:")),
        &["AccessTarget local/orders-db", "spec.credentialRef", "no key `username`"],
    );
    refused(
        |dir| write(dir, "secrets.yaml", 0o600, &SECRETS.replace("canary-1", "\"canary-1\\n\"")),
        &["`password`", "line break"],
    );
    refused(
        |dir| std::fs::remove_file(dir.join("policies/target.yaml")).unwrap(),
        &["listeners[0].target", "no AccessTarget `local/orders-db`"],
    );
    let verify = TARGET.replace("{mode: Disabled}", "{caSecretRef: {name: orders-login, key: password}}");
    refused(|dir| write(dir, "target.yaml", 0o644, &verify), &["AccessTarget local/orders-db: spec.tls", "CA"]);
    refused(|dir| std::fs::remove_dir_all(dir.join("policies")).unwrap(), &["policies", "cannot be read"]);
}

struct Running {
    dir: tempfile::TempDir,
    policies: Policies,
    secrets: Arc<Secrets>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
}

fn running() -> Running {
    let dir = folder();
    let (metrics, memory) = (Arc::new(Metrics::new("0").unwrap()), Arc::new(Memory::default()));
    let opened = PolicyFolder::open(dir.path().join("policies"), listeners()).unwrap();
    let (policies, secrets) = (opened.policies(), opened.secrets());
    opened.follow(Arc::clone(&metrics), Arc::clone(&memory) as Arc<dyn Ledger>);
    Running { dir, policies, secrets, metrics, memory }
}

impl Running {
    fn failed(&self) -> bool {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.lines().any(|line| line == "agentaccess_policy_reload_failed 1")
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < Duration::from_secs(10), "waited for: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn reloads(running: &Running) -> usize {
    running.memory.0.lock().iter().filter(|(what, _)| *what == What::PolicyReload).count()
}

/// What the recording says last.
fn in_force(running: &Running) -> String {
    running.memory.0.lock().last().map(|(_, text)| text.clone()).unwrap()
}

#[tokio::test]
async fn a_good_change_arrives_within_two_seconds_and_wakes() {
    let mut running = running();
    let before = running.policies.borrow_and_update().set.revision();
    write(running.dir.path(), "policy.yaml", 0o644, &POLICY.replace("public.orders", "public.items"));
    let woken = tokio::time::timeout(Duration::from_secs(2), running.policies.changed()).await;
    woken.expect("within 2 s").unwrap();
    assert_ne!(running.policies.borrow().set.revision(), before);
    assert!(running.memory.0.lock().iter().any(|(what, text)| *what == What::PolicyReload && text.contains("sha256:")));
}

#[tokio::test]
async fn a_bad_change_keeps_the_old_policies_and_says_so_once() {
    let running = running();
    let before = running.policies.borrow().set.revision();
    write(running.dir.path(), "policy.yaml", 0o644, &POLICY.replace("Select", "Selekt"));
    running.until("the metric", Running::failed).await;
    let confirmed = running.policies.borrow().confirmed;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.policies.borrow().set.revision(), before);
    assert_eq!(running.policies.borrow().confirmed, confirmed, "a bad folder confirms nothing");
    let told: Vec<_> = running.memory.0.lock().clone();
    assert!(matches!(told.as_slice(), [(What::PolicyReload, text)] if text.contains("policy.yaml")), "{told:?}");

    // As it was before: nothing was lost, and it counts as current again.
    write(running.dir.path(), "policy.yaml", 0o644, POLICY);
    running.until("the metric to fall", |r| !r.failed()).await;
    running.until("a new confirmation", |r| r.policies.borrow().confirmed > confirmed).await;
    assert_eq!(reloads(&running), 2, "the recording says that the refused files are gone");
    assert!(in_force(&running).ends_with(&before.to_string()), "{}", in_force(&running));
    // Another spelling of the same policies, after another bad one: nothing new comes in force, and it is said too.
    write(running.dir.path(), "policy.yaml", 0o644, "kind: Nonsense");
    running.until("the metric", Running::failed).await;
    write(running.dir.path(), "policy.yaml", 0o644, &format!("# the same\n{POLICY}"));
    running.until("the metric to fall", |r| !r.failed()).await;
    assert_eq!(reloads(&running), 4);
    assert!(in_force(&running).ends_with(&before.to_string()), "{}", in_force(&running));
    // A Secret that others may read is a bad change too, also when its content is the same.
    std::fs::set_permissions(running.dir.path().join("policies/secrets.yaml"), Permissions::from_mode(0o644)).unwrap();
    running.until("the metric", Running::failed).await;
}

#[tokio::test]
async fn a_deleted_folder_keeps_the_old_policies_and_they_age() {
    let running = running();
    let before = running.policies.borrow().set.revision();
    std::fs::rename(running.dir.path().join("policies"), running.dir.path().join("gone")).unwrap();
    running.until("the metric", Running::failed).await;
    let confirmed = running.policies.borrow().confirmed;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.policies.borrow().set.revision(), before);
    assert_eq!(running.policies.borrow().confirmed, confirmed);
    std::fs::rename(running.dir.path().join("gone"), running.dir.path().join("policies")).unwrap();
    running.until("the metric to fall", |r| !r.failed()).await;
}

#[tokio::test]
async fn a_rotated_secret_counts_for_new_connections() {
    let running = running();
    let key = TargetKey { namespace: "local".to_owned(), name: "orders-db".to_owned() };
    let password = |secrets: &Secrets| {
        let target = Target::of(&key, secrets.held().set.targets().get(&key)).unwrap();
        secrets.current(&target).unwrap().password.expose_secret().to_owned()
    };
    assert_eq!(password(&running.secrets), "canary-1");
    let mut policies = running.policies.clone();
    policies.mark_unchanged();
    write(running.dir.path(), "secrets.yaml", 0o600, &SECRETS.replace("canary-1", "canary-3"));
    running.until("the new password", |r| password(&r.secrets) == "canary-3").await;
    assert!(!policies.has_changed().unwrap(), "a secret is no policy: sessions are not woken");
    assert!(!format!("{:?}", running.secrets).contains("canary"));
}

#[tokio::test]
async fn links_of_a_mounted_folder_are_followed() {
    let dir = folder();
    let mounted = dir.path().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    let version = |name: &str, text: &str| {
        let place = mounted.join(name);
        std::fs::create_dir(&place).unwrap();
        for (file, content) in [("target.yaml", TARGET), ("policy.yaml", text), ("secrets.yaml", SECRETS)] {
            std::fs::write(place.join(file), content).unwrap();
            std::fs::set_permissions(place.join(file), Permissions::from_mode(0o600)).unwrap();
        }
    };
    version("..1", POLICY);
    version("..2", &POLICY.replace("public.orders", "public.items"));
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, mounted.join("..new")).unwrap();
        std::fs::rename(mounted.join("..new"), mounted.join("..data")).unwrap();
    };
    link("..1");
    for file in ["target.yaml", "policy.yaml", "secrets.yaml"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), mounted.join(file)).unwrap();
    }
    let opened = PolicyFolder::open(mounted.clone(), listeners()).unwrap();
    let mut policies = opened.policies();
    opened.follow(Arc::new(Metrics::new("0").unwrap()), Arc::new(Memory::default()));
    policies.mark_unchanged();
    link("..2");
    tokio::time::timeout(Duration::from_secs(2), policies.changed()).await.expect("within 2 s").unwrap();
}
