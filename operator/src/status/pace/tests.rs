use proptest::prelude::*;

use super::*;
use crate::index::Kind;

fn key(n: usize) -> Key {
    Key { kind: Kind::Policy, namespace: "shop".to_owned(), name: format!("p{n}") }
}

fn said(n: i32) -> PolicyStatus {
    PolicyStatus { matched_pods: n, ..PolicyStatus::default() }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_same_words_wait_longer_each_time_and_others_do_not() {
    let (mut pace, start) = (Pace::default(), Instant::now());
    let mut now = start;
    let mut write = |what: &PolicyStatus| {
        pace.waits(&key(0), "u", now);
        let asked = now;
        while pace.due(now).is_empty() {
            now += Duration::from_millis(500);
        }
        pace.begin(&key(0), "u", what, now);
        assert!(pace.due(now + LONGEST).is_empty(), "it is under way");
        pace.done(&key(0), "u", Done::Failed);
        (now - asked).as_secs()
    };
    assert_eq!(write(&said(1)), 0);
    let times: Vec<u64> = (0..8).map(|_| write(&said(1))).collect();
    assert_eq!(times, [5, 10, 20, 40, 80, 160, 300, 300]);
    // Also when only its time is another: it was not taken before.
    let mut later = said(1);
    later.last_sync_time = Some("2026-11-21T10:00:00Z".to_owned());
    assert_eq!(write(&later), 300);
    assert_eq!(write(&said(2)), 300);
    let times: Vec<u64> = (3..6).map(|n| write(&said(n))).collect();
    assert_eq!(times, [5, 5, 5]);
}

#[test]
fn what_was_written_is_remembered_of_that_object_alone() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    pace.waits(&key(0), "u", now);
    pace.begin(&key(0), "u", &said(1), now);
    pace.done(&key(0), "u", Done::Written(Box::new(said(1))));
    assert_eq!(pace.written(&key(0), "u"), Some(&said(1)));
    assert_eq!(pace.written(&key(0), "v"), None);
    // Another one of its name, while the first one's write is under way.
    pace.waits(&key(1), "u", now);
    pace.begin(&key(1), "u", &said(1), now);
    pace.waits(&key(1), "v", now);
    assert!(pace.due(now + LONGEST).is_empty());
    pace.done(&key(1), "u", Done::Written(Box::new(said(1))));
    assert_eq!(pace.written(&key(1), "v"), None);
    assert_eq!(pace.due(now + SECOND), [key(1)]);
    pace.only(&BTreeMap::from([(key(1), "v".to_owned())]));
    assert_eq!(pace.written(&key(0), "u"), None);
    assert!(!pace.is_empty() && pace.is_busy());
    pace.only(&BTreeMap::new());
    assert!(pace.is_empty() && !pace.is_busy());
}

#[test]
fn what_is_not_known_is_said_only_when_it_lasts() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    assert!(pace.patient(&key(0), "u", false, now));
    assert!(!pace.patient(&key(0), "u", true, now));
    assert!(!pace.patient(&key(0), "u", true, now + UNSURE - SECOND));
    assert!(pace.patient(&key(0), "u", true, now + UNSURE));
    // Known in between, it begins anew.
    assert!(pace.patient(&key(0), "u", false, now + UNSURE));
    assert!(!pace.patient(&key(0), "u", true, now + UNSURE + SECOND));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever wants to be written and however long each write takes: the bounds hold, and everything is written.
    #[test]
    fn nobody_is_too_fast_and_nobody_starves(
        objects in 1..80usize,
        changes in prop::collection::vec((0..80usize, 0..5i32), 0..200),
        slow in prop::collection::vec(0..8usize, 1..20),
    ) {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut wants: BTreeMap<usize, i32> = (0..objects).map(|n| (n, 0)).collect();
        let mut has: BTreeMap<usize, i32> = BTreeMap::new();
        let mut under_way: Vec<(usize, usize, i32)> = Vec::new();
        let mut begun: Vec<(Instant, usize)> = Vec::new();
        let mut changes = changes.into_iter().filter(|(n, _)| *n < objects);
        // So long that even those that say one thing again and again have their turn.
        for tick in 0..8_000usize {
            let now = start + Duration::from_millis(100) * u32::try_from(tick).unwrap();
            if tick % 3 == 0 && let Some((n, value)) = changes.next() {
                wants.insert(n, value);
            }
            under_way.retain_mut(|(n, left, value)| {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    pace.done(&key(*n), "u", Done::Written(Box::new(said(*value))));
                    has.insert(*n, *value);
                }
                *left > 0
            });
            for (n, value) in &wants {
                match has.get(n) == Some(value) {
                    true => pace.settled(&key(*n), "u"),
                    false => pace.waits(&key(*n), "u", now),
                }
            }
            for due in pace.due(now) {
                let n: usize = due.name.trim_start_matches('p').parse().unwrap();
                pace.begin(&due, "u", &said(wants[&n]), now);
                under_way.push((n, 1 + slow[begun.len() % slow.len()], wants[&n]));
                begun.push((now, n));
            }
            prop_assert!(under_way.len() <= AT_ONCE);
        }
        prop_assert_eq!(&has, &wants);
        for (at, (first, n)) in begun.iter().enumerate() {
            let within = |limit: Duration| begun[at..].iter().take_while(move |(when, _)| *when - *first < limit);
            prop_assert!(within(SECOND).count() <= RATE);
            prop_assert_eq!(within(GAP).filter(|(_, other)| other == n).count(), 1);
        }
    }
}
