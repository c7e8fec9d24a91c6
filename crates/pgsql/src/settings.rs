//! Session settings that every session may change, and the values they may take.
//!
//! Everything else is refused or has the ceiling Deny: `search_path`, `role`, `row_security`,
//! `session_replication_role` and whatever is not listed would change what a later text means or who runs it.

use crate::refused::Refused;

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

/// Settings that SHOW and `current_setting` may name besides [`CHANGEABLE`].
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

/// Whether a setting may take a value, for literals and for parameters alike.
///
/// # Errors
/// [`Refused`] when the value is not one of those that may be set.
pub fn check_value(name: &str, value: &str) -> Result<(), Refused> {
    let Some(name) = changeable(name) else {
        return Err(Refused::new(format!("the setting `{name}` cannot be changed")));
    };
    let lower = value.trim().to_ascii_lowercase();
    let allowed = match name {
        "client_encoding" => matches!(lower.as_str(), "utf8" | "utf-8" | "unicode"),
        "standard_conforming_strings" => matches!(lower.as_str(), "on" | "true" | "yes" | "1"),
        _ => value.len() <= 128 && !value.chars().any(char::is_control),
    };
    if allowed { Ok(()) } else { Err(Refused::new(format!("the setting `{name}` cannot take this value"))) }
}
