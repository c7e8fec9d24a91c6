//! From a proven agent to a running session: recorded, decided, logged in at the target, names known.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use pgcodec::backend::{Authentication, KeyData};
use pgcodec::cancel::CancelKey;
use pgcodec::{Backend, Framer, Machine, TxState, startup as wire};
use policy::operation::Protocol;
use recording::entry::{self, Status, What};
use tokio::sync::Notify;

use super::super::cancel::CancelKeys;
use super::super::operation::{self, Transaction};
use super::super::refusal::{Words, words};
use super::super::settings;
use super::agent::Agent;
use super::company::Company;
use super::inbound::{REPLANS, is_stale};
use super::internal::{Asker, InternalError, MOST_BYTES};
use super::login::LoginError;
use super::meaning::Meaning;
use super::planner::Planner;
use super::startup::Proven;
use super::uncommitted::Uncommitted;
use super::{End, Session};
use crate::core::Core;
use crate::gate::{Ended, Moment, Outcome, Stage};
use crate::metrics::Direction;
use crate::outside::{Subjects, Target};
use crate::recorder::SessionRef;

/// Asked once before the agent's first message; the answers have to be what was pinned.
const PINS: &str = "SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('backslash_quote'), \
                    pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('client_encoding'), \
                    pg_catalog.current_setting('extra_float_digits'), pg_catalog.current_setting('bytea_output'), \
                    current_user";

/// Why a session did not come about: the words for the agent and the text for the record.
struct Failed(Words, String);

pub(super) async fn establish(proven: Proven, subjects: Subjects, target: Arc<Target>, peer: String, core: Arc<Core>) {
    let Ok(random) = core.random::<5>() else { return };
    let id: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let session = SessionRef::new(&format!("s-{id}"));
    let begun = Instant::now();
    let framer = Framer::frontend(&core.codec_limits());
    let Proven { stream, rest, startup, database, settings, tls, auth } = proven;
    let Ok(mut agent) = Agent::new(stream, framer, &rest) else { return };
    let recorder = Arc::clone(core.gate.recorder());
    let desk = core.gate.desk(session.clone(), subjects, Arc::clone(&target));
    let subject = Arc::clone(desk.subject());
    let open = entry::Open {
        subject: entry::Subject {
            namespace: subject.namespace.clone(),
            service_account: subject.service_account.clone(),
            pod: subject.pod.clone(),
            pod_uid: subject.pod_uid.clone(),
        },
        target: entry::Target {
            name: target.key.name.clone(),
            protocol: "postgres".to_owned(),
            host: target.host.clone(),
            port: target.port,
            database: Some(database.clone()),
            user: None,
        },
        peer,
        client_auth: auth.to_owned(),
        revision: core.gate.revision().to_string(),
        tls_downstream: tls,
        tls_upstream: (target.tls == crds::target::TlsMode::VerifyFull).then(|| "verify-full".to_owned()),
        client: startup.get("application_name").map(escaped),
    };
    if let Err(error) = recorder.open(&session, open).await {
        recorder.unrecorded_refusal();
        let mut words = Words::new("PX004", format!("refused because it cannot be recorded: {error}"));
        words.hint = Some("Nothing was executed. Try again later.".to_owned());
        farewell(&mut agent, &words).await;
        return;
    }
    core.metrics.session_opened(Protocol::Postgres);
    let trace = desk.session_trace(Protocol::Postgres, &database);
    let mut why = "not established";
    let mut close = entry::Close { reason: String::new(), ..entry::Close::default() };
    // Boxed: what happens once takes no room in the session from then on.
    match Box::pin(prepare(&mut agent, desk, &startup, &database, &settings, &core)).await {
        Err(Failed(words, reason)) => {
            tracing::warn!(target: "agentaccess", session = session.as_str(), %reason, "session not established");
            farewell(&mut agent, &words).await;
            close.reason = reason;
        }
        Ok(prepared) => {
            let mut running = prepared.into_session(agent, &core, database);
            let end = running.run().await;
            if let End::Agent(violation) = &end {
                recorder.marker(Some(&session), What::Malformed, violation.to_string());
            }
            if let End::Upstream(violation) = &end {
                recorder.marker(Some(&session), What::Malformed, format!("target: {violation}"));
            }
            if let End::Caught(what, detail) = &end {
                tracing::error!(target: "agentaccess", session = session.as_str(), what, detail, "session cut");
                recorder.marker(Some(&session), What::Malformed, format!("{what}: {detail}"));
            }
            why = end.reason();
            close.reason = why.to_owned();
            (close.operations, close.refusals) = (running.operations, running.refusals);
            (close.bytes_in, close.bytes_out) = (running.agent.reader.bytes, running.agent.writer.bytes);
            running.finish(&end).await;
        }
    }
    core.metrics.session_bytes(Protocol::Postgres, Direction::FromAgent, close.bytes_in);
    core.metrics.session_bytes(Protocol::Postgres, Direction::ToAgent, close.bytes_out);
    core.metrics.session_closed(Protocol::Postgres);
    if let Some(trace) = trace {
        let entry::Close { operations, refusals, bytes_in, bytes_out, .. } = close;
        trace.end(Ended { why, operations, refusals, bytes_in, bytes_out, failed: why == "not established" });
    }
    close.duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    recorder.close(&session, close);
}

