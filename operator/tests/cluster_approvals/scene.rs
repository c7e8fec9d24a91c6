//! A namespace with policies and people, two replicas of the operator's part in this process, and the webhook at which
//! the API server dials it. The chart is installed; its operator and its own webhooks are away.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use control::PodName;
use control::v1::{ConsumeRequest, Question, Standing, Terms, standing};
use e2e::receiver::Receiver;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use operator::approvals::{Approvals, Asker};
use operator::certificate::{self, Authorities, Authority, Current};
use operator::config::Config;
use operator::index::Index;
use operator::metrics::Metrics;
use operator::webhook::serve::{self, Webhook};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) const OPERATOR: &str = "agentaccess-system";
/// Where the API server finds this machine.
const HOST: &str = "10.199.0.1";

pub(crate) struct Replica {
    pub(crate) approvals: Approvals,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) struct Scene {
    pub(crate) namespace: String,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) pods: Vec<Asker>,
    /// Whom the replicas tell what happens to requests, and the files of the Secret that say so.
    pub(crate) chat: Receiver,
    secret: tempfile::TempDir,
    token: String,
    hook: Value,
    number: std::sync::atomic::AtomicU8,
    _stop: watch::Sender<bool>,
}

/// What `kubectl` said, and whether it did it.
pub(crate) fn kubectl(arguments: &[&str], input: Option<&Value>) -> (bool, String) {
    let mut command = Command::new("kubectl");
    command.arg("--request-timeout=20s").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    if let Some(input) = input {
        serde_json::to_writer(&stdin, input).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn apply(object: &Value) {
    let (done, text) = kubectl(&["apply", "-f", "-"], Some(object));
    assert!(done, "{text}");
}

/// As this user, or as the operator's own ServiceAccount with the rights of the chart.
async fn client(user: Option<&str>, token: Option<&str>) -> Client {
    let mut config = kube::Config::infer().await.unwrap();
    if let Some(token) = token {
        config.auth_info = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
    }
    config.auth_info.impersonate = user.map(str::to_owned);
    Client::try_from(config).unwrap()
}

async fn replica(identity: &str, token: &str, secret: &Path) -> Replica {
    let secret = format!("--notify={}", secret.display());
    let arguments = ["x", "--namespace", OPERATOR, "--identity", identity, "--sidecar-image=i@sha256:0", &secret];
    let (config, metrics) = (Config::parse_from(arguments), Arc::new(Metrics::new("0").unwrap()));
    let api = client(None, Some(token)).await;
    let approvals = Approvals::new(&api, &config, &metrics, None, otel::Telemetry::off().unwrap());
    approvals.start(client(None, Some(token)).await);
    Replica { approvals, metrics }
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let namespace = format!("approvals-{}", std::process::id());
        apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        rights();
        let (done, token) = kubectl(&["create", "token", "agentaccess-operator", "-n", OPERATOR], None);
        assert!(done, "{token}");
        let token = token.trim().to_owned();
        let (chat, secret) = (Receiver::start().unwrap(), tempfile::tempdir().unwrap());
        let url = format!("https://{}/chat", chat.address);
        for (name, text) in [("url", url.as_str()), ("key", "0123456789abcdef"), ("ca.crt", &chat.authority.ca)] {
            std::fs::write(secret.path().join(name), text).unwrap();
        }
        let replicas = vec![replica("a", &token, secret.path()).await, replica("b", &token, secret.path()).await];
        replicas[0].approvals.lead().await;

        let authority = Arc::new(Authority::make(certificate::now()).unwrap());
        let current = Current::default();
        let authorities = Authorities { current: Arc::clone(&authority), next: None, previous: None };
        current.renew(authorities, &[HOST.to_owned()], certificate::now()).unwrap();
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let arguments = ["x", "--namespace", OPERATOR, "--identity=a", "--sidecar-image=i@sha256:0"];
        let webhook = Webhook {
            rules: Config::parse_from(arguments).rules(),
            approvals: replicas[0].approvals.reviewer.clone(),
            index: Index::new(900),
            current: current.clone(),
            metrics: Arc::clone(&replicas[0].metrics),
            telemetry: otel::Telemetry::off().unwrap(),
            leaving: Arc::default(),
        };
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve::serve(listener, serve::tls(current).unwrap(), Arc::new(webhook), stopped));
        let hook = hook(&namespace, port, &authority);

        let (pods, number) = (Vec::new(), 0.into());
        let mut scene = Self { namespace, replicas, pods, chat, secret, token, hook, number, _stop: stop };
        policies(&scene.namespace);
        scene.people();
        scene.pods = (0..5).map(|n| pod(&scene.namespace, &format!("agent-{n}"))).collect();
        scene.webhook(true);
        scene
            .until("the replicas have the key and the first list", || async {
                scene.ask(1, 0, "one", 60).await.is_ok()
            })
            .await;
        scene
    }

    /// Two pods of another namespace, with the same policies. Nobody can decide there: it has no webhook.
    pub(crate) fn elsewhere(&self) -> [Asker; 2] {
        let namespace = self.other();
        apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        policies(&namespace);
        ["agent-0", "agent-1"].map(|name| pod(&namespace, name))
    }

    fn other(&self) -> String {
        format!("{}-other", self.namespace)
    }

    /// One more, that leads from now on beside the others.
    pub(crate) async fn another_leader(&self) -> Replica {
        let replica = replica("c", &self.token, self.secret.path()).await;
        replica.approvals.lead().await;
        replica
    }

    /// What was told of this request, in order; what was told twice stands there twice.
    pub(crate) fn told_of(&self, name: &str) -> Vec<Value> {
        let told = self.chat.heard().into_iter().map(|heard| heard.json().unwrap());
        told.filter(|told| told["agentaccess"]["request"]["name"] == name).collect()
    }

    /// Sets the webhook up, or takes it away.
    pub(crate) fn webhook(&self, on: bool) {
        match on {
            true => apply(&self.hook),
            false => {
                kubectl(&["delete", "mutatingwebhookconfiguration", &self.namespace], None);
            }
        }
    }

    /// Approvers alice, bob and p0 to p11, and two ServiceAccounts; carol, who may break the glass; mallory may write requests and approve nothing.
    fn people(&self) {
        let user = |name: &str| json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name});
        let mut approvers: Vec<Value> = ["alice", "bob"].iter().map(|name| user(name)).collect();
        approvers.extend((0..12).map(|n| user(&format!("p{n}"))));
        for account in ["agent", "other"] {
            approvers.push(json!({"kind": "ServiceAccount", "name": account, "namespace": self.namespace}));
        }
        let binding = |name: &str, kind: &str, role: &str, subjects: Value| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": self.namespace}, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            })
        };
        apply(&binding("approvers", "ClusterRole", "agentaccess-approver", json!(approvers)));
        apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "writer", "namespace": self.namespace},
            "rules": [{"apiGroups": ["agentaccess.dev"], "resources": ["approvalrequests"], "verbs": ["get", "patch"]}],
        }));
        apply(&binding("glass", "ClusterRole", "agentaccess-breakglass", json!([user("carol")])));
        apply(&binding("writers", "Role", "writer", json!([user("mallory")])));
    }

    pub(crate) fn question(&self, rule: &str, digest: u8, ttl: u64) -> Question {
        Question {
            target: "orders".to_owned(),
            action: "UPDATE".to_owned(),
            resources: vec!["table public.orders".to_owned()],
            statement: "UPDATE public.orders SET state = '***'".to_owned(),
            digest: vec![digest; 32],
            rules: vec![format!("support/{rule}")],
            revision: format!("sha256:{}", "0".repeat(64)),
            terms: Some(Terms {
                required_approvals: 1,
                deny_threshold: 1,
                pending_ttl_seconds: ttl,
                reason_required: false,
                ..Terms::default()
            }),
            ..Question::default()
        }
    }

    pub(crate) async fn ask(
        &self,
        replica: usize,
        digest: u8,
        rule: &str,
        ttl: u64,
    ) -> Result<(String, watch::Receiver<Standing>), tonic::Status> {
        self.replicas[replica].approvals.desk.ask(&self.pods[0], self.question(rule, digest, ttl)).await
    }

    /// A request that nothing else here asks for.
    pub(crate) async fn open(&self, rule: &str) -> (String, watch::Receiver<Standing>, Vec<u8>) {
        self.open_as(0, rule).await
    }

    /// By this one of the pods.
    pub(crate) async fn open_as(&self, pod: usize, rule: &str) -> (String, watch::Receiver<Standing>, Vec<u8>) {
        self.ask_as(pod, rule).await.unwrap()
    }

    /// The same, where it may be refused.
    pub(crate) async fn ask_as(
        &self,
        pod: usize,
        rule: &str,
    ) -> Result<(String, watch::Receiver<Standing>, Vec<u8>), tonic::Status> {
        let digest = 1 + self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let question = self.question(rule, digest, 600);
        let (name, standing) = self.replicas[1].approvals.desk.ask(&self.pods[pod], question).await?;
        Ok((name, standing, vec![digest; 32]))
    }

    /// `kubectl annotate` as this user.
    pub(crate) fn annotate(&self, user: &str, name: &str, annotations: &[&str]) -> (bool, String) {
        let who = format!("--as={user}");
        let arguments = ["annotate", "areq", name, "-n", &self.namespace, who.as_str()];
        kubectl(&[&arguments[..], annotations].concat(), None)
    }

    /// The same without a program: for figures, and for many at once.
    pub(crate) async fn patch(&self, user: &str, name: &str, annotations: Value) -> Result<(), kube::Error> {
        let api: Api<crds::approval::ApprovalRequest> =
            Api::namespaced(client(Some(user), None).await, &self.namespace);
        let patch = json!({"metadata": {"annotations": annotations}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Requests as the operator's own ServiceAccount writes them.
    pub(crate) async fn operator(&self) -> Api<crds::approval::ApprovalRequest> {
        self.operator_in(&self.namespace).await
    }

    pub(crate) async fn operator_in(&self, namespace: &str) -> Api<crds::approval::ApprovalRequest> {
        Api::namespaced(client(None, Some(&self.token)).await, namespace)
    }

    pub(crate) async fn person(&self, user: &str) -> Api<crds::approval::ApprovalRequest> {
        Api::namespaced(client(Some(user), None).await, &self.namespace)
    }

    pub(crate) fn stored(&self, name: &str) -> Value {
        let (done, text) = kubectl(&["get", "areq", name, "-n", &self.namespace, "-o", "json"], None);
        assert!(done, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, mut done: impl FnMut() -> F) {
        let begun = Instant::now();
        while !done().await {
            assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain for: {what}");
            self.replicas[0].approvals.lead().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The leader's status says so.
    pub(crate) async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(&format!("{name} is {phase}"), || async { self.stored(name)["status"]["phase"] == phase }).await;
        self.stored(name)["status"].clone()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.webhook(false);
        let namespaces = [self.namespace.as_str(), &self.other()];
        kubectl(&[&["delete", "namespace", "--wait=false", "--ignore-not-found"][..], &namespaces].concat(), None);
    }
}

fn policies(namespace: &str) {
    apply(&json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AccessTarget",
        "metadata": {"name": "orders", "namespace": namespace},
        "spec": {"protocol": "Postgres", "host": "orders.example", "port": 5432, "postgres": {"databases": ["orders"]},
            "credentialRef": {"name": "orders", "usernameKey": "username", "passwordKey": "password"}},
    }));
    let rule = |name: &str| json!({"name": name, "action": "RequireApproval", "approval": name, "verbs": ["Update"], "relations": ["public.orders"]});
    let settings = |name: &str, required: i32, reason: &str| json!({"name": name, "requiredApprovals": required, "reason": reason});
    let names = ["one", "two", "five", "why", "pod"];
    let pod = json!({"name": "pod", "scope": "Duration", "maxGrantDuration": "1h"});
    apply(&json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy",
        "metadata": {"name": "support", "namespace": namespace},
        "spec": {
            "podSelector": {},
            "approvals": [settings("one", 1, "Optional"), settings("two", 2, "Optional"), settings("five", 5, "Optional"), settings("why", 1, "Required"), pod],
            "targets": [{"targetRef": {"name": "orders"}, "postgres": {"rules": names.map(rule)}}],
        },
    }));
}

