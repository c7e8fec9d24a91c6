//! The sidecar's program as a pod runs it, behind its fence, with this operator and a real PostgreSQL outside. Of the
//! cluster there is only what a claim is judged by. Needs root, since a pod is a network namespace.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use archive::{Audit, Credentials, Library, Location, RecordingId};
use crds::manifest::SecretBytes;
use e2e::objects;
use e2e::pod::{AGENT, HEALTH, NONCE, POD_V4, Pod, SIDECAR};
use e2e::postgres::{DATABASE, Server};
use e2e::process::Process;
use e2e::proxy::binary;
use e2e::wait;
use e2e::world::{self, Policy, ROLE, ROLE_PASSWORD};
use operator::index::{Hosts, Kind, Object, Present, SecretState};
use parking_lot::Mutex;
use recording::Line;
use rustix::process::Signal;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::scene::{NAME, NAMESPACE, Replica, pod_of, store, witness};
use crate::way::{Way, relay};

const HOST: &str = "db.example";
const PORT: u16 = 5_432;
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Scene {
    pub(crate) pod: Pod,
    pub(crate) server: Server,
    pub(crate) replica: Replica,
    way: watch::Sender<Way>,
    pub(crate) folder: tempfile::TempDir,
    uid: Arc<Mutex<String>>,
    runtime: Runtime,
    pub(crate) process: Option<Process>,
}

