//! Secrets whose owners say for which hosts they are, where somebody else writes targets: what a host hears that is not
//! named, and what is said of it. The oracle is a listener that takes down what a sidecar sends.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use e2e::postgres::DATABASE;
use e2e::wait;
use e2e::world::{Policy, ROLE_PASSWORD};
use serde_json::{Value, json};

use super::agent::START;
use super::database::{AGENT, World, service};
use super::inside::sh;
use super::sink::HERE;
use super::status::{message, says, words};

/// A host of somebody who writes targets.
struct Thief {
    port: u16,
    heard: Receiver<Vec<u8>>,
}

impl Thief {
    fn open() -> Self {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (notes, heard) = sync_channel(10_000);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut bytes = [0; 1_024];
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let read = stream.read(&mut bytes).unwrap_or(0);
                // That somebody came is something too.
                if notes.send([&bytes[..read], b"\n"].concat()).is_err() {
                    return;
                }
            }
        });
        Self { port, heard }
    }

    /// Everything since it was asked last.
    fn heard(&self) -> String {
        let heard: Vec<u8> = self.heard.try_iter().flatten().collect();
        String::from_utf8_lossy(&heard).into_owned()
    }
}

impl World {
    fn host(&self, name: &str, port: u16) -> String {
        format!("{name}.{}.svc.cluster.local:{port}", self.namespace.name)
    }

    /// As the owner of the Secret writes it.
    fn annotate(&self, hosts: &str) {
        let annotation = format!("agentaccess.dev/hosts={hosts}");
        let line = ["annotate", "secret", "db-login", "-n", &self.namespace.name, "--overwrite", &annotation];
        self.cluster.run(&line, None).unwrap().accepted("an annotation").unwrap();
    }

    /// One more connection of the agent, and what it is told.
    fn dial(&self, more: &str) -> String {
        let script = format!(
            "{more} PGCONNECT_TIMEOUT=15 timeout 20 psql -XAtqc 'SELECT id FROM orders WHERE id = 1' 2>&1; true"
        );
        sh(&self.cluster, &self.namespace.name, AGENT, &script).text
    }

    /// Waits until the target says so; its message.
    fn resolved(&self, target: &str, word: &str) -> String {
        let wanted = format!("ResolvedRefs={word}");
        let found = says(&self.cluster, &self.namespace.name, "atgt", target, |one| words(one).contains(&wanted));
        message(&found, "ResolvedRefs").to_owned()
    }
}

/// Types what a message says, as it stands there.
fn typed(message: &str) {
    let (_, line) = message.split_once("types: ").unwrap_or_else(|| panic!("{message}"));
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A target at the thief's, which sends the password of another target as a user name, and a policy for it.
fn stealing(host: &str, port: u16) -> Vec<Value> {
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]}]);
    let kind = |kind: &str, spec: Value| json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": kind, "metadata": {"name": "stolen"}, "spec": spec});
    vec![
        kind(
            "AccessTarget",
            json!({"protocol": "Postgres", "host": host, "port": port, "tls": {"mode": "Disabled"},
                   "credentialRef": {"name": "db-login", "usernameKey": "password"}, "postgres": {"databases": [DATABASE]}}),
        ),
        kind(
            "AgentAccessPolicy",
            json!({"podSelector": {}, "targets": [{"targetRef": {"name": "stolen"}, "postgres": {"rules": rules}}]}),
        ),
    ]
}

#[test]
fn a_secret_is_sent_to_no_host_that_its_owner_does_not_name() {
    let (world, thief) = (World::new(&Policy::default()), Thief::open());
    let place = world.host("stolen", thief.port);
    let host = place.split(':').next().unwrap();
    world.apply_all(&service("stolen", thief.port));
    world.apply_all(&stealing(host, thief.port));
    let there = format!("PGHOST={host} PGPORT={}", thief.port);
    // Where its owner says nothing, whoever writes targets gets it: this is what the test would see.
    let waited = wait::eventually("the password is sent", START, || {
        world.dial(&there);
        thief.heard().contains(ROLE_PASSWORD)
    });
    waited.unwrap();

    world.annotate(&world.host("db", world.server.port()));
    let refused = world.resolved("stolen", "False/SecretNotForHost");
    assert!(refused.contains(&format!("Secret `db-login` is not for {place}")), "{refused}");
    assert!(!refused.contains(&world.host("db", world.server.port())), "whom else it is for is not told: {refused}");
    wait::eventually("the sidecar knows", START, || {
        thief.heard();
        world.dial(&there);
        thief.heard().is_empty()
    })
    .unwrap();
    for _ in 0..5 {
        let told = world.dial(&there);
        assert!(!told.starts_with('1'), "{told}");
    }
    assert_eq!(thief.heard(), "", "nobody even came");
    assert_eq!(world.dial(""), "1\n", "the target that it is for goes on");
    let policy = says(&world.cluster, &world.namespace.name, "aap", "stolen", |one| {
        words(one).contains("ResolvedRefs=False/SecretNotForHost")
    });
    assert!(message(&policy, "ResolvedRefs").contains("AccessTarget `stolen`"), "{policy:#}");

    // Its owner may let it go there all the same, beside where it went before.
    typed(&refused);
    world.resolved("stolen", "True/ResolvedRefs");
    wait::eventually("it is sent again", START, || {
        world.dial(&there);
        thief.heard().contains(ROLE_PASSWORD)
    })
    .unwrap();
    assert_eq!(world.dial(""), "1\n");
}

#[test]
fn who_is_refused_a_secret_is_told_what_its_owner_types() {
    let world = World::new(&Policy::default());
    wait::eventually("the agent works", START, || world.dial("") == "1\n").unwrap();
    let open = |what: &str| wait::eventually(what, START, || world.dial("") == "1\n").unwrap();
    let shut = |what: &str| {
        wait::eventually(what, START, || world.dial("").contains("the sidecar has no usable credential for it"))
            .unwrap();
    };
    let rows = [
        ("other.example", "False/SecretNotForHost", format!("other.example,{}", world.host("db", world.server.port()))),
        ("db.example,*.cluster.local", "False/SecretHostsInvalid", world.host("db", world.server.port())),
        ("", "False/SecretNotForHost", world.host("db", world.server.port())),
    ];
    for (annotation, word, after) in rows {
        world.annotate(annotation);
        shut(annotation);
        let message = world.resolved("db", word);
        assert!(message.contains("spec.credentialRef.name: Secret `db-login`"), "{message}");
        assert!(!message.contains(ROLE_PASSWORD), "{message}");

        typed(&message);
        open(annotation);
        world.resolved("db", "True/ResolvedRefs");
        let secret = world.cluster.get(&["secret", "db-login", "-n", &world.namespace.name]).unwrap();
        assert_eq!(secret["metadata"]["annotations"]["agentaccess.dev/hosts"], json!(after), "{annotation}");
    }
    // Without the annotation it is for all.
    let away = ["annotate", "secret", "db-login", "-n", &world.namespace.name, "agentaccess.dev/hosts-"];
    world.cluster.run(&away, None).unwrap().accepted("no annotation").unwrap();
    open("no annotation");
}
