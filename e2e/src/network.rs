//! A way to a port with something wrong: every byte by itself, late, cut by a reset, or silent from some byte on.
//!
//! Threads of the test's own process, one for each direction of each connection; they end with the process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;

/// What one direction does with what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Each byte is a packet of its own.
    Sliced,
    /// What comes waits so long.
    Late(Duration),
    /// After so many bytes both sides get a reset.
    Reset(usize),
    /// After so many bytes nothing more comes, and nobody closes.
    Silent(usize),
}

/// Both directions, as of the next connection.
#[derive(Clone, Copy, Debug)]
pub struct Troubles {
    /// From whoever dials.
    pub there: Trouble,
    /// From who is dialled.
    pub back: Trouble,
}

impl Troubles {
    pub const NONE: Self = Self { there: Trouble::None, back: Trouble::None };
}

/// The way.
#[derive(Debug)]
pub struct Network {
    port: u16,
    troubles: Arc<Mutex<Troubles>>,
}

impl Network {
    /// A port of 127.0.0.1 that leads to `to`, with nothing wrong yet.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub fn to(to: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let troubles = Arc::new(Mutex::new(Troubles::NONE));
        let shared = Arc::clone(&troubles);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let troubles = *shared.lock();
                // Who is dialled in vain is refused, as without us.
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
                let _ = carry(&near, &far, troubles);
            }
        });
        Ok(Self { port, troubles })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is wrong with connections from now on.
    pub fn set(&self, troubles: Troubles) {
        *self.troubles.lock() = troubles;
    }
}

fn carry(near: &TcpStream, far: &TcpStream, troubles: Troubles) -> Result<()> {
    for stream in [near, far] {
        stream.set_nodelay(true)?;
    }
    for (from, to, trouble) in [(near, far, troubles.there), (far, near, troubles.back)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            // A side that is gone is what the test is about.
            let _ = copy(from, to, trouble);
        });
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, trouble: Trouble) -> Result<()> {
    let mut chunk = [0; 16 * 1024];
    let mut carried = 0_usize;
    loop {
        let count = from.read(&mut chunk)?;
        let mut part = chunk.get(..count).unwrap_or_default();
        if part.is_empty() {
            return Ok(to.shutdown(Shutdown::Write)?);
        }
        match trouble {
            Trouble::None => {}
            Trouble::Sliced => {
                for byte in part {
                    to.write_all(std::slice::from_ref(byte))?;
                }
                continue;
            }
            Trouble::Late(time) => thread::sleep(time),
            Trouble::Reset(most) | Trouble::Silent(most) => {
                let left = most.saturating_sub(carried);
                part = part.get(..left).unwrap_or(part);
            }
        }
        to.write_all(part)?;
        carried += part.len();
        match trouble {
            Trouble::Reset(most) if carried >= most => {
                // A reset at once, although the other direction has a handle too (tcp(7), AF_UNSPEC).
                rustix::net::connect_unspec(&from)?;
                return Ok(rustix::net::connect_unspec(&to)?);
            }
            Trouble::Silent(most) if carried >= most => loop {
                // Read on, so that nobody is held up, and say nothing.
                if from.read(&mut chunk)? == 0 {
                    thread::sleep(Duration::from_secs(3600));
                }
            },
            _ => {}
        }
    }
}
