//! Traces that the model follows, and what it says of the same traces with one thing changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use model::trace::{Doing, Event, replay};
use model::{Outcome, Registry, Verdict};

fn of(op: &str, event: fn(String) -> Event) -> Event {
    event(op.to_owned())
}

fn decided(op: &str, digest: &str, policy: &str, verdict: Option<Verdict>) -> Event {
    let (session, op, digest) = ("s".to_owned(), op.to_owned(), digest.to_owned());
    Event::Decided {
        session,
        op,
        digest,
        doing: Doing::Run,
        planned: policy.to_owned(),
        revision: policy.to_owned(),
        verdict,
    }
}

/// From the intent to the outcome.
fn goes_up(op: &str) -> Vec<Event> {
    vec![
        of(op, |op| Event::Ready { op }),
        of(op, |op| Event::Intent { op }),
        of(op, |op| Event::Permitted { op }),
        of(op, |op| Event::Sending { op }),
        of(op, |op| Event::Finishing { op }),
        of(op, |op| Event::Ended { op, outcome: Outcome::Finished }),
    ]
}

fn released(op: &str, request: &str, digest: &str) -> Vec<Event> {
    let request = request.to_owned();
    vec![
        Event::Granted { request: request.clone() },
        Event::Consumed { request, digest: digest.to_owned() },
        Event::Used { op: op.to_owned() },
    ]
}

/// One that is allowed, one that is approved, a kill after a permit, and another policy.
fn whole() -> Vec<Event> {
    let started = |policy: &str| Event::Started { policy: policy.to_owned() };
    let requested = Event::Requested { request: "r".to_owned(), digest: "ask".to_owned() };
    let mut all = vec![started("p"), decided("o-1", "plain", "p", Some(Verdict::Allow))];
    all.extend(goes_up("o-1"));
    all.extend([decided("o-2", "ask", "p", Some(Verdict::Ask)), requested]);
    all.extend(released("o-2", "r", "ask"));
    all.extend(goes_up("o-2"));
    all.push(decided("o-3", "plain", "p", Some(Verdict::Allow)));
    all.extend(goes_up("o-3").into_iter().take(3));
    all.extend([Event::Killed, started("p")]);
    all.push(of("o-3", |op| Event::Ended { op, outcome: Outcome::Interrupted }));
    all.push(Event::PolicyBegins { revision: "q".to_owned() });
    all.push(Event::PolicyEnds { revision: "q".to_owned() });
    all.push(decided("o-4", "plain", "q", Some(Verdict::Deny)));
    all
}

#[test]
fn what_the_gate_does_is_followed() {
    let replayed = replay(Registry::Inside, &whole()).unwrap();
    assert_eq!((replayed.ops, replayed.sent, replayed.approved, replayed.interrupted), (4, 2, 1, 1));
}

/// Where the model stops when the events at these places are taken away or moved.
fn stops(change: impl FnOnce(&mut Vec<Event>)) -> String {
    let mut events = whole();
    change(&mut events);
    let refused = replay(Registry::Inside, &events).unwrap_err();
    format!("{:?}", events.get(refused.at))
}

#[test]
fn one_step_less_or_in_another_place_is_refused() {
    let at = |wanted: &Event| whole().iter().position(|event| event == wanted).unwrap();
    let intent = at(&of("o-1", |op| Event::Intent { op }));
    assert!(stops(|events| drop(events.remove(intent))).contains("Permitted"), "no intent");
    assert!(stops(|events| events.swap(intent, intent + 1)).contains("Permitted"), "a permit before the intent");
    assert!(stops(|events| events.swap(intent + 1, intent + 2)).contains("Sending"), "sent before the permit");

    let granted = at(&Event::Granted { request: "r".to_owned() });
    assert!(stops(|events| drop(events.remove(granted))).contains("Consumed"), "used and not granted");
    assert!(stops(|events| drop(events.remove(granted + 1))).contains("Used"), "its use is not on record");
    assert!(stops(|events| drop(events.drain(granted..granted + 3))).contains("Ready"), "no approval");
    let twice = Event::Consumed { request: "r".to_owned(), digest: "ask".to_owned() };
    assert!(stops(|events| events.insert(granted + 3, twice)).contains("Consumed"), "used twice");
    let other = Event::Consumed { request: "r".to_owned(), digest: "plain".to_owned() };
    assert!(stops(|events| *events.get_mut(granted + 1).unwrap() = other).contains("Consumed"), "another digest");

    let interrupted = at(&of("o-3", |op| Event::Ended { op, outcome: Outcome::Interrupted }));
    assert!(stops(|events| drop(events.remove(interrupted))).contains("Decided"), "not said to be interrupted");
    let before = decided("o-4", "plain", "p", Some(Verdict::Allow));
    let last = whole().len() - 1;
    assert!(stops(|events| *events.get_mut(last).unwrap() = before).contains("Decided"), "under the policy of before");
}
