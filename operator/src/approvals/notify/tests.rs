//! A notifier and a real HTTPS server that fails, hangs, redirects, floods and goes away. Nobody is at the API server: what
//! is written there is tried on a cluster.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use crds::approval::Notice;
use e2e::receiver::{Answer, Heard, Receiver};
use e2e::tls::Authority;
use jiff::SignedDuration;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::super::key::Held;
use super::super::request::tests as requests;
use super::super::stamp::tests::{key, record};
use super::super::stamp::{Record, Word};
use super::super::written;
use super::*;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const TOKEN: &str = "/services/T0/B0/s3cret";
const POLICY: &str = "AgentAccessPolicy/support";

struct Scene {
    book: Arc<Book>,
    metrics: Arc<Metrics>,
    folder: tempfile::TempDir,
}

/// Ends when it is dropped.
struct Leader(Arc<Notifier>, JoinHandle<()>);

impl Drop for Leader {
    fn drop(&mut self) {
        self.1.abort();
    }
}

fn secret(folder: &Path, url: &str, authority: &Authority) {
    for (name, bytes) in [("url", url.as_bytes()), ("key", KEY), ("ca.crt", authority.ca.as_bytes())] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

impl Scene {
    fn new(receiver: &Receiver) -> Self {
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let book = Arc::new(Book::new(Held::of(key(1)), Arc::clone(&metrics), None));
        book.list_begins();
        book.list_ends();
        let scene = Self { book, metrics, folder: tempfile::tempdir().unwrap() };
        scene.secret(receiver.address, TOKEN, &receiver.authority);
        scene
    }

    fn secret(&self, address: SocketAddr, path: &str, authority: &Authority) {
        secret(self.folder.path(), &format!("https://{address}{path}"), authority);
    }

    /// A replica that leads, or one that does not.
    fn replica(&self, leads: bool) -> Leader {
        self.replica_of("http://127.0.0.1:9", leads)
    }

    /// One whose API server is there.
    fn replica_of(&self, api: &str, leads: bool) -> Leader {
        let nowhere = Client::try_from(kube::Config::new(api.parse().unwrap())).unwrap();
        let (book, metrics) = (Arc::clone(&self.book), Arc::clone(&self.metrics));
        let notifier = Arc::new(Notifier::new(nowhere, book, metrics, "a", self.folder.path(), false));
        if leads {
            notifier.lead();
        }
        let own = Arc::clone(&notifier);
        Leader(notifier, tokio::spawn(async move { own.work().await }))
    }

    /// What the watch says: this version of the request, with these votes, and what is said to have been told.
    fn put(&self, uid: &str, version: u32, votes: &[(&str, Word)], notified: &[Notice]) {
        let now = Timestamp::now();
        let mut object = requests::granting(&[POLICY], "Duration");
        object.metadata.uid = Some(uid.to_owned());
        object.metadata.name = Some(format!("areq-{uid}"));
        object.metadata.resource_version = Some(version.to_string());
        object.spec.expires_at = written(now.checked_add(SignedDuration::from_mins(15)).unwrap());
        object.status =
            Some(crds::approval::ApprovalRequestStatus { notified: notified.to_vec(), ..Default::default() });
        let digest = Request::read(&object).unwrap().digest;
        let sign = |(user, word): &(&str, Word)| {
            let said = record(user, *word);
            let (request, time) = (uid.to_owned(), written(now));
            Record { spec: digest.clone(), request, time, ..said }.sign(&key(1)).unwrap()
        };
        let records =
            (1..).zip(votes).map(|(n, vote): (u32, _)| (format!("{}{n}", crds::approval::RECORD_PREFIX), sign(vote)));
        object.metadata.annotations = Some(records.collect());
        self.book.put(Request::read(&object).unwrap(), now);
    }

    fn counted(&self, outcome: &str) -> u64 {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let name = format!("agentaccess_notifications_total{{outcome=\"{outcome}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned)).unwrap();
        line.parse().unwrap()
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Of all that was heard: the event and the request.
fn events(receiver: &Receiver) -> Vec<(String, String)> {
    let event = |heard: Heard| {
        let told: Value = heard.json().unwrap()["agentaccess"].clone();
        (told["event"].as_str().unwrap().to_owned(), told["request"]["name"].as_str().unwrap().to_owned())
    };
    receiver.heard().into_iter().map(event).collect()
}

fn names(receiver: &Receiver) -> Vec<String> {
    events(receiver).into_iter().map(|(event, _)| event).collect()
}

#[tokio::test]
async fn it_is_told_in_order_signed_and_by_the_leader_alone() {
    let receiver = Receiver::start().unwrap();
    let scene = Scene::new(&receiver);
    let _follower = scene.replica(false);
    scene.put("r1", 1, &[], &[]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(names(&receiver), [""; 0]);
    let _leader = scene.replica(true);
    until("the request is told", || names(&receiver) == ["requested"]).await;
    scene.put("r1", 2, &[("carol", Word::BreakGlass)], &[]);
    until("the glass is told", || receiver.heard().len() == 2).await;
    scene.put("r1", 3, &[("carol", Word::BreakGlass), ("eve", Word::Revoke)], &[]);
    until("the revocation is told", || receiver.heard().len() == 3).await;
    assert_eq!(names(&receiver), ["requested", "break-glass", "revoked"]);
    for heard in receiver.heard() {
        assert_eq!((heard.target.as_str(), heard.header("content-type")), (TOKEN, "application/json"));
        let (id, time) = (heard.header("webhook-id"), heard.header("webhook-timestamp"));
        let told = heard.json().unwrap();
        assert_eq!(told["agentaccess"]["id"], id);
        assert!(told["text"].as_str().unwrap().contains("`areq-r1`"), "{told}");
        // As docs/notifications.md says it is checked.
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &heard.body].concat();
        let mac = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY), &signed);
        let mac = base64::engine::general_purpose::STANDARD.encode(mac);
        assert_eq!(heard.header("webhook-signature"), format!("v1,{mac}"));
        let sent: i64 = time.parse().unwrap();
        assert!((Timestamp::now().as_second() - sent).abs() < 60);
    }
    until("it is counted", || scene.counted("sent") == 3).await;
    let text = String::from_utf8(scene.metrics.render().unwrap()).unwrap();
    assert!(!text.contains("s3cret") && !text.contains(&receiver.address.to_string()), "{text}");
    until("nothing waits", || {
        String::from_utf8(scene.metrics.render().unwrap()).unwrap().contains("agentaccess_notifications_pending 0")
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_told_again_until_it_is_taken() {
    let receiver = Receiver::start().unwrap();
    let scene = Scene::new(&receiver);
    let _leader = scene.replica(true);
    for (answer, word) in [
        (Answer::Status(500), "away"),
        (Answer::Noise, "away"),
        (Answer::Close, "away"),
        (Answer::Status(404), "refused"),
    ] {
        let (before, failed, sent) = (receiver.heard().len(), scene.counted(word), scene.counted("sent"));
        receiver.answer(answer.clone());
        scene.put(&format!("r{before}"), 1, &[], &[]);
        until("it failed twice", || scene.counted(word) >= failed + 2).await;
        assert_eq!(scene.counted("sent"), sent, "{answer:?}");
        receiver.answer(Answer::Status(204));
        until("it is taken", || scene.counted("sent") == sent + 1).await;
        // Each time the same message, by its id.
        let mut ids: Vec<_> =
            receiver.heard()[before..].iter().map(|heard| heard.header("webhook-id").to_owned()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
    // Busy for two seconds means two seconds.
    receiver.answer(Answer::Busy(3));
    let (before, begun) = (receiver.heard().len(), Instant::now());
    scene.put("busy", 1, &[], &[]);
    until("it was heard", || receiver.heard().len() > before).await;
    receiver.answer(Answer::Status(200));
    until("it is taken", || receiver.heard().len() > before + 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_an_answer_is_not_read() {
    let (receiver, elsewhere) = (Receiver::start().unwrap(), Receiver::start().unwrap());
    let scene = Scene::new(&receiver);
    let _leader = scene.replica(true);
    receiver.answer(Answer::Elsewhere(format!("https://{}/", elsewhere.address)));
    scene.put("r1", 1, &[], &[]);
    until("it is refused", || scene.counted("refused") >= 2).await;
    assert_eq!(elsewhere.heard().len(), 0);
    receiver.answer(Answer::Flood);
    until("it is taken", || scene.counted("sent") == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!receiver.was_drunk());
}

#[tokio::test]
async fn an_endpoint_that_hangs_has_its_deadline_and_hides_nothing() {
    let receiver = Receiver::start().unwrap();
    let scene = Scene::new(&receiver);
    let _leader = scene.replica(true);
    receiver.answer(Answer::Hang);
    scene.put("r1", 1, &[], &[]);
    until("it hangs", || receiver.heard().len() == 1).await;
    // Meanwhile another comes, is let through by one person alone, and goes.
    scene.put("r2", 1, &[("carol", Word::BreakGlass)], &[]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.book.remove(&("agents".to_owned(), "areq-r2".to_owned()));
    receiver.answer(Answer::Status(200));
    until("the deadline is over", || scene.counted("away") == 1).await;
    until("all of it is told", || scene.counted("sent") == 4).await;
    let told = events(&receiver);
    let of = |name: &str| told.iter().filter(|(_, of)| of == name).map(|(event, _)| event.as_str()).collect::<Vec<_>>();
    assert_eq!((of("areq-r1"), of("areq-r2")), (vec!["requested"; 2], vec!["requested", "break-glass", "ended"]));
    // What is loud goes first.
    assert_eq!(told[1].1, "areq-r2", "{told:?}");
}

#[tokio::test]
async fn an_api_server_that_hangs_holds_no_message_up() {
    let receiver = Receiver::start().unwrap();
    let scene = Scene::new(&receiver);
    // It takes connections and never answers: what was told cannot be written down.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _leader = scene.replica_of(&format!("http://{}", silent.local_addr().unwrap()), true);
    let begun = Instant::now();
    for n in 0..8 {
        scene.put(&format!("r{n}"), 1, &[], &[]);
    }
    until("all are told", || receiver.heard().len() == 8).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.put("glass", 1, &[("carol", Word::BreakGlass)], &[]);
    until("the glass is told", || names(&receiver).contains(&"break-glass".to_owned())).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_that_is_away_is_told_when_it_is_back() {
    let receiver = Receiver::start().unwrap();
    let (address, authority) = (receiver.address, receiver.authority.clone());
    let scene = Scene::new(&receiver);
    drop(receiver);
    let _leader = scene.replica(true);
    scene.put("r1", 1, &[], &[]);
    until("it is away", || scene.counted("away") >= 2).await;
    // Another takes its place, whose certificate nobody vouches for.
    let impostor = Receiver::at(&address, Authority::new(&["127.0.0.1"]).unwrap()).unwrap();
    let before = scene.counted("away");
    until("it is not trusted", || scene.counted("away") > before).await;
    assert_eq!(impostor.heard().len(), 0);
    drop(impostor);
    let receiver = Receiver::at(&address, authority).unwrap();
    until("it is told", || names(&receiver) == ["requested"]).await;
}

#[tokio::test]
async fn the_next_leader_goes_on_where_the_last_one_was() {
    let receiver = Receiver::start().unwrap();
    let scene = Scene::new(&receiver);
    let first = scene.replica(true);
    scene.put("told", 1, &[], &[]);
    until("it is told", || names(&receiver) == ["requested"]).await;
    receiver.answer(Answer::Status(503));
    scene.put("open", 1, &[], &[]);
    until("it fails", || receiver.heard().len() == 2).await;
    drop(first);
    scene.put("told", 2, &[], &[Notice::Requested]);
    receiver.answer(Answer::Status(200));
    let second = scene.replica(true);
    until("what is open is told", || receiver.heard().len() == 3).await;
    scene.put("told", 3, &[("alice", Word::Approve), ("bob", Word::Approve)], &[Notice::Requested]);
    until("what comes is told", || receiver.heard().len() == 4).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let of = |event: &str, name: &str| (event.to_owned(), name.to_owned());
    let told = [
        of("requested", "areq-told"),
        of("requested", "areq-open"),
        of("requested", "areq-open"),
        of("approved", "areq-told"),
    ];
    assert_eq!(events(&receiver), told);
    let text = format!("{:?}", second.0);
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn the_secret_is_read_again() {
    let (receiver, other) = (Receiver::start().unwrap(), Receiver::start().unwrap());
    let scene = Scene::new(&receiver);
    std::fs::remove_file(scene.folder.path().join("key")).unwrap();
    let _leader = scene.replica(true);
    scene.put("r1", 1, &[], &[]);
    until("there is no key", || scene.counted("unready") >= 2).await;
    assert_eq!(receiver.heard().len(), 0);
    scene.secret(receiver.address, TOKEN, &receiver.authority);
    until("it is told", || names(&receiver) == ["requested"]).await;
    scene.secret(other.address, "/other", &other.authority);
    scene.put("r1", 2, &[("alice", Word::Approve), ("bob", Word::Approve)], &[]);
    until("the other is told", || names(&other) == ["approved"]).await;
    assert_eq!((receiver.heard().len(), other.heard()[0].target.as_str()), (1, "/other"));
}

#[test]
fn a_failure_has_a_bounded_word_and_says_what_to_do() {
    for (failure, word) in [
        (Failure::Unready(Unfit::Http), "unready"),
        (Failure::Unreachable, "away"),
        (Failure::Slow, "away"),
        (Failure::Answered(500, None), "away"),
        (Failure::Answered(408, None), "away"),
        (Failure::Answered(429, None), "away"),
        (Failure::Answered(400, None), "refused"),
        (Failure::Answered(100, None), "refused"),
        (Failure::Redirected(302), "refused"),
    ] {
        assert_eq!(failure.word(), word, "{failure}");
        assert!(crate::metrics::NOTIFICATIONS.contains(&failure.word()));
    }
    assert!(Failure::Tls.to_string().contains("ca.crt"));
}
