//! Source ports that the sidecar just used. The kernel still knows their flows, and a packet of the agent that were taken
//! for one of them would leave as the sidecar's.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use e2e::pod::{AGENT, POD_V4, POD_V6, Pod, SIDECAR, can_run};
use e2e::wait;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::attacks::{self, Ended, LEAK, V4, V6};
use super::{MARK, PATIENCE, fenced, left};

const PORT: u16 = 9_999;
const DNS: u16 = 53;
const ROUNDS: usize = 3;

/// How a connection of the sidecar ends, such that its port can be bound at once. Where the sidecar ends it first its own
/// socket waits for a minute, and nobody gets the port.
#[derive(Clone, Copy, Debug)]
enum End {
    ServerCloses,
    SidecarResets,
    ServerResets,
}

// === impl End ===

impl End {
    /// What the kernel has of the flow then.
    fn state(self) -> &'static str {
        match self {
            Self::ServerCloses => "TIME_WAIT",
            Self::SidecarResets | Self::ServerResets => "CLOSE",
        }
    }

    /// How the agent's connection from that port ends. After a reset from the other side the kernel takes a new SYN for one
    /// of the old flow, which was never redirected: then it is the fence that holds it, and not the sidecar.
    fn ends(self) -> Ended {
        match self {
            Self::ServerCloses | Self::SidecarResets => Ended::Reset,
            Self::ServerResets => Ended::Denied,
        }
    }
}

/// A pod, with both addresses of the attacker outside: answers have to come from the address that was asked, or there is
/// no flow to slip into.
fn outside(pod: &Pod) -> [SocketAddr; 2] {
    pod.shell_outside(&format!("ip addr add {V4}/32 dev lo; ip -6 addr add {V6}/128 dev lo")).unwrap();
    [SocketAddr::new(V4.into(), PORT), SocketAddr::new(V6.into(), PORT)]
}

/// Every address of the family, any port or this one.
fn any(there: SocketAddr, port: u16) -> SocketAddr {
    let ip: IpAddr = if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, port)
}

#[test]
fn a_port_that_the_sidecar_just_used_opens_nothing() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    for there in outside(&pod) {
        let echo = pod.without(|| UdpSocket::bind(there).unwrap()).unwrap();
        echo.set_read_timeout(Some(PATIENCE)).unwrap();
        for round in 0..ROUNDS {
            // The same port, a flow that is seconds old.
            let port = pod.within(SIDECAR, || answered(&echo, there)).unwrap();
            left(&pod);
            let send = |to| UdpSocket::bind(any(there, port)).unwrap().send_to(LEAK, to).map_err(|error| error.kind());
            let sent = pod.within(AGENT, || send(there)).unwrap();
            assert_eq!((sent, left(&pod)), (Err(ErrorKind::PermissionDenied), vec![]), "{there}, round {round}");
            // DNS of the sidecar, then of the agent, from the same port to the same resolver.
            let resolver = SocketAddr::new(there.ip(), DNS);
            let ask = || {
                let socket = UdpSocket::bind(any(there, 0)).unwrap();
                socket.send_to(b"query of the sidecar", resolver).unwrap();
                socket.local_addr().unwrap().port()
            };
            let port = pod.within(SIDECAR, ask).unwrap();
            assert_eq!(left(&pod).len(), 1);
            let send = || UdpSocket::bind(any(there, port)).unwrap().send_to(LEAK, resolver).unwrap();
            pod.within(AGENT, send).unwrap();
            assert_eq!(left(&pod), [], "{resolver}, round {round}");
        }
    }
}

/// From this port a question and its answer have just gone.
fn answered(echo: &UdpSocket, there: SocketAddr) -> u16 {
    let from = UdpSocket::bind(any(there, 0)).unwrap();
    from.send_to(b"of the sidecar", there).unwrap();
    let (_, back) = echo.recv_from(&mut [0; 64]).unwrap();
    echo.send_to(b"answer", back).unwrap();
    from.set_read_timeout(Some(PATIENCE)).unwrap();
    from.recv_from(&mut [0; 64]).unwrap();
    from.local_addr().unwrap().port()
}

