//! Generated policies and operations over a small vocabulary, so that rules and operations often meet.

pub(crate) mod changed;

use std::collections::{BTreeMap, BTreeSet};

use crds::duration::DurationText;
use crds::policy::{
    Action, AgentAccessPolicySpec, ApprovalSettings, ClusterAgentAccessPolicySpec, ClusterMask, ClusterPostgresColumns,
    ClusterPostgresMatch, ClusterRule, Detector, Durability, InPredicates, InTransaction, Level, MaskMethod, Mode,
    OnDetected, OnTimeout, PostgresMask, PostgresRule, PostgresRules, PostgresVerb, Preview, Reason, RecordingSettings,
    RuleLimits, Scope, Sensitive, TargetRules,
};
use crds::shared::{LocalRef, Selector};
use crds::target::AccessTargetSpec;
use policy::operation::{
    Access, Attribute, Certainty, Digest, Fields, Operation, Origin, PayloadHash, Protocol, Resource, ResourceKind,
    Revision, Strictness, Verb,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::{Input, Named, TargetKey};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub(crate) const ALLOWABLE: [PostgresVerb; 6] = [
    PostgresVerb::Select,
    PostgresVerb::Insert,
    PostgresVerb::Update,
    PostgresVerb::Delete,
    PostgresVerb::Listen,
    PostgresVerb::Notify,
];
pub(crate) const ALL: [PostgresVerb; 13] = [
    PostgresVerb::Select,
    PostgresVerb::Insert,
    PostgresVerb::Update,
    PostgresVerb::Delete,
    PostgresVerb::Listen,
    PostgresVerb::Notify,
    PostgresVerb::CopyFrom,
    PostgresVerb::Call,
    PostgresVerb::Do,
    PostgresVerb::Ddl,
    PostgresVerb::Copy,
    PostgresVerb::Grant,
    PostgresVerb::Set,
];
const RELATIONS: [&str; 5] = ["public.*", "*.*", "public.a", "hr.pay", "*.a"];
const COLUMNS: [&str; 4] = ["*.*.ssn", "public.a.id", "public.*.*", "hr.pay.id"];
const FUNCTIONS: [&str; 3] = ["public.f(integer, text)", "*.*", "ops.run*"];

pub(crate) fn target() -> TargetKey {
    TargetKey { namespace: "agents".to_owned(), name: "db".to_owned() }
}

pub(crate) fn subject() -> Subject {
    Subject {
        namespace: "agents".to_owned(),
        service_account: "bot".to_owned(),
        labels: labels("a"),
        namespace_labels: BTreeMap::new(),
        pod: None,
        pod_uid: None,
    }
}

fn labels(app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), app.to_owned())])
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![4 => Just(None), 4 => Just(Some("a")), 1 => Just(Some("b"))]
        .prop_map(|app| Selector { match_labels: app.map(labels).unwrap_or_default(), match_expressions: Vec::new() })
}

fn texts(of: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![2 => Just(Vec::new()), 3 => subsequence(of, 0..=most)]
        .prop_map(|list| list.into_iter().map(str::to_owned).collect())
}

fn verbs(action: Action) -> impl Strategy<Value = Vec<PostgresVerb>> {
    let words = match action {
        Action::Allow => &ALLOWABLE[..],
        Action::RequireApproval => &ALL[..10],
        Action::Deny => &ALL[..],
    };
    subsequence(words, 1..=words.len().min(4))
}

pub(crate) fn rule_of(action: Action) -> impl Strategy<Value = PostgresRule> {
    let lists = (texts(&RELATIONS, 2), texts(&COLUMNS, 2), texts(&FUNCTIONS, 2));
    (verbs(action), lists, any::<bool>(), option::of(1..100_i32), select(vec!["one", "two"]), option::of("[a-z ]{1,9}"))
        .prop_map(move |(verbs, (relations, columns, functions), bounded, rows, approval, message)| {
            let calls = verbs.contains(&PostgresVerb::Call);
            let writes = verbs.iter().any(|v| matches!(v, PostgresVerb::Update | PostgresVerb::Delete));
            PostgresRule {
                name: "r".to_owned(),
                action,
                approval: (action == Action::RequireApproval).then(|| approval.to_owned()),
                verbs,
                relations,
                columns,
                functions: if calls { functions } else { Vec::new() },
                require_where: bounded && writes && action != Action::Deny,
                limits: rows.map(|rows| RuleLimits { rows }),
                message,
            }
        })
}

fn rule() -> impl Strategy<Value = PostgresRule> {
    prop_oneof![4 => rule_of(Action::Allow), 2 => rule_of(Action::RequireApproval), 1 => rule_of(Action::Deny)]
}

