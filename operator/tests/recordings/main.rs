//! Recordings leave their pods: the sidecar's side against the operator's own service over its own TLS, with a store in a
//! directory. What a cluster adds, pods that vanish and the chart, is tried in `e2e`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod late;
mod pod;
mod replicated;
mod scene;
mod way;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use archive::{Countersigned, RecordingId};
use control::v1::{BeginRecordingRequest, CountersignRequest, SegmentPart};
use control::{SEGMENT_LIMIT, SEGMENT_PART};
use recording::verify::Verdict;
use recording::{WriteError, WriterConfig};
use scene::{Recorder, Replica, config, eventually, standing, store, stored, whole, witness};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Code;
use way::{Way, relay};

/// Folders of one test: the store, the pod's disk, and keys.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("store")).unwrap();
        Self(root)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn store(&self) -> std::path::PathBuf {
        self.at("store")
    }

    fn recorder(&self, config: WriterConfig) -> Recorder {
        Recorder::open(&self.at("recordings"), &self.at("checkpoint.key"), config)
    }

    /// As an auditor does it, with the public half of the operator's key and nothing else.
    async fn verifies(&self) {
        let shelf = store(&self.store()).shelf(&RecordingId::new(scene::NAMESPACE, scene::UID).unwrap());
        let witness = witness(self.0.path()).get().unwrap().public().clone();
        let runtime = tokio::runtime::Handle::current();
        let audit = tokio::task::spawn_blocking(move || archive::audit(&shelf, &witness, &runtime)).await;
        let audit = audit.unwrap().unwrap();
        assert_eq!(audit.report.verdict, Verdict::Intact);
        assert!(matches!(audit.countersigned, Countersigned::Head(_)) && audit.report.orderly_stop, "{audit:?}");
    }

    async fn replica(&self) -> Replica {
        Replica::serve(Some(store(&self.store())), witness(self.0.path())).await
    }
}

