//! Approvals without a cluster: who may decide, what a decision is good for, and what an edit of a file is worth.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crds::approval::{ApprovalRequest, Decision, Phase};
use crds::local::{LocalAnswer, LocalCall};
use parking_lot::Mutex;
use policy::TargetKey;
use policy::operation::{Digest, Protocol, Revision};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::verdict::{ApprovalTerms, RuleId};
use recording::entry::{Approval, ApprovalEvent, What};
use sidecar::config::Approver;
use sidecar::ledger::{Ledger, NotRecorded};
use sidecar::metrics::Metrics;
use sidecar::outside::{Answer, Approvals as _, Ask, AskError, NotConsumed, Standing, Ticket};
use sidecar::standalone::approvals::LocalApprovals;
use sidecar::state::StateDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

const ALICE: u32 = 71_001;
const BOB: u32 = 71_002;

/// Remembers what was put on record, and fails or lingers when told to.
#[derive(Default)]
struct Memory {
    approvals: Mutex<Vec<Approval>>,
    markers: Mutex<Vec<(What, String)>>,
    broken: AtomicBool,
    slow: AtomicBool,
}

impl Ledger for Memory {
    fn approval(&self, approval: Approval) -> Answer<'_, Result<(), NotRecorded>> {
        Box::pin(async move {
            if self.slow.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            if self.broken.load(Ordering::SeqCst) {
                return Err(NotRecorded("the disk is full".to_owned()));
            }
            self.approvals.lock().push(approval);
            Ok(())
        })
    }
    fn marker(&self, what: What, detail: String) {
        self.markers.lock().push((what, detail));
    }
}

impl Memory {
    fn events(&self) -> Vec<ApprovalEvent> {
        self.approvals.lock().iter().map(|a| a.event).collect()
    }
}

struct World {
    approvals: LocalApprovals,
    memory: Arc<Memory>,
    state: StateDir,
    dir: tempfile::TempDir,
}

fn world() -> World {
    let me = rustix::process::geteuid().as_raw();
    world_of(&[("alice", ALICE), ("bob", BOB), ("me", me)], tempfile::tempdir().unwrap())
}

fn world_of(approvers: &[(&str, u32)], dir: tempfile::TempDir) -> World {
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let state = StateDir::open(&dir.path().join("state")).unwrap();
    let memory = Arc::new(Memory::default());
    let approvers = approvers.iter().map(|(name, uid)| Approver { name: (*name).to_owned(), uid: *uid }).collect();
    let ledger = Arc::clone(&memory) as Arc<dyn Ledger>;
    let metrics = Arc::new(Metrics::new("0").unwrap());
    let approvals = LocalApprovals::new(&state, approvers, false, 4, ledger, metrics).unwrap();
    World { approvals, memory, state, dir }
}

/// Another one on the state of this one, with alice to decide.
async fn restarted(world: World) -> World {
    let World { approvals, state, dir, .. } = world;
    drop((approvals, state));
    // A file that is still being written belongs to the first one, and so does the state until it is.
    until("the first one's end", || StateDir::open(&dir.path().join("state")).is_ok()).await;
    world_of(&[("alice", ALICE)], dir)
}

impl World {
    fn socket(&self) -> PathBuf {
        self.approvals.listen(&self.state.approve_socket(), None).unwrap();
        self.state.approve_socket()
    }

    async fn ask(&self, digest: u8, need: u8, ttl: Duration) -> Ticket {
        self.approvals.ask(ask(digest, need, ttl)).await.unwrap()
    }

    async fn vote(&self, uid: u32, ticket: &Ticket, decision: Decision) -> Result<String, String> {
        self.approvals.decide(uid, &ticket.name, decision, Some("INC-1")).await.map(|(_, message)| message)
    }

    /// Asked, and approved by alice.
    async fn approved(&self, digest: u8, ttl: Duration) -> Ticket {
        let ticket = self.ask(digest, 1, ttl).await;
        self.vote(ALICE, &ticket, Decision::Approve).await.unwrap();
        ticket
    }

    fn file(&self, ticket: &Ticket) -> PathBuf {
        self.state.requests().join(format!("{}.yaml", ticket.name))
    }
}