/// That never runs: requests need an owner that is there.
fn pod(namespace: &str, name: &str) -> Asker {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeSelector": {"nowhere": "yes"}, "containers": [{"name": "a", "image": "localhost/busybox:1"}]},
    });
    let until = Instant::now() + Duration::from_secs(30);
    // The default ServiceAccount takes a moment.
    while !kubectl(&["apply", "-f", "-"], Some(&pod)).0 {
        assert!(Instant::now() < until, "no pod");
        std::thread::sleep(Duration::from_millis(200));
    }
    let uid = kubectl(&["get", "pod", name, "-n", namespace, "-o", "jsonpath={.metadata.uid}"], None).1;
    let pod = PodName::new(namespace, uid.trim()).unwrap();
    Asker { pod, pod_name: name.to_owned(), service_account: "agent".to_owned(), job: None }
}

/// What the chart will grant beside what it grants already.
fn rights() {
    let metadata = json!({"name": "agentaccess-approval-key", "namespace": OPERATOR});
    kubectl(&["create", "-f", "-"], Some(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})));
    apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["agentaccess-approval-key"], "verbs": ["get", "update"]}],
    }));
    apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "agentaccess-approval-key"},
        "subjects": [{"kind": "ServiceAccount", "name": "agentaccess-operator", "namespace": OPERATOR}],
    }));
}

