//! Grants at the gate: what they let through is on record under their name, and a session ends with them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use policy::compile::{Input, Named};
use policy::operation::{
    Access, Attribute, Certainty, Digest, Fields, Operation, Origin, Protocol, Resource, ResourceKind, Strictness, Verb,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::{PolicySet, TargetKey};
use recording::spool::faulty::FaultyStorage;
use recording::{SigningKey, Writer, WriterConfig};
use sidecar::gate::{AgentSide, Desk, Gate, Moment, Permit, Refusal, Refused, Stage, Told};
use sidecar::metrics::Metrics;
use sidecar::outside::{
    Answer, Approvals, Ask, AskError, Lease, MAX_POLICY_AGE, NotConsumed, PolicySnapshot, Reach, Standing, Target,
    Ticket, Used,
};
use sidecar::recorder::{Recorder, SessionRef};
use sidecar::upstream::payload_hash;
use tokio::sync::watch;
use tokio::time::timeout;

const TARGET: &str = "
protocol: Postgres
host: 127.0.0.1
port: 5432
tls: {mode: Disabled}
credentialRef: {name: login}
postgres: {databases: [shop]}
";

const SOON: Duration = Duration::from_secs(2);

fn policies(hold: &str) -> Arc<PolicySet> {
    let policy = format!(
        "
podSelector: {{}}
approvals: [{{name: person, scope: Duration, maxGrantDuration: 30m, holdFor: {hold}}}]
targets:
- targetRef: {{name: db}}
  postgres:
    rules:
    - {{name: ask, action: RequireApproval, approval: person, verbs: [Delete], relations: [public.orders, public.people]}}
    - {{name: free, action: Allow, verbs: [Delete], relations: [public.free]}}
"
    );
    let named = |name: &str| ("local".to_owned(), name.to_owned());
    let ((namespace, name), (there, target)) = (named("agent"), named("db"));
    let set = policy::compile(&Input {
        targets: vec![Named { namespace: there, name: target, spec: serde_yaml::from_str(TARGET).unwrap() }],
        policies: vec![Named { namespace, name, spec: serde_yaml::from_str(&policy).unwrap() }],
        cluster: Vec::new(),
    });
    Arc::new(set.unwrap())
}

/// People who granted everything to `public.orders` and are silent about the rest.
struct People {
    granted: watch::Sender<Standing>,
    silent: watch::Sender<Standing>,
    left: Duration,
    of_session: bool,
    asked: Mutex<Vec<Ask>>,
    withdrawn: Mutex<Vec<String>>,
}

impl Approvals for People {
    fn ask(&self, ask: Ask) -> Answer<'_, Result<Ticket, AskError>> {
        let ticket = match ask.resources.iter().any(|resource| resource.contains("orders")) {
            true => Ticket { name: "areq-granted".to_owned(), standing: self.granted.subscribe() },
            false => Ticket { name: "areq-silent".to_owned(), standing: self.silent.subscribe() },
        };
        self.asked.lock().push(ask);
        Box::pin(async { Ok(ticket) })
    }

    fn knows(&self, _: &Ask) -> bool {
        false
    }

    fn withdraw(&self, name: &str) -> Answer<'_, ()> {
        self.withdrawn.lock().push(name.to_owned());
        Box::pin(async {})
    }

    fn consume(&self, ticket: &Ticket, ask: &Ask) -> Answer<'_, Result<Used, NotConsumed>> {
        let lease = Lease {
            name: ticket.name.clone(),
            ends: Instant::now() + self.left,
            standing: ticket.standing.clone(),
            revision: ask.revision,
            of_session: self.of_session,
        };
        let counts = matches!(*self.granted.borrow(), Standing::Approved { .. });
        let used = Used { by: vec!["alice".to_owned()], lease: Some(lease), rollback_above: None };
        Box::pin(async move { if counts { Ok(used) } else { Err(NotConsumed("it was revoked")) } })
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

struct World {
    people: Arc<People>,
    storage: FaultyStorage,
    policies: watch::Sender<PolicySnapshot>,
    desk: Desk,
}

