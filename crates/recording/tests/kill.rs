//! `kill -9` of a process that writes at full speed: everything it was told is recorded is there.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{config, intent, open_any, outcome};
use recording::verify::{Verdict, verify};
use recording::{Durability, FsStorage, SigningKey, Storage, Writer, WriterConfig};

const DIR: &str = "RECORDING_KILL_DIR";
const ROUNDS: u64 = 20;

/// The process to be killed, when started as such: writes for ever and prints each `seq` once it is acknowledged.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = std::path::PathBuf::from(dir);
    let storage: Arc<dyn Storage> = Arc::new(FsStorage::create(&dir.join("recordings")).unwrap());
    let key = SigningKey::load_or_create(&dir.join("key")).unwrap();
    let config = WriterConfig { segment_bytes: 256 * 1024, checkpoint_entries: 200, ..config() };
    let (writer, _) = Writer::open(config, storage, key, Box::new(|_| {})).unwrap();
    let threads: Vec<_> = (0..2_u64)
        .map(|thread| {
            let writer = writer.clone();
            std::thread::spawn(move || {
                for n in 0.. {
                    let id = (thread << 40) | (u64::from(std::process::id()) << 20) | n;
                    for entry in [intent(id), outcome(id)] {
                        let durability = if n % 64 == 0 { Durability::Synced } else { Durability::Written };
                        let _full = writer.submit(entry, durability, |answer| {
                            let line = format!("{}\n", answer.unwrap().seq);
                            std::io::stdout().write_all(line.as_bytes()).unwrap();
                        });
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}

/// Bytes of all segments.
fn written(storage: &FsStorage) -> u64 {
    storage.list().unwrap().iter().map(|f| f.bytes).sum()
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(FsStorage::create(&dir.path().join("recordings")).unwrap());
    let mut total = 0;
    for round in 0..ROUNDS {
        let before = written(&storage);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let lines = stdout.split(b'\n').map_while(Result::ok);
            lines.filter_map(|l| String::from_utf8(l).ok()?.parse::<u64>().ok()).collect::<Vec<_>>()
        });
        // Killed at another moment each round, counted from its first entry so that a busy machine does not matter.
        let started = std::time::Instant::now();
        while written(&storage) == before && started.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(20 + round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may be cut: a shorter number is a smaller one.
        let mut acknowledged = reader.join().unwrap();
        acknowledged.pop();
        let highest = acknowledged.iter().max().copied().unwrap_or(0);
        total += acknowledged.len();
        let key = SigningKey::load_or_create(&dir.path().join("key")).unwrap();
        let public = key.public().clone();
        let report = verify(&*storage, &public, None).unwrap();
        assert!(matches!(report.verdict, Verdict::Intact | Verdict::UnsignedTail { .. }), "{}", report.verdict);
        assert!(report.head.size > highest, "acknowledged {highest}, there are {}", report.head.size);
        let (writer, recovery) = open_any(Arc::clone(&storage) as Arc<dyn Storage>, key, config());
        assert_eq!(recovery.entries, report.entries);
        let head = writer.close().unwrap();
        assert_eq!(verify(&*storage, &public, Some(head)).unwrap().verdict, Verdict::Intact);
    }
    assert!(total > 1_000, "{total} entries were acknowledged in all");
}