/// Everything of a session but the agent.
struct Prepared {
    desk: crate::gate::Desk,
    role: String,
    catalog: Arc<super::snapshot::Slot>,
    planner: Planner,
    upstream: crate::upstream::Upstream,
    framer: Framer,
    upstream_key: Option<KeyData>,
    meaning: Meaning,
    cancel: Arc<Notify>,
    registered: super::super::cancel::Registered,
}

async fn prepare(
    agent: &mut Agent,
    mut desk: crate::gate::Desk,
    startup: &wire::Startup,
    database: &str,
    settings: &[(String, String)],
    core: &Arc<Core>,
) -> Result<Prepared, Failed> {
    let cancel = Arc::new(Notify::new());
    let target = Arc::clone(desk.target());
    let subject = Arc::clone(desk.subject());
    let mut company = Company {
        reader: &mut agent.reader,
        writer: &mut agent.writer,
        cancel: &cancel,
        not_planned: None,
        sketch: None,
    };
    let mut tries = 1..=REPLANS;
    let permit = loop {
        // Of this moment: a policy may change while the intent is recorded.
        let connect = operation::connect(&operation::Context {
            key: &core.digest_key,
            subject: &subject,
            target: &target,
            database,
            role: "",
            catalog: "",
            planned: desk.revision(),
            transaction: Transaction::Idle,
            meaning: "",
        });
        match desk.admit(&connect, Stage::Run, Moment::InBatch, &mut company).await {
            Ok(permit) => break permit,
            Err(refused) if is_stale(&refused) && tries.next().is_some() => {}
            Err(refused) => {
                return Err(Failed(words(&refused), format!("connect refused: {}", refused.refusal.word())));
            }
        }
    };
    let mut logged_in = core.log_in(&target, database, settings).await.map_err(|error| away(&error))?;
    let unsendable = |error: crate::upstream::SendError| {
        Failed(Words::new("XX000", "the session could not begin"), error.to_string())
    };
    let (_, running) = logged_in.upstream.send(permit, &[]).map_err(unsendable)?;
    running.finish(&Outcome::of(Status::Ok));
    let mut framer = Framer::backend(&core.codec_limits());
    let role = pins(&mut logged_in.upstream, &mut framer, &mut desk, core, database).await?;
    let catalog = core.catalogs.slot(&target, database);
    let loaded = catalog.current(core).await.map_err(|error| {
        Failed(Words::new("08001", "the target is not available: its catalog cannot be read"), error.to_string())
    })?;
    // The target has them already; nothing ran under them.
    settings::within_limits(settings, &loaded.catalog.time_limits).map_err(|why| {
        let mut words = Words::new("42501", format!("refused at the start of the session: {why}"));
        words.hint = why.hint;
        Failed(words, "a startup setting goes beyond its limit".to_owned())
    })?;
    let limits = pgsql::parse::Limits { bytes: core.limits.sql_text, ..pgsql::parse::Limits::default() };
    let planner = Planner::new(loaded, desk.view(), limits);
    for problem in planner.masks().problems() {
        let denied = problem.denied.as_deref();
        tracing::warn!(target: "agentaccess", event = "mask", access_target = %target.key, denied, problem = problem.text);
    }
    let random = |_| Failed(Words::new("XX000", "the session could not begin"), "no random numbers".to_owned());
    let registered = loop {
        let pid = u32::from_be_bytes(core.random().map_err(random)?) & 0x7fff_ffff;
        let key = CancelKey::mint(startup.version, pid, &core.random().map_err(random)?);
        let message = key.message();
        if let Some(registered) = CancelKeys::register(core, key, Arc::clone(&cancel)) {
            welcome(agent, &logged_in.parameters, logged_in.key.is_some().then_some(&message))?;
            break registered;
        }
    };
    Ok(Prepared {
        desk,
        role,
        catalog,
        planner,
        upstream: logged_in.upstream,
        framer,
        upstream_key: logged_in.key,
        meaning: Meaning::new(&logged_in.parameters),
        cancel,
        registered,
    })
}

