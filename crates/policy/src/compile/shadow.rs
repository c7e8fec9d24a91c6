//! Rules that change nothing, because another rule of the same block says at least as much about the same things.

use std::collections::BTreeSet;

use crate::compile::report::Report;
use crate::operation::Strictness;
use crate::rule::{Glob, PathPattern, Rule};
use crate::set::Block;

/// `names` are those of the block's rules as written, for the field path.
pub(super) fn warn<'a>(block: &Block, path: &str, names: impl Iterator<Item = &'a str>, report: &mut Report) {
    for (at, name) in names.enumerate() {
        let Some(rule) = block.rules.iter().find(|r| r.id.rule == name) else { continue };
        let mut others = block.rules.iter().filter(|other| other.id != rule.id);
        if let Some(other) = others.find(|other| shadows(other, rule)) {
            let text = format!("has no effect: `{}` says the same or more about all of it", other.id.rule);
            report.warn(&format!("{path}.rules[{at}]"), &text);
        }
    }
}

fn shadows(other: &Rule, rule: &Rule) -> bool {
    // What tightens whatever else is said still has an effect.
    let tightens = rule.require_where || rule.max_rows.is_some();
    let stricter = match (other.action, rule.action) {
        (Strictness::Deny, Strictness::Deny) => true,
        (Strictness::Deny, _) => other.columns.is_empty(),
        (Strictness::Allow, Strictness::Allow) => !tightens,
        // Terms of two rules add up, so a second one that asks is never without effect.
        _ => false,
    };
    let twins = includes(rule, other) && rule.action == other.action && rule.id < other.id;
    stricter && includes(other, rule) && !twins
}

/// Whether `wide` surely matches everything that `narrow` matches.
fn includes(wide: &Rule, narrow: &Rule) -> bool {
    narrow.uses.is_subset(&wide.uses)
        && paths_include(&wide.relations, &narrow.relations)
        && paths_include(&wide.functions, &narrow.functions)
        && (wide.columns.is_empty() || wide.columns == narrow.columns)
}

fn paths_include(wide: &BTreeSet<PathPattern>, narrow: &BTreeSet<PathPattern>) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|n| wide.iter().any(|w| path_includes(w, n))))
}

/// The `*` of the narrow pattern is an ordinary character here: only a `*` of the wide one can take it, and then it
/// takes whatever it stands for as well.
fn path_includes(wide: &PathPattern, narrow: &PathPattern) -> bool {
    wide.0.len() == narrow.0.len() && wide.0.iter().zip(&narrow.0).all(|(w, n): (&Glob, &Glob)| w.matches(n.as_str()))
}
