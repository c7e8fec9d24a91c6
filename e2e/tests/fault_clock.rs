//! The wall clock of the sidecar is set while it works, as a machine does whose clock was wrong: `libfaketime` stands between it
//! and the kernel's clock. Deadlines are those of a clock that nobody sets; the recording says what happened.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::proxy::{ALICE, Setup, Sidecar};
use e2e::recorded;
use e2e::wait::eventually;
use e2e::wire::{Answer, Wire};
use e2e::world::{self, Policy};
use serde_json::Value;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
/// What a request of `brief` may take to end, on a busy machine.
const BRIEF: Duration = Duration::from_secs(15);

/// A sidecar that reads the wall clock through a file.
struct Clocked {
    sidecar: Sidecar,
    folder: TempDir,
}

// === impl Clocked ===

impl Clocked {
    fn new(server: &e2e::postgres::Server) -> Self {
        let folder = tempfile::Builder::new().prefix("agentaccess-clock-").tempdir().unwrap();
        // The sidecar is another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("clock");
        fs::write(&file, "+0").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let words = [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        let environment = words.map(|(name, value)| (name.to_owned(), value)).into();
        let approvals = "
    - {name: person, pendingTTL: 60s, holdFor: 20s}
    - {name: short, pendingTTL: 60s, holdFor: 1s}
    - {name: brief, pendingTTL: 2s, holdFor: 2s}
";
        let rules = "
          - {name: reads, action: Allow, verbs: [Select], relations: [public.orders, public.items]}
          - {name: person, action: RequireApproval, approval: person, verbs: [Delete], relations: [public.orders]}
          - {name: short, action: RequireApproval, approval: short, verbs: [Update], relations: [public.orders]}
          - {name: brief, action: RequireApproval, approval: brief, verbs: [Update], relations: [public.items]}
";
        let policy = Policy { approvals: approvals.to_owned(), rules: rules.to_owned(), ..Policy::default() };
        let setup = Setup { environment, ..Setup::default() };
        Self { sidecar: world::sidecar_with(server, &policy, setup).unwrap(), folder }
    }

    /// From now on its wall clock is so many seconds from ours.
    fn set(&self, seconds: i64) {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("clock"));
        fs::write(&new, format!("{seconds:+}")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// What the recording says of the clock.
    fn steps(&self) -> Vec<String> {
        let lines = recorded::lines(&self.sidecar.recordings()).unwrap();
        let steps = lines.iter().filter(|line| line["code"] == "MARKER_CLOCK_STEP");
        steps.map(|line| line["detail"].as_str().unwrap().to_owned()).collect()
    }

    fn agent(&self) -> Wire {
        Wire::connect(self.sidecar.port(), &self.sidecar.login()).unwrap()
    }

    fn phase(&self, name: &str) -> String {
        let request = self.sidecar.request(name).unwrap();
        request.pointer("/status/phase").and_then(Value::as_str).unwrap().to_owned()
    }
}

fn library() -> PathBuf {
    let place = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    let place = PathBuf::from(place);
    assert!(place.exists(), "{} is missing: scripts/setup.sh test", place.display());
    place
}

fn told(answer: &Answer) -> String {
    let fault = answer.fault.clone().unwrap_or_default();
    assert_eq!(fault.sqlstate, "PX001", "{fault}");
    fault.detail
}

#[test]
fn a_clock_that_is_set_moves_no_deadline() {
    let server = world::server().unwrap();
    for (at, step) in [3_600, -3_600, 400 * 86_400].into_iter().enumerate() {
        let mut clocked = Clocked::new(&server);
        let mut agent = clocked.agent();

        // One is held, and one was told to come again: neither has ended because the clock says so.
        let held = format!("DELETE FROM orders held{at} WHERE held{at}.id = {}", 100 + at);
        let later = format!("UPDATE orders later{at} SET note = 'later' WHERE later{at}.id = 6");
        let name = told(&agent.query(&later).unwrap());
        let mut other = clocked.agent();
        let asking = std::thread::spawn(move || other.query(&held).unwrap());
        let waiting = clocked.sidecar.asked(&format!(" held{at} "), SOON).unwrap();
        clocked.set(step);
        eventually("the step is on record", SOON, || clocked.steps().len() == 1).unwrap();
        assert_eq!((clocked.phase(&name).as_str(), clocked.phase(&waiting).as_str()), ("Pending", "Pending"), "{step}");
        for name in [&name, &waiting] {
            assert_eq!(clocked.sidecar.vote(ALICE, name, "approve").unwrap()["is"], "decided", "{step}");
        }
        let answer = asking.join().unwrap();
        assert_eq!((answer.fault, answer.tags.as_slice()), (None, ["DELETE 1".to_owned()].as_slice()), "{step}");
        let answer = agent.query(&later).unwrap();
        assert_eq!((answer.fault, answer.tags.as_slice()), (None, ["UPDATE 1".to_owned()].as_slice()), "{step}");

        // One that nobody decides ends when it has to, whatever the clock says.
        let begun = Instant::now();
        let answer = agent.query(&format!("UPDATE items brief{at} SET note = 'x' WHERE brief{at}.id = 7")).unwrap();
        assert!(begun.elapsed() < BRIEF, "{step}: {:?} after {:?}", answer.fault, begun.elapsed());
        let fault = answer.fault.unwrap();
        assert_eq!(fault.sqlstate, "PX003", "{step}: {fault}");
        eventually("it has expired", BRIEF, || clocked.phase(&fault.detail) == "Expired").unwrap();

        // Sessions go on, new ones begin, and the clock may be set back.
        assert_eq!(agent.query("SELECT note FROM orders WHERE id = 7").unwrap().fault, None, "{step}");
        assert_eq!(clocked.agent().query("SELECT note FROM orders WHERE id = 7").unwrap().fault, None, "{step}");
        clocked.set(0);
        eventually("the way back is on record", SOON, || clocked.steps().len() == 2).unwrap();
        assert_eq!(agent.query("SELECT note FROM orders WHERE id = 7").unwrap().fault, None, "{step}");
        println!("{step} s: {:?}", clocked.steps());
        clocked.sidecar.stop();
        let verified = clocked.sidecar.verify(&clocked.sidecar.recordings(), None).unwrap();
        assert_eq!(verified.status, recorded::INTACT, "{}", verified.text);
        assert_eq!(
            (server.executed_with(&format!(" held{at} ")), server.executed_with(&format!(" brief{at} "))),
            (1, 0)
        );
    }
}
