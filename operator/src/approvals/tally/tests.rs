//! Tables and laws of the count.

use crds::approval::ApprovalRequestStatus;
use crds::policy::Scope;
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

fn granting(scope: &str, policies: &[&str]) -> Request {
    Request::read(&requests::granting(policies, scope)).unwrap()
}

fn moment(vote: Record, time: &str, grant: &str) -> Record {
    Record { time: format!("2027-01-15T{time}Z"), grant: grant.to_owned(), ..vote }
}

#[test]
fn a_grant_begins_with_the_quorum_and_ends_after_the_shortest_time() {
    use Word::Approve;
    let until = |votes: &[(&str, &str, &str)]| {
        let mut request = granting("Task", &[POLICY]);
        let votes: Vec<_> = votes
            .iter()
            .map(|(user, time, grant)| moment(vote(&request, user, Approve, &[POLICY]), time, grant))
            .collect();
        count(&mut request, &votes, "08:10:00").grant.map(|grant| (grant.scope, grant.from, grant.until))
    };
    let granted = |from: &str, to: &str| Some((Scope::Task, at(from), at(to)));
    assert_eq!(until(&[("alice", "08:00:00", "")]), None);
    assert_eq!(until(&[("alice", "08:00:00", ""), ("bob", "08:05:00", "")]), granted("08:05:00", "09:05:00"));
    assert_eq!(until(&[("bob", "08:05:00", ""), ("alice", "08:00:00", "")]), granted("08:05:00", "09:05:00"));
    assert_eq!(until(&[("alice", "08:00:00", "20m"), ("bob", "08:05:00", "30m")]), granted("08:05:00", "08:25:00"));
    // No record makes it longer than the policy does, and one that cannot be read grants nothing.
    assert_eq!(until(&[("alice", "08:00:00", "9h"), ("bob", "08:05:00", "")]), granted("08:05:00", "09:05:00"));
    assert_eq!(until(&[("alice", "08:00:00", "soon"), ("bob", "08:05:00", "")]), granted("08:05:00", "08:05:00"));

    let mut request = granting("Task", &[POLICY]);
    let votes = ["alice", "bob"].map(|user| vote(&request, user, Approve, &[POLICY]));
    // It outlives the time in which people may decide, and ends by its own.
    for (now, standing) in
        [("08:16:00", Standing::Approved), ("08:59:59.999", Standing::Approved), ("09:00:00", Standing::Expired)]
    {
        assert_eq!(count(&mut request, &votes, now).standing, standing, "{now}");
    }
    // A quorum that came too late is none.
    let late = ["alice", "bob"].map(|user| moment(vote(&request, user, Approve, &[POLICY]), "08:15:00", ""));
    assert_eq!(count(&mut request, &late, "08:15:01").standing, Standing::Expired);
    // Each policy has to have its own.
    let mut request = granting("Duration", &[POLICY, OTHER]);
    let votes = [
        moment(vote(&request, "alice", Approve, &[POLICY, OTHER]), "08:00:00", ""),
        moment(vote(&request, "bob", Approve, &[POLICY]), "08:01:00", ""),
        moment(vote(&request, "carol", Approve, &[OTHER]), "08:02:00", ""),
    ];
    let tally = count(&mut request, &votes, "08:10:00");
    assert_eq!((tally.standing, tally.grant.unwrap().from), (Standing::Approved, at("08:02:00")));
    // What is good once grants nothing.
    let mut request = granting("Once", &[POLICY]);
    let votes = ["alice", "bob"].map(|user| vote(&request, user, Approve, &[POLICY]));
    let tally = count(&mut request, &votes, "08:00:01");
    assert_eq!((tally.standing, tally.grant), (Standing::Approved, None));
    assert_eq!(count(&mut request, &votes, "08:15:00").standing, Standing::Expired);
}

#[test]
fn a_revocation_ends_what_was_approved() {
    for scope in ["Once", "Session", "Duration", "Task"] {
        let mut request = granting(scope, &[POLICY, OTHER]);
        let mut votes = vec![
            vote(&request, "alice", Word::Approve, &[POLICY, OTHER]),
            vote(&request, "bob", Word::Approve, &[POLICY, OTHER]),
        ];
        let elsewhere = vote(&request, "carol", Word::Revoke, &["AgentAccessPolicy/elsewhere"]);
        votes.push(elsewhere);
        assert_eq!(count(&mut request, &votes, "08:00:01").standing, Standing::Approved, "{scope}");
        votes.push(vote(&request, "carol", Word::Revoke, &[OTHER]));
        let tally = count(&mut request, &votes, "08:00:01");
        assert_eq!((tally.standing, tally.decisions.len()), (Standing::Revoked, 4), "{scope}");
    }
}

