//! What must not leave, or must not reach the sidecar by another way than the redirect: the kernel has to say no, at once.
//! That nothing came back proves nothing, so that silence is a surprise too.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::network::{Device, Network};
use super::{Probe, errno, left, no_way, unknown_protocol};
use crate::fence::probe::{ADDRESS_V4, ADDRESS_V6};
use crate::fence::ruleset::{DNS_PORT, TCP_PORT};

const DNS: u16 = 53;
/// Of the sidecar: first, redirected TCP, health, DNS, last.
const OWN_PORTS: [u16; 5] = [15_000, TCP_PORT, 15_020, DNS_PORT, 15_099];
const PAYLOAD: &[u8] = b"agentaccess-verify";
/// Echo requests: type, code, checksum, identifier, sequence, data. The kernel fills in what is missing.
const ECHO_V4: &[u8] = &[8, 0, 0, 0, 0, 0, 0, 1, b'v'];
const ECHO_V6: &[u8] = &[128, 0, 0, 0, 0, 0, 0, 1, b'v'];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const GLOBAL_GROUP: Ipv6Addr = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x101);

pub(super) fn probes(network: &Network) -> Vec<Probe> {
    let mut probes = Vec::new();
    for address in [IpAddr::V4(ADDRESS_V4), IpAddr::V6(ADDRESS_V6)] {
        let routed = network.leads_to(address);
        for port in [123, 443, TCP_PORT, DNS_PORT] {
            probes.push(datagram("UDP", Protocol::UDP, SocketAddr::new(address, port), routed));
        }
        for port in [DNS, 443] {
            probes.push(datagram("UDP-Lite", Protocol::UDPLITE, SocketAddr::new(address, port), routed));
        }
        probes.push(ping(address, routed));
    }
    let (v4, v6) = (network.v4, network.v6);
    for (group, port) in [(Ipv4Addr::new(224, 0, 0, 251), 5_353), (Ipv4Addr::new(239, 255, 255, 250), 1_900)] {
        probes.push(datagram("multicast", Protocol::UDP, (group, port).into(), v4));
    }
    probes.push(datagram("broadcast", Protocol::UDP, (Ipv4Addr::BROADCAST, 67).into(), v4));
    probes.push(datagram("multicast", Protocol::UDP, (GLOBAL_GROUP, 443).into(), v6));
    for device in &network.devices {
        let group = SocketAddrV6::new(ALL_NODES, 5_353, 0, device.index);
        // Without an address on the link there is no way, with a route or without one.
        probes.push(datagram("multicast", Protocol::UDP, group.into(), v6 && device.leads_out));
        for (address, routed) in [(IpAddr::V4(ADDRESS_V4), v4), (IpAddr::V6(ADDRESS_V6), v6)] {
            probes.push(bound_to(device, SocketAddr::new(address, DNS), routed && device.leads_out));
        }
    }
    for address in &network.own {
        probes.extend(OWN_PORTS.iter().map(|port| direct_tcp(SocketAddr::new(*address, *port))));
        probes.extend([TCP_PORT, DNS_PORT].map(|port| direct_udp(SocketAddr::new(*address, port))));
    }
    probes.push(closed("raw IPv4 sockets", Domain::IPV4, Type::RAW, Protocol::from(253)));
    probes.push(closed("raw IPv6 sockets", Domain::IPV6, Type::RAW, Protocol::from(253)));
    probes.push(closed("packet sockets", Domain::PACKET, Type::RAW, Protocol::from(0)));
    probes.push(closed("packet sockets", Domain::PACKET, Type::DGRAM, Protocol::from(0)));
    probes
}

// === probes ===

fn datagram(word: &str, protocol: Protocol, destination: SocketAddr, routed: bool) -> Probe {
    let run = move |_| {
        let socket = match Socket::new(Domain::for_address(destination), Type::DGRAM, Some(protocol)) {
            Ok(socket) => socket,
            Err(error) if unknown_protocol(&error) && (protocol != Protocol::UDP || !routed) => return Ok(()),
            Err(error) => return Err(format!("no socket: {error}")),
        };
        if destination.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
            socket.set_broadcast(true).map_err(|e| format!("no broadcast: {e}"))?;
        }
        must_be_refused(socket.send_to(PAYLOAD, &SockAddr::from(destination)), routed)
    };
    Probe { what: format!("{word} to {destination}"), run: Box::new(run) }
}

