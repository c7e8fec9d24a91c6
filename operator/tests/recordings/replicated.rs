//! Durability `Replicated` on the real thing: the sidecar's own program, this operator with a store in a directory, and
//! PostgreSQL, whose log says what was executed.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use recording::Body;
use recording::entry::{Durability, Status};
use recording::verify::Verdict;

use crate::pod::{Scene, Session, timed};
use crate::way::Way;

const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-00000000000";
/// The limit, and how long a busy machine may take to say so.
const WAIT: Duration = Duration::from_millis(1_000);
const MARGIN: Duration = Duration::from_millis(700);

fn uid(number: usize) -> String {
    format!("{UID}{number}")
}

/// Refused in time and in the protocol's words; the session lives on.
#[track_caller]
fn refused(session: &mut Session, number: u64, says: &str, at_once: bool) {
    let (said, took) = timed(|| session.ask(number).unwrap());
    assert!(said.contains("PX004") && said.contains(says) && said.contains("Nothing was executed"), "{said}");
    assert!(said.ends_with("Z\0\0\0\x05I"), "{said}");
    assert!(took < WAIT + MARGIN, "{took:?}");
    assert!(!at_once || took < MARGIN, "{took:?}");
}

#[test]
fn nothing_is_sent_before_the_store_has_it() {
    if !e2e::pod::can_run() {
        return;
    }
    let mut scene = Scene::new(true);
    scene.begin(&uid(1), "Replicated");
    let mut session = scene.session().unwrap();
    let mut sent = Vec::new();
    for number in 0..20 {
        let said = session.ask(number).unwrap();
        assert!(said.contains("SELECT 1"), "{said}");
        // At this moment, not some time later.
        assert!(scene.intents().contains(&number), "{number}");
        sent.push(number);
    }
    let aside = scene.folder.path().join("aside");
    let store = scene.store_folder();
    type Do<'a> = Box<dyn Fn(&Scene) + 'a>;
    let ways: [(&str, Do<'_>, Do<'_>); 3] = [
        (
            "the operator's store of recordings is away",
            Box::new(|_| {
                fs::rename(&store, &aside).unwrap();
                fs::write(&store, "in its place").unwrap();
            }),
            Box::new(|_| {
                fs::remove_file(&store).unwrap();
                fs::rename(&aside, &store).unwrap();
            }),
        ),
        ("the operator is away", Box::new(|scene| scene.go(Way::Closed)), Box::new(|scene| scene.go(Way::Open))),
        ("the operator", Box::new(|scene| scene.go(Way::Frozen)), Box::new(|scene| scene.go(Way::Open))),
    ];
    for (way, (says, breaks, mends)) in ways.iter().enumerate() {
        let first = 1_000 * (u64::try_from(way).unwrap() + 1);
        breaks(&scene);
        for number in first..first + 3 {
            refused(&mut session, number, says, false);
        }
        // A session that begins is told the same.
        if let Err(said) = scene.session() {
            assert!(said.contains("PX004") || said.contains("08"), "{said}");
        }
        assert_eq!(scene.executed(), sent, "nothing of it reached the database");
        mends(&scene);
        // It goes on by itself, within seconds, on the same connection.
        let mended = Instant::now();
        let mut number = first + 10;
        while !session.ask(number).unwrap().contains("SELECT 1") {
            assert!(mended.elapsed() < Duration::from_secs(20), "{says}: it does not go on\n{}", scene.log());
            number += 1;
            thread::sleep(Duration::from_millis(50));
        }
        sent.push(number);
        assert!(scene.intents().contains(&number));
        assert_eq!(scene.executed(), sent);
    }

    // While the store is away other levels go on, and what asks for more is refused again.
    ways[0].1(&scene);
    scene.wants("Synced");
    scene.until("the other level", || session.ask(9_000).unwrap().contains("SELECT 1"));
    scene.wants("Replicated");
    scene.until("this level", || session.ask(9_001).unwrap().contains("PX004"));
    ways[0].2(&scene);
    scene.until("the store", || session.ask(9_002).unwrap().contains("SELECT 1"));

    // What was refused is on record: its intent, that nothing was sent, and what the agent was told.
    let entries = scene.entries();
    let op = |wanted: u64| {
        let named = format!("n{wanted:06}");
        let intent = entries.iter().find_map(|line| match &line.body {
            Body::Intent(intent) if intent.decided.display.as_ref()?.contains(&named) => {
                assert_eq!(intent.durability, Durability::Replicated);
                Some((line.session.clone(), line.op.clone()))
            }
            _ => None,
        });
        let key = intent.unwrap();
        entries.iter().filter(move |line| (&line.session, &line.op) == (&key.0, &key.1)).collect::<Vec<_>>()
    };
    for number in [1_000, 2_001, 3_002] {
        let lines = op(number);
        assert!(
            lines.iter().any(|line| matches!(&line.body, Body::Outcome(o) if o.status == Status::NotSent)),
            "{number}"
        );
        let told = |line: &&&recording::Line| matches!(&line.body, Body::Refusal(r) if r.reason == "not_replicated" && r.told.contains("outside of the pod"));
        assert!(lines.iter().any(|line| told(&line)), "{number}: {lines:?}");
    }
    let audit = scene.audit();
    assert!(
        !matches!(audit.report.verdict, Verdict::Fault { .. } | Verdict::OtherHead { .. }),
        "{}",
        audit.report.verdict
    );
}

