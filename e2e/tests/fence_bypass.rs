//! Ways round the sidecar, tried as the agent against the real fence and the real sidecar. The oracle is the wire: what
//! left the pod, below every rule. Each way is tried without a fence too, where it has to work.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fence/attacks.rs"]
mod attacks;
#[path = "fence_bypass/names.rs"]
mod names;
#[path = "fence_bypass/ports.rs"]
mod ports;
#[path = "fence_bypass/resolver.rs"]
mod resolver;
#[path = "fence_bypass/rights.rs"]
mod rights;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use e2e::objects;
use e2e::pod::{AGENT, HEALTH, INBOUND, OUTSIDE_V4, POD_V4, POD_V6, Packet, Pod, PodSidecar, can_run};
use e2e::world::Policy;
use socket2::{Domain, Protocol, Socket, Type};

use attacks::{Attack, Ended, LEAK, V4, V6};

/// Where the only target is, as the sidecar knows it; nobody is there.
const TARGET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const PORT: u16 = 5_432;
const PATIENCE: Duration = Duration::from_secs(5);
/// Of the sidecar's own flows.
const MARK: u32 = 0x0a11_0ced;
/// For the first bytes of an agent, as the sidecar has it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(100);
/// After which the kernel has sent all reports of a join.
const REPORTS: Duration = Duration::from_millis(2_500);

fn sidecar(pod: &Pod) -> PodSidecar {
    let target = objects::target_at("db", "orders-db.example", PORT, None, "nobody", "nothing");
    pod.sidecar(&(target + &Policy::default().yaml()), &format!("{TARGET} orders-db.example\n")).unwrap()
}

fn fenced() -> (Pod, PodSidecar) {
    let pod = Pod::new().unwrap();
    pod.fence().unwrap();
    let sidecar = sidecar(&pod);
    pod.verify().unwrap();
    pod.settle().unwrap();
    pod.tap().forget();
    (pod, sidecar)
}

/// What left the pod since the last look.
fn left(pod: &Pod) -> Vec<Packet> {
    pod.settle().unwrap();
    let packets = pod.tap().packets();
    pod.tap().forget();
    packets
}

fn device(pod: &Pod) -> u32 {
    pod.shell("ip -o link show eth0 | cut -d: -f1").unwrap().trim().parse().unwrap()
}

/// All at once, as the agent.
fn tried(pod: &Pod, all: &[Attack]) -> Vec<Ended> {
    pod.within(AGENT, || {
        std::thread::scope(|scope| {
            let running: Vec<_> = all.iter().map(|attack| scope.spawn(&attack.run)).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        })
    })
    .unwrap()
}

#[test]
fn what_leaves_an_open_pod_does_not_leave_a_fenced_one() {
    if !can_run() {
        return;
    }
    let open = Pod::new().unwrap();
    let all = attacks::all(device(&open));
    let ends = tried(&open, &all);
    let seen = left(&open);
    for (attack, ended) in all.iter().zip(ends) {
        let missing = attack.needs_an_answer() && ended == Ended::NoProtocol;
        assert!(missing || seen.iter().any(|packet| attack.is(packet)), "{} without a fence: {ended:?}", attack.name);
    }

    let (pod, mut sidecar) = fenced();
    let all = attacks::all(device(&pod));
    for (attack, ended) in all.iter().zip(tried(&pod, &all)) {
        assert!(attack.ends.contains(&ended), "{}: {ended:?}", attack.name);
    }
    assert_eq!(left(&pod), []);
    // The loopback of IPv6 gone: what is redirected there has nowhere to go.
    pod.shell("ip -6 addr del ::1/128 dev lo").unwrap();
    tried(&pod, &attacks::bound_to_device());
    assert_eq!(left(&pod), []);
    // And with no sidecar at all.
    sidecar.kill9();
    for (attack, ended) in all.iter().zip(tried(&pod, &all)) {
        assert!(!matches!(ended, Ended::Sent | Ended::Answered), "{}, no sidecar: {ended:?}", attack.name);
    }
    assert_eq!(left(&pod), []);
}

