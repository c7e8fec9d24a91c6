//! Ways to get a payload out of a pod past its sidecar, each with what it has to end in behind the fence.
//!
//! Every one reaches the wire of a pod without a fence: that is tried first, or the wire's silence would prove nothing.

use std::io::{Error, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use e2e::pod::Packet;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// In every payload.
pub(super) const LEAK: &[u8] = b"LEAK-of-the-agent";
/// Nobody's addresses; outside, all are answered.
pub(super) const V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(super) const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 7);

const BROADCASTS: [Ipv4Addr; 2] = [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 77, 0, 255)];
const TCP_PORTS: [u16; 12] = [1, 22, 80, 443, 853, 4_567, 4_568, 5_432, 6_443, 15_001, 15_053, 65_535];
const UDP_PORTS: [u16; 6] = [1, 123, 443, 853, 15_001, 15_053];
const DNS: u16 = 53;
const PATIENCE: Duration = Duration::from_secs(2);
/// `MSG_FASTOPEN`: data in the first packet.
const FAST_OPEN: i32 = 0x2000_0000;
const SCTP: i32 = 132;
const DCCP: i32 = 33;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The kernel said no.
    Denied,
    /// Taken, and reset at once.
    Reset,
    /// Nobody listens.
    Closed,
    Silence,
    /// The kernel has no such protocol: nobody here can use it.
    NoProtocol,
    /// Sent, whatever came of it.
    Sent,
    /// Something answered.
    Answered,
}

pub(super) struct Attack {
    pub(super) name: String,
    pub(super) run: Box<dyn Fn() -> Ended + Send + Sync>,
    /// Behind the fence.
    pub(super) ends: &'static [Ended],
    protocol: u8,
    destination: IpAddr,
    port: Option<u16>,
}

// === impl Attack ===

impl Attack {
    /// Whether this packet is of it.
    pub(super) fn is(&self, packet: &Packet) -> bool {
        (packet.protocol, packet.destination) == (self.protocol, Some(self.destination)) && packet.port() == self.port
    }

    /// One that hides its packets from a pod without a fence too.
    pub(super) fn needs_an_answer(&self) -> bool {
        self.ends.contains(&Ended::NoProtocol)
    }
}

pub(super) fn all(device: u32) -> Vec<Attack> {
    let mut all = Vec::new();
    for ip in [IpAddr::V4(V4), IpAddr::V6(V6)] {
        for port in TCP_PORTS {
            all.push(stream("TCP", Protocol::TCP, (ip, port).into(), &[Ended::Reset], connect));
        }
        all.push(stream("MPTCP", Protocol::MPTCP, (ip, 443).into(), &[Ended::Reset, Ended::NoProtocol], connect));
        all.push(stream("TCP fast open", Protocol::TCP, (ip, 8_443).into(), &[Ended::Reset], fast_open));
        for port in UDP_PORTS {
            all.push(datagram("UDP", Protocol::UDP, (ip, port).into(), &[Ended::Denied]));
        }
        let no_protocol = &[Ended::Denied, Ended::NoProtocol];
        for port in [DNS, 443] {
            all.push(datagram("UDP-Lite", Protocol::UDPLITE, (ip, port).into(), no_protocol));
        }
        for (name, protocol) in [("SCTP", SCTP), ("DCCP", DCCP)] {
            let protocol = Protocol::from(protocol);
            all.push(stream(name, protocol, (ip, 443).into(), &[Ended::Denied, Ended::NoProtocol], connect));
        }
        all.push(ping(ip));
    }
    let mapped = stream("v4-mapped TCP", Protocol::TCP, (V4, 8_080).into(), &[Ended::Reset], connect_mapped);
    all.push(mapped);
    for group in [Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::new(239, 1, 2, 3)] {
        all.push(datagram("multicast", Protocol::UDP, (group, 5_353).into(), &[Ended::Denied]));
    }
    for address in BROADCASTS {
        all.push(datagram("broadcast", Protocol::UDP, (address, 67).into(), &[Ended::Denied]));
    }
    for group in ["ff02::fb", "ff05::2", "ff0e::7"].map(|group| group.parse().unwrap()) {
        let group = SocketAddrV6::new(group, 5_353, 0, device);
        all.push(datagram("multicast", Protocol::UDP, group.into(), &[Ended::Denied]));
    }
    all.extend(bound_to_device());
    all
}

/// Past the redirect by the device: its own list, since it is tried without IPv6 on the loopback too.
pub(super) fn bound_to_device() -> Vec<Attack> {
    let mut all = Vec::new();
    for ip in [IpAddr::V4(V4), IpAddr::V6(V6)] {
        for port in [DNS, 443] {
            let run = move || send(Protocol::UDP, (ip, port).into(), Some("eth0"));
            all.push(attack("device-bound UDP", (17, ip, Some(port)), &[Ended::Denied], run));
            let run = move || connect_by(Protocol::TCP, (ip, port).into(), Some("eth0"));
            all.push(attack("device-bound TCP", (6, ip, Some(port)), &[Ended::Silence], run));
        }
    }
    all
}

/// What does not go to the outside, but to the sidecar past the redirect; its own list, since no packet leaves by it.
pub(super) fn straight() -> Vec<(SocketAddr, Ended, Ended)> {
    let own = ["127.0.0.1", "::1", "0.0.0.0", "::", e2e::pod::POD_V4, e2e::pod::POD_V6];
    let places = own.map(|ip| ip.parse::<IpAddr>().unwrap()).into_iter();
    let ports = [15_000u16, 15_001, 15_020, 15_053, 15_099];
    places
        .flat_map(|ip| ports.map(|port| SocketAddr::new(ip, port)))
        .map(|place| (place, connect(Protocol::TCP, place), send(Protocol::UDP, place, None)))
        .collect()
}

