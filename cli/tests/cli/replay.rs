//! A session told from a recording that the writer made, and lists of sessions.

use std::time::{Duration, Instant};

use recording::entry::{
    Approval, ApprovalEvent, Close, Data, Decided, Decision, Direction, Intent, Open, Outcome, Refusal, Status,
    Subject, Target, Vote,
};
use recording::{Body, Entry, WriterConfig};

use crate::common::{State, record, run};

const S: &str = "s-1";

fn decided(action: &str, display: &str, rules: &[&str]) -> Decided {
    Decided {
        protocol: "postgres".into(),
        action: action.into(),
        resources: vec!["Read Relation public.customers".into()],
        digest: "hmac-sha256:9c1e".into(),
        display: Some(display.into()),
        decision: Decision::Allow,
        rules: rules.iter().map(|r| (*r).to_owned()).collect(),
        revision: "sha256:51aa".into(),
        ..Decided::default()
    }
}

fn intent(op: &str, intent: Intent) -> Entry {
    Entry::operation(S, op, Body::Intent(Box::new(intent)))
}

fn outcome(op: &str, outcome: Outcome) -> Entry {
    Entry::operation(S, op, Body::Outcome(outcome))
}

fn approval(event: ApprovalEvent) -> Entry {
    let vote = event == ApprovalEvent::Vote;
    Entry::global(Body::Approval(Box::new(Approval {
        name: "areq-abc234".into(),
        event,
        digest: "hmac-sha256:9c1e".into(),
        expires: "2026-11-21T09:03:32Z".into(),
        vote: vote.then_some(Vote::Approve),
        reviewer: vote.then(|| "alice".into()),
        reviewer_uid: vote.then_some(1001),
        reason: vote.then(|| "INC-1".into()),
        shared_user: false,
        display: (event == ApprovalEvent::Requested).then(|| "UPDATE orders SET status = 'paid'\n$1 = 7".into()),
        impact: None,
    })))
}

pub(crate) fn story() -> Vec<Entry> {
    let open = Open {
        subject: Subject { namespace: "local".into(), service_account: "support-agent".into(), ..Subject::default() },
        target: Target {
            name: "orders-db".into(),
            protocol: "postgres".into(),
            host: "db".into(),
            port: 5432,
            database: Some("orders".into()),
            user: Some("agent".into()),
        },
        peer: "127.0.0.1:45442".into(),
        client_auth: "scram-sha-256-plus".into(),
        revision: "sha256:51aa".into(),
        tls_downstream: Some("TLSv1.3".into()),
        tls_upstream: Some("verify-full".into()),
        client: Some("psql\u{1b}[2J".into()),
    };
    let internal = Decided { internal: true, ..decided("pins", "pins", &["builtin/internal"]) };
    let select = Intent {
        decided: decided("SELECT", "SELECT id, email\n  FROM customers", &["support-agent/reads"]),
        obligations: vec!["mask:support-agent/email".into()],
        ..Intent::default()
    };
    let refusal = Refusal {
        decided: Decided { decision: Decision::Deny, ..decided("DROP", "DROP TABLE a\u{1b}]0;x\u{7}", &["p/no-ddl"]) },
        reason: "denied".into(),
        sqlstate: Some("42501".into()),
        told: "denied by policy p/no-ddl: no\u{9b}31m (s-1/o-3)".into(),
        approval: None,
    };
    let update = Intent {
        decided: Decided {
            decision: Decision::RequireApproval,
            ..decided("UPDATE", "UPDATE orders SET status = 'paid' ⟪$1 = 7⟫", &["support-agent/fixes"])
        },
        approval: Some("areq-abc234".into()),
        ..Intent::default()
    };
    let rows = "id\temail\n1\ta***@example.com\n2\t\\N\n";
    let mut of_another = approval(ApprovalEvent::Requested);
    if let Body::Approval(approval) = &mut of_another.body {
        approval.name = "areq-other2".into();
    }
    vec![
        Entry::session(S, Body::Open(Box::new(open))),
        intent("o-1", Intent { decided: internal, ..Intent::default() }),
        outcome("o-1", Outcome::bare(Status::Ok)),
        intent("o-2", select),
        Entry::operation(S, "o-2", Body::Data(Data::new(Direction::Downstream, 0, rows.as_bytes()))),
        outcome("o-2", Outcome { rows: Some(2), duration_us: 3_140, ..Outcome::bare(Status::Ok) }),
        Entry::operation(S, "o-3", Body::Refusal(Box::new(refusal))),
        of_another,
        Entry::session("s-2", Body::Open(Box::default())),
        approval(ApprovalEvent::Requested),
        approval(ApprovalEvent::Vote),
        approval(ApprovalEvent::Granted),
        approval(ApprovalEvent::Consumed),
        intent("o-4", update),
        intent(
            "o-5",
            Intent { decided: decided("SELECT", "SELECT 1/0", &["support-agent/reads"]), ..Intent::default() },
        ),
        outcome("o-4", Outcome { duration_us: 2_000_000, ..Outcome::bare(Status::Ok) }),
        outcome("o-5", Outcome { sqlstate: Some("22012".into()), ..Outcome::bare(Status::Error) }),
        Entry::session(
            S,
            Body::Close(Close { reason: "terminated by the agent".into(), duration_us: 4_000_000, ..Close::default() }),
        ),
    ]
}

fn made() -> State {
    record(story(), WriterConfig::default()).0
}

