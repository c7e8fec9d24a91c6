//! A listener outside of the pods, which sees every connection that leaves one: the oracle of what must not leave.

use std::fs::File;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// This machine, as pods of the test cluster see it.
pub(crate) const HERE: &str = "10.199.0.1";
/// Where clouds give out the credentials of a node.
const METADATA: &str = "169.254.169.254";
const NODE: &str = "/run/netns/agentaccess";

/// Sees what reaches it, over TCP and UDP on one port.
pub(crate) struct Sink {
    address: &'static str,
    pub(crate) port: u16,
    tcp: Arc<AtomicBool>,
    udp: Arc<AtomicBool>,
    on_node: bool,
}

impl Sink {
    /// On this machine.
    pub(crate) fn open() -> Self {
        let tcp = TcpListener::bind((HERE, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        Self::hearing(HERE, tcp, UdpSocket::bind((HERE, port)).unwrap(), false)
    }

    /// On the node, at the address of metadata and the port of HTTP.
    pub(crate) fn metadata() -> Self {
        node(&["ip", "addr", "replace", &format!("{METADATA}/32"), "dev", "lo"]);
        let bind = || {
            let node = File::open(NODE).unwrap();
            move_into_link_name_space(node.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            (TcpListener::bind((METADATA, 80)).unwrap(), UdpSocket::bind((METADATA, 80)).unwrap())
        };
        // On a thread of its own, since a thread that is elsewhere stays there.
        let (tcp, udp) = thread::spawn(bind).join().unwrap();
        Self::hearing(METADATA, tcp, udp, true)
    }

    fn hearing(address: &'static str, tcp: TcpListener, udp: UdpSocket, on_node: bool) -> Self {
        let port = tcp.local_addr().unwrap().port();
        let sink = Self { address, port, tcp: Arc::default(), udp: Arc::default(), on_node };
        let (by_tcp, by_udp) = (Arc::clone(&sink.tcp), Arc::clone(&sink.udp));
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                by_tcp.store(true, Ordering::Relaxed);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
                let _ = stream.read(&mut [0; 64]);
            }
        });
        thread::spawn(move || {
            while udp.recv(&mut [0; 64]).is_ok() {
                by_udp.store(true, Ordering::Relaxed);
            }
        });
        sink
    }

    /// Whether anything came over TCP, over UDP.
    pub(crate) fn seen(&self) -> (bool, bool) {
        (self.tcp.load(Ordering::Relaxed), self.udp.load(Ordering::Relaxed))
    }

    /// Tries both ways, whatever comes of them.
    pub(crate) fn script(&self) -> String {
        let Self { address, port, .. } = self;
        format!("echo x | nc -w 2 {address} {port}; timeout 2 tftp -g -r x -l /tmp/x {address} {port}; true")
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if self.on_node {
            node(&["ip", "addr", "del", &format!("{METADATA}/32"), "dev", "lo"]);
        }
    }
}

/// Runs this in the node's network.
fn node(words: &[&str]) {
    let done = Command::new("nsenter").arg(format!("--net={NODE}")).arg("--").args(words).status().unwrap();
    assert!(done.success(), "{words:?} on the node");
}