fn mask() -> impl Strategy<Value = PostgresMask> {
    let columns = subsequence(&COLUMNS[..], 1..=2);
    (columns, any::<bool>(), any::<bool>()).prop_map(|(columns, partial, deny)| PostgresMask {
        name: "m".to_owned(),
        columns: columns.into_iter().map(str::to_owned).collect(),
        method: if partial { MaskMethod::Partial } else { MaskMethod::Redact },
        in_predicates: if deny { InPredicates::Deny } else { InPredicates::Allow },
    })
}

fn recording() -> impl Strategy<Value = RecordingSettings> {
    let level = select(vec![Level::Metadata, Level::Statements, Level::Payload]);
    (level, select(vec![Durability::Written, Durability::Synced, Durability::Replicated]))
        .prop_map(|(level, durability)| RecordingSettings { level, durability })
}

fn settings(name: &'static str) -> impl Strategy<Value = ApprovalSettings> {
    let scope = select(vec![Scope::Once, Scope::Session, Scope::Duration, Scope::Task]);
    let granted = (scope, 1..=86_400_u32);
    let preview = subsequence(vec![Preview::Explain, Preview::Count, Preview::MaskedStatement], 0..=3);
    (1..=5_i32, 1..=5_i32, 60..3_600_u32, 1..=60_u32, any::<bool>(), option::of(1..=30_u32), granted, preview).prop_map(
        move |(required, denials, ttl, hold, reason, inside, (scope, grant), preview)| ApprovalSettings {
            name: name.to_owned(),
            required_approvals: required,
            deny_threshold: denials,
            scope,
            max_grant_duration: (scope != Scope::Once).then(|| DurationText(format!("{grant}s"))),
            pending_ttl: DurationText(format!("{ttl}s")),
            hold_for: DurationText(format!("{hold}s")),
            reason: if reason { Reason::Required } else { Reason::Optional },
            in_transaction: inside.map(|hold| InTransaction {
                max_hold: DurationText(format!("{hold}s")),
                on_timeout: OnTimeout::Rollback,
            }),
            preview,
        },
    )
}

fn approvals() -> impl Strategy<Value = Vec<ApprovalSettings>> {
    (settings("one"), settings("two")).prop_map(|(one, two)| vec![one, two])
}

const SENSITIVE: [Sensitive; 4] =
    [Sensitive::CardNumber, Sensitive::SocialSecurityNumber, Sensitive::EmailAddress, Sensitive::AccessToken];

fn detectors() -> impl Strategy<Value = Vec<Detector>> {
    let one = (subsequence(SENSITIVE.to_vec(), 1..=4), select(vec![OnDetected::Report, OnDetected::Redact]));
    vec(one, 0..3).prop_map(|all| {
        let named = all.into_iter().enumerate();
        named.map(|(at, (find, action))| Detector { name: format!("d{at}"), find, action }).collect()
    })
}

pub(crate) fn policy() -> impl Strategy<Value = AgentAccessPolicySpec> {
    let mode = prop_oneof![3 => Just(Mode::Enforce), 1 => Just(Mode::Audit)];
    (selector(), mode, recording(), approvals(), vec(rule(), 0..5), vec(mask(), 0..3), detectors()).prop_map(
        |(pod_selector, mode, recording, approvals, mut rules, mut masks, detectors)| {
            rules.iter_mut().enumerate().for_each(|(at, r)| r.name = format!("r{at}"));
            masks.iter_mut().enumerate().for_each(|(at, m)| m.name = format!("m{at}"));
            AgentAccessPolicySpec {
                pod_selector,
                service_account_names: Vec::new(),
                mode,
                recording,
                approvals,
                targets: vec![TargetRules {
                    target_ref: LocalRef { name: "db".to_owned() },
                    postgres: Some(PostgresRules { rules, masks, detectors }),
                }],
            }
        },
    )
}

pub(crate) fn cluster(deny_all: u32) -> impl Strategy<Value = ClusterAgentAccessPolicySpec> {
    let rule = prop_oneof![rule_of(Action::Deny), rule_of(Action::RequireApproval)];
    let hosts = subsequence(vec!["*", "db.*", "other"], 1..=2);
    let parts = (selector(), recording(), approvals(), vec((rule, hosts), 0..3), vec(mask(), 0..2), detectors());
    let deny_all = prop_oneof![24 => Just(false), deny_all => Just(deny_all > 0)];
    (parts, deny_all).prop_map(|((pod_selector, recording, approvals, rules, masks, detectors), deny_all)| {
        let rules = rules.into_iter().enumerate().map(|(at, (rule, hosts))| ClusterRule {
            name: format!("c{at}"),
            action: rule.action,
            approval: rule.approval,
            postgres: Some(ClusterPostgresMatch {
                hosts: hosts.into_iter().map(str::to_owned).collect(),
                verbs: rule.verbs,
                relations: rule.relations,
                columns: rule.columns,
                functions: rule.functions,
                require_where: rule.require_where,
            }),
            message: rule.message,
        });
        let masks = masks.into_iter().enumerate().map(|(at, mask)| ClusterMask {
            name: format!("m{at}"),
            postgres: ClusterPostgresColumns { columns: mask.columns },
            method: mask.method,
            in_predicates: mask.in_predicates,
        });
        ClusterAgentAccessPolicySpec {
            namespace_selector: Selector::default(),
            pod_selector,
            deny_all,
            recording: Some(recording),
            approvals,
            rules: rules.collect(),
            masks: masks.collect(),
            detectors,
        }
    })
}

