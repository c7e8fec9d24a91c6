//! The only place where the words of Postgres rules become neutral verbs and kinds, and back.

use std::collections::{BTreeMap, BTreeSet};

use crds::limits;
use crds::policy::{Action, InPredicates, MaskMethod, PostgresRule, PostgresRules, PostgresVerb};

use crate::compile::report::{Report, shown};
use crate::compile::{approvals, check, detectors, wide};
use crate::operation::{ResourceKind, Strictness, Verb};
use crate::rule::{Actions, ColumnPattern, Glob, PathPattern, Rule, Terms, Use, canonical_host, canonical_signature};
use crate::set::Block;
use crate::verdict::RuleId;
use crate::view::{DetectorRule, MaskRule};

pub(crate) const WORDS: [PostgresVerb; 13] = [
    PostgresVerb::Select,
    PostgresVerb::Insert,
    PostgresVerb::Update,
    PostgresVerb::Delete,
    PostgresVerb::CopyFrom,
    PostgresVerb::Call,
    PostgresVerb::Do,
    PostgresVerb::Ddl,
    PostgresVerb::Listen,
    PostgresVerb::Notify,
    PostgresVerb::Copy,
    PostgresVerb::Grant,
    PostgresVerb::Set,
];

const LISTEN: &[&str] = &["LISTEN", "UNLISTEN"];
const NOTIFY: &[&str] = &["NOTIFY"];

/// The table of words. A rule that forbids Insert, or asks for it, means COPY FROM STDIN too; one that allows it does
/// not, since nobody has seen the rows of a stream when it is decided.
pub(crate) fn uses(word: PostgresVerb, action: Strictness) -> BTreeSet<Use> {
    let plain = |verb, kind| Use { verb, kind, actions: None };
    let channel = |meant, others| Use {
        verb: Verb::Execute,
        kind: ResourceKind::Channel,
        actions: Some(Actions { meant, others }),
    };
    match word {
        PostgresVerb::Select => [plain(Verb::Read, ResourceKind::Relation)].into(),
        PostgresVerb::Insert if action == Strictness::Allow => [plain(Verb::Create, ResourceKind::Relation)].into(),
        PostgresVerb::Insert => {
            [plain(Verb::Create, ResourceKind::Relation), plain(Verb::Create, ResourceKind::RelationStream)].into()
        }
        PostgresVerb::Update => [plain(Verb::Update, ResourceKind::Relation)].into(),
        PostgresVerb::Delete => [plain(Verb::Delete, ResourceKind::Relation)].into(),
        PostgresVerb::CopyFrom => [plain(Verb::Create, ResourceKind::RelationStream)].into(),
        PostgresVerb::Call => [plain(Verb::Execute, ResourceKind::Function)].into(),
        PostgresVerb::Do => [plain(Verb::Execute, ResourceKind::Code)].into(),
        PostgresVerb::Ddl => {
            [plain(Verb::Administer, ResourceKind::Object), plain(Verb::Administer, ResourceKind::Relation)].into()
        }
        PostgresVerb::Listen => [channel(LISTEN, NOTIFY)].into(),
        PostgresVerb::Notify => [channel(NOTIFY, LISTEN)].into(),
        PostgresVerb::Copy => [plain(Verb::Execute, ResourceKind::Program)].into(),
        PostgresVerb::Grant => [plain(Verb::Administer, ResourceKind::Role)].into(),
        PostgresVerb::Set => [plain(Verb::Administer, ResourceKind::Setting)].into(),
    }
}

/// The inverse of [`uses`]: every word whose uses are all among them.
pub(crate) fn words(of: &BTreeSet<Use>, action: Strictness) -> Vec<PostgresVerb> {
    WORDS.into_iter().filter(|word| uses(*word, action).is_subset(of)).collect()
}

/// What a namespaced and a cluster rule have in common, with the paths of its parts.
pub(super) struct Match<'a> {
    /// Where name, action and message stand.
    pub(super) rule: String,
    /// Where verbs, relations and so on stand.
    pub(super) block: String,
    pub(super) id: RuleId,
    pub(super) action: Action,
    pub(super) approval: Option<&'a str>,
    pub(super) hosts: &'a [String],
    pub(super) verbs: &'a [PostgresVerb],
    pub(super) relations: &'a [String],
    pub(super) columns: &'a [String],
    pub(super) functions: &'a [String],
    pub(super) require_where: bool,
    pub(super) max_rows: Option<i32>,
    pub(super) message: Option<&'a str>,
}

