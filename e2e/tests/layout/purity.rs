//! Code without IO, clock, randomness, environment or logging stays so; a protocol has no way to a socket.

use super::{none, source};

/// Rule 5: the decision core, the codec, the SQL semantics and the injection are functions of their arguments.
#[test]
fn pure_crates_touch_nothing_outside() {
    const WORDS: &[&str] = &[
        "tokio",
        "hyper",
        "std::net",
        "std::fs",
        "std::process",
        "std::thread",
        "std::env",
        "env::var",
        "env::args",
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "thread_rng",
        "SystemRandom",
        "tracing",
        "log::",
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "dbg!",
        "async fn",
    ];
    let folders =
        ["crates/policy/src", "crates/pgcodec/src", "crates/pgsql/src", "crates/model/src", "operator/src/inject"];
    let files = source::production(&folders);
    for folder in folders {
        assert!(files.iter().any(|file| file.name.starts_with(folder)), "where is {folder}?");
    }
    let rule = "pure crates have no IO, clock, randomness, environment or logging";
    none(files.iter().flat_map(|file| file.lines_with(WORDS, rule)).collect());
}

/// Only `sidecar/src/upstream.rs` dials; a protocol folder sees streams that it was given.
#[test]
fn protocols_cannot_reach_a_socket() {
    const WORDS: &[&str] =
        &["tokio::net", "std::net::Tcp", "std::os::unix::net", "TcpStream", "UnixStream", "TcpSocket", ".connect("];
    let files = source::production(&["sidecar/src/protocol"]);
    assert!(!files.is_empty(), "where is sidecar/src/protocol?");
    none(files.iter().flat_map(|file| file.lines_with(WORDS, "a protocol folder reaches no socket")).collect());
}

/// The rooms of a protocol that decide nothing by waiting: pure functions, so that tables can test them.
#[test]
fn the_pure_rooms_of_a_protocol_are_not_async() {
    const ROOMS: &[&str] = &["state", "operation", "mask", "refusal"];
    const WORDS: &[&str] = &["async", "await", "tokio", "std::net", "std::fs", "Instant::now", "SystemTime"];
    let files = source::production(&["sidecar/src/protocol"]);
    let rooms = files.iter().filter(|file| {
        // sidecar/src/protocol/postgres/mask.rs and all below .../mask/
        let room = file.name.split('/').nth(4).map(|part| part.trim_end_matches(".rs"));
        room.is_some_and(|room| ROOMS.contains(&room))
    });
    none(rooms.flat_map(|file| file.lines_with(WORDS, "this room is pure, only the session waits")).collect());
}

/// Rule 7 begins with not printing: what a service says goes through its log, which knows what is secret.
#[test]
fn only_the_programs_people_run_print() {
    const WORDS: &[&str] = &["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    let mut files = source::production(&["sidecar/src", "operator/src", "crates/recording/src", "crates/archive/src"]);
    files.retain(|file| !file.name.ends_with("/src/main.rs"));
    none(files.iter().flat_map(|file| file.lines_with(WORDS, "libraries and services do not print")).collect());
}
