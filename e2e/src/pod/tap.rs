//! Reads every frame that comes from a pod, whatever its protocol.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};

use crate::wait;

/// `ETH_P_ALL`
const EVERY_PROTOCOL: u16 = 3;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
/// Router solicitation, neighbour solicitation and advertisement: without them there is no IPv6.
const NEIGHBOURS: [u8; 3] = [133, 135, 136];
/// Where marks are sent; no test uses this address.
const MARKED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
const WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// One packet of IP, or a frame of something else.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    pub ethertype: u16,
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    /// Of IP: 6 is TCP.
    pub protocol: u8,
    /// After the headers of link and IP.
    pub payload: Vec<u8>,
}

/// Stops with the pod.
#[derive(Debug)]
pub struct Wiretap {
    seen: Arc<Mutex<Vec<Packet>>>,
    stop: Arc<AtomicBool>,
    marks: AtomicU16,
    reader: Option<JoinHandle<()>>,
}

// === impl Wiretap ===

impl Wiretap {
    /// Taps the namespace that the caller is in for frames from `mac`.
    pub(super) fn start(mac: [u8; 6]) -> Result<Self> {
        let mut socket =
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(EVERY_PROTOCOL.to_be()))))?;
        socket.set_recv_buffer_size(8 << 20)?;
        socket.set_read_timeout(Some(LOOK))?;
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (to, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let reader = thread::spawn(move || {
            let mut frame = [0; 1 << 16];
            while !ended.load(Ordering::Relaxed) {
                match socket.read(&mut frame) {
                    Ok(length) => {
                        let packet = frame.get(..length).and_then(|frame| Packet::of(frame, mac));
                        to.lock().extend(packet);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    Err(_) => return,
                }
            }
        });
        Ok(Self { seen, stop, marks: AtomicU16::new(0), reader: Some(reader) })
    }

    /// Everything so far but what every link needs: ARP and neighbour discovery.
    pub fn packets(&self) -> Vec<Packet> {
        let mut all = self.seen.lock().clone();
        all.retain(|packet| !packet.of_the_link() && packet.destination != Some(IpAddr::V4(MARKED)));
        all
    }

    /// From now on.
    pub fn forget(&self) {
        self.seen.lock().clear();
    }

    /// Sends a packet as whoever calls and waits until it is seen: links keep the order.
    pub(super) fn mark(&self) -> Result<()> {
        let number = self.marks.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(&number, (MARKED, 9))?;
        wait::eventually("a packet out of the pod", WITHIN, || {
            let seen = self.seen.lock();
            seen.iter().any(|p| p.destination == Some(IpAddr::V4(MARKED)) && p.payload.ends_with(&number))
        })
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.reader.take().map(JoinHandle::join);
    }
}

// === impl Packet ===

impl Packet {
    /// `None` for what somebody else sent.
    fn of(frame: &[u8], mac: [u8; 6]) -> Option<Self> {
        let (link, rest) = frame.split_at_checked(14)?;
        if link.get(6..12)? != mac {
            return None;
        }
        let ethertype = u16::from_be_bytes(*link.last_chunk()?);
        let other = Self { ethertype, source: None, destination: None, protocol: 0, payload: rest.to_vec() };
        Some(match ethertype {
            IPV4 => Self::v4(rest).unwrap_or(other),
            IPV6 => Self::v6(rest).unwrap_or(other),
            _ => other,
        })
    }

    fn v4(packet: &[u8]) -> Option<Self> {
        let address = |at: usize| packet.get(at..)?.first_chunk::<4>().map(|bytes| IpAddr::V4((*bytes).into()));
        let header = usize::from(packet.first()? & 0xf) * 4;
        Some(Self {
            ethertype: IPV4,
            source: address(12),
            destination: address(16),
            protocol: *packet.get(9)?,
            payload: packet.get(header..)?.to_vec(),
        })
    }

    /// An extension header stays in the payload.
    fn v6(packet: &[u8]) -> Option<Self> {
        let address = |at: usize| packet.get(at..)?.first_chunk::<16>().map(|bytes| IpAddr::V6(Ipv6Addr::from(*bytes)));
        Some(Self {
            ethertype: IPV6,
            source: address(8),
            destination: address(24),
            protocol: *packet.get(6)?,
            payload: packet.get(40..)?.to_vec(),
        })
    }

    fn of_the_link(&self) -> bool {
        let neighbour = self.protocol == ICMP6 && self.payload.first().is_some_and(|kind| NEIGHBOURS.contains(kind));
        self.ethertype == ARP || (self.ethertype == IPV6 && neighbour)
    }

    pub fn port(&self) -> Option<u16> {
        let transport = matches!(self.protocol, 6 | UDP | 136);
        self.payload.get(2..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)).filter(|_| transport)
    }

    pub fn contains(&self, text: &[u8]) -> bool {
        self.payload.windows(text.len().max(1)).any(|window| window == text)
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x} protocol {} to {:?}", self.ethertype, self.protocol, self.destination)?;
        self.port().map_or(Ok(()), |port| write!(f, " port {port}"))?;
        write!(f, " {:?}", String::from_utf8_lossy(&self.payload))
    }
}
