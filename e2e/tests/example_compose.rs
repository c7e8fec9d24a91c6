//! The example for containers does what its README says: its commands, run in its order and under its users against a
//! real PostgreSQL, without containers; and its image is what the Dockerfile promises.
//!
//! No container is started with networks here: that the agent has no route to the database is read from the file.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "example_compose/dockerfile.rs"]
mod dockerfile;
#[path = "example_compose/file.rs"]
mod file;
#[path = "example_compose/image.rs"]
mod image;
#[path = "example_compose/parts.rs"]
mod parts;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::client::Psql;
use e2e::postgres::{Options, SUPERUSER, Server};
use e2e::process::Process;
use e2e::wait::eventually;
use e2e::{ports, wait};
use rustix::process::Signal;

use file::Compose;
use parts::{HOST, Parts, readme};

const SOON: Duration = Duration::from_secs(10);

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/standalone").canonicalize().unwrap()
}

fn compose() -> Compose {
    Compose::read(&example().join("compose.yaml"))
}

/// What the test runner would keep to itself when the test passes.
fn aloud(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

// === the file ===

#[test]
fn the_agent_reaches_the_sidecar_only() {
    let compose = compose();
    assert_eq!(compose.internal_networks(), ["database", "agents"]);
    assert_eq!(compose.service("database").networks(), ["database"]);
    assert_eq!(compose.service("agent").networks(), ["agents"]);
    assert_eq!(compose.service("sidecar").networks(), ["database", "agents"]);
    assert_eq!(compose.service("setup").text("network_mode"), "none");
    let sidecar: Vec<String> = compose.service("sidecar").mounts().into_iter().map(|m| m.source).collect();
    for mount in compose.service("agent").mounts() {
        assert!(mount.read_only && !sidecar.contains(&mount.source), "the agent shares {mount:?} with the sidecar");
    }
    for service in compose.services() {
        assert!(service.get("ports").is_null() && service.get("privileged").is_null(), "{}", service.name);
    }
}

#[test]
fn the_sidecar_can_do_nothing_but_its_work() {
    let compose = compose();
    for name in ["sidecar", "agent", "setup"] {
        let service = compose.service(name);
        assert_eq!(service.get("read_only").as_bool(), Some(true), "{name}");
        assert_eq!(service.list("cap_drop"), ["ALL"], "{name}");
        assert_eq!(service.list("security_opt"), ["no-new-privileges:true"], "{name}");
    }
    let sidecar = compose.service("sidecar");
    assert_eq!(sidecar.list("cap_add"), Vec::<String>::new());
    let writable: Vec<String> = sidecar.mounts().into_iter().filter(|m| !m.read_only).map(|m| m.target).collect();
    assert_eq!(writable, ["/var/lib/agentaccess"]);
    let users = [sidecar.user(), compose.service("agent").user()];
    assert!(users[0].0 > 0 && users[1].0 > 0 && users[0].0 != users[1].0 && users[0].1 != users[1].1, "{users:?}");
    // Declared and used are the same volumes.
    let mut used: Vec<String> = compose.services().iter().flat_map(|s| s.mounts()).map(|m| m.source).collect();
    used.retain(|source| !source.starts_with("./"));
    assert!(compose.volumes().iter().all(|volume| used.contains(volume)));
    assert!(used.iter().all(|volume| compose.volumes().contains(volume)), "{used:?}");
}

#[test]
fn the_image_is_scratch_without_root_and_shell() {
    let last = dockerfile::last_stage();
    assert_eq!(last[0].rest, "scratch");
    assert!(last.iter().all(|line| line.word != "RUN"), "there is no shell to run it");
    let user = last.iter().rfind(|line| line.word == "USER").unwrap();
    assert_eq!(user.rest, compose().service("sidecar").text("user"));
    let owner = last.iter().find_map(|line| line.rest.split("--chown=").nth(1)?.split(' ').next()).unwrap();
    assert_eq!(owner, user.rest);
    assert_eq!(dockerfile::words("ENTRYPOINT"), ["/agentaccess-sidecar"]);
    assert_eq!(dockerfile::words("CMD"), compose().service("sidecar").list("command"));
    let build = compose().service("sidecar").get("build").clone();
    let context = example().join(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).exists());
    let pinned = fs::read_to_string(context.join("rust-toolchain.toml")).unwrap();
    let tag = dockerfile::lines()[0].rest.split(':').nth(1).unwrap().split('-').next().unwrap().to_owned();
    assert!(pinned.contains(&format!("channel = \"{tag}.")), "the image has Rust {tag}");
}

