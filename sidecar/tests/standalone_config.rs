//! Bad configuration: each mistake gives one message that names the file, the field and what to do.
#![expect(clippy::panic, reason = "test helpers")]

use std::path::Path;

use sidecar::config::{Auth, Bind, Config, LogFormat};

const GOOD: &str = r"
stateDir: /var/lib/agentaccess
policies: ./policies
listeners:
  - target: orders-db
    listen: 127.0.0.1:6432
    subject: {namespace: local, serviceAccount: support-agent, labels: {app: support-agent}}
    clientAuth: {scram: {username: agent, passwordSecretRef: {name: agent-login, key: password}}}
  - target: orders-db
    listen: unix:run/orders.sock
    subject: {namespace: local, serviceAccount: batch}
    clientAuth: {peerUid: 1002}
approvers:
  - {name: alice, uid: 1001}
  - {name: bob, uid: 1003}
recording: {maxBytes: 10GiB}
metrics: {listen: 127.0.0.1:9464}
otel: {endpoint: http://127.0.0.1:4317, insecure: true}
pod: {nonce: 0123456789abcdef, subject: {namespace: local, serviceAccount: support-agent}}
";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/agentaccess/agentaccess.yaml"), 900).map_err(|e| e.to_string())
}

#[test]
fn the_example_of_the_design() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.policies, Path::new("/etc/agentaccess/./policies"));
    assert_eq!(config.recording_max_bytes, 10 << 30);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.otel.as_ref().unwrap().to_string(), "http://127.0.0.1:4317");
    let [tcp, unix] = config.listeners.as_slice() else { panic!("two listeners") };
    assert_eq!(tcp.target.to_string(), "local/orders-db");
    assert!(matches!(&tcp.auth, Auth::Scram { username, .. } if username == "agent"));
    assert_eq!(unix.bind, Bind::Unix("/etc/agentaccess/run/orders.sock".into()));
    assert_eq!(unix.auth, Auth::PeerUid(1002));
    assert_eq!(config.pod.unwrap().subject.service_account, "support-agent");
}

#[test]
fn a_pod_needs_no_listener() {
    let pod = "pod: {nonce: 0123456789abcdef, subject: {namespace: local, serviceAccount: a}}";
    assert!(parse(&format!("{{stateDir: s, policies: p, {pod}}}")).unwrap().listeners.is_empty());
    assert!(parse("{stateDir: s, policies: p}").unwrap_err().contains("listeners: is empty"));
}

#[test]
fn telemetry_is_off_unless_it_is_asked_for() {
    let pod = "pod: {nonce: 0123456789abcdef, subject: {namespace: local, serviceAccount: a}}";
    assert!(parse(&format!("{{stateDir: s, policies: p, {pod}}}")).unwrap().otel.is_none());
}

/// Replaces a piece of the good file; the message must hold each of the texts.
fn wrong(from: &str, to: &str, texts: &[&str]) {
    assert!(GOOD.contains(from), "`{from}` is not in the good file");
    let message = match parse(&GOOD.replacen(from, to, 1)) {
        Ok(_) => panic!("`{to}` was accepted"),
        Err(message) => message,
    };
    for text in texts.iter().chain(&["/etc/agentaccess/agentaccess.yaml"]) {
        assert!(message.contains(text), "`{text}` is not in: {message}");
    }
}

