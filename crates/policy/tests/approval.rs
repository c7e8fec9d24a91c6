//! The count of votes: quorum, denials, expiry, single use.

use std::time::Duration;

use crds::approval::{Decision, Phase};
use policy::approval::{ConsumeError, Standing, Tally, VoteError};
use policy::verdict::ApprovalTerms;
use proptest::prelude::*;

const TTL: Duration = Duration::from_secs(100);

fn tally(required: u8, denials: u8, reason_required: bool) -> Tally {
    let terms = ApprovalTerms {
        asked_by: Vec::new(),
        required_approvals: required,
        deny_threshold: denials,
        scope: policy::verdict::Scope::Once,
        max_grant: None,
        pending_ttl: TTL,
        hold_for: Duration::from_secs(10),
        reason_required,
        max_hold_in_transaction: None,
        preview: policy::verdict::Preview::default(),
    };
    Tally::new(&terms, "agent")
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_quorum_approves_and_the_approval_is_used_once() {
    let mut tally = tally(2, 1, false);
    assert_eq!(tally.standing(at(0)), Standing::Pending { have: 0, need: 2 });
    assert_eq!(tally.consume(at(0)), Err(ConsumeError::Pending));
    assert_eq!(tally.vote("alice", Decision::Approve, None, at(1)), Ok(Standing::Pending { have: 1, need: 2 }));
    let again = tally.vote("alice", Decision::Approve, None, at(2));
    assert_eq!(again, Err(VoteError::AlreadyVoted("alice".to_owned())));
    assert_eq!(tally.vote("bob", Decision::Approve, Some("ok"), at(3)), Ok(Standing::Approved));
    assert_eq!(tally.vote("carol", Decision::Approve, None, at(4)), Err(VoteError::Closed("approved")));
    assert_eq!(tally.vote("carol", Decision::Deny, None, at(4)), Err(VoteError::Closed("approved")));
    assert_eq!(tally.consume(at(5)), Ok(()));
    assert_eq!(tally.consume(at(5)), Err(ConsumeError::Closed("used")));
    assert_eq!(tally.vote("carol", Decision::Revoke, None, at(6)), Err(VoteError::Closed("used")));
    assert_eq!((tally.standing(at(999)), tally.standing(at(999)).phase()), (Standing::Consumed, Phase::Approved));
    assert_eq!((tally.approvals(), tally.votes().len()), (2, 2));
    assert_eq!(tally.votes().last().and_then(|v| v.reason.as_deref()), Some("ok"));
}

#[test]
fn denials_end_it_at_the_threshold() {
    let mut tally = tally(1, 2, false);
    assert_eq!(tally.vote("alice", Decision::Deny, None, at(1)), Ok(Standing::Pending { have: 0, need: 1 }));
    let again = tally.vote("alice", Decision::Deny, None, at(1));
    assert_eq!(again, Err(VoteError::AlreadyVoted("alice".to_owned())));
    assert_eq!(tally.vote("bob", Decision::Deny, None, at(1)), Ok(Standing::Denied));
    assert_eq!(tally.vote("carol", Decision::Approve, None, at(1)), Err(VoteError::Closed("denied")));
    assert_eq!(tally.consume(at(1)), Err(ConsumeError::Closed("denied")));
    assert_eq!(tally.standing(at(999)), Standing::Denied);
}

#[test]
fn of_one_users_two_votes_the_denial_counts() {
    let mut one = tally(2, 1, false);
    one.vote("alice", Decision::Approve, None, at(1)).unwrap();
    assert_eq!(one.vote("alice", Decision::Deny, None, at(2)), Ok(Standing::Denied));
    let mut two = tally(2, 2, false);
    two.vote("alice", Decision::Deny, None, at(1)).unwrap();
    let back = two.vote("alice", Decision::Approve, None, at(2));
    assert_eq!(back, Err(VoteError::AlreadyVoted("alice".to_owned())));
    two.vote("bob", Decision::Approve, None, at(2)).unwrap();
    assert_eq!(two.vote("bob", Decision::Deny, None, at(3)), Ok(Standing::Denied));
    assert_eq!(two.approvals(), 0);
}

#[test]
fn the_requester_never_decides() {
    let mut tally = tally(1, 1, false);
    for decision in [Decision::Approve, Decision::Deny, Decision::Revoke] {
        assert_eq!(tally.vote("agent", decision, Some("mine"), at(1)), Err(VoteError::Requester));
    }
    assert_eq!(tally.votes(), []);
}

#[test]
fn a_required_reason_is_more_than_blanks() {
    let mut tally = tally(1, 1, true);
    for reason in [None, Some(""), Some(" \t")] {
        assert_eq!(tally.vote("alice", Decision::Approve, reason, at(1)), Err(VoteError::ReasonRequired));
        assert_eq!(tally.vote("alice", Decision::Deny, reason, at(1)), Err(VoteError::ReasonRequired));
    }
    assert_eq!(tally.vote("alice", Decision::Approve, Some(" INC-1 "), at(1)), Ok(Standing::Approved));
    assert_eq!(tally.vote("bob", Decision::Revoke, None, at(1)), Err(VoteError::ReasonRequired));
    assert_eq!(tally.votes().first().and_then(|v| v.reason.as_deref()), Some("INC-1"));
}

#[test]
fn it_expires_approved_or_not() {
    let mut pending = tally(1, 1, false);
    assert_eq!(pending.vote("alice", Decision::Approve, None, TTL), Err(VoteError::Closed("expired")));
    let mut approved = tally(1, 1, false);
    let last = TTL.saturating_sub(Duration::from_nanos(1));
    assert_eq!(approved.vote("alice", Decision::Approve, None, last), Ok(Standing::Approved));
    assert_eq!(approved.consume(TTL), Err(ConsumeError::Closed("expired")));
    assert_eq!(approved.vote("bob", Decision::Revoke, None, TTL), Err(VoteError::Closed("expired")));
    assert_eq!(approved.standing(TTL).phase(), Phase::Expired);
}

#[test]
fn an_unused_approval_is_revoked_by_any_approver() {
    let mut tally = tally(1, 1, false);
    assert_eq!(tally.vote("bob", Decision::Revoke, None, at(1)), Err(VoteError::NotApproved));
    tally.vote("alice", Decision::Approve, None, at(1)).unwrap();
    assert_eq!(tally.vote("alice", Decision::Revoke, None, at(2)), Ok(Standing::Revoked));
    assert_eq!(tally.consume(at(3)), Err(ConsumeError::Closed("revoked")));
    assert_eq!(tally.standing(at(999)).phase(), Phase::Revoked);
}

#[test]
fn what_is_withdrawn_stays_so_and_what_ended_is_not_withdrawn() {
    let mut open = tally(1, 1, false);
    assert_eq!(open.withdraw(at(1)), Standing::Withdrawn);
    assert_eq!(open.vote("alice", Decision::Approve, None, at(2)), Err(VoteError::Closed("withdrawn")));
    let mut denied = tally(1, 1, false);
    denied.vote("alice", Decision::Deny, None, at(1)).unwrap();
    assert_eq!(denied.withdraw(at(2)), Standing::Denied);
    assert_eq!(tally(1, 1, false).withdraw(TTL), Standing::Expired);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_voted_one_use_needs_a_quorum_of_others(
        required in 1..=5_u8, denials in 1..=5_u8, votes in proptest::collection::vec((0..6_u8, 0..3_u8, 0..120_u64), 0..30)
    ) {
        let mut tally = tally(required, denials, false);
        let (mut uses, mut now) = (0, Duration::ZERO);
        for (who, what, seconds) in votes {
            now = now.max(at(seconds));
            let who = if who == 0 { "agent".to_owned() } else { format!("u{who}") };
            let decision = [Decision::Approve, Decision::Deny, Decision::Revoke][usize::from(what)];
            let before = tally.clone();
            if tally.vote(&who, decision, None, now).is_err() {
                prop_assert_eq!(&tally, &before);
            }
            if tally.consume(now).is_ok() {
                uses += 1;
                prop_assert!(now < TTL);
                let approvers: std::collections::BTreeSet<_> = tally.votes().iter()
                    .filter(|v| v.decision == Decision::Approve).map(|v| v.approver.clone()).collect();
                prop_assert!(approvers.len() >= usize::from(required) && !approvers.contains("agent"));
            }
        }
        prop_assert!(uses <= 1);
    }
}

#[test]
fn there_is_no_glass_to_break_without_a_cluster() {
    let mut tally = tally(2, 1, false);
    assert_eq!(tally.vote("alice", Decision::BreakGlass, Some("INC-1"), at(1)), Err(VoteError::BreakGlass));
    assert_eq!((tally.standing(at(1)), tally.votes().len()), (Standing::Pending { have: 0, need: 2 }, 0));
}