/// The chart's, but for where it is and whom it is asked about: others test beside it what holds without a webhook.
fn hook(namespace: &str, port: u16, authority: &Authority) -> Value {
    let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, authority.pem());
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "name": "approvals.agentaccess.dev", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "matchPolicy": "Equivalent", "reinvocationPolicy": "Never", "sideEffects": "None", "timeoutSeconds": 5,
            "clientConfig": {"url": format!("https://{HOST}:{port}/approvals"), "caBundle": bundle},
            "matchConditions": [{"name": "annotations-differ", "expression":
                "request.operation == 'CREATE' || object.metadata.?annotations != oldObject.metadata.?annotations"}],
            "rules": [{"apiGroups": ["agentaccess.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["approvalrequests"], "scope": "Namespaced"}],
        }],
    })
}

/// As a sidecar says it of what is good once.
pub(crate) fn used(name: &str, digest: &[u8]) -> ConsumeRequest {
    ConsumeRequest { name: name.to_owned(), digest: digest.to_vec(), question: None }
}

/// As text, to compare with.
pub(crate) fn shown(told: &watch::Receiver<Standing>) -> String {
    match told.borrow().standing.clone() {
        Some(standing::Standing::Pending(pending)) => format!("{}/{}", pending.have, pending.need),
        Some(standing::Standing::Approved(approved)) => format!("approved by {}", approved.by.join(",")),
        Some(standing::Standing::Denied(denied)) => format!("denied by {}: {}", denied.by, denied.reason),
        Some(standing::Standing::Ended(ended)) => format!("{:?}", control::v1::Ended::try_from(ended).unwrap()),
        None => "nothing".to_owned(),
    }
}

/// Waits until the sidecar is told so.
pub(crate) async fn told(standing: &mut watch::Receiver<Standing>, what: &str) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while shown(standing) != what {
            standing.changed().await.unwrap();
        }
    });
    assert!(waited.await.is_ok(), "it is `{}`, not `{what}`", shown(standing));
}