impl World {
    fn new(left: Duration, of_session: bool) -> Self {
        let storage = FaultyStorage::new();
        let key = SigningKey::generate("test").unwrap();
        let (writer, _) =
            Writer::open(WriterConfig::default(), Arc::new(storage.clone()), key, Box::new(|_| ())).unwrap();
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let recorder = Recorder::new(writer, Duration::from_secs(2), Arc::clone(&metrics));
        let (sender, policies) = watch::channel(snapshot("20s"));
        let people = Arc::new(People {
            granted: watch::Sender::new(Standing::Approved { by: vec!["alice".to_owned()] }),
            silent: watch::Sender::new(Standing::Pending { have: 0, need: 1 }),
            left,
            of_session,
            asked: Mutex::default(),
            withdrawn: Mutex::default(),
        });
        let gate = Gate::new(recorder, Arc::clone(&people) as Arc<dyn Approvals>, policies, metrics);
        let spec: crds::target::AccessTargetSpec = serde_yaml::from_str(TARGET).unwrap();
        let target = Target {
            key: TargetKey { namespace: "local".to_owned(), name: "db".to_owned() },
            host: "127.0.0.1".to_owned(),
            port: 5432,
            reach: Reach::Anywhere,
            tls: spec.tls.mode,
            postgres: spec.postgres.unwrap(),
        };
        let subject = Subject { namespace: "local".to_owned(), ..Subject::default() };
        let desk = gate.desk(SessionRef::new("s-1"), Arc::new(subject), Arc::new(target));
        Self { people, storage, policies: sender, desk }
    }

    fn delete(&mut self, relation: &str, digest: u8) -> Operation {
        let text = format!("DELETE FROM {relation} WHERE id = {digest}");
        let path = vec!["public".to_owned(), relation.to_owned()];
        let resource = Resource { kind: ResourceKind::Relation, path, fields: Fields::All };
        Operation {
            protocol: Protocol::Postgres,
            action: "DELETE".to_owned(),
            accesses: vec![Access { verb: Verb::Delete, resource, bounded: Some(true), indirect: false }],
            attributes: [(Attribute::Database, "shop".to_owned())].into_iter().collect(),
            certainty: Certainty::Exact,
            payload: payload_hash(text.as_bytes()),
            digest: Digest([digest; 32]),
            ceiling: Strictness::Allow,
            origin: Origin::Agent,
            planned: self.desk.revision(),
            display: Redacted::danger_caller_redacted(&text),
        }
    }

    async fn run(&mut self, relation: &str, digest: u8) -> Result<Permit, Refused> {
        let op = self.delete(relation, digest);
        self.desk.admit(&op, Stage::Run, Moment::Idle, &mut Agent).await
    }

