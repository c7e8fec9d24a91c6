//! An API server of our own making, to be pointed at by a kubeconfig: it answers what a test tells it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use crate::common::{PROGRAM, Ran};

pub(crate) struct Answers {
    folder: tempfile::TempDir,
}

impl Answers {
    /// From paths, without their queries, to what stands there; everything else is not found. The thread ends with the
    /// test's process.
    pub(crate) fn new(objects: BTreeMap<String, Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let objects = Arc::new(objects);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let objects = Arc::clone(&objects);
                thread::spawn(move || answer(&stream, &objects));
            }
        });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "agents"}}],
        });
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        Self { folder }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run_with(&self.folder.path().join("kubeconfig"), self.folder.path(), arguments)
    }
}

pub(crate) fn run_with(kubeconfig: &Path, folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env("KUBECONFIG", kubeconfig).env("HOME", folder);
    for variable in ["AGENTACCESS_STATE_DIR", "NO_COLOR", "KUBERNETES_SERVICE_HOST", "http_proxy", "HTTP_PROXY"] {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ran { status: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// One request a connection. Who hangs up early hears nothing.
fn answer(stream: &TcpStream, objects: &BTreeMap<String, Value>) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let path = first.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let (status, body) = match objects.get(path) {
        Some(object) => ("200 OK", object.clone()),
        None => (
            "404 Not Found",
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not here"}),
        ),
    };
    let body = body.to_string();
    let mut stream = stream;
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

const CRDS: [&str; 4] = ["accesstargets", "agentaccesspolicies", "approvalrequests", "clusteragentaccesspolicies"];
pub(crate) const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
pub(crate) const OURS: &str = "/apis/agentaccess.dev/v1alpha1";

fn list(items: Value) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn conditions(names: &[&str]) -> Value {
    let one = |name: &&str| {
        json!({"type": name, "status": "True", "reason": "Fine", "message": "",
        "lastTransitionTime": "2026-11-21T08:00:00Z"})
    };
    json!({"conditions": names.iter().map(one).collect::<Vec<_>>()})
}

/// A cluster in which everything is as it should be.
pub(crate) fn sound() -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    let mut put = |path: String, object: Value| objects.insert(path, object);
    let version = json!({"major": "1", "minor": "34", "gitVersion": "v1.34.1", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
    put("/version".to_owned(), version);
    for plural in CRDS {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.agentaccess.dev");
        put(path, json!({"metadata": {"name": plural}, "status": conditions(&["Established"])}));
    }
    put(
        "/apis/apps/v1/namespaces/agentaccess-system/deployments/agentaccess-operator".to_owned(),
        json!({"spec": {"replicas": 2}, "status": {"availableReplicas": 2}}),
    );
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let hook = json!({"name": "inject.agentaccess.dev", "clientConfig": {"caBundle": "AAAA"}});
        put(format!("{ADMISSION}/{kind}/agentaccess"), json!({"webhooks": [hook]}));
    }
    let wall = json!([{"metadata": {"name": "agentaccess-pods"}}]);
    put(format!("{ADMISSION}/validatingadmissionpolicies"), list(wall));
    let binding = json!([{"metadata": {"name": "agentaccess-pods"},
        "spec": {"policyName": "agentaccess-pods", "validationActions": ["Deny"]}}]);
    put(format!("{ADMISSION}/validatingadmissionpolicybindings"), list(binding));
    put("/api/v1/namespaces".to_owned(), list(json!([{"metadata": {"name": "agents"}}])));
    put(
        "/api/v1/namespaces/agents".to_owned(),
        json!({"metadata": {"name": "agents", "labels": {"agentaccess.dev/injection": "enabled"}}}),
    );
    put("/api/v1/namespaces/agents/pods".to_owned(), list(json!([pod(true, true)])));
    put("/api/v1/namespaces/agents/pods/agent-0".to_owned(), pod(true, true));
    let target = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AccessTarget",
        "metadata": {"name": "orders-db", "namespace": "agents"},
        "spec": {"protocol": "Postgres", "host": "db", "port": 5432, "credentialRef": {"name": "c"}, "postgres": {"databases": ["orders"]}},
        "status": conditions(&["Accepted", "ResolvedRefs"]),
    });
    put(format!("{OURS}/accesstargets"), list(json!([target.clone()])));
    put(format!("{OURS}/namespaces/agents/accesstargets"), list(json!([target])));
    let policy = policy();
    put(format!("{OURS}/agentaccesspolicies"), list(json!([policy.clone()])));
    put(format!("{OURS}/namespaces/agents/agentaccesspolicies"), list(json!([policy])));
    put(format!("{OURS}/clusteragentaccesspolicies"), list(json!([])));
    objects
}

pub(crate) fn policy() -> Value {
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy",
        "metadata": {"name": "support-agent", "namespace": "agents"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "agent"}},
            "targets": [{"targetRef": {"name": "orders-db"}, "postgres": {
                "rules": [{"name": "reads", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]}],
                "masks": [{"name": "email", "columns": ["public.customers.email"], "method": "Partial"}],
            }}],
        },
        "status": conditions(&["Accepted", "ResolvedRefs", "Programmed"]),
    })
}

pub(crate) fn pod(injected: bool, ready: bool) -> Value {
    let labels = match injected {
        true => json!({"app": "agent", "agentaccess.dev/injected": "true"}),
        false => json!({"app": "agent"}),
    };
    json!({
        "metadata": {"name": "agent-0", "namespace": "agents", "uid": "u-1", "labels": labels},
        "spec": {"serviceAccountName": "agent"},
        "status": {"phase": "Running", "initContainerStatuses": [{"name": "agentaccess-proxy", "ready": ready}]},
    })
}

pub(crate) fn listed(items: Value) -> Value {
    list(items)
}