#[test]
fn one_person_breaks_the_glass_for_half_an_hour() {
    let mut request = granting("Once", &[POLICY, OTHER]);
    let broken = vote(&request, "carol", Word::BreakGlass, &[POLICY, OTHER]);
    let tally = count(&mut request, std::slice::from_ref(&broken), "08:20:00");
    assert_eq!((tally.standing, tally.approvers), (Standing::Approved, vec!["carol".to_owned()]));
    let grant = tally.grant.unwrap();
    assert_eq!((grant.scope, grant.until), (Scope::Duration, at("08:30:00")));
    assert_eq!(grant.broken, Some(("carol".to_owned(), "INC-1".to_owned())));
    assert_eq!(tally.decisions[0].decision, Decision::BreakGlass);
    assert_eq!(count(&mut request, std::slice::from_ref(&broken), "08:30:00").standing, Standing::Expired);

    let standing = |request: &mut Request, vote: Record| count(request, &[vote], "08:10:00").standing;
    let pending = Standing::Pending { have: 0, need: 2 };
    // Not without a reason, not on one of two policies, not after its time.
    let mute = Record { reason: String::new(), ..broken.clone() };
    assert_eq!(standing(&mut request, mute), pending);
    let half = vote(&request, "carol", Word::BreakGlass, &[POLICY]);
    assert_eq!(standing(&mut request, half), pending);
    let late = moment(broken.clone(), "08:15:00", "");
    assert_eq!(count(&mut request, &[late], "08:15:01").standing, Standing::Expired);
    // For less, if she says so; a denial and a revocation end it.
    let short = moment(broken.clone(), "08:00:00", "5m");
    assert_eq!(standing(&mut request, short), Standing::Expired);
    let denial = vote(&request, "eve", Word::Deny, &[POLICY]);
    assert_eq!(count(&mut request, &[broken.clone(), denial], "08:00:01").standing, Standing::Denied);
    let revocation = vote(&request, "eve", Word::Revoke, &[POLICY]);
    assert_eq!(count(&mut request, &[broken, revocation], "08:00:01").standing, Standing::Revoked);

    // However many have voted before, it is told.
    let mut request = granting("Once", &[POLICY, OTHER]);
    let mut many: Vec<_> = (0..20).map(|n| vote(&request, &format!("p{n}"), Word::Approve, &[POLICY])).collect();
    many.push(vote(&request, "carol", Word::BreakGlass, &[POLICY, OTHER]));
    let decisions = count(&mut request, &many, "08:00:01").decisions;
    assert_eq!(decisions.len(), limits::DECISIONS);
    assert!(decisions.iter().any(|one| one.decision == Decision::BreakGlass));

    // Never longer than the policy lets a grant last, and for this pod alone.
    let mut request = granting("Task", &[POLICY]);
    request.spec.grant.as_mut().unwrap().max_duration = crds::duration::DurationText("10m".to_owned());
    let broken = vote(&request, "carol", Word::BreakGlass, &[POLICY]);
    let grant = count(&mut request, &[broken], "08:05:00").grant.unwrap();
    assert_eq!((grant.scope, grant.until), (Scope::Duration, at("08:10:00")));
    // What no sentence describes is good once, whoever approves it, and while the request lives.
    let mut request = requests::request(&[POLICY]);
    let broken = vote(&request, "carol", Word::BreakGlass, &[POLICY]);
    let tally = count(&mut request, &[broken], "08:05:00");
    let grant = tally.grant.unwrap();
    assert_eq!((tally.standing, grant.scope, grant.until), (Standing::Approved, Scope::Once, request.expires));
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
    fn a_grant_is_never_longer_than_anybody_said(cast in cast(), lengths in prop::collection::vec(0..120_u64, 7)) {
        let mut request = granting("Task", &[POLICY]);
        let mut records: Vec<Record> = records(&request, &cast)
            .iter()
            .map(|text| Record::read(text, &key(1), "r-1", &request.digest).unwrap())
            .collect();
        for (record, minutes) in records.iter_mut().zip(lengths) {
            record.grant = if minutes == 0 { String::new() } else { format!("{minutes}m") };
        }
        let texts: Vec<String> = records.iter().map(|record| record.sign(&key(1)).unwrap()).collect();
        if let Some(grant) = of(&mut request, texts).grant {
            let length = grant.until.duration_since(grant.from);
            prop_assert!(length <= jiff::SignedDuration::from_hours(1));
            prop_assert!(records.iter().any(|record| record.at() == Some(grant.from)));
        }
    }

    #[test]
    fn one_more_revocation_ends_whatever_was_said(cast in cast(), scope in 0..4_usize) {
        let mut request = granting(["Once", "Session", "Duration", "Task"][scope], &[POLICY, OTHER]);
        let mut records = records(&request, &cast);
        records.push(vote(&request, "eve", Word::Revoke, &[POLICY]).sign(&key(1)).unwrap());
        prop_assert_eq!(of(&mut request, records).standing, Standing::Revoked);
    }

    #[test]
    fn one_more_denial_never_helps(cast in cast()) {
        let mut request = requests::request(&[POLICY, OTHER]);
        let mut records = records(&request, &cast);
        records.push(vote(&request, "eve", Word::Deny, &[POLICY]).sign(&key(1)).unwrap());
        prop_assert_eq!(of(&mut request, records).standing, Standing::Denied);
    }
}

/// What cannot be granted is let through once, and in the same half hour as what can.
#[test]
fn broken_glass_ends_also_where_nothing_can_be_granted() {
    let mut request = requests::request(&[POLICY]);
    assert!(request.spec.cover.is_none());
    request.expires = at("20:00:00");
    let glass = Record { reason: "INC-1".to_owned(), ..vote(&request, "carol", Word::BreakGlass, &[POLICY]) };
    for (now, standing) in [("08:29:59", Standing::Approved), ("08:30:01", Standing::Expired)] {
        let tally = count(&mut request, std::slice::from_ref(&glass), now);
        assert_eq!(tally.standing, standing, "{now}");
        let grant = tally.grant.unwrap();
        assert_eq!((grant.scope, grant.broken), (Scope::Once, Some(("carol".to_owned(), "INC-1".to_owned()))));
    }
}
