//! Dashboards and alerts name nothing that is not there: metrics, variables, pages. Each alert is seen firing and resolving.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use e2e::dashboards::{Dashboard, Variables, metrics};
use serde_json::Value;

use super::{none, source};

const ALERTS: &str = "charts/agentaccess/files/alerts.yaml";
const ALERT_TESTS: &str = "charts/agentaccess/ci/alerts.test.yaml";
const PAGE: &str = "docs/dashboards.md";
/// Where metrics are made.
const PROGRAMS: [&str; 3] = ["sidecar/src/metrics.rs", "operator/src/metrics.rs", "crates/admin/src/process.rs"];
const COLUMNS: u64 = 24;

/// Of Grafana; those that we use.
const UNITS: [&str; 8] = ["none", "ops", "reqps", "wps", "s", "bytes", "Bps", "percentunit"];

/// Every name of a metric in the programs' texts.
fn made() -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    for file in PROGRAMS {
        let text = fs::read_to_string(source::root().join(file)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let literals = code.split('"').skip(1).step_by(2);
        let plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        made.extend(literals.filter(plain).flat_map(metrics).map(str::to_owned));
    }
    made
}

/// What is missing of a query's metrics; a histogram has three series.
fn unknown<'q>(query: &'q str, made: &BTreeSet<String>) -> Vec<&'q str> {
    let known = |name: &str| {
        let parts = ["_bucket", "_count", "_sum"].iter().filter_map(|part| name.strip_suffix(part));
        made.contains(name) || parts.filter(|base| base.ends_with("_seconds")).any(|base| made.contains(base))
    };
    metrics(query).into_iter().filter(|name| !known(name)).collect()
}

fn yaml(file: &str) -> Value {
    serde_yaml::from_str(&fs::read_to_string(source::root().join(file)).unwrap()).unwrap()
}

/// Name and query.
fn alerts() -> BTreeMap<String, String> {
    let read = yaml(ALERTS);
    let groups = read["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule["expr"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn every_panel_is_sound() {
    let made = made();
    assert!(made.len() > 30, "{made:?}: this test looks in the wrong place");
    let page = fs::read_to_string(source::root().join(PAGE)).unwrap();
    let all = Dashboard::all(&source::root()).unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["operator", "security", "sidecar"]);
    let mut violations = Vec::new();
    let mut uids = BTreeSet::new();
    for dashboard in &all {
        let name = &dashboard.name;
        let mut ids = BTreeSet::new();
        if !uids.insert(&dashboard.uid) {
            violations.push(format!("{name}: another dashboard has the uid {}", dashboard.uid));
        }
        if dashboard.datasources != ["${datasource}".to_owned()].into() {
            violations.push(format!("{name}: data sources {:?}, not the variable alone", dashboard.datasources));
        }
        for panel in &dashboard.panels {
            let at = format!("{name}: {}", panel.title);
            let [x, _, width, height] = panel.place;
            if !ids.insert(panel.id) {
                violations.push(format!("{at}: its id is that of another panel"));
            }
            if width == 0 || height == 0 || x + width > COLUMNS {
                violations.push(format!("{at}: it stands outside of the grid"));
            }
            let others = dashboard.panels.iter().filter(|other| other.id > panel.id && panel.overlaps(other));
            violations.extend(others.map(|other| format!("{at}: it overlaps {}", other.title)));
            if !UNITS.contains(&panel.unit.as_str()) {
                violations.push(format!("{at}: the unit {}", panel.unit));
            }
            if !page.contains(&format!("| {} |", panel.title)) {
                violations.push(format!("{at}: {PAGE} does not say what it tells"));
            }
            for query in &panel.queries {
                let variables = Variables { namespace: ".*", rate_interval: "1m", range: "1h" };
                match variables.fill(query) {
                    Ok(_) if query.contains("$namespace") && !dashboard.variables.contains("namespace") => {
                        violations.push(format!("{at}: $namespace is no variable here"));
                    }
                    Ok(_) => {}
                    Err(error) => violations.push(format!("{at}: {error}")),
                }
                if metrics(query).is_empty() {
                    violations.push(format!("{at}: no metric of ours in {query}"));
                }
                violations.extend(unknown(query, &made).iter().map(|name| format!("{at}: no program has {name}")));
            }
        }
    }
    none(violations);
}

#[test]
fn every_alert_is_of_metrics_that_exist_and_is_explained() {
    let made = made();
    let page = fs::read_to_string(source::root().join(PAGE)).unwrap();
    let mut violations = Vec::new();
    for (name, query) in alerts() {
        violations.extend(unknown(&query, &made).iter().map(|metric| format!("{name}: no program has {metric}")));
        if !page.contains(&format!("| {name} |")) {
            violations.push(format!("{name}: {PAGE} does not say what to do"));
        }
    }
    none(violations);
}

#[test]
fn every_alert_is_seen_firing_and_then_resolved() {
    let read = yaml(ALERT_TESTS);
    let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
    for test in read["tests"].as_array().unwrap() {
        let mut firing = BTreeSet::new();
        for step in test["alert_rule_test"].as_array().unwrap() {
            let alert = step["alertname"].as_str().unwrap();
            let fires = !step["exp_alerts"].as_array().unwrap().is_empty();
            if fires {
                firing.insert(alert);
            } else if firing.contains(alert) {
                seen.insert(alert, true);
            }
        }
    }
    let alerts = alerts();
    assert!(alerts.len() >= 10, "{alerts:?}");
    none(alerts.keys().filter(|name| !seen.contains_key(name.as_str())).map(|n| format!("{n}: never both")).collect());
}

#[test]
fn a_metric_that_nobody_makes_is_found() {
    let made = made();
    assert!(
        unknown("rate(agentaccess_decisions_total[5m]) + agentaccess_decision_duration_seconds_bucket", &made)
            .is_empty()
    );
    assert_eq!(unknown("sum(agentaccess_decision_total)", &made), ["agentaccess_decision_total"]);
    assert_eq!(unknown("agentaccess_leader_count", &made), ["agentaccess_leader_count"]);
}
