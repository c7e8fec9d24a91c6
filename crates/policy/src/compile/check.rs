//! Names, patterns and bounds, in the shapes that `crds::limits` gives the API server as regular expressions.

use crds::limits;
use crds::shared::{Selector, SelectorOperator};

use crate::compile::repeated;
use crate::compile::report::{Report, shown};

/// A DNS label: names of rules, masks, detectors and approvals.
pub(super) fn label(report: &mut Report, path: &str, text: &str) {
    if !is_dns(text, limits::LABEL_CHARS, false) {
        let text = shown(text);
        report.error(
            path,
            &format!("`{text}` is not a name: use 1 to 63 of a-z, 0-9 and `-`, a letter or digit at both ends"),
        );
    }
}

/// A DNS subdomain: names of objects.
pub(super) fn name(report: &mut Report, path: &str, text: &str) {
    if !is_dns(text, limits::NAME_CHARS, true) {
        let text = shown(text);
        report.error(
            path,
            &format!(
                "`{text}` is not an object name: use 1 to 253 of a-z, 0-9, `-` and `.`, a letter or digit at both ends"
            ),
        );
    }
}

fn is_dns(text: &str, max: usize, dots: bool) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=max).contains(&text.len())
        && text.chars().all(|c| plain(c) || c == '-' || (dots && c == '.'))
        && text.starts_with(plain)
        && text.ends_with(plain)
}

pub(super) fn secret_key(report: &mut Report, path: &str, text: &str) {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !(1..=limits::NAME_CHARS).contains(&text.len()) || !text.chars().all(good) {
        report
            .error(path, &format!("`{}` is not a key of a Secret: use letters, digits, `-`, `.` and `_`", shown(text)));
    }
}

/// One host, by name or address.
pub(super) fn host(report: &mut Report, path: &str, text: &str) {
    let ends = |c: char| c.is_ascii_alphanumeric();
    let is_name = (1..=limits::NAME_CHARS).contains(&text.len())
        && text.chars().all(|c| ends(c) || matches!(c, '-' | '.' | '_'))
        && text.starts_with(ends)
        && text.ends_with(ends);
    let is_address =
        (2..=45).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
    if !is_name && !is_address {
        report.error(
            path,
            &format!("`{}` is not a host: give one DNS name or IP address, without a wildcard", shown(text)),
        );
    }
}

pub(super) fn host_pattern(report: &mut Report, path: &str, text: &str) {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '*');
    if !(1..=limits::NAME_CHARS).contains(&text.len()) || !text.chars().all(good) {
        report.error(
            path,
            &format!(
                "`{}` is not a pattern of hosts: give a name where `*` stands for any run of characters",
                shown(text)
            ),
        );
    }
}

/// A database or schema by its exact name.
pub(super) fn identifier(report: &mut Report, path: &str, text: &str) {
    if !is_segment(text) || text.contains('*') {
        report.error(path, &format!("`{}` is not a name of at most 63 characters without `*`", shown(text)));
    }
}

/// 1 to 63 characters, `*` among them; a dot is looked for by the callers that split at it.
pub(super) fn is_segment(text: &str) -> bool {
    (1..=limits::LABEL_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

pub(super) fn at_most<T>(report: &mut Report, path: &str, list: &[T], max: usize) {
    if list.len() > max {
        report.error(path, &format!("{} entries; at most {max} are allowed", list.len()));
    }
}

pub(super) fn not_empty<T>(report: &mut Report, path: &str, list: &[T], what: &str) {
    if list.is_empty() {
        report.error(path, &format!("the list is empty: give at least one {what}"));
    }
}

/// No entry stands in the list twice.
pub(super) fn distinct<'a>(report: &mut Report, path: &str, list: impl Iterator<Item = &'a str>) {
    for (at, first) in repeated(list) {
        report.error(&format!("{path}[{at}]"), &format!("is {path}[{first}] again: remove one of them"));
    }
}

/// No two entries have one name.
pub(super) fn distinct_names<'a>(report: &mut Report, path: &str, names: impl Iterator<Item = &'a str>) {
    for (at, first) in repeated(names) {
        report.error(
            &format!("{path}[{at}].name"),
            &format!("{path}[{first}] has this name already: rename one of them"),
        );
    }
}

pub(super) fn selector(report: &mut Report, path: &str, selector: &Selector) {
    if selector.match_labels.len() > limits::LABELS {
        report.error(
            &format!("{path}.matchLabels"),
            &format!("{} labels; at most {} are allowed", selector.match_labels.len(), limits::LABELS),
        );
    }
    for (key, value) in &selector.match_labels {
        let path = format!("{path}.matchLabels.{}", shown(key));
        label_key(report, &path, key);
        label_value(report, &path, value);
    }
    at_most(report, &format!("{path}.matchExpressions"), &selector.match_expressions, limits::LABELS);
    for (at, expression) in selector.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{at}]");
        label_key(report, &format!("{path}.key"), &expression.key);
        let values = format!("{path}.values");
        at_most(report, &values, &expression.values, limits::LABELS);
        for (at, value) in expression.values.iter().enumerate() {
            label_value(report, &format!("{values}[{at}]"), value);
        }
        let takes_values = matches!(expression.operator, SelectorOperator::In | SelectorOperator::NotIn);
        if takes_values == expression.values.is_empty() {
            report.error(&values, "values are given if and only if operator is In or NotIn");
        }
    }
}

fn label_key(report: &mut Report, path: &str, key: &str) {
    let name = match key.split_once('/') {
        Some((prefix, name)) => is_dns(prefix, limits::NAME_CHARS, true).then_some(name),
        None => Some(key),
    };
    if !name.is_some_and(|n| !n.is_empty() && is_label_value(n)) {
        report.error(path, &format!("`{}` is not a label key", shown(key)));
    }
}

fn label_value(report: &mut Report, path: &str, value: &str) {
    if !is_label_value(value) {
        report.error(path, &format!("`{}` is not a label value", shown(value)));
    }
}

fn is_label_value(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= limits::LABEL_CHARS
            && text.chars().all(|c| ends(c) || matches!(c, '-' | '.' | '_'))
            && text.starts_with(ends)
            && text.ends_with(ends))
}
