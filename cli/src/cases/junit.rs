//! Results as the XML that build servers read: a suite for each file, a case for each case.

use super::outcome::{Outcome, Told};
use crate::screen::{block, line};

pub(super) fn report(outcomes: &[Outcome]) -> String {
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    out.push_str(&format!("<testsuites name=\"agentaccess\"{}>\n", numbers(outcomes)));
    // Cases of one file follow each other.
    for suite in outcomes.chunk_by(|a, b| a.file == b.file) {
        let Some(first) = suite.first() else { continue };
        out.push_str(&format!("  <testsuite name=\"{}\"{}>\n", attribute(&first.file), numbers(suite)));
        suite.iter().for_each(|outcome| case(&mut out, outcome));
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn numbers(outcomes: &[Outcome]) -> String {
    let errors = outcomes.iter().filter(|outcome| matches!(outcome.told, Told::Unusable(_))).count();
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    format!(" tests=\"{}\" failures=\"{}\" errors=\"{errors}\"", outcomes.len(), failed.saturating_sub(errors))
}

fn case(out: &mut String, outcome: &Outcome) {
    let (name, class) = (attribute(&outcome.case.name), attribute(&outcome.file));
    let Some(why) = outcome.text() else {
        out.push_str(&format!("    <testcase name=\"{name}\" classname=\"{class}\"/>\n"));
        return;
    };
    let element = if matches!(outcome.told, Told::Unusable(_)) { "error" } else { "failure" };
    let (message, text) = (attribute(&why), escaped(&block(&format!("{why}\n{}", outcome.case.statement))));
    out.push_str(&format!(
        "    <testcase name=\"{name}\" classname=\"{class}\">\n      \
         <{element} message=\"{message}\">{text}</{element}>\n    </testcase>\n"
    ));
}

fn attribute(text: &str) -> String {
    escaped(&line(text))
}

/// Control characters are escaped already; the two others that XML cannot hold are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_element() {
        let text = attribute("a\"b<c>&'\n\u{1b}\u{ffff}");
        assert_eq!(text, "a&quot;b&lt;c&gt;&amp;&apos;\\n\\u{1b}\u{fffd}");
    }
}
