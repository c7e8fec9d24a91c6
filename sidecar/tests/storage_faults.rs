//! A storage that blocks or fails an append: nothing is sent, whoever asks hears so in time, and it goes on by itself
//! once the storage does. The gate and the connection to the target are the real ones; the target is a listener that
//! keeps what it is sent.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use policy::compile::{Input, Named};
use policy::operation::{
    Access, Attributes, Certainty, Digest, Fields, Operation, Origin, Protocol, Resource, ResourceKind, Strictness,
    Verb,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::{PolicySet, TargetKey};
use recording::spool::faulty::{EIO, ENOSPC, EROFS, Faults, FaultyStorage};
use recording::verify::{Verdict, verify};
use recording::{SigningKey, VerifyingKey, Writer, WriterConfig};
use sidecar::gate::{AgentSide, Desk, Gate, Moment, Outcome, Refusal, Refused, Stage, Told};
use sidecar::metrics::Metrics;
use sidecar::outside::{
    Answer, Approvals, Ask, AskError, MAX_POLICY_AGE, NotConsumed, PolicySnapshot, Reach, Target, Ticket, Used,
};
use sidecar::recorder::{Recorder, SessionRef};
use sidecar::upstream::{Greeting, Upstream, payload_hash};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

const TARGET: &str = "
protocol: Postgres
host: 127.0.0.1
port: 5432
tls: {mode: Disabled}
credentialRef: {name: login}
postgres: {databases: [app]}
";

/// The limit, and how long a busy machine may take to say so.
const WAIT: Duration = Duration::from_millis(1000);
const MARGIN: Duration = Duration::from_millis(700);

fn policies(durability: &str) -> PolicySet {
    policies_with(durability, "{name: reads, action: Allow, verbs: [Select], relations: [public.orders]}")
}

fn policies_with(durability: &str, rule: &str) -> PolicySet {
    let policy = format!(
        "podSelector: {{}}\nrecording: {{level: Statements, durability: {durability}}}\ntargets:\n  \
         - targetRef: {{name: db}}\n    postgres:\n      rules:\n        \
         - {rule}\n"
    );
    let named = |name: &str| (String::from("local"), name.to_owned());
    let ((namespace, name), (there, target)) = (named("agent"), named("db"));
    policy::compile(&Input {
        targets: vec![Named { namespace: there, name: target, spec: serde_yaml::from_str(TARGET).unwrap() }],
        policies: vec![Named { namespace, name, spec: serde_yaml::from_str(&policy).unwrap() }],
        cluster: Vec::new(),
    })
    .unwrap()
}

/// Nobody can be asked.
struct Nobody;

impl Approvals for Nobody {
    fn ask(&self, _ask: Ask) -> Answer<'_, Result<Ticket, AskError>> {
        Box::pin(async { Err(AskError::Away) })
    }

    fn knows(&self, _: &Ask) -> bool {
        false
    }

    fn withdraw(&self, _name: &str) -> Answer<'_, ()> {
        Box::pin(async {})
    }

    fn consume(&self, _ticket: &Ticket, _ask: &Ask) -> Answer<'_, Result<Used, NotConsumed>> {
        Box::pin(async { Err(NotConsumed("nobody was asked")) })
    }
}

struct Agent;

impl AgentSide for Agent {
    fn told(&self, _refused: &Refused) -> Told {
        Told { code: None, text: "refused".to_owned() }
    }

    async fn progress(&mut self, _request: &str, _have: u8, _need: u8) {}

    async fn gave_up(&mut self) {
        pending().await
    }
}

/// One session: a desk at the gate and a connection to a target that keeps what arrives.
struct Session {
    storage: FaultyStorage,
    writer: Writer,
    key: VerifyingKey,
    gate: Arc<Gate>,
    desk: Desk,
    upstream: Upstream,
    arrived: Arc<Mutex<Vec<u8>>>,
    sent: Vec<u8>,
    policies: watch::Sender<PolicySnapshot>,
}

