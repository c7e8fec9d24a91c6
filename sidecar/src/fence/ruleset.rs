//! The rules, in words: five chains of one table for both families.
//!
//! The order inside a chain is part of the meaning; each rule says what it is for. `e2e/tests/fence/` compares what the
//! kernel lists after an installation with the same rules written for `nft`.

use super::batch::{Batch, Chain, Hook, Policy};
use super::expression::{Rule, Transport};

/// Where the sidecar takes redirected TCP.
pub const TCP_PORT: u16 = 15_001;
/// Where the sidecar answers DNS.
pub const DNS_PORT: u16 = 15_053;
/// Ports that only the sidecar uses.
const FIRST: u16 = 15_000;
const LAST: u16 = 15_099;
/// Ports that may be declared: each is a rule, and a batch has a size.
pub const MOST_PORTS: usize = 512;
/// On flows of the sidecar, so that what is queued when it closes a socket still goes out.
const MARK: u32 = 0x0a11_0ced;
/// Of the sidecar's own DNS, which otherwise meets the redirected one in conntrack (istio#33469).
const ZONE: u16 = 1;
const DNS: u16 = 53;
const LOOPBACK: &str = "lo";

/// ICMPv6 types (RFC 4861) without which IPv6 does not work. No MLD: a report carries a group of the sender's choice.
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// What differs from pod to pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The user that only the sidecar runs as.
    pub user: u32,
    /// TCP ports of the agent's containers that may be dialled from outside.
    pub inbound: Vec<u16>,
    /// The sidecar's own ports that may be: health.
    pub own: Vec<u16>,
}

/// Why there is no ruleset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    #[error("the sidecar's user may not be 0: every process of root would be taken for the sidecar")]
    Root,
    #[error("{0} inbound ports are declared, at most {MOST_PORTS} can be")]
    TooManyPorts(usize),
    #[error("inbound port {port} is one of {FIRST}-{LAST}, which only the sidecar uses")]
    Reserved { port: u16 },
    #[error("port {port} of the sidecar is not one of {FIRST}-{LAST}")]
    NotReserved { port: u16 },
    #[error("the ruleset is too long")]
    TooLong,
}

impl Fence {
    /// The whole ruleset as one batch, and how many acknowledgements it brings.
    ///
    /// # Errors
    /// When a user or port would make a hole.
    pub fn encoded(&self) -> Result<(Vec<u8>, u32), FenceError> {
        let reserved = |port: &&u16| (FIRST..=LAST).contains(*port);
        if self.user == 0 {
            return Err(FenceError::Root);
        }
        if self.inbound.len() > MOST_PORTS {
            return Err(FenceError::TooManyPorts(self.inbound.len()));
        }
        if let Some(port) = self.inbound.iter().find(reserved).copied() {
            return Err(FenceError::Reserved { port });
        }
        if let Some(port) = self.own.iter().find(|port| !reserved(port)).copied() {
            return Err(FenceError::NotReserved { port });
        }
        let mut batch = Batch::new();
        self.zone(&mut batch);
        self.redirect(&mut batch);
        self.fence(&mut batch);
        exit(&mut batch);
        self.inbound(&mut batch);
        batch.finish().ok_or(FenceError::TooLong)
    }

    fn zone(&self, batch: &mut Batch) {
        let chain = Chain { name: "zone", kind: "filter", hook: Hook::Output, priority: -300, policy: Policy::Accept };
        batch.chain(&chain);
        // Never for TCP: orphaned sockets lose the zone, and with it what they still have to send.
        batch.rule(&chain, Rule::new().owner(self.user).transport(Transport::Udp).original_zone(ZONE));
    }

