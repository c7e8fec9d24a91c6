//! What the network of this pod has: default routes, devices, addresses of its own. Read from `/proc` and from the
//! kernel's choice of a source address; nothing is sent for it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::netdevice::name_to_index;

use crate::fence::probe::{ADDRESS_V4, ADDRESS_V6};

const LOOPBACK: &str = "lo";
/// `RTF_REJECT`: a route that says no.
const REJECT: u32 = 0x200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
    /// It leads out: a default route goes by it.
    pub(super) leads_out: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Network {
    /// Whether there is a default route.
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// All but the loopback.
    pub(super) devices: Vec<Device>,
    /// By which the pod reaches itself: loopback and its own.
    pub(super) own: Vec<IpAddr>,
}

impl Network {
    /// # Errors
    /// When it cannot be seen, or nothing leads out of it and so nothing can be proven.
    pub(super) fn look() -> Result<Self, String> {
        // Without IPv6 the kernel has no such files.
        let file = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        let (out_v4, out_v6) = (defaults_v4(&file("route")), defaults_v6(&file("ipv6_route")));
        let names = devices(&file("dev"));
        if names.is_empty() {
            return Err("this pod has no network device: the fence cannot be proven".to_owned());
        }
        if out_v4.is_empty() && out_v6.is_empty() {
            return Err("this pod has no default route: the fence cannot be proven".to_owned());
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| format!("no socket: {e}"))?;
        let mut found = Vec::new();
        for name in names {
            let index = name_to_index(&socket, &name).map_err(|e| format!("device {name} has no index: {e}"))?;
            found.push(Device { leads_out: out_v4.contains(&name) || out_v6.contains(&name), index, name });
        }
        let mut own = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        if has_loopback_v6(&file("if_inet6")) {
            own.extend([IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
        }
        own.extend([IpAddr::V4(ADDRESS_V4), IpAddr::V6(ADDRESS_V6)].into_iter().filter_map(source));
        Ok(Self { v4: !out_v4.is_empty(), v6: !out_v6.is_empty(), devices: found, own })
    }

    /// Whether a probe to this address has a way out of the pod.
    pub(super) fn leads_to(&self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// The address that a packet to `destination` would come from. Connecting a UDP socket sends nothing.
fn source(destination: IpAddr) -> Option<IpAddr> {
    let any = if destination.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(destination, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn devices(dev: &str) -> Vec<String> {
    let names = dev.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name.trim().to_owned()));
    names.filter(|name| name != LOOPBACK).collect()
}

/// Devices of `/proc/net/route`: device, destination, gateway, flags, three counters, mask.
fn defaults_v4(table: &str) -> Vec<String> {
    let lines = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, "00000000", _, flags, _, _, _, "00000000", ..] = fields.as_slice() else { return None };
        out(device, flags)
    });
    lines.collect()
}

/// Devices of `/proc/net/ipv6_route`: destination, length, source, length, next hop, three counters, flags, device.
fn defaults_v6(table: &str) -> Vec<String> {
    let lines = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", _, _, _, _, _, _, flags, device] = fields.as_slice() else { return None };
        if destination.bytes().all(|b| b == b'0') { out(device, flags) } else { None }
    });
    lines.collect()
}

fn out(device: &str, flags: &str) -> Option<String> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (device != LOOPBACK && flags & REJECT == 0).then(|| device.to_owned())
}

fn has_loopback_v6(addresses: &str) -> bool {
    let one = format!("{:032x}", Ipv6Addr::LOCALHOST.to_bits());
    addresses.lines().any(|line| line.starts_with(&one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                  eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n\
                  eth1 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n\
                  eth2 00000000 00000000 0201 0 0 0 00000000 0 0 0\n";
        assert_eq!(defaults_v4(v4), ["eth0"]);
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n\
             fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 1 0 00000001 eth1\n"
        );
        assert_eq!(defaults_v6(&v6), ["eth0"]);
        assert!(defaults_v4("").is_empty() && defaults_v6("").is_empty());
        let dev = "Inter-| Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 2\n";
        assert_eq!(devices(dev), ["eth0"]);
        assert!(has_loopback_v6("00000000000000000000000000000001 01 80 10 80       lo\n"));
        assert!(!has_loopback_v6("fe800000000000000000000000000001 02 40 20 80     eth0\n"));
    }
}
