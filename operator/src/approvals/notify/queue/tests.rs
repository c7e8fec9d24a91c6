//! What is told, in which order, how often, and what is kept of it.

use crds::approval::{ApprovalRequestStatus, Phase};

use super::super::fact::tests::{at, counted};
use super::*;
use crate::approvals::request::Request;
use crate::approvals::stamp::Word;

const APPROVED: [(&str, Word); 2] = [("alice", Word::Approve), ("bob", Word::Approve)];

/// Another request of the same kind.
fn named(uid: &str, votes: &[(&str, Word)]) -> Counted {
    edited(counted("Duration", votes), |request| {
        (request.uid, request.id.1) = (uid.to_owned(), format!("areq-{uid}"));
    })
}

fn edited(mut counted: Counted, edit: impl FnOnce(&mut Request)) -> Counted {
    let mut request = Request::clone(&counted.request);
    edit(&mut request);
    counted.request = std::sync::Arc::new(request);
    counted
}

fn told_before(counted: Counted, notified: &[Notice]) -> Counted {
    let notified = notified.to_vec();
    edited(counted, |request| request.status = Some(ApprovalRequestStatus { notified, ..Default::default() }))
}

/// All that is told when every call is taken.
fn drain(queue: &mut Queue, now: Instant) -> Vec<(String, Notice)> {
    let mut told = Vec::new();
    while let Some((uid, fact)) = queue.next(now) {
        queue.sent(&uid, fact.notice);
        told.push((uid, fact.notice));
    }
    assert_eq!((queue.waiting(), queue.oldest(now)), (0, Duration::ZERO));
    told
}

fn one(queue: &mut Queue, now: Instant) -> Vec<Notice> {
    drain(queue, now).into_iter().map(|(_, notice)| notice).collect()
}

#[test]
fn each_step_is_told_once_and_in_order() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.look(&[counted("Duration", &[])], at("08:00:01"), now);
    assert_eq!(one(&mut queue, now), [Notice::Requested]);
    for _ in 0..3 {
        queue.look(&[counted("Duration", &APPROVED)], at("08:00:02"), now);
    }
    assert_eq!(one(&mut queue, now), [Notice::Approved]);
    let revoked = [("alice", Word::Approve), ("bob", Word::Approve), ("eve", Word::Revoke)];
    queue.look(&[counted("Duration", &revoked)], at("08:00:03"), now);
    assert_eq!(one(&mut queue, now), [Notice::Revoked]);
    // Two steps between two calls are two messages, the first first.
    let mut late = Queue::default();
    late.look(&[counted("Duration", &[])], at("08:00:01"), now);
    late.look(&[counted("Duration", &APPROVED)], at("08:00:02"), now);
    late.look(&[counted("Duration", &revoked)], at("08:00:03"), now);
    assert_eq!(one(&mut late, now), [Notice::Requested, Notice::Approved, Notice::Revoked]);
}

#[test]
fn the_next_leader_tells_what_was_not_told() {
    let now = Instant::now();
    let after = |counted: Counted, notified: &[Notice], time: &str| {
        let mut queue = Queue::default();
        queue.look(&[told_before(counted, notified)], at(time), now);
        one(&mut queue, now)
    };
    assert_eq!(after(counted("Duration", &[]), &[Notice::Requested], "08:00:01"), []);
    assert_eq!(after(counted("Duration", &[]), &[], "08:14:59"), [Notice::Requested]);
    assert_eq!(after(counted("Duration", &APPROVED), &[Notice::Requested], "08:00:01"), [Notice::Approved]);
    assert_eq!(after(counted("Once", &[]), &[Notice::Requested], "10:00:00"), [Notice::Expired]);
    // Of what ended long ago, before there was anybody to tell, nothing is told, but what one person let through alone.
    assert_eq!(after(counted("Once", &[]), &[], "10:00:00"), []);
    assert_eq!(after(counted("Once", &[("carol", Word::BreakGlass)]), &[], "12:00:00"), [Notice::BreakGlass]);
}

