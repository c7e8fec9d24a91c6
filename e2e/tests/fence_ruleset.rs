//! The fence in the kernel, in network namespaces of its own: what was installed is what the same rules written for
//! `nft` give, and what fails installs nothing. Only root can make such a namespace.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use e2e::pod::can_run;
use e2e::proxy::binary;
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fence/ruleset.nft");
const INIT: &str = "init --user 1337 --inbound 8080,9090 --own 15020";

/// Runs a shell script in a new network namespace, with the sidecar's program as `$sidecar`.
fn inside(script: &str) -> Output {
    let program = binary("agentaccess-sidecar").unwrap();
    Command::new("unshare")
        .args(["--net", "sh", "-euc", script])
        .env("sidecar", program)
        .env("golden", Path::new(GOLDEN))
        .output()
        .unwrap()
}

fn listed(script: &str) -> Value {
    let output = inside(&format!("{script}\nnft -j list ruleset"));
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    let mut value: Value = serde_json::from_slice(&output.stdout).unwrap();
    forget_handles(&mut value);
    value
}

/// Handles are numbers that the kernel counts up.
fn forget_handles(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("handle");
            map.values_mut().for_each(forget_handles);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_handles),
        _ => {}
    }
}

#[test]
fn what_is_installed_is_the_golden_ruleset() {
    if !can_run() {
        return;
    }
    let golden = listed("nft -f $golden");
    assert_eq!(golden.to_string().matches("\"rule\":").count(), 30, "{golden}");
    assert_eq!(listed(&format!("$sidecar {INIT}")), golden);
    // A second time, and after an older fence with other ports.
    assert_eq!(listed(&format!("$sidecar {INIT}; $sidecar {INIT}")), golden);
    assert_eq!(listed(&format!("$sidecar init --user 7 --inbound 1,2,3; $sidecar {INIT}")), golden);
    // As many ports as there may be.
    let ports: Vec<String> = (1..=512).map(|port: u16| port.to_string()).collect();
    let many = listed(&format!("$sidecar init --user 1337 --inbound {}", ports.join(",")));
    assert_eq!(many.to_string().matches("\"dport\"").count(), 7 + 512);
}

#[test]
fn what_fails_says_so_and_installs_nothing() {
    if !can_run() {
        return;
    }
    for (script, said) in [
        ("$sidecar init --user 0", "user may not be 0"),
        ("$sidecar init --user 5 --inbound 15001", "inbound port 15001 is one of"),
        ("$sidecar init --user 5 --own 80", "port 80 of the sidecar is not one of"),
        ("setpriv --bounding-set -net_admin --inh-caps -net_admin $sidecar init --user 5", "NET_ADMIN"),
        ("setpriv --reuid 65534 --clear-groups $sidecar init --user 5", "NET_ADMIN"),
    ] {
        let output = inside(&format!("if {script}; then echo installed; fi; nft list ruleset"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(out.is_empty() && err.contains(said), "{script}: {out}{err}");
    }
}
