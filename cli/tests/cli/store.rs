//! The commands that read recordings, on a store: a directory here, as the operator fills it.

use std::path::PathBuf;

use archive::{Credentials, Location, Meta, RecordingId, Store};
use recording::chain::Hash;
use recording::{Body, SigningKey, WriterConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Ran, State, record, run};
use crate::replay::story;

/// A store, and who countersigned what is in it.
pub(crate) struct Kept {
    pub(crate) dir: TempDir,
    pub(crate) witness: SigningKey,
}

pub(crate) fn small() -> WriterConfig {
    WriterConfig { segment_bytes: 2_048, checkpoint_entries: 5, inline: false, ..WriterConfig::default() }
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), witness: SigningKey::generate("operator").unwrap() }
    }

    pub(crate) fn location(&self) -> String {
        format!("file://{}", self.dir.path().display())
    }

    /// As a sidecar and the operator do it together: each checkpoint, then each segment.
    pub(crate) fn add(&self, state: &State, uid: &str) {
        let location = Location::folder(self.dir.path()).unwrap();
        let store = Store::open(&location, &Credentials::None).unwrap();
        let shelf = store.shelf(&RecordingId::new("agents", uid).unwrap());
        let segments: Vec<Vec<u8>> = state.segments().iter().map(|file| std::fs::read(file).unwrap()).collect();
        let lines: Vec<&[u8]> = segments.iter().flat_map(|s| s.split_inclusive(|b| *b == b'\n')).collect();
        let meta = Meta {
            pod: format!("{uid}-pod"),
            service_account: "reporter".into(),
            key: state.key.parse().unwrap(),
            begun: "2026-11-21T08:00:00Z".parse().unwrap(),
        };
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let mut from = 0;
            shelf.begin(&meta).await.unwrap();
            for (at, line) in lines.iter().enumerate() {
                let line: recording::Line = serde_json::from_slice(line).unwrap();
                if let Body::Checkpoint(checkpoint) = line.body {
                    let since = lines.iter().take(at).skip(from);
                    let hashes: Vec<Hash> = since.map(|line| Hash::of(line)).collect();
                    shelf.countersign(&checkpoint.note, &hashes, &self.witness).await.unwrap();
                    from = at;
                }
            }
            for segment in &segments {
                shelf.keep(segment).await.unwrap();
            }
        });
    }

    fn segments(&self, uid: &str) -> Vec<PathBuf> {
        let folder = self.dir.path().join("recordings/agents").join(uid).join("segments");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|file| file.display().to_string().ends_with(".jsonl.zst"));
        files.sort();
        files
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let location = self.location();
        let mut all = arguments.to_vec();
        all.extend(["--store", &location]);
        run(&all)
    }

    fn verify(&self, more: &[&str]) -> Ran {
        let witness = self.witness.public().to_string();
        let mut all = vec!["verify", "--witness", &witness];
        all.extend(more);
        self.run(&all)
    }
}

