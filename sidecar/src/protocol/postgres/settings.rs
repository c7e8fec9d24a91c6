//! Which settings a session has from its first moment, which the agent may choose at startup, and which it may hear of.
//!
//! Pins exist because the grammar reads text under fixed rules: with `standard_conforming_strings = off` or another
//! `client_encoding` the server would read the same bytes as another statement. A pin that changes ends the session.

use pgsql::refused::Refused;
use pgsql::settings::{TimeLimits, check_value};

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
        // What a value is as text would change a statement behind its approval.
        ("extra_float_digits", "1".to_owned()),
        ("bytea_output", "hex".to_owned()),
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

/// Parameters of a startup packet (or of its `options`) that are passed on to the target with any value.
const PASSED_ON: [&str; 4] = ["application_name", "datestyle", "timezone", "intervalstyle"];

/// Those that are passed on with a value that SET may give them.
const LIKE_SET: [&str; 5] =
    ["client_min_messages", "idle_in_transaction_session_timeout", "jit", "lock_timeout", "statement_timeout"];

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a parameter of a startup packet is passed on, as far as it can be said before the target is asked how long its
/// time limits are: [`within_limits`].
pub fn passed_on(name: &str, value: &str) -> bool {
    is_one_of(&PASSED_ON, name)
        || (is_one_of(&LIKE_SET, name) && check_value(name, value, &TimeLimits::default()).is_ok())
}

/// Whether a session may begin with what was passed on.
///
/// # Errors
/// The setting that may only be made shorter.
pub fn within_limits(settings: &[(String, String)], limits: &TimeLimits) -> Result<(), Refused> {
    let mut like_set = settings.iter().filter(|(name, _)| is_one_of(&LIKE_SET, name));
    like_set.try_for_each(|(name, value)| check_value(name, value, limits))
}

/// Parameters that may stand in a startup packet because they say what is pinned anyway.
pub fn agrees_with_pin(name: &str, value: &str, search_path: &[String]) -> bool {
    let utf8 = ["utf8", "utf-8", "unicode", "'utf-8'", "'utf8'"].iter().any(|v| v.eq_ignore_ascii_case(value));
    (name.eq_ignore_ascii_case("client_encoding") && utf8)
        || (name.eq_ignore_ascii_case("standard_conforming_strings") && value.eq_ignore_ascii_case("on"))
        || (name.eq_ignore_ascii_case("bytea_output") && value.eq_ignore_ascii_case("hex"))
        // From 1 on they mean the same: the shortest text that gives the value again (PostgreSQL 12).
        || (name.eq_ignore_ascii_case("extra_float_digits") && matches!(value, "1" | "2" | "3"))
        || (name.eq_ignore_ascii_case("search_path") && value.split(',').map(schema).eq(search_path.iter().cloned()))
}

/// Settings that an agent may change and that change what a text means: how dates and times are read, and what
/// `current_setting` may be asked for. The server reports each change of them before the next ReadyForQuery.
pub const MEANING: [&str; 4] = ["DateStyle", "IntervalStyle", "TimeZone", "application_name"];

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

/// A name in the value of `search_path`, as the server reads it.
fn schema(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_ascii_lowercase(),
    }
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
    fn what_agrees_with_the_search_path_may_be_said() {
        let path = ["public".to_owned(), "App".to_owned()];
        for (value, agrees) in [
            ("public, \"App\"", true),
            ("PUBLIC,\"App\"", true),
            ("public, App", false),
            ("public", false),
            ("\"App\", public", false),
            ("public, \"App\", x", false),
            ("", false),
        ] {
            assert_eq!(agrees_with_pin("Search_Path", value, &path), agrees, "{value}");
        }
    }

    #[test]
    fn time_limits_come_with_a_startup_as_with_set() {
        assert!(passed_on("statement_timeout", "5s") && passed_on("JIT", "off") && passed_on("TimeZone", "whatever"));
        for (name, value) in [("statement_timeout", "soon"), ("work_mem", "1GB"), ("role", "x"), ("search_path", "x")] {
            assert!(!passed_on(name, value), "{name}");
        }
        let limits = TimeLimits { statement_timeout: 1_000, ..TimeLimits::default() };
        let asked =
            |value: &str| [("Statement_timeout".to_owned(), value.to_owned()), ("x".to_owned(), "y".to_owned())];
        assert!(within_limits(&asked("1s"), &limits).is_ok());
        assert!(within_limits(&asked("2s"), &limits).is_err() && within_limits(&asked("0"), &limits).is_err());
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
