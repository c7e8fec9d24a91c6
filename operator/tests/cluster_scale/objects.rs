//! What the API server holds: namespaces of policies and of pods that no node runs.

use std::time::Instant;

use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::dialled::AUDIENCE;

/// Requests to the API server at a time.
const AT_A_TIME: usize = 32;
/// Policies of a namespace. A pod is selected by one of them, and by the one of the cluster.
const OF_A_NAMESPACE: usize = 10;
const OURS: &str = "agentaccess.dev";
const GUARD: &str = "scale-guard";

#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

pub(crate) struct Place {
    client: Client,
    pub(crate) agents: Vec<Agent>,
}

/// All of it, some at a time.
pub(crate) async fn each<T, F>(work: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for one in work {
        if running.len() == AT_A_TIME {
            done.push(running.join_next().await.unwrap().unwrap());
        }
        running.spawn(one);
    }
    while let Some(one) = running.join_next().await {
        done.push(one.unwrap());
    }
    done
}

fn api(client: &Client, namespace: Option<&str>, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let version = if group == OURS { "v1alpha1" } else { "v1" };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn create(api: Api<DynamicObject>, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn pod(name: &str, task: usize) -> Value {
    let run = |name: &str| json!({"name": name, "image": "none"});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"agentaccess.dev/injected": "true", "task": format!("t{task}")}},
        // Nobody's: it stays Pending, and lives.
        "spec": {"serviceAccountName": "agent", "schedulerName": "nobody",
            "initContainers": [run("agentaccess-proxy")], "containers": [run("agent")]},
    })
}

fn policy(task: usize) -> Value {
    let relations: Vec<String> = (0..20).map(|n| format!("public.table_{task}_{n}")).collect();
    let rules = json!([
        {"name": "read", "action": "Allow", "verbs": ["Select"], "relations": relations},
        {"name": "write", "action": "Allow", "verbs": ["Update"], "relations": [format!("public.table_{task}_0")]},
    ]);
    json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy",
    "metadata": {"name": format!("p{task}")}, "spec": {
        "podSelector": {"matchLabels": {"task": format!("t{task}")}},
        "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules}}],
    }})
}

/// Every pod hears of it.
fn guard(step: u32) -> Value {
    let rule = json!({"name": "no-ddl", "action": "Deny", "postgres": {"hosts": ["*"], "verbs": ["DDL"]},
        "message": format!("step-{step}.")});
    json!({"namespaceSelector": {}, "podSelector": {}, "rules": [rule]})
}

impl Place {
    pub(crate) async fn make(pods: usize, policies: usize) -> Self {
        let client = Client::try_from(kube::Config::infer().await.unwrap()).unwrap();
        let spaces: Vec<String> = (0..policies.div_ceil(OF_A_NAMESPACE)).map(|n| format!("scale-{n}")).collect();
        each(spaces.iter().cloned().map(|space| namespace(client.clone(), space))).await;
        let agents: Vec<Agent> = (0..pods)
            .map(|n| Agent { namespace: spaces[n % spaces.len()].clone(), name: format!("agent-{n}") })
            .collect();
        let pods = agents.clone().into_iter().enumerate().map(|(n, agent)| {
            let api = api(&client, Some(&agent.namespace), "", "Pod", "pods");
            create(api, pod(&agent.name, n / spaces.len() % OF_A_NAMESPACE))
        });
        each(pods).await;
        let all = api(&client, None, OURS, "ClusterAgentAccessPolicy", "clusteragentaccesspolicies");
        create(
            all,
            json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy",
            "metadata": {"name": GUARD}, "spec": guard(0)}),
        )
        .await;
        Self { client, agents }
    }

    /// Changes what every pod is told; when the API server had answered.
    pub(crate) async fn step(&self, step: u32) -> Instant {
        let all = api(&self.client, None, OURS, "ClusterAgentAccessPolicy", "clusteragentaccesspolicies");
        let patch = Patch::Merge(json!({"spec": guard(step)}));
        all.patch(GUARD, &PatchParams::default(), &patch).await.unwrap();
        Instant::now()
    }

    /// As the kubelet projects it.
    pub(crate) async fn token(&self, agent: &Agent) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/agent/token", agent.namespace);
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": agent.name});
        let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec":
            {"audiences": [AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": bound}});
        let request = ask.to_string().into_bytes();
        let request = hyper::Request::post(path).header("content-type", "application/json").body(request).unwrap();
        let answer: Value = self.client.request(request).await.unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }
}

async fn namespace(client: Client, name: String) {
    let spaces = api(&client, None, "", "Namespace", "namespaces");
    create(spaces, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
    let inside = |group: &str, kind: &str, plural: &str| api(&client, Some(&name), group, kind, plural);
    create(
        inside("", "ServiceAccount", "serviceaccounts"),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent"}}),
    )
    .await;
    let target = json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "AccessTarget", "metadata": {"name": "db"},
        "spec": {"protocol": "Postgres", "host": "db.example", "port": 5432,
            "credentialRef": {"name": "login"}, "postgres": {"databases": ["shop"]}}});
    create(inside(OURS, "AccessTarget", "accesstargets"), target).await;
    for task in 0..OF_A_NAMESPACE {
        create(inside(OURS, "AgentAccessPolicy", "agentaccesspolicies"), policy(task)).await;
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
        "stringData": {"username": "u", "password": "p"}});
    create(inside("", "Secret", "secrets"), secret).await;
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "credentials"}, "rules": [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["login"], "verbs": ["get", "list", "watch"]}]});
    create(inside(rbac, "Role", "roles"), role).await;
    let operator = json!({"kind": "ServiceAccount", "name": "agentaccess-operator", "namespace": "agentaccess-system"});
    let binding = json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "credentials"},
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "credentials"}, "subjects": [operator]});
    create(inside(rbac, "RoleBinding", "rolebindings"), binding).await;
}
