//! What followers are told, and when.

use super::super::request::tests as requests;
use super::super::stamp::tests::{key, record};
use super::super::stamp::{Record, Word};
use super::*;

const POLICY: &str = "AgentAccessPolicy/support";

fn at(time: &str) -> Timestamp {
    format!("2027-01-15T{time}Z").parse().unwrap()
}

fn book() -> Book {
    Book::new(Held::of(key(1)), Arc::new(Metrics::new("0").unwrap()), None)
}

fn request(version: u32, votes: &[(&str, Word)]) -> Request {
    let mut request = requests::request(&[POLICY]);
    let sign = |(user, word): &(&str, Word)| {
        Record { spec: request.digest.clone(), ..record(user, *word) }.sign(&key(1)).unwrap()
    };
    let records = votes.iter().map(sign).collect::<Vec<_>>();
    request.version = version.to_string();
    request.records = (1..).zip(records).collect();
    request
}

fn shown(told: &watch::Receiver<v1::Standing>) -> String {
    match told.borrow().standing.clone().unwrap() {
        standing::Standing::Pending(v1::Pending { have, need }) => format!("{have}/{need}"),
        standing::Standing::Approved(v1::Approved { by }) => format!("approved by {}", by.join(",")),
        standing::Standing::Denied(v1::Denied { by, reason }) => format!("denied by {by}: {reason}"),
        standing::Standing::Ended(ended) => format!("{:?}", v1::Ended::try_from(ended).unwrap()),
    }
}

#[test]
fn followers_hear_each_change_once() {
    use Word::Approve;
    let book = book();
    let id = request(1, &[]).id;
    assert!(book.follow(&id, at("08:00:00")).is_none());
    book.put(request(1, &[]), at("08:00:00"));
    let mut told = book.follow(&id, at("08:00:00")).unwrap();
    assert_eq!((shown(&told), told.borrow().name.clone()), ("0/2".to_owned(), id.1.clone()));
    book.put(request(2, &[("alice", Approve)]), at("08:00:01"));
    assert!(told.has_changed().unwrap());
    assert_eq!(shown(&told), "1/2");
    told.mark_unchanged();
    // The same again, and an older version: not a word.
    book.put(request(2, &[("alice", Approve)]), at("08:00:01"));
    book.put(request(1, &[]), at("08:00:01"));
    assert!(!told.has_changed().unwrap());
    book.put(request(10, &[("alice", Approve), ("bob", Approve)]), at("08:00:02"));
    assert_eq!(shown(&told), "approved by alice,bob");
    let metrics = String::from_utf8(book.metrics.render().unwrap()).unwrap();
    assert!(metrics.contains("agentaccess_approval_release_seconds_count 1"), "{metrics}");
    // A denial that came late.
    book.put(request(11, &[("alice", Approve), ("bob", Approve), ("eve", Word::Deny)]), at("08:00:03"));
    assert_eq!(shown(&told), "denied by eve: INC-1");
}

#[test]
fn time_and_deletion_end_it() {
    let book = book();
    book.put(request(1, &[]), at("08:00:00"));
    let id = request(1, &[]).id;
    let told = book.follow(&id, at("08:00:00")).unwrap();
    book.tick(at("08:14:59"));
    assert_eq!(shown(&told), "0/2");
    book.tick(at("08:15:00"));
    assert_eq!(shown(&told), "Expired");
    book.remove(&id);
    assert_eq!(shown(&told), "Revoked");
    assert!(book.follow(&id, at("08:00:00")).is_none());
}

#[test]
fn a_list_takes_away_what_it_does_not_name() {
    let book = book();
    assert!(!book.is_ready());
    book.put(request(1, &[]), at("08:00:00"));
    let mut other = request(1, &[]);
    other.id.1 = "areq-other".to_owned();
    book.put(other.clone(), at("08:00:00"));
    let (kept, gone) =
        (book.follow(&request(1, &[]).id, at("08:00:00")).unwrap(), book.follow(&other.id, at("08:00:00")).unwrap());
    book.list_begins();
    book.put(request(1, &[]), at("08:00:00"));
    let mut new = request(5, &[]);
    // Made by ourselves while the list comes.
    new.id.1 = "areq-new".to_owned();
    book.put(new, at("08:00:00"));
    book.list_ends();
    assert!(book.is_ready());
    assert_eq!((shown(&kept), shown(&gone), book.all().len()), ("0/2".to_owned(), "Revoked".to_owned(), 2));
}

