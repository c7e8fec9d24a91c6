//! Sidecars that are killed while their agent works.

use std::thread;
use std::time::{Duration, Instant};

use e2e::world::Policy;
use e2e::{recorded, wait};

use super::agent::{START, run};
use super::database::World;
use super::inside::sh;
use super::node::{kill_sidecar, nonce, state};

#[test]
fn twenty_killed_sidecars_leave_no_statement_unrecorded() {
    let world = World::new(&Policy::default());
    let script = "n=1000000; while :; do n=$((n+1)); \
                  timeout 20 psql -XAtqc \"INSERT INTO log VALUES ($n, 'x')\" >/dev/null 2>&1 || sleep 0.1; done";
    run(&world.cluster, &world.namespace.name, &world.worker("worker", script));
    let nonce = nonce(&world.cluster, &world.namespace.name, "worker");
    // What a client has pinned: who answers, and where. A sidecar that is starting answers nobody.
    let known = || {
        wait::until("the CA and the address", START, || {
            let look = "cat $PGSSLROOTCERT; nslookup -type=a $PGHOST 2>/dev/null | grep 'Address: 198.18.'";
            let seen = sh(&world.cluster, &world.namespace.name, "worker", look);
            Ok(Some(seen.text).filter(|text| seen.accepted && text.contains("BEGIN CERTIFICATE")))
        })
        .unwrap()
    };
    let first = known();
    let inserted = || world.server.executed_with("INSERT INTO public.log");
    let mut recovered = Vec::new();
    for turn in 0..20_u64 {
        let before = inserted();
        let begun = Instant::now();
        wait::eventually("the agent works", START, || inserted() > before + 2).unwrap();
        recovered.push(begun.elapsed());
        thread::sleep(Duration::from_millis(37 * turn % 400));
        kill_sidecar(&nonce);
    }
    assert_eq!(known(), first, "a sidecar that starts again has the CA and the addresses of before");
    let before = inserted();
    wait::eventually("the agent works at the end", START, || inserted() > before + 2).unwrap();
    recovered.sort();
    println!("until the next statements after a kill: median {:?}, longest {:?}", recovered[10], recovered[19]);
    let delete = ["delete", "pod", "-n", &world.namespace.name, "worker", "--wait=false"];
    // What ran is looked at first: the agent goes on, and what it does is on record before it runs.
    let executed: Vec<String> =
        world.server.executed().into_iter().filter(|text| text.contains("INSERT INTO public.log")).collect();
    let lines = recorded::lines(&state(&world.cluster, &world.namespace.name, "worker").join("recordings")).unwrap();
    let intents: Vec<&str> =
        lines.iter().filter(|line| line["kind"] == "intent").filter_map(|line| line["display"].as_str()).collect();
    let mut count = 0;
    for text in executed {
        let number = text.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 7).unwrap().to_owned();
        assert!(intents.iter().any(|display| display.contains(&number)), "{text} ran and is not on record");
        count += 1;
    }
    assert!(count > 60, "{count}");
    world.cluster.run(&delete, None).unwrap().accepted("the end").unwrap();
}