impl Session {
    async fn begin(durability: &str, fast: bool) -> Self {
        let storage = FaultyStorage::new();
        storage.set(|faults| faults.fast = fast);
        let key = SigningKey::generate("test").unwrap();
        let public = key.public().clone();
        let (writer, _) =
            Writer::open(WriterConfig::default(), Arc::new(storage.clone()), key, Box::new(|_| ())).unwrap();
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let recorder = Recorder::new(writer.clone(), WAIT, Arc::clone(&metrics));
        let set = Arc::new(policies(durability));
        let (sender, policies) =
            watch::channel(PolicySnapshot { set, confirmed: Instant::now(), max_age: MAX_POLICY_AGE });
        let gate = Gate::new(recorder, Arc::new(Nobody), policies, metrics);

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&arrived);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = BytesMut::new();
            while stream.read_buf(&mut bytes).await.unwrap() > 0 {
                kept.lock().extend_from_slice(&bytes.split());
            }
        });
        let greeting = Greeting::dial("127.0.0.1", port, Reach::Anywhere, Duration::from_secs(5)).await.unwrap();
        let key_of = TargetKey { namespace: "local".to_owned(), name: "db".to_owned() };
        let spec: crds::target::AccessTargetSpec = serde_yaml::from_str(TARGET).unwrap();
        let target = Target {
            key: key_of,
            host: "127.0.0.1".to_owned(),
            port,
            reach: Reach::Anywhere,
            tls: spec.tls.mode,
            postgres: spec.postgres.unwrap(),
        };
        let subject = Subject { namespace: "local".to_owned(), ..Subject::default() };
        let desk = gate.desk(SessionRef::new("s-1"), Arc::new(subject), Arc::new(target));
        let upstream = greeting.established(BytesMut::new());
        Self { storage, writer, key: public, gate, desk, upstream, arrived, sent: Vec::new(), policies: sender }
    }

    fn operation(&mut self, number: usize) -> (Operation, Vec<u8>) {
        let text = format!("SELECT {number} FROM orders");
        let frames = format!("frames of `{text}`;").into_bytes();
        let resource = Resource {
            kind: ResourceKind::Relation,
            path: vec!["public".to_owned(), "orders".to_owned()],
            fields: Fields::All,
        };
        let operation = Operation {
            protocol: Protocol::Postgres,
            action: "SELECT".to_owned(),
            accesses: vec![Access { verb: Verb::Read, resource, bounded: None, indirect: false }],
            attributes: Attributes::default(),
            certainty: Certainty::Exact,
            payload: payload_hash(&frames),
            digest: Digest([7; 32]),
            ceiling: Strictness::Allow,
            origin: Origin::Agent,
            planned: self.desk.revision(),
            display: Redacted::danger_caller_redacted(&text),
        };
        (operation, frames)
    }

    /// What a session does with each statement: through the gate, then out.
    async fn statement(&mut self, number: usize) -> Result<(), Refused> {
        let (operation, frames) = self.operation(number);
        let permit = self.desk.admit(&operation, Stage::Run, Moment::Idle, &mut Agent).await?;
        let (_, running) = self.upstream.send(permit, &frames).unwrap();
        self.upstream.flush().await.unwrap();
        self.sent.extend_from_slice(&frames);
        running.finish(&Outcome::of(recording::entry::Status::Ok));
        Ok(())
    }

    /// Refused because it could not be recorded, within the limit.
    async fn refused(&mut self, number: usize, case: &str) {
        let asked = Instant::now();
        let answer = self.statement(number).await;
        let took = asked.elapsed();
        assert!(
            matches!(&answer, Err(refused) if matches!(refused.refusal, Refusal::Unrecorded(_))),
            "{case}: {answer:?}"
        );
        assert!(took < WAIT + MARGIN, "{case}: {took:?}");
    }

    /// Nothing but what was permitted is at the target, and each of it is in the recording.
    async fn only_what_was_sent(&self, case: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.arrived.lock().len() < self.sent.len() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(*self.arrived.lock(), self.sent, "{case}");
        let recorded: Vec<u8> = self.storage.files().into_iter().flat_map(|(_, content)| content).collect();
        let recorded = String::from_utf8_lossy(&recorded).into_owned();
        for statement in String::from_utf8_lossy(&self.sent).split(';').filter(|part| !part.is_empty()) {
            let text = statement.split('`').nth(1).unwrap();
            assert!(recorded.contains(&format!("\"display\":\"{text}\"")), "{case}: {text} was sent without an intent");
        }
    }

    /// Sound: at most what follows the last checkpoint is unsigned, and half a line may stand at its end.
    fn sound(&self, storage: &FaultyStorage, case: &str) -> Verdict {
        let verdict = verify(storage, &self.key, None).unwrap().verdict;
        assert!(matches!(verdict, Verdict::Intact | Verdict::UnsignedTail { .. }), "{case}: {verdict}");
        verdict
    }
}

type Break = (&'static str, &'static str, fn(&mut Faults));

/// Each way in which an append or a sync goes wrong, with the durability under which it counts.
const BREAKS: [Break; 9] = [
    ("blocks", "Written", |faults| faults.stall_append = true),
    ("no space", "Written", |faults| faults.append = Some((0, ENOSPC))),
    ("half a line, then no space", "Written", |faults| faults.append = Some((40, ENOSPC))),
    ("input or output error", "Written", |faults| faults.append = Some((0, EIO))),
    ("the whole line, then an error", "Written", |faults| faults.append = Some((100_000, EIO))),
    ("read-only, no new file", "Written", |faults| {
        faults.append = Some((0, EROFS));
        faults.create = Some(EROFS);
        faults.truncate = Some(EROFS);
    }),
    ("blocks", "Synced", |faults| faults.stall_append = true),
    ("sync blocks", "Synced", |faults| faults.stall_sync = true),
    ("sync fails", "Synced", |faults| faults.sync = Some(EIO)),
];

