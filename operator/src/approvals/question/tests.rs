//! Questions that are asked, that are not, and on whose terms.

use control::PodName;
use control::v1;
use serde_json::{Value, json};

use super::*;

fn asker() -> Asker {
    let pod = PodName::new("agents", "5b1c0d6e-0000-4000-8000-000000000001").unwrap();
    Asker { pod, pod_name: "agent-0".to_owned(), service_account: "agent".to_owned(), job: None }
}

fn question() -> Question {
    Question {
        target: "orders".to_owned(),
        action: "UPDATE".to_owned(),
        resources: vec!["table public.orders".to_owned()],
        statement: "UPDATE public.orders␊␉SET a = '***'".to_owned(),
        digest: vec![0xab; 32],
        rules: vec!["support/fixes".to_owned()],
        revision: format!("sha256:{}", "0".repeat(64)),
        terms: Some(v1::Terms {
            required_approvals: 1,
            deny_threshold: 2,
            pending_ttl_seconds: 3600,
            reason_required: false,
            ..v1::Terms::default()
        }),
        ..Question::default()
    }
}

fn sources() -> Sources {
    let rules = |action: &str| json!([{"name": "fixes", "action": action, "approval": "change", "verbs": ["Update"]}]);
    let target = |name: &str, action: &str| json!({"targetRef": {"name": name}, "postgres": {"rules": rules(action)}});
    let approvals =
        |required: i32, ttl: &str| json!([{"name": "change", "requiredApprovals": required, "pendingTTL": ttl}]);
    let policy = |targets: Value, approvals: Value| {
        serde_json::from_value(json!({"podSelector": {}, "targets": targets, "approvals": approvals})).unwrap()
    };
    let mut reads = target("orders", "Allow");
    reads["postgres"]["rules"][0].as_object_mut().unwrap().remove("approval");
    let cluster = json!({
        "namespaceSelector": {}, "podSelector": {},
        "approvals": [{"name": "prod", "requiredApprovals": 3, "pendingTTL": "10m", "reason": "Required"}],
        "rules": [
            {"name": "writes", "action": "RequireApproval", "approval": "prod", "postgres": {"hosts": ["*"], "verbs": ["Update"]}},
            {"name": "no-ddl", "action": "Deny", "postgres": {"hosts": ["*"], "verbs": ["DDL"]}},
        ],
    });
    Sources {
        host: "orders.example".to_owned(),
        port: 5432,
        policies: [
            ("support".to_owned(), policy(json!([target("orders", "RequireApproval")]), approvals(2, "15m"))),
            ("elsewhere".to_owned(), policy(json!([target("other", "RequireApproval")]), approvals(1, "15m"))),
            ("reads".to_owned(), policy(json!([reads]), approvals(1, "15m"))),
        ]
        .into(),
        cluster: [("prod".to_owned(), serde_json::from_value(cluster).unwrap())].into(),
    }
}

fn asked(question: Question) -> Result<ApprovalRequest, Refused> {
    let checked = Checked::read(question, &asker())?;
    checked.object(&asker(), &sources(), "areq-0a1b2c3d", "2027-01-15T08:00:00.9Z".parse().unwrap())
}

#[test]
fn what_is_asked_is_what_the_policies_say() {
    let object = asked(question()).unwrap();
    let spec = &object.spec;
    assert_eq!((spec.required_approvals, spec.deny_threshold, spec.reason), (2, 1, Reason::Optional));
    assert_eq!(spec.expires_at, "2027-01-15T08:15:00Z");
    assert_eq!(spec.digest, format!("hmac-sha256:{}", "ab".repeat(32)));
    assert_eq!(spec.summary, spec.statement);
    assert_eq!(spec.subject.pod_uid.as_deref(), Some(asker().pod.uid()));
    assert_eq!((spec.target.host.as_str(), spec.target.port), ("orders.example", 5432));
    let owner = &object.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", asker().pod.uid()));
    let how = &object.metadata.annotations.as_ref().unwrap()[HOW_ANNOTATION];
    assert_eq!(how, "kubectl annotate areq areq-0a1b2c3d -n agents agentaccess.dev/decision=approve  (or =deny)");
    // No key that the second wall refuses at creation.
    assert!(!HOW_ANNOTATION.starts_with("agentaccess.dev/decision"));

    // The strictest of all who ask.
    let both =
        Question { rules: vec!["agents/support/fixes".to_owned(), "cluster:prod/writes".to_owned()], ..question() };
    let object = asked(both).unwrap();
    let spec = &object.spec;
    assert_eq!((spec.required_approvals, spec.reason), (3, Reason::Required));
    assert_eq!(spec.expires_at, "2027-01-15T08:10:00Z");
    assert!(object.metadata.annotations.unwrap()[HOW_ANNOTATION].contains("agentaccess.dev/reason="));
    // And a sidecar may ask for more, not for less.
    let terms = |required_approvals, deny_threshold, pending_ttl_seconds| {
        Some(v1::Terms {
            required_approvals,
            deny_threshold,
            pending_ttl_seconds,
            reason_required: true,
            ..v1::Terms::default()
        })
    };
    let spec = asked(Question { terms: terms(5, 5, 60), ..question() }).unwrap().spec;
    assert_eq!((spec.required_approvals, spec.deny_threshold, spec.reason), (5, 1, Reason::Required));
    assert_eq!(spec.expires_at, "2027-01-15T08:01:00Z");
}

