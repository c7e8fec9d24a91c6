//! A full disk under the recording: everything is refused within a second, nothing reaches the server, and it goes on
//! by itself when there is space again. The disk is a small tmpfs, so this needs root, as in CI.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::proxy::{Setup, Sidecar};
use e2e::recorded::{INTACT, lines};
use e2e::wire::{Form, Format, Wire};
use e2e::world::{self, Policy};
use serde_json::json;
use tempfile::TempDir;

/// What an agent may wait for its refusal: the limit of 1 s and a margin for a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_millis(1500);
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);

/// A tmpfs, unmounted when dropped.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// `None` when we may not mount one.
    fn new(mebibytes: u32) -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            eprintln!("NOT TESTED: only root may mount a tmpfs to fill");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=755");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        assert!(mount.unwrap().success(), "mount a tmpfs");
        Some(Self { folder })
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Takes all space but `left` bytes.
    fn fill(&self, left: usize) {
        let mut file = fs::File::create(self.filler()).unwrap();
        while file.write_all(&[b'x'; 4096]).is_ok() {}
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(u64::try_from(left).unwrap())).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn sidecar_on(disk: &Disk, server: &e2e::postgres::Server) -> Sidecar {
    let config = json!({"limits": {"freeSpaceFloor": 1 << 20}});
    let state = Some(disk.folder.path().join("state"));
    world::sidecar_with(server, &Policy::default(), Setup { config: Some(config), state, ..Setup::default() }).unwrap()
}

#[test]
fn a_full_disk_refuses_everything_and_recovers_by_itself() {
    let Some(disk) = Disk::new(8) else { return };
    let server = world::server().unwrap();
    let mut sidecar = sidecar_on(&disk, &server);
    let mut wire = Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
    let reads = |wire: &mut Wire, number: u32| {
        let answer = wire.query(&format!("SELECT id, {number} AS m FROM orders WHERE id = 1")).unwrap();
        (answer.sqlstate().to_owned(), answer.status)
    };
    let mut number = 7_000_000;
    let mut refused = 0;
    // Not a byte left; some bytes, fewer than a line or two; less than the floor.
    for left in [0, 700, 5_000, 900_000] {
        number += 1;
        assert_eq!(reads(&mut wire, number), (String::new(), Some(b'I')), "before, {left} left");
        disk.fill(left);
        let begun = Instant::now();
        // What was let out in the moment before the space was measured had its intent written.
        let mut written_late = 0;
        let mut partly = Vec::new();
        while begun.elapsed() < Duration::from_secs(2) {
            number += 1;
            let asked = Instant::now();
            let (form, format) = Form::ALL[usize::try_from(number).unwrap() % Form::ALL.len()];
            let answer =
                wire.run(form, format, &format!("SELECT id, {number} AS m FROM orders WHERE id = 1"), &[]).unwrap();
            assert!(asked.elapsed() < REFUSED_WITHIN, "{left} left, {form:?}: {:?}", asked.elapsed());
            if answer.fault.is_none() {
                written_late += 1;
                assert!(
                    begun.elapsed() < Duration::from_millis(1500),
                    "{left} left: let out after {:?}",
                    begun.elapsed()
                );
            } else {
                assert_eq!((answer.sqlstate(), answer.status), ("PX004", Some(b'I')), "{left} left, {form:?}");
                if server.executed_with(&format!("{number} AS m")) > 0 {
                    // These forms are several operations: the first may have been let out, with its intent.
                    assert!(matches!(form, Form::Prepared | Form::PortalLimited), "{left} left, {form:?}");
                    partly.push(number);
                }
                refused += 1;
            }
        }
        // What is left of a page of tmpfs and of `left` holds a few lines.
        assert!(left > 5_000 || written_late <= 16, "{left} left: {written_late} were let out");
        let asked = Instant::now();
        let new = Wire::connect(sidecar.port(), &sidecar.login());
        assert!(new.is_err() && asked.elapsed() < Duration::from_secs(3), "{left} left: {new:?} {:?}", asked.elapsed());

        disk.free();
        let freed = Instant::now();
        loop {
            number += 1;
            let (code, _) = reads(&mut wire, number);
            if code.is_empty() {
                break;
            }
            assert_eq!(code, "PX004", "{left} left");
            assert!(freed.elapsed() < RECOVERS_WITHIN, "{left} left: no recovery");
            std::thread::sleep(Duration::from_millis(50));
        }
        let lines = lines(&sidecar.recordings()).unwrap();
        let text = |line: &serde_json::Value, field: &str| line.get(field).and_then(|v| v.as_str()).map(str::to_owned);
        for number in partly {
            let recorded = lines.iter().any(|line| {
                text(line, "kind").as_deref() == Some("intent")
                    && text(line, "action").as_deref() == Some("SELECT")
                    && text(line, "display").is_some_and(|display| display.contains(&format!("{number} AS m")))
            });
            assert!(recorded, "{left} left: {number} ran without an intent");
        }
        println!("{left} bytes left: {written_late} let out, recovered after {:?}", freed.elapsed());
        Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
    }
    assert!(refused > 20, "{refused}");

    // All that ran has its intent, the refusals are counted, and the recording is what was written.
    drop(wire);
    sidecar.stop();
    let verified = sidecar.verify(&sidecar.recordings(), None).unwrap();
    assert_eq!(verified.status, INTACT, "{verified:?}");
    let all = lines(&sidecar.recordings()).unwrap();
    for text in server.executed().iter().filter(|text| text.contains(" AS m ")) {
        let marker = text.split(", ").nth(1).unwrap().split(" FROM").next().unwrap();
        let intents = all.iter().filter(|line| {
            line["kind"] == "intent" && line["display"].as_str().is_some_and(|display| display.contains(marker))
        });
        assert!(intents.count() >= 1, "{text}");
    }
    let counted: u64 =
        all.iter().filter(|line| line["what"] == "unrecorded_refusals").filter_map(|line| line["count"].as_u64()).sum();
    assert!(counted > 0, "refusals that could not be written are counted");
}

#[test]
fn a_sidecar_does_not_start_on_a_full_disk_and_starts_when_there_is_space() {
    let Some(disk) = Disk::new(8) else { return };
    let server = world::server().unwrap();
    let mut sidecar = sidecar_on(&disk, &server);
    let mut wire = Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
    disk.fill(0);
    // A kill in the middle of it; the next start finds half a line at most.
    let _refused = wire.run(Form::Simple, Format::Text, "SELECT id FROM orders", &[]);
    sidecar.kill9();
    assert!(!sidecar.run_to_end().unwrap().success());
    disk.free();
    sidecar.start_again().unwrap();
    let mut wire = Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
    assert_eq!(wire.query("SELECT id FROM orders WHERE id = 1").unwrap().texts(), [["1"]]);
    drop(wire);
    sidecar.stop();
    let verified = sidecar.verify(&sidecar.recordings(), None).unwrap();
    assert_eq!(verified.status, INTACT, "{verified:?}");
}
