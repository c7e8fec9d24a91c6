//! Identifiers of traces and spans: different ones each time and in each process, made without a system call.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;

/// 16 bytes, never all zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TraceId(pub(crate) [u8; 16]);

/// 8 bytes, never all zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SpanId(pub(crate) [u8; 8]);

#[derive(Debug)]
pub(crate) struct Ids {
    seeds: [u64; 2],
    next: AtomicU64,
}

// === impl Ids ===

impl Ids {
    pub(crate) fn new() -> Option<Self> {
        let mut seeds = [0; 2];
        for seed in &mut seeds {
            let mut bytes = [0; 8];
            rand::fill(&mut bytes).ok()?;
            *seed = u64::from_le_bytes(bytes);
        }
        Some(Self { seeds, next: AtomicU64::new(0) })
    }

    pub(crate) fn trace(&self) -> TraceId {
        let [first, second] = self.seeds;
        let number = self.number();
        let id = (u128::from(mix(first, number)) << 64) | u128::from(mix(second, number));
        TraceId(id.max(1).to_be_bytes())
    }

    pub(crate) fn span(&self) -> SpanId {
        let [first, second] = self.seeds;
        SpanId(mix(first ^ second, self.number()).max(1).to_be_bytes())
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// The finaliser of SplitMix64, which maps different numbers to different ones.
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}
impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}
impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same_and_none_is_zero() {
        let (one, other) = (Ids::new().unwrap(), Ids::new().unwrap());
        let mut traces = HashSet::new();
        let mut spans = HashSet::new();
        for _ in 0..10_000 {
            for ids in [&one, &other] {
                assert!(traces.insert(ids.trace()) && spans.insert(ids.span()));
            }
        }
        assert!(!traces.contains(&TraceId::default()) && !spans.contains(&SpanId::default()));
        let text = one.trace().to_string();
        assert!(text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    }
}