    fn redirect(&self, batch: &mut Batch) {
        let chain = Chain { name: "redir", kind: "nat", hook: Hook::Output, priority: -100, policy: Policy::Accept };
        batch.chain(&chain);
        batch.rule(&chain, Rule::new().owner(self.user).accept());
        // Between the containers of the pod.
        batch.rule(&chain, Rule::new().output(LOOPBACK).accept());
        batch.rule(&chain, Rule::new().transport(Transport::Udp).destination(DNS).redirect(DNS_PORT));
        batch.rule(&chain, Rule::new().transport(Transport::Tcp).destination(DNS).redirect(DNS_PORT));
        batch.rule(&chain, Rule::new().transport(Transport::Tcp).redirect(TCP_PORT));
    }

    fn fence(&self, batch: &mut Batch) {
        let chain = Chain { name: "fence", kind: "filter", hook: Hook::Output, priority: 0, policy: Policy::Drop };
        batch.chain(&chain);
        batch.rule(&chain, Rule::new().owner(self.user).mark(MARK).accept());
        // Never the original direction: a socket bound to a port that the sidecar just used would match its flow.
        batch.rule(&chain, Rule::new().reply_direction().established_or_related().accept());
        for kind in [ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT] {
            batch.rule(&chain, Rule::new().transport(Transport::Icmp6).icmp_type(kind).accept());
        }
        // Only what was redirected reaches the sidecar, whatever interface the kernel shows here.
        batch.rule(&chain, Rule::new().transport(Transport::Tcp).destination(TCP_PORT).redirected().accept());
        batch.rule(&chain, Rule::new().transport(Transport::Tcp).destination(DNS_PORT).redirected().accept());
        batch.rule(&chain, Rule::new().transport(Transport::Udp).destination(DNS_PORT).redirected().accept());
        let own = |transport| Rule::new().output(LOOPBACK).transport(transport).destinations(FIRST, LAST);
        batch.rule(&chain, own(Transport::Tcp).reset());
        batch.rule(&chain, own(Transport::Udp).reject());
        batch.rule(&chain, Rule::new().output(LOOPBACK).accept());
        // Before the marked flows: a live socket of a stranger may not use one.
        batch.rule(&chain, Rule::new().not_owner(self.user).reject());
        batch.rule(&chain, Rule::new().marked(MARK).established().accept());
        batch.rule(&chain, Rule::new().drop_packet());
    }

    fn inbound(&self, batch: &mut Batch) {
        let chain = Chain { name: "inbound", kind: "filter", hook: Hook::Input, priority: 0, policy: Policy::Drop };
        batch.chain(&chain);
        batch.rule(&chain, Rule::new().input(LOOPBACK).accept());
        batch.rule(&chain, Rule::new().established_or_related().accept());
        let needed = [ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT];
        for kind in needed {
            batch.rule(&chain, Rule::new().transport(Transport::Icmp6).icmp_type(kind).accept());
        }
        for port in self.own.iter().chain(&self.inbound) {
            batch.rule(&chain, Rule::new().transport(Transport::Tcp).destination(*port).accept());
        }
    }
}

/// A socket bound to another device takes redirected packets out of the pod; only here is that device seen.
fn exit(batch: &mut Batch) {
    let chain = Chain { name: "exit", kind: "filter", hook: Hook::Postrouting, priority: 0, policy: Policy::Accept };
    batch.chain(&chain);
    batch.rule(&chain, Rule::new().output_other_than(LOOPBACK).original_direction().redirected().drop_packet());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence() -> Fence {
        Fence { user: 1_337, inbound: vec![8_080], own: vec![15_020] }
    }

    #[test]
    fn a_fence_with_a_hole_is_refused() {
        assert!(fence().encoded().is_ok());
        assert_eq!(Fence { user: 0, ..fence() }.encoded(), Err(FenceError::Root));
        assert_eq!(Fence { inbound: vec![15_001], ..fence() }.encoded(), Err(FenceError::Reserved { port: 15_001 }));
        assert_eq!(Fence { own: vec![8_080], ..fence() }.encoded(), Err(FenceError::NotReserved { port: 8_080 }));
        assert_eq!(Fence { inbound: vec![1; 513], ..fence() }.encoded(), Err(FenceError::TooManyPorts(513)));
        assert!(Fence { inbound: vec![1; 512], ..fence() }.encoded().is_ok());
    }
}
