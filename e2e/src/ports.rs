//! Free TCP ports, and whether somebody listens on one.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use parking_lot::Mutex;

// Below the range that Linux takes ports of outgoing connections from (32768 and up): a port found free here is not
// given to some connection of another test before its server binds it.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Whoever was given one comes back to it after a crash, so it is given once.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A TCP port of 127.0.0.1 that nobody uses now, and that this process was not given before.
///
/// # Errors
/// When 200 random ports are all in use.
pub fn free() -> Result<u16> {
    (0..200u32)
        .find_map(|_| {
            let random = RandomState::new().build_hasher().finish() % u64::from(COUNT);
            let port = FIRST.checked_add(u16::try_from(random).ok()?)?;
            (TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && GIVEN.lock().insert(port)).then_some(port)
        })
        .context("no free TCP port between 20000 and 32000 in 200 tries")
}

/// Whether a socket listens on this port. Read from the kernel's table: a probe that connects would be a session.
pub fn listening(port: u16) -> bool {
    // Address and port in hexadecimal, remote address, state; 0A is LISTEN.
    let wanted = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| fs::read_to_string(table).ok()).any(|table| {
        table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&wanted)) && fields.nth(1) == Some("0A")
        })
    })
}
