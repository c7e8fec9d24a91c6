//! A recording of real sessions that somebody changed afterwards: `agentaccess verify` says what, where, and with
//! which exit status.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use e2e::proxy::{ALICE, Setup, Sidecar};
use e2e::recorded::{INTACT, UNSIGNED_TAIL, Verified, lines, segments};
use e2e::wire::{Form, Wire};
use e2e::world::{self, Policy};
use tempfile::TempDir;

const EDITED: i32 = 10;
const GAP: i32 = 11;
const TRUNCATED: i32 = 12;
const SEGMENT_MISSING: i32 = 14;
const WRONG_KEY: i32 = 15;
const OTHER_HEAD: i32 = 16;
const VERSION: i32 = 17;
const NO_RECORDING: i32 = 18;
/// Positions at which a bit is flipped.
const FLIPS: usize = 150;

struct Recorded {
    sidecar: Sidecar,
    /// Logged at the end of the first and of the last of three lives.
    first_head: String,
    head: String,
}

/// Reads, refusals, an approval and pipelines of three lives of one sidecar, each ended in order.
fn recorded() -> &'static Recorded {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let server = world::server().unwrap();
        let mut sidecar = world::sidecar_with(&server, &Policy::default(), Setup::default()).unwrap();
        let mut first_head = None;
        for life in 1..=3 {
            let mut wire = Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
            for (form, format) in Form::ALL {
                wire.run(form, format, "SELECT name, ssn, email FROM customers ORDER BY id", &[]).unwrap();
                assert_eq!(wire.run(form, format, "DROP TABLE orders", &[]).unwrap().sqlstate(), "42501");
            }
            wire.send_message(b'Q', format!("DELETE FROM items WHERE id = {life}\0").as_bytes()).unwrap();
            let name = sidecar.asked("items", Duration::from_secs(10)).unwrap();
            assert_eq!(sidecar.vote(ALICE, &name, "approve").unwrap()["is"], "decided");
            assert!(wire.until_ready().unwrap().iter().any(|message| message.tag == b'C'));
            drop(wire);
            sidecar.stop();
            first_head = first_head.or_else(|| sidecar.logged_head());
            if life < 3 {
                sidecar.start_again().unwrap();
            }
        }
        let head = sidecar.logged_head().unwrap();
        assert_eq!(segments(&sidecar.recordings()).unwrap().len(), 3);
        Recorded { sidecar, first_head: first_head.unwrap(), head }
    })
}

/// A copy that may be damaged.
struct Copy {
    folder: TempDir,
}

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for segment in segments(&recorded().sidecar.recordings()).unwrap() {
            fs::copy(&segment, folder.path().join(segment.file_name().unwrap())).unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments(self.path()).unwrap()
    }

    fn verify(&self) -> Verified {
        recorded().sidecar.verify(self.path(), None).unwrap()
    }

    fn verify_to(&self, head: &str) -> Verified {
        recorded().sidecar.verify(self.path(), Some(head)).unwrap()
    }

    /// Changes the lines of one segment.
    fn edit(&self, segment: usize, change: impl FnOnce(&mut Vec<String>)) {
        let path = self.segments().swap_remove(segment);
        let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
}

fn seq(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap()
}

fn says(verified: &Verified, status: i32, text: &str) {
    assert_eq!(verified.status, status, "{verified:?}");
    assert!(verified.text.contains(text), "`{text}` is not in {verified:?}");
}

#[test]
fn what_nobody_touched_is_intact() {
    let copy = Copy::new();
    says(&copy.verify(), INTACT, "intact");
    says(&copy.verify_to(&recorded().head), INTACT, "intact");
    says(&copy.verify_to(&recorded().first_head), INTACT, "intact");
    // It holds what this is about: each kind of entry, in the order of its seq.
    let all = lines(copy.path()).unwrap();
    for kind in ["open", "intent", "refusal", "approval", "data", "outcome", "close", "marker", "checkpoint"] {
        assert!(all.iter().any(|line| line["kind"] == kind), "{kind}");
    }
    assert!(all.iter().enumerate().all(|(at, line)| line["seq"] == at));
}

