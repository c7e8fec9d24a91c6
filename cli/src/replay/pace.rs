//! Waits between entries as the monotonic clock of the recording says; over a restart, as the wall clock says.

use std::time::Duration;

use jiff::Timestamp;
use recording::Line;

#[derive(Debug)]
pub(super) struct Pace {
    speed: f64,
    idle_limit: Duration,
    before: Option<(u64, Option<Timestamp>)>,
}

impl Pace {
    pub(super) fn new(speed: f64, idle_limit: Duration) -> Self {
        Self { speed, idle_limit, before: None }
    }

    pub(super) fn wait_for(&mut self, entry: &Line) {
        let pause = self.pause(entry);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }

    fn pause(&mut self, entry: &Line) -> Duration {
        let wall = entry.wall.parse::<Timestamp>().ok();
        let Some((mono, wall_before)) = self.before.replace((entry.mono_ns, wall)) else { return Duration::ZERO };
        let gap = match entry.mono_ns.checked_sub(mono) {
            Some(gap) => Duration::from_nanos(gap),
            None => wall.zip(wall_before).and_then(|(a, b)| a.duration_since(b).try_into().ok()).unwrap_or_default(),
        };
        // A speed close to zero would not fit.
        Duration::try_from_secs_f64(gap.as_secs_f64() / self.speed).unwrap_or(self.idle_limit).min(self.idle_limit)
    }
}

#[cfg(test)]
mod tests {
    use recording::entry::{Body, Marker, What};

    use super::*;

    fn at(mono_ms: u64, wall: &str) -> Line {
        let body = Body::Marker(Marker { what: What::Drain, count: None, detail: None });
        let (code, prev) = (String::new(), String::new());
        Line {
            v: 1,
            seq: 0,
            code,
            mono_ns: mono_ms * 1_000_000,
            wall: wall.into(),
            session: None,
            op: None,
            body,
            prev,
        }
    }

    #[test]
    fn pauses_follow_the_clock_and_are_cut() {
        let mut pace = Pace::new(2.0, Duration::from_secs(2));
        let mut pauses = vec![];
        for entry in [
            at(1_000, "2026-11-21T08:00:00Z"),
            at(1_500, "2026-11-21T08:00:00Z"),
            at(60_000, "2026-11-21T08:01:00Z"),
            at(3, "2026-11-21T08:01:01Z"),
        ] {
            pauses.push(pace.pause(&entry).as_millis());
        }
        assert_eq!(pauses, [0, 250, 2_000, 500]);
    }
}
