//! What an agent says behind the fence: other protocols than the declared one, another name in the TLS handshake than
//! that of the target it dialled, and the words of PostgreSQL's own protocol that lead past statements. Oracles: the
//! server's log, and the wire.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use e2e::objects;
use e2e::pod::{AGENT, OUTSIDE_V4, Packet, Pod, PodSidecar, can_run};
use e2e::postgres::{DATABASE, Server};
use e2e::wire::{Login, Wire};
use e2e::world::{self, Policy, ROLE, ROLE_PASSWORD};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

const NAME: &str = "orders-db.example";
/// Another target at the same address of the outside.
const NEIGHBOUR: &str = "other-db.example";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const PORT: u16 = 5_432;
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than the handshake of the sidecar.
const SILENCE: Duration = Duration::from_secs(20);

struct World {
    server: Server,
    pod: Pod,
    sidecar: PodSidecar,
}

// === impl World ===

impl World {
    fn new() -> Self {
        let server = world::server().unwrap();
        let pod = Pod::new().unwrap();
        pod.fence().unwrap();
        pod.relay(PORT, server.port()).unwrap();
        let target = |name: &str, host: &str| objects::target_at(name, host, PORT, None, ROLE, ROLE_PASSWORD);
        let objects = target("db", NAME) + &target("other", NEIGHBOUR) + &Policy::default().yaml();
        let sidecar = pod.sidecar(&objects, &format!("{ADDRESS} {NAME} {NEIGHBOUR}\n")).unwrap();
        pod.verify().unwrap();
        pod.settle().unwrap();
        pod.tap().forget();
        Self { server, pod, sidecar }
    }

    /// Where the target is for the agent.
    fn place(&self) -> SocketAddr {
        let list = fs::read_to_string(self.sidecar.addresses()).unwrap();
        let mine = list.lines().find_map(|line| line.strip_suffix(NAME)).unwrap();
        SocketAddr::new(mine.trim().parse().unwrap(), PORT)
    }

    fn dial(&self, place: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.pod.within(AGENT, || TcpStream::connect_timeout(&place, PATIENCE)).unwrap()?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(stream)
    }

    fn agent(&self) -> Wire {
        let login = Login::new("anybody", "", DATABASE);
        Wire::over(self.dial(self.place()).unwrap()).unwrap().log_in(&login).unwrap()
    }

    /// What left the pod since the last look.
    fn left(&self) -> Vec<Packet> {
        self.pod.settle().unwrap();
        let packets = self.pod.tap().packets();
        self.pod.tap().forget();
        packets
    }

    /// How many connections the server has had, whatever became of them.
    fn connections(&self) -> usize {
        self.server.log_text().matches("connection received").count()
    }
}

/// Everything that comes back until the end; `None`: it was reset.
fn heard(mut stream: TcpStream, words: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let said = stream.write_all(words).and_then(|()| stream.read_to_end(&mut all));
    match said {
        Ok(_) => Some(all),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => None,
        Err(error) => panic!("neither answered nor ended: {error}"),
    }
}

/// The first words of protocols that no target of the pod declares: two requests for different hosts on one connection,
/// both forms of HTTP, a call of the Kubernetes API with a token, SSH with a request to forward.
fn others() -> Vec<(&'static str, u16, Vec<u8>)> {
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let review = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: kubernetes.default.svc\r\n\
                  Authorization: Bearer x.y.z\r\nImpersonate-User: system:admin\r\nContent-Length: 2\r\n\r\n{}";
    vec![
        ("HTTP, kept alive", 80, (get(NAME) + &get("evil.example")).into_bytes()),
        ("HTTP/2", 80, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("a proxy's CONNECT", 3_128, format!("CONNECT {NAME}:{PORT} HTTP/1.1\r\n\r\n").into_bytes()),
        ("TLS", 443, hello(NAME)),
        ("Kubernetes", 6_443, review.as_bytes().to_vec()),
        ("SSH", 22, b"SSH-2.0-OpenSSH_9.2\r\n\0\0\0\x0c\x0a\x14forwarded".to_vec()),
    ]
}

/// A whole ClientHello for this name.
fn hello(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    client(name, &[b"h2", b"http/1.1"]).write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn http_ssh_and_kubernetes_are_refused_as_undeclared() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let connections = world.connections();
    let refused = || world.sidecar.log().matches("no AccessTarget stands for it").count();
    for (what, port, words) in others() {
        // On its own port: of a name that is declared for another, of the target, and of somebody.
        for ip in [world.place().ip(), ADDRESS.into(), OUTSIDE_V4.parse().unwrap()] {
            let before = refused();
            let answer = world.dial((ip, port).into()).map(|stream| heard(stream, &words));
            assert!(!matches!(answer, Ok(Some(_))), "{what} to {ip}:{port}: {answer:?}");
            assert_eq!(refused(), before + 1, "{what} to {ip}:{port}");
        }
        if what == "TLS" {
            continue;
        }
        // And where PostgreSQL is declared: it is closed, with an error of PostgreSQL at most.
        let answer = heard(world.dial(world.place()).unwrap(), &words).unwrap_or_default();
        assert!(answer.first().is_none_or(|first| *first == b'E'), "{what}: {answer:?}");
    }
    // TLS for something else than PostgreSQL ends where the sidecar learns of it.
    for protocol in [&b"h2"[..], b"http/1.1", b"acme-tls/1"] {
        let stream = world.dial(world.place()).unwrap();
        assert_eq!(inside(stream, client(NAME, &[protocol]), &others()[0].2), b"", "{protocol:?}");
    }
    assert_eq!(world.left(), []);
    assert_eq!(world.connections(), connections);
    // What is declared works, and shows in both.
    assert_eq!(world.agent().query("SELECT 'hello'").unwrap().texts(), [["hello"]]);
    assert!(world.connections() > connections && !world.left().is_empty());
}

/// Trusts whatever it is shown: what is tested is what the other side makes of the name.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client(name: &str, protocols: &[&[u8]]) -> ClientConnection {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

fn startup(more: &[(&str, &str)]) -> BytesMut {
    let parameters = [("user", "anybody"), ("database", DATABASE)];
    let mut packet = BytesMut::new();
    let all = parameters.iter().chain(more).map(|(name, value)| (*name, *value));
    postgres_protocol::message::frontend::startup_message(all, &mut packet).unwrap();
    packet
}

/// What is said to a startup packet after a handshake with this name; nothing when it ends before.
fn shown(world: &World, name: &str, direct: bool) -> Vec<u8> {
    let mut stream = world.dial(world.place()).unwrap();
    if !direct {
        let mut packet = BytesMut::new();
        postgres_protocol::message::frontend::ssl_request(&mut packet);
        stream.write_all(&packet).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"S", "{name}");
    }
    inside(stream, client(name, &[b"postgresql"]), &startup(&[]))
}