#[test]
fn a_changed_word_is_found_where_it_stands() {
    for (from, to) in [("alice", "carol"), ("DROP TABLE orders", "DROP TABLE order2"), ("\"ok\"", "\"no\"")] {
        for segment in 0..3 {
            let (copy, mut at) = (Copy::new(), 0);
            copy.edit(segment, |lines| {
                let line = lines.iter_mut().find(|line| line.contains(from)).unwrap();
                at = seq(line);
                *line = line.replacen(from, to, 1);
            });
            says(&copy.verify(), EDITED, &format!("edited at seq {at}"));
        }
    }
}

#[test]
fn a_bit_flipped_anywhere_is_found() {
    let copy = Copy::new();
    let files: Vec<(PathBuf, Vec<u8>)> =
        copy.segments().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let whole: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let (mut seen, mut line) = (0, 0);
    let mut wanted = (0..FLIPS).map(|n| n * whole / FLIPS + n % 7).peekable();
    let last = lines(copy.path()).unwrap().len() - 1;
    for (path, bytes) in &files {
        for (at, byte) in bytes.iter().enumerate() {
            if wanted.next_if_eq(&(seen + at)).is_some() {
                let mut changed = bytes.clone();
                changed[at] = byte ^ (1 << (at % 8));
                fs::write(path, &changed).unwrap();
                let verified = copy.verify();
                let case = format!("byte {at} of {}, line {line}: {verified:?}", path.display());
                let known = [EDITED, GAP, SEGMENT_MISSING, WRONG_KEY, VERSION];
                assert!(
                    known.contains(&verified.status) || (line == last && verified.status == UNSIGNED_TAIL),
                    "{case}"
                );
                if verified.status != WRONG_KEY {
                    // The line itself, or the one after it when its newline is gone.
                    let named = [line.saturating_sub(1), line, line + 1];
                    assert!(named.iter().any(|n| verified.text.contains(&format!("seq {n}"))), "{case}");
                }
            }
            line += usize::from(*byte == b'\n');
        }
        fs::write(path, bytes).unwrap();
        seen += bytes.len();
    }
    assert!(wanted.peek().is_none(), "not all positions were reached");
    says(&copy.verify(), INTACT, "intact");
}

#[test]
fn lines_taken_out_moved_or_doubled_are_found() {
    for segment in 0..3 {
        let (copy, mut at) = (Copy::new(), 0);
        copy.edit(segment, |lines| {
            at = seq(&lines[10]);
            lines.remove(10);
        });
        says(&copy.verify(), GAP, &format!("gap or reorder at seq {at}"));

        let copy = Copy::new();
        copy.edit(segment, |lines| lines.swap(10, 11));
        says(&copy.verify(), GAP, &format!("gap or reorder at seq {at}"));

        let copy = Copy::new();
        copy.edit(segment, |lines| lines.insert(10, lines[10].clone()));
        says(&copy.verify(), GAP, &format!("gap or reorder at seq {}", at + 1));
    }
}

#[test]
fn a_whole_session_taken_out_is_found() {
    let copy = Copy::new();
    copy.edit(1, |lines| lines.retain(|line| !line.contains("\"session\":\"s-")));
    let verified = copy.verify();
    assert_eq!(verified.status, GAP, "{verified:?}");
}

#[test]
fn a_chain_made_anew_is_found() {
    let (copy, mut from) = (Copy::new(), 0);
    copy.edit(2, |lines| {
        let start = lines.iter().position(|line| line.contains("alice")).unwrap();
        from = seq(&lines[start]);
        lines[start] = lines[start].replacen("alice", "carol", 1);
        for at in start + 1..lines.len() {
            let prev = lines[at].rfind("\"prev\":\"sha256:").unwrap();
            let hash = sha256(&format!("{}\n", lines[at - 1]));
            lines[at] = format!("{}\"prev\":\"sha256:{hash}\"}}", lines[at].split_at(prev).0);
        }
    });
    let verified = copy.verify();
    assert_eq!(verified.status, EDITED, "{verified:?}");
    assert!(verified.text.contains("chained anew"), "{verified:?}");
    let (low, high) = verified.text.split_once("and seq").unwrap();
    let number = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap();
    let (low, high) = (number(low), number(high.split(',').next().unwrap()));
    assert!((low..=high).contains(&from), "{from} is not between {low} and {high}");
}

