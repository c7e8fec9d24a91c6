//! The real program as a pod runs it: behind its fence, as its own user, with an operator outside that it has to prove
//! itself to. Needs root, since a pod is a network namespace.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod operator;

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::objects;
use e2e::pod::{AGENT, HEALTH, NONCE, POD_V4, POD_V6, Pod, SIDECAR, VERIFIER, can_run, said};
use e2e::postgres::{DATABASE, Programs, Server};
use e2e::process::Process;
use e2e::wait;
use e2e::world::{self, Policy, ROLE, ROLE_PASSWORD};
use operator::{Authority, Kept, NAME, NAMESPACE, Operator, TOKEN, UID, snapshot};
use rustix::process::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_agentaccess-sidecar");
const HOST: &str = "db.example";
const PORT: u16 = 5_432;
const SOON: Duration = Duration::from_secs(20);
/// What the issue promises for a revocation.
const CUT: Duration = Duration::from_secs(2);
const LABELS: [(&str, &str); 1] = [("app", "agent")];

struct World {
    pod: Pod,
    operator: Arc<Operator>,
    roots: String,
    folder: tempfile::TempDir,
    process: Option<Process>,
    server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    /// A pod as its init container leaves it, with the volumes as the kubelet makes them.
    fn new() -> Self {
        let server = world::server().unwrap();
        let pod = Pod::new().unwrap();
        pod.shell(&format!("{PROGRAM} init --user {SIDECAR} --own {HEALTH}")).unwrap();
        pod.relay(PORT, server.port()).unwrap();
        let folder = tempfile::Builder::new().prefix("agentaccess-proxy-").tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for volume in ["token", "ca", "trust", "account"] {
            fs::create_dir_all(folder.path().join("run/agentaccess").join(volume)).unwrap();
            let volume = folder.path().join("run/agentaccess").join(volume);
            fs::set_permissions(volume, Permissions::from_mode(0o777)).unwrap();
        }
        fs::create_dir_all(folder.path().join("var/lib/agentaccess")).unwrap();
        fs::set_permissions(folder.path().join("var/lib/agentaccess"), Permissions::from_mode(0o777)).unwrap();
        fs::write(folder.path().join("run/agentaccess/token/token"), format!("{TOKEN}\n")).unwrap();
        fs::write(folder.path().join("hosts"), format!("203.0.113.9 {NAME}\n203.0.113.7 {HOST}\n")).unwrap();
        let socket = pod.without(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9_444))).unwrap().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let authority = Authority::new();
        let roots = authority.root();
        let guard = runtime.enter();
        let operator = Operator::serve(socket, authority, snapshot("1", "", &LABELS));
        drop(guard);
        Self { pod, operator, roots, folder, process: None, server, _runtime: runtime }
    }

    fn start(&mut self) {
        let mut command = self.pod.command_with(SIDECAR, PROGRAM, &self.place("hosts"), "/etc/hosts");
        command.args(["proxy", "--nonce", NONCE, "--operator", &format!("https://{NAME}:9444")]);
        command.arg("--roots").arg(&self.roots).arg("--root").arg(self.folder.path());
        command.env("AGENTACCESS_POD_NAMESPACE", NAMESPACE).env("AGENTACCESS_POD_UID", UID).current_dir("/");
        let process = Process::start(&mut command, &self.place("log"), self.folder.path(), Signal::TERM).unwrap();
        self.process = Some(process);
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place("log")).unwrap_or_default()
    }

    /// As the kubelet asks: from outside.
    fn get(&self, address: &str, path: &str) -> Option<String> {
        let address = SocketAddr::new(address.parse().unwrap(), HEALTH);
        let mut stream = self.pod.without(|| TcpStream::connect_timeout(&address, SOON)).unwrap().ok()?;
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn is_ready(&self) -> bool {
        self.get(POD_V4, "/readyz").is_some_and(|text| text.starts_with("HTTP/1.1 200"))
    }

    #[track_caller]
    fn until(&self, what: &str, within: Duration, holds: impl FnMut() -> bool) {
        wait::eventually(what, within, holds).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    fn address(&self) -> Option<String> {
        let book = fs::read_to_string(self.place("var/lib/agentaccess/state/addresses")).unwrap_or_default();
        book.lines().find_map(|line| line.strip_suffix(&format!(" {HOST}")).map(str::to_owned))
    }

    /// `psql` of the agent, which verifies whom it speaks to by the files that it was given.
    fn psql(&self, sql: &str) -> Output {
        self.psql_as(HOST, "verify-full", sql)
    }

    /// The same to the same address, by another name.
    fn psql_as(&self, host: &str, mode: &str, sql: &str) -> Output {
        let mut command = self.pod.command(AGENT, Programs::find().unwrap().client("psql"));
        command.args(["-XAtq", "-c", sql]).env_clear().env("PATH", "/usr/bin:/bin").env("PGCONNECT_TIMEOUT", "5");
        command.envs([("PGHOST", host), ("PGPORT", "5432"), ("PGUSER", "anybody"), ("PGDATABASE", DATABASE)]);
        command.env("PGHOSTADDR", self.address().unwrap_or_default()).env("PGSSLMODE", mode);
        command.env("PGSSLROOTCERT", self.place("run/agentaccess/trust/ca-certificates.crt")).output().unwrap()
    }

    /// A session of the agent that has begun and does nothing.
    fn session(&self) -> TcpStream {
        let to = SocketAddr::new(self.address().unwrap().parse().unwrap(), PORT);
        let mut stream = self.pod.within(AGENT, || TcpStream::connect_timeout(&to, SOON)).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let body = format!("\0\u{3}\0\0user\0anybody\0database\0{DATABASE}\0\0");
        stream.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"Z\0\0\0\x05I") {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).unwrap();
            said.extend_from_slice(part.get(..read).unwrap());
            assert!(read > 0, "{}\n{}", String::from_utf8_lossy(&said), self.log());
        }
        stream
    }

    fn says(&self, revision: &str, objects: &str, labels: &[(&str, &str)]) -> Instant {
        self.operator.snapshot.send_replace(snapshot(revision, objects, labels));
        Instant::now()
    }
}

