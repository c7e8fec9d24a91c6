//! The sidecar behind the fence, with a real PostgreSQL outside: what an agent dials is governed as the target that it
//! meant, and nothing else of it leaves the pod. Oracles: the server's log, and the wire.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Output;
use std::time::Duration;

use e2e::objects;
use e2e::pod::{AGENT, Packet, Pod, PodSidecar, SIDECAR, can_run, said};
use e2e::postgres::{DATABASE, Programs, Server};
use e2e::world::{self, Policy, ROLE, ROLE_PASSWORD};

/// The server, as the outside has it.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const PORT: u16 = 5_432;
const PATIENCE: Duration = Duration::from_secs(5);

fn objects_of(host: &str) -> String {
    objects::target_at("db", host, PORT, None, ROLE, ROLE_PASSWORD) + &Policy::default().yaml()
}

fn pod(server: &Server) -> Pod {
    let pod = Pod::new().unwrap();
    pod.fence().unwrap();
    pod.relay(PORT, server.port()).unwrap();
    pod
}

/// `psql` of the agent.
fn psql(pod: &Pod, host: &str, port: u16, sql: &str) -> Output {
    let mut command = pod.command(AGENT, Programs::find().unwrap().client("psql"));
    command.args(["-XAtq", "-c", sql]).env_clear().env("PATH", "/usr/bin:/bin").env("PGCONNECT_TIMEOUT", "5");
    command.envs([("PGHOST", host), ("PGPORT", &port.to_string()), ("PGUSER", "anybody"), ("PGDATABASE", DATABASE)]);
    command.env("PGSSLMODE", "disable").output().unwrap()
}

/// What left the pod and was not for the server.
fn stray(pod: &Pod) -> Vec<Packet> {
    pod.settle().unwrap();
    let mut out = pod.tap().packets();
    out.retain(|packet| !(packet.destination == Some(ADDRESS.into()) && packet.port() == Some(PORT)));
    out
}

/// How a dial ends, when nothing is said.
fn dial(pod: &Pod, user: u32, destination: SocketAddr) -> ErrorKind {
    pod.within(user, || {
        let mut stream = match TcpStream::connect_timeout(&destination, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => return error.kind(),
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match stream.read(&mut [0; 64]) {
            Ok(0) => ErrorKind::UnexpectedEof,
            Ok(_) => ErrorKind::Other,
            Err(error) => error.kind(),
        }
    })
    .unwrap()
}

fn refused(sidecar: &PodSidecar, said: &str) -> usize {
    sidecar.log().lines().filter(|line| line.contains("connection_refused") && line.contains(said)).count()
}

#[test]
fn what_is_dialled_is_governed_as_what_was_meant() {
    if !can_run() {
        return;
    }
    let server = world::server().unwrap();
    let pod = pod(&server);
    let mut sidecar = pod.sidecar(&objects_of(&ADDRESS.to_string()), "").unwrap();
    let to_server = ADDRESS.to_string();

    let output = psql(&pod, &to_server, PORT, "SELECT name, ssn FROM customers WHERE id = 1 -- governed");
    assert_eq!(said(&output), "Ann|[redacted]\n");
    let output = psql(&pod, &to_server, PORT, "DROP TABLE customers -- governed");
    assert!(said(&output).contains("Schema changes go through migrations"), "{}", said(&output));
    let ran = format!("{:?}", server.executed());
    assert!(ran.contains("customers") && !ran.contains("DROP TABLE"), "{ran}");
    assert_eq!(stray(&pod), []);

    // Another port, another address, IPv6, and what is the pod's own.
    for (number, destination) in
        ["203.0.113.7:5433", "203.0.113.8:5432", "[2001:db8:7::1]:5432", "198.18.0.1:5432"].iter().enumerate()
    {
        assert_eq!(dial(&pod, AGENT, destination.parse().unwrap()), ErrorKind::ConnectionReset, "{destination}");
        assert_eq!(refused(&sidecar, "no AccessTarget stands for it"), number + 1);
    }
    // The fence stops a straight dial of the agent; the sidecar stops its own, which would be a loop.
    for straight in ["127.0.0.1:15001", "[::1]:15001"] {
        assert_eq!(dial(&pod, AGENT, straight.parse().unwrap()), ErrorKind::ConnectionRefused, "{straight}");
        assert_eq!(dial(&pod, SIDECAR, straight.parse().unwrap()), ErrorKind::ConnectionReset, "{straight}");
    }
    assert_eq!(refused(&sidecar, "was not redirected"), 2, "{}", sidecar.log());

    // A policy that names another address counts for the next connection.
    sidecar.write(&objects_of("203.0.113.8")).unwrap();
    e2e::wait::eventually("the new target", PATIENCE, || psql(&pod, "203.0.113.8", PORT, "SELECT 1").status.success())
        .unwrap();
    assert!(!psql(&pod, &to_server, PORT, "SELECT 1").status.success());

    // Nothing gets out when it is gone, not even for a moment.
    pod.settle().unwrap();
    pod.tap().forget();
    sidecar.kill9();
    assert_eq!(dial(&pod, AGENT, (ADDRESS, PORT).into()), ErrorKind::ConnectionRefused);
    assert_eq!(stray(&pod), []);
    pod.tap().forget();
    sidecar.start(&pod).unwrap();
    assert!(psql(&pod, "203.0.113.8", PORT, "SELECT 1").status.success());
}

#[test]
fn where_ipv6_leads_out_it_has_to_lead_to_us() {
    if !can_run() {
        return;
    }
    let pod = Pod::new().unwrap();
    pod.fence().unwrap();
    let objects = objects_of(&ADDRESS.to_string());
    pod.shell("ip -6 addr del ::1/128 dev lo").unwrap();
    let error = format!("{:#}", pod.sidecar(&objects, "").unwrap_err());
    assert!(error.contains("pod: cannot listen on [::1]:15001"), "{error}");
    let mut sidecar = pod.prepare(&objects, "").unwrap();
    let said = sidecar.check(&pod).unwrap();
    assert!(said.contains("WRONG pod: pod: cannot listen on [::1]:15001"), "{said}");
    pod.shell("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap();
    let said = sidecar.check(&pod).unwrap();
    assert!(said.contains("ok    pod: ports 15001 and 15053 of the loopback are free"), "{said}");
    sidecar.start(&pod).unwrap();
}
