//! Session settings that every session may change, and the values they may take.
//!
//! Everything else is refused or has the ceiling Deny: `search_path`, `role`, `row_security`,
//! `session_replication_role` and whatever is not listed would change what a later text means or who runs it. A time limit
//! that the database sets for the role may be made shorter, never longer.

use serde::{Deserialize, Serialize};

use crate::refused::Refused;

/// Time limits with which a session of the role begins, in milliseconds; 0 is none.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TimeLimits {
    pub statement_timeout: u64,
    pub lock_timeout: u64,
    pub idle_in_transaction_session_timeout: u64,
}

/// Settings that SET may name.
pub const CHANGEABLE: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
];

/// Of these, what a statement may read: the server reports each change, so that an approval counts for one value.
const REPORTED: &[&str] =
    &["application_name", "client_encoding", "datestyle", "intervalstyle", "standard_conforming_strings", "timezone"];

/// Settings that SHOW and `current_setting` may name besides those that can be changed.
pub const READABLE: &[&str] = &[
    "default_transaction_isolation",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_identifier_length",
    "max_index_keys",
    "search_path",
    "server_encoding",
    "server_version",
    "server_version_num",
    "session_authorization",
    "transaction_isolation",
    "transaction_read_only",
];

/// The lower-case name, if SET may name it.
pub fn changeable(name: &str) -> Option<&'static str> {
    CHANGEABLE.iter().copied().find(|known| known.eq_ignore_ascii_case(name))
}

/// Whether SHOW may name it.
pub fn readable(name: &str) -> bool {
    changeable(name).is_some() || READABLE.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What SET TRANSACTION and SET SESSION CHARACTERISTICS change.
const OF_TRANSACTIONS: &[&str] = &[
    "default_transaction_isolation",
    "default_transaction_read_only",
    "transaction_isolation",
    "transaction_read_only",
];

/// Whether a statement may read it: what it says there is part of what the statement means, so it is one that stays, or one
/// whose change is heard of.
pub fn readable_within(name: &str) -> bool {
    let changes = OF_TRANSACTIONS.iter().any(|known| known.eq_ignore_ascii_case(name));
    readable(name) && !changes && changeable(name).is_none_or(|known| REPORTED.contains(&known))
}

/// Whether a setting may take a value, for literals and for parameters alike.
///
/// # Errors
/// [`Refused`] when the value is not one of those that may be set.
pub fn check_value(name: &str, value: &str, limits: &TimeLimits) -> Result<(), Refused> {
    let Some(name) = changeable(name) else {
        return Err(Refused::new(format!("the setting `{name}` cannot be changed")));
    };
    let lower = value.trim().to_ascii_lowercase();
    let allowed = match name {
        "client_encoding" => matches!(lower.as_str(), "utf8" | "utf-8" | "unicode"),
        "standard_conforming_strings" => matches!(lower.as_str(), "on" | "true" | "yes" | "1"),
        // What a value is as text would change a statement behind its approval; from 1 on the digits are the same.
        "bytea_output" => lower == "hex",
        "extra_float_digits" => matches!(lower.as_str(), "1" | "2" | "3"),
        "statement_timeout" => return shorter(name, &lower, limits.statement_timeout),
        "lock_timeout" => return shorter(name, &lower, limits.lock_timeout),
        "idle_in_transaction_session_timeout" => {
            return shorter(name, &lower, limits.idle_in_transaction_session_timeout);
        }
        _ => value.len() <= 128 && !value.chars().any(char::is_control),
    };
    if allowed { Ok(()) } else { Err(Refused::new(format!("the setting `{name}` cannot take this value"))) }
}

fn shorter(name: &str, value: &str, most: u64) -> Result<(), Refused> {
    let Some(asked) = milliseconds(value) else {
        return Err(Refused::new(format!("the setting `{name}` cannot take this value"))
            .hint("write whole milliseconds, or a whole number with ms, s, min, h or d"));
    };
    if most == 0 || (1..=most).contains(&asked) {
        return Ok(());
    }
    Err(Refused::new(format!("`{name}` can only be made shorter")).hint(format!("the database sets it to {most} ms")))
}

/// A whole number with a unit of time, as `guc.c` reads it for settings in milliseconds. What it rounds is not taken.
fn milliseconds(value: &str) -> Option<u64> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(digits)?;
    let factor = match unit.trim_start() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A leading zero is an octal number to the server.
    if number.len() > 1 && number.starts_with('0') {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|ms| *ms <= 2_147_483_647)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_made_shorter_only() {
        let limits = TimeLimits { statement_timeout: 5_000, ..TimeLimits::default() };
        for (value, allowed) in [
            ("1", true),
            ("5000", true),
            (" 5S ", true),
            ("5 s", true),
            ("4999ms", true),
            ("5001", false),
            ("6s", false),
            ("1min", false),
            ("0", false),
            ("0s", false),
            ("-1", false),
            ("", false),
            ("1e3", false),
            ("1.5s", false),
            ("0x10", false),
            ("010", false),
            ("5us", false),
            ("99999999999999999999", false),
        ] {
            assert_eq!(check_value("statement_timeout", value, &limits).is_ok(), allowed, "{value:?}");
        }
        // Where the database sets none, any may be set, and taken back.
        for value in ["0", "30s", "2147483647"] {
            assert!(check_value("lock_timeout", value, &limits).is_ok(), "{value}");
        }
        assert!(check_value("lock_timeout", "2147483648", &limits).is_err());
    }
}
