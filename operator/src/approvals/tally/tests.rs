//! Tables and laws of the count.

use crds::approval::ApprovalRequestStatus;
use proptest::prelude::*;

use super::*;
use crate::approvals::request::tests as requests;
use crate::approvals::stamp::tests::{key, record};

const POLICY: &str = "AgentAccessPolicy/support";
const OTHER: &str = "ClusterAgentAccessPolicy/prod";

fn at(time: &str) -> Timestamp {
    format!("2027-01-15T{time}Z").parse().unwrap()
}

/// A vote on these policies at eight, with a signature of ours.
fn vote(request: &Request, user: &str, decision: Word, policies: &[&str]) -> Record {
    let policies = policies.iter().map(ToString::to_string).collect();
    Record { policies, spec: request.digest.clone(), ..record(user, decision) }
}

fn count(request: &mut Request, votes: &[Record], now: &str) -> Tally {
    let texts = votes.iter().map(|vote| vote.sign(&key(1)).unwrap());
    request.records = (1..).zip(texts).collect();
    Tally::of(request, &Ballot::read(request, &key(1)), at(now))
}

#[test]
fn each_person_counts_once() {
    use Word::{Approve, Deny};
    let need = |have| Standing::Pending { have, need: 2 };
    for (votes, standing) in [
        (vec![], need(0)),
        (vec![("alice", Approve)], need(1)),
        (vec![("alice", Approve), ("alice", Approve)], need(1)),
        (vec![("alice", Approve), ("bob", Approve)], Standing::Approved),
        (vec![("alice", Approve), ("bob", Deny)], Standing::Denied),
        (vec![("alice", Approve), ("bob", Approve), ("carol", Deny)], Standing::Denied),
        (vec![("alice", Approve), ("alice", Deny)], Standing::Denied),
    ] {
        let mut request = requests::request(&[POLICY]);
        let cast: Vec<_> = votes.iter().map(|(user, word)| vote(&request, user, *word, &[POLICY])).collect();
        assert_eq!(count(&mut request, &cast, "08:00:01").standing, standing, "{votes:?}");
    }
}

#[test]
fn a_name_or_a_uid_makes_one_person() {
    let mut request = requests::request(&[POLICY]);
    let of = |request: &Request, user: &str, uid: &str| Record {
        uid: uid.to_owned(),
        ..vote(request, user, Word::Approve, &[POLICY])
    };
    let table = [
        ([("a", ""), ("b", "")], 2),
        ([("a", "1"), ("b", "2")], 2),
        // By certificate and by token.
        ([("a", ""), ("a", "1")], 1),
        ([("a", "1"), ("a", "2")], 1),
        ([("a", "1"), ("b", "1")], 1),
    ];
    for (people, approvals) in table {
        let votes = people.map(|(user, uid)| of(&request, user, uid));
        assert_eq!(count(&mut request, &votes, "08:00:01").approvals, approvals, "{people:?}");
    }
    // The third makes the first two one.
    let votes = [("a", "1"), ("b", "2"), ("a", "2")].map(|(user, uid)| of(&request, user, uid));
    assert_eq!(count(&mut request, &votes, "08:00:01").approvals, 1);
}

#[test]
fn each_policy_needs_its_quorum() {
    let mut request = requests::request(&[POLICY, OTHER]);
    let mut votes = vec![
        vote(&request, "alice", Word::Approve, &[POLICY, OTHER]),
        vote(&request, "bob", Word::Approve, &[POLICY]),
        vote(&request, "carol", Word::Approve, &["AgentAccessPolicy/elsewhere"]),
    ];
    let tally = count(&mut request, &votes, "08:00:01");
    assert_eq!(tally.standing, Standing::Pending { have: 1, need: 2 });
    assert_eq!(tally.policies, [(POLICY.to_owned(), 2), (OTHER.to_owned(), 1)].into());
    assert_eq!(tally.approvers, ["alice", "bob"]);
    votes.push(vote(&request, "dave", Word::Approve, &[OTHER]));
    assert_eq!(count(&mut request, &votes, "08:00:01").standing, Standing::Approved);
    // A second right that came later is a second record.
    votes.pop();
    votes.push(vote(&request, "bob", Word::Approve, &[OTHER]));
    assert_eq!(count(&mut request, &votes, "08:00:01").standing, Standing::Approved);
}