#[tokio::test]
async fn a_pod_that_ends_in_order_has_all_of_it_in_the_store() {
    let folders = Folders::new();
    let (one, two) = (folders.replica().await, folders.replica().await);
    let recorder = folders.recorder(config());
    let (line, lines) = watch::channel(one.client());
    let shipping = recorder.ship(lines);
    // Now one replica answers, now the other.
    for round in 0..12 {
        recorder.operations(round * 30..round * 30 + 30).await;
        let answers = if round % 2 == 0 { &one } else { &two };
        let done = "agentaccess_recordings_total{call=\"countersign\",result=\"done\"}";
        eventually("this replica answers", || answers.counted(done)).await;
        line.send_replace(if round % 2 == 0 { two.client() } else { one.client() });
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    eventually("segments leave while it is written", || whole(&stored(&folders.store())) > 200).await;
    let begun = Instant::now();
    recorder.end(shipping).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let here = recorder.lines();
    assert_eq!(whole(&here), whole(&stored(&folders.store())));
    assert!(here == stored(&folders.store()), "to the byte");
    let now = standing(&folders.store()).await;
    assert!(now.orderly_stop && now.countersigned + 1 == now.archived, "{now:?}");
    folders.verifies().await;
    for replica in [&one, &two] {
        for call in ["begin", "countersign", "keep"] {
            assert!(!replica.counted(&format!("agentaccess_recordings_total{{call=\"{call}\",result=\"refused\"}}")));
        }
    }
    assert!(recorder.shows("agentaccess_recording_refused 0"));
}

#[tokio::test]
async fn a_sidecar_that_starts_again_goes_on_where_it_was() {
    let folders = Folders::new();
    let replica = folders.replica().await;
    for life in 0..4_u64 {
        let recorder = folders.recorder(config());
        let shipping = recorder.ship(replica.client());
        recorder.operations(life * 100..life * 100 + 60).await;
        match life {
            // Cut off in the middle of whatever it does; nothing says good-bye.
            0 | 2 => drop(shipping),
            _ => recorder.end(shipping).await,
        }
        let writer = recorder.writer.clone();
        drop(tokio::task::spawn_blocking(move || writer.close()).await.unwrap());
        if life == 3 {
            assert!(recorder.lines() == stored(&folders.store()), "to the byte");
        }
    }
    assert!(whole(&stored(&folders.store())) > 480);
}

/// Both replicas get everything at the same time; there is one line of it in the end.
#[tokio::test]
async fn of_two_replicas_that_are_told_the_same_one_writes() {
    let folders = Folders::new();
    let (one, two) = (folders.replica().await, folders.replica().await);
    let recorder = folders.recorder(config());
    let (first, second) = (recorder.ship(one.client()), recorder.ship(two.client()));
    for round in 0..10 {
        recorder.operations(round * 20..round * 20 + 20).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let writer = recorder.writer.clone();
    tokio::task::spawn_blocking(move || writer.close()).await.unwrap().unwrap();
    let within = Duration::from_secs(20);
    tokio::join!(first.finish(true, within), second.finish(true, within));
    assert!(recorder.lines() == stored(&folders.store()), "to the byte");
    assert!(standing(&folders.store()).await.orderly_stop);
}

/// What is written until the spool is full; the reason for the refusal.
async fn fill(recorder: &Recorder, from: u64) -> (u64, WriteError) {
    let mut number = from;
    loop {
        match recorder.operation(number).await {
            Ok(()) => number += 1,
            Err(error) => return (number, error),
        }
        assert!(number < from + 100_000, "the spool never fills");
    }
}

/// The store is out of order; the spool holds and then refuses, and once the store is back, everything arrives and room
/// is made.
async fn holds(folders: &Folders, reason: &str, breaks: impl FnOnce(&Path), mends: impl FnOnce(&Path)) {
    let store = folders.store();
    let replica = folders.replica().await;
    let recorder = folders.recorder(WriterConfig { max_bytes: 400 * 1024, ..config() });
    let shipping = recorder.ship(replica.client());
    recorder.operations(0..50).await;
    eventually("it ships", || whole(&stored(&store)) > 50).await;
    breaks(&store);
    let (refused, error) = fill(&recorder, 50).await;
    assert!(matches!(error, WriteError::Full { .. }) && error.to_string().contains("may hold"), "{error}");
    let counted = format!("agentaccess_recordings_total{{call=\"begin\",result=\"{reason}\"}}");
    let others = ["countersign", "keep"].map(|call| counted.replace("begin", call));
    let said = || replica.counted(&counted) || others.iter().any(|other| replica.counted(other));
    eventually("the reason is counted", said).await;
    assert!(recorder.operation(refused).await.is_err(), "and so it stays");
    mends(&store);
    let (more, begun) = (refused + 1_000, Instant::now());
    for number in refused..more {
        // Faster than it can be taken away it is refused again, and never lost.
        while recorder.operation(number).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "there is no room again: {number}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(recorder.shows("agentaccess_recording_refused 0"), "nothing was taken for a forgery");
    recorder.end(shipping).await;
    let lines = stored(&store);
    whole(&lines);
    let text = String::from_utf8(lines).unwrap();
    for number in 0..more {
        assert!(text.contains(&format!("\"op\":\"o-{number}\"")), "operation {number}");
    }
    let now = standing(&store).await;
    assert!(now.orderly_stop && now.countersigned + 1 == now.archived, "{now:?}");
    assert!(text.as_bytes().ends_with(&recorder.lines()), "what was removed here is what the store has");
    folders.verifies().await;
}

#[tokio::test]
async fn a_store_that_is_away_loses_nothing() {
    let folders = Folders::new();
    let aside = folders.at("aside");
    let breaks = |store: &Path| {
        std::fs::rename(store, &aside).unwrap();
        std::fs::write(store, "in its place").unwrap();
    };
    let mends = |store: &Path| {
        std::fs::remove_file(store).unwrap();
        std::fs::rename(&aside, store).unwrap();
    };
    holds(&folders, "unfit", breaks, mends).await;
}

/// A tmpfs that is unmounted when dropped.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_store_that_is_full_loses_nothing() {
    let folders = Folders::new();
    let options = ["-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs"];
    if !Command::new("mount").args(options).arg(folders.store()).status().unwrap().success() {
        eprintln!("NOT TESTED: only root may mount a tmpfs to fill");
        return;
    }
    let _mounted = Mounted(folders.store());
    let breaks = |store: &Path| {
        let mut file = std::fs::File::create(store.join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &[b'x'; 4096]).is_ok() {}
    };
    let mends = |store: &Path| std::fs::remove_file(store.join("filler")).unwrap();
    holds(&folders, "full", breaks, mends).await;
}

/// Every byte to the operator waits; operations do not.
#[tokio::test]
async fn a_store_that_is_slow_delays_no_operation() {
    let folders = Folders::new();
    let replica = folders.replica().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (slow, (way, gate)) = (listener.local_addr().unwrap(), watch::channel(Way::Open));
    tokio::spawn(relay(listener, replica.address, gate));
    let recorder = folders.recorder(config());
    let shipping = recorder.ship(replica.client_at(slow, scene::NAMESPACE));
    recorder.operations(0..100).await;
    eventually("it ships", || whole(&stored(&folders.store())) > 50).await;
    way.send_replace(Way::Frozen);
    let mut slowest = Duration::ZERO;
    for number in 100..400 {
        let begun = Instant::now();
        recorder.operation(number).await.unwrap();
        slowest = slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    way.send_replace(Way::Open);
    recorder.end(shipping).await;
    assert!(recorder.lines() == stored(&folders.store()), "to the byte");
}

#[tokio::test]
async fn a_recording_that_was_written_anew_is_refused_and_everybody_hears_of_it() {
    let folders = Folders::new();
    let replica = folders.replica().await;
    let recorder = folders.recorder(config());
    let shipping = recorder.ship(replica.client());
    recorder.operations(0..100).await;
    recorder.end(shipping).await;
    let (before, vouched) = (stored(&folders.store()), standing(&folders.store()).await);

    // The same key, and other entries: whoever has the key can make them.
    let forged = Recorder::open(&folders.at("forged"), &folders.at("checkpoint.key"), config());
    forged.operations(500..900).await;
    let shipping = forged.ship(replica.client());
    eventually("the sidecar says it", || forged.shows("agentaccess_recording_refused 1")).await;
    eventually("it is an error", || {
        replica.counted("agentaccess_recordings_total{call=\"countersign\",result=\"refused\"}")
    })
    .await;
    let all = forged.lines().len();
    forged.end(shipping).await;
    assert!(forged.lines().len() >= all, "what is refused stays as evidence");
    assert!(before == stored(&folders.store()), "and the store keeps what it had");
    assert_eq!(vouched, standing(&folders.store()).await);

    // A shorter one is no better, and it is seen in the pod.
    let cut = Recorder::open(&folders.at("cut"), &folders.at("checkpoint.key"), config());
    let shipping = cut.ship(replica.client());
    eventually("less than was countersigned", || cut.shows("agentaccess_recording_refused 1")).await;
    drop(shipping);

    // Another key is another recording.
    let other = Recorder::open(&folders.at("other"), &folders.at("other.key"), config());
    other.operations(0..10).await;
    let shipping = other.ship(replica.client());
    eventually("another key", || other.shows("agentaccess_recording_refused 1")).await;
    assert!(replica.counted("agentaccess_recordings_total{call=\"begin\",result=\"refused\"}"));
    drop(shipping);
    assert!(before == stored(&folders.store()));
}

#[tokio::test]
async fn without_a_store_nothing_changes() {
    let folders = Folders::new();
    let replica = Replica::serve(None, witness(folders.0.path())).await;
    let recorder = folders.recorder(config());
    let shipping = recorder.ship(replica.client());
    recorder.operations(0..100).await;
    eventually("it is told", || {
        recorder.shows("agentaccess_recording_ship_errors_total{reason=\"no_store\"} 1")
            || recorder.shows("agentaccess_recording_ship_errors_total{reason=\"no_store\"} 2")
    })
    .await;
    let begun = Instant::now();
    recorder.end(shipping).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "nothing is waited for");
    assert!(recorder.shows("agentaccess_recording_refused 0"));
    let mut client = replica.client();
    let error = client.begin_recording(BeginRecordingRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

#[tokio::test]
async fn what_is_no_recording_is_refused_on_the_wire() {
    let folders = Folders::new();
    let replica = folders.replica().await;
    let mut client = replica.client();
    let begin = |key: &str| BeginRecordingRequest { key: key.to_owned() };
    let code = client.begin_recording(begin("no key")).await.unwrap_err().code();
    assert_eq!(code, Code::InvalidArgument);
    let sign = |hashes: usize| CountersignRequest { note: "x".to_owned(), hashes: vec![0; hashes], from: 0 };
    assert_eq!(client.countersign(sign(33)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.countersign(sign(32)).await.unwrap_err().code(), Code::Aborted, "it has not begun");
    let key = recording::SigningKey::generate("pod").unwrap();
    client.begin_recording(begin(&key.public().to_string())).await.unwrap();
    assert_eq!(client.countersign(sign(32)).await.unwrap_err().code(), Code::FailedPrecondition);
    let parts = |bytes: usize| {
        let parts = bytes.div_ceil(SEGMENT_PART);
        tokio_stream::iter((0..parts).map(|_| SegmentPart { data: vec![b'x'; SEGMENT_PART] }))
    };
    let error = client.keep(parts(SEGMENT_LIMIT + 1)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert_eq!(client.keep(parts(10)).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(client.keep(parts(0)).await.unwrap_err().code(), Code::FailedPrecondition);

    // The UID of a pod of another namespace begins nothing: nobody knows it there.
    let mut other = replica.client_at(replica.address, "bank");
    let error = other.begin_recording(begin(&key.public().to_string())).await.unwrap_err();
    assert_eq!(error.code(), Code::Aborted, "{error}");
    // A pod that has ended goes on with what it began, and with that key only.
    replica.index.change(|world| world.remove_pod(scene::UID));
    client.begin_recording(begin(&key.public().to_string())).await.unwrap();
    let another = recording::SigningKey::generate("pod").unwrap();
    let error = client.begin_recording(begin(&another.public().to_string())).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    replica.stop();
}
