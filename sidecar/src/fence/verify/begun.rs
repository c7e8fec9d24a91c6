//! Whether the sidecar takes calls yet. Only one answer says that it does not: the fence turned the call around and nobody
//! listens there. Every other one, of a call that left the pod for example, is for the probes to explain.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::network::Network;
use super::{PATIENCE, left};
use crate::fence::probe::{ADDRESS_V4, ADDRESS_V6};

const PORT: u16 = 443;
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(20);

/// # Errors
/// A sentence, when nobody took a call for so long.
pub(super) fn wait(network: &Network, patience: Duration) -> Result<(), String> {
    let v4 = IpAddr::V4(ADDRESS_V4);
    let address = if network.leads_to(v4) { v4 } else { IpAddr::V6(ADDRESS_V6) };
    let end = Instant::now() + patience;
    while refused(SocketAddr::new(address, PORT)) {
        if Instant::now() >= end {
            return Err(format!(
                "the sidecar took no call for {patience:?}: the log of its container says what it waits for"
            ));
        }
        thread::sleep(PAUSE.min(left(end)));
    }
    Ok(())
}

fn refused(destination: SocketAddr) -> bool {
    let called = TcpStream::connect_timeout(&destination, PATIENCE);
    called.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