/// Times are those of the writer: `08:47:34.744` becomes `TIME`, and a whole moment `MOMENT`.
fn without_times(text: &str) -> String {
    let forms = [("0000-00-00T00:00:00.000Z", "MOMENT"), ("00:00:00.000", "TIME")];
    let is = |(c, p): (char, char)| if p == '0' { c.is_ascii_digit() } else { c == p };
    let mut out = String::new();
    let mut rest = text.chars();
    loop {
        let fits = |pattern: &str| rest.clone().count() >= pattern.len() && rest.clone().zip(pattern.chars()).all(is);
        if let Some((pattern, word)) = forms.into_iter().find(|(pattern, _)| fits(pattern)) {
            out.push_str(word);
            rest.nth(pattern.len() - 1);
        } else if let Some(first) = rest.next() {
            out.push(first);
        } else {
            return out;
        }
    }
}

#[test]
fn the_whole_story_as_people_read_it() {
    let state = made();
    let ran = run(&["replay", S, "--state-dir", &state.path()]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_eq!(without_times(&ran.out), include_str!("golden/replay.txt"));
    assert!(!ran.out.contains('\u{1b}') && !ran.out.contains('\u{9b}') && !ran.out.contains('\u{7}'));
    let with_internal = run(&["replay", S, "--internal", "--state-dir", &state.path()]);
    assert!(with_internal.out.contains("pins  o-1  (of the sidecar itself)"), "{}", with_internal.out);
    let colored = run(&["replay", S, "--color", "always", "--state-dir", &state.path()]);
    assert!(
        colored.out.contains("\u{1b}[31") && !colored.out.contains("\u{1b}[2J") && !colored.out.contains("\u{1b}]")
    );
}

#[test]
fn machines_get_the_entries() {
    let state = made();
    let ran = run(&["replay", S, "-o", "json", "--state-dir", &state.path()]);
    let entries: Vec<recording::Line> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    // Everything but what belongs to s-2 and areq-other2.
    assert_eq!(entries.len(), story().len() - 2);
    assert!(!ran.out.contains('\u{9b}') && !ran.out.contains('\u{1b}'));
    assert!(entries.windows(2).all(|w| w[0].seq < w[1].seq));
}

#[test]
fn it_takes_its_time_only_when_asked() {
    let (state, writer) = crate::common::record_open(story(), WriterConfig::default());
    std::thread::sleep(Duration::from_millis(1_200));
    let late = outcome("o-9", Outcome::bare(Status::Unknown));
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    writer.submit(late, recording::Durability::Written, move |a| tell.send(a).unwrap()).unwrap();
    told.recv().unwrap().unwrap();
    let timed = |more: &[&str]| {
        let path = state.path();
        let mut arguments = vec!["replay", S, "--state-dir", &path];
        arguments.extend(more);
        let begin = Instant::now();
        assert_eq!(run(&arguments).status, 0);
        begin.elapsed()
    };
    assert!(timed(&["--speed", "1"]) >= Duration::from_millis(1_200));
    let quick = timed(&["--speed", "1", "--idle-limit", "1ms"]);
    assert!(quick < Duration::from_millis(1_200), "{quick:?}");
    assert_eq!(run(&["replay", S, "--speed", "0"]).status, 2);
}

#[test]
fn a_damaged_recording_is_told_as_far_as_it_goes() {
    let state = made();
    let file = &state.segments()[0];
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replacen("\"kind\":\"refusal\"", "\"kind\":\"refused\"", 1)).unwrap();
    let ran = run(&["replay", S, "--state-dir", &state.path()]);
    assert_eq!(ran.status, 1);
    assert!(ran.out.contains("a***@example.com") && !ran.out.contains("REFUSED"), "{}", ran.out);
    assert!(
        ran.err.contains("damaged here and the replay ends") && ran.err.contains("agentaccess verify"),
        "{}",
        ran.err
    );
    let listed = run(&["sessions", "ls", "--state-dir", &state.path()]);
    assert!(listed.status == 1 && listed.out.contains("s-1") && listed.err.contains("damaged"), "{}", listed.err);
    let absent = run(&["replay", "s-9", "--state-dir", &made().path()]);
    assert!(absent.status == 1 && absent.err.contains("there is no session `s-9`"), "{}", absent.err);
}

#[test]
fn sessions_are_listed_and_filtered() {
    let state = made();
    let ls = |more: &[&str]| {
        let path = state.path();
        let mut arguments = vec!["sessions", "ls", "--state-dir", &path];
        arguments.extend(more);
        let ran = run(&arguments);
        assert_eq!(ran.status, 0, "{}", ran.err);
        without_times(&ran.out)
    };
    let all = ls(&[]);
    let first: Vec<&str> = all.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first, ["s-1", "local/support-agent", "orders-db/orders", "MOMENT", "4.0", "s", "3", "1", "1"]);
    assert!(all.contains("s-2") && all.contains("not closed"), "{all}");
    assert!(!ls(&["--denied"]).contains("s-2"));
    assert!(ls(&["--since", "2999-01-01"]).starts_with("no such session"));
    assert_eq!(ls(&["--since", "1h"]), all);
    let json: serde_json::Value = serde_json::from_str(&ls(&["-o", "json", "--denied"])).unwrap();
    assert_eq!((json[0]["session"].as_str(), json[0]["refusals"].as_u64()), (Some("s-1"), Some(1)));
}