impl Scene {
    /// Everything outside; the pod has no sidecar yet.
    pub(crate) fn new(stores: bool) -> Self {
        let server = world::server().unwrap();
        let pod = Pod::new().unwrap();
        let program = binary(e2e::proxy::SIDECAR).unwrap();
        pod.shell(&format!("{} init --user {SIDECAR} --own {HEALTH}", program.display())).unwrap();
        pod.relay(PORT, server.port()).unwrap();
        let folder = tempfile::Builder::new().prefix("agentaccess-replicated-").tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        fs::write(folder.path().join("hosts"), format!("203.0.113.9 {NAME}\n203.0.113.7 {HOST}\n")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let uid = Arc::new(Mutex::new(String::new()));
        let (socket, (way, gate)) = (outside(&pod), watch::channel(Way::Open));
        let api = api(Arc::clone(&uid));
        let kept = stores.then(|| store(&folder.path().join("store")));
        let witness = witness(folder.path());
        let replica = runtime.block_on(Replica::claimed_at(Some(api), kept, witness));
        let operator = replica.address;
        runtime.spawn(async move { relay(tokio::net::TcpListener::from_std(socket).unwrap(), operator, gate).await });
        Self { pod, server, replica, way, folder, uid, runtime, process: None }
    }

    /// A new pod of this name, with volumes that nobody used.
    pub(crate) fn begin(&mut self, uid: &str, durability: &str) {
        uid.clone_into(&mut self.uid.lock());
        let root = self.root();
        for volume in ["token", "ca", "trust", "account"] {
            fs::create_dir_all(root.join("run/agentaccess").join(volume)).unwrap();
            fs::set_permissions(root.join("run/agentaccess").join(volume), Permissions::from_mode(0o777)).unwrap();
        }
        fs::create_dir_all(root.join("var/lib/agentaccess")).unwrap();
        for folder in [root.clone(), root.join("var/lib/agentaccess")] {
            fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
        }
        fs::write(root.join("run/agentaccess/token/token"), "token\n").unwrap();
        self.replica.index.change(|world| world.set_pod(pod_of(uid)));
        self.wants(durability);
        let program = binary(e2e::proxy::SIDECAR).unwrap();
        let mut command = self.pod.command_with(SIDECAR, program, &self.folder.path().join("hosts"), "/etc/hosts");
        command.args(["proxy", "--nonce", NONCE, "--operator", &format!("https://{NAME}:9444")]);
        command.arg("--roots").arg(self.replica.roots()).arg("--root").arg(root);
        command.env("AGENTACCESS_POD_NAMESPACE", NAMESPACE).env("AGENTACCESS_POD_UID", uid).current_dir("/");
        let log = self.folder.path().join("log");
        self.process = Some(Process::start(&mut command, &log, self.folder.path(), Signal::TERM).unwrap());
        self.until("it to be ready", || self.is_ready() && self.address().is_some());
    }

    /// The way to the operator is so from now on.
    pub(crate) fn go(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// The policy asks for this durability from now on.
    pub(crate) fn wants(&self, durability: &str) {
        let policy =
            Policy::default().yaml().replace("level: Payload", &format!("level: Payload, durability: {durability}"));
        let target = objects::target_at("db", HOST, PORT, None, ROLE, ROLE_PASSWORD);
        for document in serde_yaml::Deserializer::from_str(&(policy + &target)) {
            let object = Value::deserialize(document).unwrap();
            let name = object["metadata"]["name"].as_str().unwrap();
            let kind = match object["kind"].as_str().unwrap() {
                "AccessTarget" => Kind::Target,
                "AgentAccessPolicy" => Kind::Policy,
                _ => {
                    let values = object["stringData"].as_object().unwrap();
                    let bytes = |value: &Value| SecretBytes::new(value.as_str().unwrap().into());
                    let data = values.iter().map(|(key, value)| (key.clone(), bytes(value))).collect();
                    let present = Present { version: "1".to_owned(), data, hosts: Hosts::Any };
                    self.replica.index.change(|world| world.set_secret(NAMESPACE, name, SecretState::Present(present)));
                    continue;
                }
            };
            let read = Object::read(kind, NAMESPACE, name, &object["spec"]);
            assert_eq!(read.read.as_ref().err(), None);
            self.replica.index.change(|world| world.set_object(kind, read));
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join(format!("pod-{}", self.uid.lock()))
    }

    /// The pod and its node are gone: the process at once, and its disk with it.
    pub(crate) fn lose(&mut self) {
        self.process.take().unwrap().kill9();
        fs::remove_dir_all(self.root()).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        wait::eventually(what, SOON, holds).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    fn is_ready(&self) -> bool {
        let address = SocketAddr::new(POD_V4.parse().unwrap(), HEALTH);
        let Ok(mut stream) = self.pod.without(|| TcpStream::connect_timeout(&address, SOON)).unwrap() else {
            return false;
        };
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut text = String::new();
        let asked = write!(stream, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        asked.is_ok() && stream.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 200")
    }

    fn address(&self) -> Option<String> {
        let book = fs::read_to_string(self.root().join("var/lib/agentaccess/state/addresses")).unwrap_or_default();
        book.lines().find_map(|line| line.strip_suffix(&format!(" {HOST}")).map(str::to_owned))
    }

    /// A session of the agent; what it was told instead, if it was refused.
    pub(crate) fn session(&self) -> Result<Session, String> {
        let to = SocketAddr::new(self.address().unwrap().parse().unwrap(), PORT);
        let stream = self.pod.within(AGENT, || TcpStream::connect_timeout(&to, SOON)).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut session = Session(stream);
        let body = format!("\0\u{3}\0\0user\0anybody\0database\0{DATABASE}\0\0");
        session.0.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).unwrap();
        session.0.write_all(body.as_bytes()).unwrap();
        match session.answer() {
            Some(said) if said.ends_with("Z\0\0\0\x05I") => Ok(session),
            said => Err(said.unwrap_or_default()),
        }
    }

    /// The numbers of statements that PostgreSQL ran.
    pub(crate) fn executed(&self) -> Vec<u64> {
        self.server.executed().iter().flat_map(|text| numbers(text)).collect()
    }

    // === the store ===

    fn library(&self) -> Library {
        Library::open(&Location::folder(&self.folder.path().join("store")).unwrap(), &Credentials::None).unwrap()
    }

    fn id(&self) -> RecordingId {
        RecordingId::new(NAMESPACE, &self.uid.lock()).unwrap()
    }

    /// Every entry that is in the store of this pod.
    pub(crate) fn entries(&self) -> Vec<Line> {
        let library = self.library();
        let stored = library.stored(&self.id()).unwrap();
        recording::reader::entries(&stored).unwrap().map(Result::unwrap).collect()
    }

    /// The numbers of statements whose intent is in the store.
    pub(crate) fn intents(&self) -> Vec<u64> {
        let intent = |line: Line| match line.body {
            recording::Body::Intent(intent) => intent.decided.display,
            _ => None,
        };
        self.entries().into_iter().filter_map(intent).flat_map(|text| numbers(&text)).collect()
    }

    pub(crate) fn audit(&self) -> Audit {
        let witness = witness(self.folder.path()).get().unwrap();
        self.library().audit(&self.id(), witness.public()).unwrap()
    }

    pub(crate) fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.replica.stop();
        self.process = None;
        let _guard = self.runtime.enter();
    }
}

/// One connection of the agent, in the simple protocol.
pub(crate) struct Session(TcpStream);

impl Session {
    /// What is said up to the end of the answer; none when the connection ends.
    fn answer(&mut self) -> Option<String> {
        let mut said = Vec::new();
        while !said.windows(5).any(|part| part == b"Z\0\0\0\x05") {
            let mut part = [0; 4096];
            match self.0.read(&mut part) {
                Ok(read) if read > 0 => said.extend_from_slice(&part[..read]),
                _ if said.is_empty() => return None,
                _ => break,
            }
        }
        Some(String::from_utf8_lossy(&said).into_owned())
    }

    /// One statement with this number, and all that is said of it.
    pub(crate) fn ask(&mut self, number: u64) -> Option<String> {
        let sql = format!("SELECT id AS n{number:06} FROM orders WHERE id = 1");
        let length = u32::try_from(sql.len() + 5).unwrap();
        self.0.write_all(&[b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat()).ok()?;
        self.answer()
    }
}

/// The numbers of statements in a text.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(|word| word.strip_prefix('n')?.parse().ok()).collect()
}

fn outside(pod: &Pod) -> TcpListener {
    let socket = pod.without(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9_444))).unwrap().unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

// === the API server, as far as a claim asks it ===

fn api(uid: Arc<Mutex<String>>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, uid) = (stream.unwrap(), Arc::clone(&uid));
            thread::spawn(move || while serve(&stream, &uid).is_some() {});
        }
    });
    address
}

