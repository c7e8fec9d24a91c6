//! Entries that are waited for, while answers come late, get lost or never come, and over restarts: who waits is told
//! that an entry is there only when it is.

use std::path::Path;
use std::time::Duration;

use recording::{FsStorage, Storage as _};
use sidecar::replicas::{Missing, Replicas};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Folders;
use crate::scene::{NAMESPACE, Recorder, UID, config, eventually, store};
use crate::way::{Way, relay};

/// Room for a busy machine, where no answer is to come.
const BRIEF: Duration = Duration::from_millis(700);
const LONG: Duration = Duration::from_secs(20);

/// Writes an intent; whether the store has it within this time.
async fn there(recorder: &Recorder, replicas: &Replicas, number: u64, within: Duration) -> Result<u64, Missing> {
    let position = recorder.replicated(number).await;
    replicas.until(position.seq, Instant::now() + within).await.map(|()| position.seq)
}

/// `seq` of each entry that is in the store, which must follow each other.
async fn entries(folder: &Path) -> u64 {
    let shelf = store(folder).shelf(&archive::RecordingId::new(NAMESPACE, UID).unwrap());
    let runtime = tokio::runtime::Handle::current();
    let stored = archive::read::Stored::open(shelf, runtime).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let seqs: Vec<u64> = recording::reader::entries(&stored).unwrap().map(|line| line.unwrap().seq).collect();
        let count = u64::try_from(seqs.len()).unwrap();
        assert_eq!(seqs, (0..count).collect::<Vec<_>>());
        count
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_there_is_said_to_be() {
    let folders = Folders::new();
    let replica = folders.replica().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (there_is, (way, gate)) = (listener.local_addr().unwrap(), watch::channel(Way::Open));
    tokio::spawn(relay(listener, replica.address, gate));
    let recorder = folders.recorder(config());
    let replicas = recorder.replicate(replica.client_at(there_is, NAMESPACE));
    let mut number = 0;
    for cut in [Way::Frozen, Way::Deaf, Way::Closed, Way::Deaf, Way::Frozen] {
        for _ in 0..10 {
            number += 1;
            let seq = there(&recorder, &replicas, number, LONG).await.unwrap();
            assert!(entries(&folders.store()).await > seq, "{number}");
        }
        way.send_replace(cut);
        number += 1;
        let before = entries(&folders.store()).await;
        let late = recorder.replicated(number).await.seq;
        let missing = replicas.until(late, Instant::now() + BRIEF).await.unwrap_err();
        assert!(matches!(missing, Missing::Slow | Missing::Operator), "{cut:?}: {missing}");
        let now = entries(&folders.store()).await;
        match cut {
            // It arrived, and nobody heard of it.
            Way::Deaf => assert!(now > late),
            _ => assert_eq!(now, before),
        }
        // It comes there late, and once.
        way.send_replace(Way::Open);
        replicas.until(late, Instant::now() + LONG).await.unwrap();
        assert!(entries(&folders.store()).await > late);
    }
    assert!(recorder.shows("agentaccess_recording_refused 0"));
}

/// Segments are sealed and kept all the while, of which the tail takes its leave.
#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_over_segments_replicas_and_restarts() {
    let folders = Folders::new();
    let (one, two) = (folders.replica().await, folders.replica().await);
    let mut number = 0;
    for life in 0..4 {
        let recorder = folders.recorder(config());
        let (line, lines) = watch::channel(one.client());
        let shipping = recorder.ship(lines.clone());
        let replicas = recorder.replicate(lines);
        for round in 0..6 {
            for _ in 0..15 {
                number += 1;
                let seq = there(&recorder, &replicas, number, LONG).await.unwrap();
                if number % 7 == 0 {
                    assert!(entries(&folders.store()).await > seq, "{number}");
                }
            }
            line.send_replace(if round % 2 == 0 { two.client() } else { one.client() });
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        match life {
            0 | 2 => drop(shipping),
            _ => recorder.end(shipping).await,
        }
        let writer = recorder.writer.clone();
        drop(tokio::task::spawn_blocking(move || writer.close()).await.unwrap());
    }
    let left = folders.store().join("recordings").join(NAMESPACE).join(UID).join("tails");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "segments hold all of it");
    folders.verifies().await;
    for replica in [&one, &two] {
        assert!(!replica.counted("agentaccess_recordings_total{call=\"replicate\",result=\"refused\"}"));
        assert!(replica.counted("agentaccess_recordings_total{call=\"replicate\",result=\"done\"}"));
    }
}

/// A disk that lost what it had flushed, or was put back to an older state.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_has_less_than_the_store_is_refused() {
    let folders = Folders::new();
    let replica = folders.replica().await;
    let (before, at) = (folders.at("before"), folders.at("recordings"));
    let quiet = || recording::WriterConfig { checkpoint_age: LONG * 10, checkpoint_entries: 1_000, ..config() };
    {
        let recorder = folders.recorder(quiet());
        let replicas = recorder.replicate(replica.client());
        let shipping = recorder.ship(replica.client());
        there(&recorder, &replicas, 1, LONG).await.unwrap();
        copy(&at, &before);
        for number in 2..9 {
            there(&recorder, &replicas, number, LONG).await.unwrap();
        }
        drop(shipping);
    }
    eventually("the writer is gone", || FsStorage::open(&at).unwrap().exclusive().is_ok()).await;
    std::fs::remove_dir_all(&at).unwrap();
    copy(&before, &at);
    let stands = entries(&folders.store()).await;
    let recorder = folders.recorder(quiet());
    let replicas = recorder.replicate(replica.client());
    let shipping = recorder.ship(replica.client());
    for number in 20..60 {
        // More than the store has by now, and still other lines.
        let missing = there(&recorder, &replicas, number, LONG).await.unwrap_err();
        assert_eq!(missing, Missing::Refused);
    }
    assert!(recorder.counted("agentaccess_recording_ship_errors_total{reason=\"refused\"} "));
    drop(shipping);
    assert_eq!(entries(&folders.store()).await, stands, "and nothing of it is in the store");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