pub(super) fn block(
    policy: &str,
    path: &str,
    spec: &PostgresRules,
    approvals: &BTreeMap<String, Terms>,
    report: &mut Report,
) -> Block {
    let rules_at = format!("{path}.rules");
    check::at_most(report, &rules_at, &spec.rules, limits::RULES);
    check::distinct_names(report, &rules_at, spec.rules.iter().map(|r| r.name.as_str()));
    let rules = spec.rules.iter().enumerate();
    let rules = rules.map(|(at, r)| rule(&of_namespaced(policy, format!("{rules_at}[{at}]"), r), approvals, report));
    let rules = rules.collect();
    let masks_at = format!("{path}.masks");
    check::at_most(report, &masks_at, &spec.masks, limits::RULES);
    check::distinct_names(report, &masks_at, spec.masks.iter().map(|m| m.name.as_str()));
    let masks = spec.masks.iter().enumerate().flat_map(|(at, m)| {
        let path = format!("{masks_at}[{at}]");
        let id = RuleId { policy: policy.to_owned(), rule: m.name.clone(), cluster: false };
        mask(&path, &format!("{path}.columns"), &id, &m.columns, m.method, m.in_predicates, report)
    });
    let masks = masks.collect();
    let detectors = detectors::compile(policy, false, &format!("{path}.detectors"), &spec.detectors, report);
    sorted(rules, masks, detectors)
}

/// Order of the files shows nowhere.
pub(super) fn sorted(mut rules: Vec<Rule>, mut masks: Vec<MaskRule>, mut detectors: Vec<DetectorRule>) -> Block {
    rules.sort();
    masks.sort();
    detectors.sort();
    Block { rules: rules.into_iter().map(Into::into).collect(), masks, detectors }
}

fn of_namespaced<'a>(policy: &str, path: String, rule: &'a PostgresRule) -> Match<'a> {
    Match {
        block: path.clone(),
        rule: path,
        id: RuleId { policy: policy.to_owned(), rule: rule.name.clone(), cluster: false },
        action: rule.action,
        approval: rule.approval.as_deref(),
        hosts: &[],
        verbs: &rule.verbs,
        relations: &rule.relations,
        columns: &rule.columns,
        functions: &rule.functions,
        require_where: rule.require_where,
        max_rows: rule.limits.as_ref().map(|l| l.rows),
        message: rule.message.as_deref(),
    }
}

pub(super) fn rule(m: &Match<'_>, approvals: &BTreeMap<String, Terms>, report: &mut Report) -> Rule {
    check::label(report, &format!("{}.name", m.rule), &m.id.rule);
    if m.message.is_some_and(|text| text.chars().count() > limits::TEXT_CHARS) {
        let text = format!("is longer than {} characters", limits::TEXT_CHARS);
        report.error(&format!("{}.message", m.rule), &text);
    }
    let terms = approvals::referred(m.action, m.approval, approvals, &format!("{}.approval", m.rule), report);
    check_verbs(m, report);
    let action = match m.action {
        Action::Allow => Strictness::Allow,
        Action::RequireApproval => Strictness::RequireApproval,
        Action::Deny => Strictness::Deny,
    };
    let max_rows = m.max_rows.map(|rows| {
        if rows < 1 {
            report.error(&format!("{}.limits.rows", m.rule), &format!("{rows} is out of range: give 1 or more"));
        }
        u64::try_from(rows).unwrap_or(1)
    });
    let hosts = entries(m, "hosts", m.hosts, limits::HOSTS, report, |report, path, text| {
        check::host_pattern(report, path, text);
        Some(Glob::new(&canonical_host(text)))
    });
    let rule = Rule {
        id: m.id.clone(),
        action,
        uses: m.verbs.iter().flat_map(|word| uses(*word, action)).collect(),
        hosts,
        relations: entries(m, "relations", m.relations, limits::RESOURCES, report, relation),
        columns: entries(m, "columns", m.columns, limits::RESOURCES, report, column),
        functions: entries(m, "functions", m.functions, limits::RESOURCES, report, function),
        require_where: m.require_where,
        max_rows,
        message: m.message.map(str::to_owned),
        terms,
    };
    wide::warn(&rule, m, report);
    rule
}

fn check_verbs(m: &Match<'_>, report: &mut Report) {
    let path = format!("{}.verbs", m.block);
    check::not_empty(report, &path, m.verbs, "verb");
    check::at_most(report, &path, m.verbs, limits::VERBS);
    let names: Vec<String> = m.verbs.iter().map(|v| format!("{v:?}")).collect();
    check::distinct(report, &path, names.iter().map(String::as_str));
    for (at, verb) in m.verbs.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match verb {
            PostgresVerb::Copy | PostgresVerb::Grant | PostgresVerb::Set if m.action != Action::Deny => {
                report.error(&path, &format!("`{verb:?}` stands only in Deny rules: nobody can be allowed it"));
            }
            PostgresVerb::CopyFrom | PostgresVerb::Call | PostgresVerb::Do | PostgresVerb::Ddl
                if m.action == Action::Allow =>
            {
                report.error(&path, &format!("`{}` cannot be allowed: use action RequireApproval", shown_verb(*verb)));
            }
            _ => {}
        }
    }
    if !m.functions.is_empty() && !m.verbs.contains(&PostgresVerb::Call) {
        report.error(&format!("{}.functions", m.block), "functions are given only with the verb Call");
    }
    let path = format!("{}.requireWhere", m.block);
    if m.require_where && m.action == Action::Deny {
        report.error(&path, "has no meaning in a Deny rule: remove it");
    }
    if m.require_where && !m.verbs.iter().any(|v| matches!(v, PostgresVerb::Update | PostgresVerb::Delete)) {
        report.error(&path, "has a meaning only with the verbs Update or Delete");
    }
    // What has no relation is not permitted by a rule that lists some, and rows are deleted with all their columns.
    let unmatched = |v: &PostgresVerb| match v {
        PostgresVerb::Listen | PostgresVerb::Notify | PostgresVerb::Do => {
            !(m.relations.is_empty() && m.columns.is_empty())
        }
        PostgresVerb::Delete | PostgresVerb::Ddl => !m.columns.is_empty(),
        _ => false,
    };
    if m.action != Action::Deny {
        for (at, _) in m.verbs.iter().enumerate().filter(|(_, v)| unmatched(v)) {
            let text = "permits nothing beside relations or columns: give it a rule of its own";
            report.warn(&format!("{}.verbs[{at}]", m.block), text);
        }
    }
}

