//! The operator's CA is replaced again and again, as a person asks for it: of the webhooks, of the control plane and of
//! every sidecar's certificate.

use std::time::{Duration, Instant};

use e2e::wait;
use e2e::world::Policy;
use serde_json::json;

use super::agent::{pod, run};
use super::database::{AGENT, World};
use super::load::Load;
use super::{Runs, kept, operators, wanted};

/// Leader and replicas look every 15 s and 5 s, and a new CA is trusted for 45 s before it signs; a loaded machine takes longer.
const SIGNS: Duration = Duration::from_secs(150);
/// For every sidecar to have a certificate of it.
const KNOWN: Duration = Duration::from_secs(60);
const WORKERS: [&str; 2] = ["worker-0", "worker-1"];

#[test]
fn the_ca_is_replaced_and_nobody_is_refused() {
    let mut runs = Runs::before("authority");
    if runs.sum("rotations") >= wanted() {
        return;
    }
    let world = World::new(&Policy::default());
    let (cluster, space) = (&world.cluster, world.namespace.name.as_str());
    let load = Load::start(&world, &WORKERS);
    let (mut rotations, mut longest, mut pods) = (0, Duration::ZERO, 0_u64);
    loop {
        let begun = Instant::now();
        let (before, _) = operators::authority(cluster);
        operators::ask_for_a_ca(cluster);
        wait::eventually("another CA signs", SIGNS, || {
            let (now, asked) = operators::authority(cluster);
            now != before && !asked
        })
        .unwrap();
        let (signs, now) = (begun.elapsed(), operators::authority(cluster).0);
        // The first is the one that signed what they have. All that live in the namespace, the agent too.
        let known = || {
            let all = kept::roots(cluster, space);
            all.len() == WORKERS.len() + 1 && all.iter().all(|(_, roots)| roots.first() == Some(&now))
        };
        let heard = wait::eventually("every sidecar has a certificate of it", KNOWN, known);
        assert!(heard.is_ok(), "{now}\n{:#?}", kept::roots(cluster, space));
        // Who is new begins under it.
        run(cluster, space, &pod("after"));
        cluster.run(&["delete", "pod", "-n", space, "after", "--now"], None).unwrap().accepted("away").unwrap();
        pods += 1;
        load.works();
        rotations += 1;
        longest = longest.max(begun.elapsed());
        let seen = load.seen();
        let mut figures = seen.figures();
        figures["rotations"] = json!(rotations);
        figures["longest_rotation_s"] = json!(longest.as_secs());
        figures["pods_that_began"] = json!(pods);
        runs.keep(rotations == 1, &figures);
        println!(
            "rotation {}: signs after {signs:?}, known after {:?}: {figures}",
            runs.sum("rotations"),
            begun.elapsed()
        );
        assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
        if runs.sum("rotations") >= wanted() {
            break;
        }
    }
    // A policy arrives over the connection of the last CA.
    let mut psql = world.psql_in(AGENT);
    let sql = "SELECT id FROM items WHERE id = 1";
    assert_eq!(psql.ask(sql).as_deref(), Some("1\n"));
    let policy = Policy::default();
    let narrow = Policy { rules: policy.rules.replace("public.items, public.log", "public.log"), ..policy };
    world.apply_policy(&narrow);
    wait::eventually("the new policy", KNOWN, || psql.ask(sql).unwrap() != "1\n").unwrap();
}
