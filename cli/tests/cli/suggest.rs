//! What is suggested from recordings that the writer made.

use recording::entry::{Access, Decided, Decision, Intent, Open, Outcome, Refusal, Status, Subject, Target};
use recording::{Body, Entry, WriterConfig};

use crate::common::{Ran, State, data, record, run};

const S: &str = "s-1";

fn open(session: &str, account: &str) -> Entry {
    let open = Open {
        subject: Subject { namespace: "local".into(), service_account: account.into(), ..Subject::default() },
        target: Target {
            name: "orders-db".into(),
            protocol: "postgres".into(),
            database: Some("orders".into()),
            ..Target::default()
        },
        ..Open::default()
    };
    Entry::session(session, Body::Open(Box::new(open)))
}

fn access(verb: &str, relation: &str, columns: &[&str]) -> Access {
    Access {
        verb: verb.into(),
        kind: "Relation".into(),
        path: vec!["public".into(), relation.into()],
        fields: Some(columns.iter().map(|c| (*c).to_owned()).collect()),
        bounded: matches!(verb, "Update" | "Delete").then_some(true),
        indirect: false,
    }
}

fn decided(action: &str, accesses: Vec<Access>) -> Decided {
    Decided {
        protocol: "postgres".into(),
        action: action.into(),
        resources: accesses.iter().map(|a| format!("{} Relation {}", a.verb, a.path.join("."))).collect(),
        accesses: Some(accesses),
        decision: Decision::Allow,
        would_deny: Some("no rule allows it".into()),
        would_deny_word: Some("no_rule".into()),
        ..Decided::default()
    }
}

fn did(op: &str, decided: Decided, rows: u64) -> [Entry; 2] {
    did_under(op, decided, &[], rows)
}

fn did_under(op: &str, decided: Decided, obligations: &[&str], rows: u64) -> [Entry; 2] {
    let obligations = obligations.iter().map(|duty| (*duty).to_owned()).collect();
    let intent = Intent { decided, obligations, ..Intent::default() };
    let outcome = Outcome { rows: Some(rows), ..Outcome::bare(Status::Ok) };
    [Entry::operation(S, op, Body::Intent(Box::new(intent))), Entry::operation(S, op, Body::Outcome(outcome))]
}

fn recorded(operations: impl IntoIterator<Item = [Entry; 2]>) -> State {
    let entries = std::iter::once(open(S, "agent")).chain(operations.into_iter().flatten());
    record(entries.collect(), WriterConfig::default()).0
}

fn suggest(state: &State, more: &[&str]) -> Ran {
    let path = state.path();
    run(&[&["suggest", "--state-dir", &path], more].concat())
}

