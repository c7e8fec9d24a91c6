//! The operator, installed without its chart: the objects that it needs, the rights that it needs, and its process. All
//! of it is taken away again.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::dialled::Dialled;

const NAMESPACE: &str = "agentaccess-system";

/// What is run as the operator, and how.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) max_policy_age: &'static str,
    pub(crate) log_level: &'static str,
}

impl Default for Program {
    fn default() -> Self {
        Self { path: env!("CARGO_BIN_EXE_agentaccess-operator").into(), max_policy_age: "60s", log_level: "debug" }
    }
}

pub(crate) struct Installed {
    cluster: Cluster,
    program: Program,
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) dialled: Dialled,
    metrics: SocketAddr,
    policies: Client,
}

/// Another replica, beside the first one; it ends when dropped.
pub(crate) struct Beside {
    child: Child,
    pub(crate) control: SocketAddr,
    metrics: SocketAddr,
}

impl Beside {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn metrics(&self) -> String {
        get(self.metrics, "/metrics").unwrap()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Every right that the chart gives it, and no other.
fn rights() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let words =
        ["template", "agentaccess", "charts/agentaccess", "-n", NAMESPACE, "-s", "templates/operator/rbac.yaml"];
    let helm = Command::new("helm").args(words).current_dir(root).output().unwrap();
    let text = String::from_utf8(helm.stdout).unwrap();
    assert!(helm.status.success(), "{}", String::from_utf8_lossy(&helm.stderr));
    text.split("\n---\n").map(|one| serde_yaml::from_str(one).unwrap()).filter(|one: &Value| !one.is_null()).collect()
}

fn profile_with_status() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("charts/agentaccess/crds/agentaccess.dev_injectionprofiles.yaml");
    let file = File::open(path).unwrap();
    let mut crd: Value = serde_yaml::from_reader(file).unwrap();
    let version = &mut crd["spec"]["versions"][0];
    version["subresources"] = json!({"status": {}});
    let roots = json!({"type": "array", "items": {"type": "string"}, "maxItems": 4});
    version["schema"]["openAPIV3Schema"]["properties"]["status"] =
        json!({"type": "object", "properties": {"roots": roots}});
    crd
}