/// Protocols that this kernel may have no sockets for, sent by hand, with more rights than any container of the pod has.
#[test]
fn no_other_protocol_of_ip_leaves() {
    if !can_run() {
        return;
    }
    let protocols: [u8; 8] = [4, 33, 41, 47, 50, 132, 136, 253];
    let send = || {
        let all = protocols.iter().flat_map(|number| [(IpAddr::V4(V4), *number), (V6.into(), *number)]);
        all.map(|(ip, number)| {
            let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(number)))).unwrap();
            let sent = socket.send_to(LEAK, &SocketAddr::new(ip, 0).into());
            (ip, number, sent.map_err(|error| error.kind()))
        })
        .collect::<Vec<_>>()
    };
    let open = Pod::new().unwrap();
    let tried = open.within(0, send).unwrap();
    let seen = left(&open);
    for (ip, number, sent) in tried {
        assert_eq!(sent, Ok(LEAK.len()), "{number} to {ip} without a fence");
        let is = |packet: &&Packet| (packet.protocol, packet.destination) == (number, Some(ip));
        assert!(seen.iter().any(|packet| is(&packet) && packet.contains(LEAK)), "{number} to {ip} without a fence");
    }
    let (pod, _sidecar) = fenced();
    for (ip, number, sent) in pod.within(0, send).unwrap() {
        assert_eq!(sent, Err(ErrorKind::PermissionDenied), "{number} to {ip}");
    }
    assert_eq!(left(&pod), []);
}

#[test]
fn the_sidecars_ports_cannot_be_dialled_straight() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    for (place, tcp, udp) in pod.within(AGENT, attacks::straight).unwrap() {
        assert_eq!((tcp, udp), (Ended::Closed, Ended::Denied), "{place}");
    }
    // Nor from outside, but for health.
    let outside = |port| {
        let place = SocketAddr::new(POD_V4.parse().unwrap(), port);
        pod.without(|| TcpStream::connect_timeout(&place, Duration::from_millis(700)).is_ok()).unwrap()
    };
    assert_eq!([15_001, 15_053, HEALTH].map(outside), [false, false, true]);
}

#[test]
fn a_join_sends_no_report() {
    if !can_run() {
        return;
    }
    // The last bytes of the groups are the agent's own.
    let join = || {
        let v4 = UdpSocket::bind("0.0.0.0:0").unwrap();
        v4.join_multicast_v4(&Ipv4Addr::new(239, 76, 69, 75), &POD_V4.parse().unwrap()).unwrap();
        let v6 = UdpSocket::bind("[::]:0").unwrap();
        v6.join_multicast_v6(&"ff05::4c45:414b".parse().unwrap(), 0).unwrap();
        // Leaving is told too.
        drop((v4, v6));
        std::thread::sleep(REPORTS);
    };
    let told = |packets: &[Packet]| {
        [&[239, 76, 69, 75][..], &[0x4c, 0x45, 0x41, 0x4b]].map(|group| packets.iter().any(|p| p.contains(group)))
    };
    let open = Pod::new().unwrap();
    open.within(AGENT, join).unwrap();
    assert_eq!(told(&left(&open)), [true, true], "without a fence");
    let (pod, _sidecar) = fenced();
    pod.within(AGENT, join).unwrap();
    assert_eq!(left(&pod), []);
}

fn is_syn(packet: &Packet) -> bool {
    packet.protocol == 6 && packet.payload.get(13).is_some_and(|flags| flags & 2 != 0)
}

#[test]
fn who_knocks_from_outside_hears_nothing() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    // Both families.
    let listen = |port| pod.within(AGENT, || TcpListener::bind(("::", port)).unwrap()).unwrap();
    let (closed, declared) = (listen(9_999), listen(INBOUND));
    let udp = pod.within(AGENT, || UdpSocket::bind("[::]:9999").unwrap()).unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let knock = |ip: &str, port| {
        let place = SocketAddr::new(ip.parse().unwrap(), port);
        pod.without(|| TcpStream::connect_timeout(&place, Duration::from_millis(700)).map_err(|e| e.kind())).unwrap()
    };
    for ip in [POD_V4, POD_V6] {
        for port in [9_999, 9_998] {
            assert_eq!(knock(ip, port).unwrap_err(), ErrorKind::TimedOut, "{ip}:{port}");
        }
        let from = if ip == POD_V4 { "0.0.0.0:0" } else { "[::]:0" };
        pod.without(|| UdpSocket::bind(from).unwrap().send_to(b"knock", (ip, 9_999)).unwrap()).unwrap();
        assert_eq!(ping(&pod, ip), Ended::Silence, "{ip}");
    }
    pod.shell_outside("ip neigh flush all").unwrap();
    assert!(udp.recv_from(&mut [0; 64]).is_err());
    closed.set_nonblocking(true).unwrap();
    assert!(closed.accept().is_err());
    assert_eq!(left(&pod), []);
    // Without a fence a ping has an answer.
    let open = Pod::new().unwrap();
    assert_eq!([POD_V4, POD_V6].map(|ip| ping(&open, ip)), [Ended::Answered; 2]);
    // What is declared is open, and says how a knock looks that is answered.
    for ip in [POD_V4, POD_V6] {
        let mut stream = knock(ip, INBOUND).unwrap();
        declared.accept().unwrap().0.write_all(b"welcome").unwrap();
        let mut heard = [0; 7];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"welcome");
    }
}