/// Redirected packets of a socket that is bound to a device would leave by that device.
fn bound_to(device: &Device, destination: SocketAddr, routed: bool) -> Probe {
    let what = format!("UDP to {destination} from a socket bound to {}", device.name);
    let name = device.name.clone();
    let run = move |_| {
        let socket = match Socket::new(Domain::for_address(destination), Type::DGRAM, Some(Protocol::UDP)) {
            Ok(socket) => socket,
            Err(error) if !routed && no_way(&error) => return Ok(()),
            Err(error) => return Err(format!("no socket: {error}")),
        };
        match socket.bind_device(Some(name.as_bytes())) {
            Ok(()) => must_be_refused(socket.send_to(PAYLOAD, &SockAddr::from(destination)), routed),
            // Older kernels ask for a privilege.
            Err(error) if errno(&error) == Some(Errno::PERM) => Ok(()),
            Err(error) => Err(format!("cannot be tried: {error}")),
        }
    };
    Probe { what, run: Box::new(run) }
}

/// By a socket that needs no privilege where `net.ipv4.ping_group_range` allows it, as containerd does.
fn ping(address: IpAddr, routed: bool) -> Probe {
    let run = move |give_up: Instant| {
        let (domain, protocol, echo) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, ECHO_V4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, ECHO_V6),
        };
        let mut socket = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => socket,
            Err(error) if denied(&error) || (!routed && no_way(&error)) => return Ok(()),
            Err(error) => return Err(format!("no socket: {error}")),
        };
        let sent = socket.connect(&SockAddr::from(SocketAddr::new(address, 0))).and_then(|()| socket.send(echo));
        if sent.is_err() {
            return must_be_refused(sent, routed);
        }
        // IPv6 tells the sender nothing; the fence's answer comes by the socket.
        socket.set_read_timeout(Some(left(give_up))).map_err(|e| e.to_string())?;
        match socket.read(&mut [0; 64]) {
            Err(error) if denied(&error) => Ok(()),
            Err(error) => Err(format!("was not refused: {error}")),
            Ok(_) => Err("was not refused, and answered".to_owned()),
        }
    };
    Probe { what: format!("ICMP echo to {address}"), run: Box::new(run) }
}

fn direct_tcp(destination: SocketAddr) -> Probe {
    let run = move |give_up: Instant| {
        let socket = Socket::new(Domain::for_address(destination), Type::STREAM, Some(Protocol::TCP))
            .map_err(|e| format!("no socket: {e}"))?;
        match socket.connect_timeout(&SockAddr::from(destination), left(give_up)) {
            Err(error) if errno(&error) == Some(Errno::CONNREFUSED) => Ok(()),
            // Reset is what a door that took the call does with it, at times before `connect` has looked.
            Err(error) if errno(&error) != Some(Errno::CONNRESET) => Err(format!("was not reset: {error}")),
            Ok(()) | Err(_) => Err("reaches a port of the sidecar without the redirect".to_owned()),
        }
    };
    Probe { what: format!("TCP straight to {destination}"), run: Box::new(run) }
}

fn direct_udp(destination: SocketAddr) -> Probe {
    let run = move |_| {
        let socket = Socket::new(Domain::for_address(destination), Type::DGRAM, Some(Protocol::UDP))
            .map_err(|e| format!("no socket: {e}"))?;
        must_be_refused(socket.send_to(PAYLOAD, &SockAddr::from(destination)), true)
    };
    Probe { what: format!("UDP straight to {destination}"), run: Box::new(run) }
}

/// Sockets below the fence.
fn closed(what: &'static str, domain: Domain, kind: Type, protocol: Protocol) -> Probe {
    let run = move |_| match Socket::new(domain, kind, Some(protocol)) {
        Ok(_) => Err("can be opened without a privilege".to_owned()),
        Err(error) if denied(&error) || unknown_protocol(&error) => Ok(()),
        Err(error) => Err(format!("cannot be tried: {error}")),
    };
    Probe { what: what.to_owned(), run: Box::new(run) }
}

// === outcomes ===

/// Only the kernel's own refusal counts, or that there is no way at all where none is known.
fn must_be_refused(sent: io::Result<usize>, routed: bool) -> Result<(), String> {
    match sent {
        Err(error) if denied(&error) || (!routed && no_way(&error)) => Ok(()),
        Err(error) => Err(format!("was not refused: {error}")),
        Ok(_) => Err("was sent".to_owned()),
    }
}

fn denied(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::PERM | Errno::ACCESS))
}
