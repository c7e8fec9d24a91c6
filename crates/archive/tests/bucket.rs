//! The same shelf in a bucket, on a real server that speaks S3: conditional creation, races, and a store that is away,
//! full or closed.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test helpers")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use archive::{Countersigned, Credentials, Library, Location, ShelfError, Store, StoreError, Trust};
use common::{id, made, witness};
use e2e::bucket::Server;
use recording::verify::Verdict;

/// A folder with credentials; moto takes any until it is told otherwise.
fn credentials(dir: &Path) -> Credentials {
    std::fs::write(dir.join("accessKeyId"), "AKIAEXAMPLE\n").unwrap();
    std::fs::write(dir.join("secretAccessKey"), "hunter2\n").unwrap();
    Credentials::Folder(dir.to_owned())
}

fn open(location: &str, credentials: &Credentials) -> Store {
    Store::open(&location.parse().unwrap(), credentials).unwrap()
}

#[test]
fn a_recording_goes_into_a_bucket_and_comes_out_whole() {
    let (server, dir) = (Server::start().unwrap(), tempfile::tempdir().unwrap());
    let credentials = credentials(dir.path());
    let location: Location = server.location("cluster-1/all").parse().unwrap();
    let library = Library::open(&location, &credentials).unwrap();
    let store = Store::open(&location, &credentials).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (made, witness) = (made(60), witness());
    let shelf = store.shelf(&id("u-1"));
    runtime.block_on(async {
        store.probe().await.unwrap();
        assert!(matches!(shelf.standing().await, Err(ShelfError::NotBegun)));
        let standing = made.store(&shelf, &witness).await;
        assert_eq!(standing.archived, made.size());
        // With a handle that knows nothing: the same again.
        let again = store.shelf(&id("u-1"));
        assert_eq!(again.begin(&made.meta()).await.unwrap(), standing);
        for segment in &made.segments {
            assert_eq!(again.keep(segment).await.unwrap(), standing);
        }
        let last = made.notes.last().unwrap();
        again.countersign(&last.note, &[], &witness).await.unwrap();
        assert!(shelf.mark("incomplete").await.unwrap() && !again.mark("incomplete").await.unwrap());
    });
    assert_eq!(library.recordings().map(Result::unwrap).collect::<Vec<_>>(), [vec![id("u-1")]]);
    let audit = library.audit(&id("u-1"), witness.public()).unwrap();
    assert_eq!(audit.report.verdict, Verdict::Intact);
    assert_eq!(audit.countersigned, Countersigned::Head(made.notes.last().unwrap().head));

    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let expired = runtime.block_on(shelf.expire(tomorrow, &witness)).unwrap();
    assert_eq!(expired.entries, made.size());
    let audit = library.audit(&id("u-1"), witness.public()).unwrap();
    assert_eq!(audit.report.expired, Some(made.size()));
    // Another prefix of the same bucket is another store.
    let other = Library::open(&server.location("cluster-2").parse().unwrap(), &credentials).unwrap();
    assert_eq!(other.recordings().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_that_race_all_get_the_same_answer() {
    let (server, dir) = (Server::start().unwrap(), tempfile::tempdir().unwrap());
    let credentials = credentials(dir.path());
    let (made, witness) = (made(40), Arc::new(witness()));
    let shelf = open(&server.location("r"), &credentials).shelf(&id("u-1"));
    shelf.begin(&made.meta()).await.unwrap();
    let mut from = 0;
    for note in &made.notes {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..3 {
            // Each with a client of its own, as replicas have.
            let shelf = open(&server.location("r"), &credentials).shelf(&id("u-1"));
            let (witness, text) = (Arc::clone(&witness), note.note.clone());
            let lines = made.hashes(from, note.head.size);
            tasks.spawn(async move { shelf.countersign(&text, &lines, &witness).await });
        }
        let answers = tasks.join_all().await;
        let answers: Vec<String> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| answers.first() == Some(answer)));
        from = note.head.size;
    }
    for segment in &made.segments {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let shelf = open(&server.location("r"), &credentials).shelf(&id("u-1"));
            let segment = segment.clone();
            tasks.spawn(async move { shelf.keep(&segment).await });
        }
        assert!(tasks.join_all().await.into_iter().all(|kept| kept.is_ok()));
    }
    let standing = shelf.standing().await.unwrap();
    assert_eq!(standing.archived, made.size());
    assert_eq!(standing.next_segment, u64::try_from(made.segments.len()).unwrap() + 1, "none was kept twice");
}

