//! Names in a pod behind the fence: those of targets have an address that stays, there are no others, and no query ever
//! leaves. Oracles: the server's log, and the wire.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use e2e::objects;
use e2e::pod::{AGENT, OUTSIDE_V4, Pod, can_run, said};
use e2e::postgres::{DATABASE, Programs};
use e2e::world::{self, Policy, ROLE, ROLE_PASSWORD};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

const NAME: &str = "orders-db.example";
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a TCP connection to our DNS.
const LIFE: Duration = Duration::from_secs(5);
const RESOLVERS: [&str; 4] = ["10.77.0.1:53", "8.8.8.8:53", "[fd77::1]:53", "[2001:4860:4860::8888]:53"];

fn target(name: &str, host: &str) -> String {
    objects::target_at(name, host, 5_432, None, ROLE, ROLE_PASSWORD)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn by_udp(resolver: SocketAddr, query: &Message) -> Message {
    let any: SocketAddr = if resolver.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    // Only the resolver that was asked may answer.
    socket.connect(resolver).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&query.to_vec().unwrap()).unwrap();
    let mut answer = vec![0; 1_500];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    Message::from_vec(&answer).unwrap()
}

fn by_tcp(resolver: SocketAddr, query: &Message) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&resolver, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let bytes = query.to_vec().unwrap();
    stream.write_all(&[&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes.as_slice()].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(Message::from_vec(&answer).unwrap())
}

fn address(message: &Message) -> Option<Ipv4Addr> {
    match message.answers.as_slice() {
        [record] => match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        },
        _ => None,
    }
}

/// What the agent learns of a name, from the first resolver.
fn looked_up(pod: &Pod, name: &str) -> Option<Ipv4Addr> {
    let ask = || address(&by_udp(SocketAddr::new(OUTSIDE_V4.parse().unwrap(), 53), &query(name, RecordType::A)));
    pod.within(AGENT, ask).unwrap()
}

#[test]
fn names_of_targets_lead_to_them_and_no_query_leaves() {
    if !can_run() {
        return;
    }
    let server = world::server().unwrap();
    let pod = Pod::new().unwrap();
    pod.fence().unwrap();
    pod.relay(5_432, server.port()).unwrap();
    let policy = Policy::default().yaml();
    let mut sidecar = pod.sidecar(&(target("db", NAME) + &policy), &format!("203.0.113.7 {NAME}\n")).unwrap();

    let synthetic = looked_up(&pod, "orders-db.example.").unwrap();
    assert_eq!(synthetic.octets()[..2], [198, 18]);
    pod.within(AGENT, || {
        for resolver in RESOLVERS.map(|resolver| resolver.parse::<SocketAddr>().unwrap()) {
            for ask in [|r, q: &Message| by_udp(r, q), |r, q: &Message| by_tcp(r, q).unwrap()] {
                let told = ask(resolver, &query("ORDERS-db.example.", RecordType::A));
                assert_eq!(address(&told), Some(synthetic), "{resolver}");
                for kind in [RecordType::AAAA, RecordType::HTTPS, RecordType::SVCB, RecordType::TXT] {
                    let told = ask(resolver, &query("orders-db.example.", kind));
                    assert_eq!((told.metadata.response_code, told.answers.len()), (ResponseCode::NoError, 0), "{kind}");
                }
                for name in ["secret-data.attacker.example.", "x.orders-db.example.", "localhost.", "db."] {
                    let told = ask(resolver, &query(name, RecordType::A));
                    assert_eq!(
                        (told.metadata.response_code, told.answers.len()),
                        (ResponseCode::NXDomain, 0),
                        "{name}"
                    );
                }
            }
        }
    })
    .unwrap();
    pod.settle().unwrap();
    assert_eq!(pod.tap().packets(), []);

    // A client that knows nothing of us.
    let folder = tempfile::tempdir().unwrap();
    let resolv = folder.path().join("resolv.conf");
    fs::write(&resolv, format!("nameserver {OUTSIDE_V4}\n")).unwrap();
    let ca = sidecar.ca_file();
    let select = || {
        let psql = Programs::find().unwrap().client("psql");
        let mut command = pod.command_with(AGENT, psql, &resolv, "/etc/resolv.conf");
        command.args(["-XAtq", "-c", "SELECT name FROM customers WHERE id = 2 -- by name"]);
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("PGCONNECT_TIMEOUT", "5");
        command.envs([("PGHOST", NAME), ("PGUSER", "anybody"), ("PGDATABASE", DATABASE), ("PGSSLMODE", "verify-full")]);
        command.env("PGSSLROOTCERT", &ca);
        said(&command.output().unwrap())
    };
    assert_eq!(select(), "Bob\n");
    assert!(server.executed().iter().any(|text| text.contains("customers")));
    pod.settle().unwrap();
    assert!(pod.tap().packets().iter().all(|packet| packet.port() == Some(5_432)), "{:?}", pod.tap().packets());

    // A target that is added, and a crash: the address is the same.
    sidecar.write(&(target("aaa", "aaa.example") + &target("db", NAME) + &policy)).unwrap();
    e2e::wait::eventually("the new name", PATIENCE, || looked_up(&pod, "aaa.example.").is_some()).unwrap();
    let added = looked_up(&pod, "aaa.example.");
    assert_ne!(added, Some(synthetic));
    sidecar.kill9();
    sidecar.start(&pod).unwrap();
    assert_eq!((looked_up(&pod, "orders-db.example."), looked_up(&pod, "aaa.example.")), (Some(synthetic), added));
    assert_eq!(select(), "Bob\n");
}

#[test]
fn a_flood_is_bounded_and_passes() {
    if !can_run() {
        return;
    }
    let pod = Pod::new().unwrap();
    pod.fence().unwrap();
    let _sidecar = pod.sidecar(&(target("db", NAME) + &Policy::default().yaml()), "").unwrap();
    let resolver: SocketAddr = RESOLVERS[0].parse().unwrap();
    pod.within(AGENT, || {
        let asked = query("orders-db.example.", RecordType::A);
        let begun = Instant::now();
        let silent: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(resolver).unwrap()).collect();
        assert!(by_tcp(resolver, &asked).is_err(), "over the bound");
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..20_000u32 {
            let _full = socket.send_to(&number.to_be_bytes().repeat(100), resolver);
        }
        e2e::wait::eventually("an answer after the flood", PATIENCE, || {
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            socket.send_to(&asked.to_vec().unwrap(), resolver).unwrap();
            let mut answer = [0; 512];
            // Behind what is said of the flood.
            while let Ok(length) = socket.recv(&mut answer) {
                if Message::from_vec(&answer[..length]).is_ok_and(|told| told.metadata.id == asked.metadata.id) {
                    return true;
                }
            }
            false
        })
        .unwrap();
        // Silence does not hold the places.
        e2e::wait::eventually("a free place", 2 * LIFE, || by_tcp(resolver, &asked).is_ok()).unwrap();
        assert!(begun.elapsed() >= LIFE / 2, "the places were taken: {:?}", begun.elapsed());
        drop(silent);
    })
    .unwrap();
}