#[test]
fn without_a_store_nothing_of_it_is_permitted() {
    if !e2e::pod::can_run() {
        return;
    }
    let mut scene = Scene::new(false);
    scene.begin(&uid(1), "Written");
    let mut session = scene.session().unwrap();
    assert!(session.ask(1).unwrap().contains("SELECT 1"));
    scene.wants("Replicated");
    scene.until("the refusal", || session.ask(2).unwrap().contains("PX004"));
    let before = scene.executed().len();
    for number in 10..15 {
        refused(&mut session, number, "the operator has no store of recordings", true);
    }
    let told = scene.session().err().unwrap();
    assert!(told.contains("the operator has no store of recordings"), "{told}");
    assert_eq!(scene.executed().len(), before);
    scene.wants("Written");
    scene.until("less to be wanted", || session.ask(20).unwrap().contains("SELECT 1"));
}

/// At any moment: the process is killed and its disk is gone. Each statement that PostgreSQL has logged is an intent in
/// the store.
#[test]
fn what_was_executed_is_in_the_store_when_pod_and_disk_are_gone() {
    if !e2e::pod::can_run() {
        return;
    }
    let mut scene = Scene::new(true);
    let next = AtomicU64::new(0);
    for round in 1..=6_u64 {
        scene.begin(&uid(usize::try_from(round).unwrap()), "Replicated");
        let begun = next.load(Ordering::Relaxed);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                let (mut session, next, stop) = (scene.session().unwrap(), &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed)
                        && session
                            .ask(next.fetch_add(1, Ordering::Relaxed))
                            .is_some_and(|said| said.contains("SELECT 1"))
                    {}
                });
            }
            // Not the same moment of a call twice.
            thread::sleep(Duration::from_micros(400_000 + round * 173_419));
            scene.lose();
            stop.store(true, Ordering::Relaxed);
        });
        let executed: BTreeSet<u64> = scene.executed().into_iter().filter(|number| *number >= begun).collect();
        let intents: BTreeSet<u64> = scene.intents().into_iter().collect();
        let missing: Vec<&u64> = executed.difference(&intents).collect();
        println!("round {round}: {} executed, {} intents in the store", executed.len(), intents.len());
        assert!(missing.is_empty(), "executed and not in the store: {missing:?}");
        assert!(executed.len() > 20, "{}: too few to say anything\n{}", executed.len(), scene.log());
        let report = scene.audit().report;
        assert!(
            matches!(report.verdict, Verdict::UnsignedTail { .. } | Verdict::Intact | Verdict::Truncated { .. }),
            "{}",
            report.verdict
        );
        assert!(!report.orderly_stop);
    }
}

/// All levels in one session, by turns; prints what each cost (`--nocapture`), which says nothing of right and wrong.
#[test]
fn a_session_goes_on_from_level_to_level() {
    if !e2e::pod::can_run() {
        return;
    }
    let mut scene = Scene::new(true);
    scene.begin(&uid(1), "Written");
    let mut session = scene.session().unwrap();
    let (mut number, levels) = (0, ["Written", "Synced", "Replicated"]);
    let (mut took, mut replicated) = (levels.map(|_| Vec::new()), Vec::new());
    for _ in 0..5 {
        for (level, took) in levels.iter().zip(&mut took) {
            scene.wants(level);
            // A policy is in force within two seconds, and mostly at once.
            thread::sleep(Duration::from_millis(500));
            for round in 0..120 {
                number += 1;
                let (said, one) = timed(|| session.ask(number).unwrap());
                assert!(said.contains("SELECT 1"), "{level}: {said}");
                if round >= 20 {
                    took.push(one);
                }
            }
        }
        replicated.push(number);
    }
    for (level, took) in levels.iter().zip(&mut took) {
        took.sort_unstable();
        println!("{level}: p50 {:?}, p99 {:?}, of {}", took[took.len() / 2], took[took.len() * 99 / 100], took.len());
    }
    let intents = scene.intents();
    assert!(replicated.iter().all(|number| intents.contains(number)));
}