/// What it hears until it is closed, and when.
fn last_words(mut stream: TcpStream) -> (String, Instant) {
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    (String::from_utf8_lossy(&said).into_owned(), Instant::now())
}

/// A target that answers, one that does not, and a policy for pods with the label.
fn governed() -> String {
    let away = objects::target_at("away", "away.example", 5_999, None, ROLE, ROLE_PASSWORD);
    target() + &away + &Policy::default().yaml().replace("podSelector: {}", "podSelector: {matchLabels: {app: agent}}")
}

fn target() -> String {
    objects::target_at("db", HOST, PORT, None, ROLE, ROLE_PASSWORD)
}

#[test]
fn it_is_ready_when_the_operator_has_spoken_and_governs_what_comes_later() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    world.operator.does.lock().token = "another".to_owned();
    world.start();
    world.until("it to say what is away", SOON, || {
        world.get(POD_V4, "/readyz").is_some_and(|text| {
            text.starts_with("HTTP/1.1 503") && text.contains("no identity from the operator since 20")
        })
    });
    assert!(world.get(POD_V4, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    world.operator.does.lock().token = TOKEN.to_owned();
    world.until("it to be ready", SOON, || world.is_ready());
    assert!(world.get(POD_V6, "/metrics").unwrap().contains("agentaccess_build_info"));
    let user = SIDECAR.to_string();
    let verify = world.pod.command(VERIFIER, PROGRAM).args(["verify", "--user", &user, "--nonce", NONCE]).output();
    let verify = verify.unwrap();
    assert!(verify.status.success(), "{}", said(&verify));

    // The files of the agent, which everybody may read.
    let trust = world.place("run/agentaccess/trust/ca-certificates.crt");
    let account = |name: &str| world.place("run/agentaccess/account").join(name);
    let ca = fs::read_to_string(&trust).unwrap();
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----") && ca.matches("BEGIN").count() == 1, "{ca}");
    assert_eq!(fs::read_to_string(account("ca.crt")).unwrap(), ca);
    assert_eq!(fs::read_to_string(account("namespace")).unwrap(), NAMESPACE);
    assert!(fs::read_to_string(account("token")).unwrap().contains("worth-nothing"));
    for file in [&trust, &account("ca.crt"), &account("namespace"), &account("token")] {
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o644, "{file:?}");
    }
    let key = world.place("run/agentaccess/ca/ca.key");
    assert_eq!(fs::metadata(key).unwrap().mode() & 0o777, 0o600);

    // A target that comes later has a name, a certificate and a policy; one that is away stops nothing.
    world.says("2", &governed(), &LABELS);
    world.until("the target", SOON, || said(&world.psql("SELECT ssn FROM customers WHERE id = 1")) == "[redacted]\n");
    assert!(said(&world.psql("DROP TABLE customers")).contains("Schema changes go through migrations"));
    assert!(world.is_ready());
    // Whoever dials the target and names another is served as neither.
    let other = said(&world.psql_as("other.example", "require", "SELECT 4711"));
    assert!(
        !other.contains("4711\n") && world.log().contains("the tls server name is not that of the target"),
        "{other}"
    );
    assert!(world.psql_as(HOST, "require", "SELECT 1").status.success());

    // A crash and a restart: the agent notices nothing but the gap.
    let (address, inode) = (world.address(), fs::metadata(&trust).unwrap().ino());
    for kill in [true, false] {
        let mut process = world.process.take().unwrap();
        match kill {
            true => process.kill9(),
            false => {
                process.signal(Signal::TERM);
                assert!(process.wait(SOON).unwrap().success(), "{}", world.log());
            }
        }
        drop(process);
        world.start();
        world.until("it to be ready again", SOON, || world.is_ready());
        assert_eq!((fs::read_to_string(&trust).unwrap(), world.address()), (ca.clone(), address.clone()));
        assert_eq!(fs::metadata(&trust).unwrap().ino(), inode);
        assert_eq!(said(&world.psql("SELECT ssn FROM customers WHERE id = 1")), "[redacted]\n");
    }
    let issued = world.operator.seen.lock().issued.clone();
    assert!(issued.len() == 3 && issued[0] != issued[1], "each process has a key of its own");
    assert!(!world.log().contains(TOKEN) && !world.log().contains("PRIVATE KEY"), "{}", world.log());
}