async fn break_and_mend(fast: bool) {
    for (what, durability, fault) in BREAKS {
        if fast && what == "blocks" && durability == "Written" {
            continue;
        }
        for before in 0..4 {
            let case = format!("{what}, {durability}, fast {fast}, after {before}");
            let mut session = Session::begin(durability, fast).await;
            for number in 0..before {
                session.statement(number).await.unwrap();
            }
            // What is written behind has to be done, so that the next append is that of the intent.
            session.only_what_was_sent(&case).await;
            session.storage.set(fault);
            session.refused(100, &case).await;
            session.refused(101, &case).await;
            session.only_what_was_sent(&case).await;
            session.sound(&session.storage.killed(), &case);

            session.storage.set(|faults| *faults = Faults { fast, ..Faults::default() });
            let mended = Instant::now();
            while session.statement(200).await.is_err() {
                assert!(mended.elapsed() < Duration::from_secs(5), "{case}: it does not recover");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            session.only_what_was_sent(&case).await;
            let writer = session.writer.clone();
            tokio::task::spawn_blocking(move || writer.close()).await.unwrap().unwrap();
            assert_eq!(session.sound(&session.storage, &case), Verdict::Intact, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_append_no_byte() {
    break_and_mend(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_append_no_byte_where_callers_write_themselves() {
    break_and_mend(true).await;
}

/// On a disk of this machine a caller writes its own line to the page cache. When that blocks all the same, this one
/// caller waits with it; nothing is sent, and the others hear in time that they are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_blocked_write_of_our_own_sends_nothing_and_holds_nobody_else() {
    let mut session = Session::begin("Written", true).await;
    session.statement(0).await.unwrap();
    session.only_what_was_sent("before").await;
    let mut other = session.gate.desk(
        SessionRef::new("s-2"),
        Arc::clone(session.desk.subject()),
        Arc::clone(session.desk.target()),
    );
    let (operation, _) = session.operation(2);
    let (storage, arrived, sent) = (session.storage.clone(), Arc::clone(&session.arrived), session.sent.clone());
    storage.set(|faults| faults.stall_append = true);
    let (appends, _) = storage.calls();
    let blocked = tokio::spawn(async move {
        let answer = session.statement(1).await;
        (session, answer)
    });
    while storage.calls().0 == appends {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..3 {
        let asked = Instant::now();
        let answer = other.admit(&operation, Stage::Run, Moment::Idle, &mut Agent).await;
        let refusal = answer.map(drop).unwrap_err().refusal;
        assert!(matches!(refusal, Refusal::Unrecorded(_)), "{refusal:?}");
        assert!(asked.elapsed() < WAIT + MARGIN, "{:?}", asked.elapsed());
    }
    assert_eq!(*arrived.lock(), sent, "something was sent while its intent was not written");
    storage.set(|faults| faults.stall_append = false);
    let (session, _late) = blocked.await.unwrap();
    session.only_what_was_sent("after").await;
}

/// The record takes its time: a permit under a policy that is not in force any more, or too old by then, is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_policy_that_changes_while_the_intent_is_written_counts() {
    const DENY: &str = "{name: none, action: Deny, verbs: [Select], relations: [public.orders]}";
    let changes = ["Written", "Synced"].into_iter().flat_map(|durability| {
        let other = (durability, policies_with(durability, DENY), MAX_POLICY_AGE, "denied");
        [other, (durability, policies(durability), Duration::ZERO, "policy_too_old")]
    });
    for (durability, set, max_age, word) in changes {
        let case = format!("{durability}, {word}");
        let mut session = Session::begin(durability, false).await;
        session.statement(0).await.unwrap();
        session.only_what_was_sent(&case).await;
        let (storage, policies) = (session.storage.clone(), session.policies.clone());
        storage.set(|faults| faults.stall_append = true);
        let (appends, _) = storage.calls();
        let waiting = tokio::spawn(async move {
            let answer = session.statement(1).await;
            (session, answer)
        });
        while storage.calls().0 == appends {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        policies.send_replace(PolicySnapshot { set: Arc::new(set), confirmed: Instant::now(), max_age });
        storage.set(|faults| faults.stall_append = false);
        let (session, answer) = waiting.await.unwrap();
        assert_eq!(answer.unwrap_err().refusal.word(), word, "{case}");
        session.only_what_was_sent(&case).await;
        let writer = session.writer.clone();
        tokio::task::spawn_blocking(move || writer.close()).await.unwrap().unwrap();
        let recorded: Vec<u8> = storage.files().into_iter().flat_map(|(_, content)| content).collect();
        assert_eq!(String::from_utf8_lossy(&recorded).matches("\"status\":\"not_sent\"").count(), 1, "{case}");
    }
}
