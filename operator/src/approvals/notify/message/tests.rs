//! What people read in a chat, and what no agent can make it say.

use super::super::fact::Fact;
use super::super::fact::tests::{at, counted};
use super::*;
use crate::approvals::request::Request;
use crate::approvals::stamp::Word;

const APPROVED: [(&str, Word); 2] = [("alice", Word::Approve), ("bob", Word::Approve)];

fn fact(notice: Notice, scope: &str, votes: &[(&str, Word)], edit: impl FnOnce(&mut Request)) -> Fact {
    let mut counted = counted(scope, votes);
    let mut request = Request::clone(&counted.request);
    edit(&mut request);
    counted.request = std::sync::Arc::new(request);
    Fact::of(notice, &counted, false, at("08:00:01"))
}

fn read(fact: &Fact) -> Value {
    serde_json::from_slice(&body(fact).unwrap()).unwrap()
}

fn said(fact: &Fact) -> String {
    read(fact)["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_request_says_who_what_where_why_and_what_to_paste() {
    let asked = fact(Notice::Requested, "Once", &[], |request| request.spec.reason = Reason::Required);
    assert_eq!(
        said(&asked),
        "Approval needed: `areq-0a1b2c3d` of `agents/agent`\n\
         Who: ServiceAccount `agents/agent`, pod `agent-0`\n\
         Where: target `orders`, `orders.example:5432`\n\
         What: `UPDATE` `UPDATE`\n\
         Asked for by: policy `support`, rule `fixes`\n\
         Needs 2 of you, until `2027-01-15T08:15:00Z`; for this one use\n\
         Read all of it:\n```\nkubectl describe areq areq-0a1b2c3d -n agents\n```\n\
         Approve:\n```\nkubectl annotate areq areq-0a1b2c3d -n agents agentaccess.dev/decision=approve \
         agentaccess.dev/reason=\"WHY\"\n```\n\
         Deny:\n```\nkubectl annotate areq areq-0a1b2c3d -n agents agentaccess.dev/decision=deny \
         agentaccess.dev/reason=\"WHY\"\n```"
    );
    let read = read(&asked);
    let told = &read["agentaccess"];
    assert_eq!(
        (&told["event"], &told["id"], &told["version"]),
        (&json!("requested"), &json!("r-1.requested"), &json!(1))
    );
    assert_eq!(
        told["request"],
        json!({"namespace": "agents", "name": "areq-0a1b2c3d", "uid": "r-1", "deleted": false})
    );
    assert_eq!(told["asker"]["pod"], "agent-0");
    assert_eq!(told["policies"], json!([{"kind": "AgentAccessPolicy", "name": "support", "rule": "fixes"}]));
    assert_eq!((&told["requiredApprovals"], &told["approvals"]), (&json!(2), &json!(0)));
    assert!(told["impact"].is_null());
    let impact = crds::approval::RequestImpact {
        means: "3 rows matched its condition `@all` when it was asked".to_owned(),
        counted_rows: Some(3),
        rollback_above: Some(13),
        ..Default::default()
    };
    let shown = fact(Notice::Requested, "Once", &[], |request| request.spec.impact = Some(impact));
    assert!(
        said(&shown).contains("\nImpact: `3 rows matched its condition '@all' when it was asked`\n"),
        "{}",
        said(&shown)
    );
    assert_eq!(self::read(&shown)["agentaccess"]["impact"]["rollbackAbove"], 13);
    let granting = said(&fact(Notice::Requested, "Task", &[], |_| {}));
    assert!(granting.contains("for the whole Job, and not this statement alone"), "{granting}");
    assert!(!granting.contains("WHY"), "{granting}");
}

#[test]
fn each_end_says_who_and_why() {
    type Votes = &'static [(&'static str, Word)];
    let table: [(Notice, Votes, &str); 8] = [
        (Notice::Approved, &APPROVED, "Approved: `areq-0a1b2c3d` of `agents/agent`, by `alice`, `bob`"),
        (
            Notice::BreakGlass,
            &[("carol", Word::BreakGlass)],
            "BREAK-GLASS: `areq-0a1b2c3d` of `agents/agent` by `carol`, because `INC-1`",
        ),
        (Notice::Denied, &[("eve", Word::Deny)], "Denied: `areq-0a1b2c3d` of `agents/agent` by `eve`, because `INC-1`"),
        (
            Notice::Revoked,
            &[("eve", Word::Revoke)],
            "Revoked: `areq-0a1b2c3d` of `agents/agent` by `eve`, because `INC-1`",
        ),
        (Notice::Expired, &[], "Expired: `areq-0a1b2c3d` of `agents/agent`; nobody decided or used it in time"),
        (Notice::Withdrawn, &[], "Withdrawn: `areq-0a1b2c3d` of `agents/agent`; the agent gave it up"),
        (Notice::Ended, &[], "Ended early: `areq-0a1b2c3d` of `agents/agent`; its pod or Job has ended"),
        (Notice::Requested, &[], "Approval needed: `areq-0a1b2c3d` of `agents/agent`"),
    ];
    for (notice, votes, head) in table {
        let text = said(&fact(notice, "Duration", votes, |_| {}));
        assert_eq!(text.lines().next().unwrap(), head);
        let ends = matches!(notice, Notice::Approved | Notice::BreakGlass);
        assert_eq!(text.contains("agentaccess.dev/decision=revoke"), ends, "{text}");
        assert_eq!(text.contains("It counts until"), ends, "{text}");
        assert_eq!(text.contains("decision=approve"), notice == Notice::Requested, "{text}");
    }
    let mut gone = fact(Notice::Ended, "Once", &[], |_| {});
    gone.gone = true;
    let text = said(&gone);
    assert!(text.starts_with("Ended early: `areq-0a1b2c3d` of `agents/agent`; the request was deleted"), "{text}");
    assert!(!text.contains("kubectl"), "{text}");
    let glass = read(&fact(Notice::BreakGlass, "Once", &[("carol", Word::BreakGlass)], |_| {}));
    assert_eq!(glass["agentaccess"]["grant"]["breakGlass"], true);
    assert_eq!(glass["agentaccess"]["decisions"][0]["user"], "carol");
}