fn json_lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn recordings_of_a_store_are_verified_by_the_key_of_the_witness_alone() {
    let kept = Kept::new();
    assert_eq!(kept.verify(&[]).status, 18, "it is empty");
    let (one, _) = record(story(), small());
    let (two, _) = record(story(), small());
    kept.add(&one, "u-1");
    kept.add(&two, "u-2");
    let ran = kept.verify(&[]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("agents/u-1  intact") && ran.out.contains("agents/u-2  intact"), "{}", ran.out);
    assert!(ran.out.contains("countersigned up to") && ran.out.contains("2 recordings, 0 of them"), "{}", ran.out);
    // The key may stand in a file.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", kept.witness.public())).unwrap();
    let shown = file.path().display().to_string();
    assert_eq!(kept.run(&["verify", "--witness", &shown]).status, 0);

    // What was countersigned never arrived: the store lost its newest segment.
    let segments = kept.segments("u-2");
    assert!(segments.len() >= 2);
    std::fs::remove_file(segments.last().unwrap()).unwrap();
    let ran = kept.verify(&["-o", "json"]);
    assert_eq!(ran.status, 12, "{}", ran.out);
    let verdicts = json_lines(&ran);
    assert_eq!(verdicts.iter().map(|v| v["exitStatus"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 12]);
    assert!(verdicts[1]["verdict"].as_str().unwrap().starts_with("truncated"), "{}", ran.out);
    let ran = kept.verify(&["--recording", "agents/u-2"]);
    assert!(ran.status == 12 && ran.out.contains("never arrived"), "{}", ran.out);
    assert_eq!(kept.verify(&["--recording", "agents/u-1"]).status, 0);

    let other = SigningKey::generate("operator").unwrap().public().to_string();
    let ran = kept.run(&["verify", "--witness", &other, "--recording", "agents/u-1"]);
    assert!(ran.status == 19 && ran.out.contains("not countersigned by this witness"), "{}{}", ran.out, ran.err);
}

#[test]
fn what_is_asked_wrongly_is_said() {
    let kept = Kept::new();
    let (one, _) = record(story(), small());
    kept.add(&one, "u-1");
    let witness = kept.witness.public().to_string();
    for (arguments, status, words) in [
        (vec!["verify"], 2, "--witness"),
        (vec!["verify", "--witness", "no-key"], 2, "neither a public key"),
        (vec!["verify", "--witness", &witness, "--recording", "u-1"], 2, "NAMESPACE/POD-UID"),
        (vec!["verify", "--witness", &witness, "--recording", "agents/../x"], 2, "letters, digits and hyphens"),
        (
            vec!["verify", "--witness", &witness, "--recording", "agents/u-9"],
            1,
            "the store holds no recording `agents/u-9`",
        ),
        (vec!["sessions", "search", "--recording", "agents/u-9"], 1, "the store holds no recording `agents/u-9`"),
        (vec!["sessions", "ls", "--recording", "agents/u-9"], 1, "the store holds no recording `agents/u-9`"),
        (vec!["replay", "s-1", "--recording", "agents/u-9"], 1, "the store holds no recording `agents/u-9`"),
        (vec!["verify", "--witness", &witness, "--key", &one.key], 2, "cannot be used with"),
        (vec!["replay", "s-9"], 1, "there is no session `s-9` in `agents/u-1`"),
        (vec!["sessions", "search", "--since", "soon"], 1, "is not a time"),
    ] {
        let ran = kept.run(&arguments);
        assert_eq!(ran.status, status, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
    }
    let ran = run(&["sessions", "search"]);
    assert!(ran.status == 2 && ran.err.contains("--store"), "{}", ran.err);
    // Nothing of a credential is repeated.
    for location in ["s3://AKIA1:hunter2@bucket", "s3://bucket?secret=hunter2", "hunter2", "s3://bucket?hunter2=1"] {
        let ran = run(&["sessions", "search", "--store", location]);
        assert_eq!(ran.status, 2, "{location}: {}", ran.err);
        assert!(!format!("{}{}", ran.out, ran.err).contains("hunter2"), "{}", ran.err);
    }
    let ran = run(&["sessions", "ls", "--store", "file:///nowhere/at/all"]);
    assert!(ran.status == 1 && ran.err.contains("mount the volume"), "{}", ran.err);
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().display().to_string();
    let ran = run(&["sessions", "ls", "--store", "s3://recordings", "--store-credentials", &folder]);
    assert!(ran.status == 1 && ran.err.contains("there is no file `accessKeyId`"), "{}", ran.err);
}

/// Standard error of a look into this store, with these certificates to check it with.
fn with_certificates(location: &str, file: &std::path::Path) -> (i32, String) {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(crate::common::PROGRAM);
    command.args(["sessions", "ls", "--store", location]).current_dir(nowhere.path());
    command.env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", nowhere.path());
    command.env("AWS_ACCESS_KEY_ID", "AKIA1").env("AWS_SECRET_ACCESS_KEY", "hunter2");
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    (output.status.code().unwrap(), text)
}

#[test]
fn the_server_of_a_bucket_is_checked() {
    let server = e2e::bucket::Server::start_tls().unwrap();
    let location = server.location("r");
    // It has no such bucket, which only somebody who trusts it hears.
    let (status, text) = with_certificates(&location, &server.authority());
    assert!(status == 1 && (text.contains("no such bucket") || text.contains("NoSuchBucket")), "{text}");
    let stranger = e2e::bucket::Server::start_tls().unwrap();
    let (status, text) = with_certificates(&location, &stranger.authority());
    assert!(status == 1 && text.contains("is not one that is trusted"), "{text}");
    // An image without certificates: it is said, and plain HTTP does not need any.
    let none = std::path::Path::new("/dev/null");
    let (status, text) = with_certificates(&location, none);
    assert!(status == 1 && text.contains("SSL_CERT_FILE"), "{text}");
    let plain = e2e::bucket::Server::start().unwrap();
    let (status, text) = with_certificates(&plain.location("r"), none);
    assert!(status == 0 && text.contains("no such session"), "{text}");
}

#[test]
fn sessions_of_a_store_are_listed_found_and_told_as_those_of_a_sidecar() {
    let kept = Kept::new();
    let (one, _) = record(story(), small());
    kept.add(&one, "u-1");
    let local = run(&["replay", "s-1", "--state-dir", &one.path()]);
    let stored = kept.run(&["replay", "s-1"]);
    assert_eq!((stored.status, &stored.out), (0, &local.out), "{}", stored.err);

    let (two, _) = record(story(), small());
    kept.add(&two, "u-2");
    let ran = kept.run(&["replay", "s-1"]);
    assert!(ran.status == 2 && ran.err.contains("--recording: agents/u-1, agents/u-2"), "{}", ran.err);
    assert_eq!(kept.run(&["replay", "s-1", "--recording", "agents/u-1"]).out, local.out);
    let ran = kept.run(&["sessions", "ls"]);
    assert!(ran.status == 0 && ran.out.starts_with("RECORDING"), "{}{}", ran.out, ran.err);
    assert_eq!(ran.out.matches("agents/u-2").count(), 2, "{}", ran.out);
    let rows = json_lines(&kept.run(&["sessions", "ls", "-o", "json", "--recording", "agents/u-2"]));
    assert_eq!(rows[0][0]["recording"], "agents/u-2");

    let search = |more: &[&str]| {
        let mut all = vec!["sessions", "search", "-o", "json"];
        all.extend(more);
        json_lines(&kept.run(&all))
    };
    // Two operations and a refusal of the agent's in each, and eight steps of approvals.
    assert_eq!(search(&[]).len(), 2 * (3 + 1 + 5));
    assert_eq!(search(&["--internal"]).len(), 2 * (4 + 1 + 5));
    assert_eq!(search(&["--recording", "agents/u-1"]).len(), 9);
    assert_eq!(search(&["--decision", "deny"]).len(), 2);
    assert_eq!(search(&["--what", "update", "--who", "u-1-pod"]).len(), 1);
    assert_eq!(search(&["--target", "orders-db"]).len(), 2 * 4);
    let approval = search(&["--approval", "areq-abc234", "--recording", "agents/u-1"]);
    assert_eq!(approval.len(), 5);
    assert_eq!((&approval[4]["action"], &approval[1]["reviewer"]), (&Value::from("UPDATE"), &Value::from("alice")));
    assert!(search(&["--until", "1h"]).is_empty() && search(&["--since", "1h"]).len() == 18);
    let ran = kept.run(&["sessions", "search", "--limit", "3"]);
    assert!(ran.out.lines().count() == 4 && ran.err.contains("there is more"), "{}{}", ran.out, ran.err);
    assert!(!ran.out.contains('\u{1b}'));
    let ran = kept.run(&["sessions", "search", "--who", "nobody"]);
    assert!(ran.status == 0 && ran.out.contains("nothing was found"));
}

#[test]
fn one_recording_that_cannot_be_read_hides_no_other() {
    let kept = Kept::new();
    let (one, _) = record(story(), small());
    kept.add(&one, "u-1");
    let folder = kept.dir.path().join("recordings/aaa");
    for (uid, meta) in [("u-0", "{\"version\": \"x\\nagents/u-0  intact\"}"), ("u-2", "no JSON")] {
        std::fs::create_dir_all(folder.join(uid)).unwrap();
        std::fs::write(folder.join(uid).join("meta.json"), meta).unwrap();
    }
    std::fs::create_dir_all(folder.join("u-3/segments")).unwrap();
    std::fs::write(folder.join("u-3/segments/0000000000000001.jsonl.zst"), b"x").unwrap();

    let ran = kept.verify(&[]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    for words in ["aaa/u-0  cannot be read", "aaa/u-2  cannot be read", "aaa/u-3  cannot be read", "agents/u-1  intact"]
    {
        assert!(ran.out.contains(words), "{}", ran.out);
    }
    assert!(ran.out.contains("4 recordings, 3 of them not intact") && !ran.out.contains("\nagents/u-0"), "{}", ran.out);
    let lines = json_lines(&kept.verify(&["-o", "json"]));
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line["intact"] == (line["recording"] == "agents/u-1")), "{lines:?}");

    let ran = kept.run(&["sessions", "ls"]);
    assert!(ran.status == 1 && ran.out.contains("agents/u-1"), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("this list is not whole: aaa/u-0"), "{}", ran.err);
    let ran = kept.run(&["sessions", "search", "--what", "update"]);
    assert!(ran.status == 1 && ran.out.contains("agents/u-1"), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("not all of the store was looked through: recording `aaa/u-0`"), "{}", ran.err);
    let ran = kept.run(&["sessions", "search", "--who", "nobody"]);
    assert!(ran.status == 1 && !ran.out.contains("nothing was found"), "{}{}", ran.out, ran.err);
}

#[test]
fn a_key_that_lies_in_the_store_judges_nothing() {
    let kept = Kept::new();
    let (one, _) = record(story(), small());
    kept.add(&one, "u-1");
    let (inside, outside) = (kept.dir.path().join("witness.pub"), tempfile::tempdir().unwrap());
    let (link, copy) = (outside.path().join("link.pub"), outside.path().join("copy.pub"));
    for file in [&inside, &copy] {
        std::fs::write(file, kept.witness.public().to_string()).unwrap();
    }
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    for (file, status) in [(&inside, 2), (&link, 2), (&copy, 0)] {
        let ran = kept.run(&["verify", "--witness", &file.display().to_string()]);
        assert_eq!(ran.status, status, "{}{}", ran.out, ran.err);
        assert_eq!(ran.err.contains("lies in the store that it is to judge"), status == 2, "{}", ran.err);
    }
}
