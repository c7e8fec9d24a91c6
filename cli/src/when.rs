//! Moments and lengths of time as people write and read them.

use std::time::Duration;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// `2026-11-21T08:00:00Z`, `2026-11-21` (midnight UTC), or how long ago: `90m`, `7d`.
pub(crate) fn moment(text: &str) -> Result<Timestamp> {
    moment_from(text, Timestamp::now())
}

fn moment_from(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<Date>()
        && let Ok(midnight) = date.to_zoned(TimeZone::UTC)
    {
        return Ok(midnight.timestamp());
    }
    let ago = humantime::parse_duration(text).ok().and_then(|d| jiff::SignedDuration::try_from(d).ok());
    ago.and_then(|d| now.checked_sub(d).ok()).ok_or_else(|| {
        let shown = crate::screen::line(&text.chars().take(40).collect::<String>());
        anyhow!("`{shown}` is not a time: write 2026-11-21T08:00:00Z, 2026-11-21, or how long ago, for example 7d")
    })
}

pub(crate) fn length(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}: write for example 500ms, 2s or 1m"))
}

/// The largest unit and the next, as kubectl shows ages.
pub(crate) fn age(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..120 => format!("{s}s"),
        120..7_200 => format!("{}m", s / 60),
        7_200..172_800 => format!("{}h", s / 3_600),
        _ => format!("{}d", s / 86_400),
    }
}

/// How long something took, to three digits.
pub(crate) fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("90m", "2026-11-21T06:30:00Z"),
            ("7d", "2026-11-14T08:00:00Z"),
        ] {
            assert_eq!(moment_from(text, now).unwrap().to_string(), expected, "{text}");
        }
        assert!(moment_from("soon\u{1b}", now).unwrap_err().to_string().contains("`soon\\u{1b}` is not a time"));
        assert_eq!([age(5), age(600), age(90_000), age(400_000)], ["5s", "10m", "25h", "4d"]);
        assert_eq!([took(900), took(1_250), took(2_340_000)], ["900 µs", "1.2 ms", "2.3 s"]);
    }
}
