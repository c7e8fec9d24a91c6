//! A real recording, cut into what a sidecar sends.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use archive::{Meta, RecordingId, Standing};
use parking_lot::Mutex;
use recording::chain::Hash;
use recording::entry::{
    Approval, ApprovalEvent, Close, Decided, Decision, Intent, Open, Outcome, Refusal, Status, Subject, Target,
};
use recording::spool::faulty::FaultyStorage;
use recording::writer::Checkpointed;
use recording::{Body, Durability, Entry, SigningKey, VerifyingKey, Writer, WriterConfig};

/// Keys are made anew each time; one that is used twice comes from a file.
pub struct Made {
    pub key: VerifyingKey,
    pub segments: Vec<Vec<u8>>,
    pub notes: Vec<Checkpointed>,
    /// All lines, with their newline.
    pub lines: Vec<Vec<u8>>,
}

pub fn id(uid: &str) -> RecordingId {
    RecordingId::new("agents", uid).unwrap()
}

pub fn witness() -> SigningKey {
    SigningKey::generate("witness").unwrap()
}

pub fn decided(action: &str, table: &str, decision: Decision) -> Decided {
    Decided {
        protocol: "postgres".into(),
        action: action.into(),
        resources: vec![format!("Read Relation public.{table} (id)")],
        digest: "hmac-sha256:9c1e".into(),
        display: Some(format!("{action} id FROM {table}")),
        decision,
        rules: vec!["default/rule".into()],
        revision: "sha256:51aa".into(),
        ..Decided::default()
    }
}

pub fn open(session: &str, target: &str) -> Entry {
    let subject = Subject {
        namespace: "agents".into(),
        service_account: "reporter".into(),
        pod: Some("reporter-1".into()),
        pod_uid: Some("u-1".into()),
    };
    let target = Target { name: target.into(), protocol: "postgres".into(), ..Target::default() };
    Entry::session(session, Body::Open(Box::new(Open { subject, target, ..Open::default() })))
}

pub fn intent(session: &str, op: &str, table: &str) -> Entry {
    let decided = decided("SELECT", table, Decision::Allow);
    Entry::operation(session, op, Body::Intent(Box::new(Intent { decided, ..Intent::default() })))
}

pub fn approved(session: &str, op: &str, table: &str, approval: &str) -> Entry {
    let decided = decided("DELETE", table, Decision::RequireApproval);
    let intent = Intent { decided, approval: Some(approval.into()), ..Intent::default() };
    Entry::operation(session, op, Body::Intent(Box::new(intent)))
}

pub fn granted(approval: &str, reviewer: &str) -> Entry {
    Entry::global(Body::Approval(Box::new(Approval {
        name: approval.into(),
        event: ApprovalEvent::Granted,
        digest: "hmac-sha256:9c1e".into(),
        expires: "2026-11-22T00:00:00Z".into(),
        vote: None,
        reviewer: Some(reviewer.into()),
        reviewer_uid: None,
        reason: Some("ticket 7".into()),
        shared_user: false,
        display: None,
        impact: None,
    })))
}

pub fn refusal(session: &str, op: &str, table: &str) -> Entry {
    let decided = decided("DROP", table, Decision::Deny);
    let refusal = Refusal { decided, reason: "no rule".into(), told: "denied".into(), ..Refusal::default() };
    Entry::operation(session, op, Body::Refusal(Box::new(refusal)))
}

pub fn outcome(session: &str, op: &str) -> Entry {
    Entry::operation(session, op, Body::Outcome(Outcome { rows: Some(3), ..Outcome::bare(Status::Ok) }))
}

pub fn close(session: &str) -> Entry {
    Entry::session(session, Body::Close(Close { reason: "client".into(), ..Close::default() }))
}

/// `rounds` operations of one session, in segments of 2 KiB with a checkpoint after each ten entries.
pub fn made(rounds: usize) -> Made {
    let mut entries = vec![open("s-1", "orders")];
    for n in 0..rounds {
        let op = format!("o-{n}");
        entries.extend([intent("s-1", &op, "users"), outcome("s-1", &op)]);
    }
    entries.push(close("s-1"));
    of(entries)
}

pub fn of(entries: Vec<Entry>) -> Made {
    with_key(SigningKey::generate("agentaccess-00000001").unwrap(), entries)
}

pub fn with_key(key: SigningKey, entries: Vec<Entry>) -> Made {
    let storage = FaultyStorage::new();
    let public = key.public().clone();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&notes);
    let config =
        WriterConfig { free_floor: 0, segment_bytes: 2 << 10, checkpoint_entries: 10, ..WriterConfig::default() };
    let witness = Box::new(move |told_of: &Checkpointed| told.lock().push(told_of.clone()));
    let (writer, _) = Writer::open(config, Arc::new(storage.clone()), key, witness).unwrap();
    for entry in entries {
        let (tx, rx) = mpsc::sync_channel(1);
        writer.submit(entry, Durability::Written, move |answer| tx.send(answer).unwrap()).unwrap();
        rx.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        // The thread seals and signs between two entries.
        std::thread::sleep(Duration::from_millis(2));
    }
    writer.close().unwrap();
    let segments: Vec<Vec<u8>> = storage.files().into_iter().map(|(_, content)| content).collect();
    let lines = segments.iter().flat_map(|s| s.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec)).collect();
    let mut notes = notes.lock().clone();
    notes.sort_by_key(|note| note.head.size);
    Made { key: public, segments, notes, lines }
}

impl Made {
    pub fn meta(&self) -> Meta {
        Meta {
            pod: "reporter-1".into(),
            service_account: "reporter".into(),
            key: self.key.clone(),
            begun: "2026-11-21T08:00:00Z".parse().unwrap(),
        }
    }

    /// Hashes of the lines from `from` up to `to`.
    pub fn hashes(&self, from: u64, to: u64) -> Vec<Hash> {
        let (from, to) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
        self.lines[from..to].iter().map(|line| Hash::of(line)).collect()
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.lines.len()).unwrap()
    }

    /// Countersigns every checkpoint and keeps every segment.
    pub async fn store(&self, shelf: &archive::Shelf, witness: &SigningKey) -> Standing {
        let mut standing = shelf.begin(&self.meta()).await.unwrap();
        for note in &self.notes {
            let lines = self.hashes(standing.countersigned, note.head.size);
            shelf.countersign(&note.note, &lines, witness).await.unwrap();
            standing.countersigned = note.head.size;
        }
        for segment in &self.segments {
            standing = shelf.keep(segment).await.unwrap();
        }
        standing
    }
}
