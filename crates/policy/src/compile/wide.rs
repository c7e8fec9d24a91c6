//! Rules by which agents write wherever they like, and nobody is asked.

use crds::policy::{Action, PostgresVerb};

use crate::compile::postgres::Match;
use crate::compile::report::Report;
use crate::rule::{PathPattern, Rule};

pub(super) fn warn(rule: &Rule, m: &Match<'_>, report: &mut Report) {
    let everywhere = rule.columns.is_empty() && (m.relations.is_empty() || rule.relations.iter().any(is_any));
    let writes =
        |verb: &&PostgresVerb| matches!(verb, PostgresVerb::Insert | PostgresVerb::Update | PostgresVerb::Delete);
    let verbs: Vec<String> = m.verbs.iter().filter(writes).map(|verb| format!("{verb:?}")).collect();
    if m.action == Action::Allow && everywhere && !verbs.is_empty() {
        let text = format!("allows {} on all relations, asking nobody: list some", verbs.join(", "));
        report.warn(&format!("{}.relations", m.block), &text);
    }
}

fn is_any(pattern: &PathPattern) -> bool {
    pattern.0.iter().all(|segment| segment.as_str().chars().all(|c| c == '*'))
}
