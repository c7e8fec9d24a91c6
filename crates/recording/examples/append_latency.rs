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
    // With a gap the thread sleeps between operations, as it does under real traffic; without one it is kept awake.
    let gap = Duration::from_micros(200);
    for (name, durability, inline, gap, count) in [
        ("written, gap, inline on", Durability::Written, true, gap, 20_000),
        ("written, gap, inline off", Durability::Written, false, gap, 20_000),
        ("written, no gap, inline on", Durability::Written, true, Duration::ZERO, 50_000),
        ("written, no gap, inline off", Durability::Written, false, Duration::ZERO, 50_000),
        ("synced, gap", Durability::Synced, true, gap, 2_000),
    ] {
        let dir = base.join(format!("append-latency-{}", std::process::id()));
        let storage: Arc<dyn Storage> = Arc::new(FsStorage::create(&dir).unwrap());
        let key = SigningKey::generate("bench").unwrap();
        let public = key.public().clone();
        let config = WriterConfig { inline, ..WriterConfig::default() };
        let (writer, _) = Writer::open(config, Arc::clone(&storage), key, Box::new(|_| {})).unwrap();
        let mut took = Vec::with_capacity(count);
        // A setting says what was asked for; times are told by what happened.
        let caller = std::thread::current().id();
        for n in 0..count {
            let entry = intent(n);
            let (tx, rx) = mpsc::sync_channel(1);
            let start = Instant::now();
            writer
                .submit(entry, durability, move |answer| tx.send((answer, std::thread::current().id())).unwrap())
                .unwrap();
            let (answer, thread) = rx.recv().unwrap();
            took.push((start.elapsed(), thread));
            answer.unwrap();
            if !gap.is_zero() {
                std::thread::sleep(gap);
            }
            writer.submit(outcome(n), Durability::Written, |answer| assert!(answer.is_ok())).unwrap();
        }
        let head = writer.close().unwrap();
        let bytes: u64 = storage.list().unwrap().iter().map(|f| f.bytes).sum();
        let start = Instant::now();
        let report = recording::verify::verify(&*storage, &public, Some(head)).unwrap();
        let rate = bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
        println!(
            "{name}: {} entries of {} bytes; verify {rate:.0} MB/s, {}",
            report.entries,
            bytes / report.entries.max(1),
            report.verdict
        );
        for (path, on_caller) in [("by the caller", true), ("by the thread", false)] {
            let mut times: Vec<_> = took.iter().filter(|(_, t)| (*t == caller) == on_caller).map(|(d, _)| *d).collect();
            times.sort_unstable();
            let at = |share: usize| times.get(times.len() * share / 1_000).copied().unwrap_or_default();
            if !times.is_empty() {
                let (p50, p99, p999) = (at(500), at(990), at(999));
                println!("  {path}: {} of {count}, p50 {p50:?} p99 {p99:?} p99.9 {p999:?}", times.len());
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