#[test]
fn a_connection_that_the_sidecar_just_had_opens_nothing() {
    if !can_run() {
        return;
    }
    let (pod, sidecar) = fenced();
    for (there, ours) in outside(&pod).into_iter().zip([POD_V4, POD_V6]) {
        let server = pod.without(|| TcpListener::bind(there).unwrap()).unwrap();
        for end in [End::ServerCloses, End::SidecarResets, End::ServerResets] {
            for round in 0..ROUNDS {
                let what = format!("{there}, {end:?}, round {round}");
                let port = pod.within(SIDECAR, || connected(&server, there, end)).unwrap();
                assert!(!left(&pod).is_empty(), "{what}: the sidecar's own connection shows");
                // Without this the port would be one as any other.
                let known = flows(&pod, port);
                assert!(known.contains(end.state()) && known.contains(&format!("mark={MARK} ")), "{what}: {known:?}");

                let ended = pod.within(AGENT, || attacks::connect_from(bound(any(there, port)), there)).unwrap();
                let out = left(&pod);
                println!("{what}: port {port} bound while the kernel had {}; {ended:?}; out {out:?}", known.trim());
                assert_eq!((ended, out), (end.ends(), vec![]), "{what}");
                server.set_nonblocking(true).unwrap();
                let reached = server.accept().map_err(|error| error.kind());
                assert!(matches!(reached, Err(ErrorKind::WouldBlock)), "{what}: {reached:?}");
                server.set_nonblocking(false).unwrap();
                // Whose it was is in the sidecar's log.
                let line = format!("{there} from {}: no AccessTarget stands for it", place(ours, port));
                let taken = sidecar.log().contains(&line);
                assert_eq!(taken, end.ends() == Ended::Reset, "{what}: `{line}` in {}", sidecar.log());
            }
        }
    }
}

/// That the fence holds the third of them, and nothing else does: without its reject of strangers the agent's connection
/// is the sidecar's to the kernel, and reaches the server.
#[test]
fn without_the_reject_of_strangers_a_reset_flow_would_open() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    let list = "nft -a list chain inet agentaccess fence";
    let strangers = format!("s/.*skuid != {SIDECAR} reject.*# handle //p");
    pod.shell(&format!("nft delete rule inet agentaccess fence handle $({list} | sed -n '{strangers}')")).unwrap();
    for there in outside(&pod) {
        let server = pod.without(|| TcpListener::bind(there).unwrap()).unwrap();
        let port = pod.within(SIDECAR, || connected(&server, there, End::ServerResets)).unwrap();
        left(&pod);
        let ended = pod.within(AGENT, || attacks::connect_from(bound(any(there, port)), there)).unwrap();
        assert!(left(&pod).iter().any(|packet| packet.contains(LEAK)), "{there}: {ended:?}");
    }
}

fn place(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// From this port a connection has been, and has ended like that.
fn connected(server: &TcpListener, there: SocketAddr, end: End) -> u16 {
    let mut stream = TcpStream::connect(there).unwrap();
    let (mut other, _) = server.accept().unwrap();
    let port = stream.local_addr().unwrap().port();
    for side in [&stream, &other] {
        side.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    stream.write_all(b"of the sidecar").unwrap();
    other.read_exact(&mut [0; 14]).unwrap();
    let reset = |stream: TcpStream| SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    match end {
        End::ServerCloses => {
            other.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            drop(stream);
            assert_eq!(other.read(&mut [0]).unwrap(), 0);
        }
        End::SidecarResets => {
            reset(stream);
            assert_eq!(other.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        End::ServerResets => {
            reset(other);
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }
    port
}

/// What the kernel knows of connections from this port to the server.
fn flows(pod: &Pod, port: u16) -> String {
    let all = pod.shell("cat /proc/net/nf_conntrack").unwrap();
    all.lines().filter(|line| line.contains(&format!("sport={port} dport={PORT} "))).collect()
}

/// A socket of the agent on this place. That it can be had is what the whole attack stands on.
fn bound(place: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(place), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    // The last packet of the old connection may still be on its way.
    wait::eventually("the sidecar's port to be free", PATIENCE, || socket.bind(&place.into()).is_ok()).unwrap();
    socket
}
