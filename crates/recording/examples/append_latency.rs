//! What recording an intent costs its caller, and how fast a recording verifies: `cargo run --release --example
//! append_latency [DIRECTORY]`. The directory should lie on the file system in question.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use recording::entry::{Decided, Decision, Intent, Outcome, Status};
use recording::{Body, Durability, Entry, FsStorage, SigningKey, Storage, Writer, WriterConfig};

fn intent(n: usize) -> Entry {
    let decided = Decided {
        protocol: "postgres".into(),
        action: "SELECT".into(),
        resources: vec!["Read Relation public.users (id, email)".into()],
        digest: format!("hmac-sha256:{:064x}", n),
        display: Some("SELECT id, email FROM users WHERE name = '?'".into()),
        decision: Decision::Allow,
        rules: vec!["default/read-users".into()],
        revision: format!("sha256:{:064x}", 1),
        ..Decided::default()
    };
    Entry::operation("s-1", format!("o-{n}"), Body::Intent(Box::new(Intent { decided, ..Intent::default() })))
}

fn outcome(n: usize) -> Entry {
    Entry::operation("s-1", format!("o-{n}"), Body::Outcome(Outcome::bare(Status::Ok)))
}

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    for (name, durability, inline, count) in [
        ("written, inline", Durability::Written, true, 100_000),
        ("written, thread", Durability::Written, false, 30_000),
        ("synced", Durability::Synced, true, 3_000),
    ] {
        let dir = base.join(format!("append-latency-{}", std::process::id()));
        let storage: Arc<dyn Storage> = Arc::new(FsStorage::create(&dir).unwrap());
        let key = SigningKey::generate("bench").unwrap();
        let public = key.public().clone();
        let config = WriterConfig { inline, ..WriterConfig::default() };
        let (writer, _) = Writer::open(config, Arc::clone(&storage), key, Box::new(|_| {})).unwrap();
        let mut took = Vec::with_capacity(count);
        for n in 0..count {
            let entry = intent(n);
            let (tx, rx) = mpsc::sync_channel(1);
            let start = Instant::now();
            writer.submit(entry, durability, move |answer| tx.send(answer).unwrap()).unwrap();
            rx.recv().unwrap().unwrap();
            took.push(start.elapsed());
            writer.submit(outcome(n), Durability::Written, |answer| assert!(answer.is_ok())).unwrap();
        }
        let head = writer.close().unwrap();
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 1_000).copied().unwrap_or(Duration::ZERO);
        let bytes: u64 = storage.list().unwrap().iter().map(|f| f.bytes).sum();
        let start = Instant::now();
        let report = recording::verify::verify(&*storage, &public, Some(head)).unwrap();
        let rate = bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
        println!(
            "{name}: p50 {:?} p90 {:?} p99 {:?} p99.9 {:?}; {} entries of {} bytes; verify {rate:.0} MB/s, {}",
            at(500),
            at(900),
            at(990),
            at(999),
            report.entries,
            bytes / report.entries.max(1),
            report.verdict,
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
