//! The program itself: it starts, says where it listens, ends in order, and refuses to start on anything bad.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use e2e::postgres::{Options, Server};

/// `port: 1` stands for the server's.
const OBJECTS: &str = "
apiVersion: agentaccess.dev/v1alpha1
kind: AccessTarget
metadata: {name: orders-db, namespace: local}
spec:
  protocol: Postgres
  host: 127.0.0.1
  port: 1
  tls: {mode: Disabled}
  credentialRef: {name: login}
  postgres: {databases: [app]}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: local}
stringData: {username: sidecar, password: canary-4711}
";

/// One real server for all tests of this file; it ends with the test process.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::start(Options::default()).unwrap();
        server.role("sidecar", "canary-4711", &[]).unwrap();
        server
    })
}

fn objects() -> String {
    OBJECTS.replace("port: 1\n", &format!("port: {}\n", server().port()))
}

struct Place {
    dir: tempfile::TempDir,
    config: String,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("policies")).unwrap();
    let objects = dir.path().join("policies/objects.yaml");
    std::fs::write(&objects, self::objects()).unwrap();
    std::fs::set_permissions(objects, Permissions::from_mode(0o600)).unwrap();
    let auth = "{scram: {username: agent, passwordSecretRef: {name: login, key: password}}}";
    let config = format!(
        "stateDir: ./state\npolicies: ./policies\nmetrics: {{listen: '127.0.0.1:0'}}\n\
         listeners:\n  - target: orders-db\n    listen: 127.0.0.1:0\n    clientAuth: {auth}\n    \
         subject: {{namespace: local, serviceAccount: a}}\n"
    );
    Place { dir, config }
}

impl Place {
    fn command(&self, what: &str) -> Command {
        let file = self.dir.path().join("agentaccess.yaml");
        std::fs::write(&file, &self.config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentaccess-sidecar"));
        command.arg(what).arg("--config").arg(file).stdin(Stdio::null()).current_dir("/");
        command
    }

    /// It must end by itself with a failure; everything it said.
    fn fails(&self, what: &str, texts: &[&str]) {
        let output: Output = self.command(what).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{said}");
        for text in texts {
            assert!(said.contains(text), "`{text}` is not in: {said}");
        }
        assert!(!said.contains("canary"), "{said}");
    }

    fn start(&self) -> Running {
        let mut child = self.command("run").stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let ready = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")).unwrap();
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            if value.get("event").is_some_and(|e| e == "ready") {
                break value;
            }
            said.push(line);
        };
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        Running { child, ready, rest: Some(rest) }
    }
}

struct Running {
    child: Child,
    ready: serde_json::Value,
    rest: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    fn says(&self, field: &str) -> String {
        self.ready.get(field).and_then(|v| v.as_str()).unwrap_or_else(|| panic!("{field}: {}", self.ready)).to_owned()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.says("metrics")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_starts_serves_and_ends_in_order() {
    let place = place();
    let mut running = place.start();
    let port: u16 = running.says("ports").parse().unwrap();
    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(running.says("checkpoint_key").starts_with("agentaccess-"));
    let ca = std::fs::read_to_string(running.says("ca")).unwrap();
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));
    let public = std::fs::read_to_string(place.dir.path().join("state/keys/checkpoint.pub")).unwrap();
    assert_eq!(public.trim(), running.says("checkpoint_key"));