/// One statement and all that is said of it.
fn ask(stream: &mut TcpStream, sql: &str) -> String {
    send(stream, sql);
    let mut said = Vec::new();
    while !said.windows(5).any(|part| part == b"Z\0\0\0\x05") {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).unwrap();
        said.extend_from_slice(part.get(..read).unwrap());
        assert!(read > 0, "{}", String::from_utf8_lossy(&said));
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn send(stream: &mut TcpStream, sql: &str) {
    let length = u32::try_from(sql.len() + 5).unwrap();
    stream.write_all(&[b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat()).unwrap();
}

/// Approved once, the agent goes on by itself, on every connection; then the grant ends, and with it all that ran under
/// it: what is idle, what has a transaction open, and what still runs. The oracle is the database.
/// Killed once in the middle of its work; what it recorded before and after is one recording, and all of it has left the
/// pod when it ends in order.
#[test]
fn what_it_recorded_has_left_the_pod_when_it_has_ended() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    *world.operator.kept.lock() = Some(Kept::default());
    world.says("1", &governed(), &LABELS);
    for round in 0..2 {
        world.start();
        world.until("it to be ready", SOON, || world.is_ready());
        world.until("the target", SOON, || said(&world.psql("SELECT id FROM orders WHERE id = 1")) == "1\n");
        if round == 0 {
            world.process.take().unwrap().kill9();
        }
    }
    let metrics = world.get(POD_V4, "/metrics").unwrap();
    assert!(metrics.contains("agentaccess_recording_refused 0"), "{metrics}");
    let mut process = world.process.take().unwrap();
    let begun = Instant::now();
    process.signal(Signal::TERM);
    assert!(process.wait(SOON).unwrap().success(), "{}", world.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let recorded = e2e::recorded::segments(&world.place("var/lib/agentaccess/state/recordings")).unwrap();
    let here: Vec<u8> = recorded.iter().flat_map(|segment| fs::read(segment).unwrap()).collect();
    let kept = world.operator.kept.lock();
    let lines = &kept.as_ref().unwrap().lines;
    let text = String::from_utf8(lines.clone()).unwrap();
    assert!(here == *lines, "to the byte: {} and {}\n{}", here.len(), lines.len(), world.log());
    for code in ["MARKER_RESTART", "MARKER_DRAIN", "SELECT id FROM orders"] {
        assert!(text.contains(code), "{code}");
    }
}

#[test]
fn what_ran_under_a_grant_ends_with_it() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
                'BEGIN IF OLD.id = 9 THEN PERFORM pg_sleep(30); END IF; RETURN OLD; END'; \
                CREATE TRIGGER slow BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION slow()";
    world.server.admin(slow).unwrap();
    let granting = |hold: &str| {
        let once = "{name: person, pendingTTL: 60s, holdFor: 15s}";
        let more =
            format!("{{name: person, pendingTTL: 60s, holdFor: {hold}, scope: Duration, maxGrantDuration: 30m}}");
        governed().replace(once, &more)
    };
    assert_ne!(granting("2s"), governed());
    world.says("1", &granting("2s"), &LABELS);
    world.start();
    world.until("it to be ready", SOON, || world.is_ready());
    world.until("the target", SOON, || world.psql("SELECT id FROM orders WHERE id = 1").status.success());
    // Nobody has approved it.
    let waiting = said(&world.psql("DELETE FROM orders WHERE id = 7"));
    assert!(waiting.contains("waiting for approval"), "{waiting}");
    let grant = |left: u64| control::v1::Grant {
        scope: control::v1::Scope::Duration.into(),
        left_milliseconds: left,
        broken: String::new(),
    };
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db' AND state <> 'idle'";
    for (how, left, why) in
        [("revoked", 600_000, "was revoked"), ("time", 4_000, "has ended"), ("policy", 600_000, "policy changed")]
    {
        {
            let mut does = world.operator.does.lock();
            (does.grant, does.over) = (Some(grant(left)), None);
        }
        world.operator.approved.send_replace(true);
        let (mut idle, mut open_one, mut runs, mut stranger) =
            (world.session(), world.session(), world.session(), world.session());
        let granted = Instant::now();
        let answer = ask(&mut idle, "DELETE FROM orders WHERE id = 5 AND note = 'no such'");
        assert!(answer.contains("DELETE 0"), "{how}: {answer}\n{}", world.log());
        ask(&mut open_one, "BEGIN");
        let answer = ask(&mut open_one, "DELETE FROM orders WHERE id = 7");
        assert!(answer.contains("DELETE 1"), "{how}: {answer}");
        send(&mut runs, "DELETE FROM orders WHERE id = 9");
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db' AND wait_event = 'PgSleep'";
        world.until("it to run", SOON, || world.server.admin(sleeps).unwrap() == "1");
        assert!(ask(&mut stranger, "SELECT id FROM orders WHERE id = 1").contains("SELECT 1"));

        let ends = match how {
            "revoked" => {
                world.operator.does.lock().over = Some(control::v1::Ended::Revoked);
                world.operator.approved.send_replace(true);
                Instant::now()
            }
            "time" => granted + Duration::from_millis(left),
            _ => world.says("2", &granting("3s"), &LABELS),
        };
        for session in [idle, open_one, runs] {
            let (words, at) = last_words(session);
            assert!(words.contains("FATAL") && words.contains("42501") && words.contains(why), "{how}: {words}");
            let late = at.saturating_duration_since(ends);
            println!("{how}: {late:?} after its end");
            assert!(late < CUT, "{how}: {late:?}");
        }
        world.until("nothing to be open", CUT, || world.server.admin(open).unwrap() == "0");
        assert_eq!(world.server.admin("SELECT count(*) FROM orders WHERE id IN (7, 9)").unwrap(), "2", "{how}");
        // Who never used it goes on, and asks.
        assert!(ask(&mut stranger, "SELECT id FROM orders WHERE id = 1").contains("SELECT 1"), "{how}");
        world.operator.does.lock().over = None;
        world.operator.approved.send_replace(false);
        let asked = world.operator.seen.lock().asked.len();
        let again = ask(&mut stranger, "DELETE FROM orders WHERE id = 7");
        assert!(again.contains("PX001"), "{how}: {again}");
        assert!(world.operator.seen.lock().asked.len() > asked, "{how}: it asks anew");
    }
}

#[test]
fn what_is_revoked_is_cut_and_silence_denies() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    world.says("1", &governed(), &LABELS);
    world.start();
    world.until("it to be ready", SOON, || world.is_ready());
    let stop = "---\napiVersion: agentaccess.dev/v1alpha1\nkind: ClusterAgentAccessPolicy\nmetadata: {name: stop}\n\
                spec: {namespaceSelector: {}, podSelector: {}, denyAll: true}\n";
    let elsewhere = governed().replace("\"port\": 5432", "\"port\": 5433");
    let other_labels = [("app", "agent"), ("tier", "back")];
    for (number, (objects, labels, why)) in [
        (target(), &LABELS[..], "no access policy lets this agent use this target any more"),
        (governed() + stop, &LABELS[..], "an access policy stops everything"),
        (elsewhere, &LABELS[..], "the target was removed, or is another server now"),
        (governed(), &other_labels[..], "the labels of this pod changed"),
    ]
    .into_iter()
    .enumerate()
    {
        let session = world.session();
        let said = world.says(&format!("revoke-{number}"), &objects, labels);
        let (words, at) = last_words(session);
        assert!(words.contains("FATAL") && words.contains("42501") && words.contains(why), "{words}\n{}", world.log());
        assert!(at - said < CUT, "{why}: {:?}", at - said);
        world.says(&format!("restore-{number}"), &governed(), &LABELS);
        world.until("it to be governed again", SOON, || world.psql("SELECT 1").status.success());
    }

    // Nothing is heard for longer than policies count.
    world.operator.does.lock().silent = true;
    let begun = Instant::now();
    world.until("the denial", Duration::from_secs(25), || !world.psql("SELECT 1").status.success());
    assert!(begun.elapsed() > Duration::from_secs(9), "{:?}", begun.elapsed());
    let denied = said(&world.psql("SELECT 1"));
    assert!(denied.contains("last confirmed 1"), "{denied}");
    let ready = world.get(POD_V4, "/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("the operator is away"), "{ready}");
    world.operator.does.lock().silent = false;
    world.until("it to be governed again", SOON, || world.psql("SELECT 1").status.success());
}