#[test]
fn the_build_sees_each_file_it_copies_and_the_whole_workspace() {
    for program in ["sidecar", "operator"] {
        sees_all(program);
    }
}

fn sees_all(program: &str) {
    let root = example().join("../..");
    let seen = fs::read_to_string(root.join(program).join("Dockerfile.dockerignore")).unwrap();
    let copies = dockerfile::lines_of(program).into_iter().filter(|l| l.word == "COPY" && !l.rest.contains("--from="));
    let mut copied = Vec::new();
    for line in copies {
        let words: Vec<&str> = line.rest.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(root.join(source).exists(), "COPY {}: `{source}` does not exist", line.rest);
            assert!(seen.lines().any(|l| l.strip_prefix('!') == Some(source)), "`{source}` is ignored");
            copied.push((*source).to_owned());
        }
    }
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    for member in members.trim_end_matches(']').split(',').map(|m| m.trim().trim_matches('"')) {
        let first = member.split('/').next().unwrap();
        assert!(copied.iter().any(|one| one == first), "the workspace needs `{member}`");
    }
}

// === what it does ===

/// The example with its database and its sidecar running.
struct Running {
    sidecar: Process,
    server: Server,
    parts: Parts,
}

impl Running {
    /// `docker compose up`, in the order of its `depends_on`.
    fn start() -> Self {
        let port = ports::free().unwrap();
        let mut changes = changes(port);
        changes.push((HOST.to_owned(), "localhost".to_owned()));
        changes.push(("stateDir: /var/lib/agentaccess".to_owned(), format!("stateDir: {}", parts::STATE)));
        let parts = Parts::copy(&changes);
        let server = prepared(&parts);
        let service = parts.compose.service("sidecar");
        let words = [dockerfile::words("ENTRYPOINT"), service.list("command")].concat();
        let log = parts.path().join("sidecar.log");
        let mut sidecar =
            Process::start(&mut parts.command(&service, None, &words), &log, parts.path(), Signal::TERM).unwrap();
        let ready = wait::until("the sidecar to be ready", SOON, || {
            let text = fs::read_to_string(&log)?;
            Ok((text.contains("\"ready\"") || sidecar.ended()?.is_some()).then_some(text))
        });
        let ready = ready.unwrap();
        assert!(ready.contains("\"ready\"") && ports::listening(port), "{ready}");
        Self { sidecar, server, parts }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.parts.path().join("sidecar.log")).unwrap()
    }

    /// The line of the README with this word in it, run; `name` stands for NAME.
    fn play(&self, part: &str, name: &str) -> (i32, String) {
        let mut lines = readme().into_iter().filter(|(_, _, words)| words.join(" ").contains(part));
        let (user, service, words) = lines.next().unwrap_or_else(|| panic!("the README has no `{part}`"));
        let words: Vec<String> = words.iter().map(|word| if word == "NAME" { name } else { word }.to_owned()).collect();
        self.parts.run(&service, user.as_deref(), &words)
    }

    fn healthy(&self) -> (i32, String) {
        let check = self.parts.compose.service("sidecar").health_check();
        self.parts.run("sidecar", None, &check)
    }
}

