//! The password of a target is replaced again and again in the way that docs/lifecycle.md describes: two roles take turns,
//! and what the Secret names is never changed. Beside it, what comes of one role whose password is changed under it.

use std::time::{Duration, Instant};

use e2e::wait;
use e2e::world::{Policy, ROLE};
use serde_json::json;

use super::agent::START;
use super::database::World;
use super::load::Load;
use super::{Runs, wanted};

const OTHER: &str = "agent_db_other";
const WORKERS: [&str; 2] = ["worker-0", "worker-1"];
/// How often the way that loses connections is tried, for its figure.
const ONE_ROLE: u64 = 5;

/// The Secret in one write: user and password belong together.
fn tell(world: &World, role: &str, password: &str) {
    let patch = json!({"stringData": {"username": role, "password": password}}).to_string();
    let words = ["patch", "secret", "db-login", "-n", &world.namespace.name, "--type=merge", "-p", &patch];
    world.cluster.run(&words, None).unwrap().accepted("the Secret").unwrap();
}

fn password(world: &World, role: &str, password: &str) {
    world.server.admin(&format!("ALTER ROLE {role} PASSWORD '{password}'")).unwrap();
}

fn world() -> World {
    let world = World::new(&Policy::default());
    // What one may the other may.
    let other = format!("CREATE ROLE {OTHER} LOGIN PASSWORD 'nobody knows it yet' IN ROLE {ROLE}");
    world.server.admin(&other).unwrap();
    world
}

#[test]
fn two_roles_take_turns_and_no_connection_is_refused() {
    let mut runs = Runs::before("credentials");
    if runs.sum("rotations") >= wanted() {
        return;
    }
    let world = world();
    let load = Load::start(&world, &WORKERS);
    let (mut rotations, mut longest) = (0, Duration::ZERO);
    loop {
        let begun = Instant::now();
        let (idle, new) = ([OTHER, ROLE][rotations % 2], format!("rotated-{rotations}-CANARY"));
        // Nobody logs in as it: every sidecar has used the other one since the last turn.
        password(&world, idle, &new);
        tell(&world, idle, &new);
        let all = || load.roles().iter().all(|role| role == idle);
        let taken = wait::eventually("every sidecar logs in as the other role", START, all);
        assert!(taken.is_ok(), "{:?}: {:?}", load.roles(), load.seen().failed);
        rotations += 1;
        longest = longest.max(begun.elapsed());
        let seen = load.seen();
        let mut figures = seen.figures();
        figures["rotations"] = json!(rotations);
        figures["longest_rotation_ms"] = json!(u64::try_from(longest.as_millis()).unwrap());
        runs.keep(rotations == 1, &figures);
        println!("{figures}");
        assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
        if runs.sum("rotations") >= wanted() {
            return;
        }
    }
}

/// Between the change of the password and that of the Secret's content in the last sidecar there is nothing that both
/// sides know: connections that are made then are refused. Open ones go on.
#[test]
fn one_role_has_a_gap() {
    let world = world();
    let load = Load::start(&world, &WORKERS);
    for turn in 0..ONE_ROLE {
        let new = format!("alone-{turn}-CANARY");
        password(&world, ROLE, &new);
        tell(&world, ROLE, &new);
        load.works();
    }
    let seen = load.seen();
    let figures = seen.figures();
    println!("{ONE_ROLE} changes of one role's password: {figures}");
    assert_eq!((&figures["connections_broken"], &figures["pods_refused"]), (&json!(0), &json!(0)), "{figures}");
    let mut runs = Runs::before("one_role");
    runs.all.clear();
    let mut figures = figures;
    figures["rotations"] = json!(ONE_ROLE);
    runs.keep(true, &figures);
}
