//! In a pod: the interfaces of `outside` fed from the operator, over `control`.
//!
//! Nothing here widens anything: without a word from the operator the last snapshot counts until it is too old, and
//! then everything is denied.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

pub mod approvals;
pub mod away;
pub mod feed;
mod granted;
pub mod identity;
pub mod line;
mod report;
pub mod shipping;
pub mod snapshot;

/// Between two attempts: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// Within it the sidecars of a replica that is gone come back.
const RETURN: Duration = Duration::from_secs(1);
/// A reason in a log line or an error, in characters.
const REASON: usize = 500;

fn longer(pause: Duration) -> Duration {
    pause.saturating_mul(2).min(LAST_PAUSE)
}

/// Between half of it and all of it: who was sent away together does not come back together.
fn jittered(pause: Duration) -> Duration {
    (pause / 2).saturating_add(part(pause / 2))
}

/// Between nothing and all of it.
fn part(whole: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness everybody waits as long.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return whole;
    }
    whole.saturating_mul(u16::from_ne_bytes(bytes).into()) / u32::from(u16::MAX)
}

/// A status with what led to it: of a connection that fails only the last part says why.
fn why(status: &tonic::Status) -> String {
    let mut text = format!("{} ({:?})", status.message(), status.code());
    let mut source = status.source();
    while let Some(error) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text.chars().take(REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_drawn_and_have_bounds() {
        let pause = Duration::from_secs(30);
        let half: Vec<_> = (0..500).map(|_| jittered(pause)).collect();
        assert!(half.iter().all(|one| (pause / 2..=pause).contains(one)));
        let any: Vec<_> = (0..500).map(|_| part(pause)).collect();
        assert!(any.iter().all(|one| *one <= pause));
        // Each tenth has some: they come one after another, and not all at once.
        for tenth in 0..10 {
            let (from, until) = (pause * tenth / 10, pause * (tenth + 1) / 10);
            let here = any.iter().filter(|one| (from..=until).contains(*one)).count();
            assert!((10..150).contains(&here), "{here} of 500 from {from:?} until {until:?}");
        }
        assert_eq!((jittered(Duration::ZERO), part(Duration::ZERO)), (Duration::ZERO, Duration::ZERO));
    }
}