    fn recorded(&self) -> String {
        let bytes: Vec<u8> = self.storage.files().into_iter().flat_map(|(_, content)| content).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn snapshot(hold: &str) -> PolicySnapshot {
    PolicySnapshot { set: policies(hold), confirmed: Instant::now(), max_age: MAX_POLICY_AGE }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_grant_lets_through_is_on_record_under_its_name() {
    let mut world = World::new(Duration::from_secs(600), false);
    for digest in 1..=3 {
        let permit = world.run("orders", digest).await.unwrap();
        assert_eq!(permit.digest(), Digest([digest; 32]));
        drop(permit);
    }
    let asked = world.people.asked.lock().clone();
    let cover = asked.first().unwrap().cover.clone().unwrap();
    assert_eq!(policy::cover::words(&cover), "DELETE in database `shop`: delete public.orders with a condition");
    assert!(asked.iter().all(|ask| ask.session == "s-1" && ask.cover.as_ref() == Some(&cover)));
    let deadline = Instant::now() + SOON;
    while world.recorded().matches("\"areq-granted\"").count() < 3 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.recorded().matches("\"areq-granted\"").count(), 3, "{}", world.recorded());
    assert_eq!(world.desk.revoked(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_grant_is_the_end_of_what_ran_under_it() {
    // By a word, whatever it is.
    for word in [Standing::Revoked, Standing::Expired, Standing::Withdrawn] {
        let mut world = World::new(Duration::from_secs(600), false);
        let permit = world.run("orders", 1).await.unwrap();
        let released = permit.approval().unwrap().clone();
        drop(permit);
        // More of the same portal goes on while the grant counts.
        let op = world.delete("orders", 1);
        drop(world.desk.admit(&op, Stage::Continue(&released), Moment::InBatch, &mut Agent).await.unwrap());
        assert!(timeout(Duration::from_millis(400), world.desk.changed()).await.is_err());

        let said = Instant::now();
        world.people.granted.send_replace(word.clone());
        timeout(SOON, world.desk.changed()).await.unwrap();
        assert!(world.desk.revoked().unwrap().contains("ran under"), "{word:?}");
        assert!(said.elapsed() < Duration::from_secs(1), "{:?}", said.elapsed());
        // Neither the next operation nor more of the last.
        for stage in [Stage::Run, Stage::Continue(&released)] {
            let refusal = world.desk.admit(&op, stage, Moment::Idle, &mut Agent).await.map(drop).unwrap_err().refusal;
            assert!(!matches!(refusal, Refusal::Pending { .. }), "{refusal:?}");
        }
        // Nor what nobody is asked about, such as the COMMIT of what was granted.
        let free = world.delete("free", 3);
        let refusal =
            world.desk.admit(&free, Stage::Run, Moment::Idle, &mut Agent).await.map(drop).unwrap_err().refusal;
        assert!(matches!(refusal, Refusal::Revoked(_)), "{refusal:?}");
    }
    // By its own clock, though nobody says a word.
    let mut world = World::new(Duration::from_millis(500), false);
    drop(world.run("orders", 1).await.unwrap());
    assert_eq!(world.desk.revoked(), None);
    timeout(SOON, world.desk.changed()).await.unwrap();
    assert!(world.desk.revoked().unwrap().contains("has ended"));
    // With the policy that it was given under.
    let mut world = World::new(Duration::from_secs(600), false);
    drop(world.run("orders", 1).await.unwrap());
    world.policies.send_replace(snapshot("21s"));
    timeout(SOON, world.desk.changed()).await.unwrap();
    assert!(world.desk.revoked().unwrap().contains("the access policy changed"));
    world.desk.close().await;
    assert_eq!(*world.people.withdrawn.lock(), ["areq-granted"], "also when that policy comes back");
    // A session that never used one does not mind.
    let mut other = World::new(Duration::from_secs(600), false);
    other.policies.send_replace(snapshot("21s"));
    assert_eq!(other.desk.revoked(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_ends_while_it_is_used_permits_nothing() {
    let mut world = World::new(Duration::ZERO, false);
    let refusal = world.run("orders", 1).await.map(drop).unwrap_err().refusal;
    assert!(matches!(&refusal, Refusal::Revoked(why) if why.contains("has ended")), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_for_people_ends_with_its_grant_too() {
    let mut world = World::new(Duration::from_millis(700), false);
    drop(world.run("orders", 1).await.unwrap());
    let waiting = timeout(SOON * 2, world.run("people", 2)).await.unwrap();
    let refusal = waiting.map(drop).unwrap_err().refusal;
    assert!(matches!(&refusal, Refusal::Revoked(why) if why.contains("has ended")), "{refusal:?}");
    assert_eq!(*world.people.withdrawn.lock(), ["areq-silent"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_granted_to_a_session_ends_with_it() {
    for (of_session, withdrawn) in [(true, vec!["areq-granted"]), (false, vec![])] {
        let mut world = World::new(Duration::from_secs(600), of_session);
        let permit = world.run("orders", 1).await.unwrap();
        drop(permit);
        world.desk.close().await;
        assert_eq!(*world.people.withdrawn.lock(), withdrawn);
        world.desk.close().await;
        assert_eq!(*world.people.withdrawn.lock(), withdrawn, "once");
    }
}
