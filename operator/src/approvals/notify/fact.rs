//! What there is to tell of one request, as it is counted: pure.
//!
//! What is told follows from what is stored, so that whoever leads next comes to the same. The word of an agent is in none
//! of it; which of it was told already is for the queue to know.

use std::sync::Arc;

use crds::approval::{Decision, Notice};
use jiff::{SignedDuration, Timestamp};
use policy::approval::Standing;

use crate::approvals::book::Counted;
use crate::approvals::request::Request;
use crate::approvals::tally::Tally;

/// What ended longer ago, and of which nothing was ever told, is news to nobody.
const NEWS: SignedDuration = SignedDuration::from_hours(1);

/// One thing to tell, with the request as it was then.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) notice: Notice,
    pub(super) request: Arc<Request>,
    pub(super) tally: Arc<Tally>,
    /// The object is not there any more.
    pub(super) gone: bool,
    pub(super) at: Timestamp,
}

// === impl Fact ===

impl Fact {
    pub(super) fn of(notice: Notice, counted: &Counted, gone: bool, at: Timestamp) -> Self {
        let (request, tally) = (Arc::clone(&counted.request), Arc::new(counted.tally(at)));
        Self { notice, request, tally, gone, at }
    }
}

/// All that is true of it, in the order in which it is told.
pub(super) fn notices(counted: &Counted, now: Timestamp) -> Vec<Notice> {
    let tally = counted.tally(now);
    let broken = tally.grant.as_ref().is_some_and(|grant| grant.broken.is_some());
    let mut notices = vec![Notice::Requested];
    match tally.standing {
        // However it went on: what one person alone let through is told.
        _ if broken => notices.push(Notice::BreakGlass),
        Standing::Approved | Standing::Consumed => notices.push(Notice::Approved),
        _ => {}
    }
    notices.extend(end(&tally));
    notices
}

/// How it ended, if that is worth a word: a grant whose time is over was told with its end.
fn end(tally: &Tally) -> Option<Notice> {
    match tally.standing {
        Standing::Pending { .. } | Standing::Approved | Standing::Consumed => None,
        Standing::Denied => Some(Notice::Denied),
        Standing::Withdrawn => Some(Notice::Withdrawn),
        Standing::Expired => tally.grant.is_none().then_some(Notice::Expired),
        Standing::Revoked if tally.decisions.iter().any(|one| one.decision == Decision::Revoke) => {
            Some(Notice::Revoked)
        }
        Standing::Revoked => Some(Notice::Ended),
    }
}

/// Of one that nobody was told of: whether it is over for so long that nobody should be.
pub(super) fn stale(counted: &Counted, now: Timestamp) -> bool {
    if counted.is_open(now) {
        return false;
    }
    let request = &counted.request;
    let until = counted.tally(now).grant.map(|grant| grant.until);
    let moments = [request.created, counted.ballot.last(), Some(request.expires), until];
    // It may have been closed at any time up to now; what it still could be used for is over with the last of these.
    let last = moments.into_iter().flatten().filter(|moment| *moment <= now).max();
    last.is_none_or(|last| now.duration_since(last) > NEWS)
}

#[cfg(test)]
pub(super) mod tests {
    use crds::approval::{ApprovalRequestStatus, Phase};

    use super::*;
    use crate::approvals::request::tests as requests;
    use crate::approvals::stamp::tests::{key, record};
    use crate::approvals::stamp::{Record, Word};
    use crate::approvals::tally::Ballot;

    const POLICY: &str = "AgentAccessPolicy/support";

    pub(in crate::approvals::notify) fn at(time: &str) -> Timestamp {
        format!("2027-01-15T{time}Z").parse().unwrap()
    }

    pub(in crate::approvals::notify) fn counted(scope: &str, votes: &[(&str, Word)]) -> Counted {
        let mut request = Request::read(&requests::granting(&[POLICY], scope)).unwrap();
        let sign = |(user, word): &(&str, Word)| {
            Record { spec: request.digest.clone(), ..record(user, *word) }.sign(&key(1)).unwrap()
        };
        let records = votes.iter().map(sign).collect::<Vec<_>>();
        request.records = (1..).zip(records).collect();
        request.created = Some(at("08:00:00"));
        let ballot = Ballot::read(&request, &key(1));
        Counted { request: Arc::new(request), ballot: Arc::new(ballot), over: false }
    }

    fn closed(mut counted: Counted, phase: Phase) -> Counted {
        let mut request = Request::clone(&counted.request);
        request.status = Some(ApprovalRequestStatus { phase, ..Default::default() });
        counted.request = Arc::new(request);
        counted
    }

    #[test]
    fn each_step_has_its_word() {
        use Notice::{Approved, BreakGlass, Denied, Ended, Expired, Requested, Revoked, Withdrawn};
        let approved = [("alice", Word::Approve), ("bob", Word::Approve)];
        let revoked = [("alice", Word::Approve), ("bob", Word::Approve), ("eve", Word::Revoke)];
        let told = |scope: &str, votes: &[(&str, Word)], time: &str| notices(&counted(scope, votes), at(time));
        assert_eq!(told("Once", &[], "08:00:01"), [Requested]);
        assert_eq!(told("Once", &[("alice", Word::Approve)], "08:00:01"), [Requested]);
        assert_eq!(told("Once", &approved, "08:00:01"), [Requested, Approved]);
        assert_eq!(told("Once", &[("alice", Word::Deny)], "08:00:01"), [Requested, Denied]);
        assert_eq!(told("Once", &[], "08:15:00"), [Requested, Expired]);
        assert_eq!(told("Once", &approved, "08:15:00"), [Requested, Expired]);
        assert_eq!(told("Duration", &approved, "08:30:00"), [Requested, Approved]);
        assert_eq!(told("Duration", &revoked, "08:00:01"), [Requested, Revoked]);
        // The time of a grant is over: it was told until when it counts.
        assert_eq!(told("Duration", &approved, "09:00:00"), [Requested]);
        // After its time it is told all the same.
        for time in ["08:00:01", "08:30:00"] {
            assert_eq!(told("Once", &[("carol", Word::BreakGlass)], time), [Requested, BreakGlass]);
        }
        assert_eq!(
            told("Once", &[("carol", Word::BreakGlass), ("eve", Word::Revoke)], "08:00:01"),
            [Requested, BreakGlass, Revoked]
        );
        let gone = closed(counted("Duration", &approved), Phase::Revoked);
        assert_eq!(notices(&gone, at("08:00:01")), [Requested, Ended]);
        let given_up = closed(counted("Once", &[]), Phase::Withdrawn);
        assert_eq!(notices(&given_up, at("08:00:01")), [Requested, Withdrawn]);
        let mut over = counted("Duration", &approved);
        over.over = true;
        assert_eq!(notices(&over, at("08:00:01")), [Requested, Ended]);
    }

    #[test]
    fn what_is_open_is_news_and_what_ended_is_for_an_hour() {
        let waiting = counted("Once", &[]);
        assert!(!stale(&waiting, at("08:14:59")));
        assert!(!stale(&waiting, at("09:15:00")) && stale(&waiting, at("09:15:01")));
        let denied = counted("Once", &[("alice", Word::Deny)]);
        assert!(!stale(&denied, at("08:01:00")) && stale(&denied, at("10:00:00")));
        let granted = counted("Duration", &[("alice", Word::Approve), ("bob", Word::Approve)]);
        assert!(
            !stale(&granted, at("08:59:59")) && !stale(&granted, at("09:59:59")) && stale(&granted, at("10:00:01"))
        );
    }
}
