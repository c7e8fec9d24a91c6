//! `kill -9` at each named point, twenty times with plain statements and twenty with pipelines, on one recording, and at any
//! moment. What is judged, and how, stands in `e2e::crash`; `make kills` does the same by the thousand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use e2e::crash::{Crash, Judged, Moment, Work};
use e2e::proxy::binary;
use e2e::recorded;
use e2e::wire::{Form, Format, Wire};
use e2e::world::{self, Policy};

const TIMES: u64 = 20;

/// Twenty crashes with plain statements and twenty with pipelines, each at a later pass than the one before: some
/// while a session begins, most in the work of the agent. `step` passes belong to one operation.
fn crashes(point: &str, step: u64) -> Judged {
    let mut crash = Crash::new().unwrap();
    crash.at_passes(point, step, TIMES).unwrap();
    let judged = crash.judge().unwrap();
    println!("{point}: {judged:?}");
    assert!(judged.executed > 200 && judged.approved > 10, "{point}: {judged:?}");
    judged
}

#[test]
fn after_decide() {
    crashes("after_decide", 1);
}

#[test]
fn before_intent() {
    crashes("before_intent", 1);
}

#[test]
fn after_intent() {
    let judged = crashes("after_intent", 1);
    assert!(judged.interrupted >= 40, "{judged:?}");
}

#[test]
fn between_intent_and_send() {
    let judged = crashes("between_intent_and_send", 1);
    assert!(judged.interrupted >= 40, "{judged:?}");
}

#[test]
fn mid_send() {
    let judged = crashes("mid_send", 7);
    assert!(judged.interrupted >= 20, "{judged:?}");
}

#[test]
fn before_outcome() {
    let judged = crashes("before_outcome", 1);
    assert!(judged.interrupted >= 40, "{judged:?}");
}

#[test]
fn approval_consumed() {
    let mut crash = Crash::new().unwrap();
    for _ in 0..TIMES {
        crash.at("approval_consumed", 1, Work::Asked).unwrap();
        crash.at("approval_consumed", 1, Work::AskedInPipeline).unwrap();
    }
    let judged = crash.judge().unwrap();
    // Used up, and neither recorded as let out nor sent.
    assert_eq!(crash.server.executed_with("DELETE"), 0);
    let consumed = recorded::lines(&crash.sidecar.recordings()).unwrap();
    let consumed = consumed.iter().filter(|line| line["event"] == "consumed").count();
    assert_eq!((consumed, judged.approved), (2 * 20, 0), "{judged:?}");
}

#[test]
fn mid_rotate() {
    let mut crash = Crash::new().unwrap();
    crash.at_rotations(TIMES).unwrap();
    let judged = crash.judge().unwrap();
    println!("mid_rotate: {judged:?}");
    assert!(judged.executed > 40, "{judged:?}");
}

/// No point at all: three sessions work, and the kill comes when it comes; at times PostgreSQL is killed before.
#[test]
fn at_any_moment() {
    let mut crash = Crash::new().unwrap();
    for time in 0..20_u32 {
        // From within the login to well into the work, a little off any statement's end.
        let after = Duration::from_micros(u64::from(time) * 733 % 9000);
        let server_before = (time % 5 == 4).then_some(after);
        let moment = Moment { statements: time * 4, after, server_before };
        crash.at_any_moment(&[Work::Pipelines, Work::Statements, Work::Statements], &moment).unwrap();
    }
    let judged = crash.judge().unwrap();
    println!("at any moment: {judged:?}");
    assert!(judged.executed > 300 && judged.interrupted >= 10, "{judged:?}");
}

#[test]
fn the_shipped_program_has_no_failpoints() {
    const VARIABLE: &[u8] = b"AGENTACCESS_FAILPOINT";
    let holds = |name: &str| {
        let program = std::fs::read(binary(name).unwrap()).unwrap();
        program.windows(VARIABLE.len()).any(|window| window == VARIABLE)
    };
    assert!(holds(e2e::proxy::FAILPOINTS));
    assert!(!holds(e2e::proxy::SIDECAR));

    let server = world::server().unwrap();
    let mut sidecar = world::sidecar(&server, &Policy::default()).unwrap();
    for point in ["after_decide", "before_intent", "after_intent", "mid_send", "before_outcome", "mid_rotate"] {
        sidecar.set_environment(&[("AGENTACCESS_FAILPOINT", point)]);
        sidecar.start_again().unwrap();
        let mut wire = Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
        let answer = wire.run(Form::Extended, Format::Text, "SELECT id FROM orders WHERE id = 1", &[]).unwrap();
        assert_eq!(answer.texts(), [["1"]], "{point}");
    }
}
