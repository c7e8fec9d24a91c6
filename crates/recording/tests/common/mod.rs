//! What the tests of the recording share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use recording::entry::{Data, Decided, Decision, Direction, Intent, Marker, Open, Outcome, Refusal, Status, What};
use recording::spool::faulty::FaultyStorage;
use recording::{Body, Durability, Entry, Position, Recovery, SigningKey, Storage, WriteError, Writer, WriterConfig};

pub fn key() -> SigningKey {
    SigningKey::generate("test").unwrap()
}

pub fn config() -> WriterConfig {
    WriterConfig { free_floor: 0, probe: Duration::from_millis(20), ..WriterConfig::default() }
}

pub fn intent(n: u64) -> Entry {
    let decided = Decided {
        protocol: "postgres".into(),
        action: "SELECT".into(),
        resources: vec!["Read Relation public.users (id, email)".into()],
        digest: "hmac-sha256:9c1e".into(),
        display: Some("SELECT id, email FROM users WHERE name = '?'".into()),
        decision: Decision::Allow,
        rules: vec!["default/read-users".into()],
        revision: "sha256:51aa".into(),
        ..Decided::default()
    };
    let intent = Intent { decided, obligations: vec!["mask:email".into()], ..Intent::default() };
    Entry::operation("s-1", format!("o-{n}"), Body::Intent(Box::new(intent)))
}

pub fn outcome(n: u64) -> Entry {
    Entry::operation("s-1", format!("o-{n}"), Body::Outcome(Outcome { rows: Some(3), ..Outcome::bare(Status::Ok) }))
}

pub fn refusal(n: u64) -> Entry {
    let refusal = Refusal { told: "denied".into(), sqlstate: Some("42501".into()), ..Refusal::default() };
    Entry::operation("s-1", format!("o-{n}"), Body::Refusal(Box::new(refusal)))
}

pub fn open_session(id: &str) -> Entry {
    Entry::session(id, Body::Open(Box::default()))
}

pub fn marker() -> Entry {
    Entry::global(Body::Marker(Marker { what: What::LimitHit, count: Some(1), detail: Some("a \"limit\"".into()) }))
}

pub fn data(bytes: &[u8]) -> Entry {
    Entry::operation("s-1", "o-1", Body::Data(Data::new(Direction::Downstream, 0, bytes)))
}

pub fn default_open() -> Open {
    Open::default()
}

pub fn open(storage: &FaultyStorage, key: SigningKey, config: WriterConfig) -> (Writer, Recovery) {
    Writer::open(config, Arc::new(storage.clone()), key, Box::new(|_| {})).unwrap()
}

pub fn open_any(storage: Arc<dyn Storage>, key: SigningKey, config: WriterConfig) -> (Writer, Recovery) {
    Writer::open(config, storage, key, Box::new(|_| {})).unwrap()
}

/// Submits and waits for the answer.
pub fn write(writer: &Writer, entry: Entry, durability: Durability) -> Result<Position, WriteError> {
    let (tx, rx) = mpsc::sync_channel(1);
    writer.submit(entry, durability, move |answer| tx.send(answer).unwrap()).unwrap();
    rx.recv_timeout(Duration::from_secs(10)).unwrap()
}

/// A key that a second opening can use too.
pub fn key_file() -> (tempfile::TempDir, impl Fn() -> SigningKey) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    (dir, move || SigningKey::load_or_create(&path).unwrap())
}
