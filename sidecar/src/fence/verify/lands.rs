//! What has to land in the sidecar: TCP to any port of any address, and DNS. The answer is compared, since a connection
//! that merely works may have gone anywhere. And what stays inside the pod has to stay direct.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::network::Network;
use super::{Probe, left, no_way, unknown_protocol};
use crate::fence::probe::{ADDRESS_V4, ADDRESS_V6, Nonce};
use crate::fence::ruleset::{DNS_PORT, TCP_PORT};

/// Some that meshes leave out, and the sidecar's own behind an address of elsewhere.
const PORTS: [u16; 11] = [1, 22, 80, 443, 4_567, 5_432, 6_443, 15_020, TCP_PORT, DNS_PORT, u16::MAX];
const DNS: u16 = 53;
/// No answer of the sidecar is longer.
const LONGEST: u64 = 256;

/// Ways to say TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tcp,
    /// Multipath TCP.
    Mptcp,
    /// IPv4 from an IPv6 socket.
    Mapped,
}

pub(super) fn probes(nonce: &Nonce, network: &Network) -> Vec<Probe> {
    let mut probes = Vec::new();
    for address in [IpAddr::V4(ADDRESS_V4), IpAddr::V6(ADDRESS_V6)] {
        let routed = network.leads_to(address);
        let ports = PORTS.iter().map(|port| (Way::Tcp, *port)).chain([(Way::Mptcp, 443)]);
        for (way, port) in ports.chain(address.is_ipv4().then_some((Way::Mapped, 443))) {
            probes.push(tcp(way, SocketAddr::new(address, port), nonce.clone(), routed));
        }
        probes.push(dns_by_udp(SocketAddr::new(address, DNS), nonce.clone(), routed));
        probes.push(dns_by_tcp(SocketAddr::new(address, DNS), nonce.clone(), routed));
    }
    let loopbacks = network.own.iter().filter(|address| address.is_loopback());
    probes.extend(loopbacks.map(|address| within(*address)));
    probes
}

/// Says nothing, so that the sidecar answers by the destination alone.
fn tcp(way: Way, destination: SocketAddr, nonce: Nonce, routed: bool) -> Probe {
    let run = move |give_up: Instant| {
        let Some(mut stream) = dial(way, destination, routed, give_up)? else { return Ok(()) };
        let mut said = Vec::new();
        // What came before an error counts: the text is whole or it is not.
        let ended = (&mut stream).take(LONGEST).read_to_end(&mut said);
        if said == nonce.greeting(destination).as_bytes() {
            return Ok(());
        }
        match (said.is_empty(), ended) {
            (true, Err(error)) => Err(format!("connected, and the sidecar did not answer: {error}")),
            (true, Ok(_)) => Err("connected, and closed without the sidecar's answer".to_owned()),
            (false, _) => Err("connected to something that is not this pod's sidecar".to_owned()),
        }
    };
    Probe { what: format!("{way:?} to {destination}"), run: Box::new(run) }
}

/// `None` when there is nobody whom it could reach.
fn dial(way: Way, destination: SocketAddr, routed: bool, give_up: Instant) -> Result<Option<TcpStream>, String> {
    let (domain, address) = match (way, destination) {
        (Way::Mapped, SocketAddr::V4(v4)) => (Domain::IPV6, SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))),
        _ => (Domain::for_address(destination), destination),
    };
    let protocol = if way == Way::Mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = match Socket::new(domain, Type::STREAM, Some(protocol)) {
        Ok(socket) => socket,
        Err(error) if way != Way::Tcp && unknown_protocol(&error) => return Ok(None),
        Err(error) if !routed && no_way(&error) => return Ok(None),
        Err(error) => return Err(format!("no socket: {error}")),
    };
    match socket.connect_timeout(&SockAddr::from(address), left(give_up)) {
        Ok(()) => {}
        Err(error) if !routed && no_way(&error) => return Ok(None),
        Err(error) => return Err(format!("did not reach the sidecar: {error}")),
    }
    socket.set_read_timeout(Some(left(give_up))).map_err(|e| e.to_string())?;
    Ok(Some(TcpStream::from(socket)))
}