#[test]
fn a_summary_shows_where_a_statement_ends() {
    let statement = format!("UPDATE t SET s = '{}' WHERE id > 0", "open'' WHERE id = 4713 ".repeat(40));
    let spec = asked(Question { statement: statement.clone(), ..question() }).unwrap().spec;
    assert_eq!((spec.statement, spec.summary.chars().count()), (statement, limits::TEXT_CHARS));
    assert!(spec.summary.starts_with("UPDATE t SET s = 'open") && spec.summary.contains(" ⟪…⟫ "), "{}", spec.summary);
    assert!(spec.summary.ends_with("' WHERE id > 0"), "{}", spec.summary);
}

#[test]
fn rules_that_do_not_ask_are_no_reason_to_ask() {
    for rule in [
        "support/other",
        "missing/fixes",
        "elsewhere/fixes",
        "reads/fixes",
        "cluster:prod/no-ddl",
        "cluster:support/fixes",
        "prod/writes",
        "other-namespace/support/fixes",
        "builtin/session",
        "support",
        "",
        "/",
        "Support/fixes",
        "support/fixes/",
        "cluster:agents/prod/writes",
        "a/../b",
    ] {
        let refused = asked(Question { rules: vec![rule.to_owned()], ..question() }).unwrap_err();
        assert!(matches!(refused, Refused::Rule(_)), "{rule}: {refused}");
    }
    // One that asks does not carry one that does not.
    let rules = vec!["support/fixes".to_owned(), "missing/fixes".to_owned()];
    asked(Question { rules, ..question() }).unwrap_err();
}

#[test]
fn what_cannot_be_shown_is_not_asked() {
    let text = |change: &dyn Fn(&mut Question)| {
        let mut question = question();
        change(&mut question);
        let refused = asked(question).unwrap_err();
        assert!(matches!(refused, Refused::Malformed(_)), "{refused}");
    };
    for bad in ["\u{1b}[2J", "\u{202e}", "\0", "\r", "a\nb", "a\tb", "\u{200b}", "\u{a0}", ""] {
        text(&|question| question.statement = bad.to_owned());
        text(&|question| question.action = bad.to_owned());
        text(&|question| question.resources = vec![bad.to_owned()]);
    }
    text(&|question| question.statement = "a".repeat(limits::STATEMENT_CHARS + 1));
    text(&|question| question.action = "a".repeat(64));
    text(&|question| question.action = "a\nb".to_owned());
    text(&|question| question.resources = vec!["a".repeat(513)]);
    text(&|question| question.resources = vec!["a".to_owned(); 257]);
    text(&|question| question.target = "../x".to_owned());
    text(&|question| question.target = String::new());
    text(&|question| question.digest = vec![0; 31]);
    text(&|question| question.digest = vec![0; 33]);
    text(&|question| question.revision = "sha256:XYZXYZ".to_owned());
    text(&|question| question.rules = Vec::new());
    text(&|question| question.rules = (0..9).map(|n| format!("p{n}/fixes")).collect());
    text(&|question| question.terms = None);
    for (required, denials, ttl) in
        [(0, 1, 60), (6, 1, 60), (1, 0, 60), (1, 6, 60), (1, 1, 0), (1, 1, 86_401), (u32::MAX, 1, 60)]
    {
        text(&|question| {
            question.terms = Some(v1::Terms {
                required_approvals: required,
                deny_threshold: denials,
                pending_ttl_seconds: ttl,
                reason_required: false,
                ..v1::Terms::default()
            });
        });
    }
}

