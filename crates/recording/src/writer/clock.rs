//! Both clocks, as entries carry them.

use std::time::Instant;

use crate::entry::Stamp;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn from(start: Instant) -> Self {
        Self { start }
    }

    pub(super) fn stamp(self) -> Stamp {
        let mono_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Stamp { mono_ns, wall: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string() }
    }

    /// Wall clock less monotonic clock, in milliseconds; it changes when the wall clock is set.
    pub(super) fn offset_ms(self) -> i128 {
        let mono = i128::try_from(self.start.elapsed().as_millis()).unwrap_or(i128::MAX);
        i128::from(jiff::Timestamp::now().as_millisecond()).saturating_sub(mono)
    }
}
