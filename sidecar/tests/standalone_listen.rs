//! Doors: a slow peer blocks nobody, the budget holds, peers are who they must be, and TLS stands on our CA.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sidecar::config::{Auth, Bind, Config, Listener};
use sidecar::drain::Drain;
use sidecar::listen::{Door, Doorman, Lobby};
use sidecar::metrics::Metrics;
use sidecar::outside::{ClientAuth, Connections, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

struct Open;

impl Doorman for Open {
    fn target(&self, listener: &Listener) -> Result<Arc<Target>, String> {
        Ok(Arc::new(Target {
            key: listener.target.clone(),
            host: "localhost".to_owned(),
            port: 5432,
            reach: sidecar::outside::Reach::Anywhere,
            tls: crds::target::TlsMode::Disabled,
            postgres: crds::target::PostgresTarget { databases: vec![], search_path: vec![] },
        }))
    }
    fn client_auth(&self, listener: &Listener) -> Result<ClientAuth, String> {
        match listener.auth {
            Auth::Scram { .. } => Err("the Secret is gone".to_owned()),
            Auth::PeerUid(_) => Ok(ClientAuth::Proven),
            Auth::DangerTrustAnyPeer => Ok(ClientAuth::DangerTrustAnyPeer),
        }
    }
}

fn listener(listen: &str, auth: &str) -> Listener {
    let text = format!(
        "{{stateDir: /nowhere, policies: p, dangerSharedUser: true, listeners: [{{target: db, listen: '{listen}', \
         subject: {{namespace: local, serviceAccount: a}}, clientAuth: {auth}}}]}}"
    );
    Config::parse(&text, Path::new("agentaccess.yaml"), 1).unwrap().listeners.remove(0)
}

struct House {
    address: Bind,
    connections: Connections,
    metrics: Arc<Metrics>,
    drain: Drain,
    task: tokio::task::JoinHandle<()>,
}

fn house(listen: &str, auth: &str, budget: usize) -> House {
    let (drain, metrics) = (Drain::new(), Arc::new(Metrics::new("0").unwrap()));
    let (lobby, connections) = Lobby::new(Arc::new(Open), budget, drain.clone(), Arc::clone(&metrics));
    let door = Door::open(listener(listen, auth)).unwrap();
    let address = door.bound().clone();
    House { address, connections, metrics, drain, task: tokio::spawn(door.serve(lobby)) }
}

fn tcp(bind: &Bind) -> SocketAddr {
    match bind {
        Bind::Tcp(address) => *address,
        Bind::Unix(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
    }
}

/// The peer was closed without an answer.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> bool {
    let mut byte = [0; 1];
    matches!(timeout(Duration::from_secs(5), stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn silent_peers_do_not_block_others() {
    let mut house = house("127.0.0.1:0", "{dangerTrustAnyPeer: true}", 100);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(tcp(&house.address)).await.unwrap());
    }
    let mut speaking = TcpStream::connect(tcp(&house.address)).await.unwrap();
    speaking.write_all(b"hello").await.unwrap();
    let me = speaking.local_addr().unwrap().to_string();
    // All 21 arrive, the silent ones held open, and the one that speaks is heard.
    let mut held = Vec::new();
    for _ in 0..21 {
        held.push(timeout(Duration::from_secs(5), house.connections.recv()).await.unwrap().unwrap());
    }
    let connection = held.iter_mut().find(|c| c.peer == me).unwrap();
    let mut text = [0; 5];
    connection.stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hello");
}

#[tokio::test]
async fn over_the_budget_new_ones_are_closed_and_a_slot_comes_back() {
    let mut house = house("127.0.0.1:0", "{dangerTrustAnyPeer: true}", 2);
    let (_a, _b) = (
        TcpStream::connect(tcp(&house.address)).await.unwrap(),
        TcpStream::connect(tcp(&house.address)).await.unwrap(),
    );
    let first = house.connections.recv().await.unwrap();
    let _second = house.connections.recv().await.unwrap();
    for _ in 0..3 {
        assert!(closed(TcpStream::connect(tcp(&house.address)).await.unwrap()).await);
    }
    let text = String::from_utf8(house.metrics.render().unwrap()).unwrap();
    assert!(text.contains("agentaccess_connections_refused_total{reason=\"budget\"} 3"), "{text}");
    drop(first);
    let _again = TcpStream::connect(tcp(&house.address)).await.unwrap();
    timeout(Duration::from_secs(5), house.connections.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn accepting_pauses_when_no_session_starts() {
    let house = house("127.0.0.1:0", "{dangerTrustAnyPeer: true}", 1000);
    let mut peers = Vec::new();
    for _ in 0..120 {
        peers.push(TcpStream::connect(tcp(&house.address)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.connections.len(), 64, "the queue is bounded and nothing is dropped");
    assert!(!house.task.is_finished());
}

#[tokio::test]
async fn a_login_that_cannot_be_checked_refuses() {
    let house = house("127.0.0.1:0", "{scram: {username: a, passwordSecretRef: {name: s, key: k}}}", 10);
    assert!(closed(TcpStream::connect(tcp(&house.address)).await.unwrap()).await);
    let text = String::from_utf8(house.metrics.render().unwrap()).unwrap();
    assert!(text.contains("reason=\"unavailable\"} 1"), "{text}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let one = listener(&format!("127.0.0.1:{port}"), "{dangerTrustAnyPeer: true}");
    for message in [sidecar::listen::check(&one).unwrap_err().to_string(), Door::open(one).unwrap_err().to_string()] {
        assert!(message.contains("listeners[0].listen") && message.contains(&port.to_string()), "{message}");
        assert!(message.contains("in use"), "{message}");
    }
}

#[tokio::test]
async fn the_drain_closes_the_door() {
    let mut house = house("127.0.0.1:0", "{dangerTrustAnyPeer: true}", 10);
    house.drain.start();
    timeout(Duration::from_secs(5), house.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(tcp(&house.address)).await.is_err());
    assert!(house.connections.recv().await.is_none());
}

#[tokio::test]
async fn unix_peers_must_have_the_uid() {
    let dir = tempfile::tempdir().unwrap();
    let me = rustix::process::geteuid().as_raw();
    let path = dir.path().join("a.sock");
    let mut mine = house(&format!("unix:{}", path.display()), &format!("{{peerUid: {me}}}"), 10);
    let _stream = UnixStream::connect(&path).await.unwrap();
    let connection = timeout(Duration::from_secs(5), mine.connections.recv()).await.unwrap().unwrap();
    assert_eq!(connection.peer, format!("uid {me}"));
    assert!(matches!(connection.auth, ClientAuth::Proven));

    let other = dir.path().join("b.sock");
    let theirs = house(&format!("unix:{}", other.display()), &format!("{{peerUid: {}}}", me + 1), 10);
    assert!(closed(UnixStream::connect(&other).await.unwrap()).await);
    let text = String::from_utf8(theirs.metrics.render().unwrap()).unwrap();
    assert!(text.contains("reason=\"peer\"} 1"), "{text}");
}

#[tokio::test]
async fn stale_sockets_are_replaced_and_served_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let bind = format!("unix:{}", path.display());
    // Left behind by a process that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = Door::open(listener(&bind, "{peerUid: 1}")).unwrap();
    let message = Door::open(listener(&bind, "{peerUid: 1}")).unwrap_err().to_string();
    assert!(message.contains("served by another process"), "{message}");
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    let message = Door::open(listener(&bind, "{peerUid: 1}")).unwrap_err().to_string();
    assert!(message.contains("is not a socket") && std::fs::read_to_string(&path).unwrap() == "precious", "{message}");
}