#[test]
fn it_ends_by_time_by_denial_and_by_its_status() {
    let mut request = requests::request(&[POLICY]);
    let votes = ["alice", "bob"].map(|user| vote(&request, user, Word::Approve, &[POLICY]));
    assert_eq!(count(&mut request, &votes, "08:14:59.999").standing, Standing::Approved);
    assert_eq!(count(&mut request, &votes, "08:15:00").standing, Standing::Expired);
    request.spec.deny_threshold = 2;
    let one = [vote(&request, "alice", Word::Deny, &[POLICY])];
    assert_eq!(count(&mut request, &one, "08:00:01").standing, Standing::Pending { have: 0, need: 2 });
    let two = ["alice", "bob"].map(|user| vote(&request, user, Word::Deny, &[POLICY]));
    let tally = count(&mut request, &two, "09:00:00");
    assert_eq!((tally.standing, tally.denied), (Standing::Denied, Some(("bob".to_owned(), "INC-1".to_owned()))));

    for (phase, consumed, standing) in [
        (Phase::Withdrawn, false, Standing::Withdrawn),
        (Phase::Revoked, false, Standing::Revoked),
        (Phase::Expired, false, Standing::Expired),
        (Phase::Denied, false, Standing::Denied),
        (Phase::Approved, true, Standing::Consumed),
        (Phase::Pending, true, Standing::Consumed),
    ] {
        request.status = Some(ApprovalRequestStatus { phase, consumed, ..Default::default() });
        assert_eq!(count(&mut request, &votes, "08:00:01").standing, standing);
    }
    // What status says never approves.
    request.status = Some(ApprovalRequestStatus { phase: Phase::Approved, approvals: 2, ..Default::default() });
    assert_eq!(count(&mut request, &[], "08:00:01").standing, Standing::Pending { have: 0, need: 2 });
}

#[test]
fn a_request_without_policies_is_approved_by_nobody() {
    let mut request = requests::request(&[]);
    let votes = ["alice", "bob"].map(|user| vote(&request, user, Word::Approve, &[POLICY]));
    assert_eq!(count(&mut request, &votes, "08:00:01").standing, Standing::Pending { have: 0, need: 2 });
}

fn cast() -> impl Strategy<Value = Vec<(usize, usize, bool, u8, u8)>> {
    prop::collection::vec((0..4_usize, 0..3_usize, any::<bool>(), 0..4_u8, 0..60_u8), 0..7)
}

fn records(request: &Request, cast: &[(usize, usize, bool, u8, u8)]) -> Vec<String> {
    let one = |(user, uid, approve, policies, second): &(usize, usize, bool, u8, u8)| {
        let word = if *approve { Word::Approve } else { Word::Deny };
        let on: Vec<&str> =
            [POLICY, OTHER].into_iter().zip([1, 2]).filter(|(_, bit)| policies & bit != 0).map(|p| p.0).collect();
        let vote = Record {
            uid: ["", "u1", "u2"][*uid].to_owned(),
            time: format!("2027-01-15T08:00:{second:02}.000Z"),
            ..vote(request, ["a", "b", "c", "d"][*user], word, &on)
        };
        vote.sign(&key(1)).unwrap()
    };
    cast.iter().map(one).collect()
}

fn of(request: &mut Request, records: impl IntoIterator<Item = String>) -> Tally {
    request.records = (1..).zip(records).collect();
    Tally::of(request, &Ballot::read(request, &key(1)), at("08:01:00"))
}

proptest! {
    #[test]
    fn order_never_matters(cast in cast(), threshold in 1..3_i32, seed in any::<prop::sample::Index>()) {
        let mut request = requests::request(&[POLICY, OTHER]);
        request.spec.deny_threshold = threshold;
        let request_digest = request.digest.clone();
        let mut records = records(&request, &cast);
        let before = of(&mut request, records.clone());
        records.reverse();
        prop_assert_eq!(&before, &of(&mut request, records.clone()));
        if !records.is_empty() {
            let at = seed.index(records.len());
            records.rotate_left(at);
        }
        prop_assert_eq!(&before, &of(&mut request, records));
        prop_assert_eq!(request_digest, request.digest);
    }

    #[test]
    fn a_bad_record_changes_nothing(cast in cast(), bad in 0..6_usize, place in any::<prop::sample::Index>()) {
        let mut request = requests::request(&[POLICY, OTHER]);
        let mut records = records(&request, &cast);
        let before = of(&mut request, records.clone());
        let good = vote(&request, "eve", Word::Approve, &[POLICY, OTHER]);
        let bad = match bad {
            0 => good.sign(&key(2)).unwrap(),
            1 => good.sign(&key(1)).unwrap().replacen("eve", "ava", 1),
            2 => Record { request: "r-2".to_owned(), ..good }.sign(&key(1)).unwrap(),
            3 => Record { spec: "sha256:00".to_owned(), ..good }.sign(&key(1)).unwrap(),
            4 => "{\"user\":\"eve\",\"decision\":\"approve\"}".to_owned(),
            _ => String::new(),
        };
        records.insert(place.index(records.len() + 1), bad);
        prop_assert_eq!(before, of(&mut request, records));
    }

    #[test]
    fn one_more_denial_never_helps(cast in cast()) {
        let mut request = requests::request(&[POLICY, OTHER]);
        let mut records = records(&request, &cast);
        records.push(vote(&request, "eve", Word::Deny, &[POLICY]).sign(&key(1)).unwrap());
        prop_assert_eq!(of(&mut request, records).standing, Standing::Denied);
    }
}