fn shown_verb(verb: PostgresVerb) -> String {
    if verb == PostgresVerb::Ddl { "DDL".to_owned() } else { format!("{verb:?}") }
}

fn entries<T: Ord>(
    m: &Match<'_>,
    field: &str,
    list: &[String],
    max: usize,
    report: &mut Report,
    read: impl Fn(&mut Report, &str, &str) -> Option<T>,
) -> BTreeSet<T> {
    let path = format!("{}.{field}", m.block);
    check::at_most(report, &path, list, max);
    check::distinct(report, &path, list.iter().map(String::as_str));
    list.iter().enumerate().filter_map(|(at, text)| read(report, &format!("{path}[{at}]"), text)).collect()
}

pub(super) fn mask(
    path: &str,
    columns_at: &str,
    id: &RuleId,
    columns: &[String],
    method: MaskMethod,
    in_predicates: InPredicates,
    report: &mut Report,
) -> Vec<MaskRule> {
    check::label(report, &format!("{path}.name"), &id.rule);
    check::not_empty(report, columns_at, columns, "column");
    check::at_most(report, columns_at, columns, limits::RESOURCES);
    check::distinct(report, columns_at, columns.iter().map(String::as_str));
    let mut masks = Vec::new();
    for (at, text) in columns.iter().enumerate() {
        if let Some([schema, relation, column]) =
            segments(report, &format!("{columns_at}[{at}]"), text, "schema.relation.column")
        {
            masks.push(MaskRule { id: id.clone(), schema, relation, column, method, in_predicates });
        }
    }
    masks
}

fn relation(report: &mut Report, path: &str, text: &str) -> Option<PathPattern> {
    let segments: [Glob; 2] = segments(report, path, text, "schema.name")?;
    Some(PathPattern(segments.into()))
}

fn column(report: &mut Report, path: &str, text: &str) -> Option<ColumnPattern> {
    let [schema, relation, column] = segments(report, path, text, "schema.relation.column")?;
    Some(ColumnPattern { relation: PathPattern(vec![schema, relation]), column })
}

/// Exactly `N` segments; `shape` says which.
fn segments<const N: usize>(report: &mut Report, path: &str, text: &str, shape: &str) -> Option<[Glob; N]> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.iter().any(|part| part.contains('"')) {
        report.warn(path, "a quote is part of the name: in the catalog there is none around it");
    }
    match <[&str; N]>::try_from(parts) {
        Ok(parts) if parts.iter().all(|part| check::is_segment(part)) => Some(parts.map(Glob::new)),
        _ => {
            let text = shown(text);
            report.error(path, &format!("`{text}` is not `{shape}`: write each of the parts, `*` for any"));
            None
        }
    }
}

/// `schema.name(type, type)`; the types may be left out only after a `*`, so that no signature is missed unseen.
fn function(report: &mut Report, path: &str, text: &str) -> Option<PathPattern> {
    let compiled = text.split_once('.').and_then(|(schema, rest)| {
        let clean = |part: &str| check::is_segment(part) && !part.contains(['(', ')', '.']);
        let (name, types) = match rest.split_once('(') {
            Some((name, types)) => (name, Some(types.strip_suffix(')')?)),
            None => (rest, None),
        };
        let types_ok = match types {
            Some(types) => {
                !types.contains(['(', ')']) && !types.chars().any(char::is_control) && types.chars().count() <= 382
            }
            None => name.ends_with('*'),
        };
        let ok = clean(schema) && clean(name) && types_ok;
        ok.then(|| PathPattern(vec![Glob::new(schema), Glob::new(&canonical_signature(rest))]))
    });
    if compiled.is_none() {
        let text = shown(text);
        report.error(path, &format!("`{text}` is not `schema.name(type, type)`: write the types, or `(*)` for any"));
    }
    compiled
}
