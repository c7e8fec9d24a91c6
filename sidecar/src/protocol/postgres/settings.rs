//! Which settings a session has from its first moment, which the agent may choose at startup, and which it may hear of.
//!
//! Pins exist because the grammar reads text under fixed rules: with `standard_conforming_strings = off` or another
//! `client_encoding` the server would read the same bytes as another statement. A pin that changes ends the session.

/// Pinned at login, before the agent's first message.
pub fn pins(search_path: &[String]) -> Vec<(String, String)> {
    let mut path: Vec<String> = search_path.iter().map(|schema| quoted(schema)).collect();
    // Last, so that a temporary object never shadows a table.
    path.push("pg_temp".to_owned());
    [
        ("client_encoding", "UTF8".to_owned()),
        ("standard_conforming_strings", "on".to_owned()),
        ("backslash_quote", "safe_encoding".to_owned()),
        ("search_path", path.join(", ")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The first pin that the server reports otherwise, or does not report although every server does.
pub fn broken_pin(reported: &[(String, String)]) -> Option<&'static str> {
    REPORTED_PINS
        .iter()
        .find(|(name, value)| !reported.iter().any(|(n, v)| n == name && v == value))
        .map(|(name, _)| *name)
}

/// Pins that the server reports whenever they change.
const REPORTED_PINS: [(&str, &str); 2] = [("client_encoding", "UTF8"), ("standard_conforming_strings", "on")];

/// A report that a pin changed.
pub fn breaks_pin(name: &str, value: &str) -> bool {
    REPORTED_PINS.iter().any(|(pin, pinned)| *pin == name && *pinned != value)
}

/// Parameters of a startup packet (or of its `options`) that are passed on to the target.
pub fn passed_on(name: &str) -> bool {
    ["application_name", "datestyle", "timezone", "extra_float_digits", "intervalstyle"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Parameters that may stand in a startup packet because they say what is pinned anyway.
pub fn agrees_with_pin(name: &str, value: &str) -> bool {
    let utf8 = ["utf8", "utf-8", "unicode", "'utf-8'", "'utf8'"].iter().any(|v| v.eq_ignore_ascii_case(value));
    (name.eq_ignore_ascii_case("client_encoding") && utf8)
        || (name.eq_ignore_ascii_case("standard_conforming_strings") && value.eq_ignore_ascii_case("on"))
}

/// Settings under which a text with dates or times means one thing or another; the server reports each change of them
/// before the next ReadyForQuery.
pub const MEANING: [&str; 3] = ["DateStyle", "IntervalStyle", "TimeZone"];

/// Settings whose reports reach the agent; drivers rely on these.
pub fn reported_to_agent(name: &str) -> bool {
    [
        "server_version",
        "server_encoding",
        "client_encoding",
        "application_name",
        "DateStyle",
        "IntervalStyle",
        "TimeZone",
        "integer_datetimes",
        "standard_conforming_strings",
        "default_transaction_read_only",
        "in_hot_standby",
        "is_superuser",
    ]
    .contains(&name)
}

/// An identifier inside the value of `search_path`.
fn quoted(schema: &str) -> String {
    format!("\"{}\"", schema.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_is_quoted_and_ends_in_pg_temp() {
        let pins = pins(&["public".to_owned(), "we\"ird, x".to_owned()]);
        let path = &pins.iter().find(|(name, _)| name == "search_path").unwrap().1;
        assert_eq!(path, "\"public\", \"we\"\"ird, x\", pg_temp");
    }

    #[test]
    fn a_pin_that_is_missing_or_different_is_broken() {
        let good = [("client_encoding", "UTF8"), ("standard_conforming_strings", "on")];
        let owned = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
            rows.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        assert_eq!(broken_pin(&owned(&good)), None);
        assert_eq!(broken_pin(&owned(&good[..1])), Some("standard_conforming_strings"));
        assert_eq!(broken_pin(&owned(&[("client_encoding", "SJIS"), good[1]])), Some("client_encoding"));
        assert!(breaks_pin("client_encoding", "SJIS"));
        assert!(!breaks_pin("TimeZone", "UTC"));
    }
}
