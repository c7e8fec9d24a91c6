//! Waiting for a condition, never for a while: each wait has a deadline and says what it waited for.
//!
//! A probe may be a program that takes a tenth of a second of a core. So each pause is as long as its probe was, or a tenth
//! of the whole wait so far: who waits leaves the machine to what is waited for, and what is measured comes out little
//! too long.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Asks `probe` until it has an answer.
///
/// # Errors
/// When `within` has passed without an answer, naming `what`, or at once when `probe` itself fails.
pub fn until<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let since = Instant::now();
    loop {
        let asked = Instant::now();
        if let Some(found) = probe()? {
            return Ok(found);
        }
        let (probed, waited) = (asked.elapsed(), since.elapsed());
        if waited >= within {
            bail!("waited {within:?} for {what}, in vain");
        }
        thread::sleep(probed.max(waited / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
}

/// Waits until `condition` holds.
///
/// # Errors
/// When it does not hold `within` that time; the text names `what`.
pub fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until(what, within, || Ok(condition().then_some(())))
}
