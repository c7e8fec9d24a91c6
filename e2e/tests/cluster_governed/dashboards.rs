//! Every panel of the chart's dashboards shows something of a real workload, in a real Prometheus.
//!
//! With AGENTACCESS_PICTURES set to a folder (of the repository's root), the same queries are drawn and photographed there (scripts/dashboards.py).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::dashboards::{Dashboard, Variables};
use e2e::wait;

use super::asked::{Asked, PATIENCE};
use super::database::{AGENT, World};
use super::inside::sh;
use super::prometheus::{POD, Prometheus, targets};

/// For the series of one panel: the leader counts pods without sidecar every 30 s, and looks at recordings every 60 s.
const SOON: Duration = Duration::from_secs(75);
/// How long there is work when pictures are taken.
const SHOWN: Duration = Duration::from_secs(180);

/// What this workload does not bring about, by dashboard and title.
const RARE: [(&str, &str, &str); 4] = [
    ("security", "Audit mode: would be denied", "the policy of this workload is enforced"),
    ("sidecar", "Recording errors", "no disk is full here; crash_disk_full has one"),
    ("operator", "Failed writes", "the API server takes every write"),
    ("operator", "Watches that broke", "the API server stays"),
];

/// One round of what agents do: reads, masked ones, denials, connections that lead nowhere.
fn work(asked: &mut Asked) {
    for sql in [
        "SELECT id, note FROM orders WHERE id < 20",
        "SELECT id, email, pin FROM customers",
        "SELECT secret FROM vault",
        "DROP TABLE orders",
    ] {
        asked.psql.ask(sql).unwrap();
    }
    let World { cluster, namespace, .. } = &asked.world;
    // A port that no target declares; and a session of its own, since bytes are counted when one ends.
    let script = "PGCONNECT_TIMEOUT=3 psql -p 1 -c 'SELECT 1'; psql -XAtqc 'SELECT count(*) FROM orders'";
    let seen = sh(cluster, &namespace.name, AGENT, script);
    assert!(["200", "199", "198"].iter().any(|rows| seen.text.contains(rows)), "{}", seen.text);
}

/// One person lets the next one through alone, which is a grant, too.
fn break_glass(asked: &mut Asked) {
    let (cluster, name) = (asked.world.cluster.clone(), asked.world.namespace.name.clone());
    let bind = ["-n", &name, "create", "rolebinding", "glass", "--clusterrole=agentaccess-breakglass", "--user=carol"];
    cluster.run(&bind, None).unwrap().accepted("a role").unwrap();
    let carol = cluster.user("carol");
    wait::eventually("the role holds", PATIENCE, || carol.run(&["get", "areq", "-n", &name], None).unwrap().accepted)
        .unwrap();
    let held = asked.hold(2);
    // Prometheus sees that nothing was broken yet.
    std::thread::sleep(Duration::from_secs(3));
    let words = ["agentaccess.dev/decision=break-glass", "agentaccess.dev/reason=INC-9 the site is down"];
    asked.decide(&carol, &held, &words).accepted("break-glass").unwrap();
    assert!(asked.answer(&held).contains('2'));
}

#[test]
fn every_panel_shows_something_after_a_workload() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 45s}");
    let (operators, sidecars) = targets(&asked.world.cluster, &asked.world.namespace.name);
    assert_eq!((operators.len(), sidecars.len()), (2, 1));
    work(&mut asked);
    let cluster = e2e::cluster::Cluster::connect().unwrap();
    let prometheus = Prometheus::new(&cluster, &operators, &sidecars);
    // While it is read, so that what grows is seen growing.
    work(&mut asked);
    let held = asked.hold(1);
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert!(asked.answer(&held).contains('1'));
    break_glass(&mut asked);
    let pictures = std::env::var_os("AGENTACCESS_PICTURES");
    let begun = Instant::now();
    while pictures.is_some() && begun.elapsed() < SHOWN {
        work(&mut asked);
    }

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let namespace = asked.world.namespace.name.clone();
    let variables = Variables { namespace: &namespace, rate_interval: "1m", range: "10m" };
    let mut empty = Vec::new();
    let mut rare = RARE.to_vec();
    for dashboard in Dashboard::all(root).unwrap() {
        for panel in &dashboard.panels {
            let before = rare.len();
            rare.retain(|(of, title, _)| (*of, *title) != (dashboard.name.as_str(), panel.title.as_str()));
            for query in &panel.queries {
                let filled = variables.fill(query).unwrap();
                let seen = || !prometheus.query(&filled).is_empty();
                // A rare one is asked about too: that Prometheus takes the query.
                if seen() || before != rare.len() {
                    continue;
                }
                if wait::eventually("series", SOON, seen).is_err() {
                    empty.push(format!("{}: {}: {filled}", dashboard.title, panel.title));
                }
            }
        }
    }
    assert!(empty.is_empty(), "no series:\n  {}", empty.join("\n  "));
    assert!(rare.is_empty(), "no such panel: {rare:?}");

    if let Some(folder) = pictures {
        let place = format!("{}/{POD}:9090", prometheus.namespace.name);
        let ended = Command::new("python3")
            .current_dir(root)
            .arg(root.join("scripts/dashboards.py"))
            .args(["--kubectl", &place, "--namespace", &namespace, "--minutes", "4", "--photograph", "--out"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(ended.success());
    }
}
