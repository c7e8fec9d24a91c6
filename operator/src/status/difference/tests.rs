use proptest::prelude::*;

use super::*;

const THEN: &str = "2026-11-21T10:00:00Z";
const NOW: &str = "2026-11-21T10:02:11Z";

fn said(type_: &'static str, status: ConditionStatus) -> Said {
    Said { type_, status, reason: "Reason", message: format!("{type_} {status:?}") }
}

fn pods(matched: i32, synced: i32, revision: &str, rules: &[&str]) -> Pods {
    let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
    Pods { matched, synced, revision: Some(revision.to_owned()), rules }
}

fn wanted(status: ConditionStatus, pods: Option<Pods>) -> Wanted {
    Wanted { said: vec![said(ACCEPTED, status), said(RESOLVED_REFS, ConditionStatus::True)], pods, unsure: false }
}

fn told(status: Option<PolicyStatus>) -> Told {
    Told { uid: "u".to_owned(), generation: 3, status }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn used(rules: &[&str]) -> BTreeSet<String> {
    rules.iter().map(|rule| (*rule).to_owned()).collect()
}

fn first(wanted: &Wanted, rules: &[&str]) -> PolicyStatus {
    difference(wanted, &told(None), None, &used(rules), at(THEN)).unwrap().status
}

#[test]
fn what_the_api_server_has_is_not_written_again() {
    let wanted = wanted(ConditionStatus::True, Some(pods(5, 5, "sha256:aa", &["a", "b"])));
    let written = first(&wanted, &[]);
    assert_eq!((written.matched_pods, written.synced_pods, written.observed_generation), (5, 5, Some(3)));
    assert_eq!((written.revision.as_deref(), written.last_sync_time.as_deref()), (Some("sha256:aa"), Some(THEN)));
    assert_eq!(written.unused_rules, ["a", "b"]);
    assert_eq!(difference(&wanted, &told(Some(written.clone())), None, &used(&[]), at(NOW)), None);
    // Conditions of others are theirs.
    let mut more = written;
    more.conditions.insert(0, Condition { type_: "Reviewed".to_owned(), ..more.conditions[0].clone() });
    assert_eq!(difference(&wanted, &told(Some(more)), None, &used(&[]), at(NOW)), None);
}

#[test]
fn a_time_moves_only_when_its_status_does() {
    let before = first(&wanted(ConditionStatus::True, None), &[]);
    let mut reworded = wanted(ConditionStatus::True, None);
    reworded.said[0].message = "in other words".to_owned();
    let status = difference(&reworded, &told(Some(before.clone())), None, &used(&[]), at(NOW)).unwrap().status;
    assert_eq!(status.conditions[0].last_transition_time, THEN);
    let turned = wanted(ConditionStatus::False, None);
    let status = difference(&turned, &told(Some(before)), None, &used(&[]), at(NOW)).unwrap().status;
    let times: Vec<&str> = status.conditions.iter().map(|one| one.last_transition_time.as_str()).collect();
    assert_eq!(times, [NOW, THEN]);
}

#[test]
fn what_somebody_wrote_over_is_put_right_as_it_was() {
    let wanted = wanted(ConditionStatus::True, Some(pods(5, 5, "sha256:aa", &["a", "b"])));
    let written = first(&wanted, &["a"]);
    type Edit = fn(&mut PolicyStatus);
    let edits: [(&str, Edit); 8] = [
        ("status", |status| status.conditions[0].status = ConditionStatus::False),
        ("message", |status| status.conditions[0].message = "all is well".to_owned()),
        ("time", |status| status.conditions[0].last_transition_time = "2020-01-01T00:00:00Z".to_owned()),
        ("a condition", |status| drop(status.conditions.remove(1))),
        ("pods", |status| status.matched_pods = 99),
        ("rules", |status| status.unused_rules = vec!["a".to_owned()]),
        ("revision", |status| status.revision = Some("sha256:bb".to_owned())),
        ("all", |status| *status = PolicyStatus::default()),
    ];
    for (what, edit) in edits {
        let mut edited = written.clone();
        edit(&mut edited);
        let put = difference(&wanted, &told(Some(edited)), Some(&written), &used(&[]), at(NOW)).unwrap();
        assert_eq!(put.status, written, "{what}");
        assert_eq!(put.news, [], "{what}: nothing has happened");
    }
}

#[test]
fn a_sync_is_when_more_pods_have_it() {
    let rows = [
        ("more", 3, 4, "sha256:aa", NOW),
        ("fewer", 3, 2, "sha256:aa", THEN),
        ("as many", 3, 3, "sha256:aa", THEN),
        ("as many of another form", 3, 3, "sha256:bb", NOW),
        ("none of another form", 3, 0, "sha256:bb", THEN),
    ];
    for (what, before, now, revision, time) in rows {
        let then = first(&wanted(ConditionStatus::True, Some(pods(5, before, "sha256:aa", &[]))), &[]);
        // Always something to write.
        let next = wanted(ConditionStatus::False, Some(pods(5, now, revision, &[])));
        let status = difference(&next, &told(Some(then)), None, &used(&[]), at(NOW)).unwrap().status;
        assert_eq!(status.last_sync_time.as_deref(), Some(time), "{what}");
    }
}

#[test]
fn a_rule_that_was_used_is_unused_again_only_in_another_form() {
    let wanted = |revision| self::wanted(ConditionStatus::True, Some(pods(1, 1, revision, &["a", "b", "c"])));
    let one = first(&wanted("sha256:aa"), &["b"]);
    assert_eq!(one.unused_rules, ["a", "c"]);
    // Nobody speaks of it any more, and another leader has nothing but the status.
    assert_eq!(difference(&wanted("sha256:aa"), &told(Some(one.clone())), None, &used(&[]), at(NOW)), None);
    let two = difference(&wanted("sha256:aa"), &told(Some(one)), None, &used(&["c", "z"]), at(NOW)).unwrap().status;
    assert_eq!(two.unused_rules, ["a"]);
    let next = difference(&wanted("sha256:bb"), &told(Some(two)), None, &used(&[]), at(NOW)).unwrap().status;
    assert_eq!(next.unused_rules, ["a", "b", "c"]);
}

#[test]
fn while_pods_cannot_be_counted_the_last_count_stays() {
    let before = first(&wanted(ConditionStatus::True, Some(pods(5, 5, "sha256:aa", &["a"]))), &[]);
    let unknown = wanted(ConditionStatus::Unknown, None);
    let after = difference(&unknown, &told(Some(before.clone())), None, &used(&[]), at(NOW)).unwrap().status;
    assert_eq!(PolicyStatus { conditions: before.conditions.clone(), ..after }, before);
}

#[test]
fn people_hear_when_it_ends_to_count_and_when_it_counts_again() {
    use ConditionStatus::{False, True, Unknown};
    let rows = [
        (None, True, None),
        (None, False, Some(true)),
        (Some(True), False, Some(true)),
        (Some(Unknown), False, Some(true)),
        (Some(False), True, Some(false)),
        (Some(False), False, None),
        (Some(False), Unknown, None),
        (Some(Unknown), True, None),
    ];
    for (before, now, expected) in rows {
        let there = before.map(|status| first(&wanted(status, None), &[]));
        let mut next = wanted(now, None);
        next.said[0].message = "news".to_owned();
        let found = difference(&next, &told(there), None, &used(&[]), at(NOW)).unwrap().news;
        let expected: Vec<News> =
            expected.map(|warning| News { warning, of: ACCEPTED, message: "news".to_owned() }).into_iter().collect();
        assert_eq!(found, expected, "{before:?} to {now:?}");
    }
}

fn status() -> impl Strategy<Value = ConditionStatus> {
    prop::sample::select(&[ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown][..])
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let pods = (0..9, 0..9, 0..3u8).prop_map(|(matched, synced, form)| {
        let rules: &[&str] = if form == 0 { &["a", "b"] } else { &["a", "b", "c"] };
        pods(matched, synced, &format!("sha256:{form}{form}"), rules)
    });
    (status(), prop::option::of(pods)).prop_map(|(status, pods)| wanted(status, pods))
}

proptest! {
    /// However things turn: what was written is enough, and no rule comes back within one form.
    #[test]
    fn one_write_is_enough(steps in prop::collection::vec((any_wanted(), prop::sample::subsequence(vec!["a", "b", "c"], 0..3)), 1..20)) {
        let mut there: Option<PolicyStatus> = None;
        for (wanted, rules) in steps {
            let now = at(NOW);
            if let Some(Difference { status, .. }) = difference(&wanted, &told(there.clone()), None, &used(&rules), now) {
                if let Some(before) = there.as_ref().filter(|before| before.revision == status.revision) {
                    prop_assert!(status.unused_rules.iter().all(|rule| before.unused_rules.contains(rule)) || before.revision.is_none());
                }
                there = Some(status);
            }
            prop_assert_eq!(difference(&wanted, &told(there.clone()), None, &used(&rules), now), None);
        }
    }
}