#[test]
fn many_rules_of_one_policy_are_one_reference() {
    let rules = (0..20).map(|n| format!("support/r{n:02}")).chain(["cluster:prod/writes".to_owned()]);
    let checked = Checked::read(Question { rules: rules.collect(), ..question() }, &asker()).unwrap();
    let kept: Vec<String> = checked.asking.iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["support/r00", "cluster:prod/writes"]);
}

#[test]
fn the_same_pod_and_digest_have_one_label() {
    let label = |question: Question, asker: &Asker| Checked::read(question, asker).unwrap().label(asker);
    let first = label(question(), &asker());
    assert_eq!(first.len(), 40);
    assert_eq!(label(Question { statement: "other".to_owned(), ..question() }, &asker()), first);
    assert_ne!(label(Question { digest: vec![1; 32], ..question() }, &asker()), first);
    let pod = PodName::new("agents", "5b1c0d6e-0000-4000-8000-000000000002").unwrap();
    assert_ne!(label(question(), &Asker { pod, ..asker() }), first);
}

#[test]
fn an_open_request_on_looser_terms_is_not_found_again() {
    let fits =
        |question: Question| Checked::read(question, &asker()).unwrap().fits(&asked(self::question()).unwrap().spec);
    let terms = |required_approvals, deny_threshold, reason_required| {
        Some(v1::Terms {
            required_approvals,
            deny_threshold,
            pending_ttl_seconds: 60,
            reason_required,
            ..v1::Terms::default()
        })
    };
    assert!(fits(question()));
    assert!(fits(Question { terms: terms(2, 1, false), revision: "sha256:abcdef".to_owned(), ..question() }));
    // The policies were made stricter since.
    assert!(!fits(Question { terms: terms(3, 1, false), ..question() }));
    assert!(!fits(Question { terms: terms(1, 1, true), ..question() }));
    assert!(!fits(Question { rules: vec!["support/other".to_owned()], ..question() }));
    assert!(!fits(Question { rules: vec!["cluster:support/fixes".to_owned()], ..question() }));
    let rules = vec!["support/fixes".to_owned(), "cluster:prod/writes".to_owned()];
    assert!(!fits(Question { rules, ..question() }));
    assert!(!fits(Question { target: "other".to_owned(), ..question() }));
    assert!(!fits(Question { digest: vec![1; 32], ..question() }));
}

#[path = "granting.rs"]
mod granting;

fn told(impact: v1::Impact) -> Question {
    Question { impact: Some(impact), ..question() }
}

#[test]
fn the_request_shows_the_impact_that_was_told_in_words_of_its_own() {
    assert_eq!(asked(question()).unwrap().spec.impact, None, "a sidecar of an earlier version, or no preview");
    let whole = v1::Impact {
        estimated_rows: Some(120),
        counted_rows: Some(100),
        more: false,
        compared: true,
        remark: "a remark".to_owned(),
    };
    let impact = asked(told(whole.clone())).unwrap().spec.impact.unwrap();
    assert_eq!((impact.estimated_rows, impact.counted_rows, impact.more), (Some(120), Some(100), false));
    // A tenth and ten more, whoever says what.
    assert_eq!(impact.rollback_above, Some(120));
    assert!(impact.means.contains("100 rows matched") && impact.means.ends_with("; a remark"), "{}", impact.means);
    // The vote is bound to it.
    let one = serde_json::to_vec(&asked(told(whole.clone())).unwrap().spec).unwrap();
    let other = v1::Impact { counted_rows: Some(101), ..whole.clone() };
    assert_ne!(one, serde_json::to_vec(&asked(told(other)).unwrap().spec).unwrap());
    let uncompared = asked(told(v1::Impact { compared: false, ..whole.clone() })).unwrap().spec.impact.unwrap();
    assert_eq!(uncompared.rollback_above, None);

    let refused = |impact: v1::Impact| {
        let refused = asked(told(impact)).unwrap_err();
        assert_eq!(refused, Refused::Malformed("impact is not one that can be shown"));
    };
    refused(v1::Impact::default());
    refused(v1::Impact { estimated_rows: Some(u64::MAX), ..whole.clone() });
    refused(v1::Impact { counted_rows: Some(1 << 60), ..whole.clone() });
    for remark in ["two\nlines", "\u{1b}[31m", "\u{202e}", &"x".repeat(513)] {
        refused(v1::Impact { remark: remark.to_owned(), ..whole.clone() });
    }
}
