//! `agentaccess-sidecar verify` on the real kernel: it passes behind the fence, and without a rule of it, it does not.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use e2e::objects;
use e2e::pod::{AGENT, NONCE, Pod, PodSidecar, SIDECAR, VERIFIER, can_run, said};
use e2e::proxy::binary;
use e2e::world::Policy;
use serde_json::Value;

/// What is expected of `verify` when one rule is gone.
#[derive(Debug)]
enum Mutant {
    /// A sentence of it says this.
    Caught(&'static str),
    /// Not to be seen from inside, and why.
    Unseen(&'static str),
}
use Mutant::{Caught, Unseen};

/// Each rule of the golden ruleset, in order.
const RULES: [(&str, &[Mutant]); 5] = [
    ("zone", &[Unseen("of the sidecar's own DNS")]),
    (
        "redir",
        &[
            Unseen("of the sidecar's own dials"),
            Caught("TCP straight to 127.0.0.1:15000: reaches a port of the sidecar without the redirect"),
            Caught("DNS over UDP to 192.0.2.1:53: cannot be asked"),
            Caught("DNS over TCP to [2001:db8::1]:53: "),
            Caught("Tcp to 192.0.2.1:4567: did not reach the sidecar"),
        ],
    ),
    (
        "fence",
        &[
            Unseen("of the sidecar's own dials"),
            Unseen("answers of the sidecar go over the loopback"),
            Unseen("neighbours are known, or asked for in vain"),
            Unseen("neighbours are known, or asked for in vain"),
            Unseen("neighbours are known, or asked for in vain"),
            Caught("Tcp to [2001:db8::1]:443: did not reach the sidecar"),
            Caught("DNS over TCP to 192.0.2.1:53: did not reach the sidecar"),
            Caught("DNS over UDP to 192.0.2.1:53: cannot be asked"),
            Caught("TCP straight to [::1]:15001: reaches a port of the sidecar"),
            Caught("UDP straight to 10.77.0.2:15053: was sent"),
            Caught("TCP inside the pod, to 127.0.0.1: is cut off"),
            Caught("ICMP echo to 2001:db8::1: was not refused"),
            Unseen("of what the sidecar's closed sockets still send"),
            Unseen("the policy of the chain is the same"),
        ],
    ),
    ("exit", &[Caught("UDP to 192.0.2.1:53 from a socket bound to eth0: was sent")]),
    (
        "inbound",
        &[
            Caught("Tcp to 192.0.2.1:65535: did not reach the sidecar"),
            Unseen("answers to the sidecar"),
            Unseen("of the link"),
            Unseen("of the link"),
            Unseen("of the link"),
            Unseen("of the link"),
            Unseen("connections from outside"),
            Unseen("connections from outside"),
        ],
    ),
];

fn verify_as(pod: &Pod, user: u32, nonce: &str) -> Output {
    pod.verify_as(user, nonce).unwrap()
}

fn verify(pod: &Pod) -> Output {
    verify_as(pod, VERIFIER, NONCE)
}

#[track_caller]
fn passes(pod: &Pod) {
    pod.verify().unwrap();
}

#[track_caller]
fn fails(output: &Output, sentence: &str) {
    assert!(!output.status.success() && said(output).contains(sentence), "not `{sentence}`: {}", said(output));
}

/// Behind which nothing is: no probe goes that far.
fn sidecar(pod: &Pod) -> PodSidecar {
    let target = objects::target_at("db", "db.example", 5_432, None, "nobody", "nothing");
    pod.sidecar(&(target + &Policy::default().yaml()), "").unwrap()
}

#[test]
fn the_whole_fence_passes_and_what_is_no_fence_fails_in_time() {
    if !can_run() {
        return;
    }
    let pod = Pod::new().unwrap();
    let begun = Instant::now();
    fails(&verify(&pod), "UDP to 192.0.2.1:443: was sent");
    // The wire agrees: the tap would see what a fence lets out.
    pod.settle().unwrap();
    let out = pod.tap().packets();
    for port in [53, 443, 5_353] {
        assert!(out.iter().any(|packet| packet.port() == Some(port)), "{port}: {out:?}");
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");

    pod.fence().unwrap();
    fails(&verify(&pod), "Tcp to 192.0.2.1:443: did not reach the sidecar");
    let mut sidecar = sidecar(&pod);
    passes(&pod);
    // Nothing of what it tried came out.
    pod.settle().unwrap();
    pod.tap().forget();
    let begun = Instant::now();
    passes(&pod);
    println!("the fence was proven in {:?}", begun.elapsed());
    pod.settle().unwrap();
    assert_eq!(pod.tap().packets(), []);

    fails(&verify_as(&pod, VERIFIER, "an0therpodsnonce0"), "something that is not this pod's sidecar");
    fails(&verify_as(&pod, SIDECAR, NONCE), "verify runs as user 1337, which is the sidecar's");
    fails(&verify_as(&pod, 0, NONCE), "verify runs as user 0");
    fails(&verify_as(&pod, AGENT, "short"), "a nonce has 16 to 63");
    let program = binary("agentaccess-sidecar").unwrap();
    let privileged = format!(
        "setpriv --reuid {VERIFIER} --clear-groups --inh-caps +net_raw --ambient-caps +net_raw -- \
         {} verify --user {SIDECAR} --nonce {NONCE} 2>&1 || true",
        program.display()
    );
    let said = pod.shell(&privileged).unwrap();
    assert!(said.contains("verify holds capabilities (CapEff): drop ALL"), "{said}");
    // A device that leads nowhere, and a pod without IPv6.
    pod.shell("ip link add dead type veth peer name dead2").unwrap();
    passes(&pod);
    pod.shell("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6").unwrap();
    passes(&pod);
    pod.shell("ip route del default").unwrap();
    fails(&verify(&pod), "no default route");

    pod.shell("ip route add default via 10.77.0.1").unwrap();
    passes(&pod);
    sidecar.stop();
    fails(&verify(&pod), "DNS over UDP to 192.0.2.1:53: the sidecar did not answer");
}

/// Before it takes calls nothing of the pod may start.
#[test]
fn a_sidecar_that_begins_late_is_waited_for() {
    if !can_run() {
        return;
    }
    for less in ["true", "ip -6 route del default", "ip route del default"] {
        let pod = Pod::new().unwrap();
        pod.fence().unwrap();
        pod.shell(less).unwrap();
        let begun = Instant::now();
        fails(&pod.verify_later(1).unwrap(), "the sidecar took no call for 1s: the log of its container says");
        assert!((1..5).contains(&begun.elapsed().as_secs()), "{less}: {:?}", begun.elapsed());
        thread::scope(|scope| {
            let late = scope.spawn(|| pod.verify_later(60).unwrap());
            thread::sleep(Duration::from_millis(500));
            assert!(!late.is_finished(), "{less}: nobody takes calls");
            let _sidecar = sidecar(&pod);
            let output = late.join().unwrap();
            assert!(output.status.success(), "{less}: {}", said(&output));
        });
    }
}

#[test]
fn pods_of_one_family_pass_and_a_hole_in_the_other_does_not() {
    if !can_run() {
        return;
    }
    for (without, hole) in [
        // As in a cluster without IPv6: the link has addresses, nothing leads on.
        (["ip -6 route del default", "ip -6 addr del fd77::2/64 dev eth0"], "meta nfproto ipv6 accept"),
        (["ip route del default", "ip addr del 10.77.0.2/24 dev eth0"], "meta nfproto ipv4 accept"),
    ] {
        let pod = Pod::new().unwrap();
        pod.fence().unwrap();
        let _sidecar = sidecar(&pod);
        for change in without {
            pod.shell(change).unwrap();
            passes(&pod);
        }
        pod.shell(&format!("nft insert rule inet agentaccess fence {hole}")).unwrap();
        fails(&verify(&pod), "was sent");
    }
}

#[test]
fn a_fence_without_one_of_its_rules_is_caught_or_known_not_to_be() {
    if !can_run() {
        return;
    }
    let pod = Pod::new().unwrap();
    let _sidecar = sidecar(&pod);
    for (chain, rules) in RULES {
        pod.fence().unwrap();
        assert_eq!(handles(&pod, chain).len(), rules.len(), "rules of {chain}");
        for (number, mutant) in rules.iter().enumerate() {
            pod.fence().unwrap();
            let handle = handles(&pod, chain)[number];
            pod.shell(&format!("nft delete rule inet agentaccess {chain} handle {handle}")).unwrap();
            let output = verify(&pod);
            match mutant {
                Caught(sentence) => assert!(
                    !output.status.success() && said(&output).contains(sentence),
                    "{chain} without rule {number}: not `{sentence}`: {}",
                    said(&output)
                ),
                Unseen(why) => {
                    assert!(output.status.success(), "{chain} without rule {number} ({why}): {}", said(&output));
                }
            }
        }
    }
    pod.fence().unwrap();
    passes(&pod);
}

/// Of the rules of a chain, in order.
fn handles(pod: &Pod, chain: &str) -> Vec<u64> {
    let listed: Value =
        serde_json::from_str(&pod.shell(&format!("nft -j list chain inet agentaccess {chain}")).unwrap()).unwrap();
    let objects = listed["nftables"].as_array().unwrap();
    objects.iter().filter_map(|object| object.pointer("/rule/handle")?.as_u64()).collect()
}