/// From outside.
fn ping(pod: &Pod, ip: &str) -> Ended {
    pod.shell_outside("echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range").unwrap();
    pod.without(|| attacks::echo(ip.parse().unwrap())).unwrap()
}

#[test]
fn nothing_that_is_said_leads_anywhere() {
    if !can_run() {
        return;
    }
    let (pod, sidecar) = fenced();
    let synthetic = synthetic(&sidecar);
    // A ClientHello and an HTTP request for the target, to the attacker's address and to the target's real one: a name
    // in the bytes opens nothing, nor does an address that only the sidecar may know.
    let hello = [b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03".as_slice(), &[7; 32], b"orders-db.example"].concat();
    let requests: [&[u8]; 3] =
        [&hello, b"GET / HTTP/1.1\r\nHost: orders-db.example\r\n\r\n", b"CONNECT orders-db.example:5432\r\n\r\n"];
    for place in [IpAddr::V4(V4), V6.into(), TARGET.into(), OUTSIDE_V4.parse().unwrap()] {
        for request in requests {
            assert!(answer(&pod, (place, PORT).into(), request).is_err(), "{place}");
        }
    }
    // Garbage at the target's own address and port: closed, and the target is never dialled.
    for garbage in [b"\0\0\0\0\0\0\0\0".as_slice(), &[0xff; 64], b"SSH-2.0-x\r\n", requests[1]] {
        let heard = answer(&pod, (synthetic, PORT).into(), garbage).unwrap_or_default();
        assert!(heard.first().is_none_or(|first| *first == b'E'), "{heard:?}");
    }
    // Silence is closed when the time of a handshake is over.
    let begun = Instant::now();
    assert!(answer(&pod, (synthetic, PORT).into(), b"").is_ok_and(|heard| heard.is_empty() || heard.starts_with(b"E")));
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(left(&pod), []);
}

/// The address of the target's name.
fn synthetic(sidecar: &PodSidecar) -> IpAddr {
    let list = fs::read_to_string(sidecar.addresses()).unwrap();
    let (address, name) = list.trim().split_once(' ').unwrap();
    assert_eq!(name, "orders-db.example");
    address.parse().unwrap()
}

/// Everything that comes back until the end.
fn answer(pod: &Pod, place: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    pod.within(AGENT, || {
        let mut stream = TcpStream::connect_timeout(&place, PATIENCE)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request)?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        Ok(heard)
    })
    .unwrap()
}

/// Fewer bytes than decide anything, and never silence.
#[test]
fn a_drip_of_bytes_is_closed_in_the_time_of_a_handshake() {
    if !can_run() {
        return;
    }
    let (pod, sidecar) = fenced();
    let place = SocketAddr::new(synthetic(&sidecar), PORT);
    let long_startup = [b"\0\0\x27\x10\0\x03\0\0user\0".as_slice(), &[b'x'; 500]].concat();
    let hello = [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".as_slice(), &[7; 500]].concat();
    let http = b"GET /LEAK-of-the-agent HTTP/1.1\r\nHost: orders-db.example\r\n\r\n".repeat(8);
    let drips = [("a startup packet", long_startup), ("TLS", hello), ("HTTP", http)];
    let ended = pod
        .within(AGENT, || {
            std::thread::scope(|scope| {
                let running: Vec<_> = drips.iter().map(|(_, words)| scope.spawn(|| drip(place, words))).collect();
                running.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
            })
        })
        .unwrap();
    for ((what, words), (sent, took, heard)) in drips.iter().zip(ended) {
        println!("{what}: closed after {sent} of {} bytes and {took:?}, with {heard:?}", words.len());
        assert!(sent < words.len() && took < HANDSHAKE + PATIENCE, "{what}: {sent} bytes in {took:?}");
        assert!(heard.first().is_none_or(|first| matches!(first, b'E' | 0x15)), "{what}: {heard:?}");
    }
    assert_eq!(left(&pod), []);
}

/// One byte after the other until it is closed: how many were sent, in which time, and what was heard.
fn drip(place: SocketAddr, words: &[u8]) -> (usize, Duration, Vec<u8>) {
    let (mut stream, begun) = (TcpStream::connect_timeout(&place, PATIENCE).unwrap(), Instant::now());
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DRIP)).unwrap();
    let mut heard = Vec::new();
    for (sent, byte) in words.iter().enumerate() {
        let mut part = [0; 512];
        // The read is the pause.
        match stream.write_all(&[*byte]).and_then(|()| stream.read(&mut part)) {
            Ok(0) => return (sent, begun.elapsed(), heard),
            Ok(read) => heard.extend(part.iter().take(read)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return (sent, begun.elapsed(), heard),
        }
    }
    (words.len(), begun.elapsed(), heard)
}