/// Each as a chat would take it for something else than text.
const TRICKS: [&str; 12] = [
    "<!channel>",
    "<@U0123>",
    "@channel @here",
    "<https://evil.example|harmless>",
    "[harmless](https://evil.example)",
    "https://evil.example/approve?areq=1",
    "`\n*Approved by alice*\n`",
    "```\nkubectl delete ns prod\n```",
    "a\u{202e}b\u{2066}c\u{200b}d",
    "\u{1b}[31mred\u{7}\0",
    "&lt;!channel&gt; &amp;",
    "line\r\nWho: ServiceAccount `agents/other`",
];

#[test]
fn what_an_agent_writes_stays_in_its_place() {
    let plain = said(&fact(Notice::Requested, "Once", &[], |request| request.spec.summary = "X".to_owned()));
    for trick in TRICKS {
        let fact = fact(Notice::Requested, "Once", &[], |request| {
            request.spec.summary = trick.to_owned();
            request.spec.action.verb = trick.to_owned();
        });
        let text = said(&fact);
        assert_eq!(text.lines().count(), plain.lines().count(), "{text}");
        assert_eq!(text.matches('`').count(), plain.matches('`').count(), "{text}");
        assert!(!text.contains(['<', '>', '\r', '\0', '\u{1b}', '\u{202e}', '\u{2066}', '\u{200b}']), "{text}");
        assert!(!text.contains("://"), "{text}");
        // Between the first and the last sign of its own line it is all code.
        let line = text.lines().find(|line| line.starts_with("What: ")).unwrap();
        assert_eq!(line.matches('`').count(), 4, "{line}");
        assert!(line.ends_with('`'), "{line}");
        let told = read(&fact);
        let summary = told["agentaccess"]["summary"].as_str().unwrap();
        assert!(!summary.contains(['\n', '\r', '\u{202e}', '\u{1b}', '\0', '\u{200b}']), "{summary}");
    }
    let told = said(&fact(Notice::Requested, "Once", &[], |request| request.spec.summary = TRICKS[0].to_owned()));
    assert!(told.contains("`&lt;!channel&gt;`"), "{told}");
    let told = said(&fact(Notice::Requested, "Once", &[], |request| request.spec.summary = "  ".to_owned()));
    assert!(told.contains("What: `UPDATE` `-`"), "{told}");
}

#[test]
fn what_people_write_stays_in_its_place_too() {
    let mut fact = fact(Notice::Denied, "Once", &[("eve", Word::Deny)], |_| {});
    for trick in TRICKS {
        let mut tally = crate::approvals::tally::Tally::clone(&fact.tally);
        (tally.decisions[0].user, tally.decisions[0].reason) = (trick.to_owned(), Some(trick.to_owned()));
        fact.tally = std::sync::Arc::new(tally);
        let text = said(&fact);
        let line = text.lines().next().unwrap();
        assert_eq!(line.matches('`').count(), 8, "{line}");
        assert!(!line.contains(['<', '>']) && !line.contains("://"), "{line}");
    }
}

#[test]
fn it_is_bounded() {
    let long = "<`&\u{202e}".repeat(10_000);
    let fact = fact(Notice::BreakGlass, "Once", &[("carol", Word::BreakGlass)], |request| {
        request.spec.summary = long.chars().take(256).collect();
        request.spec.action.verb = long.chars().take(63).collect();
        request.spec.policy_refs = vec![request.spec.policy_refs[0].clone(); 8];
    });
    let text = said(&fact);
    assert!(text.chars().count() < 4_000, "{}", text.chars().count());
    assert!(body(&fact).unwrap().len() < 32 * 1024);
    assert_eq!(cut(&long).chars().count(), SHARE + 1);
}
