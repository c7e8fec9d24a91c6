//! `DurationText`: a length of time as people write it (`20s`, `15m`, `1h30m`, `7d`).
//!
//! Refused: zero, fractions, other units, a unit twice or out of order. What was read can be turned into a
//! [`Duration`] without loss, and the text is kept as it was written.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Whole days, hours, minutes and seconds, in this order, for example `90s` or `1h30m`; longer than zero.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct DurationText(pub String);

#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum DurationError {
    #[error(
        "`{0}` is not a length of time: write whole numbers with the units d, h, m and s, for example `90s`, `15m`, `1h30m` or `7d`"
    )]
    Malformed(String),
    #[error("`{0}` has its units twice or out of order: write days, hours, minutes, seconds, for example `1d2h3m4s`")]
    Order(String),
    #[error("`{0}` is zero: write at least `1s`")]
    Zero(String),
    #[error("`{0}` has a number of more than {DIGITS} digits: use a larger unit")]
    TooLong(String),
}

/// With five digits no sum of the four units overflows.
const DIGITS: usize = 5;
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

// === impl DurationText ===

impl DurationText {
    /// # Errors
    /// Only for a value whose text was set directly; a value that was parsed always converts.
    pub fn to_std(&self) -> Result<Duration, DurationError> {
        parse(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DurationText {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(|_| Self(text.to_owned()))
    }
}

impl TryFrom<String> for DurationText {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse(&text).map(|_| Self(text))
    }
}

impl From<DurationText> for String {
    fn from(value: DurationText) -> Self {
        value.0
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DurationText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Days have no leading zero: a rule may take a `d` for "at least one day", since CEL's duration() has no days.
        json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": 24,
            "pattern": "^([1-9][0-9]{0,4}d)?([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$",
            "x-kubernetes-validations": [{
                "rule": "!self.matches('^(0+[hms])+$')",
                "message": "a length of time is longer than zero: write at least 1s",
            }],
        })
    }
}

fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(shown(text));
    if text.is_empty() {
        return Err(malformed());
    }
    let mut units = UNITS.iter();
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (number, tail) = rest.split_at_checked(end).ok_or_else(malformed)?;
        let mut tail = tail.chars();
        let unit = tail.next().ok_or_else(malformed)?;
        if number.is_empty() || !UNITS.iter().any(|(c, _)| *c == unit) {
            return Err(malformed());
        }
        if number.len() > DIGITS {
            return Err(DurationError::TooLong(shown(text)));
        }
        if unit == 'd' && number.starts_with('0') {
            return Err(malformed());
        }
        let (_, size) = units.find(|(c, _)| *c == unit).ok_or_else(|| DurationError::Order(shown(text)))?;
        let number: u64 = number.parse().map_err(|_| malformed())?;
        seconds = seconds.saturating_add(number.saturating_mul(*size));
        rest = tail.as_str();
    }
    if seconds == 0 {
        return Err(DurationError::Zero(shown(text)));
    }
    Ok(Duration::from_secs(seconds))
}

/// At most 32 characters of what was written, control characters escaped.
fn shown(text: &str) -> String {
    text.chars().take(32).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_people_write() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("1h30m", 5_400),
            ("7d", 604_800),
            ("1d2h3m4s", 93_784),
            ("1h0m0s", 3_600),
            ("99999d", 8_639_913_600),
        ] {
            let parsed: DurationText = text.parse().unwrap();
            assert_eq!(parsed.to_std().unwrap(), Duration::from_secs(seconds), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for text in ["", "s", "15", "1.5h", "15 m", "-1s", "+1s", "10ms", "1w", "5M", "1h30", "0d1h", "١s"] {
            let error = text.parse::<DurationText>().unwrap_err();
            assert!(matches!(error, DurationError::Malformed(_)), "{text}: {error}");
            assert!(error.to_string().contains("for example `90s`"));
        }
        assert_eq!("1m1h".parse::<DurationText>(), Err(DurationError::Order("1m1h".into())));
        assert_eq!("1m1m".parse::<DurationText>(), Err(DurationError::Order("1m1m".into())));
        assert_eq!("0h0s".parse::<DurationText>(), Err(DurationError::Zero("0h0s".into())));
        assert_eq!("100000s".parse::<DurationText>(), Err(DurationError::TooLong("100000s".into())));
        assert_eq!(DurationText("x\u{1b}[".into()).to_std(), Err(DurationError::Malformed("x\\u{1b}[".into())));
    }

    #[test]
    fn serde_refuses_too() {
        assert!(serde_json::from_str::<DurationText>("\"15 minutes\"").is_err());
        assert_eq!(serde_json::to_string(&serde_json::from_str::<DurationText>("\"1h\"").unwrap()).unwrap(), "\"1h\"");
    }
}
