//! What the leader writes, and when it has nothing to write.

use crds::approval::ApprovalRequestStatus;

use super::super::request::Request;
use super::super::request::tests as requests;
use super::super::stamp::tests::{key, record};
use super::super::stamp::{Record, Word};
use super::super::tally::Ballot;
use super::*;

const POLICY: &str = "AgentAccessPolicy/support";

fn at(time: &str) -> Timestamp {
    format!("2027-01-{time}Z").parse().unwrap()
}

fn counted(votes: &[(&str, Word)], status: Option<ApprovalRequestStatus>) -> Counted {
    let mut request: Request = requests::request(&[POLICY]);
    let sign = |(user, word): &(&str, Word)| {
        Record { spec: request.digest.clone(), ..record(user, *word) }.sign(&key(1)).unwrap()
    };
    let records = votes.iter().map(sign).collect::<Vec<_>>();
    request.records = (1..).zip(records).collect();
    request.status = status;
    let ballot = Ballot::read(&request, &key(1));
    Counted { request: Arc::new(request), ballot: Arc::new(ballot), over: false }
}

fn worked(counted: &Counted, now: Timestamp) -> Work {
    work(counted, &counted.tally(now), now)
}

/// The status after this work.
fn status(work: &Work) -> ApprovalRequestStatus {
    let Work::Write { phase, approvals, decisions, grant, .. } = work else { panic!("{work:?}") };
    ApprovalRequestStatus {
        phase: *phase,
        approvals: *approvals,
        decisions: decisions.clone(),
        consumed: false,
        grant: grant.clone(),
        notified: Vec::new(),
    }
}

fn news(work: Work) -> Vec<News> {
    let Work::Write { news, .. } = work else { panic!("{work:?}") };
    news
}

#[test]
fn each_step_is_written_and_told_once() {
    let eight = at("15T08:00:01");
    let asked = worked(&counted(&[], None), eight);
    let written = status(&asked);
    assert_eq!(news(asked), [News::Asked]);
    assert_eq!(worked(&counted(&[], Some(written.clone())), eight), Work::Nothing);

    let one = counted(&[("alice", Word::Approve)], Some(written));
    let voted = worked(&one, eight);
    let written = status(&voted);
    assert_eq!((written.phase, written.approvals), (Phase::Pending, 1));
    assert_eq!(news(voted), [News::Voted { number: 0, user: "alice".to_owned(), decision: Decision::Approve }]);

    let two = counted(&[("alice", Word::Approve), ("bob", Word::Approve)], Some(written));
    let approved = worked(&two, eight);
    let written = status(&approved);
    assert_eq!((written.phase, written.approvals, written.decisions.len()), (Phase::Approved, 2, 2));
    assert!(news(approved).contains(&News::Now(Phase::Approved)));
    let used = ApprovalRequestStatus { consumed: true, ..written.clone() };
    let votes = [("alice", Word::Approve), ("bob", Word::Approve)];
    assert_eq!(worked(&counted(&votes, Some(used.clone())), eight), Work::Nothing);
    // Used, it does not expire; not used, it does.
    assert_eq!(worked(&counted(&votes, Some(used)), at("15T09:00:00")), Work::Nothing);
    assert_eq!(news(worked(&counted(&votes, Some(written)), at("15T09:00:00"))), [News::Now(Phase::Expired)]);
}

