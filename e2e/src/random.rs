//! Numbers for jobs that kill at random: xorshift (Marsaglia 2003), so that what a round did can be said by its seed.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

/// What it gives is made of its seed alone.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // It never leaves zero.
        Self(seed | 1)
    }

    /// One of the time of day.
    ///
    /// # Errors
    /// When the clock stands before 1970.
    pub fn seed() -> Result<u64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok((u64::from(since.subsec_nanos()) << 32) | (since.as_secs() & 0xffff_ffff))
    }

    /// Below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