pub(crate) fn input() -> impl Strategy<Value = Input> {
    // Audit counts only where all policies are in it, which would be rare by chance.
    let all_audit = prop_oneof![2 => Just(false), 1 => Just(true)];
    (vec(policy(), 0..4), vec(cluster(1), 0..3), all_audit).prop_map(|(mut policies, cluster, all_audit)| {
        if all_audit {
            policies.iter_mut().for_each(|p| p.mode = Mode::Audit);
        }
        Input {
            targets: vec![Named { namespace: "agents".to_owned(), name: "db".to_owned(), spec: a_target() }],
            policies: (0_u8..).zip(policies).map(|(at, spec)| named("agents", format!("p{at}"), spec)).collect(),
            cluster: (0_u8..).zip(cluster).map(|(at, spec)| named("", format!("c{at}"), spec)).collect(),
        }
    })
}

pub(crate) fn named<T>(namespace: &str, name: String, spec: T) -> Named<T> {
    Named { namespace: namespace.to_owned(), name, spec }
}

pub(crate) fn a_target() -> AccessTargetSpec {
    let text = "{protocol: Postgres, host: db.example.com, port: 5432, credentialRef: {name: c}, postgres: {databases: [app]}}";
    serde_yaml::from_str(text).unwrap()
}

pub(crate) fn access() -> impl Strategy<Value = Access> {
    let what = select(vec![
        (Verb::Read, ResourceKind::Relation),
        (Verb::Read, ResourceKind::Relation),
        (Verb::Read, ResourceKind::Relation),
        (Verb::Read, ResourceKind::Catalog),
        (Verb::Create, ResourceKind::Relation),
        (Verb::Create, ResourceKind::RelationStream),
        (Verb::Update, ResourceKind::Relation),
        (Verb::Update, ResourceKind::Relation),
        (Verb::Delete, ResourceKind::Relation),
        (Verb::Execute, ResourceKind::Function),
        (Verb::Execute, ResourceKind::Code),
        (Verb::Execute, ResourceKind::Channel),
        (Verb::Execute, ResourceKind::Program),
        (Verb::Execute, ResourceKind::Transaction),
        (Verb::Administer, ResourceKind::Object),
        (Verb::Administer, ResourceKind::Relation),
        (Verb::Administer, ResourceKind::Role),
        (Verb::Administer, ResourceKind::Setting),
        (Verb::Connect, ResourceKind::Target),
    ]);
    let path = select(vec![
        vec!["public", "a"],
        vec!["public", "a"],
        vec!["public", "b"],
        vec!["hr", "pay"],
        vec!["public", "f(integer,text)"],
        vec!["ops", "run_all()"],
        vec!["a"],
        vec![],
    ]);
    let fields = prop_oneof![
        Just(Fields::All),
        subsequence(vec!["id", "ssn", "note"], 0..=2)
            .prop_map(|names| Fields::Named(names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>())),
    ];
    (what, path, fields, option::of(any::<bool>())).prop_map(|((verb, kind), path, fields, bounded)| Access {
        verb,
        resource: Resource { kind, path: path.into_iter().map(str::to_owned).collect(), fields },
        bounded,
        indirect: false,
    })
}

/// An operation that is understood and not yet planned under any revision.
pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let ceiling = prop_oneof![
        6 => Just(Strictness::Allow),
        3 => Just(Strictness::RequireApproval),
        1 => Just(Strictness::Deny)
    ];
    let action = select(vec!["SELECT", "UPDATE", "LISTEN", "UNLISTEN", "NOTIFY"]);
    let accesses = prop_oneof![3 => vec(access(), 1), 2 => vec(access(), 2)];
    (accesses, action, ceiling, option::of(select(vec!["db.example.com", "OTHER.", "x"]))).prop_map(
        |(accesses, action, ceiling, host)| Operation {
            protocol: Protocol::Postgres,
            action: action.to_owned(),
            accesses,
            attributes: host.map(|h| (Attribute::Host, h.to_owned())).into_iter().collect(),
            certainty: Certainty::Exact,
            payload: PayloadHash([0; 32]),
            digest: Digest([0; 32]),
            ceiling,
            origin: Origin::Agent,
            planned: Revision([0; 32]),
            display: Redacted::constant("-"),
        },
    )
}
