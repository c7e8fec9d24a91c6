//! Words for people, what a view tells, and the matching of single names.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::collections::{BTreeMap, BTreeSet};

use policy::operation::{
    Access, Certainty, Digest, Fields, Operation, Origin, PayloadHash, Protocol, Resource, ResourceKind, Strictness,
    Verb,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::verdict::{Decision, DenyReason};
use policy::{ColumnMask, Input, Named, PolicySet, TargetKey, View, compile, decide};
use serde_yaml::from_str;

fn set() -> PolicySet {
    let target = "{protocol: Postgres, host: db, port: 1, credentialRef: {name: c}, postgres: {databases: [app]}}";
    let policy = "
podSelector: {}
recording: {level: Payload}
approvals: [{name: change, requiredApprovals: 2, reason: Required}]
targets:
  - targetRef: {name: db}
    postgres:
      rules:
        - {name: read, action: Allow, verbs: [Select, Listen], relations: [public.orders, 'log.*'], columns: [public.orders.id, '*.*.x'], limits: {rows: 7}}
        - {name: fix, action: RequireApproval, approval: change, verbs: [Update], relations: [public.orders], requireWhere: true}
        - {name: 'no', action: Deny, verbs: [Delete], message: \"line one\\nline \\e[31mtwo\"}
      masks:
        - {name: mail, columns: [public.users.email, '*.*.mail'], method: Partial}
        - {name: mail2, columns: ['public.*.email'], method: Redact, inPredicates: Deny}
";
    let named = |name: &str| (("agents").to_owned(), name.to_owned());
    let ((ns, db), (_, bot)) = (named("db"), named("bot"));
    compile(&Input {
        targets: vec![Named { namespace: ns.clone(), name: db, spec: from_str(target).unwrap() }],
        policies: vec![Named { namespace: ns, name: bot, spec: from_str(policy).unwrap() }],
        cluster: Vec::new(),
    })
    .unwrap()
}

fn view(set: &PolicySet) -> View {
    let subject = Subject { namespace: "agents".to_owned(), ..Subject::default() };
    set.view(&subject, &TargetKey { namespace: "agents".to_owned(), name: "db".to_owned() })
}

fn operation(set: &PolicySet, verb: Verb, path: &[&str], fields: Fields) -> Operation {
    let path = path.iter().map(|s| (*s).to_owned()).collect();
    Operation {
        protocol: Protocol::Postgres,
        action: "X".to_owned(),
        accesses: vec![Access {
            verb,
            resource: Resource { kind: ResourceKind::Relation, path, fields },
            bounded: Some(true),
            indirect: false,
        }],
        attributes: BTreeMap::new(),
        certainty: Certainty::Exact,
        payload: PayloadHash([0; 32]),
        digest: Digest([0; 32]),
        ceiling: Strictness::Allow,
        origin: Origin::Agent,
        planned: set.revision(),
        display: Redacted::constant("-"),
    }
}

fn named(names: &[&str]) -> Fields {
    Fields::Named(names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>())
}

#[test]
fn a_verdict_tells_who_said_what() {
    let set = set();
    let allowed = decide(&view(&set), &operation(&set, Verb::Read, &["public", "orders"], named(&["id"])));
    assert_eq!(
        allowed.explain(),
        "Allow\n  bot/read says Allow to Read Relation public.orders (id)\n  at most 7 rows\n  recorded at Payload, Written"
    );
    let asked = decide(&view(&set), &operation(&set, Verb::Update, &["public", "orders"], Fields::All)).explain();
    assert!(asked.starts_with("RequireApproval: bot/fix of 2 approvals, with a reason within 900s"), "{asked}");
    assert!(!asked.contains("granting"), "{asked}");
    let mut input = set.render();
    let settings = input.policies.first_mut().unwrap().spec.approvals.first_mut().unwrap();
    settings.scope = policy::verdict::Scope::Task;
    settings.max_grant_duration = "2h".parse().ok();
    let granting = policy::compile(&input).unwrap();
    let asked = decide(&view(&granting), &operation(&granting, Verb::Update, &["public", "orders"], Fields::All));
    assert!(asked.explain().contains("granting scope Task for 7200s at most"), "{}", asked.explain());
    let denied = decide(&view(&set), &operation(&set, Verb::Read, &["hr", "pay"], named(&["id"]))).explain();
    assert!(denied.starts_with("Deny: no rule allows Read Relation hr.pay (id)\n  hint: "), "{denied}");
    assert!(denied.contains("no rule matched"), "{denied}");
}

#[test]
fn names_and_messages_cannot_steer_a_terminal_and_stay_short() {
    let set = set();
    let denied = decide(&view(&set), &operation(&set, Verb::Delete, &["public", "a"], Fields::All)).explain();
    assert!(denied.starts_with("Deny: denied by policy bot/no: line one line \\u{1b}[31mtwo\n"), "{denied}");
    let names: Vec<String> = (0..1_600).map(|n| format!("c{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wide = decide(&view(&set), &operation(&set, Verb::Read, &["p", "\u{202e}\u{7}"], named(&names))).explain();
    assert!(wide.contains("p.\\u{202e}\\u{7} (c0000, ") && wide.contains("and 1592 more columns"), "{wide}");
    assert!(wide.len() < 700, "{}", wide.len());
    // As many as are shown are all of them.
    let told =
        |count: usize| decide(&view(&set), &operation(&set, Verb::Read, &["p", "t"], named(&names[..count]))).explain();
    assert!(told(8).contains("c0007)") && !told(8).contains("more columns"), "{}", told(8));
    assert!(told(9).contains("and 1 more columns"), "{}", told(9));
}

#[test]
fn each_reason_has_a_message_and_a_hint() {
    let id = policy::verdict::RuleId { policy: "p".to_owned(), rule: "r".to_owned(), cluster: true };
    let rule = |message: Option<&str>| DenyReason::Rule { id: id.clone(), message: message.map(str::to_owned) };
    let table = [
        ("not_selected", DenyReason::NotSelected),
        ("no_rule", DenyReason::NoRule("x".to_owned())),
        ("rule", rule(None)),
        ("unasked", DenyReason::Unasked { id: id.clone() }),
        ("deny_all", DenyReason::DenyAll { policy: "p".to_owned() }),
        ("unbounded", DenyReason::Unbounded { id: id.clone(), resource: "x".to_owned() }),
        ("ceiling", DenyReason::Ceiling("x".to_owned())),
        ("opaque", DenyReason::Opaque("x".to_owned())),
        ("stale", DenyReason::Stale),
        ("evaluation", DenyReason::Evaluation("x".to_owned())),
    ];
    for (word, reason) in &table {
        assert_eq!(reason.word(), *word);
    }
    assert_eq!(rule(Some("ask Ann")).message(), "denied by policy cluster:p/r: ask Ann");
    let reasons = table.map(|(_, reason)| reason);
    let texts: BTreeSet<_> = reasons.iter().flat_map(|r| [r.message(), r.hint()]).collect();
    // Two of them are answered with the same advice.
    assert_eq!(texts.len(), 2 * reasons.len() - 1);
    assert!(texts.iter().all(|t| t.len() > 8 && !t.ends_with('.')), "{texts:?}");
    assert!(texts.contains("denied by policy cluster:p/r"));
}

#[test]
fn what_no_rule_allows_is_told_by_its_word() {
    let set = set();
    let mut op = operation(&set, Verb::Read, &["public", "orders"], named(&["id"]));
    op.ceiling = Strictness::Deny;
    let verdict = decide(&view(&set), &op);
    let Decision::Deny(reason) = verdict.decision else { panic!("{verdict:?}") };
    assert_eq!(reason, DenyReason::Ceiling("`X` is never allowed, whatever the rules say".to_owned()));
}

#[test]
fn a_view_tells_all_that_applies() {
    let text = view(&set()).explain();
    for line in [
        "selected",
        "builtin/session Allow Connect Target, Read Catalog, Execute SessionSetting, Execute Transaction",
        "bot/read Allow Read Relation, Execute Channel (LISTEN, UNLISTEN); relations log.* public.orders; columns *.*.x public.orders.id; at most 7 rows",
        "bot/fix RequireApproval Update Relation; relations public.orders; only with WHERE",
        "bot/mail masks public.users.email: Partial, predicates Allow",
        "recorded at Payload, Written",
    ] {
        assert!(text.lines().any(|l| l == line), "`{line}` is not in\n{text}");
    }
}

#[test]
fn exact_names_are_listed_for_the_check_against_the_catalog() {
    let view = view(&set());
    let columns: Vec<_> = view
        .named_columns()
        .into_iter()
        .map(|c| format!("{} {}.{}.{}", c.id, c.schema, c.relation, c.column))
        .collect();
    assert_eq!(columns, ["bot/mail public.users.email", "bot/read public.orders.id"]);
    let relations: Vec<_> =
        view.named_relations().into_iter().map(|r| format!("{} {}.{}", r.id, r.schema, r.relation)).collect();
    assert_eq!(relations, ["bot/fix public.orders", "bot/read public.orders"]);
    assert_eq!(view.masks().iter().filter_map(|m| m.exact()).count(), 1);
}

#[test]
fn the_strictest_mask_of_a_column_counts() {
    let view = view(&set());
    let ColumnMask { method, in_predicates, ids } = view.column_mask("public", "users", "email").unwrap();
    assert_eq!(format!("{method:?} {in_predicates:?}"), "Redact Deny");
    assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["bot/mail", "bot/mail2"]);
    assert!(view.column_mask("x", "y", "mail").is_some());
    assert!(view.column_mask("x", "y", "Mail").is_none());
    assert!(view.masks().iter().all(|m| !m.matches("public", "users", "id")));
}

mod globs {
    use proptest::prelude::*;

    /// The definition, in the obvious exponential form.
    fn obvious(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(('*', rest)), Some((_, after))) => obvious(rest, text) || obvious(pattern, after),
            (Some(('*', rest)), None) => obvious(rest, text),
            (Some((p, rest)), Some((t, after))) => p == t && obvious(rest, after),
            (Some(_), None) => false,
        }
    }

    /// A mask column is the public way to a single pattern.
    fn matches(pattern: &str, text: &str) -> bool {
        let mask = format!(
            "{{podSelector: {{}}, targets: [{{targetRef: {{name: db}}, postgres: {{masks: [{{name: m, columns: ['a.b.{pattern}'], method: Redact}}]}}}}]}}"
        );
        let mut input = super::set().render();
        input.policies.first_mut().unwrap().spec = super::from_str(&mask).unwrap();
        super::view(&super::compile(&input).unwrap()).column_mask("a", "b", text).is_some()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn match_what_the_definition_matches(pattern in "[ab*]{1,7}", text in "[ab]{0,8}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), obvious(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn are_linear_in_the_text() {
        let text = "a".repeat(2_000_000);
        let start = std::time::Instant::now();
        assert!(!matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", &text));
        assert!(start.elapsed().as_secs() < 10);
    }
}