#[test]
fn what_was_told_is_written_down_once_there_is_a_status() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.look(&[counted("Duration", &[])], at("08:00:01"), now);
    assert_eq!(queue.marks(now), []);
    assert_eq!(one(&mut queue, now), [Notice::Requested]);
    assert_eq!(queue.marks(now), [], "the leader's own word comes first");
    let written = told_before(counted("Duration", &[]), &[]);
    queue.look(std::slice::from_ref(&written), at("08:00:02"), now);
    let mark = Mark { uid: "r-1".to_owned(), id: written.request.id.clone(), told: vec![Notice::Requested] };
    assert_eq!(queue.marks(now), [mark]);
    // It may have failed.
    assert_eq!(queue.marks(now), []);
    assert_eq!(queue.marks(now + MARK).len(), 1);
    queue.look(&[told_before(counted("Duration", &[]), &[Notice::Requested])], at("08:00:03"), now);
    assert_eq!(queue.marks(now + MARK + MARK), []);
    // What another wrote is kept.
    queue.look(&[told_before(counted("Duration", &APPROVED), &[Notice::Requested])], at("08:00:04"), now);
    assert_eq!(one(&mut queue, now), [Notice::Approved]);
    let told = queue.marks(now + MARK + MARK).remove(0).told;
    assert_eq!(told, [Notice::Requested, Notice::Approved]);
}

#[test]
fn a_deletion_is_told_while_anybody_could_use_it() {
    let now = Instant::now();
    let deleted = |counted: Counted, time: &str| {
        let mut queue = Queue::default();
        queue.look(std::slice::from_ref(&counted), at("08:00:01"), now);
        assert_eq!(queue.look(&[], at(time), now), 0);
        assert_eq!(queue.look(&[], at(time), now), 0);
        assert!(queue.next(now).is_none_or(|(_, fact)| fact.notice == Notice::Requested));
        one(&mut queue, now)
    };
    assert_eq!(deleted(counted("Duration", &[]), "08:00:02"), [Notice::Requested, Notice::Ended]);
    assert_eq!(
        deleted(counted("Duration", &APPROVED), "08:00:02"),
        [Notice::Requested, Notice::Approved, Notice::Ended]
    );
    // Nobody could: its time was over.
    assert_eq!(deleted(counted("Duration", &APPROVED), "09:00:00"), [Notice::Requested, Notice::Approved]);
    let closed = edited(counted("Once", &[]), |request| {
        request.status = Some(ApprovalRequestStatus { phase: Phase::Withdrawn, ..Default::default() });
    });
    assert_eq!(deleted(closed, "08:00:02"), [Notice::Requested, Notice::Withdrawn]);
}

