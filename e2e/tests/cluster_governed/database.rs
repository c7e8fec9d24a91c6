//! A database on this machine that agents of a governed namespace may use, with the server's log as oracle.

use e2e::cluster::{Cluster, Namespace};
use e2e::objects;
use e2e::postgres::{DATABASE, Options, Server};
use e2e::world::{self, Policy, ROLE, ROLE_PASSWORD};
use serde_json::{Value, json};

use super::agent::{container, documents, governed, pod, run};
use super::inside::sh;
use super::sink::HERE;

pub(crate) const AGENT: &str = "agent";

/// A governed namespace with a database, a policy, one agent, and the approvers alice and bob.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: Namespace,
    pub(crate) server: Server,
}

// === impl World ===

impl World {
    pub(crate) fn new(policy: &Policy) -> Self {
        let cluster = Cluster::connect().unwrap();
        let namespace = governed(&cluster);
        let host = format!("db.{}.svc.cluster.local", namespace.name);
        let settings = vec![("listen_addresses".to_owned(), format!("127.0.0.1,{HERE}"))];
        let server = world::server_with(Options { names: vec![host.clone()], settings, ..Options::default() }).unwrap();
        let world = Self { cluster, namespace, server };
        let port = world.server.port();
        let target = objects::target_at("db", &host, port, Some(world.server.ca()), ROLE, ROLE_PASSWORD);
        let parts = [service("db", port), world.roles(), documents(&target), documents(&policy.yaml())];
        world.apply_all(&parts.concat());
        let mut agent = pod(AGENT);
        agent["spec"]["containers"][0]["env"] = json!([
            {"name": "PGHOST", "value": host}, {"name": "PGPORT", "value": world.server.port().to_string()},
            {"name": "PGDATABASE", "value": DATABASE}, {"name": "PGUSER", "value": "agent"},
            {"name": "PGPASSWORD", "value": "nothing"}, {"name": "PGSSLMODE", "value": "verify-full"},
        ]);
        run(&world.cluster, &world.namespace.name, &agent);
        // The API server takes a moment to believe in a role that was made a second ago; until then the operator may not
        // read the Secret. Whoever wants to be refused is not waited for long.
        let login = "for i in $(seq 30); do psql -XAtqc '' 2>/dev/null && exit; sleep 0.2; done";
        sh(&world.cluster, &world.namespace.name, AGENT, login);
        world
    }

    pub(crate) fn apply_policy(&self, policy: &Policy) {
        self.apply_all(&documents(&policy.yaml()));
    }

    /// Puts them into the namespace.
    pub(crate) fn apply_all(&self, objects: &[Value]) {
        for object in objects {
            let mut object = object.clone();
            object["metadata"]["namespace"] = json!(self.namespace.name);
            self.cluster.apply(&object).unwrap().accepted("an object").unwrap();
        }
    }

    fn roles(&self) -> Vec<Value> {
        let group = "rbac.authorization.k8s.io";
        let bound = |name: &str, kind: &str, role: &str, subjects: Value| {
            json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
                   "roleRef": {"apiGroup": group, "kind": kind, "name": role}, "subjects": subjects})
        };
        let user = |name: &str| json!({"apiGroup": group, "kind": "User", "name": name});
        let operator =
            json!([{"kind": "ServiceAccount", "name": "agentaccess-operator", "namespace": "agentaccess-system"}]);
        vec![
            json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "credentials"},
                   "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db-login", "db-ca"],
                              "verbs": ["get", "list", "watch"]}]}),
            bound("credentials", "Role", "credentials", operator),
            bound("approvers", "ClusterRole", "agentaccess-approver", json!([user("alice"), user("bob")])),
        ]
    }

    /// A pod that runs `script` with what the agent has in its environment: it works by itself, and can be heard later.
    pub(crate) fn worker(&self, name: &str, script: &str) -> Value {
        let agent = self.cluster.get(&["pod", "-n", &self.namespace.name, AGENT]).unwrap();
        let mut worker = pod(name);
        worker["spec"]["containers"] = json!([container("agent", script)]);
        let env = agent["spec"]["containers"][0]["env"].as_array().unwrap().iter();
        let ours =
            |one: &&Value| one["name"].as_str().is_some_and(|name| name.starts_with("PG") && name != "PGSSLROOTCERT");
        worker["spec"]["containers"][0]["env"] = env.filter(ours).cloned().collect();
        worker
    }
}

/// A name without a selector: it stands for an address outside of the cluster.
pub(crate) fn service(name: &str, port: u16) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
               "spec": {"clusterIP": "None", "ports": [{"port": port}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
               "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
               "addressType": "IPv4", "ports": [{"port": port}], "endpoints": [{"addresses": [HERE]}]}),
    ]
}