#[test]
fn each_mistake_has_its_message() {
    let scram = "{scram: {username: agent, passwordSecretRef: {name: agent-login, key: password}}}";
    let rows: &[(&str, &str, &[&str])] = &[
        ("stateDir:", "stateDirectory:", &["unknown field `stateDirectory`", "line 2"]),
        ("stateDir: /var/lib/agentaccess\n", "", &["missing field `stateDir`"]),
        ("policies: ./policies", "policies: ''", &["policies: is empty"]),
        ("policies: ./policies", "policies: /var/lib/agentaccess/policies", &["policies: lies in stateDir"]),
        ("target: orders-db", "taget: orders-db", &["listeners[0]", "unknown field `taget`"]),
        ("target: orders-db", "target: Orders_DB", &["listeners[0].target: `Orders_DB` is not a name"]),
        ("namespace: local", "namespace: ''", &["listeners[0].subject.namespace: `` is not a name"]),
        ("labels: {app", "lables: {app", &["listeners[0].subject", "unknown field `lables`"]),
        ("127.0.0.1:6432", "db.example.com:6432", &["listeners[0].listen: `db.example.com:6432` is not an address"]),
        ("127.0.0.1:6432", "127.0.0.1:65536", &["listeners[0].listen", "is not an address"]),
        ("127.0.0.1:6432", "127.0.0.1", &["listeners[0].listen", "is not an address"]),
        ("127.0.0.1:6432", "'unix:'", &["listeners[0].listen: `unix:` needs a path"]),
        ("127.0.0.1:6432", "unix:run/orders.sock", &["listeners[1].listen", "that of listeners[0] too"]),
        ("nonce: 0123456789abcdef", "nonce: 0123456789ABCDEF", &["pod.nonce: a nonce has 16 to 63"]),
        ("local, serviceAccount: support-agent}}", "'', serviceAccount: a}}", &["pod.subject.namespace: `` is not a"]),
        (scram, "{}", &["listeners[0].clientAuth: give exactly one of scram, peerUid and dangerTrustAnyPeer"]),
        (scram, "{peerUid: 5, dangerTrustAnyPeer: true}", &["listeners[0].clientAuth: give exactly one"]),
        (scram, "{peerUid: 5}", &["listeners[0].clientAuth.peerUid: works on Unix sockets only"]),
        (scram, "{dangerTrustAnyPeer: false}", &["listeners[0].clientAuth.dangerTrustAnyPeer: is false"]),
        (scram, "{trust: true}", &["listeners[0].clientAuth", "unknown field `trust`"]),
        ("username: agent,", "username: '',", &["listeners[0].clientAuth.scram.username"]),
        ("peerUid: 1002", "peerUid: -1", &["listeners[1].clientAuth.peerUid"]),
        ("name: bob", "name: alice", &["approvers[1].name: `alice` is listed twice"]),
        ("uid: 1003", "uid: 1001", &["approvers[1].uid: 1001 is listed twice", "one vote"]),
        ("name: bob", "name: 'bob smith'", &["approvers[1].name: `bob smith` is not a name"]),
        ("uid: 1001", "uid: 900", &["approvers[0].uid: 900 is the user of the sidecar", "dangerSharedUser"]),
        ("uid: 1001", "uid: 1002", &["approvers[0].uid: 1002 is the agent of listeners[1]", "dangerSharedUser"]),
        ("peerUid: 1002", "peerUid: 900", &["listeners[1].clientAuth.peerUid: 900 is the user of the sidecar"]),
        ("maxBytes: 10GiB", "maxBytes: 10GB", &["recording.maxBytes", "is not a size"]),
        ("maxBytes: 10GiB", "maxBytes: 10", &["recording.maxBytes: is below 1MiB"]),
        ("127.0.0.1:9464", "127.0.0.1:6432", &["metrics.listen", "that of listeners[0] too"]),
        ("insecure: true", "insecure: false", &["otel.endpoint: in clear"]),
        ("insecure: true", "insecure: true, ca: ca.pem", &["otel.ca: `/etc/agentaccess/ca.pem`: No such file"]),
        ("http:", "https:", &["otel.insecure: `insecure` and a CA are for different endpoints"]),
        ("http://127.0.0.1:4317", "127.0.0.1:4317", &["otel.endpoint: the endpoint is not https://HOST:PORT"]),
        ("insecure: true", "isecure: true", &["otel", "unknown field `isecure`"]),
        ("127.0.0.1:9464", "unix:/m.sock", &["metrics.listen", "is not an address"]),
        ("recording:", "threads: 0\nrecording:", &["threads: is 0: give a number from 1 to 64"]),
        ("recording:", "log: {format: xml}\nrecording:", &["log.format", "unknown variant `xml`"]),
        ("recording:", "limits: {connections: 0}\nrecording:", &["limits.connections` is 0", "from 1 to 100000"]),
        ("recording:", "limits: {conections: 9}\nrecording:", &["limits", "unknown field `conections`"]),
        ("recording:", "limits: {handshake: 10}\nrecording:", &["limits.handshake", "has no unit", "10s"]),
        ("recording:", "limits: {drainGrace: 30s}\nrecording:", &["drainGrace` is above `limits.drainTotal"]),
        ("recording:", "stateDir: /b\nrecording:", &["duplicate field `stateDir`"]),
    ];
    for (from, to, texts) in rows {
        wrong(from, to, texts);
    }
}

#[test]
fn any_peer_is_trusted_on_this_machine_only() {
    let auth = "{scram: {username: agent, passwordSecretRef: {name: agent-login, key: password}}}";
    let trusting = GOOD.replace(auth, "{dangerTrustAnyPeer: true}");
    parse(&trusting).unwrap();
    let message = parse(&trusting.replace("127.0.0.1:6432", "0.0.0.0:6432")).unwrap_err();
    assert!(message.contains("listeners[0].clientAuth.dangerTrustAnyPeer: would trust the whole network"), "{message}");
    parse(&GOOD.replace("127.0.0.1:6432", "0.0.0.0:6432")).unwrap();
}

#[test]
fn shared_users_need_the_word_danger() {
    let shared = GOOD.replace("uid: 1001", "uid: 900").replace("peerUid: 1002", "peerUid: 900");
    assert!(parse(&shared).unwrap_err().contains("3 fields are wrong"));
    assert!(parse(&format!("{shared}dangerSharedUser: true\n")).unwrap().danger_shared_user);
}

#[test]
fn several_mistakes_are_told_at_once() {
    let message = parse(&GOOD.replace("uid: 1003", "uid: 1001").replace("127.0.0.1:9464", "nowhere")).unwrap_err();
    assert!(message.contains("2 fields are wrong"), "{message}");
    assert!(message.contains("approvers[1].uid") && message.contains("metrics.listen"), "{message}");
}

#[test]
fn a_file_that_is_not_there() {
    let message = Config::load(Path::new("/nowhere/agentaccess.yaml"), 900).unwrap_err().to_string();
    assert!(message.contains("/nowhere/agentaccess.yaml") && message.contains("--config"), "{message}");
}
