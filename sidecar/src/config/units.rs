//! Sizes and lengths of time as people write them in `agentaccess.yaml`. A number without a unit is refused where a
//! unit is needed, since nobody can tell seconds from milliseconds by looking.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// A size in bytes: `10GiB`, `64 KiB`, `4096`, `4096B`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(format!("`{text}` is not a size: write for example `64KiB`, `16MiB` or `10GiB`")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is not a size: write for example `64KiB`, `16MiB` or `10GiB`"))
}

/// A length of time: `20s`, `500ms`, `15m`.
pub fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("`{text}` is not a length of time: write for example `500ms`, `20s` or `15m`"))
}

/// A size where a plain number counts as bytes.
pub(crate) fn de_bytes<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Size(PhantomData))
}

/// A length of time; a number without a unit is refused.
pub(crate) fn de_span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_any(Span)
}

// Visitors rather than an untagged enum: an error from a visitor names the field, one from after it the parent.
struct Size<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Size<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as `64KiB`, `16MiB` or `10GiB`")
    }
    fn visit_u64<E: Error>(self, size: u64) -> Result<T, E> {
        T::try_from(size).map_err(|_| E::custom("the size is too large for this machine"))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        bytes(text).map_err(E::custom).and_then(|size| self.visit_u64(size))
    }
}

struct Span;

impl Visitor<'_> for Span {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time such as `500ms`, `20s` or `15m`")
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        Err(E::custom(format!("`{number}` has no unit: write for example `{number}s`")))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        span(text).map_err(E::custom)
    }
}

/// A size for people: the largest unit that divides it.
pub(crate) fn show_bytes(size: u64) -> String {
    [("TiB", 40u32), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| size > 0 && size.trailing_zeros() >= *shift)
        .map_or_else(|| format!("{size} bytes"), |(unit, shift)| format!("{}{unit}", size >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans() {
        for (text, want) in [("10GiB", 10u64 << 30), ("64 KiB", 65536), ("4096", 4096), ("7B", 7), ("0", 0)] {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for bad in ["", "GiB", "10GB", "10 gib", "-1", "1.5GiB", "99999999TiB", "18446744073709551616"] {
            assert!(bytes(bad).unwrap_err().contains("is not a size"), "{bad}");
        }
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "20", "fast", "-1s"] {
            assert!(span(bad).unwrap_err().contains("is not a length of time"), "{bad}");
        }
        assert_eq!(show_bytes(10 << 30), "10GiB");
        assert_eq!(show_bytes(10_000), "10000 bytes");
    }
}
