//! Which addresses a target of a pod may have: those that lead out of the pod and past the link.
//!
//! Who answers for a name may be the agent's friend. An address of the pod would make the sidecar call the agent, or
//! itself; one of the link is that of the node or of its metadata, which nobody means by a database.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::destinations::addresses::is_synthetic;

/// Metadata of clouds that is not link-local (AWS over IPv6).
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// 64:ff9b::/96: an address of IPv4 behind a translator (RFC 6052).
const TRANSLATED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

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
            !refused && v6 != METADATA && translated(v6).is_none_or(can_v4_be_meant)
        }
    }
}

fn can_v4_be_meant(v4: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is this host, 240.0.0.0/4 nobody.
    let refused = matches!(v4.octets(), [0 | 240..=255, ..]);
    !(refused || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || is_synthetic(v4))
}

fn translated(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [a, b, c, d, e, f, _, _] if [a, b, c, d, e, f] == TRANSLATED => {
            v6.octets().last_chunk().map(|v4: &[u8; 4]| (*v4).into())
        }
        _ => None,
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