/// One request; none at the end of the connection.
fn serve(stream: &TcpStream, uid: &Mutex<String>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let uid = uid.lock().clone();
    let (status, answer) = if first.contains("/tokenreviews") {
        let extra = json!({
            "authentication.kubernetes.io/pod-name": ["agent-0"], "authentication.kubernetes.io/pod-uid": [uid],
        });
        let user = json!({"username": format!("system:serviceaccount:{NAMESPACE}:agent"), "extra": extra});
        let status = json!({"authenticated": true, "audiences": ["agentaccess.dev"], "user": user});
        (
            "201 Created",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {}, "status": status}),
        )
    } else if first.contains("/pods/") {
        let metadata = json!({"name": "agent-0", "namespace": NAMESPACE, "uid": uid, "labels": {crds::pod::INJECTED_LABEL: "true"}});
        let spec = json!({"serviceAccountName": "agent", "containers": []});
        (
            "200 OK",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}}),
        )
    } else if first.starts_with("POST") {
        ("201 Created", serde_json::from_slice(&body).ok()?)
    } else {
        let status =
            json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        ("404 Not Found", status)
    };
    let text = answer.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
    (&*stream).write_all((head + &text).as_bytes()).ok()
}

/// How long one took.
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (what(), begun.elapsed())
}