/// What a server says between the password and its first ReadyForQuery.
fn welcome(agent: &mut Agent, parameters: &[(String, String)], key: Option<&Backend>) -> Result<(), Failed> {
    let writer = &mut agent.writer;
    let mut put = |message: &Backend| {
        writer.put(message).map_err(|v| Failed(Words::new("08P01", "the target broke the protocol"), v.to_string()))
    };
    put(&Backend::Authentication(Authentication::Ok))?;
    for (name, value) in parameters.iter().filter(|(name, _)| settings::reported_to_agent(name)) {
        put(&Backend::ParameterStatus { name: name.clone(), value: value.clone() })?;
    }
    if let Some(key) = key {
        put(key)?;
    }
    put(&Backend::ReadyForQuery(TxState::Idle))
}

/// Checks on the session itself that the pins came out; the role that the target sees.
async fn pins(
    upstream: &mut crate::upstream::Upstream,
    framer: &mut Framer,
    desk: &mut crate::gate::Desk,
    core: &Arc<Core>,
    database: &str,
) -> Result<String, Failed> {
    let wanted = settings::pins(&desk.target().postgres.search_path);
    let failed = |text: String| {
        Failed(Words::new("08001", "the target is not available: the session could not be pinned"), text)
    };
    let mut asker =
        Asker { upstream, framer, desk, key: &core.digest_key, database, most: MOST_BYTES, unasked: Vec::new() };
    let rows = asker.ask("pins", PINS).await.map_err(|error: InternalError| failed(error.to_string()))?;
    let row: Vec<String> = rows
        .into_iter()
        .next()
        .unwrap_or_default()
        .into_iter()
        .map(|cell| cell.map(|c| String::from_utf8_lossy(&c).into_owned()).unwrap_or_default())
        .collect();
    let [path, backslash, strings, encoding, digits, bytea, role] = row.as_slice() else {
        return Err(failed("the pins were not answered".to_owned()));
    };
    let found = [
        ("search_path", path),
        ("backslash_quote", backslash),
        ("standard_conforming_strings", strings),
        ("client_encoding", encoding),
        ("extra_float_digits", digits),
        ("bytea_output", bytea),
    ];
    for (name, value) in found {
        if !wanted.iter().any(|(pin, pinned)| pin == name && pinned == value) {
            return Err(failed(format!("the target did not take the pinned setting {name}")));
        }
    }
    Ok(role.clone())
}

impl Prepared {
    fn into_session(self, agent: Agent, core: &Arc<Core>, database: String) -> Session {
        Session {
            core: Arc::clone(core),
            desk: self.desk,
            database,
            role: self.role,
            catalog: self.catalog,
            planner: self.planner,
            machine: Machine::new(&core.codec_limits()),
            agent,
            upstream: self.upstream,
            upstream_framer: self.framer,
            waiting: None,
            kept: Vec::new(),
            kept_bytes: 0,
            flights: BTreeMap::new(),
            next_token: 0,
            stream: None,
            cursors: BTreeMap::new(),
            uncommitted: Uncommitted::default(),
            must_roll_back: false,
            beyond_limit: None,
            guard: None,
            meaning: self.meaning,
            listening: HashSet::new(),
            batch_committed: false,
            begun_in_batch: false,
            names_moved: false,
            cancel: self.cancel,
            cancelling: None,
            _registered: self.registered,
            upstream_key: self.upstream_key,
            operations: 0,
            refusals: 0,
        }
    }
}

fn away(error: &LoginError) -> Failed {
    let mut words = Words::new("08001", format!("the target is not available: {}", error.for_agent()));
    words.hint = Some("Nothing was executed. Try again later.".to_owned());
    Failed(words, error.to_string())
}

async fn farewell(agent: &mut Agent, words: &Words) {
    if agent.writer.refuse("FATAL", words).is_ok() {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), agent.writer.flush()).await;
    }
    agent.writer.shutdown().await;
}

fn escaped(text: &str) -> String {
    policy::redact::Redacted::danger_caller_redacted(text).as_str().chars().take(200).collect()
}