    assert!(running.get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(running.get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(running.get("/").starts_with("HTTP/1.1 404"));
    let metrics = running.get("/metrics");
    assert!(
        metrics.contains("agentaccess_build_info{version=") && metrics.contains("fail_closed{reason=\"recording\"} 0")
    );

    // A debugger of the same user and a core dump see nothing.
    let process = format!("/proc/{}", running.child.id());
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let core: Vec<&str> = limits.lines().find(|l| l.starts_with("Max core")).unwrap().split_whitespace().collect();
    assert_eq!(core.get(4), Some(&"0"));

    let begun = Instant::now();
    running.signal(rustix::process::Signal::TERM);
    let status = running.child.wait().unwrap();
    let said = running.rest.take().unwrap().join().unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{said}");
    assert!(said.contains("\"event\":\"stopped\"") && !said.contains("canary"), "{said}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());

    // Its keys and its recording are taken up again.
    let key = running.says("checkpoint_key");
    drop(running);
    assert_eq!(place.start().says("checkpoint_key"), key);
}

/// `verify --head` is worth what is kept of this log.
#[test]
fn heads_are_logged_at_every_level() {
    let mut place = place();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.config = place.config.replace("    listen: 127.0.0.1:0", &format!("    listen: {listen}"));
    place.config.push_str("log: {level: error}\n");
    let mut child = place.command("run").stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let log = std::thread::spawn(move || log.map_while(Result::ok).collect::<Vec<_>>());
    // A signal counts once the sidecar serves: it answers an SSLRequest.
    let begun = Instant::now();
    let mut agent = loop {
        match TcpStream::connect(listen) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", child.try_wait());
    };
    agent.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    agent.read_exact(&mut [0]).unwrap();
    drop(agent);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let said = log.join().unwrap();
    let said = said.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let events: Vec<String> =
        said.filter(|line| line["head"].is_string()).map(|line| line["event"].to_string()).collect();
    assert!(events.len() >= 2 && events.iter().rev().skip(1).all(|event| event == "\"checkpoint\""), "{events:?}");
    assert_eq!(events.last().unwrap(), "\"stopped\"");
}

#[test]
fn one_state_directory_one_sidecar() {
    let place = place();
    let _running = place.start();
    place.fails("run", &["another sidecar is running on", "state"]);
    let checked = place.command("check").output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("a sidecar is running on it"));
}

#[test]
fn bad_starts_say_why_and_bind_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();

    let mut two = place();
    two.config = two.config.replace("listen: 127.0.0.1:0", &format!("listen: {free}"));
    let second = format!(
        "  - {{target: orders-db, listen: '{taken}', clientAuth: {{dangerTrustAnyPeer: true}}, \
         subject: {{namespace: local, serviceAccount: b}}}}\n"
    );
    two.config.push_str(&second);
    two.fails("run", &["listeners[1].listen", &taken.port().to_string(), "in use"]);
    two.fails("check", &["listeners[1].listen", &taken.port().to_string(), "in use"]);
    drop(held);

    let mut unknown = place();
    unknown.config.push_str("metricks: {}\n");
    unknown.fails("run", &["agentaccess.yaml", "unknown field `metricks`"]);

    let exposed = place();
    std::fs::set_permissions(exposed.dir.path().join("policies/objects.yaml"), Permissions::from_mode(0o644)).unwrap();
    exposed.fails("run", &["objects.yaml", "chmod 600"]);
    exposed.fails("check", &["objects.yaml", "chmod 600"]);

    let no_secret = place();
    std::fs::write(no_secret.dir.path().join("policies/objects.yaml"), objects().split("---").next().unwrap()).unwrap();
    no_secret.fails("run", &["listeners[0].clientAuth.scram.passwordSecretRef", "no Secret `login`"]);

    let damaged = place();
    drop(damaged.start());
    let recordings = damaged.dir.path().join("state/recordings");
    let segment = std::fs::read_dir(&recordings).unwrap().filter_map(Result::ok).map(|e| e.path());
    let segment = segment.filter(|p| std::fs::metadata(p).unwrap().len() > 0).min().unwrap();
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::write(&segment, text.replacen("\"v\":1", "\"v\":7", 1)).unwrap();
    damaged.fails("run", &["the recording is damaged"]);

    let socket = place();
    std::fs::create_dir(socket.dir.path().join("state")).unwrap();
    std::fs::write(socket.dir.path().join("state/approve.sock"), "").unwrap();
    socket.fails("run", &["approve.sock", "is not a socket"]);
}

/// A place whose target or policy differs from what is there.
fn wrong(change: impl FnOnce(String) -> String) -> Place {
    let place = place();
    std::fs::write(place.dir.path().join("policies/objects.yaml"), change(objects())).unwrap();
    place
}

#[test]
fn a_target_that_is_not_as_the_policies_need_it_stops_the_start() {
    let away = wrong(|_| OBJECTS.to_owned());
    away.fails("run", &["local/orders-db", "127.0.0.1:1", "cannot reach"]);
    away.fails("check", &["ok    policies: good", "WRONG target local/orders-db: 127.0.0.1:1/app", "checks failed"]);

    let password = wrong(|objects| objects.replace("canary-4711", "canary-4712"));
    password.fails("run", &["local/orders-db", "28P01", "credentialRef"]);
    password.fails("check", &["28P01", "credentialRef"]);

    let untrusted = wrong(|objects| objects.replace("  tls: {mode: Disabled}\n", ""));
    untrusted.fails("run", &["local/orders-db", "TLS", "caSecretRef"]);

    let policy = "---\napiVersion: agentaccess.dev/v1alpha1\nkind: AgentAccessPolicy\nmetadata: {name: p, namespace: local}\n\
                  spec: {podSelector: {}, targets: [{targetRef: {name: orders-db}, postgres: {masks: \
                  [{name: m, columns: [public.nosuch.ssn], method: Redact}]}}]}\n";
    let named = wrong(|objects| objects + policy);
    named.fails("run", &["p/m", "public.nosuch.ssn", "column"]);
    named.fails("check", &["p/m", "public.nosuch.ssn", "column"]);
}

#[test]
fn a_check_needs_no_folder_that_it_may_write_to() {
    let place = place();
    let scratch = tempfile::tempdir().unwrap();
    for temporary in [scratch.path(), Path::new("/dev/null")] {
        let checked = place.command("check").env("TMPDIR", temporary).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && said.contains("lets `"), "{temporary:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert!(!place.dir.path().join("state").exists(), "the state directory is made by `run`");
}
