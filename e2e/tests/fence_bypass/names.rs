//! Names that lead inward, told by a file or by a hostile resolver: the sidecar asks for its targets' names alone, and dials
//! none of the pod's own addresses, the link's or a cloud's metadata. Oracles: the agent's own listener, the resolver's
//! own list of questions, and the wire.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use e2e::pod::{AGENT, OUTSIDE_V4, POD_V4, POD_V6, Packet, Pod, PodSidecar, SIDECAR, can_run};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::resolver::Resolver;
use super::{PATIENCE, PORT, TARGET, answer, fenced, is_syn, left, synthetic};

const NAME: &str = "orders-db.example";
const DNS: u16 = 53;
/// Where somebody else may be meant, of each family.
const GOOD_V4: &str = "203.0.113.7";
const GOOD_V6: &str = "2001:db8:7::7";
/// What no database is at.
const INWARD: [&str; 31] = [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    POD_V4,
    POD_V6,
    "::ffff:10.77.0.2",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a9fe:a9fe",
    "::7f00:1",
    "::ffff:0:7f00:1",
    "2001:0:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::23",
    "fd20:ce::254",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "ff02::1",
    "ff05::2",
];
/// Its user is a name too: nobody may be asked for it.
const STARTUP: &[u8] = b"\0\0\0\x31\0\x03\0\0user\0leak.attacker.example\0database\0app\0\0";

/// A listener of the agent, everywhere in the pod, which never hears anything.
struct Trap(TcpListener);

// === impl Trap ===

impl Trap {
    fn set(pod: &Pod) -> Self {
        let trap = Self(pod.within(AGENT, || TcpListener::bind(("::", PORT)).unwrap()).unwrap());
        // Whoever dials the pod is heard, the sidecar too.
        for ip in ["127.0.0.1", "127.9.9.9", "::1", POD_V4, POD_V6] {
            let place = SocketAddr::new(ip.parse().unwrap(), PORT);
            pod.within(SIDECAR, || TcpStream::connect_timeout(&place, PATIENCE).unwrap()).unwrap();
            trap.0.accept().unwrap();
        }
        trap.0.set_nonblocking(true).unwrap();
        trap
    }

    fn is_silent(&self, why: &str) {
        let heard = self.0.accept();
        assert!(heard.is_err(), "{why}: the agent's trap was dialled: {heard:?}");
    }
}

/// What the agent is told when it wants to log in.
fn told(pod: &Pod, synthetic: IpAddr) -> String {
    String::from_utf8_lossy(&answer(pod, (synthetic, PORT).into(), STARTUP).unwrap_or_default()).into_owned()
}

/// Which addresses were dialled since the last look. Whatever else left the pod is a query for the target's name, to the
/// resolver.
fn dialled(pod: &Pod, what: &str) -> Vec<IpAddr> {
    let (dns, rest): (Vec<_>, Vec<_>) = left(pod).into_iter().partition(|packet| packet.port() == Some(DNS));
    for packet in dns {
        let to = (packet.protocol, packet.destination);
        assert_eq!(to, (17, Some(OUTSIDE_V4.parse().unwrap())), "{what}: {packet:?}");
        let query = Message::from_vec(packet.payload.get(8..).unwrap()).unwrap();
        let names: Vec<String> = query.queries.iter().map(|query| query.name.to_ascii()).collect();
        assert_eq!(names, [format!("{NAME}.")], "{what}");
    }
    let tcp = |packet: &Packet| packet.protocol == 6 && packet.port() == Some(PORT);
    assert!(rest.iter().all(tcp), "{what}: {rest:?}");
    let mut to: Vec<IpAddr> =
        rest.iter().filter(|packet| is_syn(packet)).filter_map(|packet| packet.destination).collect();
    assert!(rest.iter().all(|packet| packet.destination.is_some_and(|ip| to.contains(&ip))), "{what}: {rest:?}");
    to.dedup();
    to
}

#[test]
fn a_name_that_resolves_into_the_pod_or_to_the_link_is_not_dialled() {
    if !can_run() {
        return;
    }
    let (pod, sidecar) = fenced();
    let (synthetic, trap) = (synthetic(&sidecar), Trap::set(&pod));
    let ask = |address: &str| {
        sidecar.set_hosts(&format!("{address} {NAME}\n")).unwrap();
        told(&pod, synthetic)
    };
    for address in INWARD {
        let said = ask(address);
        assert!(said.contains("it cannot be reached"), "{address}: {said}");
        trap.is_silent(address);
        assert_eq!(left(&pod), [], "{address}");
    }
    // The same name, elsewhere, is dialled: the tests above can fail.
    ask(GOOD_V4);
    assert_eq!(dialled(&pod, GOOD_V4), [IpAddr::from(TARGET)]);
}