#[test]
fn a_grant_is_told_and_kept_until_a_day_after_its_end() {
    let counted = |votes: &[(&str, Word)], status: Option<ApprovalRequestStatus>| {
        let mut counted = counted(&[], status);
        let mut request = Request::read(&requests::granting(&[POLICY], "Duration")).unwrap();
        let sign = |(user, word): &(&str, Word)| {
            Record { spec: request.digest.clone(), ..record(user, *word) }.sign(&key(1)).unwrap()
        };
        request.records = (1..).zip(votes.iter().map(sign).collect::<Vec<_>>()).collect();
        request.status.clone_from(&counted.request.status);
        counted.ballot = Arc::new(Ballot::read(&request, &key(1)));
        counted.request = Arc::new(request);
        counted
    };
    let votes = [("alice", Word::Approve), ("bob", Word::Approve)];
    let granted = worked(&counted(&votes, Some(ApprovalRequestStatus::default())), at("15T08:00:01"));
    let written = status(&granted);
    let grant = written.grant.clone().unwrap();
    assert_eq!((grant.not_after.as_str(), grant.break_glass), ("2027-01-15T09:00:00.000Z", false));
    let granted = news(granted);
    assert!(granted.contains(&News::Granted(grant.not_after)) && granted.contains(&News::Now(Phase::Approved)));
    let stands = Some(written);
    assert_eq!(worked(&counted(&votes, stands.clone()), at("15T08:30:00")), Work::Nothing);
    let over = worked(&counted(&votes, stands), at("15T09:00:00"));
    let written = status(&over);
    assert_eq!((written.phase, news(over)), (Phase::Expired, vec![News::Over]));
    assert_eq!(worked(&counted(&votes, Some(written.clone())), at("16T08:59:59")), Work::Nothing);
    assert_eq!(worked(&counted(&votes, Some(written)), at("16T09:00:00")), Work::Delete);

    let broken =
        worked(&counted(&[("carol", Word::BreakGlass)], Some(ApprovalRequestStatus::default())), at("15T08:00:01"));
    assert!(status(&broken).grant.unwrap().break_glass);
    let until = "2027-01-15T08:30:00.000Z".to_owned();
    let told_of = News::Broken { user: "carol".to_owned(), reason: "INC-1".to_owned(), until };
    let broken = news(broken);
    assert!(broken.contains(&told_of), "{broken:?}");
    assert!(matches!(told(&told_of, "agent", "").type_, EventType::Warning));
}

#[test]
fn what_ended_is_kept_for_a_day() {
    let ended = ApprovalRequestStatus { phase: Phase::Expired, ..Default::default() };
    let counted = counted(&[], Some(ended));
    assert_eq!(worked(&counted, at("16T08:14:59")), Work::Nothing);
    assert_eq!(worked(&counted, at("16T08:15:00")), Work::Delete);
}

#[test]
fn a_word_that_closes_stays() {
    for phase in [Phase::Withdrawn, Phase::Revoked, Phase::Denied, Phase::Expired] {
        let votes = [("alice", Word::Approve), ("bob", Word::Approve)];
        let work =
            worked(&counted(&votes, Some(ApprovalRequestStatus { phase, ..Default::default() })), at("15T08:00:01"));
        assert_eq!(status(&work).phase, phase);
    }
}

#[test]
fn events_hold_what_a_reviewer_needs_and_fit() {
    let long = "a".repeat(253);
    let mut asked = requests::granting(&[POLICY], "Task");
    asked.spec.reason = crds::policy::Reason::Required;
    let how = how(&long, &asked.spec, &long);
    let all = [
        News::Asked,
        News::Voted { number: 15, user: "u".repeat(256), decision: Decision::Deny },
        News::Now(Phase::Approved),
        News::Now(Phase::Pending),
        News::Granted("2027-01-15T08:00:00.000Z".to_owned()),
        News::Over,
        News::Broken { user: "ü".repeat(256), reason: "ü".repeat(256), until: "2027-01-15T08:00:00.000Z".to_owned() },
    ];
    for news in &all {
        let event = told(news, &long, &how);
        assert!(event.note.as_ref().unwrap().len() <= 1024 && event.action.len() <= 128 && event.reason.len() <= 128);
    }
    assert!(told(&News::Asked, "agent", "kubectl annotate").note.unwrap().ends_with("To decide: kubectl annotate"));
    // Votes of two people are two Events.
    let vote = |number| News::Voted { number, user: "u".to_owned(), decision: Decision::Approve };
    assert_ne!(told(&vote(0), "a", "").action, told(&vote(1), "a", "").action);
}