fn ask(digest: u8, need: u8, ttl: Duration) -> Ask {
    Ask {
        subject: Arc::new(Subject {
            namespace: "local".to_owned(),
            service_account: "a".to_owned(),
            ..Subject::default()
        }),
        target: TargetKey { namespace: "local".to_owned(), name: "orders-db".to_owned() },
        host: "localhost".to_owned(),
        port: 5432,
        protocol: Protocol::Postgres,
        action: "DELETE".to_owned(),
        resources: vec!["Delete Relation public.orders".to_owned()],
        statement: Redacted::danger_caller_redacted("DELETE FROM orders WHERE id = ?"),
        digest: Digest([digest; 32]),
        terms: ApprovalTerms {
            asked_by: vec![RuleId { policy: "support".to_owned(), rule: "delete".to_owned(), cluster: false }],
            required_approvals: need,
            deny_threshold: 1,
            scope: policy::verdict::Scope::Once,
            max_grant: None,
            pending_ttl: ttl,
            hold_for: ttl,
            reason_required: false,
            max_hold_in_transaction: None,
            preview: policy::verdict::Preview::default(),
        },
        revision: Revision([7; 32]),
        cover: None,
        session: "s-1".to_owned(),
        impact: None,
    }
}

const LONG: Duration = Duration::from_secs(600);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn standing(ticket: &mut Ticket, wanted: impl FnMut(&Standing) -> bool) -> Standing {
    tokio::time::timeout(Duration::from_secs(10), ticket.standing.wait_for(wanted)).await.unwrap().unwrap().clone()
}

fn phase(path: &Path) -> Option<Phase> {
    let object: ApprovalRequest = serde_yaml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    Some(object.status?.phase)
}

#[tokio::test]
async fn a_quorum_releases_once() {
    let world = world();
    let mut ticket = world.ask(1, 2, LONG).await;
    assert!(ticket.name.starts_with("areq-") && ticket.name.len() == 11, "{}", ticket.name);
    until("the file", || phase(&world.file(&ticket)) == Some(Phase::Pending)).await;
    let mode = std::fs::metadata(world.file(&ticket)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);

    assert_eq!(
        world.vote(ALICE, &ticket, Decision::Approve).await.unwrap(),
        "recorded: approve by alice (1 of 2 needed)"
    );
    assert!(world.vote(ALICE, &ticket, Decision::Approve).await.unwrap_err().contains("voted already"));
    let not = world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.unwrap_err();
    assert_eq!(not, NotConsumed("it is still pending"));
    assert_eq!(*ticket.standing.borrow_and_update(), Standing::Pending { have: 1, need: 2 });

    world.vote(BOB, &ticket, Decision::Approve).await.unwrap();
    let approved = standing(&mut ticket, |s| matches!(s, Standing::Approved { .. })).await;
    assert_eq!(approved, Standing::Approved { by: vec!["alice".to_owned(), "bob".to_owned()] });
    let other = world.approvals.consume(&ticket, &ask(2, 1, LONG)).await.unwrap_err();
    assert_eq!(other, NotConsumed("it was given for another operation"));
    let by = world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.unwrap();
    assert_eq!(by.by, ["alice", "bob"]);
    assert!(by.lease.is_none());
    world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.unwrap_err();
    use ApprovalEvent::{Consumed, Granted, Requested, Vote};
    assert_eq!(world.memory.events(), [Requested, Vote, Vote, Granted, Consumed]);
    let granted = world.memory.approvals.lock().get(3).cloned().unwrap();
    assert_eq!((granted.reviewer.as_deref(), granted.reviewer_uid), (Some("bob"), Some(BOB)));
    until("the file to say so", || std::fs::read_to_string(world.file(&ticket)).unwrap().contains("consumed: true"))
        .await;
    // The same operation needs a new approval.
    assert_ne!(world.ask(1, 2, LONG).await.name, ticket.name);
}