#[test]
fn another_key_counts_other_votes() {
    let metrics = Arc::new(Metrics::new("0").unwrap());
    let held = Held::default();
    let book = Book::new(held.clone(), metrics, None);
    book.list_begins();
    book.list_ends();
    assert!(!book.is_ready(), "votes cannot be counted");
    book.put(request(1, &[("alice", Word::Approve), ("bob", Word::Approve)]), at("08:00:00"));
    let told = book.follow(&request(1, &[]).id, at("08:00:00")).unwrap();
    assert_eq!(shown(&told), "0/2");
    held.set(key(1));
    book.count_again(at("08:00:01"));
    assert_eq!(shown(&told), "approved by alice,bob");
    held.set(key(2));
    book.count_again(at("08:00:01"));
    assert_eq!(shown(&told), "0/2");
    assert!(String::from_utf8(book.metrics.render().unwrap()).unwrap().contains("records_ignored_total 2"));
}

#[test]
fn what_is_open_is_counted() {
    let book = book();
    for (n, pod) in (0..5).zip(["p-1", "p-1", "p-2", "p-2", "p-2"]) {
        let mut request = request(1, &[]);
        request.id.1 = format!("areq-{n}");
        request.spec.subject.pod_uid = Some(pod.to_owned());
        book.put(request, at("08:00:00"));
    }
    let mut denied = request(1, &[("alice", Word::Deny)]);
    denied.id.1 = "areq-denied".to_owned();
    book.put(denied, at("08:00:00"));
    assert_eq!(book.open("agents", "p-1", at("08:00:00")), (5, 2));
    assert_eq!(book.open("other", "p-1", at("08:00:00")), (0, 0));
    assert_eq!(book.open("agents", "p-1", at("08:15:00")), (0, 0));
    let waiting = |pending, late| [("agents".to_owned(), Waiting { pending, late })].into();
    assert_eq!(book.pending(at("08:00:00")), waiting(5, 0));
    // It has until 08:15.
    let mut old = request(2, &[]);
    (old.id.1, old.created) = ("areq-0".to_owned(), Some(at("08:05:00")));
    book.put(old, at("08:05:00"));
    assert_eq!(book.pending(at("08:12:59")), waiting(5, 0));
    assert_eq!(book.pending(at("08:13:00")), waiting(5, 1));
    assert_eq!(book.pending(at("08:15:00")), BTreeMap::new());
}

#[test]
fn who_no_longer_follows_is_forgotten() {
    let book = book();
    book.put(request(1, &[]), at("08:00:00"));
    let id = request(1, &[]).id;
    let (one, two) = (book.follow(&id, at("08:00:00")), book.follow(&id, at("08:00:00")));
    drop(one);
    book.tick(at("08:00:01"));
    assert_eq!(book.inner.lock().followers.len(), 1);
    drop(two);
    book.tick(at("08:00:02"));
    assert!(book.inner.lock().followers.is_empty());
}

#[test]
fn what_nobody_is_left_to_use_is_over() {
    let index = crate::index::Index::new(900);
    let metrics = Arc::new(Metrics::new("0").unwrap());
    let book = Book::new(Held::of(key(1)), metrics, Some(Arc::clone(&index)));
    book.put(request(1, &[("alice", Word::Approve), ("bob", Word::Approve)]), at("08:00:00"));
    let told = book.follow(&request(1, &[]).id, at("08:00:00")).unwrap();
    // Nothing is known of the pod yet, then it is not heard of yet, then it lives.
    book.tick(at("08:00:01"));
    index.change(|world| {
        world.pulse(true);
        for feed in crate::index::Feed::ALL {
            world.sync(feed, true);
        }
        true
    });
    book.tick(at("08:00:01"));
    index.change(|world| world.set_pod(crate::index::tests::pod("p-1", "agents", "x")));
    book.tick(at("08:00:01"));
    assert_eq!(shown(&told), "approved by alice,bob");
    // A watch that broke says nothing.
    index.change(|world| world.pulse(false) | world.remove_pod("p-1"));
    book.tick(at("08:00:02"));
    assert_eq!(shown(&told), "approved by alice,bob");
    index.change(|world| world.pulse(true));
    book.tick(at("08:00:02"));
    assert_eq!(shown(&told), "Revoked");
    // For good, whatever is heard of the pod or the request later.
    index.change(|world| world.set_pod(crate::index::tests::pod("p-1", "agents", "x")));
    book.put(request(2, &[("alice", Word::Approve), ("bob", Word::Approve)]), at("08:00:03"));
    book.tick(at("08:00:03"));
    assert_eq!(shown(&told), "Revoked");
    assert_eq!(book.all()[0].tally(at("08:00:03")).standing, Standing::Revoked);
}