/// How the sidecar's log names what it did not dial.
fn refused(sidecar: &PodSidecar) -> usize {
    sidecar.log().matches("which does not lead out of the pod: it is not dialled").count()
}

#[test]
fn a_hostile_resolver_leads_nowhere_but_out() {
    if !can_run() {
        return;
    }
    let (pod, sidecar) = fenced();
    let (synthetic, trap, resolver) = (synthetic(&sidecar), Trap::set(&pod), Resolver::start(&pod));
    // Only the resolver knows the target.
    sidecar.set_hosts("127.0.0.1 localhost\n::1 localhost\n").unwrap();
    let (v4, v6): (IpAddr, IpAddr) = (GOOD_V4.parse().unwrap(), GOOD_V6.parse().unwrap());

    // Each turn of answers, and what of it is dialled.
    let tried = |turns: &[&[&str]], dials: &[&[IpAddr]]| {
        resolver.says(turns);
        for (number, expected) in dials.iter().enumerate() {
            let what = format!("{turns:?}, lookup {number}");
            let before = refused(&sidecar);
            let said = told(&pod, synthetic);
            assert!(said.contains("it cannot be reached"), "{what}: {said}");
            trap.is_silent(&what);
            let mut to = dialled(&pod, &what);
            to.sort_unstable();
            assert_eq!(to, *expected, "{what}");
            // Its log has the last reason of several.
            if let ([inward], []) = (turns[number], expected) {
                let address = usize::from(inward.parse::<IpAddr>().is_ok());
                assert_eq!(refused(&sidecar) - before, address, "{what}: {}", sidecar.log());
            }
        }
        let asked = resolver.asked();
        assert!(asked.len() >= 2 * dials.len(), "{turns:?}: {asked:?}");
        assert!(asked.iter().all(|(name, _)| *name == format!("{NAME}.")), "{turns:?}: {asked:?}");
    };
    for inward in INWARD {
        tried(&[&[inward]], &[&[]]);
        // Behind an alias, which may have a name that means something here.
        for alias in ["inward.attacker.example.", "localhost.", "metadata.google.internal."] {
            tried(&[&[alias, inward]], &[&[]]);
        }
        // Beside good ones, in both orders and families. Nobody answers there, so all of them are gone through.
        for (good, dials) in [(GOOD_V4, v4), (GOOD_V6, v6)] {
            tried(&[&[inward, good]], &[&[dials]]);
            tried(&[&[good, inward]], &[&[dials]]);
        }
        // Good first, and inward when it is asked again; and the other way.
        tried(&[&[GOOD_V4], &[inward]], &[&[v4], &[]]);
        tried(&[&[GOOD_V4, GOOD_V6], &[inward]], &[&[v4, v6], &[]]);
        tried(&[&[inward], &[GOOD_V4]], &[&[], &[v4]]);
    }
    // An alias without an address, and no answer at all.
    tried(&[&["localhost."]], &[&[]]);
    tried(&[&["orders-db.example."]], &[&[]]);
    tried(&[&[]], &[&[]]);
    tried(&[&INWARD], &[&[]]);
}

#[test]
fn a_name_that_the_agent_invents_is_nobodys_question() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    let resolver = Resolver::start(&pod);
    resolver.says(&[&[GOOD_V4]]);
    let there = SocketAddr::new(OUTSIDE_V4.parse().unwrap(), DNS);
    let ask = |name: &str, kind| {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query.to_vec().unwrap(), there).unwrap();
        let mut answer = [0; 1_500];
        let (length, _) = socket.recv_from(&mut answer).unwrap();
        Message::from_vec(&answer[..length]).unwrap()
    };
    for name in ["leak.attacker.example.", "leak.orders-db.example.", "orders-db.example.attacker.example.", "leak."] {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
            let told = pod.within(AGENT, || ask(name, kind)).unwrap();
            assert_eq!((told.metadata.response_code, told.answers.len()), (ResponseCode::NXDomain, 0), "{name}");
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((resolver.asked(), left(&pod)), (vec![], vec![]));
    // The resolver hears who gets through to it.
    pod.within(SIDECAR, || ask(&format!("{NAME}."), RecordType::A)).unwrap();
    assert_eq!(resolver.asked(), [(format!("{NAME}."), RecordType::A)]);
}
