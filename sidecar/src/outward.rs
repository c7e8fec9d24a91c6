//! Which addresses a target of a pod may have: those that lead out of the pod and past the link.
//!
//! Who answers for a name may be the agent's friend. An address of the pod would make the sidecar call the agent, or
//! itself; one of the link is that of the node or of its metadata, which nobody means by a database.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::destinations::addresses::is_synthetic;

/// Metadata and other services that a cloud gives its machines at addresses that are not link-local: of Alibaba, Azure and
/// Oracle, and Google's over IPv6.
const CLOUDS_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Whether a connection to it leaves the pod for a place that can be meant.
pub fn leads_out(address: IpAddr) -> bool {
    can_be_meant(address) && !is_ours(address)
}

/// The part that needs no look at the network.
fn can_be_meant(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => can_v4_be_meant(v4),
        IpAddr::V6(v6) => {
            let refused = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local();
            !refused && can_v6_be_meant(v6)
        }
    }
}

fn can_v4_be_meant(v4: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is this host, 240.0.0.0/4 nobody.
    let refused = matches!(v4.octets(), [0 | 240..=255, ..]);
    let inward = v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || is_synthetic(v4);
    !(refused || inward || CLOUDS_V4.contains(&v4))
}

fn can_v6_be_meant(v6: Ipv6Addr) -> bool {
    let [.., c, d, e, f] = v6.octets();
    let last = Ipv4Addr::new(c, d, e, f);
    match v6.segments() {
        // fd00:ec2::/32: AWS's own services, metadata and the credentials of pods among them.
        [0xfd00, 0xec2, ..] => false,
        // An address of IPv4 behind a translator, at the end (RFC 6052; RFC 2765 before it), and the old form without one
        // (RFC 4291, 2.5.5.1).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => can_v4_be_meant(last),
        // Translators of a network's own (RFC 8215) and tunnels of hosts (Teredo, RFC 4380): where the other address stands
        // is theirs to know.
        [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => false,
        // 6to4 (RFC 3056): it stands after the prefix.
        [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            can_v4_be_meant(Ipv4Addr::new(a, b, c, d))
        }
        _ => v6 != GOOGLE,
    }
}

/// An address is the pod's own when the kernel would send to it from itself. Connecting a UDP socket sends nothing. What
/// cannot be asked is not ours: then it cannot be reached either.
fn is_ours(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_out_can_be_meant() {
        for (address, good) in [
            ("203.0.113.7", true),
            ("10.0.0.1", true),
            ("192.168.1.1", true),
            ("2001:db8::1", true),
            ("fd12:3456::1", true),
            ("::ffff:203.0.113.7", true),
            ("64:ff9b::cb00:7107", true),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("169.254.169.254", false),
            ("169.254.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("240.0.0.1", false),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("::", false),
            ("::1", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("ff02::1", false),
            ("fd00:ec2::254", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::a9fe:a9fe", false),
            ("64:ff9b:1:a9fe:a9:fe00::", false),
            ("::7f00:1", false),
            ("::ffff:0:7f00:1", false),
            ("::ffff:0:cb00:7107", true),
            ("2001:0:7f00:1::1", false),
            ("2001:1::1", true),
            ("2002:7f00:1::1", false),
            ("2002:a9fe:a9fe::1", false),
            ("2002:cb00:7107::1", true),
            ("100.100.100.200", false),
            ("100.100.100.201", true),
            ("168.63.129.16", false),
            ("192.0.0.192", false),
            ("fd00:ec2::23", false),
            ("fd00:ec2::253", false),
            ("fd20:ce::254", false),
        ] {
            assert_eq!(can_be_meant(address.parse().unwrap()), good, "{address}");
        }
    }

    #[test]
    fn the_kernel_tells_what_is_ours() {
        assert!(is_ours(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_ours(Ipv4Addr::new(203, 0, 113, 7).into()));
    }
}
