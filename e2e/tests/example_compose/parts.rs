//! The services as processes of this machine: each gets a folder in place of its root, in which the mounts of the
//! Compose file are links; users are those of the file where we may be them (as root).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::postgres::Programs;
use e2e::proxy::{CLI, SIDECAR, binary};
use tempfile::TempDir;

use super::example;
use super::file::{Compose, Service, ids};

/// The database's name in the example.
pub(super) const HOST: &str = "orders.internal.example.com";
/// In a change: the folder of the volume `state`.
pub(super) const STATE: &str = "{state}";

/// A copy of the example, changed where this machine is no container host, and the volumes.
#[derive(Debug)]
pub(super) struct Parts {
    folder: TempDir,
    pub(super) compose: Compose,
}

// === impl Parts ===

impl Parts {
    /// Each pair of `changes` is a text of the example's files and what stands in its place. All must occur.
    pub(super) fn copy(changes: &[(String, String)]) -> Self {
        let folder = tempfile::Builder::new().prefix("agentaccess-example-").tempdir().unwrap();
        open(folder.path());
        let copy = folder.path().join("example");
        let state = folder.path().join("volumes/state");
        let mut missing: Vec<&str> = changes.iter().map(|(old, _)| old.as_str()).collect();
        for name in [
            "compose.yaml",
            "compose/agentaccess.yaml",
            "compose/setup.sh",
            "compose/schema.sql",
            "policies/guardrails.yaml",
            "policies/policy.yaml",
            "policies/target.yaml",
        ] {
            let mut text = fs::read_to_string(example().join(name)).unwrap();
            for (old, new) in changes {
                missing.retain(|one| one != old || !text.contains(old));
                text = text.replace(old, &new.replace(STATE, &state.display().to_string()));
            }
            fs::create_dir_all(copy.join(name).parent().unwrap()).unwrap();
            fs::write(copy.join(name), text).unwrap();
        }
        assert_eq!(missing, Vec::<&str>::new(), "not in the example");
        let parts = Self { compose: Compose::read(&copy.join("compose.yaml")), folder };
        for volume in parts.compose.volumes() {
            fs::create_dir_all(parts.volume(&volume)).unwrap();
            open(&parts.volume(&volume));
        }
        for service in parts.compose.services() {
            parts.lay_out(&service);
        }
        // As the image makes it: a new volume has the owner of the folder there.
        give(&parts.volume("state"), parts.compose.service("sidecar").user());
        for name in [SIDECAR, CLI] {
            let program = parts.folder.path().join(name);
            fs::copy(binary(name).unwrap(), &program).unwrap();
            open(&program);
        }
        parts
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join("volumes").join(name)
    }

    /// A file of the copy.
    pub(super) fn example(&self, name: &str) -> PathBuf {
        self.folder.path().join("example").join(name)
    }

    /// What stands for `/` of the service.
    pub(super) fn root(&self, service: &str) -> PathBuf {
        self.folder.path().join("roots").join(service)
    }

    fn lay_out(&self, service: &Service) {
        for mount in service.mounts() {
            let source = match mount.source.strip_prefix("./") {
                Some(path) => self.example(path),
                None => self.volume(&mount.source),
            };
            assert!(source.exists(), "{}: `{}` does not exist", service.name, mount.source);
            let place = self.root(&service.name).join(mount.target.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            symlink(source, place).unwrap();
        }
    }

    /// A path of the service as one of this machine, also behind `name=`; other texts as they are.
    pub(super) fn inside(&self, service: &Service, text: &str) -> String {
        let Some(at) = text.find('/').filter(|at| *at == 0 || text[..*at].ends_with('=')) else {
            return text.to_owned();
        };
        let (before, path) = text.split_at(at);
        let below = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        let known = service.mounts().iter().any(|m| below(path, &m.target) || below(&m.target, path));
        if known { format!("{before}{}{path}", self.root(&service.name).display()) } else { text.to_owned() }
    }

    /// These words, run as the service would: its environment and user (or this one) and nothing of ours.
    pub(super) fn command(&self, service: &Service, user: Option<&str>, words: &[String]) -> Command {
        let program = match words[0].as_str() {
            "psql" => Programs::find().unwrap().client("psql"),
            "/agentaccess-sidecar" => self.folder.path().join(SIDECAR),
            "/agentaccess" => self.folder.path().join(CLI),
            other => PathBuf::from(self.inside(service, other)),
        };
        let environment: BTreeMap<String, String> =
            service.environment().into_iter().map(|(name, value)| (name, self.inside(service, &value))).collect();
        let mut command = Command::new(program);
        command
            .args(words[1..].iter().map(|word| self.inside(service, word)))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            // The CLI in the container finds the state at its default place.
            .env("AGENTACCESS_STATE_DIR", self.volume("state"))
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::null());
        if rustix::process::getuid().is_root() {
            let (uid, gid) = user.map_or_else(|| service.user(), ids);
            command.uid(uid).gid(gid);
        }
        command
    }

    /// The same, to its end.
    pub(super) fn run(&self, service: &str, user: Option<&str>, words: &[String]) -> (i32, String) {
        told(self.command(&self.compose.service(service), user, words).output().unwrap())
    }

    /// What `docker compose run --rm setup` does.
    pub(super) fn setup(&self) {
        let service = self.compose.service("setup");
        let (status, text) = self.run("setup", None, &service.list("entrypoint"));
        assert_eq!(status, 0, "{text}");
    }
}

/// Status and all that was said.
pub(super) fn told(output: Output) -> (i32, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// `docker compose exec` lines of the README, in order: user, service, words.
pub(super) fn readme() -> Vec<(Option<String>, String, Vec<String>)> {
    let text = fs::read_to_string(example().join("README.md")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("docker compose exec "));
    lines
        .map(|line| {
            let mut words = split(line);
            let user = (words[0] == "--user").then(|| words.drain(..2).nth(1).unwrap());
            let service = words.remove(0);
            (user, service, words)
        })
        .collect()
}

/// Words as a shell splits them; double quotes are all that the README uses.
fn split(line: &str) -> Vec<String> {
    assert!(!line.contains(['\\', '$', '`']), "`{line}` needs a real shell");
    let parts = line.split('"').enumerate();
    parts
        .flat_map(
            |(n, part)| {
                if n % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
            },
        )
        .collect()
}

/// For every user to enter or run.
fn open(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(super) fn give(path: &Path, (uid, gid): (u32, u32)) {
    if rustix::process::getuid().is_root() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// Uid and gid of the user that PostgreSQL runs as on this machine.
pub(super) fn database_owner() -> String {
    let me = (rustix::process::getuid(), rustix::process::getgid());
    if !me.0.is_root() {
        return format!("{}:{}", me.0.as_raw(), me.1.as_raw());
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = |name: &str| users.lines().find(|line| line.split(':').next() == Some(name));
    let fields: Vec<&str> = line("postgres").or_else(|| line("nobody")).unwrap().split(':').collect();
    format!("{}:{}", fields[2], fields[3])
}