// === makers ===

fn attack(
    name: &str,
    (protocol, destination, port): (u8, IpAddr, Option<u16>),
    ends: &'static [Ended],
    run: impl Fn() -> Ended + Send + Sync + 'static,
) -> Attack {
    let place = port.map_or_else(|| destination.to_string(), |port| SocketAddr::new(destination, port).to_string());
    Attack { name: format!("{name} to {place}"), run: Box::new(run), ends, protocol, destination, port }
}

fn stream(
    name: &str,
    protocol: Protocol,
    to: SocketAddr,
    ends: &'static [Ended],
    run: fn(Protocol, SocketAddr) -> Ended,
) -> Attack {
    // Multipath TCP is TCP on the wire.
    let number = if protocol == Protocol::MPTCP { 6 } else { number(protocol) };
    let port = matches!(number, 6 | 17 | 136).then_some(to.port());
    attack(name, (number, to.ip(), port), ends, move || run(protocol, to))
}

fn datagram(name: &str, protocol: Protocol, to: SocketAddr, ends: &'static [Ended]) -> Attack {
    attack(name, (number(protocol), to.ip(), Some(to.port())), ends, move || send(protocol, to, None))
}

fn ping(to: IpAddr) -> Attack {
    let number = if to.is_ipv4() { 1 } else { 58 };
    attack("echo", (number, to, None), &[Ended::Denied], move || echo(to))
}

fn number(protocol: Protocol) -> u8 {
    u8::try_from(i32::from(protocol)).unwrap()
}

// === deeds ===

pub(super) fn connect(protocol: Protocol, to: SocketAddr) -> Ended {
    connect_by(protocol, to, None)
}

fn connect_by(protocol: Protocol, to: SocketAddr, device: Option<&str>) -> Ended {
    let socket = match Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol)) {
        Ok(socket) => socket,
        Err(error) => return ended(&error),
    };
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes())).unwrap();
    }
    connect_from(socket, to)
}

/// By a socket that is made ready.
pub(super) fn connect_from(socket: Socket, to: SocketAddr) -> Ended {
    match socket.connect_timeout(&to.into(), PATIENCE) {
        Ok(()) => speak(socket),
        Err(error) => ended(&error),
    }
}

fn connect_mapped(protocol: Protocol, to: SocketAddr) -> Ended {
    let SocketAddr::V4(v4) = to else { panic!("{to} is not of IPv4") };
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(protocol)).unwrap();
    let mapped = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
    connect_from(socket, mapped)
}

fn fast_open(protocol: Protocol, to: SocketAddr) -> Ended {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    match socket.send_to_with_flags(LEAK, &to.into(), FAST_OPEN) {
        Ok(_) => speak(socket),
        Err(error) => ended(&error),
    }
}

/// Says the payload, and listens.
fn speak(mut socket: Socket) -> Ended {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // What cannot be said any more shows when it is read.
    let _gone = socket.send(LEAK);
    // One byte of an answer is an answer, and so is an end in good order.
    match socket.read_exact(&mut [0]) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => ended(&error),
        _ => Ended::Answered,
    }
}

pub(super) fn send(protocol: Protocol, to: SocketAddr, device: Option<&str>) -> Ended {
    let socket = match Socket::new(Domain::for_address(to), Type::DGRAM, Some(protocol)) {
        Ok(socket) => socket,
        Err(error) => return ended(&error),
    };
    if matches!(to.ip(), IpAddr::V4(v4) if BROADCASTS.contains(&v4)) {
        socket.set_broadcast(true).unwrap();
    }
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes())).unwrap();
    }
    match socket.send_to(LEAK, &SockAddr::from(to)) {
        Ok(_) => Ended::Sent,
        Err(error) => ended(&error),
    }
}

pub(super) fn echo(to: IpAddr) -> Ended {
    let (domain, protocol, kind) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128),
    };
    let mut socket = Socket::new(domain, Type::DGRAM, Some(protocol)).unwrap();
    socket.connect(&SocketAddr::new(to, 0).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let packet = [&[kind, 0, 0, 0, 0, 0, 0, 1], LEAK].concat();
    let heard = socket.send(&packet).and_then(|_| socket.read(&mut [0; 64]));
    heard.map_or_else(|error| ended(&error), |_| Ended::Answered)
}

fn ended(error: &Error) -> Ended {
    match Errno::from_io_error(error) {
        // The last is how a TCP dial over IPv4 hears that it is prohibited.
        Some(Errno::PERM | Errno::ACCESS | Errno::HOSTUNREACH) => Ended::Denied,
        Some(Errno::CONNRESET) => Ended::Reset,
        Some(Errno::CONNREFUSED) => Ended::Closed,
        Some(Errno::AGAIN | Errno::TIMEDOUT | Errno::INPROGRESS) => Ended::Silence,
        Some(Errno::PROTONOSUPPORT | Errno::NOPROTOOPT | Errno::SOCKTNOSUPPORT | Errno::INVAL) => Ended::NoProtocol,
        _ if error.kind() == ErrorKind::TimedOut => Ended::Silence,
        _ => panic!("an end that is not known: {error}"),
    }
}
