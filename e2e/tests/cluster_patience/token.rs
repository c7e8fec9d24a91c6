//! The token by which a sidecar proves itself. It lives for ten minutes, and the kubelet writes a new one in time: where
//! the sidecar alone looks. That each try of the sidecar reads it anew is in `sidecar/tests/control_identity.rs`.

use std::fs;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait;

use super::agent::{governed, pod, run};
use super::inside::sh;
use super::kept;

/// Four fifths of its life, and the kubelet looks every minute or two.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn a_token_is_renewed_where_the_sidecar_alone_looks() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let name = namespace.name.as_str();
    run(&cluster, name, &pod("agent"));
    let begun = Instant::now();
    let file = kept::projected(&cluster, name, "agent", "agentaccess-token", "token");
    let first = fs::read_to_string(&file).unwrap();
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mounted = || {
        let seen = sh(&cluster, name, "agent", &format!("ls -lLR {account}; cat {account}/*; grep -c . /proc/mounts"));
        seen.accepted("what the agent has").unwrap();
        seen.text
    };
    let before = mounted();
    assert!(!before.contains(&first), "the sidecar's token is the agent's");
    wait::eventually("the kubelet renews the token", PATIENCE, || fs::read_to_string(&file).unwrap() != first).unwrap();
    let second = fs::read_to_string(&file).unwrap();
    assert_eq!(second.matches('.').count(), 2, "a whole token");
    println!("the token was renewed {:?} after the start", begun.elapsed());
    let place = kept::projected(&cluster, name, "agent", "agentaccess-token", "");
    // The API server may be stopped at this moment, for another test.
    let after =
        wait::until("the agent answers", Duration::from_secs(150), || Ok(Cluster::connect().ok().map(|_| mounted())));
    let after = after.unwrap();
    assert_eq!(after, before, "nothing of the agent's has changed");
    assert!(!after.contains(&second) && place.is_dir());
}