/// By a connected socket, which takes an answer only from the address that it asked.
fn dns_by_udp(destination: SocketAddr, nonce: Nonce, routed: bool) -> Probe {
    let run = move |give_up: Instant| {
        let any: IpAddr =
            if destination.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(destination).map(|()| socket));
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) if !routed && no_way(&error) => return Ok(()),
            Err(error) => return Err(format!("no socket: {error}")),
        };
        let (query, bytes) = question(&nonce)?;
        socket.send(&bytes).map_err(|e| format!("cannot be asked: {e}"))?;
        socket.set_read_timeout(Some(left(give_up))).map_err(|e| e.to_string())?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).map_err(|e| format!("the sidecar did not answer: {e}"))?;
        is_answer(&query, answer.get(..length).unwrap_or_default())
    };
    Probe { what: format!("DNS over UDP to {destination}"), run: Box::new(run) }
}

fn dns_by_tcp(destination: SocketAddr, nonce: Nonce, routed: bool) -> Probe {
    let run = move |give_up: Instant| {
        let Some(mut stream) = dial(Way::Tcp, destination, routed, give_up)? else { return Ok(()) };
        let (query, bytes) = question(&nonce)?;
        let length = u16::try_from(bytes.len()).map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        let told = stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).and_then(|()| {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            stream.take(u64::from(u16::from_be_bytes(length))).read_to_end(&mut answer)
        });
        told.map_err(|e| format!("the sidecar did not answer: {e}"))?;
        is_answer(&query, &answer)
    };
    Probe { what: format!("DNS over TCP to {destination}"), run: Box::new(run) }
}

fn question(nonce: &Nonce) -> Result<(Message, Vec<u8>), String> {
    let name = Name::from_ascii(nonce.name()).map_err(|e| e.to_string())?;
    let mut query = Message::query();
    query.add_query(Query::query(name, RecordType::A));
    let bytes = query.to_vec().map_err(|e| e.to_string())?;
    Ok((query, bytes))
}

fn is_answer(query: &Message, bytes: &[u8]) -> Result<(), String> {
    let answer = Message::from_vec(bytes).map_err(|e| format!("the answer is not DNS: {e}"))?;
    let fits = answer.metadata.id == query.metadata.id
        && answer.queries == query.queries
        && answer.metadata.response_code == ResponseCode::NoError;
    let says = |record: &hickory_proto::rr::Record| matches!(&record.data, RData::A(a) if a.0 == ADDRESS_V4);
    match answer.answers.as_slice() {
        [record] if fits && says(record) => Ok(()),
        _ => Err(format!("answered ({}) by something that is not this pod's sidecar", answer.metadata.response_code)),
    }
}

/// Containers of one pod reach each other without the sidecar.
fn within(address: IpAddr) -> Probe {
    let run = move |give_up: Instant| {
        let listener = TcpListener::bind((address, 0)).map_err(|e| format!("cannot listen: {e}"))?;
        let there = listener.local_addr().map_err(|e| e.to_string())?;
        let stream = TcpStream::connect_timeout(&there, left(give_up)).map_err(|e| format!("is cut off: {e}"))?;
        listener.set_nonblocking(true).map_err(|e| e.to_string())?;
        // A connection that is there for us is in the queue already.
        let (_, peer) = listener.accept().map_err(|e| format!("went elsewhere: {e}"))?;
        if stream.local_addr().is_ok_and(|ours| ours == peer) {
            Ok(())
        } else {
            Err("somebody else's connection came".to_owned())
        }
    };
    Probe { what: format!("TCP inside the pod, to {address}"), run: Box::new(run) }
}
