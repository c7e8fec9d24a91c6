//! A kubectl of our own making, which answers what a test tells it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{PROGRAM, Ran};

/// As kubectl says what is not there, and what one may do.
const KUBECTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
case "$1 $2" in
"config view") printf agents ;;
"auth can-i") cat "$here/may" ;;
"get --raw")
    file="$here/objects$(printf %s "$3" | sed 's/?.*//').json"
    if [ -f "$file" ]; then cat "$file"; else echo 'Error from server (NotFound): not here' >&2; exit 1; fi ;;
"annotate approvalrequests.agentaccess.dev")
    printf '%s\n' "$@" >"$here/annotated"
    cat "$here/said" >&2
    ! grep -q '^Error' "$here/said" ;;
*) echo "what is $*?" >&2; exit 2 ;;
esac
"#;

pub(crate) struct Answers {
    folder: tempfile::TempDir,
}

impl Answers {
    /// From paths, without their queries, to what stands there; everything else is not found.
    pub(crate) fn new(objects: BTreeMap<String, Value>) -> Self {
        Self::for_one_who("yes", objects)
    }

    /// The same, where `may` is what the API server says to each `can-i`.
    pub(crate) fn for_one_who(may: &str, objects: BTreeMap<String, Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, object) in objects {
            let file = folder.path().join(format!("objects{path}.json"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, object.to_string()).unwrap();
        }
        std::fs::write(folder.path().join("may"), may).unwrap();
        let kubectl = folder.path().join("kubectl");
        std::fs::write(&kubectl, KUBECTL).unwrap();
        std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run_with(self.folder.path(), arguments)
    }

    /// From now on this is what kubectl says to a vote, on its standard error.
    pub(crate) fn say(&self, text: &str) {
        std::fs::write(self.folder.path().join("said"), text).unwrap();
    }

    /// With which words it was called for the last one.
    pub(crate) fn annotated(&self) -> Vec<String> {
        let words = std::fs::read_to_string(self.folder.path().join("annotated")).unwrap_or_default();
        words.lines().map(str::to_owned).collect()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// With what lies in this folder before everything else.
pub(crate) fn run_with(folder: &Path, arguments: &[&str]) -> Ran {
    run_as_with(Path::new(PROGRAM), folder, arguments)
}

/// The same, under another name.
pub(crate) fn run_as_with(program: &Path, folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    command.env_remove("AGENTACCESS_STATE_DIR").env_remove("NO_COLOR");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ran { status: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
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
    // What is refused, and what is only said.
    let wall = json!([{"metadata": {"name": "agentaccess-pods"}}, {"metadata": {"name": "agentaccess-owners"}}]);
    put(format!("{ADMISSION}/validatingadmissionpolicies"), list(wall));
    let binding = |name: &str, action: &str| json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": [action]}});
    let bindings = json!([binding("agentaccess-pods", "Deny"), binding("agentaccess-owners", "Warn")]);
    put(format!("{ADMISSION}/validatingadmissionpolicybindings"), list(bindings));
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