/// An approved request; of this many callers that race for it one may win.
async fn race(callers: usize) {
    let world = world();
    let ticket = world.approved(1, LONG).await;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (approvals, ticket) = (world.approvals.clone(), ticket.clone());
            tokio::spawn(async move { approvals.consume(&ticket, &ask(1, 1, LONG)).await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += u32::from(task.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(world.memory.events().iter().filter(|e| **e == ApprovalEvent::Consumed).count(), 1);
}

#[tokio::test]
async fn of_many_that_race_one_consumes() {
    for _ in 0..20 {
        race(50).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_threads_that_race_one_consumes() {
    race(200).await;
}

#[tokio::test]
async fn the_same_question_is_one_request_and_there_is_a_limit() {
    let world = world();
    let first = world.ask(1, 1, LONG).await;
    assert_eq!(world.ask(1, 1, LONG).await.name, first.name);
    let mut newer = ask(1, 1, LONG);
    newer.revision = Revision([8; 32]);
    let newer = world.approvals.ask(newer).await.unwrap();
    assert_ne!(newer.name, first.name, "other policies, another request");
    world.ask(2, 1, LONG).await;
    world.ask(3, 1, LONG).await;
    assert!(matches!(world.approvals.ask(ask(4, 1, LONG)).await, Err(AskError::TooMany(4))));
    world.approvals.withdraw(&first.name).await;
    assert_eq!(*first.standing.borrow(), Standing::Withdrawn);
    world.ask(4, 1, LONG).await;
}

#[tokio::test]
async fn deny_and_revoke_end_it() {
    let world = world();
    let mut denied = world.ask(1, 2, LONG).await;
    world.vote(BOB, &denied, Decision::Deny).await.unwrap();
    let how = standing(&mut denied, |s| matches!(s, Standing::Denied { .. })).await;
    assert_eq!(how, Standing::Denied { by: "bob".to_owned(), reason: Some("INC-1".to_owned()) });
    assert!(world.vote(ALICE, &denied, Decision::Approve).await.unwrap_err().contains("closed"));

    let mut revoked = world.ask(2, 1, LONG).await;
    assert!(world.vote(ALICE, &revoked, Decision::Revoke).await.unwrap_err().contains("nothing to revoke"));
    world.vote(ALICE, &revoked, Decision::Approve).await.unwrap();
    world.vote(BOB, &revoked, Decision::Revoke).await.unwrap();
    standing(&mut revoked, |s| *s == Standing::Revoked).await;
    world.approvals.consume(&revoked, &ask(2, 1, LONG)).await.unwrap_err();
    until("the file", || phase(&world.file(&revoked)) == Some(Phase::Revoked)).await;
}

#[tokio::test]
async fn time_runs_out_for_pending_and_for_approved() {
    let world = world();
    let mut pending = world.ask(1, 1, Duration::from_millis(300)).await;
    let mut approved = world.ask(2, 1, Duration::from_millis(400)).await;
    world.vote(ALICE, &approved, Decision::Approve).await.unwrap();
    standing(&mut pending, |s| *s == Standing::Expired).await;
    standing(&mut approved, |s| *s == Standing::Expired).await;
    let late = world.approvals.consume(&approved, &ask(2, 1, LONG)).await.unwrap_err();
    assert_eq!(late, NotConsumed("expired"));
    assert!(world.vote(ALICE, &pending, Decision::Approve).await.unwrap_err().contains("expired"));
    assert_eq!(world.memory.events().iter().filter(|e| **e == ApprovalEvent::Expired).count(), 2);
    until("the file", || phase(&world.file(&pending)) == Some(Phase::Expired)).await;
}

#[tokio::test]
async fn a_record_that_takes_past_the_expiry_releases_nothing() {
    let world = world();
    let ticket = world.approved(1, Duration::from_millis(250)).await;
    world.memory.slow.store(true, Ordering::SeqCst);
    let late = world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.unwrap_err();
    assert_eq!(late, NotConsumed("expired"));
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let world = world();
    let ticket = world.ask(1, 1, LONG).await;
    world.memory.broken.store(true, Ordering::SeqCst);
    assert!(matches!(world.approvals.ask(ask(2, 1, LONG)).await, Err(AskError::Away)));
    assert!(world.vote(ALICE, &ticket, Decision::Approve).await.unwrap_err().contains("does not count"));
    assert_eq!(*ticket.standing.borrow(), Standing::Pending { have: 0, need: 1 });
    world.memory.broken.store(false, Ordering::SeqCst);
    world.vote(ALICE, &ticket, Decision::Approve).await.unwrap();
    world.memory.broken.store(true, Ordering::SeqCst);
    let not = world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.unwrap_err();
    assert_eq!(not, NotConsumed("its use could not be recorded"));
    world.memory.broken.store(false, Ordering::SeqCst);
    world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.expect_err("once is also a failed time");
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_nothing_half_way() {
    let world = world();
    let ticket = world.approved(1, LONG).await;
    world.memory.slow.store(true, Ordering::SeqCst);
    let gone = tokio::time::timeout(Duration::from_millis(50), world.approvals.consume(&ticket, &ask(1, 1, LONG)));
    assert!(gone.await.is_err());
    until("the record", || world.memory.events().contains(&ApprovalEvent::Consumed)).await;
    world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.unwrap_err();
}

#[tokio::test]
async fn edited_files_decide_nothing_and_are_put_right() {
    let world = world();
    let ticket = world.ask(1, 1, LONG).await;
    let path = world.file(&ticket);
    until("the file", || path.exists()).await;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("phase: Pending", "phase: Approved")).unwrap();
    std::fs::write(world.state.requests().join("areq-aaaaaa.yaml"), &text).unwrap();
    until("the old text", || std::fs::read_to_string(&path).is_ok_and(|now| now == text)).await;
    until("the foreign file to go", || !world.state.requests().join("areq-aaaaaa.yaml").exists()).await;
    assert_eq!(*ticket.standing.borrow(), Standing::Pending { have: 0, need: 1 });
    world.approvals.consume(&ticket, &ask(1, 1, LONG)).await.unwrap_err();
    std::fs::remove_file(&path).unwrap();
    until("the file again", || path.exists()).await;
    let markers = world.memory.markers.lock().clone();
    assert!(markers.iter().any(|(_, text)| text.contains(&ticket.name)), "{markers:?}");
    assert!(markers.iter().any(|(_, text)| text.contains("areq-aaaaaa")), "{markers:?}");
}

/// What is neither a file nor ours in the place of one is put right and recorded, and keeps no other file from being
/// written: a FIFO blocks whoever opens it, a folder cannot be replaced by a file, a link leads elsewhere.
#[tokio::test]
async fn things_in_the_place_of_files_are_put_right() {
    let world = world();
    let requests = world.state.requests();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("outside");
    for (digest, what) in [(1, "fifo"), (2, "folder"), (3, "link"), (4, "neighbour")] {
        let ticket = world.ask(digest, 1, LONG).await;
        let path = world.file(&ticket);
        until("the file", || path.exists()).await;
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        match what {
            "fifo" => fifo(&path),
            "folder" => std::fs::create_dir_all(path.join("in the way")).unwrap(),
            "link" => {
                std::fs::write(&outside, &text).unwrap();
                std::os::unix::fs::symlink(&outside, &path).unwrap();
            }
            _ => std::fs::create_dir_all(requests.join(format!("{}.yaml.tmp/in the way", ticket.name))).unwrap(),
        }
        let right = || {
            let file = std::fs::symlink_metadata(&path).is_ok_and(|about| about.is_file());
            file && std::fs::read_to_string(&path).is_ok_and(|now| now == text)
        };
        until(what, right).await;
        let told = || world.memory.markers.lock().iter().any(|(_, said)| said.contains(&ticket.name));
        until("the record", told).await;
        world.approvals.withdraw(&ticket.name).await;
        until("the next file", || phase(&path) == Some(Phase::Withdrawn)).await;
    }
    std::fs::create_dir_all(requests.join("areq-aaaaaa.yaml/in the way")).unwrap();
    fifo(&requests.join("areq-bbbbbb.yaml"));
    until("foreign things to go", || {
        !requests.join("areq-aaaaaa.yaml").exists() && !requests.join("areq-bbbbbb.yaml").exists()
    })
    .await;
    until("the record", || world.memory.markers.lock().iter().any(|(_, said)| said.contains("areq-aaaaaa"))).await;
}

#[tokio::test]
async fn a_start_waits_for_nothing_that_lies_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let requests = dir.path().join("state/requests");
    std::fs::create_dir_all(&requests).unwrap();
    fifo(&requests.join("areq-aaaaaa.yaml"));
    std::os::unix::fs::symlink("/dev/zero", requests.join("areq-bbbbbb.yaml")).unwrap();
    std::fs::set_permissions(&requests, std::fs::Permissions::from_mode(0o750)).unwrap();
    let starts = tokio::task::spawn_blocking({
        let runtime = tokio::runtime::Handle::current();
        move || {
            let _within = runtime.enter();
            world_of(&[("alice", ALICE)], dir)
        }
    });
    let world = tokio::time::timeout(Duration::from_secs(5), starts).await.expect("it starts").unwrap();
    assert!(world.approvals.list().is_empty());
    until("them to go", || std::fs::read_dir(&requests).unwrap().count() == 0).await;
}

fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Five hundred ended requests are kept for a day: an agent must not fill memory with them.
#[tokio::test]
async fn an_ended_request_keeps_the_beginning_of_a_long_statement() {
    let world = world();
    let mut long = ask(1, 1, LONG);
    let statement = format!("DELETE FROM orders WHERE id IN ({})", "4711, ".repeat(30_000));
    long.statement = Redacted::danger_caller_redacted(&statement);
    long.resources = (0..200).map(|n| format!("Delete Relation public.{n}")).collect();
    let ticket = world.approvals.ask(long).await.unwrap();
    let path = world.file(&ticket);
    until("the file", || path.exists()).await;
    assert!(std::fs::read_to_string(&path).unwrap().contains(&statement), "who decides sees all of it");
    world.vote(ALICE, &ticket, Decision::Deny).await.unwrap();
    until("the file", || phase(&path) == Some(Phase::Denied)).await;
    assert!(std::fs::metadata(&path).unwrap().len() < 16 * 1024);
    let [object] = <[_; 1]>::try_from(world.approvals.list()).unwrap();
    assert!(object.spec.statement.starts_with("DELETE FROM orders WHERE id IN (4711"));
    assert!(object.spec.statement.contains("180033 characters"), "{}", object.spec.statement);
    let second = restarted(world).await;
    assert_eq!(second.approvals.list(), [object], "and the same after a restart");
}

#[tokio::test]
async fn a_restart_expires_what_was_open() {
    let first = world();
    let (open, denied) = (first.ask(1, 1, LONG).await, first.ask(2, 1, LONG).await);
    first.vote(ALICE, &open, Decision::Approve).await.unwrap();
    first.vote(ALICE, &denied, Decision::Deny).await.unwrap();
    until("the files", || {
        phase(&first.file(&open)) == Some(Phase::Approved) && phase(&first.file(&denied)) == Some(Phase::Denied)
    })
    .await;
    let second = restarted(first).await;
    until("the file", || phase(&second.file(&open)) == Some(Phase::Expired)).await;
    assert_eq!(phase(&second.file(&denied)), Some(Phase::Denied));
    until("the record", || second.memory.events() == [ApprovalEvent::Expired]).await;
    assert!(second.vote(ALICE, &open, Decision::Approve).await.unwrap_err().contains("earlier start"));
    second.approvals.consume(&open, &ask(1, 1, LONG)).await.unwrap_err();
    assert_ne!(second.ask(1, 1, LONG).await.name, open.name);
    assert_eq!(second.approvals.list().len(), 3);
    assert!(second.memory.markers.lock().is_empty(), "our own old files are no edits");
}

#[tokio::test]
async fn only_listed_users_decide() {
    let world = world();
    let ticket = world.ask(1, 1, LONG).await;
    assert!(world.vote(71_003, &ticket, Decision::Approve).await.unwrap_err().contains("not an approver"));
    assert_eq!(*ticket.standing.borrow(), Standing::Pending { have: 0, need: 1 });
    let markers = world.memory.markers.lock().clone();
    assert!(
        matches!(markers.as_slice(), [(What::AuthenticationFailed, text)] if text.contains("71003")),
        "{markers:?}"
    );
    for _ in 0..100 {
        world.vote(71_003, &ticket, Decision::Approve).await.unwrap_err();
    }
    assert!(world.memory.markers.lock().len() <= 20, "attempts cannot flood the recording");
    for name in ["", "x", "areq-", "areq-../../x", "areq-ABCDEF", "areq-aaaaaa"] {
        world.approvals.decide(ALICE, name, Decision::Approve, None).await.unwrap_err();
    }
}

// --- the socket ---

async fn call(stream: &mut BufReader<UnixStream>, call: &LocalCall) -> LocalAnswer {
    let mut line = serde_json::to_vec(call).unwrap();
    line.push(b'\n');
    stream.write_all(&line).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut BufReader<UnixStream>) -> LocalAnswer {
    let mut line = String::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_line(&mut line)).await.unwrap().unwrap();
    assert!(line.len() <= 64 * 1024, "{} bytes", line.len());
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

async fn connect(socket: &Path) -> BufReader<UnixStream> {
    BufReader::new(UnixStream::connect(socket).await.unwrap())
}

#[tokio::test]
async fn approvers_talk_over_the_socket() {
    let world = world();
    let socket = world.socket();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut watcher = connect(&socket).await;
    let LocalAnswer::Requests { items } = call(&mut watcher, &LocalCall::Watch).await else { panic!("a list first") };
    assert!(items.is_empty());
    let ticket = world.ask(1, 1, LONG).await;
    let LocalAnswer::Request { item } = answer(&mut watcher).await else { panic!("a change") };
    assert_eq!(item.metadata.name.as_deref(), Some(ticket.name.as_str()));
    assert_eq!(item.spec.statement, "DELETE FROM orders WHERE id = ?");

    let mut caller = connect(&socket).await;
    let LocalAnswer::Requests { items } = call(&mut caller, &LocalCall::List).await else { panic!("a list") };
    assert_eq!(items.len(), 1);
    let decide = LocalCall::Decide { name: ticket.name.clone(), decision: Decision::Approve, reason: None };
    let LocalAnswer::Decided { item, message } = call(&mut caller, &decide).await else { panic!("a decision") };
    assert_eq!(item.status.unwrap().phase, Phase::Approved);
    assert_eq!(message, "recorded: approve by me (approved)");
    let LocalAnswer::Refused { message } = call(&mut caller, &decide).await else { panic!("a refusal") };
    assert!(message.contains("closed"), "{message}");
    let LocalAnswer::Request { item } = answer(&mut watcher).await else { panic!("a change") };
    assert_eq!(item.status.unwrap().phase, Phase::Approved);
}

#[tokio::test]
async fn long_statements_fit_the_line() {
    let world = world();
    let socket = world.socket();
    for digest in 0..4 {
        let mut long = ask(digest, 1, LONG);
        long.statement = Redacted::danger_caller_redacted(&"\"x\" ".repeat(60_000));
        long.resources = vec!["r".repeat(500); 256];
        world.approvals.ask(long).await.unwrap();
    }
    let mut caller = connect(&socket).await;
    let LocalAnswer::Requests { items } = call(&mut caller, &LocalCall::List).await else { panic!("a list") };
    assert_eq!(items.len(), 4);
    assert!(items.iter().all(|i| i.spec.statement.contains("the whole is in requests/areq-")));
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    const FORGED: &str = "{\"do\":\"decide\",\"name\":\"areq-aaaaaa\",\"decision\":\"approve\",\"uid\":71001}";
    let world = world();
    let socket = world.socket();
    for bad in ["{}", "no json", "{\"do\":\"decide\"}", FORGED] {
        let mut caller = connect(&socket).await;
        caller.write_all(format!("{bad}\n").as_bytes()).await.unwrap();
        let LocalAnswer::Refused { message } = answer(&mut caller).await else { panic!("a refusal of {bad}") };
        assert!(message.contains("not a call"), "{message}");
        assert_eq!(caller.read(&mut [0; 1]).await.unwrap(), 0, "and closed");
    }
    let mut caller = connect(&socket).await;
    caller.write_all(&vec![b'x'; 64 * 1024]).await.unwrap();
    let LocalAnswer::Refused { message } = answer(&mut caller).await else { panic!("a refusal") };
    assert!(message.contains("65536"), "{message}");
}

#[tokio::test]
async fn silent_callers_and_watchers_keep_nobody_away() {
    let world = world();
    let socket = world.socket();
    let ticket = world.ask(1, 1, LONG).await;
    let mut watchers = Vec::new();
    for _ in 0..8 {
        let mut watcher = connect(&socket).await;
        assert!(matches!(call(&mut watcher, &LocalCall::Watch).await, LocalAnswer::Requests { .. }));
        watchers.push(watcher);
    }
    let mut ninth = connect(&socket).await;
    assert!(matches!(call(&mut ninth, &LocalCall::Watch).await, LocalAnswer::Refused { .. }));
    let _silent = [connect(&socket).await, connect(&socket).await, connect(&socket).await];
    let mut caller = connect(&socket).await;
    let decide = LocalCall::Decide { name: ticket.name, decision: Decision::Approve, reason: None };
    assert!(matches!(call(&mut caller, &decide).await, LocalAnswer::Decided { .. }));
}

/// Another user on a real socket: needs root to become one. CI runs as root; elsewhere the uid is our own, unlisted.
#[tokio::test]
async fn an_unlisted_user_is_refused_before_it_speaks() {
    let world = world_of(&[("alice", ALICE), ("bob", BOB)], tempfile::tempdir().unwrap());
    let ticket = world.ask(1, 1, LONG).await;
    let socket = world.socket();
    let line = |name: &str| format!("{{\"do\":\"decide\",\"name\":\"{name}\",\"decision\":\"approve\"}}\n");
    if !rustix::process::geteuid().is_root() {
        let mut caller = connect(&socket).await;
        assert!(matches!(answer(&mut caller).await, LocalAnswer::Refused { .. }));
        return;
    }
    // Whoever may open the socket by its group and is not listed, then alice, who is.
    for (uid, group, expected) in [(71_009, 0, "not an approver"), (ALICE, 0, "recorded: approve by alice")] {
        let output = as_user(uid, group, &socket, &line(&ticket.name)).await;
        assert!(output.contains(expected), "{uid}: {output}");
    }
    // And who is listed but not of the group does not even reach it.
    let output = as_user(BOB, BOB, &socket, &line(&ticket.name)).await;
    assert!(output.contains("Permission denied"), "{output}");
    let markers = world.memory.markers.lock().clone();
    assert!(
        markers.iter().any(|(what, text)| *what == What::AuthenticationFailed && text.contains("uid 71009")),
        "{markers:?}"
    );
    let granted = world.memory.approvals.lock().iter().find(|a| a.event == ApprovalEvent::Granted).cloned().unwrap();
    assert_eq!(granted.reviewer_uid, Some(ALICE));
}

/// Runs [`talk`] as another user, from a copy of this program that the user can read.
async fn as_user(uid: u32, gid: u32, socket: &Path, line: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("talk");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = tokio::process::Command::new(&program)
        .args(["talk", "--exact", "--nocapture"])
        .env("TALK_SOCKET", socket)
        .env("TALK_LINE", line)
        .current_dir("/")
        .uid(uid)
        .gid(gid)
        .output()
        .await
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The other user of `an_unlisted_user_is_refused_before_it_speaks`: this program again, with its part in the
/// environment. Without one there is nothing to play.
#[test]
fn talk() {
    use std::io::{Read as _, Write as _};
    let Ok(socket) = std::env::var("TALK_SOCKET") else { return };
    let mut stream = match std::os::unix::net::UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) => return println!("{error}"),
    };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Who is refused unheard may find the other end closed.
    let _ = stream.write_all(std::env::var("TALK_LINE").unwrap().as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    println!("{text}");
}

#[tokio::test]
async fn what_it_would_do_is_shown_recorded_and_comes_back_with_the_approval() {
    let world = world();
    let counted = Some(policy::impact::Counted { rows: 100, more: false });
    let impact = policy::impact::Impact { estimated: Some(90), counted, compared: true, remark: String::new() };
    let question = Ask { impact: Some(impact.clone()), ..ask(9, 1, LONG) };
    assert!(!world.approvals.knows(&question));
    let ticket = world.approvals.ask(question.clone()).await.unwrap();
    assert!(world.approvals.knows(&question));
    let recorded = world.memory.approvals.lock().first().and_then(|asked| asked.impact.clone()).unwrap();
    assert_eq!((recorded.counted_rows, recorded.rollback_above), (Some(100), Some(120)));
    until("the file", || phase(&world.file(&ticket)) == Some(Phase::Pending)).await;
    let object: ApprovalRequest = serde_yaml::from_str(&std::fs::read_to_string(world.file(&ticket)).unwrap()).unwrap();
    assert_eq!(object.spec.impact, Some(impact.shown()));
    // Whoever asks the same again with other numbers gets the request that people read, and its bound.
    let other = Ask { impact: Some(policy::impact::Impact::none("why")), ..ask(9, 1, LONG) };
    assert_eq!(world.approvals.ask(other.clone()).await.unwrap().name, ticket.name);
    world.vote(ALICE, &ticket, Decision::Approve).await.unwrap();
    assert_eq!(world.approvals.consume(&ticket, &other).await.unwrap().rollback_above, Some(120));
    // A request without one, as before.
    let plain = world.approved(10, LONG).await;
    assert_eq!(world.approvals.consume(&plain, &ask(10, 1, LONG)).await.unwrap().rollback_above, None);
}