/// What stands in the place of ports, paths and users that belong to containers.
fn changes(port: u16) -> Vec<(String, String)> {
    let mut changes = vec![
        ("0.0.0.0:6432".to_owned(), format!("0.0.0.0:{port}")),
        ("PGPORT: \"6432\"".to_owned(), format!("PGPORT: \"{port}\"")),
        ("PGHOST: sidecar".to_owned(), "PGHOST: 127.0.0.1".to_owned()),
        ("DATABASE_OWNER: \"999:999\"".to_owned(), format!("DATABASE_OWNER: \"{}\"", parts::database_owner())),
    ];
    if !rustix::process::getuid().is_root() {
        aloud("NOT AS ROOT: all services run as this user, and alice is this user (dangerSharedUser)");
        let me = parts::database_owner();
        changes.push(("SIDECAR_OWNER: \"65532:65532\"".to_owned(), format!("SIDECAR_OWNER: \"{me}\"")));
        changes.push(("AGENT_OWNER: \"1002:1002\"".to_owned(), format!("AGENT_OWNER: \"{me}\"")));
        let uid = rustix::process::getuid().as_raw();
        changes.push(("uid: 1001}".to_owned(), format!("uid: {uid}}}\ndangerSharedUser: true")));
    }
    changes
}

/// `setup` and `database`.
fn prepared(parts: &Parts) -> Server {
    parts.setup();
    let server = database(parts);
    // Nobody knew the database's port before: an edit of the policies, made known as the README says.
    let target = parts.example("policies/target.yaml");
    let text = fs::read_to_string(&target).unwrap();
    fs::write(&target, text.replace("port: 5432", &format!("port: {}", server.port()))).unwrap();
    parts.setup();
    server
}

/// The server with the service's settings and certificate, and the schema as the image's entry point makes it.
fn database(parts: &Parts) -> Server {
    let service = parts.compose.service("database");
    let command = service.list("command");
    assert_eq!(command[0], "postgres");
    let settings = command[1..].iter().map(|word| {
        let (name, value) = word.strip_prefix("-c").unwrap().split_once('=').unwrap();
        (name.to_owned(), parts.inside(&service, value))
    });
    let server = Server::start(Options { settings: settings.collect(), ..Options::default() }).unwrap();
    let environment = service.environment();
    let name = &environment["POSTGRES_DB"];
    server.admin_in("postgres", &format!("CREATE DATABASE {name}")).unwrap();
    let schema = service.mounts().into_iter().find(|m| m.target.starts_with("/docker-entrypoint-initdb.d/")).unwrap();
    let made = Psql::new(server.port())
        .env("PGHOST", server.socket().display().to_string())
        .env("ROLE_PASSWORD_FILE", parts.inside(&service, &environment["ROLE_PASSWORD_FILE"]))
        .login(SUPERUSER, "")
        .database(name)
        .run(&fs::read_to_string(parts.example(schema.source.trim_start_matches("./"))).unwrap())
        .unwrap();
    assert_eq!(made.status, Some(0), "{}", made.all());
    server
}

#[test]
fn the_readme_is_true() {
    let mut world = Running::start();
    let (status, text) = world.healthy();
    assert_eq!(status, 0, "{text}\n{}", world.log());

    let (status, text) = world.play("SELECT", "");
    assert_eq!(status, 0, "{text}\n{}", world.log());
    assert!(text.contains("Grace") && text.contains("[redacted]"), "{text}");
    for secret in ["536-90-4399", "219-09-9999", "ada@example.com", "grace@example.com"] {
        assert!(!text.contains(secret), "{text}");
    }

    let (status, text) = world.play("DROP", "");
    assert!(status != 0 && text.contains("No schema change by an agent."), "{text}");
    assert!(!world.server.saw("DROP"), "the DROP came to the database");

    approval(&world);

    let (status, text) = world.play("sessions ls", "");
    assert!(status == 0 && text.contains("orders-db"), "{status}: {text}");
    let (status, text) = world.play("verify", "");
    assert!(status == 0 || (status == 13 && text.contains("unsigned tail")), "{status}: {text}");

    a_new_policy_comes_into_force(&world);

    world.server.stop();
    let (status, text) = world.healthy();
    assert!(status != 0 && text.contains("WRONG target local/orders-db"), "{text}");
    world.sidecar.signal(Signal::TERM);
    let grace = world.parts.compose.service("sidecar").text("stop_grace_period").to_owned();
    let grace = Duration::from_secs(grace.trim_end_matches('s').parse().unwrap());
    assert_eq!(world.sidecar.wait(grace).unwrap().code(), Some(0), "{}", world.log());
}