#[test]
fn a_segment_that_is_gone_or_renamed_is_found() {
    for segment in [0, 1] {
        let copy = Copy::new();
        fs::remove_file(&copy.segments()[segment]).unwrap();
        says(&copy.verify(), SEGMENT_MISSING, "segment missing");
    }
    let copy = Copy::new();
    let all = copy.segments();
    let aside = copy.path().join("aside");
    fs::rename(&all[0], &aside).unwrap();
    fs::rename(&all[1], &all[0]).unwrap();
    fs::rename(&aside, &all[1]).unwrap();
    let verified = copy.verify();
    assert!([GAP, SEGMENT_MISSING, EDITED].contains(&verified.status), "{verified:?}");
    let copy = Copy::new();
    copy.segments().iter().for_each(|segment| fs::remove_file(segment).unwrap());
    says(&copy.verify(), NO_RECORDING, "not a recording");
}

#[test]
fn a_cut_tail_is_found_with_a_head_that_was_kept() {
    let kept = &recorded().head;
    // Whole lines cut behind a checkpoint: nothing in the files can tell, the head does.
    let copy = Copy::new();
    fs::remove_file(&copy.segments()[2]).unwrap();
    says(&copy.verify_to(kept), TRUNCATED, "truncated");
    says(&copy.verify_to(&recorded().first_head), INTACT, "intact");
    // Lines cut behind the last checkpoint but one.
    let copy = Copy::new();
    copy.edit(2, |lines| lines.truncate(lines.len() - 1));
    let tail = copy.verify();
    assert_eq!(tail.status, UNSIGNED_TAIL, "{tail:?}");
    says(&copy.verify_to(kept), TRUNCATED, "truncated");
    // Half a line.
    let copy = Copy::new();
    let last = copy.segments().swap_remove(2);
    let bytes = fs::read(&last).unwrap();
    for cut in [1, 20, 300, 2000] {
        fs::write(&last, &bytes[..bytes.len() - cut]).unwrap();
        assert_eq!(copy.verify().status, UNSIGNED_TAIL, "{cut} bytes");
        says(&copy.verify_to(kept), TRUNCATED, "truncated");
    }
}

#[test]
fn another_key_or_another_head_does_not_fit() {
    let stranger = world::server().unwrap();
    let stranger = world::sidecar(&stranger, &Policy::default()).unwrap();
    let copy = Copy::new();
    says(&stranger.verify(copy.path(), None).unwrap(), WRONG_KEY, "wrong key");
    let size = recorded().head.split(':').next().unwrap();
    let root = recorded().first_head.split_once(':').unwrap().1;
    says(&copy.verify_to(&format!("{size}:{root}")), OTHER_HEAD, "another root");
}

#[test]
fn a_damaged_recording_is_not_written_on() {
    let server = world::server().unwrap();
    let mut sidecar = world::sidecar(&server, &Policy::default()).unwrap();
    Wire::connect(sidecar.port(), &sidecar.login()).unwrap().query("SELECT 1").unwrap();
    sidecar.stop();
    let segment = segments(&sidecar.recordings()).unwrap().swap_remove(0);
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replacen("SELECT 1", "SELECT 2", 1)).unwrap();
    assert!(!sidecar.run_to_end().unwrap().success());
    let log = sidecar.log();
    assert!(log.contains(segment.file_name().unwrap().to_str().unwrap()) && log.contains("edited at seq"), "{log}");
}

fn sha256(text: &str) -> String {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap().split_at(64).0.to_owned()
}
