//! Approvals by `agentaccess` itself, as a person whose kubeconfig says who they are. The oracle is the database's log.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use e2e::proxy::{CLI, binary};
use e2e::wait;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::asked::{Asked, PATIENCE};

/// A person with a kubeconfig of their own, that impersonates.
struct Person {
    folder: tempfile::TempDir,
    namespace: String,
}

/// `approvals watch` of somebody, and all that it has said. It looks every two seconds, so what stands only for a moment may
/// be passed over.
struct Watching {
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl Watching {
    fn start(person: &Person) -> Self {
        let mut child = person.command(&["approvals", "watch", "--cluster"]).stdout(Stdio::piped()).spawn().unwrap();
        let (seen, out) = (Arc::new(Mutex::new(String::new())), BufReader::new(child.stdout.take().unwrap()));
        let heard = Arc::clone(&seen);
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                *heard.lock() += &(line + "\n");
            }
        });
        Self { child, seen }
    }

    fn sees(&self, part: &str) {
        let seen = wait::eventually(part, PATIENCE, || self.seen.lock().contains(part));
        assert!(seen.is_ok(), "{part} is not in\n{}", self.seen.lock());
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Person {
    fn new(asked: &Asked, name: &str) -> Self {
        let view = ["config", "view", "--raw", "--flatten", "--minify", "-o", "json"];
        let answer = asked.world.cluster.run(&view, None).unwrap();
        answer.accepted("the kubeconfig").unwrap();
        let mut config: Value = serde_json::from_str(&answer.text).unwrap();
        let namespace = asked.world.namespace.name.clone();
        config["users"][0]["user"]["as"] = json!(name);
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        Self { folder, namespace }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program: PathBuf = binary(CLI).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env("KUBECONFIG", self.folder.path().join("config"));
        command.env_remove("AGENTACCESS_STATE_DIR");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(ran.status, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }
}

#[test]
fn people_decide_with_the_command_line() {
    let mut asked = Asked::new("{name: person, requiredApprovals: 2, reason: Required, pendingTTL: 60s, holdFor: 55s}");
    let (alice, bob) = (Person::new(&asked, "alice"), Person::new(&asked, "bob"));
    // In the namespace of the context, and as she watches from before.
    let watching = Watching::start(&alice);
    let held = asked.hold(1);
    watching.sees(&format!("{}  Pending  ", held.name));
    let listed = alice.json(&["approvals", "ls", "--cluster", "--pending"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["metadata"]["name"]), (1, &json!(held.name)));
    let ran = bob.run(&["approvals", "show", &held.name, "-n", &bob.namespace]);
    let line = format!("to approve: agentaccess approve {} --namespace {} --reason '...'", held.name, bob.namespace);
    assert!(ran.out.contains("DELETE FROM") && ran.out.contains(&line), "{}{}", ran.out, ran.err);
    let completed = bob.run(&["names", "--", "approve", "-n", &bob.namespace]);
    assert_eq!(completed.out.trim(), held.name, "{}", completed.err);

    let ran = alice.run(&["approve", &held.name, "--cluster"]);
    assert!(ran.status == 1 && ran.err.contains("a reason is required"), "{}{}", ran.out, ran.err);
    let ran = alice.run(&["approve", &held.name, "--cluster", "--reason", "INC-1"]);
    let said = format!("{}/{}: recorded: approve by alice (1 of 2 needed)\n", alice.namespace, held.name);
    assert_eq!((ran.status, ran.out), (0, said), "{}", ran.err);
    watching.sees("approved by alice (INC-1)");
    let mallory = Person::new(&asked, "mallory");
    let ran = mallory.run(&["approve", &held.name, "--cluster", "--reason", "me too"]);
    assert!(ran.status == 1 && ran.err.contains("forbidden"), "{}{}", ran.out, ran.err);
    assert_eq!(asked.deleted(), 0);
    let ran = bob.run(&["approve", &held.name, "--cluster", "--reason", "INC-1", "--grant", "10m"]);
    assert!(ran.status == 1 && ran.err.contains("grants nothing beyond one use"), "{}{}", ran.out, ran.err);
    let ran = bob.run(&["approve", &held.name, "--cluster", "--reason", "INC-1"]);
    assert!(ran.status == 0 && ran.out.contains("2 of 2 needed"), "{}{}", ran.out, ran.err);
    assert!(asked.answer(&held).contains('1'));
    assert_eq!(asked.deleted(), 1);
    wait::eventually("it is used", PATIENCE, || {
        let used = alice.json(&["approvals", "ls", "-n", &alice.namespace, "--phase", "used"]);
        used.as_array().unwrap().iter().any(|one| one["metadata"]["name"] == held.name.as_str())
    })
    .unwrap();

    let held = asked.hold(2);
    let ran = bob.run(&["deny", &held.name, "--cluster", "--reason", "not today"]);
    assert!(ran.status == 0 && ran.out.contains("recorded: deny by bob"), "{}{}", ran.out, ran.err);
    let answer = asked.answer(&held);
    assert!(answer.contains("PX002") && answer.contains("not today"), "{answer}");
    asked.phase(&held, "Denied");
    watching.sees("denied by bob (not today)");
}

#[test]
fn lint_sees_what_is_there() {
    let asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 14s}");
    let namespace = asked.world.namespace.name.clone();
    let admin = Person { folder: tempfile::tempdir().unwrap(), namespace };
    let view = ["config", "view", "--raw", "--flatten", "--minify"];
    let config = asked.world.cluster.run(&view, None).unwrap().text;
    std::fs::write(admin.folder.path().join("config"), config).unwrap();
    // Others try bad policies of the cluster at the same time.
    let ran = admin.run(&["lint", "--cluster", "-n", &admin.namespace, "-o", "json"]);
    let findings: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    let own = findings.as_array().unwrap().iter().filter(|one| one["object"].to_string().contains(&admin.namespace));
    let wrong: Vec<&Value> = own.filter(|one| one["weight"] == "error").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let ran = admin.run(&[
        "simulate",
        "--cluster",
        "--as",
        &format!("{}/default", admin.namespace),
        "--target",
        "none",
        "SELECT 1",
    ]);
    let known = format!("there is no AccessTarget `{}/none` in `the cluster`; there are:", admin.namespace);
    assert!(ran.status == 1 && ran.err.contains(&known), "{}{}", ran.out, ran.err);
}
