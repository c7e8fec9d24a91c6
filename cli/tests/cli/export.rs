//! What other programs get: the same bytes each time, and events that the schemas of OCSF accept.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use recording::WriterConfig;
use serde_json::Value;

use crate::common::{State, record, run};
use crate::replay::story;
use crate::store::{Kept, small};

fn made() -> State {
    record(story(), WriterConfig::default()).0
}

fn export(state: &State, more: &[&str]) -> String {
    let path = state.path();
    let mut arguments = vec!["export", "--state-dir", &path];
    arguments.extend(more);
    let ran = run(&arguments);
    assert_eq!(ran.status, 0, "{}", ran.err);
    ran.out
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    let (state, _) = record(story(), small());
    let kept = Kept::new();
    kept.add(&state, "u-1");
    for format in ["jsonl", "asciicast", "ocsf"] {
        let first = export(&state, &["s-1", "--format", format]);
        assert!(!first.is_empty());
        assert_eq!(first, export(&state, &["s-1", "--format", format]), "{format}");
        // Neither colours nor a terminal nor the place make a difference.
        assert_eq!(first, export(&state, &["s-1", "--format", format, "--color", "always"]), "{format}");
        let stored = kept.run(&["export", "s-1", "--format", format]);
        assert_eq!((stored.status, stored.out), (0, first), "{format}: {}", stored.err);
    }
}

#[test]
fn lines_are_those_of_the_recording() {
    let state = made();
    let written: String = state.segments().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let values = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    assert_eq!(values(&export(&state, &[])), values(&written));
    let session = values(&export(&state, &["s-1"]));
    assert!(session.len() < values(&written).len());
    assert!(session.iter().all(|line| line["session"] == "s-1" || line["kind"] == "approval"));
}

#[test]
fn a_cast_plays_what_replay_shows() {
    let state = made();
    let cast = export(&state, &["s-1", "--format", "asciicast"]);
    let mut lines = cast.lines();
    let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((&header["version"], &header["width"]), (&2.into(), &120.into()));
    assert_eq!(header["title"], "session s-1 of local/support-agent on orders-db");
    assert!(header["timestamp"].as_i64().unwrap() > 1_700_000_000);
    let (mut at, mut text) = (0.0, String::new());
    for line in lines {
        let (time, kind, said): (f64, String, String) = serde_json::from_str(line).unwrap();
        assert!(time >= at && kind == "o", "{line}");
        at = time;
        text.push_str(&said);
    }
    // Colours are the only thing that steers the terminal.
    let path = state.path();
    let replay = run(&["replay", "s-1", "--state-dir", &path, "--color", "always"]);
    assert_eq!(text.replace("\r\n", "\n"), replay.out);
    let plain = run(&["replay", "s-1", "--state-dir", &path]).out;
    assert!(plain.contains("DROP TABLE a\\u{1b}]0;x\\u{7}"));
    assert!(text.split('\u{1b}').skip(1).all(|rest| rest.starts_with('[')), "an escape that is not ours");
    let ran = run(&["export", "--state-dir", &path, "--format", "asciicast"]);
    assert!(ran.status == 1 && ran.err.contains("is of one session"), "{}", ran.err);
    let ran = run(&["export", "s-9", "--state-dir", &path]);
    assert!(ran.status == 1 && ran.err.contains("there is no session `s-9`"), "{}", ran.err);
}

#[test]
fn events_are_what_the_schemas_of_ocsf_say() {
    let state = made();
    let events = export(&state, &["--format", "ocsf"]);
    assert_eq!(checked(&events), (true, r#"{"2004": 1, "6005": 5}"#.to_owned()), "two openings, three operations");
    assert_eq!(checked(&export(&state, &["--format", "ocsf", "--internal"])).1, r#"{"2004": 1, "6005": 6}"#);
    let values: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |class: u64, name: &str| {
        let fits = |v: &&Value| v["class_uid"] == class && (v["activity_name"] == name || v["status_code"] == name);
        values.iter().find(fits).unwrap_or_else(|| panic!("no {name} in {events}")).clone()
    };
    let query = of(6005, "Query");
    assert_eq!(query["query_info"]["query_string"], "SELECT id, email\n  FROM customers");
    assert_eq!((&query["database"]["name"], &query["status_id"]), (&"orders".into(), &1.into()));
    assert_eq!(query["actor"]["user"]["name"], "support-agent");
    let update = of(6005, "Update");
    assert_eq!((&update["disposition_id"], &update["unmapped"]["approval"]), (&8.into(), &"areq-abc234".into()));
    let failed = of(6005, "22012");
    assert_eq!(failed["status_id"], 2);
    let finding = of(2004, "42501");
    assert_eq!((&finding["disposition_id"], &finding["unmapped"]["decision"]), (&2.into(), &"Deny".into()));

    // The check can fail: a word that is not in the schema, and one that is missing.
    let misspelt = events.replace("\"query_info\"", "\"query_infos\"");
    assert!(misspelt != events && !checked(&misspelt).0);
    let missing = events.replace("\"severity_id\":1,", "");
    assert!(missing != events && !checked(&missing).0);
    let wrong = events.replace("\"activity_id\":4,", "\"activity_id\":44,");
    assert!(wrong != events && !checked(&wrong).0);
}

/// Whether all events are sound, and how many there are of each class.
fn checked(events: &str) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/store/check_ocsf.py");
    let mut python = e2e::bucket::python().unwrap();
    let mut child =
        python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(events.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let counted = out.lines().last().unwrap_or_default().to_owned();
    if !output.status.success() {
        eprintln!("{out}{}", String::from_utf8(output.stderr).unwrap());
    }
    (output.status.success(), counted)
}
