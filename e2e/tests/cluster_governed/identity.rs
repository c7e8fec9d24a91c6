//! Who is a sidecar to the operator: the first claimant of a live, injected pod, and nobody else.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::v1::control_client::ControlClient;
use control::v1::enrolment_client::EnrolmentClient;
use control::v1::{IssueRequest, RenewRequest, WatchRequest};
use e2e::cluster::Cluster;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::agent::{governed, pod, run};
use super::node;

const SYSTEM: &str = "agentaccess-system";
const HOST: &str = "agentaccess-operator.agentaccess-system.svc";

/// A way to the operator from outside of the cluster.
struct Forward {
    child: Child,
    port: u16,
    /// It ends when nobody reads what it says.
    _said: BufReader<ChildStdout>,
}

impl Forward {
    fn open() -> Self {
        let mut child = Command::new("kubectl")
            .args(["-n", SYSTEM, "port-forward", "service/agentaccess-operator", ":9444"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let port = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        Self { child, port, _said: said }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

/// What injected pods are told to trust.
fn roots(cluster: &Cluster) -> String {
    let profile = cluster.get(&["injectionprofile", "agentaccess"]).unwrap();
    let newest = profile["status"]["roots"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned());
    let all: Vec<String> = newest.collect();
    all.iter().flat_map(|one| one.split(',')).map(|one| pem(&STANDARD.decode(one).unwrap())).collect()
}

async fn channel(forward: &Forward, roots: &str, identity: Option<Identity>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots)).domain_name(HOST);
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", forward.port)).unwrap();
    let endpoint = endpoint.connect_timeout(Duration::from_secs(10)).tls_config(tls).unwrap();
    endpoint.connect().await.unwrap()
}

/// What the kubelet projected into this volume of a pod: nobody else is given a token for our audience.
fn token(cluster: &Cluster, namespace: &str, name: &str, volume: &str) -> String {
    let path = node::volume(cluster, namespace, name, &format!("kubernetes.io~projected/{volume}")).join("token");
    std::fs::read_to_string(path).unwrap()
}

async fn issue(forward: &Forward, roots: &str, token: &str) -> Result<(KeyPair, Vec<Vec<u8>>), Status> {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().der().to_vec();
    let request = IssueRequest { token: token.to_owned(), csr };
    let answer = EnrolmentClient::new(channel(forward, roots, None).await).issue(request).await?;
    Ok((key, answer.into_inner().chain))
}

/// How many enrolments ended so, by the metrics of all replicas.
fn counted(cluster: &Cluster, result: &str) -> f64 {
    let pods = cluster.get(&["pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator"]).unwrap();
    let count = |pod: &Value| {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}:9090/proxy/metrics", pod["metadata"]["name"].as_str()?);
        let text = cluster.raw(&path).unwrap().text;
        let series = format!("agentaccess_enrolments_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series))?.parse::<f64>().ok()
    };
    pods["items"].as_array().unwrap().iter().filter_map(count).sum()
}

#[tokio::test]
async fn a_pod_is_claimed_once_and_by_itself() {
    let cluster = Cluster::connect().unwrap();
    let before = ["claimed", "token", "not_governed"].map(|result| (result, counted(&cluster, result)));
    let namespace = governed(&cluster);
    run(&cluster, &namespace.name, &pod("claimed"));
    let (forward, roots) = (Forward::open(), roots(&cluster));
    let refused = |result: Result<_, Status>, code: Code, what: &str| match result {
        Ok(_) => panic!("{what}: a certificate"),
        Err(status) => assert_eq!(status.code(), code, "{what}: {status}"),
    };
    // The pod's own token, and in time: its sidecar was first.
    let own = token(&cluster, &namespace.name, "claimed", "agentaccess-token");
    refused(issue(&forward, &roots, &own).await, Code::AlreadyExists, "a second claimant");
    refused(issue(&forward, &roots, "").await, Code::Unauthenticated, "no token");
    refused(issue(&forward, &roots, "a.b.c").await, Code::Unauthenticated, "a made-up token");
    let mut forged = own.clone();
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    refused(issue(&forward, &roots, &forged).await, Code::Unauthenticated, "another signature");
    // An administrator gets none of our audience, and others are worth nothing.
    let create = ["create", "token", "default", "-n", &namespace.name];
    let ours = cluster.run(&[&create[..], &["--audience=agentaccess.dev"]].concat(), None).unwrap();
    ours.refused("a token for our audience", "spec.audiences must not hold agentaccess.dev").unwrap();
    let other = cluster.run(&create, None).unwrap();
    refused(issue(&forward, &roots, other.text.trim()).await, Code::Unauthenticated, "another audience");

    // A pod without a sidecar: made where nothing is governed.
    let free = cluster.namespace(&json!({})).unwrap();
    let mut without = pod("free");
    let source = json!({"serviceAccountToken": {"audience": "agentaccess.dev", "path": "token"}});
    without["spec"]["volumes"] = json!([{"name": "mine", "projected": {"sources": [source]}}]);
    without["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "mine", "mountPath": "/mine"}]);
    run(&cluster, &free.name, &without);
    let token = token(&cluster, &free.name, "free", "mine");
    refused(issue(&forward, &roots, &token).await, Code::Unauthenticated, "of a pod without a sidecar");
    // Of a pod that is gone.
    let delete = ["delete", "pod", "-n", &namespace.name, "claimed", "--force", "--grace-period=0"];
    cluster.run(&delete, None).unwrap().accepted("deleted").unwrap();
    refused(issue(&forward, &roots, &own).await, Code::Unauthenticated, "of a pod that is gone");
    for (result, count) in before {
        let now = counted(&cluster, result);
        assert!(now > count, "{result}: {count}, then {now}");
    }
}

#[tokio::test]
async fn without_a_certificate_of_ours_nothing_is_said() {
    let cluster = Cluster::connect().unwrap();
    let (forward, roots) = (Forward::open(), roots(&cluster));
    let mut client = ControlClient::new(channel(&forward, &roots, None).await);
    let watch = client.watch(WatchRequest::default()).await.err().unwrap();
    assert_eq!(watch.code(), Code::Unauthenticated, "{watch}");
    let renew = client.renew(RenewRequest::default()).await.err().unwrap();
    assert_eq!(renew.code(), Code::Unauthenticated, "{renew}");
    // One that somebody made: the handshake fails, or the first word is refused.
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["agent".to_owned()]).unwrap().self_signed(&key).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&roots))
        .domain_name(HOST)
        .identity(Identity::from_pem(own.pem(), key.serialize_pem()));
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", forward.port)).unwrap();
    let Ok(channel) = endpoint.tls_config(tls).unwrap().connect().await else { return };
    ControlClient::new(channel).watch(WatchRequest::default()).await.unwrap_err();
}