impl Installed {
    pub(crate) fn start(cluster: &Cluster, program: &Program) -> Self {
        let apply = |object: &Value| {
            let arguments = ["apply", "--server-side", "--force-conflicts", "-n", NAMESPACE, "-f", "-"];
            cluster.run(&arguments, Some(object)).unwrap().accepted("install").unwrap();
        };
        apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
        let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        for entry in std::fs::read_dir(definitions).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                apply(&serde_yaml::from_reader(File::open(path).unwrap()).unwrap());
            }
        }
        apply(&profile_with_status());
        for name in ["agentaccesspolicies", "clusteragentaccesspolicies", "accesstargets", "injectionprofiles"] {
            let crd = format!("crd/{name}.agentaccess.dev");
            let wait = ["wait", "--for=condition=Established", crd.as_str(), "--timeout=30s"];
            cluster.run(&wait, None).unwrap().accepted(name).unwrap();
        }
        rights().iter().for_each(apply);
        let container = json!({"name": "x"});
        let release = json!({"name": "x", "containers": [container, container, container], "volumes": [{"name": "x"}]});
        apply(&json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "InjectionProfile",
            "metadata": {"name": "agentaccess"}, "spec": {"audience": "agentaccess.dev", "releases": [release]}}));
        for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
            apply(&json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": "agentaccess"}, "webhooks": []}));
        }
        // Anew, so that the operator has a CA and a key to make.
        for secret in ["agentaccess-webhook-ca", "agentaccess-approval-key"] {
            let gone = ["delete", "secret", secret, "-n", NAMESPACE, "--ignore-not-found"];
            cluster.run(&gone, None).unwrap().accepted("the old Secret").unwrap();
            apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}}));
        }

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), as_operator(cluster).to_string()).unwrap();
        let (control, metrics) = (port(), port());
        let child = run(program, folder.path(), "test-0", control, metrics);
        let mut installed = Self {
            cluster: cluster.clone(),
            program: program.clone(),
            child,
            folder,
            dialled: Dialled { control, ca: String::new() },
            metrics,
            policies: client(),
        };
        installed.ready(metrics);
        installed.dialled.ca = installed.stored_ca();
        installed
    }

    /// Of the same program and the same rights.
    pub(crate) fn beside(&self) -> Beside {
        let (control, metrics) = (port(), port());
        let child = run(&self.program, self.folder.path(), "test-1", control, metrics);
        let beside = Beside { child, control, metrics };
        self.ready(metrics);
        beside
    }

    fn ready(&self, metrics: SocketAddr) {
        let ready = wait::eventually("the operator is ready", Duration::from_secs(60), || {
            get(metrics, "/readyz").is_some_and(|text| text.starts_with("HTTP/1.1 200"))
        });
        assert!(ready.is_ok(), "{ready:?}\n{:?}\n{}", get(metrics, "/readyz"), self.log());
    }

    fn stored_ca(&self) -> String {
        use base64::Engine as _;
        let secret = self.cluster.get(&["secret", "agentaccess-webhook-ca", "-n", NAMESPACE]).unwrap();
        let text = secret["data"]["ca.crt"].as_str().unwrap();
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
    }

    /// What a values file of the chart would say.
    pub(crate) fn may_read(&self, namespace: &str, secret: &str) {
        let rbac = "rbac.authorization.k8s.io/v1";
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get", "list", "watch"]}]);
        let metadata = json!({"name": "agentaccess-credentials", "namespace": namespace});
        let role = json!({"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": rules});
        let binding = json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "agentaccess-credentials"},
            "subjects": [{"kind": "ServiceAccount", "name": "agentaccess-operator", "namespace": NAMESPACE}]});
        for object in [role, binding] {
            self.cluster.create(&object).unwrap().accepted("a role").unwrap();
        }
    }

    /// As fast as a client can.
    pub(crate) async fn change(&self, namespace: &str, policy: &Value) {
        let kind = GroupVersionKind::gvk("agentaccess.dev", "v1alpha1", "AgentAccessPolicy");
        let resource = ApiResource::from_gvk_with_plural(&kind, "agentaccesspolicies");
        let api: Api<DynamicObject> = Api::namespaced_with(self.policies.clone(), namespace, &resource);
        let patch = Patch::Merge(json!({"spec": policy["spec"]}));
        api.patch("p", &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Without a word, and again at once, in the same place.
    pub(crate) fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = run(&self.program, self.folder.path(), "test-0", self.dialled.control, self.metrics);
        self.ready(self.metrics);
    }

    pub(crate) fn metrics(&self) -> String {
        get(self.metrics, "/metrics").unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn get(metrics: SocketAddr, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(metrics).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn run(program: &Program, folder: &Path, identity: &str, control: SocketAddr, metrics: SocketAddr) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let words = ["--namespace", NAMESPACE, "--identity", identity, "--sidecar-image", "none@sha256:0"];
    Command::new(&program.path)
        .args(words)
        .args(["--webhook", &port().to_string(), "--control", &control.to_string(), "--metrics", &metrics.to_string()])
        .args(["--max-policy-age", program.max_policy_age, "--log-level", program.log_level])
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .stdout(Stdio::from(log.try_clone().unwrap()))
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap()
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // All of it, so that the chart can be installed afterwards.
        let kinds = [
            "mutatingwebhookconfiguration/agentaccess",
            "validatingwebhookconfiguration/agentaccess",
            "clusterrole/agentaccess-operator",
            "clusterrolebinding/agentaccess-operator",
        ];
        let definitions = [
            "accesstargets",
            "agentaccesspolicies",
            "approvalrequests",
            "clusteragentaccesspolicies",
            "injectionprofiles",
        ];
        let definitions = definitions.map(|name| format!("crd/{name}.agentaccess.dev"));
        let namespace = format!("namespace/{NAMESPACE}");
        let objects = kinds.into_iter().chain(definitions.iter().map(String::as_str)).chain([namespace.as_str()]);
        for object in objects {
            let deleted = self.cluster.run(&["delete", object, "--ignore-not-found", "--timeout=60s"], None);
            if !deleted.as_ref().is_ok_and(|answer| answer.accepted) {
                eprintln!("{object} stays: {deleted:?}");
            }
        }
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("{}", log.lines().rev().take(40).collect::<Vec<_>>().join("\n"));
        }
    }
}

fn client() -> Client {
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current()
            .block_on(async { Client::try_from(kube::Config::infer().await.unwrap()).unwrap() })
    })
}

/// The cluster as the operator's service account sees it.
fn as_operator(cluster: &Cluster) -> Value {
    let token = ["create", "token", "agentaccess-operator", "-n", NAMESPACE, "--duration=1h"];
    let token = cluster.run(&token, None).unwrap();
    token.accepted("a token").unwrap();
    let view = cluster.run(&["config", "view", "--raw", "--minify", "-o", "json"], None).unwrap();
    let mut config: Value = serde_json::from_str(&view.text).unwrap();
    config["users"][0]["user"] = json!({"token": token.text.trim()});
    config
}