#[test]
fn an_endpoint_that_is_away_is_left_alone_longer_each_time_and_nothing_is_lost() {
    let (mut queue, begun) = (Queue::default(), Instant::now());
    queue.look(&[counted("Duration", &[])], at("08:00:01"), begun);
    let mut now = begun;
    let mut waits = Vec::new();
    for _ in 0..10 {
        let (uid, fact) = queue.next(now).unwrap();
        let next = queue.failed(&uid, fact.notice, Fault::Endpoint(None), now, u16::MAX);
        assert_eq!(next, if waits.len() == 4 { Next::Loud } else { Next::Later });
        let tried = now;
        while queue.next(now).is_none() {
            now += Duration::from_millis(500);
        }
        waits.push(now.duration_since(tried).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    // Another request waits with it, and both are told when it is back.
    queue.look(&[counted("Duration", &APPROVED), named("r-2", &[])], at("08:10:00"), now);
    assert_eq!(drain(&mut queue, now).len(), 3);
    // What it asks for counts, up to a bound.
    queue.look(&[named("r-3", &[])], at("08:10:00"), now);
    let (uid, fact) = queue.next(now).unwrap();
    queue.failed(&uid, fact.notice, Fault::Endpoint(Some(Duration::from_secs(20))), now, 0);
    assert!(queue.next(now + Duration::from_secs(19)).is_none());
    queue.failed(&uid, fact.notice, Fault::Endpoint(Some(Duration::from_secs(86_400))), now, 0);
    assert!(
        queue.next(now + Duration::from_secs(299)).is_none() && queue.next(now + Duration::from_secs(300)).is_some()
    );
    // Another endpoint is tried at once.
    queue.begin_anew(now);
    assert!(queue.next(now).is_some());
}

#[test]
fn what_is_refused_stands_in_nobodys_way_and_is_given_up() {
    let (mut queue, begun) = (Queue::default(), Instant::now());
    queue.look(&[named("r-1", &[])], at("08:00:01"), begun);
    queue.failed("r-1", Notice::Requested, Fault::Thing, begun, u16::MAX);
    let now = begun + FIRST;
    queue.failed("r-1", Notice::Requested, Fault::Thing, now, u16::MAX);
    queue.look(&[named("r-1", &[]), named("r-2", &[])], at("08:00:02"), now);
    let now = now + FIRST;
    assert_eq!(queue.next(now).unwrap().0, "r-2");
    queue.sent("r-2", Notice::Requested);
    assert!(queue.next(now).is_none(), "it waits two seconds now");
    let mut now = now + FIRST;
    for turn in 3..=TRIES {
        now += LONGEST.1;
        assert_eq!(queue.next(now).unwrap().0, "r-1");
        let next = queue.failed("r-1", Notice::Requested, Fault::Thing, now, u16::MAX);
        assert_eq!(next == Next::GivenUp, turn == TRIES, "{turn}");
    }
    assert_eq!(queue.waiting(), 0);
    queue.look(&[named("r-1", &APPROVED), named("r-2", &[])], at("08:10:00"), now + FIRST);
    assert_eq!(drain(&mut queue, now + FIRST), [("r-1".to_owned(), Notice::Approved)]);
    // And it is not said to have been told.
    queue.look(&[told_before(named("r-1", &APPROVED), &[])], at("08:10:00"), now);
    assert_eq!(queue.marks(now).remove(0).told, [Notice::Approved]);
}

#[test]
fn after_hours_it_is_given_up() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.look(&[named("r-1", &[])], at("08:00:01"), now);
    let endpoint = Fault::Endpoint(None);
    assert_eq!(queue.failed("r-1", Notice::Requested, endpoint, now + AGE - FIRST, 0), Next::Later);
    assert_eq!(queue.failed("r-1", Notice::Requested, endpoint, now + AGE, 0), Next::GivenUp);
}

#[test]
fn broken_glass_goes_first() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.look(&[named("r-1", &[]), named("r-2", &[])], at("08:00:01"), now);
    let broken = named("r-3", &[("carol", Word::BreakGlass)]);
    queue.look(&[named("r-1", &[]), named("r-2", &[]), broken], at("08:00:02"), now + FIRST);
    let told = drain(&mut queue, now + FIRST);
    let of = |uid: &str, notice| (uid.to_owned(), notice);
    assert_eq!(told[..2], [of("r-3", Notice::Requested), of("r-3", Notice::BreakGlass)]);
    assert_eq!(told.len(), 4);
}

#[test]
fn broken_glass_has_a_place_however_much_is_asked_for() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let mut all: Vec<_> = (0..2 * MOST).map(|n| named(&format!("r-{n}"), &[])).collect();
    queue.look(&all, at("08:00:01"), now);
    assert_eq!(queue.waiting(), MOST);
    all.push(named("z", &[("carol", Word::BreakGlass)]));
    queue.look(&all, at("08:00:02"), now + FIRST);
    let (uid, fact) = queue.next(now + FIRST).unwrap();
    assert_eq!((uid.as_str(), fact.notice), ("z", Notice::Requested));
    queue.sent("z", Notice::Requested);
    assert_eq!(queue.next(now + FIRST).unwrap().1.notice, Notice::BreakGlass);
    queue.sent("z", Notice::BreakGlass);
    // Its end, too; and those places have a bound.
    all.pop();
    assert_eq!(queue.look(&all, at("08:00:03"), now + FIRST), 0);
    all.extend((0..MOST).map(|n| named(&format!("z-{n}"), &[("carol", Word::BreakGlass)])));
    queue.look(&all, at("08:00:04"), now + FIRST);
    assert_eq!(queue.waiting(), MOST + KEPT);
}

#[test]
fn it_holds_no_more_than_its_bound_and_what_is_there_comes_again() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let all: Vec<_> = (0..MOST + 10).map(|n| named(&format!("r-{n}"), &[])).collect();
    queue.look(&all, at("08:00:01"), now);
    assert_eq!(queue.waiting(), MOST);
    // Of those that are gone nothing would come again.
    assert_eq!(queue.look(&[], at("08:00:01"), now), MOST + 10);
    assert_eq!(drain(&mut queue, now).len(), MOST);
    queue.look(&[], at("08:00:01"), now);
    assert!(queue.requests.is_empty());
    queue.look(&all, at("08:00:01"), now);
    let first = drain(&mut queue, now).len();
    queue.look(&all, at("08:00:01"), now);
    assert_eq!((first, drain(&mut queue, now).len()), (MOST, 10));
}