#[tokio::test]
async fn a_server_that_is_away_is_said_in_time_and_goes_on_when_it_is_back() {
    let (mut server, dir) = (Server::start().unwrap(), tempfile::tempdir().unwrap());
    let credentials = credentials(dir.path());
    let store = open(&server.location("r"), &credentials);
    let (made, witness) = (made(12), witness());
    let shelf = store.shelf(&id("u-1"));
    shelf.begin(&made.meta()).await.unwrap();
    server.stop();
    let since = Instant::now();
    let error = shelf.keep(made.segments.first().unwrap()).await.unwrap_err();
    assert!(matches!(&error, ShelfError::Store(StoreError::Away(_))), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(since.elapsed().as_secs() < 30, "{:?}", since.elapsed());
    // The bucket is empty when it comes back, so the recording begins anew there.
    server.run().unwrap();
    let standing = made.store(&store.shelf(&id("u-1")), &witness).await;
    assert_eq!(standing.archived, made.size());
}

#[tokio::test]
async fn a_closed_bucket_and_one_that_is_not_there_are_told_apart() {
    let (server, dir) = (Server::start().unwrap(), tempfile::tempdir().unwrap());
    let credentials = credentials(dir.path());
    let missing = server.location("r").replace("recordings", "nowhere");
    let error = open(&missing, &credentials).probe().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unfit(_)), "{error}");
    let store = open(&server.location("r"), &credentials);
    server.guard().unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(matches!(&error, StoreError::Forbidden(_)), "{error}");
    assert!(error.to_string().contains("InvalidAccessKeyId"), "{error}");
    assert!(!format!("{error} {error:?} {store:?}").contains("hunter2"));
    let error = store.shelf(&id("u-1")).begin(&made(1).meta()).await.unwrap_err();
    assert!(matches!(&error, ShelfError::Store(StoreError::Forbidden(_))), "{error}");
}

/// What a server without room answers, as MinIO words it; moto has no end of room.
#[tokio::test]
async fn a_full_store_is_said_to_be_full() {
    let answer = "<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive \
                  threshold. AKIAEXAMPLE</Message></Error>";
    let (port, server) = answering("507 Insufficient Storage", answer);
    let dir = tempfile::tempdir().unwrap();
    let location = format!("s3://recordings?endpoint=http://127.0.0.1:{port}");
    let store = open(&location, &credentials(dir.path()));
    let error = store.shelf(&id("u-1")).begin(&made(1).meta()).await.unwrap_err();
    assert!(matches!(&error, ShelfError::Store(StoreError::Full(_))), "{error}");
    assert!(!error.to_string().contains("AKIA"), "{error}");
    drop(server);
}

/// A server that looks at no condition and always says that it wrote: what the probe is for.
#[tokio::test]
async fn a_store_that_replaces_what_exists_is_unfit() {
    let (port, server) = answering("200 OK", "agentaccess was here; this may be removed\n");
    let dir = tempfile::tempdir().unwrap();
    let location = format!("s3://recordings?endpoint=http://127.0.0.1:{port}");
    let error = open(&location, &credentials(dir.path())).probe().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unfit(_)) && error.to_string().contains("If-None-Match"), "{error}");
    drop(server);
}

/// The server behind TLS has no bucket, which only somebody hears who trusts it.
#[tokio::test]
async fn a_server_is_trusted_by_the_authority_that_was_named_and_by_no_other() {
    let (server, dir) = (Server::start_tls().unwrap(), tempfile::tempdir().unwrap());
    let credentials = credentials(dir.path());
    let location: Location = server.location("r").parse().unwrap();
    let ask = async |trust: &Trust| {
        Store::open_trusting(&location, &credentials, trust).unwrap().probe().await.unwrap_err().to_string()
    };
    let of = |server: &Server| Trust::only(&std::fs::read_to_string(server.authority()).unwrap()).unwrap();
    let trusted = ask(&of(&server)).await;
    assert!(trusted.contains("no such bucket") || trusted.contains("NoSuchBucket"), "{trusted}");
    let stranger = Server::start_tls().unwrap();
    for trust in [of(&stranger), Trust::System] {
        let error = ask(&trust).await;
        assert!(error.contains("the certificate of its server is not one that is trusted"), "{error}");
    }
    // Nobody is believed to be checked who is not.
    for location in ["s3://recordings?endpoint=http://127.0.0.1:1", "file:///tmp"] {
        let error = Store::open_trusting(&location.parse().unwrap(), &credentials, &of(&server)).unwrap_err();
        assert!(matches!(&error, StoreError::Unfit(why) if why.contains("vouch")), "{error}");
    }
}

/// A server that says of an object that it is short, and goes on.
#[tokio::test]
async fn an_object_is_no_longer_than_it_may_be_whatever_its_server_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, sent) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\nETag: \"e\"\r\n\
                        Last-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let chunk = [b"10000\r\n", vec![b' '; 65_536].as_slice(), b"\r\n"].concat();
            let written = (0..256).take_while(|_| stream.write_all(&chunk).is_ok()).count();
            let _ = stream.write_all(b"0\r\n\r\n");
            told.send(written).unwrap();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let location = format!("s3://recordings?endpoint=http://127.0.0.1:{port}");
    let shelf = open(&location, &credentials(dir.path())).shelf(&id("u-1"));
    let error = shelf.meta().await.unwrap_err();
    assert!(error.to_string().contains("more than the 16384 bytes"), "{error}");
    let written = tokio::task::spawn_blocking(move || sent.recv().unwrap()).await.unwrap();
    assert!(written < 256, "all of it was taken");
}

/// Answers everything with this, one connection after the other, until the test ends.
fn answering(status: &'static str, body: &'static str) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            // The head, and a body that is small enough to come with it or right after.
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                request.extend_from_slice(buffer.get(..read).expect("what was read"));
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"e\"\r\nLast-Modified: Sun, 22 Nov 2026 \
                 00:00:00 GMT\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, server)
}