/// The first words that come back from within TLS; nothing when it ends before.
fn inside(mut stream: TcpStream, mut client: ClientConnection, words: &[u8]) -> Vec<u8> {
    let mut tls = rustls::Stream::new(&mut client, &mut stream);
    let mut all = vec![0; 512];
    let read = tls.write_all(words).and_then(|()| tls.read(&mut all));
    all.truncate(read.unwrap_or_default());
    all
}

#[test]
fn another_name_in_the_handshake_is_told_nothing() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let connections = world.connections();
    for direct in [false, true] {
        // Somebody's, that of another target at the same address, and our own with more before and behind.
        for name in ["evil.example", NEIGHBOUR, "x.orders-db.example", "orders-db.example.evil.example", "localhost"] {
            assert_eq!(shown(&world, name, direct), b"", "{name}, direct: {direct}");
        }
    }
    assert_eq!((world.left(), world.connections()), (Vec::new(), connections));
    for name in [NAME, "ORDERS-db.example"] {
        assert_eq!(shown(&world, name, false).first(), Some(&b'R'), "{name}: the target's own name is let in");
    }
}

#[test]
fn words_of_postgres_that_lead_past_statements_do_not_pass_the_fence() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let begin = |words: &[u8]| heard(world.dial(world.place()).unwrap(), words);
    let connections = world.connections();
    // Replication: another protocol in the same connection.
    for value in ["database", "true", "on"] {
        let answer = begin(&startup(&[("replication", value)])).unwrap_or_default();
        assert_eq!(answer.first(), Some(&b'E'), "{value}: {answer:?}");
    }
    // GSSENC: no encryption that hides what is said; what comes behind it unasked is not read.
    let gss = |rest: &[u8]| [&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30], rest].concat();
    let mut stream = world.dial(world.place()).unwrap();
    stream.write_all(&gss(b"")).unwrap();
    let mut no = [0];
    stream.read_exact(&mut no).unwrap();
    assert_eq!(&no, b"N");
    let answer = heard(stream, &gss(b"")).unwrap_or_default();
    assert!(answer.first().is_none_or(|first| *first == b'E'), "a second one: {answer:?}");
    // Keys of nobody, and of a server's first processes.
    for key in [0u64, u64::MAX, 1 << 32] {
        let cancel = [&[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e], key.to_be_bytes().as_slice()].concat();
        assert_eq!(begin(&cancel).unwrap_or_default(), b"", "{key}");
    }
    assert_eq!((world.left(), world.connections()), (Vec::new(), connections));

    // FunctionCall: a function by its number, without a statement.
    let mut wire = world.agent();
    assert_eq!(wire.query("SELECT 1").unwrap().texts(), [["1"]]);
    let mut call = BytesMut::new();
    call.put_u32(1_598);
    call.put_slice(&[0; 6]);
    let _closed = wire.send_message(b'F', &call);
    let told = wire.until(b'Z').unwrap_or_default();
    assert!(told.iter().any(|message| message.tag == b'E'), "{told:?}");
    assert!(told.iter().all(|message| message.tag != b'V'), "{told:?}");
    assert!(!world.server.log_text().contains("fastpath"));
    let straight = IpAddr::from(ADDRESS);
    let packets = world.left();
    assert!(packets.iter().all(|packet| packet.destination == Some(straight)), "{packets:?}");
    assert!(packets.iter().all(|packet| !packet.contains(b"F\0\0\0\x0e")), "{packets:?}");
}