/// The UPDATE waits until alice says yes; the agent and the sidecar's own user cannot.
fn approval(world: &Running) {
    let (text, name) = std::thread::scope(|scope| {
        let held = scope.spawn(|| world.play("UPDATE", ""));
        let listed = wait::until("the request", SOON, || {
            let (status, text) = world.play("approvals ls", "");
            Ok((status == 0 && text.contains("UPDATE")).then_some(text)).inspect(|_| assert!(!held.is_finished()))
        });
        let listed = listed.unwrap_or_else(|error| panic!("{error}\n{}", world.log()));
        let name = listed.split_whitespace().find(|word| word.starts_with("areq-")).unwrap().to_owned();
        if rustix::process::getuid().is_root() {
            for (user, why) in [("65532:65532", "the sidecar's user"), ("1002:1002", "the agent")] {
                let words = ["/agentaccess", "approve", &name, "--reason", "x"].map(str::to_owned);
                let (status, text) = world.parts.run("sidecar", Some(user), &words);
                assert!(status != 0, "{why} approved: {text}");
            }
            assert_eq!(world.server.executed_with("SET status"), 0);
        }
        let (status, text) = world.play("approve NAME", &name);
        assert_eq!(status, 0, "{text}");
        (held.join().unwrap(), name)
    });
    assert!(text.0 == 0 && text.1.contains("UPDATE 1"), "{name}: {text:?}");
    assert_eq!(world.server.executed_with("SET status"), 1);
}

/// As the README says: an edit in `policies/`, then `setup` once more.
fn a_new_policy_comes_into_force(world: &Running) {
    let file = world.parts.example("policies/policy.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let less = text.replace("[public.orders, public.customers]", "[public.orders]");
    assert_ne!(less, text);
    fs::write(&file, less).unwrap();
    world.parts.setup();
    eventually("the new policy", SOON, || world.play("SELECT", "").0 != 0).unwrap();
    let (_, text) = world.play("SELECT", "");
    assert!(text.contains("customers"), "{text}");
}

#[test]
fn each_secret_is_readable_by_one_user() {
    let parts = Parts::copy(&changes(6432));
    parts.setup();
    let setup = parts.compose.service("setup").environment();
    for (volume, owner) in [("for-database", "DATABASE"), ("for-sidecar", "SIDECAR"), ("for-agent", "AGENT")] {
        let (uid, gid) = file::ids(&setup[&format!("{owner}_OWNER")]);
        let files = files(&parts.volume(volume));
        assert!(!files.is_empty(), "{volume} is empty");
        for path in files {
            let about = fs::metadata(&path).unwrap();
            assert_eq!((about.uid(), about.gid()), (uid, gid), "{}", path.display());
            assert_eq!(about.permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }
    // A second run keeps what the first made, or the database and the sidecar would disagree.
    let secrets = parts.volume("for-sidecar").join("policies/secrets.yaml");
    let before = fs::read(&secrets).unwrap();
    parts.setup();
    assert_eq!(fs::read(&secrets).unwrap(), before);
    let text = String::from_utf8(before).unwrap();
    let superuser = fs::read_to_string(parts.volume("for-database").join("superuser.password")).unwrap();
    assert!(!text.contains(superuser.trim()), "the sidecar knows the superuser's password");
    let agent = fs::read_to_string(parts.volume("for-agent").join("pgpass")).unwrap();
    let role = fs::read_to_string(parts.volume("for-database").join("role.password")).unwrap();
    assert!(text.contains(role.trim()) && !agent.contains(role.trim()), "the agent knows the role's password");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
