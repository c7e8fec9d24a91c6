//! What the leader remembers from one look to the next: which snapshots were lately in force, and since when pods are
//! behind. Pure: the time is given.
//!
//! A sidecar that moves to another replica is without a word for a moment, and its last word counts so long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use control::Mark;

use crate::index::Survey;

/// For how long a snapshot counts as in force after the last word of it.
const HELD: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Seen {
    in_force: BTreeMap<Mark, Instant>,
    behind: BTreeMap<String, Instant>,
}

// === impl Seen ===

impl Seen {
    /// What sidecars say now.
    pub(super) fn say(&mut self, in_force: BTreeSet<Mark>, now: Instant) {
        self.in_force.retain(|_, last| now.saturating_duration_since(*last) < HELD);
        self.in_force.extend(in_force.into_iter().map(|mark| (mark, now)));
    }

    pub(super) fn is_in_force(&self, mark: &Mark) -> bool {
        self.in_force.contains_key(mark)
    }

    /// For each namespace with governed pods, for how long the slowest of them has been behind.
    pub(super) fn lag(&mut self, survey: &Survey, now: Instant) -> BTreeMap<String, Duration> {
        self.behind.retain(|uid, _| survey.behind.contains_key(uid));
        let mut lag: BTreeMap<String, Duration> =
            survey.namespaces.keys().map(|namespace| (namespace.clone(), Duration::ZERO)).collect();
        for (uid, namespace) in &survey.behind {
            let since = *self.behind.entry(uid.clone()).or_insert(now);
            let longest = lag.entry(namespace.clone()).or_default();
            *longest = now.saturating_duration_since(since).max(*longest);
        }
        lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_word_counts_for_a_while() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let [one, two] = [Mark([1; Mark::BYTES]), Mark([2; Mark::BYTES])];
        seen.say([one, two].into(), start);
        seen.say([two].into(), start + HELD - Duration::from_secs(1));
        assert!(seen.is_in_force(&one) && seen.is_in_force(&two));
        seen.say(BTreeSet::new(), start + HELD);
        assert!(!seen.is_in_force(&one) && seen.is_in_force(&two));
    }

    #[test]
    fn the_slowest_pod_of_a_namespace_is_its_lag() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let survey = |behind: &[(&str, &str)]| {
            let mut survey = Survey::default();
            survey.namespaces = [("shop".to_owned(), 2), ("bank".to_owned(), 1)].into();
            survey.behind =
                behind.iter().map(|(uid, namespace)| ((*uid).to_owned(), (*namespace).to_owned())).collect();
            survey
        };
        let second = Duration::from_secs(1);
        let lag = |seen: &mut Seen, behind: &[(&str, &str)], at: u32| {
            let lag = seen.lag(&survey(behind), start + second * at);
            (lag["shop"].as_secs(), lag["bank"].as_secs())
        };
        assert_eq!(lag(&mut seen, &[("a", "shop")], 0), (0, 0));
        assert_eq!(lag(&mut seen, &[("a", "shop"), ("b", "shop")], 5), (5, 0));
        assert_eq!(lag(&mut seen, &[("b", "shop"), ("c", "bank")], 9), (4, 0));
        assert_eq!(lag(&mut seen, &[], 20), (0, 0));
        assert_eq!(lag(&mut seen, &[("b", "shop")], 30), (0, 0));
    }
}
