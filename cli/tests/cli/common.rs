//! Running the program, and making recordings for it with the writer that sidecars use.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use recording::{Durability, Entry, FsStorage, Head, SigningKey, Writer, WriterConfig};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_agentaccess");

pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    run_as(Path::new(PROGRAM), arguments)
}

/// In a folder without a configuration, so that only the arguments count.
pub(crate) fn run_as<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Ran {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(nowhere.path()).env_remove("AGENTACCESS_STATE_DIR").env_remove("NO_COLOR");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ran { status: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/data").join(name)
}

/// A state directory with a recording in it.
pub(crate) struct State {
    pub(crate) dir: TempDir,
    /// The public key, as text.
    pub(crate) key: String,
}

impl State {
    pub(crate) fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    pub(crate) fn recordings(&self) -> PathBuf {
        self.dir.path().join("recordings")
    }

    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(self.recordings()).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|f| f.extension().is_some_and(|e| e == "jsonl"));
        files.sort();
        files
    }
}

/// Writes `entries` and leaves the writer open.
pub(crate) fn record_open(entries: Vec<Entry>, config: WriterConfig) -> (State, Writer) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    let key = SigningKey::load_or_create(&dir.path().join("keys/checkpoint.key")).unwrap();
    let public = key.public().to_string();
    std::fs::write(dir.path().join("keys/checkpoint.pub"), format!("{public}\n")).unwrap();
    let storage = Arc::new(FsStorage::create(&dir.path().join("recordings")).unwrap());
    let config = WriterConfig { free_floor: 0, ..config };
    let (writer, _) = Writer::open(config, storage, key, Box::new(|_| {})).unwrap();
    for entry in entries {
        let (tell, told) = mpsc::sync_channel(1);
        writer.submit(entry, Durability::Written, move |answer| tell.send(answer).unwrap()).unwrap();
        told.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    }
    (State { dir, key: public }, writer)
}

/// Writes `entries` and closes in order; the head is what one would have kept elsewhere.
pub(crate) fn record(entries: Vec<Entry>, config: WriterConfig) -> (State, Head) {
    let (state, writer) = record_open(entries, config);
    let head = writer.close().unwrap();
    (state, head)
}