/// Also that `lint` takes it as it is.
fn suggested(state: &State, more: &[&str]) -> String {
    let ran = suggest(state, more);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(data("policies").join("target.yaml"), folder.path().join("target.yaml")).unwrap();
    std::fs::write(folder.path().join("suggested.yaml"), &ran.out).unwrap();
    let lint = run(&["lint", "-f", &folder.path().display().to_string()]);
    assert!(lint.status == 0 && lint.out.contains("0 errors"), "{}\n{}", lint.out, ran.out);
    ran.out
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn one_rule_for_each_verb_and_relation_with_what_was_seen() {
    let state = recorded([
        did("o-1", decided("SELECT", vec![access("Read", "orders", &["id", "status"])]), 7),
        did("o-2", decided("SELECT", vec![access("Read", "orders", &["total"])]), 40),
        did("o-3", decided("SELECT", vec![access("Read", "customers", &[])]), 1),
        did(
            "o-4",
            decided("UPDATE", vec![access("Read", "orders", &["id"]), access("Update", "orders", &["status"])]),
            1,
        ),
        did("o-5", decided("DELETE", vec![Access { bounded: Some(false), ..access("Delete", "orders", &[]) }]), 9),
    ]);
    let text = suggested(&state, &[]);
    has(
        &text,
        &[
            "# Suggested by `agentaccess suggest` from 5 operations of local/agent in 1 session",
            "# Under it: 5 pass, 0 wait for approval, 0 left out.",
            "metadata: {name: suggested-agent, namespace: local}",
            "  serviceAccountNames: [agent]\n",
            "          # 3 operations, at most 40 rows each\n          - name: select-public-orders\n            \
             action: Allow\n            verbs: [Select]\n            relations: [public.orders]\n            \
             columns: [public.orders.id, public.orders.status, public.orders.total]\n",
            "columns: [public.customers.tableoid]",
            "verbs: [Update]\n            relations: [public.orders]\n            columns: [public.orders.status]\n            \
             requireWhere: true\n",
            "# no requireWhere: one of them had no WHERE",
        ],
    );
    assert_eq!(text.matches("requireWhere: true").count(), 1, "{text}");
    let labelled = suggested(&state, &["--labels", "app=x", "--name", "mine"]);
    has(&labelled, &["podSelector: {matchLabels: {app: x}}", "metadata: {name: mine,"]);
}

#[test]
fn what_cannot_be_decided_is_said_and_gets_nothing() {
    let vault = || vec![access("Read", "vault", &["secret"])];
    let spoken = Decided {
        would_deny: Some("denied by policy watch/no-vault".into()),
        would_deny_word: Some("rule".into()),
        ..decided("SELECT", vault())
    };
    let old = Decided { accesses: None, ..decided("SELECT", vault()) };
    let channel =
        Access { kind: "Channel".into(), path: vec!["jobs".into()], fields: None, ..access("Execute", "x", &[]) };
    let odd = Access { path: vec!["public".into(), "va*lt".into()], ..access("Read", "x", &["a"]) };
    let newer = Access { kind: "Queue".into(), ..access("Read", "vault", &["a"]) };
    let refusal = Refusal { decided: decided("SELECT", vault()), reason: "denied".into(), ..Refusal::default() };
    let mut entries = vec![open(S, "agent")];
    for (n, decided) in [
        spoken,
        old,
        decided("LISTEN", vec![channel, access("Read", "vault", &["b"])]),
        decided("SELECT", vec![odd]),
        decided("SELECT", vec![newer]),
        decided("SELECT", vec![access("Read", "orders", &["id"])]),
    ]
    .into_iter()
    .enumerate()
    {
        entries.extend(did(&format!("o-{n}"), decided, 1));
    }
    entries.extend(did_under("o-7", decided("SELECT", vault()), &["mask:watch/secret"], 1));
    entries.push(Entry::operation(S, "o-8", Body::Refusal(Box::new(refusal))));
    let (state, _) = record(entries, WriterConfig::default());
    let text = suggested(&state, &[]);
    has(
        &text,
        &[
            "# Under it: 1 pass, 0 wait for approval, 7 left out.\n# Left out:",
            "a rule speaks against it: denied by policy watch/no-vault",
            "an older sidecar wrote it",
            "rules cannot name channels",
            "a rule cannot write the name `public.va*lt` exactly",
            "a kind of resource that this program does not know",
            "it was masked by watch/secret",
            "it was denied",
            "relations: [public.orders]",
        ],
    );
    assert!(!text.contains("[public.vault"), "{text}");
}

#[test]
fn approvals_limits_and_masks_are_kept() {
    let approved = Intent {
        decided: Decided {
            would_deny: None,
            would_deny_word: None,
            decision: Decision::RequireApproval,
            ..decided("UPDATE", vec![access("Read", "orders", &["id"]), access("Update", "orders", &["status"])])
        },
        approval: Some("areq-1".into()),
        ..Intent::default()
    };
    let call = Access {
        kind: "Function".into(),
        path: vec!["public".into(), "pay(integer, text)".into()],
        fields: None,
        ..access("Execute", "x", &[])
    };
    let mut entries = vec![open(S, "agent"), Entry::operation(S, "o-1", Body::Intent(Box::new(approved)))];
    entries.extend(did_under("o-2", decided("SELECT", vec![access("Read", "orders", &["id"])]), &["maxRows:50"], 3));
    let unasked = Decided { would_deny_word: Some("unasked".into()), ..decided("SELECT", vec![call]) };
    entries.extend(did("o-3", unasked, 1));
    let email = decided("SELECT", vec![access("Read", "customers", &["email"])]);
    entries.extend(did_under("o-4", email, &["mask:support-agent/email", "mask:cluster:prod/ssn"], 1));
    let (state, _) = record(entries, WriterConfig::default());
    let policies = data("policies").display().to_string();
    let text = suggested(&state, &["-f", &policies]);
    has(
        &text,
        &[
            "# Under it: 2 pass, 2 wait for approval, 0 left out.",
            "limits: {rows: 50}",
            "- name: ask-update-public-orders\n            action: RequireApproval\n            approval: person\n",
            "functions: [\"public.pay(integer, text)\"]",
            "- {name: email, columns: [public.customers.email], method: Partial, inPredicates: ",
        ],
    );
    let json: serde_json::Value = serde_json::from_str(&suggest(&state, &["-f", &policies, "-o", "json"]).out).unwrap();
    assert_eq!((&json["pass"], &json["wait"], &json["operations"]), (&2.into(), &2.into(), &4.into()), "{json}");
    assert_eq!(json["policies"][0]["spec"]["targets"][0]["targetRef"]["name"], "orders-db");
}

#[test]
fn a_rule_that_is_full_is_followed_by_another() {
    let names: Vec<String> = (0..200).map(|n| format!("c{n:03}")).collect();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut operations: Vec<[Entry; 2]> = columns
        .chunks(40)
        .enumerate()
        .map(|(n, part)| did(&format!("o-{n}"), decided("SELECT", vec![access("Read", "wide", part)]), 1))
        .collect();
    operations.push(did("o-9", decided("SELECT", vec![access("Read", "wide", &columns)]), 1));
    for n in 0..100 {
        let relation = format!("t{n}");
        operations.push(did(&format!("p-{n}"), decided("SELECT", vec![access("Read", &relation, &["a"])]), 1));
    }
    let text = suggested(&recorded(operations), &[]);
    has(
        &text,
        &["# Under it: 105 pass", "it touches 200 columns of wide", "select-public-wide-5", "suggested-agent-2"],
    );
}

#[test]
fn whose_and_where_from_has_to_be_clear() {
    let read = || decided("SELECT", vec![access("Read", "orders", &["id"])]);
    let mut entries = vec![open(S, "agent"), open("s-2", "other")];
    entries.extend(did("o-1", read(), 1));
    let intent = Intent { decided: read(), ..Intent::default() };
    entries.push(Entry::operation("s-2", "o-2", Body::Intent(Box::new(intent))));
    let (state, _) = record(entries, WriterConfig::default());
    let ran = suggest(&state, &[]);
    assert!(ran.status == 2 && ran.err.contains("--as: local/agent, local/other"), "{}", ran.err);
    has(&suggested(&state, &["--as", "local/other"]), &["serviceAccountNames: [other]", "from 1 operation of"]);
    has(&suggested(&state, &["--session", S]), &["serviceAccountNames: [agent]"]);
    let ran = suggest(&state, &["--target", "none"]);
    assert!(ran.status == 1 && ran.err.contains("no operation of an agent"), "{}", ran.err);
    let ran = suggest(&state, &["--since", "soon"]);
    assert!(ran.status == 1 && ran.err.contains("`soon` is not a time"), "{}", ran.err);

    let ran = suggest(&state, &["--session", S, "--name", "Not a name"]);
    assert!(ran.status == 1 && ran.err.contains("metadata.name"), "{}{}", ran.out, ran.err);

    let segment = &state.segments()[0];
    let damaged = std::fs::read_to_string(segment).unwrap().replace("\"kind\":\"intent\"", "\"kind\":\"inten\"");
    std::fs::write(segment, damaged).unwrap();
    let ran = suggest(&state, &["--as", "local/agent"]);
    assert!(ran.status == 1 && ran.out.is_empty() && ran.err.contains("verify"), "{}", ran.err);
}
